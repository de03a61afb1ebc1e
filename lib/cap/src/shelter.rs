//! Out of the shelter, where what mustn't be lost went when that in which it lay died.

use capelin_abi::{Rights, SysError};

use crate::copy::relocate;
use crate::decode::{usable, vacant};
use crate::mdb::Mdb;
use crate::slot_index::SlotIndex;
use crate::store::{Shelter, SlotStore};

/// Slots of the shelter that one call looks at: whether one can be used is a look at all holds.
pub const SLOTS_AT_ONCE: u32 = 8;

/// How far a search of the shelter has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Search {
    /// Something was found, and moved.
    Taken,
    /// Nothing before the slot of this number.
    From(u32),
}

/// Moves the first capability in `shelter`, from slot number `from` on, that can be used to the
/// empty slot `dst`, as it is. What is there for its range only (a tombstone, or what is on its way to
/// another kernel) stays, until that is over. Looks at [`SLOTS_AT_ONCE`].
///
/// # Errors
/// `NoSuchSlot` or `SlotInUse` for `dst`; `EmptySlot` when there is none.
pub fn take_orphan<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    shelter: Shelter,
    from: u32,
    dst: SlotIndex,
) -> Result<Search, SysError> {
    vacant(store, dst)?;
    let end = from.saturating_add(SLOTS_AT_ONCE).min(shelter.slots);
    let mut slots = (from..end).filter_map(|number| shelter.first.checked_add(number));
    let orphan = slots.find(|&slot| usable(store, mdb, slot).is_ok());
    match orphan {
        Some(orphan) => relocate(store, mdb, orphan, dst, Rights::all()).map(|()| Search::Taken),
        None if end < shelter.slots => Ok(Search::From(end)),
        None => Err(SysError::EmptySlot),
    }
}
