//! Memory: from the memory service on the boot core, from the boot core elsewhere.

use capelin_abi::{KernelId, PAGE_SIZE};
use capelin_interfaces::memory::ANY_NODE;
use capelin_monitor::Record;
use capelin_monitor::intermon::{IntermonClient, IntermonError};
use capelin_rt::{OwnedCap, RtError, memory, sys};

use crate::{error::Error, node::Node, rings};

/// Fetched at least at a time, in bytes.
const AT_LEAST: u64 = 4 << 20;
/// Alignment of what is fetched, in bytes.
const ALIGNMENT: u64 = 2 << 20;

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
    let record = client.allocate(bytes, alignment, numa).await?;
    Ok(rings::import(node, &record)?)
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
    let much = bytes.max(AT_LEAST).next_multiple_of(ALIGNMENT);
    let exact = bytes.next_multiple_of(PAGE_SIZE);
    // The nearest may be full, and there may be no more than what is needed.
    let tries = [
        (much, ALIGNMENT, node.home_node),
        (much, ALIGNMENT, ANY_NODE),
        (exact, PAGE_SIZE, ANY_NODE),
    ];
    let mut last = Error::Runtime(RtError::OutOfMemory);
    for (bytes, alignment, numa) in tries {
        match allocate(node, bytes, alignment, numa).await {
            Ok(ram) => return Ok(memory::add_ram(ram)?),
            Err(error) => last = error,
        }
    }
    Err(last)
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
) -> Result<Record, IntermonError> {
    let boot = node.boot.as_ref().ok_or(IntermonError::WrongCore)?;
    let given = boot.memory.allocate(bytes, alignment, numa).await;
    let ram = OwnedCap::received(given.map_err(IntermonError::Memory)?);
    let record = sys::kernel::export(node.kernel, ram.reference(), KernelId(to), false)
        .map_err(|error| IntermonError::Kernel(error as u64))?;
    // Its tombstone stays, and with it the slot.
    let _ = ram.leak();
    Ok(record)
}

/// What the runtime says, for another core.
pub(crate) fn kernel(error: RtError) -> IntermonError {
    match error {
        RtError::System(error) => IntermonError::Kernel(error as u64),
        _ => IntermonError::Exhausted,
    }
}
