//! Virtio devices on PCI buses (Virtual I/O Device Specification 1.3, 4.1), for the drivers of the
//! `virtio-drivers` crate.
//!
//! The crate's own transport wants raw pointers, and to measure BARs by itself. This one reaches
//! registers through what the device manager has handed over, and learns from the function's
//! configuration space, read before, where the device's structures are.
//!
//! | module | concept |
//! | --- | --- |
//! | [`layout`] | where a device's structures are, as its configuration space says |
//! | [`transport`] | the device, as the crate's drivers use it |
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod layout;
pub mod transport;

pub use layout::{Layout, LayoutError, Piece, Structure};
pub use transport::PciTransport;
