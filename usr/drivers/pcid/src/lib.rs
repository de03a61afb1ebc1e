//! Driver for PCI Express host bridges whose configuration space is an ECAM (`docs/115-pcie.md`).
//!
//! | module | concept |
//! | --- | --- |
//! | [`ecam`] | configuration space, a bus mapped when it is first looked at |
//! | [`host`] | what there is below a host, and where its registers are |
//! | [`mod@line`] | an interrupt line that functions share |
//! | [`answers`] | the knowledge base's solutions, read |
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod answers;
pub mod ecam;
pub mod host;
pub mod line;
