//! What the description of Ampere Altra servers can't say (from recorded ACPI
//! tables; no real machine was at hand).
//!
//! * There is no device tree: the UEFI loader makes one of the ACPI tables, and
//!   from then on it is the only description.
//! * Affinity: socket in Aff3, core pair module in Aff2, core in Aff1; Aff0 is 0, so
//!   SGIs need no range selector. Firmware lists the cores in scrambled order, and
//!   the first need not be 0 (0x100000 was seen).
//! * One redistributor region of [`REDISTRIBUTOR_REGION_BYTES`] for each socket,
//!   128 KiB a core; `GICC.GICR` in the MADT is 0.
//! * PSCI by SMC. The console is an SBSA UART, which has no control registers.
#![no_std]
#![forbid(unsafe_code)]

use capelin_abi::Mpidr;

/// OEM id of the ACPI tables.
pub const ACPI_OEM: &str = "Ampere";

/// Bytes of a socket's redistributor region.
pub const REDISTRIBUTOR_REGION_BYTES: u64 = 16 << 20;

/// The socket of a core.
#[must_use]
pub const fn socket(mpidr: Mpidr) -> u8 {
    mpidr.affinity(3)
}

/// The core pair module of a core, counted in its socket.
#[must_use]
pub const fn module(mpidr: Mpidr) -> u8 {
    mpidr.affinity(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn affinity_names_socket_and_module() {
        let core = Mpidr(0x01_0023_0100);
        assert_eq!((socket(core), module(core), core.affinity(1)), (1, 0x23, 1));
    }
}
