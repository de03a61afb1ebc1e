//! Access to physical memory that may not be there.
//!
//! The kernel's home answers to every access, or the kernel wouldn't run. Frames,
//! firmware's pages and core images are different: the device tree may promise memory
//! where there is none. An access there ends in a synchronous external abort (Arm ARM
//! D1.13.4). So each instruction here has a fix-up ([`crate::user`]): it is passed over,
//! the fault is noted, and the operation answers [`Fault`].
//!
//! On some cores an external abort of a store comes as an `SError`, later. Stores here
//! follow a load of the same page, which on the cores we know is aborted synchronously;
//! an `SError` that comes all the same is the vectors' matter.
//!
//! One core's kernel is single-threaded and its image private, so the note is one flag.

#![expect(unsafe_code, reason = "loads, stores and maintenance that may fault")]

use core::sync::atomic::{AtomicBool, Ordering};

use capelin_abi::VirtAddr;

use crate::cache::{self, LineSizes};
use crate::issue::{Issue, Op, Processor};
use crate::user::Fault;
#[cfg(target_arch = "aarch64")]
use crate::user::fixup;

/// Whether an instruction with a fix-up has faulted in what [`try_to`] does.
static FAULTED: AtomicBool = AtomicBool::new(false);

/// The exception handler has found a fix-up.
#[cfg(any(test, target_arch = "aarch64"))]
pub(crate) fn note_fault() {
    FAULTED.store(true, Ordering::Relaxed);
}

/// Does `work`; whether nothing in it faulted.
fn try_to(work: impl FnOnce()) -> Result<(), Fault> {
    FAULTED.store(false, Ordering::Relaxed);
    work();
    if FAULTED.load(Ordering::Relaxed) {
        Err(Fault)
    } else {
        Ok(())
    }
}

/// The core that runs this code, with fix-ups for maintenance by address.
struct Guarded;

#[cfg(target_arch = "aarch64")]
impl Issue for Guarded {
    #[inline(always)]
    fn issue(&mut self, op: Op) {
        macro_rules! guarded {
            ($text:literal, $operand:expr) => {
                // SAFETY: as for `Processor`: what may be zeroed is the contract of
                // the operations below. If it faults, it is passed over.
                unsafe {
                    core::arch::asm!(
                        concat!("2: ", $text, ", {}"),
                        "3:",
                        fixup!(),
                        in(reg) $operand,
                        options(nostack, preserves_flags)
                    )
                }
            };
        }
        match op {
            Op::DcZva(at) => guarded!("dc zva", at),
            Op::DcCivac(at) => guarded!("dc civac", at),
            Op::DcCvac(at) => guarded!("dc cvac", at),
            Op::DcCvau(at) => guarded!("dc cvau", at),
            other => Processor.issue(other),
        }
    }
}

#[cfg(not(target_arch = "aarch64"))]
impl Issue for Guarded {
    fn issue(&mut self, op: Op) {
        Processor.issue(op);
    }
}

/// Loads the word at `address`; 0 where it faults.
#[inline(always)]
fn load(address: u64) -> u64 {
    #[cfg(target_arch = "aarch64")]
    {
        let value: u64;
        // SAFETY: a load changes no memory. If it faults, it is passed over.
        unsafe {
            core::arch::asm!(
                "mov {value}, #0",
                "2: ldr {value}, [{address}]",
                "3:",
                fixup!(),
                value = out(reg) value,
                address = in(reg) address,
                options(nostack, preserves_flags)
            );
        }
        value
    }
    #[cfg(not(target_arch = "aarch64"))]
    {
        let word = crate::pointer::to::<u64>(VirtAddr(address));
        // SAFETY: the tests name memory of their own.
        unsafe { word.read_volatile() }
    }
}

/// Stores `value` at `address`, unless that faults.
///
/// # Safety
/// 1. `address` is aligned to 8; no Rust object lies there.
#[inline(always)]
unsafe fn store(address: u64, value: u64) {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the caller's 1. If it faults, it is passed over.
    unsafe {
        core::arch::asm!(
            "2: str {value}, [{address}]",
            "3:",
            fixup!(),
            value = in(reg) value,
            address = in(reg) address,
            options(nostack, preserves_flags)
        );
    }
    #[cfg(not(target_arch = "aarch64"))]
    {
        let word = crate::pointer::to::<u64>(VirtAddr(address));
        // SAFETY: the tests name memory of their own.
        unsafe { word.write_volatile(value) }
    }
}

/// Zeroes the 4 KiB page at `page`.
///
/// # Errors
/// [`Fault`]; parts may be zeroed then.
///
/// # Safety
/// 1. `page` is a multiple of 4096, mapped writable as write-back memory.
/// 2. No Rust object lies in it.
pub unsafe fn zero_page(page: VirtAddr) -> Result<(), Fault> {
    try_to(|| {
        // The load tells, where the stores' abort came too late.
        load(page.0);
        match cache::zero_block() {
            Some(block @ 16..=4096) => cache::zero_blocks(&mut Guarded, page, block),
            _ => {
                for offset in (0..4096).step_by(8) {
                    // SAFETY: 1. inside of the page (1, 2).
                    unsafe { store(page.0 + offset, 0) }
                }
            }
        }
    })
}

/// Reads 8 × `target.len()` bytes at `source`, a multiple of 8.
///
/// # Errors
/// [`Fault`]; `target` is 0 then.
pub fn read_words(target: &mut [u64], source: VirtAddr) -> Result<(), Fault> {
    if !source.is_aligned(8) {
        return Err(Fault);
    }
    let (pairs, last) = target.as_chunks_mut::<2>();
    let behind = source.0.wrapping_add(16 * pairs.len() as u64);
    let read = try_to(|| {
        load_pairs(pairs, source.0);
        if let [last] = last {
            *last = load(behind);
        }
    });
    if read.is_err() {
        target.fill(0);
    }
    read
}

/// Loads words from `address` on by pairs: where one faults, anything.
fn load_pairs(target: &mut [[u64; 2]], address: u64) {
    #[cfg(target_arch = "aarch64")]
    if !target.is_empty() {
        // SAFETY: the loads change no memory, and one that faults is passed over; the stores
        // fill `target`, which has so many pairs.
        unsafe {
            core::arch::asm!(
                "4: subs {left}, {left}, #1",
                "2: ldp {first}, {second}, [{address}], #16",
                "3: stp {first}, {second}, [{to}], #16",
                "b.ne 4b",
                fixup!(),
                left = inout(reg) target.len() => _,
                first = inout(reg) 0_u64 => _,
                second = inout(reg) 0_u64 => _,
                address = inout(reg) address => _,
                to = inout(reg) target.as_mut_ptr() => _,
                options(nostack)
            );
        }
    }
    #[cfg(not(target_arch = "aarch64"))]
    for ([first, second], at) in target.iter_mut().zip((address..).step_by(16)) {
        *first = load(at);
        *second = load(at + 8);
    }
}

/// Whether `words` words at `one` are those at `other`, both multiples of 8.
///
/// # Errors
/// [`Fault`].
pub fn are_equal(one: VirtAddr, other: VirtAddr, words: usize) -> Result<bool, Fault> {
    if !one.is_aligned(8) || !other.is_aligned(8) {
        return Err(Fault);
    }
    let mut difference = 0;
    try_to(|| {
        difference = compare_pairs(one.0, other.0, words / 2);
        if words % 2 == 1 {
            let last = 8 * (words as u64 - 1);
            difference |= load(one.0.wrapping_add(last)) ^ load(other.0.wrapping_add(last));
        }
    })?;
    Ok(difference == 0)
}

/// The bits in which any of so many pairs of words differ.
fn compare_pairs(one: u64, other: u64, pairs: usize) -> u64 {
    if pairs == 0 {
        return 0;
    }
    #[cfg(target_arch = "aarch64")]
    {
        let difference: u64;
        // SAFETY: loads change no memory. One that faults is passed over.
        unsafe {
            core::arch::asm!(
                "4: subs {left}, {left}, #1",
                "2: ldp {first}, {second}, [{one}], #16",
                "3:",
                fixup!(),
                "2: ldp {third}, {fourth}, [{other}], #16",
                "3:",
                fixup!(),
                "eor {first}, {first}, {third}",
                "eor {second}, {second}, {fourth}",
                "orr {first}, {first}, {second}",
                "orr {difference}, {difference}, {first}",
                "b.ne 4b",
                left = inout(reg) pairs => _,
                one = inout(reg) one => _,
                other = inout(reg) other => _,
                first = inout(reg) 0_u64 => _,
                second = inout(reg) 0_u64 => _,
                third = inout(reg) 0_u64 => _,
                fourth = inout(reg) 0_u64 => _,
                difference = inout(reg) 0_u64 => difference,
                options(nostack, readonly)
            );
        }
        difference
    }
    #[cfg(not(target_arch = "aarch64"))]
    (0..2 * pairs as u64).fold(0, |seen, word| {
        seen | (load(one + 8 * word) ^ load(other + 8 * word))
    })
}

/// Writes `words` from `target` on, a multiple of 8.
///
/// # Errors
/// [`Fault`]; parts may be written then.
///
/// # Safety
/// 1. No Rust object lies there.
pub unsafe fn write_words(target: VirtAddr, words: &[u64]) -> Result<(), Fault> {
    if !target.is_aligned(8) {
        return Err(Fault);
    }
    try_to(|| {
        load(target.0);
        for (&word, offset) in words.iter().zip((0..).step_by(8)) {
            // SAFETY: 1. aligned as `target` is; the caller's 1.
            unsafe { store(target.0.wrapping_add(offset), word) }
        }
    })
}

/// As [`cache::clean_invalidate_to_poc`].
///
/// # Errors
/// [`Fault`]; the rest is clean then.
pub fn clean_invalidate_to_poc(address: VirtAddr, bytes: u64) -> Result<(), Fault> {
    let line = LineSizes::read().data_bytes;
    try_to(|| cache::data_lines(&mut Guarded, address, bytes, line, Op::DcCivac))
}

/// As [`cache::clean_to_poc`].
///
/// # Errors
/// [`Fault`]; the rest is clean then.
pub fn clean_to_poc(address: VirtAddr, bytes: u64) -> Result<(), Fault> {
    try_to(|| cache::clean_lines_to_poc(&mut Guarded, address, bytes, LineSizes::read()))
}

/// As [`cache::clean_instructions`].
///
/// # Errors
/// [`Fault`]; the rest is clean then.
pub fn clean_instructions(address: VirtAddr, bytes: u64) -> Result<(), Fault> {
    try_to(|| cache::clean_for_fetch(&mut Guarded, address, bytes, LineSizes::read()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(4096))]
    struct Page(#[expect(dead_code, reason = "reached by address")] [u64; 512]);

    // One test, since there is one note.
    #[test]
    fn a_page_is_zeroed_read_and_written_and_a_fault_told() {
        let mut page = Page([7; 512]);
        let at = VirtAddr((&raw mut page).expose_provenance() as u64);
        // SAFETY: 1., 2. nothing refers to `page` now.
        unsafe { zero_page(at) }.unwrap_or_else(|fault| panic!("{fault}"));
        let mut words = [1; 3];
        assert_eq!(read_words(&mut words, at), Ok(()));
        assert_eq!(words, [0; 3]);
        // SAFETY: 1. as above.
        let written = unsafe { write_words(VirtAddr(at.0 + 8), &[5, 6]) };
        assert_eq!(written, Ok(()));
        assert_eq!(read_words(&mut words, at), Ok(()));
        assert_eq!(words, [0, 5, 6]);
        assert_eq!(read_words(&mut words, VirtAddr(at.0 + 4)), Err(Fault));
        // Words 1 and 2 are 5 and 6; so are 4 and 5, and 7 is 6.
        // SAFETY: 1. as above.
        let written = unsafe { write_words(VirtAddr(at.0 + 32), &[5, 6, 0, 6]) };
        assert_eq!(written, Ok(()));
        let word = |number: u64| VirtAddr(at.0 + 8 * number);
        for (one, other, words, equal) in [
            (1, 4, 0, true),
            (1, 5, 0, true),
            (1, 4, 1, true),
            (1, 5, 1, false),
            (1, 4, 3, true),
            (0, 3, 4, true),
            (0, 3, 5, false),
            (0, 1, 4, false),
            (1, 4, 4, false),
            (2, 7, 1, true),
            (0, 10, 1, true),
        ] {
            let found = are_equal(word(one), word(other), words);
            assert_eq!(found, Ok(equal), "{words} words from {one} and {other}");
        }
        assert_eq!(are_equal(word(0), VirtAddr(at.0 + 12), 1), Err(Fault));

        assert_eq!(try_to(|| ()), Ok(()));
        assert_eq!(try_to(note_fault), Err(Fault));
        assert_eq!(try_to(|| ()), Ok(()));
    }
}
