//! Switching address spaces and turning translation on.
#![expect(unsafe_code, reason = "changes what addresses mean")]

use aarch64_cpu::registers::{MAIR_EL1, PAR_EL1, TCR_EL1, TTBR0_EL1, TTBR1_EL1};
use capelin_abi::{PhysAddr, VirtAddr};
use tock_registers::interfaces::{Readable, Writeable};

use crate::issue::{Issue, Op, Processor};

/// Makes `root` the root of the user half, tagged with `asid`. One register
/// write: since ASID and root change together and both address spaces keep their
/// own ASIDs, nothing needs invalidation (Arm ARM D8.16.3).
///
/// # Safety
/// 1. `root` is a level 0 table that stays valid as long as it is installed, and
///    maps nothing to EL1.
/// 2. No TLB entry of another address space carries `asid`.
#[inline]
pub unsafe fn set_user_root(root: PhysAddr, asid: u16) {
    TTBR0_EL1.set(root.0 | u64::from(asid) << 48);
    Processor.issue(Op::Isb);
}

/// The root and ASID that [`set_user_root`] installed last.
#[inline]
#[must_use]
pub fn user_root() -> (PhysAddr, u16) {
    let value = TTBR0_EL1.get();
    let asid = (value >> 48) as u16;
    (PhysAddr(value & 0xffff_ffff_f000), asid)
}

/// Installs the kernel's half and the memory types while translation is off, or
/// with the same values while it is on.
///
/// # Safety
/// 1. `root` is a level 0 table that stays valid.
/// 2. `mair` and `tcr` are what the tables' descriptors were made for
///    ([`capelin_vspace::MAIR_EL1`], [`capelin_vspace::tcr_el1`]).
/// 3. If translation is on, `root` maps this code where it runs.
pub unsafe fn activate_kernel(root: PhysAddr, mair: u64, tcr: u64) {
    MAIR_EL1.set(mair);
    TCR_EL1.set(tcr);
    TTBR1_EL1.set(root.0);
    Processor.issue(Op::Isb);
    crate::tlb::invalidate_all_local();
}

/// Where EL0 would read (or write, if `write`) `address` in the current address
/// space; `None` where that would fault (`AT S1E0R`, `AT S1E0W`; Arm ARM C5.4).
#[must_use]
pub fn translate_user(address: VirtAddr, write: bool) -> Option<PhysAddr> {
    #[cfg(target_arch = "aarch64")]
    if write {
        // SAFETY: a translation changes PAR_EL1 only.
        unsafe {
            core::arch::asm!("at s1e0w, {}", in(reg) address.0, options(nostack, preserves_flags));
        }
    } else {
        // SAFETY: a translation changes PAR_EL1 only.
        unsafe {
            core::arch::asm!("at s1e0r, {}", in(reg) address.0, options(nostack, preserves_flags));
        }
    }
    #[cfg(not(target_arch = "aarch64"))]
    let _ = (address, write);
    // The result is there after a context synchronisation (D8.14.2).
    Processor.issue(Op::Isb);
    decode_par(PAR_EL1.get(), address)
}

const fn decode_par(par: u64, address: VirtAddr) -> Option<PhysAddr> {
    if par & 1 != 0 {
        None
    } else {
        Some(PhysAddr(par & 0x000f_ffff_ffff_f000 | address.0 & 0xfff))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_translation_keeps_the_offset_in_the_page() {
        assert_eq!(
            decode_par(0xff00_0000_4012_3b80, VirtAddr(0x7654)),
            Some(PhysAddr(0x4012_3654))
        );
        assert_eq!(decode_par(0x80f, VirtAddr(0x7654)), None);
    }
}
