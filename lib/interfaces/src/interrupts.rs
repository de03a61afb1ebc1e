//! Interrupts of devices.

use capelin_idc::{Cap, interface};

crate::service_error! {
    /// Why an interrupt wasn't given.
    InterruptError {
        /// The controller has no such interrupt, or it belongs to a core, not to a
        /// device (INTIDs below 32).
        NoSuchInterrupt = "no such interrupt",
        /// Another client has it.
        AlreadyClaimed = "the interrupt is taken",
        /// What is given back wasn't given out to this client.
        NotYours = "not given out to this client",
        /// No capability could be made.
        Exhausted = "out of resources",
        /// The controller keeps another trigger for this interrupt.
        FixedTrigger = "the interrupt cannot have that trigger",
        /// Nobody has handed such a controller over, or it isn't what it should be.
        NoSuchController = "no such controller of message interrupts",
        /// All its interrupts are taken.
        NoRoom = "the controller of message interrupts has none left",
        /// The core that it is to go to can't be named.
        NoSuchCore = "the controller cannot name that core",
        /// The capability by which this client came doesn't give the right.
        NotAllowed = "not for this client",
    }
}

/// What makes an interrupt pending.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Trigger {
    /// The line's level.
    Level,
    /// The line's rising edge.
    Edge,
}

/// A core, as interrupt controllers call it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct TargetCore {
    /// Its affinity.
    pub mpidr: u64,
    /// Its bit in GICv2's target lists; 0 with later versions.
    pub gicv2_mask: u8,
}

/// A message that makes an interrupt: a device writes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Message {
    /// The interrupt.
    pub intid: u32,
    /// Where it is written to, as devices see it.
    pub address: u64,
    /// What is written.
    pub data: u32,
}

/// What the device tree says of a frame of registers that makes interrupts of messages (GICv2m).
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct FrameInfo {
    /// Where its registers start in the DevFrame, in bytes.
    pub offset: u64,
    /// Its first interrupt; 0 where the frame itself tells.
    pub first: u32,
    /// How many it has; 0 where the frame itself tells.
    pub count: u32,
}

/// Gives out interrupts. Whoever serves this is the only one that configures the
/// interrupt controller's distributor.
#[interface(name = "interrupts", version = 2)]
pub trait Interrupts {
    /// Configures shared peripheral interrupt `intid` (32–1019) for `trigger` and
    /// routes it to this core. Gives an IrqSource for it alone, to be bound to an
    /// endpoint. It comes back when this client closes.
    async fn claim(&self, intid: u32, trigger: Trigger) -> Result<Cap, InterruptError>;

    /// The same for a program on another core, `core`, to which it is routed: the IrqSource is the only one, so that it
    /// can be moved to that core's kernel. It comes back by [`Interrupts::release`] once it has been moved back and
    /// deleted. For those who come by [`crate::service::INTERRUPT_CONTROLLERS`].
    async fn claim_for(
        &self,
        intid: u32,
        trigger: Trigger,
        core: TargetCore,
    ) -> Result<Cap, InterruptError>;

    /// Has `intid`, which this client has, come once, as if its device had raised it: so a driver sees whether it is told.
    /// (An interrupt that is triggered by its level stays until its driver is told, too.)
    async fn raise(&self, intid: u32) -> Result<(), InterruptError>;

    /// An interrupt for messages of what `controller`, the path of a controller in the device tree, knows as `device`,
    /// on this core. Gives an IrqSource for it alone, and what the device has to write. It comes back as the others.
    async fn claim_message(
        &self,
        controller: &str,
        device: u32,
    ) -> Result<(Cap, Message), InterruptError>;

    /// Hands over a frame of registers that makes interrupts of messages, by its path in the device tree: `registers`
    /// is a DevFrame of its pages. For those who come by [`crate::service::INTERRUPT_CONTROLLERS`].
    async fn add_frame(
        &self,
        path: &str,
        registers: Cap,
        info: FrameInfo,
    ) -> Result<(), InterruptError>;

    /// Gives `intid` back. The client has deleted its capabilities to it.
    async fn release(&self, intid: u32) -> Result<(), InterruptError>;
}
