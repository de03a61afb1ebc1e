//! The order of the mapping database.
//!
//! Address space and base share one word ([`Slot`]'s `base`), so a descent
//! compares one integer until two bases are equal. Then the larger range comes
//! first (ancestors before descendants), then the rank of the type (what others
//! are made from comes first), then the type's number, then the badge.

use core::cmp::Ordering;

use capelin_abi::ObjectType;

use crate::slot::Slot;

/// Bits of an address, INTID or number within its space.
pub(crate) const ADDRESS_BITS: u32 = 56;
/// The address without its space.
pub(crate) const ADDRESS_MASK: u64 = (1 << ADDRESS_BITS) - 1;

/// The address space in which ranges of this type lie. Types that name no range
/// have one each, so that they are never related.
pub(crate) const fn space_of(kind: ObjectType) -> u64 {
    match kind {
        ObjectType::IrqSource | ObjectType::IrqDest => 1,
        ObjectType::Kernel => 2,
        ObjectType::Id => 3,
        ObjectType::PerfMon => 4,
        _ => 0,
    }
}

/// The place of a type among capabilities to the same range.
pub(crate) const fn rank_of(kind: ObjectType) -> u8 {
    match kind {
        ObjectType::Null
        | ObjectType::PhysAddr
        | ObjectType::IrqSource
        | ObjectType::Kernel
        | ObjectType::Id
        | ObjectType::PerfMon => 0,
        ObjectType::Ram => 1,
        ObjectType::HomeRam => 2,
        ObjectType::CoreImage => 3,
        ObjectType::Frame | ObjectType::DevFrame | ObjectType::EndpointUmp => 4,
        ObjectType::L1CNode
        | ObjectType::L2CNode
        | ObjectType::VNodeL0
        | ObjectType::VNodeL1
        | ObjectType::VNodeL2
        | ObjectType::VNodeL3
        | ObjectType::Dispatcher
        | ObjectType::KernelControlBlock => 5,
        // Right behind what it maps, whatever else has that range.
        ObjectType::Mapping => 6,
        ObjectType::EndpointLmp | ObjectType::Notify | ObjectType::IrqDest => 7,
    }
}

/// Where two slots stand to each other in the tree's order. Equal means copies with
/// the same badge, or mappings of the same object.
#[inline]
pub(crate) fn compare(a: &Slot, b: &Slot) -> Ordering {
    a.base.cmp(&b.base).then_with(|| compare_with_badge(a, b))
}

#[inline(never)]
fn compare_with_badge(a: &Slot, b: &Slot) -> Ordering {
    compare_same_base(a, b).then_with(|| badge_of(a).cmp(&badge_of(b)))
}

/// Where the objects that two slots name stand to each other: what others are made of
/// comes first. Equal means copies, or mappings of the same object.
#[inline]
pub(crate) fn compare_objects(a: &Slot, b: &Slot) -> Ordering {
    a.base.cmp(&b.base).then_with(|| compare_same_base(a, b))
}

#[inline(never)]
fn compare_same_base(a: &Slot, b: &Slot) -> Ordering {
    b.size
        .cmp(&a.size)
        .then_with(|| rank_of(a.kind()).cmp(&rank_of(b.kind())))
        .then_with(|| a.kind_number().cmp(&b.kind_number()))
}

/// The badge of a capability that has one, 0 for others. Copies with one badge are
/// neighbours, behind those without.
pub(crate) fn badge_of(slot: &Slot) -> u64 {
    match slot.kind() {
        ObjectType::EndpointLmp | ObjectType::Id => slot.data[0],
        _ => 0,
    }
}

/// Whether two slots have the same type and range.
#[inline]
pub(crate) const fn is_same(a: &Slot, b: &Slot) -> bool {
    a.base == b.base && a.size == b.size && a.kind_number() == b.kind_number()
}

/// Whether two slots have the same range and rank, but not the same type.
pub(crate) fn is_rival(a: &Slot, b: &Slot) -> bool {
    a.base == b.base
        && a.size == b.size
        && a.kind_number() != b.kind_number()
        && rank_of(a.kind()) == rank_of(b.kind())
}

/// Whether memory and interrupts of this type must not vanish with their last
/// capability: nothing else could make them again.
pub(crate) const fn is_conserved(kind: ObjectType) -> bool {
    matches!(
        kind,
        ObjectType::PhysAddr
            | ObjectType::Ram
            | ObjectType::HomeRam
            | ObjectType::CoreImage
            | ObjectType::Frame
            | ObjectType::DevFrame
            | ObjectType::EndpointUmp
            | ObjectType::IrqSource
    )
}

/// Whether retype divides ranges of this type into others.
pub(crate) const fn is_divided(kind: ObjectType) -> bool {
    matches!(
        kind,
        ObjectType::PhysAddr | ObjectType::Ram | ObjectType::HomeRam | ObjectType::IrqSource
    )
}

/// Whether the memory that a capability of this type names can be mapped.
pub(crate) const fn is_mapped_kind(kind: ObjectType) -> bool {
    matches!(
        kind,
        ObjectType::Frame | ObjectType::DevFrame | ObjectType::EndpointUmp
    )
}

/// Whether ranges of this type start and end on page boundaries.
pub(crate) const fn is_paged(kind: ObjectType) -> bool {
    !matches!(
        kind,
        ObjectType::EndpointLmp
            | ObjectType::Notify
            | ObjectType::Kernel
            | ObjectType::IrqSource
            | ObjectType::IrqDest
            | ObjectType::Id
            | ObjectType::PerfMon
            | ObjectType::Null
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::Capability;
    use capelin_abi::{KernelId, PhysAddr, Rights};

    fn slot(kind: ObjectType, base: u64, size: u64) -> Slot {
        let capability = Capability::memory(kind, PhysAddr(base), size, Rights::all());
        Slot::holding(&capability, KernelId(0))
    }

    #[test]
    fn ancestors_come_before_descendants() {
        use ObjectType::{Frame, IrqSource, Mapping, PhysAddr, Ram};
        let ordered = [
            slot(PhysAddr, 0, 0x4000),
            slot(Ram, 0, 0x4000),
            slot(Frame, 0, 0x4000),
            slot(Mapping, 0, 0x4000),
            slot(Ram, 0, 0x2000),
            slot(Ram, 0x1000, 0x1000),
            slot(Ram, 0x2000, 0x2000),
            slot(IrqSource, 0, 1),
        ];
        for (i, a) in ordered.iter().enumerate() {
            for (j, b) in ordered.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a:?} against {b:?}");
            }
        }
    }
}
