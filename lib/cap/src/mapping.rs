//! What a mapping capability says.
//!
//! A mapping has the base and size of the frame (or of the table) that it maps,
//! so that it lies right behind that object's copies in the database, and is
//! found from there without a search. Its data words say where it is mapped:
//!
//! ```text
//! data[0]   the table's physical address
//! data[1]   first entry in bits 15:0, number of entries in bits 31:16,
//!           the kernel's own in bits 63:32
//! ```

use capelin_abi::PhysAddr;

use crate::slot::Slot;

/// Which entries of which table hold a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MappingData {
    /// The VNode's base.
    pub table: PhysAddr,
    /// The first entry: 0–511.
    pub first_entry: u16,
    /// How many entries: 1–512.
    pub entries: u16,
    /// The kernel's own.
    pub kernel: u32,
}

impl MappingData {
    /// As data words of a capability.
    #[must_use]
    pub const fn to_words(self) -> [u64; 2] {
        let entries = self.first_entry as u64 | (self.entries as u64) << 16;
        [self.table.0, entries | (self.kernel as u64) << 32]
    }

    /// From data words.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the fields are cut out on purpose"
    )]
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self {
            table: PhysAddr(words[0]),
            first_entry: words[1] as u16,
            entries: (words[1] >> 16) as u16,
            kernel: (words[1] >> 32) as u32,
        }
    }

    /// What the mapping capability in `slot` says.
    #[must_use]
    pub const fn of(slot: &Slot) -> Self {
        Self::from_words(slot.data())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_apart() {
        let data = MappingData {
            table: PhysAddr(0x4008_2000),
            first_entry: 511,
            entries: 512,
            kernel: 0xdead_beef,
        };
        assert_eq!(MappingData::from_words(data.to_words()), data);
        assert_eq!(data.to_words()[1], 0xdead_beef_0200_01ff);
    }
}
