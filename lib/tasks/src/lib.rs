//! A program's tasks, and what they wait for.
//!
//! One dispatcher runs all of them, and nothing at the same time as anything else. When none can go
//! on, the [`executor`] waits in the kernel for a local message, an interrupt, a doorbell bit or a
//! deadline.
//!
//! | module | holds |
//! | --- | --- |
//! | [`executor`] | tasks, the ready queue, the wait |
//! | [`endpoint`] | LMP endpoints: raw messages, kernel events |
//! | [`notify`] | doorbell bits |
//! | [`time`] | deadlines |
//! | [`sync`], [`future`] | what tasks wait for among themselves |
//!
//! On the host the wait returns at once, and the executor is tested.
#![cfg_attr(target_os = "none", no_std)]

extern crate alloc;
#[macro_use]
extern crate capelin_sys as sys;

use capelin_resources::{OwnedCap, RtError, ranges, slots};
use sys::frame;

pub mod endpoint;
pub mod executor;
pub mod future;
pub mod notify;
pub mod sync;
pub mod time;

pub use executor::{JoinHandle, spawn};
