//! The monitors' protocols, without the system calls (`docs/065-core-start.md`,
//! `docs/066-overlay.md`).
//!
//! One monitor runs on each core. Together they start the cores, form the overlay
//! that carries messages between any two of them, and do for programs what takes
//! more than one core. This library holds what can be tested without a kernel; the
//! program beside it (`src/bin/monitor/main.rs`) adds capabilities, memory and time.
//!
//! | module | concept |
//! | --- | --- |
//! | [`plan`] | the tree in which cores start, and in which messages travel |
//! | [`membership`] | what has become of each core |
//! | [`late`] | children that may still come |
//! | [`image`] | what a core image holds, and where |
//! | [`intermon`] | the interface between two neighbours; what monitors ask of each other |
//! | [`overlay`] | requests to any monitor, passed on along the tree |
//! | [`domains`] | the programs on a core, and who waits for them |
//! | [`gone`] | what waits for a client that may be gone |
//! | [`sent`] | slots of what was sent to other kernels |
//! | [`registry`], [`names`] | services by name; the name service |
//! | [`ping`] | statistics of round trips |
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod domains;
pub mod gone;
pub mod image;
pub mod intermon;
pub mod late;
pub mod membership;
pub mod names;
pub mod overlay;
pub mod ping;
pub mod plan;
pub mod registry;
pub mod sent;

/// A capability on its way to another kernel: the word of the [`capelin_abi::Ticket`]
/// that its kernel gave out. Only the kernel that it is for can make anything of it.
pub type Ticket = u64;
