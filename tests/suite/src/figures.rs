//! How a figure is measured and printed.

use alloc::vec::Vec;

use capelin_report::Figure;
use capelin_rt::{println, time};

/// Batches of each figure.
pub const BATCHES: u64 = 11;

/// Instructions of batches of so many operations each, by the counter: under `-icount`, where an
/// instruction takes a nanosecond.
#[derive(Debug)]
pub struct Figures {
    name: &'static str,
    operations: u64,
    instructions: Vec<u64>,
}

impl Figures {
    /// Figures of `operations` operations a batch.
    #[must_use]
    pub const fn new(name: &'static str, operations: u64) -> Self {
        Self {
            name,
            operations,
            instructions: Vec::new(),
        }
    }

    /// Notes a batch that began when the counter was at `start`.
    pub fn note(&mut self, start: u64) {
        let ticks = time::now() - start;
        let each = 1_000_000_000 / time::frequency().max(1);
        self.instructions.push(ticks * each);
    }

    /// Prints mean, minimum and median of a single operation.
    pub fn print(mut self) {
        let batches = &mut self.instructions;
        if let Some(figure) =
            Figure::of_batches(self.name, "instructions", self.operations, batches)
        {
            println!("{figure}");
        }
    }
}
