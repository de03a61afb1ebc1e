//! The module archive: cpio with a checked header.
#![no_std]
