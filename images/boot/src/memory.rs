//! Physical memory, which is where pointers point.

#![expect(unsafe_code, reason = "memory that no Rust object backs")]

use capelin_aarch64::{cache, pointer};
use capelin_abi::VirtAddr;
use capelin_boot::BootError;
use capelin_dt::Region;

use crate::translation;

/// The `bytes` bytes at `base`.
///
/// # Safety
/// 1. They are memory (a device may react to being read), below the end of the
///    address space.
/// 2. Nothing writes them while the slice is used.
pub(crate) unsafe fn slice<'a>(base: u64, bytes: usize) -> &'a [u8] {
    // SAFETY: readable (1), constant (2); u8 needs no alignment and no validity.
    unsafe { core::slice::from_raw_parts(pointer::to::<u8>(VirtAddr(base)), bytes) }
}

/// As [`slice`], of bytes that a loader left somewhere: maps them.
///
/// # Errors
/// [`BootError::Unmappable`].
///
/// # Safety
/// As [`slice`]. A loader that wrote them past the caches kept older lines out of these.
pub(crate) unsafe fn given<'a>(base: u64, bytes: usize) -> Result<&'a [u8], BootError> {
    translation::map_memory(Region::new(base, bytes as u64))?;
    // SAFETY: 1., 2. the caller's.
    Ok(unsafe { slice(base, bytes) })
}

/// A piece of memory that is being filled for whoever comes after us.
#[derive(Debug)]
pub(crate) struct Room {
    base: VirtAddr,
    bytes: u64,
}

impl Room {
    /// Takes the memory, and maps it.
    ///
    /// # Errors
    /// [`BootError::Unmappable`].
    ///
    /// # Safety
    /// 1. It is memory that nobody else uses, and whose contents nobody needs.
    pub(crate) unsafe fn take(base: u64, bytes: u64) -> Result<Self, BootError> {
        translation::map_memory(Region::new(base, bytes))?;
        let base = VirtAddr(base);
        Ok(Self { base, bytes })
    }

    /// Copies `data` to `offset`; what doesn't fit is a mistake of [`crate::run`]'s,
    /// and cut off.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        let room = self.bytes.saturating_sub(offset);
        let bytes = usize::try_from(room).map_or(data.len(), |room| room.min(data.len()));
        let to = pointer::to::<u8>(VirtAddr(self.base.0 + offset.min(self.bytes)));
        // SAFETY: the piece lies in memory of our own (`take`, 1), so it doesn't
        // overlap `data`; and is mapped writable.
        unsafe { core::ptr::copy_nonoverlapping(data.as_ptr(), to, bytes) };
    }

    /// Zeroes `start..end`.
    pub(crate) fn zero(&mut self, start: u64, end: u64) {
        let (start, end) = (start.min(self.bytes), end.min(self.bytes));
        let bytes = usize::try_from(end.saturating_sub(start)).unwrap_or(0);
        let to = pointer::to::<u8>(VirtAddr(self.base.0 + start));
        // SAFETY: the piece lies in memory of our own (`take`, 1).
        unsafe { to.write_bytes(0, bytes) };
    }

    /// Ends the writing: whoever reads or fetches sees it, past the caches and through
    /// them. The CPU driver starts with its own off.
    pub(crate) fn finish(self) {
        cache::clean_invalidate_to_poc(self.base, self.bytes);
        cache::sync_instructions(self.base, self.bytes);
    }
}
