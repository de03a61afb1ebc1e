//! From "this dispatcher runs next" to registers: switching, upcalls, waiting,
//! waking, and the end of a dispatcher.
//!
//! After an entry, [`Kcb::current_area`](crate::kcb::Kcb) is the save area that
//! the vectors filled. Functions here change who is current and what that word
//! says; `enter_user` in `vectors.S` then leaves from there.

use capelin_abi::dispatcher::Upcall;
use capelin_abi::syscall::{DispatcherFlags, DispatcherState, KernelCounter};

use crate::address_space::use_address_space;
use crate::dcb::{DcbRef, Resume, Takes, Wait};
use crate::delivery::{program_idle_timer, program_timer};
use crate::doorbell;
use crate::effects;
use crate::exit::{current_context, save_thread_pointer};
use crate::interrupts;
use crate::lifecycle::end;
use crate::local_revoke;
use crate::machine::{Area, Machine, Objects};
use crate::names::Place;
use crate::scheduler::{NEVER, Nodes};
use crate::state::Core;
use crate::upcall::{entry_point, upcall};

/// The current dispatcher, which is given, is about to lose the processor: notes where
/// it goes on. The caller has the scheduler take it off.
pub(crate) fn leave_current<M: Machine>(core: &mut Core<M>, now: u64) -> Option<DcbRef> {
    let scheduler = &core.kcb.scheduler;
    let dcb = scheduler.current?;
    if let Some(area) = current_context(core) {
        save_thread_pointer(core, area);
    }
    let scheduler = &core.kcb.scheduler;
    let ran = now.wrapping_sub(scheduler.run_since);
    let resume = if core.kcb.current_disabled != 0 {
        Resume::Disabled
    } else {
        Resume::Run
    };
    let entry = core.objects.dcb_mut(dcb);
    entry.run_ticks = entry.run_ticks.wrapping_add(ran);
    entry.resume = resume;
    Some(dcb)
}

/// The current dispatcher gives up the rest of its slice; the next runs.
pub(crate) fn yield_current<M: Machine>(core: &mut Core<M>) {
    let now = core.machine.now();
    let current = leave_current(core, now);
    if let Some(next) = core.kcb.scheduler.alternate(&mut core.objects, now) {
        if !enter(core, next) {
            run_next(core, now);
        } else if core.kcb.scheduler.timer_deadline > core.kcb.scheduler.slice_end {
            // No wait has come or gone: only the slice is another.
            program_timer(core, now);
        }
        return;
    }
    core.kcb.scheduler.give_up(&mut core.objects, now);
    run_next_or(core, now, current);
}

/// Somebody else's turn has come at `now`: the current dispatcher keeps its rest.
pub(crate) fn preempt_current<M: Machine>(core: &mut Core<M>, now: u64) {
    let current = core.kcb.scheduler.current;
    leave_current(core, now);
    core.kcb.scheduler.preempt(&mut core.objects, now);
    run_next_or(core, now, current);
}

/// Runs `target`, which is runnable or waiting, with the rest of the slice of the
/// current dispatcher, which waits for its next turn.
pub(crate) fn yield_to<M: Machine>(core: &mut Core<M>, target: DcbRef) {
    let now = core.machine.now();
    leave_current(core, now);
    core.kcb.scheduler.give(&mut core.objects, now);
    hand_over(core, target, now);
    // Until now perhaps nobody waited for a turn, and nothing was to end the slice.
    if core.kcb.scheduler.timer_deadline > core.kcb.scheduler.slice_end {
        program_timer(core, now);
    }
}

/// Enters `target` with the slice that runs: the timer stays as it is.
fn hand_over<M: Machine>(core: &mut Core<M>, target: DcbRef, now: u64) {
    core.kcb.scheduler.unqueue(&mut core.objects, target);
    core.kcb.scheduler.take_over(target, now);
    if !enter(core, target) {
        run_next(core, now);
    }
}

/// The current dispatcher waits: until something is delivered, or `deadline`.
/// `takes` says how it takes a message. `next` runs at once when
/// there is one and it can.
pub(crate) fn block_current<M: Machine>(
    core: &mut Core<M>,
    deadline: u64,
    takes: Takes,
    next: Option<DcbRef>,
) {
    let now = core.machine.now();
    if let Some(current) = core.kcb.scheduler.current {
        leave_current(core, now);
        let entry = core.objects.dcb_mut(current);
        let is_disabled = core.kcb.current_disabled != 0;
        entry.wait = match (takes, is_disabled) {
            (Takes::Ring, false) => Wait::Enabled,
            (Takes::Ring, true) => Wait::Disabled,
            (Takes::Registers, true) if deadline == NEVER => Wait::Short,
            (Takes::Registers, true) => Wait::DirectDisabled,
            (Takes::Registers, false) => Wait::DirectEnabled,
        };
        if deadline != NEVER {
            core.kcb
                .scheduler
                .add_deadline(&mut core.objects, current, deadline, now);
        }
    }
    match next {
        Some(next) => {
            core.kcb.scheduler.lend();
            if deadline != NEVER {
                program_timer(core, now);
            }
            hand_over(core, next, now);
        }
        None => {
            core.kcb.scheduler.block(&mut core.objects, now);
            run_next(core, now);
        }
    }
}

/// Dispatchers that turn out to be dead when they are to run, in one entry: telling somebody of
/// the end of one, who sleeps, takes some 1,400 instructions, and the fault that led here 13,000.
const DEAD_AT_ONCE: usize = 4;

/// Runs the first of the queue, or idles until there is one.
pub fn run_next<M: Machine>(core: &mut Core<M>, now: u64) {
    run_next_or(core, now, None);
}

/// As [`run_next`]. If too many that were to run have ended instead, `last`, which ran
/// before and may be in the queue, goes on, until the timer has the rest looked at.
///
/// Where there is nobody to go back to, each turn of the loop is an entry of its own: it does
/// what an entry may, and the next one begins with the interrupts that have come. Whoever these
/// wake has its turn among those that are left. What it took to find out that others were dead
/// is no part of the slice of whoever is found.
fn run_next_or<M: Machine>(core: &mut Core<M>, mut now: u64, last: Option<DcbRef>) {
    let mut dead = 0;
    loop {
        let next = if dead < DEAD_AT_ONCE {
            core.kcb.scheduler.pop(&mut core.objects)
        } else {
            let last = last.filter(|&last| core.objects.node(last).is_queued());
            last.inspect(|&last| core.kcb.scheduler.unqueue(&mut core.objects, last))
        };
        if let Some(next) = next {
            core.kcb.scheduler.start(&mut core.objects, next, now);
            if enter(core, next) {
                program_timer(core, now);
                return;
            }
            dead += 1;
            now = core.machine.now();
            continue;
        }
        core.show_log();
        now = if core.kcb.scheduler.is_empty() {
            idle(core, now)
        } else {
            core.machine.now()
        };
        now = interrupts::take_all(core, now);
        dead = 0;
    }
}

/// Nobody wants to run since `now`: goes on with what nobody waits for, or sleeps up to an
/// interrupt. Up to when.
fn idle<M: Machine>(core: &mut Core<M>, now: u64) -> u64 {
    if !effects::drain(core) && !local_revoke::finish(core) {
        program_idle_timer(core, now);
        core.machine.wait_for_interrupt();
    }
    let woken = core.machine.now();
    core.kcb.counters[KernelCounter::IdleTicks as usize] += woken.wrapping_sub(now);
    woken
}

/// Enters `dcb`, which the scheduler has made current. False when it can't run: then
/// it has ended, and nobody is current.
#[inline(always)]
fn enter<M: Machine>(core: &mut Core<M>, dcb: DcbRef) -> bool {
    core.kcb.count(KernelCounter::Switches);
    doorbell::take(core, dcb);
    let entry = core.objects.dcb(dcb);
    let (place, flags, resume) = (entry.place, entry.flags, entry.resume);
    let Some(Place { frame, root }) = place else {
        end(core, dcb, DispatcherState::Faulted, 0);
        return false;
    };
    if core.active_root != Some(root) {
        use_address_space(core, dcb, root);
    }
    core.set_fp_access(flags.contains(DispatcherFlags::FP) && core.kcb.fp_owner == Some(dcb));
    core.kcb.current_frame = Some(frame);
    match resume {
        Resume::Disabled => {
            core.kcb.current_area = Some(frame.area(Area::Disabled));
            true
        }
        Resume::Run => {
            let Some(target) = entry_point(core, frame, Upcall::Run) else {
                end(core, dcb, DispatcherState::Faulted, 0);
                return false;
            };
            upcall(core, dcb, frame, Upcall::Run, target, 0, 0);
            true
        }
    }
}
