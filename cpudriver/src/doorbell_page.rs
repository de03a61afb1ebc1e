//! The doorbell pages: this kernel's own, in its image, and those of other kernels
//! where the map has them. All kernels reach them by atomics only.

#![expect(
    unsafe_code,
    reason = "the doorbell pages, this kernel's own and the others'"
)]

use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

use capelin_aarch64::atomic::{self, Contended};
use capelin_abi::KernelId;
use capelin_kernel::narrow::index;
use capelin_wake::Page;
use capelin_wake::page::{WORDS, Word};

use crate::address::DOORBELLS;

/// A word of a doorbell page. Only kernels write it, each at most once a system call or
/// interrupt, so that even on cores without LSE somebody's turn doesn't fail for long.
#[repr(transparent)]
pub(crate) struct BellWord(AtomicU64);

/// Rounds of [`atomic`]'s attempts before this core gives up on a doorbell page that
/// another one must be writing without end.
const ROUNDS: u32 = 64;

impl BellWord {
    fn change(
        &self,
        operand: u64,
        operation: fn(&AtomicU64, u64) -> Result<u64, Contended>,
    ) -> u64 {
        for _ in 0..ROUNDS {
            if let Ok(old) = operation(&self.0, operand) {
                return old;
            }
        }
        panic!("another core writes a doorbell page without end");
    }
}

/// The orders asked for are those of acquire and release, or weaker: [`atomic`]'s are
/// both.
impl Word for BellWord {
    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    #[inline]
    fn swap(&self, value: u64, _: Ordering) -> u64 {
        self.change(value, atomic::swap)
    }

    #[inline]
    fn fetch_or(&self, bits: u64, _: Ordering) -> u64 {
        self.change(bits, atomic::fetch_or)
    }

    #[inline]
    fn fetch_and(&self, bits: u64, _: Ordering) -> u64 {
        self.change(!bits, atomic::fetch_clear)
    }
}

#[repr(C, align(4096))]
struct DoorbellPage([BellWord; WORDS]);

#[unsafe(link_section = ".capelin.doorbell")]
static PAGE: DoorbellPage = DoorbellPage([const { BellWord(AtomicU64::new(0)) }; WORDS]);

/// This kernel's page.
#[inline]
pub(crate) fn own() -> Page<'static, BellWord> {
    Page::new(&PAGE.0)
}

/// The page of `kernel`, which has been mapped.
#[inline]
pub(crate) fn remote(kernel: KernelId) -> Page<'static, BellWord> {
    let page = index(DOORBELLS + u64::from(kernel.0) * 4096);
    let pointer = ptr::with_exposed_provenance::<[BellWord; WORDS]>(page);
    // SAFETY: the page has been mapped at its fixed address, is never unmapped, and
    // all kernels access it by atomics only.
    Page::new(unsafe { &*pointer })
}
