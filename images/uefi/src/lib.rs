//! The parts of the UEFI loader that need no firmware, and are tested on the host:
//! its configuration file, the form in which all is in one file, what variables say of Secure
//! Boot, and the layout of what it leaves in memory (`docs/125-uefi.md`).
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod configuration;
pub mod layout;
pub mod secure_boot;
pub mod unified;
