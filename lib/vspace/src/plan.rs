//! Which leaves map a range of addresses: the one planner of all who map, kernels and programs.
//!
//! ```text
//! address  0x001f_f000         0x0020_0000                    0x0060_0000   0x0060_2000
//!             │ 1 page            │ 2 blocks                       │ 2 pages     │
//! piece       └ L3, entry 511     └ L2, entries 1 and 2            └ L3, entries 0 and 1
//! ```
//!
//! A [`Piece`] is a run of leaves in one table: what one Map invocation makes, or what a kernel
//! writes into one table. The planner knows nothing of tables that are there, of slots or of
//! memory; whoever asks makes the table of [`Piece::level`] that covers [`Piece::start`], if it
//! isn't there, and fills entries [`Piece::first`] to `first + count`.

use capelin_abi::{PAGE_SIZE, PhysAddr, VirtAddr};

use crate::geometry::{ENTRIES, TableLevel};

const PAGE: TableLevel = TableLevel::L3;
const BLOCK: TableLevel = TableLevel::L2;

/// Which leaves a range may be mapped by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaves {
    /// Pages of 4 KiB.
    Pages,
    /// Pages, and blocks of 2 MiB where both the address and what lies there are a multiple of
    /// that. This is the physical address of the first byte.
    Blocks(PhysAddr),
}

/// Why there is no plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlanError {
    /// An address, or the number of bytes, isn't a multiple of a page's.
    Unaligned,
    /// The addresses, virtual or physical, wrap around.
    OutOfRange,
}

/// A run of leaves in one table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// The level of the table: [`TableLevel::L3`] for pages, [`TableLevel::L2`] for blocks.
    pub level: TableLevel,
    /// The first address.
    pub start: VirtAddr,
    /// Bytes from the first of the whole range.
    pub offset: u64,
    /// The first entry, below 512.
    pub first: u16,
    /// How many, at least 1; they don't reach past the table.
    pub count: u16,
}

impl Piece {
    /// Bytes that it maps.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.count as u64 * self.level.entry_span()
    }

    /// The first address that its table translates.
    #[must_use]
    pub const fn table_start(self) -> VirtAddr {
        self.level.table_start(self.start)
    }

    /// Its leaves, one after the other: the address, and the bytes from the range's first.
    pub fn leaves(self) -> impl Iterator<Item = (VirtAddr, u64)> {
        let span = self.level.entry_span();
        (0..u64::from(self.count)).map(move |leaf| {
            let done = leaf * span;
            (VirtAddr(self.start.0 + done), self.offset + done)
        })
    }
}

/// The pieces of a range, ascending and without gaps.
#[derive(Clone, Debug)]
pub struct Plan {
    start: VirtAddr,
    bytes: u64,
    done: u64,
    has_blocks: bool,
}

impl Plan {
    /// How to map `bytes` bytes (none for 0) from `start` on.
    ///
    /// # Errors
    /// [`PlanError::Unaligned`] unless addresses and bytes are multiples of 4096;
    /// [`PlanError::OutOfRange`] where the end is past the last address.
    pub const fn new(start: VirtAddr, bytes: u64, leaves: Leaves) -> Result<Self, PlanError> {
        let target = match leaves {
            Leaves::Pages => PhysAddr(0),
            Leaves::Blocks(target) => target,
        };
        if !VirtAddr(start.0 | target.0 | bytes).is_aligned(PAGE_SIZE) {
            return Err(PlanError::Unaligned);
        }
        if start.checked_add(bytes).is_none() || target.checked_add(bytes).is_none() {
            return Err(PlanError::OutOfRange);
        }
        let has_blocks = match leaves {
            Leaves::Pages => false,
            // Both are multiples of a block's span at once, or never.
            Leaves::Blocks(_) => VirtAddr(start.0 ^ target.0).is_aligned(BLOCK.entry_span()),
        };
        Ok(Self {
            start,
            bytes,
            done: 0,
            has_blocks,
        })
    }

    /// The level of the leaf at `start`, and how many bytes from there on have leaves of it.
    const fn run(&self, start: VirtAddr, left: u64) -> (TableLevel, u64) {
        let span = BLOCK.entry_span();
        if !self.has_blocks {
            return (PAGE, left);
        }
        // Bytes until the next block may begin.
        let before = start.0.wrapping_neg() & (span - 1);
        if before != 0 {
            (PAGE, if before < left { before } else { left })
        } else if left < span {
            (PAGE, left)
        } else {
            (BLOCK, left & !(span - 1))
        }
    }
}

impl Iterator for Plan {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let (offset, left) = (self.done, self.bytes - self.done);
        if left == 0 {
            return None;
        }
        let start = VirtAddr(self.start.0 + offset);
        let (level, run) = self.run(start, left);
        let first = level.index(start);
        let count = (run >> level.shift()).min((ENTRIES - first) as u64);
        self.done += count << level.shift();
        let entries = u16::try_from(first).and_then(|first| Ok((first, u16::try_from(count)?)));
        // Both are at most 512.
        let (first, count) = entries.ok()?;
        Some(Piece {
            level,
            start,
            offset,
            first,
            count,
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    const MIB: u64 = 1 << 20;

    fn plan(start: u64, bytes: u64, leaves: Leaves) -> Vec<(TableLevel, u64, u64, u16, u16)> {
        let pieces = Plan::new(VirtAddr(start), bytes, leaves).unwrap();
        pieces
            .map(|p| (p.level, p.start.0, p.offset, p.first, p.count))
            .collect()
    }

    #[test]
    fn pages_are_split_at_tables() {
        assert_eq!(
            plan(2 * MIB - 4096, 0x3000, Leaves::Pages),
            [
                (PAGE, 2 * MIB - 4096, 0, 511, 1),
                (PAGE, 2 * MIB, 4096, 0, 2)
            ]
        );
        assert_eq!(
            plan(4 * MIB, 2 * MIB, Leaves::Pages),
            [(PAGE, 4 * MIB, 0, 0, 512)]
        );
    }

    #[test]
    fn blocks_are_used_between_pages() {
        let start = 2 * MIB - 4096;
        assert_eq!(
            plan(
                start,
                4096 + 4 * MIB + 0x2000,
                Leaves::Blocks(PhysAddr(start + 64 * MIB))
            ),
            [
                (PAGE, start, 0, 511, 1),
                (BLOCK, 2 * MIB, 4096, 1, 2),
                (PAGE, 6 * MIB, 4096 + 4 * MIB, 0, 2),
            ]
        );
        // A GiB's last block and the next one's first are in two tables.
        assert_eq!(
            plan(1022 * MIB, 4 * MIB, Leaves::Blocks(PhysAddr(0))),
            [
                (BLOCK, 1022 * MIB, 0, 511, 1),
                (BLOCK, 1024 * MIB, 2 * MIB, 0, 1)
            ]
        );
    }

    #[test]
    fn there_are_no_blocks_where_addresses_and_memory_dont_agree() {
        assert_eq!(
            plan(2 * MIB, 2 * MIB, Leaves::Blocks(PhysAddr(4096))),
            [(PAGE, 2 * MIB, 0, 0, 512)]
        );
    }

    #[test]
    fn what_isnt_whole_pages_or_wraps_is_refused() {
        let new = |start, bytes, leaves| Plan::new(VirtAddr(start), bytes, leaves).map(drop);
        let odd = Err(PlanError::Unaligned);
        assert_eq!(new(1, 4096, Leaves::Pages), odd);
        assert_eq!(new(4096, 4095, Leaves::Pages), odd);
        assert_eq!(new(4096, 4096, Leaves::Blocks(PhysAddr(8))), odd);
        let wraps = Err(PlanError::OutOfRange);
        let top = u64::MAX - 4095;
        assert_eq!(new(top, 4096, Leaves::Pages), wraps);
        assert_eq!(new(0, 4096, Leaves::Blocks(PhysAddr(top))), wraps);
        assert_eq!(new(top - 4096, 4096, Leaves::Pages), Ok(()));
        assert_eq!(plan(top, 0, Leaves::Pages), []);
    }

    /// Addresses near where tables and the halves end.
    fn addresses() -> impl Strategy<Value = u64> {
        let bases = prop_oneof![
            Just(0_u64),
            Just(1 << 30),
            Just((1 << 48) - (8 << 20)),
            Just(0xffff_8000_0000_0000),
            Just(0xffff_ffff_ff80_0000)
        ];
        (bases, 0..1500_u64).prop_map(|(base, page)| base + page * PAGE_SIZE)
    }

    proptest! {
        /// Against the definition, page by page.
        #[test]
        fn a_plan_maps_each_page_once_by_the_largest_leaf(
            start in addresses(),
            pages in 0..2500_u64,
            target in addresses(),
            by_blocks in any::<bool>(),
        ) {
            let bytes = pages * PAGE_SIZE;
            let leaves = if by_blocks { Leaves::Blocks(PhysAddr(target)) } else { Leaves::Pages };
            let ends = [Some(start), by_blocks.then_some(target)];
            let wraps = ends.into_iter().flatten().any(|at| at.checked_add(bytes).is_none());
            let plan = Plan::new(VirtAddr(start), bytes, leaves);
            prop_assert_eq!(plan.is_err(), wraps);
            let Ok(plan) = plan else { return Ok(()) };

            let span = 2 * MIB;
            let mut at = 0;
            let mut before: Option<Piece> = None;
            for piece in plan {
                prop_assert_eq!((piece.offset, piece.start.0), (at, start + at));
                prop_assert_eq!(usize::from(piece.first), piece.level.index(piece.start));
                prop_assert!(piece.count > 0);
                prop_assert!(usize::from(piece.first + piece.count) <= ENTRIES);
                let table = piece.table_start().0;
                let same_table = |p: Piece| p.level == piece.level && p.table_start().0 == table;
                prop_assert!(!before.is_some_and(same_table), "two pieces could be one");
                prop_assert_eq!(piece.leaves().count(), usize::from(piece.count));
                for (address, offset) in piece.leaves() {
                    prop_assert_eq!((offset, address.0), (at, start + at));
                    prop_assert_eq!(piece.level.table_start(address).0, table);
                    let fits = by_blocks
                        && address.0 % span == 0
                        && (target + offset) % span == 0
                        && bytes - offset >= span;
                    prop_assert_eq!(piece.level, if fits { BLOCK } else { PAGE });
                    at += piece.level.entry_span();
                }
                prop_assert_eq!(piece.offset + piece.bytes(), at);
                before = Some(piece);
            }
            prop_assert_eq!(at, bytes);
        }
    }
}
