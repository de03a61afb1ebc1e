//! What this kernel shares with others (`capelin_peers`): its own shared pages, in its
//! image, those of other kernels where the map has them, and the table of all kernels.
//! All of it is atomic words, any bits of which are valid.

#![expect(unsafe_code, reason = "references to pages that other kernels reach")]

use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

use capelin_aarch64::atomic::{self, Contended};
use capelin_abi::KernelId;
use capelin_kernel::narrow::index;
use capelin_peers::shared::DOORBELL_WORDS;
use capelin_peers::{PeerTable, SharedPages};
use capelin_wake::Page;
use capelin_wake::page::Word;

use crate::address::{PEERS, SHARED};

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

#[unsafe(link_section = ".capelin.doorbell")]
static OWN: SharedPages = SharedPages::new();

/// This kernel's own.
#[inline]
pub(crate) fn own() -> &'static SharedPages {
    &OWN
}

/// Those of `kernel`, which is below [`KernelId::LIMIT`].
///
/// # Safety
/// 1. They have been mapped ([`crate::map::KernelMap::map_shared`]).
#[inline]
pub(crate) unsafe fn remote(kernel: KernelId) -> &'static SharedPages {
    let pages = SHARED + u64::from(kernel.0) * SharedPages::BYTES;
    // SAFETY: mapped writable at their fixed address (1), never unmapped, and all
    // kernels access them by atomics only.
    unsafe { &*ptr::with_exposed_provenance::<SharedPages>(index(pages)) }
}

/// The table of all kernels.
///
/// # Safety
/// 1. It has been mapped ([`crate::map::KernelMap::map_peers`]).
pub(crate) unsafe fn peers() -> &'static PeerTable {
    // SAFETY: mapped writable at its fixed address (1), never unmapped, and all kernels
    // access it by atomics only.
    unsafe { &*ptr::with_exposed_provenance::<PeerTable>(index(PEERS)) }
}

/// The doorbell of a kernel's shared pages.
#[inline]
pub(crate) fn bells(pages: &'static SharedPages) -> Page<'static, BellWord> {
    let words: *const [AtomicU64; DOORBELL_WORDS] = &raw const pages.doorbell;
    // SAFETY: a BellWord is an AtomicU64 (`repr(transparent)`), and the pages stay.
    Page::new(unsafe { &*words.cast::<[BellWord; DOORBELL_WORDS]>() })
}
