//! One cache line of shared memory.

use super::atomics::Word;
use super::payload::Payload;
use crate::PAYLOAD_WORDS;
#[cfg(not(loom))]
use crate::SetupError;
#[cfg(not(loom))]
use core::ptr::NonNull;

/// One cache line of shared memory: seven payload words and a header word.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Line {
    pub(super) payload: Payload,
    pub(super) header: Word,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Line>() == crate::LINE_BYTES);

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(not(loom))]
impl Line {
    /// A line of zeros.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            payload: Payload::new(),
            header: Word::new(0),
        }
    }

    /// Views `len` bytes at `start` as lines; what is left over after the last whole line isn't
    /// used.
    ///
    /// # Errors
    ///
    /// [`SetupError::Misaligned`] when `start` isn't a multiple of 64.
    ///
    /// # Safety
    ///
    /// 1. `start` is mapped readable and writable for `len` bytes, as Normal, Inner Shareable,
    ///    Write-Back memory, for as long as `'m`.
    /// 2. During `'m` this program accesses these bytes only through lines. Other address spaces
    ///    may do anything to them.
    pub unsafe fn over_frame<'m>(start: NonNull<u8>, len: usize) -> Result<&'m [Self], SetupError> {
        let lines = start.cast::<Self>();
        if !lines.is_aligned() {
            return Err(SetupError::Misaligned);
        }
        let lines = NonNull::slice_from_raw_parts(lines, len / size_of::<Self>());
        // SAFETY: aligned as checked; mapped for that long by 1; shared only as atomics by 2; every
        // bit pattern is an `AtomicU64`.
        Ok(unsafe { lines.as_ref() })
    }

    /// The line's words by index, the header last: for dumps, and for tests that damage them.
    #[must_use]
    pub fn word(&self, index: usize) -> Option<&Word> {
        if index == PAYLOAD_WORDS {
            return Some(&self.header);
        }
        self.payload.word(index)
    }
}

#[cfg(loom)]
impl Line {
    /// A line of zeros: not a constant, since the model checker registers each word.
    #[must_use]
    pub fn new() -> Self {
        Self {
            payload: Payload::new(),
            header: Word::new(0),
        }
    }
}

impl Line {
    pub(crate) fn header(&self) -> &Word {
        &self.header
    }

    pub(crate) fn write(&self, words: &[u64; PAYLOAD_WORDS]) {
        self.payload.write(words);
    }

    pub(crate) fn read(&self) -> [u64; PAYLOAD_WORDS] {
        self.payload.read()
    }
}
