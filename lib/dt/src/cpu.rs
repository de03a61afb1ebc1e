//! The cores (devicetree specification 3.7, 3.8; bindings `arm/cpus`,
//! `cpu-topology`).

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::cache::{self, Cache, CacheGeometry};
use crate::interrupt::reference;
use crate::tree::{NodeId, Tree};
use crate::types::{Mpidr, NumaId, PhysAddr, Status};

/// How a core that isn't running is started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EnableMethod {
    /// PSCI `CPU_ON`.
    Psci,
    /// The core polls an address for where to go.
    SpinTable {
        /// The address; some trees leave it to firmware to write it in.
        release_addr: Option<PhysAddr>,
    },
    /// Something else.
    Other(String),
    /// The tree doesn't say: usual for the only core, and where firmware was to
    /// write it in.
    None,
}

/// Where `cpu-map` puts a core. Clusters may be nested; the outermost is first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Topology {
    /// Socket number, where the map has sockets.
    pub socket: Option<u32>,
    /// Cluster numbers, outermost first.
    pub clusters: Vec<u32>,
    /// Core number in its cluster.
    pub core: u32,
    /// Thread number in its core, where the core has threads.
    pub thread: Option<u32>,
}

/// One core, or one hardware thread where cores have several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cpu {
    /// Path of the node.
    pub path: String,
    /// The affinity fields of its `MPIDR_EL1`: its `reg`.
    pub mpidr: Mpidr,
    /// How it is started.
    pub enable_method: EnableMethod,
    /// `cpu-release-addr`, which may stand though the method is another:
    /// firmware that brings PSCI leaves it in.
    pub release_addr: Option<PhysAddr>,
    /// What `status` says.
    pub status: Status,
    /// Its NUMA node.
    pub numa: Option<NumaId>,
    /// `compatible`, most specific first.
    pub compatible: Vec<String>,
    /// `capacity-dmips-mhz`: relative speed, the fastest core's mostly 1024.
    pub capacity: Option<u32>,
    /// Where `cpu-map` puts it.
    pub topology: Option<Topology>,
    /// First-level instruction cache.
    pub l1_instruction: CacheGeometry,
    /// First-level data cache, or the only one.
    pub l1_data: CacheGeometry,
    /// Indices in [`crate::Machine::caches`] of the caches after the first
    /// level, nearest first.
    pub caches: Vec<usize>,
}

/// Cores that have no `AArch64` state, by `compatible` (binding `arm/cpus`).
const AARCH32_ONLY: &[&str] = &[
    "arm,arm1020e",
    "arm,arm1020t",
    "arm,arm1022e",
    "arm,arm1026ej-s",
    "arm,arm1136j-s",
    "arm,arm1136jf-s",
    "arm,arm1156t2-s",
    "arm,arm1156t2f-s",
    "arm,arm1176jz-s",
    "arm,arm1176jzf",
    "arm,arm1176jzf-s",
    "arm,arm11mpcore",
    "arm,arm926ej-s",
    "arm,cortex-a5",
    "arm,cortex-a7",
    "arm,cortex-a8",
    "arm,cortex-a9",
    "arm,cortex-a12",
    "arm,cortex-a15",
    "arm,cortex-a17",
    "arm,cortex-a32",
    "arm,cortex-r4",
    "arm,cortex-r5",
    "arm,cortex-r7",
    "arm,cortex-r52",
    "brcm,brahma-b15",
    "marvell,pj4a",
    "marvell,pj4b",
    "marvell,sheeva-v5",
    "marvell,sheeva-v7",
    "qcom,krait",
    "qcom,scorpion",
];

impl Cpu {
    /// Whether it can run 64-bit code, as far as its `compatible` tells.
    #[must_use]
    pub fn is_aarch64(&self) -> bool {
        !self
            .compatible
            .iter()
            .any(|one| AARCH32_ONLY.contains(&&**one))
    }
}

/// All cores, in document order, and the caches that they share.
pub(crate) struct Cpus {
    pub(crate) cpus: Vec<Cpu>,
    pub(crate) caches: Vec<Cache>,
    /// Paths of cores whose `reg` is missing or is no MPIDR.
    pub(crate) unreadable: Vec<String>,
}

/// Reads `/cpus`.
pub(crate) fn read(tree: &Tree<'_>) -> Cpus {
    let mut found = Cpus {
        cpus: Vec::new(),
        caches: Vec::new(),
        unreadable: Vec::new(),
    };
    let Some(cpus) = tree.child(Tree::ROOT, "cpus") else {
        return found;
    };
    let map = tree.child(cpus, "cpu-map");
    let positions = map.map(|map| positions(tree, map)).unwrap_or_default();
    let mut caches = cache::Collector::new(tree);
    for node in tree.children(cpus).filter(|&node| is_cpu(tree, node)) {
        let Some(mpidr) = mpidr(tree, cpus, node) else {
            found.unreadable.push(tree.path(node));
            continue;
        };
        let release_addr = tree.u64(node, "cpu-release-addr").map(PhysAddr);
        let (l1_instruction, l1_data) = cache::first_level(tree, node);
        found.cpus.push(Cpu {
            path: tree.path(node),
            mpidr,
            enable_method: enable_method(tree, cpus, node, release_addr),
            release_addr,
            status: tree.status(node),
            numa: tree.numa(node),
            compatible: tree.compatible(node),
            capacity: tree.u32(node, "capacity-dmips-mhz"),
            topology: positions.get(&node).cloned(),
            l1_instruction,
            l1_data,
            caches: caches.chain(node, found.cpus.len()),
        });
    }
    found.caches = caches.finish();
    found
}

fn is_cpu(tree: &Tree<'_>, node: NodeId) -> bool {
    match tree.str(node, "device_type") {
        Some(kind) => kind == "cpu",
        None => tree.base_name(node) == "cpu",
    }
}

/// A core's `reg`, in one or two cells, if it is an MPIDR without stray bits.
fn mpidr(tree: &Tree<'_>, cpus: NodeId, node: NodeId) -> Option<Mpidr> {
    let cells = tree.cells_of(cpus)?.address;
    let value = tree.property(node, "reg")?;
    let raw = match cells {
        1 | 2 => crate::address::number(value, 0, cells)?,
        _ => return None,
    };
    let raw = crate::address::low(raw);
    (raw & !Mpidr::AFFINITY_MASK == 0).then_some(Mpidr(raw))
}

/// A core's own method, or the one that `/cpus` gives for all (3.8.1).
fn enable_method(
    tree: &Tree<'_>,
    cpus: NodeId,
    node: NodeId,
    release_addr: Option<PhysAddr>,
) -> EnableMethod {
    let method = tree
        .str(node, "enable-method")
        .or_else(|| tree.str(cpus, "enable-method"));
    match method {
        None => EnableMethod::None,
        Some("psci") => EnableMethod::Psci,
        Some("spin-table") => EnableMethod::SpinTable { release_addr },
        Some(other) => EnableMethod::Other(String::from(other)),
    }
}

/// Where `cpu-map` puts each core's node.
fn positions(tree: &Tree<'_>, map: NodeId) -> BTreeMap<NodeId, Topology> {
    let mut found = BTreeMap::new();
    let mut pending: Vec<(NodeId, Topology)> = Vec::new();
    pending.push((map, Topology::default()));
    while let Some((node, position)) = pending.pop() {
        for child in tree.children(node) {
            let mut position = position.clone();
            let Some((level, number)) = split_name(tree.name(child)) else {
                continue;
            };
            match level {
                "socket" => position.socket = Some(number),
                "cluster" => position.clusters.push(number),
                "core" => position.core = number,
                "thread" => position.thread = Some(number),
                _ => continue,
            }
            if let Some(cpu) = reference(tree, child, "cpu") {
                found.entry(cpu).or_insert(position);
            } else {
                pending.push((child, position));
            }
        }
    }
    found
}

/// `cluster12` as `("cluster", 12)`.
fn split_name(name: &str) -> Option<(&str, u32)> {
    let digits = name.find(|c: char| c.is_ascii_digit())?;
    let (level, number) = name.split_at_checked(digits)?;
    Some((level, number.parse().ok()?))
}
