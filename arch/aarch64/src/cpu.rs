//! This core: its name, its features, interrupt masking and waiting.
#![cfg_attr(
    target_arch = "aarch64",
    expect(unsafe_code, reason = "reads registers, masks interrupts, waits")
)]

use capelin_abi::Mpidr;
use capelin_vspace::PhysicalRange;

use crate::cache::LineSizes;
use crate::sysreg;

/// This core's affinity.
#[must_use]
pub fn mpidr() -> Mpidr {
    Mpidr::from_register(sysreg::read!("MPIDR_EL1"))
}

/// The exception level that this code runs at, 0–3.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "two bits are left")]
pub fn current_el() -> u8 {
    (sysreg::read!("CurrentEL") >> 2) as u8 & 3
}

/// What differs between cores and matters to the kernel (Arm ARM D19.2, `ID_AA64*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Features {
    /// FEAT_PAN: EL1 can be kept from user memory.
    pub pan: bool,
    /// FEAT_UAO: `PSTATE.UAO` exists (and must be 0 for [`crate::user`]).
    pub uao: bool,
    /// FEAT_LSE: atomic instructions.
    pub lse: bool,
    /// FEAT_CRC32: checksum instructions.
    pub crc32: bool,
    /// FP and SIMD registers exist.
    pub fp: bool,
    /// FEAT_RAS: `SError`s have a type ([`crate::serror`]).
    pub ras: bool,
    /// Scalable vectors exist (kept trapped).
    pub sve: bool,
    /// ASIDs have 16 bits, else 8.
    pub has_16_bit_asids: bool,
    /// Physical addresses.
    pub physical_range: PhysicalRange,
    /// System registers for the GIC (GICv3 and later).
    pub gic_system_registers: bool,
    /// Cache line sizes.
    pub lines: LineSizes,
}

impl Features {
    /// Reads the identification registers of this core.
    #[must_use]
    pub fn read() -> Self {
        Self::decode(
            sysreg::read!("ID_AA64MMFR0_EL1"),
            sysreg::read!("ID_AA64MMFR1_EL1"),
            sysreg::read!("ID_AA64MMFR2_EL1"),
            sysreg::read!("ID_AA64ISAR0_EL1"),
            sysreg::read!("ID_AA64PFR0_EL1"),
            LineSizes::read(),
        )
    }

    fn decode(mmfr0: u64, mmfr1: u64, mmfr2: u64, isar0: u64, pfr0: u64, lines: LineSizes) -> Self {
        let field = |register: u64, shift: u32| register >> shift & 0xf;
        Self {
            pan: field(mmfr1, 20) != 0,
            uao: field(mmfr2, 4) != 0,
            lse: field(isar0, 20) >= 2,
            crc32: field(isar0, 16) != 0,
            // 0b1111 says that there are none.
            fp: field(pfr0, 16) != 0xf && field(pfr0, 20) != 0xf,
            ras: field(pfr0, 28) != 0,
            sve: field(pfr0, 32) != 0,
            has_16_bit_asids: field(mmfr0, 4) == 2,
            physical_range: PhysicalRange::from_mmfr0(mmfr0),
            gic_system_registers: field(pfr0, 24) != 0,
            lines,
        }
    }
}

macro_rules! instruction {
    ($text:literal) => {
        #[cfg(target_arch = "aarch64")]
        // SAFETY: hints, barriers and changes of PSTATE.{I,PAN}; no memory that
        // Rust knows of changes, and accesses aren't moved across.
        unsafe {
            core::arch::asm!($text, options(nostack, preserves_flags));
        }
    };
}

/// Waits until an interrupt is pending, masked or not. Completes earlier
/// accesses first, so that what was told to a device or core is on its way
/// (Arm ARM D1.6.1, and B2.3.12 for the barrier).
#[inline]
pub fn wait_for_interrupt() {
    instruction!("dsb sy");
    instruction!("wfi");
}

/// Waits for an event: `SEV`, a lost exclusive monitor, an interrupt, or the
/// timer's event stream.
#[inline]
pub fn wait_for_event() {
    instruction!("wfe");
}

/// Tells the core (and QEMU) that this is a polling loop.
#[inline]
pub fn relax() {
    instruction!("yield");
}

/// Masks IRQs at this exception level.
#[inline]
pub fn mask_interrupts() {
    instruction!("msr DAIFSet, #2");
}

/// Unmasks IRQs at this exception level.
#[inline]
pub fn unmask_interrupts() {
    instruction!("msr DAIFClr, #2");
}

/// Whether IRQs are masked.
#[inline]
#[must_use]
pub fn interrupts_masked() -> bool {
    sysreg::read!("DAIF") & 1 << 7 != 0
}

/// `TPIDR_EL0`: EL0's own word, as EL0 left it.
#[inline]
#[must_use]
pub fn thread_pointer() -> u64 {
    sysreg::read!("TPIDR_EL0")
}

/// Whether an IRQ is pending for this core at the CPU interface.
#[inline]
#[must_use]
pub fn interrupt_pending() -> bool {
    sysreg::read!("ISR_EL1") & 1 << 7 != 0
}

/// Keeps EL1 from user memory by ordinary loads and stores. Only on cores whose
/// [`Features::pan`] says so.
#[inline]
pub fn set_pan() {
    // MSR PAN, #1 by its encoding: the assembler takes the name from v8.1 on only.
    instruction!(".inst 0xd500419f");
}

/// Masks everything and sleeps for ever.
pub fn halt() -> ! {
    instruction!("msr DAIFSet, #15");
    loop {
        wait_for_interrupt();
        #[cfg(not(target_arch = "aarch64"))]
        core::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_read_from_the_right_fields() {
        let lines = LineSizes::read();
        // Cortex-A72 (r0p3) as its TRM gives the registers.
        let a72 = Features::decode(0x1124, 0, 0, 0x11120, 0x2222, lines);
        assert!(!a72.pan && !a72.lse && a72.crc32 && a72.fp && a72.has_16_bit_asids);
        assert_eq!(a72.physical_range.bits(), 44);
        // Neoverse N1 (r4p1).
        let n1 = Features::decode(
            0x10_1125,
            0x1021_2122,
            0x1011,
            0x1000_1021_1120,
            0x1100_0000_1111_1112,
            lines,
        );
        assert!(
            n1.ras && !a72.ras && n1.pan && n1.uao && n1.lse && n1.gic_system_registers && !n1.sve
        );
        assert_eq!(n1.physical_range.bits(), 48);
        assert!(!Features::decode(0, 0, 0, 0, 0xff_0000, lines).fp);
    }
}
