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
/// [`Fault`]; what couldn't be read is 0.
pub fn read_words(target: &mut [u64], source: VirtAddr) -> Result<(), Fault> {
    if !source.is_aligned(8) {
        return Err(Fault);
    }
    try_to(|| {
        for (to, offset) in target.iter_mut().zip((0..).step_by(8)) {
            *to = load(source.0.wrapping_add(offset));
        }
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

        assert_eq!(try_to(|| ()), Ok(()));
        assert_eq!(try_to(note_fault), Err(Fault));
        assert_eq!(try_to(|| ()), Ok(()));
    }
}
