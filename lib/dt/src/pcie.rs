//! PCI host bridges (PCI Bus Binding to Open Firmware 2.1; bindings `pci-host-ecam-generic`,
//! `pci-msi.txt`, `pci-iommu.txt` of the devicetree schemas).
//!
//! A host bridge is a bus whose addresses have three cells: flags with the space, and 64
//! bits. Its `ranges` are the windows in which the CPU sees that space.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use crate::address::{low, number};
use crate::error::DtError;
use crate::tree::{NodeId, Tree, cell};
use crate::types::{Interrupt, NumaId, PhysAddr, Region, Status};
use crate::validate;

/// Bytes of configuration space that a bus has in an ECAM (PCI Express Base 6.0, 7.2.2): 32 devices,
/// 8 functions, 4 KiB.
pub const ECAM_BUS_BYTES: u64 = 1 << 20;
/// Devices that a bus may have.
const DEVICES: u32 = 32;
/// Where a device's number starts in the first cell of its address.
const DEVICE_SHIFT: u32 = 11;

/// A PCI host bridge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PcieHost {
    /// Path of the node.
    pub path: String,
    /// `compatible`, most specific first.
    pub compatible: Vec<String>,
    /// Where its configuration space is: the first `reg`. An ECAM if [`PcieHost::is_ecam`].
    pub configuration: Option<Region>,
    /// `linux,pci-domain`: the segment. Without it, hosts are numbered as the reader likes.
    pub segment: Option<u16>,
    /// Buses that lie below it: `bus-range`, or all.
    pub buses: RangeInclusive<u8>,
    /// What the CPU sees of its address spaces.
    pub windows: Vec<PcieWindow>,
    /// Which controller takes the message interrupts of which functions.
    pub msi: Vec<PcieMsi>,
    /// The bits of a device number that `interrupt-map` looks at.
    pub intx_mask: u8,
    /// Where INTA to INTD of the devices on its first bus lead, for each device number that `intx_mask` tells apart.
    pub intx: Vec<PcieIntx>,
    /// What `status` says.
    pub status: Status,
    /// Its NUMA node, from it or the closest node above that names one.
    pub numa: Option<NumaId>,
}

impl PcieHost {
    /// Whether its configuration space is laid out as PCI Express says.
    #[must_use]
    pub fn is_ecam(&self) -> bool {
        const ECAM: [&str; 3] = [
            "pci-host-ecam-generic",
            "arm,sbsa-pcie",
            "marvell,armada8k-pcie-ecam",
        ];
        self.compatible.iter().any(|it| ECAM.contains(&&**it))
    }

    /// The buses that the configuration space has room for: all of `buses`, or as many as fit.
    ///
    /// The space starts with the first bus (`pci-host-ecam-generic`: "bus-range … the first bus's
    /// configuration space is at the start of `reg`").
    #[must_use]
    pub fn reachable_buses(&self) -> Option<RangeInclusive<u8>> {
        let room = self.configuration?.size / ECAM_BUS_BYTES;
        let (first, last) = (*self.buses.start(), *self.buses.end());
        let end = (u64::from(first) + room).checked_sub(1)?;
        let last = u8::try_from(end).unwrap_or(u8::MAX).min(last);
        (room > 0 && first <= last).then_some(first..=last)
    }
}

/// The kind of an address space.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PcieSpace {
    /// Ports.
    Io,
    /// Memory below 4 GiB on the bus.
    Memory32,
    /// Memory anywhere.
    Memory64,
}

/// A part of a host's address space that the CPU sees.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PcieWindow {
    /// Which space.
    pub space: PcieSpace,
    /// Whether reads have no side effects.
    pub is_prefetchable: bool,
    /// First address on the bus.
    pub bus: u64,
    /// Where the CPU sees it.
    pub cpu: PhysAddr,
    /// Bytes.
    pub size: u64,
}

/// A row of `msi-map`, or `msi-parent`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PcieMsi {
    /// The first requester id (bus in bits 15:8, device in 7:3, function in 2:0).
    pub requester: u32,
    /// How many requester ids the row is for.
    pub count: u32,
    /// The controller's path.
    pub controller: String,
    /// What the controller knows the first one by: an ITS's DeviceID.
    pub device: u32,
}

/// Where an interrupt pin leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PcieIntx {
    /// The device's number, under [`PcieHost::intx_mask`].
    pub device: u8,
    /// 1 to 4: INTA to INTD.
    pub pin: u8,
    /// The interrupt.
    pub interrupt: Interrupt,
}

/// The PCI host bridges that a tree has, in document order, disabled ones too.
///
/// # Errors
///
/// As [`crate::Machine::parse`].
pub fn pcie_hosts(blob: &[u8]) -> Result<Vec<PcieHost>, DtError> {
    let blob = validate::validate(blob)?;
    let tree = Tree::new(&blob)?;
    let hosts = tree.all().skip(1).filter(|&node| is_host(&tree, node));
    let hosts = hosts.map(|node| host(&tree, node)).collect();
    if tree.is_exhausted() {
        return Err(DtError::TooComplex);
    }
    Ok(hosts)
}

/// Whether `node` is a bus of PCI addresses itself, and doesn't lie on one.
fn is_host(tree: &Tree<'_>, node: NodeId) -> bool {
    let is_pci = |node| tree.str(node, "device_type") == Some("pci");
    is_pci(node) && !tree.parent(node).is_some_and(is_pci)
}

fn host(tree: &Tree<'_>, node: NodeId) -> PcieHost {
    let path = tree.path(node);
    tree.step(path.len());
    let buses = tree.cells(node, "bus-range").and_then(|cells| {
        let &[first, last] = &*cells else { return None };
        Some(u8::try_from(first).ok()?..=u8::try_from(last).ok()?)
    });
    let configuration = tree
        .reg(node)
        .first()
        .and_then(|reg| Some(Region::new(reg.base?.0, reg.size)));
    let intx_mask = intx_mask(tree, node);
    let lineage = || core::iter::successors(Some(node), |&node| tree.parent(node));
    PcieHost {
        path,
        compatible: tree.compatible(node),
        configuration,
        segment: tree
            .u32(node, "linux,pci-domain")
            .and_then(|it| u16::try_from(it).ok()),
        buses: buses.unwrap_or(0..=u8::MAX),
        windows: windows(tree, node).unwrap_or_default(),
        msi: msi(tree, node),
        intx_mask,
        intx: intx(tree, node, intx_mask),
        status: tree.status_on_bus(node),
        numa: lineage().find_map(|node| tree.numa(node)),
    }
}

/// `ranges`: three cells on the bus, as many as the node above has for the CPU's side, a size. Rows of configuration
/// space, and those that the CPU can't reach, are left out.
fn windows(tree: &Tree<'_>, node: NodeId) -> Option<Vec<PcieWindow>> {
    let ranges = tree.property(node, "ranges")?;
    let above = tree.parent(node)?;
    let (own, outer) = (tree.cells_of(node)?, tree.cells_of(above)?);
    if own.address != 3 || own.size == 0 || outer.address == 0 {
        return None;
    }
    let stride = own.address + outer.address + own.size;
    let rows = ranges.chunks_exact(4 * stride).filter_map(|row| {
        if !tree.step(stride) {
            return None;
        }
        let flags = cell(row, 0)?;
        // phys.hi: n p t 0 0 0 s s, then bus, device, function and register.
        let space = match flags >> 24 & 3 {
            1 => PcieSpace::Io,
            2 => PcieSpace::Memory32,
            3 => PcieSpace::Memory64,
            _ => return None,
        };
        let cpu = number(row, own.address, outer.address)?;
        Some(PcieWindow {
            space,
            is_prefetchable: flags & 1 << 30 != 0,
            bus: low(number(row, 1, 2)?),
            cpu: tree.translate(above, cpu)?,
            size: low(number(row, own.address + outer.address, own.size)?),
        })
    });
    Some(rows.collect())
}

/// `msi-map`, under `msi-map-mask`, else the first of `msi-parent`, which has all requesters as they are.
fn msi(tree: &Tree<'_>, node: NodeId) -> Vec<PcieMsi> {
    let row = |requester, phandle, device, count| {
        let controller = tree.path(tree.by_phandle(phandle)?);
        tree.step(16 + controller.len()).then_some(PcieMsi {
            requester,
            count,
            controller,
            device,
        })
    };
    if let Some(map) = tree.cells(node, "msi-map") {
        let rows = map.as_chunks::<4>().0.iter();
        return rows
            .filter_map(|&[requester, phandle, device, count]| {
                row(requester, phandle, device, count)
            })
            .collect();
    }
    let parent = tree.u32(node, "msi-parent");
    parent
        .and_then(|phandle| row(0, phandle, 0, 1 << 16))
        .into_iter()
        .collect()
}

/// The bits of a device's number that `interrupt-map-mask` lets pass; all without it.
fn intx_mask(tree: &Tree<'_>, node: NodeId) -> u8 {
    let mask = tree.u32_at(node, "interrupt-map-mask", 0);
    let bits = mask.unwrap_or(u32::MAX) >> DEVICE_SHIFT & (DEVICES - 1);
    u8::try_from(bits).unwrap_or(0)
}

fn intx(tree: &Tree<'_>, node: NodeId, mask: u8) -> Vec<PcieIntx> {
    if tree.property(node, "interrupt-map").is_none() {
        return Vec::new();
    }
    let told_apart = (0..DEVICES).filter(|device| device & u32::from(mask) == *device);
    let pins = told_apart.flat_map(|device| (1..=4).map(move |pin| (device, pin)));
    pins.filter_map(|(device, pin)| {
        let interrupt = tree.mapped(node, &[device << DEVICE_SHIFT, 0, 0, pin])?;
        tree.step(16 + interrupt.controller.len())
            .then_some(PcieIntx {
                device: u8::try_from(device).ok()?,
                pin: u8::try_from(pin).ok()?,
                interrupt,
            })
    })
    .collect()
}
