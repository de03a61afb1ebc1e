//! The contract between the CPU driver, the boot driver and user space.
//!
//! Everything here is plain data: numbers, `repr(C)` structures and checked
//! conversions. A change in this crate changes the system call ABI, so it comes
//! together with `docs/010-system-calls.md` and a new [`ABI_VERSION`].
//!
//! | module | holds |
//! | --- | --- |
//! | [`address`] | physical, virtual and capability addresses, core and kernel ids |
//! | [`error`] | the one error word that a system call returns |
//! | [`capability`] | object types, rights, sizes of objects |
//! | [`rights`] | which rights each operation asks for |
//! | [`syscall`] | system call numbers, invocation numbers, register assignment |
//! | [`dispatcher`] | the user-visible dispatcher frame and its save areas |
//! | [`lmp`] | endpoint rings inside the dispatcher frame |
//! | [`layout`] | where things lie in a first domain's address space and CSpace |
//! | [`boot`] | what the boot driver tells a CPU driver, and a CPU driver its first domain |
//! | [`flat`] | the header of a flat image |
//! | [`mod@mmio`] | how both sides access device registers |
//! | [`operation`] | the name of an operation between kernels |
//! | [`ticket`] | what user space carries of a capability between kernels |
#![no_std]
#![forbid(unsafe_code)]

pub mod address;
pub mod boot;
pub mod capability;
pub mod dispatcher;
pub mod error;
pub mod flat;
pub mod layout;
pub mod lmp;
pub mod mmio;
pub mod operation;
pub mod rights;
pub mod syscall;
mod table_name;
pub mod ticket;

pub use address::{CapAddress, CapRef, KernelId, Level, Mpidr, PhysAddr, VirtAddr};
pub use capability::{ObjectType, Rights};
pub use error::SysError;
pub use operation::OperationId;
pub use table_name::{LAST_USE, NAMED_PLACES};
pub use ticket::Ticket;

/// The version of the system call ABI, returned by [`syscall::Syscall::Nop`].
pub const ABI_VERSION: u64 = 4;

/// Bytes in the smallest page that the system maps, and the alignment of every
/// object that user space can map.
pub const PAGE_SIZE: u64 = 4096;

/// Bytes in a cache line as the shared structures assume it: 64 on every core
/// that Capelin targets (`CTR_EL0` is read where maintenance needs the real one).
pub const CACHE_LINE: u64 = 64;
