//! The pages of one kernel that others map, in its image behind its constants: every
//! kernel's lie at the same offset in its home memory.

#[cfg(not(loom))]
use capelin_abi::PAGE_SIZE;

use crate::board::Board;
use crate::outbox::Outbox;
use crate::sync::AtomicU64;

/// Words of a doorbell page.
pub const DOORBELL_WORDS: usize = 512;
/// Offers that a kernel can have at one time.
pub const OFFERS: usize = 120;

/// See the module documentation. Zeroed memory is one in which nothing is rung or
/// offered.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct SharedPages {
    /// Bits that other kernels set, and the owner takes.
    pub doorbell: [AtomicU64; DOORBELL_WORDS],
    /// How often each doorbell word has been given to somebody. Written by the owner
    /// only: a Notify of an earlier time rings nobody.
    pub generations: [AtomicU64; DOORBELL_WORDS],
    /// What the owner offers to other kernels.
    pub outbox: Outbox<OFFERS>,
    /// How far revokes are that it began, or has a part in.
    pub board: Board,
}

#[cfg(not(loom))]
impl SharedPages {
    /// Bytes of them all: whole pages.
    pub const BYTES: u64 = 4 * PAGE_SIZE;

    /// Pages with nothing in them, for a static.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            doorbell: [const { AtomicU64::new(0) }; DOORBELL_WORDS],
            generations: [const { AtomicU64::new(0) }; DOORBELL_WORDS],
            outbox: Outbox::empty(),
            board: Board::empty(),
        }
    }
}

#[cfg(not(loom))]
impl Default for SharedPages {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<SharedPages>() as u64 == SharedPages::BYTES);
