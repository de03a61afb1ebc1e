//! Everything that one core's kernel works with, and the only way to get at it.
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

use capelin_aarch64::console::EarlyConsole;
use capelin_aarch64::fp;
use capelin_aarch64::gic::{Gic, SgiTarget};
use capelin_aarch64::psci::Psci;
use capelin_aarch64::timer::Timer;
use capelin_abi::{KernelId, Mpidr};

use crate::kcb::Kcb;
use crate::log::{LOG_BYTES, Log};
use crate::map::KernelMap;
use crate::memory::{Objects, Slots};

/// See the module documentation.
pub(crate) struct Core {
    /// The state that could move to another core.
    pub kcb: &'static mut Kcb,
    /// Capability slots in home memory.
    pub slots: Slots,
    /// Objects in home memory.
    pub objects: Objects,
    /// This core's own map.
    pub map: KernelMap,
    /// This core's interrupt controller interface.
    pub gic: Gic,
    /// This core's timer.
    pub timer: Timer,
    /// How firmware is called.
    pub psci: Psci,
    /// The log ring.
    pub log: Log,
    /// The console, for as long as the kernel writes to it, and for a panic.
    pub console: Option<EarlyConsole>,
    /// Whether user space drives the console now.
    pub console_released: bool,
    /// This kernel.
    pub kernel: KernelId,
    /// This core.
    pub mpidr: Mpidr,
    /// This core's NUMA node.
    pub node: u64,
    /// How other cores send this one an SGI.
    pub sgi_target: SgiTarget,
    /// INTID of the timer.
    pub timer_intid: u32,
    /// Root table in use, 0 for none.
    pub active_root: u64,
    /// The largest ASID.
    pub asid_max: u32,
    /// Whether EL0 may use FP registers now.
    pub fp_access: bool,
    /// Whether the core has the CRC32 instructions.
    pub has_crc32: bool,
    /// Counter ticks in a second.
    pub frequency: u64,
    /// Ticks in a time slice.
    pub slice_ticks: u64,
}

impl Core {
    /// Deliveries to the current dispatcher so far.
    pub(crate) fn current_delivered(&self) -> u64 {
        self.kcb
            .scheduler
            .current
            .map_or(0, |dcb| self.objects.dcb(dcb).delivered)
    }

    /// Lets EL0 use the FP registers, or has its next use trap.
    pub(crate) fn set_fp_access(&mut self, allowed: bool) {
        if self.fp_access != allowed {
            self.fp_access = allowed;
            fp::trap_fp(!allowed);
        }
    }
}

/// A static for boot, before the state is installed.
pub(crate) struct BootCell<T>(UnsafeCell<T>);

// SAFETY: as for `CoreCell`.
unsafe impl<T> Sync for BootCell<T> {}

impl<T> BootCell<T> {
    /// A cell that holds `value`.
    pub(crate) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// A pointer to the value, for single-threaded use.
    pub(crate) const fn get(&self) -> *mut T {
        self.0.get()
    }
}

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
