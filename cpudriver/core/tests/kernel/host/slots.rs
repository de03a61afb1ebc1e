//! The capability slots.

use capelin_abi::{PAGE_SIZE, PhysAddr};
use capelin_cap::{Segments, Slot, SlotIndex, SlotStore};

use super::stale::{self, Pages, Use};
use super::{SLOTS, offset_of, segments, small};

/// Capability slots of all home memory.
pub struct Slots(Vec<Slot>, Segments);

impl Slots {
    /// All empty.
    pub fn new() -> Self {
        Self(vec![Slot::EMPTY; SLOTS], segments())
    }

    fn position(&self, index: SlotIndex) -> usize {
        assert!(!index.is_none(), "slot 0 asked for");
        let offset = offset_of(self.1.address_of(index).expect("a slot's name").0);
        stale::look(Use::Slots, offset / small(PAGE_SIZE));
        offset / 64
    }

    /// Pages by what they are used for now.
    pub fn pages(&self) -> Pages {
        stale::pages(self.0.iter())
    }
}

impl SlotStore for Slots {
    fn slot(&self, index: SlotIndex) -> &Slot {
        &self.0[self.position(index)]
    }

    fn slot_mut(&mut self, index: SlotIndex) -> &mut Slot {
        let position = self.position(index);
        &mut self.0[position]
    }

    fn index_of(&self, address: PhysAddr) -> Option<SlotIndex> {
        self.1.index_of(address)
    }
}
