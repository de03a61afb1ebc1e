//! What a program owns.
//!
//! | module | holds |
//! | --- | --- |
//! | [`cap`], [`slots`] | [`OwnedCap`], which disposes of itself; where capabilities lie |
//! | [`memory`], [`ranges`] | frames and kernel objects, and what memory they are made of |
//! | [`vspace`] | mappings: addresses in use |
//! | [`heap`] | what Rust allocates |
//! | `virtio` (a feature) | memory that virtio devices share |
//!
//! The managers need each other: a heap that grows is a frame, mapped, with a slot; so they are one
//! crate, and say of themselves when they are busy. None of them waits: who gets more
//! memory from the memory service is the runtime.
//!
//! On the host system calls fail, and what needs no kernel is tested.
#![cfg_attr(target_os = "none", no_std)]

extern crate alloc;
#[macro_use]
extern crate capelin_sys as sys;

use sys::convert;

pub mod cap;
mod error;
#[cfg(target_os = "none")]
pub mod heap;
/// The host's heap is its own matter.
#[cfg(not(target_os = "none"))]
pub mod heap {
    /// Whether there is memory to take on something new.
    #[must_use]
    pub const fn has_room() -> bool {
        true
    }
}
pub mod memory;
pub mod ranges;
pub mod slots;
#[cfg(feature = "virtio")]
pub mod virtio;
pub mod vspace;

pub use cap::OwnedCap;
pub use error::RtError;
