//! This core's own translation tables (I1): the image, home memory, this core's
//! devices, the doorbell pages, and one temporary window.
//!
//! The tables come from a fixed pool in the image. Leaves are made at boot; later
//! only doorbell pages are added, and the window changes.

#![expect(unsafe_code, reason = "the pool of tables, and the switch to them")]

use core::cell::UnsafeCell;

use capelin_aarch64::{mmu, tlb};
use capelin_abi::syscall::KernelLeaf;
use capelin_abi::{KernelId, PAGE_SIZE, PhysAddr, SysError, VirtAddr};
use capelin_kernel::machine::LeafSearch;
use capelin_vspace::{Descriptor, ENTRIES, Entry, Permissions, TableLevel};

use crate::address::{DOORBELLS, IMAGE, WINDOW, linear};
use crate::hardware::Window;
use capelin_kernel::narrow::index;

/// Tables of the entry code: three for each half, and one that stays empty.
pub(crate) const EARLY_TABLES: usize = 7;
/// The empty one, for when a half is to map nothing.
const EMPTY: usize = EARLY_TABLES - 1;
/// The root, two tables down to the high window, four tables of pages there, and
/// for the linear map one of level 1, two of level 2 and two of level 3 (home
/// memory that crosses a GiB, and doesn't end at 2 MiB).
const POOL: usize = EARLY_TABLES + 12;

#[repr(C, align(4096))]
struct Pool(UnsafeCell<[[u64; ENTRIES]; POOL]>);

// SAFETY: per-core static of a single-threaded kernel; reached through the one
// KernelMap only. The hardware walker reads it, entries are written as words.
unsafe impl Sync for Pool {}

#[unsafe(link_section = ".capelin.tables")]
static TABLES: Pool = Pool(UnsafeCell::new([[0; ENTRIES]; POOL]));

/// The token for this core's map.
pub(crate) struct KernelMap {
    image: PhysAddr,
    used: usize,
    /// The table of the window.
    window: usize,
}

impl KernelMap {
    /// The map of an image at physical address `image`, with nothing in it.
    ///
    /// # Safety
    /// 1. Called once on this core.
    pub(crate) const unsafe fn new(image: PhysAddr) -> Self {
        Self {
            image,
            used: EARLY_TABLES + 1,
            window: EARLY_TABLES,
        }
    }

    fn pool_address() -> u64 {
        TABLES.0.get().expose_provenance() as u64
    }

    fn physical(&self, table: usize) -> PhysAddr {
        PhysAddr(self.image.0 + (Self::pool_address() - IMAGE) + (table * 4096) as u64)
    }

    fn index_of(&self, address: PhysAddr) -> Option<usize> {
        let offset = address.0.checked_sub(self.physical(0).0)?;
        usize::try_from(offset / 4096)
            .ok()
            .filter(|&index| index < POOL)
    }

    fn read(&self, table: usize, index: usize) -> Descriptor {
        let entry = Self::entry(table, index);
        // SAFETY: `entry` points into the pool.
        Descriptor(unsafe { entry.read_volatile() })
    }

    fn write(&mut self, table: usize, index: usize, descriptor: Descriptor) {
        let entry = Self::entry(table, index);
        // SAFETY: `entry` points into the pool, which `&mut self` alone changes.
        unsafe { entry.write_volatile(descriptor.0) }
    }

    fn entry(table: usize, index: usize) -> *mut u64 {
        let first = TABLES.0.get().cast::<u64>();
        // No caller names another; and a remainder by POOL would be a division.
        let table = if table < POOL { table } else { 0 };
        first.wrapping_add(table * ENTRIES + index % ENTRIES)
    }

    /// The table of `level` that translates `address`, made from the pool if it
    /// isn't there.
    fn table_for(&mut self, address: VirtAddr, level: TableLevel) -> Result<usize, SysError> {
        let mut table = EARLY_TABLES;
        let mut at = TableLevel::L0;
        while at != level {
            let index = at.index(address);
            table = match self.read(table, index).decode(at) {
                Entry::Table(next) => self.index_of(next).ok_or(SysError::NoResources)?,
                Entry::Invalid if self.used < POOL => {
                    let fresh = self.used;
                    self.used += 1;
                    let descriptor =
                        Descriptor::table(self.physical(fresh)).map_err(|_| SysError::Unaligned)?;
                    self.write(table, index, descriptor);
                    fresh
                }
                _ => return Err(SysError::NoResources),
            };
            at = at.next().ok_or(SysError::InvalidArgument)?;
        }
        Ok(table)
    }

    /// Maps the block or page of `level` at `address` to `target`.
    fn map_leaf(
        &mut self,
        address: VirtAddr,
        target: PhysAddr,
        level: TableLevel,
        permissions: Permissions,
    ) -> Result<(), SysError> {
        let table = self.table_for(address, level)?;
        let index = level.index(address);
        if self.read(table, index).is_valid() {
            return Err(SysError::EntryInUse);
        }
        let leaf = Descriptor::leaf(level, target, permissions).map_err(|_| SysError::Unaligned)?;
        self.write(table, index, leaf);
        Ok(())
    }

    /// Maps whole pages.
    pub(crate) fn map_pages(
        &mut self,
        address: VirtAddr,
        target: PhysAddr,
        bytes: u64,
        permissions: Permissions,
    ) -> Result<(), SysError> {
        for offset in (0..bytes).step_by(index(PAGE_SIZE)) {
            let page = VirtAddr(address.0 + offset);
            self.map_leaf(
                page,
                PhysAddr(target.0 + offset),
                TableLevel::L3,
                permissions,
            )?;
        }
        Ok(())
    }

    /// Maps home memory `[start, end)` linearly, by blocks where they fit.
    pub(crate) fn map_linear(&mut self, start: PhysAddr, end: PhysAddr) -> Result<(), SysError> {
        let span = TableLevel::L2.entry_span();
        let mut at = start.0;
        while at < end.0 {
            let target = PhysAddr(at);
            let (level, step) = if at.is_multiple_of(span) && end.0 - at >= span {
                (TableLevel::L2, span)
            } else {
                (TableLevel::L3, PAGE_SIZE)
            };
            self.map_leaf(linear(target), target, level, Permissions::KERNEL_DATA)?;
            at += step;
        }
        Ok(())
    }

    /// Makes the tables for doorbells and the window, so that later mapping can't
    /// run out of tables.
    pub(crate) fn prepare_windows(&mut self) -> Result<(), SysError> {
        self.table_for(VirtAddr(DOORBELLS), TableLevel::L3)?;
        self.window = self.table_for(VirtAddr(WINDOW), TableLevel::L3)?;
        Ok(())
    }

    /// Leaves the entry code's map for this one, with exception vectors at `vectors`.
    ///
    /// # Safety
    /// 1. The map holds the image as it is linked, the stack, and everything that
    ///    is referred to.
    /// 2. The entry code's map holds the image at its physical address as well, and
    ///    `VBAR_EL1` lies there.
    pub(crate) unsafe fn activate(&self, vectors: VirtAddr) {
        let (root, empty) = (self.physical(EARLY_TABLES), self.physical(EMPTY));
        tlb::entries_made();
        // SAFETY: 1. the pool lives in the image for ever, and the map holds what is
        // referred to (1); the entry code set MAIR_EL1 and TCR_EL1 to what
        // capelin_vspace makes descriptors for. 2. Nothing writes to that table.
        // 3. So says 2. 4. The image is mapped as linked (1).
        unsafe { mmu::replace_kernel_root(root, empty, IMAGE - self.image.0, vectors) };
    }

    /// Maps the doorbell page of another kernel, unless that is done already.
    pub(crate) fn map_doorbell(
        &mut self,
        kernel: KernelId,
        page: PhysAddr,
    ) -> Result<(), SysError> {
        let address = VirtAddr(DOORBELLS + u64::from(kernel.0) * PAGE_SIZE);
        let table = self.table_for(address, TableLevel::L3)?;
        let index = TableLevel::L3.index(address);
        match self.read(table, index).decode(TableLevel::L3) {
            Entry::Leaf(mapped, _) if mapped == page => Ok(()),
            Entry::Invalid => {
                self.map_leaf(address, page, TableLevel::L3, Permissions::KERNEL_DATA)?;
                tlb::entries_made();
                Ok(())
            }
            _ => {
                // The kernel came back elsewhere: break before make (D8.16.1).
                self.write(table, index, Descriptor::INVALID);
                tlb::invalidate_kernel_page(address);
                self.map_leaf(address, page, TableLevel::L3, Permissions::KERNEL_DATA)?;
                tlb::entries_made();
                Ok(())
            }
        }
    }

    /// Calls `work` with the address at which one page of memory that is no
    /// kernel's home is mapped meanwhile.
    pub(crate) fn with_window<R>(
        &mut self,
        page: PhysAddr,
        permissions: Permissions,
        work: impl FnOnce(Window) -> R,
    ) -> Result<R, SysError> {
        let address = VirtAddr(WINDOW);
        let index = TableLevel::L3.index(address);
        let leaf = Descriptor::leaf(TableLevel::L3, page, permissions);
        self.write(self.window, index, leaf.map_err(|_| SysError::Unaligned)?);
        tlb::entries_made();
        // SAFETY: 1. mapped just now; nothing refers to memory that is no home's.
        let result = work(unsafe { Window::new() });
        self.write(self.window, index, Descriptor::INVALID);
        tlb::invalidate_kernel_page(address);
        Ok(result)
    }

    /// Points the window at one page of a device's registers, at boot.
    pub(crate) fn peek_device(&mut self, page: PhysAddr) -> Option<VirtAddr> {
        let address = VirtAddr(WINDOW);
        let table = self.table_for(address, TableLevel::L3).ok()?;
        self.write(table, TableLevel::L3.index(address), Descriptor::INVALID);
        tlb::invalidate_kernel_page(address);
        self.map_leaf(address, page, TableLevel::L3, Permissions::KERNEL_DEVICE)
            .ok()?;
        tlb::entries_made();
        Some(address)
    }

    /// Ends what [`KernelMap::peek_device`] began.
    pub(crate) fn end_peek(&mut self) {
        let address = VirtAddr(WINDOW);
        if let Ok(table) = self.table_for(address, TableLevel::L3) {
            self.write(table, TableLevel::L3.index(address), Descriptor::INVALID);
            tlb::invalidate_kernel_page(address);
        }
    }

    /// A table that maps nothing, for when no domain's is in use.
    pub(crate) fn empty_root(&self) -> PhysAddr {
        self.physical(EMPTY)
    }

    /// Empties the entry code's tables.
    pub(crate) fn forget_early_tables(&mut self) {
        crate::hardware::use_empty_root(self.empty_root());
        for index in 0..ENTRIES {
            for table in 0..EMPTY {
                self.write(table, index, Descriptor::INVALID);
            }
        }
        tlb::invalidate_all_local();
    }

    /// Leaf number `number` of those that end past `from`: see [`Machine::kernel_leaf`].
    ///
    /// [`Machine::kernel_leaf`]: capelin_kernel::machine::Machine::kernel_leaf
    pub(crate) fn leaf(&self, number: u64, from: VirtAddr) -> LeafSearch {
        let mut search = Search {
            from: from.0.max(UPPER_HALF),
            left: number,
            looks: LOOKS_AT_ONCE,
        };
        self.leaf_in(EARLY_TABLES, TableLevel::L0, UPPER_HALF, &mut search)
            .unwrap_or(LeafSearch::Past)
    }

    fn leaf_in(
        &self,
        table: usize,
        level: TableLevel,
        base: u64,
        search: &mut Search,
    ) -> Option<LeafSearch> {
        // Four levels: the recursion is as deep as the tables are.
        let span = level.entry_span();
        let first = search.from.saturating_sub(base) / span;
        for index in (0..ENTRIES).skip(index(first)) {
            let address = base + index as u64 * span;
            if search.looks == 0 {
                return Some(LeafSearch::Later(search.left, VirtAddr(address)));
            }
            search.looks -= 1;
            match self.read(table, index).decode(level) {
                Entry::Table(next) => {
                    let (Some(next), Some(below)) = (self.index_of(next), level.next()) else {
                        continue;
                    };
                    let found = self.leaf_in(next, below, address, search);
                    if found.is_some() {
                        return found;
                    }
                }
                Entry::Leaf(target, permissions) => {
                    if search.left == 0 {
                        let kind = leaf_kind(address, permissions, target, self.image);
                        return Some(LeafSearch::Found(VirtAddr(address), target, span, kind));
                    }
                    search.left -= 1;
                }
                Entry::Invalid | Entry::Malformed => {}
            }
        }
        None
    }
}

/// Where the kernel's half of the addresses begins.
const UPPER_HALF: u64 = 0xffff_0000_0000_0000;

/// Entries that one search looks at, at some 95 instructions for a leaf.
const LOOKS_AT_ONCE: u32 = 128;

/// How far [`KernelMap::leaf`] is.
struct Search {
    from: u64,
    left: u64,
    looks: u32,
}

fn leaf_kind(
    address: u64,
    permissions: Permissions,
    target: PhysAddr,
    image: PhysAddr,
) -> KernelLeaf {
    let mut kind = KernelLeaf::empty();
    kind.set(KernelLeaf::WRITE, permissions.is_writable());
    kind.set(KernelLeaf::EXECUTE, permissions.is_executable());
    kind.set(KernelLeaf::DEVICE, permissions.is_device());
    let own = target.0 == image.0 + crate::boot::doorbell_offset();
    kind.set(
        KernelLeaf::DOORBELL,
        own || (DOORBELLS..WINDOW).contains(&address),
    );
    kind
}
