//! Putting BARs where they were given a place, and opening the bridges on the way to them.
//!
//! Who gives places is a rule that anybody may change, so nothing of them is believed: all are checked before the first
//! register is written.

use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

use crate::address::Address;
use crate::config::{Command, ConfigSpace, Register, command, set_command};
use crate::enumerate::Topology;
use crate::function::{Bar, Bridge, Function, Space};

/// What a bridge's windows of memory are made of (PCI-to-PCI Bridge Architecture 1.2, 3.2.5.8).
const MEMORY_GRANULE: u64 = 1 << 20;
/// What its window of ports is made of.
const IO_GRANULE: u64 = 1 << 12;
/// The last address below 4 GiB.
const LAST_32_BIT: u64 = u32::MAX as u64;
/// The last port.
const LAST_PORT: u64 = u16::MAX as u64;

/// An address space that a host bridge lets through, as its bus sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Window {
    /// Which space.
    pub space: Space,
    /// Whether only what has no side effects when read may lie there.
    pub is_prefetchable: bool,
    /// First address on the bus.
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

/// Where a BAR goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Place {
    /// Whose BAR.
    pub function: Address,
    /// Its number.
    pub bar: u8,
    /// Its first address on the bus.
    pub address: u64,
}

/// The window of a bridge that a BAR behind it is reached through.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Side {
    /// That of ports.
    Io,
    /// That of memory, all of it below 4 GiB.
    Memory,
    /// That of prefetchable memory.
    Prefetchable,
}

/// Why places can't be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// There is no such BAR, or it has two places.
    NoSuchBar(Place),
    /// The address is no multiple of the BAR's size, or the BAR would pass the end of its space.
    Unaligned(Place),
    /// No window of the host lets it through.
    OutsideWindows(Place),
    /// What lies behind this bridge can't be reached through its windows.
    BridgeTooNarrow(Address, Side),
    /// The two, BARs or what lies behind bridges, would answer to one address.
    Overlap(Address, Address),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |place: &Place| (place.function, place.bar, place.address);
        match self {
            Self::NoSuchBar(at) => {
                let (function, bar, _) = place(at);
                write!(f, "{function} has no BAR {bar} that could be placed")
            }
            Self::Unaligned(at) => {
                let (function, bar, address) = place(at);
                write!(f, "{function}: BAR {bar} can't be at {address:#x}")
            }
            Self::OutsideWindows(at) => {
                let (function, bar, address) = place(at);
                write!(
                    f,
                    "{function}: the host doesn't let BAR {bar} through at {address:#x}"
                )
            }
            Self::BridgeTooNarrow(at, side) => {
                write!(f, "{at}: what is behind doesn't fit its window ({side:?})")
            }
            Self::Overlap(one, other) => write!(f, "{one} and {other} would be at one address"),
        }
    }
}

/// What answers to addresses on a bus.
#[derive(Clone, Copy)]
struct Item {
    /// Function or bridge.
    owner: Address,
    side: Side,
    range: (u64, u64),
    /// A BAR in it: for messages.
    place: Place,
    /// Whether it must not be read ahead.
    has_side_effects: bool,
}

/// A bridge's windows, as they will be.
struct Opening {
    bridge: Address,
    side: Side,
    range: (u64, u64),
    reaches_64_bit: bool,
}

/// Puts the BARs of `topology` to `places` and opens the bridges to them, within `windows` of the host. A BAR without a
/// place stays as it was, and its function must not be enabled.
///
/// # Errors
/// If a place can't be: then nothing has been written.
pub fn program(
    space: &mut impl ConfigSpace,
    topology: &Topology,
    windows: &[Window],
    places: &[Place],
) -> Result<(), Fault> {
    let mut openings = Vec::new();
    let bars = checked(topology, places)?;
    for item in on_bus(topology, None, None, &bars, &mut openings)? {
        let is_inside = windows.iter().any(|window| lets(window, &item));
        if !is_inside {
            return Err(Fault::OutsideWindows(item.place));
        }
    }
    for (bar, place) in bars {
        let [low, high] = halves(place.address);
        let register = Register::bar(bar.number);
        space.write(place.function, register, low);
        if bar.space == Space::Memory64 {
            space.write(place.function, Register::bar(bar.number + 1), high);
        }
    }
    for opening in openings {
        open(space, &opening);
    }
    Ok(())
}

/// Lets `function` answer, and reach memory if `wanted` says so; the bridges above it let that through.
pub fn enable(
    space: &mut impl ConfigSpace,
    topology: &Topology,
    function: Address,
    wanted: Command,
) {
    set_command(space, function, wanted);
    let mut above = topology.function(function).and_then(|it| it.parent);
    while let Some(bridge) = above {
        let passed = wanted & (Command::IO | Command::MEMORY | Command::BUS_MASTER);
        let held = command(space, bridge);
        set_command(space, bridge, held | passed);
        above = topology.function(bridge).and_then(|it| it.parent);
    }
}

/// The BARs that `places` are for.
fn checked(topology: &Topology, places: &[Place]) -> Result<Vec<(Bar, Place)>, Fault> {
    let mut bars: Vec<(Bar, Place)> = Vec::with_capacity(places.len());
    for &place in places {
        let function = topology.function(place.function);
        let bar = function.and_then(|it| it.bars.iter().find(|bar| bar.number == place.bar));
        let is_second = bars
            .iter()
            .any(|(_, other)| (other.function, other.bar) == (place.function, place.bar));
        let Some(&bar) = bar.filter(|_| !is_second) else {
            return Err(Fault::NoSuchBar(place));
        };
        let last = match bar.space {
            Space::Io => LAST_PORT,
            Space::Memory32 => LAST_32_BIT,
            Space::Memory64 => u64::MAX,
        };
        let end = place.address.checked_add(bar.size - 1);
        if !place.address.is_multiple_of(bar.size) || end.is_none_or(|end| end > last) {
            return Err(Fault::Unaligned(place));
        }
        bars.push((bar, place));
    }
    Ok(bars)
}

/// Through which windows what lies behind `above` is reached.
#[derive(Clone, Copy)]
struct Above {
    /// How far prefetchable memory may go, if all bridges have a window for it.
    prefetchable: Option<Space>,
    has_io: bool,
}

impl Above {
    fn and(above: Option<Self>, bridge: Bridge) -> Self {
        match above {
            None => Self {
                prefetchable: bridge.prefetchable,
                has_io: bridge.has_io,
            },
            Some(above) => Self {
                prefetchable: above.prefetchable.min(bridge.prefetchable),
                has_io: above.has_io && bridge.has_io,
            },
        }
    }

    /// Prefetchable memory goes through the window for it, unless that reaches above 4 GiB and the BAR doesn't: then all
    /// of that window would have to lie below.
    fn side(above: Option<Self>, bar: Bar) -> Side {
        let suits = |above: Self| match above.prefetchable {
            Some(Space::Memory64) => bar.space == Space::Memory64,
            Some(_) => true,
            None => false,
        };
        match bar.space {
            Space::Io => Side::Io,
            _ if bar.is_prefetchable && above.is_none_or(suits) => Side::Prefetchable,
            Space::Memory32 | Space::Memory64 => Side::Memory,
        }
    }

    /// The last address that can be reached through `side`.
    fn last(self, side: Side) -> Option<u64> {
        match (side, self.prefetchable) {
            (Side::Io, _) => self.has_io.then_some(LAST_PORT),
            (Side::Prefetchable, Some(Space::Memory64)) => Some(u64::MAX),
            (Side::Memory | Side::Prefetchable, _) => Some(LAST_32_BIT),
        }
    }
}

/// What answers on the bus behind `parent`, none of it twice. The windows of the bridges there go to `openings`.
fn on_bus(
    topology: &Topology,
    parent: Option<Address>,
    above: Option<Above>,
    bars: &[(Bar, Place)],
    openings: &mut Vec<Opening>,
) -> Result<Vec<Item>, Fault> {
    let mut items = Vec::new();
    for function in topology.behind(parent) {
        for &(bar, place) in bars {
            if place.function == function.address {
                items.push(Item {
                    owner: function.address,
                    side: Above::side(above, bar),
                    range: (place.address, place.address + (bar.size - 1)),
                    place,
                    has_side_effects: !bar.is_prefetchable,
                });
            }
        }
        if let Some(bridge) = function.bridge {
            items.extend(through(topology, function, bridge, above, bars, openings)?);
        }
    }
    items.sort_unstable_by_key(|item| (item.side == Side::Io, item.range));
    for pair in items.windows(2) {
        if let [one, other] = pair
            && (one.side == Side::Io) == (other.side == Side::Io)
            && other.range.0 <= one.range.1
        {
            return Err(Fault::Overlap(one.owner, other.owner));
        }
    }
    Ok(items)
}

/// What `function`, a bridge, must let through: an item for each of its windows.
fn through(
    topology: &Topology,
    function: &Function,
    bridge: Bridge,
    above: Option<Above>,
    bars: &[(Bar, Place)],
    openings: &mut Vec<Opening>,
) -> Result<Vec<Item>, Fault> {
    let at = function.address;
    let above = Above::and(above, bridge);
    let behind = on_bus(topology, Some(at), Some(above), bars, openings)?;
    let mut items: Vec<Item> = Vec::new();
    for side in [Side::Io, Side::Memory, Side::Prefetchable] {
        let of_side = || behind.iter().filter(|item| item.side == side);
        let (Some(first), Some(last)) = (
            of_side().min_by_key(|item| item.range.0),
            of_side().map(|item| item.range.1).max(),
        ) else {
            continue;
        };
        let granule = if side == Side::Io {
            IO_GRANULE
        } else {
            MEMORY_GRANULE
        };
        let range = (first.range.0 & !(granule - 1), last | (granule - 1));
        if above.last(side).is_none_or(|end| range.1 > end) {
            return Err(Fault::BridgeTooNarrow(at, side));
        }
        openings.push(Opening {
            bridge: at,
            side,
            range,
            reaches_64_bit: bridge.prefetchable == Some(Space::Memory64),
        });
        items.push(Item {
            owner: at,
            side,
            range,
            place: first.place,
            has_side_effects: of_side().any(|item| item.has_side_effects),
        });
    }
    Ok(items)
}

/// Whether a host's window lets `item` through.
fn lets(window: &Window, item: &Item) -> bool {
    let is_of_kind = (window.space == Space::Io) == (item.side == Side::Io);
    let is_safe = !(window.is_prefetchable && item.has_side_effects);
    let end = window.base.checked_add(window.size.saturating_sub(1));
    let range: RangeInclusive<u64> = window.base..=end.unwrap_or(u64::MAX);
    let (first, last) = item.range;
    window.size > 0 && is_of_kind && is_safe && range.contains(&first) && range.contains(&last)
}

/// Writes a window of a bridge: base and limit without the bits of a granule.
fn open(space: &mut impl ConfigSpace, opening: &Opening) {
    let &Opening {
        bridge,
        side,
        range: (first, last),
        reaches_64_bit,
    } = opening;
    // Bits 31:20 of a base or limit of memory stand in bits 15:4 of its half.
    let memory = |address: u64| {
        let [low, _] = halves(address);
        low >> 16 & 0xfff0
    };
    match side {
        Side::Io => {
            // Bits 15:12 stand in bits 7:4 of its byte. The status in the high half is cleared by ones.
            let ports = |address: u64| {
                let [low, _] = halves(address);
                low >> 8 & 0xf0
            };
            space.write(bridge, Register::IO_WINDOW, ports(last) << 8 | ports(first));
        }
        Side::Memory => {
            space.write(
                bridge,
                Register::MEMORY_WINDOW,
                memory(last) << 16 | memory(first),
            );
        }
        Side::Prefetchable => {
            if reaches_64_bit {
                space.write(bridge, Register::PREFETCHABLE_BASE, halves(first)[1]);
                space.write(bridge, Register::PREFETCHABLE_LIMIT, halves(last)[1]);
            }
            space.write(
                bridge,
                Register::PREFETCHABLE_WINDOW,
                memory(last) << 16 | memory(first),
            );
        }
    }
}

/// The low and the high 32 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves are what is asked for"
)]
const fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}
