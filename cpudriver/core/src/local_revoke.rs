//! Revokes of this kernel's alone (`docs/020-capabilities.md`, "An unfinished revoke").
//!
//! Most are over within one entry, and leave no trace. One that isn't holds its range in the
//! table that revokes between kernels use ([`capelin_cap::unfinished`]), under an operation's id that
//! nobody is told. The same call, issued again by the same dispatcher, goes on with it.
//!
//! It ends when it is done, when it fails, when its capability goes with what that lies in, or
//! when its caller does. Nobody waits for a caller who doesn't go on: whoever needs a place in
//! the table, or revokes something in the range, does steps of what is in the way, in his own
//! time, and so does a kernel that is idle. Since nothing is added in the range, that ends.

use capelin_abi::rights::Need;
use capelin_abi::syscall::{DispatcherState, Invocation};
use capelin_abi::{OperationId, SysError};
use capelin_cap::{End, SlotIndex, SlotStore, Standing, Step};

use crate::dcb::DcbRef;
use crate::delivery::program_timer;
use crate::effects::{DELETE_AT_ONCE, KernelEffects, step_cost};
use crate::hold;
use crate::machine::{Machine, Objects};
use crate::operations::LocalRevoke;
use crate::state::Core;

/// One entry of the revoke of the capability in `slot`, while anything is held.
///
/// # Errors
/// As [`capelin_cap::revoke`], and `Dying` in the range of a revoke that other kernels have a
/// part in; `NoResources` while all places are taken by such.
#[cold]
#[inline(never)]
pub(crate) fn revoke<M: Machine>(
    core: &mut Core<M>,
    caller: DcbRef,
    slot: SlotIndex,
) -> Result<Step, SysError> {
    // Where its capability was, if it is gone.
    let mdb = &core.database.mdb;
    let is_in = |kept: SlotIndex| kept == slot || kept.is_none();
    let is_this = |one: &LocalRevoke| {
        one.owner == Some(caller) && one.named == slot && is_in(mdb.kept(one.id))
    };
    let begun = core.kcb.operations.local().find(is_this).map(|one| one.id);
    if let Some(id) = begun {
        match core.database.mdb.standing(id) {
            Ok(Standing::Holds) => match go_on(core, id) {
                // What is in the slot by now, if anything, is another revoke's.
                Err(SysError::EmptySlot) => {}
                result => return result,
            },
            Ok(Standing::Within(around)) => return join(core, id, around),
            Ok(Standing::Answered) | Err(_) => {
                hold::end_local(core, id, End::Complete);
                if !core.slots.slot(slot).is_occupied() {
                    // It went with all that it was to revoke.
                    return Ok(Step::Done);
                }
            }
        }
    }
    begin(core, caller, slot)
}

/// A revoke that isn't begun.
fn begin<M: Machine>(
    core: &mut Core<M>,
    caller: DcbRef,
    slot: SlotIndex,
) -> Result<Step, SysError> {
    let revoked = core.slots.slot(slot);
    revoked.meets(const { Need::invocation(Invocation::Revoke, 1) })?;
    let Some(id) = place(core, caller, slot)? else {
        return Ok(Step::Again);
    };
    if let Err(error) = core.caps().hold_revoke(slot, id) {
        core.kcb.operations.end(id);
        return Err(error);
    }
    match core.database.mdb.standing(id)? {
        Standing::Within(around) => join(core, id, around),
        Standing::Holds | Standing::Answered => go_on(core, id),
    }
}

/// After an entry that didn't finish the revoke of the capability in `slot`, which nothing
/// held: from now on, its range is held. Without a place, the next entry sees to one.
#[cold]
#[inline(never)]
pub(crate) fn hold_back<M: Machine>(core: &mut Core<M>, caller: DcbRef, slot: SlotIndex) {
    // Who has revoked what he lives on doesn't come back.
    if core.objects.dcb(caller).state != DispatcherState::Runnable {
        return;
    }
    let begun = core.kcb.operations.begin_local(core.kernel, slot, caller);
    if let Ok(id) = begun
        && core.caps().hold_revoke(slot, id).is_err()
    {
        core.kcb.operations.end(id);
    }
}

/// A place for the revoke of the capability in `slot`, by `caller`; none when a step of another
/// revoke was done instead, to make room.
///
/// # Errors
/// `NoResources` when all places are taken by what other kernels have to end.
fn place<M: Machine>(
    core: &mut Core<M>,
    caller: DcbRef,
    slot: SlotIndex,
) -> Result<Option<OperationId>, SysError> {
    forget_answered(core);
    forget_those_of_others(core);
    let begun = core.kcb.operations.begin_local(core.kernel, slot, caller);
    if let Ok(id) = begun {
        return Ok(Some(id));
    }
    if help(core) {
        Ok(None)
    } else {
        Err(SysError::NoResources)
    }
}

/// Does an entry's work of `around`, in whose range the revoke `id` lies.
fn join<M: Machine>(
    core: &mut Core<M>,
    id: OperationId,
    around: OperationId,
) -> Result<Step, SysError> {
    let local = core.kcb.operations.local().find(|one| one.id == around);
    if local.is_none() {
        // What other kernels have a part in isn't waited for here.
        hold::end_local(core, id, End::GivenUp);
        return Err(SysError::Dying);
    }
    // What becomes of it is its own caller's matter; this one looks again.
    let _ = go_on(core, around);
    Ok(Step::Again)
}

/// Does as many steps of the revoke `id` as one entry may, and ends it when it is over or
/// fails.
fn go_on<M: Machine>(core: &mut Core<M>, id: OperationId) -> Result<Step, SysError> {
    let step = step_cost(core.database.mdb.holds_count());
    let (mut caps, mut effects) = KernelEffects::split(core);
    let mut steps = 0;
    let result = caps.revoke_held(id, &mut effects, |effects| {
        steps += step;
        !effects.interrupt_pending() && steps + effects.cost() <= DELETE_AT_ONCE
    });
    let has_more = effects.has_more();
    match result {
        Ok(Step::Again) => {}
        Ok(Step::Done) => hold::end_local(core, id, End::Complete),
        Err(_) => hold::end_local(core, id, End::GivenUp),
    }
    if has_more {
        hold::end_for_those_gone(core);
        program_timer(core, core.machine.now());
    }
    result
}

/// For a kernel with nothing else to do: an entry's work of what nobody goes on with. Whether
/// there is any.
pub(crate) fn finish<M: Machine>(core: &mut Core<M>) -> bool {
    if !core.kcb.operations.has_local() {
        return false;
    }
    forget_answered(core);
    help(core)
}

/// An entry's work of the oldest revoke that holds its range, whoever has begun it. Whether
/// there is one.
fn help<M: Machine>(core: &mut Core<M>) -> bool {
    let mdb = &core.database.mdb;
    let holds = |one: &LocalRevoke| mdb.standing(one.id) == Ok(Standing::Holds);
    let oldest = core.kcb.operations.local().filter(holds);
    let Some(LocalRevoke { id, .. }) = oldest.min_by_key(|one| one.id.number()) else {
        return false;
    };
    let _ = go_on(core, id);
    true
}

/// Ends revokes that lie in the range of one that other kernels have a part in: it may stand for
/// as long as another kernel's monitor likes, and their callers aren't to wait for it.
fn forget_those_of_others<M: Machine>(core: &mut Core<M>) {
    while let Some(LocalRevoke { id, .. }) = {
        let operations = &core.kcb.operations;
        let is_local = |around| operations.local().any(|one| one.id == around);
        let mdb = &core.database.mdb;
        let is_of_others = |one: &LocalRevoke| matches!(mdb.standing(one.id), Ok(Standing::Within(around)) if !is_local(around));
        operations.local().find(is_of_others)
    } {
        hold::end_local(core, id, End::GivenUp);
    }
}

/// Ends revokes that others have done: their callers find nothing to revoke.
fn forget_answered<M: Machine>(core: &mut Core<M>) {
    while let Some(LocalRevoke { id, .. }) = {
        let mdb = &core.database.mdb;
        let answered = |one: &LocalRevoke| mdb.standing(one.id) == Ok(Standing::Answered);
        core.kcb.operations.local().find(answered)
    } {
        hold::end_local(core, id, End::Complete);
    }
}
