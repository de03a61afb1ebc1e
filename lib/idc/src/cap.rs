//! Capabilities as arguments: the name of a slot, and how it goes.

use capelin_abi::CapAddress;
use serde::{Deserialize, Serialize};

/// What happens to the sender's capability.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CapMode {
    /// The receiver gets a copy.
    #[default]
    Copy,
    /// It leaves the sender, whose slot is empty afterwards.
    Give,
}

/// A capability that goes with a message.
///
/// It only names a slot: dropping it frees nothing. Whoever receives one owns
/// the slot it lies in (the runtime's `OwnedCap::adopt` takes it over).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cap {
    address: CapAddress,
    mode: CapMode,
    keep_revoke: bool,
}

impl Cap {
    /// Send a copy of what lies in slot `address`.
    #[must_use]
    pub const fn copy(address: CapAddress) -> Self {
        Self {
            address,
            mode: CapMode::Copy,
            keep_revoke: false,
        }
    }

    /// Send what lies in slot `address` away; the transport frees the slot.
    #[must_use]
    pub const fn give(address: CapAddress) -> Self {
        Self {
            address,
            mode: CapMode::Give,
            keep_revoke: false,
        }
    }

    /// Let the receiver revoke, which a transfer takes from it otherwise.
    #[must_use]
    pub const fn keep_revoke(mut self) -> Self {
        self.keep_revoke = true;
        self
    }

    /// The slot.
    #[must_use]
    pub const fn address(self) -> CapAddress {
        self.address
    }

    /// What happens to the sender's capability.
    #[must_use]
    pub const fn mode(self) -> CapMode {
        self.mode
    }

    /// Whether the receiver is to be able to revoke.
    #[must_use]
    pub const fn keeps_revoke(self) -> bool {
        self.keep_revoke
    }
}

const PRESENT: u64 = 1 << 63;
const GIVEN: u64 = 1 << 32;
const KEEP_REVOKE: u64 = 1 << 33;

impl Cap {
    /// A capability, or none, in a word: fragments hold it so, since they are copied often.
    pub(crate) fn to_word(cap: Option<Self>) -> u64 {
        let Some(cap) = cap else { return 0 };
        let given = if cap.mode == CapMode::Give { GIVEN } else { 0 };
        let keep_revoke = if cap.keep_revoke { KEEP_REVOKE } else { 0 };
        PRESENT | given | keep_revoke | u64::from(cap.address.0)
    }

    /// What [`Cap::to_word`] made a word of.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the field is cut out on purpose"
    )]
    pub(crate) fn from_word(word: u64) -> Option<Self> {
        (word & PRESENT != 0).then_some(Self {
            address: CapAddress(word as u32),
            mode: if word & GIVEN != 0 {
                CapMode::Give
            } else {
                CapMode::Copy
            },
            keep_revoke: word & KEEP_REVOKE != 0,
        })
    }
}

impl From<CapAddress> for Cap {
    fn from(address: CapAddress) -> Self {
        Self::copy(address)
    }
}

/// Stands in a message's bytes where a [`Cap`] stands in the signature. It has
/// no bytes of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CapMark;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_survive_the_word() {
        let slot = CapAddress(u32::MAX);
        for cap in [
            None,
            Some(Cap::copy(CapAddress::NULL)),
            Some(Cap::copy(slot)),
            Some(Cap::give(slot)),
            Some(Cap::give(slot).keep_revoke()),
        ] {
            assert_eq!(Cap::from_word(Cap::to_word(cap)), cap);
        }
    }
}
