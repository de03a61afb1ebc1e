//! The interrupt service: what can be tested without a machine
//! (`docs/085-console-and-interrupts.md`).
//!
//! | module | concept |
//! | --- | --- |
//! | [`distributor`] | GICD configuration of one interrupt at a time, GICv2 and GICv3 |
//! | [`frame`] | frames that make interrupts of messages |
//! | [`claims`] | who has which interrupt |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod claims;
pub mod distributor;
pub mod frame;
