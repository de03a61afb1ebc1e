//! Create: a capability that isn't made from another.
//!
//! For the kernel at boot, which makes the first domain's capabilities from
//! nothing. It is the only operation that makes authority.

use capelin_abi::{ObjectType, PAGE_SIZE, SysError};

use crate::decode::vacant;
use crate::key::{is_paged, is_rival, is_same};
use crate::mdb::Mdb;
use crate::slot::{Capability, Slot, SlotFlags};
use crate::slot_index::SlotIndex;
use crate::store::SlotStore;

/// Puts `capability`, owned by this kernel and live, into the empty slot `dst`.
/// It may lie inside others and around others.
///
/// # Errors
/// `SlotInUse` or `NoSuchSlot` for `dst`; `WrongType` for Null and Mapping; and
/// for the range what `check_range` says, or `RangeInUse` when the same object
/// is there already or a capability would be cut in two.
pub fn create<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    capability: Capability,
    dst: SlotIndex,
) -> Result<(), SysError> {
    vacant(store, dst)?;
    check_range(&capability)?;
    if capability.kind == ObjectType::Mapping {
        return Err(SysError::WrongType);
    }
    let mut slot = Slot::holding(&capability, mdb.kernel());
    let before = mdb.last_not_after(store, &slot);
    let exists = !before.is_none() && is_same(store.slot(before), &slot);
    if exists || has_rival(store, mdb, before, &slot) || mdb.crosses(store, slot.base, slot.end()) {
        return Err(SysError::RangeInUse);
    }
    let has_ancestor = mdb.ancestor_of(store, &slot).is_some();
    slot.set_flags(SlotFlags::HAS_ANCESTOR, has_ancestor);
    let around = mdb.innermost_around(store, &slot);
    if !around.is_none() {
        slot.set_depth_below(store.slot(around));
    }
    if mdb.first_inside(store, before, &slot).is_some() {
        mdb.note_odd_nesting();
    }
    mdb.insert_after(store, before, dst, slot);
    Ok(())
}

/// Whether type, base and size fit each other.
///
/// # Errors
/// `WrongType` for Null; `OutOfRange` for an empty range or one past 2^56;
/// `Unaligned` for memory not in whole pages; `InvalidArgument` for a size that
/// isn't the type's.
pub(crate) fn check_range(capability: &Capability) -> Result<(), SysError> {
    if capability.kind == ObjectType::Null {
        return Err(SysError::WrongType);
    }
    if !capability.has_valid_range() {
        return Err(SysError::OutOfRange);
    }
    if is_paged(capability.kind) && !(capability.base | capability.size).is_multiple_of(PAGE_SIZE) {
        return Err(SysError::Unaligned);
    }
    match capability.kind.fixed_size() {
        Some(size) if size != capability.size => Err(SysError::InvalidArgument),
        _ => Ok(()),
    }
}

/// Whether something of another type has the range of `slot`, which belongs behind
/// `before`, and its place in the order of making: a frame and a ring's frame, of
/// which nobody could say whose mappings lie behind both.
pub(crate) fn has_rival<S: SlotStore>(
    store: &S,
    mdb: &Mdb,
    before: SlotIndex,
    slot: &Slot,
) -> bool {
    let is_rival = |other: SlotIndex| !other.is_none() && is_rival(store.slot(other), slot);
    is_rival(before) || mdb.first_inside(store, before, slot).is_some_and(is_rival)
}
