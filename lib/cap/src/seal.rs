//! Seal: a frame becomes the image that a core starts from, which user space
//! can't touch any more.

use capelin_abi::{ObjectType, Rights, SysError};

use crate::decode::usable;
use crate::executable::check_sole;
use crate::mdb::Mdb;
use crate::slot::SlotFlags;
use crate::slot_index::SlotIndex;
use crate::store::SlotStore;

/// Turns the Frame in `index` into a `CoreImage`, in place. Rights to its
/// contents go; EXECUTE (to start a core from it), GRANT and REVOKE stay.
///
/// # Errors
/// For the slot as [`crate::copy()`]; `WrongType`; `Foreign`;
/// `ThroughMonitor` with copies on other kernels, or a frame around it on one;
/// `HasRelations` with copies, mappings or sub-ranges here, or when it lies in a frame itself, through which
/// it could be mapped.
pub fn seal<S: SlotStore>(store: &mut S, mdb: &mut Mdb, index: SlotIndex) -> Result<(), SysError> {
    let slot = usable(store, mdb, index)?;
    if !slot.is_kind(ObjectType::Frame) {
        return Err(SysError::WrongType);
    }
    check_sole(store, mdb, index, slot)?;
    // Nothing else has this range but ancestors, which come before both types:
    // the node stays where it is.
    let slot = store.slot_mut(index);
    slot.set_flags(SlotFlags::EXECUTABLE, false);
    slot.set_kind(ObjectType::CoreImage);
    // StartCore keeps there how far it has come; what a record of another kernel's said isn't that.
    slot.set_data([0; 2]);
    slot.keep_rights(Rights::EXECUTE.union(Rights::GRANT).union(Rights::REVOKE));
    Ok(())
}
