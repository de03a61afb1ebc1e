//! How a figure is measured and printed.

use alloc::vec::Vec;

use capelin_rt::{println, time};

/// Batches of each figure.
pub(crate) const BATCHES: u64 = 11;

/// Ticks of the counter, each of a batch of so many operations.
#[derive(Debug)]
pub(crate) struct Figures {
    name: &'static str,
    count: u64,
    ticks: Vec<u64>,
}

impl Figures {
    /// Figures of `count` operations a batch.
    pub(crate) const fn new(name: &'static str, count: u64) -> Self {
        Self {
            name,
            count,
            ticks: Vec::new(),
        }
    }

    /// Notes a batch that began when the counter was at `start`.
    pub(crate) fn note(&mut self, start: u64) {
        self.ticks.push(time::now() - start);
    }

    /// Prints mean, minimum and median of a single operation.
    pub(crate) fn print(mut self) {
        self.ticks.sort_unstable();
        let batches = self.ticks.len() as u64;
        let sum: u64 = self.ticks.iter().sum();
        let (Some(&least), Some(&median)) =
            (self.ticks.first(), self.ticks.get(self.ticks.len() / 2))
        else {
            return;
        };
        let mean = Hundredths::of(sum, self.count * batches);
        let (least, median) = (
            Hundredths::of(least, self.count),
            Hundredths::of(median, self.count),
        );
        println!(
            "bench: {} {mean} instructions n={} min={least} median={median}",
            self.name,
            self.count * batches
        );
    }
}

/// Hundredths of an instruction.
struct Hundredths(u64);

impl Hundredths {
    /// `ticks` divided among `count`; an instruction is a nanosecond.
    fn of(ticks: u64, count: u64) -> Self {
        let instructions = ticks * (1_000_000_000 / time::frequency().max(1));
        Self(instructions * 100 / count.max(1))
    }
}

impl core::fmt::Display for Hundredths {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}
