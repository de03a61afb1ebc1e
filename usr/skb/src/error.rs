//! The engine's errors as the interface tells them.

use alloc::string::ToString;

use capelin_interfaces::skb::SkbError;
use capelin_skb::Error;

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

#[cfg(test)]
mod tests {
    use super::*;
    use capelin_skb::KnowledgeBase;

    fn error(goal: &str) -> SkbError {
        let mut kb = KnowledgeBase::new();
        match kb.first(goal) {
            Err(error) => to_wire(&error),
            Ok(_) => panic!("{goal} is no error"),
        }
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
