//! What the knowledge base says of a host: goals, and their solutions read.

use alloc::{format, string::String};
use core::ops::RangeInclusive;

use capelin_interfaces::skb::Solution;
use capelin_pci::{Place, RootPin, Space, Topology, Window};
use capelin_skb::{MessageRoute, SeenWindow, Wire, pci_place};

/// Which host has its configuration space at the physical address `base` ([`host`]).
#[must_use]
pub fn host_goal(base: u64) -> String {
    format!("device_reg(Path, 0, {base}, _), pci_host(Segment, Path, First, Last)")
}

/// The windows of a segment, one solution each ([`window`]).
#[must_use]
pub fn windows_goal(segment: u16) -> String {
    format!("pci_window({segment}, Space, Kind, Bus, Cpu, Size)")
}

/// Where the pins of a segment's devices lead, one solution each ([`wire`]).
#[must_use]
pub fn wires_goal(segment: u16) -> String {
    format!("pci_intx({segment}, Mask, Device, Pin, Intid, Trigger)")
}

/// Who takes the message interrupts of a segment's functions, one solution each ([`route`]).
#[must_use]
pub fn routes_goal(segment: u16) -> String {
    format!("pci_msi({segment}, Requester, Count, Controller, Device)")
}

/// Where the rules put BARs, one solution each ([`place`]).
#[must_use]
pub fn places_goal(segment: u16) -> String {
    format!("pci_places({segment}, Places), member(place(Function, Bar, At), Places)")
}

/// Reads a solution of [`host_goal`]: the segment, and the buses.
#[must_use]
pub fn host(solution: &Solution) -> Option<(u16, RangeInclusive<u8>)> {
    let buses = number(solution, "First")?..=number(solution, "Last")?;
    Some((number(solution, "Segment")?, buses))
}

/// Reads a solution of [`windows_goal`].
#[must_use]
pub fn window(solution: &Solution) -> Option<SeenWindow> {
    let window = Window {
        space: match solution.get("Space")? {
            "io" => Space::Io,
            "memory32" => Space::Memory32,
            "memory64" => Space::Memory64,
            _ => return None,
        },
        is_prefetchable: match solution.get("Kind")? {
            "plain" => false,
            "prefetchable" => true,
            _ => return None,
        },
        base: number(solution, "Bus")?,
        size: number(solution, "Size")?,
    };
    Some(SeenWindow {
        window,
        cpu: number(solution, "Cpu")?,
    })
}

/// Reads a solution of [`wires_goal`].
#[must_use]
pub fn wire(solution: &Solution) -> Option<Wire> {
    Some(Wire {
        mask: number(solution, "Mask")?,
        pin: RootPin {
            device: number(solution, "Device")?,
            pin: number(solution, "Pin")?,
        },
        intid: number(solution, "Intid")?,
        is_edge: match solution.get("Trigger")? {
            "edge" => true,
            "level" => false,
            _ => return None,
        },
    })
}

/// Reads a solution of [`routes_goal`].
#[must_use]
pub fn route(solution: &Solution) -> Option<MessageRoute> {
    // A path stands within quotes; one with a special letter in it leads nowhere.
    let controller = solution.get("Controller")?;
    let bare = controller
        .strip_prefix('\'')
        .and_then(|it| it.strip_suffix('\''));
    Some(MessageRoute {
        requester: number(solution, "Requester")?,
        count: number(solution, "Count")?,
        controller: String::from(bare.unwrap_or(controller)),
        device: number(solution, "Device")?,
    })
}

/// Reads a solution of [`places_goal`]: a place of a function of `topology`.
#[must_use]
pub fn place(solution: &Solution, topology: &Topology) -> Option<Place> {
    // An address has a colon in it, and so stands within quotes.
    let function = solution.get("Function")?;
    let function = function.strip_prefix('\'')?.strip_suffix('\'')?;
    let (bar, at) = (number(solution, "Bar")?, number(solution, "At")?);
    pci_place(topology, function, bar, at)
}

fn number<N: core::str::FromStr>(solution: &Solution, variable: &str) -> Option<N> {
    solution.get(variable)?.parse().ok()
}
