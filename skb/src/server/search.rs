//! One query: slices of work, batches of solutions.

use alloc::{string::String, string::ToString, vec::Vec};

use crate::{KnowledgeBase, Progress, Query, Reservation, Scope, View};
use capelin_interfaces::skb::{SkbError, Solution};

use super::{SLICE, error::to_wire};

/// Text of one batch, in bytes. A message holds 65,535, of which names and lengths take some.
pub const BATCH_BYTES: usize = 16 * 1024;
/// Text of one solution that can be told.
const SOLUTION_BYTES: usize = 48 * 1024;
/// Slices after which a batch that has a solution is told, full or not.
const PATIENCE: u32 = 1_600;

/// What a slice of work has led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing to tell yet: give others their turn, then go on.
    Pause,
    /// A batch is complete, and there may be more.
    Batch(Vec<Solution>),
    /// The last batch.
    Last(Vec<Solution>),
}

/// A query and what has been found for the batch under way.
pub struct Search {
    query: Query,
    found: Vec<Solution>,
    /// For what was found and hasn't been told.
    held_bytes: Reservation,
    bytes: usize,
    slices: u32,
    /// Found, but too much for the last batch.
    held: Option<(Solution, usize)>,
    /// The query ended so, after solutions that have been told before it.
    failed: Option<SkbError>,
}

impl Search {
    /// Opens a query for `goal` on somebody's behalf.
    ///
    /// # Errors
    /// As [`KnowledgeBase::query`].
    pub fn new(kb: &mut KnowledgeBase, scope: &Scope, goal: &str) -> Result<Self, SkbError> {
        let query = kb.query_as(scope, goal).map_err(|error| to_wire(&error))?;
        Ok(Self::over(query, kb.reserve_for(scope)))
    }

    /// Goes on with an open query.
    #[must_use]
    pub const fn over(query: Query, held_bytes: Reservation) -> Self {
        Self {
            query,
            held_bytes,
            found: Vec::new(),
            bytes: 0,
            slices: 0,
            held: None,
            failed: None,
        }
    }

    /// A slice of work for a batch of at most `limit` solutions, 0 for as many as fit.
    ///
    /// # Errors
    /// The query's own, once all solutions before it have been told, and
    /// [`SkbError::TooLong`]; it is over then.
    pub fn step(&mut self, kb: &mut KnowledgeBase, limit: u32) -> Result<Step, SkbError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if let Some((solution, bytes)) = self.held.take() {
            self.keep(solution, bytes);
        }
        let limit = match usize::try_from(limit) {
            Ok(limit) if limit > 0 => limit,
            _ => usize::MAX,
        };
        let end = self.query.steps().saturating_add(SLICE);
        loop {
            if self.found.len() >= limit {
                return Ok(Step::Batch(self.batch()));
            }
            let left = end.saturating_sub(self.query.steps());
            if left == 0 {
                self.slices += 1;
                let is_due = !self.found.is_empty() && self.slices >= PATIENCE;
                return Ok(if is_due {
                    Step::Batch(self.batch())
                } else {
                    Step::Pause
                });
            }
            match self.query.run(kb, left) {
                // A slice may end a step early; the next one goes on.
                Ok(Progress::Paused) => {
                    if self.query.steps() < end {
                        return Ok(Step::Pause);
                    }
                }
                Ok(Progress::Exhausted) => return Ok(Step::Last(self.batch())),
                Ok(Progress::Solution(solution)) => {
                    let Some((solution, bytes)) = to_text(&solution) else {
                        return self.fail(SkbError::TooLong);
                    };
                    if let Err(error) = self.held_bytes.add(bytes) {
                        return self.fail(to_wire(&error));
                    }
                    if !self.found.is_empty() && self.bytes + bytes > BATCH_BYTES {
                        self.held = Some((solution, bytes));
                        return Ok(Step::Batch(self.batch()));
                    }
                    self.keep(solution, bytes);
                }
                Err(error) => return self.fail(to_wire(&error)),
            }
        }
    }

    fn keep(&mut self, solution: Solution, bytes: usize) {
        self.found.push(solution);
        self.bytes += bytes;
    }

    fn batch(&mut self) -> Vec<Solution> {
        self.held_bytes.remove(self.bytes);
        self.bytes = 0;
        self.slices = 0;
        core::mem::take(&mut self.found)
    }

    /// The query is over; first tells what was found before.
    fn fail(&mut self, error: SkbError) -> Result<Step, SkbError> {
        if self.found.is_empty() {
            return Err(error);
        }
        self.failed = Some(error);
        Ok(Step::Batch(self.batch()))
    }
}

/// All solutions of `goal` at once, as a client gets them; those that are too long to be told are
/// left out. For tests of who asks: nothing is done for others in between.
///
/// # Errors
/// As [`KnowledgeBase::query`] and [`crate::Query::next`].
pub fn solutions(kb: &mut KnowledgeBase, goal: &str) -> Result<Vec<Solution>, crate::Error> {
    let mut query = kb.query(goal)?;
    let mut all = Vec::new();
    while let Some(found) = query.next(kb)? {
        all.extend(to_text(&found).map(|(solution, _)| solution));
    }
    Ok(all)
}

/// The bindings as text, unbound variables left out, and the bytes that takes; none if it is too
/// long to be told.
fn to_text(solution: &crate::Solution) -> Option<(Solution, usize)> {
    let terms = solution.bindings().iter();
    let least = terms.map(|(_, term)| term.least_text_bytes());
    if least.fold(0, usize::saturating_add) > SOLUTION_BYTES {
        return None;
    }
    let mut bytes = 0;
    let bound = solution
        .bindings()
        .iter()
        .filter(|(_, term)| !matches!(term.root().view(), View::Var(_)));
    let bindings = bound
        .map(|(name, term)| {
            let pair: (String, String) = (name.to_string(), term.to_string());
            // Each text's length takes up to three bytes.
            bytes += pair.0.len() + pair.1.len() + 6;
            pair
        })
        .collect();
    (bytes <= SOLUTION_BYTES).then_some((Solution { bindings }, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn kb() -> KnowledgeBase {
        let mut kb = KnowledgeBase::new();
        kb.consult("n(0). n(N) :- n(M), N is M + 1. loop :- loop. some(1). some(2). some(3).")
            .unwrap();
        kb
    }

    fn open_search(kb: &mut KnowledgeBase, goal: &str) -> Result<Search, SkbError> {
        let scope = kb.system().clone();
        Search::new(kb, &scope, goal)
    }

    /// Runs until there is something to tell; how many slices that took.
    fn run(search: &mut Search, kb: &mut KnowledgeBase, limit: u32) -> (Step, u32) {
        for slices in 1.. {
            match search.step(kb, limit).unwrap() {
                Step::Pause => {}
                step => return (step, slices),
            }
        }
        unreachable!()
    }

    fn values(solutions: &[Solution]) -> Vec<&str> {
        solutions.iter().filter_map(|s| s.get("X")).collect()
    }

    #[test]
    fn solutions_come_in_order_and_end() {
        let mut kb = kb();
        let mut search = open_search(&mut kb, "some(X)").unwrap();
        let (Step::Batch(found), _) = run(&mut search, &mut kb, 2) else {
            panic!("there may be more");
        };
        assert_eq!(values(&found), ["1", "2"]);
        let (Step::Last(found), _) = run(&mut search, &mut kb, 2) else {
            panic!("that was all");
        };
        assert_eq!(values(&found), ["3"]);
    }

    #[test]
    fn an_endless_search_pauses_and_tells_what_it_has() {
        let mut kb = kb();
        let mut search = open_search(&mut kb, "loop").unwrap();
        for _ in 0..50 {
            let before = search.query.steps();
            assert_eq!(search.step(&mut kb, 0), Ok(Step::Pause));
            assert!(search.query.steps() - before < 2 * SLICE);
        }
        let mut search = open_search(&mut kb, "some(X), (X < 3 ; X >= 3, loop)").unwrap();
        let (Step::Batch(found), slices) = run(&mut search, &mut kb, 0) else {
            panic!("it never ends");
        };
        assert_eq!(values(&found), ["1", "2"]);
        assert!(slices <= PATIENCE + 1);
    }

    #[test]
    fn a_batch_fits_a_message() {
        let mut kb = kb();
        let mut search = open_search(&mut kb, "n(X)").unwrap();
        let mut next = 0;
        for _ in 0..3 {
            let (Step::Batch(found), _) = run(&mut search, &mut kb, 0) else {
                panic!("there are endlessly many");
            };
            let bytes: usize = found.iter().map(|s| s.bindings[0].1.len() + 7).sum();
            assert!(bytes <= BATCH_BYTES);
            for value in values(&found) {
                assert_eq!(value, format!("{next}"), "none is lost between batches");
                next += 1;
            }
        }
    }

    #[test]
    fn what_was_found_before_an_error_is_told_first() {
        let mut kb = kb();
        let mut search = open_search(&mut kb, "some(X), (X < 3 ; X >= 3, X is foo)").unwrap();
        let (Step::Batch(found), _) = run(&mut search, &mut kb, 0) else {
            panic!("the error comes later");
        };
        assert_eq!(values(&found), ["1", "2"]);
        assert!(matches!(
            search.step(&mut kb, 0),
            Err(SkbError::Evaluation(_))
        ));
    }

    #[test]
    fn unbound_variables_are_left_out() {
        let mut kb = kb();
        let mut search = open_search(&mut kb, "X = f(Y), Z = 'a b'").unwrap();
        let (Step::Last(found), _) = run(&mut search, &mut kb, 0) else {
            panic!("there is one");
        };
        assert_eq!(found[0].get("Y"), None);
        assert_eq!(found[0].get("Z"), Some("'a b'"));
    }

    #[test]
    fn a_solution_that_no_message_holds_is_an_error() {
        let mut kb = kb();
        let goal = format!(
            "atom_length('{}', X), Y = '{0}'",
            "x".repeat(SOLUTION_BYTES)
        );
        let mut search = open_search(&mut kb, &goal).unwrap();
        let result = loop {
            match search.step(&mut kb, 0) {
                Ok(Step::Pause) => {}
                other => break other,
            }
        };
        assert_eq!(result, Err(SkbError::TooLong));
    }
}
