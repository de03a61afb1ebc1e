//! A device tree that firmware gives, made fit for who boots by UEFI: memory is what UEFI's map
//! says, not what the tree says (EBBR 2.1, 2.3.1; UEFI 2.10, 7.2.3).
//!
//! The tree's memory nodes go, but for which NUMA node an address belongs to; memory that the
//! map says is taken is reserved in the tree's header. All else stays as it is.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use capelin_tree::{Node, Tree};

use crate::affinity::{Affinity, NodeMemory};
use crate::finding::Findings;
use crate::memory_map::{Descriptor, Holder, MemoryMap};
use crate::range::Range;
use crate::tree::pieces;
use crate::{ENTRY_TICKS, Error, Inputs};

/// Firmware's tree `blob` with the memory of `map`, and what `inputs` say of the command line
/// and of what the loader leaves in memory.
///
/// # Errors
/// [`Error::Firmware`] for what isn't a tree; [`Error::Cells`] and [`Error::TooLarge`].
pub fn adapt(
    blob: &[u8],
    map: &[Descriptor],
    inputs: &Inputs<'_>,
) -> Result<(Vec<u8>, Findings), Error> {
    let mut tree = Tree::parse(blob).map_err(Error::Firmware)?;
    let mut findings = Findings::default();
    let mut map = MemoryMap::read(map, &mut findings);
    for &range in inputs.loaded {
        map.take(Holder::Loader, range);
    }
    let root = &mut tree.root;
    let cells = Cells::of(root)?;
    let is_memory = |node: &Node| node.text("device_type") == Some("memory");
    let old = root.take_children(is_memory);
    let affinity = Affinity {
        memory: old.iter().flat_map(|node| cells.memory(node)).collect(),
        ..Affinity::default()
    };
    let mut nodes: BTreeMap<Option<u32>, Vec<Range>> = BTreeMap::new();
    for (range, node) in pieces(&map.memory, &affinity) {
        nodes.entry(node).or_default().push(range);
    }
    for (node, ranges) in nodes {
        let Some(first) = ranges.first() else {
            continue;
        };
        let memory = root.ensure_child(&format!("memory@{:x}", first.base));
        memory.set_text("device_type", "memory");
        if let Some(node) = node {
            memory.set_cells("numa-node-id", &[node]);
        }
        memory.set_cells("reg", &cells.reg(&ranges)?);
    }
    let taken = map.taken.values().flatten();
    tree.reservations
        .extend(taken.map(|range| (range.base, range.size)));
    let chosen = tree.root.ensure_child("chosen");
    // What an earlier loader left for another system.
    chosen.remove("linux,initrd-start");
    chosen.remove("linux,initrd-end");
    if let Some(arguments) = inputs.command_line.filter(|text| !text.is_empty()) {
        chosen.set_text("bootargs", arguments);
    }
    if let Some(ticks) = inputs.entry_ticks {
        chosen.set(ENTRY_TICKS, ticks.to_be_bytes());
    }
    let blob = tree.to_bytes();
    if blob.len() > Error::MOST_BYTES {
        return Err(Error::TooLarge { bytes: blob.len() });
    }
    Ok((blob, findings))
}

/// How many cells the root's children have for an address and a size: 1 or 2.
#[derive(Clone, Copy)]
struct Cells {
    cells: [u32; 2],
    address: usize,
    size: usize,
}

impl Cells {
    fn of(root: &Node) -> Result<Self, Error> {
        // The defaults of the specification (2.3.5).
        let read = |name, default| match root.cells(name).as_deref() {
            Some([cells]) => *cells,
            _ => default,
        };
        let cells = [read("#address-cells", 2), read("#size-cells", 1)];
        match cells {
            [address @ 1..=2, size @ 1..=2] => Ok(Self {
                cells,
                address: address as usize,
                size: size as usize,
            }),
            _ => Err(Error::Cells { cells }),
        }
    }

    /// What a memory node says of NUMA nodes.
    fn memory(self, node: &Node) -> Vec<NodeMemory> {
        let id = node.cells("numa-node-id");
        let Some([id]) = id.as_deref() else {
            return Vec::new();
        };
        let words = node.cells("reg").unwrap_or_default();
        let join = |cells: &[u32]| {
            cells
                .iter()
                .fold(0_u64, |word, &cell| word << 32 | u64::from(cell))
        };
        let entries = words.chunks_exact(self.address + self.size);
        let entries = entries.map(|entry| {
            let (base, size) = entry.split_at(self.address);
            NodeMemory {
                range: Range::new(join(base), join(size)),
                node: *id,
                is_hot_pluggable: false,
                is_persistent: false,
            }
        });
        entries.filter(|one| one.range.is_possible()).collect()
    }

    fn reg(self, ranges: &[Range]) -> Result<Vec<u32>, Error> {
        let mut words = Vec::new();
        for range in ranges {
            for (value, count) in [(range.base, self.address), (range.size, self.size)] {
                let [high, low] = [value >> 32, value & 0xffff_ffff]
                    .map(|cell| u32::try_from(cell).unwrap_or(u32::MAX));
                match (count, high) {
                    (2, _) => words.extend([high, low]),
                    (_, 0) => words.push(low),
                    _ => {
                        return Err(Error::Cells { cells: self.cells });
                    }
                }
            }
        }
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE_BACK: u64 = 1 << 3;

    fn firmware(cells: [u32; 2], memory: &[(Option<u32>, &[u32])]) -> Vec<u8> {
        let mut tree = Tree::default();
        tree.reservations.push((0x9000_0000, 0x1000));
        tree.root.set_cells("#address-cells", &[cells[0]]);
        tree.root.set_cells("#size-cells", &[cells[1]]);
        for (number, &(node, reg)) in memory.iter().enumerate() {
            let memory = tree.root.ensure_child(&format!("memory@{number}"));
            memory.set_text("device_type", "memory");
            memory.set_cells("reg", reg);
            if let Some(node) = node {
                memory.set_cells("numa-node-id", &[node]);
            }
        }
        let chosen = tree.root.ensure_child("chosen");
        chosen.set_text("bootargs", "theirs");
        chosen.set_text("stdout-path", "/uart");
        chosen.set_cells("linux,initrd-start", &[0x4800_0000]);
        chosen.set_cells("linux,initrd-end", &[0x4900_0000]);
        tree.root
            .ensure_child("uart")
            .set_text("compatible", "arm,pl011");
        tree.to_bytes()
    }

    fn map(of: &[(u32, u64, u64)]) -> Vec<Descriptor> {
        let one = |&(kind, base, pages)| Descriptor {
            kind,
            base,
            pages,
            attributes: WRITE_BACK,
        };
        of.iter().map(one).collect()
    }

    /// Name, NUMA node and `reg` of the memory nodes.
    fn memory(tree: &mut Tree) -> Vec<(Option<Vec<u32>>, Vec<u32>)> {
        let nodes = tree
            .root
            .take_children(|node| node.text("device_type") == Some("memory"));
        let read = |node: &Node| (node.cells("numa-node-id"), node.cells("reg").expect("reg"));
        nodes.iter().map(read).collect()
    }

    #[test]
    fn memory_is_the_maps_and_its_nodes_the_trees() {
        let blob = firmware(
            [2, 2],
            &[
                (Some(0), &[0, 0x4000_0000, 0, 0x2000_0000]),
                (Some(1), &[0, 0x6000_0000, 0, 0x2000_0000]),
            ],
        );
        // Conventional over the border, runtime services' data, and what no map mentions.
        let map = map(&[
            (7, 0x4000_0000, 0x2_8000),
            (6, 0x6800_0000, 0x100),
            (7, 0x1_0000_0000, 1),
        ]);
        let inputs = Inputs {
            command_line: Some("ours"),
            entry_ticks: Some(0x1_0000_0002),
            loaded: &[Range::new(0x4020_0000, 0x3000)],
            ..Inputs::default()
        };
        let (blob, findings) = adapt(&blob, &map, &inputs).expect("a tree");
        assert!(findings.as_slice().is_empty());
        let mut tree = Tree::parse(&blob).expect("a tree");
        let expected: [(Option<Vec<u32>>, &[u32]); 3] = [
            (None, &[1, 0, 0, 0x1000]),
            (Some([0].into()), &[0, 0x4000_0000, 0, 0x2000_0000]),
            (Some([1].into()), &[0, 0x6000_0000, 0, 0x0810_0000]),
        ];
        let expected = expected.map(|(node, reg)| (node, reg.to_vec()));
        assert_eq!(memory(&mut tree), expected);
        let mut reserved = tree.reservations.clone();
        reserved.sort_unstable();
        let all = [
            (0x4020_0000, 0x3000),
            (0x6800_0000, 0x10_0000),
            (0x9000_0000, 0x1000),
        ];
        assert_eq!(reserved, all);
        let chosen = tree.root.child("chosen").expect("chosen");
        assert_eq!(chosen.text("bootargs"), Some("ours"));
        let ticks = chosen.cells("capelin,entry-ticks");
        assert_eq!(ticks.as_deref(), Some(&[1, 2][..]));
        assert_eq!(chosen.text("stdout-path"), Some("/uart"));
        assert_eq!(chosen.property("linux,initrd-start"), None);
        assert_eq!(chosen.property("linux,initrd-end"), None);
        let uart = tree.root.child("uart").expect("kept");
        assert_eq!(uart.text("compatible"), Some("arm,pl011"));
    }

    #[test]
    fn narrow_cells_hold_what_fits_them() {
        let blob = firmware([1, 1], &[(None, &[0x4000_0000, 0x1000_0000])]);
        let low = map(&[(7, 0x4000_0000, 4)]);
        let (adapted, _) = adapt(&blob, &low, &Inputs::default()).expect("a tree");
        let mut tree = Tree::parse(&adapted).expect("a tree");
        assert_eq!(memory(&mut tree), [(None, [0x4000_0000, 0x4000].to_vec())]);
        let chosen = tree.root.child("chosen").expect("chosen");
        assert_eq!(
            chosen.text("bootargs"),
            Some("theirs"),
            "nobody says another"
        );
        let high = map(&[(7, 0x1_0000_0000, 4)]);
        let refused = adapt(&blob, &high, &Inputs::default());
        assert_eq!(refused.map(drop), Err(Error::Cells { cells: [1, 1] }));
        for cells in [[3, 2], [2, 0]] {
            let odd = adapt(&firmware(cells, &[]), &low, &Inputs::default());
            assert_eq!(odd.map(drop), Err(Error::Cells { cells }));
        }
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        let refused = adapt(b"\xd0\x0d\xfe\xed", &[], &Inputs::default());
        let Err(Error::Firmware(error)) = refused else {
            panic!("{refused:?}");
        };
        assert!(format!("{error}").starts_with("no device tree"));
    }
}
