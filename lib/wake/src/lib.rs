//! Wake-ups: how something that another core, or the kernel, has done gets a sleeping program to
//! look at it, and why none is slept through (`docs/035-doorbells.md`).
//!
//! Both sides of the protocol are here, as the CPU driver and the runtime execute them, so that
//! one model checker steps both (`tests/loom.rs`):
//!
//! | module | holds | used by |
//! | --- | --- | --- |
//! | [`page`] | doorbell pages: ring, answer, take | the CPU drivers of both cores |
//! | [`count`] | a dispatcher's count of deliveries: what becomes visible is counted | the receiver's CPU driver |
//! | [`mod@idle`] | what a runtime does between two rounds of its tasks | `lib/rt` |
//!
//! ```text
//!  sender's core            receiver's CPU driver               its runtime
//!  ring: bit, summary ─SGI─▶ answer: whoever waits becomes
//!                            runnable
//!                            enter, or Wait, or Call: take the   1. seen := count
//!                            bits into the frame, then count  ─▶ 2. look at all sources
//!                                                                3. Wait(seen): the kernel takes
//!                                                                   first; blocks only if the
//!                                                                   count is still `seen`
//! ```
//!
//! The one rule: **whatever becomes visible to the runtime is counted in the same step**, after
//! it is there. If the runtime's look (2) missed it, it became visible after (1), so the count in
//! (3) differs from `seen`. What isn't visible yet, a bit in the page, is taken by (3) itself or
//! raises an interrupt that ends the wait.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod count;
pub mod idle;
pub mod page;

pub use count::{Deliveries, Frame};
pub use idle::{Runtime, idle};
pub use page::{Page, Ring, Word};
