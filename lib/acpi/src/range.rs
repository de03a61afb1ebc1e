//! Ranges of physical addresses, and what claims them.

use core::fmt;

/// A range of physical addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Range {
    /// First address.
    pub base: u64,
    /// Length in bytes.
    pub size: u64,
}

impl Range {
    /// Bits of the longest physical address (Arm ARM, `FEAT_LPA`).
    pub const ADDRESS_BITS: u32 = 52;

    /// `size` bytes at `base`.
    #[must_use]
    pub const fn new(base: u64, size: u64) -> Self {
        Self { base, size }
    }

    /// The address behind it.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.base.saturating_add(self.size)
    }

    /// Whether it has a byte, and all of them have physical addresses.
    #[must_use]
    pub const fn is_possible(&self) -> bool {
        self.size != 0
            && self.base < 1 << Self::ADDRESS_BITS
            && self.size <= (1 << Self::ADDRESS_BITS) - self.base
    }

    /// Whether registers of a device can be there: not at 0, which stands for
    /// none, and at the start of a page.
    #[must_use]
    pub const fn is_possible_device(&self) -> bool {
        self.is_possible() && self.base != 0 && self.base.is_multiple_of(0x1000)
    }

    /// Whether the two have an address in common.
    #[must_use]
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.base < other.end() && other.base < self.end()
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}+{:#x}", self.base, self.size)
    }
}
