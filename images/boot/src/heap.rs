//! The allocator for the device tree: a buddy heap in the image's own memory.
//!
//! One core, no interrupts: there is nobody to lock out.

#![expect(unsafe_code, reason = "hands out memory")]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::NonNull;

use buddy_system_allocator::Heap;
use capelin_boot::HEAP_BYTES;
use capelin_dt::Region;

/// Blocks up to 2^31 bytes: more than there is.
const ORDERS: usize = 32;

#[repr(C, align(64))]
struct Arena(UnsafeCell<[u8; HEAP_BYTES]>);

// SAFETY: one core and no interrupts, so there is one user at a time.
unsafe impl Sync for Arena {}

// SAFETY: the section is memory of its own; not zeroed, which nobody relies on.
#[unsafe(link_section = ".noinit.heap")]
static ARENA: Arena = Arena(UnsafeCell::new([0; HEAP_BYTES]));

struct BootHeap(UnsafeCell<Heap<ORDERS>>);

// SAFETY: as for `Arena`.
unsafe impl Sync for BootHeap {}

#[global_allocator]
static HEAP: BootHeap = BootHeap(UnsafeCell::new(Heap::new()));

/// Gives memory besides the arena to the heap.
///
/// # Safety
/// 1. It is memory that nobody else uses from now on, below the end of the address
///    space, and no other part of this heap.
pub(crate) unsafe fn add(region: Region) {
    let (Ok(start), Ok(end)) = (
        usize::try_from(region.base.0),
        usize::try_from(region.end()),
    ) else {
        return;
    };
    // SAFETY: as in `init`.
    let heap = unsafe { &mut *HEAP.0.get() };
    // SAFETY: it is ours (1).
    unsafe { heap.add_to_heap(start, end) };
}

/// Gives the arena to the heap. Once, before anything is allocated.
pub(crate) fn init() {
    // SAFETY: nobody else holds a reference: one core, and `Heap` calls nothing
    // that allocates.
    let heap = unsafe { &mut *HEAP.0.get() };
    let start = ARENA.0.get().expose_provenance();
    // SAFETY: the arena is ours, lives for ever, and is added once.
    unsafe { heap.init(start, HEAP_BYTES) };
}

// SAFETY: `Heap` hands out disjoint blocks of the size and alignment asked for.
unsafe impl GlobalAlloc for BootHeap {
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
