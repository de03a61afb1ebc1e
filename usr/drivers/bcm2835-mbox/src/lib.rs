//! The mailbox between the Arm cores and the VideoCore of BCM2835 to BCM2711, as far as no kernel is
//! needed.
//!
//! [`mailbox`] passes one word to the VideoCore's firmware and waits for one that comes back.
//! [`property`] puts a request into memory that both see, sends its address, and reads what firmware
//! has written there.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod mailbox;
pub mod property;

#[cfg(test)]
mod tests;
