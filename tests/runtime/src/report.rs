//! What came of the tests.

use alloc::string::String;
use core::fmt::Display;

use capelin_rt::println;

/// Why a test failed.
pub(crate) type Outcome = Result<(), String>;

/// Counts failures.
#[derive(Debug, Default)]
pub(crate) struct Report {
    failed: u32,
}

impl Report {
    /// Tells the result of test `name`.
    pub(crate) fn tell(&mut self, name: &str, outcome: Outcome) {
        match outcome {
            Ok(()) => println!("test {name} ... ok"),
            Err(why) => {
                println!("{name}: {why}");
                println!("test {name} ... FAILED");
                self.failed += 1;
            }
        }
    }

    /// Tests that failed.
    pub(crate) const fn failed(&self) -> u32 {
        self.failed
    }
}

/// An error as a test's outcome.
pub(crate) fn why(error: impl Display) -> String {
    alloc::format!("{error}")
}

/// Fails a test unless a condition holds.
macro_rules! ensure {
    ($condition:expr, $($arguments:tt)*) => {
        if !$condition {
            return Err(alloc::format!($($arguments)*));
        }
    };
}
pub(crate) use ensure;
