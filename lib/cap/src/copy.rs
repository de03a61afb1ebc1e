//! Copy: another capability to the same object, with the same rights or fewer;
//! and relocate: the same capability in another slot.

use capelin_abi::{ObjectType, Rights, SysError};

use crate::decode::{check_held, usable, usable_unless_held, vacant};
use crate::mdb::Mdb;
use crate::slot::{Slot, SlotFlags};
use crate::slot_index::SlotIndex;
use crate::store::SlotStore;

/// Copies the capability in `src` to the empty slot `dst`; it keeps the rights
/// that are also in `mask`.
///
/// # Errors
/// `NoSuchSlot`, `EmptySlot`, `Locked`, `Dying` or `Foreign` (a tombstone) for
/// `src`; `NoSuchSlot` or `SlotInUse` for `dst`; `WrongType` for a mapping.
#[inline]
pub fn copy<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    src: SlotIndex,
    dst: SlotIndex,
    mask: Rights,
) -> Result<(), SysError> {
    check_held(store, mdb, src)?;
    let source = usable_unless_held(store, src)?;
    if source.is_kind(ObjectType::Mapping) {
        return Err(SysError::WrongType);
    }
    let slot = copied(source, mask);
    vacant(store, dst)?;
    mdb.insert_beside(store, src, dst, slot);
    Ok(())
}

/// What a copy of `source` with the rights in `mask` holds.
#[inline(always)]
pub(crate) fn copied(source: &Slot, mask: Rights) -> Slot {
    let mut slot = *source;
    slot.keep_rights(mask);
    slot.progress = 0;
    // REMOTE_COPIES stays with one of the copies; delete hands it on.
    let kept = SlotFlags::HAS_ANCESTOR
        .union(SlotFlags::REMOTE_ANCESTORS)
        .union(SlotFlags::REMOTE_FRAME)
        .union(SlotFlags::EXECUTABLE)
        .union(SlotFlags::COUNTED);
    slot.keep_flags(kept);
    slot
}

/// Moves the capability in `src`, with its place in the database, to the empty
/// slot `dst`; it keeps the rights that are also in `mask`.
///
/// # Errors
/// As [`copy`]: mappings stay where their table knows them.
pub fn relocate<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    src: SlotIndex,
    dst: SlotIndex,
    mask: Rights,
) -> Result<(), SysError> {
    if usable(store, mdb, src)?.is_kind(ObjectType::Mapping) {
        return Err(SysError::WrongType);
    }
    vacant(store, dst)?;
    mdb.move_node(store, src, dst);
    store.slot_mut(dst).keep_rights(mask);
    Ok(())
}
