//! This core's own translation tables (I1): the image, home memory, this core's
//! devices, what kernels share, and one temporary window.
//!
//! The tables come from a fixed pool in the image. Leaves are made at boot; later
//! only other kernels' shared pages are added, where the table of all kernels says that
//! they are, and the window changes.

#![expect(unsafe_code, reason = "the pool of tables, and the switch to them")]

use core::cell::UnsafeCell;

use capelin_aarch64::user::Fault;
use capelin_aarch64::{mmu, tlb};
use capelin_abi::syscall::KernelLeaf;
use capelin_abi::{KernelId, PAGE_SIZE, PhysAddr, SysError, VirtAddr};
use capelin_kernel::machine::{LeafSearch, Looked};
use capelin_vspace::{
    Descriptor, ENTRIES, Entry, Leaves, Permissions, Plan, PlanError, TableLevel,
};

use capelin_peers::{Gap, Home, PeerTable, SharedPages};

use crate::address::{IMAGE, PEERS, SHARED, WINDOW, ZEROING, linear};
use crate::hardware::Window;
use capelin_kernel::narrow::index;

/// Tables of the entry code: three for each half, one of pages for both, and one that stays
/// empty.
pub(crate) const EARLY_TABLES: usize = 8;
/// The root, two tables down to the high window, seven tables of pages there (image,
/// devices, four of shared pages, window), and for the linear map one of level 1, two
/// of level 2 and two of level 3 (home memory that crosses a GiB, and doesn't end at
/// 2 MiB); four more of level 2, for what is adopted in other GiB.
const POOL: usize = EARLY_TABLES + 19;

#[repr(C, align(4096))]
struct Pool(UnsafeCell<[[u64; ENTRIES]; POOL]>);

// SAFETY: per-core static of a single-threaded kernel; reached through the one
// KernelMap only. The hardware walker reads it, entries are written as words.
unsafe impl Sync for Pool {}

#[unsafe(link_section = ".capelin.tables")]
static TABLES: Pool = Pool(UnsafeCell::new([[0; ENTRIES]; POOL]));

/// A table of the pool, by its number.
///
/// Invariant: below [`POOL`].
#[derive(Clone, Copy)]
struct Table(usize);

impl Table {
    /// The root; what comes before it is the entry code's.
    const ROOT: Self = Self(EARLY_TABLES);
    /// The last of those, which stays empty: for when a half is to map nothing.
    const EMPTY: Self = Self(EARLY_TABLES - 1);
    /// The entry code's others.
    const EARLY: [Self; EARLY_TABLES - 1] = {
        let mut tables = [Self(0); EARLY_TABLES - 1];
        let mut number = 0;
        while number < tables.len() {
            tables[number] = Self(number);
            number += 1;
        }
        tables
    };

    /// Number `number`, if the pool has so many.
    fn new(number: usize) -> Option<Self> {
        (number < POOL).then_some(Self(number))
    }
}

const _: () = assert!(EARLY_TABLES < POOL);

/// How to map a range of the kernel's own.
fn plan(start: VirtAddr, bytes: u64, leaves: Leaves) -> Result<Plan, SysError> {
    Plan::new(start, bytes, leaves).map_err(|error| match error {
        PlanError::Unaligned => SysError::Unaligned,
        PlanError::OutOfRange => SysError::OutOfRange,
    })
}

/// The token for this core's map.
pub(crate) struct KernelMap {
    /// Where the image begins, but for text and constants that are another core's.
    image: PhysAddr,
    used: usize,
    /// The table of the window.
    window: Table,
    /// Where the table of all kernels is, once it is mapped.
    peers: Option<PhysAddr>,
    /// Around the page that was last in the window: no home, nor that table.
    gap: Gap,
    /// Places of the window that have been used for zeroing since translations of all of
    /// them were dropped: at most [`ZEROING`]. Their entries are invalid; what the core
    /// may remember of them is dropped when there are no more, and before anything that
    /// must not meet it ([`KernelMap::forget_zeroed`]).
    zeroed: usize,
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
            window: Table::ROOT,
            peers: None,
            gap: Gap::NONE,
            zeroed: 0,
        }
    }

    fn pool_address() -> u64 {
        TABLES.0.get().expose_provenance() as u64
    }

    fn physical(&self, table: Table) -> PhysAddr {
        PhysAddr(self.image.0 + (Self::pool_address() - IMAGE) + (table.0 * 4096) as u64)
    }

    fn index_of(&self, address: PhysAddr) -> Option<Table> {
        let offset = address.0.checked_sub(self.physical(Table::EARLY[0]).0)?;
        Table::new(usize::try_from(offset / 4096).ok()?)
    }

    fn read(&self, table: Table, index: usize) -> Descriptor {
        let entry = Self::entry(table, index);
        // SAFETY: `entry` points into the pool.
        Descriptor(unsafe { entry.read_volatile() })
    }

    fn write(&mut self, table: Table, index: usize, descriptor: Descriptor) {
        let entry = Self::entry(table, index);
        // SAFETY: `entry` points into the pool, which `&mut self` alone changes.
        unsafe { entry.write_volatile(descriptor.0) }
    }

    fn entry(table: Table, index: usize) -> *mut u64 {
        let first = TABLES.0.get().cast::<u64>();
        first.wrapping_add(table.0 * ENTRIES + index % ENTRIES)
    }

    /// The table of `level` that translates `address`, made from the pool if it
    /// isn't there.
    fn table_for(&mut self, address: VirtAddr, level: TableLevel) -> Result<Table, SysError> {
        let mut table = Table::ROOT;
        let mut at = TableLevel::L0;
        while at != level {
            let index = at.index(address);
            table = match self.read(table, index).decode(at) {
                Entry::Table(next) => self.index_of(next).ok_or(SysError::NoResources)?,
                Entry::Invalid => {
                    let fresh = Table::new(self.used).ok_or(SysError::NoResources)?;
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

    /// Maps what lies at `target` as planned.
    fn map(
        &mut self,
        plan: Plan,
        target: PhysAddr,
        permissions: Permissions,
    ) -> Result<(), SysError> {
        for piece in plan {
            let table = self.table_for(piece.start, piece.level)?;
            for (at, offset) in piece.leaves() {
                let index = piece.level.index(at);
                if self.read(table, index).is_valid() {
                    return Err(SysError::EntryInUse);
                }
                let to = PhysAddr(target.0 + offset);
                let leaf = Descriptor::leaf(piece.level, to, permissions);
                self.write(table, index, leaf.map_err(|_| SysError::Unaligned)?);
            }
        }
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
        self.map(plan(address, bytes, Leaves::Pages)?, target, permissions)
    }

    /// Maps home memory `[start, end)` linearly, by blocks where they fit.
    pub(crate) fn map_linear(&mut self, start: PhysAddr, end: PhysAddr) -> Result<(), SysError> {
        // What becomes home memory may have been anything before.
        self.forget_zeroed();
        let plan = plan(linear(start), end.0 - start.0, Leaves::Blocks(start))?;
        self.map(plan, start, Permissions::KERNEL_DATA)
    }

    /// Maps home memory, whole blocks of 2 MiB, that was adopted: all of it or nothing.
    pub(crate) fn map_home(&mut self, base: PhysAddr, bytes: u64) -> Result<(), SysError> {
        for piece in plan(linear(base), bytes, Leaves::Blocks(base))? {
            let table = self.table_for(piece.start, piece.level)?;
            let mut entries = piece.leaves().map(|(at, _)| piece.level.index(at));
            if entries.any(|entry| self.read(table, entry).is_valid()) {
                return Err(SysError::RangeInUse);
            }
        }
        // There are tables for all of it, and no entries.
        self.map_linear(base, PhysAddr(base.0 + bytes))?;
        tlb::entries_made();
        Ok(())
    }

    /// Undoes [`KernelMap::map_home`].
    pub(crate) fn unmap_home(&mut self, base: PhysAddr, bytes: u64) {
        let level = TableLevel::L2;
        for offset in (0..bytes).step_by(index(level.entry_span())) {
            let at = linear(PhysAddr(base.0 + offset));
            if let Ok(table) = self.table_for(at, level) {
                self.write(table, level.index(at), Descriptor::INVALID);
                // One address of a block names its entry (D8.16.2).
                tlb::invalidate_kernel_page(at);
            }
        }
    }

    /// Makes the tables for shared pages and the window, so that later mapping can't
    /// run out of tables.
    pub(crate) fn prepare_windows(&mut self) -> Result<(), SysError> {
        let span = TableLevel::L2.entry_span();
        for address in (SHARED..WINDOW).step_by(index(span)) {
            self.table_for(VirtAddr(address), TableLevel::L3)?;
        }
        self.window = self.table_for(VirtAddr(WINDOW), TableLevel::L3)?;
        Ok(())
    }

    /// Leaves the entry code's map for this one, with exception vectors at `vectors`. The
    /// image's text lies at `text`.
    ///
    /// # Safety
    /// 1. The map holds the image as it is linked, the stack, and everything that
    ///    is referred to.
    /// 2. The entry code's map holds the text at its physical address as well, and
    ///    `VBAR_EL1` lies there.
    pub(crate) unsafe fn activate(&self, text: PhysAddr, vectors: VirtAddr) {
        let (root, empty) = (self.physical(Table::ROOT), self.physical(Table::EMPTY));
        tlb::entries_made();
        // SAFETY: 1. the pool lives in the image for ever, and the map holds what is
        // referred to (1); the entry code set MAIR_EL1 and TCR_EL1 to what
        // capelin_vspace makes descriptors for. 2. Nothing writes to that table.
        // 3. So says 2. 4. The image is mapped as linked (1).
        unsafe { mmu::replace_kernel_root(root, empty, IMAGE - text.0, vectors) };
    }

    /// Maps the table of all kernels, which lies at `table`, for good. From now on the
    /// window can be used.
    pub(crate) fn map_peers(&mut self, table: PhysAddr) -> Result<(), SysError> {
        let (at, bytes) = (VirtAddr(PEERS), PeerTable::BYTES);
        self.map_pages(at, table, bytes, Permissions::KERNEL_DATA)?;
        tlb::entries_made();
        self.peers = Some(table);
        Ok(())
    }

    /// The shared pages of another kernel, which is known, and whose home memory is at `home`:
    /// mapped, unless they are already. Its core has been released, so they stay what they are
    /// for as long as the machine runs (`capelin_peers::PeerTable`), and mapped.
    #[inline]
    pub(crate) fn map_shared(
        &mut self,
        kernel: KernelId,
        home: PhysAddr,
    ) -> Result<&'static SharedPages, SysError> {
        if kernel.0 >= KernelId::LIMIT {
            return Err(SysError::InvalidArgument);
        }
        let address = VirtAddr(SHARED + u64::from(kernel.0) * SharedPages::BYTES);
        let pages = PhysAddr(home.0 + crate::image::shared_offset());
        let table = self.table_for(address, TableLevel::L3)?;
        // The last one is made last.
        let last = TableLevel::L3.index(VirtAddr(address.0 + SharedPages::BYTES - PAGE_SIZE));
        let wanted = PhysAddr(pages.0 + SharedPages::BYTES - PAGE_SIZE);
        let is_mapped = matches!(
            self.read(table, last).decode(TableLevel::L3),
            Entry::Leaf(mapped, _) if mapped == wanted
        );
        if !is_mapped {
            self.remap_shared(address, pages)?;
        }
        // SAFETY: 1. they are mapped.
        Ok(unsafe { crate::doorbell_page::remote(kernel) })
    }

    /// Maps shared pages; break before make (D8.16.1), since the kernel may have come
    /// back elsewhere.
    #[cold]
    fn remap_shared(&mut self, address: VirtAddr, pages: PhysAddr) -> Result<(), SysError> {
        for offset in (0..SharedPages::BYTES).step_by(index(PAGE_SIZE)) {
            let at = VirtAddr(address.0 + offset);
            let table = self.table_for(at, TableLevel::L3)?;
            let entry = TableLevel::L3.index(at);
            if self.read(table, entry).is_valid() {
                self.write(table, entry, Descriptor::INVALID);
                tlb::invalidate_kernel_page(at);
            }
        }
        let bytes = SharedPages::BYTES;
        self.map_pages(address, pages, bytes, Permissions::KERNEL_DATA)?;
        tlb::entries_made();
        Ok(())
    }

    /// Calls `work` while one page of memory is mapped in the window.
    ///
    /// # Errors
    /// `RangeInUse` for a page of any kernel's home memory, this one's too, or of what
    /// kernels share (architecture.md, I1): whoever asks. `Unaligned` or `OutOfRange`
    /// for what isn't a page's address; `NoSuchMemory` where nothing answers.
    pub(crate) fn with_window<R>(
        &mut self,
        page: PhysAddr,
        work: impl FnOnce(Window) -> Result<R, Fault>,
    ) -> Result<R, SysError> {
        self.with_window_seen(page, |window, _| work(window))
    }

    /// As [`KernelMap::with_window`], and `work` may look at the map.
    #[inline]
    pub(crate) fn with_window_seen<R>(
        &mut self,
        page: PhysAddr,
        work: impl FnOnce(Window, &Self) -> Result<R, Fault>,
    ) -> Result<R, SysError> {
        self.check_window(page)?;
        self.forget_zeroed();
        let address = VirtAddr(WINDOW);
        let index = TableLevel::L3.index(address);
        let leaf = Descriptor::leaf(TableLevel::L3, page, Permissions::KERNEL_DATA);
        self.write(self.window, index, leaf.map_err(|_| SysError::Unaligned)?);
        tlb::entries_made();
        // SAFETY: 1. mapped just now; nothing refers to memory that is no home's.
        let window = unsafe { Window::new(address) };
        let result = work(window, self);
        self.write(self.window, index, Descriptor::INVALID);
        tlb::invalidate_kernel_page(address);
        result.map_err(|Fault| SysError::NoSuchMemory)
    }

    /// Zeroes a page, as [`KernelMap::with_window`] would, in one of the window's places:
    /// it is mapped for as long as that takes, but what the core may remember of the
    /// translation is dropped for all places together.
    ///
    /// # Errors
    /// As [`KernelMap::with_window`].
    #[inline]
    pub(crate) fn zero_page(&mut self, page: PhysAddr) -> Result<Looked, SysError> {
        if !self.is_looked_at(page) && self.look_ahead(page)? == Looked::Long {
            return Ok(Looked::Long);
        }
        let leaf = Descriptor::leaf(TableLevel::L3, page, Permissions::KERNEL_DATA);
        let leaf = leaf.map_err(|_| SysError::Unaligned)?;
        if self.zeroed == ZEROING {
            self.forget_zeroed();
        }
        self.zeroed += 1;
        let place = self.zeroed;
        self.write(self.window, place, leaf);
        tlb::entries_made();
        let address = VirtAddr(WINDOW + place as u64 * PAGE_SIZE);
        // SAFETY: 1. mapped just now, where no translation was since they were dropped;
        // nothing refers to memory that is no home's.
        let window = unsafe { Window::new(address) };
        let result = window.zero();
        self.write(self.window, place, Descriptor::INVALID);
        match result {
            Ok(()) => Ok(Looked::Little),
            Err(Fault) => Err(SysError::NoSuchMemory),
        }
    }

    /// Has the core forget where pages were mapped to be zeroed. Nothing of this kernel's
    /// goes there, but the core may read ahead: so before such a page is made ready to be
    /// mapped with other attributes, or may become another kernel's, or a home (I1).
    #[inline]
    pub(crate) fn forget_zeroed(&mut self) {
        if self.zeroed != 0 {
            tlb::invalidate_kernel_pages(VirtAddr(WINDOW + PAGE_SIZE), self.zeroed as u64);
            self.zeroed = 0;
        }
    }

    /// Whether a page may come into the window.
    ///
    /// # Errors
    /// `RangeInUse` for one of any kernel's home memory or of what kernels share.
    #[inline]
    pub(crate) fn check_window(&mut self, page: PhysAddr) -> Result<(), SysError> {
        if self.may_show(page) {
            Ok(())
        } else {
            Err(SysError::RangeInUse)
        }
    }

    /// Whether the gap that was found last answers for a page.
    #[inline(always)]
    fn is_looked_at(&self, page: PhysAddr) -> bool {
        // SAFETY: 1. `peers` is set when it has been mapped.
        self.peers.is_some() && unsafe { crate::doorbell_page::peers() }.is_known(page, &self.gap)
    }

    /// See [`Machine::look_ahead`].
    ///
    /// [`Machine::look_ahead`]: capelin_kernel::machine::Machine::look_ahead
    #[cold]
    pub(crate) fn look_ahead(&mut self, page: PhysAddr) -> Result<Looked, SysError> {
        if self.is_looked_at(page) {
            return Ok(Looked::Little);
        }
        self.check_window(page)?;
        // SAFETY: 1. there are pages that may be shown: `peers` is set.
        let table = unsafe { crate::doorbell_page::peers() };
        if table.homes_to_look_at() > HOMES_BESIDE {
            Ok(Looked::Long)
        } else {
            Ok(Looked::Little)
        }
    }

    /// Whether a page may come into the window.
    #[inline]
    fn may_show(&mut self, page: PhysAddr) -> bool {
        let Some(at) = self.peers else {
            return false;
        };
        // SAFETY: 1. `peers` is set when it has been mapped.
        let table = unsafe { crate::doorbell_page::peers() };
        let except = Home {
            base: at,
            bytes: PeerTable::BYTES,
        };
        table.is_no_home(page, except, &mut self.gap)
    }

    /// What the map shows at the window's address now, and how: for a test of I1.
    pub(crate) fn shown(&self) -> Option<(PhysAddr, KernelLeaf)> {
        let index = TableLevel::L3.index(VirtAddr(WINDOW));
        match self.read(self.window, index).decode(TableLevel::L3) {
            Entry::Leaf(target, permissions) => {
                let kind = leaf_kind(WINDOW, permissions, target, self.image);
                Some((target, kind))
            }
            _ => None,
        }
    }

    /// Points the window at one page of a device's registers, at boot.
    pub(crate) fn peek_device(&mut self, page: PhysAddr) -> Option<VirtAddr> {
        let address = VirtAddr(WINDOW);
        let table = self.table_for(address, TableLevel::L3).ok()?;
        self.write(table, TableLevel::L3.index(address), Descriptor::INVALID);
        tlb::invalidate_kernel_page(address);
        self.map_pages(address, page, PAGE_SIZE, Permissions::KERNEL_DEVICE)
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
        self.physical(Table::EMPTY)
    }

    /// Empties the entry code's tables.
    pub(crate) fn forget_early_tables(&mut self) {
        crate::hardware::use_empty_root(self.empty_root());
        for index in 0..ENTRIES {
            for table in Table::EARLY {
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
        self.leaf_in(Table::ROOT, TableLevel::L0, UPPER_HALF, &mut search)
            .unwrap_or(LeafSearch::Past)
    }

    fn leaf_in(
        &self,
        table: Table,
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

/// Homes that an entry looks at beside what it does, at some 11 instructions each.
const HOMES_BESIDE: usize = 64;

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
    let own = image.0 + crate::image::shared_offset();
    let is_own = target.0.wrapping_sub(own) < SharedPages::BYTES;
    let is_table = address.wrapping_sub(PEERS) < PeerTable::BYTES;
    let is_shared = is_own || is_table || (SHARED..WINDOW).contains(&address);
    kind.set(KernelLeaf::DOORBELL, is_shared);
    kind
}
