//! An open query, and its solutions.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::clause::Clause;
use crate::error::{Error, Resource};
use crate::fault::Fault;
use crate::knowledge_base::KnowledgeBase;
use crate::machine::{Machine, Stop};
use crate::memory::{Buffer, Pool};
use crate::operators;
use crate::scope::Scope;
use crate::store::{Value, VarNumbers};
use crate::term::{Name, Term, TermRef};

/// A goal being solved: all its state, none of it in the knowledge base. Many may
/// be open at a time; each predicate's clauses are those of the moment it is
/// called (logical update view).
pub struct Query {
    machine: Machine,
    names: Vec<(Name, u32)>,
    /// The last thing that the machine did was to find a solution.
    solved: bool,
}

/// What a slice of time has led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A solution; there may be more.
    Solution(Solution),
    /// No (further) solution.
    Exhausted,
    /// The slice is over; go on with another.
    Paused,
}

/// The values of a query's variables in one solution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Solution {
    bindings: Vec<(Name, Term)>,
}

impl Query {
    pub(crate) fn new(
        goal: Arc<Clause>,
        variables: u32,
        names: Vec<(Name, u32)>,
        steps: u64,
        pool: &Arc<Pool>,
        scope: &Scope,
    ) -> Result<Self, Error> {
        let machine = Machine::new(goal, variables, steps, pool, scope)?;
        Ok(Self {
            machine,
            names,
            solved: false,
        })
    }

    /// The next solution; none when there is none (any more). `kb` is the
    /// knowledge base that opened the query.
    ///
    /// # Errors
    /// [`Error::Uncaught`] or [`Error::Limit`]; the query is over then.
    pub fn next(&mut self, kb: &mut KnowledgeBase) -> Result<Option<Solution>, Error> {
        match self.run(kb, u64::MAX)? {
            Progress::Solution(solution) => Ok(Some(solution)),
            Progress::Exhausted | Progress::Paused => Ok(None),
        }
    }

    /// Goes on for about `slice` steps: what one client's query takes before
    /// another's turn.
    ///
    /// # Errors
    /// As [`Query::next`].
    pub fn run(&mut self, kb: &mut KnowledgeBase, slice: u64) -> Result<Progress, Error> {
        if core::mem::take(&mut self.solved) {
            self.machine.retry();
        }
        match self.machine.run(kb, slice)? {
            Stop::Exhausted => Ok(Progress::Exhausted),
            Stop::Paused => Ok(Progress::Paused),
            Stop::Solution => {
                self.solved = true;
                self.solution(kb).map(Progress::Solution)
            }
        }
    }

    /// Steps spent so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.machine.store.steps
    }

    fn solution(&mut self, kb: &KnowledgeBase) -> Result<Solution, Error> {
        // One numbering for all bindings: `X = f(_0), Y = _0` share a variable.
        let pool = Arc::clone(self.machine.store.pool());
        let mut vars = VarNumbers::new(&pool);
        let mut bindings = Vec::new();
        for (name, variable) in &self.names {
            let mut cells = Buffer::new(&pool);
            self.machine
                .store
                .flatten(Value::Var(*variable), &mut vars, &mut cells)
                .map_err(|fault| match fault {
                    Fault::Limit(resource) => Error::Limit(resource),
                    // Copying ends by bounds only.
                    _ => Error::Limit(Resource::QueryMemory),
                })?;
            let term = kb.export_within(&pool, &cells)?;
            bindings.push((Arc::clone(name), term));
        }
        Ok(Solution { bindings })
    }
}

impl Solution {
    /// The named variables that don't begin with `_`, in the order of the text,
    /// with their values. Unbound variables are numbered across all of them.
    #[must_use]
    pub fn bindings(&self) -> &[(Name, Term)] {
        &self.bindings
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Term> {
        self.bindings
            .iter()
            .find(|(known, _)| &**known == name)
            .map(|(_, term)| term)
    }

    /// The value of a variable that is an integer.
    #[must_use]
    pub fn int(&self, name: &str) -> Option<i64> {
        self.get(name)?.as_int()
    }

    /// The value of a variable that is an atom.
    #[must_use]
    pub fn atom(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_atom()
    }

    /// The value of a variable that is a list of integers.
    #[must_use]
    pub fn ints(&self, name: &str) -> Option<Vec<i64>> {
        self.get(name)?
            .elements()?
            .into_iter()
            .map(TermRef::as_int)
            .collect()
    }
}

impl fmt::Display for Solution {
    /// `X = 1, Y = [_0]`, or `true` without bindings: a goal that reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = operators::infix("=").map_or(0, |equals| equals.right);
        if self.bindings.is_empty() {
            return f.write_str("true");
        }
        for (i, (name, term)) in self.bindings.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            write!(
                f,
                "{separator}{name} = {}",
                crate::writer::write(term.nodes(), most)
            )?;
        }
        Ok(())
    }
}
