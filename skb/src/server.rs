//! The SKB's server: what can be tested without a machine (`docs/080-skb.md`).
//!
//! Every operation is made of slices of some hundred steps. After each the server turns to its
//! other clients, and lets other programs run, which may be about to ask something: an endless query
//! keeps nobody waiting. It ends at its bound.
//!
//! | module | concept |
//! | --- | --- |
//! | [`search`] | one query of one client: slices, batches of solutions |
//! | [`bounds`] | how the memory that there is is divided |
//! | [`cursors`] | the open queries of one client |
//! | [`program`] | a program text being consulted |
//! | [`facts`] | what the machine is: device tree, modules |
//! | [`rights`] | who may change what the system knows |
//! | [`error`] | the engine's errors as the interface tells them |

pub mod bounds;
pub mod cursors;
pub mod error;
pub mod facts;
pub mod program;
pub mod rights;
pub mod search;

/// Steps of one query: some seconds on an emulated core.
pub const QUERY_STEPS: u64 = 5_000_000;
/// Steps between two looks at other clients, and at other programs: some 50,000 instructions. A
/// look-up beside an endless query waits for a handful of slices, one with each message.
pub const SLICE: u64 = 128;
