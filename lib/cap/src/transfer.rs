//! Export: a capability goes to another kernel, in two phases; and the marks that
//! the monitors' protocols leave.
//!
//! ```text
//!   here                                there
//!   export: InTransit  ── record ──▶    import
//!   commit             ◀── taken ──     Ok
//!   abort              ◀── refused ──   Err: nothing has changed there
//! ```
//!
//! Between the two, the capability claims its range here and can't be used: it is
//! never lost and never doubled, whatever becomes of the record. A committed move
//! leaves a *tombstone* where a local ancestor claims the range: the tombstone
//! keeps what is away from being made again from that ancestor, and shows whoever
//! revokes that another kernel has to be asked. Without such an ancestor nothing
//! here could make it again, and the slot is empty: memory that passes through a
//! kernel leaves nothing there. When the capability comes home, the import takes
//! the tombstone's place.
//!
//! Of several copies of an object one, and only one, notes the copies that other
//! kernels have: how many are on their way, and whether any has arrived.

use core::cmp::Ordering;

use capelin_abi::{KernelId, Rights, SysError};

use crate::decode::{occupied, usable};
use crate::key::{compare, is_same};
use crate::mdb::Mdb;
use crate::record::{CapRecord, ExportMode};
use crate::slot::{ARRIVED, Slot, SlotFlags, State};
use crate::slot_index::SlotIndex;
use crate::store::SlotStore;

/// Begins a transfer: makes the record with which the capability in `index` goes to
/// the kernel `to`. [`commit`] or [`abort`] ends it.
///
/// # Errors
/// For the slot as [`crate::copy()`]; `InvalidArgument` for a receiver that is
/// this kernel or can't exist; `WrongType` for a type that doesn't travel so;
/// `Foreign` for moving or claiming what another kernel owns. Move: `ThroughMonitor` with
/// copies elsewhere or parts moved away, `HasRelations` with local copies, mappings or
/// other descendants. Hand-over: the same, but copies elsewhere stay; `Locked` while some
/// are on their way. Both: `Dying` while a part of it is marked to be revoked, though
/// nothing may be left of that: a revoke is its owner's. Copy: `NoResources` with 2^31 on their
/// way.
pub fn export<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    index: SlotIndex,
    to: KernelId,
    mode: ExportMode,
) -> Result<CapRecord, SysError> {
    let slot = *usable(store, mdb, index)?;
    if to == mdb.kernel() || to.0 >= KernelId::LIMIT {
        return Err(SysError::InvalidArgument);
    }
    if !mode.takes(slot.kind()) {
        return Err(SysError::WrongType);
    }
    let is_owned = mdb.owns(&slot);
    if !is_owned && mode != ExportMode::Copy {
        return Err(SysError::Foreign);
    }
    let mut record = CapRecord {
        capability: slot.capability(),
        owner: to,
        mode,
        has_ancestors: slot.has_flags(SlotFlags::REMOTE_ANCESTORS)
            || mdb.has_ancestors(store, index),
        is_in_frame: mdb.is_in_frame(store, &slot),
        is_executable: slot.is_executable(),
    };
    match mode {
        ExportMode::Copy => {
            // Only the owner can revoke or make more of it.
            let rights = &mut record.capability.rights;
            rights.remove(Rights::REVOKE.union(Rights::RETYPE));
            record.owner = slot.owner();
            if !is_owned {
                // The owner has noted that there are copies elsewhere; more of them
                // change nothing for it.
                return Ok(record);
            }
            let noting = noting_copy(store, mdb, &slot).unwrap_or(index);
            let noted = store.slot(noting).progress;
            if noted & !ARRIVED == !ARRIVED {
                return Err(SysError::NoResources);
            }
            note_copies(store, mdb, noting, noted + 1);
        }
        ExportMode::Claim => record.owner = mdb.kernel(),
        ExportMode::HandOver => {
            if mdb.has_remote_descendants(store, index) {
                return Err(SysError::ThroughMonitor);
            }
            if mdb.has_copies(store, index) || mdb.has_descendants(store, index) {
                return Err(SysError::HasRelations);
            }
            if slot.has_flags(SlotFlags::REMOTE_COPIES) && slot.progress & !ARRIVED != 0 {
                return Err(SysError::Locked);
            }
            mdb.holds.check_new(slot.base, slot.end())?;
            store.slot_mut(index).progress = u32::from(to.0);
            mdb.set_state(store, index, State::InTransit);
        }
        ExportMode::Move => {
            if mdb.has_remote_relations(store, index) {
                return Err(SysError::ThroughMonitor);
            }
            if mdb.has_copies(store, index) || mdb.has_descendants(store, index) {
                return Err(SysError::HasRelations);
            }
            mdb.holds.check_new(slot.base, slot.end())?;
            store.slot_mut(index).progress = u32::from(to.0);
            mdb.set_state(store, index, State::InTransit);
        }
    }
    Ok(record)
}

/// Ends the transfer of `record`, which its receiver has taken.
///
/// # Errors
/// `EmptySlot` when no such transfer is under way: it was ended before, or what was
/// to be copied is gone.
pub fn commit<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    record: &CapRecord,
) -> Result<(), SysError> {
    if leaves_no_trace(mdb, record) {
        return Ok(());
    }
    let index = under_way(store, mdb, record)?;
    if record.mode == ExportMode::Copy {
        let noted = store.slot(index).progress;
        note_copies(store, mdb, index, (noted - 1) | ARRIVED);
        return Ok(());
    }
    let around = mdb.innermost_around(store, store.slot(index));
    if around.is_none() || !mdb.owns(store.slot(around)) {
        mdb.remove(store, index);
        return Ok(());
    }
    let tombstone = store.slot_mut(index);
    tombstone.set_owner(record.owner);
    tombstone.set_rights(Rights::empty());
    tombstone.data = [0; 2];
    tombstone.progress = 0;
    tombstone.set_flags(SlotFlags::EXECUTABLE, false);
    tombstone.set_flags(SlotFlags::REMOTE_COPIES, false);
    tombstone.set_flags(SlotFlags::TOMBSTONE, true);
    mdb.set_state(store, index, State::Live);
    Ok(())
}

/// Ends the transfer of `record`, which its receiver has refused: all is as before
/// [`export`].
///
/// # Errors
/// As [`commit`].
pub fn abort<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    record: &CapRecord,
) -> Result<(), SysError> {
    if leaves_no_trace(mdb, record) {
        return Ok(());
    }
    let index = under_way(store, mdb, record)?;
    if record.mode == ExportMode::Copy {
        let noted = store.slot(index).progress;
        note_copies(store, mdb, index, noted - 1);
    } else {
        let has_copies = store.slot(index).has_flags(SlotFlags::REMOTE_COPIES);
        store.slot_mut(index).progress = if has_copies { ARRIVED } else { 0 };
        mdb.set_state(store, index, State::Live);
    }
    Ok(())
}

/// Whether nothing here notes `record`: it is a copy of what another kernel owns, or only
/// says something.
fn leaves_no_trace(mdb: &Mdb, record: &CapRecord) -> bool {
    match record.mode {
        ExportMode::Copy => record.owner != mdb.kernel(),
        ExportMode::Claim => true,
        ExportMode::Move | ExportMode::HandOver => false,
    }
}

/// The slot that a transfer is noted in. It is found by its range: it may have been
/// moved since, out of a CNode that dies.
fn under_way<S: SlotStore>(
    store: &S,
    mdb: &Mdb,
    record: &CapRecord,
) -> Result<SlotIndex, SysError> {
    let probe = Slot::holding(&record.capability, record.owner);
    let found = match record.mode {
        ExportMode::Copy => noting_copy(store, mdb, &probe)
            .filter(|&index| store.slot(index).progress & !ARRIVED != 0),
        ExportMode::Claim => None,
        ExportMode::Move | ExportMode::HandOver => {
            Some(mdb.last_not_after(store, &probe)).filter(|&index| {
                let is_to = |slot: &Slot| {
                    slot.state() == State::InTransit && slot.progress == u32::from(record.owner.0)
                };
                !index.is_none() && is_same(store.slot(index), &probe) && is_to(store.slot(index))
            })
        }
    };
    found.ok_or(SysError::EmptySlot)
}

/// The copy of `slot` that notes those on other kernels.
fn noting_copy<S: SlotStore>(store: &S, mdb: &Mdb, slot: &Slot) -> Option<SlotIndex> {
    let last = mdb.last_remote(store, |other| compare(other, slot) != Ordering::Greater);
    let is_noting =
        |other: &Slot| is_same(other, slot) && other.has_flags(SlotFlags::REMOTE_COPIES);
    (!last.is_none() && is_noting(store.slot(last))).then_some(last)
}

/// Notes in `index` which copies are elsewhere or on their way.
fn note_copies<S: SlotStore>(store: &mut S, mdb: &Mdb, index: SlotIndex, noted: u32) {
    store.slot_mut(index).progress = noted;
    mdb.set_remote_flag(store, index, SlotFlags::REMOTE_COPIES, noted != 0);
}

/// Hands what `from` notes of copies elsewhere on to `to`, a copy of it; and that it is
/// owned here: when an object was handed over, copies of its were here as another's.
pub(crate) fn hand_on_copies<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    from: SlotIndex,
    to: SlotIndex,
) {
    let noted = store.slot(from).progress;
    note_copies(store, mdb, from, 0);
    note_copies(store, mdb, to, noted);
    if !mdb.owns(store.slot(to)) {
        mdb.forget_looked();
        let flags = store.slot(from).flags();
        let owned = store.slot_mut(to);
        owned.set_owner(mdb.kernel());
        for flag in [SlotFlags::REMOTE_ANCESTORS, SlotFlags::REMOTE_FRAME] {
            owned.set_flags(flag, flags.contains(flag));
        }
    }
}

/// The object that was handed over to this kernel, of which there are copies elsewhere, is
/// owned by the capability in `index` now.
pub(crate) fn note_handed_over<S: SlotStore>(store: &mut S, mdb: &Mdb, index: SlotIndex) {
    note_copies(store, mdb, index, ARRIVED);
}

/// No copies of the object in `index` are elsewhere any more.
pub(crate) fn forget_copies<S: SlotStore>(store: &mut S, mdb: &Mdb, index: SlotIndex) {
    let slot = store.slot(index);
    if slot.has_flags(SlotFlags::REMOTE_COPIES) {
        let on_their_way = slot.progress & !ARRIVED;
        note_copies(store, mdb, index, on_their_way);
    }
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

/// Pins the capability in `index`: every operation on it answers `Locked`. For the
/// image that a core runs from, which has no copies. (What protocols lock is an object,
/// through whatever capability: [`crate::lock_object`].)
///
/// # Errors
/// As [`crate::copy()`] for its source.
pub fn pin<S: SlotStore>(store: &mut S, mdb: &Mdb, index: SlotIndex) -> Result<(), SysError> {
    usable(store, mdb, index)?;
    store.slot_mut(index).set_state(State::Locked);
    Ok(())
}

/// Ends [`pin`].
///
/// # Errors
/// `NoSuchSlot`, `EmptySlot`, `Dying`; `InvalidArgument` for what isn't pinned.
pub fn unpin<S: SlotStore>(store: &mut S, index: SlotIndex) -> Result<(), SysError> {
    if occupied(store, index)?.state() != State::Locked {
        return Err(SysError::InvalidArgument);
    }
    store.slot_mut(index).set_state(State::Live);
    Ok(())
}

/// Notes whether copies of the owned object in `index` exist on other kernels:
/// the monitor learns it from them. Those on their way stay noted until their
/// transfers end.
///
/// # Errors
/// `NoSuchSlot`, `EmptySlot`, `Dying`; `Foreign` for what another kernel owns;
/// `Locked` on its way; `WrongType` for what has no copies on other kernels.
pub fn set_remote_copies<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    index: SlotIndex,
    exist: bool,
) -> Result<(), SysError> {
    let slot = *occupied(store, index)?;
    if !mdb.owns(&slot) {
        return Err(SysError::Foreign);
    }
    if slot.state() == State::InTransit {
        return Err(SysError::Locked);
    }
    if !ExportMode::Copy.takes(slot.kind()) {
        return Err(SysError::WrongType);
    }
    let noting = noting_copy(store, mdb, &slot).unwrap_or(index);
    let on_their_way = store.slot(noting).progress & !ARRIVED;
    let arrived = if exist { ARRIVED } else { 0 };
    note_copies(store, mdb, noting, on_their_way | arrived);
    Ok(())
}
