//! How to call firmware: the FADT's flags for Arm (ACPI 6.5, 5.2.9, table 5.11).

use crate::finding::{Finding, Findings};
use crate::table::Tables;

/// The instruction that calls PSCI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduit {
    /// `SMC`.
    Smc,
    /// `HVC`.
    Hvc,
}

/// What the FADT says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fadt {
    /// How PSCI is called, if firmware has it (0.2 or later).
    pub psci: Option<Conduit>,
    /// Whether this is hardware-reduced ACPI, as all Arm machines are.
    pub is_hardware_reduced: bool,
}

impl Fadt {
    /// Reads the table, if it is there. One that is older than the flags has no PSCI.
    pub(crate) fn read(tables: &Tables<'_>, findings: &mut Findings) -> Self {
        let signature = Tables::FADT;
        let Some(table) = tables.get(signature) else {
            findings.add(Finding::Missing { signature });
            return Self::default();
        };
        let boot = table.bytes.u16(129).unwrap_or(0);
        let flags = table.bytes.u32(112).unwrap_or(0);
        let conduit = if boot & 2 == 0 {
            Conduit::Smc
        } else {
            Conduit::Hvc
        };
        Self {
            psci: (boot & 1 != 0).then_some(conduit),
            is_hardware_reduced: flags & 1 << 20 != 0,
        }
    }
}
