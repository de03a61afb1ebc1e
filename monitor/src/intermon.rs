//! What monitors ask of each other besides what they do for programs.
//!
//! A child says [`Intermon::hello`] when it runs; the answer is its part of the plan,
//! and it fetches the memory for the cores below it. Starters [`Intermon::report`] the fate of
//! their children to the boot core. The operations of
//! [`capelin_interfaces::monitor::Monitor`], [`capelin_interfaces::system::System`]
//! and others travel over the same overlay.

use alloc::vec::Vec;

use capelin_idc::interface;
use capelin_interfaces::interrupts::{InterruptError, TargetCore, Trigger};
use capelin_interfaces::memory::{Held, MemoryError, MemoryStats, Within};
use serde::{Deserialize, Serialize};

use crate::{Ticket, membership::Report, plan::Plan};

/// Why a monitor did nothing for another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum IntermonError {
    /// The caller isn't a child that is being started.
    NotExpected,
    /// The kernel refused a capability's transfer; the error's number.
    Kernel(u64),
    /// Memory, slots or Notify bits are exhausted.
    Exhausted,
    /// The core that is asked for isn't the boot core.
    WrongCore,
    /// The memory service refused.
    Memory(MemoryError),
    /// The interrupt service refused.
    Interrupt(InterruptError),
    /// The call didn't come through.
    Call(capelin_idc::CallError),
}

impl From<capelin_idc::CallError> for IntermonError {
    fn from(error: capelin_idc::CallError) -> Self {
        Self::Call(error)
    }
}

impl core::fmt::Display for IntermonError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotExpected => f.write_str("nobody waits for this core"),
            Self::Kernel(number) => match capelin_abi::SysError::try_from(*number) {
                Ok(error) => error.fmt(f),
                Err(number) => write!(f, "kernel error {number}"),
            },
            Self::Exhausted => f.write_str("out of resources"),
            Self::WrongCore => f.write_str("only the boot core does that"),
            Self::Memory(error) => error.fmt(f),
            Self::Interrupt(error) => error.fmt(f),
            Self::Call(error) => error.fmt(f),
        }
    }
}

/// The memory of a core that is to be started, moved to whoever starts it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Allotment {
    /// Which core.
    pub core: u16,
    /// Ram that becomes its home memory.
    pub home: Ticket,
    /// Ram that its monitor works with.
    pub ram: Ticket,
}

/// What a child is told when it has said hello.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// The cores below the child. Their memory comes by [`Intermon::allotments`].
    pub plan: Plan,
}

/// Cores whose memory is handed over at a time: a kernel has room for so many offers
/// only, for all of its children together.
pub const ALLOTMENTS_AT_ONCE: usize = 12;

/// A ring between two monitors, as the accepting one made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Opened {
    /// The frame of the rings (a copy).
    pub ring: Ticket,
    /// What rings the accepting monitor.
    pub bell: Ticket,
}

/// Between two monitors.
#[interface(name = "intermon", version = 5)]
pub trait Intermon {
    /// A child's first word, with what rings it.
    async fn hello(&self, bell: Ticket) -> Result<Welcome, IntermonError>;

    /// Memory of the next cores below a child that has said hello, at most
    /// [`ALLOTMENTS_AT_ONCE`]; none when it has all. What it was given before, it has
    /// imported by now. A core of the plan without memory isn't started.
    async fn allotments(&self) -> Result<Vec<Allotment>, IntermonError>;

    /// What became of cores. To the boot core.
    #[oneway]
    async fn report(&self, reports: Vec<Report>);

    /// Opens a ring to the caller, which `bell` rings.
    async fn open_ring(&self, bell: Ticket) -> Result<Opened, IntermonError>;

    /// `word`, back.
    async fn echo(&self, word: u64) -> u64;

    /// Whether `core` has stopped, or one that messages from the boot core to it come
    /// through. To the boot core, which knows how firmware names them.
    async fn is_cut_off(&self, core: u16) -> bool;

    /// Memory of the boot core's memory service, moved to the caller. To the boot
    /// core, as [`capelin_interfaces::memory::Memory::allocate_within`]. Sizes in bytes.
    async fn allocate(
        &self,
        bytes: u64,
        alignment: u64,
        within: Within,
    ) -> Result<Ticket, IntermonError>;

    /// Gives memory back that [`Intermon::allocate`] gave, all of a piece: the capability that
    /// the ticket is for. To the boot core.
    async fn free(&self, ram: Ticket) -> Result<(), IntermonError>;

    /// What memory the boot core's memory service has. To the boot core.
    async fn memory_stats(&self, node: u32) -> Result<MemoryStats, MemoryError>;

    /// What memory it wasn't handed. To the boot core.
    async fn memory_held(&self) -> Result<Vec<Held>, MemoryError>;

    /// Interrupt `intid`, routed to the caller's core, `core`: its IrqSource, moved. To the boot core, as
    /// [`capelin_interfaces::interrupts::Interrupts::claim`].
    async fn claim_interrupt(
        &self,
        intid: u32,
        trigger: Trigger,
        core: TargetCore,
    ) -> Result<Ticket, IntermonError>;

    /// Gives an interrupt back: the capability that the ticket is for. To the boot core.
    async fn release_interrupt(&self, source: Ticket) -> Result<(), IntermonError>;

    /// As [`capelin_interfaces::interrupts::Interrupts::raise`]. To the boot core.
    async fn raise_interrupt(&self, intid: u32) -> Result<(), IntermonError>;

    /// Text for the console. To the boot core.
    #[oneway]
    async fn output(&self, text: Vec<u8>);
}
