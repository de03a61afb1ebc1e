//! Memory: from the memory service on the boot core, from the boot core elsewhere.

use capelin_abi::{ObjectType, PAGE_SIZE};
use capelin_interfaces::memory::{ANY_NODE, MemoryError};
use capelin_monitor::Ticket;
use capelin_monitor::intermon::{IntermonClient, IntermonError};
use capelin_rt::{
    OwnedCap, RtError,
    memory::{self, Place},
    sys,
};

use crate::{error::Error, node::Node, transfer};

/// Fetched at least at a time, in bytes: about what a program starts with, since it is used again
/// for the next one.
const AT_LEAST: u64 = 1 << 20;

/// A `Ram` capability, the only one to `bytes` bytes.
///
/// # Errors
/// [`Error::Memory`]; the same inside of [`Error::Intermon`] on other cores than the boot core.
pub(crate) async fn allocate(
    node: &Node,
    bytes: u64,
    alignment: u64,
    numa: u32,
) -> Result<OwnedCap, Error> {
    if let Some(boot) = &node.boot {
        let cap = boot.memory.allocate(bytes, alignment, numa).await?;
        return Ok(OwnedCap::received(cap));
    }
    let client: IntermonClient<_> = node.remote(node.boot_core)?;
    let ticket = client.allocate(bytes, alignment, numa).await?;
    Ok(transfer::take(node, ticket, node.boot_core)?)
}

/// Sees to it that `bytes` bytes in one piece can be made into frames.
///
/// # Errors
/// As [`allocate`].
pub(crate) async fn ensure(node: &Node, bytes: u64) -> Result<(), Error> {
    // A page more: no capability is made into one of the same type and range.
    let bytes = bytes.saturating_add(PAGE_SIZE);
    if memory::left().largest_ram >= bytes {
        return Ok(());
    }
    let exact = bytes.next_multiple_of(PAGE_SIZE);
    let much = exact.max(AT_LEAST);
    // The nearest may be full, and there may be no more than what is needed.
    let tries = [(much, node.home_node), (much, ANY_NODE), (exact, ANY_NODE)];
    let mut last = Error::Runtime(RtError::OutOfMemory);
    for (bytes, numa) in tries {
        match allocate(node, bytes, PAGE_SIZE, numa).await {
            Ok(ram) => return Ok(memory::add_ram(ram)?),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Memory of our own for a program on this core: a `Ram` capability, the only one to
/// its range. It comes back when nobody holds any of it, as [`collect`] finds.
///
/// # Errors
/// As [`ensure`]; [`MemoryError::InvalidSize`].
pub(crate) async fn lend(node: &Node, bytes: u64, alignment: u64) -> Result<OwnedCap, Error> {
    let is_sound = bytes > 0
        && bytes.is_multiple_of(PAGE_SIZE)
        && alignment.is_power_of_two()
        && alignment >= PAGE_SIZE;
    if !is_sound {
        return Err(MemoryError::InvalidSize.into());
    }
    collect(node);
    let room = bytes
        .checked_add(alignment)
        .ok_or(MemoryError::InvalidSize)?;
    ensure(node, room).await?;
    let mut made = None;
    let ram = OwnedCap::make(|slot| {
        let (own, kind) = (sys::cspace::OWN, ObjectType::Ram);
        made = Some(memory::make_ram_object(
            own,
            slot.into(),
            kind,
            bytes,
            alignment,
        )?);
        Ok::<_, RtError>(())
    })?;
    node.lent.borrow_mut().extend(made);
    Ok(ram)
}

/// Takes back what was lent and nobody holds any more.
pub(crate) fn collect(node: &Node) {
    node.lent.borrow_mut().retain(|place| {
        let is_held = is_held(place);
        if !is_held {
            memory::release(*place);
        }
        is_held
    });
}

/// Takes one piece back.
///
/// # Errors
/// [`MemoryError::NotYours`], [`MemoryError::InUse`].
pub(crate) fn take_back(node: &Node, base: u64, bytes: u64) -> Result<(), MemoryError> {
    let mut lent = node.lent.borrow_mut();
    let index = lent
        .iter()
        .position(|place| place.bytes == bytes && start(place) == Some(base))
        .ok_or(MemoryError::NotYours)?;
    let place = lent.get(index).ok_or(MemoryError::NotYours)?;
    if is_held(place) {
        return Err(MemoryError::InUse);
    }
    memory::release(lent.swap_remove(index));
    Ok(())
}

/// The first byte's physical address.
fn start(place: &Place) -> Option<u64> {
    let source = sys::cspace::identify(place.source.into()).ok()?;
    source.base.0.checked_add(place.offset)
}

/// Whether anybody holds part of it: then its range can't be made again.
fn is_held(place: &Place) -> bool {
    let made = OwnedCap::make(|slot| {
        sys::cspace::retype(
            sys::cspace::OWN,
            slot.into(),
            place.source.into(),
            ObjectType::Ram,
            place.offset,
            place.bytes,
            1,
        )
    });
    made.is_err()
}

/// The boot core's side of [`allocate`] on another core: moves memory to `to`.
///
/// # Errors
/// [`IntermonError`].
pub(crate) async fn allocate_for(
    node: &Node,
    to: u16,
    bytes: u64,
    alignment: u64,
    numa: u32,
) -> Result<Ticket, IntermonError> {
    let boot = node.boot.as_ref().ok_or(IntermonError::WrongCore)?;
    let given = boot.memory.allocate(bytes, alignment, numa).await;
    let ram = OwnedCap::received(given.map_err(IntermonError::Memory)?);
    let given = transfer::give(node, ram, to).await;
    given.map_err(|error| IntermonError::Kernel(error as u64))
}

/// What the runtime says, for another core.
pub(crate) fn kernel(error: RtError) -> IntermonError {
    match error {
        RtError::System(error) => IntermonError::Kernel(error as u64),
        _ => IntermonError::Exhausted,
    }
}
