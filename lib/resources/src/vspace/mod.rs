//! The program's own addresses: what it maps from [`layout::DYNAMIC_START`] on.
//!
//! | module | holds |
//! | --- | --- |
//! | here | [`map`]: tables and mappings made as needed |
//! | [`mapped`] | what is mapped: private, shared, device registers |
//! | [`window`] | a frame mapped for a while, to be looked at or filled |
//! | [`lazy`] | addresses backed by memory when they are first touched |
//!
//! Level 2 and level 3 tables are made from home memory below [`slot::VSPACE_L1`], and stay.
//! A frame of 2 MiB or more whose physical address is a multiple of that is mapped by blocks.
//! After each mapping one page is left unmapped.

pub mod lazy;
pub mod mapped;
pub mod window;

use alloc::vec::Vec;

use capelin_abi::{
    CapAddress, CapRef, ObjectType, PAGE_SIZE, VirtAddr,
    capability::VNODE_BYTES,
    layout::{self, slot},
    syscall::MapFlags,
};

use capelin_vspace::{Leaves, Plan, TableLevel};

pub use lazy::LazyMapped;
pub use mapped::{DeviceMapped, Mapped, SharedMapped, device_fence};
pub use window::Window;

use crate::{
    RtError,
    memory::{self, BLOCK_BYTES, Busy},
    ranges::Ranges,
    slots, sys,
};

/// A table that was made: its level, and where what it translates starts.
struct Table {
    level: TableLevel,
    base: VirtAddr,
    cap: CapAddress,
}

struct VSpace {
    free: Ranges,
    tables: Vec<Table>,
    prepared: bool,
}

local! {
    /// Which addresses are free, and which tables there are.
    static VSPACE: VSpace = VSpace { free: Ranges::new(), tables: Vec::new(), prepared: false };
}

impl VSpace {
    fn prepare(&mut self) -> &mut Self {
        if !core::mem::replace(&mut self.prepared, true) {
            let (start, end) = (layout::DYNAMIC_START.0, layout::DYNAMIC_END.0);
            self.free = Ranges::with(start, end - start);
        }
        self
    }
}

/// Addresses in use, and the capabilities of their mappings. Dropping it unmaps.
#[derive(Debug)]
pub struct Mapping {
    start: VirtAddr,
    bytes: u64,
    slots: Vec<CapAddress>,
}

impl Mapping {
    /// The first address.
    #[must_use]
    pub const fn start(&self) -> VirtAddr {
        self.start
    }

    /// Bytes mapped.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Changes the permissions.
    ///
    /// # Errors
    /// As [`sys::vnode::protect`].
    pub fn protect(&self, flags: MapFlags) -> Result<(), RtError> {
        for &slot in &self.slots {
            sys::vnode::protect(slot, flags)?;
        }
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let _busy = Busy::new();
        let mut is_clear = true;
        for &slot in &self.slots {
            use capelin_abi::SysError::{EmptySlot, NoSuchSlot};
            match sys::vnode::unmap(slot) {
                // It goes with its frame's last copy, too.
                Ok(()) | Err(EmptySlot | NoSuchSlot) => slots::free(slot),
                Err(_) => is_clear = false,
            }
        }
        // Addresses that couldn't be unmapped aren't used again.
        if is_clear {
            free_addresses(self.start.0, self.bytes);
        }
    }
}

fn allocate_addresses(bytes: u64, alignment: u64) -> Result<u64, RtError> {
    let with_gap = bytes
        .checked_add(PAGE_SIZE)
        .ok_or(RtError::OutOfAddresses)?;
    VSPACE
        .with(|vspace| {
            let mut vspace = vspace.borrow_mut();
            vspace.prepare().free.allocate(with_gap, alignment, 0)
        })
        .ok_or(RtError::OutOfAddresses)
}

fn free_addresses(start: u64, bytes: u64) {
    VSPACE.with(|vspace| vspace.borrow_mut().free.free(start, bytes + PAGE_SIZE));
}

/// Maps `bytes` bytes (whole pages) of frame `frame`, from `offset` on.
///
/// # Errors
/// [`RtError::InvalidSize`] unless bytes and offset are whole pages, [`RtError::OutOfAddresses`],
/// [`RtError::OutOfHomeMemory`] for a table, [`RtError::OutOfSlots`]; as [`sys::vnode::map`], such
/// as [`SysError::OutOfRange`](capelin_abi::SysError::OutOfRange) past the frame's end.
pub fn map(
    frame: CapAddress,
    offset: u64,
    bytes: u64,
    flags: MapFlags,
) -> Result<Mapping, RtError> {
    map_aligned(frame, offset, bytes, flags, PAGE_SIZE)
}

/// [`map`] at a multiple of `alignment` (a power of two).
pub(crate) fn map_aligned(
    frame: CapAddress,
    offset: u64,
    bytes: u64,
    flags: MapFlags,
    alignment: u64,
) -> Result<Mapping, RtError> {
    if bytes == 0 || !bytes.is_multiple_of(PAGE_SIZE) || !offset.is_multiple_of(PAGE_SIZE) {
        return Err(RtError::InvalidSize);
    }
    let _busy = Busy::new();
    let block = if bytes >= BLOCK_BYTES {
        let base = sys::cspace::identify(frame.into())?.base;
        let physical = base.checked_add(offset).ok_or(RtError::InvalidSize)?;
        Some(physical).filter(|physical| physical.is_aligned(BLOCK_BYTES))
    } else {
        None
    };
    let (leaves, alignment) = match block {
        Some(physical) => (Leaves::Blocks(physical), alignment.max(BLOCK_BYTES)),
        None => (Leaves::Pages, alignment),
    };
    let start = VirtAddr(allocate_addresses(bytes, alignment)?);
    // Dropped on error, it undoes what has been mapped so far.
    let mut mapping = Mapping {
        start,
        bytes,
        slots: Vec::new(),
    };
    let plan = plan(start, bytes, leaves)?;
    map_into(&mut mapping.slots, frame, offset, plan, flags)?;
    Ok(mapping)
}

/// How to map a range of the program's own.
fn plan(start: VirtAddr, bytes: u64, leaves: Leaves) -> Result<Plan, RtError> {
    Plan::new(start, bytes, leaves).map_err(|_| RtError::InvalidSize)
}

/// Maps what lies from byte `offset` of the frame on, as planned; the mappings' slots go to
/// `slots_made`.
fn map_into(
    slots_made: &mut Vec<CapAddress>,
    frame: CapAddress,
    offset: u64,
    plan: Plan,
    flags: MapFlags,
) -> Result<(), RtError> {
    for piece in plan {
        let table = table(piece.level, piece.start)?;
        let slot = slots::allocate()?;
        let made = sys::vnode::map(
            table.into(),
            frame.into(),
            piece.first,
            piece.count,
            flags,
            offset + piece.offset,
            slot,
        );
        if let Err(error) = made {
            slots::free(slot);
            return Err(error.into());
        }
        slots_made.push(slot);
    }
    Ok(())
}

/// The table of `level` (2 or 3) that covers `address`.
fn table(level: TableLevel, address: VirtAddr) -> Result<CapAddress, RtError> {
    let base = level.table_start(address);
    let known = VSPACE.with(|vspace| {
        let vspace = vspace.borrow();
        let mut tables = vspace.tables.iter();
        tables
            .find(|table| table.level == level && table.base == base)
            .map(|table| table.cap)
    });
    if let Some(cap) = known {
        return Ok(cap);
    }
    let (above, parent, kind) = match level {
        TableLevel::L3 => {
            let above = TableLevel::L2;
            (above, table(above, address)?, ObjectType::VNodeL3)
        }
        _ => (TableLevel::L1, slot::VSPACE_L1, ObjectType::VNodeL2),
    };
    let cap = slots::allocate()?;
    let own = sys::cspace::OWN;
    let place = match memory::make_object(own, cap.into(), kind, VNODE_BYTES) {
        Ok(place) => place,
        Err(error) => {
            slots::free(cap);
            return Err(error);
        }
    };
    if let Err(error) = enter_table(parent, cap, above.index(address)) {
        crate::cap::delete(cap);
        memory::release(place);
        return Err(error);
    }
    VSPACE.with(|vspace| vspace.borrow_mut().tables.push(Table { level, base, cap }));
    Ok(cap)
}

fn enter_table(parent: CapAddress, table: CapAddress, entry: usize) -> Result<(), RtError> {
    let entry = u16::try_from(entry).map_err(|_| RtError::InvalidSize)?;
    let slot = slots::allocate()?;
    let flags = MapFlags::empty();
    sys::vnode::map(CapRef::l2(parent), table.into(), entry, 1, flags, 0, slot).map_err(|error| {
        slots::free(slot);
        error.into()
    })
}
