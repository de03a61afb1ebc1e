//! Addresses that are backed by memory when they are first touched (self-paging).
//!
//! The page fault upcall maps a chunk of fresh memory around the address and lets the program go
//! on. It runs like a signal handler: it gives up, and the program crashes, when the fault came
//! from within the memory manager, which therefore never touches lazy memory itself.
#![expect(unsafe_code, reason = "makes references of reserved addresses")]

use alloc::vec::Vec;
use core::{ptr, slice};

use capelin_abi::{PAGE_SIZE, VirtAddr, syscall::MapFlags};

use capelin_vspace::Leaves;

use super::{allocate_addresses, free_addresses, map_into, plan};
use crate::{
    RtError,
    convert::size,
    memory::{Busy, Frame},
    slots, sys,
};

/// Bytes mapped at a time.
const CHUNK_BYTES: u64 = 64 * 1024;

struct Region {
    start: u64,
    bytes: u64,
    /// Frames in use, and the mapping of each.
    backed: Vec<(Frame, Vec<capelin_abi::CapAddress>)>,
}

local! {
    /// The lazy regions of this program.
    static REGIONS: Vec<Region> = Vec::new();
}

/// Reserved addresses of this program's own, zero where they haven't been touched.
#[derive(Debug)]
pub struct LazyMapped {
    start: VirtAddr,
    bytes: usize,
}

impl LazyMapped {
    /// Reserves `bytes` bytes, rounded up to whole chunks of 64 KiB.
    ///
    /// # Errors
    /// [`RtError::InvalidSize`], [`RtError::OutOfAddresses`].
    pub fn new(bytes: u64) -> Result<Self, RtError> {
        let bytes = bytes
            .checked_next_multiple_of(CHUNK_BYTES)
            .filter(|&bytes| bytes > 0)
            .ok_or(RtError::InvalidSize)?;
        let start = allocate_addresses(bytes, CHUNK_BYTES)?;
        let chunks = usize::try_from(bytes / CHUNK_BYTES).map_err(|_| RtError::InvalidSize)?;
        REGIONS.with(|regions| {
            regions.borrow_mut().push(Region {
                start,
                bytes,
                // The handler doesn't grow it.
                backed: Vec::with_capacity(chunks),
            });
        });
        Ok(Self {
            start: VirtAddr(start),
            bytes: size(bytes),
        })
    }

    /// The memory.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        let start = ptr::with_exposed_provenance(size(self.start.0));
        // SAFETY: the addresses are this region's alone; each is mapped before an access to it
        // completes; fresh frames are zeroed and nobody else's.
        unsafe { slice::from_raw_parts(start, self.bytes) }
    }

    /// The memory.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        let start = ptr::with_exposed_provenance_mut(size(self.start.0));
        // SAFETY: as in `as_slice`, and `self` is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(start, self.bytes) }
    }

    /// Bytes backed by memory so far.
    #[must_use]
    pub fn backed(&self) -> u64 {
        REGIONS.with(|regions| {
            let regions = regions.borrow();
            let region = regions.iter().find(|region| region.start == self.start.0);
            region.map_or(0, |region| {
                region.backed.iter().map(|(frame, _)| frame.bytes()).sum()
            })
        })
    }
}

impl Drop for LazyMapped {
    fn drop(&mut self) {
        let _busy = Busy::new();
        let region = REGIONS.with(|regions| {
            let mut regions = regions.borrow_mut();
            let index = regions.iter().position(|r| r.start == self.start.0)?;
            Some(regions.swap_remove(index))
        });
        let Some(region) = region else { return };
        for (frame, mappings) in region.backed {
            for slot in mappings {
                if sys::vnode::unmap(slot).is_ok() {
                    slots::free(slot);
                }
            }
            drop(frame);
        }
        free_addresses(region.start, region.bytes);
    }
}

/// Maps memory for a fault at `address`. `false` when it lies in no lazy region, when there is no
/// memory, or when the fault came from within the memory manager.
pub fn handle_fault(address: u64) -> bool {
    if Busy::is_busy() {
        return false;
    }
    let chunk = REGIONS.with(|regions| {
        let regions = regions.try_borrow().ok()?;
        let region = regions
            .iter()
            .find(|region| address.wrapping_sub(region.start) < region.bytes)?;
        let offset = (address - region.start) / CHUNK_BYTES * CHUNK_BYTES;
        Some((region.start, region.start + offset))
    });
    let Some((region, start)) = chunk else {
        return false;
    };
    let Ok(frame) = Frame::new(CHUNK_BYTES) else {
        return false;
    };
    let mut mappings = Vec::with_capacity(2);
    let flags = MapFlags::READ | MapFlags::WRITE;
    let mapped = {
        let _busy = Busy::new();
        plan(VirtAddr(start), CHUNK_BYTES, Leaves::Pages)
            .and_then(|plan| map_into(&mut mappings, frame.address(), 0, plan, flags))
    };
    if mapped.is_err() {
        return false;
    }
    REGIONS.with(|regions| {
        let mut regions = regions.borrow_mut();
        if let Some(found) = regions.iter_mut().find(|r| r.start == region) {
            found.backed.push((frame, mappings));
        }
    });
    true
}

const _: () = assert!(CHUNK_BYTES.is_multiple_of(PAGE_SIZE));
