//! Memory, what of it is taken, and how far it is (devicetree specification
//! 3.4, 3.5, 5.3; bindings `reserved-memory`, `numa`; of the `chosen` schema
//! `linux,usable-memory-range`).
//!
//! A boot loader that keeps memory for itself (one that starts a second kernel
//! after a crash) says so in two ways: `linux,usable-memory` stands in a memory
//! node in place of `reg`, and `linux,usable-memory-range` in `/chosen` bounds all
//! memory. What lies outside isn't Capelin's.

use alloc::string::String;
use alloc::vec::Vec;

use crate::tree::{NodeId, Tree};
use crate::types::{NumaId, Region, Status};

/// A piece of memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryRegion {
    /// Where; sizes of 0 are kept, they say that firmware was to fill this in.
    pub region: Region,
    /// The NUMA node it belongs to.
    pub numa: Option<NumaId>,
}

/// Who reserved something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReservationKind {
    /// The blob's memory reservation block.
    ReservationBlock,
    /// A child of `/reserved-memory` with a fixed place.
    Static,
    /// A child of `/reserved-memory` that the system is to place itself; it takes
    /// nothing away until then.
    Dynamic {
        /// Bytes asked for.
        size: u64,
        /// Alignment asked for, in bytes.
        alignment: Option<u64>,
        /// Where it may lie; anywhere if empty.
        ranges: Vec<Region>,
    },
}

/// Memory that isn't Capelin's to use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reservation {
    /// The node's name; empty for the memory reservation block.
    pub name: String,
    /// `compatible`, which says what for.
    pub compatible: Vec<String>,
    /// Where; none for a dynamic one.
    pub regions: Vec<Region>,
    /// Who reserved it.
    pub kind: ReservationKind,
    /// Not even to be mapped: speculation into it does harm.
    pub no_map: bool,
    /// May be lent out while its owner doesn't need it. Capelin does not.
    pub reusable: bool,
    /// What `status` says; only an `Okay` one takes anything away.
    pub status: Status,
}

/// The distances between NUMA nodes (`numa-distance-map-v1`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DistanceMap {
    /// (from, to, distance) as listed; 10 is local.
    pub entries: Vec<(NumaId, NumaId, u32)>,
}

impl DistanceMap {
    /// The distance, where the map gives it: as listed, else the other
    /// direction's, else 10 for a node to itself.
    #[must_use]
    pub fn distance(&self, from: NumaId, to: NumaId) -> Option<u32> {
        let listed = |from, to| {
            self.entries
                .iter()
                .find(|entry| (entry.0, entry.1) == (from, to))
                .map(|entry| entry.2)
        };
        listed(from, to)
            .or_else(|| listed(to, from))
            .or((from == to).then_some(10))
    }
}

/// The memory nodes below the root that aren't disabled, in document order, as far
/// as Capelin may use them. Whoever lacks a `device_type` counts by its name.
pub(crate) fn memory(tree: &Tree<'_>) -> Vec<MemoryRegion> {
    let bounds = tree
        .child(Tree::ROOT, "chosen")
        .map(|chosen| tree.regions_in(Tree::ROOT, chosen, "linux,usable-memory-range"))
        .unwrap_or_default();
    let all = memory_nodes(tree);
    if bounds.is_empty() {
        return all;
    }
    let mut found = Vec::new();
    for memory in &all {
        for bound in &bounds {
            if !tree.step(1) {
                return found;
            }
            let base = memory.region.base.max(bound.base);
            let end = memory.region.end().min(bound.end());
            if let Some(size) = end.checked_sub(base.0).filter(|&size| size > 0) {
                let region = Region { base, size };
                found.push(MemoryRegion { region, ..*memory });
            }
        }
    }
    found
}

fn memory_nodes(tree: &Tree<'_>) -> Vec<MemoryRegion> {
    let mut found = Vec::new();
    for node in tree.children(Tree::ROOT) {
        let is_memory = match tree.str(node, "device_type") {
            Some(kind) => kind == "memory",
            None => tree.base_name(node) == "memory",
        };
        if !is_memory || !tree.status(node).is_okay() {
            continue;
        }
        let numa = tree.numa(node);
        let regions = if tree.property(node, "linux,usable-memory").is_some() {
            tree.regions_in(Tree::ROOT, node, "linux,usable-memory")
        } else {
            let regs = tree.reg(node).into_iter();
            regs.filter_map(|reg| reg.region()).collect()
        };
        let regions = regions.into_iter();
        found.extend(regions.map(|region| MemoryRegion { region, numa }));
    }
    found
}

/// Every reservation: the block's first, then `/reserved-memory`'s.
pub(crate) fn reservations(tree: &Tree<'_>, block: &[Region]) -> Vec<Reservation> {
    let parent = tree.child(Tree::ROOT, "reserved-memory");
    let nodes = || parent.into_iter().flat_map(|parent| tree.children(parent));
    // Counted first, so that no more memory is taken than they need.
    let mut found = Vec::with_capacity(block.len() + nodes().count());
    found.extend(block.iter().map(|&region| Reservation {
        name: String::new(),
        compatible: Vec::new(),
        regions: [region].into(),
        kind: ReservationKind::ReservationBlock,
        no_map: false,
        reusable: false,
        status: Status::Okay,
    }));
    if let Some(parent) = parent {
        found.extend(nodes().map(|node| reservation(tree, parent, node)));
    }
    found
}

/// Adds what `/reserved-memory` takes away to `found`.
pub(crate) fn reserved_nodes(tree: &Tree<'_>, found: &mut Vec<Region>) {
    let parent = tree.child(Tree::ROOT, "reserved-memory");
    let nodes = || parent.into_iter().flat_map(|parent| tree.children(parent));
    for node in nodes().filter(|&node| tree.status(node).is_okay()) {
        found.extend(fixed_places(tree, node));
    }
}

/// Where a child of `/reserved-memory` is fixed to. Real trees forget `ranges` on
/// `/reserved-memory`, though it must be there and empty; the addresses are meant to be
/// the CPU's all the same.
fn fixed_places(tree: &Tree<'_>, node: NodeId) -> Vec<Region> {
    let regs = tree.reg(node);
    regs.iter()
        .map(|reg| Region::new(reg.base.map_or(reg.bus, |base| base.0), reg.size))
        .collect()
}

fn reservation(tree: &Tree<'_>, parent: NodeId, node: NodeId) -> Reservation {
    let regions = fixed_places(tree, node);
    let size = tree.u64(node, "size").filter(|_| regions.is_empty());
    Reservation {
        name: String::from(tree.name(node)),
        compatible: tree.compatible(node),
        kind: match size {
            Some(size) => ReservationKind::Dynamic {
                size,
                alignment: tree.u64(node, "alignment"),
                ranges: tree.regions_in(parent, node, "alloc-ranges"),
            },
            None => ReservationKind::Static,
        },
        regions,
        no_map: tree.property(node, "no-map").is_some(),
        reusable: tree.property(node, "reusable").is_some(),
        status: tree.status(node),
    }
}

/// The distance map: whole triples only.
pub(crate) fn distances(tree: &Tree<'_>) -> DistanceMap {
    let node = tree
        .all()
        .find(|&node| tree.is_compatible(node, &["numa-distance-map-v1"]));
    let cells = node
        .and_then(|node| tree.cells(node, "distance-matrix"))
        .unwrap_or_default();
    DistanceMap {
        entries: cells
            .as_chunks()
            .0
            .iter()
            .map(|&[from, to, distance]| (NumaId(from), NumaId(to), distance))
            .collect(),
    }
}
