//! The engine and the rules through the public interface.

mod bounds;
mod clients;
mod document;
mod engine;
mod errors;
mod pci;
mod rules;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::{Error, KnowledgeBase};

/// All solutions of a query as texts, `A=1 B=2` each.
pub(crate) fn all(kb: &mut KnowledgeBase, text: &str) -> Vec<String> {
    let mut query = kb.query(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let mut answers = Vec::new();
    while let Some(solution) = query.next(kb).unwrap_or_else(|e| panic!("{text}: {e}")) {
        let bindings: Vec<String> = solution
            .bindings()
            .iter()
            .map(|(name, term)| std::format!("{name}={term}"))
            .collect();
        answers.push(bindings.join(" "));
    }
    answers
}

/// All solutions over a program of its own.
fn run(program: &str, query: &str) -> Vec<String> {
    let mut kb = KnowledgeBase::new();
    kb.consult(program)
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    all(&mut kb, query)
}

/// The error term that a query ends with.
fn error(program: &str, query: &str) -> String {
    let mut kb = KnowledgeBase::new();
    kb.consult(program)
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    error_of(kb.first(query).map(|s| s.is_some()), query)
}

fn error_of<T: core::fmt::Debug>(result: Result<T, Error>, what: &str) -> String {
    match result {
        Err(error) => error.term().to_string(),
        Ok(value) => panic!("{what}: no error but {value:?}"),
    }
}
