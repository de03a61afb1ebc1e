//! The System Knowledge Base.

use alloc::{string::String, vec::Vec};

use capelin_idc::interface;

crate::service_error! {
    /// Why a query has no answer.
    SkbError {
        /// The text isn't a term of the language.
        Syntax = "syntax error",
        /// The goal raised an error (type, instantiation, unknown procedure).
        Evaluation = "error during evaluation",
        /// The limit of steps or of memory was reached.
        ResourceLimit = "the query takes too long or too much memory",
        /// No such cursor, or it has ended.
        NoSuchCursor = "no such cursor",
        /// Too many cursors of this client are open.
        TooManyCursors = "too many cursors",
        /// The facts can't be changed by this client.
        ReadOnly = "the facts are read-only for this client",
        /// The change couldn't be agreed on with the other replicas.
        NotAgreed = "the replicas did not agree",
    }
}

/// One solution: the query's variables, in order of appearance, with their
/// values as text that reads back as the same term. A variable that stays
/// unbound isn't listed.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Solution {
    /// Name and value.
    pub bindings: Vec<(String, String)>,
}

impl Solution {
    /// The value of `variable`.
    #[must_use]
    pub fn get(&self, variable: &str) -> Option<&str> {
        self.bindings
            .iter()
            .find_map(|(name, value)| (name == variable).then_some(value.as_str()))
    }
}

/// Some solutions of a query.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Solutions {
    /// In the order in which they were found.
    pub solutions: Vec<Solution>,
    /// Names what is left, for [`Skb::next`]; `None` when there is no more.
    pub cursor: Option<u32>,
}

/// Facts and rules about the machine.
#[interface(name = "skb", version = 1)]
pub trait Skb {
    /// The first solutions of `goal`, at most `limit` (0 for as many as fit a
    /// message). No solution isn't an error.
    async fn query(&self, goal: &str, limit: u32) -> Result<Solutions, SkbError>;

    /// Further solutions.
    async fn next(&self, cursor: u32, limit: u32) -> Result<Solutions, SkbError>;

    /// Forgets a query that has more solutions.
    #[oneway]
    async fn close(&self, cursor: u32);

    /// Adds a clause at the end of its procedure, on all replicas.
    async fn assert_clause(&self, clause: &str) -> Result<(), SkbError>;

    /// Removes the first clause that unifies. Answers whether there was one.
    async fn retract_clause(&self, clause: &str) -> Result<bool, SkbError>;

    /// Adds the clauses of a program text; answers how many.
    async fn consult(&self, program: &str) -> Result<u32, SkbError>;
}
