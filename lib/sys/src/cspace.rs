//! Operations on slots. Sources lie in this program's CSpace, targets in the one whose L1 CNode
//! is named: [`OWN`], or a child's.

use capelin_abi::{
    CapAddress, CapRef, KernelId, ObjectType, PhysAddr, Rights, SysError, layout::slot,
    syscall::Invocation,
};

use super::invoke;

/// This program's own L1 CNode.
pub const OWN: CapRef = CapRef::l2(slot::L1CNODE);

/// What a capability is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Its type.
    pub kind: ObjectType,
    /// What its holder may do.
    pub rights: Rights,
    /// The kernel that owns the object.
    pub owner: KernelId,
    /// First physical address, or what the type has instead (first interrupt).
    pub base: PhysAddr,
    /// Bytes, or a count (interrupts).
    pub size: u64,
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the fields are cut out on purpose"
)]
fn identity([word, base, size]: [u64; 3]) -> Result<Identity, SysError> {
    Ok(Identity {
        kind: ObjectType::try_from(word as u8).map_err(|_| SysError::WrongType)?,
        rights: Rights::from_bits_truncate((word >> 8) as u8),
        owner: KernelId((word >> 16) as u16),
        base: PhysAddr(base),
        size,
    })
}

/// What `capability` is ([`Invocation::Identify`]).
///
/// # Errors
/// None of its own.
pub fn identify(capability: CapRef) -> Result<Identity, SysError> {
    identity(invoke(capability, Invocation::Identify, &[])?)
}

/// What lies in `target` of the CSpace of `cspace`; an empty slot is of type Null
/// ([`Invocation::IdentifySlot`]).
///
/// # Errors
/// [`SysError::Foreign`] where `cspace` is on another core.
pub fn identify_slot(cspace: CapRef, target: CapRef) -> Result<Identity, SysError> {
    identity(invoke(
        cspace,
        Invocation::IdentifySlot,
        &[target.to_word()],
    )?)
}

/// Copies `source` into `target`, with the rights in `mask` of those that it has
/// ([`Invocation::Copy`]).
///
/// # Errors
/// [`SysError::SlotInUse`] for `target`; [`SysError::WrongType`] of what has no copies (mappings).
pub fn copy(cspace: CapRef, target: CapRef, source: CapRef, mask: Rights) -> Result<(), SysError> {
    let arguments = [target.to_word(), source.to_word(), u64::from(mask.bits())];
    invoke(cspace, Invocation::Copy, &arguments).map(drop)
}

/// Copies `source`, which has no badge, with `badge`, which isn't 0 ([`Invocation::Mint`]).
///
/// # Errors
/// As [`copy`]; [`SysError::InvalidArgument`] for badge 0; [`SysError::AlreadyBound`] where
/// `source` has a badge.
pub fn mint_badge(
    cspace: CapRef,
    target: CapRef,
    source: CapRef,
    mask: Rights,
    badge: u64,
) -> Result<(), SysError> {
    let mask = u64::from(mask.bits());
    let arguments = [target.to_word(), source.to_word(), mask, badge, 0];
    invoke(cspace, Invocation::Mint, &arguments).map(drop)
}

/// Copies `bytes` bytes from `offset` on of `source` ([`Invocation::Mint`]).
///
/// # Errors
/// As [`copy`]; [`SysError::OutOfRange`] and [`SysError::Unaligned`] of the range;
/// [`SysError::RangeInUse`] where something is made of part of it.
pub fn mint_range(
    cspace: CapRef,
    target: CapRef,
    source: CapRef,
    mask: Rights,
    offset: u64,
    bytes: u64,
) -> Result<(), SysError> {
    let mask = u64::from(mask.bits());
    let arguments = [target.to_word(), source.to_word(), mask, offset, bytes];
    invoke(cspace, Invocation::Mint, &arguments).map(drop)
}

/// Makes `count` objects of `bytes` bytes each from `source`, `offset` bytes into it, in
/// consecutive slots from `target` on ([`Invocation::Retype`]).
///
/// # Errors
/// [`SysError::SlotInUse`] for any of the targets; [`SysError::InvalidRetype`],
/// [`SysError::InvalidArgument`] or [`SysError::Unaligned`] for what `kind` can't be of that
/// source, size or count; [`SysError::OutOfRange`] past the source's end; [`SysError::RangeInUse`]
/// where something is there; [`SysError::ThroughMonitor`] where other cores have a part in it.
pub fn retype(
    cspace: CapRef,
    target: CapRef,
    source: CapRef,
    kind: ObjectType,
    offset: u64,
    bytes: u64,
    count: u64,
) -> Result<(), SysError> {
    let arguments = [
        target.to_word(),
        source.to_word(),
        kind as u64,
        offset,
        bytes,
        count,
    ];
    invoke(cspace, Invocation::Retype, &arguments).map(drop)
}

/// Has the L1 CNode of `cspace` grow on the way to L1 slot `number`, by 16 KiB of home memory
/// `source`, `offset` bytes into it ([`Invocation::Grow`]); how many times more it takes until
/// the slot is there.
///
/// # Errors
/// [`SysError::OutOfRange`] for a number past the last; [`SysError::SlotInUse`] for a slot that is
/// there; of the memory, as [`retype`].
pub fn grow(cspace: CapRef, number: u32, source: CapRef, offset: u64) -> Result<u64, SysError> {
    let arguments = [u64::from(number), source.to_word(), offset];
    let [more, ..] = invoke(cspace, Invocation::Grow, &arguments)?;
    Ok(more)
}

/// Empties `target` ([`Invocation::Delete`]).
///
/// # Errors
/// [`SysError::EmptySlot`]; [`SysError::LastCopy`] for the last capability to memory that nobody
/// else could give again; [`SysError::ThroughMonitor`] where other cores have a part in it;
/// [`SysError::Locked`].
pub fn delete(cspace: CapRef, target: CapRef) -> Result<(), SysError> {
    invoke(cspace, Invocation::Delete, &[target.to_word()]).map(drop)
}

/// Deletes all copies and descendants of `target` ([`Invocation::Revoke`]).
///
/// # Errors
/// [`SysError::ThroughMonitor`] where other cores have a part in it; [`SysError::InsideItself`]
/// where `target` lies in what would go; [`SysError::Locked`].
pub fn revoke(cspace: CapRef, target: CapRef) -> Result<(), SysError> {
    invoke(cspace, Invocation::Revoke, &[target.to_word()]).map(drop)
}

/// Whether slot `address` of this program holds a capability.
#[must_use]
pub fn is_occupied(address: CapAddress) -> bool {
    identify_slot(OWN, address.into()).is_ok_and(|identity| identity.kind != ObjectType::Null)
}
