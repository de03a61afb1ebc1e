//! Memory that can be taken back whole.

use capelin_abi::{ObjectType, PAGE_SIZE};
use capelin_rt::{
    OwnedCap, RtError,
    memory::{self, Place},
    slots, sys,
};

/// A `Ram` or `HomeRam` capability, for one domain.
///
/// Dropping it deletes the capability, and leaves alone what has been made from it; take that back
/// with [`Chunk::reclaim`].
#[derive(Debug)]
pub struct Chunk {
    cap: OwnedCap,
    bytes: u64,
    /// Where in this program's own memory it came from.
    place: Option<Place>,
}

impl Chunk {
    /// `bytes` bytes of this program's home memory.
    ///
    /// # Errors
    /// [`RtError::OutOfHomeMemory`], [`RtError::OutOfSlots`].
    pub fn home(bytes: u64) -> Result<Self, RtError> {
        let slot = slots::allocate()?;
        let own = sys::cspace::OWN;
        let place = memory::make_object(own, slot.into(), ObjectType::HomeRam, bytes);
        Self::made(slot, bytes, place)
    }

    /// `bytes` bytes of this program's RAM, or of the memory service's.
    ///
    /// # Errors
    /// As [`memory::ensure`]; [`RtError::OutOfSlots`].
    pub async fn ram(bytes: u64) -> Result<Self, RtError> {
        match Self::own_ram(bytes) {
            Err(RtError::OutOfMemory) => {
                memory::ensure(bytes).await?;
                Self::own_ram(bytes)
            }
            other => other,
        }
    }

    fn own_ram(bytes: u64) -> Result<Self, RtError> {
        let slot = slots::allocate()?;
        let own = sys::cspace::OWN;
        let place = memory::make_ram_object(own, slot.into(), ObjectType::Ram, bytes, PAGE_SIZE);
        Self::made(slot, bytes, place)
    }

    fn made(
        slot: capelin_abi::CapAddress,
        bytes: u64,
        place: Result<Place, RtError>,
    ) -> Result<Self, RtError> {
        match place {
            Ok(place) => Ok(Self {
                cap: OwnedCap::adopt(slot),
                bytes,
                place: Some(place),
            }),
            Err(error) => {
                slots::free(slot);
                Err(error)
            }
        }
    }

    /// Memory that the caller was given.
    ///
    /// # Errors
    /// [`RtError::WrongType`] unless it is `Ram` or `HomeRam`; as [`OwnedCap::identify`].
    pub fn given(cap: OwnedCap) -> Result<Self, RtError> {
        let identity = cap.identify()?;
        match identity.kind {
            ObjectType::Ram | ObjectType::HomeRam => Ok(Self {
                cap,
                bytes: identity.size,
                place: None,
            }),
            _ => Err(RtError::WrongType),
        }
    }

    /// Its size.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its capability.
    #[must_use]
    pub const fn cap(&self) -> &OwnedCap {
        &self.cap
    }

    /// Deletes everything that was made from it, in whoever's hands. Memory from this program's
    /// own goes back there; memory that the caller gave is returned.
    ///
    /// # Errors
    /// As [`sys::cspace::revoke`]:
    /// [`SysError::ThroughMonitor`](capelin_abi::SysError::ThroughMonitor) where other cores have a
    /// part in it. It isn't used again then.
    pub fn reclaim(self) -> Result<Option<OwnedCap>, RtError> {
        sys::cspace::revoke(sys::cspace::OWN, self.cap.reference())?;
        match self.place {
            Some(place) => {
                drop(self.cap);
                memory::release(place);
                Ok(None)
            }
            None => Ok(Some(self.cap)),
        }
    }
}
