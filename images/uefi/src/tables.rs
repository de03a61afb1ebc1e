//! What firmware describes the machine by: its configuration tables, and Secure Boot.

#![expect(unsafe_code, reason = "reads tables where firmware says that they are")]

use capelin_acpi::root::PhysicalMemory;
use capelin_dt::early::{HEADER_SIZE, total_size};
use capelin_uefi::secure_boot::SecureBoot;
use uefi::runtime::{self, VariableVendor};
use uefi::table::cfg::ConfigTableEntry;
use uefi::{CStr16, Guid, Status, cstr16, guid, system};

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

/// What firmware's variables say of Secure Boot.
pub(crate) fn secure_boot() -> SecureBoot {
    let (mut secure_boot, mut setup_mode) = ([0; 8], [0; 8]);
    SecureBoot::of(
        variable(cstr16!("SecureBoot"), &mut secure_boot),
        variable(cstr16!("SetupMode"), &mut setup_mode),
    )
}

/// The value of a variable of the specification's, if firmware has it; one that is longer than `room` is as long as that.
fn variable<'a>(name: &CStr16, room: &'a mut [u8]) -> Option<&'a [u8]> {
    let found = runtime::get_variable(name, &VariableVendor::GLOBAL_VARIABLE, room);
    match found.map(|(value, _)| value.len()) {
        Ok(length) => room.get(..length),
        Err(error) if error.status() == Status::BUFFER_TOO_SMALL => Some(room),
        Err(_) => None,
    }
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
