//! What firmware describes the machine by: its configuration tables, and Secure Boot.

#![expect(unsafe_code, reason = "reads tables where firmware says that they are")]

use capelin_acpi::root::PhysicalMemory;
use capelin_dt::early::{HEADER_SIZE, total_size};
use uefi::runtime::{self, VariableVendor};
use uefi::table::cfg::ConfigTableEntry;
use uefi::{Guid, cstr16, guid, system};

/// A flattened device tree (UEFI's EBBR 1.0.1, 2.3.1; `EFI_DTB_TABLE_GUID`).
const DEVICE_TREE: Guid = guid!("b1b621d5-f19c-41a5-830b-d9152c69aae0");

/// Where firmware's description of the machine is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Roots {
    /// The device tree.
    pub(crate) device_tree: Option<u64>,
    /// ACPI's RSDP.
    pub(crate) rsdp: Option<u64>,
}

/// Finds them.
pub(crate) fn roots() -> Roots {
    system::with_config_table(|entries| {
        let find = |guid: Guid| {
            let entry = entries.iter().find(|entry| entry.guid == guid)?;
            Some(entry.address.expose_provenance() as u64)
        };
        Roots {
            device_tree: find(DEVICE_TREE),
            rsdp: find(ConfigTableEntry::ACPI2_GUID).or_else(|| find(ConfigTableEntry::ACPI_GUID)),
        }
    })
}

/// The device tree at `address`, as long as its header says; none if it has none, or an
/// impossible length.
pub(crate) fn device_tree(address: u64) -> Option<&'static [u8]> {
    let header = Mapped.bytes(address, HEADER_SIZE)?;
    let length = total_size(header).ok()?;
    Mapped.bytes(address, length)
}

/// Whether firmware starts signed programs only.
pub(crate) fn is_secure_boot_on() -> bool {
    let mut value = [0; 8];
    let found = runtime::get_variable(
        cstr16!("SecureBoot"),
        &VariableVendor::GLOBAL_VARIABLE,
        &mut value,
    );
    matches!(found, Ok((value, _)) if value.first() == Some(&1))
}

/// Memory as firmware maps it: where it is.
pub(crate) struct Mapped;

impl PhysicalMemory<'static> for Mapped {
    fn bytes(&self, address: u64, length: usize) -> Option<&'static [u8]> {
        let address = usize::try_from(address)
            .ok()
            .filter(|&address| address != 0)?;
        address.checked_add(length)?;
        let pointer = core::ptr::with_exposed_provenance(address);
        // SAFETY: UEFI maps all memory where it is (UEFI 2.10, 2.3.6), and the addresses
        // are those of firmware's own tables, which nobody changes while the loader runs.
        Some(unsafe { core::slice::from_raw_parts(pointer, length) })
    }
}
