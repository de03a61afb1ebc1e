//! The boot driver: an arm64 Image that places the first CPU driver
//! (`docs/045-boot.md`).
//!
//! This library is what it decides, as plain functions over a
//! [`capelin_dt::Machine`], tested on the host with the trees of real machines;
//! the program `boot` is what it does to memory.
//!
//! | module | decides |
//! | --- | --- |
//! | [`error`] | why a machine can't be booted, as the user reads it |
//! | [`hardware`] | what the CPU driver is told of interrupt controller, timer, firmware and console |
//! | [`place`] | where home memory and device tree go, and what memory is left |
//! | [`map`] | what is mapped while the boot driver runs |
//! | [`modules`] | whether archive, CPU driver and first domain are sound |
//! | [`bootargs`] | what the kernel's arguments say |
//! | [`arguments`] | [`capelin_abi::boot::CoreArgs`] of the first core |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod arguments;
pub mod bootargs;
pub mod error;
pub mod hardware;
pub mod map;
pub mod modules;
pub mod place;

/// Bytes of the heap that the image brings, on which the device tree is parsed: twice
/// what a tree of the largest size takes whose nodes are like real ones. For a large
/// tree that takes more, [`place::heap_pieces`] finds more.
pub const HEAP_BYTES: usize = 4 << 20;
/// The alignment of the largest block that the heap hands out, and so its own.
pub const HEAP_ALIGNMENT: usize = 64;

pub use error::BootError;
