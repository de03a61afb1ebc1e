//! Which kernel runs on which core in which home memory.
//!
//! One table a machine. The boot driver places it, zeroes it and fills in the cores that
//! the device tree knows; the boot core's kernel enters itself before it enters EL0;
//! every other kernel is entered by the kernel that starts its core, which finds all of
//! it in a sealed CoreImage.
//!
//! That is done in two steps, since firmware may refuse. First id, core and home are
//! *reserved*: nobody else gets them, and the home is no memory that a window shows. Once the
//! core has been released the kernel is *announced*, by whoever comes first of its starter and
//! itself, and known to others. So what an entry says of a kernel that is known stands for as
//! long as the machine runs: what others have mapped of it stays what it is, and nobody has
//! mapped anything of a kernel whose start was withdrawn.
//!
//! So a kernel knows of every other where its shared pages are (at the same offset in
//! every home), how its core is interrupted, and which memory is its home, without
//! anybody in user space having said so. To enter a core costs the same whether there
//! are 2 or 512; a look-up by kernel id is one line, a look for homes in a range passes
//! over a word for each kernel that has been started and each piece that was adopted, at
//! some 8 instructions, and [`Gap`] makes that rare.
//!
//! Ordering: an entry's words are written before its state is released. A home is one word
//! in `Span`s beside, whole or not there; its coming and going changes
//! `PeerTable::generation` afterwards.

use capelin_abi::{KernelId, Mpidr, PAGE_SIZE, PhysAddr};

use crate::sync::{AtomicU64, Ordering};

/// How many kernels, and cores, there can be.
const LIMIT: usize = KernelId::LIMIT as usize;

/// Bytes from the table's start to the first core.
pub const CORES_OFFSET: u64 = 64;

const FREE: u64 = 0;
/// Somebody writes the entry.
const CLAIMED: u64 = 1;
const KNOWN: u64 = 2;
/// Its starter has written the entry, and asks firmware.
const RESERVED: u64 = 3;

/// A core as the device tree describes it. `is_known` isn't 0 in those that exist.
#[repr(C)]
#[derive(Debug)]
struct CoreEntry {
    is_known: AtomicU64,
    mpidr: AtomicU64,
    release: AtomicU64,
    /// 1 + the kernel that runs on it; 0 for none.
    kernel: AtomicU64,
}

/// A kernel, in a cache line of its own.
#[repr(C, align(64))]
#[derive(Debug)]
struct KernelEntry {
    state: AtomicU64,
    home_base: AtomicU64,
    home_bytes: AtomicU64,
    mpidr: AtomicU64,
    /// The core's bit in GICv2's target masks, which only it can find out: written by
    /// the kernel itself.
    gicv2_mask: AtomicU64,
    /// 1 + the kernel that started it; 0 for none.
    starter: AtomicU64,
    reserved: [u64; 2],
}

/// How many pieces all kernels together can have adopted.
const ADOPTED: usize = 1024;

/// Bits of the first page's number in a [`Span`]: homes lie below 2⁴⁷.
const PAGE_BITS: u32 = 35;
/// Where the number of pages begins in that of a kernel's first home.
const FIRST: u32 = PAGE_BITS;
/// The same in that of a piece that was adopted: whose it is stands between.
const PIECE: u32 = 49;

/// A home in one word: its first page in bits 34:0, its pages from bit `AT` on, and between,
/// 1 + the kernel's id. 0 for none: a home of no pages.
#[derive(Debug)]
#[repr(transparent)]
struct Span<const AT: u32>(AtomicU64);

/// Words of homes looked at in one turn.
const TURN: usize = 8;
const _: () = assert!(LIMIT.is_multiple_of(TURN) && ADOPTED.is_multiple_of(TURN));

/// A home, or what is asked about, in pages: `[start, end)`.
#[derive(Clone, Copy)]
struct Pages {
    start: u64,
    end: u64,
}

impl Pages {
    /// All that have a byte of `[address, address + bytes)`.
    const fn around(address: u64, bytes: u64) -> Self {
        let last = address.saturating_add(bytes.saturating_sub(1)) / PAGE_SIZE;
        Self {
            start: address / PAGE_SIZE,
            end: last + if bytes == 0 { 0 } else { 1 },
        }
    }

    /// Those of a home.
    const fn of(home: Home) -> Self {
        Self::around(home.base.0, home.bytes)
    }

    /// Whether it has any page of `other`, which isn't empty.
    #[inline(always)]
    const fn meets(self, other: Self) -> bool {
        self.start < other.end && self.end > other.start
    }
}

impl<const AT: u32> Span<AT> {
    /// The word of `home`, in whole pages, that is `owner`'s; `None` for one that has no
    /// room in it.
    fn word(home: Home, owner: u64) -> Option<u64> {
        let (page, pages) = (home.base.0 / PAGE_SIZE, home.bytes / PAGE_SIZE);
        let is_whole = home.base.is_aligned(PAGE_SIZE) && home.bytes.is_multiple_of(PAGE_SIZE);
        let fits = page < 1 << PAGE_BITS && pages != 0 && pages < 1 << (u64::BITS - AT);
        (is_whole && fits).then_some(page | owner << PAGE_BITS | pages << AT)
    }

    const fn pages_of(word: u64) -> Pages {
        let start = word & ((1 << PAGE_BITS) - 1);
        Pages {
            start,
            end: start + (word >> AT),
        }
    }

    /// Its pages. What it is, one word says: whoever wants to see what has come before a
    /// generation has acquired that (`PeerTable::generation`).
    #[inline(always)]
    fn pages(&self) -> Pages {
        Self::pages_of(self.0.load(Ordering::Relaxed))
    }

    /// Whether `condition` holds for all of these, which are whole turns.
    #[inline(always)]
    fn all(spans: &[Self], mut condition: impl FnMut(Pages) -> bool) -> bool {
        let mut turns = spans.as_chunks::<TURN>().0.iter();
        turns.all(|turn| turn.iter().all(|span| condition(span.pages())))
    }
}

impl Span<PIECE> {
    /// Whose piece a word says that it is: 1 + the kernel's id.
    const fn owner_of(word: u64) -> u64 {
        word >> PAGE_BITS & ((1 << (PIECE - PAGE_BITS)) - 1)
    }
}

/// See the module documentation.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct PeerTable {
    /// Changes whenever a home comes or goes.
    generation: AtomicU64,
    /// One more than the largest kernel id that was ever entered.
    end: AtomicU64,
    /// One more than the number of the last entry of `adopted` that was ever used.
    adopted_end: AtomicU64,
    reserved: [u64; 5],
    cores: [CoreEntry; LIMIT],
    kernels: [KernelEntry; LIMIT],
    /// By kernel id, the home memory that it was started with.
    first: [Span<FIRST>; LIMIT],
    /// What kernels have adopted.
    adopted: [Span<PIECE>; ADOPTED],
}

/// A kernel's home memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Home {
    /// First byte.
    pub base: PhysAddr,
    /// Bytes.
    pub bytes: u64,
}

/// Addresses in which no home lies, as of a generation of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    start: u64,
    end: u64,
    generation: u64,
}

/// Why a core isn't entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerError {
    /// No kernel has such an id.
    NoSuchKernel,
    /// The kernel id is in use.
    KernelInUse,
    /// The device tree knows no such core.
    NoSuchCore,
    /// A kernel runs on the core.
    CoreInUse,
    /// The memory overlaps another kernel's home, or isn't any.
    HomeInUse,
    /// As many pieces of home memory are adopted as can be.
    Full,
}

impl Home {
    /// The first byte behind it; homes lie below 2⁶³.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.base.0.saturating_add(self.bytes)
    }

    /// Whether all of `[address, address + bytes)` lies in it.
    #[must_use]
    pub const fn contains(&self, address: PhysAddr, bytes: u64) -> bool {
        let offset = address.0.wrapping_sub(self.base.0);
        offset < self.bytes && bytes <= self.bytes - offset
    }

    /// Whether any byte of `[address, address + bytes)` lies in it.
    #[must_use]
    pub const fn meets(&self, address: PhysAddr, bytes: u64) -> bool {
        address.0 < self.end() && self.base.0 < address.0.saturating_add(bytes)
    }
}

impl Gap {
    /// In which nothing lies.
    pub const NONE: Self = Self {
        start: 0,
        end: 0,
        generation: 0,
    };
}

/// The words of a core's entry, as the boot driver writes them; `release` is its
/// spin-table release address, if it has one.
#[must_use]
pub const fn core_words(mpidr: Mpidr, release: Option<PhysAddr>) -> [u64; 4] {
    let release = match release {
        Some(address) => address.0,
        None => 0,
    };
    [1, mpidr.0, release, 0]
}

impl PeerTable {
    /// Bytes of a table: whole pages.
    pub const BYTES: u64 =
        (CORES_OFFSET + 104 * LIMIT as u64 + 8 * ADOPTED as u64).next_multiple_of(PAGE_SIZE);

    /// A table in which nobody runs, on a machine with these cores and their spin-table
    /// release addresses. For tests: the boot driver writes [`core_words`].
    #[must_use]
    pub fn new(cores: &[(Mpidr, Option<PhysAddr>)]) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            generation: zero(),
            end: zero(),
            adopted_end: zero(),
            reserved: [0; 5],
            cores: core::array::from_fn(|number| {
                let words = cores.get(number).map(|&(mpidr, at)| core_words(mpidr, at));
                let [is_known, mpidr, release, kernel] =
                    words.unwrap_or_default().map(AtomicU64::new);
                CoreEntry {
                    is_known,
                    mpidr,
                    release,
                    kernel,
                }
            }),
            kernels: core::array::from_fn(|_| KernelEntry {
                state: zero(),
                home_base: zero(),
                home_bytes: zero(),
                mpidr: zero(),
                gicv2_mask: zero(),
                starter: zero(),
                reserved: [0; 2],
            }),
            first: core::array::from_fn(|_| Span(zero())),
            adopted: core::array::from_fn(|_| Span(zero())),
        }
    }

    /// The spin-table release address of core `mpidr`; `None` where there is none.
    ///
    /// # Errors
    /// `NoSuchCore`.
    pub fn release_address(&self, mpidr: Mpidr) -> Result<Option<PhysAddr>, PeerError> {
        let release = self.core(mpidr)?.release.load(Ordering::Relaxed);
        Ok((release != 0).then_some(PhysAddr(release)))
    }

    /// The pages with release addresses: cores that haven't been started jump to what
    /// they find there.
    pub fn release_pages(&self) -> impl Iterator<Item = PhysAddr> + '_ {
        let cores = self.cores.iter();
        cores
            .filter(|core| core.is_known.load(Ordering::Relaxed) != 0)
            .map(|core| PhysAddr(core.release.load(Ordering::Relaxed)))
            .filter(|release| release.0 != 0)
            .map(|release| release.align_down(PAGE_SIZE))
    }

    /// Enters `kernel`, which runs on `mpidr` in `home`, started by `starter`; nobody starts
    /// the boot core.
    ///
    /// # Errors
    /// As [`PeerTable::reserve`].
    pub fn enter(
        &self,
        kernel: KernelId,
        mpidr: Mpidr,
        home: Home,
        starter: Option<KernelId>,
    ) -> Result<(), PeerError> {
        self.reserve(kernel, mpidr, home, starter)?;
        self.announce(kernel);
        Ok(())
    }

    /// Reserves the id of `kernel`, which is to run on `mpidr` in `home`, started by `starter`:
    /// from now on no other has this id, this core, or a home there. Nobody sees the kernel
    /// itself yet: [`PeerTable::announce`] or [`PeerTable::withdraw`] follows.
    ///
    /// # Errors
    /// See [`PeerError`]; nothing has changed then. The boot core may be one that the
    /// device tree doesn't know: `NoSuchCore` is for others.
    pub fn reserve(
        &self,
        kernel: KernelId,
        mpidr: Mpidr,
        home: Home,
        starter: Option<KernelId>,
    ) -> Result<(), PeerError> {
        let entry = self.kernel(kernel).ok_or(PeerError::NoSuchKernel)?;
        let first = self.first.get(usize::from(kernel.0));
        let first = first.ok_or(PeerError::NoSuchKernel)?;
        let span = Span::<FIRST>::word(home, 0).ok_or(PeerError::HomeInUse)?;
        let core = match self.core(mpidr) {
            Ok(core) => Some(core),
            Err(_) if starter.is_none() => None,
            Err(error) => return Err(error),
        };
        // Acquire: what an earlier holder of the entry wrote comes before what we write.
        let exchange = |word: &AtomicU64, from, to| {
            word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        };
        if !exchange(&entry.state, FREE, CLAIMED) {
            return Err(PeerError::KernelInUse);
        }
        if !core.is_none_or(|core| exchange(&core.kernel, FREE, u64::from(kernel.0) + 1)) {
            entry.state.store(FREE, Ordering::Release);
            return Err(PeerError::CoreInUse);
        }
        if self.meets_home(home.base, home.bytes) {
            if let Some(core) = core {
                core.kernel.store(FREE, Ordering::Release);
            }
            entry.state.store(FREE, Ordering::Release);
            return Err(PeerError::HomeInUse);
        }
        entry.home_base.store(home.base.0, Ordering::Relaxed);
        entry.home_bytes.store(home.bytes, Ordering::Relaxed);
        entry.mpidr.store(mpidr.0, Ordering::Relaxed);
        entry.gicv2_mask.store(0, Ordering::Relaxed);
        let starter = starter.map_or(0, |starter| u64::from(starter.0) + 1);
        entry.starter.store(starter, Ordering::Relaxed);
        let end = u64::from(kernel.0) + 1;
        self.end.fetch_max(end, Ordering::Relaxed);
        first.0.store(span, Ordering::Relaxed);
        // Pairs with the exchange in `announce`.
        entry.state.store(RESERVED, Ordering::Release);
        // Pairs with the load in `is_no_home`: whoever sees the number sees the home.
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// The core of `kernel`, for which all was reserved, has been released: others know the
    /// kernel from now on. Said by its starter, and by itself before it takes anything from
    /// others: it may run before its starter goes on.
    pub fn announce(&self, kernel: KernelId) {
        if let Some(entry) = self.kernel(kernel) {
            // Acquire: pairs with the store in `reserve`. Release: pairs with the load in
            // `is_known`, which sees what was written then, whoever has announced it. One
            // that is known already stays so.
            let _ =
                entry
                    .state
                    .compare_exchange(RESERVED, KNOWN, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Takes back what [`PeerTable::reserve`] did, for a core that didn't start.
    pub fn withdraw(&self, kernel: KernelId, mpidr: Mpidr) {
        if let Ok(core) = self.core(mpidr)
            && core.kernel.load(Ordering::Relaxed) == u64::from(kernel.0) + 1
        {
            core.kernel.store(FREE, Ordering::Release);
        }
        if let (Some(entry), Some(first)) =
            (self.kernel(kernel), self.first.get(usize::from(kernel.0)))
        {
            first.0.store(0, Ordering::Relaxed);
            entry.state.store(FREE, Ordering::Release);
            self.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// Enters a piece of memory, in whole pages, less than 128 MiB, that `kernel` has as home
    /// memory from now on, too.
    ///
    /// # Errors
    /// `HomeInUse` for what is some kernel's home already, or isn't such a piece; `Full` while
    /// there are as many pieces as can be.
    pub fn adopt(&self, kernel: KernelId, home: Home) -> Result<(), PeerError> {
        let word = Span::<PIECE>::word(home, u64::from(kernel.0) + 1);
        let word = word.ok_or(PeerError::HomeInUse)?;
        if self.meets_home(home.base, home.bytes) {
            return Err(PeerError::HomeInUse);
        }
        let is_free = |span: &Span<PIECE>| span.0.load(Ordering::Relaxed) == 0;
        let claim = |span: &Span<PIECE>| {
            let order = Ordering::Relaxed;
            is_free(span) && span.0.compare_exchange(0, word, order, order).is_ok()
        };
        let turns = self.adopted.as_chunks::<TURN>().0.iter();
        let mut spans = (0_u64..)
            .zip(turns)
            .filter(|(_, turn)| turn.iter().any(is_free))
            .flat_map(|(turn, spans)| (turn * TURN as u64 + 1..).zip(spans));
        let (end, _) = spans.find(|(_, span)| claim(span)).ok_or(PeerError::Full)?;
        self.adopted_end.fetch_max(end, Ordering::Relaxed);
        // Pairs with the load in `is_no_home`: whoever sees the number sees the home.
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// `kernel` has the piece at `base` as its home no more. Whether it had.
    pub fn release(&self, kernel: KernelId, base: PhysAddr) -> bool {
        let owner = u64::from(kernel.0) + 1;
        let is_it = |span: &&Span<PIECE>| {
            let word = span.0.load(Ordering::Relaxed);
            Span::<PIECE>::owner_of(word) == owner
                && Span::<PIECE>::pages_of(word).start * PAGE_SIZE == base.0
        };
        let Some(span) = self.adopted().iter().find(is_it) else {
            return false;
        };
        // Its kernel alone changes it.
        span.0.store(0, Ordering::Relaxed);
        self.generation.fetch_add(1, Ordering::Release);
        true
    }

    /// Whether all of `[address, address + bytes)` is `kernel`'s home: what it was started
    /// with, or a piece that it has adopted.
    #[must_use]
    pub fn is_home_of(&self, kernel: KernelId, address: PhysAddr, bytes: u64) -> bool {
        if self
            .home(kernel)
            .is_some_and(|home| home.contains(address, bytes))
        {
            return true;
        }
        let asked = Pages::around(address.0, bytes);
        let owner = u64::from(kernel.0) + 1;
        self.adopted().iter().any(|span| {
            let word = span.0.load(Ordering::Relaxed);
            let pages = Span::<PIECE>::pages_of(word);
            Span::<PIECE>::owner_of(word) == owner
                && pages.start <= asked.start
                && asked.end <= pages.end
                && asked.start < pages.end
        })
    }

    /// The home memory that a kernel has been started with.
    #[must_use]
    pub fn home(&self, kernel: KernelId) -> Option<Home> {
        self.known(kernel).map(KernelEntry::home)
    }

    /// Where the kernel runs, and its bit in `GICv2`'s target masks (0 before it has
    /// found that out).
    #[must_use]
    pub fn place(&self, kernel: KernelId) -> Option<(Mpidr, u8)> {
        let entry = self.known(kernel)?;
        let mask = entry.gicv2_mask.load(Ordering::Relaxed);
        let mpidr = Mpidr(entry.mpidr.load(Ordering::Relaxed));
        Some((mpidr, u8::try_from(mask).unwrap_or(0)))
    }

    /// Whether `starter` has started `kernel`.
    #[must_use]
    pub fn is_started_by(&self, kernel: KernelId, starter: KernelId) -> bool {
        let number = u64::from(starter.0) + 1;
        self.known(kernel)
            .is_some_and(|entry| entry.starter.load(Ordering::Relaxed) == number)
    }

    /// A kernel says which bit of `GICv2`'s target masks is its core's.
    pub fn set_gicv2_mask(&self, own: KernelId, mask: u8) {
        if let Some(entry) = self.known(own) {
            entry.gicv2_mask.store(u64::from(mask), Ordering::Relaxed);
        }
    }

    /// Whether any byte of `[address, address + bytes)` is some kernel's home.
    #[must_use]
    pub fn meets_home(&self, address: PhysAddr, bytes: u64) -> bool {
        let asked = Pages::around(address.0, bytes);
        let is_apart = |home: Pages| !home.meets(asked);
        !(Span::all(self.first(), is_apart) && Span::all(self.adopted(), is_apart))
    }

    /// How many homes a look passes over, at most.
    #[must_use]
    pub fn homes_to_look_at(&self) -> usize {
        self.first().len() + self.adopted().len()
    }

    /// Whether none of the page at `page` is any kernel's home, or in `except`, which is
    /// the same in every call with that `gap`: it remembers around what it was asked last.
    #[inline]
    pub fn is_no_home(&self, page: PhysAddr, except: Home, gap: &mut Gap) -> bool {
        let end = page.0.saturating_add(PAGE_SIZE);
        // Pairs with the additions in `reserve`, `withdraw`, `adopt` and `release`.
        let generation = self.generation.load(Ordering::Acquire);
        if gap.generation == generation && gap.start <= page.0 && end <= gap.end {
            return true;
        }
        self.look_around(page, end, generation, except, gap)
    }

    /// Whether `gap` answers for the page at `page`: [`PeerTable::is_no_home`] looks at
    /// nothing then.
    #[inline]
    #[must_use]
    pub fn is_known(&self, page: PhysAddr, gap: &Gap) -> bool {
        // Pairs as in `is_no_home`. A gap ends where a page does.
        let generation = self.generation.load(Ordering::Acquire);
        gap.generation == generation && gap.start <= page.0 && page.0 < gap.end
    }

    /// Finds the gap around a page, if it is no home.
    #[cold]
    fn look_around(
        &self,
        page: PhysAddr,
        end: u64,
        generation: u64,
        except: Home,
        gap: &mut Gap,
    ) -> bool {
        let asked = Pages::around(page.0, end - page.0);
        let (mut before, mut behind) = (0, u64::MAX / PAGE_SIZE);
        let mut is_beside = |home: Pages| {
            if home.end <= asked.start {
                before = home.end.max(before);
                true
            } else {
                behind = home.start.min(behind);
                home.start >= asked.end
            }
        };
        let is_free = is_beside(Pages::of(except))
            && Span::all(self.first(), &mut is_beside)
            && Span::all(self.adopted(), &mut is_beside);
        if is_free {
            *gap = Gap {
                start: before * PAGE_SIZE,
                end: behind * PAGE_SIZE,
                generation,
            };
        }
        is_free
    }

    /// The words of the homes that kernels have been started with, up to the last: whole
    /// turns.
    fn first(&self) -> &[Span<FIRST>] {
        let end = self.end.load(Ordering::Relaxed);
        let end = usize::try_from(end).map_or(LIMIT, |end| end.next_multiple_of(TURN).min(LIMIT));
        self.first.get(..end).unwrap_or(&self.first)
    }

    /// The words of what kernels have adopted, up to the last that was ever used: whole
    /// turns.
    fn adopted(&self) -> &[Span<PIECE>] {
        let end = self.adopted_end.load(Ordering::Relaxed);
        let end =
            usize::try_from(end).map_or(ADOPTED, |end| end.next_multiple_of(TURN).min(ADOPTED));
        self.adopted.get(..end).unwrap_or(&self.adopted)
    }

    fn kernel(&self, kernel: KernelId) -> Option<&KernelEntry> {
        self.kernels.get(usize::from(kernel.0))
    }

    fn known(&self, kernel: KernelId) -> Option<&KernelEntry> {
        self.kernel(kernel).filter(|entry| entry.is_known())
    }

    fn core(&self, mpidr: Mpidr) -> Result<&CoreEntry, PeerError> {
        let is_it = |core: &&CoreEntry| {
            core.is_known.load(Ordering::Relaxed) != 0
                && core.mpidr.load(Ordering::Relaxed) == mpidr.0
        };
        self.cores.iter().find(is_it).ok_or(PeerError::NoSuchCore)
    }
}

impl KernelEntry {
    fn is_known(&self) -> bool {
        // Pairs with the exchange in `announce`.
        self.state.load(Ordering::Acquire) == KNOWN
    }

    fn home(&self) -> Home {
        Home {
            base: PhysAddr(self.home_base.load(Ordering::Relaxed)),
            bytes: self.home_bytes.load(Ordering::Relaxed),
        }
    }
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<PeerTable>() as u64 == PeerTable::BYTES);
    assert!(core::mem::offset_of!(PeerTable, cores) as u64 == CORES_OFFSET);
    assert!(size_of::<CoreEntry>() == 32 && size_of::<KernelEntry>() == 64);
};

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::boxed::Box;
    use std::vec::Vec;

    const MIB: u64 = 1 << 20;

    /// A table as the boot driver leaves it.
    fn table(cores: &[(u64, Option<u64>)]) -> Box<PeerTable> {
        let cores: Vec<_> = cores
            .iter()
            .map(|&(mpidr, release)| (Mpidr(mpidr), release.map(PhysAddr)))
            .collect();
        Box::new(PeerTable::new(&cores))
    }

    fn home(base: u64, bytes: u64) -> Home {
        Home {
            base: PhysAddr(base),
            bytes,
        }
    }

    fn enter(table: &PeerTable, kernel: u16, mpidr: u64, base: u64) -> Result<(), PeerError> {
        let home = home(base, 2 * MIB);
        table.enter(KernelId(kernel), Mpidr(mpidr), home, Some(KernelId(9)))
    }

    #[test]
    fn what_is_adopted_is_home_until_it_is_given_up() {
        let table = table(&[(0, None), (0x100, None)]);
        assert_eq!(enter(&table, 3, 0x100, 64 * MIB), Ok(()));
        let (own, other) = (KernelId(3), KernelId(4));
        let mut gap = Gap::NONE;
        let page = PhysAddr(100 * MIB);
        assert!(table.is_no_home(page, home(0, 0), &mut gap));
        assert_eq!(table.adopt(own, home(100 * MIB, 2 * MIB)), Ok(()));
        assert!(!table.is_no_home(page, home(0, 0), &mut gap), "an old gap");
        assert!(table.meets_home(PhysAddr(102 * MIB - 1), 1));
        assert!(!table.meets_home(PhysAddr(102 * MIB), 1));
        assert!(table.is_home_of(own, page, 2 * MIB) && !table.is_home_of(own, page, 3 * MIB));
        assert!(table.is_home_of(own, PhysAddr(64 * MIB), 2 * MIB));
        assert!(!table.is_home_of(other, page, 1));
        // Nobody has it as well, by whichever way, nor the first home of another.
        let again = home(101 * MIB, MIB);
        assert_eq!(table.adopt(other, again), Err(PeerError::HomeInUse));
        assert_eq!(
            table.adopt(other, home(65 * MIB, MIB)),
            Err(PeerError::HomeInUse)
        );
        assert_eq!(enter(&table, 4, 0, 100 * MIB), Err(PeerError::HomeInUse));
        assert_eq!(table.adopt(own, home(7, MIB)), Err(PeerError::HomeInUse));
        assert!(!table.release(other, page), "another's");
        assert!(table.release(own, page) && !table.release(own, page));
        assert!(table.is_no_home(page, home(0, 0), &mut gap));
        for piece in 0..ADOPTED as u64 {
            assert_eq!(table.adopt(own, home((200 + piece) * MIB, MIB)), Ok(()));
        }
        assert_eq!(table.adopt(own, home(100 * MIB, MIB)), Err(PeerError::Full));
        assert!(table.release(own, PhysAddr(777 * MIB)));
        assert_eq!(table.adopt(own, home(100 * MIB, MIB)), Ok(()));
    }

    /// While firmware is asked nobody else can have the id, the core or the memory, and nobody
    /// sees anything of the kernel; nor is anything left of it when its start is withdrawn.
    #[test]
    fn a_kernel_is_known_once_it_is_announced() {
        let table = table(&[(0, None), (0x100, None)]);
        let (own, mpidr, at) = (KernelId(4), Mpidr(0x100), PhysAddr(4 * MIB));
        let first = home(at.0, 2 * MIB);
        let mut gap = Gap::NONE;
        for is_refused in [true, false] {
            assert!(table.is_no_home(at, home(0, 0), &mut gap));
            assert_eq!(table.reserve(own, mpidr, first, Some(KernelId(9))), Ok(()));
            assert_eq!((table.home(own), table.place(own)), (None, None));
            assert!(!table.is_started_by(own, KernelId(9)));
            assert!(!table.is_home_of(own, at, 1));
            assert!(table.meets_home(at, 1) && !table.is_no_home(at, home(0, 0), &mut gap));
            for (kernel, core, base, why) in [
                (4, 0, 8 * MIB, PeerError::KernelInUse),
                (5, 0x100, 8 * MIB, PeerError::CoreInUse),
                (5, 0, 5 * MIB, PeerError::HomeInUse),
            ] {
                assert_eq!(enter(&table, kernel, core, base), Err(why));
            }
            if is_refused {
                table.withdraw(own, mpidr);
                table.announce(own);
                assert_eq!(table.home(own), None, "nobody has the id");
            }
        }
        // By its starter and by itself, in any order.
        for _ in 0..2 {
            table.announce(own);
            assert_eq!(table.home(own), Some(first));
            assert!(table.is_started_by(own, KernelId(9)));
        }
        assert_eq!(enter(&table, 4, 0, 8 * MIB), Err(PeerError::KernelInUse));
    }

    #[test]
    fn a_kernel_is_known_once_it_is_entered() {
        let table = table(&[(0, None), (0x100, Some(0xd8))]);
        assert_eq!(table.home(KernelId(4)), None);
        assert_eq!(table.place(KernelId(4)), None);
        assert_eq!(enter(&table, 4, 0x100, 4 * MIB), Ok(()));
        assert_eq!(table.home(KernelId(4)), Some(home(4 * MIB, 2 * MIB)));
        assert_eq!(table.place(KernelId(4)), Some((Mpidr(0x100), 0)));
        table.set_gicv2_mask(KernelId(4), 0x80);
        assert_eq!(table.place(KernelId(4)), Some((Mpidr(0x100), 0x80)));
        for (kernel, starter, is_so) in [(4, 9, true), (4, 8, false), (5, 9, false)] {
            let started = table.is_started_by(KernelId(kernel), KernelId(starter));
            assert_eq!(started, is_so, "{kernel} by {starter}");
        }
        // Nobody whom nobody knows.
        table.set_gicv2_mask(KernelId(5), 1);
        for unknown in [0, 3, 5, 511, 512, u16::MAX] {
            assert_eq!(table.place(KernelId(unknown)), None);
            assert_eq!(table.home(KernelId(unknown)), None);
        }
    }

    #[test]
    fn ids_cores_and_homes_are_had_once() {
        let table = table(&[(0, None), (1, None), (2, None)]);
        assert_eq!(enter(&table, 1, 1, 4 * MIB), Ok(()));
        assert_eq!(enter(&table, 1, 2, 8 * MIB), Err(PeerError::KernelInUse));
        assert_eq!(enter(&table, 2, 1, 8 * MIB), Err(PeerError::CoreInUse));
        assert_eq!(enter(&table, 2, 9, 8 * MIB), Err(PeerError::NoSuchCore));
        assert_eq!(enter(&table, 512, 2, 8 * MIB), Err(PeerError::NoSuchKernel));
        for base in [3 * MIB, 4 * MIB, 6 * MIB - 1] {
            assert_eq!(enter(&table, 2, 2, base), Err(PeerError::HomeInUse));
        }
        let nothing = [home(8 * MIB, 0), home(u64::MAX - MIB, 2 * MIB)];
        for home in nothing {
            let entered = table.enter(KernelId(2), Mpidr(2), home, Some(KernelId(9)));
            assert_eq!(entered, Err(PeerError::HomeInUse));
        }
        // A refusal leaves id and core free.
        assert_eq!(enter(&table, 2, 2, 6 * MIB), Ok(()));
    }

    #[test]
    fn what_did_not_start_is_free_again() {
        let table = table(&[(0, None), (1, None)]);
        assert_eq!(enter(&table, 1, 1, 4 * MIB), Ok(()));
        table.withdraw(KernelId(1), Mpidr(1));
        assert_eq!(table.home(KernelId(1)), None);
        assert!(!table.meets_home(PhysAddr(4 * MIB), 1));
        assert_eq!(enter(&table, 0, 1, 4 * MIB), Ok(()));
        // Somebody else's core isn't freed.
        table.withdraw(KernelId(1), Mpidr(1));
        assert_eq!(enter(&table, 3, 1, 8 * MIB), Err(PeerError::CoreInUse));
    }

    #[test]
    fn the_boot_core_may_be_unknown_to_the_tree() {
        let table = table(&[]);
        let home = home(2 * MIB, 2 * MIB);
        let entered = table.enter(KernelId(0), Mpidr(7), home, None);
        assert_eq!(entered, Ok(()));
        assert_eq!(table.place(KernelId(0)), Some((Mpidr(7), 0)));
        assert!((0..512).all(|starter| !table.is_started_by(KernelId(0), KernelId(starter))));
    }

    #[test]
    fn release_addresses_are_the_trees() {
        let table = table(&[(0, None), (1, Some(0xe0)), (0x300, Some(0x0100_00f8))]);
        assert_eq!(table.release_address(Mpidr(0)), Ok(None));
        assert_eq!(table.release_address(Mpidr(1)), Ok(Some(PhysAddr(0xe0))));
        assert_eq!(table.release_address(Mpidr(2)), Err(PeerError::NoSuchCore));
        let pages: Vec<u64> = table.release_pages().map(|page| page.0).collect();
        assert_eq!(pages, [0, 0x0100_0000]);
    }

    /// What isn't a home and is refused all the same.
    const EXCEPT: Home = Home {
        base: PhysAddr(7 * MIB),
        bytes: 13 << 12,
    };

    /// Every page around every home, against the homes themselves; with the gap kept,
    /// and after homes have come and gone.
    #[test]
    fn no_page_of_a_home_is_let_through() {
        let table = table(&[(0, None), (1, None), (2, None), (3, None)]);
        let mut gap = Gap::NONE;
        let mut homes: Vec<Home> = Vec::new();
        let mut check = |homes: &[Home], table: &PeerTable| {
            for page in (0..20 * MIB)
                .step_by(1 << 16)
                .chain([u64::MAX - 4095, u64::MAX])
            {
                for page in [page, page.wrapping_add(4096), page | 1] {
                    let met = homes.iter().any(|home| home.meets(PhysAddr(page), 4096));
                    assert_eq!(
                        table.is_no_home(PhysAddr(page), EXCEPT, &mut gap),
                        !met && !EXCEPT.meets(PhysAddr(page), 4096),
                        "{page:#x}"
                    );
                    assert_eq!(table.meets_home(PhysAddr(page), 4096), met);
                }
            }
        };
        check(&homes, &table);
        for (kernel, base) in [(3, 10), (0, 4), (2, 12), (1, 0)] {
            enter(&table, kernel, kernel.into(), base * MIB).unwrap();
            homes.push(home(base * MIB, 2 * MIB));
            check(&homes, &table);
        }
        table.withdraw(KernelId(0), Mpidr(0));
        homes.remove(1);
        check(&homes, &table);
    }

    /// All kernels, and all pieces that there can be, at odd places and of odd sizes: what is
    /// said of pages around each is what the homes themselves say.
    #[test]
    fn a_full_table_tells_homes_apart() {
        let cores: Vec<_> = (0..512).map(|core| (core, None)).collect();
        let table = table(&cores);
        let mut homes = Vec::new();
        let mut at = 64 * MIB;
        let mut place = |pages: u64, gap: u64| {
            let home = home(at, pages << 12);
            at = home.end() + (gap << 12);
            home
        };
        for number in 0..512_u16 {
            let home = place(512 + u64::from(number % 3), u64::from(number) % 5);
            let entered = table.enter(
                KernelId(number),
                Mpidr(number.into()),
                home,
                Some(KernelId(9)),
            );
            assert_eq!(entered, Ok(()));
            homes.push(home);
        }
        let pieces: Vec<Home> = (0..ADOPTED as u64)
            .map(|number| place(1 + number * 37 % 16384, number % 4))
            .collect();
        // Backwards, so that words aren't in the order of addresses.
        for (number, &piece) in (0_u16..).zip(pieces.iter().rev()) {
            assert_eq!(table.adopt(KernelId(number % 512), piece), Ok(()));
        }
        assert_eq!(table.homes_to_look_at(), 1536);
        homes.extend(&pieces);
        let last = PhysAddr((1 << 47) - (64 * MIB));
        let mut gap = Gap::NONE;
        for (number, of) in homes.iter().enumerate() {
            for page in [of.base.0 - 4096, of.base.0, of.end() - 4096, of.end()] {
                let page = PhysAddr(page);
                let met = |home: &&Home| home.meets(page, PAGE_SIZE);
                // They are in ascending order: no others can.
                let near = &homes[number.saturating_sub(2)..homes.len().min(number + 3)];
                let is_home = near.iter().any(|home| met(&home));
                assert_eq!(table.meets_home(page, PAGE_SIZE), is_home, "{page:?}");
                assert_eq!(
                    table.is_no_home(page, EXCEPT, &mut gap),
                    !is_home,
                    "{page:?}"
                );
                assert_eq!(table.is_known(page, &gap), !is_home, "{page:?}");
            }
        }
        assert!(table.is_no_home(last, EXCEPT, &mut gap));
        // Each is its kernel's, and nobody else's.
        for (number, piece) in (0_u16..).zip(pieces.iter().rev()) {
            let (own, other) = (KernelId(number % 512), KernelId((number + 1) % 512));
            assert!(table.is_home_of(own, piece.base, piece.bytes));
            assert!(!table.is_home_of(other, piece.base, 1));
            assert!(!table.is_home_of(own, piece.base, piece.bytes + 1));
        }
        let piece = pieces[700];
        let owner = KernelId(1023 - 700);
        assert!(!table.release(KernelId(0), piece.base));
        assert!(table.release(owner, piece.base));
        assert!(!table.meets_home(piece.base, piece.bytes));
        assert!(!table.is_known(last, &gap), "something went");
        assert_eq!(table.adopt(KernelId(511), piece), Ok(()));
        let more = home(last.0, 4096);
        assert_eq!(table.adopt(KernelId(511), more), Err(PeerError::Full));
        // What has no room in a word isn't a home.
        assert!(table.release(KernelId(511), piece.base));
        for (base, bytes) in [(1 << 47, 4096), (last.0, 128 * MIB), (last.0, 0)] {
            let refused = table.adopt(KernelId(511), home(base, bytes));
            assert_eq!(refused, Err(PeerError::HomeInUse));
        }
    }

    #[test]
    fn a_home_that_comes_ends_a_remembered_gap() {
        let table = table(&[(0, None)]);
        let mut gap = Gap::NONE;
        let page = PhysAddr(4 * MIB);
        assert!(table.is_no_home(page, EXCEPT, &mut gap));
        enter(&table, 0, 0, 4 * MIB).unwrap();
        assert!(!table.is_no_home(page, EXCEPT, &mut gap));
        assert!(!table.is_no_home(PhysAddr(4 * MIB - 1), EXCEPT, &mut gap));
    }
}
