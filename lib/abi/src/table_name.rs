//! Words that name an entry in a table of some kernel's, for one use of it.

use crate::KernelId;

/// The layout that [`crate::Ticket`] and [`crate::OperationId`] share.
///
/// | bits | hold |
/// | --- | --- |
/// | 8:0 | the kernel whose table it is |
/// | 15:9 | the entry's place there |
/// | 63:16 | the use, never 0, so that no word is 0 |
///
/// A use never comes back: there are 2⁴⁸ − 1, which is nine years of a million a second, and
/// whoever gives them out gives out none after the last ([`LAST_USE`]).
///
/// Any word may come from user space: kernel, place and use may be such as don't exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(transparent)]
pub(crate) struct TableName(pub(crate) u64);

/// Bits of the kernel.
const KERNEL: u32 = 9;
/// Bits of the place.
const PLACE: u32 = 7;
/// Bits of the use.
const NUMBER: u32 = u64::BITS - KERNEL - PLACE;

const _: () = assert!(KernelId::LIMIT as u64 <= 1 << KERNEL);

/// How many places such a name can tell apart. Tables have no more.
pub const NAMED_PLACES: usize = 1 << PLACE;

/// The last use that a name can tell from those before: none comes after it.
pub const LAST_USE: u64 = (1 << NUMBER) - 1;

impl TableName {
    /// What doesn't fit into its field is cut off.
    pub(crate) const fn new(kernel: KernelId, place: u16, number: u64) -> Self {
        let kernel = kernel.0 as u64 & ((1 << KERNEL) - 1);
        let place = place as u64 & ((1 << PLACE) - 1);
        Self(kernel | place << KERNEL | number << (KERNEL + PLACE))
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the field is cut out on purpose"
    )]
    pub(crate) const fn kernel(self) -> KernelId {
        KernelId(self.0 as u16 & ((1 << KERNEL) - 1))
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the field is cut out on purpose"
    )]
    pub(crate) const fn place(self) -> u16 {
        (self.0 >> KERNEL) as u16 & ((1 << PLACE) - 1)
    }

    pub(crate) const fn number(self) -> u64 {
        self.0 >> (KERNEL + PLACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OperationId, Ticket};

    #[test]
    fn a_name_gives_back_what_it_was_made_of() {
        const USE: u64 = 0xfedc_ba98_7654;
        let name = TableName::new(KernelId(511), 6, USE);
        assert_eq!(name.kernel(), KernelId(511));
        assert_eq!((name.place(), name.number()), (6, USE));
        assert_eq!(name.0, 0xfedc_ba98_7654_0dff, "the layout that is promised");
        let ticket = Ticket::new(KernelId(511), 6, USE);
        let operation = OperationId::new(KernelId(511), 6, USE);
        assert_eq!((ticket.to_word(), operation.0), (name.0, name.0));
    }
    #[test]
    fn fields_are_apart_to_their_last_values() {
        let all = [
            TableName::new(KernelId(0), 0, 1),
            TableName::new(KernelId(511), 0, 1),
            TableName::new(KernelId(0), 127, 1),
            TableName::new(KernelId(511), 127, 1),
            TableName::new(KernelId(0), 0, LAST_USE),
            TableName::new(KernelId(511), 127, LAST_USE),
        ];
        for (at, one) in all.iter().enumerate() {
            let parts = TableName::new(one.kernel(), one.place(), one.number());
            assert_eq!(parts, *one);
            assert!(!all[..at].contains(one));
        }
        assert_eq!(all[5].0, u64::MAX);
        // The use beyond the last would be none.
        assert_eq!(TableName::new(KernelId(0), 0, LAST_USE + 1).0, 0);
    }
}
