//! The doorbell pages: this kernel's own, in its image, and those of other kernels
//! where the map has them. All kernels reach them by atomics only.

#![expect(
    unsafe_code,
    reason = "the doorbell pages, this kernel's own and the others'"
)]

use core::ptr;
use core::sync::atomic::AtomicU64;

use capelin_abi::KernelId;
use capelin_kernel::narrow::index;

use crate::address::DOORBELLS;

#[repr(C, align(4096))]
struct DoorbellPage([AtomicU64; 512]);

#[unsafe(link_section = ".capelin.doorbell")]
static PAGE: DoorbellPage = DoorbellPage([const { AtomicU64::new(0) }; 512]);

/// Word `word` (modulo 512) of this kernel's page.
#[inline]
pub(crate) fn own(word: usize) -> &'static AtomicU64 {
    &PAGE.0[word & 511]
}

/// Word `word` (modulo 512) of the page of `kernel`, which has been mapped.
#[inline]
pub(crate) fn remote(kernel: KernelId, word: usize) -> &'static AtomicU64 {
    let page = DOORBELLS + u64::from(kernel.0) * 4096;
    let pointer = ptr::with_exposed_provenance_mut::<u64>(index(page) + (word & 511) * 8);
    // SAFETY: the page has been mapped at its fixed address, is never unmapped, and
    // all kernels access it by atomics only.
    unsafe { AtomicU64::from_ptr(pointer) }
}
