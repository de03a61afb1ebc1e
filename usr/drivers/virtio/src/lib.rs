//! Virtio devices (Virtual I/O Device Specification 1.3), as their drivers reach them: on PCI buses (4.1)
//! and in slots of their own (4.2).
//!
//! The transports of the `virtio-drivers` crate want raw pointers, and to measure BARs by themselves. These
//! reach registers through what the device manager has handed over, and the one for PCI learns from the
//! function's configuration space, read before, where the device's structures are.
//!
//! | module | concept |
//! | --- | --- |
//! | [`attach`](mod@attach) | a driver's device, from what was handed over; what tells that it has done something |
//! | [`device`] | agreeing with a device, and acknowledging its interrupts |
//! | [`any`] | a device, whichever of these it is |
//! | [`mmio`] | a device in a slot; what is in a slot |
//! | [`transport`] | a device on a PCI bus |
//! | [`layout`] | where such a device's structures are, as its configuration space says |
//! | `reach` | a structure of registers |
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod any;
pub mod attach;
pub mod device;
#[cfg(test)]
mod fake;
pub mod layout;
pub mod mmio;
mod reach;
pub mod transport;

pub use any::AnyTransport;
pub use attach::{AttachError, Attached, Signal, attach};
pub use layout::{Layout, LayoutError, Piece, Structure};
pub use mmio::{MmioError, MmioTransport};
pub use transport::PciTransport;
