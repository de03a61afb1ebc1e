//! The slots of a ring, addressed by sequence number without a bounds check.

use super::atomics::Word;
use super::line::Line;
use super::payload::Payload;
use crate::PAYLOAD_WORDS;
use core::marker::PhantomData;
use core::mem::offset_of;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

/// Bytes from the start of a line, and of its payload, to its header.
const HEADER_OFFSET: usize = offset_of!(Line, header);

const _: () = assert!(offset_of!(Line, payload) == 0);

/// The slots of a ring, a power of two of them, addressed by sequence number.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Slots<'m> {
    /// The header word of the first slot: `LDAR` and `STLR` take no offset, so it, and not the
    /// start of the slot, is what addresses are computed from.
    ///
    /// Invariant: derived from a slice of `mask + 1` lines that is borrowed for `'m`.
    first_header: NonNull<Word>,
    /// Word-sized, so that both are loaded by one instruction.
    mask: usize,
    lines: PhantomData<&'m [Line]>,
}

// SAFETY: it stands for a `&[Line]`, which is `Send` since lines are made of atomics.
unsafe impl Send for Slots<'_> {}
// SAFETY: as above.
unsafe impl Sync for Slots<'_> {}

impl<'m> Slots<'m> {
    /// The slots in `lines`, or none when their number isn't a power of two of at most 2³¹.
    pub(crate) fn new(lines: &'m [Line]) -> Option<Self> {
        if !lines.len().is_power_of_two() || u32::try_from(lines.len()).is_err() {
            return None;
        }
        let first = NonNull::from(lines).cast::<u8>();
        // SAFETY: there is at least one line, and its header is within it.
        let first_header = unsafe { first.add(HEADER_OFFSET) };
        Some(Self {
            first_header: first_header.cast::<Word>(),
            mask: lines.len() - 1,
            lines: PhantomData,
        })
    }

    /// The slot of message number `sequence`.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the mask takes only low bits"
    )]
    pub(crate) fn slot(&self, sequence: u64) -> Slot<'m> {
        let index = sequence as usize & self.mask;
        Slot {
            // SAFETY: `index` is at most `mask`, and the invariant says that there are that many
            // lines and one more.
            header: unsafe { self.first_header.byte_add(index * size_of::<Line>()) },
            line: PhantomData,
        }
    }
}

/// One slot.
pub(crate) struct Slot<'m> {
    /// Invariant: the header word of a line that is borrowed for `'m`, with provenance over the
    /// whole line.
    header: NonNull<Word>,
    line: PhantomData<&'m Line>,
}

impl Slot<'_> {
    #[inline(always)]
    fn header(&self) -> &Word {
        // SAFETY: by the invariant of `header`.
        unsafe { self.header.as_ref() }
    }

    #[inline(always)]
    fn payload(&self) -> &Payload {
        // SAFETY: by the invariant of `header`, the line starts that much before it.
        let start = unsafe { self.header.byte_sub(HEADER_OFFSET) };
        // SAFETY: the line is borrowed for as long as this slot lives, and starts with its payload.
        unsafe { start.cast::<Payload>().as_ref() }
    }

    /// Reads the header. Acquire: pairs with [`publish`](Self::publish), so that the payload read
    /// after it is the published one.
    #[inline(always)]
    pub(crate) fn load(&self) -> u64 {
        self.header().load(Ordering::Acquire)
    }

    /// Writes the header. Release: pairs with [`load`](Self::load), so that the payload written
    /// before it is seen.
    #[inline(always)]
    pub(crate) fn publish(&self, header: u64) {
        self.header().store(header, Ordering::Release);
    }

    /// Copies the whole payload out, as relaxed atomic words.
    #[inline(always)]
    pub(crate) fn read(&self) -> [u64; PAYLOAD_WORDS] {
        #[cfg(any(miri, loom, not(target_arch = "aarch64")))]
        return self.payload().read();
        #[cfg(all(target_arch = "aarch64", not(miri), not(loom)))]
        // SAFETY: by the invariant of `header`.
        unsafe {
            super::pairs::read_before(self.header.as_ptr())
        }
    }

    /// Copies the whole payload in, as relaxed atomic words.
    #[inline(always)]
    pub(crate) fn write(&self, words: &[u64; PAYLOAD_WORDS]) {
        #[cfg(any(miri, loom, not(target_arch = "aarch64")))]
        self.payload().write(words);
        #[cfg(all(target_arch = "aarch64", not(miri), not(loom)))]
        // SAFETY: by the invariant of `header`.
        unsafe {
            super::pairs::write_before(self.header.as_ptr(), words);
        }
    }

    /// Copies the first words of a payload in, at most seven; the others keep what they hold.
    #[inline(always)]
    pub(crate) fn write_prefix(&self, words: &[u64]) {
        self.payload().write(words);
    }

    /// Waits, for a bounded time, until the header is no longer one with sequence `idle`; may
    /// return at any time.
    #[inline]
    pub(crate) fn wait_while(&self, idle: u32) {
        #[cfg(any(miri, loom, not(target_arch = "aarch64")))]
        {
            let _ = idle;
            super::relax();
        }
        #[cfg(all(target_arch = "aarch64", not(miri), not(loom)))]
        // SAFETY: by the invariant of `header`.
        unsafe {
            super::pairs::wait_for_event(self.header.as_ptr(), idle);
        }
    }
}
