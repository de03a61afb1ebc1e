//! Running with translation on where virtual addresses are physical ones: the boot
//! driver's way to have caches (`docs/045-boot.md`), at EL1 or EL2.
//!
//! Which registers and which descriptors apply depends on the exception level, and at EL2
//! on `HCR_EL2.E2H` (Arm ARM D8.2, "Translation regimes"): [`Regime`]. The sequences are in
//! `translation.S`.
#![expect(unsafe_code, reason = "changes what addresses mean")]
#![cfg_attr(
    not(target_arch = "aarch64"),
    expect(unused_variables, reason = "values of registers, for the assembly")
)]

use capelin_abi::PhysAddr;
#[cfg(target_arch = "aarch64")]
use capelin_vspace::MAIR_EL1;
use capelin_vspace::{
    Descriptor, DescriptorError, Permissions, PhysicalRange, TableLevel, tcr_el2, tcr_lower_half,
};

use crate::exception_levels::{E2H_BIT, SCTLR_EL1, SCTLR_EL2};
use crate::{cpu, sysreg};

/// `SCTLR_EL1` and `SCTLR_EL2`: MMU, data and instruction caches on; what is writable is
/// never executable.
const ON: u64 = 1 | 1 << 2 | 1 << 12 | 1 << 19;

/// The translation regime of this code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Regime {
    /// EL1&0.
    El1,
    /// EL2, of one exception level (`HCR_EL2.E2H` is 0).
    El2,
    /// EL2&0 (`HCR_EL2.E2H` is 1, which some cores can't clear).
    El2Host,
}

/// Addresses `start..end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// The first byte.
    pub start: PhysAddr,
    /// The byte after the last.
    pub end: PhysAddr,
}

impl Regime {
    /// That of this core, now.
    #[must_use]
    pub fn current() -> Self {
        if cpu::current_el() != 2 {
            Self::El1
        } else if sysreg::read!("HCR_EL2") & 1 << E2H_BIT == 0 {
            Self::El2
        } else {
            Self::El2Host
        }
    }

    /// A leaf for this level and no other.
    ///
    /// # Errors
    /// As [`Descriptor::leaf`].
    pub fn leaf(
        self,
        level: TableLevel,
        address: PhysAddr,
        permissions: Permissions,
    ) -> Result<Descriptor, DescriptorError> {
        let leaf = Descriptor::leaf(level, address, permissions)?;
        Ok(match self {
            Self::El1 | Self::El2Host => leaf,
            Self::El2 => leaf.for_one_level(),
        })
    }

    const fn tcr(self, range: PhysicalRange) -> u64 {
        match self {
            Self::El1 | Self::El2Host => tcr_lower_half(range),
            Self::El2 => tcr_el2(range),
        }
    }

    /// The system control register with MMU and caches off.
    const fn control(self) -> u64 {
        match self {
            Self::El1 => SCTLR_EL1,
            Self::El2 | Self::El2Host => SCTLR_EL2,
        }
    }
}

/// Whether the MMU or the data cache of this core is on.
#[must_use]
pub fn is_on() -> bool {
    let control = match Regime::current() {
        Regime::El1 => sysreg::read!("SCTLR_EL1"),
        Regime::El2 | Regime::El2Host => sysreg::read!("SCTLR_EL2"),
    };
    control & 5 != 0
}

/// Turns MMU and caches on.
///
/// # Safety
/// 1. MMU and data caches are off, and the regime is this.
/// 2. `root` is a level 0 table with leaves by [`Regime::leaf`], and maps this code, the
///    stack and all memory that is used from now on where they are.
/// 3. `written` holds all that was written until now, since `capelin_write_back_lines` was
///    called for it: what caches hold of its lines is lost.
pub unsafe fn enter(regime: Regime, root: PhysAddr, written: Extent) {
    let range = PhysicalRange::from_mmfr0(sysreg::read!("ID_AA64MMFR0_EL1"));
    let (control, tcr) = (regime.control() | ON, regime.tcr(range));
    #[cfg(target_arch = "aarch64")]
    {
        macro_rules! enter {
            ($enable:literal) => {
                // SAFETY: neither function uses memory; the first leaves nothing in caches
                // that hides what was written, also on the stack (3); the second returns
                // here, since the tables map this code where it is (2).
                unsafe {
                    core::arch::asm!(
                        "bl capelin_discard_lines",
                        "mov x0, {root}",
                        "mov x1, xzr",
                        "mov x2, {control}",
                        "mov x3, {mair}",
                        "mov x4, {tcr}",
                        concat!("bl ", $enable),
                        root = in(reg) root.0,
                        control = in(reg) control,
                        mair = in(reg) MAIR_EL1,
                        tcr = in(reg) tcr,
                        inout("x0") written.start.0 => _,
                        inout("x1") written.end.0 => _,
                        out("x2") _, out("x3") _, out("x4") _, out("x5") _, out("x6") _,
                        out("x7") _, out("x8") _, out("x9") _, out("x30") _,
                        options(nostack)
                    )
                }
            };
        }
        match regime {
            Regime::El1 => enter!("capelin_enable_translation"),
            Regime::El2 | Regime::El2Host => enter!("capelin_enable_translation_el2"),
        }
    }
}

/// Turns MMU and caches off, and goes to `entry` with x0 = `entry`.
///
/// # Safety
/// 1. The regime is this, and addresses are where they are, as [`enter`] makes it, and UEFI.
/// 2. At `entry` is code that can run so. It, and all that it reads past the caches, is
///    clean to the point of coherency.
/// 3. `ours` may be written back: nobody else writes there.
pub unsafe fn leave(regime: Regime, entry: PhysAddr, ours: Extent) -> ! {
    #[cfg(target_arch = "aarch64")]
    {
        macro_rules! leave {
            ($name:literal) => {
                // SAFETY: uses no memory (1), and doesn't return (2, 3).
                unsafe {
                    core::arch::asm!(
                        concat!("b ", $name),
                        in("x0") regime.control(),
                        in("x1") ours.start.0,
                        in("x2") ours.end.0,
                        in("x4") entry.0,
                        options(noreturn)
                    )
                }
            };
        }
        match regime {
            Regime::El1 => leave!("capelin_leave_translation"),
            Regime::El2 | Regime::El2Host => leave!("capelin_leave_translation_el2"),
        }
    }
    #[cfg(not(target_arch = "aarch64"))]
    cpu::halt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_regime_has_its_layout() {
        let range = PhysicalRange::from_mmfr0(2);
        // E2H clear: PS is 18:16, and 31 and 23 are RES1.
        assert_eq!(Regime::El2.tcr(range), 0x8082_3510);
        // EL1's layout: IPS is 34:32, EPD1 is 23.
        assert_eq!(Regime::El1.tcr(range), 0x2_b590_3510);
        assert_eq!(Regime::El2Host.tcr(range), Regime::El1.tcr(range));
        let text = |regime: Regime| {
            let leaf = regime.leaf(
                TableLevel::L2,
                PhysAddr(0x4020_0000),
                Permissions::KERNEL_TEXT,
            );
            leaf.unwrap().0
        };
        // EL1 and EL2&0: UXN; EL2: no XN, AP[1] is RES1.
        assert_eq!(text(Regime::El1), 0x40_0000_4020_0781);
        assert_eq!(text(Regime::El2Host), text(Regime::El1));
        assert_eq!(text(Regime::El2), 0x4020_07c1);
    }

    #[test]
    fn nothing_is_cached_or_translated_with_the_controls_off() {
        for regime in [Regime::El1, Regime::El2, Regime::El2Host] {
            assert_eq!(regime.control() & ON, 0);
        }
        assert_eq!(ON, 0x8_1005);
    }
}
