//! Operations of `capelin_aarch64` whose safety rests on what this kernel keeps
//! true, as safe functions that say why.

#![expect(
    unsafe_code,
    reason = "discharges the conditions of the architecture crate"
)]

use capelin_aarch64::user::Fault;
use capelin_aarch64::{guarded, mmu, spin_table};
use capelin_abi::{PAGE_SIZE, PhysAddr, VirtAddr};
use capelin_kernel::machine::RootRef;
use capelin_kernel::narrow::index;

/// The window's address as a token: only [`crate::map::KernelMap`] makes one, while a
/// page is mapped there.
///
/// Invariant: as [`Window::new`] says.
#[derive(Clone, Copy)]
pub(crate) struct Window(VirtAddr);

impl Window {
    /// # Safety
    /// 1. One page of memory, which nothing refers to, is mapped writable at `address`, a
    ///    multiple of 4096, as long as the result is used.
    pub(crate) const unsafe fn new(address: VirtAddr) -> Self {
        Self(address)
    }

    /// Where it is.
    pub(crate) const fn address(self) -> VirtAddr {
        self.0
    }

    /// Zeroes the page.
    pub(crate) fn zero(self) -> Result<(), Fault> {
        // SAFETY: 1. mapped writable, normal memory. 2. not referenced (`new`, 1).
        unsafe { guarded::zero_page(self.address()) }
    }

    /// Reads words from `offset` on, a multiple of 8; words past the page read as they
    /// are in `target`.
    pub(crate) fn read(self, offset: usize, target: &mut [u64]) -> Result<(), Fault> {
        let room = index(PAGE_SIZE).saturating_sub(offset) / 8;
        let words = target.len().min(room);
        let target = target.get_mut(..words).unwrap_or(&mut []);
        guarded::read_words(target, VirtAddr(self.0.0 + offset as u64))
    }

    /// Whether the page begins with the `words` words at `other`: 512 at most.
    pub(crate) fn begins_with(self, other: VirtAddr, words: usize) -> Result<bool, Fault> {
        guarded::are_equal(self.address(), other, words.min(512))
    }

    /// Writes words from the page's start on, as many as it has room for.
    pub(crate) fn write(self, words: &[u64]) -> Result<(), Fault> {
        let words = words.get(..512).unwrap_or(words);
        // SAFETY: 1. inside of the mapped page, which is not referenced (`new`, 1).
        unsafe { guarded::write_words(self.address(), words) }
    }

    /// Drops the page from the caches, writing it back.
    pub(crate) fn clean_invalidate(self) -> Result<(), Fault> {
        guarded::clean_invalidate_to_poc(self.address(), PAGE_SIZE)
    }

    /// Writes the page back to where instruction fetches look.
    pub(crate) fn clean_instructions(self) -> Result<(), Fault> {
        guarded::clean_instructions(self.address(), PAGE_SIZE)
    }

    /// Releases a spin-table core whose release address is at `offset`, a multiple
    /// of 8, of the page.
    pub(crate) fn release_spin_table(self, offset: u64, entry: PhysAddr) -> Result<(), Fault> {
        let address = VirtAddr(self.0.0 + (offset & (PAGE_SIZE - 8)));
        // SAFETY: mapped writable (`new`, 1), aligned; the caller has it from the
        // device tree's table. The entry is a sealed core image's, checked and clean.
        unsafe { spin_table::release(address, entry) }
    }
}

/// Makes the root table of a domain current.
#[inline]
pub(crate) fn set_user_root(root: RootRef, asid: u16) {
    // SAFETY: 1. `root` names a VNode that a dispatcher holds a capability to; its
    // entries are made by `invoke::vnode` with user permissions only; when it
    // goes, `use_empty_root` comes first. 2. The ASID was given to this root in
    // the current generation. 3. A switch comes after all that a request says in user
    // memory.
    unsafe { mmu::set_user_root(root.address(), asid) }
}

/// Has the core walk an empty table for user addresses.
pub(crate) fn use_empty_root(empty: PhysAddr) {
    // SAFETY: 1. `empty` is the pool's zeroed table. 2. It translates nothing, and
    // no address space has ASID 0.
    unsafe { mmu::replace_user_root(empty, 0) }
}
