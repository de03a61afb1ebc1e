//! The allocator: a buddy heap in pages of the loader's own, which serves before boot
//! services end and after.
//!
//! UEFI runs one core, and an application's code isn't entered by its interrupts: there is
//! nobody to lock out.

#![expect(unsafe_code, reason = "hands out memory")]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::NonNull;

use buddy_system_allocator::Heap;
use uefi::boot::{self, AllocateType, MemoryType};

/// Blocks up to 2^31 bytes: more than there is.
const ORDERS: usize = 32;
/// Bytes: for the boot image, of which a block is twice as large at worst; a tree of 2 MiB
/// and the facts for it take less.
const BYTES: usize = 64 << 20;

struct LoaderHeap(UnsafeCell<Heap<ORDERS>>);

// SAFETY: one core, and nobody interrupts the loader to allocate.
unsafe impl Sync for LoaderHeap {}

#[global_allocator]
static HEAP: LoaderHeap = LoaderHeap(UnsafeCell::new(Heap::new()));

/// Gets memory. Once, before anything is allocated.
///
/// # Errors
///
/// If firmware has none.
pub(crate) fn init() -> uefi::Result {
    let count = BYTES / boot::PAGE_SIZE;
    let pages = boot::allocate_pages(AllocateType::AnyPages, MemoryType::LOADER_DATA, count)?;
    // SAFETY: nobody else holds a reference: one core, and `Heap` calls nothing that
    // allocates.
    let heap = unsafe { &mut *HEAP.0.get() };
    // SAFETY: the pages are ours for good, and added once.
    unsafe { heap.init(pages.as_ptr().expose_provenance(), BYTES) };
    Ok(())
}

// SAFETY: `Heap` hands out disjoint blocks of the size and alignment asked for.
unsafe impl GlobalAlloc for LoaderHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `init`.
        let heap = unsafe { &mut *self.0.get() };
        heap.alloc(layout)
            .map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as in `init`.
        let heap = unsafe { &mut *self.0.get() };
        if let Some(pointer) = NonNull::new(pointer) {
            // SAFETY: the caller got it from `alloc` with this layout.
            unsafe { heap.dealloc(pointer, layout) };
        }
    }
}
