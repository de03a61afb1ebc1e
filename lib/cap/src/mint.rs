//! Mint: a copy that says more (a badge) or covers less (a sub-range).
//!
//! A badge can be set once, so a badged capability can't be passed off as
//! another client's. A sub-range is a descendant of its source.

use capelin_abi::lmp::COUNTED_BADGE;
use capelin_abi::{ObjectType, PAGE_SIZE, Rights, SysError};

use crate::copy::copied;
use crate::create::has_rival;
use crate::decode::{usable, vacant};
use crate::key::{is_paged, is_same};
use crate::mdb::Mdb;
use crate::slot::{Slot, SlotFlags, State};
use crate::slot_index::SlotIndex;
use crate::store::SlotStore;

/// What sets the new capability apart from its source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mint {
    /// A badge, not zero, for an `EndpointLmp` or Id without one.
    Badge(u64),
    /// Part of the source's range.
    Range {
        /// Bytes or interrupts from the source's start.
        offset: u64,
        /// Bytes or interrupts; at least 1.
        size: u64,
    },
}

/// Makes a capability in the empty slot `dst` from that in `src`, with the
/// rights that are also in `mask`.
///
/// # Errors
/// For `src` and `dst` as [`crate::copy()`]. Badge: `WrongType`,
/// `InvalidArgument` for zero, `AlreadyBound` where there is one. Sub-range:
/// `WrongType`, `OutOfRange`, `Unaligned`, and `RangeInUse` where it overlaps a
/// descendant (Ram, `PhysAddr`, `IrqSource`), or crosses one or is one that was moved
/// away or is under way (Frame, `DevFrame`).
pub fn mint<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    src: SlotIndex,
    dst: SlotIndex,
    mask: Rights,
    what: Mint,
) -> Result<(), SysError> {
    let source = *usable(store, mdb, src)?;
    let mut slot = copied(&source, mask);
    match what {
        Mint::Badge(badge) => {
            check_badge(&source, badge)?;
            vacant(store, dst)?;
            slot.data[0] = badge;
            let is_counted = slot.is_kind(ObjectType::EndpointLmp) && badge & COUNTED_BADGE != 0;
            slot.set_flags(SlotFlags::COUNTED, is_counted);
            mdb.insert_near(store, src, dst, slot);
        }
        Mint::Range { offset, size } => {
            check_part(&source, offset, size)?;
            vacant(store, dst)?;
            slot.base += offset;
            slot.size = size;
            if size == source.size {
                mdb.insert_beside(store, src, dst, slot);
            } else {
                slot.set_depth_below(&source);
                insert_part(store, mdb, src, dst, slot)?;
            }
        }
    }
    Ok(())
}

fn check_badge(source: &Slot, badge: u64) -> Result<(), SysError> {
    match source.kind() {
        ObjectType::EndpointLmp | ObjectType::Id => {}
        _ => return Err(SysError::WrongType),
    }
    if badge == 0 {
        return Err(SysError::InvalidArgument);
    }
    if source.data[0] != 0 {
        return Err(SysError::AlreadyBound);
    }
    Ok(())
}

fn check_part(source: &Slot, offset: u64, size: u64) -> Result<(), SysError> {
    match source.kind() {
        ObjectType::Ram
        | ObjectType::Frame
        | ObjectType::DevFrame
        | ObjectType::PhysAddr
        | ObjectType::IrqSource => {}
        _ => return Err(SysError::WrongType),
    }
    let end = offset.checked_add(size).ok_or(SysError::OutOfRange)?;
    if size == 0 || end > source.size {
        return Err(SysError::OutOfRange);
    }
    if is_paged(source.kind()) && !(offset | size).is_multiple_of(PAGE_SIZE) {
        return Err(SysError::Unaligned);
    }
    Ok(())
}

fn insert_part<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    src: SlotIndex,
    dst: SlotIndex,
    mut slot: Slot,
) -> Result<(), SysError> {
    mdb.holds.check_new(slot.base, slot.end())?;
    // What another kernel owns may go without its parts.
    slot.set_flags(SlotFlags::HAS_ANCESTOR, mdb.owns(&slot));
    if slot.is_kind(ObjectType::Frame) || slot.is_kind(ObjectType::DevFrame) {
        let before = mdb.last_not_after(store, &slot);
        // Gone to another kernel, or on its way: this would make another owner of it.
        let is_away = |other: &Slot| other.is_tombstone() || other.state() == State::InTransit;
        let was_moved =
            !before.is_none() && is_same(store.slot(before), &slot) && is_away(store.slot(before));
        if was_moved
            || has_rival(store, mdb, before, &slot)
            || mdb.crosses(store, slot.base, slot.end())
        {
            return Err(SysError::RangeInUse);
        }
        mdb.insert_after(store, before, dst, slot);
    } else {
        let neighbour = mdb
            .free_gap(store, src, slot.base, slot.end())
            .ok_or(SysError::RangeInUse)?;
        mdb.insert_after(store, neighbour, dst, slot);
    }
    Ok(())
}
