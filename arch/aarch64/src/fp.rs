//! FP and SIMD registers: 32 of 16 bytes, and two control words.
//!
//! The kernel is built without them, so between switches they are the running
//! domain's. Whether EL0's use traps is [`trap_fp`]'s; saving and restoring needs
//! access from EL1 only, and switches it on for itself.
#![expect(unsafe_code, reason = "moves registers to memory and back")]

#[cfg(target_arch = "aarch64")]
use crate::issue::{Issue, Op, Processor};
use crate::sysreg;

/// What [`save`] writes: q0–q31, `FPCR`, `FPSR`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub struct FpState {
    /// q0–q31, low half first.
    pub q: [[u64; 2]; 32],
    /// `FPCR`.
    pub fpcr: u64,
    /// `FPSR`.
    pub fpsr: u64,
}

const _: () = assert!(size_of::<FpState>() == 528);

impl FpState {
    /// All zero: round to nearest, no exceptions.
    pub const ZERO: Self = Self {
        q: [[0; 2]; 32],
        fpcr: 0,
        fpsr: 0,
    };
}

/// `CPACR_EL1.FPEN` (D19.2.29): 00 traps EL1 and EL0, 01 EL0 only, 11 nobody.
const FPEN_SHIFT: u32 = 20;

/// Traps EL0's use of the registers (`true`), or allows it. EL1's is allowed in
/// both cases. SVE and SME stay trapped.
#[inline]
pub fn trap_fp(trap: bool) {
    let fpen: u64 = if trap { 0b01 } else { 0b11 };
    sysreg::write!("CPACR_EL1", fpen << FPEN_SHIFT);
    #[cfg(target_arch = "aarch64")]
    Processor.issue(Op::Isb);
}

/// Stores the registers at `state`.
///
/// # Safety
/// 1. `state` is valid for writes of an [`FpState`] and aligned to 16.
/// 2. [`trap_fp`] has been called on this core.
pub unsafe fn save(state: *mut FpState) {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: writes 528 bytes at `state` (1); EL1 isn't trapped (2).
    unsafe {
        core::arch::asm!(
            ".arch_extension fp",
            ".arch_extension simd",
            "stp q0, q1, [{0}]",
            "stp q2, q3, [{0}, #32]",
            "stp q4, q5, [{0}, #64]",
            "stp q6, q7, [{0}, #96]",
            "stp q8, q9, [{0}, #128]",
            "stp q10, q11, [{0}, #160]",
            "stp q12, q13, [{0}, #192]",
            "stp q14, q15, [{0}, #224]",
            "stp q16, q17, [{0}, #256]",
            "stp q18, q19, [{0}, #288]",
            "stp q20, q21, [{0}, #320]",
            "stp q22, q23, [{0}, #352]",
            "stp q24, q25, [{0}, #384]",
            "stp q26, q27, [{0}, #416]",
            "stp q28, q29, [{0}, #448]",
            "stp q30, q31, [{0}, #480]",
            "mrs {1}, fpcr",
            "mrs {2}, fpsr",
            "str {1}, [{0}, #512]",
            "str {2}, [{0}, #520]",
            ".arch_extension nosimd",
            ".arch_extension nofp",
            in(reg) state, out(reg) _, out(reg) _,
            options(nostack, preserves_flags)
        );
    }
    #[cfg(not(target_arch = "aarch64"))]
    let _ = state;
}

/// Loads the registers from `state`.
///
/// # Safety
/// 1. `state` is valid for reads of an [`FpState`] and aligned to 16.
/// 2. [`trap_fp`] has been called on this core.
/// 3. The caller is built without FP registers.
pub unsafe fn restore(state: *const FpState) {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: reads 528 bytes at `state` (1); EL1 isn't trapped (2); no register
    // changed here is one that the compiler uses (3).
    unsafe {
        core::arch::asm!(
            ".arch_extension fp",
            ".arch_extension simd",
            "ldp q0, q1, [{0}]",
            "ldp q2, q3, [{0}, #32]",
            "ldp q4, q5, [{0}, #64]",
            "ldp q6, q7, [{0}, #96]",
            "ldp q8, q9, [{0}, #128]",
            "ldp q10, q11, [{0}, #160]",
            "ldp q12, q13, [{0}, #192]",
            "ldp q14, q15, [{0}, #224]",
            "ldp q16, q17, [{0}, #256]",
            "ldp q18, q19, [{0}, #288]",
            "ldp q20, q21, [{0}, #320]",
            "ldp q22, q23, [{0}, #352]",
            "ldp q24, q25, [{0}, #384]",
            "ldp q26, q27, [{0}, #416]",
            "ldp q28, q29, [{0}, #448]",
            "ldp q30, q31, [{0}, #480]",
            "ldr {1}, [{0}, #512]",
            "ldr {2}, [{0}, #520]",
            "msr fpcr, {1}",
            "msr fpsr, {2}",
            ".arch_extension nosimd",
            ".arch_extension nofp",
            in(reg) state, out(reg) _, out(reg) _,
            options(nostack, preserves_flags)
        );
    }
    #[cfg(not(target_arch = "aarch64"))]
    let _ = state;
}
