//! Keeping the tree balanced and its cached sums true.
//!
//! The tree is rank-balanced in the weak sense (Haeupler, Sen, Tarjan,
//! "Rank-Balanced Trees", 2015): every node has a rank, a missing child has rank
//! 0, a leaf has rank 1, and a child's rank is one or two below its parent's.
//! With insertions only that is an AVL tree; with removals the height stays
//! below 2 log2 n, an insertion or removal rotates at most twice, and the ranks
//! that change are O(1) amortised in any mix of both. In an AVL tree, a copy and
//! its deletion in turn can change every height up to the root each time.
//!
//! Each node caches two sums over the tree below and with it: the largest end,
//! and whether anything in it is remote. They are restored first, climbing only
//! as far as they change ([`raise`], [`lower`], [`refresh_up`]); rotations keep them.

use crate::mdb::Mdb;
use crate::slot::{Slot, SlotFlags};
use crate::slot_index::SlotIndex;
use crate::store::SlotStore;

/// What a node caches about its subtree.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) remote: bool,
    pub(crate) max_end: u64,
}

impl Sums {
    #[inline]
    pub(crate) fn cached(slot: &Slot) -> Self {
        Self {
            remote: slot.has_flags(SlotFlags::SUBTREE_REMOTE),
            max_end: slot.max_end,
        }
    }

    /// What the node ought to cache, from its own fields and its children's.
    #[inline]
    pub(crate) fn computed<S: SlotStore>(store: &S, slot: &Slot) -> Self {
        let Self {
            mut remote,
            mut max_end,
        } = Self::own(slot);
        for child in [slot.left, slot.right] {
            if !child.is_none() {
                let child = store.slot(child);
                remote |= child.has_flags(SlotFlags::SUBTREE_REMOTE);
                max_end = max_end.max(child.max_end);
            }
        }
        Self { remote, max_end }
    }

    /// What the node adds to its own and its ancestors' sums.
    #[inline]
    pub(crate) fn own(slot: &Slot) -> Self {
        Self {
            remote: slot.is_remote(),
            max_end: slot.end(),
        }
    }

    #[inline]
    fn write(self, slot: &mut Slot) {
        slot.max_end = self.max_end;
        slot.set_flags(SlotFlags::SUBTREE_REMOTE, self.remote);
    }
}

/// The rank of a node, 0 for none.
#[inline]
pub(crate) fn rank<S: SlotStore>(store: &S, node: SlotIndex) -> u8 {
    if node.is_none() {
        0
    } else {
        store.slot(node).rank()
    }
}

/// Adds the end of a new leaf to the sums of the nodes from `node` upwards. No leaf is remote:
/// what is, became so in the tree.
#[inline]
pub(crate) fn raise<S: SlotStore>(store: &mut S, mut node: SlotIndex, end: u64) {
    while !node.is_none() {
        let slot = store.slot_mut(node);
        if slot.max_end >= end {
            return;
        }
        slot.max_end = end;
        node = slot.parent;
    }
}

/// Computes the sums from `node` upwards anew, until nothing changes.
#[inline]
pub(crate) fn refresh_up<S: SlotStore>(store: &mut S, mut node: SlotIndex) {
    while !node.is_none() {
        let slot = store.slot(node);
        let sums = Sums::computed(store, slot);
        if sums == Sums::cached(slot) {
            return;
        }
        let slot = store.slot_mut(node);
        sums.write(slot);
        node = slot.parent;
    }
}

/// Computes the sums from `node` upwards anew, below which a range went that added `lost`
/// to them, until nothing changes. Where something else ends later, and what went wasn't
/// remote, they are what they were, and so above.
#[inline]
pub(crate) fn lower<S: SlotStore>(store: &mut S, node: SlotIndex, lost: Sums) {
    lower_below(store, node, SlotIndex::NONE, lost);
}

/// [`lower`] of the nodes below `top` only.
#[inline]
pub(crate) fn lower_below<S: SlotStore>(
    store: &mut S,
    mut node: SlotIndex,
    top: SlotIndex,
    lost: Sums,
) {
    while node != top {
        let slot = store.slot(node);
        if slot.max_end > lost.max_end && !lost.remote {
            return;
        }
        let sums = Sums::computed(store, slot);
        if sums == Sums::cached(slot) {
            return;
        }
        let slot = store.slot_mut(node);
        sums.write(slot);
        node = slot.parent;
    }
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

/// Which child: sides are constants, so that each rotation is straight code.
const LEFT: bool = false;
const RIGHT: bool = true;

#[inline(always)]
const fn child<const SIDE: bool>(slot: &Slot) -> SlotIndex {
    if SIDE == RIGHT { slot.right } else { slot.left }
}

#[inline(always)]
const fn other_child<const SIDE: bool>(slot: &Slot) -> SlotIndex {
    if SIDE == RIGHT { slot.left } else { slot.right }
}

#[inline(always)]
const fn set_child<const SIDE: bool>(slot: &mut Slot, child: SlotIndex) {
    if SIDE == RIGHT {
        slot.right = child;
    } else {
        slot.left = child;
    }
}

#[inline(always)]
const fn set_other_child<const SIDE: bool>(slot: &mut Slot, child: SlotIndex) {
    if SIDE == RIGHT {
        slot.left = child;
    } else {
        slot.right = child;
    }
}

/// Lifts `lifted`, the child of `node` on `SIDE`, into its place. Sums are kept,
/// ranks are the caller's.
#[inline(always)]
fn rotate<S: SlotStore, const SIDE: bool>(
    store: &mut S,
    mdb: &mut Mdb,
    node: SlotIndex,
    lifted: SlotIndex,
) {
    let slot = store.slot(node);
    let (parent, sums) = (slot.parent, Sums::cached(slot));
    let slot = store.slot_mut(lifted);
    let inner = other_child::<SIDE>(slot);
    set_other_child::<SIDE>(slot, node);
    slot.parent = parent;
    sums.write(slot);
    replace_child(store, mdb, parent, node, lifted);
    set_parent(store, inner, node);
    let slot = store.slot_mut(node);
    set_child::<SIDE>(slot, inner);
    slot.parent = lifted;
    let sums = Sums::computed(store, store.slot(node));
    sums.write(store.slot_mut(node));
}

/// Lifts the inner grandchild on `SIDE` over `child` and `node`.
#[inline(always)]
fn rotate_twice<S: SlotStore, const SIDE: bool>(
    store: &mut S,
    mdb: &mut Mdb,
    node: SlotIndex,
    child: SlotIndex,
    inner: SlotIndex,
) {
    if SIDE == RIGHT {
        rotate::<S, LEFT>(store, mdb, child, inner);
    } else {
        rotate::<S, RIGHT>(store, mdb, child, inner);
    }
    rotate::<S, SIDE>(store, mdb, node, inner);
}

/// Restores the ranks after a leaf was attached to `parent`.
#[inline]
pub(crate) fn after_insertion<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    leaf: SlotIndex,
    mut parent: SlotIndex,
) {
    let mut node = leaf;
    let mut node_rank = 1;
    while !parent.is_none() {
        let slot = store.slot(parent);
        if slot.rank() != node_rank {
            return;
        }
        let is_left = slot.left == node;
        let sibling = if is_left { slot.right } else { slot.left };
        if rank(store, sibling) + 1 != node_rank {
            if is_left {
                lift::<S, LEFT>(store, mdb, parent, node);
            } else {
                lift::<S, RIGHT>(store, mdb, parent, node);
            }
            return;
        }
        node_rank += 1;
        let slot = store.slot_mut(parent);
        slot.set_rank(node_rank);
        node = parent;
        parent = slot.parent;
    }
}

/// Rotates at `node`, whose child `high` on `SIDE` has its rank and whose other
/// child's is two lower.
#[cold]
#[inline(never)]
fn lift<S: SlotStore, const SIDE: bool>(
    store: &mut S,
    mdb: &mut Mdb,
    node: SlotIndex,
    high: SlotIndex,
) {
    let node_rank = store.slot(node).rank();
    let inner = other_child::<SIDE>(store.slot(high));
    if rank(store, inner) + 1 == node_rank {
        rotate_twice::<S, SIDE>(store, mdb, node, high, inner);
        store.slot_mut(inner).set_rank(node_rank);
        store.slot_mut(high).set_rank(node_rank - 1);
    } else {
        rotate::<S, SIDE>(store, mdb, node, high);
    }
    store.slot_mut(node).set_rank(node_rank - 1);
}

/// Restores the ranks after a child of `parent` was removed or replaced by one
/// of lower rank.
#[inline]
pub(crate) fn after_removal<S: SlotStore>(store: &mut S, mdb: &mut Mdb, mut parent: SlotIndex) {
    while !parent.is_none() {
        let slot = store.slot(parent);
        let own = slot.rank();
        if slot.left.is_none() && slot.right.is_none() {
            if own == 1 {
                return;
            }
        } else {
            let left = own - rank(store, slot.left);
            let right = own - rank(store, slot.right);
            if left > 2 {
                let high = slot.right;
                if right == 1 && !demote_sibling(store, high) {
                    return sink::<S, RIGHT>(store, mdb, parent, high);
                }
            } else if right > 2 {
                let high = slot.left;
                if left == 1 && !demote_sibling(store, high) {
                    return sink::<S, LEFT>(store, mdb, parent, high);
                }
            } else {
                return;
            }
        }
        let slot = store.slot_mut(parent);
        slot.set_rank(own - 1);
        parent = slot.parent;
    }
}

/// Demotes a node whose children are both two ranks lower; false for others.
fn demote_sibling<S: SlotStore>(store: &mut S, node: SlotIndex) -> bool {
    let slot = store.slot(node);
    let own = slot.rank();
    let may_be_demoted = own - rank(store, slot.left) == 2 && own - rank(store, slot.right) == 2;
    if may_be_demoted {
        store.slot_mut(node).set_rank(own - 1);
    }
    may_be_demoted
}

/// Rotates at `node`, whose child `high` on `SIDE` is one rank lower and whose
/// other child is three lower.
#[cold]
#[inline(never)]
fn sink<S: SlotStore, const SIDE: bool>(
    store: &mut S,
    mdb: &mut Mdb,
    node: SlotIndex,
    high: SlotIndex,
) {
    let own = store.slot(node).rank();
    let slot = store.slot(high);
    let (inner, outer) = (other_child::<SIDE>(slot), child::<SIDE>(slot));
    if rank(store, outer) + 2 == own {
        rotate::<S, SIDE>(store, mdb, node, high);
        store.slot_mut(high).set_rank(own);
        let slot = store.slot_mut(node);
        let is_leaf = slot.left.is_none() && slot.right.is_none();
        slot.set_rank(if is_leaf { 1 } else { own - 1 });
    } else {
        rotate_twice::<S, SIDE>(store, mdb, node, high, inner);
        store.slot_mut(inner).set_rank(own);
        store.slot_mut(high).set_rank(own - 2);
        store.slot_mut(node).set_rank(own - 2);
    }
}
