//! NUMA: who belongs to which node (SRAT, ACPI 6.5, 5.2.16), how far nodes are from
//! each other (SLIT, 5.2.17), and how fast their memory is (HMAT, 5.2.29).
//!
//! A node's number is its proximity domain, as it stands.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::bytes::{Bytes, Entries, Layout};
use crate::finding::{Block, Finding, Findings, List};
use crate::range::Range;
use crate::table::Tables;

/// The most memory ranges that are read.
pub const MOST_RANGES: usize = 4096;
/// The most nodes whose distances are read.
pub const MOST_NODES: usize = 128;

/// A range of addresses that belongs to a node: there need not be memory in all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeMemory {
    /// Where.
    pub range: Range,
    /// The node.
    pub node: u32,
    /// Whether memory can be plugged in there; there may be none yet.
    pub is_hot_pluggable: bool,
    /// Whether it keeps its contents without power: no ordinary memory.
    pub is_persistent: bool,
}

/// What the SRAT says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Affinity {
    /// Memory, in the table's order; of two ranges that overlap, the second's bytes are
    /// left out of it.
    pub memory: Vec<NodeMemory>,
    /// Node of each core, by its unique id.
    pub cores: BTreeMap<u32, u32>,
    /// Node of each translation service, by its id.
    pub its: BTreeMap<u32, u32>,
}

impl Affinity {
    /// Reads the table, if it is there: only enabled entries.
    pub(crate) fn read(tables: &Tables<'_>, findings: &mut Findings) -> Self {
        let signature = Tables::SRAT;
        let mut affinity = Self::default();
        let Some(table) = tables.get(signature) else {
            return affinity;
        };
        for entry in Entries::new(table.bytes, 48, Layout::Byte) {
            let (offset, read) = match entry {
                Ok(entry) => {
                    let read = affinity.entry(entry.kind, entry.bytes, findings);
                    (entry.offset, read)
                }
                Err(cut) => (cut.0, None),
            };
            if read.is_none() {
                findings.add(Finding::Entry { signature, offset });
            }
        }
        affinity.part(findings);
        affinity
    }

    fn entry(&mut self, kind: u16, bytes: Bytes<'_>, findings: &mut Findings) -> Option<()> {
        match kind {
            1 => {
                let range = Range::new(bytes.u64(8)?, bytes.u64(16)?);
                let flags = bytes.u32(28)?;
                let memory = NodeMemory {
                    range,
                    node: bytes.u32(2)?,
                    is_hot_pluggable: flags & 2 != 0,
                    is_persistent: flags & 4 != 0,
                };
                if flags & 1 == 0 || range.size == 0 {
                } else if !range.is_possible() {
                    findings.add(Finding::Address {
                        block: Block::Memory,
                        address: range.base,
                    });
                } else if self.memory.len() == MOST_RANGES {
                    findings.add(Finding::TooMany {
                        list: List::Memory,
                        kept: MOST_RANGES,
                    });
                } else {
                    self.memory.push(memory);
                }
            }
            3 => {
                let (node, uid) = (bytes.u32(2)?, bytes.u32(6)?);
                if bytes.u32(10)? & 1 != 0 {
                    self.cores.entry(uid).or_insert(node);
                }
            }
            4 => {
                let (node, id) = (bytes.u32(2)?, bytes.u32(8)?);
                self.its.entry(id).or_insert(node);
            }
            _ => {}
        }
        Some(())
    }

    /// Takes from each range what one that begins before it has already.
    fn part(&mut self, findings: &mut Findings) {
        let mut order: Vec<usize> = (0..self.memory.len()).collect();
        order.sort_by_key(|&index| self.memory.get(index).map(|memory| memory.range.base));
        let mut taken = 0;
        for index in order {
            let Some(memory) = self.memory.get_mut(index) else {
                continue;
            };
            let range = memory.range;
            if range.base < taken {
                findings.add(Finding::Overlap {
                    first: Block::Memory,
                    second: Block::Memory,
                    address: range.base,
                });
                let base = taken.min(range.end());
                memory.range = Range::new(base, range.end() - base);
            }
            taken = taken.max(range.end());
        }
        self.memory.retain(|memory| memory.range.size != 0);
    }

    /// All nodes that something belongs to.
    #[must_use]
    pub fn nodes(&self) -> BTreeSet<u32> {
        let memory = self.memory.iter().map(|memory| memory.node);
        let others = self.cores.values().chain(self.its.values()).copied();
        memory.chain(others).collect()
    }
}

/// Distances: (from, to, distance).
pub type Distances = Vec<(u32, u32, u8)>;

/// Reads the SLIT, if it is there: distances between `nodes`. A node that can't be
/// reached (255) isn't listed.
pub(crate) fn distances(
    tables: &Tables<'_>,
    nodes: &BTreeSet<u32>,
    findings: &mut Findings,
) -> Distances {
    let mut found = Vec::new();
    let Some(table) = tables.get(Tables::SLIT) else {
        return found;
    };
    let rest = table.bytes.0.get(44..).unwrap_or_default();
    let side = table
        .bytes
        .u64(36)
        .and_then(|side| usize::try_from(side).ok());
    let Some(side) =
        side.filter(|side| side.checked_mul(*side).is_some_and(|all| all <= rest.len()))
    else {
        table.too_short(findings);
        return found;
    };
    let listed = nodes
        .iter()
        .filter_map(|&node| Some((node, usize::try_from(node).ok()?)));
    let listed: Vec<_> = listed.filter(|&(_, place)| place < side).collect();
    if listed.len() > MOST_NODES {
        findings.add(Finding::TooMany {
            list: List::Nodes,
            kept: MOST_NODES,
        });
    }
    for &(from, row) in listed.iter().take(MOST_NODES) {
        for &(to, column) in listed.iter().take(MOST_NODES) {
            let Some(&distance) = rest.get(row * side + column) else {
                continue;
            };
            let can_be = if from == to {
                distance == 10
            } else {
                distance >= 10
            };
            if !can_be {
                findings.add(Finding::Distance { from, to, distance });
            } else if distance != u8::MAX {
                found.push((from, to, distance));
            }
        }
    }
    found
}

/// What a figure of the HMAT is about (ACPI 6.5, table 5.146, data type).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Measure {
    /// Picoseconds to read.
    ReadLatency,
    /// Picoseconds to write.
    WriteLatency,
    /// MB/s to read.
    ReadBandwidth,
    /// MB/s to write.
    WriteBandwidth,
}

/// One kind of figure, between nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Performance {
    /// What the figures are about.
    pub measure: Measure,
    /// (node with cores, node with memory, figure).
    pub figures: Vec<(u32, u32, u64)>,
}

/// Reads the HMAT, if it is there: figures of memory itself, not of caches in front.
/// Revision 1 gives nanoseconds by another scale; it was withdrawn and isn't read.
pub(crate) fn performance(tables: &Tables<'_>, findings: &mut Findings) -> Vec<Performance> {
    let signature = Tables::HMAT;
    let mut found: Vec<Performance> = Vec::new();
    let Some(table) = tables
        .get(signature)
        .filter(|table| table.bytes.u8(8) >= Some(2))
    else {
        return found;
    };
    for entry in Entries::new(table.bytes, 40, Layout::Long) {
        let (offset, read) = match entry {
            Ok(entry) if entry.kind != 1 => continue,
            Ok(entry) => (entry.offset, figures(entry.bytes)),
            Err(cut) => (cut.0, None),
        };
        match read {
            Some(read) if found.len() + read.len() <= 16 => found.extend(read),
            Some(_) => {}
            None => findings.add(Finding::Entry { signature, offset }),
        }
    }
    found
}

/// A System Locality Latency and Bandwidth Information structure (table 5.146).
fn figures(bytes: Bytes<'_>) -> Option<Vec<Performance>> {
    let measures: &[Measure] = match bytes.u8(9)? {
        0 => &[Measure::ReadLatency, Measure::WriteLatency],
        1 => &[Measure::ReadLatency],
        2 => &[Measure::WriteLatency],
        3 => &[Measure::ReadBandwidth, Measure::WriteBandwidth],
        4 => &[Measure::ReadBandwidth],
        5 => &[Measure::WriteBandwidth],
        _ => &[],
    };
    let (from, to) = (bytes.size(12)?, bytes.size(16)?);
    let unit = bytes.u64(24)?;
    let entries = from.checked_mul(to)?;
    let words = from.checked_add(to)?.checked_mul(4)?.checked_add(32)?;
    bytes.0.get(..words.checked_add(entries.checked_mul(2)?)?)?;
    // Of memory, and not of a cache in front of it.
    if bytes.u8(8)? & 0xf != 0 || from > MOST_NODES || to > MOST_NODES {
        return Some(Vec::new());
    }
    let mut figures = Vec::new();
    for (row, initiator) in bytes.words(32, from).enumerate() {
        for (column, target) in bytes.words(32 + 4 * from, to).enumerate() {
            let value = bytes.u16(words + 2 * (row * to + column))?;
            // 0 and all ones stand for no figure and for no way.
            if value != 0 && value != u16::MAX {
                figures.push((initiator, target, u64::from(value).saturating_mul(unit)));
            }
        }
    }
    let each = measures.iter().map(|&measure| Performance {
        measure,
        figures: figures.clone(),
    });
    Some(each.collect())
}
