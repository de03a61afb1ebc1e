//! Invocations: what a capability can be asked to do.
//!
//! Each function decodes and checks everything, then performs what can't fail.
//! One file for each group of types; all return results for x1–x3, or an error,
//! or ask for a restart.
//!
//! Which rights are asked for stands in `capelin_abi::rights` and nowhere here: the
//! capability invoked is checked before the operation is looked at, and arguments are
//! decoded by `call::Call::capability`, with a need that the table has.

mod call;
mod cnode;
mod dispatcher;
mod home;
mod interrupt;
mod kernel;
mod operation;
mod start_core;
mod vnode;

pub use start_core::ARGS_USED;

use capelin_abi::rights::{INVOKED, Need};
use capelin_abi::syscall::{DispatcherState, Invocation};
use capelin_abi::{ObjectType, SysError};
use capelin_cap::{SlotIndex, SlotStore};

use self::call::{Call, DONE, Outcome};
use crate::cspace::{lookup_plain, lookup_word};
use crate::dcb::DcbRef;
use crate::dispatch;
use crate::doorbell::{self, Bell};
use crate::exit::{self, Leave, Next};
use crate::lifecycle;
use crate::machine::{Machine, Objects, SaveContext};
use crate::narrow::low16;
use crate::state::Core;

/// Handles [`capelin_abi::syscall::Syscall::Invoke`].
///
/// The frequent ones are called from here, each at the end, so that they come back
/// to the vectors and not through several functions.
#[inline(never)]
pub(crate) fn handle<M: Machine>(core: &mut Core<M>, caller: DcbRef, area: M::Context) -> Leave {
    let Some(slot) = lookup_plain(core, caller, area.get(0)) else {
        return elsewhere(core, caller, area);
    };
    if !core.slots.slot(slot).is_usable() || core.database.mdb.has_holds() {
        return carefully(core, caller, slot, area);
    }
    dispatch_frequent(core, caller, slot, area)
}

/// [`handle`] for a capability in the L1 CNode itself, and for references to nothing.
#[cold]
#[inline(never)]
fn elsewhere<M: Machine>(core: &mut Core<M>, caller: DcbRef, area: M::Context) -> Leave {
    match lookup_word(core, caller, area.get(0)) {
        Ok(slot) => carefully(core, caller, slot, area),
        Err(error) => refuse(core, area, error),
    }
}

/// [`handle`] for what may be unusable, or held by an operation between kernels. Only
/// [`perform`] knows what may be asked of these.
#[cold]
#[inline(never)]
fn carefully<M: Machine>(
    core: &mut Core<M>,
    caller: DcbRef,
    slot: SlotIndex,
    area: M::Context,
) -> Leave {
    if capelin_cap::usable(&core.slots, &core.database.mdb, slot).is_err() {
        return others(core, caller, slot, area);
    }
    dispatch_frequent(core, caller, slot, area)
}

#[inline(always)]
fn dispatch_frequent<M: Machine>(
    core: &mut Core<M>,
    caller: DcbRef,
    slot: SlotIndex,
    area: M::Context,
) -> Leave {
    const COPY: u16 = Invocation::Copy as u16;
    const RETYPE: u16 = Invocation::Retype as u16;
    const DELETE: u16 = Invocation::Delete as u16;
    const REVOKE: u16 = Invocation::Revoke as u16;
    const MAP: u16 = Invocation::Map as u16;
    const UNMAP: u16 = Invocation::Unmap as u16;
    let invoked = core.slots.slot(slot);
    match (invoked.kind(), low16(area.get(0) >> 48)) {
        (ObjectType::L1CNode, COPY) => copy(core, caller, slot, area),
        (ObjectType::L1CNode, RETYPE) => retype(core, caller, slot, area),
        (ObjectType::L1CNode, DELETE) => delete(core, caller, slot, area),
        (ObjectType::L1CNode, REVOKE) => revoke(core, caller, slot, area),
        (ObjectType::Mapping, UNMAP) => unmap(core, caller, slot, area),
        (
            ObjectType::VNodeL0 | ObjectType::VNodeL1 | ObjectType::VNodeL2 | ObjectType::VNodeL3,
            MAP,
        ) => map(core, caller, slot, area),
        _ => others(core, caller, slot, area),
    }
}

/// Defines a function that performs an invocation and answers it: by `answer`, if it
/// can't stop its caller.
macro_rules! complete {
    ($name:ident, $invocation:ident, $operation:path, $conclude:ident) => {
        #[inline(never)]
        fn $name<M: Machine>(
            core: &mut Core<M>,
            caller: DcbRef,
            slot: SlotIndex,
            area: M::Context,
        ) -> Leave {
            let call = Call::<M> { caller, slot, area };
            let needed = const { Need::invocation(Invocation::$invocation, 0).rights };
            let result = match core.slots.slot(slot).require(needed) {
                Ok(()) => $operation(core, &call),
                Err(error) => Err(error),
            };
            $conclude(core, &call, result)
        }
    };
}

complete!(copy, Copy, cnode::copy, answer);
complete!(retype, Retype, cnode::retype, answer);
complete!(delete, Delete, cnode::delete, conclude);
complete!(revoke, Revoke, cnode::revoke, conclude);
complete!(map, Map, vnode::map, answer);
complete!(unmap, Unmap, vnode::unmap, conclude);

#[inline(never)]
fn others<M: Machine>(
    core: &mut Core<M>,
    caller: DcbRef,
    slot: SlotIndex,
    area: M::Context,
) -> Leave {
    let call = Call::<M> { caller, slot, area };
    let result = perform(core, &call);
    conclude(core, &call, result)
}

/// Writes the results of an invocation, and says who goes on.
#[inline(always)]
fn answered<M: Machine>(call: &Call<M>, outcome: Outcome) -> Next {
    let area = call.area;
    match outcome {
        Outcome::Done => {
            area.set_pair::<0>([0, 0]);
            area.set_pair::<2>([0, 0]);
            Next::Caller
        }
        Outcome::Answered => {
            area.set(0, 0);
            Next::Caller
        }
        Outcome::AfterFault => {
            area.set(0, 0);
            Next::Reload
        }
        Outcome::Again => Next::Restart,
    }
}

/// Answers an invocation that can't stop its caller.
#[inline(always)]
fn answer<M: Machine>(
    core: &mut Core<M>,
    call: &Call<M>,
    result: Result<Outcome, SysError>,
) -> Leave {
    match result {
        Ok(outcome) => {
            let next = answered(call, outcome);
            exit::leave(core, call.area, next)
        }
        Err(error) => refuse(core, call.area, error),
    }
}

/// [`answer`], unless the caller can't go on.
#[inline(always)]
fn conclude<M: Machine>(
    core: &mut Core<M>,
    call: &Call<M>,
    result: Result<Outcome, SysError>,
) -> Leave {
    let leave = answer(core, call, result);
    if core.objects.dcb(call.caller).state == DispatcherState::Runnable {
        leave
    } else {
        gone(core, call.caller, call.area)
    }
}

/// Says why not. Out of line, so that it costs those nothing that succeed.
#[cold]
#[inline(never)]
fn refuse<M: Machine>(core: &mut Core<M>, area: M::Context, error: SysError) -> Leave {
    area.set(0, error as u64);
    // It may come of a fault with a fix-up (of an access, or of a call of firmware),
    // which took the way back to the caller. Which errors do isn't for this place to
    // know.
    exit::leave(core, area, Next::Reload)
}

/// The caller stopped, ended or deleted itself, or deleted what it lives on.
#[cold]
#[inline(never)]
fn gone<M: Machine>(core: &mut Core<M>, caller: DcbRef, area: M::Context) -> Leave {
    if core.kcb.scheduler.current == Some(caller) {
        lifecycle::end(core, caller, DispatcherState::Stopped, 0);
    }
    dispatch::run_next(core, core.machine.now());
    exit::leave(core, area, Next::Switch)
}

/// The invocations that aren't frequent.
#[inline(always)]
fn perform<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    use Invocation as I;
    let (slot, number) = (call.slot, low16(call.area.get(0) >> 48));
    let kind = core.slots.slot(slot).kind();
    if number == I::Identify as u16 && kind != ObjectType::Null {
        return cnode::identify(core, call, slot);
    }
    // What dies is being taken apart, and what is in progress holds what lay there
    // before: a mapping made in such a table, or a dispatcher made to run again, would
    // outlive its object.
    let invoked = capelin_cap::usable(&core.slots, &core.database.mdb, slot)?;
    let (kinds, rights) = INVOKED
        .get(usize::from(number))
        .ok_or(SysError::UnknownOperation)?;
    if !kinds.contains(kind) {
        return Err(SysError::UnknownOperation);
    }
    invoked.require(*rights)?;
    match I::try_from(number).map_err(|_| SysError::UnknownOperation)? {
        I::Mint => cnode::mint(core, call),
        I::IdentifySlot => cnode::identify_slot(core, call),
        I::Grow => cnode::grow(core, call),
        I::Protect => vnode::protect(core, call),
        I::MakeExecutable => vnode::make_executable(core, call),
        I::Ring => {
            let slot = core.slots.slot(slot);
            doorbell::ring(core, Bell::from_data(slot.owner(), slot.data()))?;
            Ok(DONE)
        }
        I::BindIrq => interrupt::bind(core, call),
        I::AcknowledgeIrq => interrupt::acknowledge(core, call),
        I::AdoptHome => home::adopt(core, call),
        I::ReleaseHome => home::release(core, call),
        invocation if kind == ObjectType::Dispatcher => dispatcher::invoke(core, call, invocation),
        invocation => kernel::invoke(core, call, invocation),
    }
}
