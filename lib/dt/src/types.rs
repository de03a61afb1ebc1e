//! The small types that all parts of a [`crate::Machine`] share.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

pub use capelin_abi::address::{Mpidr, PhysAddr};

/// A NUMA node's number: `numa-node-id`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct NumaId(pub u32);

/// A GIC interrupt number: 0–15 SGIs, 16–31 PPIs, 32–1019 SPIs, 1056–1119
/// extended PPIs, 4096–5119 extended SPIs, 8192 and above LPIs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Intid(pub u32);

/// A range of physical addresses as the CPU sees them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Region {
    /// First address.
    pub base: PhysAddr,
    /// Length in bytes; may be 0.
    pub size: u64,
}

impl Region {
    /// The region of `size` bytes at `base`.
    #[must_use]
    pub const fn new(base: u64, size: u64) -> Self {
        Self {
            base: PhysAddr(base),
            size,
        }
    }

    /// The first address after the region; one that would pass the end of the
    /// address space is cut off at `u64::MAX`.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.base.0.saturating_add(self.size)
    }

    /// What is in both; `None` where that is nothing.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let base = self.base.max(other.base);
        let size = self.end().min(other.end()).checked_sub(base.0)?;
        (size > 0).then_some(Self { base, size })
    }
}

/// What a node's `status` says (devicetree specification 2.3.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Status {
    /// `okay`, `ok`, or no such property.
    #[default]
    Okay,
    /// `disabled`: not operational now, but may become so. For a core: it is
    /// there and waits to be started by its enable method.
    Disabled,
    /// `reserved`: operational, but somebody else's.
    Reserved,
    /// `fail` and `fail-sss`: broken.
    Fail,
    /// Anything else.
    Unknown,
}

impl Status {
    /// Whether Capelin may use the device.
    #[must_use]
    pub const fn is_okay(self) -> bool {
        matches!(self, Self::Okay)
    }
}

/// How an interrupt line signals.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Trigger {
    /// Edge, rising.
    EdgeRising,
    /// Edge, falling; the GIC takes it as rising, something in between inverts.
    EdgeFalling,
    /// Level, active high.
    LevelHigh,
    /// Level, active low; the GIC takes it as high, something in between inverts.
    LevelLow,
    /// The tree does not say, or says several at once.
    Unspecified,
}

impl Trigger {
    /// Decodes the low four bits of a GIC interrupt specifier's flags cell.
    #[must_use]
    pub const fn from_flags(flags: u32) -> Self {
        match flags & 0xf {
            1 => Self::EdgeRising,
            2 => Self::EdgeFalling,
            4 => Self::LevelHigh,
            8 => Self::LevelLow,
            _ => Self::Unspecified,
        }
    }

    /// Whether the GIC is to be configured for edges.
    #[must_use]
    pub const fn is_edge(self) -> bool {
        matches!(self, Self::EdgeRising | Self::EdgeFalling)
    }
}

/// One interrupt of a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interrupt {
    /// The GIC interrupt, where the line ends (perhaps through an
    /// `interrupt-map`) in a GIC; `None` where another controller is between.
    pub intid: Option<Intid>,
    /// How it signals; `Unspecified` where `intid` is `None`.
    pub trigger: Trigger,
    /// Path of the controller that takes it; empty for an empty entry.
    pub controller: String,
    /// The specifier, in that controller's own format.
    pub cells: Vec<u32>,
}

impl Interrupt {
    /// An entry of `interrupts-extended` that names no controller.
    pub(crate) const EMPTY: Self = Self {
        intid: None,
        trigger: Trigger::Unspecified,
        controller: String::new(),
        cells: Vec::new(),
    };
}

/// One entry of a `reg` property.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reg {
    /// The address as the CPU sees it, or `None` where the bus above has no
    /// `ranges` that lead there.
    pub base: Option<PhysAddr>,
    /// The address on the device's own bus: the low 64 bits of it.
    pub bus: u64,
    /// Length in bytes; 0 where the bus has no sizes.
    pub size: u64,
}

impl Reg {
    /// The region, if the CPU can reach it.
    #[must_use]
    pub fn region(&self) -> Option<Region> {
        self.base.map(|base| Region {
            base,
            size: self.size,
        })
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}+{:#x}", self.base.0, self.size)
    }
}

impl fmt::Display for NumaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Intid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
