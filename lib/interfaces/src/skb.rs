//! The System Knowledge Base.

use alloc::{string::String, vec::Vec};

use core::fmt;

use capelin_idc::{CallError, Transport, interface};

use crate::files::FileError;

/// Why a query has no answer, or a change wasn't made.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum SkbError {
    /// The text isn't a term of the language.
    Syntax {
        /// Line, from 1.
        line: u32,
        /// Character within the line, from 1: start of the token at which it shows.
        column: u32,
        /// What is wrong, as an atom of the language.
        kind: String,
    },
    /// The goal raised this term and nobody caught it (type, instantiation,
    /// unknown procedure).
    Evaluation(String),
    /// This bound was reached: `steps`, `query_memory`, `client_memory`, `database_memory` or
    /// `memory` (`docs/080-skb.md`).
    ResourceLimit(String),
    /// A directive of a consulted text failed; clauses count from 1.
    DirectiveFailed(u32),
    /// No such cursor: it has ended, or was given up as the client opened more than it may.
    NoSuchCursor,
    /// One solution is too long for a message.
    TooLong,
    /// The facts can't be changed by this client.
    ReadOnly,
    /// The text lies in a file, which can't be read.
    File(FileError),
    /// It is longer than such texts may be, or isn't UTF-8.
    NotText,
    /// The change couldn't be agreed on with the other replicas.
    NotAgreed,
    /// The call didn't come through.
    Call(CallError),
}

impl From<CallError> for SkbError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl fmt::Display for SkbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { line, column, kind } => {
                write!(f, "syntax error at {line}:{column}: {kind}")
            }
            Self::Evaluation(term) => write!(f, "uncaught: {term}"),
            Self::ResourceLimit(bound) => write!(f, "a bound was reached: {bound}"),
            Self::DirectiveFailed(number) => write!(f, "directive {number} failed"),
            Self::NoSuchCursor => f.write_str("no such cursor"),
            Self::TooLong => f.write_str("a solution is too long for a message"),
            Self::ReadOnly => f.write_str("the facts are read-only for this client"),
            Self::File(error) => error.fmt(f),
            Self::NotText => f.write_str("not a text in UTF-8, or too long"),
            Self::NotAgreed => f.write_str("the replicas did not agree"),
            Self::Call(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SkbError {}

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
    pub cursor: Option<u64>,
}

/// Facts and rules about the machine.
///
/// What a client adds is its own: nobody else sees it, and it goes when the client does. Facts and
/// rules of the system it can't change unless it has the right to ([`SkbError::ReadOnly`]).
#[interface(name = "skb", version = 2)]
pub trait Skb {
    /// The first solutions of `goal`, at most `limit` (0 for as many as fit a
    /// message). No solution isn't an error.
    async fn query(&self, goal: &str, limit: u32) -> Result<Solutions, SkbError>;

    /// Further solutions.
    async fn next(&self, cursor: u64, limit: u32) -> Result<Solutions, SkbError>;

    /// Forgets a query that has more solutions.
    #[oneway]
    async fn close(&self, cursor: u64);

    /// Adds a clause at the end of its procedure.
    async fn assert_clause(&self, clause: &str) -> Result<(), SkbError>;

    /// Removes the first clause that unifies. Answers whether there was one.
    async fn retract_clause(&self, clause: &str) -> Result<bool, SkbError>;

    /// Adds the clauses of a program text; answers how many.
    async fn consult(&self, program: &str) -> Result<u32, SkbError>;

    /// Has the server read `boot.pl` from the card ([`crate::files`]), if there is one, into what the
    /// system knows; answers how many clauses it had. Once: 0 later on, and without such a file.
    async fn read_boot_rules(&self) -> Result<u32, SkbError>;
}

impl<T: Transport> SkbClient<T> {
    /// All solutions of `goal`, however many messages they take.
    ///
    /// # Errors
    /// As [`Skb::query`] and [`Skb::next`].
    pub async fn all(&self, goal: &str) -> Result<Vec<Solution>, SkbError> {
        let mut answer = self.query(goal, 0).await?;
        let mut all = core::mem::take(&mut answer.solutions);
        while let Some(cursor) = answer.cursor {
            answer = self.next(cursor, 0).await?;
            all.append(&mut answer.solutions);
        }
        Ok(all)
    }
}
