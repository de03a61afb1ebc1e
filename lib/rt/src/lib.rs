//! The user-space runtime.
#![no_std]
