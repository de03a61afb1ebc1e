//! The identity map of the boot driver: which memory is mapped, where it is.
//!
//! Nothing is mapped but what is about to be used: the image, the device tree, the
//! archive, the pages that are filled, the console. So the core can't look ahead into a
//! device's registers or memory that firmware keeps for itself. Memory outside of the
//! image is never executable, and a page's leaf never changes once it is there, so nothing
//! has to be invalidated (Arm ARM D8.16.1).

use capelin_abi::{PAGE_SIZE, PhysAddr, VirtAddr};
use capelin_dt::Region;
use capelin_vspace::{Descriptor, DescriptorError, ENTRIES, Entry, Permissions, TableLevel};

use crate::BootError;

/// Where translation tables come from, and how they are reached.
pub trait Tables {
    /// The entry `index` (below 512) of `table`.
    fn read(&self, table: PhysAddr, index: usize) -> Descriptor;
    /// Writes it.
    fn write(&mut self, table: PhysAddr, index: usize, descriptor: Descriptor);
    /// A table of invalid entries, if there is one left.
    fn fresh(&mut self) -> Option<PhysAddr>;
    /// The descriptor of a leaf, as the regime wants it.
    ///
    /// # Errors
    /// As [`Descriptor::leaf`].
    fn leaf(
        &self,
        level: TableLevel,
        address: PhysAddr,
        permissions: Permissions,
    ) -> Result<Descriptor, DescriptorError>;
}

/// The map. Made of tables of 4 KiB pages and, where a region covers them, blocks of 2 MiB.
#[derive(Debug)]
pub struct IdentityMap<T> {
    tables: T,
    root: PhysAddr,
}

impl<T: Tables> IdentityMap<T> {
    /// A map of nothing; `None` where there is no table for it.
    pub fn new(mut tables: T) -> Option<Self> {
        let root = tables.fresh()?;
        Some(Self { tables, root })
    }

    /// The level 0 table.
    #[must_use]
    pub const fn root(&self) -> PhysAddr {
        self.root
    }

    /// The tables it is made of.
    pub const fn tables_mut(&mut self) -> &mut T {
        &mut self.tables
    }

    /// Maps all pages that `region` touches, where they are. What is mapped already stays
    /// as it is.
    ///
    /// # Errors
    /// [`BootError::Unmappable`] with the first page that isn't mapped, where no tables are
    /// left, or physical addresses end.
    pub fn map(&mut self, region: Region, permissions: Permissions) -> Result<(), BootError> {
        let Some(last) = region.size.checked_sub(1) else {
            return Ok(());
        };
        let first = region.base.0 / PAGE_SIZE * PAGE_SIZE;
        let last = region.base.0.saturating_add(last);
        let mut at = first;
        loop {
            let spanned = self
                .map_at(at, last, permissions)
                .ok_or(BootError::Unmappable(at))?;
            at = match at.checked_add(spanned) {
                Some(next) if next <= last => next,
                _ => return Ok(()),
            };
        }
    }

    /// Maps the page at `at`, or the block that begins there and doesn't reach behind
    /// `last`; answers how many bytes are mapped from `at` on.
    fn map_at(&mut self, at: u64, last: u64, permissions: Permissions) -> Option<u64> {
        if at >> 48 != 0 {
            return None;
        }
        let mut table = self.root;
        let mut level = TableLevel::L0;
        // A fourth level is always a page's.
        loop {
            let index = level.index(VirtAddr(at));
            let span = level.entry_span();
            let entry = self.tables.read(table, index);
            table = match entry.decode(level) {
                Entry::Table(next) => next,
                Entry::Invalid => {
                    let is_whole = at.is_multiple_of(span)
                        && at.checked_add(span - 1).is_some_and(|end| end <= last);
                    if level == TableLevel::L3 || level == TableLevel::L2 && is_whole {
                        let leaf = self.tables.leaf(level, PhysAddr(at), permissions).ok()?;
                        self.tables.write(table, index, leaf);
                        return Some(span);
                    }
                    let fresh = self.tables.fresh()?;
                    let pointer = Descriptor::table(fresh).ok()?;
                    self.tables.write(table, index, pointer);
                    fresh
                }
                // Mapped; it may be that it was by a block.
                _ => return Some(span - at % span),
            };
            level = level.next()?;
        }
    }
}

/// Entries of a table, for whoever keeps tables.
pub type Table = [u64; ENTRIES];

#[cfg(test)]
mod tests {
    use super::*;
    use capelin_vspace::{Access, Memory};
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    /// Tables at multiples of 4096 from `BASE` on, at most `limit`.
    #[derive(Debug)]
    struct Pool {
        tables: Vec<Table>,
        limit: usize,
    }

    const BASE: u64 = 0x7000_0000;
    const DATA: Permissions = Permissions::KERNEL_DATA;
    const TEXT: Permissions = Permissions::KERNEL_TEXT;
    const DEVICE: Permissions = Permissions::kernel(Access::ReadWrite, Memory::Device);

    fn number(table: PhysAddr) -> usize {
        usize::try_from((table.0 - BASE) / 4096).unwrap()
    }

    impl Tables for Pool {
        fn read(&self, table: PhysAddr, index: usize) -> Descriptor {
            Descriptor(self.tables[number(table)][index])
        }

        fn write(&mut self, table: PhysAddr, index: usize, descriptor: Descriptor) {
            let entry = &mut self.tables[number(table)][index];
            assert_eq!(*entry, 0, "a valid entry never changes");
            *entry = descriptor.0;
        }

        fn fresh(&mut self) -> Option<PhysAddr> {
            let address = BASE + 4096 * self.tables.len() as u64;
            let is_left = self.tables.len() < self.limit;
            is_left.then(|| {
                self.tables.push([0; ENTRIES]);
                PhysAddr(address)
            })
        }

        fn leaf(
            &self,
            level: TableLevel,
            address: PhysAddr,
            permissions: Permissions,
        ) -> Result<Descriptor, DescriptorError> {
            Descriptor::leaf(level, address, permissions)
        }
    }

    fn map_with(limit: usize) -> IdentityMap<Pool> {
        let tables = Vec::new();
        IdentityMap::new(Pool { tables, limit }).unwrap()
    }

    /// Where `address` is translated to, as the walker would.
    fn walk(map: &IdentityMap<Pool>, address: u64) -> Option<(u64, Permissions)> {
        let mut table = map.root();
        for level in TableLevel::ALL {
            let entry = map.tables.read(table, level.index(VirtAddr(address)));
            match entry.decode(level) {
                Entry::Table(next) => table = next,
                Entry::Leaf(base, permissions) => {
                    return Some((base.0 + address % level.entry_span(), permissions));
                }
                _ => return None,
            }
        }
        None
    }

    #[test]
    fn an_image_is_mapped_by_pages_and_memory_by_blocks() {
        let mut map = map_with(16);
        map.map(Region::new(0x4020_0000, 0x3000), TEXT).unwrap();
        map.map(Region::new(0x4020_3000, 0x10_0000), DATA).unwrap();
        map.map(Region::new(0x900_0004, 4), DEVICE).unwrap();
        assert_eq!(walk(&map, 0x4020_2fff), Some((0x4020_2fff, TEXT)));
        assert_eq!(walk(&map, 0x4020_3000), Some((0x4020_3000, DATA)));
        assert_eq!(walk(&map, 0x4030_2fff), Some((0x4030_2fff, DATA)));
        assert_eq!(walk(&map, 0x4030_3000), None);
        assert_eq!(walk(&map, 0x41ff_ffff), None);
        assert_eq!(walk(&map, 0x900_0fff), Some((0x900_0fff, DEVICE)));
        assert_eq!(walk(&map, 0x900_1000), None);
        let before = map.tables.tables.len();
        map.map(Region::new(0x4040_0000, 0x40_0000), DATA).unwrap();
        assert_eq!(map.tables.tables.len(), before, "blocks need no table");
        assert_eq!(walk(&map, 0x407f_ffff), Some((0x407f_ffff, DATA)));
        assert_eq!(walk(&map, 0x4080_0000), None);
        assert_eq!(walk(&map, 0x403f_ffff), None);
    }

    #[test]
    fn what_cannot_be_mapped_is_named() {
        let mut map = map_with(16);
        let beyond = map.map(Region::new((1 << 48) - 0x1000, 0x2000), DATA);
        assert_eq!(beyond, Err(BootError::Unmappable(1 << 48)));
        let last = map.map(Region::new(u64::MAX - 3, 16), DATA);
        assert_eq!(last, Err(BootError::Unmappable(!0xfff)));
        let mut map = map_with(5);
        map.map(Region::new(0x4000_0000, 0x1000), DATA).unwrap();
        let full = map.map(Region::new(0x401f_f000, 0x2000), DATA);
        assert_eq!(full, Ok(()), "one more table of pages");
        let full = map.map(Region::new(0x405f_f000, 0x2000), DATA);
        assert_eq!(full, Err(BootError::Unmappable(0x405f_f000)));
        assert_eq!(map.map(Region::new(0x4060_0000, 0), DATA), Ok(()));
        assert!(
            IdentityMap::new(Pool {
                tables: Vec::new(),
                limit: 0
            })
            .is_none()
        );
    }

    proptest! {
        /// Whatever is mapped in whatever order: the pages asked for are mapped as the
        /// first who asked wanted, and no others.
        #[test]
        fn exactly_what_was_asked_for_is_mapped(
            regions in prop::collection::vec((0_u64..2048, 1_u64..1200, any::<bool>()), 1..12),
        ) {
            let mut map = map_with(64);
            let mut pages: BTreeMap<u64, Permissions> = BTreeMap::new();
            for (first, count, is_text) in regions {
                let permissions = if is_text { TEXT } else { DATA };
                map.map(Region::new(first << 12 | 8, (count << 12) - 8), permissions).unwrap();
                for page in first..first + count {
                    pages.entry(page).or_insert(permissions);
                }
            }
            for page in 0..4096 {
                let expected = pages.get(&page).map(|&permissions| (page << 12 | 4, permissions));
                prop_assert_eq!(walk(&map, page << 12 | 4), expected, "page {:#x}", page);
            }
        }
    }
}
