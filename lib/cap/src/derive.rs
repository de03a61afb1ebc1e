//! Derive: a capability that the kernel makes beside its parent, without
//! retyping memory: endpoints and notifications of a dispatcher, interrupts of a
//! source, mappings of a frame or table.

use capelin_abi::{ObjectType, SysError};

use crate::decode::{usable, vacant};
use crate::mdb::Mdb;
use crate::slot::{Capability, Slot, SlotFlags, SlotIndex};
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
    let source = usable(store, parent)?;
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
