//! This dispatcher's frame: the words that it shares with the CPU driver
//! (`capelin_abi::dispatcher`).
//!
//! Every access is atomic. The kernel runs on the same core, between two of our instructions, so
//! relaxed order would do for its words; acquire and release keep the compiler from moving the
//! payload of a message across them.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use capelin_abi::dispatcher::FRAME_BYTES;

pub use imp::{half, word};

/// The word at byte `offset`.
pub fn read(offset: usize) -> u64 {
    word(offset).load(Ordering::Acquire)
}

/// Sets the word at byte `offset`.
pub fn write(offset: usize, value: u64) {
    word(offset).store(value, Ordering::Release);
}

const fn check(offset: usize, bytes: usize) {
    assert!(
        offset.is_multiple_of(bytes) && offset + bytes <= crate::convert::size(FRAME_BYTES),
        "an offset that the runtime computed lies outside of the dispatcher frame"
    );
}

#[cfg(target_os = "none")]
#[expect(
    unsafe_code,
    reason = "the frame lies at an address that the ABI fixes"
)]
mod imp {
    use super::{AtomicU32, AtomicU64, check};
    use capelin_abi::layout::DISPATCHER_FRAME;

    fn address(offset: usize) -> usize {
        crate::convert::size(DISPATCHER_FRAME.0) + offset
    }

    /// The word at byte `offset`.
    pub fn word(offset: usize) -> &'static AtomicU64 {
        check(offset, 8);
        let pointer = core::ptr::with_exposed_provenance_mut(address(offset));
        // SAFETY: the loader maps the frame there, readable and writable, for the life of the
        // program; `check` keeps the word inside and aligned; all accesses are atomic.
        unsafe { AtomicU64::from_ptr(pointer) }
    }

    /// The half of a word at byte `offset`.
    pub fn half(offset: usize) -> &'static AtomicU32 {
        check(offset, 4);
        let pointer = core::ptr::with_exposed_provenance_mut(address(offset));
        // SAFETY: as in `word`; no access through `word` overlaps those through `half` (ring
        // indices only).
        unsafe { AtomicU32::from_ptr(pointer) }
    }
}

/// The host's stand-in: a frame of each thread's own, so that ring code can be tested.
#[cfg(not(target_os = "none"))]
mod imp {
    use super::{AtomicU32, AtomicU64, check};
    use capelin_abi::dispatcher::FRAME_BYTES;

    const WORDS: usize = crate::convert::size(FRAME_BYTES) / 8;

    struct Frame {
        words: [AtomicU64; WORDS],
        halves: [AtomicU32; WORDS * 2],
    }

    std::thread_local! {
        static FRAME: &'static Frame = Box::leak(Box::new(Frame {
            words: [const { AtomicU64::new(0) }; WORDS],
            halves: [const { AtomicU32::new(0) }; WORDS * 2],
        }));
    }

    /// The word at byte `offset`.
    pub fn word(offset: usize) -> &'static AtomicU64 {
        check(offset, 8);
        FRAME.with(|frame| &frame.words[offset / 8])
    }

    /// The half of a word at byte `offset`.
    pub fn half(offset: usize) -> &'static AtomicU32 {
        check(offset, 4);
        FRAME.with(|frame| &frame.halves[offset / 4])
    }
}
