//! The console driver: what can be tested without a machine
//! (`docs/085-console-and-interrupts.md`).
//!
//! ```text
//! write → output (lines of clients kept apart) → uart → device
//! device → uart → input (session, line discipline) → read
//! ```
//!
//! | module | concept |
//! | --- | --- |
//! | [`uart`] | the device: PL011 and SBSA UART |
//! | [`output`] | bytes of many writers, in order, lines unmixed |
//! | [`input`] | who gets the input, and whether it is edited first |
//! | [`console`] | the three together; what an interrupt does |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod console;
pub mod input;
pub mod output;
pub mod uart;

/// Names a client: the number of its connection.
pub type ClientId = u64;
