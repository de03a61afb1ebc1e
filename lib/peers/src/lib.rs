//! What kernels know of each other, and how they hand capabilities over: the only
//! memory, besides doorbell pages, that one CPU driver writes and another reads
//! (architecture.md, I1; `docs/022-peers.md`).
//!
//! User space never has a capability to any of it. It carries a [`Ticket`], one word
//! that says where the sender's kernel has written the record down; what the record
//! says, the receiver's kernel reads from the sender's kernel.
//!
//! ```text
//! PeerTable   one a machine, placed by the boot driver
//!   cores     MPIDR and spin-table release address, from the device tree
//!   kernels   kernel id → home memory and core; written once, by who starts it
//!
//! SharedPages one a kernel, in its image, so at the same offset in every home
//!   doorbell     words that other kernels set bits of
//!   generations  of the doorbell's words; others only read
//!   outbox       capabilities that are offered to other kernels
//!   board        revokes of the kernel's, and its part in others'
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`table`] | the table: who runs where, whose memory is whose home |
//! | [`board`] | how far a revoke over all kernels is |
//! | [`outbox`] | an offer's life: offered, taken or withdrawn, settled |
//! | [`shared`] | the pages of one kernel that others map |
//!
//! Everything is atomic words: any bits are valid, so that a CPU driver makes a
//! reference from an address and nothing else has to hold.
//!
//! [`Ticket`]: capelin_abi::Ticket
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod board;
pub mod outbox;
pub mod shared;
pub mod table;

pub use board::Board;
pub use outbox::{Offer, OfferState, Outbox, Taker};
pub use shared::SharedPages;
pub use table::{Gap, Home, PeerError, PeerTable};

/// The atomics: loom's where it checks.
mod sync {
    #[cfg(not(loom))]
    pub(crate) use core::sync::atomic::{AtomicU64, Ordering, fence};
    #[cfg(loom)]
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
}
