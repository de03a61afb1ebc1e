//! Make executable: W^X for the object, not only for each mapping.
//!
//! A frame is made writable, and becomes executable once, for good. At that moment
//! nobody else has a capability to it, on any kernel: no copy, no mapping, no part of
//! it and no frame around it. It loses WRITE, and so has every copy that is ever made
//! of it, also on other kernels. Without having become executable, a frame can't be
//! mapped so. The memory can be written to again when the frame is deleted and
//! another is made, which is zeroed.

use capelin_abi::{ObjectType, Rights, SysError};

use crate::decode::usable;
use crate::mdb::Mdb;
use crate::slot::{Slot, SlotFlags};
use crate::slot_index::SlotIndex;
use crate::store::SlotStore;

/// Makes the Frame in `index` executable, and takes WRITE from it. Nothing happens to
/// one that is executable already.
///
/// # Errors
/// For the slot as [`crate::copy()`]; `WrongType`; `MissingRight` without EXECUTE;
/// otherwise as [`crate::seal()`].
pub fn make_executable<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    index: SlotIndex,
) -> Result<(), SysError> {
    let slot = usable(store, mdb, index)?;
    if !slot.is_kind(ObjectType::Frame) {
        return Err(SysError::WrongType);
    }
    if !slot.rights().contains(Rights::EXECUTE) {
        return Err(SysError::MissingRight);
    }
    if slot.is_executable() {
        return Ok(());
    }
    check_sole(store, mdb, index, slot)?;
    let slot = store.slot_mut(index);
    slot.set_flags(SlotFlags::EXECUTABLE, true);
    slot.keep_rights(Rights::WRITE.complement());
    Ok(())
}

/// Whether the frame in `index` can be reached by this capability only, on all kernels.
///
/// # Errors
/// `Foreign`; `ThroughMonitor` with copies or parts on other kernels, or a frame
/// around it on one; `HasRelations` with copies, mappings or parts here, or a frame
/// around it.
pub(crate) fn check_sole<S: SlotStore>(
    store: &S,
    mdb: &Mdb,
    index: SlotIndex,
    slot: &Slot,
) -> Result<(), SysError> {
    if !mdb.owns(slot) {
        return Err(SysError::Foreign);
    }
    // Whoever has a frame around it, here or on another kernel, can map it.
    if slot.has_flags(SlotFlags::REMOTE_FRAME) || mdb.has_remote_relations(store, index) {
        return Err(SysError::ThroughMonitor);
    }
    if mdb.is_in_frame(store, slot)
        || mdb.has_copies(store, index)
        || mdb.has_descendants(store, index)
    {
        return Err(SysError::HasRelations);
    }
    Ok(())
}
