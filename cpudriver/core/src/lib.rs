//! The safe core of the CPU driver: capability space, scheduling, delivery,
//! messages, and what every system call does.
//!
//! It is plain code over [`state::Core`], which is generic over the
//! [`machine::Machine`] that it runs on, so that the host runs it as well. The
//! shell (`cpudriver/src`) has the entry, the vectors, boot and all unsafe code.
//!
//! | module | holds |
//! | --- | --- |
//! | [`machine`] | what is asked of the machine |
//! | [`syscall`], [`invoke`] | decode and perform |
//! | [`dispatch`], [`scheduler`] | who runs, and how it is entered |
//! | [`exit`] | who goes on after a system call |
//! | [`message`], [`endpoint`], [`doorbell`], [`interrupts`] | what is delivered to dispatchers |
//! | [`cspace`] | look-up |
//! | [`state`], [`kcb`], [`dcb`] | state |
//! | [`log`], [`report`] | what it says |
//! | [`check`] | what holds of all this between two entries |
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod check;
pub mod cspace;
pub mod dcb;
pub mod dispatch;
pub mod doorbell;
pub mod endpoint;
pub mod exit;
pub mod interrupts;
pub mod invoke;
pub mod kcb;
pub mod log;
pub mod machine;
pub mod mapping;
pub mod message;
pub mod narrow;
pub mod report;
pub mod scheduler;
pub mod state;
pub mod syscall;
