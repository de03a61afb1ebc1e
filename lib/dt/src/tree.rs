//! The tree as an arena of nodes, built once through the `fdt` crate.
//!
//! `fdt` finds nodes by walking the blob from its start each time and has no
//! parents; everything below asks for both constantly, so the tree is laid out
//! once: nodes in document order, each with its parent and properties, and a map
//! from phandles. Values still borrow from the blob.
//!
//! [`Tree::step`] bounds the work: every look at a property and every step of a
//! translation or an interrupt map counts against one budget, by what it costs.
//! Once the budget is used up, no node has any properties, so that whoever asks
//! comes to an end soon, and the tree is refused as a whole. So no tree, however
//! malicious, takes more than a moment.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::ops::Range;

use fdt::Fdt;
use fdt::node::FdtNode;

use crate::error::DtError;
use crate::types::{NumaId, Status};

/// Steps that reading one tree may take.
const BUDGET: u64 = 4_000_000;

/// A node's place in the arena: its number in document order; the root is 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct NodeId(usize);

struct Node<'a> {
    name: &'a str,
    parent: Option<NodeId>,
    /// Number of the first node in document order that is not below this one.
    end: usize,
    depth: usize,
    properties: Range<usize>,
}

/// All nodes and properties of one blob.
pub(crate) struct Tree<'a> {
    nodes: Vec<Node<'a>>,
    properties: Vec<(&'a str, &'a [u8])>,
    phandles: BTreeMap<u32, NodeId>,
    budget: Cell<u64>,
}

impl<'a> Tree<'a> {
    /// Lays out the tree in `blob`, which [`crate::validate`] has checked and
    /// cleared of `FDT_NOP`s.
    ///
    /// # Errors
    ///
    /// [`DtError::NoSingleRoot`] where `fdt` finds no root node.
    pub(crate) fn new(blob: &'a [u8]) -> Result<Self, DtError> {
        let mut tree = Self {
            nodes: Vec::new(),
            properties: Vec::new(),
            phandles: BTreeMap::new(),
            budget: Cell::new(BUDGET),
        };
        let fdt = Fdt::new(blob).map_err(|_| DtError::NoSingleRoot)?;
        let root = fdt.find_node("/").ok_or(DtError::NoSingleRoot)?;
        let mut pending: Vec<(FdtNode<'_, 'a>, Option<NodeId>)> = Vec::new();
        pending.push((root, None));
        while let Some((node, parent)) = pending.pop() {
            let id = tree.add(&node, parent);
            let first = pending.len();
            pending.extend(node.children().map(|child| (child, Some(id))));
            // The first child is to come off first.
            if let Some(children) = pending.get_mut(first..) {
                children.reverse();
            }
        }
        tree.close();
        Ok(tree)
    }

    fn add(&mut self, node: &FdtNode<'_, 'a>, parent: Option<NodeId>) -> NodeId {
        let id = NodeId(self.nodes.len());
        let first = self.properties.len();
        for property in node.properties() {
            self.properties.push((property.name, property.value));
        }
        self.nodes.push(Node {
            name: node.name,
            parent,
            end: id.0 + 1,
            depth: parent.map_or(0, |parent| self.depth(parent) + 1),
            properties: first..self.properties.len(),
        });
        let phandle = self
            .u32(id, "phandle")
            .or_else(|| self.u32(id, "linux,phandle"));
        if let Some(phandle) = phandle {
            // Of two nodes with one phandle, the first has it.
            self.phandles.entry(phandle).or_insert(id);
        }
        id
    }

    /// Fills in where each node's descendants end, from the last node backwards.
    fn close(&mut self) {
        for index in (0..self.nodes.len()).rev() {
            let Some(node) = self.nodes.get(index) else {
                continue;
            };
            let (end, parent) = (node.end, node.parent);
            if let Some(parent) = parent.and_then(|parent| self.nodes.get_mut(parent.0)) {
                parent.end = parent.end.max(end);
            }
        }
    }

    pub(crate) const ROOT: NodeId = NodeId(0);

    /// Counts `steps` of work; `false` once the budget is used up.
    pub(crate) fn step(&self, steps: usize) -> bool {
        let left = self.budget.get().saturating_sub(steps as u64);
        self.budget.set(left);
        left != 0
    }

    /// Whether some answer was cut short because the budget was used up.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.budget.get() == 0
    }

    /// Steps taken so far.
    #[cfg(test)]
    fn steps(&self) -> u64 {
        BUDGET - self.budget.get()
    }

    /// Every node, in document order.
    pub(crate) fn all(&self) -> impl Iterator<Item = NodeId> + use<'a> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// A node's children, in document order.
    pub(crate) fn children(&self, of: NodeId) -> impl Iterator<Item = NodeId> {
        let end = self.nodes.get(of.0).map_or(0, |node| node.end);
        let mut at = of.0 + 1;
        core::iter::from_fn(move || {
            let child = NodeId(at);
            if at >= end {
                return None;
            }
            at = self.nodes.get(at).map_or(end, |node| node.end);
            Some(child)
        })
    }

    pub(crate) fn parent(&self, of: NodeId) -> Option<NodeId> {
        self.nodes.get(of.0)?.parent
    }

    fn depth(&self, of: NodeId) -> usize {
        self.nodes.get(of.0).map_or(0, |node| node.depth)
    }

    /// A node's name with its unit address: `serial@9000000`. The root's is empty.
    pub(crate) fn name(&self, of: NodeId) -> &'a str {
        self.nodes.get(of.0).map_or("", |node| node.name)
    }

    /// A node's name without its unit address.
    pub(crate) fn base_name(&self, of: NodeId) -> &'a str {
        let name = self.name(of);
        name.split_once('@').map_or(name, |(base, _)| base)
    }

    /// A node's full path; the root's is `/`.
    pub(crate) fn path(&self, of: NodeId) -> String {
        let mut names = Vec::with_capacity(self.depth(of));
        let mut at = Some(of);
        while let Some(id) = at {
            names.push(self.name(id));
            at = self.parent(id);
        }
        names.pop();
        if names.is_empty() {
            return String::from("/");
        }
        let mut path = String::new();
        for name in names.iter().rev() {
            path.push('/');
            path.push_str(name);
        }
        path
    }

    /// The node at a full path. A component without unit address also names the
    /// first child that has one (devicetree specification 2.2.3).
    pub(crate) fn find(&self, path: &str) -> Option<NodeId> {
        let mut at = Self::ROOT;
        for part in path
            .strip_prefix('/')?
            .split('/')
            .filter(|part| !part.is_empty())
        {
            at = self
                .children(at)
                .find(|&child| self.name(child) == part)
                .or_else(|| {
                    self.children(at)
                        .find(|&child| self.base_name(child) == part)
                })?;
        }
        Some(at)
    }

    /// The child of that name, with or without unit address.
    pub(crate) fn child(&self, of: NodeId, base_name: &str) -> Option<NodeId> {
        self.children(of)
            .find(|&child| self.base_name(child) == base_name)
    }

    /// The node that `phandle` names.
    pub(crate) fn by_phandle(&self, phandle: u32) -> Option<NodeId> {
        self.phandles.get(&phandle).copied()
    }

    /// A property's raw value; of two with one name, the first.
    pub(crate) fn property(&self, of: NodeId, name: &str) -> Option<&'a [u8]> {
        let range = self.nodes.get(of.0)?.properties.clone();
        if !self.step(1 + range.len() / 4) {
            return None;
        }
        self.properties
            .get(range)?
            .iter()
            .find(|(found, _)| *found == name)
            .map(|(_, value)| *value)
    }

    /// A property's first cell.
    pub(crate) fn u32(&self, of: NodeId, name: &str) -> Option<u32> {
        cell(self.property(of, name)?, 0)
    }

    /// A property of one or two cells.
    pub(crate) fn u64(&self, of: NodeId, name: &str) -> Option<u64> {
        let value = self.property(of, name)?;
        match value.len() {
            0..4 => None,
            4..8 => cell(value, 0).map(u64::from),
            _ => Some(u64::from(cell(value, 0)?) << 32 | u64::from(cell(value, 1)?)),
        }
    }

    /// All whole cells of a property.
    pub(crate) fn cells(&self, of: NodeId, name: &str) -> Option<Vec<u32>> {
        let value = self.property(of, name)?;
        Some(
            (0..value.len() / 4)
                .filter_map(|i| cell(value, i))
                .collect(),
        )
    }

    /// A property's first string, without the terminator.
    pub(crate) fn str(&self, of: NodeId, name: &str) -> Option<&'a str> {
        strings(self.property(of, name)?).next()
    }

    /// A property's strings.
    pub(crate) fn strings(&self, of: NodeId, name: &str) -> impl Iterator<Item = &'a str> {
        strings(self.property(of, name).unwrap_or(&[]))
    }

    /// Whether `compatible` lists one of `any`.
    pub(crate) fn is_compatible(&self, of: NodeId, any: &[&str]) -> bool {
        let value = self.property(of, "compatible").unwrap_or(&[]);
        self.step(value.len() / 16) && strings(value).any(|one| any.contains(&one))
    }

    /// `compatible`, most specific first.
    pub(crate) fn compatible(&self, of: NodeId) -> Vec<String> {
        self.strings(of, "compatible").map(String::from).collect()
    }

    pub(crate) fn status(&self, of: NodeId) -> Status {
        match self.str(of, "status") {
            None | Some("okay" | "ok") => Status::Okay,
            Some("disabled") => Status::Disabled,
            Some("reserved") => Status::Reserved,
            Some("fail") => Status::Fail,
            Some(other) if other.starts_with("fail-") => Status::Fail,
            Some(_) => Status::Unknown,
        }
    }

    /// What `status` says of the node and the buses above it: the first that isn't
    /// okay, from the node up. A device on a disabled bus can't be used either.
    pub(crate) fn status_on_bus(&self, of: NodeId) -> Status {
        core::iter::successors(Some(of), |&node| self.parent(node))
            .map(|node| self.status(node))
            .find(|status| !status.is_okay())
            .unwrap_or_default()
    }

    /// `numa-node-id`, of the node itself.
    pub(crate) fn numa(&self, of: NodeId) -> Option<NumaId> {
        self.u32(of, "numa-node-id").map(NumaId)
    }
}

/// Cell `index` of a value.
pub(crate) fn cell(value: &[u8], index: usize) -> Option<u32> {
    crate::validate::word(value, index.checked_mul(4)?)
}

/// The strings of a string list. A last one without terminator counts; what
/// isn't UTF-8 is left out.
fn strings(value: &[u8]) -> impl Iterator<Item = &str> {
    value
        .strip_suffix(&[0])
        .unwrap_or(value)
        .split(|&byte| byte == 0)
        .filter_map(|bytes| core::str::from_utf8(bytes).ok())
        .filter(|string| !string.is_empty())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::println;
    use std::vec::Vec;

    use super::*;
    use crate::validate::validate;

    /// The budget is meant for malice: no real tree comes near it.
    #[test]
    fn real_trees_take_a_small_part_of_the_budget() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/dtb");
        let mut files = Vec::new();
        for set in ["boards", "qemu"] {
            match fs::read_dir(folder.join(set)) {
                Ok(entries) => files.extend(entries.map(|entry| entry.unwrap().path())),
                Err(_) => println!("skipped: no {set} in ../shared/data/dtb"),
            }
        }
        let mut most = 0;
        for file in files {
            let bytes = fs::read(&file).unwrap();
            let blob = validate(&bytes).unwrap();
            let tree = Tree::new(&blob.bytes).unwrap();
            crate::Machine::read(&tree, &blob);
            most = most.max(tree.steps());
        }
        println!("most steps: {most}");
        assert!(most < BUDGET / 20, "{most}");
    }
}
