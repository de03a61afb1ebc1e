//! The device manager, without the part that needs a kernel (`docs/087-devices.md`).
//!
//! The knowledge base decides which driver a device gets ([`plan`]); [`ledger`] sees to it that no
//! two drivers get the same device; [`inventory`] keeps how it stands; [`slots`] says what is handed to who
//! looks at places for devices. `init` holds the devices'
//! capabilities and starts the drivers.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod inventory;
pub mod ledger;
pub mod plan;
pub mod slots;
