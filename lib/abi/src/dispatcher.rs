//! The dispatcher frame: what a domain and its CPU driver both see of a
//! dispatcher (`docs/030-dispatchers.md`).
//!
//! ```text
//! 0x000  control words (DispatcherFrame)
//! 0x100  enabled save area   (Context)
//! 0x280  disabled save area  (Context)
//! 0x400  trap save area      (Context)
//! 0x580  free for the runtime
//! 0x800  endpoint rings, at offsets that the runtime chooses
//! ```
//! The kernel reads and writes all of it as single volatile words.

/// Identifies a dispatcher frame of this layout.
pub const FRAME_MAGIC: u64 = 0x4341_5044_4953_5031;

/// Bytes of a dispatcher frame: four pages.
pub const FRAME_BYTES: u64 = 16384;

/// Where the words lie, in bytes from the frame's start.
pub mod offset {
    /// [`super::FRAME_MAGIC`].
    pub const MAGIC: usize = 0x00;
    /// Not 0 while the dispatcher is disabled.
    pub const DISABLED: usize = 0x08;
    /// First address of the critical range: code there counts as disabled.
    pub const CRITICAL_START: usize = 0x10;
    /// Bytes of the critical range.
    pub const CRITICAL_LENGTH: usize = 0x18;
    /// Deliveries so far; written by the kernel, which keeps its own count.
    pub const DELIVERED: usize = 0x20;
    /// Notify bits that arrived; set by the kernel, taken by swap.
    pub const NOTIFIED: usize = 0x28;
    /// Address of the run upcall.
    pub const UPCALL_RUN: usize = 0x30;
    /// Address of the upcall for deliveries to an enabled dispatcher.
    pub const UPCALL_LMP: usize = 0x38;
    /// Address of the page fault upcall.
    pub const UPCALL_PAGE_FAULT: usize = 0x40;
    /// Address of the upcall for a page fault while disabled.
    pub const UPCALL_PAGE_FAULT_DISABLED: usize = 0x48;
    /// Address of the upcall for any other trap.
    pub const UPCALL_TRAP: usize = 0x50;
    /// A word for the runtime: the stack on which its upcalls run.
    pub const UPCALL_STACK: usize = 0x58;
    /// The fault address of the last page fault or trap.
    pub const FAULT_ADDRESS: usize = 0x60;
    /// `ESR_EL1` of the last page fault or trap.
    pub const FAULT_SYNDROME: usize = 0x68;
    /// Ticks of the counter in a second; written by the kernel when the dispatcher is
    /// configured, since `CNTFRQ_EL0` may be wrong.
    pub const FREQUENCY: usize = 0x70;
    /// The enabled save area.
    pub const ENABLED: usize = 0x100;
    /// The disabled save area.
    pub const DISABLED_AREA: usize = 0x280;
    /// The trap save area.
    pub const TRAP: usize = 0x400;
    /// First byte that the kernel leaves to the runtime.
    pub const RUNTIME: usize = 0x580;
    /// First byte that the runtime uses for endpoint rings.
    pub const ENDPOINTS: usize = 0x800;
}

/// A save area, as [`crate::syscall::Syscall::Resume`] names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum SaveArea {
    /// Saved while enabled.
    Enabled = 0,
    /// Saved at a trap while disabled.
    Trap = 1,
}

/// The layout of a save area: 64-bit words in this order.
///
/// x0–x30 are words 0–30.
pub mod context {
    /// Word index of SP.
    pub const SP: usize = 31;
    /// Word index of the program counter.
    pub const PC: usize = 32;
    /// Word index of the saved program status; only NZCV is taken from it.
    pub const SPSR: usize = 33;
    /// Word index of `TPIDR_EL0`.
    pub const TPIDR: usize = 34;
    /// Words in a save area.
    pub const WORDS: usize = 35;
}

/// Arguments of every upcall: x0 is the frame's address in the domain, x1 the
/// delivery count, x2 the fault address, x3 the syndrome (both 0 for run and
/// LMP). The dispatcher is disabled; SP is the word at
/// [`offset::UPCALL_STACK`]; all other registers are 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upcall {
    /// The dispatcher has the processor again.
    Run,
    /// Something was delivered to it while it was enabled and running.
    Lmp,
    /// A page fault while enabled; the context is in the enabled area.
    PageFault,
    /// A page fault while disabled; the context is in the trap area.
    PageFaultDisabled,
    /// Any other trap; the context is in the enabled area, or in the trap area
    /// when the dispatcher was disabled (x1 is then 1).
    Trap,
}

impl Upcall {
    /// Where the frame holds the upcall's address.
    #[must_use]
    pub const fn entry_offset(self) -> usize {
        match self {
            Self::Run => offset::UPCALL_RUN,
            Self::Lmp => offset::UPCALL_LMP,
            Self::PageFault => offset::UPCALL_PAGE_FAULT,
            Self::PageFaultDisabled => offset::UPCALL_PAGE_FAULT_DISABLED,
            Self::Trap => offset::UPCALL_TRAP,
        }
    }
}

// The areas don't overlap.
const _: () = {
    let bytes = context::WORDS * 8;
    assert!(offset::FREQUENCY + 8 <= offset::ENABLED);
    assert!(offset::ENABLED + bytes <= offset::DISABLED_AREA);
    assert!(offset::DISABLED_AREA + bytes <= offset::TRAP);
    assert!(offset::TRAP + bytes <= offset::RUNTIME);
};
