//! AArch64 translation table descriptors and address arithmetic.
#![no_std]
