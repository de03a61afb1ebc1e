//! What is being deleted: everything that is dying, request by request.
//!
//! Whatever is dying is on the list from its first step to its last, so a deletion
//! that nobody continues (its caller is gone) is never forgotten: [`crate::drain`]
//! continues it.
//!
//! Each request has a *ring* of its own: the slot that was asked for, and all that
//! goes with it. The slot that heads a ring, its *leader*, is on a ring of leaders:
//!
//! ```text
//!   DeleteList ─▶ leader ⇄ leader ⇄ …          links in data[0]
//!                   ⇅
//!                 member ⇄ member ⇄ …          links in data[1]
//! ```
//!
//! A leader is a dying capability, or an empty slot that is reserved until what was
//! in it is gone: then the ring is empty but for the leader, which leaves the list,
//! and the call that waits for it answers. So one request never waits for another's,
//! and all changes are of constant time; links are in data words, since nobody uses
//! those of what is dying.

use crate::slot::{Slot, SlotFlags, State};
use crate::slot_index::SlotIndex;
use crate::store::SlotStore;

/// The deletions that are under way; lies in the kernel control block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct DeleteList {
    /// The leader whose turn it is, or none.
    turn: SlotIndex,
}

/// Which of the two rings that a slot may be on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ring {
    Leaders = 0,
    Members = 1,
}

/// A slot's neighbours on a ring.
#[derive(Clone, Copy)]
struct Links {
    before: SlotIndex,
    after: SlotIndex,
}

impl Ring {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the fields are cut out on purpose"
    )]
    fn links<S: SlotStore>(self, store: &S, at: SlotIndex) -> Links {
        let word = store.slot(at).data[self as usize];
        Links {
            before: SlotIndex::from_bits(word as u32),
            after: SlotIndex::from_bits((word >> 32) as u32),
        }
    }

    fn set<S: SlotStore>(self, store: &mut S, at: SlotIndex, links: Links) {
        let word = u64::from(links.before.to_bits()) | u64::from(links.after.to_bits()) << 32;
        store.slot_mut(at).data[self as usize] = word;
    }

    /// Makes `after` follow `before`.
    fn join<S: SlotStore>(self, store: &mut S, before: SlotIndex, after: SlotIndex) {
        let links = self.links(store, before);
        self.set(store, before, Links { after, ..links });
        let links = self.links(store, after);
        self.set(store, after, Links { before, ..links });
    }

    /// Puts `new` behind `old`.
    fn insert<S: SlotStore>(self, store: &mut S, old: SlotIndex, new: SlotIndex) {
        let after = self.links(store, old).after;
        self.join(store, new, after);
        self.join(store, old, new);
    }

    /// Takes `at` out. Its own links stay as they were.
    fn remove<S: SlotStore>(self, store: &mut S, at: SlotIndex) {
        let Links { before, after } = self.links(store, at);
        self.join(store, before, after);
    }

    /// Puts `to` in the place of `from`, which alone isn't changed.
    fn rename<S: SlotStore>(self, store: &mut S, from: SlotIndex, to: SlotIndex) {
        let Links { before, after } = self.links(store, from);
        if before == from {
            let itself = Links {
                before: to,
                after: to,
            };
            self.set(store, to, itself);
        } else {
            self.join(store, to, after);
            self.join(store, before, to);
        }
    }
}

impl DeleteList {
    /// Nothing to delete.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            turn: SlotIndex::NONE,
        }
    }

    /// Whether nothing is left to delete.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.turn.is_none()
    }

    /// The leader whose turn it is; none when the list is empty.
    pub(crate) const fn turn(&self) -> SlotIndex {
        self.turn
    }

    /// Whose turn it is in the ring of `leader`.
    pub(crate) fn first<S: SlotStore>(store: &S, leader: SlotIndex) -> SlotIndex {
        let slot = store.slot(leader);
        if slot.is_occupied() && !slot.has_flags(SlotFlags::YIELDS) {
            leader
        } else {
            Ring::Members.links(store, leader).after
        }
    }

    /// Another capability in the ring of that in `index`, or none.
    pub(crate) fn other_member<S: SlotStore>(store: &S, index: SlotIndex) -> SlotIndex {
        let Links { before, after } = Ring::Members.links(store, index);
        [after, before]
            .into_iter()
            .find(|&other| other != index && store.slot(other).is_occupied())
            .unwrap_or(SlotIndex::NONE)
    }

    /// Begins a request: the capability in `index` is dying, and leads a ring.
    pub(crate) fn begin<S: SlotStore>(&mut self, store: &mut S, index: SlotIndex) {
        let alone = Links {
            before: index,
            after: index,
        };
        let slot = store.slot_mut(index);
        slot.progress = 0;
        slot.data = [0; 2];
        Ring::Members.set(store, index, alone);
        mark(store, index);
        self.lead(store, index);
    }

    /// The capability in `index` dies with what is in `with`, in the same ring.
    pub(crate) fn begin_with<S: SlotStore>(store: &mut S, index: SlotIndex, with: SlotIndex) {
        let slot = store.slot_mut(index);
        slot.progress = 0;
        slot.data = [0; 2];
        Ring::Members.insert(store, with, index);
        mark(store, index);
    }

    /// Puts `leader` on the ring of leaders.
    fn lead<S: SlotStore>(&mut self, store: &mut S, leader: SlotIndex) {
        if self.turn.is_none() {
            let alone = Links {
                before: leader,
                after: leader,
            };
            Ring::Leaders.set(store, leader, alone);
            self.turn = leader;
        } else {
            // Behind all others.
            let last = Ring::Leaders.links(store, self.turn).before;
            Ring::Leaders.insert(store, last, leader);
        }
    }

    /// Takes `leader` from the ring of leaders.
    fn resign<S: SlotStore>(&mut self, store: &mut S, leader: SlotIndex) {
        let after = Ring::Leaders.links(store, leader).after;
        if after == leader {
            self.turn = SlotIndex::NONE;
        } else {
            Ring::Leaders.remove(store, leader);
            if self.turn == leader {
                self.turn = after;
            }
        }
        store.slot_mut(leader).data[0] = 0;
    }

    /// `to` leads instead of `from`, in the same place.
    fn succeed<S: SlotStore>(&mut self, store: &mut S, from: SlotIndex, to: SlotIndex) {
        Ring::Leaders.rename(store, from, to);
        if self.turn == from {
            self.turn = to;
        }
        store.slot_mut(from).data[0] = 0;
    }

    /// Takes `index` off the list; another member leads where it led. When only a
    /// reserved slot is left, that one's request is over.
    pub(crate) fn leave<S: SlotStore>(&mut self, store: &mut S, index: SlotIndex) {
        let Links { before, after } = Ring::Members.links(store, index);
        let is_alone = after == index;
        match (is_leader(store.slot(index)), is_alone) {
            (true, true) => self.resign(store, index),
            (true, false) => self.succeed(store, index, after),
            (false, _) => {}
        }
        if !is_alone {
            Ring::Members.remove(store, index);
            if before == after && !store.slot(after).is_occupied() {
                self.resign(store, after);
                unmark(store, after);
            }
        }
        unmark(store, index);
    }

    /// What is in `from` moves to the slot `to`, which isn't on the list, next.
    pub(crate) fn rename<S: SlotStore>(&mut self, store: &mut S, from: SlotIndex, to: SlotIndex) {
        // Neighbours learn the new name; the moving slot's own links are right unless
        // they name itself.
        let itself = Links {
            before: to,
            after: to,
        };
        for ring in [Ring::Leaders, Ring::Members] {
            if ring == Ring::Leaders && !is_leader(store.slot(from)) {
                continue;
            }
            let Links { before, after } = ring.links(store, from);
            if before == from {
                ring.set(store, from, itself);
            } else {
                let links = ring.links(store, before);
                ring.set(store, before, Links { after: to, ..links });
                let links = ring.links(store, after);
                ring.set(
                    store,
                    after,
                    Links {
                        before: to,
                        ..links
                    },
                );
            }
        }
        // Only a leader has the turn.
        if self.turn == from {
            self.turn = to;
        }
    }

    /// Reserves the empty slot `index` until the ring that `leader` led is empty, and
    /// has it lead that.
    pub(crate) fn reserve<S: SlotStore>(
        &mut self,
        store: &mut S,
        index: SlotIndex,
        leader: SlotIndex,
    ) {
        let before = Ring::Members.links(store, leader).before;
        Ring::Members.insert(store, before, index);
        mark(store, index);
        self.succeed(store, leader, index);
    }

    /// The slot `index`, which leads a ring, goes: another member leads.
    pub(crate) fn dissolve<S: SlotStore>(&mut self, store: &mut S, index: SlotIndex) {
        self.leave(store, index);
        *store.slot_mut(index) = Slot::EMPTY;
    }

    /// Gives the ring of `leader` to its next member, so that what blocks one doesn't
    /// block the others.
    pub(crate) fn rotate<S: SlotStore>(&mut self, store: &mut S, leader: SlotIndex) {
        let first = Ring::Members.links(store, leader).after;
        if first == leader {
            return;
        }
        let slot = store.slot_mut(leader);
        let has_yielded = slot.has_flags(SlotFlags::YIELDS);
        if slot.is_occupied() {
            slot.set_flags(SlotFlags::YIELDS, !has_yielded);
            if !has_yielded {
                return;
            }
        }
        Ring::Members.remove(store, leader);
        Ring::Members.insert(store, first, leader);
    }

    /// [`Self::rotate`] for the ring whose turn it is; and the next ring's turn.
    pub(crate) fn pass_turn<S: SlotStore>(&mut self, store: &mut S) {
        if !self.turn.is_none() {
            self.rotate(store, self.turn);
            self.turn = Ring::Leaders.links(store, self.turn).after;
        }
    }
}

/// Whether what is in the slot, which is on the list, leads a ring.
pub(crate) fn is_leader(slot: &Slot) -> bool {
    slot.data[Ring::Leaders as usize] != 0
}

fn mark<S: SlotStore>(store: &mut S, index: SlotIndex) {
    let slot = store.slot_mut(index);
    slot.set_state(State::Dying);
    slot.set_flags(SlotFlags::QUEUED, true);
}

fn unmark<S: SlotStore>(store: &mut S, index: SlotIndex) {
    let slot = store.slot_mut(index);
    let on_list = SlotFlags::QUEUED
        .union(SlotFlags::YIELDS)
        .union(SlotFlags::RESERVES);
    slot.set_flags(on_list, false);
    slot.data = [0; 2];
}

/// Whether the neighbours of `index`, which is on the list, know it.
pub(crate) fn is_linked<S: SlotStore>(store: &S, index: SlotIndex) -> bool {
    [Ring::Leaders, Ring::Members].into_iter().all(|ring| {
        if ring == Ring::Leaders && !is_leader(store.slot(index)) {
            return true;
        }
        let Links { before, after } = ring.links(store, index);
        !before.is_none()
            && !after.is_none()
            && ring.links(store, before).after == index
            && ring.links(store, after).before == index
    })
}
