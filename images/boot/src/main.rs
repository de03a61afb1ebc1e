//! The program `boot`: what the boot driver does to memory (`docs/045-boot.md`).
//!
//! It runs on one core, at the exception level that firmware left it in (EL1 or EL2),
//! interrupts masked. `entry` and `translation::begin` run with MMU and data caches off:
//! all data accesses are to Device memory then, aligned ones only (the target is strict
//! about that), no exclusives and no `DC ZVA`. All the rest runs with them on.
//!
//! | module | holds |
//! | --- | --- |
//! | `entry` | the Image header, relocation, the way to `run::main`, exceptions |
//! | `run` | the sequence |
//! | `translation` | MMU and caches on and off, what is mapped |
//! | `memory` | physical memory as slices, and filling it |
//! | `report` | what is said on the console, giving up |
//! | `heap` | the allocator for the device tree |
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod entry;
#[cfg(target_os = "none")]
mod heap;
#[cfg(target_os = "none")]
mod memory;
#[cfg(target_os = "none")]
mod report;
#[cfg(target_os = "none")]
mod run;
#[cfg(target_os = "none")]
mod translation;

/// On a host there is nothing to boot; this lets the workspace build as a whole.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("the boot driver runs on bare metal only");
}
