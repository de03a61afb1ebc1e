//! System calls: decode, perform, and say whom to run next.

use capelin_abi::dispatcher::{SaveArea, context};
use capelin_abi::lmp::MESSAGE_WORDS;
use capelin_abi::rights::{Need, Operation};
use capelin_abi::syscall::{KernelCounter, SendFlags, Syscall};
use capelin_abi::{ABI_VERSION, CapRef, SysError};
use capelin_cap::SlotStore;

use crate::dcb::DcbRef;
use crate::dispatch::{self, Cause};
use crate::doorbell;
use crate::invoke;
use crate::lmp::{self, Message};
use crate::lrpc;
use crate::machine::{Machine, Objects, SaveContext};
use crate::narrow::{low8, low16};
use crate::scheduler::{NEVER, Nodes};
use crate::state::Core;

/// How a system call goes back to user space, as the vectors want it in x0 and x1:
/// the address of the caller's save area, and that of the area to enter from, or 0
/// to go back to the caller. One number, so that every ABI has it in registers.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Leave(u128);

impl Leave {
    /// To the caller, with what is in x0–x11 of its save area `area`.
    #[inline]
    pub(crate) fn caller(area: impl SaveContext) -> Self {
        Self(u128::from(area.address()))
    }

    /// To what `current_area` names now. `area` is the caller's: what wasn't saved
    /// of its registers is saved there first.
    #[inline]
    pub(crate) fn enter<M: Machine>(core: &Core<M>, area: M::Context) -> Self {
        Self::pair(area.address(), core.kcb.current_area)
    }

    /// As [`Leave::enter`], for a caller that knows what `current_area` is.
    #[inline]
    pub(crate) fn to(area: impl SaveContext, next: impl SaveContext) -> Self {
        Self::pair(area.address(), next.address())
    }

    /// The caller's save area, and the one to enter from, 0 for the caller's.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "two words, cut apart")]
    pub const fn areas(self) -> [u64; 2] {
        [self.0 as u64, (self.0 >> 64) as u64]
    }

    #[inline]
    const fn pair(area: u64, next: u64) -> Self {
        Self(area as u128 | (next as u128) << 64)
    }
}

/// Handles system call `number` (below 2^16) whose registers are in `area`.
#[inline(always)]
pub fn handle<M: Machine>(core: &mut Core<M>, area: M::Context, number: u64) -> Leave {
    core.kcb.count(KernelCounter::Syscalls);
    // The shortest call of all, and the measure of the way in and out: kept apart
    // so that it pays for nobody's registers. Then the two that matter most.
    if number == Syscall::Nop as u64 {
        area.set(0, ABI_VERSION);
        return Leave::caller(area);
    }
    let Some(current) = core.kcb.scheduler.current else {
        return nobody(core, area);
    };
    if number == Syscall::Call as u64 {
        return lrpc::call(core, current, area);
    }
    if number == Syscall::Invoke as u64 {
        return invoke::handle(core, current, area);
    }
    decode(core, current, area, number)
}

/// [`handle`] for a [`Syscall::Call`] that isn't to take the short way: what that has
/// to be the same as.
pub fn call_the_long_way<M: Machine>(core: &mut Core<M>, area: M::Context) -> Leave {
    core.kcb.count(KernelCounter::Syscalls);
    let Some(current) = core.kcb.scheduler.current else {
        return nobody(core, area);
    };
    dispatch::save_thread_pointer(core, area);
    decode(core, current, area, Syscall::Call as u64)
}

/// Only a dispatcher that runs can call.
#[cold]
#[inline(never)]
fn nobody<M: Machine>(core: &mut Core<M>, area: M::Context) -> Leave {
    dispatch::run_next(core, core.machine.now());
    Leave::enter(core, area)
}

/// Handles the others, and a Call that isn't the short case.
#[inline(never)]
pub(crate) fn decode<M: Machine>(
    core: &mut Core<M>,
    current: DcbRef,
    area: M::Context,
    number: u64,
) -> Leave {
    let outcome = match Syscall::try_from(low16(number)) {
        Ok(Syscall::Nop) => {
            area.set(0, ABI_VERSION);
            return Leave::caller(area);
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
        Leave::caller(area)
    })
}

fn message(area: impl SaveContext) -> Result<Message, SysError> {
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
fn send<M: Machine>(
    core: &mut Core<M>,
    current: DcbRef,
    area: M::Context,
) -> Result<Leave, SysError> {
    let message = message(area)?;
    let yields = message.flags.contains(SendFlags::YIELD);
    let (receiver, direct) = lmp::send(core, current, &message)?;
    area.set(0, 0);
    if yields && receiver != current {
        dispatch::yield_to(core, receiver);
        return Ok(Leave::enter(core, area));
    }
    if direct {
        dispatch::ready(core, receiver, Cause::Call);
    }
    Ok(Leave::caller(area))
}

#[inline(never)]
fn call<M: Machine>(
    core: &mut Core<M>,
    current: DcbRef,
    area: M::Context,
) -> Result<Leave, SysError> {
    let message = message(area)?;
    let (seen, deadline) = (area.get(10), area.get(11));
    let (receiver, _) = lmp::send(core, current, &message)?;
    // As in `wait`: bits that came while it ran make no more interrupts, so whoever
    // blocks without taking them sleeps on.
    doorbell::take(core, current);
    if receiver == current || !core.objects.dcb(current).delivered.may_block(seen) {
        // Something is there already: don't wait, but let the receiver run.
        area.set(0, 0);
        if receiver != current {
            dispatch::yield_to(core, receiver);
            return Ok(Leave::enter(core, area));
        }
        return Ok(Leave::caller(area));
    }
    area.set(0, 0);
    dispatch::block_current(core, deadline, true, Some(receiver));
    Ok(Leave::enter(core, area))
}

#[inline(never)]
fn wait<M: Machine>(core: &mut Core<M>, current: DcbRef, area: M::Context) -> Leave {
    let (direct, seen, deadline) = (area.get(0) & 1 != 0, area.get(10), area.get(11));
    doorbell::take(core, current);
    if !core.objects.dcb(current).delivered.may_block(seen) {
        area.set(0, 0);
        return Leave::caller(area);
    }
    if deadline != NEVER && deadline <= core.machine.now() {
        area.set(0, SysError::TimedOut as u64);
        return Leave::caller(area);
    }
    dispatch::block_current(core, deadline, direct, None);
    Leave::enter(core, area)
}

#[inline(never)]
fn yield_to<M: Machine>(
    core: &mut Core<M>,
    current: DcbRef,
    area: M::Context,
) -> Result<Leave, SysError> {
    let word = area.get(0);
    if word == 0 {
        area.set(0, 0);
        if core.kcb.scheduler.is_empty() {
            return Ok(Leave::caller(area));
        }
        dispatch::yield_current(core);
        return Ok(Leave::enter(core, area));
    }
    let reference = CapRef::from_word(word).ok_or(SysError::NoSuchSlot)?;
    let slot = core.slots.slot(lmp::lookup(core, current, reference)?);
    slot.meets(const { Need::of(Operation::Yield, 0) })?;
    let target = core
        .objects
        .dcb_at(slot.address())
        .ok_or(SysError::Foreign)?;
    if !core.objects.node(target).is_queued() {
        return Err(SysError::NotRunnable);
    }
    area.set(0, 0);
    dispatch::yield_to(core, target);
    Ok(Leave::enter(core, area))
}

fn resume<M: Machine>(core: &mut Core<M>, area: M::Context) -> Result<Leave, SysError> {
    let which = match area.get(0) {
        0 => SaveArea::Enabled,
        1 => SaveArea::Trap,
        _ => return Err(SysError::InvalidArgument),
    };
    dispatch::resume(core, which);
    Ok(Leave::enter(core, area))
}

/// Has the caller execute its `SVC` again, with its arguments as they are.
#[cold]
pub(crate) fn restart<M: Machine>(core: &mut Core<M>, area: M::Context) -> Leave {
    area.set(context::PC, area.get(context::PC).wrapping_sub(4));
    dispatch::reload_current(core, area)
}
