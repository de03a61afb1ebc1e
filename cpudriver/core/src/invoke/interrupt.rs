//! Interrupts as capabilities: binding one to an endpoint, acknowledging it.

use capelin_aarch64::gic;
use capelin_abi::SysError;
use capelin_abi::rights::Need;
use capelin_abi::syscall::Invocation;
use capelin_cap::{Capability, SlotStore};

use super::call::{Call, DONE, Outcome};
use crate::bound_irq;
use crate::endpoint;
use crate::machine::Machine;
use crate::state::Core;

/// `BindIrq`: one interrupt to an endpoint of the caller's core.
pub(crate) fn bind<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    let source = core.slots.slot(call.slot);
    if source.size() != 1 {
        return Err(SysError::InvalidArgument);
    }
    let (rights, number) = (source.rights(), source.base());
    let intid = u32::try_from(number).map_err(|_| SysError::OutOfRange)?;
    if !(bound_irq::FIRST_BINDABLE..gic::FIRST_SPECIAL).contains(&intid) {
        return Err(SysError::OutOfRange);
    }
    let endpoint = call.capability(core, const { Need::invocation(Invocation::BindIrq, 1) })?;
    let to = endpoint::destination(core.slots.slot(endpoint))?;
    let target = call.own_slot(core, 2)?;
    if !core.slots.slot(target).is_empty() {
        return Err(SysError::SlotInUse);
    }
    bound_irq::bind(core, intid, to)?;
    let capability = Capability::interrupts(capelin_abi::ObjectType::IrqDest, intid, 1, rights);
    let made = core.caps().derive(call.slot, capability, target);
    if let Err(error) = made {
        bound_irq::unbind(core, intid, to);
        return Err(error);
    }
    Ok(DONE)
}

/// `AcknowledgeIrq`.
pub(crate) fn acknowledge<M: Machine>(
    core: &mut Core<M>,
    call: &Call<M>,
) -> Result<Outcome, SysError> {
    let number = core.slots.slot(call.slot).base();
    bound_irq::acknowledge(
        core,
        u32::try_from(number).map_err(|_| SysError::OutOfRange)?,
    )?;
    Ok(DONE)
}
