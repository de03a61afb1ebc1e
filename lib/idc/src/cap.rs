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

impl From<CapAddress> for Cap {
    fn from(address: CapAddress) -> Self {
        Self::copy(address)
    }
}

/// Stands in a message's bytes where a [`Cap`] stands in the signature. It has
/// no bytes of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CapMark;
