//! Switching address spaces and turning translation on.
#![expect(unsafe_code, reason = "changes what addresses mean")]

use aarch64_cpu::registers::TTBR0_EL1;
use capelin_abi::{PhysAddr, VirtAddr};
use tock_registers::interfaces::{Readable, Writeable};

use crate::issue::{Issue, Op, Processor};
use crate::sysreg;

/// Makes `root` the root of the user half, tagged with `asid`. One register
/// write: since ASID and root change together and both address spaces keep their
/// own ASIDs, nothing needs invalidation (Arm ARM D8.16.3).
///
/// The walker may use the root before until the context is synchronised: by the return
/// to EL0 (`SCTLR_EL1.EOS`), or by [`tlb::invalidate_user_asid`](crate::tlb), which an
/// address space goes by.
///
/// # Safety
/// 1. `root` is a level 0 table that stays valid as long as it is installed, and
///    maps nothing to EL1.
/// 2. No TLB entry of another address space carries `asid`.
/// 3. EL1 makes no unprivileged access before it returns.
#[inline]
pub unsafe fn set_user_root(root: PhysAddr, asid: u16) {
    TTBR0_EL1.set(root.0 | u64::from(asid) << 48);
}

/// As [`set_user_root`], at once: when this returns, nothing is looked up in the root
/// before.
///
/// # Safety
/// 1, 2. As there.
#[inline]
pub unsafe fn replace_user_root(root: PhysAddr, asid: u16) {
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

/// Replaces the tables of the kernel's half under the code that runs, and installs
/// its vectors, by way of the user half (`translation.S`: break before make).
///
/// # Safety
/// 1. `root` is a level 0 table that stays valid, and maps this code, the stack and
///    everything that is referred to where the old tables do. Memory types and sizes
///    are those that `MAIR_EL1` and `TCR_EL1` say now.
/// 2. `empty` is a table without valid entries.
/// 3. The user half maps the image, executable, at its addresses minus
///    `image_offset`, and `VBAR_EL1` lies there.
/// 4. `vectors` are the kernel's, as `root` maps them.
pub unsafe fn replace_kernel_root(
    root: PhysAddr,
    empty: PhysAddr,
    image_offset: u64,
    vectors: VirtAddr,
) {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the sequence is position independent and uses no memory; it returns to
    // where it was called, which both tables map alike (1, 3).
    unsafe {
        core::arch::asm!(
            "bl capelin_replace_root",
            in("x0") root.0,
            in("x1") empty.0,
            in("x2") image_offset,
            in("x3") vectors.0,
            clobber_abi("C"),
        );
    }
    #[cfg(not(target_arch = "aarch64"))]
    let _ = (root, empty, image_offset, vectors);
}

/// Sets `SCTLR_EL1` for this and all later instructions.
///
/// # Safety
/// 1. What changes is true of the tables and the code: translation stays on, nothing
///    writable is executed where WXN is set.
pub unsafe fn set_control(control: u64) {
    sysreg::write!("SCTLR_EL1", control);
    Processor.issue(Op::Isb);
}

/// Sets `VBAR_EL1` for this and all later exceptions.
///
/// # Safety
/// 1. `vectors` is a table of them, mapped executable, for exceptions from here on.
pub unsafe fn set_vectors(vectors: VirtAddr) {
    sysreg::write!("VBAR_EL1", vectors.0);
    Processor.issue(Op::Isb);
}
