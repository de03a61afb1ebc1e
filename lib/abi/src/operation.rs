//! The word that names an operation between kernels.

use crate::KernelId;
use crate::table_name::TableName;

/// Names an operation that holds something in a kernel: a lock, or a revoke that several
/// kernels have a part in. Its kernel gives it out, and no two operations have the same:
/// a number never comes back ([`crate::LAST_USE`]).
///
/// | bits | hold |
/// | --- | --- |
/// | 8:0 | the kernel that began it |
/// | 15:9 | its place among the operations there |
/// | 63:16 | how many that kernel had begun, never 0, so that no id is 0 |
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[repr(transparent)]
pub struct OperationId(pub u64);

impl OperationId {
    /// The operation in `place` of `kernel`, the `number`th that it begins.
    #[must_use]
    pub const fn new(kernel: KernelId, place: u16, number: u64) -> Self {
        Self(TableName::new(kernel, place, number).0)
    }

    /// The kernel that began it. It may be one that can't exist.
    #[must_use]
    pub const fn kernel(self) -> KernelId {
        TableName(self.0).kernel()
    }

    /// Its place among those of its kernel. There may be no such.
    #[must_use]
    pub const fn place(self) -> u16 {
        TableName(self.0).place()
    }

    /// How many its kernel had begun.
    #[must_use]
    pub const fn number(self) -> u64 {
        TableName(self.0).number()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_gives_back_what_it_was_made_of() {
        let id = OperationId::new(KernelId(511), 15, 0xfedc_ba98_7654);
        assert_eq!(id.kernel(), KernelId(511));
        assert_eq!(id.place(), 15);
        assert_eq!(id.number(), 0xfedc_ba98_7654);
    }
}
