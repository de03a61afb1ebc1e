//! Derive: a capability that the kernel makes beside its parent, without
//! retyping memory: endpoints and notifications of a dispatcher, interrupts of a
//! source, mappings of a frame or table.

use capelin_abi::{ObjectType, SysError};

use crate::decode::{check_held, usable, usable_unless_held, vacant};
use crate::mapping::MappingData;
use crate::mdb::Mdb;
use crate::slot::{Capability, Slot, SlotFlags};
use crate::slot_index::SlotIndex;
use crate::store::SlotStore;

/// Puts `capability`, owned by this kernel, into the empty slot `dst` as a
/// descendant of that in `parent`. Its data words are the kernel's.
///
/// `EndpointLmp` and Notify take a part of the dispatcher's range that no other
/// one has: that is their identity. A mapping takes its parent's whole range.
///
/// # Errors
/// For `parent` and `dst` as [`crate::copy()`]; `InvalidRetype` for a type that
/// isn't derived from the parent's; `OutOfRange` where the range leaves the
/// parent's, or is another for a mapping; `RangeInUse` where another endpoint,
/// notification or interrupt has it; `Foreign` for the endpoints or interrupts
/// of what another kernel owns.
pub fn derive<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    parent: SlotIndex,
    capability: Capability,
    dst: SlotIndex,
) -> Result<(), SysError> {
    let source = usable(store, mdb, parent)?;
    if !is_derived_from(capability.kind, source.kind()) {
        return Err(SysError::InvalidRetype);
    }
    if !capability.has_valid_range() {
        return Err(SysError::OutOfRange);
    }
    let mut slot = Slot::holding(&capability, mdb.kernel());
    if slot.base < source.base || slot.end() > source.end() {
        return Err(SysError::OutOfRange);
    }
    slot.set_flags(SlotFlags::HAS_ANCESTOR, true);
    slot.set_depth_below(source);
    if capability.kind == ObjectType::Mapping {
        if slot.size != source.size {
            return Err(SysError::OutOfRange);
        }
        slot.set_executable_as(source);
        vacant(store, dst)?;
        mdb.insert_near(store, parent, dst, slot);
        return Ok(());
    }
    if !mdb.owns(source) {
        return Err(SysError::Foreign);
    }
    vacant(store, dst)?;
    let neighbour = mdb
        .free_gap(store, parent, slot.base, slot.end())
        .ok_or(SysError::RangeInUse)?;
    mdb.insert_after(store, neighbour, dst, slot);
    Ok(())
}

/// [`derive()`] for a mapping of all of `parent`, with its rights and `data`.
///
/// # Errors
/// As [`derive()`]; `WrongType` for what can't be mapped.
#[inline(always)]
pub fn derive_mapping<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    parent: SlotIndex,
    data: MappingData,
    dst: SlotIndex,
) -> Result<(), SysError> {
    check_held(store, mdb, parent)?;
    let source = usable_unless_held(store, parent)?;
    if MAPPED >> source.kind_number() & 1 == 0 {
        return Err(SysError::WrongType);
    }
    let mut slot = source.divided(ObjectType::Mapping, 0, source.size);
    slot.set_owner(mdb.kernel());
    slot.set_executable_as(source);
    slot.data = data.to_words();
    vacant(store, dst)?;
    mdb.insert_near(store, parent, dst, slot);
    Ok(())
}

/// The types that are mapped, as bits.
const MAPPED: u32 = {
    let mut bits = 0;
    let mut at = 0;
    while at < ObjectType::ALL.len() {
        let parent = ObjectType::ALL[at];
        if is_derived_from(ObjectType::Mapping, parent) {
            bits |= 1 << parent as u32;
        }
        at += 1;
    }
    bits
};

/// Whether capabilities of type `kind` are derived from `parent`.
#[must_use]
pub const fn is_derived_from(kind: ObjectType, parent: ObjectType) -> bool {
    match kind {
        ObjectType::EndpointLmp | ObjectType::Notify => matches!(parent, ObjectType::Dispatcher),
        ObjectType::IrqDest => matches!(parent, ObjectType::IrqSource),
        ObjectType::Mapping => matches!(
            parent,
            ObjectType::Frame
                | ObjectType::DevFrame
                | ObjectType::EndpointUmp
                | ObjectType::VNodeL1
                | ObjectType::VNodeL2
                | ObjectType::VNodeL3
        ),
        _ => false,
    }
}
