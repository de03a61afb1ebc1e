//! What test programs and benches stand on that are programs of the runtime, as tests of the kernel
//! stand on `tests/harness`. Both tell their results by `lib/report`.
//!
//! A test is a function that returns an [`Outcome`]; the checks in it are [`ensure!`], [`equal`],
//! [`check`], and [`why`] or [`must`] where something may not fail.
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod figures;

use alloc::{format, string::String};
use core::fmt::{Debug, Display};

pub use capelin_report::{Figure, Hundredths, Reporter};
use capelin_rt::println;

/// What a test comes to: nothing wrong, or what.
pub type Outcome = Result<(), String>;

/// One that prints to the program's standard output.
#[must_use]
pub const fn reporter() -> Reporter {
    Reporter::new(|line| println!("{line}"))
}

/// An error as a test's outcome.
pub fn why(error: impl Display) -> String {
    format!("{error}")
}

/// What `result` holds.
///
/// # Errors
/// Its error, and what was done.
pub fn must<T, E: Debug>(what: &str, result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error:?}"))
}

/// That `found` is `expected`.
///
/// # Errors
/// Saying `what`, and both.
pub fn equal<T: PartialEq + Debug>(what: &str, found: T, expected: T) -> Outcome {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: {found:?}, not {expected:?}"))
}

/// That `holds`.
///
/// # Errors
/// Saying `what`.
pub fn check(what: &str, holds: bool) -> Outcome {
    if holds { Ok(()) } else { Err(what.into()) }
}

/// Fails a test unless a condition holds: `ensure!(a == b, "{a}, not {b}")`.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($arguments:tt)*) => {
        if !$condition {
            return Err($crate::formatted(::core::format_args!($($arguments)*)));
        }
    };
}

/// Text of [`ensure!`].
#[doc(hidden)]
#[must_use]
pub fn formatted(arguments: core::fmt::Arguments<'_>) -> String {
    alloc::fmt::format(arguments)
}
