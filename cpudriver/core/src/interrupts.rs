//! Interrupts: the timer, the doorbell, and those that belong to user space.
//!
//! A user interrupt is masked and acknowledged, and an event goes to the endpoint
//! bound to it, into room that was reserved when it was bound: it can't be lost.
//! The driver unmasks it with `AcknowledgeIrq`.

use capelin_abi::SysError;
use capelin_abi::syscall::{DispatcherState, KernelCounter};

use crate::dcb::DcbRef;
use crate::dispatch;
use crate::doorbell;
use crate::endpoint;
use crate::kcb::BoundIrq;
use crate::machine::{Machine, Objects};
use crate::message;
use crate::scheduler::NEVER;
use crate::state::Core;

/// First INTID that can be bound (SGIs can't).
pub(crate) const FIRST_BINDABLE: u32 = 16;

/// Interrupts that one entry takes.
const TAKEN_AT_ONCE: usize = 8;

/// Takes the interrupts that are pending. Each source is masked, disarmed or cleared
/// before the next is looked at; those that other cores send again meanwhile, and
/// what is more than `TAKEN_AT_ONCE`, interrupt again.
pub fn take_all<M: Machine>(core: &mut Core<M>) {
    for _ in 0..TAKEN_AT_ONCE {
        let Some(intid) = core.machine.acknowledge_interrupt() else {
            break;
        };
        core.kcb.count(KernelCounter::Interrupts);
        if intid == u32::from(doorbell::SGI) {
            core.machine.end_interrupt(intid);
            core.kcb.count(KernelCounter::DoorbellInterrupts);
            doorbell::answer(core);
        } else if intid == core.timer_intid {
            core.machine.disarm_timer();
            core.kcb.scheduler.timer_deadline = NEVER;
            core.machine.end_interrupt(intid);
            core.kcb.count(KernelCounter::TimerInterrupts);
            dispatch::expire_deadlines(core, core.machine.now());
            // A busy core has a step of the deletions done now and then, too.
            dispatch::drain(core);
        } else {
            // acknowledge() gives no number that disable() doesn't take.
            core.machine.disable_interrupt(intid);
            core.machine.end_interrupt(intid);
            user_interrupt(core, intid);
        }
    }
}

fn user_interrupt<M: Machine>(core: &mut Core<M>, intid: u32) {
    let Some(at) = core.kcb.irqs.iter().position(|irq| irq.intid == intid) else {
        core.log_line(format_args!("interrupt {intid} belongs to nobody: masked"));
        return;
    };
    send_event(core, at);
}

fn send_event<M: Machine>(core: &mut Core<M>, at: usize) {
    let irq = core.kcb.irqs[at];
    let Some(dcb) = irq.dispatcher else { return };
    let to = endpoint::event_destination(dcb, irq.endpoint, u64::from(irq.intid));
    let sent = message::event(core, to, [u64::from(irq.intid), 0, 0, 0, 0, 0, 0, 0]);
    core.kcb.irqs[at].outstanding = if sent { 1 } else { 2 };
}

/// Binds interrupt `intid` to endpoint `index` of `dcb` and unmasks it.
pub(crate) fn bind<M: Machine>(
    core: &mut Core<M>,
    intid: u32,
    to: endpoint::Destination,
) -> Result<(), SysError> {
    if core.kcb.irqs.iter().any(|irq| irq.intid == intid) || intid == core.timer_intid {
        return Err(SysError::AlreadyBound);
    }
    let at = core
        .kcb
        .irqs
        .iter()
        .position(|irq| irq.intid == 0)
        .ok_or(SysError::NoResources)?;
    endpoint::reserve(core, to)?;
    core.kcb.irqs[at] = BoundIrq {
        intid,
        dispatcher: Some(to.dispatcher()),
        endpoint: to.index(),
        outstanding: 0,
    };
    if let Err(error) = core.machine.enable_interrupt(intid) {
        unbind(core, intid, to);
        return Err(error);
    }
    Ok(())
}

/// The driver has served the device: unmask, or deliver what found no room.
pub(crate) fn acknowledge<M: Machine>(core: &mut Core<M>, intid: u32) -> Result<(), SysError> {
    let at = core.kcb.irqs.iter().position(|irq| irq.intid == intid);
    let at = at.ok_or(SysError::NotRunnable)?;
    if core.kcb.irqs[at].outstanding == 2 {
        send_event(core, at);
    } else {
        core.kcb.irqs[at].outstanding = 0;
        core.machine.enable_interrupt(intid)?;
    }
    Ok(())
}

/// Forgets the interrupts bound to `dcb`, masking them.
pub(crate) fn unbind_all(irqs: &mut [BoundIrq], machine: &mut impl Machine, dcb: DcbRef) {
    for irq in irqs.iter_mut().filter(|irq| irq.dispatcher == Some(dcb)) {
        machine.disable_interrupt(irq.intid);
        *irq = BoundIrq::FREE;
    }
}

/// Interrupts came while a dispatcher ran: takes them, and says who runs now.
pub fn handle<M: Machine>(core: &mut Core<M>) {
    // Whoever runs because of them is charged for the work from here on, not the one
    // that was interrupted.
    let entered = core.machine.now();
    core.show_log();
    let delivered = core.current_delivered();
    take_all(core);
    if let Some(current) = core.kcb.scheduler.current
        && core.objects.dcb(current).state != DispatcherState::Runnable
    {
        // A deletion took what it lives on.
        dispatch::end(core, current, DispatcherState::Stopped, 0);
    }
    let scheduler = &mut core.kcb.scheduler;
    if scheduler.current.is_none() {
        dispatch::run_next(core, entered);
    } else if scheduler.should_switch(&mut core.objects, entered) {
        dispatch::preempt_current(core, entered);
    } else {
        dispatch::program_timer(core, entered);
        dispatch::notify_current(core, delivered);
    }
}

/// Takes back what [`bind`] did.
pub(crate) fn unbind<M: Machine>(core: &mut Core<M>, intid: u32, to: endpoint::Destination) {
    core.machine.disable_interrupt(intid);
    for irq in core.kcb.irqs.iter_mut().filter(|irq| irq.intid == intid) {
        *irq = BoundIrq::FREE;
    }
    endpoint::unreserve(core, to);
}
