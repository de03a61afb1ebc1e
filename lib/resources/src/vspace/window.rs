//! A frame, or its first bytes, mapped for a while: to look at what others may change meanwhile,
//! and to fill it.
#![expect(unsafe_code, reason = "makes references of mapped addresses")]

use core::{
    ptr::NonNull,
    slice,
    sync::atomic::{AtomicU64, Ordering},
};

use capelin_abi::{CapAddress, syscall::MapFlags};
use capelin_urpc::Line;
use zerocopy::FromBytes;

use super::{Mapping, mapped::pointer};
use crate::{RtError, convert::size, sys};

/// What is mapped of a frame, as atomic words and by copy. It keeps no capability: whoever made it
/// has the frame's. When that goes, so does the mapping, and an access is a fault.
#[derive(Debug)]
pub struct Window {
    mapping: Mapping,
    flags: MapFlags,
}

impl Window {
    /// Maps the first `bytes` bytes (whole pages) of the frame in slot `frame`.
    ///
    /// # Errors
    /// See [`super::map`].
    pub fn new(frame: CapAddress, bytes: u64, flags: MapFlags) -> Result<Self, RtError> {
        let mapping = super::map(frame, 0, bytes, flags)?;
        Ok(Self { mapping, flags })
    }

    /// The addresses.
    #[cfg(feature = "virtio")]
    pub(super) const fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Bytes mapped.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        size(self.mapping.bytes())
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
    /// copied, as for [`Window::write`].
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
    /// # Errors
    /// [`RtError::BadChannel`] unless it is mapped writable and cached, and of a channel's size.
    ///
    /// # Safety
    /// 1. The lines aren't used after `self` has been dropped.
    /// 2. Nothing else of this program writes them but through atomics.
    pub unsafe fn lines(&self) -> Result<&'static [Line], RtError> {
        let start = NonNull::new(pointer(&self.mapping, 0)).ok_or(RtError::BadChannel)?;
        if !self.flags.contains(MapFlags::WRITE) || self.flags.contains(MapFlags::UNCACHED) {
            return Err(RtError::BadChannel);
        }
        // SAFETY: mapped cached, readable and writable until `self` goes, and not used after (1);
        // accessed by atomics only (2).
        unsafe { Line::over_frame(start, self.bytes()) }.map_err(|_| RtError::BadChannel)
    }
}

/// Copies what a capability to a frame of any kind holds, without keeping it mapped.
///
/// # Errors
/// See [`super::map`]; [`RtError::InvalidSize`] when the bytes lie outside.
pub fn peek(frame: CapAddress, offset: usize, bytes: &mut [u8]) -> Result<(), RtError> {
    let whole = sys::cspace::identify(frame.into())?.size;
    if Window::new(frame, whole, MapFlags::READ)?.read(offset, bytes) {
        Ok(())
    } else {
        Err(RtError::InvalidSize)
    }
}
