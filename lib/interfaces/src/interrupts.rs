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

/// Gives out interrupts. Whoever serves this is the only one that configures the
/// interrupt controller's distributor.
#[interface(name = "interrupts", version = 1)]
pub trait Interrupts {
    /// Configures shared peripheral interrupt `intid` (32–1019) for `trigger` and
    /// routes it to this core. Gives an IrqSource for it alone, to be bound to an
    /// endpoint. It comes back when this client closes.
    async fn claim(&self, intid: u32, trigger: Trigger) -> Result<Cap, InterruptError>;

    /// Gives `intid` back. The client has deleted its capabilities to it.
    async fn release(&self, intid: u32) -> Result<(), InterruptError>;
}
