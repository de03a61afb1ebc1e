//! A program text being consulted, clause by clause.
//!
//! As [`KnowledgeBase::consult`] does it: nothing is done when the text can't be read; clauses go
//! behind those that are there, and directives, `:- Goal`, run once each, in order.

use alloc::{collections::VecDeque, vec::Vec};

use crate::{KnowledgeBase, ReadTerm, Reservation, Scope, View};
use capelin_interfaces::skb::SkbError;

use super::{
    error::{to_wire, to_wire_of_change},
    search::{Search, Step},
};

/// Clauses added before others get their turn.
const CLAUSES: usize = 4;

/// A program text being consulted.
pub struct Program {
    scope: Scope,
    clauses: VecDeque<ReadTerm>,
    /// For the clauses.
    _held: Reservation,
    directive: Option<Search>,
    added: u32,
    number: u32,
}

impl Program {
    /// Reads `text` on somebody's behalf.
    ///
    /// # Errors
    /// [`SkbError::Syntax`], [`SkbError::ResourceLimit`].
    pub fn new(kb: &KnowledgeBase, scope: &Scope, text: &str) -> Result<Self, SkbError> {
        let read = kb.read_program_as(scope, text);
        let (clauses, held) = read.map_err(|error| to_wire(&error))?;
        Ok(Self {
            scope: scope.clone(),
            clauses: clauses.into(),
            _held: held,
            directive: None,
            added: 0,
            number: 0,
        })
    }

    /// A slice of work. The number of clauses added, once all is done.
    ///
    /// # Errors
    /// What adding a clause or running a directive gives, [`SkbError::DirectiveFailed`]; what
    /// stands before it has been done.
    pub fn step(&mut self, kb: &mut KnowledgeBase) -> Result<Option<u32>, SkbError> {
        if let Some(search) = &mut self.directive {
            match search.step(kb, 1)? {
                Step::Pause => return Ok(None),
                Step::Batch(_) => self.directive = None,
                Step::Last(found) if !found.is_empty() => self.directive = None,
                Step::Last(_) => return Err(SkbError::DirectiveFailed(self.number)),
            }
        }
        for _ in 0..CLAUSES {
            let Some(clause) = self.clauses.pop_front() else {
                return Ok(Some(self.added));
            };
            self.number += 1;
            match directive(&clause) {
                Some(goal) => {
                    let query = kb.query_term_as(&self.scope, &goal);
                    let query = query.map_err(|error| to_wire(&error))?;
                    let held = kb.reserve_for(&self.scope);
                    self.directive = Some(Search::over(query, held));
                    return Ok(None);
                }
                None => {
                    let added = kb.assertz_as(&self.scope, &clause.term);
                    added.map_err(|error| to_wire_of_change(&error))?;
                    self.added += 1;
                }
            }
        }
        Ok(None)
    }
}

/// The goal of `:- Goal`.
fn directive(clause: &ReadTerm) -> Option<ReadTerm> {
    match clause.term.root().view() {
        View::Compound(":-", mut arguments) if arguments.len() == 1 => {
            let goal = arguments.next()?;
            Some(ReadTerm {
                term: goal.to_term(),
                // Nobody asks for the bindings.
                variables: Vec::new(),
                at: clause.at,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::String};

    fn consult(kb: &mut KnowledgeBase, text: &str) -> (Result<u32, SkbError>, u32) {
        let system = kb.system().clone();
        let mut program = match Program::new(kb, &system, text) {
            Ok(program) => program,
            Err(error) => return (Err(error), 0),
        };
        for slices in 1.. {
            match program.step(kb) {
                Ok(None) => {}
                Ok(Some(added)) => return (Ok(added), slices),
                Err(error) => return (Err(error), slices),
            }
        }
        unreachable!()
    }

    #[test]
    fn clauses_and_directives_are_done_in_order() {
        let mut kb = KnowledgeBase::new();
        let text = ":- dynamic(a/1). a(1). :- a(X), X < 2, assertz(a(2)). a(3).";
        let mut whole = KnowledgeBase::new();
        assert_eq!(whole.consult(text), Ok(2));
        assert_eq!(consult(&mut kb, text).0, Ok(2));
        let all =
            |kb: &mut KnowledgeBase| kb.first("findall(X, a(X), L)").unwrap().unwrap().ints("L");
        assert_eq!(all(&mut kb), Some(alloc::vec![1, 2, 3]));
        assert_eq!(all(&mut whole), all(&mut kb));
    }

    #[test]
    fn a_long_text_gives_others_their_turn() {
        let mut kb = KnowledgeBase::new();
        let text: String = (0..320).map(|n| format!("b({n}). ")).collect();
        let (added, slices) = consult(&mut kb, &text);
        assert_eq!(added, Ok(320));
        assert!(slices >= 10);
    }

    #[test]
    fn errors_say_what_failed() {
        let mut kb = KnowledgeBase::new();
        let (failed, _) = consult(&mut kb, "c(1). :- c(2). c(3).");
        assert_eq!(failed, Err(SkbError::DirectiveFailed(2)));
        assert!(kb.first("c(1)").unwrap().is_some());
        assert!(kb.first("c(3)").unwrap().is_none());
        let (failed, _) = consult(&mut kb, "d(1). d(2");
        assert!(matches!(failed, Err(SkbError::Syntax { .. })));
        assert!(kb.first("catch(d(_), _, fail)").unwrap().is_none());
    }
}
