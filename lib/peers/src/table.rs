//! Which kernel runs on which core in which home memory.
//!
//! One table a machine. The boot driver places it, zeroes it and fills in the cores that
//! the device tree knows; the boot core's kernel enters itself before it enters EL0;
//! every other kernel is entered by the kernel that starts its core, which finds all of
//! it in a sealed CoreImage. What an entry says stands for as long as the core runs.
//!
//! So a kernel knows of every other where its shared pages are (at the same offset in
//! every home), how its core is interrupted, and which memory is its home, without
//! anybody in user space having said so. To enter a core costs the same whether there
//! are 2 or 512; a look-up by kernel id is one line, a look for homes in a range passes
//! over as many entries as kernels have been started, and [`Gap`] makes that rare.
//!
//! Ordering: an entry's words are written before its state is released, and a home's
//! coming and going changes `PeerTable::generation` afterwards.

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

/// A piece of home memory that a kernel has adopted.
///
/// `place`: its first byte, which is that of a page, and 1 + the kernel's id; 0 for none.
#[repr(C)]
#[derive(Debug)]
struct AdoptedEntry {
    place: AtomicU64,
    bytes: AtomicU64,
}

/// How many pieces all kernels together can have adopted.
const ADOPTED: usize = 1024;
/// In [`AdoptedEntry`]'s `place`: somebody writes the entry.
const WRITTEN: u64 = PAGE_SIZE - 1;

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
    adopted: [AdoptedEntry; ADOPTED],
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
        (CORES_OFFSET + 96 * LIMIT as u64 + 16 * ADOPTED as u64).next_multiple_of(PAGE_SIZE);

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
            adopted: core::array::from_fn(|_| AdoptedEntry {
                place: zero(),
                bytes: zero(),
            }),
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

    /// Enters `kernel`, which is to run on `mpidr` in `home`, started by `starter`: from
    /// now on no other has this id, this core, or a home there. Nobody starts the boot
    /// core.
    ///
    /// # Errors
    /// See [`PeerError`]; nothing has changed then. The boot core may be one that the
    /// device tree doesn't know: `NoSuchCore` is for others.
    pub fn enter(
        &self,
        kernel: KernelId,
        mpidr: Mpidr,
        home: Home,
        starter: Option<KernelId>,
    ) -> Result<(), PeerError> {
        let entry = self.kernel(kernel).ok_or(PeerError::NoSuchKernel)?;
        if home.bytes == 0 || home.base.0.checked_add(home.bytes).is_none() {
            return Err(PeerError::HomeInUse);
        }
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
        if self.homes().any(|other| other.meets(home.base, home.bytes)) {
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
        // Pairs with the loads in `known` and `homes`.
        entry.state.store(KNOWN, Ordering::Release);
        // Pairs with the load in `generation`: whoever sees the number sees the home.
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Takes back what [`PeerTable::enter`] did, for a core that didn't start.
    pub fn withdraw(&self, kernel: KernelId, mpidr: Mpidr) {
        if let Ok(core) = self.core(mpidr)
            && core.kernel.load(Ordering::Relaxed) == u64::from(kernel.0) + 1
        {
            core.kernel.store(FREE, Ordering::Release);
        }
        if let Some(entry) = self.kernel(kernel) {
            entry.state.store(FREE, Ordering::Release);
            self.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// Enters a piece of memory, in whole pages, that `kernel` has as home memory from now on,
    /// too.
    ///
    /// # Errors
    /// `HomeInUse` for what is some kernel's home already, or isn't whole pages; `Full` while
    /// there are as many pieces as can be.
    pub fn adopt(&self, kernel: KernelId, home: Home) -> Result<(), PeerError> {
        let is_whole = home.base.is_aligned(PAGE_SIZE) && home.bytes.is_multiple_of(PAGE_SIZE);
        if !is_whole || home.bytes == 0 || self.meets_home(home.base, home.bytes) {
            return Err(PeerError::HomeInUse);
        }
        // Acquire: what an earlier holder of the entry wrote comes before what we write.
        let claim = |entry: &&AdoptedEntry| {
            let (order, failed) = (Ordering::AcqRel, Ordering::Relaxed);
            let claimed = entry.place.compare_exchange(FREE, WRITTEN, order, failed);
            claimed.is_ok()
        };
        let mut entries = (1_u64..).zip(&self.adopted);
        let (end, entry) = entries
            .find(|(_, entry)| claim(entry))
            .ok_or(PeerError::Full)?;
        entry.bytes.store(home.bytes, Ordering::Relaxed);
        self.adopted_end.fetch_max(end, Ordering::Relaxed);
        // Pairs with the load in `AdoptedEntry::get`.
        let place = home.base.0 | (u64::from(kernel.0) + 1);
        entry.place.store(place, Ordering::Release);
        // Pairs with the load in `is_no_home`: whoever sees the number sees the home.
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// `kernel` has the piece at `base` as its home no more. Whether it had.
    pub fn release(&self, kernel: KernelId, base: PhysAddr) -> bool {
        let place = base.0 | (u64::from(kernel.0) + 1);
        let is_it = |entry: &&AdoptedEntry| entry.place.load(Ordering::Relaxed) == place;
        let Some(entry) = self.adopted.iter().find(is_it) else {
            return false;
        };
        // Its kernel alone changes it; the next one acquires it.
        entry.place.store(FREE, Ordering::Release);
        self.generation.fetch_add(1, Ordering::Release);
        true
    }

    /// Whether all of `[address, address + bytes)` is `kernel`'s home: what it was started
    /// with, or a piece that it has adopted.
    #[must_use]
    pub fn is_home_of(&self, kernel: KernelId, address: PhysAddr, bytes: u64) -> bool {
        let adopted = self.adopted().filter(|(owner, _)| *owner == kernel);
        let mut homes = self
            .home(kernel)
            .into_iter()
            .chain(adopted.map(|(_, home)| home));
        homes.any(|home| home.contains(address, bytes))
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
        self.homes().any(|home| home.meets(address, bytes))
    }

    /// Whether none of the page at `page` is any kernel's home, or in `except`, which is
    /// the same in every call with that `gap`: it remembers around what it was asked last.
    #[inline]
    pub fn is_no_home(&self, page: PhysAddr, except: Home, gap: &mut Gap) -> bool {
        let end = page.0.saturating_add(PAGE_SIZE);
        // Pairs with the additions in `enter` and `withdraw`.
        let generation = self.generation.load(Ordering::Acquire);
        if gap.generation == generation && gap.start <= page.0 && end <= gap.end {
            return true;
        }
        self.look_around(page, end, generation, except, gap)
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
        let (mut start, mut limit) = (0, u64::MAX);
        for home in self.homes().chain([except]) {
            if home.end() <= page.0 {
                start = home.end().max(start);
            } else if home.base.0 >= end {
                limit = home.base.0.min(limit);
            } else {
                return false;
            }
        }
        *gap = Gap {
            start,
            end: limit,
            generation,
        };
        true
    }

    /// What kernels have adopted.
    fn adopted(&self) -> impl Iterator<Item = (KernelId, Home)> + '_ {
        let end = self.adopted_end.load(Ordering::Relaxed);
        let end = usize::try_from(end).map_or(ADOPTED, |end| end.min(ADOPTED));
        let used = self.adopted.get(..end).unwrap_or(&self.adopted);
        used.iter().filter_map(AdoptedEntry::get)
    }

    fn homes(&self) -> impl Iterator<Item = Home> + '_ {
        let end = self.end.load(Ordering::Relaxed);
        let end = usize::try_from(end).map_or(LIMIT, |end| end.min(LIMIT));
        let started = self.kernels.get(..end).unwrap_or(&self.kernels).iter();
        started
            .filter(|entry| entry.is_known())
            .map(KernelEntry::home)
            .chain(self.adopted().map(|(_, home)| home))
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

impl AdoptedEntry {
    fn get(&self) -> Option<(KernelId, Home)> {
        // Pairs with the store in `adopt`.
        let place = self.place.load(Ordering::Acquire);
        let number = u16::try_from(place % PAGE_SIZE).ok()?;
        let kernel = number.checked_sub(1).map(KernelId)?;
        let home = Home {
            base: PhysAddr(place).align_down(PAGE_SIZE),
            bytes: self.bytes.load(Ordering::Relaxed),
        };
        (kernel.0 < KernelId::LIMIT).then_some((kernel, home))
    }
}

impl KernelEntry {
    fn is_known(&self) -> bool {
        // Pairs with the store in `enter`.
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
