//! Device registers and interrupts as capabilities.

use capelin_abi::{ObjectType, PAGE_SIZE, boot::PhysRegion, layout};
use capelin_rt::{OwnedCap, RtError, boot, sys};

/// Registers of a device.
pub(crate) struct Registers {
    /// A DevFrame of whole pages.
    pub(crate) frame: OwnedCap,
    /// Bytes from its start to the first register.
    pub(crate) offset: u64,
    /// Bytes of registers.
    pub(crate) bytes: u64,
}

/// The registers at `region`.
///
/// # Errors
/// [`RtError::NoService`] when that isn't all device addresses, which only firmware that places
/// devices in memory could cause; as [`sys::cspace::mint_range`] and [`OwnedCap::make`].
pub(crate) fn registers(region: PhysRegion) -> Result<Registers, RtError> {
    let first = region.base / PAGE_SIZE * PAGE_SIZE;
    let end = region
        .base
        .checked_add(region.bytes.max(1))
        .and_then(|end| end.checked_next_multiple_of(PAGE_SIZE))
        .ok_or(RtError::InvalidSize)?;
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
        offset: region.base - first,
        bytes: region.bytes,
    })
}
