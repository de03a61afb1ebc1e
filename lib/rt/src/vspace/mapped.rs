//! What is mapped, as safe code may see it.
//!
//! * [`Mapped`]: memory that nobody else can reach, as slices.
//! * [`SharedMapped`]: memory that others may write at any time, as atomic words and by copy.
//! * [`DeviceMapped`]: device registers, by volatile accesses.
//!
//! Each owns its mapping: what it lends ends before the addresses do.
#![expect(unsafe_code, reason = "makes references of mapped addresses")]

use core::{
    ptr::{self, NonNull},
    slice,
    sync::atomic::{AtomicU64, Ordering},
};

use capelin_abi::{CapAddress, PhysAddr, syscall::MapFlags};
use capelin_urpc::Line;
use zerocopy::FromBytes;

use crate::{OwnedCap, RtError, convert::size, memory::Frame, sys, vspace::Mapping};

fn pointer(mapping: &Mapping, offset: usize) -> *mut u8 {
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

/// A frame that others may have mapped, too.
#[derive(Debug)]
pub struct SharedMapped {
    mapping: Mapping,
    cap: OwnedCap,
    physical: PhysAddr,
    flags: MapFlags,
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
        let mapping = super::map(cap.address(), 0, identity.size, flags)?;
        Ok(Self {
            mapping,
            cap,
            physical: identity.base,
            flags,
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

    /// Bytes mapped.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        size(self.mapping.bytes())
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

    /// Word `index`. `None` past the end. Storing to memory mapped read-only is a fault.
    #[must_use]
    pub fn word(&self, index: usize) -> Option<&AtomicU64> {
        let offset = index
            .checked_mul(8)
            .filter(|&offset| offset < self.bytes())?;
        let word = pointer(&self.mapping, offset).cast();
        // SAFETY: inside the mapping, which is page-aligned and lives as long as `self`; this
        // program accesses shared memory by atomic words only.
        Some(unsafe { AtomicU64::from_ptr(word) })
    }

    /// Copies bytes out, from `offset` on. Each word is read once. `false`, and nothing copied,
    /// when they lie outside.
    #[must_use]
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> bool {
        if !self.contains(offset, bytes.len()) {
            return false;
        }
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(word) = self.word(at / 8) else {
                return false;
            };
            let word = word.load(Ordering::Relaxed).to_le_bytes();
            let part = &word[at % 8..];
            let count = part.len().min(rest.len());
            let (now, later) = rest.split_at_mut(count);
            now.copy_from_slice(&part[..count]);
            rest = later;
            at += count;
        }
        true
    }

    /// Copies bytes in, from `offset` on. Words at the ends that are only partly covered are read
    /// and written back whole. `false`, and nothing copied, when they lie outside, or the memory
    /// is mapped read-only.
    #[must_use]
    pub fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        if !self.contains(offset, bytes.len()) || !self.flags.contains(MapFlags::WRITE) {
            return false;
        }
        let mut at = offset;
        let mut rest = bytes;
        // Whole words go by words where both sides are aligned, as segments of programs are.
        if at.is_multiple_of(8)
            && let Ok((words, tail)) = <[u64]>::ref_from_prefix_with_elems(bytes, bytes.len() / 8)
            && self.write_words(at / 8, words)
        {
            at += bytes.len() - tail.len();
            rest = tail;
        }
        while !rest.is_empty() {
            let Some(shared) = self.word(at / 8) else {
                return false;
            };
            let count = (8 - at % 8).min(rest.len());
            let mut word = if count == 8 {
                [0; 8]
            } else {
                shared.load(Ordering::Relaxed).to_le_bytes()
            };
            word[at % 8..][..count].copy_from_slice(&rest[..count]);
            shared.store(u64::from_le_bytes(word), Ordering::Relaxed);
            rest = &rest[count..];
            at += count;
        }
        true
    }

    /// Copies whole words in, from word `first` on: for much at a time. `false`, and nothing
    /// copied, as for [`SharedMapped::write`].
    #[must_use]
    pub fn write_words(&self, first: usize, words: &[u64]) -> bool {
        let (Some(offset), Some(length)) = (first.checked_mul(8), words.len().checked_mul(8))
        else {
            return false;
        };
        if !self.contains(offset, length) || !self.flags.contains(MapFlags::WRITE) {
            return false;
        }
        let start = pointer(&self.mapping, offset).cast::<AtomicU64>();
        // SAFETY: inside the mapping, page-aligned plus whole words, alive as long as `self`; this
        // program accesses shared memory by atomic words only.
        let shared = unsafe { slice::from_raw_parts(start, words.len()) };
        for (shared, word) in shared.iter().zip(words) {
            shared.store(*word, Ordering::Relaxed);
        }
        true
    }

    fn contains(&self, offset: usize, length: usize) -> bool {
        offset
            .checked_add(length)
            .is_some_and(|end| end <= self.bytes())
    }

    /// The memory as the lines of a URPC channel, for as long as the caller keeps `self`.
    ///
    /// # Safety
    /// 1. The lines aren't used after `self` has been dropped.
    /// 2. Nothing else of this program writes them but through atomics.
    pub(crate) unsafe fn lines(&self) -> Result<&'static [Line], RtError> {
        let start = NonNull::new(pointer(&self.mapping, 0)).ok_or(RtError::BadChannel)?;
        if !self.flags.contains(MapFlags::WRITE) || self.flags.contains(MapFlags::UNCACHED) {
            return Err(RtError::BadChannel);
        }
        // SAFETY: mapped cached, readable and writable until `self` goes, and not used after (1);
        // accessed by atomics only (2).
        unsafe { Line::over_frame(start, self.bytes()) }.map_err(|_| RtError::BadChannel)
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

/// Device registers are accessed as the kernel does it: by one plain load or store.
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

/// Copies what a capability to a frame of any kind holds, without keeping it mapped.
///
/// # Errors
/// See [`super::map`]; [`RtError::InvalidSize`] when the bytes lie outside.
pub fn peek(frame: CapAddress, offset: usize, bytes: &mut [u8]) -> Result<(), RtError> {
    let identity = sys::cspace::identify(frame.into())?;
    let mapping = super::map(frame, 0, identity.size, MapFlags::READ)?;
    let mapped = SharedMapped {
        mapping,
        cap: OwnedCap::adopt(CapAddress::NULL),
        physical: identity.base,
        flags: MapFlags::READ,
    };
    if mapped.read(offset, bytes) {
        Ok(())
    } else {
        Err(RtError::InvalidSize)
    }
}
