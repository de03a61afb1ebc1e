//! Exception entries, called by `vectors.S` with interrupts masked.
//!
//! Here raw pointers end: each entry borrows the per-core state and calls plain
//! functions.

#![expect(unsafe_code, reason = "entry points that assembly calls")]

use core::arch::asm;

use capelin_aarch64::user;
use capelin_abi::syscall::KernelCounter;

use crate::panic;
use crate::per_core::with_core;
use capelin_kernel::dispatch;
use capelin_kernel::interrupts;
use capelin_kernel::machine::Objects;
use capelin_kernel::syscall::{self, Leave};

/// `ESR_EL1.EC`: trapped use of FP or SIMD (Arm ARM D19.2.37).
const EC_FP: u64 = 0x07;
/// Instruction abort from a lower EL.
const EC_INSTRUCTION_ABORT: u64 = 0x20;
/// Data abort from a lower EL.
const EC_DATA_ABORT: u64 = 0x24;
/// Data abort at EL1.
const EC_KERNEL_DATA_ABORT: u64 = 0x25;

/// SVC: `area` holds x0–x11, x18, x19, x30, PC and SPSR; `number` is the immediate.
#[unsafe(no_mangle)]
extern "C" fn handle_syscall(number: u64, area: u64) -> Leave {
    // SAFETY: 1. boot installed the state before the first dispatcher ran. 2. This
    // is an exception entry.
    let core = unsafe { with_core() };
    let area = core.objects.context(area);
    syscall::handle(core, area, number)
}

/// Any other synchronous exception from EL0.
#[unsafe(no_mangle)]
extern "C" fn handle_fault(_kcb: u64, syndrome: u64, address: u64) {
    // SAFETY: as in `handle_syscall`.
    let core = unsafe { with_core() };
    let class = syndrome >> 26;
    let status = syndrome & 0x3f;
    match class {
        EC_FP if dispatch::load_fp(core) => {}
        EC_INSTRUCTION_ABORT | EC_DATA_ABORT if matches!(status, 0x04..=0x0f) => {
            dispatch::fault(core, true, address, syndrome);
        }
        EC_INSTRUCTION_ABORT | EC_DATA_ABORT => dispatch::fault(core, false, address, syndrome),
        _ => dispatch::fault(core, false, 0, syndrome),
    }
}

/// An IRQ while a dispatcher ran.
#[unsafe(no_mangle)]
extern "C" fn handle_interrupt(_kcb: u64) {
    // SAFETY: as in `handle_syscall`.
    let core = unsafe { with_core() };
    interrupts::handle(core);
}

/// An FIQ while a dispatcher ran. We use group 1 only, which comes as IRQ; an FIQ
/// at EL1 is a spurious one, or firmware's. It is counted, and the dispatcher
/// goes on.
#[unsafe(no_mangle)]
extern "C" fn handle_fiq(_kcb: u64) {
    // SAFETY: as in `handle_syscall`.
    let core = unsafe { with_core() };
    core.kcb.count(KernelCounter::Interrupts);
}

/// An `SError` while a dispatcher ran: blamed on it, as its accesses are the
/// likeliest cause; the core goes on.
#[unsafe(no_mangle)]
extern "C" fn handle_serror(_kcb: u64, syndrome: u64) {
    // SAFETY: as in `handle_syscall`.
    let core = unsafe { with_core() };
    core.log_line(format_args!("SError, ESR {syndrome:#x}"));
    dispatch::fault(core, false, 0, syndrome);
}

/// A fault at EL1: an unprivileged access has a fix-up, anything else is ours.
#[unsafe(no_mangle)]
extern "C" fn kernel_sync_fault(syndrome: u64, pc: u64, address: u64, sp: u64) -> u64 {
    if syndrome >> 26 == EC_KERNEL_DATA_ABORT
        && let Some(fixup) = user::fixup_for(pc)
    {
        return fixup;
    }
    panic::exception("a fault in the CPU driver", syndrome, pc, address, sp)
}

/// An exception that can't happen.
#[unsafe(no_mangle)]
extern "C" fn kernel_exception(vector: u64, syndrome: u64, pc: u64, address: u64) -> ! {
    let what = match vector {
        4 => "kernel stack overflow",
        7 => "SError in the CPU driver",
        _ => "an exception that the CPU driver never takes",
    };
    panic::exception(what, syndrome, pc, address, 0)
}

unsafe extern "C" {
    fn enter_user() -> !;
}

/// Leaves for the save area that the KCB names, for the first time.
///
/// # Safety
/// 1. Boot is complete: the state is installed, `TPIDR_EL1` and `VBAR_EL1` are
///    set, and a dispatcher is current.
pub(crate) unsafe fn leave() -> ! {
    // SAFETY: the caller's 1.
    unsafe { enter_user() }
}

/// Installs the vectors and the KCB's address.
///
/// # Safety
/// 1. `kcb` is the linear address of this core's KCB, for good.
pub(crate) unsafe fn install_vectors(kcb: u64) {
    // SAFETY: the vectors are aligned as VBAR_EL1 needs, and TPIDR_EL1 is ours.
    unsafe {
        asm!(
            "ldr {vectors}, =capelin_vectors",
            "msr vbar_el1, {vectors}",
            "msr tpidr_el1, {kcb}",
            "isb",
            vectors = out(reg) _,
            kcb = in(reg) kcb,
            options(nostack, preserves_flags)
        );
    }
}
