//! The per-core kernel.
#![no_std]
