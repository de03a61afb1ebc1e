//! Read-modify-write of one word in a bounded number of steps.
//!
//! A loop of load-exclusive and store-exclusive ends when nobody else writes the
//! line meanwhile (Arm ARM B2.12.5: progress is promised to some core, not to this
//! one). On a word that user space can write from another core, with interrupts
//! masked, that is no bound. So: one instruction where the core has FEAT_LSE, which
//! the core or the interconnect completes whoever else writes; else a number of
//! attempts, and then [`Contended`].
//!
//! The kernel is built for cores without LSE, so the choice is made when it runs, by
//! [`init`] from the identification register.

#![expect(unsafe_code, reason = "exclusives, and instructions of an extension")]

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::cpu::Features;

/// Attempts without LSE: each costs some ten cycles when it fails at once, and what an
/// honest peer does on the word is over after one.
const ATTEMPTS: u32 = 256;

/// The word was written by others during every attempt; it is unchanged by us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contended;

/// Which instructions are used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// `LDSETAL`, `SWPAL`, `LDCLRAL`.
    Lse,
    /// `LDAXR`, `STLXR`, so many times.
    Exclusives {
        /// How often it is tried.
        attempts: u32,
    },
}

/// Whether this core has FEAT_LSE. An image is private to a core.
static HAS_LSE: AtomicBool = AtomicBool::new(false);

/// Chooses the method for this core. Before, it is the one that every core has.
pub fn init(features: &Features) {
    HAS_LSE.store(features.lse, Ordering::Relaxed);
}

impl Method {
    /// What this core uses.
    #[inline]
    #[must_use]
    pub fn of_this_core() -> Self {
        if HAS_LSE.load(Ordering::Relaxed) {
            Self::Lse
        } else {
            Self::Exclusives { attempts: ATTEMPTS }
        }
    }
}

macro_rules! operation {
    ($(#[$doc:meta])* $name:ident, $with:ident, $lse:literal, $compute:literal, $host:expr) => {
        $(#[$doc])*
        ///
        /// Acquires and releases.
        ///
        /// # Errors
        /// [`Contended`].
        #[inline]
        pub fn $name(word: &AtomicU64, operand: u64) -> Result<u64, Contended> {
            // SAFETY: 1. the method is this core's.
            unsafe { $with(word, operand, Method::of_this_core()) }
        }

        $(#[$doc])*
        /// By `method`, for tests of both.
        ///
        /// # Safety
        /// 1. The core has the instructions of `method`.
        ///
        /// # Errors
        /// [`Contended`].
        #[inline]
        pub unsafe fn $with(
            word: &AtomicU64,
            operand: u64,
            method: Method,
        ) -> Result<u64, Contended> {
            #[cfg(target_arch = "aarch64")]
            match method {
                Method::Lse => {
                    let old: u64;
                    // SAFETY: the word is alive and aligned, and shared by atomics
                    // only; the core has the instruction (1).
                    unsafe {
                        core::arch::asm!(
                            ".arch_extension lse",
                            concat!($lse, " {operand}, {old}, [{word}]"),
                            ".arch_extension nolse",
                            operand = in(reg) operand,
                            old = lateout(reg) old,
                            word = in(reg) word.as_ptr(),
                            options(nostack, preserves_flags)
                        );
                    }
                    Ok(old)
                }
                Method::Exclusives { attempts } => {
                    let (old, failed): (u64, u64);
                    // SAFETY: as above; every core has exclusives. Nothing stands
                    // between the pair but the sum, so the monitor stays (B2.12.5).
                    unsafe {
                        core::arch::asm!(
                            "mov {failed:w}, #1",
                            "2: cbz {left:w}, 3f",
                            "ldaxr {old}, [{word}]",
                            $compute,
                            "stlxr {failed:w}, {new}, [{word}]",
                            "sub {left:w}, {left:w}, #1",
                            "cbnz {failed:w}, 2b",
                            "3:",
                            left = inout(reg) attempts => _,
                            old = out(reg) old,
                            new = out(reg) _,
                            failed = out(reg) failed,
                            operand = in(reg) operand,
                            word = in(reg) word.as_ptr(),
                            options(nostack, preserves_flags)
                        );
                    }
                    if failed & 0xffff_ffff == 0 {
                        Ok(old)
                    } else {
                        Err(Contended)
                    }
                }
            }
            #[cfg(not(target_arch = "aarch64"))]
            match method {
                Method::Exclusives { attempts: 0 } => Err(Contended),
                _ => {
                    let on_host: fn(&AtomicU64, u64) -> u64 = $host;
                    Ok(on_host(word, operand))
                }
            }
        }
    };
}

operation!(
    /// Sets the bits of `operand`; the word as it was.
    fetch_or, fetch_or_with, "ldsetal", "orr {new}, {old}, {operand}",
    |word, bits| word.fetch_or(bits, Ordering::AcqRel)
);
operation!(
    /// Clears the bits of `operand`; the word as it was.
    fetch_clear, fetch_clear_with, "ldclral", "bic {new}, {old}, {operand}",
    |word, bits| word.fetch_and(!bits, Ordering::AcqRel)
);
operation!(
    /// Makes the word `operand`; the word as it was.
    swap, swap_with, "swpal", "mov {new}, {operand}",
    |word, value| word.swap(value, Ordering::AcqRel)
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_changes_and_its_old_value_is_told() {
        let word = AtomicU64::new(0b1100);
        assert_eq!(fetch_or(&word, 0b0110), Ok(0b1100));
        assert_eq!(fetch_clear(&word, 0b1000), Ok(0b1110));
        assert_eq!(swap(&word, 9), Ok(0b0110));
        assert_eq!(word.load(Ordering::Relaxed), 9);
    }

    #[test]
    fn without_an_attempt_the_word_stays() {
        let word = AtomicU64::new(5);
        let none = Method::Exclusives { attempts: 0 };
        // SAFETY: 1. every core has exclusives.
        let set = unsafe { fetch_or_with(&word, 2, none) };
        // SAFETY: as above.
        let swapped = unsafe { swap_with(&word, 2, none) };
        assert_eq!([set, swapped], [Err(Contended); 2]);
        assert_eq!(word.load(Ordering::Relaxed), 5);
    }
}
