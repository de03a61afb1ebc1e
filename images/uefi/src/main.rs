//! The program `loader`, EFI/BOOT/BOOTAA64.EFI: what firmware starts on a server
//! (`docs/125-uefi.md`).
//!
//! 1. The boot image and its arguments are found: in the loader's own file, or by the
//!    configuration on the volume that it came from.
//! 2. Tables are found: a device tree if firmware has one, else ACPI's.
//! 3. The tree is made once to tell the user what is wrong, then boot services end, and it
//!    is made again with the memory map that holds from then on.
//! 4. MMU and caches go off, and the boot driver is entered.
#![cfg_attr(target_os = "uefi", no_std, no_main)]

#[cfg(target_os = "uefi")]
extern crate alloc;

#[cfg(target_os = "uefi")]
mod files;
#[cfg(target_os = "uefi")]
mod handover;
#[cfg(target_os = "uefi")]
mod heap;
#[cfg(target_os = "uefi")]
mod own;
#[cfg(target_os = "uefi")]
mod run;
#[cfg(target_os = "uefi")]
mod tables;

/// On a host there is no firmware; this lets the workspace build as a whole.
#[cfg(not(target_os = "uefi"))]
fn main() {
    eprintln!("the loader is started by UEFI only");
}
