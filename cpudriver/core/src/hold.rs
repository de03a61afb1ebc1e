//! Ends of what operations between kernels hold here, and locks.

use capelin_abi::boot::ADOPTED_LIMIT;
use capelin_abi::{ObjectType, OperationId, PhysAddr, SysError};
use capelin_cap::{End, Object, SlotIndex, SlotStore, Standing};
use capelin_peers::board::Phase;

use crate::dcb::DcbRef;
use crate::machine::Machine;
use crate::operations::{Role, Stage};
use crate::state::Core;

/// Locks the object that the capability in `slot` names, for `owner`.
///
/// # Errors
/// As [`capelin_cap::lock_object`].
pub(crate) fn lock<M: Machine>(
    core: &mut Core<M>,
    slot: SlotIndex,
    owner: DcbRef,
) -> Result<OperationId, SysError> {
    let id = core.kcb.operations.begin(core.kernel, Role::Lock, owner)?;
    match core.caps().lock_object(slot, id) {
        Ok(_) => Ok(id),
        Err(error) => {
            core.kcb.operations.end(id);
            Err(error)
        }
    }
}

/// Ends a lock.
///
/// # Errors
/// `NoSuchOperation`.
pub(crate) fn unlock<M: Machine>(core: &mut Core<M>, id: OperationId) -> Result<(), SysError> {
    core.kcb.operations.find(id, Role::Lock)?;
    core.caps().unlock_object(id)?;
    core.kcb.operations.end(id);
    Ok(())
}

/// Gives up a revoke, or this kernel's part in one, for which nothing has been swept.
pub(crate) fn give_up<M: Machine>(core: &mut Core<M>, id: OperationId) {
    // It is there, if its place is.
    let _ = core.caps().unmark(id);
    end(core, id);
}

/// Gives the place of a revoke, or of a part in one, back, and shows that.
pub(crate) fn end<M: Machine>(core: &mut Core<M>, id: OperationId) {
    let board = &core.machine.own_shared().board;
    if id.kernel() == core.kernel {
        board.set_phase(id, Phase::Over);
    } else if let Ok(place) = core.kcb.operations.place(id) {
        board.set_part(place, id, None);
    }
    core.kcb.operations.end(id);
}

/// Ends a revoke of this kernel's alone.
pub(crate) fn end_local<M: Machine>(core: &mut Core<M>, id: OperationId, how: End) {
    // It is there, if its place is.
    let _ = core.caps().end_revoke(id, how);
    core.kcb.operations.end(id);
    if how == End::Complete {
        show_over_within(core, id);
    }
}

/// What `around` has marked is swept here: nothing is left to do for this kernel's own revokes
/// in that range, and by what was swept, this kernel may own nothing of theirs any more. So
/// nobody joins them from now on, and no part in them sweeps. (Their callers are answered when
/// `around` is complete on all kernels.)
pub(crate) fn show_over_within<M: Machine>(core: &mut Core<M>, around: OperationId) {
    let mdb = &core.database.mdb;
    let board = &core.machine.own_shared().board;
    for id in core.kcb.operations.own_revokes() {
        match mdb.standing(id) {
            Ok(Standing::Within(outer)) if outer == around => board.set_phase(id, Phase::Over),
            Ok(Standing::Answered) => board.set_phase(id, Phase::Over),
            Ok(Standing::Within(_) | Standing::Holds) | Err(_) => {}
        }
    }
}

/// The kernel's own slots for copies of what it has adopted.
pub(crate) fn adopted_slots<M: Machine>(
    core: &Core<M>,
) -> impl Iterator<Item = SlotIndex> + use<M> {
    let first = core.kcb.adopted;
    (0..ADOPTED_LIMIT).filter_map(move |number| first.checked_add(number))
}

/// Whether kernels live on what is the object, or was made of it, so that no sweep may take it
/// away: this one keeps home memory that it has adopted, or what its first domain runs from,
/// or it is memory in which any kernel's home lies. That of a core's image is its kernel's home
/// from before the core is started, and for good. What a kernel makes in its own home (a
/// dispatcher, its doorbell) is its own to revoke.
///
/// A look at all homes: whoever asks does little else in the same entry.
pub(crate) fn keeps<M: Machine>(core: &Core<M>, object: &Object) -> bool {
    let is_memory = matches!(
        object.kind,
        ObjectType::PhysAddr
            | ObjectType::Ram
            | ObjectType::CoreImage
            | ObjectType::Frame
            | ObjectType::DevFrame
    );
    let peers = core.machine.peers();
    if is_memory && peers.meets_home(PhysAddr(object.base), object.size) {
        return true;
    }
    let package = Some(core.kcb.package).filter(|slot| !slot.is_none());
    let mut kept = package.into_iter().chain(adopted_slots(core));
    kept.any(|slot| object.covers(core.slots.slot(slot)))
}

/// Ends what was held for dispatchers that are gone: locks, and revokes for which nothing
/// has been swept. What has been committed stays, for whoever goes on with it. All at once: one
/// dispatcher may hold in every place, and this is the end of an entry that did more.
pub(crate) fn end_for_those_gone<M: Machine>(core: &mut Core<M>) {
    let Some(orphans) = core.kcb.operations.take_orphans() else {
        return;
    };
    let ended = orphans.map(|orphan| match (orphan.role, orphan.stage) {
        (Role::Lock | Role::LocalRevoke, _) | (Role::Revoke, Stage::Begun | Stage::Closing) => {
            orphan.id
        }
        (Role::Revoke | Role::Part | Role::Free, _) => OperationId(0),
    });
    core.caps().give_up_all(&ended);
    for (id, orphan) in ended.into_iter().zip(orphans) {
        match orphan.role {
            Role::Revoke if id == orphan.id => end(core, id),
            Role::Lock | Role::LocalRevoke => core.kcb.operations.end(id),
            Role::Revoke | Role::Part | Role::Free => {}
        }
    }
}
