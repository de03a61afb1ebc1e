//! The word that user space carries when a capability goes to another kernel.

use crate::KernelId;
use crate::table_name::TableName;

/// Says which offer of which kernel is meant: what it is, only the kernels know.
///
/// | bits | hold |
/// | --- | --- |
/// | 8:0 | the kernel that offers |
/// | 15:9 | the number of the entry in its outbox |
/// | 63:16 | the entry's use, never 0, so that no ticket is 0 |
///
/// No two offers have the same: a use never comes back ([`crate::LAST_USE`]).
///
/// Whoever makes one up can at most name an offer that is made to his own kernel,
/// which any holder of its Kernel capability may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Ticket(TableName);

impl Ticket {
    /// The ticket for `entry` of `kernel`'s outbox in its use `nonce`.
    #[must_use]
    pub const fn new(kernel: KernelId, entry: u16, nonce: u64) -> Self {
        Self(TableName::new(kernel, entry, nonce))
    }

    /// From a word that user space gave; `None` for 0.
    #[must_use]
    pub const fn from_word(word: u64) -> Option<Self> {
        if word == 0 {
            None
        } else {
            Some(Self(TableName(word)))
        }
    }

    /// As a word.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        self.0.0
    }

    /// The kernel that offers. It may be one that can't exist.
    #[must_use]
    pub const fn kernel(self) -> KernelId {
        self.0.kernel()
    }

    /// The number of the entry. There may be none.
    #[must_use]
    pub const fn entry(self) -> u16 {
        self.0.place()
    }

    /// The entry's use.
    #[must_use]
    pub const fn nonce(self) -> u64 {
        self.0.number()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_gives_back_what_it_was_made_of() {
        let ticket = Ticket::new(KernelId(511), 127, 0xfedc_ba98_7654);
        assert_eq!(ticket.kernel(), KernelId(511));
        assert_eq!(ticket.entry(), 127);
        assert_eq!(ticket.nonce(), 0xfedc_ba98_7654);
        assert_eq!(Ticket::from_word(ticket.to_word()), Some(ticket));
        assert_eq!(Ticket::from_word(0), None);
    }
}
