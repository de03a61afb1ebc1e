//! The name of a dispatcher control block.

use capelin_abi::capability::{DISPATCHER_BYTES, SLOT_BYTES};
use capelin_cap::{Slot, SlotIndex, SomeSlot};

use crate::narrow::low32;

/// Names a dispatcher control block, in whatever segment of home memory, by its first slot.
///
/// A control block is a page that the Dispatcher's slot claims; whoever asks for a name
/// names that page, or a slot in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct DcbRef(SomeSlot);

// What is held lies in the page.
const _: () = assert!(DISPATCHER_BYTES == capelin_abi::PAGE_SIZE && SLOT_BYTES == 64);

impl DcbRef {
    /// The control block with the slot `index` in it; `None` for none.
    #[inline]
    #[must_use]
    pub const fn around(index: SlotIndex) -> Option<Self> {
        match index.in_same_page(0).some() {
            Some(first) => Some(Self(first)),
            None => None,
        }
    }

    /// The one whose endpoint `slot` names: what makes such capabilities
    /// (`endpoint::endpoint_data`) notes the first slot of its control block there.
    #[inline]
    pub(crate) const fn of_endpoint(slot: &Slot) -> Option<Self> {
        match slot.named().some() {
            Some(first) => Some(Self(first)),
            None => None,
        }
    }

    /// The number of its first slot: where it lies, in slots.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0.index().to_bits()
    }

    /// Its first slot.
    #[inline]
    #[must_use]
    pub const fn first_slot(self) -> SlotIndex {
        self.0.index()
    }

    /// The slot that the dispatcher holds as its `which` (`dcb::held`).
    #[inline]
    #[must_use]
    pub const fn held(self, which: usize) -> SlotIndex {
        self.0.index().in_same_page(low32(which as u64))
    }
}
