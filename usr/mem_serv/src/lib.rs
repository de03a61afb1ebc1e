//! The memory service's bookkeeping (`docs/067-memory-service.md`).
//!
//! | module | concept |
//! | --- | --- |
//! | [`pool`] | regions of memory, what of them is free, what is given out |
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod pool;
