//! The boot driver's heap suffices for the largest trees, with room: parsing runs
//! here on the very allocator that the boot driver has.
#![expect(unsafe_code, reason = "a global allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use capelin_boot::HEAP_BYTES;
use capelin_dt::Machine;

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}
static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// What the buddy heap takes for a block.
fn rounded(layout: Layout) -> usize {
    layout.size().next_power_of_two().max(layout.align()).max(8)
}

struct Counting;

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTED.get() {
            // Relaxed: one thread counts.
            let now = NOW.fetch_add(rounded(layout), Ordering::Relaxed) + rounded(layout);
            PEAK.fetch_max(now, Ordering::Relaxed);
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if COUNTED.get() {
            NOW.fetch_sub(rounded(layout), Ordering::Relaxed);
        }
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes of the heap that reading `bytes` takes at its worst moment.
fn peak(bytes: &[u8]) -> usize {
    NOW.store(0, Ordering::Relaxed);
    PEAK.store(0, Ordering::Relaxed);
    COUNTED.set(true);
    let machine = Machine::parse_without_devices(bytes);
    let findings = machine.as_ref().map(capelin_dt::bootability);
    COUNTED.set(false);
    drop(findings);
    PEAK.load(Ordering::Relaxed)
}

#[test]
#[ignore = "needs trees that others wrote"]
fn no_tree_takes_half_of_the_heap() {
    for tree in capelin_trees::every() {
        let peak = peak(&tree.blob);
        if peak > HEAP_BYTES / 8 {
            println!("{}: {peak} bytes", tree.name);
        }
        assert!(peak < HEAP_BYTES / 2, "{}: {peak} bytes", tree.name);
    }
}

#[test]
fn a_tree_of_the_largest_size_takes_less_than_half_of_the_heap() {
    // QEMU's machine on a tree of the largest size that is read.
    let bytes = capelin_trees::qemu("gic-version=3", "-smp 4");
    let grown = capelin_dt::grow::grow(&bytes, capelin_dt::early::MAX_SIZE).unwrap();
    let peak = peak(&grown);
    println!("2 MiB: {peak} bytes");
    assert!(peak < HEAP_BYTES / 2, "{peak}");
}
