//! Trees as large as the boot protocol allows: all of them are read, in steps and
//! memory linear in their size.
#![expect(unsafe_code, reason = "a global allocator that counts")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use capelin_dt::early::{self, MAX_SIZE};
use capelin_dt::grow::grow;
use capelin_dt::validate::MAX_NODES;
use capelin_dt::{DtError, Machine};
use common::{Builder, Value, small};

thread_local! {
    static NOW: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// What a buddy heap takes for a block.
fn rounded(layout: Layout) -> usize {
    layout.size().next_power_of_two().max(layout.align()).max(8)
}

struct Counting;

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        NOW.set(NOW.get().wrapping_add(rounded(layout)));
        PEAK.set(PEAK.get().max(NOW.get()));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.set(NOW.get().wrapping_sub(rounded(layout)));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes of a buddy heap that `work` takes at its worst moment.
fn peak(work: impl FnOnce()) -> usize {
    NOW.set(0);
    PEAK.set(0);
    work();
    PEAK.get()
}

/// A small machine with as many devices as make its tree `bytes` bytes.
fn grown(bytes: usize) -> Vec<u8> {
    let blob = grow(&small().boot_cpu(0).finish(), bytes).unwrap();
    assert_eq!(blob.len(), bytes);
    blob
}

#[test]
fn a_tree_of_two_mebibytes_is_read_and_no_larger_one() {
    let blob = grown(MAX_SIZE);
    assert_eq!(blob.len(), MAX_SIZE);
    let machine = Machine::parse(&blob).unwrap();
    assert!(machine.devices.len() > 8_000, "{}", machine.devices.len());
    assert_eq!(machine.cpus.len(), 2);
    assert_eq!(machine.devices.last().unwrap().regs.len(), 1);
    let lean = Machine::parse_without_devices(&blob).unwrap();
    assert_eq!(
        lean,
        Machine {
            devices: vec![],
            ..machine.clone()
        }
    );

    let blob = grown(MAX_SIZE + 1);
    let used = MAX_SIZE + 1;
    assert_eq!(Machine::parse(&blob), Err(DtError::TooLarge { used }));
    assert_eq!(
        DtError::TooLarge { used }.to_string(),
        "it has 2097153 bytes, the arm64 boot protocol allows 2097152"
    );

    // Padding isn't counted.
    let mut padded = grown(MAX_SIZE);
    padded.resize(2 * MAX_SIZE + 10_000, 0xff);
    let total = u32::try_from(padded.len()).unwrap();
    padded[4..8].copy_from_slice(&total.to_be_bytes());
    assert_eq!(Machine::parse(&padded), Ok(machine));
    assert_eq!(early::used_size(&padded), Ok(MAX_SIZE));
}

#[test]
fn steps_and_memory_grow_no_faster_than_the_tree() {
    let measure = |bytes: usize| {
        let blob = grown(bytes);
        let mut steps = 0;
        let all = peak(|| steps = Machine::parse_counting(&blob).unwrap().1);
        let lean = peak(|| drop(Machine::parse_without_devices(&blob).unwrap()));
        println!("{bytes} bytes: {steps} steps, {all} bytes of heap, {lean} without devices");
        (steps, all, lean)
    };
    let small = measure(MAX_SIZE / 16);
    let large = measure(MAX_SIZE);
    assert!(large.0 < small.0 * 17, "{} {}", small.0, large.0);
    // The buddy heap rounds up to powers of two.
    assert!(large.1 < small.1 * 20, "{} {}", small.1, large.1);
    assert!(large.1 < early::heap_bytes(MAX_SIZE));
    assert!(large.2 < MAX_SIZE, "{}", large.2);
    let blob = grown(MAX_SIZE);
    let memory = peak(|| drop(early::free_memory(&blob, &[])));
    assert!(memory < MAX_SIZE, "{memory}");
}

/// What needs the most memory for its bytes.
#[test]
fn no_tree_takes_more_memory_than_is_stated() {
    let fill = |mut b: Builder, one: &dyn Fn(&mut Builder, u32)| {
        let before = b.clone().finish().len();
        one(&mut b, 0);
        let step = b.clone().finish().len() - before;
        let count = (MAX_SIZE - before) / step - 1;
        let limit = if step == 16 { count } else { MAX_NODES - 64 };
        for number in 1..count.min(limit) {
            one(&mut b, u32::try_from(number).unwrap());
        }
        b.finish()
    };
    let check = |what: &str, blob: &[u8]| {
        let taken = peak(|| drop(Machine::parse_without_devices(blob)));
        let stated = early::heap_bytes(blob.len());
        println!("{what}: {} bytes, {taken} of {stated}", blob.len());
        assert!(blob.len() <= MAX_SIZE && taken <= stated, "{what}: {taken}");
        let stated = early::lean_heap_bytes(blob.len());
        let console = peak(|| drop(capelin_dt::console(blob)));
        let memory = peak(|| drop(early::free_memory(blob, &[])));
        println!("  console {console} of {stated}, memory {memory}");
        assert!(console <= stated, "{what}: {console}");
        assert!(memory <= early::heap_bytes(blob.len()), "{what}: {memory}");
    };
    check(
        "nodes",
        &fill(small(), &|b, _| {
            b.begin("n").end();
        }),
    );
    check("properties", &{
        let mut b = Builder::new();
        b.property("p", Value::Bytes(&[]));
        let (before, mut raw) = (b.finish().len(), b.clone());
        for _ in 0..(MAX_SIZE - before) / 12 - 4 {
            raw.token(3).token(0).token(0);
        }
        raw.finish()
    });
    check(
        "reservations in the block",
        &fill(small(), &|b, n| {
            b.reserve(u64::from(n) << 22, 4096);
        }),
    );
    let reserved = |form: fn(&mut Builder, u32)| {
        let mut b = small();
        b.begin("reserved-memory")
            .cells("#address-cells", &[2])
            .cells("#size-cells", &[1])
            .flag("ranges");
        fill(b, &form)
    };
    check(
        "reservations as nodes",
        &reserved(|b, n| {
            b.begin("r").cells("reg", &[0, n << 12, 0x1000]).end();
        }),
    );
    check(
        "reservations without anything",
        &reserved(|b, _| {
            b.begin("r").end();
        }),
    );
    let cores = |form: fn(&mut Builder, u32)| {
        let mut b = Builder::new();
        b.begin("cpus").cells("#address-cells", &[1]);
        fill(b, &form)
    };
    check(
        "cores",
        &cores(|b, n| {
            b.begin("cpu").cells("reg", &[n]).end();
        }),
    );
    check(
        "cores that can't be read",
        &cores(|b, _| {
            b.begin("cpu").end();
        }),
    );
    check("memory", &{
        let mut b = Builder::new();
        b.cells("#address-cells", &[1]).cells("#size-cells", &[1]);
        b.begin("memory").cells("reg", &vec![1; MAX_SIZE / 4 - 64]);
        b.finish()
    });
}
