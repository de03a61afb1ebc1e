//! The CPU driver's own address space.
//!
//! ```text
//! 0xffff_0000_0000_0000 + PA   linear map: this core's home memory, nothing else
//! 0xffff_ffff_8000_0000        the image: text RX, constants R, data RW; a hole below the stack
//! 0xffff_ffff_8020_0000        this core's devices and the console
//! 0xffff_ffff_8040_0000        the shared pages of each kernel (capelin_peers), by kernel id
//! 0xffff_ffff_80c0_0000        the temporary window, one page, and its places for zeroing
//! 0xffff_ffff_80d0_0000        the table of all kernels (capelin_peers)
//! ```
//! All leaves are global: there is one kernel map per core, and it never changes
//! but for other kernels' shared pages (added) and the window.

use capelin_abi::boot::HOME_ALIGNMENT;
use capelin_abi::{KernelId, PAGE_SIZE, PhysAddr, VirtAddr};
use capelin_peers::SharedPages;

/// Where physical address 0 would lie in the linear map (PA below 2^47).
pub(crate) const LINEAR: u64 = 0xffff_0000_0000_0000;
/// The image's linked address.
pub(crate) const IMAGE: u64 = 0xffff_ffff_8000_0000;
/// First device page.
pub(crate) const DEVICES: u64 = 0xffff_ffff_8020_0000;
/// Shared pages of kernel 0; the others' follow, each [`SharedPages::BYTES`].
pub(crate) const SHARED: u64 = 0xffff_ffff_8040_0000;
/// The temporary window: one page, and behind it [`ZEROING`] places of a page each, of
/// which one at a time shows what is zeroed.
pub(crate) const WINDOW: u64 = 0xffff_ffff_80c0_0000;
/// Places in which a page can be zeroed before translations of earlier ones are dropped.
pub(crate) const ZEROING: usize = 255;
/// The table of all kernels.
pub(crate) const PEERS: u64 = 0xffff_ffff_80d0_0000;

// The image's window is the block that the entry code maps.
const _: () = assert!(IMAGE + HOME_ALIGNMENT == DEVICES);
const _: () = assert!(SHARED + KernelId::LIMIT as u64 * SharedPages::BYTES == WINDOW);
const _: () = assert!(WINDOW + (1 + ZEROING as u64) * PAGE_SIZE == PEERS);

/// Where `address` lies in the linear map, if it is home memory.
pub(crate) const fn linear(address: PhysAddr) -> VirtAddr {
    VirtAddr(LINEAR.wrapping_add(address.0))
}
