//! The CPU driver: one core's kernel, which shares nothing with any other.
//!
//! Two crates: the kernel itself is [`capelin_kernel`] (`cpudriver/core`), safe code
//! over a `Machine` that the host can stand in for; here is what makes this core
//! that machine, with all unsafe code.
//!
//! An exception enters by `vectors.S`, which saves the dispatcher's registers into
//! its own frame and calls one of the handlers in [`trap`]. That lends out the
//! per-core state ([`per_core`]); plain functions decode, check, and perform;
//! and the way out is `enter_user`, from the save area that the KCB names then.
//!
//! | module | holds |
//! | --- | --- |
//! | [`entry`], [`boot`], [`bump`], [`first_domain`] | from the first instruction to the first program |
//! | [`trap`] | exception entries |
//! | [`boot_cell`], [`per_core`], [`memory`] | state, and the only way to reach it |
//! | [`board`], [`hardware`], [`doorbell_page`] | what the kernel asks of the machine |
//! | [`address`], [`map`] | this core's address space |
//! | [`panic`] | its last words |
//!
//! No heap, no lock, no allocation after boot. `unsafe` is in `entry`, `boot`,
//! `trap`, `boot_cell`, `per_core`, `memory`, `map`, `image`, `hardware`, `doorbell_page`,
//! and `panic`. No circle of imports: each builds on those below it.
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(target_os = "none")]
mod address;
#[cfg(target_os = "none")]
mod board;
#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod boot_cell;
#[cfg(target_os = "none")]
mod boot_error;
#[cfg(target_os = "none")]
mod bump;
#[cfg(target_os = "none")]
mod doorbell_page;
#[cfg(target_os = "none")]
mod early_console;
#[cfg(target_os = "none")]
mod entry;
#[cfg(target_os = "none")]
mod first_domain;
#[cfg(target_os = "none")]
mod hardware;
#[cfg(target_os = "none")]
mod image;
#[cfg(target_os = "none")]
mod map;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod panic;
#[cfg(target_os = "none")]
mod per_core;
#[cfg(target_os = "none")]
mod trap;

/// On a host there is no core to drive: the crate builds so that the whole
/// workspace can be checked.
#[cfg(not(target_os = "none"))]
fn main() {}
