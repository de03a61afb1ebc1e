//! What guests and their runner say to each other, as `docs/047-running.md` fixes it: each line's
//! form is in one place, to be written by guests ([`core::fmt::Display`]) and read by the runner
//! (`parse`).
//!
//! | line | type |
//! | --- | --- |
//! | `test NAME ... ok` | [`TestResult`], written by a [`Reporter`] |
//! | `bench: NAME VALUE UNIT n=N min=MIN median=MEDIAN` | [`Figure`] |
//! | `path: NUMBER TEXT`, `entry: NUMBER TEXT` | [`Mark`] |
//! | `capelin: at the prompt N.NNN ms after firmware handed over` | [`BootTime`] |
//! | `capelin: exec status N` | [`ExecStatus`] |
//! | `capelin: fatal: REASON` | [`Fatal`] |
//!
//! Nothing here allocates: tests of the kernel have no heap.
#![no_std]
#![forbid(unsafe_code)]

mod ending;
mod figure;
mod mark;
mod test;

pub use ending::{BootTime, EXEC_ARGUMENT, ExecStatus, Fatal};
pub use figure::{Figure, FigureError, Hundredths};
pub use mark::{Mark, MarkKind};
pub use test::{Reporter, TestOutcome, TestResult};
