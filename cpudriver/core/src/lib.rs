//! The safe core of the CPU driver: capability space, scheduling, delivery,
//! messages, and what every system call does.
//!
//! It is plain code over [`state::Core`], which is generic over the
//! [`machine::Machine`] that it runs on, so that the host runs it as well. The
//! shell (`cpudriver/src`) has the entry, the vectors, boot and all unsafe code.
//!
//! The modules, in an order in which they can be read: none uses a later one
//! (`cargo xtask check` refuses a circle).
//!
//! | module | holds |
//! | --- | --- |
//! | [`narrow`], [`dcb_ref`], [`scheduler`] | arithmetic: who runs when |
//! | [`mapping`], [`names`] | what mappings say, and names of what is in home memory |
//! | [`dcb`], [`home`], [`machine`] | control blocks, what lends them, what is asked of the machine |
//! | [`log`], [`doorbell_page`], [`operations`], [`kcb`], [`state`] | state |
//! | [`cspace`], [`endpoint`] | look-up, and what capabilities say |
//! | [`report`] | what the kernel says |
//! | [`handover`], [`hold`] | capabilities between kernels, and what is held for that |
//! | [`delivery`], [`doorbell`], [`bound_irq`] | what comes for a dispatcher, and wakes it |
//! | [`effects`] | what goes with a capability |
//! | [`local_revoke`], [`revocation`] | unfinished revokes, and those that other kernels have a part in |
//! | [`interrupts`] | taking them |
//! | [`address_space`], [`upcall`], [`lifecycle`] | entering a dispatcher, and ending it |
//! | [`dispatch`] | who is entered next |
//! | [`fault`], [`preempt`] | what follows a fault, and an interrupt |
//! | [`exit`] | who goes on after a system call |
//! | [`message`], [`invoke`], [`syscall`] | decode and perform |
//! | [`check`] | what holds of all this between two entries |
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod address_space;
pub mod bound_irq;
pub mod check;
pub mod cspace;
pub mod dcb;
pub mod dcb_ref;
pub mod delivery;
pub mod dispatch;
pub mod doorbell;
pub mod doorbell_page;
pub mod effects;
pub mod endpoint;
pub mod exit;
pub mod fault;
pub mod handover;
pub mod hold;
pub mod home;
pub mod interrupts;
pub mod invoke;
pub mod kcb;
pub mod lifecycle;
pub mod local_revoke;
pub mod log;
pub mod machine;
pub mod mapping;
pub mod message;
pub mod names;
pub mod narrow;
pub mod operations;
pub mod preempt;
pub mod report;
pub mod revocation;
pub mod scheduler;
pub mod state;
pub mod syscall;
pub mod upcall;
