//! Memory that virtio devices share, for the `virtio-drivers` crate (feature `virtio`).
//!
//! Queues lie in frames of their own. A buffer that is to be shared is copied into one, and back: a
//! driver's own memory is never a device's, and frames are used again. All are mapped uncached, so that
//! they are right for devices that look at caches and for those that don't.
//!
//! [`Queue`] keeps the buffers that a device has, so that drivers need no unsafe code.
#![expect(
    unsafe_code,
    reason = "hands out pointers to what it has mapped, and keeps what devices have"
)]

/// A device and its memory, for tests.
#[cfg(not(target_os = "none"))]
pub mod fake;
mod queue;

use alloc::vec::Vec;
use core::ptr::NonNull;

use virtio_drivers::{BufferDirection, Hal, PhysAddr};

pub use queue::{Access, Queue};

use crate::{
    RtError,
    memory::Frame,
    vspace::{SharedMapped, device_fence},
};

/// Bytes of a page, as the crate means it.
const PAGE_BYTES: u64 = virtio_drivers::PAGE_SIZE as u64;

/// What is shared with devices.
struct Shared {
    /// Handed out.
    used: Vec<SharedMapped>,
    /// To be handed out again.
    free: Vec<SharedMapped>,
}

local! {
    static SHARED: Shared = Shared { used: Vec::new(), free: Vec::new() };
}

impl Shared {
    /// Memory of at least `bytes` bytes: its physical address, and where it is mapped.
    fn take(&mut self, bytes: u64) -> Result<(PhysAddr, NonNull<u8>), RtError> {
        let suits = |mapped: &SharedMapped| mapped.bytes() as u64 >= bytes;
        let mapped = match self.free.iter().position(suits) {
            Some(place) => self.free.swap_remove(place),
            None => {
                let (frame, _) = Frame::new(bytes)?.into_shared();
                SharedMapped::uncached(frame)?
            }
        };
        let start = mapped.pointer().ok_or(RtError::OutOfAddresses)?;
        let physical = mapped.physical().0;
        self.used.push(mapped);
        Ok((physical, start))
    }

    /// Where the memory handed out at `physical` is mapped.
    fn find(&self, physical: PhysAddr) -> Option<(usize, &SharedMapped)> {
        let mut used = self.used.iter().enumerate();
        used.find(|(_, mapped)| mapped.physical().0 == physical)
    }

    /// Takes back what was handed out at `physical`. Whether it was.
    fn give_back(&mut self, physical: PhysAddr) -> bool {
        let Some((place, _)) = self.find(physical) else {
            return false;
        };
        let mapped = self.used.swap_remove(place);
        self.free.push(mapped);
        true
    }
}

/// The memory of this program, as virtio drivers want it.
#[derive(Clone, Copy, Debug)]
pub struct VirtioMemory;

// SAFETY: each method says how it keeps what the trait asks of it.
unsafe impl Hal for VirtioMemory {
    // Implementation safety: the pages are mapped until they are given back, at a multiple of their
    // size, are in nobody else's hands (a frame made for this, taken out of `free`), and zeroed below.
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let bytes = (pages as u64).saturating_mul(PAGE_BYTES);
        let taken = SHARED.with(|shared| shared.borrow_mut().take(bytes));
        let Ok((physical, start)) = taken else {
            // 0 says that there is none.
            return (0, NonNull::dangling());
        };
        // SAFETY: that many bytes are mapped there, writable, and no reference to them exists.
        unsafe { start.write_bytes(0, pages * virtio_drivers::PAGE_SIZE) };
        device_fence();
        (physical, start)
    }

    unsafe fn dma_dealloc(physical: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        let is_ours = SHARED.with(|shared| shared.borrow_mut().give_back(physical));
        if is_ours { 0 } else { -1 }
    }

    // Implementation safety: registers are mapped by their capabilities and not by their addresses, so
    // there is no transport that would call this.
    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        panic!("registers are reached through capabilities")
    }

    unsafe fn share(buffer: NonNull<[u8]>, direction: BufferDirection) -> PhysAddr {
        let taken = SHARED.with(|shared| shared.borrow_mut().take(buffer.len() as u64));
        let Ok((physical, start)) = taken else {
            panic!("no memory to share with the device");
        };
        if direction != BufferDirection::DeviceToDriver {
            // SAFETY: the caller promises that the buffer can be read; it is no longer than what was
            // taken, which is mapped and apart from it.
            unsafe { start.copy_from_nonoverlapping(buffer.cast(), buffer.len()) };
        }
        device_fence();
        physical
    }

    unsafe fn unshare(physical: PhysAddr, buffer: NonNull<[u8]>, direction: BufferDirection) {
        device_fence();
        SHARED.with(|shared| {
            let mut shared = shared.borrow_mut();
            let start = shared.find(physical).and_then(|(_, it)| it.pointer());
            if let Some(start) = start
                && direction != BufferDirection::DriverToDevice
            {
                // SAFETY: the caller promises that the buffer can be written and is nobody else's
                // meanwhile; what was taken for it is as long, mapped, and apart from it.
                unsafe { start.copy_to_nonoverlapping(buffer.cast(), buffer.len()) };
            }
            shared.give_back(physical);
        });
    }
}
