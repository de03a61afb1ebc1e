//! `reg` and `ranges`: from an address on a device's bus to one that the CPU
//! sees (devicetree specification 2.3.5, 2.3.6, 2.3.8).
//!
//! A `reg` is read in the cells of the node above. That node is a bus: its
//! `ranges` says where its address space lies in the one above it, in triples of
//! (child address in its own cells, parent address in the cells of the node
//! above it, length in its own cells). So an address climbs bus by bus to the
//! root, whose address space is the CPU's:
//!
//! ```text
//! device   reg = <7e201000 200>       in the cells of /soc
//! /soc     ranges = <7e000000  0 fe000000  1800000>
//! /        fe201000
//! ```
//!
//! An empty `ranges` means that both spaces are the same; none at all means that
//! the CPU cannot get there (an I2C address, say): the address has no translation.
//! A region goes where its first byte does: real trees have a `reg` that is longer
//! than its bus's window (a size rounded up to a page), and mean no other place.

use alloc::vec::Vec;

use crate::tree::{NodeId, Tree, cell};
use crate::types::{PhysAddr, Reg, Region};

/// `#address-cells` and `#size-cells` of a bus.
#[derive(Clone, Copy)]
pub(crate) struct Cells {
    pub(crate) address: usize,
    pub(crate) size: usize,
}

/// The most cells that one address has: PCI's three, and room for one more.
const MAX_CELLS: usize = 4;

/// The bits of a PCI address's first cell that say which space it is in: I/O,
/// memory or configuration. The others are flags or bus, device and function.
const PCI_SPACE: u128 = 0x0300_0000 << 64;

impl Tree<'_> {
    /// The cells in which `bus`'s children give addresses. Missing properties
    /// stand for 2 and 1; they aren't inherited. `None` for absurd ones.
    pub(crate) fn cells_of(&self, bus: NodeId) -> Option<Cells> {
        let address = self.u32(bus, "#address-cells").unwrap_or(2) as usize;
        let size = self.u32(bus, "#size-cells").unwrap_or(1) as usize;
        (address <= MAX_CELLS && size <= MAX_CELLS).then_some(Cells { address, size })
    }

    /// The whole entries of a node's `reg`; none for nodes without.
    pub(crate) fn reg(&self, of: NodeId) -> Vec<Reg> {
        self.reg_entries(of).unwrap_or_default()
    }

    fn reg_entries(&self, of: NodeId) -> Option<Vec<Reg>> {
        let value = self.property(of, "reg")?;
        let bus = self.parent(of)?;
        let cells = self.cells_of(bus)?;
        let stride = cells.address + cells.size;
        if cells.address == 0 {
            return None;
        }
        let mut regs = Vec::with_capacity(value.len() / 4 / stride);
        for entry in value.chunks_exact(4 * stride) {
            let address = number(entry, 0, cells.address)?;
            let size = low(number(entry, cells.address, cells.size)?);
            regs.push(Reg {
                base: self.translate(bus, address),
                bus: low(address),
                size,
            });
        }
        Some(regs)
    }

    /// The regions in a property of `of` that is a list of addresses and sizes in
    /// the cells of `bus`, taken as the CPU's own.
    pub(crate) fn regions_in(&self, bus: NodeId, of: NodeId, name: &str) -> Vec<Region> {
        let read = || {
            let value = self.property(of, name)?;
            let cells = self.cells_of(bus)?;
            let stride = cells.address + cells.size;
            if stride == 0 {
                return None;
            }
            let entries = value.chunks_exact(4 * stride).filter_map(|entry| {
                let base = number(entry, 0, cells.address)?;
                let size = number(entry, cells.address, cells.size)?;
                Some(Region::new(low(base), low(size)))
            });
            Some(entries.collect())
        };
        read().unwrap_or_default()
    }

    /// Where `address` on `bus` is for the CPU.
    pub(crate) fn translate(&self, bus: NodeId, address: u128) -> Option<PhysAddr> {
        let (mut bus, mut address) = (bus, address);
        while let Some(above) = self.parent(bus) {
            address = self.climb(bus, above, address)?;
            bus = above;
        }
        u64::try_from(address).ok().map(PhysAddr)
    }

    /// One step of a translation: from `bus`'s address space into `above`'s.
    fn climb(&self, bus: NodeId, above: NodeId, address: u128) -> Option<u128> {
        if !self.step(1) {
            return None;
        }
        let ranges = self.property(bus, "ranges")?;
        if ranges.is_empty() {
            return Some(address);
        }
        let (child, parent) = (self.cells_of(bus)?, self.cells_of(above)?);
        let stride = child.address + parent.address + child.size;
        if stride == 0 {
            return None;
        }
        for entry in ranges.chunks_exact(4 * stride) {
            if !self.step(1) {
                return None;
            }
            let from = number(entry, 0, child.address)?;
            let to = number(entry, child.address, parent.address)?;
            let length = number(entry, child.address + parent.address, child.size)?;
            if let Some(offset) = offset_within(from, length, address, child.address) {
                return to.checked_add(offset);
            }
        }
        None
    }
}

/// How far into the `length` bytes at `from` `address` lies, if it does. Three-cell addresses are PCI's, compared by space and low 64 bits.
fn offset_within(from: u128, length: u128, address: u128, cells: usize) -> Option<u128> {
    let (from, address) = if cells == 3 {
        if (from ^ address) & PCI_SPACE != 0 {
            return None;
        }
        (u128::from(low(from)), u128::from(low(address)))
    } else {
        (from, address)
    };
    let offset = address.checked_sub(from)?;
    (offset < length).then_some(offset)
}

/// The number in `count` (0–4) cells of `value` from cell `first` on.
pub(crate) fn number(value: &[u8], first: usize, count: usize) -> Option<u128> {
    let mut number = 0;
    for index in first..first + count {
        number = number << 32 | u128::from(cell(value, index)?);
    }
    Some(number)
}

/// The low 64 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is asked for"
)]
pub(crate) const fn low(number: u128) -> u64 {
    number as u64
}
