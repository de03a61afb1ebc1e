//! Facts of what is behind a PCI host bridge, and where the rules say that BARs go.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use capelin_pci::{Address, Place, RootPin, Space, Topology, Window};

use crate::error::Error;
use crate::schema::{
    Fact, Pci, PciBar, PciBehind, PciBridge, PciClass, PciHost, PciInterrupt, PciIntx, PciMsi,
    PciMsiFrame, PciMsiX, PciPlaced, PciRoot, PciWindow,
};
use crate::term::Term;

/// What the names of all facts and rules about PCI begin with.
pub const PCI_NAMES: &str = "pci";
/// What the names of facts about devices in slots begin with.
pub const SLOT_NAMES: &str = "slot_";
/// The rules of `pci.pl`. The server reads them when somebody first asks for something with [`PCI_NAMES`] in it.
pub const PCI_RULES: &str = include_str!("pci.pl");

/// A host bridge's window, and where the CPU sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenWindow {
    /// As the bus sees it.
    pub window: Window,
    /// The first address as the CPU sees it.
    pub cpu: u64,
}

/// Where a pin of some devices on a host bridge's first bus leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// The bits of a device's number that count.
    pub mask: u8,
    /// The devices, and which of their pins.
    pub pin: RootPin,
    /// INTID of the GIC.
    pub intid: u32,
    /// Whether edges interrupt, instead of the level.
    pub is_edge: bool,
}

impl Wire {
    /// Whether the pin that comes out at `pin` is on it.
    #[must_use]
    pub fn takes(&self, pin: RootPin) -> bool {
        pin.pin == self.pin.pin && pin.device & self.mask == self.pin.device
    }
}

/// How a function interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptKind {
    /// By its pin.
    Intx,
    /// By message.
    Msi,
    /// By message, of a table.
    MsiX,
}

impl InterruptKind {
    /// As the fact says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intx => "intx",
            Self::Msi => "msi",
            Self::MsiX => "msi_x",
        }
    }
}

/// Who takes the message interrupts of some functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRoute {
    /// The first requester id.
    pub requester: u32,
    /// How many there are.
    pub count: u32,
    /// The controller's path in the device tree.
    pub controller: String,
    /// What it knows the first one by.
    pub device: u32,
}

impl MessageRoute {
    /// What its controller knows the function with that requester id by, if it is one of these.
    #[must_use]
    pub fn device_of(&self, requester: u16) -> Option<u32> {
        let place = u32::from(requester).checked_sub(self.requester)?;
        (place < self.count).then(|| self.device.checked_add(place))?
    }

    /// The fact of it, for `segment`.
    ///
    /// # Errors
    /// None that could be: all numbers have 32 bits.
    pub fn fact(&self, segment: u16) -> Result<Term, Error> {
        let fact = PciMsi {
            segment: segment.into(),
            requester: self.requester.into(),
            count: self.count.into(),
            controller: self.controller.clone(),
            device: self.device.into(),
        };
        fact.term()
    }
}

/// The fact of a frame that makes interrupts of messages: where its registers are, and its first interrupt and their
/// number where the tree says them.
///
/// # Errors
/// `representation_error(max_integer)` for an address above 2⁶³ − 1.
pub fn message_frame_fact(
    path: &str,
    (base, size): (u64, u64),
    (first, count): (Option<u32>, Option<u32>),
) -> Result<Term, Error> {
    let fact = PciMsiFrame {
        path: path.into(),
        base,
        size,
        first: first.unwrap_or(0).into(),
        count: count.unwrap_or(0).into(),
    };
    fact.term()
}

/// The facts of a host bridge.
///
/// # Errors
/// `representation_error(max_integer)` for an address above 2⁶³ − 1.
pub fn pci_host_facts(
    host: &PciHost,
    windows: &[SeenWindow],
    wires: &[Wire],
) -> Result<Vec<Term>, Error> {
    let mut facts = Vec::from([host.term()?]);
    for wire in wires {
        let fact = PciIntx {
            segment: host.segment,
            mask: wire.mask.into(),
            device: wire.pin.device.into(),
            pin: wire.pin.pin.into(),
            intid: wire.intid.into(),
            trigger: if wire.is_edge { "edge" } else { "level" },
        };
        facts.push(fact.term()?);
    }
    for SeenWindow { window, cpu } in windows {
        let fact = PciWindow {
            segment: host.segment,
            space: space(window.space),
            kind: kind(window.is_prefetchable),
            bus: window.base,
            cpu: *cpu,
            size: window.size,
        };
        facts.push(fact.term()?);
    }
    Ok(facts)
}

/// The facts of all functions below a host bridge of `segment`.
///
/// # Errors
/// None that could be: addresses, classes and vendors are small. (A BAR of 2⁶³ bytes is left out: it has no place.)
pub fn pci_facts(segment: u16, topology: &Topology) -> Result<Vec<Term>, Error> {
    let segment = segment.into();
    let mut facts = Vec::new();
    for function in &topology.functions {
        let address = || function.address.to_string();
        let fact = Pci {
            address: address(),
            vendor: function.vendor.into(),
            device: function.device.into(),
        };
        facts.push(fact.term()?);
        facts.push(match function.parent {
            None => PciRoot {
                address: address(),
                segment,
            }
            .term()?,
            Some(bridge) => PciBehind {
                address: address(),
                bridge: bridge.to_string(),
            }
            .term()?,
        });
        let class = PciClass {
            address: address(),
            base: function.class.base.into(),
            sub: function.class.sub.into(),
            interface: function.class.interface.into(),
        };
        facts.push(class.term()?);
        if let Some(bridge) = function.bridge
            && let Some(first) = bridge.secondary
        {
            let fact = PciBridge {
                address: address(),
                first: first.into(),
                last: bridge.subordinate.into(),
                io: if bridge.has_io { "yes" } else { "no" },
                prefetchable: bridge.prefetchable.map_or("none", space),
            };
            facts.push(fact.term()?);
        }
        if let Some(msi_x) = function.msi_x {
            let fact = PciMsiX {
                address: address(),
                bar: msi_x.table.0.into(),
                vectors: msi_x.vectors.into(),
            };
            facts.push(fact.term()?);
        }
        for bar in &function.bars {
            let fact = PciBar {
                address: address(),
                bar: bar.number.into(),
                space: space(bar.space),
                kind: kind(bar.is_prefetchable),
                size: bar.size,
            };
            facts.extend(fact.term());
        }
    }
    Ok(facts)
}

/// The fact of where registers are.
///
/// # Errors
/// `representation_error(max_integer)` for an address above 2⁶³ − 1.
pub fn pci_placed(place: &Place, cpu: u64, size: u64) -> Result<Term, Error> {
    let fact = PciPlaced {
        address: place.function.to_string(),
        bar: place.bar.into(),
        bus: place.address,
        cpu,
        size,
    };
    fact.term()
}

/// The fact of how a function interrupts.
///
/// # Errors
/// None that could be: numbers of interrupts are small.
pub fn pci_interrupt(function: Address, kind: InterruptKind, intid: u32) -> Result<Term, Error> {
    let fact = PciInterrupt {
        address: function.to_string(),
        kind: kind.name(),
        intid: intid.into(),
    };
    fact.term()
}

const fn space(space: Space) -> &'static str {
    match space {
        Space::Io => "io",
        Space::Memory32 => "memory32",
        Space::Memory64 => "memory64",
    }
}

const fn kind(is_prefetchable: bool) -> &'static str {
    if is_prefetchable {
        "prefetchable"
    } else {
        "plain"
    }
}

/// A place as the rules answer it: the function's address, the BAR, the address on the bus. `None` if that can't be a
/// place of a function in `topology`.
#[must_use]
pub fn pci_place(topology: &Topology, function: &str, bar: i64, address: i64) -> Option<Place> {
    let is_it = |at: &Address| -> bool { at.to_string() == *function };
    Some(Place {
        function: topology.functions.iter().map(|it| it.address).find(is_it)?,
        bar: u8::try_from(bar).ok()?,
        address: u64::try_from(address).ok()?,
    })
}
