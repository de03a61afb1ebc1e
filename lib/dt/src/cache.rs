//! Caches: geometry, and who shares them (devicetree specification 3.7.3, 3.9).
//!
//! A core's own node gives its first level; `next-level-cache` leads to a node
//! for each further one. The chain may end anywhere, may (in a broken tree) be a
//! loop, and is followed for six steps.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::interrupt::reference;
use crate::tree::{NodeId, Tree};

/// The most levels after the first that are followed.
pub(crate) const MAX_LEVELS: usize = 6;

/// The shape of a cache, as far as the tree gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CacheGeometry {
    /// Bytes.
    pub size: Option<u32>,
    /// Bytes in a line.
    pub line_size: Option<u32>,
    /// Number of sets.
    pub sets: Option<u32>,
}

/// A cache after the first level.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cache {
    /// Path of the node.
    pub path: String,
    /// `cache-level`: 2 and more.
    pub level: Option<u32>,
    /// Its shape.
    pub geometry: CacheGeometry,
    /// Whether it holds both instructions and data.
    pub is_unified: bool,
    /// Index of the cache behind it.
    pub next: Option<usize>,
    /// Indices in [`crate::Machine::cpus`] of the cores that share it, ascending.
    pub cpus: Vec<usize>,
}

/// The first level's instruction and data caches of a core.
pub(crate) fn first_level(tree: &Tree<'_>, cpu: NodeId) -> (CacheGeometry, CacheGeometry) {
    let data = geometry(
        tree,
        cpu,
        [
            "d-cache-size",
            "d-cache-line-size",
            "d-cache-block-size",
            "d-cache-sets",
        ],
    );
    let instruction = geometry(
        tree,
        cpu,
        [
            "i-cache-size",
            "i-cache-line-size",
            "i-cache-block-size",
            "i-cache-sets",
        ],
    );
    (instruction, data)
}

/// Properties by the names of size, line size, block size (which stands for it
/// where it is missing) and sets.
fn geometry(tree: &Tree<'_>, of: NodeId, names: [&str; 4]) -> CacheGeometry {
    let [size, line_size, block_size, sets] = names;
    CacheGeometry {
        size: tree.u32(of, size),
        line_size: tree.u32(of, line_size).or_else(|| tree.u32(of, block_size)),
        sets: tree.u32(of, sets),
    }
}

/// Collects the caches that cores lead to, each once.
pub(crate) struct Collector<'t, 'a> {
    tree: &'t Tree<'a>,
    caches: Vec<Cache>,
    index_of: BTreeMap<NodeId, usize>,
}

impl<'t, 'a> Collector<'t, 'a> {
    pub(crate) fn new(tree: &'t Tree<'a>) -> Self {
        Self {
            tree,
            caches: Vec::new(),
            index_of: BTreeMap::new(),
        }
    }

    /// The caches behind the core at `node`, nearest first; notes that core
    /// number `cpu` shares them.
    pub(crate) fn chain(&mut self, node: NodeId, cpu: usize) -> Vec<usize> {
        let mut chain: Vec<usize> = Vec::new();
        let mut at = node;
        while chain.len() < MAX_LEVELS {
            let Some(next) = next_level(self.tree, at) else {
                break;
            };
            let index = self.index(next);
            if chain.contains(&index) {
                break;
            }
            // A core's first level is in its own node: it has no index.
            if let Some(&nearer) = chain.last()
                && let Some(nearer) = self.caches.get_mut(nearer)
            {
                nearer.next = Some(index);
            }
            if let Some(cache) = self.caches.get_mut(index) {
                cache.cpus.push(cpu);
            }
            chain.push(index);
            at = next;
        }
        chain
    }

    fn index(&mut self, node: NodeId) -> usize {
        if let Some(&index) = self.index_of.get(&node) {
            return index;
        }
        let index = self.caches.len();
        self.index_of.insert(node, index);
        self.caches.push(Cache {
            path: self.tree.path(node),
            level: self.tree.u32(node, "cache-level"),
            geometry: geometry(
                self.tree,
                node,
                [
                    "cache-size",
                    "cache-line-size",
                    "cache-block-size",
                    "cache-sets",
                ],
            ),
            is_unified: self.tree.property(node, "cache-unified").is_some(),
            next: None,
            cpus: Vec::new(),
        });
        index
    }

    pub(crate) fn finish(self) -> Vec<Cache> {
        self.caches
    }
}

/// The node that `next-level-cache` names; PowerPC's old name for it also counts.
fn next_level(tree: &Tree<'_>, of: NodeId) -> Option<NodeId> {
    reference(tree, of, "next-level-cache").or_else(|| reference(tree, of, "l2-cache"))
}
