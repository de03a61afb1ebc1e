//! Checks that several operations begin with.

use capelin_abi::SysError;

use crate::mdb::Mdb;
use crate::slot::{Slot, State};
use crate::slot_index::SlotIndex;
use crate::store::SlotStore;

/// The capability in `index`, if it is there and may be used.
///
/// # Errors
/// `NoSuchSlot` for index 0, `EmptySlot`, `Locked` (also while its memory is
/// being zeroed, or it is on its way to another kernel), `Dying`, and `Foreign` for a tombstone.
#[inline]
pub fn usable<'a, S: SlotStore>(
    store: &'a S,
    mdb: &Mdb,
    index: SlotIndex,
) -> Result<&'a Slot, SysError> {
    let slot = usable_unless_held(store, index)?;
    mdb.holds.check(slot)?;
    Ok(slot)
}

/// [`usable`] after [`check_held`]: for what is called most. A look at the table in its
/// midst would have it keep all it knows across a call.
#[inline(always)]
pub(crate) fn usable_unless_held<S: SlotStore>(
    store: &S,
    index: SlotIndex,
) -> Result<&Slot, SysError> {
    if index.is_none() {
        return Err(SysError::NoSuchSlot);
    }
    let slot = store.slot(index);
    if slot.is_occupied() && slot.is_usable() {
        Ok(slot)
    } else {
        Err(why_unusable(slot))
    }
}

/// Whether no operation holds what is in `index`, before [`usable_unless_held`].
///
/// # Errors
/// As [`usable`].
#[inline(always)]
pub(crate) fn check_held<S: SlotStore>(
    store: &S,
    mdb: &Mdb,
    index: SlotIndex,
) -> Result<(), SysError> {
    if mdb.holds.is_empty() {
        return Ok(());
    }
    check_all(store, mdb, index)
}

#[cold]
#[inline(never)]
fn check_all<S: SlotStore>(store: &S, mdb: &Mdb, index: SlotIndex) -> Result<(), SysError> {
    usable(store, mdb, index).map(|_| ())
}

#[cold]
fn why_unusable(slot: &Slot) -> SysError {
    match slot.state() {
        State::Live if slot.is_occupied() => SysError::Foreign,
        State::Live => SysError::EmptySlot,
        State::InProgress | State::Locked | State::InTransit => SysError::Locked,
        State::Dying => SysError::Dying,
    }
}

/// The capability in `index`, in whatever state.
///
/// # Errors
/// `NoSuchSlot` for index 0, `EmptySlot`; `Dying` for a slot that is reserved
/// until a deletion is over.
#[inline]
pub(crate) fn occupied<S: SlotStore>(store: &S, index: SlotIndex) -> Result<&Slot, SysError> {
    if index.is_none() {
        return Err(SysError::NoSuchSlot);
    }
    let slot = store.slot(index);
    if slot.is_occupied() {
        Ok(slot)
    } else if slot.state() == State::Dying {
        Err(SysError::Dying)
    } else {
        Err(SysError::EmptySlot)
    }
}

/// Whether `index` can take a capability.
///
/// # Errors
/// `NoSuchSlot` for index 0, `SlotInUse`.
#[inline]
pub(crate) fn vacant<S: SlotStore>(store: &S, index: SlotIndex) -> Result<(), SysError> {
    if index.is_none() {
        Err(SysError::NoSuchSlot)
    } else if store.slot(index).is_empty() {
        Ok(())
    } else {
        Err(SysError::SlotInUse)
    }
}
