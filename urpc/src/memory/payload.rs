//! The seven payload words of a line.
//!
//! On real memory they are atomic words, accessed relaxed: the header's and the index's orderings
//! make sure that what is read is whole, and a peer that writes out of turn changes values only.
//! Under the model checker they are one cell, whose every access `loom` checks against the
//! happens-before order that those orderings give. So a model fails if a payload can be read
//! while it may be written, or the other way round, whatever values would come of it.

use crate::PAYLOAD_WORDS;
#[cfg(not(loom))]
use core::sync::atomic::{AtomicU64, Ordering};

/// The payload of one line.
#[cfg(not(loom))]
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct Payload([AtomicU64; PAYLOAD_WORDS]);

#[cfg(not(loom))]
impl Payload {
    pub(super) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; PAYLOAD_WORDS])
    }

    pub(super) fn word(&self, index: usize) -> Option<&AtomicU64> {
        self.0.get(index)
    }

    /// Copies all words out.
    #[inline(always)]
    pub(super) fn read(&self) -> [u64; PAYLOAD_WORDS] {
        core::array::from_fn(|word| self.0[word].load(Ordering::Relaxed))
    }

    /// Copies the first words in, at most seven; the others keep what they hold.
    #[inline(always)]
    pub(super) fn write(&self, words: &[u64]) {
        for (shared, word) in self.0.iter().zip(words) {
            shared.store(*word, Ordering::Relaxed);
        }
    }
}

/// The payload of one modelled line.
#[cfg(loom)]
#[derive(Debug)]
pub(super) struct Payload(loom::cell::UnsafeCell<[u64; PAYLOAD_WORDS]>);

// SAFETY: `loom` fails the model on any two conflicting accesses that aren't ordered.
#[cfg(loom)]
unsafe impl Sync for Payload {}

#[cfg(loom)]
impl Payload {
    pub(super) fn new() -> Self {
        Self(loom::cell::UnsafeCell::new([0; PAYLOAD_WORDS]))
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
