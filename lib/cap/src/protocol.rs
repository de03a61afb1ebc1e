//! This kernel's part in the protocols between kernels (`docs/020-capabilities.md`):
//! what a monitor asks of it, each step bounded and under an operation's id.
//!
//! | operation | what |
//! | --- | --- |
//! | [`lock_object`], [`unlock_object`] | the owner decides alone while it holds the object |
//! | [`begin_revoke`], [`mark_range`], [`sweep_step`], [`unmark`], [`finish_revoke`] | revoke: no kernel sweeps before all have marked |
//! | [`set_owner`] | the keeper's tombstone names another holder |
//! | [`reclaim_if`] | the holder has given the object up |
//!
//! These do as they are told. Who may tell so, and by what a kernel knows it of another,
//! is the kernel's: what changes who owns memory is proven by what another kernel wrote.

use core::cmp::Ordering;

use capelin_abi::{KernelId, ObjectType, Rights, SysError};

use crate::decode::usable;
use crate::delete::{Mode, Step, destroy, go_on};
use crate::delete_list::DeleteList;
use crate::hold::{End, Object, OperationId};
use crate::key::{compare_objects, is_conserved, is_same};
use crate::mdb::{Mdb, previous};
use crate::record::{CapRecord, ExportMode};
use crate::revoke::lies_within;
use crate::slot::{Slot, SlotFlags};
use crate::slot_index::SlotIndex;
use crate::store::{Effects, SlotStore};
use crate::transfer::{forget_copies, reclaim};

/// Locks the object that the capability in `index` names: until [`unlock_object`],
/// every use of it, through whatever capability, answers `Locked`.
///
/// # Errors
/// For the slot as [`crate::copy()`]; `Foreign` for what another kernel owns;
/// `InvalidArgument` for an operation that holds something; `NoResources` when the
/// table is full.
pub fn lock_object<S: SlotStore>(
    store: &S,
    mdb: &mut Mdb,
    index: SlotIndex,
    operation: OperationId,
) -> Result<Object, SysError> {
    let slot = *usable(store, mdb, index)?;
    if !mdb.owns(&slot) {
        return Err(SysError::Foreign);
    }
    mdb.holds.lock(operation, &slot)?;
    Ok(Object::of(&slot))
}

/// Ends [`lock_object`].
///
/// # Errors
/// `InvalidArgument` for an operation that holds nothing.
pub fn unlock_object(mdb: &mut Mdb, operation: OperationId) -> Result<(), SysError> {
    mdb.holds.release(operation, End::GivenUp)
}

/// Marks what the capability in `index` names, which is to stay, for a revoke by its
/// owner.
///
/// # Errors
/// For the slot as [`crate::copy()`]; `WrongType` for a mapping; `Foreign` for what
/// another kernel owns; `InsideItself` when the slot lies in the memory that it names;
/// otherwise as [`mark_range`].
pub fn begin_revoke<S: SlotStore>(
    store: &S,
    mdb: &mut Mdb,
    index: SlotIndex,
    operation: OperationId,
) -> Result<Object, SysError> {
    let slot = *usable(store, mdb, index)?;
    if slot.is_kind(ObjectType::Mapping) {
        return Err(SysError::WrongType);
    }
    if !mdb.owns(&slot) {
        return Err(SysError::Foreign);
    }
    if lies_within(store, index) {
        return Err(SysError::InsideItself);
    }
    let object = Object::of(&slot);
    mark_range(mdb, &object, operation)?;
    Ok(object)
}

/// Marks `object` and everything in its range: what is there can't be used, copied,
/// sent or received (`Dying`), nor deleted one by one, until [`unmark`]. Whether any
/// capability to it is here makes no difference.
///
/// # Errors
/// `Dying` where the range lies in one that is marked, whose revoke is this one's
/// answer; `Locked` for a locked object in it, to be asked again; `InvalidArgument`
/// for an operation that holds something; `NoResources` when the table is full.
pub fn mark_range(mdb: &mut Mdb, object: &Object, operation: OperationId) -> Result<(), SysError> {
    mdb.holds.mark(operation, &object.probe())
}

/// Does one step of removing what `operation` has marked, once all kernels have marked
/// it: everything made of it, tombstones and what came from other kernels included, then
/// copies but for that in `keep`. The object's own tombstone stays: it says that the
/// object is its owner's, whose revoke this is. [`Step::Done`] when nothing is left.
///
/// # Errors
/// `InvalidArgument` for an operation that has marked nothing, and for a `keep` that isn't
/// a capability to the object; `Dying` where its mark
/// lies in another, whose sweep is this one's; `LastCopy` where nothing is kept of memory that
/// nothing else could make again; `Locked` for what is in
/// transit, which the monitor ends first; `NoResources` as [`crate::delete()`].
pub fn sweep_step<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    operation: OperationId,
    keep: SlotIndex,
    effects: &mut E,
) -> Result<Step, SysError> {
    if mdb.holds.is_answered(operation) {
        return Ok(Step::Done);
    }
    // The mark holds everybody back but this.
    let (lifted, object) = mdb.holds.lift(operation)?;
    if !keep.is_none() && !is_same(store.slot(keep), &object) {
        mdb.holds.put_back(lifted);
        return Err(SysError::InvalidArgument);
    }
    let result = sweep(store, mdb, list, &object, keep, effects);
    mdb.holds.put_back(lifted);
    result
}

fn sweep<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    object: &Slot,
    keep: SlotIndex,
    effects: &mut E,
) -> Result<Step, SysError> {
    let victim = next_to_sweep(store, mdb, object, keep);
    if victim.is_none() {
        return Ok(Step::Done);
    }
    let slot = store.slot(victim);
    let is_lost = is_same(slot, object)
        && keep.is_none()
        && mdb.owns(slot)
        && is_conserved(slot.kind())
        && !mdb.has_copies(store, victim)
        && !mdb.has_ancestors(store, victim);
    if is_lost {
        return Err(SysError::LastCopy);
    }
    if store.slot(victim).has_flags(SlotFlags::QUEUED) {
        go_on(store, mdb, list, victim, effects)?;
    } else {
        destroy(store, mdb, list, victim, effects, Mode::Revoked)?;
    }
    Ok(Step::Again)
}

/// What goes next of `object` and what was made of it; none when only `keep` and the
/// object's tombstone are left.
fn next_to_sweep<S: SlotStore>(store: &S, mdb: &Mdb, object: &Slot, keep: SlotIndex) -> SlotIndex {
    // From the end: what was made of something goes before that.
    let last = mdb.last_starting(store, object.end());
    if last.is_none() {
        return SlotIndex::NONE;
    }
    if compare_objects(object, store.slot(last)) == Ordering::Less {
        return last;
    }
    let mut copy = if is_same(store.slot(last), object) {
        last
    } else {
        mdb.last_not_after(store, object)
    };
    // Copies are neighbours, and two of them may stay.
    while !copy.is_none() && is_same(store.slot(copy), object) {
        if copy != keep && !store.slot(copy).is_tombstone() {
            return copy;
        }
        copy = previous(store, copy);
    }
    SlotIndex::NONE
}

/// Ends [`mark_range`] for a revoke that was given up.
///
/// # Errors
/// `InvalidArgument` for an operation that holds nothing.
pub fn unmark(mdb: &mut Mdb, operation: OperationId) -> Result<(), SysError> {
    mdb.holds.release(operation, End::GivenUp)
}

/// Ends [`mark_range`] for a revoke that is complete: nothing in the range is left on any
/// kernel but the capability in `keep`, of which there are no copies elsewhere then.
///
/// # Errors
/// `InvalidArgument` for an operation that holds nothing, or a `keep` that isn't a
/// capability to the object; `Locked` where something is left here.
pub fn finish_revoke<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    operation: OperationId,
    keep: SlotIndex,
) -> Result<(), SysError> {
    let object = mdb.holds.object(operation)?;
    if !mdb.holds.is_answered(operation) {
        if !keep.is_none() && !is_same(store.slot(keep), &object) {
            return Err(SysError::InvalidArgument);
        }
        if !next_to_sweep(store, mdb, &object, keep).is_none() {
            return Err(SysError::Locked);
        }
        if !keep.is_none() {
            forget_copies(store, mdb, keep);
        }
    }
    mdb.holds.release(operation, End::Complete)
}

/// The tombstone of what `record` claims names another holder: the one that claims it.
/// `take` is called when nothing else can fail any more, as in [`crate::import_if`].
///
/// # Errors
/// `WrongType` for a record that claims nothing; `EmptySlot` when there is no tombstone of
/// it; `InvalidArgument` for a holder that is this kernel or can't exist; what `take` says.
pub fn set_owner<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    record: &CapRecord,
    take: impl FnOnce() -> Result<(), SysError>,
) -> Result<(), SysError> {
    if record.mode != ExportMode::Claim {
        return Err(SysError::WrongType);
    }
    let owner = record.owner;
    if owner == mdb.kernel() || owner.0 >= KernelId::LIMIT {
        return Err(SysError::InvalidArgument);
    }
    let tombstone = tombstone_of(store, mdb, record)?;
    take()?;
    mdb.forget_looked();
    let tombstone = store.slot_mut(tombstone);
    tombstone.set_owner(owner);
    tombstone.set_rights(Rights::empty());
    Ok(())
}

/// The object of `record` comes home only to be given up: its tombstone goes, and its
/// range is its ancestor's again. `take` is called when nothing else can fail any more, as
/// in [`crate::import_if`].
///
/// # Errors
/// `WrongType` for a record that isn't of a move to this kernel; `EmptySlot` when there is
/// no tombstone of it; `Locked` or `Dying` for what is held here; `HasRelations` while
/// parts that came back, or copies, are here; what `take` says.
pub fn reclaim_if<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    record: &CapRecord,
    take: impl FnOnce() -> Result<(), SysError>,
) -> Result<(), SysError> {
    if record.mode != ExportMode::Move || record.owner != mdb.kernel() {
        return Err(SysError::WrongType);
    }
    let tombstone = tombstone_of(store, mdb, record)?;
    mdb.holds.check(store.slot(tombstone))?;
    if mdb.has_descendants(store, tombstone) || mdb.has_copies(store, tombstone) {
        return Err(SysError::HasRelations);
    }
    take()?;
    reclaim(store, mdb, tombstone)
}

/// The tombstone of what `record` names.
fn tombstone_of<S: SlotStore>(
    store: &S,
    mdb: &Mdb,
    record: &CapRecord,
) -> Result<SlotIndex, SysError> {
    mdb.tombstone(store, &Slot::holding(&record.capability, record.owner))
        .ok_or(SysError::EmptySlot)
}
