//! The tree as an arena of nodes, built once through the `fdt` crate.
//!
//! `fdt` finds nodes by stepping over those before and has no parents; everything below
//! asks for parents, children and phandles constantly, so the tree is laid out once:
//! nodes in document order, each with its parent and its
//! properties, and a list of phandles. Names and values stay in the blob; the arena
//! holds offsets:
//!
//! ```text
//! a node      20 bytes, at least 12 in the blob
//! a property   4 bytes, at least 12 in the blob
//! a phandle    8 bytes, at least 16 in the blob
//! ```
//! The lists are made with the sizes that [`crate::validate`] has counted, so the
//! arena takes less than 2.2 times the blob, whatever the blob is.
//!
//! [`Tree::step`] bounds the work: every look at a property and every step of a
//! translation or an interrupt map counts against one budget, by what it costs.
//! The budget is linear in the blob's size ([`budget`]). Once it is used up, no node
//! has any properties, so that whoever asks comes to an end soon, and the tree is
//! refused as a whole. So no tree, however malicious, takes more than a moment.

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::ops::Range;

use fdt::Fdt;
use fdt::node::FdtNode;

use crate::error::DtError;
use crate::types::{NumaId, Status};
use crate::validate::{Blob, word};

/// Steps that reading one tree may take, whatever its size.
const BUDGET: u64 = 1_000_000;
/// Steps that it may take besides for each byte. Real trees take below one.
const BUDGET_PER_BYTE: u64 = 2;

/// What counts as a step of the `fdt` crate's, which steps over all of a node to find
/// the next: bytes, once for each node around them. Real trees have up to nine around a
/// byte.
const NESTED_BYTES_A_STEP: u64 = 16;

/// Steps that reading a tree of `bytes` bytes may take.
pub(crate) const fn budget(bytes: usize) -> u64 {
    BUDGET + BUDGET_PER_BYTE * bytes as u64
}

/// A node's place in the arena: its number in document order; the root is 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct NodeId(usize);

/// What stands for "none" in the arena: no offset and no number is so large.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Node {
    /// Offset of its name in the structure block.
    name: u32,
    /// Number of its parent; [`NONE`] for the root.
    parent: u32,
    /// Number of the first node in document order that is not below this one.
    end: u32,
    /// Number of its first property; they end where the next node's start.
    properties: u32,
    /// Bytes of its name, and levels above it. Both are bounded (`validate`).
    name_bytes: u8,
    depth: u8,
}

/// All nodes and properties of one blob.
pub(crate) struct Tree<'a> {
    structure: &'a [u8],
    strings: &'a [u8],
    nodes: Vec<Node>,
    /// Offsets in the structure block of what follows each `FDT_PROP`.
    properties: Vec<u32>,
    /// (phandle, number of its node), ascending.
    phandles: Vec<(u32, u32)>,
    full: u64,
    budget: Cell<u64>,
}

/// A number or offset in a block. Blobs are far smaller than 4 GiB.
fn short(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(NONE)
}

impl<'a> Tree<'a> {
    /// Lays out the tree in `blob`.
    ///
    /// # Errors
    ///
    /// [`DtError::NoSingleRoot`] where the `fdt` crate finds no root node;
    /// [`DtError::TooComplex`] where nodes are so deep in one another that it would take
    /// too long to find them.
    pub(crate) fn new(blob: &'a Blob<'_>) -> Result<Self, DtError> {
        let full = budget(blob.used);
        let mut tree = Self {
            structure: blob.structure(),
            strings: blob.strings(),
            nodes: Vec::with_capacity(blob.nodes),
            properties: Vec::with_capacity(blob.properties),
            phandles: Vec::new(),
            full,
            budget: Cell::new(full),
        };
        let walk = usize::try_from(blob.nested_bytes / NESTED_BYTES_A_STEP);
        if !tree.step(walk.unwrap_or(usize::MAX)) {
            return Err(DtError::TooComplex);
        }
        let fdt = Fdt::new(blob.bytes()).map_err(|_| DtError::NoSingleRoot)?;
        let root = fdt.find_node("/").ok_or(DtError::NoSingleRoot)?;
        tree.lay_out(&root, NONE, 0);
        tree.number();
        Ok(tree)
    }

    /// Adds a node and all below it, at most [`MAX_DEPTH`](crate::validate::MAX_DEPTH)
    /// levels.
    fn lay_out(&mut self, node: &FdtNode<'_, 'a>, parent: u32, depth: u8) {
        let number = short(self.nodes.len());
        self.nodes.push(Node {
            // The root's is a constant of the crate's, not in the blob: empty.
            name: self.offset_of(node.name.as_bytes()).unwrap_or(0),
            parent,
            end: number + 1,
            properties: short(self.properties.len()),
            name_bytes: match depth {
                0 => 0,
                _ => u8::try_from(node.name.len()).unwrap_or(u8::MAX),
            },
            depth,
        });
        for property in node.properties() {
            // Its length and name come before its value.
            let value = self.offset_of(property.value);
            self.properties
                .extend(value.and_then(|value| value.checked_sub(8)));
        }
        for child in node.children() {
            self.lay_out(&child, number, depth.saturating_add(1));
        }
        let end = short(self.nodes.len());
        if let Some(node) = self.nodes.get_mut(number as usize) {
            node.end = end;
        }
    }

    /// Where `part` begins in the structure block, which it is a part of.
    fn offset_of(&self, part: &[u8]) -> Option<u32> {
        let start = part.as_ptr().addr();
        let offset = start.checked_sub(self.structure.as_ptr().addr())?;
        (offset <= self.structure.len()).then_some(short(offset))
    }

    /// Lists the phandles.
    fn number(&mut self) {
        let phandle = |node| {
            self.u32(node, "phandle")
                .or_else(|| self.u32(node, "linux,phandle"))
        };
        let numbered = || self.all().filter_map(|node| Some((phandle(node)?, node)));
        // Counted first, so that no more memory is taken than they need.
        let mut found = Vec::with_capacity(numbered().count());
        found.extend(numbered().map(|(phandle, node)| (phandle, short(node.0))));
        found.sort_unstable();
        self.phandles = found;
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
    pub(crate) fn steps(&self) -> u64 {
        self.full - self.budget.get()
    }

    /// Every node, in document order.
    pub(crate) fn all(&self) -> impl Iterator<Item = NodeId> + use<'a> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// A node's children, in document order.
    pub(crate) fn children(&self, of: NodeId) -> impl Iterator<Item = NodeId> {
        let end = self.nodes.get(of.0).map_or(0, |node| node.end as usize);
        let mut at = of.0 + 1;
        core::iter::from_fn(move || {
            let child = NodeId(at);
            if at >= end {
                return None;
            }
            at = self.nodes.get(at).map_or(end, |node| node.end as usize);
            Some(child)
        })
    }

    pub(crate) fn parent(&self, of: NodeId) -> Option<NodeId> {
        let parent = self.nodes.get(of.0)?.parent;
        (parent != NONE).then_some(NodeId(parent as usize))
    }

    fn depth(&self, of: NodeId) -> usize {
        self.nodes.get(of.0).map_or(0, |node| node.depth.into())
    }

    /// A node's name with its unit address: `serial@9000000`. The root's is empty.
    pub(crate) fn name(&self, of: NodeId) -> &'a str {
        let name = self.nodes.get(of.0).and_then(|node| {
            let start = node.name as usize;
            self.structure
                .get(start..start + usize::from(node.name_bytes))
        });
        // Names are ASCII (`validate`).
        name.and_then(|name| core::str::from_utf8(name).ok())
            .unwrap_or("")
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
        // Of two nodes with one phandle, the first has it.
        let at = self.phandles.partition_point(|entry| entry.0 < phandle);
        let &(found, node) = self.phandles.get(at)?;
        (found == phandle).then_some(NodeId(node as usize))
    }

    /// A property's raw value; of two with one name, the first.
    pub(crate) fn property(&self, of: NodeId, name: &str) -> Option<&'a [u8]> {
        let range = self.properties_of(of)?;
        if !self.step(1 + range.len() / 4) {
            return None;
        }
        let properties = self.properties.get(range)?.iter();
        properties.copied().find_map(|at| {
            let at = at as usize;
            let found = word(self.structure, at + 4)? as usize;
            let end = found + name.len();
            // Most names differ in where they end: that is looked at first.
            let is_it = self.strings.get(end) == Some(&0)
                && self.strings.get(found..end) == Some(name.as_bytes());
            let bytes = word(self.structure, at)? as usize;
            is_it.then(|| self.structure.get(at + 8..at + 8 + bytes))?
        })
    }

    /// The numbers of a node's properties.
    fn properties_of(&self, of: NodeId) -> Option<Range<usize>> {
        let first = self.nodes.get(of.0)?.properties as usize;
        let next = self.nodes.get(of.0 + 1);
        Some(first..next.map_or(self.properties.len(), |next| next.properties as usize))
    }

    /// A property's first cell.
    pub(crate) fn u32(&self, of: NodeId, name: &str) -> Option<u32> {
        cell(self.property(of, name)?, 0)
    }

    /// Cell `index` of a property.
    pub(crate) fn u32_at(&self, of: NodeId, name: &str, index: usize) -> Option<u32> {
        cell(self.property(of, name)?, index)
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
    word(value, index.checked_mul(4)?)
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
    use std::println;

    use capelin_trees::Tree as Recorded;

    use super::*;
    use crate::validate::validate;

    /// The budget is meant for malice: no real tree comes near it.
    #[test]
    #[ignore = "needs trees that others wrote"]
    fn real_trees_take_a_small_part_of_the_budget() {
        let (mut most, mut share) = (0, 0);
        for Recorded { name, blob } in capelin_trees::every() {
            let Ok(blob) = validate(&blob) else {
                panic!("{name} is refused");
            };
            let tree = Tree::new(&blob).unwrap();
            crate::Machine::read(&tree, &blob);
            most = most.max(tree.steps());
            share = share.max(tree.steps() * 1000 / tree.full);
        }
        println!("most steps: {most}, {share} thousandths of the budget");
        assert!(share < 125, "{share}");
    }
}
