//! What there is below a host bridge, and where its registers are.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::{String, ToString},
    vec::Vec,
};
use core::{fmt, ops::RangeInclusive};

use capelin_pci::{
    Address, Command, ConfigSpace, Fault, Place, Space, Topology, Window, enable, enumerate,
    program, survey,
};
use capelin_skb::{
    InterruptKind, MessageRoute, SeenWindow, Wire, pci_facts, pci_interrupt, pci_placed,
};

/// What is below a host bridge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Below {
    /// The host's segment.
    pub segment: u16,
    /// What the CPU sees.
    pub windows: Vec<SeenWindow>,
    /// The functions.
    pub topology: Topology,
    /// Where the pins of devices on the first bus lead.
    pub wires: Vec<Wire>,
    /// Registers that have a place, and where the CPU sees it.
    pub placed: Vec<(Place, u64)>,
    /// Who takes the messages of functions.
    pub routes: Vec<MessageRoute>,
    /// Functions that are driven.
    enabled: BTreeSet<Address>,
    /// How functions interrupt that have been driven.
    pub interrupts: BTreeMap<Address, (InterruptKind, u32)>,
}

/// Memory registers of a function that have no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unplaced {
    /// Whose.
    pub function: Address,
    /// Which BAR.
    pub bar: u8,
    /// Bytes.
    pub size: u64,
}

impl fmt::Display for Unplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            function,
            bar,
            size,
        } = self;
        write!(
            f,
            "{function}: no room for BAR {bar} ({size:#x} bytes): the function can't be driven"
        )
    }
}

impl Below {
    /// Finds what is on `buses` of `segment`.
    ///
    /// With windows, all is numbered anew and nothing has a place yet ([`Below::place`]). Without,
    /// nobody knows where registers could be (ACPI tells of windows in its programs alone), and those
    /// stay that firmware has placed: the CPU sees them at the addresses that the bus does.
    pub fn find(
        space: &mut impl ConfigSpace,
        segment: u16,
        buses: RangeInclusive<u8>,
        windows: Vec<SeenWindow>,
        wires: Vec<Wire>,
    ) -> Self {
        let (topology, placed) = if windows.is_empty() {
            let topology = survey(space, segment, buses);
            let placed = held(&topology);
            (topology, placed)
        } else {
            (enumerate(space, segment, buses), Vec::new())
        };
        Self {
            segment,
            windows,
            topology,
            wires,
            placed,
            routes: Vec::new(),
            enabled: BTreeSet::new(),
            interrupts: BTreeMap::new(),
        }
    }

    /// Whether somebody has to say where registers go.
    #[must_use]
    pub fn wants_places(&self) -> bool {
        !self.windows.is_empty()
    }

    /// Puts BARs to `places`.
    ///
    /// # Errors
    /// If one of them can't be: then none is.
    pub fn place(&mut self, space: &mut impl ConfigSpace, places: &[Place]) -> Result<(), Fault> {
        let windows: Vec<Window> = self.windows.iter().map(|seen| seen.window).collect();
        program(space, &self.topology, &windows, places)?;
        let seen = places.iter().filter_map(|place| {
            let bar = bars(&self.topology).find(|it| is_at(it, place))?;
            let is_io = bar.1.space == Space::Io;
            let cpu = seen_at(&self.windows, is_io, place.address)?;
            Some((*place, cpu))
        });
        self.placed = seen.collect();
        Ok(())
    }

    /// Memory registers that have no place. (Ports are old devices' second way to the same registers.)
    pub fn unplaced(&self) -> impl Iterator<Item = Unplaced> {
        let has_place = |function, number| {
            let mut places = self.placed.iter();
            places.any(|(place, _)| (place.function, place.bar) == (function, number))
        };
        bars(&self.topology)
            .filter(move |(function, bar)| {
                bar.space != Space::Io && !has_place(*function, bar.number)
            })
            .map(|(function, bar)| Unplaced {
                function,
                bar: bar.number,
                size: bar.size,
            })
    }

    /// The function at `address`, as written.
    #[must_use]
    pub fn function(&self, address: &str) -> Option<Address> {
        let mut all = self.topology.functions.iter().map(|it| it.address);
        all.find(|it| it.to_string() == address)
    }

    /// Lets `function` answer to its addresses in memory and reach memory itself, if all its registers
    /// there have a place. Whether it has. (Its pin stays off until its driver waits for it: [`mod@crate::line`].)
    pub fn enable(&mut self, space: &mut impl ConfigSpace, function: Address) -> bool {
        if self.unplaced().any(|it| it.function == function) {
            return false;
        }
        let wanted = Command::MEMORY | Command::BUS_MASTER | Command::NO_PIN;
        enable(space, &self.topology, function, wanted);
        self.enabled.insert(function);
        true
    }

    /// Lets `function` do neither, nor raise its pin.
    pub fn disable(&mut self, space: &mut impl ConfigSpace, function: Address) {
        enable(space, &self.topology, function, Command::NO_PIN);
        self.enabled.remove(&function);
    }

    /// Whether `function` is let do both.
    #[must_use]
    pub fn is_enabled(&self, function: Address) -> bool {
        self.enabled.contains(&function)
    }

    /// Where the pin of `function` leads, if it has one and that is known.
    #[must_use]
    pub fn wire(&self, function: Address) -> Option<Wire> {
        let pin = self.topology.root_pin(function)?;
        self.wires.iter().copied().find(|wire| wire.takes(pin))
    }

    /// The line `intid` isn't served any more: no pin leads to it from now on.
    pub fn lose_line(&mut self, intid: u32) {
        self.wires.retain(|wire| wire.intid != intid);
        self.interrupts
            .retain(|_, held| *held != (InterruptKind::Intx, intid));
    }

    /// Who takes the messages of `function`, and what it is known by there.
    #[must_use]
    pub fn message_route(&self, function: Address) -> Option<(&str, u32)> {
        let mut routes = self.routes.iter();
        routes.find_map(|route| {
            let device = route.device_of(function.requester())?;
            Some((route.controller.as_str(), device))
        })
    }

    /// The facts of how functions interrupt.
    #[must_use]
    pub fn interrupt_facts(&self) -> Vec<String> {
        let all = self.interrupts.iter();
        let facts = all.filter_map(|(&at, &(kind, intid))| pci_interrupt(at, kind, intid).ok());
        facts.map(|fact| fact.to_string()).collect()
    }

    /// The facts of the functions.
    #[must_use]
    pub fn facts(&self) -> Vec<String> {
        let facts = pci_facts(self.segment, &self.topology).unwrap_or_default();
        facts.iter().map(ToString::to_string).collect()
    }

    /// The facts of the places. One that is beyond what a number can say is left out.
    #[must_use]
    pub fn place_facts(&self) -> Vec<String> {
        let facts = self.placed.iter().filter_map(|(place, cpu)| {
            let (_, bar) = bars(&self.topology).find(|it| is_at(it, place))?;
            pci_placed(place, *cpu, bar.size).ok()
        });
        facts.map(|fact| fact.to_string()).collect()
    }
}

/// All BARs, with the functions whose they are.
fn bars(topology: &Topology) -> impl Iterator<Item = (Address, capelin_pci::Bar)> {
    let of = |function: &capelin_pci::Function| {
        let address = function.address;
        let bars: Vec<_> = function.bars.iter().map(|bar| (address, *bar)).collect();
        bars
    };
    topology.functions.iter().flat_map(of)
}

fn is_at((function, bar): &(Address, capelin_pci::Bar), place: &Place) -> bool {
    (*function, bar.number) == (place.function, place.bar)
}

/// Where firmware has placed memory registers.
fn held(topology: &Topology) -> Vec<(Place, u64)> {
    bars(topology)
        .filter(|(_, bar)| bar.space != Space::Io && bar.held != 0)
        .map(|(function, bar)| {
            let place = Place {
                function,
                bar: bar.number,
                address: bar.held,
            };
            (place, bar.held)
        })
        .collect()
}

/// Where the CPU sees an address of the bus.
fn seen_at(windows: &[SeenWindow], is_io: bool, address: u64) -> Option<u64> {
    windows.iter().find_map(|SeenWindow { window, cpu }| {
        let offset = address.checked_sub(window.base)?;
        let is_inside = (window.space == Space::Io) == is_io && offset < window.size;
        is_inside.then(|| cpu.checked_add(offset))?
    })
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "registers have halves")]
mod tests;
