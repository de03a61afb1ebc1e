//! What memory the machine has, by the knowledge base: to be held against what is in use.

use alloc::vec::Vec;

use capelin_dt::{MemoryRegion, NumaId, Region, early::usable};
use capelin_interfaces::skb::Solution;

/// What memory the machine has.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Machine {
    memory: Vec<MemoryRegion>,
    reserved: Vec<Region>,
}

impl Machine {
    /// The goal whose solutions [`Machine::add_memory`] takes.
    pub const MEMORY: &str = "memory(B, S, N)";
    /// The goal whose solutions [`Machine::add_reserved`] takes.
    pub const RESERVED: &str = "reserved(B, S)";

    /// Adds a piece of memory; `None` for what isn't one.
    pub fn add_memory(&mut self, found: &Solution) -> Option<()> {
        self.memory.push(MemoryRegion {
            region: region(found)?,
            numa: Some(NumaId(found.get("N")?.parse().ok()?)),
        });
        Some(())
    }

    /// Adds what is to be left alone; `None` for what isn't that.
    pub fn add_reserved(&mut self, found: &Solution) -> Option<()> {
        self.reserved.push(region(found)?);
        Some(())
    }

    /// Bytes of memory, in whole pages.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        sum(&usable(&self.memory, &[], &[]))
    }

    /// Bytes of the pages in which something is to be left alone.
    #[must_use]
    pub fn reserved_bytes(&self) -> u64 {
        self.total_bytes() - sum(&usable(&self.memory, &self.reserved, &[]))
    }

    /// The node that the memory at physical address `base` is on.
    #[must_use]
    pub fn node_of(&self, base: u64) -> Option<u32> {
        let holds =
            |memory: &&MemoryRegion| (memory.region.base.0..memory.region.end()).contains(&base);
        let NumaId(node) = self.memory.iter().find(holds)?.numa?;
        Some(node)
    }
}

fn region(found: &Solution) -> Option<Region> {
    let word = |name| found.get(name)?.parse().ok();
    Some(Region::new(word("B")?, word("S")?))
}

fn sum(regions: &[MemoryRegion]) -> u64 {
    regions.iter().map(|memory| memory.region.size).sum()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use alloc::string::ToString;

    fn solution(words: &[(&str, u64)]) -> Solution {
        let bindings = words.iter().map(|(n, v)| (n.to_string(), v.to_string()));
        Solution {
            bindings: bindings.collect(),
        }
    }

    /// Memory as base, bytes and node; what of it is reserved.
    pub(crate) fn machine(memory: &[(u64, u64, u64)], reserved: &[(u64, u64)]) -> Machine {
        let mut machine = Machine::default();
        for &(base, size, node) in memory {
            let found = solution(&[("B", base), ("S", size), ("N", node)]);
            machine.add_memory(&found).unwrap();
        }
        for &(base, size) in reserved {
            let found = solution(&[("B", base), ("S", size)]);
            machine.add_reserved(&found).unwrap();
        }
        machine
    }

    #[test]
    fn memory_counts_once_and_reservations_by_their_pages() {
        let memory = [
            (0x4000_0000, 0x10_0000, 0),
            (0x4008_0000, 0x10_0000, 1),
            (0x8000_0000, 0, 3),
        ];
        // Within a page, over the end, elsewhere.
        let reserved = [
            (0x4000_1010, 8),
            (0x4017_f000, 0x2000),
            (0x9000_0000, 0x1000),
        ];
        let machine = machine(&memory, &reserved);
        assert_eq!(machine.total_bytes(), 0x18_0000);
        assert_eq!(machine.reserved_bytes(), 0x2000);
        assert_eq!(machine.node_of(0x400f_f000), Some(0));
        assert_eq!(machine.node_of(0x4010_0000), Some(1));
        assert_eq!(machine.node_of(0x8000_0000), None);
        let nonsense = solution(&[("B", 1)]);
        assert_eq!(Machine::default().add_reserved(&nonsense), None);
    }
}
