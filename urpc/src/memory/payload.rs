//! The seven payload words of a line, on real memory.
//!
//! They are atomic words, accessed relaxed: the header's and the index's orderings make sure that what
//! is read is whole, and a peer that writes out of turn changes values only.

use crate::PAYLOAD_WORDS;
use core::sync::atomic::{AtomicU64, Ordering};

/// The payload of one line.
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct Payload([AtomicU64; PAYLOAD_WORDS]);

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
