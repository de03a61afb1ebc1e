//! Which registers decide what EL1 and EL0 may do, and how they are left
//! (`exception_levels.S`; the table with reasons is in `docs/055-arch.md`).
//!
//! | function | does |
//! | --- | --- |
//! | `capelin_leave_el2` | writes EL2's registers and returns at EL1 |
//! | `capelin_reset_el1` | writes EL1's, whoever entered us there |
//! | `capelin_el2_vectors` | EL2 afterwards: whatever gets there is undefined |
//!
//! A register of an extension is written only where an identification register says
//! that the core has it. EL3 must let EL2 have those, as Linux asks of it
//! (`Documentation/arch/arm64/booting.rst`).
#![cfg_attr(
    target_arch = "aarch64",
    expect(unsafe_code, reason = "sequences in assembly")
)]
#![cfg_attr(
    not(target_arch = "aarch64"),
    expect(
        dead_code,
        reason = "values of registers, for the assembly and the tests"
    )
)]

/// `HCR_EL2.E2H`.
pub(crate) const E2H_BIT: u32 = 34;
/// `HCR_EL2` (Arm ARM D24.2.50): EL1 is `AArch64` (RW), HVC is undefined where there
/// is no EL3 (HCD), pointer authentication isn't trapped (API, APK). No stage 2, no
/// routing of interrupts, no traps; E2H clear.
const HCR: u64 = 1 << 31 | 1 << 29 | 1 << 40 | 1 << 41;
/// `SCTLR_EL2` (D24.2.121): the bits that are RES1, so MMU and caches off and little
/// endian: EL2's vectors run so.
pub(crate) const SCTLR_EL2: u64 = 0x30c5_0830;
/// `SCTLR_EL1` (D24.2.120) until translation is on: the bits that are RES1.
pub(crate) const SCTLR_EL1: u64 = 0x30d0_0800;
/// `CPTR_EL2` (D24.2.34) with E2H clear: the bits that are RES1, which trap SVE (TZ)
/// and SME (TSM) where those exist; FP, trace and activity monitors not.
const CPTR: u64 = 0x33ff;
/// `CPTR_EL2` with E2H set: FPEN allows FP; ZEN and SMEN trap SVE and SME.
const CPTR_E2H: u64 = 0b11 << 20;
/// `CNTHCTL_EL2` (D24.10.2) with E2H clear: EL1PCTEN, EL1PCEN; no event stream, no
/// trap, no offset of the physical counter (ECV).
const CNTHCTL: u64 = 0b11;
/// The same with E2H set, where EL1's bits are 10 and 11.
const CNTHCTL_E2H: u64 = 0b11 << 10;
/// `VTCR_EL2`: the bit that is RES1. `HCR_EL2.VM` is clear.
const VTCR: u64 = 1 << 31;
/// `HCRX_EL2` (D24.2.51): EL1 may write `TCR2_EL1` and `SCTLR2_EL1`, so that it can
/// clear them. What else it could enable stays off.
const HCRX: u64 = 1 << 14 | 1 << 15;
/// `SPSR_EL2`: EL1h, everything masked.
const SPSR: u64 = 0x3c5;
/// `SPSR_EL2` on the way to EL1's handler: as an exception would leave PSTATE, with
/// PAN (ignored where there is none).
const REFLECTED_SPSR: u64 = SPSR | 1 << 22;
/// `ESR_EL1` of an undefined instruction: class 0, 32 bits long.
const UNDEFINED: u64 = 1 << 25;
/// `MDSCR_EL1` (D24.3.20): no debug exceptions, and EL0 is kept from the debug
/// communications channel (TDCC).
const MDSCR: u64 = 1 << 12;
/// `PMCR_EL0`: all counters stopped; LC is RES1 on cores without `AArch32`.
const PMCR: u64 = 1 << 6;

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    include_str!("exception_levels.S"),
    e2h_bit = const E2H_BIT,
    hcr = const HCR,
    sctlr_el2 = const SCTLR_EL2,
    sctlr_el1 = const SCTLR_EL1,
    cptr = const CPTR,
    cptr_e2h = const CPTR_E2H,
    cnthctl = const CNTHCTL,
    cnthctl_e2h = const CNTHCTL_E2H,
    vtcr = const VTCR,
    hcrx = const HCRX,
    spsr = const SPSR,
    reflected_spsr = const REFLECTED_SPSR,
    undefined = const UNDEFINED,
    mdscr = const MDSCR,
    pmcr = const PMCR,
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translation::system_instructions;

    const TEXT: &str = include_str!("exception_levels.S");

    #[test]
    fn both_layouts_give_el1_the_counter_and_fp_and_keep_vectors() {
        // E2H clear: TFP is 10, TZ 8, TSM 12 (a 1 traps).
        assert_eq!(CPTR & 1 << 10, 0);
        assert_eq!(CPTR & (1 << 8 | 1 << 12), 1 << 8 | 1 << 12);
        // E2H set: FPEN is 21:20, ZEN 17:16, SMEN 25:24 (11 allows).
        assert_eq!(CPTR_E2H >> 20 & 3, 3);
        assert_eq!((CPTR_E2H >> 16 & 3, CPTR_E2H >> 24 & 3), (0, 0));
        assert_eq!(CNTHCTL_E2H, CNTHCTL << 10);
        assert_eq!(HCR & 1 << E2H_BIT, 0);
    }

    /// Vectors come first, and nothing depends on E2H before it has been read back.
    #[test]
    fn el2_has_vectors_before_anything_can_trap() {
        let trace = system_instructions(TEXT, "capelin_leave_el2");
        assert_eq!(
            trace[..5],
            [
                "msr vbar_el2, x1",
                "msr sctlr_el2, x1",
                "dsb nsh",
                "msr hcr_el2, x0",
                "isb"
            ]
        );
        assert_eq!(trace.last().unwrap(), "eret");
        for register in [
            "cptr_el2",
            "cnthctl_el2",
            "cnthp_ctl_el2",
            "cntvoff_el2",
            "vpidr_el2",
            "vmpidr_el2",
            "hstr_el2",
            "vttbr_el2",
            "vtcr_el2",
            "mdcr_el2",
            "S3_4_C12_C9_5",
            "S3_4_C12_C11_0",
            "S3_4_C1_C1_4",
            "S3_4_C1_C1_5",
            "S3_4_C1_C1_6",
            "S3_4_C3_C1_4",
            "S3_4_C3_C1_5",
            "S3_4_C3_C1_6",
            "S3_4_C1_C2_2",
            "S3_4_C10_C5_0",
            "S3_4_C10_C4_0",
        ] {
            let count = trace
                .iter()
                .filter(|line| line.starts_with(&std::format!("msr {register},")))
                .count();
            assert_eq!(count, 1, "{register}");
        }
    }

    #[test]
    fn el0_gets_neither_counters_nor_debug_channel() {
        let trace = system_instructions(TEXT, "capelin_reset_el1");
        for write in [
            "msr mdscr_el1, x0",
            "msr pmuserenr_el0, xzr",
            "msr S3_3_C13_C2_3, xzr",
            "msr cntkctl_el1, xzr",
            "msr cpacr_el1, xzr",
            "msr S3_0_C2_C3_0, xzr",
            "msr S3_0_C2_C3_1, xzr",
        ] {
            assert!(trace.iter().any(|line| line == write), "{write}");
        }
        assert_eq!(MDSCR, 1 << 12);
    }
}
