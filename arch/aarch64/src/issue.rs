//! The barrier, TLB and cache maintenance instructions as values.
//!
//! [`crate::tlb`] and [`crate::cache`] say *what* is issued in *which order*
//! through [`Issue`]. [`Processor`] issues it: every call has a constant variant,
//! so after inlining only the bare instruction is left. Host tests record it.

use core::fmt;

/// One instruction. Operands are as the instruction takes them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    /// Completes earlier stores, for this core's table walker.
    DsbNshst,
    /// Completes earlier accesses and maintenance, on this core.
    DsbNsh,
    /// Completes earlier stores, for the inner shareable domain.
    DsbIshst,
    /// Completes earlier accesses and maintenance, for the inner shareable domain.
    DsbIsh,
    /// Completes earlier accesses and maintenance, for the whole system.
    DsbSy,
    /// Synchronises the instruction stream with all of the above.
    Isb,
    /// By address and ASID, all levels.
    TlbiVae1(u64),
    /// By address and ASID, last level.
    TlbiVale1(u64),
    /// By address, all ASIDs and global, all levels.
    TlbiVaae1(u64),
    /// By ASID.
    TlbiAside1(u64),
    /// Everything.
    TlbiVmalle1,
    /// Clean a data line to the point of coherency.
    DcCvac(u64),
    /// Clean and invalidate a data line to the point of coherency.
    DcCivac(u64),
    /// Clean a data line to the point of unification.
    DcCvau(u64),
    /// Zero a block.
    DcZva(u64),
    /// Invalidate an instruction line to the point of unification.
    IcIvau(u64),
    /// Invalidate all instruction lines of the inner shareable domain.
    IcIalluis,
    /// Wake cores that wait for an event.
    Sev,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::DsbNshst => f.write_str("dsb nshst"),
            Self::DsbNsh => f.write_str("dsb nsh"),
            Self::DsbIshst => f.write_str("dsb ishst"),
            Self::DsbIsh => f.write_str("dsb ish"),
            Self::DsbSy => f.write_str("dsb sy"),
            Self::Isb => f.write_str("isb"),
            Self::TlbiVae1(x) => write!(f, "tlbi vae1 {x:#x}"),
            Self::TlbiVale1(x) => write!(f, "tlbi vale1 {x:#x}"),
            Self::TlbiVaae1(x) => write!(f, "tlbi vaae1 {x:#x}"),
            Self::TlbiAside1(x) => write!(f, "tlbi aside1 {x:#x}"),
            Self::TlbiVmalle1 => f.write_str("tlbi vmalle1"),
            Self::DcCvac(x) => write!(f, "dc cvac {x:#x}"),
            Self::DcCivac(x) => write!(f, "dc civac {x:#x}"),
            Self::DcCvau(x) => write!(f, "dc cvau {x:#x}"),
            Self::DcZva(x) => write!(f, "dc zva {x:#x}"),
            Self::IcIvau(x) => write!(f, "ic ivau {x:#x}"),
            Self::IcIalluis => f.write_str("ic ialluis"),
            Self::Sev => f.write_str("sev"),
        }
    }
}

/// What carries out instructions, in the order of the calls.
pub(crate) trait Issue {
    /// Issues one instruction.
    fn issue(&mut self, op: Op);
}

/// The core that runs this code.
pub(crate) struct Processor;

#[cfg(target_arch = "aarch64")]
#[expect(unsafe_code, reason = "issues the instructions")]
mod real {
    use super::{Issue, Op, Processor};

    macro_rules! plain {
        ($text:literal) => {
            // SAFETY: a barrier, hint or TLB invalidation changes no value in
            // memory; without `nomem` the compiler keeps accesses on their side.
            unsafe { core::arch::asm!($text, options(nostack, preserves_flags)) }
        };
        ($text:literal, $operand:expr) => {
            // SAFETY: as above. Cache maintenance by address writes back or drops
            // lines; which addresses may be dropped or zeroed is the contract of
            // the operations in `crate::cache`.
            unsafe {
                core::arch::asm!(
                    concat!($text, ", {}"), in(reg) $operand, options(nostack, preserves_flags)
                )
            }
        };
    }

    impl Issue for Processor {
        #[inline(always)]
        fn issue(&mut self, op: Op) {
            match op {
                Op::DsbNshst => plain!("dsb nshst"),
                Op::DsbNsh => plain!("dsb nsh"),
                Op::DsbIshst => plain!("dsb ishst"),
                Op::DsbIsh => plain!("dsb ish"),
                Op::DsbSy => plain!("dsb sy"),
                Op::Isb => plain!("isb"),
                Op::TlbiVae1(x) => plain!("tlbi vae1", x),
                Op::TlbiVale1(x) => plain!("tlbi vale1", x),
                Op::TlbiVaae1(x) => plain!("tlbi vaae1", x),
                Op::TlbiAside1(x) => plain!("tlbi aside1", x),
                Op::TlbiVmalle1 => plain!("tlbi vmalle1"),
                Op::DcCvac(x) => plain!("dc cvac", x),
                Op::DcCivac(x) => plain!("dc civac", x),
                Op::DcCvau(x) => plain!("dc cvau", x),
                Op::DcZva(x) => plain!("dc zva", x),
                Op::IcIvau(x) => plain!("ic ivau", x),
                Op::IcIalluis => plain!("ic ialluis"),
                Op::Sev => plain!("sev"),
            }
        }
    }
}

#[cfg(not(target_arch = "aarch64"))]
impl Issue for Processor {
    fn issue(&mut self, _: Op) {}
}

/// Records instead of issuing, for host tests.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct Trace(pub(crate) std::vec::Vec<std::string::String>);

#[cfg(test)]
impl Issue for Trace {
    fn issue(&mut self, op: Op) {
        self.0.push(std::string::ToString::to_string(&op));
    }
}
