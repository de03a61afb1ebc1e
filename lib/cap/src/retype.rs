//! Retype: new objects from a range of memory, addresses or interrupts.
//!
//! What is made of memory and can be looked into starts *in progress*: it claims
//! its range, so that nobody else can be given it, and can't be used. The caller
//! zeroes it in bounded pieces, notes how far it got
//! ([`Slot::set_zeroed_bytes`]), and makes each live with [`finish`]. When it
//! has to stop, the system call is issued again and finds its slots
//! ([`Retype::Continue`]).

use core::ops::Range;

use capelin_abi::{ObjectType, PAGE_SIZE, Rights, SysError};

use crate::decode::{check_held, usable_unless_held};
use crate::key::is_same;
use crate::mdb::Mdb;
use crate::slot::{Slot, State};
use crate::slot_index::SlotIndex;
use crate::store::SlotStore;

/// How many objects one retype makes at most: as many as a CNode has slots.
pub const RETYPE_LIMIT: u32 = 256;

/// What to make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetypeRequest {
    /// The type of the objects.
    pub kind: ObjectType,
    /// Bytes or interrupts from the source's start to the first object.
    pub offset: u64,
    /// Bytes or interrupts in an object; 0 for a type whose size is fixed.
    pub object_size: u64,
    /// How many objects, one behind the other: 1 to [`RETYPE_LIMIT`].
    pub count: u32,
    /// Whether the boot path asks, which alone makes `HomeRam` from Ram.
    pub is_privileged: bool,
}

/// What became of a retype.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retype {
    /// The objects are live: nothing needs zeroing.
    Done,
    /// The objects are in progress, nothing is zeroed yet.
    Fresh,
    /// The same retype was begun before: some objects may be live already,
    /// others partly zeroed.
    Continue,
}

/// Makes `request.count` objects from the capability in `src`, in the slots from
/// `dst` on. The caller has checked that these are slots of one CNode.
///
/// # Errors
/// For `src` and the slots as [`crate::copy()`]; `ThroughMonitor` for an object that
/// another kernel owns; `MissingRight` without RETYPE; `InvalidRetype` for a type that
/// can't be made from the source's, or for the same type and range;
/// `InvalidArgument` for a count or size that isn't allowed; `Unaligned`;
/// `OutOfRange` where the objects leave the source or the sums overflow;
/// `RangeInUse` where they overlap a descendant, here or moved away; `Dying` where
/// they overlap a range that is being revoked.
#[inline]
pub fn retype<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    src: SlotIndex,
    request: &RetypeRequest,
    dst: SlotIndex,
) -> Result<Retype, SysError> {
    retype_first(store, mdb, src, request, dst, request.count)
}

/// [`retype`] of the first `limit` objects (1 or more) only. All of the request is checked: what
/// is left of it is another retype, which can fail only for what happened meanwhile.
///
/// # Errors
/// As [`retype`].
#[inline(always)]
pub fn retype_first<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    src: SlotIndex,
    request: &RetypeRequest,
    dst: SlotIndex,
    limit: u32,
) -> Result<Retype, SysError> {
    check_held(store, mdb, src)?;
    let source = usable_unless_held(store, src)?;
    if !mdb.owns(source) {
        return Err(SysError::ThroughMonitor);
    }
    if !source.rights().contains(Rights::RETYPE) {
        return Err(SysError::MissingRight);
    }
    let (mut slot, length) = first_object(source, request)?;
    let needs_zeroing = contains(ZEROED, request.kind);
    if dst.is_none() || dst.checked_add(request.count).is_none() {
        return Err(SysError::NoSuchSlot);
    }
    if !store.slot(dst).is_empty() {
        let count = request.count.min(limit);
        return if needs_zeroing && is_begun(store, &slot, count, dst) {
            Ok(Retype::Continue)
        } else {
            Err(SysError::SlotInUse)
        };
    }
    // Mostly one is made.
    if request.count > 1 && !are_empty(store, dst, 1..request.count) {
        return Err(SysError::SlotInUse);
    }
    mdb.holds.check_new(slot.base, slot.base + length)?;
    let gap = mdb.free_gap(store, src, slot.base, slot.base + length);
    let mut neighbour = gap.ok_or(SysError::RangeInUse)?;

    if needs_zeroing {
        slot.set_state(State::InProgress);
    }
    mdb.insert_after(store, neighbour, dst, slot);
    let count = request.count.min(limit);
    neighbour = dst;
    if count > 1 {
        neighbour = insert_others(store, mdb, slot, dst, count);
    }
    mdb.note_recent(neighbour);
    Ok(if needs_zeroing {
        Retype::Fresh
    } else {
        Retype::Done
    })
}

/// Whether the slots of these numbers from `dst` on are empty.
#[inline(never)]
fn are_empty<S: SlotStore>(store: &S, dst: SlotIndex, mut numbers: Range<u32>) -> bool {
    numbers.all(|number| store.slot(dst.within(number)).is_empty())
}

/// Inserts the others of `count` objects, of which `slot` is the first, in `dst`: the last.
#[inline(never)]
fn insert_others<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    mut slot: Slot,
    dst: SlotIndex,
    count: u32,
) -> SlotIndex {
    let mut neighbour = dst;
    for number in 1..count {
        slot.base += slot.size;
        let index = dst.within(number);
        mdb.insert_after(store, neighbour, index, slot);
        neighbour = index;
    }
    neighbour
}

/// Makes an object live whose memory is zeroed.
///
/// # Errors
/// `NoSuchSlot` for index 0; `InvalidArgument` for a slot that isn't in
/// progress.
#[inline]
pub fn finish<S: SlotStore>(store: &mut S, index: SlotIndex) -> Result<(), SysError> {
    if index.is_none() {
        return Err(SysError::NoSuchSlot);
    }
    let slot = store.slot_mut(index);
    if !slot.is_occupied() || slot.state() != State::InProgress {
        return Err(SysError::InvalidArgument);
    }
    slot.set_state(State::Live);
    slot.data = [0; 2];
    Ok(())
}

/// The first object that `request` asks for, as its slot will be when live, and
/// the length of all.
#[inline(always)]
fn first_object(source: &Slot, request: &RetypeRequest) -> Result<(Slot, u64), SysError> {
    let is_made_of = made_of(source.kind_number());
    if !contains(is_made_of, request.kind)
        && !is_legal(source.kind(), request.kind, request.is_privileged)
    {
        return Err(SysError::InvalidRetype);
    }
    if request.count.wrapping_sub(1) >= RETYPE_LIMIT {
        return Err(SysError::InvalidArgument);
    }
    let mut size = request.object_size;
    if let Some(fixed) = request.kind.fixed_size() {
        if size != 0 && size != fixed {
            return Err(SysError::InvalidArgument);
        }
        size = fixed;
    }
    if size == 0 {
        return Err(SysError::InvalidArgument);
    }
    if request.kind != ObjectType::IrqSource && !(request.offset | size).is_multiple_of(PAGE_SIZE) {
        return Err(SysError::Unaligned);
    }
    let length = size
        .checked_mul(u64::from(request.count))
        .ok_or(SysError::OutOfRange)?;
    let end = request
        .offset
        .checked_add(length)
        .ok_or(SysError::OutOfRange)?;
    if end > source.size {
        return Err(SysError::OutOfRange);
    }
    if size == source.size && source.is_kind(request.kind) {
        return Err(SysError::InvalidRetype);
    }
    Ok((source.divided(request.kind, request.offset, size), length))
}

/// Whether the slots from `dst` on hold just these objects, and at least one of
/// them is in progress.
#[cold]
fn is_begun<S: SlotStore>(store: &S, first: &Slot, count: u32, dst: SlotIndex) -> bool {
    let mut expected = *first;
    let mut is_any_in_progress = false;
    for number in 0..count {
        let slot = store.slot(dst.within(number));
        match slot.state() {
            State::InProgress => is_any_in_progress = true,
            State::Live => {}
            State::Locked | State::Dying | State::InTransit => return false,
        }
        if !is_same(slot, &expected) {
            return false;
        }
        expected.base += expected.size;
    }
    is_any_in_progress
}

/// Whether objects of type `kind` can be made from `source`.
#[inline]
#[must_use]
pub const fn is_legal(source: ObjectType, kind: ObjectType, is_privileged: bool) -> bool {
    let is_ram_at_boot = matches!(source, ObjectType::Ram) && is_privileged;
    contains(made_of(source as u8), kind) || (is_ram_at_boot && matches!(kind, ObjectType::HomeRam))
}

/// The types that anybody can make from one, by its number.
#[inline(always)]
const fn made_of(source: u8) -> u32 {
    const MADE_OF: [u32; 32] = {
        let mut all = [0; 32];
        all[ObjectType::PhysAddr as usize] = FROM_PHYS_ADDR;
        all[ObjectType::Ram as usize] = FROM_RAM;
        all[ObjectType::HomeRam as usize] = FROM_HOME_RAM;
        all[ObjectType::IrqSource as usize] = set(&[ObjectType::IrqSource]);
        all
    };
    MADE_OF[(source & 31) as usize]
}

const FROM_PHYS_ADDR: u32 = set(&[ObjectType::PhysAddr, ObjectType::DevFrame]);
const FROM_RAM: u32 = set(&[ObjectType::Ram, ObjectType::Frame, ObjectType::EndpointUmp]);
const FROM_HOME_RAM: u32 = set(&[
    ObjectType::HomeRam,
    ObjectType::Frame,
    ObjectType::L1CNode,
    ObjectType::L2CNode,
    ObjectType::VNodeL0,
    ObjectType::VNodeL1,
    ObjectType::VNodeL2,
    ObjectType::VNodeL3,
    ObjectType::Dispatcher,
    ObjectType::KernelControlBlock,
]);
/// What can be looked into. Nobody sees what is in memory that can't be mapped,
/// and device registers must not be written.
const ZEROED: u32 = (FROM_RAM | FROM_HOME_RAM) & !set(&[ObjectType::Ram, ObjectType::HomeRam]);

/// One bit for each of some types.
const fn set(kinds: &[ObjectType]) -> u32 {
    let mut bits = 0;
    let mut number = 0;
    while number < kinds.len() {
        bits |= 1 << kinds[number] as u32;
        number += 1;
    }
    bits
}

const fn contains(set: u32, kind: ObjectType) -> bool {
    set >> kind as u32 & 1 != 0
}
