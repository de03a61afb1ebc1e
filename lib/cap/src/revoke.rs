//! Revoke: everything that was made from a capability goes, and its local
//! copies; the capability itself stays.

use capelin_abi::{ObjectType, Rights, SysError};

use crate::decode::usable;
use crate::delete::{DeleteList, Mode, Step, destroy, drain, remove_copy};
use crate::mdb::Mdb;
use crate::slot::{SlotFlags, SlotIndex, State};
use crate::store::{Effects, SlotStore};

/// Does one step of revoking the capability in `index`: finishes containers
/// whose deletion has begun, then removes copies, then descendants.
///
/// # Errors
/// For the slot as [`crate::copy()`]; `WrongType` for a mapping; `MissingRight`
/// without REVOKE; `Foreign` for what another kernel owns; `RemoteRelations`
/// when it, a copy or a descendant has copies elsewhere or was moved away.
/// `Locked` or `NoResources` for something in the way: what is gone stays gone,
/// and the call can be issued again.
pub fn revoke<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    index: SlotIndex,
    effects: &mut E,
) -> Result<Step, SysError> {
    let slot = usable(store, index)?;
    if slot.is_kind(ObjectType::Mapping) {
        return Err(SysError::WrongType);
    }
    if !slot.rights().contains(Rights::REVOKE) {
        return Err(SysError::MissingRight);
    }
    if !mdb.owns(slot) {
        return Err(SysError::Foreign);
    }
    if mdb.has_remote_relations(store, index) {
        return Err(SysError::RemoteRelations);
    }
    let copy = mdb.other_copy(store, index);
    if !copy.is_none() {
        if store.slot(copy).state() == State::Locked {
            return Err(SysError::Locked);
        }
        remove_copy(store, mdb, copy, index, effects);
        return Ok(Step::Again);
    }
    if let Some(descendant) = mdb.first_descendant(store, index) {
        // A container that hosts itself goes when the list is emptied.
        if store.slot(descendant).has_flags(SlotFlags::QUEUED) {
            drain(store, mdb, list, effects)?;
        } else {
            destroy(store, mdb, list, descendant, effects, Mode::Swept)?;
        }
        return Ok(Step::Again);
    }
    Ok(Step::Done)
}
