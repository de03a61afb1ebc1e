//! Ampere Altra servers (from recorded ACPI tables; no real machine was at hand).
//!
//! What no description of the machine says:
//!
//! * There is no device tree: the UEFI loader makes one of the ACPI tables, and
//!   from then on it is the only description.
//! * Affinity: socket in Aff3, core pair module in Aff2, core in Aff1; Aff0 is 0, so
//!   SGIs need no range selector. Firmware lists the cores in scrambled order, and
//!   the first need not be 0 (0x100000 was seen).
//! * One redistributor region of 16 MiB for each socket, 128 KiB a core; `GICC.GICR` in the MADT is 0.
//! * PSCI by SMC. The console is an SBSA UART, which has no control registers.
#![no_std]
#![forbid(unsafe_code)]

use capelin_platform::{Emulator, Medium, Platform};

/// The platform: so far its traps only, and no way to boot it.
pub const PLATFORM: Platform = Platform {
    name: "ampere",
    machines: "Ampere Altra servers",
    image: "qemu-virt",
    fallback_consoles: &[],
    medium: Medium::Missing,
    emulator: Emulator::Missing,
    cases: &[],
};
