//! Everything that issues an instruction or touches a register of the processor.
//!
//! The modules are leaves: none holds state of the kernel's. What a sequence of
//! barriers and maintenance must look like is said, with the Arm ARM's section,
//! where the operation is named; nobody else writes one by hand.
//!
//! | module | holds |
//! | --- | --- |
//! | [`cpu`] | who and where this core is, what it can do, masking and waiting |
//! | [`midr`], [`errata`], [`speculation`] | what this core gets wrong or may reveal, and what is done |
//! | [`atomic`] | read-modify-write in a bounded number of steps |
//! | [`tlb`], [`cache`] | named maintenance operations |
//! | [`control`] | whether MMU and caches are on |
//! | [`mmu`], `translation` | switching address spaces, turning translation on |
//! | [`identity`] | translation with addresses as they are, for the boot driver |
//! | `exception_levels` | leaving EL2, and what firmware left at EL2 and EL1 |
//! | [`mmio`] | device registers: the one accessor, and cells for register blocks |
//! | [`user`] | access to user memory that survives faults |
//! | [`guarded`] | the same for physical memory that may not be there |
//! | [`timer`] | the generic timer |
//! | [`gic`] | GICv2 and GICv3: distributor, redistributor, CPU interface, SGIs |
//! | [`psci`], [`spin_table`] | starting and stopping cores |
//! | [`serror`] | what an `SError` means |
//! | [`console`] | the early console |
//! | [`fp`] | FP and SIMD registers |
//! | [`mod@pointer`] | addresses as pointers |
//!
//! On other architectures the crate compiles for its tests: registers read as
//! zero and instructions do nothing.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod atomic;
pub mod cache;
pub mod console;
pub mod control;
pub mod cpu;
pub mod errata;
mod exception_levels;
pub mod fp;
pub mod gic;
pub mod guarded;
pub mod identity;
mod issue;
pub mod midr;
pub mod mmio;
pub mod mmu;
pub mod pointer;
pub mod psci;
pub mod serror;
pub mod speculation;
pub mod spin_table;
mod sysreg;
pub mod timer;
pub mod tlb;
mod translation;
pub mod user;
