//! `test NAME ... ok`, and why not.

use alloc::{format, string::String};
use core::fmt::Debug;

use capelin_rt::{print, println};

/// What a test finds: nothing wrong, or what.
pub(crate) type Outcome = Result<(), String>;

/// Counts tests that failed.
#[derive(Default)]
pub(crate) struct Report {
    failed: u32,
}

impl Report {
    /// Tells how a test went.
    pub(crate) async fn test(&mut self, name: &str, test: impl Future<Output = Outcome>) {
        match test.await {
            Ok(()) => println!("test {name} ... ok"),
            Err(why) => {
                self.failed += 1;
                println!("{name}: {why}");
                println!("test {name} ... FAILED");
            }
        }
        // Others write to the console, too: ours comes first.
        print::flush().await;
    }

    /// Tests that failed.
    pub(crate) const fn failed(&self) -> u32 {
        self.failed
    }
}

/// What `result` holds.
pub(crate) fn must<T, E: Debug>(what: &str, result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error:?}"))
}

/// That `found` is `expected`.
pub(crate) fn equal<T: PartialEq + Debug>(what: &str, found: T, expected: T) -> Outcome {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: {found:?}, not {expected:?}"))
}

/// That `holds`.
pub(crate) fn check(what: &str, holds: bool) -> Outcome {
    if holds { Ok(()) } else { Err(what.into()) }
}
