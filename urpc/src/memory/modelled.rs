//! Shared memory for the model checker: the same operations as `mapped`, on `loom`'s types.
//!
//! A payload is one `UnsafeCell` whose every access `loom` checks against the happens-before order
//! that the atomics give, so the models prove more than they would with relaxed words: that a
//! payload is never read while it may be written, nor the other way round.

use crate::PAYLOAD_WORDS;
use loom::cell::UnsafeCell;
pub(crate) use loom::sync::atomic::{AtomicU64 as Word, fence};
use std::sync::atomic::Ordering;

/// One modelled line.
#[derive(Debug)]
pub struct Line {
    payload: UnsafeCell<[u64; PAYLOAD_WORDS]>,
    header: Word,
}

// SAFETY: `loom` fails the model on any two conflicting accesses to `payload` that aren't ordered.
unsafe impl Sync for Line {}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

impl Line {
    /// A line of zeros.
    #[must_use]
    pub fn new() -> Self {
        Self {
            payload: UnsafeCell::new([0; PAYLOAD_WORDS]),
            header: Word::new(0),
        }
    }

    pub(crate) fn header(&self) -> &Word {
        &self.header
    }

    pub(crate) fn write(&self, words: &[u64; PAYLOAD_WORDS]) {
        // SAFETY: `loom` fails the model unless this write is ordered with all other accesses.
        self.payload
            .with_mut(|payload| unsafe { *payload = *words });
    }

    pub(crate) fn read(&self) -> [u64; PAYLOAD_WORDS] {
        // SAFETY: `loom` fails the model unless this read is ordered with all writes.
        self.payload.with(|payload| unsafe { *payload })
    }
}

/// The slots of a ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots<'m> {
    lines: &'m [Line],
}

impl<'m> Slots<'m> {
    pub(crate) fn new(lines: &'m [Line]) -> Option<Self> {
        lines.len().is_power_of_two().then_some(Self { lines })
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the mask takes only low bits"
    )]
    pub(crate) fn slot(&self, sequence: u64) -> Slot<'m> {
        Slot(&self.lines[sequence as usize & (self.lines.len() - 1)])
    }
}

/// One slot.
pub(crate) struct Slot<'m>(&'m Line);

impl Slot<'_> {
    pub(crate) fn load(&self) -> u64 {
        self.0.header.load(Ordering::Acquire)
    }

    pub(crate) fn publish(&self, header: u64) {
        self.0.header.store(header, Ordering::Release);
    }

    pub(crate) fn read(&self) -> [u64; PAYLOAD_WORDS] {
        self.0.read()
    }

    pub(crate) fn write(&self, words: &[u64; PAYLOAD_WORDS]) {
        self.0.write(words);
    }

    pub(crate) fn write_prefix(&self, words: &[u64]) {
        let mut payload = [0; PAYLOAD_WORDS];
        for (to, from) in payload.iter_mut().zip(words) {
            *to = *from;
        }
        self.0.write(&payload);
    }

    pub(crate) fn wait_while(&self, _idle: u32) {
        relax();
    }
}

/// Lets another modelled thread run.
pub(crate) fn relax() {
    loom::thread::yield_now();
}
