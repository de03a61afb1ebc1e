//! The CPU driver: one core's kernel, which shares nothing with any other.
//!
//! An exception enters by `vectors.S`, which saves the dispatcher's registers into
//! its own frame and calls one of the handlers in [`trap`]. That lends out the
//! per-core state ([`core::Core`]); plain functions decode, check, and perform;
//! and the way out is `enter_user`, from the save area that the KCB names then.
//!
//! | module | holds |
//! | --- | --- |
//! | [`entry`], [`boot`], [`first_domain`] | from the first instruction to the first program |
//! | [`trap`] | exception entries |
//! | [`syscall`], [`invoke`] | decode and perform |
//! | [`dispatch`], [`scheduler`] | who runs, and how it is entered |
//! | [`lmp`], [`doorbell`], [`interrupts`] | what is delivered to dispatchers |
//! | [`core`], [`kcb`], [`dcb`], [`memory`] | state, and the only way to reach it |
//! | [`address`], [`map`] | this core's address space |
//! | [`log`], [`panic`] | what it says |
//!
//! No heap, no lock, no allocation after boot. `unsafe` is in `entry`, `boot`,
//! `trap`, `core`, `memory`, `map`, `hardware`, `doorbell` and `panic`.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
mod address;
#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod core;
#[cfg(target_os = "none")]
mod dcb;
#[cfg(target_os = "none")]
mod dispatch;
#[cfg(target_os = "none")]
mod doorbell;
#[cfg(target_os = "none")]
mod entry;
#[cfg(target_os = "none")]
mod first_domain;
#[cfg(target_os = "none")]
mod hardware;
#[cfg(target_os = "none")]
mod interrupts;
#[cfg(target_os = "none")]
mod invoke;
#[cfg(target_os = "none")]
mod kcb;
#[cfg(target_os = "none")]
mod lmp;
#[cfg(target_os = "none")]
mod log;
mod lrpc;
#[cfg(target_os = "none")]
mod map;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod narrow;
#[cfg(target_os = "none")]
mod panic;
#[cfg(target_os = "none")]
mod scheduler;
#[cfg(target_os = "none")]
mod syscall;
#[cfg(target_os = "none")]
mod trap;

/// On a host there is no core to drive: the crate builds so that the whole
/// workspace can be checked.
#[cfg(not(target_os = "none"))]
fn main() {}
