//! Files on the FAT partition of a block device, as far as no kernel is needed
//! (`docs/088-files.md`).
//!
//! [`files`] are the operations, by the crate `embedded-sdmmc`; [`fat`] is what that lacks: clusters
//! that become free with a file that is removed, and how many there are.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod fat;
pub mod files;

#[cfg(test)]
mod tests;
