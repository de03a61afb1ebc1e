//! What follows an interrupt: who runs now, and what it is told.

use capelin_abi::dispatcher::Upcall;
use capelin_abi::syscall::DispatcherState;

use crate::delivery;
use crate::dispatch;
use crate::doorbell;
use crate::interrupts::take_all;
use crate::lifecycle;
use crate::machine::{Machine, Objects};
use crate::state::Core;
use crate::upcall::{entry_point, upcall};

/// Interrupts came while a dispatcher ran: takes them, and says who runs now.
pub fn handle<M: Machine>(core: &mut Core<M>) {
    // From here on not the one that was interrupted is charged, but those whom the
    // interrupts are for.
    let entered = core.machine.now();
    core.show_log();
    let delivered = core.current_delivered();
    let settled = take_all(core, entered);
    if let Some(current) = core.kcb.scheduler.current
        && core.objects.dcb(current).state != DispatcherState::Runnable
    {
        // A deletion took what it lives on.
        lifecycle::end(core, current, DispatcherState::Stopped, 0);
    }
    let scheduler = &mut core.kcb.scheduler;
    if scheduler.current.is_none() {
        dispatch::run_next(core, settled);
    } else if scheduler.should_switch(&mut core.objects, settled) {
        dispatch::preempt_current(core, settled);
    } else {
        let ticks = delivery::settle(core);
        core.kcb.scheduler.lengthen(ticks);
        delivery::program_timer(core, core.settled);
        notify_current(core, delivered);
    }
}

/// Something arrived for the current dispatcher in an interrupt: if it is
/// enabled and wants to know, it gets the LMP upcall. Its context is in the
/// enabled area, so the disabled one is free.
fn notify_current<M: Machine>(core: &mut Core<M>, delivered_before: u64) {
    let Some(dcb) = core.kcb.scheduler.current else {
        return;
    };
    if core.kcb.current_disabled != 0 {
        return;
    }
    let Some(frame) = core.objects.dcb(dcb).frame() else {
        return;
    };
    if entry_point(core, frame, Upcall::Lmp).is_none() {
        return;
    }
    // It is told of what rang for it, so that has to be visible.
    doorbell::take(core, dcb);
    let delivered = core.objects.dcb(dcb).delivered.count();
    if delivered != delivered_before
        && let Some(target) = entry_point(core, frame, Upcall::Lmp)
    {
        upcall(core, dcb, frame, Upcall::Lmp, target, 0, 0);
    }
}
