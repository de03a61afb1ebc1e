//! Results of tests, and who tells them.
//!
//! ```text
//!   src/main.rs:17: a second mapping in the same slot: got Ok, want SlotInUse
//! test mapping/slots ... FAILED
//! ```

use core::fmt::{self, Display, Formatter};

use crate::ExecStatus;

/// How a test went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TestOutcome {
    /// As it should.
    Passed,
    /// Otherwise; the lines before say why.
    Failed,
}

/// The result of one test, in the form of Rust's own (libtest's).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TestResult<'a> {
    /// Which.
    pub name: &'a str,
    /// How it went.
    pub outcome: TestOutcome,
}

const PREFIX: &str = "test ";
const OUTCOMES: [(TestOutcome, &str); 2] = [
    (TestOutcome::Passed, " ... ok"),
    (TestOutcome::Failed, " ... FAILED"),
];

impl<'a> TestResult<'a> {
    /// The result in `line`, if it is such a line.
    #[must_use]
    pub fn parse(line: &'a str) -> Option<Self> {
        let test = line.trim_end().strip_prefix(PREFIX)?;
        OUTCOMES.into_iter().find_map(|(outcome, end)| {
            let name = test.strip_suffix(end)?;
            Some(Self { name, outcome })
        })
    }
}

impl Display for TestResult<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let end = OUTCOMES
            .iter()
            .find(|(outcome, _)| *outcome == self.outcome);
        let end = end.map_or("", |(_, end)| end);
        write!(f, "{PREFIX}{}{end}", self.name)
    }
}

/// Tells the results of a program's tests, and counts them.
#[derive(Debug)]
pub struct Reporter {
    /// Prints a line.
    say: fn(fmt::Arguments<'_>),
    failed: u32,
}

impl Reporter {
    /// One that prints each line by `say`, which adds the line's end.
    #[must_use]
    pub const fn new(say: fn(fmt::Arguments<'_>)) -> Self {
        Self { say, failed: 0 }
    }

    /// Tells how test `name` went, and before that what was wrong.
    pub fn tell(&mut self, name: &str, result: Result<(), impl Display>) {
        let outcome = match result {
            Ok(()) => TestOutcome::Passed,
            Err(why) => {
                self.failed += 1;
                (self.say)(format_args!("  {why}"));
                TestOutcome::Failed
            }
        };
        (self.say)(format_args!("{}", TestResult { name, outcome }));
    }

    /// Tests that failed.
    #[must_use]
    pub const fn failed(&self) -> u32 {
        self.failed
    }

    /// All tests have run: the last line, for a guest that switches the machine off next.
    pub fn end(&self) {
        (self.say)(format_args!("{}", ExecStatus(self.failed)));
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::cell::RefCell;
    use std::string::{String, ToString};
    use std::vec::Vec;

    std::thread_local! {
        static SAID: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    #[test]
    fn failures_are_explained_and_counted() {
        let mut reporter = Reporter::new(|line| {
            SAID.with_borrow_mut(|said| said.push(line.to_string()));
        });
        reporter.tell("a/good", Ok::<_, &str>(()));
        reporter.tell("a/bad", Err("3, not 4"));
        assert_eq!(reporter.failed(), 1);
        reporter.end();
        let said = SAID.take();
        let expected = [
            "test a/good ... ok",
            "  3, not 4",
            "test a/bad ... FAILED",
            "capelin: exec status 1",
        ];
        assert_eq!(said, expected);
        let names = said.iter().filter_map(|line| TestResult::parse(line));
        let results: Vec<_> = names.map(|test| (test.name, test.outcome)).collect();
        let passed = ("a/good", TestOutcome::Passed);
        assert_eq!(results, [passed, ("a/bad", TestOutcome::Failed)]);
    }

    #[test]
    fn other_lines_are_none() {
        for line in ["test tube", "a test x ... ok", "test x ... okay", ""] {
            assert_eq!(TestResult::parse(line), None, "{line}");
        }
        let cut = TestResult::parse("test x ... ok\r").map(|test| test.name);
        assert_eq!(cut, Some("x"));
    }
}
