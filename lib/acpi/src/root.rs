//! From the RSDP to the tables (ACPI 6.5, 5.2.5, 5.2.7, 5.2.8).
//!
//! ```text
//! RSDP   0 "RSD PTR "  8 checksum of 20 bytes  15 revision  16 RSDT (4)
//!       20 length (4)  24 XSDT (8)  32 checksum of all
//! XSDT  36 addresses of tables, 8 bytes each; RSDT: 4 bytes each
//! ```

use core::fmt;

use crate::bytes::Bytes;
use crate::finding::{Finding, Signature, TableFault};
use crate::table::{self, HEADER_BYTES, MOST_TABLE_BYTES, Tables};

/// The first bytes of an RSDP.
pub const RSDP_SIGNATURE: [u8; 8] = *b"RSD PTR ";

/// Bytes of an RSDP from ACPI 2.0 on.
pub const RSDP_BYTES: usize = 36;

/// The most tables that are looked at.
pub const MOST_TABLES: usize = 512;

/// Who can read physical memory.
pub trait PhysicalMemory<'a> {
    /// `length` bytes at `address`, if there can be a table.
    fn bytes(&self, address: u64, length: usize) -> Option<&'a [u8]>;
}

/// Why no tables are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RootError {
    /// No RSDP is at the address, or its checksum is wrong.
    NoRsdp {
        /// The address.
        address: u64,
    },
    /// The list of tables can't be read, or its checksum is wrong.
    NoList {
        /// Its address.
        address: u64,
    },
}

impl fmt::Display for RootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRsdp { address } => write!(f, "there is no RSDP at {address:#x}"),
            Self::NoList { address } => {
                write!(f, "the list of ACPI tables at {address:#x} is damaged")
            }
        }
    }
}

impl core::error::Error for RootError {}

/// The tables that the RSDP at `address` leads to. One that can't be read is left out,
/// with a finding.
///
/// # Errors
///
/// If there is no RSDP or no list of tables.
pub fn tables<'a>(memory: &impl PhysicalMemory<'a>, address: u64) -> Result<Tables<'a>, RootError> {
    let (list, width) = list(memory, address).ok_or(RootError::NoRsdp { address })?;
    let bytes = whole(memory, list)
        .filter(|bytes| {
            let is_list = matches!(bytes.get(..4), Some(b"XSDT" | b"RSDT"));
            is_list && table::sum(bytes) == 0
        })
        .ok_or(RootError::NoList { address: list })?;
    let entries = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let mut tables = Tables::default();
    for entry in entries.chunks_exact(width).take(MOST_TABLES) {
        let entry = Bytes(entry);
        let address = entry.u64(0).or_else(|| entry.u32(0).map(u64::from));
        let Some(address) = address.filter(|&address| address != 0) else {
            continue;
        };
        if let Some(bytes) = whole(memory, address) {
            tables.add(bytes);
        } else if let Some(name) = memory
            .bytes(address, 4)
            .and_then(|name| Bytes(name).array(0))
        {
            let said = memory
                .bytes(address, 8)
                .and_then(|bytes| Bytes(bytes).u32(4));
            tables.note(Finding::Table {
                signature: Signature(name),
                fault: TableFault::Truncated {
                    said: said.unwrap_or(0),
                    there: 0,
                },
            });
        }
    }
    Ok(tables)
}

/// Address of the list of tables, and bytes of an address in it.
fn list<'a>(memory: &impl PhysicalMemory<'a>, address: u64) -> Option<(u64, usize)> {
    let first = memory.bytes(address, 20)?;
    if first.get(..8)? != RSDP_SIGNATURE.as_slice() || table::sum(first) != 0 {
        return None;
    }
    let old = Bytes(first);
    let rsdt = (u64::from(old.u32(16)?), 4);
    if old.u8(15)? < 2 {
        return Some(rsdt);
    }
    let all = memory.bytes(address, RSDP_BYTES)?;
    if table::sum(all) != 0 {
        return None;
    }
    match Bytes(all).u64(24)? {
        0 => Some(rsdt),
        xsdt => Some((xsdt, 8)),
    }
}

/// The table at `address`, as long as it says.
fn whole<'a>(memory: &impl PhysicalMemory<'a>, address: u64) -> Option<&'a [u8]> {
    let length = Bytes(memory.bytes(address, HEADER_BYTES)?).size(4)?;
    if !(HEADER_BYTES..=MOST_TABLE_BYTES).contains(&length) {
        return None;
    }
    memory.bytes(address, length)
}
