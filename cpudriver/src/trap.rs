//! Exception entries, called by `vectors.S` with interrupts masked.
//!
//! Here raw pointers end: each entry borrows the per-core state and calls plain
//! functions.

#![expect(unsafe_code, reason = "entry points that assembly calls")]

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

use capelin_aarch64::gic::Fiq;
use capelin_aarch64::psci::Conduit;
use capelin_aarch64::serror::SError;
use capelin_aarch64::speculation::{Entry, WORKAROUND_3};
use capelin_aarch64::{cpu, pointer, user};
use capelin_abi::VirtAddr;
use capelin_abi::syscall::KernelCounter;

use crate::panic;
use crate::per_core::with_core;
use capelin_kernel::exit::Leave;
use capelin_kernel::fault;
use capelin_kernel::machine::{AreaRef, Objects};
use capelin_kernel::preempt;
use capelin_kernel::syscall;

/// `ESR_EL1.EC`: undefined instruction (Arm ARM D24.2.40).
const EC_UNDEFINED: u64 = 0x00;
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
extern "C" fn handle_syscall(number: u64, area: AreaRef) -> Leave {
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
        EC_FP if fault::load_fp(core) => {}
        EC_INSTRUCTION_ABORT | EC_DATA_ABORT if matches!(status, 0x04..=0x0f) => {
            fault::fault(core, true, address, syndrome);
        }
        EC_INSTRUCTION_ABORT | EC_DATA_ABORT => fault::fault(core, false, address, syndrome),
        _ => fault::fault(core, false, 0, syndrome),
    }
}

/// An IRQ while a dispatcher ran.
#[unsafe(no_mangle)]
extern "C" fn handle_interrupt(_kcb: u64) {
    // SAFETY: as in `handle_syscall`.
    let core = unsafe { with_core() };
    preempt::handle(core);
}

/// FIQs in a row that nobody acknowledges before this core gives up: then one stands
/// for ever, and no dispatcher gets anywhere.
const FIQ_PATIENCE: u32 = 1000;

/// An FIQ while a dispatcher ran. We use group 1 only, which comes as IRQ; what comes
/// as FIQ is of group 0, left enabled by firmware, or not of the interrupt controller.
/// It is silenced if that can be done, and the dispatcher goes on.
#[unsafe(no_mangle)]
extern "C" fn handle_fiq(_kcb: u64) {
    /// Of this core, as the image is.
    static IN_A_ROW: AtomicU32 = AtomicU32::new(0);
    // SAFETY: as in `handle_syscall`.
    let core = unsafe { with_core() };
    core.kcb.count(KernelCounter::Interrupts);
    match core.machine.gic.silence_fiq() {
        Fiq::Silenced(intid) => {
            IN_A_ROW.store(0, Ordering::Relaxed);
            core.log_line(format_args!("interrupt {intid} came as FIQ: masked"));
        }
        Fiq::NotOurs => {
            let before = IN_A_ROW.load(Ordering::Relaxed);
            IN_A_ROW.store(before + 1, Ordering::Relaxed);
            if before == 0 {
                core.log_line(format_args!("an FIQ that can't be acknowledged"));
            }
            if before == FIQ_PATIENCE {
                panic::exception("an FIQ stands that nobody acknowledges", 0, 0, 0, 0);
            }
        }
    }
}

/// An `SError` while a dispatcher ran. It is asynchronous: who runs now is hardly whose
/// access it was. What the core has corrected or can restart from is counted; anything
/// else may have damaged memory that isn't known, and this core stops.
#[unsafe(no_mangle)]
extern "C" fn handle_serror(_kcb: u64, syndrome: u64) {
    // SAFETY: as in `handle_syscall`.
    let core = unsafe { with_core() };
    match SError::decode(syndrome, cpu::Features::read().ras) {
        SError::Harmless => core.log_line(format_args!(
            "SError, ESR {syndrome:#x}: corrected, or restartable"
        )),
        SError::Uncontained => {
            panic::exception("SError that can't be contained", syndrome, 0, 0, 0);
        }
    }
}

/// A fault at EL1: an access to user memory, a look for a device and a call of firmware
/// have a fix-up; anything else is ours.
#[unsafe(no_mangle)]
extern "C" fn kernel_sync_fault(syndrome: u64, pc: u64, address: u64, sp: u64) -> u64 {
    if matches!(syndrome >> 26, EC_KERNEL_DATA_ABORT | EC_UNDEFINED)
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

/// The function that the vectors call, where they call firmware.
pub(crate) static FIRMWARE_FUNCTION: AtomicU32 = AtomicU32::new(0);

/// Where the vectors are, as linked, that do `entry` when EL0 enters. Where that is to call
/// firmware, by `conduit`.
pub(crate) fn vectors(entry: Entry, conduit: Option<Conduit>) -> VirtAddr {
    unsafe extern "C" {
        static capelin_vectors: u8;
        static capelin_vectors_8: u8;
        static capelin_vectors_24: u8;
        static capelin_vectors_32: u8;
        static capelin_vectors_132: u8;
        static capelin_vectors_clrbhb: u8;
        static capelin_vectors_hvc: u8;
        static capelin_vectors_smc: u8;
        static capelin_vectors_hvc_8: u8;
        static capelin_vectors_smc_8: u8;
    }
    pointer::address_of(match (entry, conduit) {
        (Entry::Plain, _) => &raw const capelin_vectors,
        (Entry::Branches(0..=8), _) => &raw const capelin_vectors_8,
        (Entry::Branches(9..=24), _) => &raw const capelin_vectors_24,
        (Entry::Branches(25..=32), _) => &raw const capelin_vectors_32,
        (Entry::Branches(_), _) => &raw const capelin_vectors_132,
        (Entry::ClearHistory, _) => &raw const capelin_vectors_clrbhb,
        (Entry::Call(function), Some(conduit)) => {
            // The vectors run on this core, later.
            FIRMWARE_FUNCTION.store(function, Ordering::Relaxed);
            match (function, conduit) {
                (WORKAROUND_3, Conduit::Hvc) => &raw const capelin_vectors_hvc,
                (WORKAROUND_3, Conduit::Smc) => &raw const capelin_vectors_smc,
                (_, Conduit::Hvc) => &raw const capelin_vectors_hvc_8,
                (_, Conduit::Smc) => &raw const capelin_vectors_smc_8,
            }
        }
        // Nobody could have been asked.
        (Entry::Call(_), None) => &raw const capelin_vectors_8,
    })
}

/// Tells the vectors the KCB's address.
///
/// # Safety
/// 1. `kcb` is the linear address of this core's KCB, for good.
pub(crate) unsafe fn set_kcb(kcb: u64) {
    // SAFETY: TPIDR_EL1 is ours; the vectors for EL0 read it, and EL0 runs later.
    unsafe {
        asm!(
            "msr tpidr_el1, {kcb}",
            kcb = in(reg) kcb,
            options(nostack, preserves_flags)
        );
    }
}
