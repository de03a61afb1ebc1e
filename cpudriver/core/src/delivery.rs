//! Delivery: what has come for a dispatcher is counted, and ends its wait.
//!
//! Everything that becomes visible in a frame is counted as it does
//! ([`capelin_wake::Deliveries`]): a message, an event, bits of a doorbell. Whoever
//! waits is then runnable; whether it runs next, and when the timer has to see to
//! that, the scheduler says.

use capelin_abi::SysError;
use capelin_abi::dispatcher::offset;
use capelin_abi::lmp::{MESSAGE_WORDS, MISSED, MessageHeader};
use capelin_abi::syscall::DispatcherState;
use capelin_wake::Frame;

use crate::dcb::{DcbRef, Resume, Wait};
use crate::endpoint::{Destination, put, used};
use crate::log::CONSOLE_LOOKS_PER_SECOND;
use crate::machine::{Area, FrameWords, Machine, Objects, SaveContext};
use crate::scheduler::{NEVER, Scheduler};
use crate::state::Core;

/// Ends the wait of `dcb`, if it waits, with `result` in its x0, and returns the
/// save area for more results. It is in no queue then: the caller queues or
/// enters it.
pub(crate) fn end_wait<M: Machine>(
    core: &mut Core<M>,
    dcb: DcbRef,
    result: u64,
) -> Option<M::Context> {
    end_wait_in(&mut core.objects, &mut core.kcb.scheduler, dcb, result)
}

/// [`end_wait`] by the parts of a core that it takes.
#[inline]
fn end_wait_in<O: Objects>(
    objects: &mut O,
    scheduler: &mut Scheduler,
    dcb: DcbRef,
    result: u64,
) -> Option<O::Context> {
    let entry = objects.dcb_mut(dcb);
    let (area, resume) = match core::mem::replace(&mut entry.wait, Wait::Not) {
        Wait::Not => return None,
        Wait::Enabled | Wait::DirectEnabled => (Area::Enabled, Resume::Run),
        Wait::Disabled | Wait::DirectDisabled | Wait::Short => (Area::Disabled, Resume::Disabled),
    };
    entry.resume = resume;
    // One that has lost its frame doesn't wait any more.
    let area = entry.frame()?.area(area);
    let area = objects.context(area);
    scheduler.remove_deadline(objects, dcb);
    area.set(0, result);
    Some(area)
}

/// What made a dispatcher runnable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// An interrupt: who runs next is decided when all that are pending are taken.
    Interrupt,
    /// Something that the current dispatcher did. It goes on, for a quantum at most
    /// if the other's turn comes first.
    Call,
}

/// Counts a delivery to `dcb`, which is in its frame, and makes it runnable if it
/// waits.
pub(crate) fn deliver<M: Machine>(core: &mut Core<M>, dcb: DcbRef, cause: Cause) {
    let frame = seen_by(core, dcb);
    core.objects.dcb_mut(dcb).delivered.add(frame.as_ref());
    wake(core, dcb, cause);
}

/// Makes `dcb` runnable if it waits.
pub(crate) fn wake<M: Machine>(core: &mut Core<M>, dcb: DcbRef, cause: Cause) {
    if end_wait(core, dcb, 0).is_some() {
        ready(core, dcb, cause);
    }
}

/// Queues a dispatcher that may run, or whose wait has just ended.
pub(crate) fn ready<M: Machine>(core: &mut Core<M>, dcb: DcbRef, cause: Cause) {
    let now = core.machine.now();
    core.objects.dcb_mut(dcb).state = DispatcherState::Runnable;
    core.kcb.scheduler.wake(&mut core.objects, dcb, now);
    if cause == Cause::Call {
        program_timer(core, now);
    }
}

/// What has been done in interrupts for which nobody pays yet was done for `dcb`.
#[inline]
pub(crate) fn charge_interrupt<M: Machine>(core: &mut Core<M>, dcb: DcbRef) {
    let ticks = settle(core);
    let scheduler = &mut core.kcb.scheduler;
    scheduler.charge_interrupt(&mut core.objects, dcb, ticks);
}

/// The ticks up to now for which nobody pays yet: the caller settles that.
#[inline]
pub(crate) fn settle<M: Machine>(core: &mut Core<M>) -> u64 {
    let now = core.machine.now();
    now.wrapping_sub(core::mem::replace(&mut core.settled, now))
}

/// What became of news that nobody kept room for ([`tell`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    /// Nobody is there to be told.
    Nobody,
    /// The receiver has it, and runs or wants to run anyway.
    Busy,
    /// The receiver has it, and is runnable because of it: the timer has to see to its turn.
    Woken,
}

/// Tells an endpoint that the last capability with the counted badge of `to` went.
///
/// Deletions come here, which have the core in parts.
pub(crate) fn no_senders<O: Objects>(
    objects: &mut O,
    scheduler: &mut Scheduler,
    to: Destination,
    now: u64,
) -> Told {
    tell(objects, scheduler, to, &[0; MESSAGE_WORDS], now)
}

/// Tells an endpoint what nobody kept room for: by an event, or, where the ring has no room
/// that isn't kept for others, by its count of those missed.
pub(crate) fn tell<O: Objects>(
    objects: &mut O,
    scheduler: &mut Scheduler,
    to: Destination,
    words: &[u64; MESSAGE_WORDS],
    now: u64,
) -> Told {
    let entry = objects.dcb(to.dcb);
    let may_run = matches!(
        entry.state,
        DispatcherState::Runnable | DispatcherState::Stopped
    );
    let record = entry.endpoint(to.index);
    let Some(frame) = entry.frame().filter(|_| may_run && record.ring != 0) else {
        return Told::Nobody;
    };
    let frame = objects.frame(frame);
    let room = u32::from(record.capacity).saturating_sub(used(frame, record));
    if room > u32::from(record.reserved) {
        put(objects, to, MessageHeader::event(to.index.get()), words);
    } else {
        let record = objects.dcb_mut(to.dcb).endpoint_mut(to.index);
        record.missed = record.missed.wrapping_add(1);
        frame.write32(record.ring as usize + MISSED, record.missed);
    }
    objects.dcb_mut(to.dcb).delivered.add(Some(&Seen(frame)));
    if end_wait_in(objects, scheduler, to.dcb, 0).is_none() {
        return Told::Busy;
    }
    objects.dcb_mut(to.dcb).state = DispatcherState::Runnable;
    scheduler.wake(objects, to.dcb, now);
    Told::Woken
}

/// Puts an event into room that [`reserve`] kept. False when the receiver made
/// the room disappear (it lied about its tail, or is gone): the caller keeps the
/// event pending.
pub(crate) fn event<M: Machine>(
    core: &mut Core<M>,
    to: Destination,
    words: [u64; MESSAGE_WORDS],
    cause: Cause,
) -> bool {
    let entry = core.objects.dcb(to.dcb);
    // One that was stopped finds the event in its ring when it is run again; nobody
    // would send it then.
    let may_run = matches!(
        entry.state,
        DispatcherState::Runnable | DispatcherState::Stopped
    );
    let record = entry.endpoint(to.index);
    let Some(frame) = entry.frame().filter(|_| may_run && record.ring != 0) else {
        return false;
    };
    let frame = core.objects.frame(frame);
    if used(frame, record) >= u32::from(record.capacity) {
        return false;
    }
    let header = MessageHeader::event(to.index.get());
    put(&mut core.objects, to, header, &words);
    deliver(core, to.dcb, cause);
    true
}

/// What the domain of `dcb` sees of its deliveries; `None` once it has no frame.
pub(crate) fn seen_by<M: Machine>(core: &Core<M>, dcb: DcbRef) -> Option<Seen<M::Frame>> {
    let frame = core.objects.dcb(dcb).frame()?;
    Some(Seen(core.objects.frame(frame)))
}

/// The words of a dispatcher frame that tell of deliveries.
pub(crate) struct Seen<F>(F);

impl<F: FrameWords> Frame for Seen<F> {
    #[inline]
    fn add_notified(&self, bits: u64) {
        self.0.set_bits(offset::NOTIFIED, bits);
    }

    #[inline]
    fn set_delivered(&self, count: u64) {
        // The same core: the domain can't run before the kernel has left.
        self.0.write(offset::DELIVERED, count);
    }
}

/// Sees to it that the timer fires in time for what the scheduler waits for. One that
/// fires too early is left alone: its interrupt comes back here.
pub(crate) fn program_timer<M: Machine>(core: &mut Core<M>, now: u64) {
    let want = next_event(core, now);
    if want < core.kcb.scheduler.timer_deadline {
        core.kcb.scheduler.timer_deadline = want;
        core.machine.arm_timer(want);
    }
}

/// When the kernel has to look again, if nothing else happens.
#[inline]
fn next_event<M: Machine>(core: &Core<M>, now: u64) -> u64 {
    let event = core.kcb.scheduler.next_event(&core.objects, now);
    if core.log_is_shown() {
        event
    } else {
        event.min(now.saturating_add(core.frequency / CONSOLE_LOOKS_PER_SECOND))
    }
}

/// As [`program_timer`], and no earlier: an idle core takes no ticks.
pub(crate) fn program_idle_timer<M: Machine>(core: &mut Core<M>, now: u64) {
    let want = next_event(core, now);
    if want != core.kcb.scheduler.timer_deadline {
        core.kcb.scheduler.timer_deadline = want;
        if want == NEVER {
            core.machine.disarm_timer();
        } else {
            core.machine.arm_timer(want);
        }
    }
}

/// Waits whose deadlines have passed that one entry ends.
const EXPIRED_AT_ONCE: usize = 16;

/// Wakes those whose deadline has passed, the earliest first. For what is left the
/// timer fires again, after those who were woken have had a little time.
pub(crate) fn expire_deadlines<M: Machine>(core: &mut Core<M>, now: u64) {
    for _ in 0..EXPIRED_AT_ONCE {
        let Some(dcb) = core.kcb.scheduler.due(&core.objects, now) else {
            return;
        };
        if end_wait(core, dcb, SysError::TimedOut as u64).is_some() {
            ready(core, dcb, Cause::Interrupt);
            charge_interrupt(core, dcb);
        } else {
            core.kcb.scheduler.remove_deadline(&mut core.objects, dcb);
        }
    }
    core.kcb.scheduler.pause_waits(now);
}
