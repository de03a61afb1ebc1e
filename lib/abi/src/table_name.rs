//! Words that name an entry in a table of some kernel's, for one use of it.

use crate::KernelId;

/// The layout that [`crate::Ticket`] and [`crate::OperationId`] share.
///
/// | bits | hold |
/// | --- | --- |
/// | 15:0 | the kernel whose table it is |
/// | 31:16 | the entry's place there |
/// | 63:32 | the use, never 0, so that no word is 0 |
///
/// Any word may come from user space: kernel, place and use may be such as don't exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(transparent)]
pub(crate) struct TableName(pub(crate) u64);

impl TableName {
    pub(crate) const fn new(kernel: KernelId, place: u16, number: u32) -> Self {
        Self(kernel.0 as u64 | (place as u64) << 16 | (number as u64) << 32)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the field is cut out on purpose"
    )]
    pub(crate) const fn kernel(self) -> KernelId {
        KernelId(self.0 as u16)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the field is cut out on purpose"
    )]
    pub(crate) const fn place(self) -> u16 {
        (self.0 >> 16) as u16
    }

    pub(crate) const fn number(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OperationId, Ticket};

    #[test]
    fn a_name_gives_back_what_it_was_made_of() {
        let name = TableName::new(KernelId(511), 127, 0xfedc_ba98);
        assert_eq!(name.kernel(), KernelId(511));
        assert_eq!((name.place(), name.number()), (127, 0xfedc_ba98));
        assert_eq!(name.0, 0xfedc_ba98_007f_01ff, "the layout that is promised");
        let ticket = Ticket::new(KernelId(511), 127, 0xfedc_ba98);
        let operation = OperationId::new(KernelId(511), 127, 0xfedc_ba98);
        assert_eq!((ticket.to_word(), operation.0), (name.0, name.0));
    }
}
