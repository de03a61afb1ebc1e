//! From a capability address to a slot.
//!
//! Two levels: the L1 CNode's slots hold L2 CNodes. Both lie in home memory, so
//! a lookup is a few loads; every level is checked, since what an L1 slot holds
//! is user space's choice.
//!
//! An L1 CNode has 256 slots, and grows by chunks of as many, up to the 2^24 that an
//! address can name. A chunk is a CNode of 16 KiB like any other; slots never move. L1
//! slot [`L1_CHUNKS`] leads to the chunks, by a tree of CNodes that are made as they are
//! needed:
//!
//! ```text
//!  L1 slot number  23      16 15       8 7        0
//!                 |  high    |  middle  |  low     |
//!
//!  L1 CNode              high        middle        low
//!  [ 0 │ 1 │ … │ 255 ]──►[ … │ … ]──►[ … │ … ]──►[ L1 slots 256·k … ]
//! ```
//!
//! So there is nothing here that a CSpace has besides capabilities: deleting slot 255
//! deletes the chunks, as it would any CNode, deleting the L1 CNode deletes slot 255, and
//! revoking the memory that a chunk was made of takes the chunk away. A look-up of the
//! first 256 slots knows nothing of it.

use capelin_abi::capability::{CNODE_SLOTS, L1_CHUNKS, L1_LIMIT};
use capelin_abi::{CapAddress, CapRef, Level, ObjectType, SysError};

use crate::slot::{Slot, State};
use crate::slot_index::SlotIndex;
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
    let first = cnode_slot(store, root, 0).ok_or(SysError::NoSuchSlot)?;
    lookup_from(store, first, reference)
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
    let l1 = if u64::from(number) < CNODE_SLOTS {
        first.within(number)
    } else {
        slot_in_chunk(store, first, number)?
    };
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

/// L1 slot `number`, past the first 256.
#[cold]
#[inline(never)]
fn slot_in_chunk<S: SlotStore>(
    store: &S,
    first: SlotIndex,
    number: u32,
) -> Result<SlotIndex, SysError> {
    match way_to(store, first, number)? {
        Way::Leads(slot) => Ok(slot),
        Way::Ends(Gap { slot, .. }) if store.slot(slot).is_kind(ObjectType::L2CNode) => {
            Err(SysError::Locked)
        }
        Way::Ends(_) => Err(SysError::NoSuchSlot),
    }
}

/// Where a CNode is missing on the way to an L1 slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// The slot that it belongs in: empty, or in use by something else, or by one that is
    /// in progress.
    pub slot: SlotIndex,
    /// How many more are missing behind it.
    pub more: u32,
}

/// Where the next CNode belongs on the way to L1 slot `number`, in the CSpace whose L1 CNode
/// begins at `first`. Once none is missing, the slot is there.
///
/// # Errors
/// `SlotInUse` where none is missing, and for the first 256 slots; `OutOfRange` for a number
/// that no address has; `Locked`, `Dying` or `Foreign` for a CNode on the way that can't be
/// used.
pub fn next_gap<S: SlotStore>(store: &S, first: SlotIndex, number: u32) -> Result<Gap, SysError> {
    if number >= L1_LIMIT {
        return Err(SysError::OutOfRange);
    }
    if u64::from(number) < CNODE_SLOTS {
        return Err(SysError::SlotInUse);
    }
    match way_to(store, first, number)? {
        Way::Leads(_) => Err(SysError::SlotInUse),
        Way::Ends(gap) => Ok(gap),
    }
}

/// How far the CNodes on the way to an L1 slot lead.
enum Way {
    Leads(SlotIndex),
    Ends(Gap),
}

/// The way to L1 slot `number`, from 256 to 2^24 - 1.
fn way_to<S: SlotStore>(store: &S, first: SlotIndex, number: u32) -> Result<Way, SysError> {
    let [low, middle, high, _] = number.to_le_bytes();
    let mut at = first.within(L1_CHUNKS);
    for (more, number) in [(2, high), (1, middle), (0, low)] {
        let slot = store.slot(at);
        if !slot.is_kind(ObjectType::L2CNode) || slot.state() == State::InProgress {
            return Ok(Way::Ends(Gap { slot: at, more }));
        }
        check_cnode(store, at)?;
        let cnode = store.index_of(slot.address());
        at = cnode.ok_or(SysError::NoSuchSlot)?.within(number.into());
    }
    Ok(Way::Leads(at))
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
