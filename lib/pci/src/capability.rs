//! What a function can besides: the list of capabilities (7.5.3), and those that say how it interrupts.

use alloc::vec::Vec;

use crate::address::Address;
use crate::config::{ConfigSpace, Register, byte, high_half};

/// The first register that a capability may be at: behind the header.
const FIRST: u8 = 0x40;
/// Capabilities that fit behind the header, 4 bytes each: more are a circle.
const MOST: usize = (256 - FIRST as usize) / 4;

/// What a capability is about (PCI Code and ID Assignment Specification 1.16, 2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CapabilityId(pub u8);

impl CapabilityId {
    /// Message interrupts.
    pub const MSI: Self = Self(0x05);
    /// What the vendor likes; virtio's.
    pub const VENDOR: Self = Self(0x09);
    /// PCI Express.
    pub const EXPRESS: Self = Self(0x10);
    /// Message interrupts by table.
    pub const MSI_X: Self = Self(0x11);
}

/// An entry of the list.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Capability {
    /// What it is about.
    pub id: CapabilityId,
    /// Where it is in configuration space.
    pub offset: u8,
}

/// Message interrupts (7.7.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Msi {
    /// Where its registers are.
    pub offset: u8,
    /// How many interrupts the function would like: 1, 2, 4 … 32.
    pub vectors: u8,
    /// Whether its message may go above 4 GiB.
    pub is_64_bit: bool,
}

/// Message interrupts by a table in memory (7.7.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MsiX {
    /// Where its registers are.
    pub offset: u8,
    /// Entries of the table, 1 to 2,048.
    pub vectors: u16,
    /// The BAR that holds the table, and where in it.
    pub table: (u8, u32),
    /// The BAR that holds the bits of pending interrupts, and where in it.
    pub pending: (u8, u32),
}

/// The list of `function`; what it has before it breaks off, and whether it does: it leads into the header, or in a
/// circle.
pub(crate) fn list(space: &mut impl ConfigSpace, function: Address) -> (Vec<Capability>, bool) {
    const HAS_LIST: u16 = 1 << 4;
    let mut found: Vec<Capability> = Vec::new();
    if high_half(space.read(function, Register::COMMAND)) & HAS_LIST == 0 {
        return (found, false);
    }
    let mut next = byte(space.read(function, Register::CAPABILITIES), 0) & !3;
    while next != 0 {
        let is_broken = next < FIRST || found.len() == MOST;
        let Some(register) = Register::new(u16::from(next)).filter(|_| !is_broken) else {
            return (found, true);
        };
        let header = space.read(function, register);
        found.push(Capability {
            id: CapabilityId(byte(header, 0)),
            offset: next,
        });
        next = byte(header, 1) & !3;
    }
    (found, false)
}

/// The register `by` bytes into `capability`, if that is in the first 256.
fn inside(capability: Capability, by: u8) -> Option<Register> {
    Register::new(u16::from(capability.offset.checked_add(by)?))
}

pub(crate) fn msi(
    space: &mut impl ConfigSpace,
    function: Address,
    list: &[Capability],
) -> Option<Msi> {
    let &capability = list.iter().find(|it| it.id == CapabilityId::MSI)?;
    let control = high_half(space.read(function, inside(capability, 0)?));
    let log = control >> 1 & 7;
    (log <= 5).then_some(Msi {
        offset: capability.offset,
        vectors: 1 << log,
        is_64_bit: control & 1 << 7 != 0,
    })
}

pub(crate) fn msi_x(
    space: &mut impl ConfigSpace,
    function: Address,
    list: &[Capability],
) -> Option<MsiX> {
    let &capability = list.iter().find(|it| it.id == CapabilityId::MSI_X)?;
    let control = high_half(space.read(function, inside(capability, 0)?));
    let mut place = |by| {
        let value = space.read(function, inside(capability, by)?);
        let bar = byte(value, 0) & 7;
        (bar < 6).then_some((bar, value & !7))
    };
    Some(MsiX {
        offset: capability.offset,
        vectors: (control & 0x7ff) + 1,
        table: place(4)?,
        pending: place(8)?,
    })
}

/// What kind of PCI Express port `function` is (7.5.3.2), if it is a bridge to a link: only one device can be there.
pub(crate) fn leads_to_a_link(
    space: &mut impl ConfigSpace,
    function: Address,
    list: &[Capability],
) -> bool {
    const ROOT_PORT: u16 = 4;
    const DOWNSTREAM: u16 = 6;
    let express = list.iter().find(|it| it.id == CapabilityId::EXPRESS);
    let Some(register) = express.and_then(|&it| inside(it, 0)) else {
        return false;
    };
    let kind = high_half(space.read(function, register)) >> 4 & 0xf;
    matches!(kind, ROOT_PORT | DOWNSTREAM)
}
