//! Invocations of the Kernel capability by which monitors have kernels hold something.

use capelin_abi::rights::Need;
use capelin_abi::syscall::Invocation;
use capelin_abi::{OperationId, SysError};

use super::call::{Call, DONE, Outcome};
use crate::machine::Machine;
use crate::protocol;
use crate::state::Core;

pub(super) fn invoke<M: Machine>(
    core: &mut Core<M>,
    call: &Call<M>,
    invocation: Invocation,
) -> Result<Outcome, SysError> {
    match invocation {
        Invocation::Lock => {
            let slot = call.capability(core, const { Need::invocation(Invocation::Lock, 1) })?;
            let id = protocol::lock(core, slot, call.caller)?;
            Ok(call.answer([id.0, 0, 0]))
        }
        Invocation::Unlock => {
            protocol::unlock(core, OperationId(call.argument(1)))?;
            Ok(DONE)
        }
        _ => Err(SysError::UnknownOperation),
    }
}
