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
use capelin_abi::{ObjectType, SysError};
use capelin_cap::{SlotIndex, SlotStore};

use crate::core::Core;
use crate::dcb::DcbRef;
use crate::dispatch;
use crate::doorbell::{self, Bell};
use crate::lmp::lookup_word;
use crate::memory::Context;
use crate::narrow::low16;
use crate::syscall::{Leave, restart};

/// What an invocation came to.
pub(crate) enum Outcome {
    /// No results.
    Done,
    /// Results that are in x1–x3 already ([`Call::answer`]).
    Answered,
    /// The same, after a fault with a fix-up.
    AfterFault,
    /// The same call has to be issued again: an interrupt waits.
    Again,
}

pub(crate) use Outcome::Done as DONE;

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
    #[inline(always)]
    pub(crate) fn argument(&self, n: usize) -> u64 {
        self.area.get(n)
    }

    /// Sets the results x1–x3.
    #[inline]
    pub(crate) fn answer(&self, values: [u64; 3]) -> Outcome {
        self.area.set(1, values[0]);
        self.area.set_pair::<2>([values[1], values[2]]);
        Outcome::Answered
    }

    /// Argument `n` as a reference to a slot of the caller's own CSpace.
    #[inline(always)]
    pub(crate) fn source(&self, core: &Core, n: usize) -> Result<SlotIndex, SysError> {
        lookup_word(core, self.caller, self.argument(n))
    }
}

/// Handles [`capelin_abi::syscall::Syscall::Invoke`].
#[inline(never)]
pub(crate) fn handle(core: &mut Core, caller: DcbRef, area: Context) -> Leave {
    let leave = match perform(core, caller, area) {
        Ok(Outcome::Done) => {
            area.set_pair::<0>([0, 0]);
            area.set_pair::<2>([0, 0]);
            Leave::caller(area)
        }
        Ok(Outcome::Answered) => {
            area.set(0, 0);
            Leave::caller(area)
        }
        Ok(Outcome::AfterFault) => {
            area.set(0, 0);
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
    use Invocation as I;
    let word = area.get(0);
    let number = low16(word >> 48);
    let slot = lookup_word(core, caller, word)?;
    let kind = core.slots.slot(slot).kind();
    let call = Call { caller, slot, area };
    if number == I::Identify as u16 && kind != ObjectType::Null {
        return cnode::identify(core, &call, slot);
    }
    // By type first: each then looks at the few numbers that it knows.
    let invocation = || I::try_from(number).map_err(|_| SysError::UnknownOperation);
    match kind {
        ObjectType::Null => Err(SysError::EmptySlot),
        ObjectType::L1CNode => cnode::invoke(core, &call, number),
        ObjectType::VNodeL0 | ObjectType::VNodeL1 | ObjectType::VNodeL2 | ObjectType::VNodeL3
            if number == I::Map as u16 =>
        {
            vnode::map(core, &call)
        }
        ObjectType::Mapping => match invocation()? {
            I::Unmap => vnode::unmap(core, &call),
            I::Protect => vnode::protect(core, &call),
            _ => Err(SysError::UnknownOperation),
        },
        ObjectType::Dispatcher => dispatcher::invoke(core, &call, invocation()?),
        ObjectType::Notify if number == I::Ring as u16 => {
            let slot = core.slots.slot(slot);
            doorbell::ring(core, Bell::from_data(slot.owner(), slot.data()))?;
            Ok(DONE)
        }
        ObjectType::IrqSource if number == I::BindIrq as u16 => interrupt::bind(core, &call),
        ObjectType::IrqDest if number == I::AcknowledgeIrq as u16 => {
            interrupt::acknowledge(core, &call)
        }
        ObjectType::Kernel => kernel::invoke(core, &call, invocation()?),
        _ => Err(SysError::UnknownOperation),
    }
}
