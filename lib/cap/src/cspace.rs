//! From a capability address to a slot.
//!
//! Two levels: the L1 CNode's slots hold L2 CNodes. Both lie in home memory, so
//! a lookup is a few loads; every level is checked, since what an L1 slot holds
//! is user space's choice.

use capelin_abi::capability::CNODE_SLOTS;
use capelin_abi::{CapAddress, CapRef, Level, ObjectType, SysError};

use crate::segment::SlotIndex;
use crate::slot::{Slot, State};
use crate::store::{SlotStore, cnode_slot};

/// The slot that `reference` names in the CSpace whose L1 CNode the capability
/// in `root` names. The slot may be empty.
///
/// # Errors
/// `NoSuchSlot` where an index is past a CNode's last slot, where the L1 slot
/// holds no L2 CNode, or for [`CapAddress::NULL`]; `WrongType` when `root` holds
/// no L1 CNode; `Locked`, `Dying` or `Foreign` for a CNode that can't be used.
#[inline]
pub fn lookup<S: SlotStore>(
    store: &S,
    root: SlotIndex,
    reference: CapRef,
) -> Result<SlotIndex, SysError> {
    if root.is_none() || !store.slot(root).is_kind(ObjectType::L1CNode) {
        return Err(SysError::WrongType);
    }
    check_cnode(store, root)?;
    let l1 = cnode_slot(store, root, reference.address.l1()).ok_or(SysError::NoSuchSlot)?;
    match reference.level {
        Level::L1 => Ok(l1),
        Level::L2 if reference.address == CapAddress::NULL => Err(SysError::NoSuchSlot),
        Level::L2 => {
            if !store.slot(l1).is_kind(ObjectType::L2CNode) {
                return Err(SysError::NoSuchSlot);
            }
            check_cnode(store, l1)?;
            cnode_slot(store, l1, u32::from(reference.address.l2())).ok_or(SysError::NoSuchSlot)
        }
    }
}

/// As [`lookup_from`], for a reference as system calls have it: its low 40 bits. Every
/// invocation does this two to four times.
///
/// # Errors
/// As [`lookup_from`]; `NoSuchSlot` for what isn't a reference.
#[inline(always)]
pub fn lookup_word<S: SlotStore>(
    store: &S,
    first: SlotIndex,
    word: u64,
) -> Result<SlotIndex, SysError> {
    match lookup_plain(store, first, word) {
        Some(slot) => Ok(slot),
        None => lookup_rare(store, first, word),
    }
}

/// [`lookup_word`] for a slot of a near L2 CNode that can be used; `None` for all others.
#[inline(always)]
pub fn lookup_plain<S: SlotStore>(store: &S, first: SlotIndex, word: u64) -> Option<SlotIndex> {
    // Level 2, and an L1 slot that exists; not the null address.
    if word & 0xff_ffff_0000 != 0 || word & 0xffff == 0 {
        return None;
    }
    let [number, l1, ..] = word.to_le_bytes();
    let slot = store.slot(first.within(u32::from(l1)));
    if !slot.is_usable_kind(ObjectType::L2CNode) {
        return None;
    }
    let cnode = store.index_near(slot.address())?;
    Some(cnode.within(u32::from(number)))
}

/// [`lookup_word`] of slots of the L1 CNode, of those far away, and errors.
#[cold]
#[inline(never)]
fn lookup_rare<S: SlotStore>(
    store: &S,
    first: SlotIndex,
    word: u64,
) -> Result<SlotIndex, SysError> {
    let reference = CapRef::from_word(word).ok_or(SysError::NoSuchSlot)?;
    lookup_from(store, first, reference)
}

/// As [`lookup`], from the first slot of the L1 CNode: for a kernel that keeps it
/// where it keeps who is running, and knows that the CNode still exists.
///
/// # Errors
/// As [`lookup`], but for what concerns the L1 CNode's own capability.
#[inline]
pub fn lookup_from<S: SlotStore>(
    store: &S,
    first: SlotIndex,
    reference: CapRef,
) -> Result<SlotIndex, SysError> {
    let number = reference.address.l1();
    if u64::from(number) >= CNODE_SLOTS {
        return Err(SysError::NoSuchSlot);
    }
    let l1 = first.within(number);
    if reference.level == Level::L1 {
        return Ok(l1);
    }
    let slot = store.slot(l1);
    if !slot.is_kind(ObjectType::L2CNode) || reference.address == CapAddress::NULL {
        return Err(SysError::NoSuchSlot);
    }
    if !slot.is_usable() {
        return check_cnode(store, l1).and(Err(SysError::NoSuchSlot));
    }
    let cnode = store.index_of(slot.address()).ok_or(SysError::NoSuchSlot)?;
    Ok(cnode.within(u32::from(reference.address.l2())))
}

#[inline]
fn check_cnode<S: SlotStore>(store: &S, index: SlotIndex) -> Result<(), SysError> {
    let slot: &Slot = store.slot(index);
    match slot.state() {
        State::Live if slot.is_tombstone() => Err(SysError::Foreign),
        State::Live => Ok(()),
        State::InProgress | State::Locked | State::InTransit => Err(SysError::Locked),
        State::Dying => Err(SysError::Dying),
    }
}
