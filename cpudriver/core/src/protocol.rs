//! This kernel's part in operations between kernels (`docs/020-capabilities.md`,
//! "Between kernels"): each a step that a monitor asks for, under the id of its operation.

use capelin_abi::{OperationId, SysError};
use capelin_cap::SlotIndex;

use crate::dcb::DcbRef;
use crate::machine::Machine;
use crate::operations::Role;
use crate::state::Core;

/// Locks the object that the capability in `slot` names, for `owner`.
///
/// # Errors
/// As [`capelin_cap::lock_object`].
pub(crate) fn lock<M: Machine>(
    core: &mut Core<M>,
    slot: SlotIndex,
    owner: DcbRef,
) -> Result<OperationId, SysError> {
    let id = core.kcb.operations.begin(core.kernel, Role::Lock, owner)?;
    match core.caps().lock_object(slot, id) {
        Ok(_) => Ok(id),
        Err(error) => {
            core.kcb.operations.end(id);
            Err(error)
        }
    }
}

/// Ends a lock.
///
/// # Errors
/// `NoSuchOperation`.
pub(crate) fn unlock<M: Machine>(core: &mut Core<M>, id: OperationId) -> Result<(), SysError> {
    core.kcb.operations.find(id, Role::Lock)?;
    core.caps().unlock_object(id)?;
    core.kcb.operations.end(id);
    Ok(())
}

/// Ends what was held for dispatchers that are gone, and that nobody else would end.
pub(crate) fn end_for_those_gone<M: Machine>(core: &mut Core<M>) {
    let Some(orphans) = core.kcb.operations.take_orphans() else {
        return;
    };
    for orphan in orphans {
        match orphan.role {
            Role::Free => {}
            // It is there: only its end takes it away.
            Role::Lock => drop(unlock(core, orphan.id)),
        }
    }
}
