//! Errors: of the text, of the program, of the bounds; each as an ISO term too.
//!
//! ISO/IEC 13211-1 section 7.12 names the error terms: `error(Formal, Context)`.

use alloc::vec::Vec;
use core::fmt;

use crate::term::Term;

/// Where in a text something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Character within the line, from 1.
    pub column: u32,
}

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyntaxErrorKind {
    /// A token that can't begin or continue a term here.
    UnexpectedToken,
    /// The text ends inside a term.
    UnexpectedEnd,
    /// Two operands without an operator between them.
    OperatorExpected,
    /// An operand binds more weakly than its operator or bracket allows.
    PriorityClash,
    /// An integer outside −2⁶³ … 2⁶³ − 1.
    IntegerTooLarge,
    /// A number whose digits are missing, as in `0x`.
    BadNumber,
    /// A number with a fraction or an exponent.
    FloatUnsupported,
    /// A quoted item without closing quote.
    UnterminatedQuoted,
    /// A block comment without end.
    UnterminatedComment,
    /// An unknown or incomplete escape in a quoted item.
    BadEscape,
    /// A character that begins no token.
    BadCharacter,
    /// `f()`: a compound has at least one argument.
    EmptyArguments,
    /// A text of more nodes than 32 bits count.
    TooLarge,
    /// A clause whose head is not an atom or a compound.
    NotAClause,
}

impl SyntaxErrorKind {
    /// The atom that names the kind in an error term.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnexpectedToken => "unexpected_token",
            Self::UnexpectedEnd => "unexpected_end_of_text",
            Self::OperatorExpected => "operator_expected",
            Self::PriorityClash => "operator_priority_clash",
            Self::IntegerTooLarge => "integer_too_large",
            Self::BadNumber => "bad_number",
            Self::FloatUnsupported => "float_unsupported",
            Self::UnterminatedQuoted => "unterminated_quoted",
            Self::UnterminatedComment => "unterminated_comment",
            Self::BadEscape => "bad_escape",
            Self::BadCharacter => "bad_character",
            Self::EmptyArguments => "empty_arguments",
            Self::TooLarge => "text_too_large",
            Self::NotAClause => "not_a_clause",
        }
    }
}

/// A text that isn't what the reader accepts, with the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// What is wrong.
    pub kind: SyntaxErrorKind,
    /// Start of the token at which it shows.
    pub at: Position,
}

/// A bound that a query or the knowledge base ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// The query's steps: [`crate::Limits::steps`].
    Steps,
    /// The query's memory: [`crate::Limits::query_bytes`].
    QueryMemory,
    /// The memory of clauses and names: [`crate::Limits::database_bytes`].
    DatabaseMemory,
    /// A client's share of memory: its clauses and queries together.
    ClientMemory,
    /// The memory of everything together: [`crate::Limits::memory_bytes`].
    Memory,
}

impl Resource {
    /// The atom that names the bound in an error term.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::QueryMemory => "query_memory",
            Self::DatabaseMemory => "database_memory",
            Self::ClientMemory => "client_memory",
            Self::Memory => "memory",
        }
    }
}

/// Why a text was refused or a query ended without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The text can't be read; nothing was done.
    Syntax(SyntaxError),
    /// The program threw this term and nobody caught it.
    Uncaught(Term),
    /// A bound was reached. The program can't catch this.
    Limit(Resource),
    /// A directive of a consulted text failed; the number counts clauses and
    /// directives of the text from 1.
    DirectiveFailed(usize),
}

impl Error {
    /// The ISO error term, `error(Formal, Context)` unless the program threw
    /// something else.
    #[must_use]
    pub fn term(&self) -> Term {
        let (formal, context) = match self {
            Self::Uncaught(ball) => return ball.clone(),
            Self::Syntax(error) => (
                Term::compound("syntax_error", [Term::atom(error.kind.name())]),
                Term::compound(
                    "position",
                    [
                        Term::int(error.at.line.into()),
                        Term::int(error.at.column.into()),
                    ],
                ),
            ),
            Self::Limit(resource) => (
                Term::compound("resource_error", [Term::atom(resource.name())]),
                Term::var(0),
            ),
            Self::DirectiveFailed(number) => (
                Term::compound(
                    "directive_failed",
                    [Term::int(i64::try_from(*number).unwrap_or(i64::MAX))],
                ),
                Term::var(0),
            ),
        };
        Term::compound("error", Vec::from([formal, context]))
    }
}

impl From<SyntaxError> for Error {
    fn from(error: SyntaxError) -> Self {
        Self::Syntax(error)
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}",
            self.at.line,
            self.at.column,
            self.kind.name()
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(error) => error.fmt(f),
            other => other.term().fmt(f),
        }
    }
}

impl core::error::Error for SyntaxError {}
impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_error_is_an_iso_term() {
        let syntax = SyntaxError {
            kind: SyntaxErrorKind::PriorityClash,
            at: Position {
                line: 3,
                column: 14,
            },
        };
        assert_eq!(
            Error::from(syntax).term().to_string(),
            "error(syntax_error(operator_priority_clash),position(3,14))"
        );
        assert_eq!(
            Error::Limit(Resource::Steps).term().to_string(),
            "error(resource_error(steps),_0)"
        );
        assert_eq!(
            Error::Uncaught(Term::atom("oops")).term(),
            Term::atom("oops")
        );
    }
}
