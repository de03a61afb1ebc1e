//! System calls: decode, perform, and say whom to run next.

use capelin_aarch64::timer;
use capelin_abi::dispatcher::{SaveArea, context};
use capelin_abi::lmp::MESSAGE_WORDS;
use capelin_abi::syscall::{KernelCounter, SendFlags, Syscall};
use capelin_abi::{ABI_VERSION, CapRef, ObjectType, SysError, error};
use capelin_cap::SlotStore;

use crate::core::Core;
use crate::dcb::DcbRef;
use crate::dispatch;
use crate::doorbell;
use crate::invoke;
use crate::lmp::{self, Message};
use crate::lrpc;
use crate::memory::Context;
use crate::narrow::low8;
use crate::scheduler::NEVER;

/// How an entry goes back to user space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leave {
    /// To the caller, with what is in x0–x11 of its save area.
    Caller,
    /// To whatever `current_area` names now.
    Enter,
}

/// Handles system call `number` whose registers are in `area`.
#[inline(always)]
pub(crate) fn handle(core: &mut Core, area: Context, number: u16) -> Leave {
    core.kcb.count(KernelCounter::Syscalls);
    // The shortest call of all, and the measure of the way in and out: kept apart
    // so that it pays for nobody's registers. Then the two that matter most.
    if number == Syscall::Nop as u16 {
        area.set(0, ABI_VERSION);
        return Leave::Caller;
    }
    let Some(current) = core.kcb.scheduler.current else {
        return nobody(core);
    };
    if number == Syscall::Invoke as u16 {
        return invoke::handle(core, current, area);
    }
    if number == Syscall::Call as u16 && lrpc::call(core, current, area) {
        return Leave::Enter;
    }
    decode(core, current, area, number)
}

/// Only a dispatcher that runs can call.
#[cold]
fn nobody(core: &mut Core) -> Leave {
    dispatch::run_next(core, timer::now());
    Leave::Enter
}

#[inline(never)]
fn decode(core: &mut Core, current: DcbRef, area: Context, number: u16) -> Leave {
    let outcome = match Syscall::try_from(number) {
        Ok(Syscall::Nop) => {
            area.set(0, ABI_VERSION);
            return Leave::Caller;
        }
        Ok(Syscall::Invoke) => return invoke::handle(core, current, area),
        Ok(Syscall::Send) => send(core, current, area),
        Ok(Syscall::Call) => call(core, current, area),
        Ok(Syscall::Wait) => Ok(wait(core, current, area)),
        Ok(Syscall::Yield) => yield_to(core, current, area),
        Ok(Syscall::Resume) => resume(core, area),
        Err(_) => Err(SysError::UnknownOperation),
    };
    outcome.unwrap_or_else(|error| {
        area.set(0, error as u64);
        Leave::Caller
    })
}

fn message(area: Context) -> Result<Message, SysError> {
    let word = area.get(0);
    let endpoint = CapRef::from_word(word).ok_or(SysError::NoSuchSlot)?;
    let flags = SendFlags::from_bits(low8(word >> 48)).ok_or(SysError::InvalidArgument)?;
    let length = (word >> 56) as usize;
    let capability = match area.get(1) {
        0 => None,
        reference => Some(CapRef::from_word(reference).ok_or(SysError::NoSuchSlot)?),
    };
    let mut words = [0; MESSAGE_WORDS];
    for (index, word) in words.iter_mut().enumerate() {
        *word = if index < length {
            area.get(2 + index)
        } else {
            0
        };
    }
    Ok(Message {
        endpoint,
        flags,
        length,
        words,
        capability,
    })
}

#[inline(never)]
fn send(core: &mut Core, current: DcbRef, area: Context) -> Result<Leave, SysError> {
    let message = message(area)?;
    let yields = message.flags.contains(SendFlags::YIELD);
    let (receiver, direct) = lmp::send(core, current, &message)?;
    area.set(0, 0);
    if yields && receiver != current {
        dispatch::yield_to(core, receiver);
        return Ok(Leave::Enter);
    }
    if direct {
        dispatch::ready(core, receiver);
    }
    Ok(Leave::Caller)
}

#[inline(never)]
fn call(core: &mut Core, current: DcbRef, area: Context) -> Result<Leave, SysError> {
    let message = message(area)?;
    let (seen, deadline) = (area.get(10), area.get(11));
    let (receiver, _) = lmp::send(core, current, &message)?;
    if receiver == current || core.objects.dcb(current).delivered != seen {
        // Something is there already: don't wait, but let the receiver run.
        area.set(0, 0);
        if receiver != current {
            dispatch::yield_to(core, receiver);
            return Ok(Leave::Enter);
        }
        return Ok(Leave::Caller);
    }
    area.set(0, 0);
    dispatch::block_current(core, deadline, true, Some(receiver));
    Ok(Leave::Enter)
}

#[inline(never)]
fn wait(core: &mut Core, current: DcbRef, area: Context) -> Leave {
    let (direct, seen, deadline) = (area.get(0) & 1 != 0, area.get(10), area.get(11));
    if doorbell::take(core, current) {
        dispatch::deliver(core, current, false);
    }
    if core.objects.dcb(current).delivered != seen {
        area.set(0, 0);
        return Leave::Caller;
    }
    if deadline != NEVER && deadline <= timer::now() {
        area.set(0, SysError::TimedOut as u64);
        return Leave::Caller;
    }
    dispatch::block_current(core, deadline, direct, None);
    Leave::Enter
}

#[inline(never)]
fn yield_to(core: &mut Core, current: DcbRef, area: Context) -> Result<Leave, SysError> {
    let word = area.get(0);
    if word == 0 {
        area.set(0, 0);
        if core.kcb.scheduler.is_empty() {
            return Ok(Leave::Caller);
        }
        dispatch::yield_current(core);
        return Ok(Leave::Enter);
    }
    let reference = CapRef::from_word(word).ok_or(SysError::NoSuchSlot)?;
    let slot = core.slots.slot(lmp::lookup(core, current, reference)?);
    if slot.kind() != ObjectType::Dispatcher {
        return Err(if slot.is_occupied() {
            SysError::WrongType
        } else {
            SysError::EmptySlot
        });
    }
    let target = core
        .objects
        .dcb_at(slot.address())
        .ok_or(SysError::Foreign)?;
    if !core.kcb.scheduler.is_queued(&core.objects, target) {
        return Err(SysError::NotRunnable);
    }
    area.set(0, 0);
    dispatch::yield_to(core, target);
    Ok(Leave::Enter)
}

fn resume(core: &mut Core, area: Context) -> Result<Leave, SysError> {
    let which = match area.get(0) {
        0 => SaveArea::Enabled,
        1 => SaveArea::Trap,
        _ => return Err(SysError::InvalidArgument),
    };
    dispatch::resume(core, which);
    Ok(Leave::Enter)
}

/// Has the caller execute its `SVC` again, with its arguments as they are.
#[cold]
pub(crate) fn restart(core: &Core, area: Context) -> Leave {
    area.set(context::PC, area.get(context::PC).wrapping_sub(4));
    dispatch::reload_current(core)
}

/// Writes the result word of a success, and three values.
#[inline]
pub(crate) fn answer(area: Context, values: [u64; 3]) {
    area.set(0, error::to_word(Ok(())));
    for (index, value) in values.into_iter().enumerate() {
        area.set(1 + index, value);
    }
}
