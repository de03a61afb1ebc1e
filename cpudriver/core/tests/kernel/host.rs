//! A machine made of vectors: the [`machine`] itself, which does what is asked and keeps a
//! record of it, the [`slots`] of capabilities, and the other [`objects`] in home memory.
//!
//! Capability slots, control blocks, tables and the words of frames lie apart, so
//! that no two can overlap. A control block or table exists from the moment its page
//! is zeroed: asking for another panics, and so does a name that no page has. What an entry
//! takes for one of these, and isn't any more, [`stale`] tells.

mod machine;
mod objects;
mod slots;
pub mod stale;

use capelin_abi::{PAGE_SIZE, PhysAddr};
use capelin_cap::{Segments, SlotIndex};

pub use machine::{Asked, Host, MITIGATIONS, SleepsForEver};
pub use objects::{Context, Frame, Home, forged_link};
pub use slots::Slots;

/// Where home memory begins.
pub const HOME: u64 = 0x4000_0000;
/// Its bytes.
pub const HOME_BYTES: u64 = 0x10_0000;
/// Where more of it begins, on another node.
pub const FAR_HOME: u64 = 0x400_0000_0000;
/// Where home memory lies in the linear map.
pub const LINEAR: u64 = 0xffff_0000_0000_0000;
/// INTID of the timer.
pub const TIMER: u32 = 27;
/// Memory that isn't home memory.
pub const RAM: u64 = 0x8000_0000;
/// Its bytes.
pub const RAM_BYTES: u64 = 0x100_0000;
/// Where user memory begins that the kernel may read and write.
pub const USER: u64 = 0x10_0000;
/// Its bytes.
pub const USER_BYTES: usize = 4096;

/// The first word of this kernel's image; the others are zero.
pub const IMAGE_WORD: u64 = 0x1400_0010;
/// Bytes of it.
pub const IMAGE_BYTES: u64 = 4 * PAGE_SIZE;
/// Bytes of text and constants in it.
pub const TEXT_BYTES: u64 = 2 * PAGE_SIZE;
/// Where a core enters that shares them.
pub const SHARED_ENTRY: u64 = HOME + 0x40;
/// Where the table of all kernels lies.
pub const PEERS_AT: u64 = 0x7000_0000;

const WORDS: usize = (2 * HOME_BYTES / 8) as usize;
const PAGES: usize = (2 * HOME_BYTES / PAGE_SIZE) as usize;
const SLOTS: usize = (2 * HOME_BYTES / 64) as usize;

/// Names in home memory, both pieces of it.
fn segments() -> Segments {
    let segments = Segments::new(PhysAddr(HOME), HOME_BYTES);
    let far = segments.adopt(PhysAddr(FAR_HOME), HOME_BYTES);
    assert_eq!(far.map(SlotIndex::segment), Ok(15));
    segments
}

/// How far into home memory an address is, the far piece behind the near one.
fn offset_of(address: u64) -> usize {
    let near = address.wrapping_sub(HOME);
    let far = address.wrapping_sub(FAR_HOME);
    assert!(near < HOME_BYTES || far < HOME_BYTES, "{address:#x}");
    small(if near < HOME_BYTES {
        near
    } else {
        HOME_BYTES + far
    })
}

fn small(value: u64) -> usize {
    usize::try_from(value).expect("a small number")
}
