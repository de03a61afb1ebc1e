//! Capabilities as arguments: the name of a slot, and how it goes.

use capelin_abi::CapAddress;
use serde::{Deserialize, Serialize};

/// What happens to the sender's capability.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CapMode {
    /// The receiver gets a copy.
    Copy,
    /// It leaves the sender, whose slot is empty afterwards.
    Give,
}

/// Deletes the capability in a slot, and frees the slot.
pub type Disposer = fn(CapAddress);

/// A capability that goes with a message.
///
/// It is *lent* or *owned*. Of one that is lent, by whoever owns the slot, a copy is sent. One that is
/// owned is given away; until then, dropping it disposes of the capability and its slot. Whatever
/// came with a message is owned by whom it came to, so what nobody takes is nowhere forgotten: not by
/// a service that refuses, nor by a message that can't be sent, nor with a call that nobody waits for.
#[derive(Debug)]
pub struct Cap {
    address: CapAddress,
    keep_revoke: bool,
    /// Of one that is owned.
    dispose: Option<Disposer>,
}

impl Cap {
    /// Lends what lies in slot `address`: a copy of it is sent.
    #[must_use]
    pub const fn copy(address: CapAddress) -> Self {
        Self {
            address,
            keep_revoke: false,
            dispose: None,
        }
    }

    /// What lies in slot `address`, which nobody else owns: it is sent away, or else `dispose` deletes
    /// it and frees the slot.
    #[must_use]
    pub const fn owned(address: CapAddress, dispose: Disposer) -> Self {
        Self {
            address,
            keep_revoke: false,
            dispose: Some(dispose),
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
    pub const fn address(&self) -> CapAddress {
        self.address
    }

    /// What happens to the sender's capability.
    #[must_use]
    pub const fn mode(&self) -> CapMode {
        match self.dispose {
            None => CapMode::Copy,
            Some(_) => CapMode::Give,
        }
    }

    /// Whether the receiver is to be able to revoke.
    #[must_use]
    pub const fn keeps_revoke(&self) -> bool {
        self.keep_revoke
    }

    /// Gives up ownership: capability and slot are whose the address is from now on; the transport's,
    /// when it has been sent.
    pub const fn leak(self) -> CapAddress {
        let address = self.address;
        core::mem::forget(self);
        address
    }

    /// The same, for a transport that hands it to the other side of its own program.
    pub(crate) const fn twin(&self) -> Self {
        Self { ..*self }
    }
}

impl Drop for Cap {
    fn drop(&mut self) {
        if let Some(dispose) = self.dispose {
            dispose(self.address);
        }
    }
}

/// Capabilities are equal that go in the same way from the same slot.
impl PartialEq for Cap {
    fn eq(&self, other: &Self) -> bool {
        let parts = |cap: &Self| (cap.address, cap.keep_revoke, cap.mode());
        parts(self) == parts(other)
    }
}

impl Eq for Cap {}

/// Stands in a message's bytes where a [`Cap`] stands in the signature. It has
/// no bytes of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CapMark;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use core::cell::RefCell;
    use std::thread_local;

    thread_local! {
        static DISPOSED: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    }

    /// A capability whose disposal is noted.
    pub(crate) fn owned(slot: u32) -> Cap {
        Cap::owned(CapAddress(slot), |address| {
            DISPOSED.with_borrow_mut(|slots| slots.push(address.0));
        })
    }

    /// The slots of those that were disposed of since it was last asked.
    pub(crate) fn disposed() -> Vec<u32> {
        DISPOSED.take()
    }

    #[test]
    fn what_is_owned_is_disposed_of_once_and_what_is_lent_is_not() {
        drop(Cap::copy(CapAddress(1)));
        assert_eq!(disposed(), [0; 0]);
        drop(owned(2));
        drop(owned(3).keep_revoke());
        assert_eq!(disposed(), [2, 3]);
        assert_eq!(owned(4).leak(), CapAddress(4));
        assert_eq!(disposed(), [0; 0]);
    }

    #[test]
    fn owned_ones_are_given_and_lent_ones_copied() {
        assert_eq!(Cap::copy(CapAddress(1)).mode(), CapMode::Copy);
        assert_eq!(owned(1).mode(), CapMode::Give);
        assert_ne!(owned(1), Cap::copy(CapAddress(1)));
        assert_ne!(owned(1), owned(1).keep_revoke());
        assert_ne!(owned(1), owned(2));
        assert_eq!(owned(1), owned(1));
    }
}
