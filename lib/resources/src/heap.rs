//! The heap: a buddy allocator over an arena in the image, which grows by frames.
//!
//! Growing needs the memory managers, and they use the heap. So it grows early, while there is
//! still enough for them, and never while one of them is at work ([`Busy`]).
#![expect(unsafe_code, reason = "a global allocator hands out raw memory")]

use core::{
    alloc::{GlobalAlloc, Layout},
    cell::UnsafeCell,
    ops::RangeInclusive,
    ptr::{self, NonNull},
};

use buddy_system_allocator::Heap;
use capelin_abi::syscall::MapFlags;

use crate::{
    memory::{Busy, Frame},
    vspace::{self, Mapped},
};

/// Bytes of the arena in the image: most programs need no more, and each page costs time at the
/// start.
const ARENA_BYTES: usize = 32 * 1024;
/// The heap grows when less than this is left: an eighth of it, within these bounds. The managers'
/// lists, which grow while it does, are the longer the more there is.
const LOW_BYTES: RangeInclusive<usize> = 12 * 1024..=32 * 1024;
/// It grows by at least as much as there is, within these bounds; by less where no piece of
/// memory is so large.
const GROWTH_BYTES: RangeInclusive<usize> = 64 * 1024..=256 * 1024;
/// Blocks are at most 2^31 bytes.
const ORDERS: usize = 32;

#[repr(C, align(4096))]
struct Arena(UnsafeCell<[u8; ARENA_BYTES]>);

// SAFETY: only the heap below uses it, and only once.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena(UnsafeCell::new([0; ARENA_BYTES]));

/// The blocks, and when there should be more.
struct Managed {
    blocks: Heap<ORDERS>,
    /// Bytes in use above which it grows.
    high: usize,
}

local! {
    /// The heap.
    static HEAP: Managed = Managed { blocks: Heap::empty(), high: 0 };
}

struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

impl Managed {
    /// Adds the `bytes` bytes at `start`.
    ///
    /// # Safety
    /// They are mapped writable for good, and nobody else's.
    unsafe fn add(&mut self, start: usize, bytes: usize) {
        // SAFETY: the caller's.
        unsafe { self.blocks.add_to_heap(start, start + bytes) };
        let total = self.blocks.stats_total_bytes();
        self.high = total - (total / 8).clamp(*LOW_BYTES.start(), *LOW_BYTES.end());
    }

    /// Whether it should grow.
    fn is_low(&self) -> bool {
        self.blocks.stats_alloc_actual() > self.high
    }
}

/// Takes a block from what there is; says whether little is left.
fn take(layout: Layout) -> (Option<NonNull<u8>>, bool) {
    HEAP.with(|heap| {
        let Ok(mut heap) = heap.try_borrow_mut() else {
            // An upcall handler interrupted the allocator and allocates: it can't.
            return (None, false);
        };
        if heap.high == 0 {
            let start = ARENA.0.get().expose_provenance();
            // SAFETY: the arena is this heap's alone, and added once: the heap was empty.
            unsafe { heap.add(start, ARENA_BYTES) };
        }
        let block = heap.blocks.alloc(layout).ok();
        (block, heap.is_low())
    })
}

/// Adds memory for a block of `bytes` bytes. Does nothing when there is none.
fn grow(bytes: usize) {
    if Busy::is_busy() {
        return;
    }
    let Some(block) = bytes.checked_next_power_of_two() else {
        return;
    };
    let total = HEAP.with(|heap| heap.borrow().blocks.stats_total_bytes());
    let usual = total.clamp(*GROWTH_BYTES.start(), *GROWTH_BYTES.end());
    let least = block.max(*GROWTH_BYTES.start());
    let most = block.max(usual.next_power_of_two());
    let sizes = core::iter::successors(Some(most), |size| Some(size / 2));
    let mut sizes = sizes.take_while(|&size| size >= least);
    let Some(mapped) = sizes.find_map(|size| mapped(size as u64)) else {
        return;
    };
    let length = mapped.bytes();
    let start = mapped.leak().expose_provenance();
    HEAP.with(|heap| {
        // SAFETY: fresh memory, mapped for good, and nobody else's.
        unsafe { heap.borrow_mut().add(start, length) };
    });
}

/// Fresh memory of `bytes` bytes, a power of two, and aligned, so that it is one block of the
/// buddy system.
fn mapped(bytes: u64) -> Option<Mapped> {
    let frame = Frame::new(bytes).ok()?;
    let flags = MapFlags::READ | MapFlags::WRITE;
    let (address, size) = (frame.address(), frame.bytes());
    let mapping = vspace::map_aligned(address, 0, size, flags, bytes).ok()?;
    Some(Mapped::new(mapping, frame))
}

/// Whether there is memory to take on something new: what is left below the bound at which the heap
/// grows is for what is at work already, so that no allocation of that fails for it. The heap grows
/// first if it can.
pub fn has_room() -> bool {
    let is_low = || HEAP.with(|heap| heap.borrow().is_low());
    if is_low() {
        grow(1);
    }
    !is_low()
}

// SAFETY: blocks come from the buddy allocator, which keeps them apart; there is one thread.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (mut block, is_low) = take(layout);
        if block.is_none() {
            grow(layout.size().max(layout.align()));
            (block, _) = take(layout);
        } else if is_low {
            grow(1);
        }
        block.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(block) = NonNull::new(block) else {
            return;
        };
        HEAP.with(|heap| {
            if let Ok(mut heap) = heap.try_borrow_mut() {
                // SAFETY: the caller says that the block came from `alloc` with this layout.
                unsafe { heap.blocks.dealloc(block, layout) };
            }
        });
    }
}
