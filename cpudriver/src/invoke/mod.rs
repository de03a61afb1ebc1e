//! Invocations: what a capability can be asked to do.
//!
//! Each function decodes and checks everything, then performs what can't fail.
//! One file for each group of types; all return results for x1–x3, or an error,
//! or ask for a restart.

mod cnode;
mod dispatcher;
mod effects;
mod interrupt;
mod kernel;
mod vnode;

pub(crate) use kernel::ARGS_USED;

use capelin_aarch64::timer;
use capelin_abi::syscall::{DispatcherState, Invocation};
use capelin_abi::{CapRef, ObjectType, SysError};
use capelin_cap::{SlotIndex, SlotStore};

use crate::core::Core;
use crate::dcb::DcbRef;
use crate::dispatch;
use crate::doorbell::{self, Bell};
use crate::lmp::lookup;
use crate::memory::Context;
use crate::syscall::{Leave, answer, restart};

/// What an invocation came to.
pub(crate) enum Outcome {
    /// Results for x1–x3.
    Values([u64; 3]),
    /// The same, after a fault with a fix-up.
    AfterFault([u64; 3]),
    /// The same call has to be issued again: an interrupt waits.
    Again,
}

/// No results.
pub(crate) const DONE: Outcome = Outcome::Values([0; 3]);

/// What every invocation gets.
pub(crate) struct Call {
    /// Who calls.
    pub caller: DcbRef,
    /// The capability invoked.
    pub slot: SlotIndex,
    /// Where x1–x7 are.
    pub area: Context,
}

impl Call {
    /// Argument `n`: register x`n`.
    #[inline]
    pub(crate) fn argument(&self, n: usize) -> u64 {
        self.area.get(n)
    }

    /// Argument `n` as a reference to a slot of the caller's own CSpace.
    #[inline]
    pub(crate) fn source(&self, core: &Core, n: usize) -> Result<SlotIndex, SysError> {
        let reference = CapRef::from_word(self.argument(n)).ok_or(SysError::NoSuchSlot)?;
        lookup(core, self.caller, reference)
    }
}

/// Handles [`capelin_abi::syscall::Syscall::Invoke`].
#[inline(never)]
pub(crate) fn handle(core: &mut Core, caller: DcbRef, area: Context) -> Leave {
    let leave = match perform(core, caller, area) {
        Ok(Outcome::Values(values)) => {
            answer(area, values);
            Leave::caller(area)
        }
        Ok(Outcome::AfterFault(values)) => {
            answer(area, values);
            dispatch::reload_current(core, area)
        }
        Ok(Outcome::Again) => restart(core, area),
        Err(error) => refuse(core, area, error),
    };
    if core.objects.dcb(caller).state == DispatcherState::Runnable {
        leave
    } else {
        gone(core, caller, area)
    }
}

#[cold]
fn refuse(core: &mut Core, area: Context, error: SysError) -> Leave {
    area.set(0, error as u64);
    if error == SysError::BadPointer {
        // The fault took the way back to the caller: see `reload_current`.
        dispatch::reload_current(core, area)
    } else {
        Leave::caller(area)
    }
}

/// The caller stopped, ended or deleted itself, or deleted what it lives on.
#[cold]
fn gone(core: &mut Core, caller: DcbRef, area: Context) -> Leave {
    if core.kcb.scheduler.current == Some(caller) {
        dispatch::end(core, caller, DispatcherState::Stopped, 0);
    }
    dispatch::run_next(core, timer::now());
    Leave::enter(core, area)
}

#[inline(always)]
fn perform(core: &mut Core, caller: DcbRef, area: Context) -> Result<Outcome, SysError> {
    let word = area.get(0);
    let reference = CapRef::from_word(word).ok_or(SysError::NoSuchSlot)?;
    let number = (word >> 48) as u16;
    let invocation = Invocation::try_from(number).map_err(|_| SysError::UnknownOperation)?;
    let slot = lookup(core, caller, reference)?;
    let kind = core.slots.slot(slot).kind();
    if kind == ObjectType::Null {
        return Err(SysError::EmptySlot);
    }
    let call = Call { caller, slot, area };
    use Invocation as I;
    match (invocation, kind) {
        (I::Identify, _) => cnode::identify(core, slot),
        (I::Copy, ObjectType::L1CNode) => cnode::copy(core, &call),
        (I::Mint, ObjectType::L1CNode) => cnode::mint(core, &call),
        (I::Retype, ObjectType::L1CNode) => cnode::retype(core, &call),
        (I::Delete, ObjectType::L1CNode) => cnode::delete(core, &call),
        (I::Revoke, ObjectType::L1CNode) => cnode::revoke(core, &call),
        (I::IdentifySlot, ObjectType::L1CNode) => cnode::identify_slot(core, &call),
        (I::Map, _) if kind.vnode_level().is_some() => vnode::map(core, &call),
        (I::Unmap, ObjectType::Mapping) => vnode::unmap(core, &call),
        (I::Protect, ObjectType::Mapping) => vnode::protect(core, &call),
        (_, ObjectType::Dispatcher) => dispatcher::invoke(core, &call, invocation),
        (I::Ring, ObjectType::Notify) => {
            let slot = core.slots.slot(slot);
            doorbell::ring(core, Bell::from_data(slot.owner(), slot.data()))?;
            Ok(DONE)
        }
        (I::BindIrq, ObjectType::IrqSource) => interrupt::bind(core, &call),
        (I::AcknowledgeIrq, ObjectType::IrqDest) => interrupt::acknowledge(core, &call),
        (_, ObjectType::Kernel) => kernel::invoke(core, &call, invocation),
        _ => Err(SysError::UnknownOperation),
    }
}
