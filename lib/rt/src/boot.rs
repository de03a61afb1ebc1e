//! What the first domain of a core was given, and other pages that loaders map.
#![cfg_attr(
    target_os = "none",
    expect(
        unsafe_code,
        reason = "these pages lie at addresses that the ABI fixes"
    )
)]

use capelin_abi::{
    ObjectType,
    boot::{BootInfo, PhysRegion, RamRegion},
    layout,
};

use crate::{OwnedCap, RtError, memory, sys};

#[cfg(target_os = "none")]
mod imp {
    use core::{ptr, slice};

    use capelin_abi::{
        CapAddress, ObjectType, VirtAddr,
        boot::{BootInfo, INFO_MAGIC, PhysRegion, RamRegion},
        layout::{self, slot},
    };
    use zerocopy::FromBytes;

    use crate::{OwnedCap, RtError, args::ARGUMENT_BYTES, sys, vspace};

    fn is_frame(address: CapAddress) -> bool {
        sys::cspace::identify_slot(sys::cspace::OWN, address.into())
            .is_ok_and(|identity| identity.kind == ObjectType::Frame)
    }

    /// # Safety
    /// `bytes` bytes are mapped readable at `start` for the life of the program, and nobody
    /// writes them.
    unsafe fn pages(start: VirtAddr, bytes: usize) -> &'static [u8] {
        let start = ptr::with_exposed_provenance(crate::convert::size(start.0));
        // SAFETY: the caller's.
        unsafe { slice::from_raw_parts(start, bytes) }
    }

    pub(super) fn info() -> Option<&'static BootInfo> {
        if !is_frame(slot::BOOT_INFO) {
            return None;
        }
        // SAFETY: a domain with this capability has the page mapped there, read-only; the CPU
        // driver doesn't write it any more.
        let page = unsafe { pages(layout::BOOT_INFO, size_of::<BootInfo>()) };
        let info = BootInfo::ref_from_bytes(page).ok()?;
        (info.magic == INFO_MAGIC && info.abi_version == capelin_abi::ABI_VERSION).then_some(info)
    }

    pub(super) fn archive() -> Option<&'static [u8]> {
        let bytes = usize::try_from(info()?.archive_bytes).ok()?;
        if bytes == 0 || !is_frame(slot::ARCHIVE) {
            return None;
        }
        // SAFETY: the CPU driver maps that many bytes there, read-only, when it says so.
        Some(unsafe { pages(layout::ARCHIVE, bytes) })
    }

    pub(super) fn device_tree() -> Option<&'static [u8]> {
        let bytes = usize::try_from(info()?.device_tree_bytes).ok()?;
        if bytes == 0 || !is_frame(slot::DEVICE_TREE) {
            return None;
        }
        // SAFETY: as for the archive.
        Some(unsafe { pages(layout::DEVICE_TREE, bytes) })
    }

    /// `count` entries of a list that the CPU driver of the boot core maps at `start`.
    fn list<T>(start: VirtAddr, count: u64) -> &'static [T]
    where
        T: FromBytes + zerocopy::KnownLayout + zerocopy::Immutable,
    {
        let is_there = info().is_some_and(|info| info.is_boot_core != 0);
        let count = if is_there {
            crate::convert::size(count)
        } else {
            0
        };
        if count == 0 {
            return &[];
        }
        // SAFETY: the CPU driver maps that many there, read-only, when it says so.
        let bytes = unsafe { pages(start, count * size_of::<T>()) };
        <[T]>::ref_from_bytes(bytes).unwrap_or_default()
    }

    pub(super) fn ram() -> &'static [RamRegion] {
        info().map_or(&[], |info| list(layout::REGIONS, info.ram_count))
    }

    pub(super) fn devices() -> &'static [PhysRegion] {
        let list = |info: &BootInfo| list(VirtAddr(info.device_list), info.device_count);
        info().map_or(&[], list)
    }

    pub(super) fn read_only(frame: OwnedCap) -> Result<&'static [u8], RtError> {
        use capelin_abi::Rights;
        let identity = frame.identify()?;
        if identity.kind != ObjectType::Frame || identity.rights.contains(Rights::WRITE) {
            return Err(RtError::WrongType);
        }
        let flags = capelin_abi::syscall::MapFlags::READ;
        let mapping = vspace::map(frame.address(), 0, identity.size, flags)?;
        let (start, bytes) = (mapping.start(), crate::convert::size(mapping.bytes()));
        // It stays for good.
        frame.keep();
        core::mem::forget(mapping);
        // SAFETY: mapped readable for good. Read-only frames are the machine's description and
        // the images, which the CPU driver made so from the start: nobody holds a writable one.
        Ok(unsafe { pages(start, bytes) })
    }

    pub(super) fn arguments_page() -> &'static [u8] {
        // SAFETY: all but first domains, who don't ask, have the page mapped there, read-only; its
        // spawner has unmapped it before the domain ran.
        unsafe { pages(layout::ARGUMENTS, ARGUMENT_BYTES) }
    }
}

#[cfg(not(target_os = "none"))]
mod imp {
    use capelin_abi::boot::{BootInfo, PhysRegion, RamRegion};

    pub(super) fn info() -> Option<&'static BootInfo> {
        None
    }

    pub(super) fn ram() -> &'static [RamRegion] {
        &[]
    }

    pub(super) fn devices() -> &'static [PhysRegion] {
        &[]
    }

    pub(super) fn archive() -> Option<&'static [u8]> {
        None
    }

    pub(super) use archive as device_tree;

    pub(super) fn read_only(_: crate::OwnedCap) -> Result<&'static [u8], crate::RtError> {
        Err(capelin_abi::SysError::Unsupported.into())
    }

    pub(super) fn arguments_page() -> &'static [u8] {
        &[]
    }
}

/// What the CPU driver tells its first domain; `None` in other domains.
#[must_use]
pub fn info() -> Option<&'static BootInfo> {
    imp::info()
}

/// The machine's memory as it was free at the start, in the first domain of the boot core; the
/// capability to each is at [`capelin_abi::layout::ram_region`]. Others have none.
#[must_use]
pub fn ram() -> &'static [RamRegion] {
    imp::ram()
}

/// The machine's device addresses, in the first domain of the boot core; the capability to each is
/// at [`capelin_abi::layout::device_region`]. Others have none.
#[must_use]
pub fn devices() -> &'static [PhysRegion] {
    imp::devices()
}

/// The module archive, in the first domain of the boot core.
#[must_use]
pub fn archive() -> Option<&'static [u8]> {
    imp::archive()
}

/// The device tree, in the first domain of the boot core.
#[must_use]
pub fn device_tree() -> Option<&'static [u8]> {
    imp::device_tree()
}

/// Adds all memory that the first domain of a core was given ([`layout::ram_region`]) to what this
/// program makes frames from, and so can give others parts of. Answers how many bytes that is.
///
/// # Errors
/// [`RtError::NoService`] in any other domain; as [`memory::add_ram`].
pub fn adopt_ram() -> Result<u64, RtError> {
    let count = info().ok_or(RtError::NoService)?.ram_count;
    let mut bytes = 0;
    for index in (0..layout::RAM_REGIONS_LIMIT).take_while(|&index| u64::from(index) < count) {
        let region = layout::ram_region(index);
        let identity = sys::cspace::identify_slot(sys::cspace::OWN, region.into())?;
        if identity.kind == ObjectType::Ram {
            memory::add_ram(OwnedCap::adopt(region))?;
            bytes += identity.size;
        }
    }
    Ok(bytes)
}

/// Maps all of `frame` for good: the archive, the device tree, a first domain's boot information,
/// as they are passed on. It must not be writable: those are frames that the CPU driver made
/// read-only, for all who ever hold them. A frame of the program's own whose capability merely
/// lost the right to write must not be given.
///
/// # Errors
/// [`RtError::WrongType`] for anything but a frame that can't be written; as
/// [`crate::vspace::map`].
pub fn read_only(frame: OwnedCap) -> Result<&'static [u8], RtError> {
    imp::read_only(frame)
}

/// The arguments page, of all domains but those that have [`info`]: there it isn't mapped.
pub(crate) fn arguments_page() -> &'static [u8] {
    imp::arguments_page()
}
