//! Sockets, clusters, cores, threads and caches: the PPTT (ACPI 6.5, 5.2.30).
//!
//! A tree of processor nodes that point upwards, by offset in the table; the leaves are
//! cores, or threads where they say so, and name a GICC by its unique id:
//!
//! ```text
//! package ◄── cluster ◄── core [◄── thread]
//!    │           │          ├── private: L1I ──next──┐
//!   L3           ·          └── private: L1D ──next──┴─► L2
//! ```
//!
//! A cache belongs to the outermost node that has it as a private resource: all below
//! share it. One structure that several nodes have stands for one such cache in each.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::bytes::{Bytes, Entries, Layout};
use crate::finding::{Finding, Findings};
use crate::table::Tables;

/// The most levels of nodes above each other, and of caches behind each other.
const MOST_LEVELS: usize = 16;
const MOST_CACHE_LEVELS: usize = 6;
/// The most caches that one core goes through.
const MOST_CACHES: usize = 32;

/// Where a core is: numbers from 0 among the neighbours that have cores, in the table's
/// order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The package.
    pub socket: u32,
    /// Clusters, outermost first.
    pub clusters: Vec<u32>,
    /// The core.
    pub core: u32,
    /// The thread, where the core has threads.
    pub thread: Option<u32>,
}

/// What a cache holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Holds {
    /// Data.
    Data,
    /// Instructions.
    Instructions,
    /// Both, or what the table doesn't say.
    Both,
}

/// A cache's shape, as far as the table gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// What it holds.
    pub holds: Holds,
    /// Bytes.
    pub size: Option<u32>,
    /// Sets.
    pub sets: Option<u32>,
    /// Bytes in a line.
    pub line: Option<u16>,
}

/// A cache behind the first level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cache {
    /// 2 and up.
    pub level: u32,
    /// Its shape.
    pub geometry: Geometry,
    /// Index of the cache behind it.
    pub next: Option<usize>,
}

/// A core's own part of the topology.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Core {
    /// Where it is.
    pub place: Place,
    /// First level: data and instructions, or one for both.
    pub first: Vec<Geometry>,
    /// Index of the cache behind that.
    pub next: Option<usize>,
}

/// What the PPTT says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Topology {
    /// Cores (or threads), by the unique id in their GICC.
    pub cores: BTreeMap<u32, Core>,
    /// Caches behind the first level.
    pub caches: Vec<Cache>,
}

/// A processor node.
struct Node<'a> {
    flags: u32,
    parent: usize,
    uid: u32,
    resources: (Bytes<'a>, usize),
}

impl Node<'_> {
    const PACKAGE: u32 = 1;
    const UID_IS_VALID: u32 = 2;
    const THREAD: u32 = 4;

    fn resources(&self) -> impl Iterator<Item = usize> + '_ {
        let (bytes, count) = self.resources;
        bytes
            .words(20, count)
            .filter_map(|offset| usize::try_from(offset).ok())
    }
}

/// A cache structure.
struct Shape {
    geometry: Geometry,
    next: usize,
}

/// The table's structures, by offset.
struct Structures<'a> {
    nodes: BTreeMap<usize, Node<'a>>,
    caches: BTreeMap<usize, Shape>,
}

impl Topology {
    /// Reads the table, if it is there, for the cores with these unique ids.
    pub(crate) fn read(tables: &Tables<'_>, uids: &[u32], findings: &mut Findings) -> Self {
        let mut topology = Self::default();
        let Some(table) = tables.get(Tables::PPTT) else {
            return topology;
        };
        let structures = Structures::read(table.bytes, findings);
        let leaves = structures.leaves();
        let mut paths: BTreeMap<u32, Path> = BTreeMap::new();
        for &uid in uids {
            let Some(&leaf) = leaves.get(&uid) else {
                continue;
            };
            match structures.path(leaf) {
                Some(path) => {
                    paths.insert(uid, path);
                }
                None => findings.add(Finding::Reference {
                    signature: Tables::PPTT,
                    offset: leaf,
                }),
            }
        }
        let ranks = ranks(paths.values());
        let mut instances = Instances::default();
        for (uid, path) in &paths {
            let levels = structures.levels(&path.chain);
            let core = Core {
                place: path.place(&ranks),
                first: levels.first,
                next: instances.chain(&structures, &levels.behind),
            };
            topology.cores.insert(*uid, core);
        }
        topology.caches = instances.caches;
        topology
    }
}

impl<'a> Structures<'a> {
    fn read(table: Bytes<'a>, findings: &mut Findings) -> Self {
        let mut structures = Self {
            nodes: BTreeMap::new(),
            caches: BTreeMap::new(),
        };
        for entry in Entries::new(table, 36, Layout::Byte) {
            let (offset, read) = match entry {
                Ok(entry) => {
                    let read = structures.entry(entry.kind, entry.offset, entry.bytes);
                    (entry.offset, read)
                }
                Err(cut) => (cut.0, None),
            };
            if read.is_none() {
                findings.add(Finding::Entry {
                    signature: Tables::PPTT,
                    offset,
                });
            }
        }
        structures
    }

    fn entry(&mut self, kind: u16, offset: usize, bytes: Bytes<'a>) -> Option<()> {
        match kind {
            0 => {
                let node = Node {
                    flags: bytes.u32(4)?,
                    parent: bytes.size(8)?,
                    uid: bytes.u32(12)?,
                    resources: (bytes, bytes.size(16)?),
                };
                self.nodes.insert(offset, node);
            }
            1 => {
                let flags = bytes.u32(4)?;
                let valid = |bit: u32| flags & 1 << bit != 0;
                let attributes = bytes.u8(21)?;
                let holds = match attributes >> 2 & 3 {
                    0 if valid(4) => Holds::Data,
                    1 if valid(4) => Holds::Instructions,
                    _ => Holds::Both,
                };
                let geometry = Geometry {
                    holds,
                    size: bytes.u32(12).filter(|_| valid(0)),
                    sets: bytes.u32(16).filter(|_| valid(1)),
                    line: bytes.u16(22).filter(|_| valid(6)),
                };
                let next = bytes.size(8)?;
                self.caches.insert(offset, Shape { geometry, next });
            }
            _ => {}
        }
        Some(())
    }

    /// Nodes that are nobody's parent, by unique id; the first of two with one id.
    fn leaves(&self) -> BTreeMap<u32, usize> {
        let parents: BTreeSet<usize> = self.nodes.values().map(|node| node.parent).collect();
        let mut leaves = BTreeMap::new();
        for (&offset, node) in &self.nodes {
            if node.flags & Node::UID_IS_VALID != 0 && !parents.contains(&offset) {
                leaves.entry(node.uid).or_insert(offset);
            }
        }
        leaves
    }

    /// The way from a leaf to its package, or to the top where nothing says that it is
    /// one; `None` if that never ends, or leads nowhere.
    fn path(&self, leaf: usize) -> Option<Path> {
        let mut chain = Vec::new();
        let mut package = None;
        let mut at = leaf;
        loop {
            let node = self.nodes.get(&at)?;
            if chain.len() == MOST_LEVELS {
                return None;
            }
            chain.push(at);
            if node.flags & Node::PACKAGE != 0 && package.is_none() {
                package = Some(chain.len());
            }
            if node.parent == 0 {
                break;
            }
            at = node.parent;
        }
        let is_thread = |leaf: &Node<'_>| leaf.flags & Node::THREAD != 0;
        let is_thread = chain.len() > 1 && self.nodes.get(&leaf).is_some_and(is_thread);
        Some(Path {
            package: package.unwrap_or(chain.len()),
            chain,
            is_thread,
        })
    }

    /// The caches on the way up from a leaf.
    fn levels(&self, chain: &[usize]) -> Levels {
        // Level, owner and offset of each, in the order in which they are found.
        let mut found: Vec<(usize, usize, usize)> = Vec::new();
        let mut deepest = 0;
        for &owner in chain {
            let Some(node) = self.nodes.get(&owner) else {
                continue;
            };
            let mut own: Vec<usize> = node
                .resources()
                .filter(|offset| self.caches.contains_key(offset))
                .collect();
            // Those for both stand behind those for one.
            own.sort_by_key(|offset| self.caches.get(offset).map(|cache| cache.geometry.holds));
            let behind: BTreeSet<usize> = own
                .iter()
                .filter_map(|offset| self.caches.get(offset).map(|cache| cache.next))
                .collect();
            let start = deepest;
            for &first in &own {
                // One that is known from below is shared by all that are below here.
                if let Some(known) = found.iter_mut().find(|known| known.2 == first) {
                    known.1 = owner;
                    continue;
                }
                if behind.contains(&first) {
                    continue;
                }
                let mut at = first;
                let mut level = start;
                while let Some(cache) = self.caches.get(&at) {
                    if level == MOST_CACHE_LEVELS
                        || found.len() == MOST_CACHES
                        || found.iter().any(|known| known.2 == at)
                    {
                        break;
                    }
                    let is_taken = found.iter().any(|known| known.0 == level);
                    level += usize::from(cache.geometry.holds == Holds::Both && is_taken);
                    found.push((level, owner, at));
                    level += 1;
                    deepest = deepest.max(level);
                    at = cache.next;
                }
            }
        }
        let geometry = |offset: usize| self.caches.get(&offset).map(|cache| cache.geometry);
        let at_level = |level: usize| found.iter().filter(move |known| known.0 == level);
        let first = at_level(0).filter_map(|known| geometry(known.2)).collect();
        let behind = (1..deepest).filter_map(|level| {
            // A core's way leads through one cache a level: not that for instructions.
            let mut here: Vec<_> = at_level(level).collect();
            here.sort_by_key(|known| {
                let holds = geometry(known.2).map(|geometry| geometry.holds);
                holds == Some(Holds::Instructions)
            });
            here.first().map(|known| (known.1, known.2))
        });
        Levels {
            behind: behind.collect(),
            first,
        }
    }
}

/// The nodes from a leaf up.
struct Path {
    chain: Vec<usize>,
    /// How many of them reach up to the package.
    package: usize,
    is_thread: bool,
}

impl Path {
    /// Package, clusters, core, thread: at least package and core, which may be one node.
    fn downwards(&self) -> Vec<usize> {
        let within = self.chain.get(..self.package).unwrap_or_default();
        let mut down: Vec<usize> = within.iter().rev().copied().collect();
        let least = 2 + usize::from(self.is_thread);
        if let Some(&top) = down.first() {
            while down.len() < least {
                down.insert(0, top);
            }
        }
        down
    }

    fn place(&self, ranks: &BTreeMap<Vec<usize>, u32>) -> Place {
        let down = self.downwards();
        let rank = |length: usize| {
            let prefix = down.get(..length).unwrap_or_default();
            ranks.get(prefix).copied().unwrap_or(0)
        };
        let core = down.len() - usize::from(self.is_thread);
        Place {
            socket: rank(1),
            clusters: (2..core).map(rank).collect(),
            core: rank(core),
            thread: self.is_thread.then(|| rank(down.len())),
        }
    }
}

/// The number of each node among its neighbours, by the way down to it.
fn ranks<'p>(paths: impl Iterator<Item = &'p Path>) -> BTreeMap<Vec<usize>, u32> {
    let mut below: BTreeMap<Vec<usize>, BTreeSet<usize>> = BTreeMap::new();
    for path in paths {
        let down = path.downwards();
        for (length, &node) in down.iter().enumerate() {
            let prefix = down.get(..length).unwrap_or_default();
            match below.get_mut(prefix) {
                Some(nodes) => {
                    nodes.insert(node);
                }
                None => {
                    below.insert(prefix.to_vec(), BTreeSet::from([node]));
                }
            }
        }
    }
    let mut ranks = BTreeMap::new();
    for (prefix, nodes) in below {
        for (rank, node) in (0..).zip(nodes) {
            let mut way = prefix.clone();
            way.push(node);
            ranks.insert(way, rank);
        }
    }
    ranks
}

/// A leaf's caches: the first level's shapes, then (owner, structure) of each level
/// behind.
struct Levels {
    first: Vec<Geometry>,
    behind: Vec<(usize, usize)>,
}

/// Caches that were met, each once.
#[derive(Default)]
struct Instances {
    caches: Vec<Cache>,
    index_of: BTreeMap<(usize, usize), usize>,
}

impl Instances {
    /// The index of the first of `levels`, which are made known, nearest first.
    fn chain(&mut self, structures: &Structures<'_>, levels: &[(usize, usize)]) -> Option<usize> {
        let mut next = None;
        for (level, key) in (2..)
            .zip(levels)
            .collect::<Vec<(u32, _)>>()
            .into_iter()
            .rev()
        {
            let geometry = structures.caches.get(&key.1)?.geometry;
            let caches = &mut self.caches;
            let index = *self.index_of.entry(*key).or_insert_with(|| {
                caches.push(Cache {
                    level,
                    geometry,
                    next,
                });
                caches.len() - 1
            });
            next = Some(index);
        }
        next
    }
}
