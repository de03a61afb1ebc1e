//! From "this dispatcher runs next" to registers: switching, upcalls, waiting,
//! waking, and the end of a dispatcher.
//!
//! After an entry, [`Kcb::current_area`](crate::kcb::Kcb) is the save area that
//! the vectors filled. Functions here change who is current and what that word
//! says; `enter_user` in `vectors.S` then leaves from there.

use core::num::NonZeroU64;

use capelin_abi::dispatcher::{SaveArea, Upcall, context, offset};
use capelin_abi::syscall::{DispatcherFlags, DispatcherState, KernelCounter};
use capelin_abi::{PhysAddr, SysError};

use crate::dcb::{DcbRef, Resume, Takes, Wait, held};
use crate::doorbell;
use crate::exit::{current_context, save_thread_pointer};
use crate::interrupts;
use crate::invoke;
use crate::log::CONSOLE_LOOKS_PER_SECOND;
use crate::machine::{FrameWords, Machine, Objects, SaveContext};
use crate::message;
use crate::narrow::low16;
use crate::scheduler::{NEVER, Nodes};
use crate::state::Core;

/// The current dispatcher is about to lose the processor: notes where it goes on.
/// The caller has the scheduler take it off.
pub(crate) fn leave_current<M: Machine>(core: &mut Core<M>, now: u64) {
    save_thread_pointer(core, current_context(core));
    let scheduler = &core.kcb.scheduler;
    let Some(dcb) = scheduler.current else {
        return;
    };
    let ran = now.wrapping_sub(scheduler.run_since);
    let resume = if core.kcb.current_disabled != 0 {
        Resume::Disabled
    } else {
        Resume::Run
    };
    let entry = core.objects.dcb_mut(dcb);
    entry.run_ticks = entry.run_ticks.wrapping_add(ran);
    entry.resume = resume;
}

/// The current dispatcher gives up the rest of its slice; the next runs.
pub(crate) fn yield_current<M: Machine>(core: &mut Core<M>) {
    let now = core.machine.now();
    let current = core.kcb.scheduler.current;
    leave_current(core, now);
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

/// Ends the wait of `dcb`, if it waits, with `result` in its x0, and returns the
/// save area for more results. It is in no queue then: the caller queues or
/// enters it.
pub(crate) fn end_wait<M: Machine>(
    core: &mut Core<M>,
    dcb: DcbRef,
    result: u64,
) -> Option<M::Context> {
    let entry = core.objects.dcb_mut(dcb);
    let (area, resume) = match core::mem::replace(&mut entry.wait, Wait::Not) {
        Wait::Not => return None,
        Wait::Enabled | Wait::DirectEnabled => (offset::ENABLED, Resume::Run),
        Wait::Disabled | Wait::DirectDisabled | Wait::Short => {
            (offset::DISABLED_AREA, Resume::Disabled)
        }
    };
    entry.resume = resume;
    let area = entry.frame + area as u64;
    let area = core.objects.context(area);
    core.kcb.scheduler.remove_deadline(&mut core.objects, dcb);
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
    let frame = doorbell::seen_by(core, dcb);
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
fn program_idle_timer<M: Machine>(core: &mut Core<M>, now: u64) {
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
        } else {
            core.kcb.scheduler.remove_deadline(&mut core.objects, dcb);
        }
    }
    core.kcb.scheduler.pause_waits(now);
}

/// Dispatchers that turn out to be dead when they are to run, in one entry.
const DEAD_AT_ONCE: usize = 16;

/// Runs the first of the queue, or idles until there is one.
pub fn run_next<M: Machine>(core: &mut Core<M>, now: u64) {
    run_next_or(core, now, None);
}

/// As [`run_next`]. If too many that were to run have ended instead, `last`, which ran
/// before and may be in the queue, goes on, until the timer has the rest looked at.
fn run_next_or<M: Machine>(core: &mut Core<M>, mut now: u64, last: Option<DcbRef>) {
    let mut dead = 0;
    loop {
        let next = match last {
            Some(last) if dead == DEAD_AT_ONCE && core.objects.node(last).is_queued() => {
                core.kcb.scheduler.unqueue(&mut core.objects, last);
                Some(last)
            }
            _ => core.kcb.scheduler.pop(&mut core.objects),
        };
        if let Some(next) = next {
            core.kcb.scheduler.start(&mut core.objects, next, now);
            if enter(core, next) {
                program_timer(core, now);
                return;
            }
            dead += 1;
            if dead > DEAD_AT_ONCE {
                // Nobody is there to go back to; interrupts don't wait for that.
                dead = 0;
                interrupts::take_all(core);
            }
            continue;
        }
        core.show_log();
        if !drain(core) {
            program_idle_timer(core, now);
            core.machine.wait_for_interrupt();
        }
        let woken = core.machine.now();
        core.kcb.counters[KernelCounter::IdleTicks as usize] += woken.wrapping_sub(now);
        now = woken;
        interrupts::take_all(core);
    }
}

/// Does a step of a deletion that nobody goes on with. Whether there was one that can
/// be gone on with.
pub(crate) fn drain<M: Machine>(core: &mut Core<M>) -> bool {
    !core.kcb.deletions.is_empty() && invoke::drain_step(core).is_ok()
}

/// Whether `dcb` still has its frame, its CSpace and its VSpace. One that is dying
/// counts as lost: the dispatcher was told of it, and won't be again.
pub(crate) fn is_whole<M: Machine>(core: &Core<M>, dcb: DcbRef) -> bool {
    (held::FRAME..=held::VSPACE)
        .all(|n| capelin_cap::usable(&core.slots, &core.kcb.mdb, dcb.held(n)).is_ok())
}

/// Enters `dcb`, which the scheduler has made current. False when it can't run: then
/// it has ended, and nobody is current.
fn enter<M: Machine>(core: &mut Core<M>, dcb: DcbRef) -> bool {
    core.kcb.count(KernelCounter::Switches);
    doorbell::take(core, dcb);
    let entry = core.objects.dcb(dcb);
    let (frame, root, flags, resume) = (entry.frame, entry.root, entry.flags, entry.resume);
    if core.active_root != root {
        use_address_space(core, dcb);
    }
    core.set_fp_access(flags.contains(DispatcherFlags::FP) && core.kcb.fp_owner == Some(dcb));
    core.kcb.current_frame = frame;
    match resume {
        Resume::Disabled => {
            core.kcb.current_area = frame + offset::DISABLED_AREA as u64;
            true
        }
        Resume::Run => {
            let Some(target) = entry_point(core, frame, Upcall::Run) else {
                end(core, dcb, DispatcherState::Faulted, 0);
                return false;
            };
            upcall(core, dcb, Upcall::Run, target, 0, 0);
            true
        }
    }
}

/// Makes the address space of `dcb` the current one.
#[inline]
fn use_address_space<M: Machine>(core: &mut Core<M>, dcb: DcbRef) {
    if core.objects.dcb(dcb).asid_generation != core.kcb.asid_generation {
        note_asid(core, dcb);
    }
    let entry = core.objects.dcb(dcb);
    let (root, asid) = (entry.root, entry.asid);
    load_address_space(core, root, asid);
}

/// [`use_address_space`] for an ASID of this generation.
#[inline]
pub(crate) fn load_address_space<M: Machine>(core: &mut Core<M>, root: u64, asid: u16) {
    core.active_root = root;
    core.machine.set_user_root(PhysAddr(root), asid);
}

/// Has `dcb` know the ASID of its address space, which gets one first if its own
/// is of an earlier generation (Arm ARM D8.16.2).
#[cold]
fn note_asid<M: Machine>(core: &mut Core<M>, dcb: DcbRef) {
    let root = PhysAddr(core.objects.dcb(dcb).root);
    if core.objects.vnode(root).asid_generation != core.kcb.asid_generation {
        core.kcb.asid_last += 1;
        if core.kcb.asid_last > core.asid_max {
            core.kcb.asid_last = 1;
            core.kcb.asid_generation += 1;
            // The walker may still fill the TLB from the root in use, under an ASID that
            // another will soon have: that root goes first.
            core.machine.use_empty_root();
            core.active_root = 0;
            core.machine.invalidate_all();
        }
        let (asid, generation) = (core.kcb.asid_last, core.kcb.asid_generation);
        let table = core.objects.vnode_mut(root);
        table.asid = u64::from(asid);
        table.asid_generation = generation;
    }
    let asid = low16(core.objects.vnode(root).asid);
    let generation = core.kcb.asid_generation;
    let entry = core.objects.dcb_mut(dcb);
    entry.asid = asid;
    entry.asid_generation = generation;
}

/// Where the domain wants an upcall; `None` when it doesn't. The domain may write that
/// word at any time: it is read once for each upcall.
fn entry_point<M: Machine>(core: &Core<M>, frame: u64, kind: Upcall) -> Option<NonZeroU64> {
    NonZeroU64::new(core.objects.frame(frame).read(kind.entry_offset()))
}

/// Prepares an upcall to `target` in the disabled save area, which is free while a
/// dispatcher is entered enabled.
fn upcall<M: Machine>(
    core: &mut Core<M>,
    dcb: DcbRef,
    kind: Upcall,
    target: NonZeroU64,
    address: u64,
    syndrome: u64,
) {
    let entry = core.objects.dcb_mut(dcb);
    entry.upcalls += 1;
    let (frame, frame_user, delivered) = (entry.frame, entry.frame_user, entry.delivered.count());
    core.kcb.count(KernelCounter::Upcalls);
    let words = core.objects.frame(frame);
    let was_disabled = u64::from(core.kcb.current_disabled != 0);
    let area = core.objects.context(frame + offset::DISABLED_AREA as u64);
    area.set(0, frame_user);
    area.set(
        1,
        if kind == Upcall::Trap {
            was_disabled
        } else {
            delivered
        },
    );
    area.set(2, address);
    area.set(3, syndrome);
    for word in 4..context::SP {
        area.set(word, 0);
    }
    area.set(context::SP, words.read(offset::UPCALL_STACK));
    area.set(context::PC, target.get());
    area.set(context::SPSR, 0);
    // TPIDR_EL0 is the thread's: the enabled area has it.
    area.set(
        context::TPIDR,
        words.read(offset::ENABLED + context::TPIDR * 8),
    );
    words.write(offset::DISABLED, 1);
    core.kcb.current_area = area.address();
}

/// A fault of the current dispatcher: `kind` is the upcall for an enabled one.
pub fn fault<M: Machine>(core: &mut Core<M>, is_page_fault: bool, address: u64, syndrome: u64) {
    core.kcb.count(KernelCounter::Faults);
    let Some(dcb) = core.kcb.scheduler.current else {
        return;
    };
    let frame = core.objects.dcb(dcb).frame;
    let words = core.objects.frame(frame);
    words.write(offset::FAULT_ADDRESS, address);
    words.write(offset::FAULT_SYNDROME, syndrome);
    let context = current_context(core);
    let disabled = core.kcb.current_disabled != 0;
    let kind = match (is_page_fault, disabled) {
        (true, false) => Upcall::PageFault,
        (true, true) => Upcall::PageFaultDisabled,
        (false, _) => Upcall::Trap,
    };
    let entry = core.objects.dcb_mut(dcb);
    let again = disabled && entry.in_fault;
    let target = entry_point(core, frame, kind).filter(|_| !again);
    let entry = core.objects.dcb_mut(dcb);
    let Some(target) = target else {
        for (word, saved) in entry.fault.iter_mut().take(context::WORDS).enumerate() {
            *saved = SaveContext::get(context, word);
        }
        entry.fault[context::WORDS] = syndrome;
        entry.fault[context::WORDS + 1] = address;
        core.report_fault(dcb);
        end(core, dcb, DispatcherState::Faulted, u32::MAX);
        run_next(core, core.machine.now());
        return;
    };
    if disabled {
        entry.in_fault = true;
        let trap = core.objects.context(frame + offset::TRAP as u64);
        for word in 0..context::WORDS {
            trap.set(word, context.get(word));
        }
    }
    upcall(core, dcb, kind, target, address, syndrome);
}

/// Continues from a save area of the current dispatcher.
pub(crate) fn resume<M: Machine>(core: &mut Core<M>, area: SaveArea) {
    let Some(dcb) = core.kcb.scheduler.current else {
        return;
    };
    let entry = core.objects.dcb_mut(dcb);
    let frame = entry.frame;
    match area {
        SaveArea::Enabled => {
            core.objects.frame(frame).write(offset::DISABLED, 0);
            core.kcb.current_area = frame + offset::ENABLED as u64;
        }
        SaveArea::Trap => {
            entry.in_fault = false;
            core.kcb.current_area = frame + offset::TRAP as u64;
        }
    }
}

/// Something arrived for the current dispatcher in an interrupt: if it is
/// enabled and wants to know, it gets the LMP upcall. Its context is in the
/// enabled area, so the disabled one is free.
pub(crate) fn notify_current<M: Machine>(core: &mut Core<M>, delivered_before: u64) {
    let Some(dcb) = core.kcb.scheduler.current else {
        return;
    };
    if core.kcb.current_disabled != 0 {
        return;
    }
    let frame = core.objects.dcb(dcb).frame;
    if entry_point(core, frame, Upcall::Lmp).is_none() {
        return;
    }
    // It is told of what rang for it, so that has to be visible.
    doorbell::take(core, dcb);
    let delivered = core.objects.dcb(dcb).delivered.count();
    if delivered != delivered_before
        && let Some(target) = entry_point(core, frame, Upcall::Lmp)
    {
        upcall(core, dcb, Upcall::Lmp, target, 0, 0);
    }
}

/// Ends `dcb` for good and tells its death endpoint. If it was current, nobody
/// is: the caller runs the next.
pub(crate) fn end<M: Machine>(core: &mut Core<M>, dcb: DcbRef, state: DispatcherState, code: u32) {
    if core.kcb.scheduler.current == Some(dcb) {
        let now = core.machine.now();
        core.kcb.scheduler.block(&mut core.objects, now);
    }
    core.kcb.scheduler.forget(&mut core.objects, dcb);
    if core.kcb.fp_owner == Some(dcb) {
        core.kcb.fp_owner = None;
    }
    let entry = core.objects.dcb_mut(dcb);
    entry.state = state;
    entry.exit_code = code;
    entry.wait = Wait::Not;
    message::report_end(core, dcb, state, code);
}

/// The current dispatcher used an FP or SIMD register while it had none.
/// Loads its registers if it may have them; false when it may not.
pub fn load_fp<M: Machine>(core: &mut Core<M>) -> bool {
    let Some(dcb) = core.kcb.scheduler.current else {
        return false;
    };
    if !core.objects.dcb(dcb).flags.contains(DispatcherFlags::FP) {
        return false;
    }
    core.set_fp_access(true);
    if let Some(owner) = core.kcb.fp_owner {
        core.objects.save_fp(owner);
    }
    core.objects.load_fp(dcb);
    core.kcb.fp_owner = Some(dcb);
    true
}
