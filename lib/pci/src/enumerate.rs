//! Finding all functions, and numbering the buses on the way.
//!
//! Depth first: a bridge gets the next free number for the bus behind it, and is left open to all numbers from there on
//! until what lies behind is known. What firmware had numbered is numbered anew, and what it left running stops: no
//! function answers to addresses or reaches for memory when this is over.
//!
//! Where nobody says what the host lets through ([`survey`]), numbers, BARs and windows stay as firmware has set them;
//! what it left running stops all the same.

use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;

use crate::address::Address;
use crate::capability::{leads_to_a_link, list, msi, msi_x};
use crate::config::{Command, ConfigSpace, Register, byte, high_half, low_half, set_command};
use crate::function::{BadBar, Bridge, Class, Function, bars, close_windows, held_windows, pin};

/// Bridges that may lie behind each other.
pub const MAX_DEPTH: usize = 64;

/// What is below a host.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Topology {
    /// All functions, each behind the bridge that it lies behind.
    pub functions: Vec<Function>,
    /// What isn't as it should be.
    pub findings: Vec<Finding>,
}

impl Topology {
    /// The function at `address`.
    #[must_use]
    pub fn function(&self, address: Address) -> Option<&Function> {
        self.functions.iter().find(|it| it.address == address)
    }

    /// The functions on the bus behind `parent`, or on the first bus.
    pub fn behind(&self, parent: Option<Address>) -> impl Iterator<Item = &Function> {
        self.functions.iter().filter(move |it| it.parent == parent)
    }
}

/// What is left out, and why.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Finding {
    /// No bus number is left for what lies behind this bridge.
    NoBus(Address),
    /// More than [`MAX_DEPTH`] bridges lie behind each other.
    TooDeep(Address),
    /// The function's header is of a kind that nobody knows.
    UnknownHeader(Address, u8),
    /// This BAR of the function can't be: its size is no power of two, or its kind is reserved.
    BadBar(Address, u8),
    /// The function's list of capabilities leads in a circle, or into the header.
    BadCapabilities(Address),
    /// The function isn't ready, and says so (configuration request retry status).
    NotReady(Address),
    /// Firmware has given this bridge no bus number that could be, and numbers are kept.
    NotNumbered(Address),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBus(at) => write!(f, "{at}: no bus number is left for what is behind"),
            Self::TooDeep(at) => write!(f, "{at}: lies behind too many bridges"),
            Self::UnknownHeader(at, kind) => write!(f, "{at}: unknown kind of header {kind:#x}"),
            Self::BadBar(at, bar) => write!(f, "{at}: BAR {bar} makes no sense"),
            Self::BadCapabilities(at) => write!(f, "{at}: the list of capabilities breaks off"),
            Self::NotReady(at) => write!(f, "{at}: isn't ready"),
            Self::NotNumbered(at) => write!(f, "{at}: firmware gave no number to the bus behind"),
        }
    }
}

/// Finds all functions of `segment` on `buses`, the first of which is the host's own.
pub fn enumerate(
    space: &mut impl ConfigSpace,
    segment: u16,
    buses: RangeInclusive<u8>,
) -> Topology {
    let numbering = Numbering::Anew {
        used: *buses.start(),
    };
    walk(space, segment, buses, numbering)
}

/// As [`enumerate`], but keeps what firmware has set up: the numbers of buses, what BARs hold
/// ([`crate::Bar::held`]), the windows of bridges.
pub fn survey(space: &mut impl ConfigSpace, segment: u16, buses: RangeInclusive<u8>) -> Topology {
    let numbering = Numbering::AsFound {
        seen: Vec::from([*buses.start()]),
    };
    walk(space, segment, buses, numbering)
}

fn walk(
    space: &mut impl ConfigSpace,
    segment: u16,
    buses: RangeInclusive<u8>,
    numbering: Numbering,
) -> Topology {
    let mut walk = Walk {
        space,
        segment,
        last: *buses.end(),
        numbering,
        topology: Topology::default(),
    };
    if !buses.is_empty() {
        walk.bus(*buses.start(), None, Address::DEVICES, MAX_DEPTH);
    }
    walk.topology
}

/// Where bus numbers come from.
enum Numbering {
    /// One behind the other.
    Anew {
        /// The last one that was given.
        used: u8,
    },
    /// The bridges have them.
    AsFound {
        /// Those that have been met: a bridge that leads back leads nowhere.
        seen: Vec<u8>,
    },
}

/// How far the walk has come.
struct Walk<'s, S> {
    space: &'s mut S,
    segment: u16,
    /// The last bus number that may be.
    last: u8,
    numbering: Numbering,
    topology: Topology,
}

impl<S: ConfigSpace> Walk<'_, S> {
    /// Finds the first `devices` devices of `bus`, and what lies behind them.
    fn bus(&mut self, bus: u8, parent: Option<Address>, devices: u8, depth: usize) {
        for device in 0..devices {
            let mut functions = 1;
            for function in 0..Address::FUNCTIONS {
                let Some(at) = Address::new(self.segment, bus, device, function) else {
                    continue;
                };
                if function < functions
                    && let Some(has_more) = self.function(at, parent, depth)
                    && has_more
                {
                    functions = Address::FUNCTIONS;
                }
            }
        }
    }

    /// Whether the device of this function, if there is one, has more of them.
    fn function(&mut self, at: Address, parent: Option<Address>, depth: usize) -> Option<bool> {
        /// What vendor and device read as while the function isn't ready (2.3.2).
        const RETRY: u16 = 1;
        const NOBODY: u16 = 0xffff;
        let id = self.space.read(at, Register::ID);
        match low_half(id) {
            NOBODY => return None,
            RETRY => {
                self.finding(Finding::NotReady(at));
                return None;
            }
            _ => {}
        }
        set_command(self.space, at, Command::NO_PIN);
        let class = self.space.read(at, Register::CLASS);
        let header = byte(self.space.read(at, Register::HEADER), 2);
        let (capabilities, is_broken) = list(self.space, at);
        if is_broken {
            self.finding(Finding::BadCapabilities(at));
        }
        let bar_count = match header & 0x7f {
            0 => 6,
            1 => 2,
            kind => {
                self.finding(Finding::UnknownHeader(at, kind));
                return Some(header & 0x80 != 0);
            }
        };
        let (bars, bad) = bars(self.space, at, bar_count);
        for BadBar(number) in bad {
            self.finding(Finding::BadBar(at, number));
        }
        let is_bridge = header & 0x7f == 1;
        let subsystem = self.space.read(at, Register::SUBSYSTEM);
        let place = self.topology.functions.len();
        let is_link = leads_to_a_link(self.space, at, &capabilities);
        self.topology.functions.push(Function {
            address: at,
            parent,
            vendor: low_half(id),
            device: high_half(id),
            revision: byte(class, 0),
            class: Class {
                base: byte(class, 3),
                sub: byte(class, 2),
                interface: byte(class, 1),
            },
            subsystem: (!is_bridge).then(|| (low_half(subsystem), high_half(subsystem))),
            bridge: None,
            bars,
            pin: pin(self.space, at),
            msi: msi(self.space, at, &capabilities),
            msi_x: msi_x(self.space, at, &capabilities),
            capabilities,
        });
        if is_bridge {
            let bridge = self.bridge(at, is_link, depth);
            if let Some(function) = self.topology.functions.get_mut(place) {
                function.bridge = Some(bridge);
            }
        }
        Some(header & 0x80 != 0)
    }

    /// Numbers the bus behind the bridge `at`, and finds what is there.
    fn bridge(&mut self, at: Address, is_link: bool, depth: usize) -> Bridge {
        let (has_io, prefetchable) = match self.numbering {
            Numbering::Anew { .. } => close_windows(self.space, at),
            Numbering::AsFound { .. } => held_windows(self.space, at),
        };
        let mut bridge = Bridge {
            secondary: None,
            subordinate: at.bus(),
            has_io,
            prefetchable,
        };
        let numbered = if depth == 0 {
            Err(Finding::TooDeep(at))
        } else {
            self.number(at)
        };
        let secondary = match numbered {
            Ok(secondary) => secondary,
            Err(finding) => {
                self.set_buses(at, 0, 0);
                self.finding(finding);
                return bridge;
            }
        };
        // A link has one other end, and some hosts show that at all 32 numbers.
        let devices = if is_link { 1 } else { Address::DEVICES };
        self.bus(secondary, Some(at), devices, depth - 1);
        bridge.secondary = Some(secondary);
        bridge.subordinate = match self.numbering {
            Numbering::Anew { used } => {
                self.set_buses(at, secondary, used);
                used
            }
            Numbering::AsFound { .. } => byte(self.space.read(at, Register::BUSES), 2),
        };
        bridge
    }

    /// The number of the bus behind the bridge `at`, which lets requests for it through now.
    fn number(&mut self, at: Address) -> Result<u8, Finding> {
        let last = self.last;
        let held = self.space.read(at, Register::BUSES);
        match &mut self.numbering {
            Numbering::Anew { used } => {
                if *used == last {
                    return Err(Finding::NoBus(at));
                }
                *used += 1;
                let secondary = *used;
                self.set_buses(at, secondary, last);
                Ok(secondary)
            }
            Numbering::AsFound { seen } => {
                let (secondary, subordinate) = (byte(held, 1), byte(held, 2));
                let is_possible = at.bus() < secondary
                    && secondary <= subordinate
                    && subordinate <= last
                    && !seen.contains(&secondary);
                if !is_possible {
                    return Err(Finding::NotNumbered(at));
                }
                seen.push(secondary);
                Ok(secondary)
            }
        }
    }

    /// Writes a bridge's bus numbers; the latency timer in the high byte means nothing (7.5.1.3).
    fn set_buses(&mut self, at: Address, secondary: u8, subordinate: u8) {
        let numbers = u32::from_le_bytes([at.bus(), secondary, subordinate, 0]);
        self.space.write(at, Register::BUSES, numbers);
    }

    fn finding(&mut self, finding: Finding) {
        self.topology.findings.push(finding);
    }
}
