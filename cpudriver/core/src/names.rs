//! Names of what lies in home memory: whoever has one need not look again whether it is
//! there.
//!
//! Each is made from a capability, which exists only while its object does, and kept only
//! where it goes with that capability: in the control block of a dispatcher that holds a
//! copy, in the table that another is attached to. Of all that user space can write,
//! nothing is ever made a name.

use core::num::NonZeroU64;

use capelin_abi::capability::VNODE_BYTES;
use capelin_abi::dispatcher::{FRAME_BYTES, offset};
use capelin_abi::{ObjectType, PAGE_SIZE, PhysAddr, SysError};
use capelin_cap::{MappingData, Slot};
use capelin_vspace::TableLevel;

use crate::mapping::TABLE;

/// Where home memory is.
pub trait HomeMemory {
    /// The address at which the kernel sees `[address, address + bytes)`; `None` unless all
    /// of it is home memory.
    fn linear(&self, address: PhysAddr, bytes: u64) -> Option<NonZeroU64>;
}

/// Names a translation table: the base of a VNode, two pages of home memory.
///
/// Only `Retype` of home memory makes VNodes, and no kernel takes one from another
/// (`docs/020-capabilities.md`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct TableRef(NonZeroU64);

impl TableRef {
    /// The table that a capability names, and its level; `None` for what isn't a VNode.
    #[inline(always)]
    #[must_use]
    pub fn of(slot: &Slot) -> Option<(Self, TableLevel)> {
        let level = slot.kind().vnode_level().and_then(TableLevel::new)?;
        Some((Self(NonZeroU64::new(slot.base())?), level))
    }

    /// The table for which the kernel took zeroed home memory at `address` when it started,
    /// before there were capabilities; `None` for what can't be one.
    #[must_use]
    pub fn at_boot(address: PhysAddr, home: &impl HomeMemory) -> Option<Self> {
        if address.is_aligned(PAGE_SIZE) && home.linear(address, VNODE_BYTES).is_some() {
            NonZeroU64::new(address.0).map(Self)
        } else {
            None
        }
    }

    /// The table that a mapping is in; `None` for what isn't a mapping.
    #[inline(always)]
    #[must_use]
    pub fn holding(mapping: &Slot) -> Option<Self> {
        if mapping.is_kind(ObjectType::Mapping) {
            NonZeroU64::new(MappingData::of(mapping).table.0).map(Self)
        } else {
            None
        }
    }

    /// The table that a mapping attaches to another; `None` for what isn't the mapping of a
    /// table.
    #[inline(always)]
    #[must_use]
    pub fn attached(mapping: &Slot) -> Option<Self> {
        let maps_table =
            mapping.is_kind(ObjectType::Mapping) && MappingData::of(mapping).kernel & TABLE != 0;
        if maps_table {
            NonZeroU64::new(mapping.base()).map(Self)
        } else {
            None
        }
    }

    /// Where it lies.
    #[inline]
    #[must_use]
    pub const fn address(self) -> PhysAddr {
        PhysAddr(self.0.get())
    }
}

/// Names a table of level 0, from which an address space is walked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct RootRef(TableRef);

impl RootRef {
    /// The root that a capability names; `None` for anything else.
    #[must_use]
    pub fn of(slot: &Slot) -> Option<Self> {
        match TableRef::of(slot) {
            Some((table, TableLevel::L0)) => Some(Self(table)),
            _ => None,
        }
    }

    /// As a table.
    #[inline]
    #[must_use]
    pub const fn table(self) -> TableRef {
        self.0
    }

    /// Where it lies.
    #[inline]
    #[must_use]
    pub const fn address(self) -> PhysAddr {
        self.0.address()
    }
}

/// Names a dispatcher frame: [`FRAME_BYTES`] of home memory, which its domain may write at
/// any time. The linear address of its first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct FrameRef(NonZeroU64);

impl FrameRef {
    /// The first bytes of the frame that a capability names.
    ///
    /// # Errors
    /// `WrongType` for what isn't a frame; `OutOfRange` for one that is too small or isn't
    /// home memory.
    pub fn of(slot: &Slot, home: &impl HomeMemory) -> Result<Self, SysError> {
        if !slot.is_kind(ObjectType::Frame) {
            return Err(SysError::WrongType);
        }
        if slot.size() < FRAME_BYTES {
            return Err(SysError::OutOfRange);
        }
        home.linear(slot.address(), FRAME_BYTES)
            .map(Self)
            .ok_or(SysError::OutOfRange)
    }

    /// One of its save areas.
    #[inline]
    #[must_use]
    pub const fn area(self, area: Area) -> AreaRef {
        // A frame doesn't end at the end of all addresses.
        AreaRef(self.0.saturating_add(area as u64))
    }

    /// Its linear address, as the vectors know it.
    #[inline]
    #[must_use]
    pub const fn linear(self) -> u64 {
        self.0.get()
    }
}

/// Where a dispatcher runs. It has both or neither.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its frame.
    pub frame: FrameRef,
    /// The root of its address space.
    pub root: RootRef,
}

/// The save areas of a dispatcher frame, by their offsets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Area {
    /// Of a dispatcher that ran enabled.
    Enabled = offset::ENABLED as u64,
    /// Of one that ran disabled, and what an upcall enters with.
    Disabled = offset::DISABLED_AREA as u64,
    /// Of one that faulted while it ran disabled.
    Trap = offset::TRAP as u64,
}

/// Names a save area in a dispatcher frame. Its linear address, as the vectors know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct AreaRef(NonZeroU64);

impl AreaRef {
    /// Its linear address.
    #[inline]
    #[must_use]
    pub const fn linear(self) -> u64 {
        self.0.get()
    }
}
/// Which of a dispatcher's endpoints: below
/// [`ENDPOINTS_PER_DISPATCHER`](capelin_abi::lmp::ENDPOINTS_PER_DISPATCHER).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct EndpointIndex(u16);

impl EndpointIndex {
    /// The first.
    pub const FIRST: Self = Self(0);
    /// How many there are: a power of two, so that an index is in range once it is cut.
    const COUNT: usize = capelin_abi::lmp::ENDPOINTS_PER_DISPATCHER;

    /// From a word that only the kernel writes: its lowest bits.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "cut to fewer bits")]
    pub const fn from_word(word: u64) -> Self {
        const { assert!(Self::COUNT.is_power_of_two() && Self::COUNT <= 1 << 16) };
        Self((word & (Self::COUNT as u64 - 1)) as u16)
    }

    /// The number, as it stands in messages.
    #[inline]
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// As an index into the records: the compiler sees that it is in range.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize & (Self::COUNT - 1)
    }
}
