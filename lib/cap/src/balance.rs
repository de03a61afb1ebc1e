//! Keeping the tree balanced and its cached sums true.
//!
//! Each node caches three facts about the tree below and with it: the height,
//! the largest end, and whether anything in it is remote. [`repair`] climbs from
//! the deepest node whose subtree changed, rotates where the heights of two
//! children differ by two, and stops where nothing cached changed any more: for
//! most insertions and removals after a level or two.

use crate::mdb::Mdb;
use crate::slot::{Slot, SlotFlags, SlotIndex};
use crate::store::SlotStore;

/// What a node caches about its subtree.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) height: u8,
    pub(crate) remote: bool,
    pub(crate) max_end: u64,
}

impl Sums {
    const NOTHING: Self = Self {
        height: 0,
        remote: false,
        max_end: 0,
    };

    #[inline]
    fn cached(slot: &Slot) -> Self {
        Self {
            height: slot.height,
            remote: slot.has_flags(SlotFlags::SUBTREE_REMOTE),
            max_end: slot.max_end,
        }
    }

    #[inline]
    fn of<S: SlotStore>(store: &S, node: SlotIndex) -> Self {
        if node.is_none() {
            Self::NOTHING
        } else {
            Self::cached(store.slot(node))
        }
    }

    #[inline]
    fn combine(slot: &Slot, left: Self, right: Self) -> Self {
        Self {
            height: left.height.max(right.height) + 1,
            remote: slot.has_flags(SlotFlags::REMOTE) | left.remote | right.remote,
            max_end: slot.end().max(left.max_end).max(right.max_end),
        }
    }

    /// What the node ought to cache, from its own fields and its children's.
    pub(crate) fn computed<S: SlotStore>(store: &S, node: SlotIndex) -> Self {
        let slot = store.slot(node);
        Self::combine(
            slot,
            Self::of(store, slot.left),
            Self::of(store, slot.right),
        )
    }

    #[inline]
    fn write(self, slot: &mut Slot) {
        slot.height = self.height;
        slot.max_end = self.max_end;
        slot.set_flags(SlotFlags::SUBTREE_REMOTE, self.remote);
    }
}

/// What `node` caches now.
pub(crate) fn cached<S: SlotStore>(store: &S, node: SlotIndex) -> Sums {
    Sums::of(store, node)
}

#[inline]
pub(crate) fn height<S: SlotStore>(store: &S, node: SlotIndex) -> u8 {
    if node.is_none() {
        0
    } else {
        store.slot(node).height
    }
}

fn refresh<S: SlotStore>(store: &mut S, node: SlotIndex) {
    let sums = Sums::computed(store, node);
    sums.write(store.slot_mut(node));
}

/// Makes `new` the child of `parent` that `old` was (the root, without parent).
#[inline]
pub(crate) fn replace_child<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    parent: SlotIndex,
    old: SlotIndex,
    new: SlotIndex,
) {
    if parent.is_none() {
        mdb.root = new;
    } else {
        let slot = store.slot_mut(parent);
        if slot.left == old {
            slot.left = new;
        } else {
            slot.right = new;
        }
    }
}

#[inline]
pub(crate) fn set_parent<S: SlotStore>(store: &mut S, node: SlotIndex, parent: SlotIndex) {
    if !node.is_none() {
        store.slot_mut(node).parent = parent;
    }
}

/// Lifts the right child of `node` into its place; answers that child. The
/// cached sums of `node` are refreshed, the child's are the caller's to refresh.
fn rotate_left<S: SlotStore>(store: &mut S, mdb: &mut Mdb, node: SlotIndex) -> SlotIndex {
    let Slot {
        right: child,
        parent,
        ..
    } = *store.slot(node);
    let inner = store.slot(child).left;
    let lifted = store.slot_mut(child);
    lifted.left = node;
    lifted.parent = parent;
    replace_child(store, mdb, parent, node, child);
    let lowered = store.slot_mut(node);
    lowered.right = inner;
    lowered.parent = child;
    set_parent(store, inner, node);
    refresh(store, node);
    child
}

/// The mirror image of [`rotate_left`].
fn rotate_right<S: SlotStore>(store: &mut S, mdb: &mut Mdb, node: SlotIndex) -> SlotIndex {
    let Slot {
        left: child,
        parent,
        ..
    } = *store.slot(node);
    let inner = store.slot(child).right;
    let lifted = store.slot_mut(child);
    lifted.right = node;
    lifted.parent = parent;
    replace_child(store, mdb, parent, node, child);
    let lowered = store.slot_mut(node);
    lowered.left = inner;
    lowered.parent = child;
    set_parent(store, inner, node);
    refresh(store, node);
    child
}

/// Rotates at `node`, whose right side is higher by two; answers the new top.
#[cold]
#[inline(never)]
fn lower_right<S: SlotStore>(store: &mut S, mdb: &mut Mdb, node: SlotIndex) -> SlotIndex {
    let right = store.slot(node).right;
    let Slot {
        left: inner,
        right: outer,
        ..
    } = *store.slot(right);
    if height(store, inner) > height(store, outer) {
        let top = rotate_right(store, mdb, right);
        refresh(store, top);
    }
    let top = rotate_left(store, mdb, node);
    refresh(store, top);
    top
}

/// Rotates at `node`, whose left side is higher by two; answers the new top.
#[cold]
#[inline(never)]
fn lower_left<S: SlotStore>(store: &mut S, mdb: &mut Mdb, node: SlotIndex) -> SlotIndex {
    let left = store.slot(node).left;
    let Slot {
        left: outer,
        right: inner,
        ..
    } = *store.slot(left);
    if height(store, inner) > height(store, outer) {
        let top = rotate_left(store, mdb, left);
        refresh(store, top);
    }
    let top = rotate_right(store, mdb, node);
    refresh(store, top);
    top
}

/// Restores balance and cached sums from `node` upwards, until a subtree caches
/// what it cached before.
pub(crate) fn repair<S: SlotStore>(store: &mut S, mdb: &mut Mdb, mut node: SlotIndex) {
    while !node.is_none() {
        let slot = store.slot(node);
        let before = Sums::cached(slot);
        let left = Sums::of(store, slot.left);
        let right = Sums::of(store, slot.right);
        if left.height > right.height + 1 {
            node = lower_left(store, mdb, node);
            if Sums::cached(store.slot(node)) == before {
                return;
            }
        } else if right.height > left.height + 1 {
            node = lower_right(store, mdb, node);
            if Sums::cached(store.slot(node)) == before {
                return;
            }
        } else {
            let sums = Sums::combine(slot, left, right);
            if sums == before {
                return;
            }
            sums.write(store.slot_mut(node));
        }
        node = store.slot(node).parent;
    }
}
