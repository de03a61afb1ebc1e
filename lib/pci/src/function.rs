//! A function and what it wants.

use alloc::vec::Vec;

use crate::address::Address;
use crate::capability::{Capability, Msi, MsiX};
use crate::config::{ConfigSpace, Register, byte, low_half};

/// A class code (PCI Code and ID Assignment Specification 1.16, 1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Class {
    /// What it is: 1 storage, 2 network, 3 display, 6 bridge …
    pub base: u8,
    /// Which kind of that.
    pub sub: u8,
    /// How it is talked to.
    pub interface: u8,
}

/// An address space of a bus.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Space {
    /// Ports.
    Io,
    /// Memory below 4 GiB.
    Memory32,
    /// Memory anywhere.
    Memory64,
}

/// Registers that want a place in an address space.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Bar {
    /// Its number, 0 to 5; one of 64 bits takes the next one, too.
    pub number: u8,
    /// The space that it can be in.
    pub space: Space,
    /// Whether reads have no side effects.
    pub is_prefetchable: bool,
    /// Bytes: a power of two. It lies at a multiple of them.
    pub size: u64,
    /// The address that it held when it was found; 0 if nobody had given it one.
    pub held: u64,
}

/// What a bridge has of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Bridge {
    /// The bus behind it; `None` if there was no number left.
    pub secondary: Option<u8>,
    /// The last bus behind it.
    pub subordinate: u8,
    /// Whether it lets ports through.
    pub has_io: bool,
    /// Whether it has a window for prefetchable memory, and that reaches above 4 GiB.
    pub prefetchable: Option<Space>,
}

/// A function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function {
    /// Where it is.
    pub address: Address,
    /// The bridge that it lies behind; `None` on the host's first bus.
    pub parent: Option<Address>,
    /// Who made it.
    pub vendor: u16,
    /// What they call it.
    pub device: u16,
    /// Which of those it is.
    pub revision: u8,
    /// What it does.
    pub class: Class,
    /// Who made the board that it is on, and what they call that (endpoints).
    pub subsystem: Option<(u16, u16)>,
    /// What it has if it is a bridge.
    pub bridge: Option<Bridge>,
    /// What it wants of address spaces.
    pub bars: Vec<Bar>,
    /// 1 to 4: INTA to INTD.
    pub pin: Option<u8>,
    /// What it can besides.
    pub capabilities: Vec<Capability>,
    /// Its message interrupts.
    pub msi: Option<Msi>,
    /// Its message interrupts by table.
    pub msi_x: Option<MsiX>,
}

/// What is wrong with a BAR.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct BadBar(pub(crate) u8);

/// The first `count` BARs (7.5.1.2.1), whose function doesn't answer to any address meanwhile, and those that make no sense.
/// Each holds what it held.
pub(crate) fn bars(
    space: &mut impl ConfigSpace,
    function: Address,
    count: u8,
) -> (Vec<Bar>, Vec<BadBar>) {
    let (mut found, mut bad) = (Vec::new(), Vec::new());
    let mut number = 0;
    while number < count {
        let first = Register::bar(number);
        let held = space.read(function, first);
        let wanted = sized(space, function, first);
        let is_io = held & 1 != 0;
        let is_64_bit = !is_io && held >> 1 & 3 == 2;
        let is_known = is_io || matches!(held >> 1 & 3, 0 | 2);
        if !is_known || is_64_bit && number + 1 == count {
            bad.push(BadBar(number));
            number += 1;
            continue;
        }
        let (kind, mask, held_high) = if is_io {
            (Space::Io, u64::from(wanted & !3), 0)
        } else if is_64_bit {
            let second = Register::bar(number + 1);
            let held_high = space.read(function, second);
            let high = sized(space, function, second);
            let mask = u64::from(high) << 32 | u64::from(wanted & !0xf);
            (Space::Memory64, mask, held_high)
        } else {
            (Space::Memory32, u64::from(wanted & !0xf), 0)
        };
        if mask != 0 {
            // The lowest bit that can be set; those above can be, too, as far as the space goes. Ports may have 16.
            let size = 1 << mask.trailing_zeros();
            let all: u64 = match kind {
                Space::Io if mask <= 0xffff => 0xffff,
                Space::Io | Space::Memory32 => 0xffff_ffff,
                Space::Memory64 => u64::MAX,
            };
            if mask == all & !(size - 1) {
                found.push(Bar {
                    number,
                    space: kind,
                    is_prefetchable: !is_io && held & 8 != 0,
                    size,
                    held: (u64::from(held_high) << 32 | u64::from(held)) & mask,
                });
            } else {
                bad.push(BadBar(number));
            }
        }
        number += if is_64_bit { 2 } else { 1 };
    }
    (found, bad)
}

/// What a BAR lets be set, which then holds what it held.
fn sized(space: &mut impl ConfigSpace, function: Address, register: Register) -> u32 {
    let held = space.read(function, register);
    space.write(function, register, u32::MAX);
    let mask = space.read(function, register);
    space.write(function, register, held);
    mask
}

/// Which windows a bridge has (PCI-to-PCI Bridge Architecture 1.2, 3.2.5.6, 3.2.5.9), all of which are closed then: their
/// base lies above their limit.
pub(crate) fn close_windows(
    space: &mut impl ConfigSpace,
    function: Address,
) -> (bool, Option<Space>) {
    space.write(function, Register::IO_WINDOW, 0x0000_00f0);
    // Where there is no such window, both read as 0.
    let io = low_half(space.read(function, Register::IO_WINDOW));
    space.write(function, Register::IO_WINDOW_HIGH, 0);
    space.write(function, Register::MEMORY_WINDOW, 0x0000_fff0);
    space.write(function, Register::PREFETCHABLE_WINDOW, 0x0000_fff0);
    let prefetchable = space.read(function, Register::PREFETCHABLE_WINDOW);
    let reaches = match prefetchable & 0xffff {
        0 => None,
        base if base & 0xf == 1 => Some(Space::Memory64),
        _ => Some(Space::Memory32),
    };
    if reaches == Some(Space::Memory64) {
        space.write(function, Register::PREFETCHABLE_BASE, 0);
        space.write(function, Register::PREFETCHABLE_LIMIT, 0);
    }
    (io & 0xf0 != 0, reaches)
}

/// The same of a bridge whose windows stay as they are; one that firmware has left at 0 isn't known to be there.
pub(crate) fn held_windows(
    space: &mut impl ConfigSpace,
    function: Address,
) -> (bool, Option<Space>) {
    let io = low_half(space.read(function, Register::IO_WINDOW));
    let prefetchable = space.read(function, Register::PREFETCHABLE_WINDOW);
    let reaches = match low_half(prefetchable) {
        0 => None,
        base if base & 0xf == 1 => Some(Space::Memory64),
        _ => Some(Space::Memory32),
    };
    (io != 0, reaches)
}

/// The pin in the interrupt register.
pub(crate) fn pin(space: &mut impl ConfigSpace, function: Address) -> Option<u8> {
    let pin = byte(space.read(function, Register::INTERRUPT), 1);
    (1..=4).contains(&pin).then_some(pin)
}
