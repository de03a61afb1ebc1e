//! Physical memory, which with the MMU off is where pointers point.

#![expect(unsafe_code, reason = "memory that no Rust object backs")]

use capelin_aarch64::{cache, pointer};
use capelin_abi::VirtAddr;

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

/// As [`slice`], of bytes that a loader wrote and needn't have cleaned: what caches hold
/// of them is written back first, and dropped. (The boot protocol promises that of the
/// image alone: `docs/045-boot.md`.)
///
/// # Safety
/// As [`slice`]; and
/// 3. what the caches hold of the bytes' lines, also of others in the first and last, is
///    at least as new as what memory holds.
pub(crate) unsafe fn given<'a>(base: u64, bytes: usize) -> &'a [u8] {
    cache::clean_invalidate_to_poc(VirtAddr(base), bytes as u64);
    // SAFETY: 1., 2. the caller's.
    unsafe { slice(base, bytes) }
}

/// A piece of memory that is being filled past the caches.
#[derive(Debug)]
pub(crate) struct Room {
    base: VirtAddr,
    bytes: u64,
}

impl Room {
    /// Takes the memory, after writing back what caches still hold of it.
    ///
    /// # Safety
    /// 1. It is memory that nobody else uses, and whose contents nobody needs.
    /// 2. `base` and `bytes` are whole cache lines.
    pub(crate) unsafe fn take(base: u64, bytes: u64) -> Self {
        let base = VirtAddr(base);
        cache::prepare_uncached_writes(base, bytes);
        Self { base, bytes }
    }

    /// Copies `data` to `offset`; what doesn't fit is a mistake of [`crate::run`]'s,
    /// and cut off.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        let room = self.bytes.saturating_sub(offset);
        let bytes = usize::try_from(room).map_or(data.len(), |room| room.min(data.len()));
        let to = pointer::to::<u8>(VirtAddr(self.base.0 + offset.min(self.bytes)));
        // SAFETY: the piece lies in memory of our own (`take`, 1), so it doesn't
        // overlap `data`; it is writable, the MMU being off.
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

    /// Ends the writing: whoever reads with caches on, or fetches, sees it.
    pub(crate) fn finish(self) {
        // SAFETY: `take` prepared all of the lines (2), and since then they were
        // written by `write` and `zero` only, with the MMU off.
        unsafe { cache::discard_after_uncached_writes(self.base, self.bytes) };
        cache::sync_instructions(self.base, self.bytes);
    }
}
