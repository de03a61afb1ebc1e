//! PCI Express from one host bridge down: which functions there are, what they want, and putting their registers where
//! somebody else has decided.
//!
//! ```text
//! enumerate ──▶ Topology: functions, bridges with their buses, BARs with their sizes, capabilities
//!                  │
//!                  ▼  (a rule of the System Knowledge Base says where)
//! program   ──▶ checks every place, opens the bridges, writes BARs
//! ```
//!
//! Nothing here touches a device but through [`ConfigSpace`], so all of it runs against a fake on the host. Numbers of
//! sections are those of the PCI Express Base Specification 6.0, for bridges of the PCI-to-PCI Bridge Architecture
//! Specification 1.2.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod address;
mod capability;
mod config;
mod enumerate;
mod function;
mod message;
mod pin;
mod program;

pub use address::Address;
pub use capability::{Capability, CapabilityId, Msi, MsiX};
pub use config::{Command, ConfigSpace, Register};
pub use enumerate::{Finding, MAX_DEPTH, Topology, enumerate, survey};
pub use function::{Bar, Bridge, Class, Function, Space};
pub use message::{ENTRY_BYTES, Message};
pub use pin::{PinState, RootPin, raises, set_pin};
pub use program::{Fault, Place, Side, Window, enable, program};
