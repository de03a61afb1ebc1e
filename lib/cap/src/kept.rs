//! Which slots the capabilities of unfinished revokes are in ([`mod@crate::unfinished`]).
//!
//! Between two entries such a capability may change its slot, or go with what it lies in: whoever
//! moves or empties a watched slot ([`crate::SlotFlags::WATCHED`]) says so here.

use crate::slot_index::SlotIndex;

/// One for each of `N` revokes; none where there is no revoke, or its capability is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub(crate) struct Kept<const N: usize>([SlotIndex; N]);

impl<const N: usize> Kept<N> {
    /// Nothing is kept.
    pub(crate) const NOTHING: Self = Self([SlotIndex::NONE; N]);

    /// All of them.
    pub(crate) const fn all(&self) -> [SlotIndex; N] {
        self.0
    }

    /// What revoke `number` keeps.
    pub(crate) fn of(&self, number: usize) -> SlotIndex {
        self.0.get(number).copied().unwrap_or(SlotIndex::NONE)
    }

    /// Revoke `number` keeps what is in `slot`. What it kept before.
    pub(crate) fn set(&mut self, number: usize, slot: SlotIndex) -> SlotIndex {
        match self.0.get_mut(number) {
            Some(kept) => core::mem::replace(kept, slot),
            None => SlotIndex::NONE,
        }
    }

    /// Whether a revoke keeps what is in `slot`.
    pub(crate) fn has(&self, slot: SlotIndex) -> bool {
        self.0.contains(&slot)
    }

    /// What was in `from` is in `to` now; none: it is gone.
    #[cold]
    pub(crate) fn moves(&mut self, from: SlotIndex, to: SlotIndex) {
        for kept in self.0.iter_mut().filter(|kept| **kept == from) {
            *kept = to;
        }
    }

    /// What is in `a` and `b` has changed places.
    #[cold]
    pub(crate) fn swap(&mut self, a: SlotIndex, b: SlotIndex) {
        for kept in &mut self.0 {
            *kept = match *kept {
                slot if slot == a => b,
                slot if slot == b => a,
                slot => slot,
            };
        }
    }
}
