//! A device tree that can be changed: what firmware does to the one that it hands over, and the
//! UEFI loader to firmware's.
//!
//! Trees are read by `fdt`, after `capelin_dt` has checked them. They are written here, in the flattened format (Devicetree
//! Specification 0.4, section 5): `vm-fdt` refuses the names that nodes of overlays have (`__overlay__`).

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use capelin_dt::DtError;
use capelin_dt::validate::validate;
use fdt::Fdt;
use fdt::node::FdtNode;

/// Why a tree can't be read, changed or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeError {
    /// It is malformed.
    Malformed(DtError),
    /// `fdt` can't read what `capelin_dt` takes for a tree.
    Unreadable(String),
    /// A fragment of an overlay names its node by label, which needs a tree with `__symbols__`.
    NeedsSymbols,
    /// An overlay changes a node that the tree doesn't have.
    NoNode(String),
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "no device tree: {error}"),
            Self::Unreadable(what) => write!(f, "can't read the tree: {what}"),
            Self::NeedsSymbols => f.write_str(
                "the overlay names nodes by label, and the tree has no labels (`__symbols__`)",
            ),
            Self::NoNode(path) => write!(f, "the tree has no node {path}"),
        }
    }
}

/// A node with all below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    name: String,
    properties: Vec<(String, Vec<u8>)>,
    children: Vec<Self>,
}

/// A tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// First address and bytes of memory that firmware keeps.
    pub reservations: Vec<(u64, u64)>,
    /// `reg` of the core that boots.
    boot_core: u32,
    /// The root, which has all else in it.
    pub root: Node,
}

impl Node {
    /// The child called `name`; a name without `@` stands for any unit address.
    pub fn child(&mut self, name: &str) -> Option<&mut Self> {
        let is_it =
            |node: &&mut Self| node.name == name || node.name.split('@').next() == Some(name);
        self.children.iter_mut().find(is_it)
    }

    /// The child called exactly `name`, which is made if it isn't there.
    pub fn ensure_child(&mut self, name: &str) -> &mut Self {
        let at = self.children.iter().position(|node| node.name == name);
        let at = at.unwrap_or_else(|| {
            self.children.push(Self {
                name: name.to_owned(),
                ..Self::default()
            });
            self.children.len() - 1
        });
        &mut self.children[at]
    }

    /// The node at `path` below this one.
    pub fn at(&mut self, path: &str) -> Option<&mut Self> {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        parts.try_fold(self, |node, part| node.child(part))
    }

    /// Takes out the children that `is_meant` picks.
    pub fn take_children(&mut self, is_meant: impl Fn(&Self) -> bool) -> Vec<Self> {
        let children = core::mem::take(&mut self.children);
        let (taken, left) = children.into_iter().partition(is_meant);
        self.children = left;
        taken
    }

    /// A property's value.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&[u8]> {
        let mut found = self.properties.iter().filter(|(other, _)| other == name);
        found.next().map(|(_, value)| &**value)
    }

    /// A property's value as 32-bit cells; none if it isn't a number of them.
    #[must_use]
    pub fn cells(&self, name: &str) -> Option<Vec<u32>> {
        let (cells, rest) = self.property(name)?.as_chunks();
        let cells = cells.iter().map(|&cell| u32::from_be_bytes(cell));
        rest.is_empty().then(|| cells.collect())
    }

    /// The property as text, without the zero behind it.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        let text = core::str::from_utf8(self.property(name)?).ok()?;
        Some(text.trim_end_matches('\0'))
    }

    /// Gives a property a value, a new one if it isn't there.
    pub fn set(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        let value = value.into();
        match self.properties.iter_mut().find(|(other, _)| other == name) {
            Some((_, old)) => *old = value,
            None => self.properties.push((name.to_owned(), value)),
        }
    }

    /// [`Self::set`] for a string.
    pub fn set_text(&mut self, name: &str, text: &str) {
        self.set(name, [text.as_bytes(), &[0]].concat());
    }

    /// Takes a property out.
    pub fn remove(&mut self, name: &str) {
        self.properties.retain(|(other, _)| other != name);
    }

    /// [`Self::set`] for 32-bit cells.
    pub fn set_cells(&mut self, name: &str, cells: &[u32]) {
        let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.set(name, bytes);
    }

    fn of(node: FdtNode<'_, '_>) -> Self {
        Self {
            name: if node.name == "/" {
                String::new()
            } else {
                node.name.to_owned()
            },
            properties: node
                .properties()
                .map(|property| (property.name.to_owned(), property.value.to_vec()))
                .collect(),
            children: node.children().map(Self::of).collect(),
        }
    }

    /// Takes over the properties and children of `other`.
    fn merge(&mut self, other: &Self) {
        for (name, value) in &other.properties {
            self.set(name, value.clone());
        }
        for child in &other.children {
            self.ensure_child(&child.name).merge(child);
        }
    }

    fn write(&self, writer: &mut Writer) {
        writer.token(BEGIN_NODE);
        writer.text(&self.name);
        for (name, value) in &self.properties {
            writer.token(PROPERTY);
            writer.token(length(value));
            let name = writer.string(name);
            writer.token(name);
            writer.bytes(value);
        }
        for child in &self.children {
            child.write(writer);
        }
        writer.token(END_NODE);
    }
}

const MAGIC: u32 = 0xd00d_feed;
const VERSION: u32 = 17;
const OLDEST_COMPATIBLE: u32 = 16;
const HEADER_BYTES: usize = 40;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const END: u32 = 9;

/// The structure block and the strings block, as they grow.
#[derive(Default)]
struct Writer {
    structure: Vec<u8>,
    strings: Vec<u8>,
    /// Where in the strings block each name is.
    names: BTreeMap<String, u32>,
}

impl Writer {
    fn token(&mut self, value: u32) {
        self.structure.extend(value.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.structure.extend(bytes);
        self.structure
            .resize(self.structure.len().next_multiple_of(4), 0);
    }

    fn text(&mut self, text: &str) {
        self.structure.extend(text.as_bytes());
        self.bytes(&[0]);
    }

    fn string(&mut self, name: &str) -> u32 {
        if let Some(&at) = self.names.get(name) {
            return at;
        }
        let at = length(&self.strings);
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        self.names.insert(name.to_owned(), at);
        at
    }
}

/// Bytes of `bytes`: trees are small, and what isn't one has been refused.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

impl Tree {
    /// Reads `blob`.
    ///
    /// # Errors
    /// If it isn't a device tree.
    pub fn parse(blob: &[u8]) -> Result<Self, TreeError> {
        let checked = validate(blob).map_err(TreeError::Malformed)?;
        let fdt =
            Fdt::new(checked.bytes()).map_err(|error| TreeError::Unreadable(error.to_string()))?;
        let reservations = fdt.memory_reservations();
        let root = fdt
            .find_node("/")
            .ok_or_else(|| TreeError::NoNode("/".to_owned()))?;
        Ok(Self {
            reservations: reservations
                .map(|it| (it.address().expose_provenance() as u64, it.size() as u64))
                .collect(),
            boot_core: blob
                .get(28..32)
                .and_then(|it| it.try_into().ok())
                .map_or(0, u32::from_be_bytes),
            root: Node::of(root),
        })
    }

    /// As a blob.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.root.write(&mut writer);
        writer.token(END);
        let end = [(0, 0)];
        let reservations = self.reservations.iter().chain(&end);
        let reservations: Vec<u8> = reservations
            .flat_map(|&(address, bytes)| [address, bytes])
            .flat_map(u64::to_be_bytes)
            .collect();
        // Header, reservations, structure, strings: each block is a multiple of what the next is aligned to.
        let structure_at = HEADER_BYTES + reservations.len();
        let strings_at = structure_at + writer.structure.len();
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let header = [
            MAGIC,
            offset(strings_at + writer.strings.len()),
            offset(structure_at),
            offset(strings_at),
            offset(HEADER_BYTES),
            VERSION,
            OLDEST_COMPATIBLE,
            self.boot_core,
            length(&writer.strings),
            length(&writer.structure),
        ];
        let header: Vec<u8> = header.into_iter().flat_map(u32::to_be_bytes).collect();
        [header, reservations, writer.structure, writer.strings].concat()
    }

    /// Applies `overlay`, whose fragments name their nodes by path (`target-path`).
    ///
    /// # Errors
    /// If it names a node by label, or one that isn't there.
    pub fn apply(&mut self, overlay: &Self) -> Result<(), TreeError> {
        for fragment in &overlay.root.children {
            let Some(changes) = fragment.children.iter().find(|it| it.name == "__overlay__") else {
                continue;
            };
            let path = fragment
                .text("target-path")
                .ok_or(TreeError::NeedsSymbols)?;
            let node = self.root.at(path);
            node.ok_or_else(|| TreeError::NoNode(path.to_owned()))?
                .merge(changes);
        }
        Ok(())
    }

    /// An overlay that sets strings: of each node by its path, property and value.
    pub fn overlay<'a>(
        changes: impl IntoIterator<Item = (&'a str, &'a [(&'a str, &'a str)])>,
    ) -> Self {
        let mut tree = Self::default();
        for (number, (node, strings)) in changes.into_iter().enumerate() {
            let fragment = tree.root.ensure_child(&format!("fragment@{number}"));
            fragment.set_text("target-path", node);
            let overlay = fragment.ensure_child("__overlay__");
            for (name, value) in strings {
                overlay.set_text(name, value);
            }
        }
        tree
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn sample() -> Tree {
        let mut tree = Tree {
            reservations: vec![(0, 0x1000)],
            ..Tree::default()
        };
        tree.root.set_text("model", "sample");
        tree.root.set_cells("#address-cells", &[2]);
        let soc = tree.root.ensure_child("soc");
        soc.ensure_child("serial@7e201000")
            .set_text("status", "okay");
        tree.root
            .ensure_child("chosen")
            .set_text("stdout-path", "serial1");
        tree
    }

    #[test]
    fn what_is_written_is_read() {
        let tree = sample();
        assert_eq!(Tree::parse(&tree.to_bytes()).unwrap(), tree);
    }

    #[test]
    fn overlays_change_what_they_name() {
        let changes: [(&str, &[(&str, &str)]); 2] = [
            ("/chosen", &[("stdout-path", "serial0"), ("x", "y")]),
            ("/soc/serial@7e201000", &[("status", "disabled")]),
        ];
        let overlay = Tree::overlay(changes).to_bytes();
        let mut tree = sample();
        tree.apply(&Tree::parse(&overlay).unwrap()).unwrap();
        assert_eq!(
            tree.root.at("/chosen").unwrap().text("stdout-path"),
            Some("serial0")
        );
        assert_eq!(tree.root.at("/chosen").unwrap().text("x"), Some("y"));
        let serial = tree.root.at("/soc/serial@7e201000").unwrap();
        assert_eq!(serial.text("status"), Some("disabled"));
    }

    #[test]
    fn overlays_that_do_not_fit_are_refused() {
        let apply = |overlay: &Tree| sample().apply(overlay);
        let nowhere = Tree::overlay([("/nowhere", &[][..])]);
        assert_eq!(
            apply(&nowhere),
            Err(TreeError::NoNode("/nowhere".to_owned()))
        );
        let mut labelled = Tree::default();
        let fragment = labelled.root.ensure_child("fragment@0");
        fragment.set_cells("target", &[u32::MAX]);
        fragment.ensure_child("__overlay__");
        assert_eq!(apply(&labelled), Err(TreeError::NeedsSymbols));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(matches!(
            Tree::parse(b"kernel"),
            Err(TreeError::Malformed(_))
        ));
        let blob = sample().to_bytes();
        assert!(matches!(
            Tree::parse(&blob[..60]),
            Err(TreeError::Malformed(_))
        ));
    }
}
