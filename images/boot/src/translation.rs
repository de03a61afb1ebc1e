//! Turning MMU and caches on and off, and mapping what is about to be used.

#![expect(
    unsafe_code,
    reason = "changes what addresses mean; the pool of tables"
)]

use core::cell::UnsafeCell;

use capelin_aarch64::identity::{self, Extent, Regime};
use capelin_aarch64::tlb;
use capelin_abi::PhysAddr;
use capelin_boot::BootError;
use capelin_boot::map::{IdentityMap, Table, Tables};
use capelin_dt::Region;
use capelin_vspace::{
    Access, Descriptor, DescriptorError, ENTRIES, Memory, Permissions, TableLevel,
};

/// Tables. A region needs up to four, in the worst place: the image with its archive, the
/// device tree, the initrd, what is placed (home memory, the tree's copy, the table of
/// kernels) and the console have no more than 40 of these.
const POOL: usize = 96;
/// Tables that the heap's pieces leave: see [`map_heap`].
const NOT_FOR_THE_HEAP: usize = 40;

/// Memory that is read and written; never executed.
const DATA: Permissions = Permissions::KERNEL_DATA;
const DEVICE: Permissions = Permissions::kernel(Access::ReadWrite, Memory::Device);

#[repr(C, align(4096))]
struct Pool(UnsafeCell<[Table; POOL]>);

// SAFETY: one core, interrupts masked; reached through the one map only.
unsafe impl Sync for Pool {}

// SAFETY: the section is memory of its own; not zeroed, which `fresh` does.
#[unsafe(link_section = ".noinit.tables")]
static POOL_OF_TABLES: Pool = Pool(UnsafeCell::new([[0; ENTRIES]; POOL]));

/// The tables of the pool. The walker reads them at the same time, so entries are written
/// as words.
struct BootTables {
    used: usize,
    limit: usize,
    regime: Regime,
}

impl BootTables {
    /// The entry, where `table` is one of the pool's.
    fn entry(table: PhysAddr, index: usize) -> *mut u64 {
        let first = POOL_OF_TABLES.0.get();
        let offset = table.0 - first.expose_provenance() as u64;
        let number = usize::try_from(offset / 4096).map_or(0, |number| number % POOL);
        first
            .cast::<u64>()
            .wrapping_add(number * ENTRIES + index % ENTRIES)
    }
}

impl Tables for BootTables {
    fn read(&self, table: PhysAddr, index: usize) -> Descriptor {
        // SAFETY: `entry` points into the pool.
        Descriptor(unsafe { Self::entry(table, index).read_volatile() })
    }

    fn write(&mut self, table: PhysAddr, index: usize, descriptor: Descriptor) {
        // SAFETY: `entry` points into the pool, which `&mut self` alone changes.
        unsafe { Self::entry(table, index).write_volatile(descriptor.0) }
    }

    fn fresh(&mut self) -> Option<PhysAddr> {
        if self.used >= self.limit {
            return None;
        }
        let pool = POOL_OF_TABLES.0.get().expose_provenance() as u64;
        let table = PhysAddr(pool + 4096 * self.used as u64);
        self.used += 1;
        for index in 0..ENTRIES {
            self.write(table, index, Descriptor::INVALID);
        }
        Some(table)
    }

    fn leaf(
        &self,
        level: TableLevel,
        address: PhysAddr,
        permissions: Permissions,
    ) -> Result<Descriptor, DescriptorError> {
        self.regime.leaf(level, address, permissions)
    }
}

/// What is on.
enum State {
    /// Everything is reached where it is, past the caches.
    Off,
    /// What the map holds is reached, through the caches.
    On(IdentityMap<BootTables>),
}

struct Cell(UnsafeCell<State>);

// SAFETY: one core, interrupts masked; exceptions end in `report::give_up`, which may map
// a console: the map isn't in the middle of a change then, since changing it doesn't
// fault.
unsafe impl Sync for Cell {}

static STATE: Cell = Cell(UnsafeCell::new(State::Off));

fn state() -> &'static mut State {
    // SAFETY: no reference is held across a call of this module's functions.
    unsafe { &mut *STATE.0.get() }
}

/// The image in memory, by the linker script and the header.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Image {
    /// Its base: text.
    pub start: u64,
    /// Constants, which were relocated and don't change any more.
    pub constants: u64,
    /// Data, tables, stack.
    pub data: u64,
    /// The heap. What lies before may have been written already.
    pub heap: u64,
    /// The end of the boot driver's own memory.
    pub end: u64,
}

fn between(start: u64, end: u64) -> Region {
    Region::new(start, end.saturating_sub(start))
}

/// Maps the image, and turns MMU and caches on.
///
/// # Safety
/// 1. Called once, with them off; `image` is true.
/// 2. What caches held of the image up to its heap was written back and dropped before
///    anything was written there.
pub(crate) unsafe fn begin(image: &Image) -> Result<(), BootError> {
    let regime = Regime::current();
    let tables = BootTables {
        used: 0,
        limit: POOL,
        regime,
    };
    let mut map = IdentityMap::new(tables).ok_or(BootError::Unmappable(image.start))?;
    let (text, constants) = (Permissions::KERNEL_TEXT, Permissions::KERNEL_RODATA);
    map.map(between(image.start, image.constants), text)?;
    map.map(between(image.constants, image.data), constants)?;
    map.map(between(image.data, image.end), DATA)?;
    let root = map.root();
    *state() = State::On(map);
    let written = Extent {
        start: PhysAddr(image.start),
        end: PhysAddr(image.heap),
    };
    // SAFETY: they are off (1). The map holds this code, the stack and all of the image
    // (2). Up to now nothing was written elsewhere: the heap isn't in use (3).
    unsafe { identity::enter(regime, root, written) };
    Ok(())
}

/// Maps memory, or a device, that is used from now on.
fn map(region: Region, permissions: Permissions) -> Result<(), BootError> {
    if let State::On(map) = state() {
        let mapped = map.map(region, permissions);
        tlb::entries_made();
        mapped?;
    }
    Ok(())
}

/// Maps memory.
///
/// # Errors
/// [`BootError::Unmappable`].
pub(crate) fn map_memory(region: Region) -> Result<(), BootError> {
    map(region, DATA)
}

/// Maps a device's registers.
///
/// # Errors
/// [`BootError::Unmappable`].
pub(crate) fn map_device(region: Region) -> Result<(), BootError> {
    map(region, DEVICE)
}

/// Maps memory for the heap, as long as tables enough are left for everything else.
///
/// # Errors
/// [`BootError::Unmappable`].
pub(crate) fn map_heap(region: Region) -> Result<(), BootError> {
    set_limit(POOL - NOT_FOR_THE_HEAP);
    let mapped = map_memory(region);
    set_limit(POOL);
    mapped
}

fn set_limit(limit: usize) {
    if let State::On(map) = state() {
        map.tables_mut().limit = limit;
    }
}

/// Turns MMU and caches off, and enters the CPU driver at `home`, with x0 = `home`, at the
/// exception level that we are at.
///
/// # Safety
/// 1. `home` holds a CPU driver and its arguments, clean to the point of coherency, and
///    instruction fetches there see it.
/// 2. `image` is true.
pub(crate) unsafe fn leave(home: u64, image: &Image) -> ! {
    let ours = Extent {
        start: PhysAddr(image.start),
        end: PhysAddr(image.end),
    };
    // SAFETY: `begin` turned them on at this level (1). There is a CPU driver, which runs
    // past the caches (2). The image is ours (3).
    unsafe { identity::leave(Regime::current(), PhysAddr(home), ours) }
}
