//! Check: every invariant of the mapping database, for tests and for the shell's
//! `capcheck`.
//!
//! [`check`] takes O(n log n) and no memory. A kernel that must answer soon
//! walks with [`Mdb::first`] and [`Mdb::next`] and calls [`check_node`].

use core::cmp::Ordering;

use capelin_abi::{ObjectType, Rights};

use crate::balance::{Sums, rank};
use crate::delete_list::is_linked;
use crate::key::{compare, is_divided, is_mapped_kind, is_same};
use crate::mdb::{Mdb, next};
use crate::slot::{Slot, SlotFlags, State};
use crate::slot_index::SlotIndex;
use crate::store::SlotStore;

/// What a sound database holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Capabilities of any kind.
    pub capabilities: u64,
    /// Those that other kernels own, tombstones included.
    pub foreign: u64,
    /// Mappings.
    pub mappings: u64,
    /// Capabilities that are dying or in progress.
    pub unfinished: u64,
    /// The rank of the tree's root, no less than its height.
    pub rank: u8,
}

/// What is wrong, and at which slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// A slot in the tree holds no capability.
    Empty(SlotIndex),
    /// A child's parent link names another slot, or the root has a parent.
    ParentLink(SlotIndex),
    /// Largest end or remote mark isn't what the children make it.
    CachedSums(SlotIndex),
    /// A child's rank isn't one or two below its parent's, or a leaf's isn't 1.
    Balance(SlotIndex),
    /// It comes before its predecessor in the order.
    Order(SlotIndex),
    /// Its range crosses another.
    Crossing(SlotIndex),
    /// It claims an ancestor that isn't there.
    Ancestor(SlotIndex),
    /// It is dying and not on the list of deletions, or the other way round, or its
    /// neighbours on the list don't know it.
    DeleteList(SlotIndex),
    /// A frame or mapping is executable, and it, a copy, or the frame around it can be
    /// written to.
    Writable(SlotIndex),
    /// An unfinished revoke is of it, and its slot isn't watched.
    Unwatched(SlotIndex),
    /// An unfinished revoke is of what isn't in the tree.
    Kept(SlotIndex),
    /// It is less deep than what it lies in lets [`Mdb`]'s shortcut rely on.
    Depth(SlotIndex),
    /// What the database holds to be made last isn't in the tree.
    Recent(SlotIndex),
    /// More nodes than the tree's height allows: the links form a cycle.
    Cycle(SlotIndex),
}

/// Verifies the whole database.
///
/// # Errors
/// The first violation in order.
pub fn check<S: SlotStore>(store: &S, mdb: &Mdb) -> Result<Summary, Violation> {
    let mut summary = Summary {
        rank: rank(store, mdb.root),
        ..Summary::default()
    };
    let mut recent = mdb.recent();
    let mut kept = mdb.holds.kept.all();
    if mdb.root.is_none() {
        let lost = kept.into_iter().find(|slot| !slot.is_none());
        return match lost {
            Some(lost) => Err(Violation::Kept(lost)),
            None if !recent.is_none() => Err(Violation::Recent(recent)),
            None => Ok(summary),
        };
    }
    if !store.slot(mdb.root).parent.is_none() {
        return Err(Violation::ParentLink(mdb.root));
    }
    // A tree of rank r is at most r high, so it has fewer than 2^r nodes.
    let limit = 1u64
        .checked_shl(u32::from(summary.rank))
        .unwrap_or(u64::MAX);
    let mut node = mdb.first(store).unwrap_or(SlotIndex::NONE);
    while !node.is_none() {
        summary.capabilities += 1;
        if summary.capabilities >= limit {
            return Err(Violation::Cycle(node));
        }
        check_node(store, mdb, node)?;
        if node == recent {
            recent = SlotIndex::NONE;
        }
        for kept in kept.iter_mut().filter(|kept| **kept == node) {
            *kept = SlotIndex::NONE;
        }
        let slot = store.slot(node);
        summary.foreign += u64::from(!mdb.owns(slot));
        summary.mappings += u64::from(slot.is_kind(ObjectType::Mapping));
        summary.unfinished += u64::from(matches!(slot.state(), State::Dying | State::InProgress));
        node = next(store, node);
    }
    if !recent.is_none() {
        return Err(Violation::Recent(recent));
    }
    if let Some(lost) = kept.into_iter().find(|slot| !slot.is_none()) {
        return Err(Violation::Kept(lost));
    }
    Ok(summary)
}

/// Verifies one node against its neighbours, in O(log n).
///
/// # Errors
/// The violation found.
pub fn check_node<S: SlotStore>(store: &S, mdb: &Mdb, node: SlotIndex) -> Result<(), Violation> {
    let slot = store.slot(node);
    if !slot.is_occupied() {
        return Err(Violation::Empty(node));
    }
    // The walk climbs by these links: a wrong one would pass over part of the tree.
    let is_child = |parent: &Slot| parent.left == node || parent.right == node;
    if slot.parent.is_none() != (node == mdb.root)
        || !slot.parent.is_none() && !is_child(store.slot(slot.parent))
    {
        return Err(Violation::ParentLink(node));
    }
    for child in [slot.left, slot.right] {
        if !child.is_none() && store.slot(child).parent != node {
            return Err(Violation::ParentLink(child));
        }
    }
    if Sums::cached(slot) != Sums::computed(store, slot) {
        return Err(Violation::CachedSums(node));
    }
    let is_leaf = slot.left.is_none() && slot.right.is_none();
    let is_below = |child| {
        let difference = i16::from(slot.rank()) - i16::from(rank(store, child));
        difference == 1 || difference == 2
    };
    if !is_below(slot.left) || !is_below(slot.right) || (is_leaf && slot.rank() != 1) {
        return Err(Violation::Balance(node));
    }
    let is_queued = slot.has_flags(SlotFlags::QUEUED);
    if is_queued != (slot.state() == State::Dying) || (is_queued && !is_linked(store, node)) {
        return Err(Violation::DeleteList(node));
    }
    if mdb.holds.kept.has(node) && !slot.has_flags(SlotFlags::WATCHED) {
        return Err(Violation::Unwatched(node));
    }
    let after = next(store, node);
    if !after.is_none() && compare(slot, store.slot(after)) == Ordering::Greater {
        return Err(Violation::Order(after));
    }
    if mdb.crosses(store, slot.base, slot.end()) {
        return Err(Violation::Crossing(node));
    }
    let has_ancestor = !mdb.innermost_around(store, slot).is_none();
    if slot.has_flags(SlotFlags::HAS_ANCESTOR) && !has_ancestor {
        return Err(Violation::Ancestor(node));
    }
    if !is_written_or_executed(store, mdb, slot, after) {
        return Err(Violation::Writable(node));
    }
    if !is_deep_enough(store, mdb, slot) {
        return Err(Violation::Depth(node));
    }
    Ok(())
}

const fn is_same_range(a: &Slot, b: &Slot) -> bool {
    a.base == b.base && a.size == b.size
}

/// Whether W^X holds for what `slot` names: executable without WRITE, and so are its
/// copies, of which `after` may be one, its mappings and parts.
fn is_written_or_executed<S: SlotStore>(
    store: &S,
    mdb: &Mdb,
    slot: &Slot,
    after: SlotIndex,
) -> bool {
    let agrees = |other: SlotIndex| {
        let other = store.slot(other);
        other.is_tombstone() || other.is_executable() == slot.is_executable()
    };
    if slot.is_executable() && slot.rights().contains(Rights::WRITE) {
        return false;
    }
    if slot.is_tombstone() {
        return !slot.is_executable();
    }
    let is_copy = !after.is_none() && is_same(store.slot(after), slot);
    let around = mdb.innermost_around(store, slot);
    // Of a foreign frame, its owner said what it is.
    let is_of_frame = slot.is_kind(ObjectType::Mapping) || is_mapped_kind(slot.kind());
    let is_in_frame = is_of_frame
        && !around.is_none()
        && is_mapped_kind(store.slot(around).kind())
        && ((mdb.owns(slot) && mdb.owns(store.slot(around)))
            || is_same_range(store.slot(around), slot));
    (!is_copy || agrees(after)) && (!is_in_frame || agrees(around))
}

/// Whether the depth of `slot` tells retype the truth: deeper than the innermost range
/// around it that is divided by retyping, by more than one where something that isn't
/// divided (a frame, around its part) lies between.
fn is_deep_enough<S: SlotStore>(store: &S, mdb: &Mdb, slot: &Slot) -> bool {
    if mdb.has_odd_nesting() || slot.depth() == u8::MAX {
        return true;
    }
    let mut between = 0;
    let mut around = mdb.innermost_around(store, slot);
    while !around.is_none() && !is_divided(store.slot(around).kind()) {
        between = 1;
        around = mdb.innermost_around(store, store.slot(around));
    }
    around.is_none() || slot.depth() > store.slot(around).depth().saturating_add(between)
}

#[cfg(test)]
mod tests;
