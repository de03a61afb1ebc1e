//! What is mapped, as safe code may see it.
//!
//! * [`Mapped`]: memory that nobody else can reach, as slices.
//! * [`SharedMapped`]: memory that others may write at any time, through a [`Window`].
//! * [`DeviceMapped`]: device registers, by volatile accesses.
//!
//! Each owns its mapping: what it lends ends before the addresses do.
#![expect(unsafe_code, reason = "makes references of mapped addresses")]

use core::{ops::Deref, ptr, slice};

use capelin_abi::{CapAddress, PhysAddr, syscall::MapFlags};

use crate::{
    OwnedCap, RtError,
    convert::size,
    memory::Frame,
    vspace::{Mapping, Window},
};

pub(super) fn pointer(mapping: &Mapping, offset: usize) -> *mut u8 {
    ptr::with_exposed_provenance_mut(size(mapping.start().0) + offset)
}

/// A frame of this program's own, mapped readable and writable.
#[derive(Debug)]
pub struct Mapped {
    // Dropped in this order: first unmapped, then given back.
    mapping: Mapping,
    frame: Frame,
}

impl Mapped {
    pub(crate) const fn new(mapping: Mapping, frame: Frame) -> Self {
        Self { mapping, frame }
    }

    /// Bytes mapped.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        size(self.mapping.bytes())
    }

    /// The memory.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        let start = pointer(&self.mapping, 0);
        // SAFETY: mapped readable for as long as `self`; nobody else can reach a `Frame` (its
        // capability isn't lent), so that nothing writes it while this borrow lives; the kernel
        // zeroed it.
        unsafe { slice::from_raw_parts(start, self.bytes()) }
    }

    /// The memory.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        let start = pointer(&self.mapping, 0);
        // SAFETY: as in `as_slice`, and mapped writable, and `self` is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(start, self.bytes()) }
    }

    /// Unmaps it.
    #[must_use]
    pub fn unmap(self) -> Frame {
        self.frame
    }

    /// Gives up ownership: the memory stays mapped for good. For the heap.
    #[cfg(target_os = "none")]
    pub(crate) fn leak(self) -> *mut u8 {
        let start = pointer(&self.mapping, 0);
        core::mem::forget(self);
        start
    }
}

/// What was written before, to memory that a device sees ([`SharedMapped::uncached`]) or to its
/// registers, it sees before what is written afterwards; what is read afterwards is read after what
/// was read before.
pub fn device_fence() {
    sys::device_fence();
}

/// A frame that others may have mapped, too.
#[derive(Debug)]
pub struct SharedMapped {
    // Dropped in this order: first unmapped, then its capability.
    window: Window,
    cap: OwnedCap,
    physical: PhysAddr,
}

impl Deref for SharedMapped {
    type Target = Window;

    fn deref(&self) -> &Window {
        &self.window
    }
}

impl SharedMapped {
    /// Maps all of frame `cap`, readable, and writable if `writable`.
    ///
    /// # Errors
    /// See [`super::map`].
    pub fn new(cap: OwnedCap, writable: bool) -> Result<Self, RtError> {
        let mut flags = MapFlags::READ;
        flags.set(MapFlags::WRITE, writable);
        Self::with_flags(cap, flags)
    }

    /// As [`SharedMapped::new`], but not cached: for memory that a device reads and writes
    /// without looking at caches.
    ///
    /// # Errors
    /// See [`super::map`].
    pub fn uncached(cap: OwnedCap) -> Result<Self, RtError> {
        Self::with_flags(cap, MapFlags::READ | MapFlags::WRITE | MapFlags::UNCACHED)
    }

    fn with_flags(cap: OwnedCap, flags: MapFlags) -> Result<Self, RtError> {
        let identity = cap.identify()?;
        Ok(Self {
            window: Window::new(cap.address(), identity.size, flags)?,
            cap,
            physical: identity.base,
        })
    }

    /// A fresh frame of `bytes` bytes (rounded up to whole pages), zeroed, mapped writable.
    ///
    /// # Errors
    /// As [`Frame::new`] and [`super::map`].
    pub fn fresh(bytes: u64) -> Result<Self, RtError> {
        let (cap, _) = Frame::new(bytes)?.into_shared();
        Self::new(cap, true)
    }

    /// Where it is mapped. What lies there may change at any time.
    #[cfg(feature = "virtio")]
    pub(crate) fn pointer(&self) -> Option<ptr::NonNull<u8>> {
        ptr::NonNull::new(pointer(self.window.mapping(), 0))
    }

    /// The frame's capability.
    #[must_use]
    pub const fn cap(&self) -> CapAddress {
        self.cap.address()
    }

    /// Where the frame lies in physical memory, for devices.
    #[must_use]
    pub const fn physical(&self) -> PhysAddr {
        self.physical
    }
}

/// Device registers.
#[derive(Debug)]
pub struct DeviceMapped {
    mapping: Mapping,
    offset: usize,
    bytes: usize,
    _cap: OwnedCap,
}

/// Device registers are accessed as the kernel does it: by one load-acquire or plain store.
mod mmio {
    capelin_abi::mmio_accessors!(pub(super));
}

macro_rules! accessors {
    ($($read:ident, $write:ident: $ty:ty;)*) => {$(
        /// Reads the register at byte `offset`; `None` when it is outside or unaligned.
        #[must_use]
        pub fn $read(&self, offset: usize) -> Option<$ty> {
            let register = self.register(offset, size_of::<$ty>())?.cast::<$ty>();
            // SAFETY: inside the mapping and aligned, as `register` has checked; device registers
            // are no Rust objects, so that nothing else refers to them.
            Some(unsafe { mmio::$read(register) })
        }

        /// Writes the register at byte `offset`; `None` when it is outside or unaligned.
        #[must_use]
        pub fn $write(&self, offset: usize, value: $ty) -> Option<()> {
            let register = self.register(offset, size_of::<$ty>())?.cast::<$ty>();
            // SAFETY: as for reading.
            unsafe { mmio::$write(register, value) };
            Some(())
        }
    )*};
}

impl DeviceMapped {
    /// Maps all of `cap`, a DevFrame.
    ///
    /// # Errors
    /// See [`super::map`]; [`RtError::WrongType`] for anything but a DevFrame.
    pub fn new(cap: OwnedCap) -> Result<Self, RtError> {
        let identity = cap.identify()?;
        Self::part(cap, 0, identity.size)
    }

    /// Maps `bytes` bytes of `cap`, a DevFrame, from `offset` on; both may be any number, the
    /// pages around are mapped.
    ///
    /// # Errors
    /// See [`super::map`]; [`RtError::WrongType`] for anything but a DevFrame.
    pub fn part(cap: OwnedCap, offset: u64, bytes: u64) -> Result<Self, RtError> {
        const PAGE_MASK: u64 = capelin_abi::PAGE_SIZE - 1;
        if cap.identify()?.kind != capelin_abi::ObjectType::DevFrame {
            return Err(RtError::WrongType);
        }
        let lead = offset & PAGE_MASK;
        let whole = lead
            .checked_add(bytes)
            .and_then(|end| end.checked_next_multiple_of(PAGE_MASK + 1))
            .ok_or(RtError::InvalidSize)?;
        let flags = MapFlags::READ | MapFlags::WRITE;
        let mapping = super::map(cap.address(), offset - lead, whole, flags)?;
        Ok(Self {
            mapping,
            offset: size(lead),
            bytes: size(bytes),
            _cap: cap,
        })
    }

    /// Bytes mapped.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    accessors! {
        read8, write8: u8;
        read16, write16: u16;
        read32, write32: u32;
        read64, write64: u64;
    }

    fn register(&self, offset: usize, size: usize) -> Option<*mut u8> {
        let end = offset.checked_add(size)?;
        (end <= self.bytes && (self.offset + offset).is_multiple_of(size))
            .then(|| pointer(&self.mapping, self.offset + offset))
    }
}
