//! Home memory, as the kernel sees it.
//!
//! [`Objects`] lends what lies there by reference; what user space may write at the
//! same time is reached word by word ([`FrameWords`], [`SaveContext`]).

use capelin_abi::PhysAddr;
use capelin_cap::SlotIndex;

use crate::dcb::{Dcb, DcbRef};
use crate::scheduler::{Node, Nodes};

pub use crate::names::{Area, AreaRef, FrameRef, HomeMemory, RootRef, TableRef};

/// The table that another is attached to: nothing, the table itself for a root, or the one whose
/// entry leads to it.
///
/// Never stale: it is set when the mapping of the one in the other is made, and cleared when
/// that goes, as it does with whichever of the two tables goes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Above(Option<TableRef>);

impl Above {
    /// It isn't attached: the same as zeroed memory.
    pub const NONE: Self = Self(None);

    /// That of a table which is attached to `table`; of a root, to itself.
    #[must_use]
    pub const fn table(table: TableRef) -> Self {
        Self(Some(table))
    }

    /// The table, if there is one.
    #[inline]
    #[must_use]
    pub const fn get(self) -> Option<TableRef> {
        self.0
    }
}

/// A VNode: the table that the walker reads, and for each entry the slot of the
/// mapping that made it.
#[repr(C)]
pub struct VNode {
    /// What the hardware walks.
    pub entries: [u64; 512],
    /// Slot of the mapping capability of each entry; [`SlotIndex::NONE`] where
    /// there is none.
    pub mappings: [SlotIndex; 512],
    /// What this table is attached to. Which address space it is part of is found from there
    /// (`address_space::root_of`): a root kept here would outlive what is between.
    pub above: Above,
    /// First virtual address that the table translates.
    pub first_address: u64,
    /// Entries in use that are tables.
    pub child_tables: u64,
    /// Entries whose mapping's slot is noted: while there are none, nobody looks for one.
    pub held: u64,
    /// Root only: the ASID's generation, 0 for none yet.
    pub asid_generation: u64,
    /// Root only: the ASID.
    pub asid: u64,
    /// Up to the object's end.
    pub reserved: [u64; 250],
}

impl VNode {
    /// A table that was just made: the same as zeroed memory.
    pub const NEW: Self = Self {
        entries: [0; 512],
        mappings: [SlotIndex::NONE; 512],
        above: Above::NONE,
        first_address: 0,
        child_tables: 0,
        held: 0,
        asid_generation: 0,
        asid: 0,
        reserved: [0; 250],
    };
}

const _: () = assert!(size_of::<VNode>() as u64 == capelin_abi::capability::VNODE_BYTES);

/// The words of a dispatcher frame. Its domain may write them at the same time, and
/// nothing read here is trusted.
pub trait FrameWords: Copy {
    /// Reads the word at `offset` (a multiple of 8 inside of the frame).
    fn read(self, offset: usize) -> u64;

    /// Writes the word at `offset` (a multiple of 8 inside of the frame).
    fn write(self, offset: usize, value: u64);

    /// Reads the 32-bit word at `offset` (a multiple of 4 inside of the frame).
    fn read32(self, offset: usize) -> u32;

    /// Writes the 32-bit word at `offset` (a multiple of 4 inside of the frame).
    fn write32(self, offset: usize, value: u32);

    /// Sets bits of the word at `offset`, atomically: the domain takes them by a swap,
    /// on this core or on another with which it shares its frame.
    fn set_bits(self, offset: usize, bits: u64);
}

/// A save area in a dispatcher frame.
pub trait SaveContext: Copy {
    /// Its name.
    fn area(self) -> AreaRef;

    /// Word `index` of the area (below [`capelin_abi::dispatcher::context::WORDS`]).
    fn get(self, index: usize) -> u64;

    /// Sets word `index` of the area (below [`capelin_abi::dispatcher::context::WORDS`]).
    fn set(self, index: usize, value: u64);

    /// Words `INDEX` and `INDEX` + 1 of the area.
    fn get_pair<const INDEX: usize>(self) -> [u64; 2];

    /// Sets words `INDEX` and `INDEX` + 1 of the area.
    fn set_pair<const INDEX: usize>(self, values: [u64; 2]);
}

/// The objects in this core's home memory, other than capability slots.
pub trait Objects: HomeMemory {
    /// The words of a dispatcher frame.
    type Frame: FrameWords;
    /// A save area in one.
    type Context: SaveContext;

    /// Whether all of `[address, address + bytes)` is home memory.
    fn contains(&self, address: PhysAddr, bytes: u64) -> bool;

    /// The control block at `address`, the base of a Dispatcher capability.
    fn dcb_at(&self, address: PhysAddr) -> Option<DcbRef>;

    /// Where the control block lies.
    fn dcb_address(&self, dcb: DcbRef) -> PhysAddr;

    /// The control block, to read.
    fn dcb(&self, dcb: DcbRef) -> &Dcb;

    /// The control block, to change.
    fn dcb_mut(&mut self, dcb: DcbRef) -> &mut Dcb;

    /// A table, to read.
    fn vnode(&self, table: TableRef) -> &VNode;

    /// A table, to change. The walker reads it at the same time: entries are single
    /// words, written by [`Objects::write_entry`].
    fn vnode_mut(&mut self, table: TableRef) -> &mut VNode;

    /// Writes entry `index` (below 512) of a table as one store.
    fn write_entry(&mut self, table: TableRef, index: usize, descriptor: u64);

    /// The words of a dispatcher frame.
    fn frame(&self, frame: FrameRef) -> Self::Frame;

    /// A save area.
    fn context(&self, area: AreaRef) -> Self::Context;

    /// Zeroes a page of home memory that only a capability in progress covers.
    fn zero_page(&mut self, page: PhysAddr);

    /// Stores the FP registers into the control block of `dcb`.
    fn save_fp(&mut self, dcb: DcbRef);

    /// Loads the FP registers from the control block of `dcb`.
    fn load_fp(&self, dcb: DcbRef);
}

impl<O: Objects> Nodes for O {
    #[inline]
    fn node(&self, dcb: DcbRef) -> &Node {
        &self.dcb(dcb).node
    }

    #[inline]
    fn node_mut(&mut self, dcb: DcbRef) -> &mut Node {
        &mut self.dcb_mut(dcb).node
    }
}
