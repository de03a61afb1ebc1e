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
    capability::{VNODE_BYTES, VNODE_ENTRIES},
    layout::{self, slot},
    syscall::MapFlags,
};

pub use lazy::LazyMapped;
pub use mapped::{DeviceMapped, Mapped, SharedMapped, device_fence};
pub use window::Window;

use crate::{
    RtError,
    memory::{self, BLOCK_BYTES, Busy},
    ranges::Ranges,
    slots, sys,
};

/// Bytes that a level 2 table covers.
const TABLE2_BYTES: u64 = 1 << 30;

struct Table {
    kind: ObjectType,
    base: u64,
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
    /// What the kernel says.
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
/// [`RtError::InvalidSize`], [`RtError::OutOfAddresses`], [`RtError::OutOfHomeMemory`] for a
/// table, [`RtError::OutOfSlots`], and what the kernel says.
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
    let by_blocks = bytes >= BLOCK_BYTES && {
        let base = sys::cspace::identify(frame.into())?.base;
        let physical = base.checked_add(offset).ok_or(RtError::InvalidSize)?;
        physical.is_aligned(BLOCK_BYTES)
    };
    let alignment = if by_blocks {
        alignment.max(BLOCK_BYTES)
    } else {
        alignment
    };
    let start = allocate_addresses(bytes, alignment)?;
    // Dropped on error, it undoes what has been mapped so far.
    let mut mapping = Mapping {
        start: VirtAddr(start),
        bytes,
        slots: Vec::new(),
    };
    map_into(
        &mut mapping.slots,
        frame,
        offset,
        start,
        bytes,
        flags,
        by_blocks,
    )?;
    Ok(mapping)
}

/// Fills the addresses from `start` on; the mappings' slots go to `slots_made`.
fn map_into(
    slots_made: &mut Vec<CapAddress>,
    frame: CapAddress,
    offset: u64,
    start: u64,
    bytes: u64,
    flags: MapFlags,
    by_blocks: bool,
) -> Result<(), RtError> {
    let mut done = 0;
    while done < bytes {
        let address = start + done;
        let left = bytes - done;
        let as_blocks = by_blocks && left >= BLOCK_BYTES;
        let (kind, unit) = if as_blocks {
            (ObjectType::VNodeL2, BLOCK_BYTES)
        } else {
            (ObjectType::VNodeL3, PAGE_SIZE)
        };
        let table = table(kind, address)?;
        let first = address / unit % VNODE_ENTRIES;
        let count = (left / unit).min(VNODE_ENTRIES - first);
        let slot = slots::allocate()?;
        let entries = u16::try_from(first).and_then(|first| Ok((first, u16::try_from(count)?)));
        let (first, count) = entries.map_err(|_| RtError::InvalidSize)?;
        let made = sys::vnode::map(
            table.into(),
            frame.into(),
            first,
            count,
            flags,
            offset + done,
            slot,
        );
        if let Err(error) = made {
            slots::free(slot);
            return Err(error.into());
        }
        slots_made.push(slot);
        done += u64::from(count) * unit;
    }
    Ok(())
}

/// The table of `kind` (level 2 or 3) that covers `address`.
fn table(kind: ObjectType, address: u64) -> Result<CapAddress, RtError> {
    let (span, parent_kind) = match kind {
        ObjectType::VNodeL2 => (TABLE2_BYTES, None),
        _ => (BLOCK_BYTES, Some(ObjectType::VNodeL2)),
    };
    let base = address & !(span - 1);
    let known = VSPACE.with(|vspace| {
        let vspace = vspace.borrow();
        let mut tables = vspace.tables.iter();
        tables
            .find(|table| table.kind == kind && table.base == base)
            .map(|table| table.cap)
    });
    if let Some(cap) = known {
        return Ok(cap);
    }
    let parent = match parent_kind {
        Some(parent) => table(parent, address)?,
        None => slot::VSPACE_L1,
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
    if let Err(error) = enter_table(parent, cap, base / span % VNODE_ENTRIES) {
        crate::cap::delete(cap);
        memory::release(place);
        return Err(error);
    }
    VSPACE.with(|vspace| vspace.borrow_mut().tables.push(Table { kind, base, cap }));
    Ok(cap)
}

fn enter_table(parent: CapAddress, table: CapAddress, entry: u64) -> Result<(), RtError> {
    let entry = u16::try_from(entry).map_err(|_| RtError::InvalidSize)?;
    let slot = slots::allocate()?;
    let flags = MapFlags::empty();
    sys::vnode::map(CapRef::l2(parent), table.into(), entry, 1, flags, 0, slot).map_err(|error| {
        slots::free(slot);
        error.into()
    })
}
