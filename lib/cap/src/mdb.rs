//! The mapping database: every capability of one kernel, in one tree embedded in
//! the slots (`docs/020-capabilities.md`).
//!
//! A rank-balanced tree with parent links in the order of [`crate::key`]. Insertion takes
//! a neighbour, so that a copy costs no descent; removal takes the node itself.
//! Each node caches the largest end below it, with which
//! `Mdb::last_reaching` finds in one descent the rightmost range that starts
//! before one address and ends after another; all questions about overlap,
//! ancestors and addresses are that one. Callers are the operations; what they
//! ask about relations is in [`crate::relations`].
//!
//! Long, since whoever changes a link must see all who rely on it: descents, insertion,
//! removal and exchange of nodes stand together. Ranks and sums are `balance`'s.

use core::cmp::Ordering;

use capelin_abi::{KernelId, OperationId, PhysAddr, SysError};

use crate::balance::{
    Sums, after_insertion, after_removal, lower, lower_below, raise, refresh_up, replace_child,
    set_parent,
};
use crate::hold::{Holds, Object};
use crate::key::{ADDRESS_MASK, compare};
use crate::slot::{Slot, SlotFlags, State};
use crate::slot_index::SlotIndex;
use crate::store::SlotStore;

/// How many nodes from what was made last on are tried before a descent.
const NEAR_RECENT: u32 = 3;

/// A kernel's mapping database: where its tree starts, and whose it is. Lies in
/// the kernel control block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Mdb {
    pub(crate) root: SlotIndex,
    kernel: KernelId,
    /// 1 once a capability was put around others that it isn't the source of.
    has_odd_nesting: u16,
    /// What was made last by retyping, if it is in the tree still: what is made next often
    /// belongs right behind it.
    recent: SlotIndex,
    /// What an import that looks at all in its range ([`crate::Looking`]) goes on with. None
    /// since anything was inserted or moved, or changed its owner, or home memory went: so if
    /// there is anything in that slot, it is what was there.
    looked_to: SlotIndex,
    /// What operations between kernels hold.
    pub(crate) holds: Holds,
}

impl Mdb {
    /// An empty database of the kernel `kernel`.
    #[must_use]
    pub const fn new(kernel: KernelId) -> Self {
        Self {
            root: SlotIndex::NONE,
            kernel,
            has_odd_nesting: 0,
            recent: SlotIndex::NONE,
            holds: Holds::new(),
            looked_to: SlotIndex::NONE,
        }
    }

    /// What was noted last of a look, if it still holds.
    pub(crate) const fn looked_to(&self) -> SlotIndex {
        self.looked_to
    }

    /// Notes with what a look goes on.
    pub(crate) const fn note_looked_to(&mut self, next: SlotIndex) {
        self.looked_to = next;
    }

    /// What an import has looked at may have changed, or what it looks at next is about to be
    /// out of reach: before home memory is given back.
    #[inline(always)]
    pub const fn forget_looked(&mut self) {
        self.looked_to = SlotIndex::NONE;
    }

    /// The kernel whose capabilities these are: what another kernel owns is
    /// foreign.
    #[inline]
    #[must_use]
    pub const fn kernel(&self) -> KernelId {
        self.kernel
    }

    /// Whether this kernel owns what the slot names.
    #[inline]
    #[must_use]
    pub const fn owns(&self, slot: &Slot) -> bool {
        slot.owner().0 == self.kernel.0
    }

    /// Whether an operation between kernels holds anything: then [`crate::usable`]
    /// tells what may be used, and [`Slot::is_usable`] doesn't.
    #[inline(always)]
    #[must_use]
    pub const fn has_holds(&self) -> bool {
        !self.holds.is_empty()
    }

    /// How many holds there are: every use of a capability looks at all of them.
    #[inline]
    #[must_use]
    pub const fn holds_count(&self) -> u32 {
        self.holds.count()
    }

    /// The object that `operation` has marked.
    ///
    /// # Errors
    /// `NoSuchOperation` when it has marked none; `Dying` when its mark lies in another,
    /// whose revoke is its answer.
    pub fn marked_object(&self, operation: OperationId) -> Result<Object, SysError> {
        self.holds.marked_object(operation)
    }

    /// Notes that a capability was put around others: their depths no longer say who is in
    /// whom.
    pub(crate) const fn note_odd_nesting(&mut self) {
        self.has_odd_nesting = 1;
    }

    #[inline]
    pub(crate) const fn has_odd_nesting(&self) -> bool {
        self.has_odd_nesting != 0
    }

    /// The first capability in order.
    #[must_use]
    pub fn first<S: SlotStore>(&self, store: &S) -> Option<SlotIndex> {
        some(if self.root.is_none() {
            self.root
        } else {
            leftmost(store, self.root)
        })
    }

    /// The capability after `node` in order.
    #[inline]
    #[must_use]
    pub fn next<S: SlotStore>(&self, store: &S, node: SlotIndex) -> Option<SlotIndex> {
        some(next(store, node))
    }

    /// The capability before `node` in order.
    #[inline]
    #[must_use]
    pub fn previous<S: SlotStore>(&self, store: &S, node: SlotIndex) -> Option<SlotIndex> {
        some(previous(store, node))
    }

    /// The innermost capability to memory around `address`; the last one of
    /// several to the same range.
    #[must_use]
    pub fn find<S: SlotStore>(&self, store: &S, address: PhysAddr) -> Option<SlotIndex> {
        if address.0 > ADDRESS_MASK {
            return None;
        }
        // Memory is space 0, so its addresses are their own tagged form.
        some(self.last_reaching(store, address.0 + 1, address.0))
    }

    /// The rightmost node that starts before `before` and ends after `after`
    /// (both tagged), or none.
    #[inline]
    pub(crate) fn last_reaching<S: SlotStore>(
        &self,
        store: &S,
        before: u64,
        after: u64,
    ) -> SlotIndex {
        self.descend(
            store,
            |slot| slot.base < before,
            |slot| slot.end() > after,
            |slot| slot.max_end > after,
        )
    }

    /// Finds the last node that is `before` a position and satisfies
    /// `condition`; `within` tells whether a subtree holds such a node at all.
    #[inline]
    pub(crate) fn descend<S: SlotStore>(
        &self,
        store: &S,
        before: impl Fn(&Slot) -> bool,
        condition: impl Fn(&Slot) -> bool,
        within: impl Fn(&Slot) -> bool,
    ) -> SlotIndex {
        // Where the path last went right past something that satisfies the
        // condition: that node, or its left subtree. Deeper is further right.
        let mut found = SlotIndex::NONE;
        let mut subtree = SlotIndex::NONE;
        let mut node = self.root;
        while !node.is_none() {
            let slot = store.slot(node);
            if before(slot) {
                if condition(slot) {
                    found = node;
                    subtree = SlotIndex::NONE;
                } else if !slot.left.is_none() && within(store.slot(slot.left)) {
                    subtree = slot.left;
                }
                node = slot.right;
            } else {
                node = slot.left;
            }
        }
        while !subtree.is_none() {
            let slot = store.slot(subtree);
            if !slot.right.is_none() && within(store.slot(slot.right)) {
                subtree = slot.right;
            } else if condition(slot) {
                found = subtree;
                break;
            } else {
                subtree = slot.left;
            }
        }
        found
    }

    /// The last node that starts before `before` (tagged), or none.
    #[inline]
    pub(crate) fn last_starting<S: SlotStore>(&self, store: &S, before: u64) -> SlotIndex {
        let mut last = SlotIndex::NONE;
        let mut node = self.root;
        while !node.is_none() {
            let slot = store.slot(node);
            if slot.base < before {
                last = node;
                node = slot.right;
            } else {
                node = slot.left;
            }
        }
        last
    }

    /// Notes what was made last.
    #[inline(always)]
    pub(crate) const fn note_recent(&mut self, node: SlotIndex) {
        self.recent = node;
    }

    pub(crate) const fn recent(&self) -> SlotIndex {
        self.recent
    }

    /// Forgets what was made last, if it is `node`: its slot is about to be anything.
    #[inline(always)]
    fn forget(&mut self, node: SlotIndex) {
        if self.recent == node {
            self.recent = SlotIndex::NONE;
        }
    }

    /// What [`Mdb::last_starting`] finds, if that was made last or is one of the next two, as
    /// its mapping is; none says nothing.
    #[inline(always)]
    pub(crate) fn recent_starting<S: SlotStore>(&self, store: &S, before: u64) -> SlotIndex {
        let mut node = self.recent;
        if node.is_none() || store.slot(node).base >= before {
            return SlotIndex::NONE;
        }
        for _ in 0..NEAR_RECENT {
            let after = next(store, node);
            if after.is_none() || store.slot(after).base >= before {
                return node;
            }
            node = after;
        }
        SlotIndex::NONE
    }

    /// The last node whose key is at most that of `slot`.
    pub(crate) fn last_not_after<S: SlotStore>(&self, store: &S, slot: &Slot) -> SlotIndex {
        let mut last = SlotIndex::NONE;
        let mut node = self.root;
        while !node.is_none() {
            let here = store.slot(node);
            if compare(here, slot) == Ordering::Greater {
                node = here.left;
            } else {
                last = node;
                node = here.right;
            }
        }
        last
    }

    /// Writes `slot` to `dst` and links it right behind `neighbour`; first of
    /// all when there is none. The order is the caller's to keep.
    #[inline(always)]
    pub(crate) fn insert_after<S: SlotStore>(
        &mut self,
        store: &mut S,
        neighbour: SlotIndex,
        dst: SlotIndex,
        slot: Slot,
    ) {
        write_leaf(store, dst, slot);
        if neighbour.is_none() {
            match self.first(store) {
                Some(first) => self.attach_left(store, first, dst),
                None => self.root = dst,
            }
            return;
        }
        let right = store.slot(neighbour).right;
        if right.is_none() {
            self.attach_right(store, neighbour, dst);
        } else {
            let successor = leftmost(store, right);
            self.attach_left(store, successor, dst);
        }
    }

    /// Writes `slot`, a copy of that in `neighbour`, to `dst` and links it beside:
    /// before where that is as quick, so that the source stays next to its
    /// descendants.
    #[inline(always)]
    pub(crate) fn insert_beside<S: SlotStore>(
        &mut self,
        store: &mut S,
        neighbour: SlotIndex,
        dst: SlotIndex,
        slot: Slot,
    ) {
        write_leaf(store, dst, slot);
        let (left, right) = (store.slot(neighbour).left, store.slot(neighbour).right);
        if left.is_none() {
            self.attach_left(store, neighbour, dst);
        } else if right.is_none() {
            self.attach_right(store, neighbour, dst);
        } else {
            let predecessor = rightmost(store, left);
            self.attach_right(store, predecessor, dst);
        }
    }

    /// Writes `slot` to `dst` and links it where its key belongs, behind its
    /// equals. `hint`, which isn't after it in order, is tried as its neighbour
    /// before the tree is descended.
    #[inline(always)]
    pub(crate) fn insert_near<S: SlotStore>(
        &mut self,
        store: &mut S,
        hint: SlotIndex,
        dst: SlotIndex,
        slot: Slot,
    ) {
        let right = store.slot(hint).right;
        let after_hint = if right.is_none() {
            above_on_right(store, hint)
        } else {
            leftmost(store, right)
        };
        let fits =
            after_hint.is_none() || compare(store.slot(after_hint), &slot) == Ordering::Greater;
        if !fits {
            let neighbour = self.last_not_after(store, &slot);
            self.insert_after(store, neighbour, dst, slot);
        } else if right.is_none() {
            write_leaf(store, dst, slot);
            self.attach_right(store, hint, dst);
        } else {
            write_leaf(store, dst, slot);
            self.attach_left(store, after_hint, dst);
        }
    }

    #[inline]
    fn attach_left<S: SlotStore>(&mut self, store: &mut S, parent: SlotIndex, leaf: SlotIndex) {
        let above = store.slot_mut(parent);
        above.left = leaf;
        let rank = above.rank();
        self.settle(store, leaf, parent, rank);
    }

    #[inline]
    fn attach_right<S: SlotStore>(&mut self, store: &mut S, parent: SlotIndex, leaf: SlotIndex) {
        let above = store.slot_mut(parent);
        above.right = leaf;
        let rank = above.rank();
        self.settle(store, leaf, parent, rank);
    }

    /// Restores sums and ranks above a new leaf.
    #[inline]
    fn settle<S: SlotStore>(
        &mut self,
        store: &mut S,
        leaf: SlotIndex,
        parent: SlotIndex,
        rank: u8,
    ) {
        self.forget_looked();
        let slot = store.slot_mut(leaf);
        slot.parent = parent;
        let end = slot.max_end;
        raise(store, parent, end);
        // A parent that had a child already is of rank 2: nothing changes above.
        if rank == 1 {
            after_insertion(store, self, leaf, parent);
        }
    }

    /// Unlinks `node` and empties its slot.
    pub(crate) fn remove<S: SlotStore>(&mut self, store: &mut S, node: SlotIndex) {
        if store.slot(node).has_flags(SlotFlags::WATCHED) {
            self.holds.kept.moves(node, SlotIndex::NONE);
        }
        self.remove_before(store, node, SlotIndex::NONE);
    }

    /// [`Mdb::remove`] of what isn't watched, by who may know the next in order: none for not.
    pub(crate) fn remove_before<S: SlotStore>(
        &mut self,
        store: &mut S,
        node: SlotIndex,
        after: SlotIndex,
    ) {
        self.forget(node);
        let slot = store.slot(node);
        let Slot {
            left,
            right,
            parent,
            ..
        } = *slot;
        if left.is_none() || right.is_none() {
            let lost = Sums::own(slot);
            let child = if left.is_none() { right } else { left };
            replace_child(store, self, parent, node, child);
            set_parent(store, child, parent);
            *store.slot_mut(node) = Slot::EMPTY;
            lower(store, parent, lost);
            after_removal(store, self, parent);
            return;
        }
        let successor = if after.is_none() {
            leftmost(store, right)
        } else {
            after
        };
        self.replace_by_successor(store, node, successor);
    }

    /// Removes a node with two children: `successor`, the next in order, which has no
    /// left child, takes its place.
    fn replace_by_successor<S: SlotStore>(
        &mut self,
        store: &mut S,
        node: SlotIndex,
        successor: SlotIndex,
    ) {
        let removed = *store.slot(node);
        let lost = Sums::own(&removed);
        let heir = store.slot(successor);
        let moved = Sums::own(heir);
        let Slot {
            right: orphan,
            parent: old_parent,
            ..
        } = *heir;
        let start = if old_parent == node {
            successor
        } else {
            store.slot_mut(old_parent).left = orphan;
            set_parent(store, orphan, old_parent);
            store.slot_mut(successor).right = removed.right;
            set_parent(store, removed.right, successor);
            old_parent
        };
        let heir = store.slot_mut(successor);
        heir.left = removed.left;
        heir.parent = removed.parent;
        // The heir caches what the removed node did, so that the climb sees what
        // changed for the nodes above.
        heir.set_rank(removed.rank());
        heir.max_end = removed.max_end;
        heir.set_flags(
            SlotFlags::SUBTREE_REMOTE,
            removed.has_flags(SlotFlags::SUBTREE_REMOTE),
        );
        set_parent(store, removed.left, successor);
        replace_child(store, self, removed.parent, node, successor);
        *store.slot_mut(node) = Slot::EMPTY;
        // Below the heir, its own range went; with it and above, only the removed one.
        if start != successor {
            lower_below(store, start, successor, moved);
        }
        lower(store, successor, lost);
        after_removal(store, self, start);
    }

    /// Moves a node to another slot: `to` takes its place in the tree, `from` is
    /// emptied.
    pub(crate) fn move_node<S: SlotStore>(
        &mut self,
        store: &mut S,
        from: SlotIndex,
        to: SlotIndex,
    ) {
        self.forget(from);
        self.forget_looked();
        let slot = *store.slot(from);
        if slot.has_flags(SlotFlags::WATCHED) {
            self.holds.kept.moves(from, to);
        }
        replace_child(store, self, slot.parent, from, to);
        set_parent(store, slot.left, to);
        set_parent(store, slot.right, to);
        *store.slot_mut(to) = slot;
        *store.slot_mut(from) = Slot::EMPTY;
    }

    /// Sets the state, and what the nodes above cache of it.
    pub(crate) fn set_state<S: SlotStore>(&self, store: &mut S, node: SlotIndex, state: State) {
        store.slot_mut(node).set_state(state);
        refresh_up(store, node);
    }

    /// Sets or clears a remote flag, and what the nodes above cache of it.
    pub(crate) fn set_remote_flag<S: SlotStore>(
        &self,
        store: &mut S,
        node: SlotIndex,
        flag: SlotFlags,
        on: bool,
    ) {
        store.slot_mut(node).set_flags(flag, on);
        refresh_up(store, node);
    }

    /// Exchanges what two slots hold, with their places in the tree.
    pub(crate) fn swap_nodes<S: SlotStore>(&mut self, store: &mut S, a: SlotIndex, b: SlotIndex) {
        self.forget_looked();
        let exchanged = |link: SlotIndex| match link {
            link if link == a => b,
            link if link == b => a,
            link => link,
        };
        let renamed = |slot: &Slot| {
            let mut slot = *slot;
            slot.left = exchanged(slot.left);
            slot.right = exchanged(slot.right);
            slot.parent = exchanged(slot.parent);
            slot
        };
        let (was_a, was_b) = (*store.slot(a), *store.slot(b));
        self.holds.kept.swap(a, b);
        let (at_b, at_a) = (renamed(&was_a), renamed(&was_b));
        *store.slot_mut(a) = at_a;
        *store.slot_mut(b) = at_b;
        if was_a.parent == was_b.parent && !was_a.parent.is_none() {
            let parent = store.slot_mut(was_a.parent);
            (parent.left, parent.right) = (parent.right, parent.left);
        } else {
            // A parent that is itself one of the two was renamed above.
            if was_a.parent != b {
                replace_child(store, self, was_a.parent, a, b);
            }
            if was_b.parent != a {
                replace_child(store, self, was_b.parent, b, a);
            }
        }
        for (node, slot) in [(a, at_a), (b, at_b)] {
            set_parent(store, slot.left, node);
            set_parent(store, slot.right, node);
        }
    }
}

const fn some(node: SlotIndex) -> Option<SlotIndex> {
    if node.is_none() { None } else { Some(node) }
}

/// Writes what `slot` holds to `dst`, as a leaf without parent. Word by word: a
/// copy of the whole is a call on targets that can't use wide registers.
#[inline(always)]
fn write_leaf<S: SlotStore>(store: &mut S, dst: SlotIndex, slot: Slot) {
    let leaf = store.slot_mut(dst);
    leaf.set_leaf(&slot);
}

#[inline]
fn leftmost<S: SlotStore>(store: &S, mut node: SlotIndex) -> SlotIndex {
    loop {
        let left = store.slot(node).left;
        if left.is_none() {
            return node;
        }
        node = left;
    }
}

#[inline]
fn rightmost<S: SlotStore>(store: &S, mut node: SlotIndex) -> SlotIndex {
    loop {
        let right = store.slot(node).right;
        if right.is_none() {
            return node;
        }
        node = right;
    }
}

/// The node after `node` in order, or none.
#[inline]
pub(crate) fn next<S: SlotStore>(store: &S, node: SlotIndex) -> SlotIndex {
    let right = store.slot(node).right;
    if right.is_none() {
        above_on_right(store, node)
    } else {
        leftmost(store, right)
    }
}

/// The node above `node` whose left subtree it ends, or none.
#[inline]
fn above_on_right<S: SlotStore>(store: &S, mut node: SlotIndex) -> SlotIndex {
    let mut parent = store.slot(node).parent;
    while !parent.is_none() {
        let above = store.slot(parent);
        if above.left == node {
            break;
        }
        node = parent;
        parent = above.parent;
    }
    parent
}

/// The node before `node` in order, or none.
#[inline]
pub(crate) fn previous<S: SlotStore>(store: &S, mut node: SlotIndex) -> SlotIndex {
    let Slot {
        left, mut parent, ..
    } = *store.slot(node);
    if !left.is_none() {
        return rightmost(store, left);
    }
    while !parent.is_none() {
        let above = store.slot(parent);
        if above.right == node {
            break;
        }
        node = parent;
        parent = above.parent;
    }
    parent
}
