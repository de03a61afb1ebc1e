//! Interrupts: the timer, the doorbell, and those that belong to user space.
//!
//! A user interrupt is masked and acknowledged, and an event goes to the endpoint
//! bound to it, into room that was reserved when it was bound: it can't be lost.
//! The driver unmasks it with `AcknowledgeIrq`.

use capelin_abi::syscall::KernelCounter;
use capelin_wake::page::Answered;

use crate::bound_irq;
use crate::delivery::{self, Cause};
use crate::doorbell;
use crate::effects;
use crate::machine::Machine;
use crate::scheduler::NEVER;
use crate::state::Core;

/// Interrupts that one entry takes.
const TAKEN_AT_ONCE: usize = 8;

/// Takes the interrupts that are pending, from `now` on, and has those pay whom they are for. For
/// what comes after the time that is answered, nobody pays yet.
///
/// Each source is masked, disarmed or cleared
/// before the next is looked at; those that other cores send again meanwhile, and
/// what is more than `TAKEN_AT_ONCE`, interrupt again. Doorbells beyond what one entry
/// answers do so after all others that are pending: they keep no timer from being looked at.
pub fn take_all<M: Machine>(core: &mut Core<M>, now: u64) -> u64 {
    core.settled = now;
    let mut left = doorbell::ANSWERS;
    let mut answered = Answered::All;
    for _ in 0..TAKEN_AT_ONCE {
        let Some(intid) = core.machine.acknowledge_interrupt() else {
            break;
        };
        core.kcb.count(KernelCounter::Interrupts);
        if intid == u32::from(doorbell::SGI) {
            core.machine.end_interrupt(intid);
            core.kcb.count(KernelCounter::DoorbellInterrupts);
            answered = doorbell::answer(core, &mut left);
        } else if intid == core.timer_intid {
            core.machine.disarm_timer();
            core.kcb.scheduler.timer_deadline = NEVER;
            core.machine.end_interrupt(intid);
            core.kcb.count(KernelCounter::TimerInterrupts);
            delivery::expire_deadlines(core, core.machine.now());
            // A busy core has a step of the deletions done now and then, too.
            effects::drain(core);
        } else {
            // acknowledge() gives no number that disable() doesn't take.
            core.machine.disable_interrupt(intid);
            core.machine.end_interrupt(intid);
            user_interrupt(core, intid);
        }
    }
    if answered == Answered::More {
        doorbell::come_again(core);
    }
    core.settled
}

fn user_interrupt<M: Machine>(core: &mut Core<M>, intid: u32) {
    let Some(at) = core.kcb.irqs.iter().position(|irq| irq.intid == intid) else {
        core.log_line(format_args!("interrupt {intid} belongs to nobody: masked"));
        return;
    };
    bound_irq::send_event(core, at, Cause::Interrupt);
    if let Some(dcb) = core.kcb.irqs[at].dispatcher {
        delivery::charge_interrupt(core, dcb);
    }
}
