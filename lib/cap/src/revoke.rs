//! Revoke: everything that was made from a capability goes, and its local
//! copies; the capability itself stays.

use capelin_abi::capability::SLOT_BYTES;
use capelin_abi::{ObjectType, Rights, SysError};

use crate::decode::{check_held, usable_unless_held};
use crate::delete::{Mode, Step, destroy, go_on, remove_copy};
use crate::delete_list::DeleteList;
use crate::key::is_divided;
use crate::mdb::Mdb;
use crate::slot::{SlotFlags, State};
use crate::slot_index::SlotIndex;
use crate::store::{Effects, SlotStore};

/// Does one step of revoking the capability in `index`: removes copies, then
/// descendants. Of one with a badge, only those with the same badge go: one client is
/// shut out, the others stay. What was in containers that went, and isn't a descendant, may still
/// be on the list when this is done ([`crate::drain`]).
///
/// # Errors
/// For the slot as [`crate::copy()`]; `WrongType` for a mapping; `MissingRight`
/// without REVOKE; `ThroughMonitor` for what another kernel owns, and
/// when it, a copy or a descendant has copies elsewhere or was moved away.
/// `InsideItself` when the slot lies in the memory that the capability names: it
/// would go itself. `Locked` or `NoResources` for something in the way: what is gone
/// stays gone, and the call can be issued again. (A slot in a CNode that isn't made
/// of that memory, but is held only there, goes with it: its capability is found in
/// the [`Effects::shelter`].)
pub fn revoke<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    index: SlotIndex,
    effects: &mut E,
) -> Result<Step, SysError> {
    check_held(store, mdb, index)?;
    revoke_unheld(store, mdb, list, index, effects)
}

/// Whether the capability in `index` can be revoked here.
///
/// # Errors
/// As [`revoke`], but for what is held.
#[inline(always)]
pub(crate) fn check_revoke<S: SlotStore>(
    store: &S,
    mdb: &Mdb,
    index: SlotIndex,
) -> Result<(), SysError> {
    let slot = usable_unless_held(store, index)?;
    if slot.is_kind(ObjectType::Mapping) {
        return Err(SysError::WrongType);
    }
    if !slot.rights().contains(Rights::REVOKE) {
        return Err(SysError::MissingRight);
    }
    if !mdb.owns(slot) {
        return Err(SysError::ThroughMonitor);
    }
    if mdb.has_remote_relations(store, index) {
        return Err(SysError::ThroughMonitor);
    }
    if lies_within(store, index) {
        return Err(SysError::InsideItself);
    }
    Ok(())
}

/// [`revoke`], whatever holds it: nobody else does, or the mark is this one's.
#[inline(always)]
pub(crate) fn revoke_unheld<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    index: SlotIndex,
    effects: &mut E,
) -> Result<Step, SysError> {
    check_revoke(store, mdb, index)?;
    let copy = mdb.copy_to_revoke(store, index);
    if !copy.is_none() {
        if store.slot(copy).state() == State::Locked {
            return Err(SysError::Locked);
        }
        remove_copy(store, mdb, list, copy, index, effects);
        return Ok(Step::Again);
    }
    if let Some(descendant) = mdb.first_descendant(store, index) {
        // What is dying already goes on, whoever began it.
        if store.slot(descendant).has_flags(SlotFlags::QUEUED) {
            go_on(store, mdb, list, descendant, effects)?;
        } else {
            destroy(store, mdb, list, descendant, effects, Mode::Swept)?;
        }
        return Ok(Step::Again);
    }
    Ok(Step::Done)
}

/// Whether the slot `index` lies in the memory that its capability names.
pub(crate) fn lies_within<S: SlotStore>(store: &S, index: SlotIndex) -> bool {
    let slot = store.slot(index);
    if !is_divided(slot.kind()) {
        return false;
    }
    store.index_of(slot.address()).is_some_and(|first| {
        let slots = slot.size() / SLOT_BYTES;
        index
            .distance_from(first)
            .is_some_and(|distance| u64::from(distance) < slots)
    })
}
