//! What the first domain of a core was given, and other pages that loaders map.
#![cfg_attr(
    target_os = "none",
    expect(
        unsafe_code,
        reason = "these pages lie at addresses that the ABI fixes"
    )
)]

use capelin_abi::boot::BootInfo;

#[cfg(target_os = "none")]
mod imp {
    use core::{ptr, slice};

    use capelin_abi::{
        CapAddress, ObjectType, VirtAddr,
        boot::{BootInfo, INFO_MAGIC},
        layout::{self, slot},
    };
    use zerocopy::FromBytes;

    use crate::{args::ARGUMENT_BYTES, sys};

    fn is_frame(address: CapAddress) -> bool {
        sys::cspace::identify_slot(sys::cspace::OWN, address.into())
            .is_ok_and(|identity| identity.kind == ObjectType::Frame)
    }

    /// # Safety
    /// `bytes` bytes are mapped readable at `start` for the life of the program, and nobody
    /// writes them.
    unsafe fn pages(start: VirtAddr, bytes: usize) -> &'static [u8] {
        let start = ptr::with_exposed_provenance(start.0 as usize);
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

    pub(super) fn arguments_page() -> &'static [u8] {
        if !is_frame(slot::ARGUMENTS) {
            return &[];
        }
        // SAFETY: a domain with this capability has the page mapped there, read-only; its spawner
        // has unmapped it before the domain ran.
        unsafe { pages(layout::ARGUMENTS, ARGUMENT_BYTES) }
    }
}

#[cfg(not(target_os = "none"))]
mod imp {
    use capelin_abi::boot::BootInfo;

    pub(super) fn info() -> Option<&'static BootInfo> {
        None
    }

    pub(super) fn archive() -> Option<&'static [u8]> {
        None
    }

    pub(super) use archive as device_tree;

    pub(super) fn arguments_page() -> &'static [u8] {
        &[]
    }
}

/// What the CPU driver tells its first domain; `None` in other domains.
#[must_use]
pub fn info() -> Option<&'static BootInfo> {
    imp::info()
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

/// The arguments page; empty when there is none.
pub(crate) fn arguments_page() -> &'static [u8] {
    imp::arguments_page()
}
