//! System calls: decode a request, perform it, and say who goes on.
//!
//! Every call comes through [`handle`]: `Request::decode` takes all that the caller
//! says out of its registers and refuses what means nothing; `perform` looks the
//! capabilities up, checks them, and acts; `exit::leave` goes where the `Next` says.
//! Three arms come before that, for what is done most: invocations, whose arguments
//! depend on the capability ([`invoke`]); the short way of a Call
//! (`short`), which answers at once or not at all; and giving way to anybody.

use capelin_abi::dispatcher::SaveArea;
use capelin_abi::lmp::MESSAGE_WORDS;
use capelin_abi::rights::{Need, Operation};
use capelin_abi::syscall::{KernelCounter, SendFlags, Syscall};
use capelin_abi::{ABI_VERSION, CapRef, SysError};
use capelin_cap::SlotStore;

use crate::cspace;
use crate::dcb::{DcbRef, Takes};
use crate::delivery::{self, Cause};
use crate::dispatch;
use crate::doorbell;
use crate::exit::{self, Leave, Next};
use crate::invoke;
use crate::machine::{Machine, Objects, SaveContext};
use crate::message::{self, Message, short};
use crate::narrow::{low8, low16};
use crate::scheduler::{NEVER, Nodes};
use crate::state::Core;
use crate::upcall;

/// What a caller asks for. An invocation isn't here: see [`invoke::handle`].
enum Request {
    /// [`Syscall::Nop`].
    Nop,
    /// [`Syscall::Send`].
    Send(Message),
    /// [`Syscall::Call`].
    Call(Message, Until),
    /// [`Syscall::Wait`].
    Wait(Takes, Until),
    /// [`Syscall::Yield`], to a dispatcher.
    YieldTo(CapRef),
    /// [`Syscall::Resume`].
    Resume(SaveArea),
}

/// What ends a wait.
struct Until {
    /// Any delivery beyond the count that the caller has seen.
    seen: u64,
    /// The counter's reaching this; [`NEVER`] for no such end.
    deadline: u64,
}

impl Request {
    /// Reads system call `number` from the registers of its caller: `None` for an
    /// invocation.
    #[inline(always)]
    fn decode(area: impl SaveContext, number: u64) -> Result<Option<Self>, SysError> {
        let call = Syscall::try_from(low16(number)).map_err(|_| SysError::UnknownOperation)?;
        Ok(Some(match call {
            Syscall::Nop => Self::Nop,
            Syscall::Invoke => return Ok(None),
            Syscall::Send => Self::Send(message(area)?),
            Syscall::Call => Self::Call(message(area)?, until(area)),
            Syscall::Wait if area.get(0) & 1 != 0 => Self::Wait(Takes::Registers, until(area)),
            Syscall::Wait => Self::Wait(Takes::Ring, until(area)),
            // To anybody: see `give_way`.
            Syscall::Yield => {
                Self::YieldTo(CapRef::from_word(area.get(0)).ok_or(SysError::NoSuchSlot)?)
            }
            Syscall::Resume => Self::Resume(match area.get(0) {
                0 => SaveArea::Enabled,
                1 => SaveArea::Trap,
                _ => return Err(SysError::InvalidArgument),
            }),
        }))
    }
}

/// Handles system call `number` (below 2^16) whose registers are in `area`.
#[inline(always)]
pub fn handle<M: Machine>(core: &mut Core<M>, area: M::Context, number: u64) -> Leave {
    let kcb = &mut *core.kcb;
    kcb.count(KernelCounter::Syscalls);
    let current = kcb.scheduler.current;
    // The shortest call of all, and the measure of the way in and out: kept apart
    // so that it pays for nobody's registers. Then the two that matter most.
    if number == Syscall::Nop as u64 {
        area.set(0, ABI_VERSION);
        return exit::leave(core, area, Next::Caller);
    }
    let Some(current) = current else {
        return nobody(core, area);
    };
    if number == Syscall::Call as u64 {
        return call(core, current, area);
    }
    if number == Syscall::Invoke as u64 {
        return invoke::handle(core, current, area);
    }
    if number == Syscall::Yield as u64 && area.get(0) == 0 {
        return give_way(core, area);
    }
    request(core, current, area, number)
}

/// A Yield to anybody.
#[inline(never)]
fn give_way<M: Machine>(core: &mut Core<M>, area: M::Context) -> Leave {
    area.set(0, 0);
    if core.kcb.scheduler.is_empty() {
        return exit::leave(core, area, Next::Caller);
    }
    dispatch::yield_current(core);
    exit::leave(core, area, Next::Switch)
}

/// [`handle`] for a [`Syscall::Call`] that isn't to take the short way: what that has
/// to be the same as.
pub fn call_the_long_way<M: Machine>(core: &mut Core<M>, area: M::Context) -> Leave {
    core.kcb.count(KernelCounter::Syscalls);
    match core.kcb.scheduler.current {
        Some(current) => request(core, current, area, Syscall::Call as u64),
        None => nobody(core, area),
    }
}

/// Only a dispatcher that runs can call.
#[cold]
#[inline(never)]
fn nobody<M: Machine>(core: &mut Core<M>, area: M::Context) -> Leave {
    dispatch::run_next(core, core.machine.now());
    exit::leave(core, area, Next::Switch)
}

/// A Call, by the short way if it can.
#[inline(never)]
fn call<M: Machine>(core: &mut Core<M>, caller: DcbRef, area: M::Context) -> Leave {
    match short::try_call(core, caller, area) {
        Some(next) => exit::leave(core, area, next),
        None => request(core, caller, area, Syscall::Call as u64),
    }
}

/// The way of every call that has no arm of its own.
#[inline(never)]
fn request<M: Machine>(core: &mut Core<M>, caller: DcbRef, area: M::Context, number: u64) -> Leave {
    let next = match Request::decode(area, number) {
        Ok(Some(request)) => perform(core, caller, area, request),
        Ok(None) => return invoke::handle(core, caller, area),
        Err(error) => Err(error),
    };
    let next = next.unwrap_or_else(|error| {
        area.set(0, error as u64);
        Next::Caller
    });
    exit::leave(core, area, next)
}

/// Performs what `caller` asks. An error goes into its x0, and nothing has changed.
#[inline(always)]
fn perform<M: Machine>(
    core: &mut Core<M>,
    caller: DcbRef,
    area: M::Context,
    request: Request,
) -> Result<Next, SysError> {
    match request {
        Request::Nop => {
            area.set(0, ABI_VERSION);
            Ok(Next::Caller)
        }
        Request::Send(message) => send(core, caller, area, &message),
        Request::Call(message, until) => send_and_wait(core, caller, area, &message, &until),
        Request::Wait(takes, until) => Ok(wait(core, caller, area, takes, &until)),
        Request::YieldTo(reference) => yield_to(core, caller, area, reference),
        Request::Resume(which) => {
            upcall::resume(core, which);
            Ok(Next::Switch)
        }
    }
}

/// A message, as [`Syscall::Send`] and [`Syscall::Call`] have it.
#[inline(always)]
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

/// The end of a wait, as [`Syscall::Wait`] and [`Syscall::Call`] have it.
#[inline(always)]
fn until(area: impl SaveContext) -> Until {
    Until {
        seen: area.get(10),
        deadline: area.get(11),
    }
}

#[inline(always)]
fn send<M: Machine>(
    core: &mut Core<M>,
    caller: DcbRef,
    area: M::Context,
    message: &Message,
) -> Result<Next, SysError> {
    let sent = message::send(core, caller, message)?;
    area.set(0, 0);
    if message.flags.contains(SendFlags::YIELD) && sent.receiver != caller {
        dispatch::yield_to(core, sent.receiver);
        return Ok(Next::Switch);
    }
    if sent.into == Takes::Registers {
        delivery::ready(core, sent.receiver, Cause::Call);
    }
    Ok(Next::Caller)
}

#[inline(always)]
fn send_and_wait<M: Machine>(
    core: &mut Core<M>,
    caller: DcbRef,
    area: M::Context,
    message: &Message,
    until: &Until,
) -> Result<Next, SysError> {
    let receiver = message::send(core, caller, message)?.receiver;
    area.set(0, 0);
    // As in `wait`: bits that came while it ran make no more interrupts, so whoever
    // blocks without taking them sleeps on.
    doorbell::take(core, caller);
    let may_block = core.objects.dcb(caller).delivered.may_block(until.seen);
    if receiver == caller {
        // It has a message now: see there.
        Ok(Next::Caller)
    } else if may_block {
        dispatch::block_current(core, until.deadline, Takes::Registers, Some(receiver));
        Ok(Next::Switch)
    } else {
        // Something is there already: don't wait, but let the receiver run.
        dispatch::yield_to(core, receiver);
        Ok(Next::Switch)
    }
}

#[inline(always)]
fn wait<M: Machine>(
    core: &mut Core<M>,
    caller: DcbRef,
    area: M::Context,
    takes: Takes,
    until: &Until,
) -> Next {
    doorbell::take(core, caller);
    if !core.objects.dcb(caller).delivered.may_block(until.seen) {
        area.set(0, 0);
        return Next::Caller;
    }
    if until.deadline != NEVER && until.deadline <= core.machine.now() {
        area.set(0, SysError::TimedOut as u64);
        return Next::Caller;
    }
    dispatch::block_current(core, until.deadline, takes, None);
    Next::Switch
}

#[inline(always)]
fn yield_to<M: Machine>(
    core: &mut Core<M>,
    caller: DcbRef,
    area: M::Context,
    reference: CapRef,
) -> Result<Next, SysError> {
    let index = cspace::lookup(core, caller, reference)?;
    let slot = core.slots.slot(index);
    slot.meets(const { Need::of(Operation::Yield, 0) })?;
    // Before it is live, its page holds whatever somebody wrote there before.
    let address = capelin_cap::usable(&core.slots, &core.database.mdb, index)?.address();
    let target = core.objects.dcb_at(address).ok_or(SysError::Foreign)?;
    if !core.objects.node(target).is_queued() {
        return Err(SysError::NotRunnable);
    }
    area.set(0, 0);
    dispatch::yield_to(core, target);
    Ok(Next::Switch)
}
