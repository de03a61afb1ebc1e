//! Export and import: capabilities between kernels; and the marks that the
//! monitors' protocols leave.
//!
//! A move leaves a *tombstone*: it claims the range here, so that what the
//! capability was made from can't be used to make it again, and shows whoever
//! revokes that another kernel has to be asked. When the capability comes home,
//! the import takes the tombstone's place.

use capelin_abi::{KernelId, ObjectType, Rights, SysError};

use crate::copy::copied;
use crate::create::{check_range, has_rival};
use crate::decode::{occupied, usable, vacant};
use crate::key::is_same;
use crate::mdb::Mdb;
use crate::record::{CapRecord, ExportMode};
use crate::slot::{Slot, SlotFlags, SlotIndex, State};
use crate::store::SlotStore;

/// Makes the record with which the capability in `index` goes to the kernel
/// `to`, and leaves the slot as `mode` says.
///
/// # Errors
/// For the slot as [`crate::copy()`]; `InvalidArgument` for a receiver that is
/// this kernel or can't exist; `WrongType` for a type that doesn't travel so;
/// `Foreign` for what another kernel owns. Move: `RemoteRelations` with copies
/// elsewhere or parts moved away, `HasRelations` with local copies, mappings or
/// other descendants.
pub fn export<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    index: SlotIndex,
    to: KernelId,
    mode: ExportMode,
) -> Result<CapRecord, SysError> {
    let slot = *usable(store, index)?;
    if to == mdb.kernel() || to.0 >= KernelId::LIMIT {
        return Err(SysError::InvalidArgument);
    }
    if !mode.takes(slot.kind()) {
        return Err(SysError::WrongType);
    }
    if !mdb.owns(&slot) {
        return Err(SysError::Foreign);
    }
    let has_ancestors =
        slot.has_flags(SlotFlags::REMOTE_ANCESTORS) || mdb.has_ancestors(store, index);
    let mut capability = slot.capability();
    if mode == ExportMode::Copy {
        // Only the owner can revoke or make more of it.
        capability
            .rights
            .remove(Rights::REVOKE.union(Rights::RETYPE));
        mdb.set_remote_flag(store, index, SlotFlags::REMOTE_COPIES, true);
        return Ok(CapRecord {
            capability,
            owner: mdb.kernel(),
            mode,
            has_ancestors,
        });
    }
    if mdb.has_remote_relations(store, index) {
        return Err(SysError::RemoteRelations);
    }
    if mdb.has_copies(store, index) || mdb.has_descendants(store, index) {
        return Err(SysError::HasRelations);
    }
    let tombstone = store.slot_mut(index);
    tombstone.set_owner(to);
    tombstone.set_rights(Rights::empty());
    tombstone.data = [0; 2];
    mdb.set_remote_flag(store, index, SlotFlags::TOMBSTONE, true);
    Ok(CapRecord {
        capability,
        owner: to,
        mode,
        has_ancestors,
    })
}

/// Puts the capability that `record` describes into the empty slot `dst`.
///
/// # Errors
/// `NoSuchSlot` or `SlotInUse` for `dst`; `WrongType`, `OutOfRange`,
/// `Unaligned` or `InvalidArgument` for the record; `RangeInUse` where what is
/// known here contradicts it; `Dying` for a copy of what this kernel owned and
/// is gone.
pub fn import<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    record: &CapRecord,
    dst: SlotIndex,
) -> Result<(), SysError> {
    vacant(store, dst)?;
    check_range(&record.capability)?;
    if !record.mode.takes(record.capability.kind) {
        return Err(SysError::WrongType);
    }
    if record.owner.0 >= KernelId::LIMIT {
        return Err(SysError::InvalidArgument);
    }
    let slot = Slot::holding(&record.capability, record.owner);
    let before = mdb.last_not_after(store, &slot);
    let is_known = !before.is_none() && is_same(store.slot(before), &slot);
    match record.mode {
        ExportMode::Move if record.owner != mdb.kernel() => Err(SysError::InvalidArgument),
        ExportMode::Move if is_known => bring_home(store, mdb, before, &slot, dst),
        ExportMode::Move => adopt(store, mdb, before, slot, record.has_ancestors, dst),
        ExportMode::Copy if record.owner == mdb.kernel() => {
            take_back(store, mdb, is_known, before, &slot, dst)
        }
        ExportMode::Copy => take_foreign(store, mdb, is_known, before, slot, dst),
    }
}

/// A moved capability returns to the kernel that has its tombstone.
fn bring_home<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    tombstone: SlotIndex,
    slot: &Slot,
    dst: SlotIndex,
) -> Result<(), SysError> {
    // With foreign copies here, the sender couldn't move it.
    let is_alone = !mdb.has_copies(store, tombstone) && !mdb.has_descendants(store, tombstone);
    if !store.slot(tombstone).is_tombstone() || !is_alone {
        return Err(SysError::RangeInUse);
    }
    mdb.move_node(store, tombstone, dst);
    let here = store.slot_mut(dst);
    here.set_owner(slot.owner());
    here.set_rights(slot.rights());
    here.data = slot.data;
    mdb.set_remote_flag(store, dst, SlotFlags::TOMBSTONE, false);
    Ok(())
}

/// A moved capability arrives for the first time.
fn adopt<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    before: SlotIndex,
    mut slot: Slot,
    has_ancestors: bool,
    dst: SlotIndex,
) -> Result<(), SysError> {
    // Only what was moved away can contain it: it comes back in parts.
    let around = mdb.innermost_around(store, &slot);
    let is_owned_here = !around.is_none() && !store.slot(around).is_tombstone();
    if is_owned_here
        || has_rival(store, mdb, before, &slot)
        || mdb.crosses(store, slot.base, slot.end())
        || mdb.first_inside(store, before, &slot).is_some()
    {
        return Err(SysError::RangeInUse);
    }
    slot.set_flags(SlotFlags::REMOTE_ANCESTORS, has_ancestors);
    if !around.is_none() {
        slot.set_depth_below(store.slot(around));
    }
    mdb.insert_after(store, before, dst, slot);
    Ok(())
}

/// A copy of what this kernel owns comes from another.
fn take_back<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    is_known: bool,
    original: SlotIndex,
    slot: &Slot,
    dst: SlotIndex,
) -> Result<(), SysError> {
    if !is_known || store.slot(original).state() != State::Live || !mdb.owns(store.slot(original)) {
        return Err(SysError::Dying);
    }
    let mut copy = copied(store.slot(original), Rights::all());
    copy.set_rights(slot.rights());
    copy.data = slot.data;
    mdb.insert_beside(store, original, dst, copy);
    Ok(())
}

/// A copy of what another kernel owns.
fn take_foreign<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    is_known: bool,
    before: SlotIndex,
    mut slot: Slot,
    dst: SlotIndex,
) -> Result<(), SysError> {
    if is_known {
        // Beside foreign copies, or the tombstone of what was moved to its owner.
        if store.slot(before).owner() != slot.owner() {
            return Err(SysError::RangeInUse);
        }
        mdb.insert_beside(store, before, dst, slot);
        return Ok(());
    }
    let around = mdb.innermost_around(store, &slot);
    if !around.is_none() {
        let around = store.slot(around);
        slot.set_depth_below(around);
        // The image of a core, and addresses that aren't known to be memory,
        // contain what other kernels made of them.
        let may_contain = around.is_tombstone()
            || around.is_kind(ObjectType::CoreImage)
            || around.is_kind(ObjectType::PhysAddr)
            || around.owner() == slot.owner();
        if !may_contain {
            return Err(SysError::RangeInUse);
        }
    }
    let inside = mdb.first_inside(store, before, &slot);
    let is_claimed = inside.is_some_and(|inside| store.slot(inside).owner() != slot.owner());
    if is_claimed
        || has_rival(store, mdb, before, &slot)
        || mdb.crosses(store, slot.base, slot.end())
    {
        return Err(SysError::RangeInUse);
    }
    if inside.is_some() {
        mdb.note_odd_nesting();
    }
    mdb.insert_after(store, before, dst, slot);
    Ok(())
}

/// Removes a tombstone: the kernel that it was moved to has given the object up,
/// and the range can be used here again.
///
/// # Errors
/// `NoSuchSlot`, `EmptySlot`, `Dying`; `WrongType` for anything but a tombstone;
/// `HasRelations` while parts of it that came back exist.
pub fn reclaim<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    index: SlotIndex,
) -> Result<(), SysError> {
    if !occupied(store, index)?.is_tombstone() {
        return Err(SysError::WrongType);
    }
    if mdb.has_descendants(store, index) {
        return Err(SysError::HasRelations);
    }
    mdb.remove(store, index);
    Ok(())
}

/// Locks the capability in `index` for a protocol between kernels: every other
/// operation on it answers `Locked`.
///
/// # Errors
/// As [`crate::copy()`] for its source.
pub fn lock<S: SlotStore>(store: &mut S, index: SlotIndex) -> Result<(), SysError> {
    usable(store, index)?;
    store.slot_mut(index).set_state(State::Locked);
    Ok(())
}

/// Ends [`lock`].
///
/// # Errors
/// `NoSuchSlot`, `EmptySlot`, `Dying`; `InvalidArgument` for what isn't locked.
pub fn unlock<S: SlotStore>(store: &mut S, index: SlotIndex) -> Result<(), SysError> {
    if occupied(store, index)?.state() != State::Locked {
        return Err(SysError::InvalidArgument);
    }
    store.slot_mut(index).set_state(State::Live);
    Ok(())
}

/// Notes whether copies of the owned object in `index` exist on other kernels:
/// the monitor learns it from them. Clearing it clears it for this capability
/// only, which is the last local one when it matters.
///
/// # Errors
/// `NoSuchSlot`, `EmptySlot`, `Dying`; `Foreign` for what another kernel owns;
/// `WrongType` for what has no copies on other kernels.
pub fn set_remote_copies<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    index: SlotIndex,
    exist: bool,
) -> Result<(), SysError> {
    let slot = occupied(store, index)?;
    if !mdb.owns(slot) {
        return Err(SysError::Foreign);
    }
    if !ExportMode::Copy.takes(slot.kind()) {
        return Err(SysError::WrongType);
    }
    mdb.set_remote_flag(store, index, SlotFlags::REMOTE_COPIES, exist);
    Ok(())
}
