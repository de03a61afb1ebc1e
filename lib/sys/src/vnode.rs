//! Mapping and unmapping.

use capelin_abi::{
    CapAddress, CapRef, SysError,
    syscall::{Invocation, MapFlags},
};

use super::invoke;

/// Maps `count` entries of table `vnode` from `first` on to `source` (a frame, or a table of the
/// next level), `offset` bytes into it. The mapping's capability goes to `slot`
/// ([`Invocation::Map`]).
///
/// # Errors
/// [`SysError::EntryInUse`]; [`SysError::OutOfRange`] past the table's or the frame's end;
/// [`SysError::Unaligned`] for a block that isn't; [`SysError::InvalidArgument`] for flags that
/// don't go together, or a table that isn't of the next level; [`SysError::NotExecutable`];
/// [`SysError::NotRunnable`] for a table of no address space; [`SysError::AlreadyBound`] or
/// [`SysError::HasRelations`] for a table that is another's; [`SysError::SlotInUse`] for `slot`.
pub fn map(
    vnode: CapRef,
    source: CapRef,
    first: u16,
    count: u16,
    flags: MapFlags,
    offset: u64,
    slot: CapAddress,
) -> Result<(), SysError> {
    let place = u64::from(first) | u64::from(count) << 16 | u64::from(flags.bits()) << 32;
    let arguments = [source.to_word(), place, offset, CapRef::l2(slot).to_word()];
    invoke(vnode, Invocation::Map, &arguments).map(drop)
}

/// Clears the entries of a mapping and deletes its capability ([`Invocation::Unmap`]).
///
/// # Errors
/// [`SysError::Locked`]: somebody deletes it.
pub fn unmap(mapping: CapAddress) -> Result<(), SysError> {
    invoke(mapping.into(), Invocation::Unmap, &[]).map(drop)
}

/// Changes the permissions of a mapping ([`Invocation::Protect`]).
///
/// # Errors
/// [`SysError::InvalidArgument`] for flags that don't go together; [`SysError::NotExecutable`];
/// [`SysError::Locked`].
pub fn protect(mapping: CapAddress, flags: MapFlags) -> Result<(), SysError> {
    invoke(
        mapping.into(),
        Invocation::Protect,
        &[u64::from(flags.bits())],
    )
    .map(drop)
}

/// Has `frame` be mapped executable from now on, and never writable again; it must be the
/// only capability to it, and not mapped ([`Invocation::MakeExecutable`]).
///
/// # Errors
/// [`SysError::HasRelations`] while it has copies or mappings.
pub fn make_executable(frame: CapAddress) -> Result<(), SysError> {
    invoke(frame.into(), Invocation::MakeExecutable, &[]).map(drop)
}
