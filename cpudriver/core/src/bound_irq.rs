//! Interrupts that belong to user space: bound to endpoints.
//!
//! One that comes is masked, and an event goes to the endpoint, into room that was
//! reserved when it was bound: it can't be lost. The driver unmasks it with
//! `AcknowledgeIrq`.

use capelin_abi::SysError;

use crate::dcb::DcbRef;
use crate::delivery::{self, Cause};
use crate::endpoint;
use crate::kcb::{BoundIrq, IrqState};
use crate::machine::Machine;
use crate::state::Core;

/// First INTID that can be bound (SGIs can't).
pub(crate) const FIRST_BINDABLE: u32 = 16;

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
        dispatcher: Some(to.dcb),
        endpoint: to.index,
        state: IrqState::Unmasked,
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
    if core.kcb.irqs[at].state == IrqState::Untold {
        send_event(core, at, Cause::Call);
    } else {
        core.kcb.irqs[at].state = IrqState::Unmasked;
        core.machine.enable_interrupt(intid)?;
    }
    Ok(())
}

pub(crate) fn send_event<M: Machine>(core: &mut Core<M>, at: usize, cause: Cause) {
    let irq = core.kcb.irqs[at];
    let Some(dcb) = irq.dispatcher else { return };
    let to = endpoint::Destination {
        dcb,
        index: irq.endpoint,
        badge: u64::from(irq.intid),
    };
    let sent = delivery::event(core, to, [u64::from(irq.intid), 0, 0, 0, 0, 0, 0, 0], cause);
    core.kcb.irqs[at].state = if sent {
        IrqState::Told
    } else {
        IrqState::Untold
    };
}

/// Takes back what [`bind`] did.
pub(crate) fn unbind<M: Machine>(core: &mut Core<M>, intid: u32, to: endpoint::Destination) {
    core.machine.disable_interrupt(intid);
    for irq in core.kcb.irqs.iter_mut().filter(|irq| irq.intid == intid) {
        *irq = BoundIrq::FREE;
    }
    endpoint::unreserve(core, to);
}

/// Forgets the interrupts bound to `dcb`, masking them.
pub(crate) fn unbind_all(irqs: &mut [BoundIrq], machine: &mut impl Machine, dcb: DcbRef) {
    unbind_where(irqs, machine, |irq| irq.dispatcher == Some(dcb));
}

/// Forgets the interrupts bound to an endpoint that goes, masking them. The room that was
/// reserved there goes with it.
pub(crate) fn unbind_from(
    irqs: &mut [BoundIrq],
    machine: &mut impl Machine,
    to: endpoint::Destination,
) {
    unbind_where(irqs, machine, |irq| {
        irq.dispatcher == Some(to.dcb) && irq.endpoint == to.index
    });
}

fn unbind_where(
    irqs: &mut [BoundIrq],
    machine: &mut impl Machine,
    is_meant: impl Fn(&BoundIrq) -> bool,
) {
    for irq in irqs.iter_mut().filter(|irq| is_meant(irq)) {
        machine.disable_interrupt(irq.intid);
        *irq = BoundIrq::FREE;
    }
}
