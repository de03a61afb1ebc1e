//! A fake bus: functions with registers that behave as the specification says, and bridges that let through what their
//! registers say and nothing else.

use std::collections::BTreeMap;

use capelin_pci::{Address, Command, ConfigSpace, Register, Space};

/// What one function is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Made {
    pub(crate) vendor: u16,
    pub(crate) device: u16,
    /// Base class in bits 31:24, to the revision in 7:0.
    pub(crate) class: u32,
    pub(crate) has_more_functions: bool,
    pub(crate) pin: u8,
    /// What each BAR register lets be set, and the bits that can't be.
    pub(crate) bars: Vec<(u32, u32)>,
    /// Capabilities: offset, and the words from there.
    pub(crate) capabilities: Vec<(u8, Vec<u32>)>,
    pub(crate) bridge: Option<MadeBridge>,
}

/// A bridge, and what is behind it, by device and function.
#[derive(Clone, Debug, Default)]
pub(crate) struct MadeBridge {
    pub(crate) behind: BTreeMap<(u8, u8), Made>,
    pub(crate) has_io: bool,
    /// Whether there is a window for prefetchable memory, and of 64 bits.
    pub(crate) prefetchable: Option<bool>,
}

/// The registers of a BAR.
pub(crate) fn bar(space: Space, is_prefetchable: bool, size: u64) -> Vec<(u32, u32)> {
    let mask = !(size - 1);
    let ahead = if is_prefetchable { 8 } else { 0 };
    match space {
        Space::Io => vec![(mask as u32 & !3, 1)],
        Space::Memory32 => vec![(mask as u32 & !0xf, ahead)],
        Space::Memory64 => vec![(mask as u32 & !0xf, 4 | ahead), ((mask >> 32) as u32, 0)],
    }
}

impl Made {
    pub(crate) fn endpoint(bars: Vec<(u32, u32)>) -> Self {
        Self {
            vendor: 0x1af4,
            device: 0x1044,
            class: 0x0200_0001,
            bars,
            ..Self::default()
        }
    }

    pub(crate) fn bridge(behind: impl IntoIterator<Item = ((u8, u8), Made)>) -> Self {
        Self {
            vendor: 0x1b36,
            device: 0x000c,
            class: 0x0604_0000,
            bridge: Some(MadeBridge {
                behind: behind.into_iter().collect(),
                has_io: true,
                prefetchable: Some(true),
            }),
            ..Self::default()
        }
    }

    /// As the downstream end of a link: its capability for PCI Express says root port.
    pub(crate) fn root_port(behind: impl IntoIterator<Item = ((u8, u8), Made)>) -> Self {
        Self {
            capabilities: vec![(0x40, vec![0x0042_0010])],
            ..Self::bridge(behind)
        }
    }

    fn has_list(&self) -> bool {
        !self.capabilities.is_empty()
    }
}

/// A function at work.
struct Working {
    made: Made,
    command: u16,
    bars: Vec<u32>,
    /// The registers of a bridge from 0x18 to 0x33.
    bridge: [u32; 7],
    behind: BTreeMap<(u8, u8), Working>,
}

impl Working {
    fn new(made: &Made) -> Self {
        let behind = made.bridge.iter().flat_map(|it| &it.behind);
        Self {
            made: made.clone(),
            // As firmware may have left it: answering, and reaching for memory.
            command: 7,
            bars: made.bars.iter().map(|&(_, fixed)| fixed).collect(),
            bridge: [0; 7],
            behind: behind.map(|(&at, made)| (at, Self::new(made))).collect(),
        }
    }

    fn read(&self, offset: u16) -> u32 {
        let made = &self.made;
        let is_bridge = made.bridge.is_some();
        let index = usize::from(offset / 4);
        match offset {
            0 => u32::from(made.device) << 16 | u32::from(made.vendor),
            4 => u32::from(made.has_list()) << 20 | u32::from(self.command),
            8 => made.class,
            0xc => (u32::from(made.has_more_functions) << 7 | u32::from(is_bridge)) << 16,
            0x10..0x28 if !is_bridge || offset < 0x18 => {
                self.bars.get(index - 4).copied().unwrap_or(0)
            }
            0x18..0x34 if is_bridge => self.bridge[index - 6],
            0x2c => 0xcafe_1af4,
            0x34 => made.capabilities.first().map_or(0, |it| u32::from(it.0)),
            0x3c => u32::from(made.pin) << 8,
            _ => made
                .capabilities
                .iter()
                .find_map(|(start, words)| {
                    let start = usize::from(*start) / 4;
                    words.get(index.checked_sub(start)?).copied()
                })
                .unwrap_or(0),
        }
    }

    fn write(&mut self, offset: u16, value: u32) {
        let index = usize::from(offset / 4);
        if offset == 4 {
            self.command = value as u16;
        } else if let Some(bridge) = self.made.bridge.clone()
            && (0x18..0x34).contains(&offset)
        {
            let (io, ahead) = (bridge.has_io, bridge.prefetchable);
            let held = match offset {
                0x18 => value,
                0x1c if io => value & 0xf0f0,
                0x20 => value & 0xfff0_fff0,
                0x24 => match ahead {
                    Some(is_64_bit) => {
                        value & 0xfff0_fff0 | if is_64_bit { 0x0001_0001 } else { 0 }
                    }
                    None => 0,
                },
                0x28 | 0x2c if ahead == Some(true) => value,
                _ => 0,
            };
            self.bridge[index - 6] = held;
        } else if let Some(bar) = index.checked_sub(4)
            && let Some(&(mask, fixed)) = self.made.bars.get(bar)
        {
            assert_eq!(
                self.command & 3,
                0,
                "a BAR changes while its function answers"
            );
            self.bars[bar] = value & mask | fixed;
        }
    }

    /// Whether a bridge lets an address of `space` through.
    fn lets(&self, is_io: bool, address: u64) -> bool {
        let halves = |value: u32| (u64::from(value & 0xffff), u64::from(value >> 16));
        if is_io {
            let window = self.bridge[1];
            let (base, limit) = (
                u64::from(window & 0xf0) << 8,
                u64::from(window >> 8 & 0xf0) << 8,
            );
            return self.command & 1 != 0 && (base..=limit | 0xfff).contains(&address);
        }
        let (base, limit) = halves(self.bridge[2]);
        let plain = (base << 16..=limit << 16 | 0xf_ffff).contains(&address);
        let (base, limit) = halves(self.bridge[3]);
        let base = u64::from(self.bridge[4]) << 32 | (base & 0xfff0) << 16;
        let limit = u64::from(self.bridge[5]) << 32 | (limit & 0xfff0) << 16 | 0xf_ffff;
        let has_ahead = self
            .made
            .bridge
            .as_ref()
            .is_some_and(|it| it.prefetchable.is_some());
        self.command & 2 != 0 && (plain || has_ahead && (base..=limit).contains(&address))
    }

    /// Everybody who answers to `address`: vendor, device and BAR.
    fn answering(&self, is_io: bool, address: u64, found: &mut Vec<(Made, usize)>) {
        let mut bar = 0;
        while let Some(&(mask, fixed)) = self.made.bars.get(bar) {
            let is_64_bit = fixed & 7 == 4;
            let (mut base, mut mask) = (u64::from(self.bars[bar] & mask), u64::from(mask));
            if is_64_bit {
                base |= u64::from(self.bars[bar + 1]) << 32;
                mask |= u64::from(self.made.bars[bar + 1].0) << 32;
            } else {
                mask |= u64::from(u32::MAX) << 32;
            }
            let answers = self.command & if is_io { 1 } else { 2 } != 0;
            if answers && (fixed & 1 != 0) == is_io && mask != 0 && address & mask == base {
                found.push((self.made.clone(), bar));
            }
            bar += if is_64_bit { 2 } else { 1 };
        }
        if self.made.bridge.is_some() && self.lets(is_io, address) {
            for behind in self.behind.values() {
                behind.answering(is_io, address, found);
            }
        }
    }
}

/// A host with what is on its first bus.
pub(crate) struct Fake {
    first: u8,
    root: BTreeMap<(u8, u8), Working>,
    pub(crate) accesses: usize,
}

impl Fake {
    pub(crate) fn new(first: u8, root: impl IntoIterator<Item = ((u8, u8), Made)>) -> Self {
        let root = root.into_iter().map(|(at, made)| (at, Working::new(&made)));
        Self {
            first,
            root: root.collect(),
            accesses: 0,
        }
    }

    fn find(&mut self, at: Address) -> Option<&mut Working> {
        self.accesses += 1;
        let place = (at.device(), at.function());
        find(&mut self.root, self.first, at.bus(), place)
    }

    /// Who answers to an address from the host's side.
    pub(crate) fn answering(&self, is_io: bool, address: u64) -> Vec<(Made, usize)> {
        let mut found = Vec::new();
        for function in self.root.values() {
            function.answering(is_io, address, &mut found);
        }
        found
    }

    /// What `at` may do.
    pub(crate) fn command(&mut self, at: Address) -> Command {
        Command::from_bits_truncate(self.find(at).unwrap().command)
    }
}

fn find(
    on: &mut BTreeMap<(u8, u8), Working>,
    number: u8,
    wanted: u8,
    place: (u8, u8),
) -> Option<&mut Working> {
    if number == wanted {
        return on.get_mut(&place);
    }
    on.values_mut().find_map(|bridge| {
        let [_, secondary, subordinate, _] = bridge.bridge[0].to_le_bytes();
        let is_way = secondary != 0 && (secondary..=subordinate).contains(&wanted);
        // A root port shows the other end of its link at every device number.
        let place = if bridge.made.capabilities.is_empty() || secondary != wanted {
            place
        } else {
            (0, place.1)
        };
        is_way.then(|| find(&mut bridge.behind, secondary, wanted, place))?
    })
}

impl ConfigSpace for Fake {
    fn read(&mut self, function: Address, register: Register) -> u32 {
        self.find(function)
            .map_or(u32::MAX, |it| it.read(register.offset()))
    }

    fn write(&mut self, function: Address, register: Register, value: u32) {
        if let Some(found) = self.find(function) {
            found.write(register.offset(), value);
        }
    }
}
