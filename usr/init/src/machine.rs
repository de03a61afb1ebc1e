//! Device registers and interrupts as capabilities.

use capelin_abi::{ObjectType, PAGE_SIZE, boot::PhysRegion, layout};
use capelin_rt::{OwnedCap, RtError, boot, sys};

/// Registers of a device.
pub(crate) struct Registers {
    /// A DevFrame of [`Self::pages`].
    pub(crate) frame: OwnedCap,
    /// The whole pages that hold them.
    pub(crate) pages: PhysRegion,
    /// Bytes from its start to the first register.
    pub(crate) offset: u64,
    /// Bytes of registers.
    pub(crate) bytes: u64,
}

impl Registers {
    /// The registers at `region`, which lie in the same pages: what can be handed over is whole pages, of
    /// which the kernel makes one DevFrame.
    ///
    /// # Errors
    /// As [`OwnedCap::copy_of`].
    pub(crate) fn beside(&self, region: PhysRegion) -> Result<Self, RtError> {
        Ok(Self {
            frame: OwnedCap::copy_of(self.frame.address())?,
            pages: self.pages,
            offset: region.base - self.pages.base,
            bytes: region.bytes,
        })
    }
}

/// The whole pages that hold `region`.
///
/// # Errors
/// [`RtError::InvalidSize`] when they end beyond all addresses.
pub(crate) fn pages(region: PhysRegion) -> Result<PhysRegion, RtError> {
    let base = region.base / PAGE_SIZE * PAGE_SIZE;
    let end = region
        .base
        .checked_add(region.bytes.max(1))
        .and_then(|end| end.checked_next_multiple_of(PAGE_SIZE))
        .ok_or(RtError::InvalidSize)?;
    Ok(PhysRegion {
        base,
        bytes: end - base,
    })
}

/// The registers at `region`.
///
/// # Errors
/// [`RtError::NoService`] when that isn't all device addresses, which only firmware that places
/// devices in memory could cause; as [`sys::cspace::mint_range`] and [`OwnedCap::make`].
pub(crate) fn registers(region: PhysRegion) -> Result<Registers, RtError> {
    let pages = pages(region)?;
    let (first, end) = (pages.base, pages.base + pages.bytes);
    let (number, around) = (0_u32..)
        .zip(boot::devices())
        .find(|(_, around)| around.base <= first && end <= around.base + around.bytes)
        .ok_or(RtError::NoService)?;
    let source = layout::device_region(number);
    let frame = OwnedCap::make(|to| {
        sys::cspace::retype(
            sys::cspace::OWN,
            to.into(),
            source.into(),
            ObjectType::DevFrame,
            first - around.base,
            end - first,
            1,
        )
    })?;
    Ok(Registers {
        frame,
        pages,
        offset: region.base - first,
        bytes: region.bytes,
    })
}
