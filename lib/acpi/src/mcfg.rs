//! PCIe configuration spaces: the MCFG (PCI Firmware Specification 3.3, 4.1.2).

use alloc::vec::Vec;

use crate::finding::{Block, Finding, Findings};
use crate::range::Range;
use crate::table::Tables;

/// The configuration space of one host, or of a part of its buses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ecam {
    /// Address of bus 0, whether or not that is one of the buses.
    pub base: u64,
    /// Segment.
    pub segment: u16,
    /// First and last bus.
    pub buses: (u8, u8),
}

impl Ecam {
    /// The buses' own part of the space: 1 MiB each.
    #[must_use]
    pub const fn range(&self) -> Range {
        let (first, last) = self.buses;
        let base = self.base.saturating_add((first as u64) << 20);
        Range::new(base, (last as u64 + 1).saturating_sub(first as u64) << 20)
    }
}

/// The most spaces that are read: segments of a large server.
const MOST: usize = 256;

/// Reads the table, if it is there.
pub(crate) fn read(tables: &Tables<'_>, findings: &mut Findings) -> Vec<Ecam> {
    let mut found = Vec::new();
    let Some(table) = tables.get(Tables::MCFG) else {
        return found;
    };
    let mut at = 44;
    while found.len() < MOST {
        let bytes = table.bytes;
        let entry = || {
            Some(Ecam {
                base: bytes.u64(at)?,
                segment: bytes.u16(at + 8)?,
                buses: (bytes.u8(at + 10)?, bytes.u8(at + 11)?),
            })
        };
        let Some(ecam) = entry() else { break };
        if ecam.base != 0 && ecam.range().is_possible_device() {
            found.push(ecam);
        } else {
            findings.add(Finding::Address {
                block: Block::Ecam,
                address: ecam.base,
            });
        }
        at += 16;
    }
    found
}
