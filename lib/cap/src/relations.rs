//! Who is whose copy, ancestor or descendant.
//!
//! Copies have the same type and range and are neighbours. A descendant's range
//! lies in its ancestor's and comes later in order. With nested-or-disjoint
//! ranges, the descendants of C are the nodes behind C's copies that start
//! before C's end, so "the last node that …" answers every question here: if
//! that node is C or a copy of it, there is no such descendant.

use core::cmp::Ordering;

use capelin_abi::ObjectType;

use crate::key::{badge_of, compare_objects, is_mapped_kind, is_same};
use crate::mdb::{Mdb, next, previous};
use crate::slot::{Slot, SlotFlags};
use crate::slot_index::SlotIndex;
use crate::store::SlotStore;

impl Mdb {
    /// Whether another local capability names the same object. Mappings have no
    /// copies: each is an object of its own.
    #[inline]
    #[must_use]
    pub fn has_copies<S: SlotStore>(&self, store: &S, node: SlotIndex) -> bool {
        !self.other_copy(store, node).is_none()
    }

    /// A neighbour that is a copy of `node`, or none.
    #[inline]
    pub(crate) fn other_copy<S: SlotStore>(&self, store: &S, node: SlotIndex) -> SlotIndex {
        if store.slot(node).is_kind(ObjectType::Mapping) {
            return SlotIndex::NONE;
        }
        self.copy_beside(store, node, next(store, node))
    }

    /// A neighbour that is a copy of `node` and can't be told from it: of a badged
    /// capability, one with the same badge; of one without, any copy, since all badged
    /// ones are made of it.
    pub(crate) fn copy_to_revoke<S: SlotStore>(&self, store: &S, node: SlotIndex) -> SlotIndex {
        let badge = badge_of(store.slot(node));
        if badge == 0 {
            return self.other_copy(store, node);
        }
        [next(store, node), previous(store, node)]
            .into_iter()
            .filter(|other| !other.is_none())
            .find(|&other| {
                let slot = store.slot(other);
                is_same(slot, store.slot(node)) && badge_of(slot) == badge
            })
            .unwrap_or(SlotIndex::NONE)
    }

    /// [`Mdb::other_copy`] of what isn't a mapping, by who knows the next in order.
    ///
    /// The object's tombstone is no copy of a capability that another kernel owns: it only
    /// claims the range, for what the object was made from. Of the tombstone itself, foreign
    /// capabilities beside it are copies.
    #[inline]
    pub(crate) fn copy_beside<S: SlotStore>(
        &self,
        store: &S,
        node: SlotIndex,
        after: SlotIndex,
    ) -> SlotIndex {
        let slot = store.slot(node);
        if !after.is_none() && is_same(store.slot(after), slot) {
            if !store.slot(after).is_tombstone() {
                return after;
            }
            return copy_past_tombstone(store, node);
        }
        let before = previous(store, node);
        if !before.is_none() && is_same(store.slot(before), slot) {
            if !store.slot(before).is_tombstone() {
                return before;
            }
            return copy_past_tombstone(store, node);
        }
        SlotIndex::NONE
    }

    /// Whether anything was made from `node` or a copy of it: retyped, derived,
    /// mapped or narrowed, tombstones included.
    #[must_use]
    pub fn has_descendants<S: SlotStore>(&self, store: &S, node: SlotIndex) -> bool {
        let slot = store.slot(node);
        let after = next(store, node);
        if after.is_none() || store.slot(after).base >= slot.end() {
            return false;
        }
        // Something in the range comes after it: if that is a copy, look for the
        // last thing in the range.
        if !is_same(store.slot(after), slot) {
            return true;
        }
        let last = self.last_reaching(store, slot.end(), slot.base);
        last.is_none() || !is_same(store.slot(last), slot)
    }

    /// The first descendant of `node`, if `node` is the last of its copies; `None`
    /// otherwise too.
    #[must_use]
    pub fn first_descendant<S: SlotStore>(&self, store: &S, node: SlotIndex) -> Option<SlotIndex> {
        self.next_descendant(store, node, node)
    }

    /// The descendant of `of` after `current` (`of` itself, or a copy or
    /// descendant of it), or `None` behind the last.
    #[must_use]
    pub fn next_descendant<S: SlotStore>(
        &self,
        store: &S,
        of: SlotIndex,
        current: SlotIndex,
    ) -> Option<SlotIndex> {
        let ancestor = store.slot(of);
        let after = next(store, current);
        if after.is_none() {
            return None;
        }
        let slot = store.slot(after);
        if slot.base < ancestor.end() && !is_same(slot, ancestor) {
            Some(after)
        } else {
            None
        }
    }

    /// Whether a descendant of `node` overlaps the `size` bytes (or interrupts)
    /// from `offset` on. False for an empty range or one outside of `node`.
    #[must_use]
    pub fn is_range_used<S: SlotStore>(
        &self,
        store: &S,
        node: SlotIndex,
        offset: u64,
        size: u64,
    ) -> bool {
        let slot = store.slot(node);
        let Some(end) = offset.checked_add(size) else {
            return false;
        };
        if size == 0 || end > slot.size {
            return false;
        }
        // Not by `free_gap`: this is asked of frames, too.
        !self.is_reached_only_by(store, slot, slot.base + offset, slot.base + end)
    }

    /// The neighbour behind which a descendant of `node` with the tagged range
    /// `[start, end)` belongs, or `None` when a descendant overlaps that. For
    /// what is divided, where nothing is made across others: not for frames.
    ///
    /// The last node that starts before `end` is that neighbour, unless it starts
    /// inside: mostly what was made last, or `node` itself, or a descent finds it. A range that starts before and reaches in is the neighbour or
    /// contains it; so there is none when the neighbour was made from `node`
    /// directly, which their depths tell. Otherwise a second descent looks.
    #[inline]
    pub(crate) fn free_gap<S: SlotStore>(
        &self,
        store: &S,
        node: SlotIndex,
        start: u64,
        end: u64,
    ) -> Option<SlotIndex> {
        let mut last = self.recent_starting(store, end);
        if last.is_none() {
            let after = next(store, node);
            if after.is_none() || store.slot(after).base >= end {
                return Some(node);
            }
            last = self.last_starting(store, end);
        }
        if last.is_none() {
            return None;
        }
        let (slot, neighbour) = (store.slot(node), store.slot(last));
        if is_same(neighbour, slot) {
            return Some(last);
        }
        if neighbour.base >= start || neighbour.end() > start {
            return None;
        }
        // A range is free when something is made there, so what lies in `node` was
        // made from it or from something in it, and is deeper; and what contains
        // the neighbour lies in `node`. Stale depths are too large, never too
        // small, but where `note_odd_nesting` was called; and among parts of a frame,
        // which are two deeper at least than what the frame was made from.
        // A mapping is one deeper than what it maps, and has its range.
        let is_mapping = neighbour.is_kind(ObjectType::Mapping);
        let direct = slot.depth().saturating_add(1 + u8::from(is_mapping));
        let is_direct =
            neighbour.depth() < u8::MAX && neighbour.depth() == direct && !self.has_odd_nesting();
        if is_direct || self.is_reached_only_by(store, slot, start, end) {
            Some(last)
        } else {
            None
        }
    }

    /// Whether nothing made from `slot` starts before `end` and ends after
    /// `start`.
    #[inline(never)]
    fn is_reached_only_by<S: SlotStore>(
        &self,
        store: &S,
        slot: &Slot,
        start: u64,
        end: u64,
    ) -> bool {
        let reaching = self.last_reaching(store, end, start);
        !reaching.is_none() && is_same(store.slot(reaching), slot)
    }

    /// The first node that would be a descendant of `slot`, which belongs behind
    /// `before`.
    pub(crate) fn first_inside<S: SlotStore>(
        &self,
        store: &S,
        before: SlotIndex,
        slot: &Slot,
    ) -> Option<SlotIndex> {
        let after = if before.is_none() {
            self.first(store)?
        } else {
            next(store, before)
        };
        if after.is_none() || store.slot(after).base >= slot.end() {
            None
        } else {
            Some(after)
        }
    }

    /// Whether the tagged range `[start, end)` partly overlaps a range in the
    /// tree, so that neither contains the other.
    pub(crate) fn crosses<S: SlotStore>(&self, store: &S, start: u64, end: u64) -> bool {
        let over_end = self.last_reaching(store, end, end);
        if !over_end.is_none() && store.slot(over_end).base > start {
            return true;
        }
        let over_start = self.last_reaching(store, start, start);
        !over_start.is_none() && store.slot(over_start).end() < end
    }

    /// The innermost ancestor that `slot`, in the tree or not, has, tombstones
    /// included; none without one. A mapping is nobody's ancestor: what it maps has
    /// the same range and comes before it.
    pub(crate) fn innermost_around<S: SlotStore>(&self, store: &S, slot: &Slot) -> SlotIndex {
        let around = self.last_around(store, slot);
        if !around.is_none() && store.slot(around).is_kind(ObjectType::Mapping) {
            return self.last_around(store, store.slot(around));
        }
        around
    }

    /// The last node before `slot` whose range contains that of `slot`.
    fn last_around<S: SlotStore>(&self, store: &S, slot: &Slot) -> SlotIndex {
        self.descend(
            store,
            |other| compare_objects(other, slot) == Ordering::Less,
            |other| other.end() >= slot.end(),
            |other| other.max_end >= slot.end(),
        )
    }

    /// The innermost ancestor of `slot`, unless another kernel owns it and this one
    /// the object: a tombstone shows that what it was made from isn't here, and a
    /// foreign capability may vanish any time.
    pub(crate) fn ancestor_of<S: SlotStore>(&self, store: &S, slot: &Slot) -> Option<SlotIndex> {
        let around = self.innermost_around(store, slot);
        if around.is_none() {
            return None;
        }
        let ancestor = store.slot(around);
        // Nobody asks for a mapping's: what it maps is there as long as it is.
        let counts = self.owns(ancestor) || !(self.owns(slot) || ancestor.is_tombstone());
        counts.then_some(around)
    }

    /// Whether a local ancestor exists; constant time where that was so when the
    /// capability was made.
    #[inline]
    #[must_use]
    pub fn has_ancestors<S: SlotStore>(&self, store: &S, node: SlotIndex) -> bool {
        let slot = store.slot(node);
        slot.has_flags(SlotFlags::HAS_ANCESTOR) || self.ancestor_of(store, slot).is_some()
    }

    /// The last node `before` a position that has a part on another kernel, or on
    /// the way there: a tombstone, or what is in transit or has copies elsewhere.
    pub(crate) fn last_remote<S: SlotStore>(
        &self,
        store: &S,
        before: impl Fn(&Slot) -> bool,
    ) -> SlotIndex {
        if self.root.is_none() || !store.slot(self.root).has_flags(SlotFlags::SUBTREE_REMOTE) {
            return SlotIndex::NONE;
        }
        self.descend(store, before, Slot::is_remote, |other| {
            other.has_flags(SlotFlags::SUBTREE_REMOTE)
        })
    }

    /// The tombstone of the object that `slot`, in the tree or not, names.
    pub(crate) fn tombstone<S: SlotStore>(&self, store: &S, slot: &Slot) -> Option<SlotIndex> {
        // Foreign copies may lie beside it, and aren't remote: they are here.
        let last = self.last_remote(store, |other| {
            compare_objects(other, slot) != Ordering::Greater
        });
        let is_it = |other: &Slot| is_same(other, slot) && other.is_tombstone();
        (!last.is_none() && is_it(store.slot(last))).then_some(last)
    }

    /// Whether `node`, a copy of it or a descendant is a tombstone, is in transit or
    /// has copies on other kernels.
    #[must_use]
    pub fn has_remote_relations<S: SlotStore>(&self, store: &S, node: SlotIndex) -> bool {
        let slot = store.slot(node);
        let last = self.last_remote(store, |other| other.base < slot.end());
        !last.is_none() && compare_objects(store.slot(last), slot) != Ordering::Less
    }

    /// Whether a descendant of `node`, copies left out, is a tombstone, is in transit
    /// or has copies on other kernels.
    #[must_use]
    pub fn has_remote_descendants<S: SlotStore>(&self, store: &S, node: SlotIndex) -> bool {
        let slot = store.slot(node);
        let last = self.last_remote(store, |other| other.base < slot.end());
        !last.is_none() && compare_objects(store.slot(last), slot) == Ordering::Greater
    }

    /// Whether a frame contains `slot`, here or on another kernel: then what is in
    /// it can be mapped by who has that frame.
    pub(crate) fn is_in_frame<S: SlotStore>(&self, store: &S, slot: &Slot) -> bool {
        let around = self.innermost_around(store, slot);
        slot.has_flags(SlotFlags::REMOTE_FRAME)
            || (!around.is_none() && is_mapped_kind(store.slot(around).kind()))
    }
}

/// A copy of `node`, which has the object's tombstone for a neighbour: the other neighbour, or
/// what lies behind the tombstone; none where neither is. An object has one tombstone.
#[cold]
#[inline(never)]
fn copy_past_tombstone<S: SlotStore>(store: &S, node: SlotIndex) -> SlotIndex {
    let object = store.slot(node);
    let is_same = |at: SlotIndex| !at.is_none() && is_same(store.slot(at), object);
    let beyond = |at: SlotIndex, step: fn(&S, SlotIndex) -> SlotIndex| {
        if is_same(at) && store.slot(at).is_tombstone() {
            step(store, at)
        } else {
            at
        }
    };
    let after = beyond(next(store, node), next::<S>);
    let before = beyond(previous(store, node), previous::<S>);
    let found = [after, before].into_iter().find(|&at| is_same(at));
    found.unwrap_or(SlotIndex::NONE)
}

/// What comes after `node`, the last capability here to what another kernel owns, of which the
/// next in order is in `after`: that, or what lies behind the object's tombstone.
#[cold]
#[inline(never)]
pub(crate) fn after_tombstone<S: SlotStore>(
    store: &S,
    node: SlotIndex,
    after: SlotIndex,
) -> SlotIndex {
    if after.is_none() {
        return after;
    }
    let slot = store.slot(after);
    if slot.is_tombstone() && is_same(slot, store.slot(node)) {
        next(store, after)
    } else {
        after
    }
}
