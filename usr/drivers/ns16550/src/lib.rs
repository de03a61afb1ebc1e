//! The 16550 as a console's device: what can be tested without a machine
//! (`docs/085-console-and-interrupts.md`). The rest is `capelin_console`'s.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
pub mod uart;
