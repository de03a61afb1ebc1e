//! The name of a dispatcher control block.

use core::num::NonZeroU32;

use capelin_cap::SlotIndex;

use crate::narrow::low32;

/// Names a dispatcher control block: its distance from the home memory's base
/// in units of 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct DcbRef(pub NonZeroU32);

impl DcbRef {
    /// The slot that the dispatcher holds as its `which` (`dcb::held`).
    #[inline]
    #[must_use]
    pub const fn held(self, which: usize) -> SlotIndex {
        // A control block is a page, so adding a slot number below COUNT can't wrap.
        SlotIndex(self.0.get().wrapping_add(low32(which as u64)))
    }
}
