//! The engine's errors as the interface tells them.

use alloc::string::ToString;

use crate::{Error, Term, TermRef, View};
use capelin_interfaces::skb::SkbError;

/// What the interface says of an error of the engine.
#[must_use]
pub fn to_wire(error: &Error) -> SkbError {
    match error {
        Error::Syntax(syntax) => SkbError::Syntax {
            line: syntax.at.line,
            column: syntax.at.column,
            kind: syntax.kind.name().to_string(),
        },
        Error::Uncaught(term) => SkbError::Evaluation(term.to_string()),
        Error::Limit(resource) => SkbError::ResourceLimit(resource.name().to_string()),
        Error::DirectiveFailed(number) => {
            SkbError::DirectiveFailed(u32::try_from(*number).unwrap_or(u32::MAX))
        }
    }
}

/// What the interface says of an error of a change: one that the client has no right to is told as
/// that.
#[must_use]
pub fn to_wire_of_change(error: &Error) -> SkbError {
    match error {
        Error::Uncaught(term) if is_refused(term) => SkbError::ReadOnly,
        error => to_wire(error),
    }
}

/// `error(permission_error(modify, static_procedure, _), _)`.
fn is_refused(term: &Term) -> bool {
    let View::Compound("error", mut arguments) = term.root().view() else {
        return false;
    };
    match arguments.next().map(TermRef::view) {
        Some(View::Compound("permission_error", mut of)) => {
            of.next().and_then(TermRef::as_atom) == Some("modify")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KnowledgeBase;

    fn error(goal: &str) -> SkbError {
        let mut kb = KnowledgeBase::new();
        match kb.first(goal) {
            Err(error) => to_wire(&error),
            Ok(_) => panic!("{goal} is no error"),
        }
    }

    #[test]
    fn a_change_without_the_right_is_told_as_that() {
        let mut kb = KnowledgeBase::with_rules();
        let client = kb.open_client(1 << 20).unwrap();
        let told = |kb: &mut KnowledgeBase, clause: &str| {
            let clause = crate::read_term(clause).unwrap().term;
            to_wire_of_change(&kb.assertz_as(&client, &clause).unwrap_err())
        };
        assert_eq!(told(&mut kb, "core(1, 2, 3)"), SkbError::ReadOnly);
        assert!(matches!(told(&mut kb, "3"), SkbError::Evaluation(_)));
    }

    #[test]
    fn errors_say_where_and_what() {
        assert_eq!(
            error("core(C,\n  M N)"),
            SkbError::Syntax {
                line: 2,
                column: 5,
                kind: "operator_expected".into()
            }
        );
        let SkbError::Evaluation(term) = error("nobody_knows(X)") else {
            panic!("an unknown procedure is an evaluation error");
        };
        assert!(term.contains("existence_error"), "{term}");
        assert!(term.contains("nobody_knows/1"), "{term}");
    }
}
