//! The program's memory (`capelin-resources`), and more of it from the memory service.

use capelin_abi::PAGE_SIZE;
use capelin_interfaces::memory::{ANY_NODE, MemoryError};

pub use capelin_resources::memory::*;

use crate::{OwnedCap, RtError, services};

/// Sees to it that a frame of `bytes` bytes can be made: asks the memory service when our own RAM
/// isn't enough, for at least 256 KiB at a time.
///
/// # Errors
/// [`RtError::NoService`] when this program was given no memory service, [`RtError::Call`],
/// [`RtError::OutOfMemory`], [`RtError::ShareUsed`].
pub async fn ensure(bytes: u64) -> Result<(), RtError> {
    // Frames of blocks are aligned as these are.
    let waste = if bytes >= BLOCK_BYTES { BLOCK_BYTES } else { 0 };
    if left().largest_ram >= bytes.saturating_add(waste) {
        return Ok(());
    }
    const AT_LEAST: u64 = 256 << 10;
    fetch(bytes.max(AT_LEAST)).await
}

/// Asks the memory service for `bytes` bytes more (rounded up to whole pages), in one piece.
///
/// # Errors
/// As [`ensure`].
pub async fn fetch(bytes: u64) -> Result<(), RtError> {
    let bytes = bytes
        .checked_next_multiple_of(PAGE_SIZE)
        .ok_or(RtError::InvalidSize)?;
    let alignment = if bytes >= BLOCK_BYTES {
        BLOCK_BYTES
    } else {
        PAGE_SIZE
    };
    let service = services::memory().await?;
    let cap = service
        .allocate(bytes, alignment, ANY_NODE)
        .await
        .map_err(|error| match error {
            MemoryError::Call(error) => RtError::Call(error),
            MemoryError::ShareUsed => RtError::ShareUsed,
            _ => RtError::OutOfMemory,
        })?;
    add_ram(OwnedCap::received(cap))
}

/// A frame of `bytes` bytes, from our own RAM or from the memory service.
///
/// # Errors
/// As [`Frame::new`] and [`ensure`].
pub async fn frame(bytes: u64) -> Result<Frame, RtError> {
    match Frame::new(bytes) {
        Err(RtError::OutOfMemory) => {
            ensure(bytes).await?;
            Frame::new(bytes)
        }
        other => other,
    }
}
