//! Out of the shelter, where what mustn't be lost went when that in which it lay died.

use capelin_abi::{Rights, SysError};

use crate::copy::relocate;
use crate::decode::{usable, vacant};
use crate::mdb::Mdb;
use crate::slot_index::SlotIndex;
use crate::store::{Shelter, SlotStore};

/// Moves the first capability in `shelter` that can be used to the empty slot `dst`, as
/// it is. What is there for its range only (a tombstone, or what is on its way to another
/// kernel) stays, until that is over.
///
/// # Errors
/// `NoSuchSlot` or `SlotInUse` for `dst`; `EmptySlot` when there is none.
pub fn take_orphan<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    shelter: Shelter,
    dst: SlotIndex,
) -> Result<(), SysError> {
    vacant(store, dst)?;
    let mut slots = (0..shelter.slots).filter_map(|number| shelter.first.checked_add(number));
    let orphan = slots.find(|&slot| usable(store, mdb, slot).is_ok());
    relocate(
        store,
        mdb,
        orphan.ok_or(SysError::EmptySlot)?,
        dst,
        Rights::all(),
    )
}
