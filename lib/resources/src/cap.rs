//! Capabilities that this program owns.

use capelin_abi::{CapAddress, CapRef, Rights};
use capelin_idc::Cap;

use crate::{RtError, slots, sys};

/// A slot with a capability in it; dropping it deletes the capability and frees the slot.
#[derive(PartialEq, Eq, Debug)]
pub struct OwnedCap(CapAddress);

impl OwnedCap {
    /// Takes over a slot from [`slots::allocate`], with what lies in it: a capability that came
    /// with a message, or that was made there.
    #[must_use]
    pub const fn adopt(address: CapAddress) -> Self {
        Self(address)
    }

    /// Takes over a capability that came with a message.
    #[must_use]
    pub const fn received(cap: Cap) -> Self {
        Self(cap.leak())
    }

    /// Fills a fresh slot with what `make` makes there.
    ///
    /// # Errors
    /// Those of [`slots::allocate`] and of `make`.
    pub fn make<E: Into<RtError>>(
        make: impl FnOnce(CapAddress) -> Result<(), E>,
    ) -> Result<Self, RtError> {
        let address = slots::allocate()?;
        match make(address) {
            Ok(()) => Ok(Self(address)),
            Err(error) => {
                slots::free(address);
                Err(error.into())
            }
        }
    }

    /// A copy of `source`.
    ///
    /// # Errors
    /// Those of [`slots::allocate`] and of [`sys::cspace::copy`].
    pub fn copy_of(source: CapAddress) -> Result<Self, RtError> {
        Self::make(|slot| {
            sys::cspace::copy(sys::cspace::OWN, slot.into(), source.into(), Rights::all())
        })
    }

    /// A copy of endpoint `source`, which has no badge, with `badge`, which isn't 0. It can be
    /// sent to and passed on.
    ///
    /// # Errors
    /// Those of [`slots::allocate`] and of [`sys::cspace::mint_badge`].
    pub fn badged(source: CapAddress, badge: u64) -> Result<Self, RtError> {
        Self::badged_with(source, badge, Rights::WRITE | Rights::GRANT)
    }

    /// As [`OwnedCap::badged`], with those of the rights that `source` has.
    ///
    /// # Errors
    /// As [`OwnedCap::badged`].
    pub fn badged_with(source: CapAddress, badge: u64, rights: Rights) -> Result<Self, RtError> {
        let own = sys::cspace::OWN;
        Self::make(|slot| sys::cspace::mint_badge(own, slot.into(), source.into(), rights, badge))
    }

    /// Where it lies.
    #[must_use]
    pub const fn address(&self) -> CapAddress {
        self.0
    }

    /// As system calls take it.
    #[must_use]
    pub const fn reference(&self) -> CapRef {
        CapRef::l2(self.0)
    }

    /// To be sent along with a message, as a copy.
    #[must_use]
    pub const fn to_send(&self) -> Cap {
        Cap::copy(self.0)
    }

    /// To be sent away with a message, or disposed of with it.
    #[must_use]
    pub const fn give(self) -> Cap {
        Cap::owned(self.leak(), delete)
    }

    /// Keeps it for as long as the program runs, or until its kernel moves it away: nobody deletes
    /// it any more, and nothing else uses its slot.
    pub const fn keep(self) {
        core::mem::forget(self);
    }

    /// Gives up ownership: the capability is whose the address is from now on.
    #[must_use]
    pub const fn leak(self) -> CapAddress {
        let address = self.0;
        core::mem::forget(self);
        address
    }

    /// Says that it is gone already, with what it was made from: frees its slot without a call.
    pub fn forget(self) {
        slots::free(self.leak());
    }

    /// What it is.
    ///
    /// # Errors
    /// Those of [`sys::cspace::identify`]: that it is gone, with what it was made from.
    pub fn identify(&self) -> Result<sys::cspace::Identity, RtError> {
        Ok(sys::cspace::identify(self.reference())?)
    }
}

impl Drop for OwnedCap {
    fn drop(&mut self) {
        delete(self.0);
    }
}

/// Deletes what lies in slot `address`, from [`slots::allocate`], and frees the slot. A slot that
/// can't be emptied (the last capability to memory) is never used again.
pub(crate) fn delete(address: CapAddress) {
    use capelin_abi::SysError::{EmptySlot, NoSuchSlot};
    match sys::cspace::delete(sys::cspace::OWN, address.into()) {
        Ok(()) | Err(EmptySlot | NoSuchSlot) => slots::free(address),
        Err(_) => {}
    }
}
