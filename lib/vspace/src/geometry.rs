//! Levels of the table walk: what an entry spans and which entry an address uses
//! (Arm ARM D8.2.6, table D8-16, 4 KiB granule).

use capelin_abi::VirtAddr;

/// Entries in a table of any level.
pub const ENTRIES: usize = 512;
/// End of the addresses that `TTBR0_EL1` translates: 2^48.
pub const USER_END: u64 = 1 << 48;

/// A level of the table walk. Level 0 is the root.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum TableLevel {
    /// The root; an entry spans 512 GiB and is always a table.
    L0 = 0,
    /// An entry spans 1 GiB.
    L1 = 1,
    /// An entry spans 2 MiB.
    L2 = 2,
    /// An entry spans 4 KiB and is always a page.
    L3 = 3,
}

impl TableLevel {
    /// All levels, root first.
    pub const ALL: [Self; 4] = [Self::L0, Self::L1, Self::L2, Self::L3];

    /// Level `number`, or `None` above 3.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::L0),
            1 => Some(Self::L1),
            2 => Some(Self::L2),
            3 => Some(Self::L3),
            _ => None,
        }
    }

    /// The level of the tables that this level's entries point to.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        Self::new(self as u8 + 1)
    }

    /// The lowest address bit that selects this level's entry.
    #[must_use]
    pub const fn shift(self) -> u32 {
        39 - 9 * self as u32
    }

    /// Bytes of address space that one entry spans.
    #[must_use]
    pub const fn entry_span(self) -> u64 {
        1 << self.shift()
    }

    /// Bytes of address space that one table spans.
    #[must_use]
    pub const fn table_span(self) -> u64 {
        self.entry_span() << 9
    }

    /// The first address that is translated by the same table of this level as `address`.
    #[must_use]
    pub const fn table_start(self, address: VirtAddr) -> VirtAddr {
        address.align_down(self.table_span())
    }

    /// The entry of this level's table that translates `address`, 0–511.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "nine bits are left after the mask"
    )]
    pub const fn index(self, address: VirtAddr) -> usize {
        (address.0 >> self.shift()) as usize & (ENTRIES - 1)
    }
}

/// Whether `address..address + bytes` lies below [`USER_END`] without wrapping.
#[must_use]
pub const fn is_user_range(address: VirtAddr, bytes: u64) -> bool {
    match address.0.checked_add(bytes) {
        Some(end) => end <= USER_END,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_those_of_the_manual() {
        assert_eq!(
            TableLevel::ALL.map(TableLevel::entry_span),
            [512 << 30, 1 << 30, 2 << 20, 4096]
        );
        assert_eq!(TableLevel::L0.table_span(), USER_END);
    }

    #[test]
    fn an_address_is_the_sum_of_its_indices() {
        for raw in [0_u64, 0x1234_5678_9abc, USER_END - 1, 0xffff_8000_4020_1000] {
            let sum: u64 = TableLevel::ALL
                .iter()
                .map(|level| level.index(VirtAddr(raw)) as u64 * level.entry_span())
                .sum();
            assert_eq!(sum | raw & 0xfff, raw & (USER_END - 1));
        }
    }

    #[test]
    fn user_ranges_end_at_two_to_the_48() {
        assert!(is_user_range(VirtAddr(USER_END - 8), 8));
        assert!(!is_user_range(VirtAddr(USER_END - 8), 9));
        assert!(!is_user_range(VirtAddr(8), u64::MAX));
        assert!(!is_user_range(VirtAddr(u64::MAX), 0));
    }

    #[test]
    fn levels_end_at_three() {
        assert_eq!(TableLevel::L2.next(), Some(TableLevel::L3));
        assert_eq!(TableLevel::L3.next(), None);
        assert_eq!(TableLevel::new(4), None);
    }
}
