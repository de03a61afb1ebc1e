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
use capelin_wake::Page;
use capelin_wake::page::WORDS;

use crate::address::DOORBELLS;

#[repr(C, align(4096))]
struct DoorbellPage([AtomicU64; WORDS]);

#[unsafe(link_section = ".capelin.doorbell")]
static PAGE: DoorbellPage = DoorbellPage([const { AtomicU64::new(0) }; WORDS]);

/// This kernel's page.
#[inline]
pub(crate) fn own() -> Page<'static, AtomicU64> {
    Page::new(&PAGE.0)
}

/// The page of `kernel`, which has been mapped.
#[inline]
pub(crate) fn remote(kernel: KernelId) -> Page<'static, AtomicU64> {
    let page = index(DOORBELLS + u64::from(kernel.0) * 4096);
    let pointer = ptr::with_exposed_provenance::<[AtomicU64; WORDS]>(page);
    // SAFETY: the page has been mapped at its fixed address, is never unmapped, and
    // all kernels access it by atomics only.
    Page::new(unsafe { &*pointer })
}
