//! A dispatcher's count of deliveries.
//!
//! The kernel's own count decides whether a wait blocks; the frame's copy is for the runtime to
//! read. All that makes something visible to a runtime goes through here, so that none of it
//! can be forgotten: bits of the doorbell page can be put into a frame only by [`Deliveries::take`],
//! which counts.

use crate::page::{Page, Word};

/// What the kernel writes of a dispatcher frame here.
pub trait Frame {
    /// Adds bits to the Notify word, atomically.
    fn add_notified(&self, bits: u64);
    /// Writes the count, after (release) what it counts.
    fn set_delivered(&self, count: u64);
}

/// The kernel's count of what has become visible to one dispatcher.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Deliveries(u64);

impl Deliveries {
    /// Nothing has been delivered.
    pub const NONE: Self = Self(0);

    /// The count.
    #[inline]
    #[must_use]
    pub const fn count(self) -> u64 {
        self.0
    }

    /// Counts something that has just become visible. A dispatcher that has lost its frame sees
    /// nothing, and is counted for all the same.
    #[inline]
    pub fn add(&mut self, frame: Option<&impl Frame>) {
        self.0 = self.0.wrapping_add(1);
        if let Some(frame) = frame {
            frame.set_delivered(self.0);
        }
    }

    /// Notify bits from this core: visible at once.
    #[inline]
    pub fn notify(&mut self, bits: u64, frame: Option<&impl Frame>) {
        if let Some(frame) = frame {
            frame.add_notified(bits);
        }
        self.add(frame);
    }

    /// Moves the bits of the dispatcher's `word` from the doorbell page into its frame. Called
    /// whenever the dispatcher is about to run, to wait, or to be told.
    #[inline]
    pub fn take<W: Word>(&mut self, page: Page<'_, W>, word: usize, frame: &impl Frame) {
        if page.is_rung(word) {
            self.take_rung(page, word, frame);
        }
    }

    #[cold]
    fn take_rung<W: Word>(&mut self, page: Page<'_, W>, word: usize, frame: &impl Frame) {
        let bits = page.take(word);
        if bits != 0 {
            self.notify(bits, Some(frame));
        }
    }

    /// Whether a dispatcher that has looked at everything up to `seen` may block. Follows
    /// [`Deliveries::take`].
    #[inline]
    #[must_use]
    pub const fn may_block(self, seen: u64) -> bool {
        self.0 == seen
    }
}
