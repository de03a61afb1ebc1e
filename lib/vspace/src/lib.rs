//! AArch64 translation tables as values: descriptors, permissions, geometry and
//! the control registers. Nothing here touches memory or a register.
//!
//! The regime is EL1&0 stage 1 with the 4 KiB granule and 48-bit addresses in
//! both halves (Arm ARM D8.2, "VMSAv8-64 translation using the 4 KiB granule"):
//!
//! ```text
//!  VA 63       48 47     39 38     30 29     21 20     12 11          0
//!    | TTBR0: 0.. | level 0 | level 1 | level 2 | level 3 |  offset     |
//!    | TTBR1: 1.. |  512 G  |   1 G   |   2 M   |   4 K   |             |
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`geometry`] | [`TableLevel`]: spans and indices |
//! | [`permissions`] | [`Permissions`]: what a leaf allows. No value of it is both writable and executable (I9) |
//! | [`descriptor`] | [`Descriptor`]: the 64-bit encodings and back |
//! | [`plan`] | [`Plan`]: which leaves, in which tables, map a range |
//! | [`registers`] | the values of `MAIR_EL1`, `TCR_EL1` and `TCR_EL2` that the encodings assume |
#![no_std]
#![forbid(unsafe_code)]

pub mod descriptor;
pub mod geometry;
pub mod permissions;
pub mod plan;
pub mod registers;

pub use descriptor::{Descriptor, DescriptorError, Entry};
pub use geometry::{ENTRIES, TableLevel, USER_END};
pub use permissions::{Access, Memory, PermissionError, Permissions};
pub use plan::{Leaves, Piece, Plan, PlanError};
pub use registers::{MAIR_EL1, PhysicalRange, tcr_el1, tcr_el2, tcr_lower_half};
