//! SD host controllers, as far as no kernel is needed.
//!
//! | module | concept |
//! | --- | --- |
//! | `registers` | the controller's registers (SD Host Controller Simplified Specification 3.00) |
//! | [`host`] | commands and data through the controller, by its buffer port |
//! | [`card`] | an SD memory card: identified, read and written by blocks (SD Physical Layer Simplified Specification) |
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod card;
pub mod host;
mod registers;

pub use registers::REGISTER_BYTES;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
