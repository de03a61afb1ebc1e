//! The seven payload words of a line, for the model checker, in place of `payload`.
//!
//! They are one cell, whose every access `loom` checks against the happens-before order that the
//! header's and the index's orderings give. So a model fails if a payload can be read while it may be
//! written, or the other way round, whatever values would come of it.

use crate::PAYLOAD_WORDS;
use loom::cell::UnsafeCell;

/// The payload of one modelled line.
#[derive(Debug)]
pub(super) struct Payload(UnsafeCell<[u64; PAYLOAD_WORDS]>);

// SAFETY: `loom` fails the model on any two conflicting accesses that aren't ordered.
unsafe impl Sync for Payload {}

impl Payload {
    pub(super) fn new() -> Self {
        Self(UnsafeCell::new([0; PAYLOAD_WORDS]))
    }

    /// As on real memory.
    pub(super) fn read(&self) -> [u64; PAYLOAD_WORDS] {
        // SAFETY: `loom` fails the model unless this read is ordered with all writes.
        self.0.with(|payload| unsafe { *payload })
    }

    /// As on real memory.
    pub(super) fn write(&self, words: &[u64]) {
        self.0.with_mut(|payload| {
            // SAFETY: `loom` fails the model unless this write is ordered with all other accesses.
            let payload = unsafe { &mut *payload };
            for (to, from) in payload.iter_mut().zip(words) {
                *to = *from;
            }
        });
    }
}
