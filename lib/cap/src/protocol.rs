//! This kernel's part in the protocols between kernels (`docs/020-capabilities.md`):
//! what a monitor asks of it, each step bounded and under an operation's id.
//!
//! | operation | what |
//! | --- | --- |
//! | [`lock_object`], [`unlock_object`] | the owner decides alone while it holds the object |
//! | [`mark_range`], [`sweep_step`], [`unmark`] | revoke: no kernel sweeps before all have marked |
//! | [`set_owner`] | the keeper's tombstone names another holder |
//! | [`crate::reclaim`] | the holder has given the object up |

use core::cmp::Ordering;

use capelin_abi::{KernelId, Rights, SysError};

use crate::decode::usable;
use crate::delete::{Mode, Step, destroy, go_on};
use crate::delete_list::DeleteList;
use crate::hold::{Object, OperationId};
use crate::key::{compare_objects, is_same};
use crate::mdb::Mdb;
use crate::segment::SlotIndex;
use crate::slot::{Slot, SlotFlags};
use crate::store::{Effects, SlotStore};

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
    mdb.holds.release(operation)
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
/// it: copies but for that in `keep`, then everything made of it, tombstones and what
/// came from other kernels included. [`Step::Done`] when nothing is left.
///
/// # Errors
/// `InvalidArgument` for an operation that has marked nothing; `Dying` where its mark
/// lies in another, whose sweep is this one's; `Locked` for what is in
/// transit, which the monitor ends first; `NoResources` as [`crate::delete()`].
pub fn sweep_step<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    operation: OperationId,
    keep: SlotIndex,
    effects: &mut E,
) -> Result<Step, SysError> {
    // The mark holds everybody back but this.
    let (lifted, object) = mdb.holds.lift(operation)?;
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
    // From the end: what was made of something goes before that.
    let last = mdb.last_starting(store, object.end());
    let is_copy = |at: SlotIndex| !at.is_none() && is_same(store.slot(at), object);
    let is_descendant =
        !last.is_none() && compare_objects(object, store.slot(last)) == Ordering::Less;
    let copy = if is_copy(last) {
        last
    } else {
        mdb.last_not_after(store, object)
    };
    let victim = if is_descendant {
        last
    } else if is_copy(copy) && copy != keep {
        copy
    } else if is_copy(copy) {
        mdb.other_copy(store, copy)
    } else {
        SlotIndex::NONE
    };
    if victim.is_none() {
        return Ok(Step::Done);
    }
    if store.slot(victim).has_flags(SlotFlags::QUEUED) {
        go_on(store, mdb, list, victim, effects)?;
    } else {
        destroy(store, mdb, list, victim, effects, Mode::Revoked)?;
    }
    Ok(Step::Again)
}

/// Ends [`mark_range`].
///
/// # Errors
/// `InvalidArgument` for an operation that holds nothing.
pub fn unmark(mdb: &mut Mdb, operation: OperationId) -> Result<(), SysError> {
    mdb.holds.release(operation)
}

/// The tombstone of `object` names another holder: it was moved on from there.
///
/// # Errors
/// `EmptySlot` when there is no tombstone of it; `InvalidArgument` for a holder that is
/// this kernel or can't exist.
pub fn set_owner<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    object: &Object,
    owner: KernelId,
) -> Result<(), SysError> {
    if owner == mdb.kernel() || owner.0 >= KernelId::LIMIT {
        return Err(SysError::InvalidArgument);
    }
    let probe = object.probe();
    let last = mdb.last_not_after(store, &probe);
    if last.is_none() || !is_same(store.slot(last), &probe) || !store.slot(last).is_tombstone() {
        return Err(SysError::EmptySlot);
    }
    let tombstone = store.slot_mut(last);
    tombstone.set_owner(owner);
    tombstone.set_rights(Rights::empty());
    Ok(())
}
