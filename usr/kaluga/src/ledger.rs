//! Which device has which registers.
//!
//! Two nodes of a device tree may name the same registers: aliases of one device for two drivers,
//! or a tree that is wrong. The first one that is driven gets them. Registers are counted by bytes; what a
//! driver can reach is whole pages, so devices that share a page trust each other's drivers.

use alloc::{string::String, vec::Vec};

/// Registers of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// Physical address of the first.
    pub base: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Region {
    /// Whether both have a byte in common.
    #[must_use]
    pub const fn overlaps(&self, other: &Self) -> bool {
        // By distances: ends may lie beyond the last address.
        if self.base <= other.base {
            other.base - self.base < self.bytes && other.bytes > 0
        } else {
            self.base - other.base < other.bytes && self.bytes > 0
        }
    }
}

/// What has been given to drivers.
#[derive(Debug, Default)]
pub struct Ledger(Vec<(Region, String)>);

impl Ledger {
    /// Notes that the device at `path` has all of `regions`.
    ///
    /// # Errors
    /// The path of the device that has some of them already; nothing is noted then.
    pub fn take(&mut self, path: &str, regions: &[Region]) -> Result<(), String> {
        let holder = |region: &Region| {
            let overlapping =
                |(taken, by): &&(Region, String)| by != path && taken.overlaps(region);
            self.0.iter().find(overlapping)
        };
        if let Some((_, by)) = regions.iter().find_map(holder) {
            return Err(by.clone());
        }
        self.0
            .extend(regions.iter().map(|region| (*region, String::from(path))));
        Ok(())
    }

    /// What the device at `path` has is free again.
    pub fn give_back(&mut self, path: &str) {
        self.0.retain(|(_, by)| by != path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn region(base: u64, bytes: u64) -> Region {
        Region { base, bytes }
    }

    #[test]
    fn registers_have_one_driver() {
        let mut ledger = Ledger::default();
        ledger.take("/a", &[region(0x1000, 0x100)]).unwrap();
        // One of two overlaps: neither is taken.
        let both = [region(0x3000, 8), region(0x10ff, 1)];
        assert_eq!(ledger.take("/b", &both), Err("/a".into()));
        ledger.take("/c", &[region(0x3000, 8)]).unwrap();
        ledger.take("/d", &[region(0x1100, 0x100)]).unwrap();
        ledger.give_back("/a");
        assert_eq!(ledger.take("/b", &both), Err("/c".into()));
        ledger.give_back("/c");
        ledger.take("/b", &both).unwrap();
    }

    #[test]
    fn a_device_may_name_its_registers_twice() {
        let mut ledger = Ledger::default();
        let twice = [region(0x1000, 0x100), region(0x1080, 8)];
        ledger.take("/a", &twice).unwrap();
        ledger.take("/a", &twice).unwrap();
    }

    #[test]
    fn the_last_address_is_one_too() {
        let last = region(u64::MAX, 1);
        assert!(last.overlaps(&region(u64::MAX - 7, 8)) && last.overlaps(&last));
        assert!(!last.overlaps(&region(0, 8)));
    }

    proptest! {
        #[test]
        fn regions_overlap_if_they_have_an_address_in_common(
            a in (0_u64..32, 0_u64..16), b in (0_u64..32, 0_u64..16),
        ) {
            let has = |(base, bytes): (u64, u64), at| (base..base + bytes).contains(&at);
            let common = (0..64).any(|at| has(a, at) && has(b, at));
            prop_assert_eq!(region(a.0, a.1).overlaps(&region(b.0, b.1)), common);
            prop_assert_eq!(region(b.0, b.1).overlaps(&region(a.0, a.1)), common);
        }
    }
}
