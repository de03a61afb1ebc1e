//! The name of a dispatcher control block.

use core::num::NonZeroU32;

use capelin_abi::capability::{DISPATCHER_BYTES, SLOT_BYTES};
use capelin_cap::SlotIndex;

use crate::narrow::low32;

/// Slots in the size of a control block.
const SLOTS_PER_BLOCK: u32 = low32(DISPATCHER_BYTES / SLOT_BYTES);

/// Names a dispatcher control block, in whatever segment of home memory: it has the
/// number of its first slot.
///
/// A control block is a page that the Dispatcher's slot claims; whoever asks for a name
/// names that page, or a slot in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct DcbRef(NonZeroU32);

impl DcbRef {
    /// The control block with the slot `index` in it; `None` for none.
    #[inline]
    #[must_use]
    pub const fn around(index: SlotIndex) -> Option<Self> {
        Self::from_number(index.to_bits() & !(SLOTS_PER_BLOCK - 1))
    }

    /// What [`Self::number`] gave, from a word that only the kernel writes; `None` for 0.
    #[inline]
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number of its first slot.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0.get()
    }

    /// Its first slot.
    #[inline]
    #[must_use]
    pub const fn first_slot(self) -> SlotIndex {
        SlotIndex::from_bits(self.0.get())
    }

    /// The slot that the dispatcher holds as its `which` (`dcb::held`).
    #[inline]
    #[must_use]
    pub const fn held(self, which: usize) -> SlotIndex {
        // A control block is a page, so adding a slot number below COUNT can't wrap.
        SlotIndex::from_bits(self.0.get().wrapping_add(low32(which as u64)))
    }
}
