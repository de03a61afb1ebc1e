//! `/memory`, `/reserved-memory`, and how far and fast memory is (devicetree
//! specification 3.4, 3.5; binding `numa`).
//!
//! Where there is UEFI's map, memory is what it says, cut at the borders of NUMA nodes.
//! Without it, memory is what the SRAT says will not come later: firmware's own part
//! of that isn't known then.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use super::Writer;
use crate::affinity::{Affinity, Measure};
use crate::facts::Facts;
use crate::memory_map::MemoryMap;
use crate::range::Range;
use crate::{Error, Inputs};

pub(super) fn write(
    writer: &mut Writer<'_>,
    facts: &Facts,
    map: &MemoryMap,
    inputs: &Inputs<'_>,
) -> Result<(), Error> {
    let pieces = if inputs.memory_map.is_none() {
        let memory = facts.affinity.memory.iter();
        let ordinary = memory.filter(|one| !one.is_hot_pluggable && !one.is_persistent);
        ordinary.map(|one| (one.range, Some(one.node))).collect()
    } else {
        pieces(&map.memory, &facts.affinity)
    };
    let mut nodes: BTreeMap<Option<u32>, Vec<Range>> = BTreeMap::new();
    for (range, node) in pieces {
        nodes.entry(node).or_default().push(range);
    }
    for (node, ranges) in nodes {
        let Some(first) = ranges.iter().map(|range| range.base).min() else {
            continue;
        };
        writer.node(&format!("memory@{first:x}"), |writer| {
            writer.string("device_type", "memory")?;
            if let Some(node) = node {
                writer.cell("numa-node-id", node)?;
            }
            writer.reg(&ranges)
        })?;
    }
    if !map.taken.is_empty() {
        write_reserved(writer, map)?;
    }
    write_distances(writer, facts)?;
    write_performance(writer, facts)
}

/// `memory` (ascending, no overlaps) cut at the borders of NUMA nodes.
pub(crate) fn pieces(memory: &[Range], affinity: &Affinity) -> Vec<(Range, Option<u32>)> {
    let mut owned: Vec<(Range, u32)> = affinity
        .memory
        .iter()
        .map(|one| (one.range, one.node))
        .collect();
    owned.sort_unstable();
    let mut owned = owned.into_iter().peekable();
    let mut pieces: Vec<(Range, Option<u32>)> = Vec::new();
    let mut add = |base: u64, end: u64, node: Option<u32>| match pieces.last_mut() {
        Some((last, of)) if *of == node && last.end() == base => last.size = end - last.base,
        _ => pieces.push((Range::new(base, end - base), node)),
    };
    for range in memory {
        let mut at = range.base;
        while at < range.end() {
            while owned.next_if(|(owned, _)| owned.end() <= at).is_some() {}
            match owned.peek() {
                Some((owned, node)) if owned.base <= at => {
                    let end = owned.end().min(range.end());
                    add(at, end, Some(*node));
                    at = end;
                }
                Some((owned, _)) if owned.base < range.end() => {
                    add(at, owned.base, None);
                    at = owned.base;
                }
                _ => {
                    add(at, range.end(), None);
                    at = range.end();
                }
            }
        }
    }
    pieces
}

fn write_reserved(writer: &mut Writer<'_>, map: &MemoryMap) -> Result<(), Error> {
    writer.node("reserved-memory", |writer| {
        writer.bus()?;
        writer.flag("ranges")?;
        for (holder, ranges) in &map.taken {
            let Some(first) = ranges.first() else {
                continue;
            };
            let name = format!("{}@{:x}", holder.name(), first.base);
            writer.node(&name, |writer| {
                writer.string("compatible", &format!("capelin,{}", holder.name()))?;
                if holder.is_no_map() {
                    writer.flag("no-map")?;
                }
                writer.reg(ranges)
            })?;
        }
        Ok(())
    })
}

fn write_distances(writer: &mut Writer<'_>, facts: &Facts) -> Result<(), Error> {
    if facts.distances.is_empty() {
        return Ok(());
    }
    let cells: Vec<u32> = facts
        .distances
        .iter()
        .flat_map(|&(from, to, distance)| [from, to, u32::from(distance)])
        .collect();
    writer.node("distance-map", |writer| {
        writer.string("compatible", "numa-distance-map-v1")?;
        writer.cells("distance-matrix", &cells)
    })
}

fn write_performance(writer: &mut Writer<'_>, facts: &Facts) -> Result<(), Error> {
    if facts.performance.is_empty() {
        return Ok(());
    }
    let mut measures: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for performance in &facts.performance {
        let name = match performance.measure {
            Measure::ReadLatency => "read-latency-ps",
            Measure::WriteLatency => "write-latency-ps",
            Measure::ReadBandwidth => "read-bandwidth-mbps",
            Measure::WriteBandwidth => "write-bandwidth-mbps",
        };
        let cells = measures.entry(name).or_default();
        for &(from, to, figure) in &performance.figures {
            cells.extend([from, to, u32::try_from(figure).unwrap_or(u32::MAX)]);
        }
    }
    writer.node("numa-performance", |writer| {
        writer.string("compatible", "capelin,numa-performance")?;
        for (name, cells) in measures {
            writer.cells(name, &cells)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::affinity::NodeMemory;

    #[test]
    fn memory_is_cut_where_nodes_meet() {
        let node = |base, size, node| NodeMemory {
            range: Range::new(base, size),
            node,
            is_hot_pluggable: false,
            is_persistent: false,
        };
        let affinity = Affinity {
            memory: Vec::from([
                node(0x5000, 0x3000, 1),
                node(0x1000, 0x2000, 0),
                node(0x3000, 0x1000, 0),
            ]),
            ..Affinity::default()
        };
        let memory = [
            Range::new(0, 0x1800),
            Range::new(0x2000, 0x5000),
            Range::new(0x9000, 0x1000),
        ];
        let expected = [
            (Range::new(0, 0x1000), None),
            (Range::new(0x1000, 0x800), Some(0)),
            // Two ranges of one node.
            (Range::new(0x2000, 0x2000), Some(0)),
            (Range::new(0x4000, 0x1000), None),
            (Range::new(0x5000, 0x2000), Some(1)),
            (Range::new(0x9000, 0x1000), None),
        ];
        assert_eq!(pieces(&memory, &affinity), expected);
        let bytes = |of: &[(Range, Option<u32>)]| of.iter().map(|one| one.0.size).sum::<u64>();
        assert_eq!(bytes(&expected), memory.iter().map(|one| one.size).sum());
        assert_eq!(
            pieces(&memory, &Affinity::default()),
            memory.map(|range| (range, None))
        );
    }
}
