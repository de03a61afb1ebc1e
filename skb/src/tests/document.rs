//! `docs/080-skb.md` says what is so: its schemas and its examples.

use super::all;
use crate::KnowledgeBase;
use crate::schema::SCHEMAS;
use alloc::string::String;
use alloc::vec::Vec;

const DOCUMENT: &str = include_str!("../../../docs/080-skb.md");

#[test]
fn every_schema_stands_in_the_document() {
    for schema in SCHEMAS {
        let row = std::format!("| `{}({})` |", schema.name, schema.arguments.join(", "));
        assert!(DOCUMENT.contains(&row), "{row}");
    }
}

#[test]
fn every_example_gives_the_answers_that_it_shows() {
    let mut kb = KnowledgeBase::with_rules();
    let mut examples = 0;
    let mut expected: Option<(String, Vec<String>)> = None;
    let mut inside = false;
    for line in DOCUMENT.lines() {
        match line {
            "```prolog" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => {
                if let Some(goal) = line.strip_prefix("?- ") {
                    let answers = all(&mut kb, goal);
                    expected = Some((goal.into(), answers));
                    examples += 1;
                } else if let Some(answer) = line.strip_prefix("%= ") {
                    let (goal, answers) = expected.as_mut().expect("an answer follows a goal");
                    assert!(!answers.is_empty(), "{goal}: fewer answers than shown");
                    assert_eq!(answers.remove(0), answer, "{goal}");
                } else if !line.is_empty() {
                    kb.consult(line).unwrap_or_else(|e| panic!("{line}: {e}"));
                }
                if let Some((goal, answers)) = &expected
                    && !line.starts_with("?- ")
                    && !line.starts_with("%= ")
                {
                    assert!(
                        answers.is_empty(),
                        "{goal}: more answers than shown: {answers:?}"
                    );
                }
            }
        }
    }
    assert_eq!(examples, 9);
}
