//! The SKB's server: what can be tested without a machine (`docs/080-skb.md`).
//!
//! Every operation is made of slices of a few thousand steps. Between two of them the server turns
//! to its other clients, so that an endless query keeps nobody waiting; it ends at its bound.
//!
//! | module | concept |
//! | --- | --- |
//! | [`search`] | one query of one client: slices, batches of solutions |
//! | [`cursors`] | the open queries of one client |
//! | [`program`] | a program text being consulted |
//! | [`facts`] | what the machine is: device tree, modules |
//! | [`error`] | the engine's errors as the interface tells them |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod cursors;
pub mod error;
pub mod facts;
pub mod program;
pub mod search;

/// Steps of one query: some seconds on an emulated core.
pub const QUERY_STEPS: u64 = 5_000_000;
/// Steps between two looks at other clients: some 100 microseconds.
pub const SLICE: u64 = 2_000;
