//! Shared memory as it is: 64-byte lines of atomic words.
//!
//! On aarch64 the payload is moved by pairs (`LDP`, `STP`). Each half of such a pair is a
//! single-copy atomic access of 64 bits when it is 8-byte aligned (Arm ARM DDI 0487,
//! "Requirements for single-copy atomicity"), which
//! is what a relaxed atomic word is; the compiler itself never pairs atomics.

use crate::{PAYLOAD_WORDS, SetupError};
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
pub(crate) use core::sync::atomic::{AtomicU64 as Word, fence};

/// Words of a line.
const WORDS: usize = PAYLOAD_WORDS + 1;

/// One cache line of shared memory: seven payload words and a header word.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Line {
    payload: [AtomicU64; PAYLOAD_WORDS],
    header: AtomicU64,
}

impl Line {
    /// A line of zeros.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            payload: [const { AtomicU64::new(0) }; PAYLOAD_WORDS],
            header: AtomicU64::new(0),
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
    pub fn word(&self, index: usize) -> Option<&AtomicU64> {
        if index == PAYLOAD_WORDS {
            return Some(&self.header);
        }
        self.payload.get(index)
    }

    pub(crate) fn header(&self) -> &Word {
        &self.header
    }

    pub(crate) fn write(&self, words: &[u64; PAYLOAD_WORDS]) {
        for (shared, word) in self.payload.iter().zip(words) {
            shared.store(*word, Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self) -> [u64; PAYLOAD_WORDS] {
        let mut words = [0; PAYLOAD_WORDS];
        for (word, shared) in words.iter_mut().zip(&self.payload) {
            *word = shared.load(Ordering::Relaxed);
        }
        words
    }
}

/// The slots of a ring, a power of two of them, addressed by sequence number.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Slots<'m> {
    /// The header word of the first slot: `LDAR` and `STLR` take no offset, so it, and not the
    /// start of the slot, is what addresses are computed from.
    ///
    /// Invariant: derived from a slice of `mask + 1` lines that is borrowed for `'m`.
    first_header: NonNull<AtomicU64>,
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
        let words = NonNull::from(lines).cast::<AtomicU64>();
        Some(Self {
            // SAFETY: there is at least one line, and its header is its word number 7.
            first_header: unsafe { words.add(PAYLOAD_WORDS) },
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
            header: unsafe { self.first_header.add(index * WORDS) },
            line: PhantomData,
        }
    }
}

/// One slot.
pub(crate) struct Slot<'m> {
    /// Invariant: the header word of a line that is borrowed for `'m`.
    header: NonNull<AtomicU64>,
    line: PhantomData<&'m Line>,
}

impl Slot<'_> {
    #[inline(always)]
    fn header(&self) -> &AtomicU64 {
        // SAFETY: by the invariant of `header`.
        unsafe { self.header.as_ref() }
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
    #[cfg(any(miri, not(target_arch = "aarch64")))]
    #[inline(always)]
    pub(crate) fn read(&self) -> [u64; PAYLOAD_WORDS] {
        let payload = self.payload();
        core::array::from_fn(|word| payload[word].load(Ordering::Relaxed))
    }

    /// Copies the whole payload in, as relaxed atomic words.
    #[cfg(any(miri, not(target_arch = "aarch64")))]
    #[inline(always)]
    pub(crate) fn write(&self, words: &[u64; PAYLOAD_WORDS]) {
        self.write_prefix(words);
    }

    /// Copies the first words of a payload in, at most seven; the others keep what they hold.
    #[inline(always)]
    pub(crate) fn write_prefix(&self, words: &[u64]) {
        for (shared, word) in self.payload().iter().zip(words) {
            shared.store(*word, Ordering::Relaxed);
        }
    }

    #[inline(always)]
    fn payload(&self) -> &[AtomicU64; PAYLOAD_WORDS] {
        // SAFETY: a line's header comes after its seven payload words.
        let first = unsafe { self.header.sub(PAYLOAD_WORDS) };
        // SAFETY: the line is borrowed for as long as this slot lives, and holds only atomics.
        unsafe { first.cast::<[AtomicU64; PAYLOAD_WORDS]>().as_ref() }
    }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
impl Slot<'_> {
    /// Copies the whole payload out, as relaxed atomic words.
    #[inline(always)]
    pub(crate) fn read(&self) -> [u64; PAYLOAD_WORDS] {
        let (w0, w1, w2, w3, w4, w5, w6): (u64, u64, u64, u64, u64, u64, u64);
        // SAFETY: loads the seven aligned words before the header, which belong to the same line;
        // each as a single-copy atomic access, so it is seven relaxed atomic loads.
        unsafe {
            core::arch::asm!(
                "ldp {w0}, {w1}, [{header}, #-56]",
                "ldp {w2}, {w3}, [{header}, #-40]",
                "ldp {w4}, {w5}, [{header}, #-24]",
                "ldur {w6}, [{header}, #-8]",
                header = in(reg) self.header.as_ptr(),
                w0 = out(reg) w0,
                w1 = out(reg) w1,
                w2 = out(reg) w2,
                w3 = out(reg) w3,
                w4 = out(reg) w4,
                w5 = out(reg) w5,
                w6 = lateout(reg) w6,
                options(nostack, preserves_flags, readonly),
            );
        }
        [w0, w1, w2, w3, w4, w5, w6]
    }

    /// Copies the whole payload in, as relaxed atomic words.
    #[inline(always)]
    pub(crate) fn write(&self, words: &[u64; PAYLOAD_WORDS]) {
        let [w0, w1, w2, w3, w4, w5, w6] = *words;
        // SAFETY: stores to the seven aligned words before the header, which belong to the same
        // line; each as a single-copy atomic access, so it is seven relaxed atomic stores.
        unsafe {
            core::arch::asm!(
                "stp {w0}, {w1}, [{header}, #-56]",
                "stp {w2}, {w3}, [{header}, #-40]",
                "stp {w4}, {w5}, [{header}, #-24]",
                "stur {w6}, [{header}, #-8]",
                header = in(reg) self.header.as_ptr(),
                w0 = in(reg) w0,
                w1 = in(reg) w1,
                w2 = in(reg) w2,
                w3 = in(reg) w3,
                w4 = in(reg) w4,
                w5 = in(reg) w5,
                w6 = in(reg) w6,
                options(nostack, preserves_flags),
            );
        }
    }
}

/// Lets the core rest for a moment between two polls.
#[inline(always)]
pub(crate) fn relax() {
    #[cfg(not(target_arch = "aarch64"))]
    core::hint::spin_loop();
    // `spin_loop` is an `ISB` here, which costs a pipeline flush and yields nothing to an emulator
    // that runs its cores in turn.
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: a hint without effect on registers or memory.
    unsafe {
        core::arch::asm!("yield", options(nomem, nostack, preserves_flags));
    }
}

impl Slot<'_> {
    /// Waits, for a bounded time, until the header is no longer one with sequence `idle`; may
    /// return at any time.
    ///
    /// On aarch64 the core sleeps by `WFE` with its exclusive monitor on the line: a store by
    /// another core to it clears the monitor, which is a wake-up event (Arm ARM DDI 0487, "Wait for Event
    /// mechanism"). A store between the two instructions has the same effect, so none is missed. The
    /// timer's event stream bounds the sleep.
    #[inline]
    pub(crate) fn wait_while(&self, idle: u32) {
        #[cfg(any(miri, not(target_arch = "aarch64")))]
        {
            let _ = idle;
            relax();
        }
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        // SAFETY: an exclusive load of the header word, which the invariant says is readable; no
        // store-exclusive follows, so nothing is written.
        unsafe {
            core::arch::asm!(
                "ldxr {seen}, [{header}]",
                "cmp {seen:w}, {idle:w}",
                "b.ne 2f",
                "wfe",
                "2:",
                header = in(reg) self.header.as_ptr(),
                idle = in(reg) idle,
                seen = out(reg) _,
                options(nostack),
            );
        }
    }
}
