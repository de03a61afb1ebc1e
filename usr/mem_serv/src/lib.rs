//! The memory service's bookkeeping (`docs/067-memory-service.md`).
//!
//! | module | concept |
//! | --- | --- |
//! | [`pool`] | regions of memory, and what of them is free |
//! | `given` | what is given out, and to whom |
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod given;
pub mod pool;
