//! The kernel's state on this core, and the only way to get at it.
//!
//! The image is private to a core, so a static is per-core state. [`Core`] is
//! made once by [`install`] and then lent to one entry at a time by
//! [`with_core`], which only the trap entries call: the kernel is
//! single-threaded and never interrupted, so the loan is exclusive.

#![expect(
    unsafe_code,
    reason = "the per-core static, lent to one trap entry at a time"
)]

use core::arch::asm;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

use capelin_kernel::log::LOG_BYTES;
use capelin_kernel::state;

use crate::board::Board;
use crate::boot_cell::BootCell;

/// The kernel's state on this machine.
pub(crate) type Core = state::Core<Board>;

/// The log's memory; boot takes it once.
pub(crate) fn log_buffer() -> &'static mut [u8; LOG_BYTES] {
    static LOG: BootCell<[u8; LOG_BYTES]> = BootCell::new([0; LOG_BYTES]);
    // SAFETY: called once, by boot, so this is the only reference.
    unsafe { &mut *LOG.get() }
}

struct CoreCell {
    core: UnsafeCell<MaybeUninit<Core>>,
    installed: AtomicBool,
}

// SAFETY: the image that holds this static belongs to one core, which runs one
// thread that nothing interrupts; there is nobody to share with.
unsafe impl Sync for CoreCell {}

static CORE: CoreCell = CoreCell {
    core: UnsafeCell::new(MaybeUninit::uninit()),
    installed: AtomicBool::new(false),
};

/// Whether [`with_core`] may be called: for a panic during boot.
pub(crate) fn is_installed() -> bool {
    CORE.installed.load(Ordering::Relaxed)
}

/// Stores what boot made.
///
/// # Safety
/// 1. Called once, before the first [`with_core`].
pub(crate) unsafe fn install(core: Core) -> &'static mut Core {
    // SAFETY: nothing else refers to the cell yet (1).
    let cell = unsafe { &mut *CORE.core.get() };
    CORE.installed.store(true, Ordering::Relaxed);
    cell.write(core)
}

/// Lends the core's state to a trap entry.
///
/// # Safety
/// 1. [`install`] has been called.
/// 2. Called from an exception entry or the panic handler, of which one at a time
///    runs, and the loan ends with it.
#[inline]
pub(crate) unsafe fn with_core() -> &'static mut Core {
    let mut cell = CORE.core.get();
    // Knowing the static, the compiler would compute its address anew for every
    // access, and take each store through another pointer for one to it. What it
    // gets from here it keeps in a register.
    // SAFETY: no instruction at all.
    unsafe {
        asm!("/* {0} */", inout(reg) cell, options(nostack, preserves_flags));
    }
    // SAFETY: not lent to anyone else (2).
    let cell = unsafe { &mut *cell };
    // SAFETY: initialised (1).
    unsafe { cell.assume_init_mut() }
}
