//! What aarch64 does better than compiled atomics: the payload by pairs, and sleep on a line.
//!
//! Each half of `LDP` and `STP` is a single-copy atomic access of 64 bits when it is 8-byte aligned
//! (Arm ARM DDI 0487, "Requirements for single-copy atomicity"), which is what a relaxed atomic word
//! is; the compiler itself never pairs atomics.
//!
//! The model checker and Miri step the compiled words of `payload` in its place. That both move the
//! same words to the same places is what `tests/runtime` checks on the guest, word by word.

use super::atomics::Word;
use crate::PAYLOAD_WORDS;
use core::arch::asm;

/// Copies the seven words before a line's header out.
///
/// # Safety
///
/// `header` is the header word of a line that may be read.
#[inline(always)]
pub(super) unsafe fn read_before(header: *const Word) -> [u64; PAYLOAD_WORDS] {
    let (w0, w1, w2, w3, w4, w5, w6): (u64, u64, u64, u64, u64, u64, u64);
    // SAFETY: loads the seven aligned words before the header, which belong to the same line;
    // each as a single-copy atomic access, so it is seven relaxed atomic loads.
    unsafe {
        asm!(
            "ldp {w0}, {w1}, [{header}, #-56]",
            "ldp {w2}, {w3}, [{header}, #-40]",
            "ldp {w4}, {w5}, [{header}, #-24]",
            "ldur {w6}, [{header}, #-8]",
            header = in(reg) header,
            w0 = out(reg) w0,
            w1 = out(reg) w1,
            w2 = out(reg) w2,
            w3 = out(reg) w3,
            w4 = out(reg) w4,
            w5 = out(reg) w5,
            w6 = lateout(reg) w6,
            options(nostack, preserves_flags, readonly),
        );
    }
    [w0, w1, w2, w3, w4, w5, w6]
}

/// Copies the seven words before a line's header in.
///
/// # Safety
///
/// `header` is the header word of a line that may be written.
#[inline(always)]
pub(super) unsafe fn write_before(header: *const Word, words: &[u64; PAYLOAD_WORDS]) {
    let [w0, w1, w2, w3, w4, w5, w6] = *words;
    // SAFETY: stores to the seven aligned words before the header, which belong to the same
    // line; each as a single-copy atomic access, so it is seven relaxed atomic stores.
    unsafe {
        asm!(
            "stp {w0}, {w1}, [{header}, #-56]",
            "stp {w2}, {w3}, [{header}, #-40]",
            "stp {w4}, {w5}, [{header}, #-24]",
            "stur {w6}, [{header}, #-8]",
            header = in(reg) header,
            w0 = in(reg) w0,
            w1 = in(reg) w1,
            w2 = in(reg) w2,
            w3 = in(reg) w3,
            w4 = in(reg) w4,
            w5 = in(reg) w5,
            w6 = in(reg) w6,
            options(nostack, preserves_flags),
        );
    }
}

/// Sleeps by `WFE` with the exclusive monitor on the line, unless its header has another sequence
/// than `idle` already.
///
/// A store by another core to the line clears the monitor, which is a wake-up event (Arm ARM DDI
/// 0487, "Wait for Event mechanism"). A store between the two instructions has the same effect, so
/// none is missed. The timer's event stream bounds the sleep.
///
/// # Safety
///
/// `header` is the header word of a line that may be read.
#[inline]
pub(super) unsafe fn wait_for_event(header: *const Word, idle: u32) {
    // SAFETY: an exclusive load of the header word, which may be read; no store-exclusive follows,
    // so nothing is written.
    unsafe {
        asm!(
            "ldxr {seen}, [{header}]",
            "cmp {seen:w}, {idle:w}",
            "b.ne 2f",
            "wfe",
            "2:",
            header = in(reg) header,
            idle = in(reg) idle,
            seen = out(reg) _,
            options(nostack),
        );
    }
}
