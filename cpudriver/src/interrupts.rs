//! Interrupts: the timer, the doorbell, and those that belong to user space.
//!
//! A user interrupt is masked and acknowledged, and an event goes to the endpoint
//! bound to it, into room that was reserved when it was bound: it can't be lost.
//! The driver unmasks it with `AcknowledgeIrq`.

use capelin_aarch64::timer;
use capelin_abi::SysError;
use capelin_abi::syscall::KernelCounter;

use crate::core::Core;
use crate::dcb::DcbRef;
use crate::dispatch;
use crate::doorbell;
use crate::kcb::BoundIrq;
use crate::lmp;
use crate::scheduler::NEVER;

/// First INTID that can be bound (SGIs can't).
pub(crate) const FIRST_BINDABLE: u32 = 16;

/// Takes every interrupt that is pending. Bounded: each source is masked,
/// disarmed or cleared before the next is looked at.
pub(crate) fn take_all(core: &mut Core) {
    while let Some(intid) = core.gic.acknowledge() {
        core.kcb.count(KernelCounter::Interrupts);
        if intid == u32::from(doorbell::SGI) {
            core.gic.end(intid);
            core.kcb.count(KernelCounter::DoorbellInterrupts);
            doorbell::answer(core);
        } else if intid == core.timer_intid {
            core.timer.disarm();
            core.kcb.scheduler.timer_deadline = NEVER;
            core.gic.end(intid);
            core.kcb.count(KernelCounter::TimerInterrupts);
            dispatch::expire_deadlines(core, timer::now());
        } else {
            // acknowledge() gives no number that disable() doesn't take.
            let _ = core.gic.disable(intid);
            core.gic.end(intid);
            user_interrupt(core, intid);
        }
    }
}

fn user_interrupt(core: &mut Core, intid: u32) {
    let Some(at) = core.kcb.irqs.iter().position(|irq| irq.intid == intid) else {
        core.log_line(format_args!("interrupt {intid} belongs to nobody: masked"));
        return;
    };
    send_event(core, at);
}

fn send_event(core: &mut Core, at: usize) {
    let irq = core.kcb.irqs[at];
    let Some(dcb) = irq.dispatcher else { return };
    let to = lmp::event_destination(dcb, irq.endpoint, u64::from(irq.intid));
    let sent = lmp::event(core, to, [u64::from(irq.intid), 0, 0, 0, 0, 0, 0, 0]);
    core.kcb.irqs[at].outstanding = if sent { 1 } else { 2 };
}

/// Binds interrupt `intid` to endpoint `index` of `dcb` and unmasks it.
pub(crate) fn bind(core: &mut Core, intid: u32, to: lmp::Destination) -> Result<(), SysError> {
    if core.kcb.irqs.iter().any(|irq| irq.intid == intid) || intid == core.timer_intid {
        return Err(SysError::AlreadyBound);
    }
    let at = core
        .kcb
        .irqs
        .iter()
        .position(|irq| irq.intid == 0)
        .ok_or(SysError::NoResources)?;
    lmp::reserve(core, to)?;
    core.kcb.irqs[at] = BoundIrq {
        intid,
        dispatcher: Some(to.dispatcher()),
        endpoint: to.index(),
        outstanding: 0,
    };
    if let Err(error) = core.gic.enable(intid) {
        unbind(core, intid, to);
        return Err(error.into());
    }
    Ok(())
}

/// The driver has served the device: unmask, or deliver what found no room.
pub(crate) fn acknowledge(core: &mut Core, intid: u32) -> Result<(), SysError> {
    let at = core.kcb.irqs.iter().position(|irq| irq.intid == intid);
    let at = at.ok_or(SysError::NotRunnable)?;
    if core.kcb.irqs[at].outstanding == 2 {
        send_event(core, at);
    } else {
        core.kcb.irqs[at].outstanding = 0;
        core.gic.enable(intid)?;
    }
    Ok(())
}

/// Forgets the interrupts bound to `dcb`, masking them.
pub(crate) fn unbind_all(irqs: &mut [BoundIrq], gic: &mut capelin_aarch64::gic::Gic, dcb: DcbRef) {
    for irq in irqs.iter_mut().filter(|irq| irq.dispatcher == Some(dcb)) {
        let _ = gic.disable(irq.intid);
        *irq = BoundIrq {
            intid: 0,
            dispatcher: None,
            endpoint: 0,
            outstanding: 0,
        };
    }
}

/// A timer or another interrupt came while a dispatcher ran: who runs now?
pub(crate) fn after_interrupt(core: &mut Core, delivered_before: u64) {
    let now = timer::now();
    let scheduler = &mut core.kcb.scheduler;
    let is_urgent = core::mem::take(&mut scheduler.has_urgent);
    let slice_over = now >= scheduler.slice_end;
    if scheduler.current.is_none() {
        dispatch::run_next(core, now);
    } else if !scheduler.is_empty() && (slice_over || is_urgent) {
        dispatch::yield_current(core);
    } else {
        if slice_over {
            // Whoever waited for a turn has ended meanwhile: a slice in the past
            // would raise the timer again at once, for ever.
            scheduler.slice_end = NEVER;
        }
        dispatch::program_timer(core);
        dispatch::notify_current(core, delivered_before);
    }
}

/// Takes back what [`bind`] did.
pub(crate) fn unbind(core: &mut Core, intid: u32, to: lmp::Destination) {
    let _ = core.gic.disable(intid);
    for irq in core.kcb.irqs.iter_mut().filter(|irq| irq.intid == intid) {
        *irq = BoundIrq {
            intid: 0,
            dispatcher: None,
            endpoint: 0,
            outstanding: 0,
        };
    }
    lmp::unreserve(core, to);
}
