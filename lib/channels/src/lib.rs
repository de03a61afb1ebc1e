//! Transports of interfaces.
//!
//! | module | between |
//! | --- | --- |
//! | [`lmp`] | programs on one core, by local messages: [`Lmp`] and [`bind`], [`Listener`] |
//! | [`urpc`] | programs on different cores, by rings in memory that both have mapped |
//!
//! What goes over them are the messages of `capelin-idc`.
#![cfg_attr(target_os = "none", no_std)]

extern crate alloc;
#[macro_use]
extern crate capelin_sys as sys;

use capelin_resources::{OwnedCap, RtError, heap, slots, vspace};
use capelin_tasks::{endpoint, executor, notify, spawn, time};

pub mod lmp;
pub mod urpc;

pub use lmp::{Listener, Lmp, bind};
