//! Doorbell pages (architecture.md section 6).
//!
//! Words 0–7 are summaries: bit *b* of word *s* says that word 8 + 64 *s* + *b* is to be looked
//! at. Each of those belongs to one dispatcher, and its bits are that dispatcher's Notify badges.
//!
//! Ringing sets the bit, then the summary bit, and sends an SGI if that was clear. Answering the
//! SGI clears the summary bit *before* the word is looked at; the word is emptied when its
//! dispatcher next runs or is about to wait, so that a flood costs its victim one interrupt a run.
//!
//! **No ring is lost.** A ring that finds its bit set says nothing more. That is right only if
//! whoever empties the word afterwards sees what the sender did before it rang, so the bit is
//! always set by a read-modify-write: a plain load could be answered with the bit of a word that
//! is being emptied, while the receiver reads memory as it was before (store buffering: neither
//! a swap with acquire and release nor an exception return keeps a later load behind the swap's
//! own store). With it, either the swap comes later and reads from this ring, whose release it
//! acquires, or it came before, and the ring finds the bit clear.

use core::sync::atomic::{AtomicU64, Ordering};

/// Words of a page.
pub const WORDS: usize = 512;
/// Words that say which others to look at.
pub const SUMMARY_WORDS: usize = 8;
/// Words that can belong to dispatchers.
pub const OWNERS: usize = WORDS - SUMMARY_WORDS;

/// An atomic word: the processor's, or a model checker's.
pub trait Word {
    /// As [`AtomicU64::load`].
    fn load(&self, order: Ordering) -> u64;
    /// As [`AtomicU64::swap`].
    fn swap(&self, value: u64, order: Ordering) -> u64;
    /// As [`AtomicU64::fetch_or`].
    fn fetch_or(&self, bits: u64, order: Ordering) -> u64;
    /// As [`AtomicU64::fetch_and`].
    fn fetch_and(&self, bits: u64, order: Ordering) -> u64;
}

impl Word for AtomicU64 {
    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        Self::load(self, order)
    }

    #[inline]
    fn swap(&self, value: u64, order: Ordering) -> u64 {
        Self::swap(self, value, order)
    }

    #[inline]
    fn fetch_or(&self, bits: u64, order: Ordering) -> u64 {
        Self::fetch_or(self, bits, order)
    }

    #[inline]
    fn fetch_and(&self, bits: u64, order: Ordering) -> u64 {
        Self::fetch_and(self, bits, order)
    }
}

/// What ringing asks its caller to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "the receiver isn't woken unless the SGI is sent"]
pub enum Ring {
    /// The receiver's core knows, or is about to be interrupted.
    Quiet,
    /// Send the receiver's core an SGI, after a `DSB ISHST`.
    Interrupt,
}

/// How far [`Page::answer`] came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "words that are left over are looked at only if the caller comes back"]
pub enum Answered {
    /// No summary bit was left.
    All,
    /// Others are left. Their senders send no more SGI: come back.
    More,
}

/// A doorbell page: this kernel's own, or another's.
#[derive(Debug)]
pub struct Page<'p, W>(&'p [W]);

impl<W> Clone for Page<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Page<'_, W> {}

impl<'p, W: Word> Page<'p, W> {
    /// The page of these words: [`WORDS`], or fewer in a model.
    #[inline]
    pub const fn new(words: &'p [W]) -> Self {
        Self(words)
    }

    /// Sender: sets `bit` (below 64) of `word`. A word that isn't a dispatcher's stays as it is.
    #[inline]
    pub fn ring(self, word: usize, bit: u32) -> Ring {
        let mask = 1_u64 << (bit & 63);
        let Some((at, summary_mask, summary)) = self.summary_of(word) else {
            return Ring::Quiet;
        };
        // Release: pairs with the swap in `take`, for all that the sender did before. Always a
        // read-modify-write: see the module documentation.
        if at.fetch_or(mask, Ordering::AcqRel) & mask != 0 {
            return Ring::Quiet;
        }
        // Release: whoever sees the summary bit (`answer`) sees the bit.
        if summary.fetch_or(summary_mask, Ordering::AcqRel) & summary_mask != 0 {
            return Ring::Quiet;
        }
        Ring::Interrupt
    }

    /// The word of a dispatcher, its bit in the summary and that summary.
    #[inline]
    fn summary_of(self, word: usize) -> Option<(&'p W, u64, &'p W)> {
        let number = word.checked_sub(SUMMARY_WORDS)?;
        let summary = self.0.get(..SUMMARY_WORDS)?.get(number / 64)?;
        Some((self.0.get(word)?, 1 << (number % 64), summary))
    }

    /// Receiver, after the SGI: calls `look` with each word that has been rung, at most `limit`
    /// times. Where it leaves off the summary bits stay set, so nothing is lost if the caller
    /// comes back.
    #[inline]
    pub fn answer(self, limit: usize, mut look: impl FnMut(usize)) -> Answered {
        let mut left = limit;
        for (number, summary) in self.0.iter().take(SUMMARY_WORDS).enumerate() {
            // A bit that is set after this load was clear: its setter sends an SGI.
            let mut set = summary.load(Ordering::Relaxed);
            while set != 0 {
                if left == 0 {
                    return Answered::More;
                }
                left -= 1;
                let bit = set.trailing_zeros() as usize;
                set &= set - 1;
                // Acquire: pairs with `ring`'s release of the summary.
                summary.fetch_and(!(1 << bit), Ordering::AcqRel);
                look(SUMMARY_WORDS + number * 64 + bit);
            }
        }
        Answered::All
    }

    /// Whether `word` has bits that are known here. A bit that isn't yet brings an interrupt.
    #[inline]
    pub fn is_rung(self, word: usize) -> bool {
        self.0
            .get(word)
            .is_some_and(|bits| word >= SUMMARY_WORDS && bits.load(Ordering::Relaxed) != 0)
    }

    /// Empties `word`: its bits.
    #[inline]
    pub fn take(self, word: usize) -> u64 {
        // Acquire: pairs with the release in `ring`.
        self.0
            .get(word)
            .map_or(0, |word| word.swap(0, Ordering::AcqRel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Vec<AtomicU64> {
        (0..WORDS).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn one_interrupt_until_it_is_answered() {
        let words = words();
        let page = Page::new(&words);
        assert_eq!(page.ring(8, 3), Ring::Interrupt);
        assert_eq!(page.ring(8, 3), Ring::Quiet);
        assert_eq!(page.ring(8, 4), Ring::Quiet);
        let mut seen = vec![];
        assert_eq!(page.answer(9, |word| seen.push(word)), Answered::All);
        assert_eq!(seen, [8]);
        // Not taken yet: a flood makes no second interrupt, another bit does.
        assert_eq!(page.ring(8, 3), Ring::Quiet);
        assert_eq!(page.ring(8, 5), Ring::Interrupt);
        assert_eq!(page.take(8), 0b11_1000);
        assert_eq!(page.take(8), 0);
        assert_eq!(page.ring(8, 3), Ring::Quiet);
        assert!(page.is_rung(8));
    }

    #[test]
    fn what_is_left_over_stays() {
        let words = words();
        let page = Page::new(&words);
        let rung = [8, 71, 72, 300, 511];
        for word in rung {
            let _ = page.ring(word, 0);
        }
        let mut seen = vec![];
        assert_eq!(page.answer(2, |word| seen.push(word)), Answered::More);
        assert_eq!(page.answer(2, |word| seen.push(word)), Answered::More);
        assert_eq!(page.answer(2, |word| seen.push(word)), Answered::All);
        assert_eq!(seen, rung);
        assert_eq!(page.answer(0, |_| panic!()), Answered::All);
    }

    #[test]
    fn summaries_are_no_dispatchers() {
        let words = words();
        let page = Page::new(&words);
        let _ = page.ring(8, 0);
        assert!(!page.is_rung(0));
        assert_eq!(page.take(8), 1);
        assert_eq!(page.answer(1, |_| {}), Answered::All);
        for word in [0, 7, 512, usize::MAX] {
            assert_eq!(page.ring(word, 0), Ring::Quiet);
            assert!(!page.is_rung(word));
        }
        assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
    }
}
