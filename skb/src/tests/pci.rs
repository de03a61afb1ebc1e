//! Where the rules put BARs, held against the checks that stand before the first register is written.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;

use capelin_pci::Space::{Io, Memory32, Memory64};
use capelin_pci::{
    Address, Bar, Bridge, Class, ConfigSpace, Function, Place, Register, Space, Topology, Window,
    program,
};
use proptest::prelude::*;

use crate::schema::PciHost;
use crate::{KnowledgeBase, PCI_RULES, SeenWindow, View, pci_facts, pci_host_facts, pci_place};

/// Takes all writes.
struct Sink;

impl ConfigSpace for Sink {
    fn read(&mut self, _: Address, _: Register) -> u32 {
        0
    }

    fn write(&mut self, _: Address, _: Register, _: u32) {}
}

const fn window(space: Space, base: u64, size: u64) -> Window {
    Window {
        space,
        is_prefetchable: false,
        base,
        size,
    }
}

/// As on QEMU's board.
const WINDOWS: [Window; 3] = [
    window(Io, 0, 0x1_0000),
    window(Memory32, 0x1000_0000, 0x2eff_0000),
    window(Memory64, 0x80_0000_0000, 0x80_0000_0000),
];

/// A function to be: its BARs, and what is behind it if it is a bridge.
#[derive(Clone, Debug)]
struct Made {
    bars: Vec<(Space, bool, u32)>,
    bridge: Option<(bool, Option<Space>, Vec<Made>)>,
}

fn endpoint(bars: &[(Space, bool, u32)]) -> Made {
    Made {
        bars: bars.to_vec(),
        bridge: None,
    }
}

fn bridge(prefetchable: Option<Space>, behind: Vec<Made>) -> Made {
    Made {
        bars: vec![],
        bridge: Some((true, prefetchable, behind)),
    }
}

/// Gives addresses and buses to what is on the bus `bus` behind `parent`.
fn number(made: &[Made], bus: u8, parent: Option<Address>, used: &mut u8, topology: &mut Topology) {
    for (device, made) in made.iter().enumerate() {
        let address = Address::new(0, bus, u8::try_from(device).unwrap(), 0).unwrap();
        let mut bars = Vec::new();
        let mut next = 0;
        for &(space, is_prefetchable, log) in &made.bars {
            bars.push(Bar {
                number: next,
                space,
                is_prefetchable,
                size: 1 << log,
                held: 0,
            });
            next += if space == Memory64 { 2 } else { 1 };
        }
        let place = topology.functions.len();
        topology.functions.push(Function {
            address,
            parent,
            vendor: 0x1234,
            device: 1,
            revision: 0,
            class: Class {
                base: 2,
                sub: 0,
                interface: 0,
            },
            subsystem: None,
            bridge: None,
            bars,
            pin: None,
            capabilities: vec![],
            msi: None,
            msi_x: None,
        });
        if let Some((has_io, prefetchable, behind)) = &made.bridge {
            *used += 1;
            let secondary = *used;
            number(behind, secondary, Some(address), used, topology);
            topology.functions[place].bridge = Some(Bridge {
                secondary: Some(secondary),
                subordinate: *used,
                has_io: *has_io,
                prefetchable: *prefetchable,
            });
        }
    }
}

fn topology(made: &[Made]) -> Topology {
    let mut topology = Topology::default();
    number(made, 0, None, &mut 0, &mut topology);
    topology
}

/// What the rules answer.
fn placed(topology: &Topology, windows: &[Window]) -> Vec<Place> {
    let host = PciHost {
        segment: 0,
        path: String::from("/pcie@10000000"),
        first: 0,
        last: 255,
    };
    let seen = |&window: &Window| SeenWindow {
        window,
        cpu: window.base,
    };
    let windows: Vec<_> = windows.iter().map(seen).collect();
    let mut kb = KnowledgeBase::with_rules();
    kb.consult(PCI_RULES).unwrap();
    let host = pci_host_facts(&host, &windows, &[]).unwrap();
    for fact in host.into_iter().chain(pci_facts(0, topology).unwrap()) {
        kb.assertz(&fact).unwrap();
    }
    let solution = kb.first("pci_places(0, L)").unwrap().unwrap();
    let places = solution.get("L").unwrap().elements().unwrap();
    let place = places.into_iter().map(|place| {
        let View::Compound(_, arguments) = place.view() else {
            panic!("{}", place.to_term());
        };
        let arguments: Vec<_> = arguments.collect();
        pci_place(
            topology,
            arguments[0].as_atom().unwrap(),
            arguments[1].as_int().unwrap(),
            arguments[2].as_int().unwrap(),
        )
        .unwrap()
    });
    place.collect()
}

/// Function, BAR and address, as one writes them.
fn texts(places: &[Place]) -> Vec<String> {
    let text = |it: &Place| std::format!("{} {} {:#x}", it.function, it.bar, it.address);
    places.iter().map(text).collect()
}

#[test]
fn the_widest_first_in_the_window_that_suits() {
    let topology = topology(&[
        endpoint(&[(Memory32, false, 12), (Io, false, 7), (Memory64, true, 14)]),
        endpoint(&[(Memory64, false, 30), (Memory32, false, 16)]),
    ]);
    let places = placed(&topology, &WINDOWS);
    assert_eq!(
        texts(&places),
        [
            "0000:00:01.0 0 0x8000000000",
            "0000:00:01.0 2 0x10000000",
            "0000:00:00.0 2 0x8040000000",
            "0000:00:00.0 0 0x10010000",
            "0000:00:00.0 1 0x1000",
        ]
    );
    program(&mut Sink, &topology, &WINDOWS, &places).unwrap();
}

#[test]
fn what_is_behind_a_bridge_lies_together() {
    let behind = vec![
        endpoint(&[(Memory32, false, 12), (Memory64, true, 21)]),
        endpoint(&[(Memory64, false, 20), (Io, false, 5)]),
    ];
    let topology = topology(&[
        bridge(Some(Memory64), behind),
        endpoint(&[(Memory32, false, 20)]),
    ]);
    let places = placed(&topology, &WINDOWS);
    assert_eq!(
        texts(&places),
        [
            "0000:01:00.0 1 0x8000000000",
            "0000:00:01.0 0 0x10000000",
            "0000:01:01.0 0 0x10100000",
            "0000:01:00.0 0 0x10200000",
            "0000:01:01.0 2 0x1000",
        ]
    );
    program(&mut Sink, &topology, &WINDOWS, &places).unwrap();
}

#[test]
fn what_finds_no_room_is_left_out_alone() {
    let topology = topology(&[
        endpoint(&[(Memory32, false, 31)]),
        endpoint(&[(Memory32, false, 12)]),
    ]);
    let places = placed(&topology, &WINDOWS);
    assert_eq!(texts(&places), ["0000:00:01.0 0 0x10000000"]);
    program(&mut Sink, &topology, &WINDOWS, &places).unwrap();
    assert!(placed(&topology, &WINDOWS[..1]).is_empty());
}

#[test]
fn above_4_gib_is_used_for_those_who_can_when_there_is_no_other() {
    let topology = topology(&[
        endpoint(&[(Memory32, false, 12)]),
        endpoint(&[(Memory64, false, 12)]),
    ]);
    let low = window(Memory64, 0xffff_f000, 1 << 20);
    let places = placed(&topology, &[low]);
    assert_eq!(
        texts(&places),
        ["0000:00:00.0 0 0xfffff000", "0000:00:01.0 0 0x100000000"]
    );
    program(&mut Sink, &topology, &[low], &places).unwrap();
}

fn a_space() -> impl Strategy<Value = Space> {
    prop_oneof![Just(Io), Just(Memory32), Just(Memory64)]
}

fn some_bars() -> impl Strategy<Value = Vec<(Space, bool, u32)>> {
    let bar =
        (a_space(), any::<bool>(), 4_u32..22).prop_map(
            |(space, is_prefetchable, log)| match space {
                Io => (Io, false, log.min(8)),
                memory => (memory, is_prefetchable, log),
            },
        );
    prop::collection::vec(bar, 0..3)
}

fn a_function() -> impl Strategy<Value = Made> {
    let leaf = some_bars().prop_map(|bars| Made { bars, bridge: None });
    leaf.prop_recursive(4, 24, 4, |inner| {
        let ahead = prop_oneof![Just(None), Just(Some(Memory32)), Just(Some(Memory64))];
        let behind = prop::collection::vec(inner, 0..4);
        (some_bars(), any::<bool>(), ahead, behind).prop_map(
            |(mut bars, has_io, prefetchable, behind)| {
                // A bridge has two.
                bars.truncate(1);
                Made {
                    bars,
                    bridge: Some((has_io, prefetchable, behind)),
                }
            },
        )
    })
}

/// Whether a port behind `function` can be reached.
fn ports_get_through(topology: &Topology, function: &Function) -> bool {
    let above = |it: &Function| topology.function(it.parent?);
    core::iter::successors(above(function), |it| above(it))
        .all(|it| it.bridge.is_some_and(|bridge| bridge.has_io))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// However functions and bridges lie: all places hold, and with room enough nobody goes without.
    #[test]
    fn places_can_always_be(made in prop::collection::vec(a_function(), 1..5)) {
        let topology = topology(&made);
        let places = placed(&topology, &WINDOWS);
        prop_assert_eq!(program(&mut Sink, &topology, &WINDOWS, &places), Ok(()));
        let found: BTreeSet<_> = places.iter().map(|it| (it.function, it.bar)).collect();
        for function in &topology.functions {
            for bar in &function.bars {
                let is_reachable = bar.space != Io || ports_get_through(&topology, function);
                let key = (function.address, bar.number);
                // Ports are few: 64 KiB, of which each bridge takes 4.
                if bar.space != Io {
                    prop_assert!(found.contains(&key), "{} {}", function.address.to_string(), bar.number);
                }
                prop_assert!(is_reachable || !found.contains(&key));
            }
        }
    }

    /// The same in windows that are too small, odd, or for prefetching alone.
    #[test]
    fn places_can_be_in_any_windows(
        made in prop::collection::vec(a_function(), 1..5),
        windows in prop::collection::vec((a_space(), any::<bool>(), 0_u64..1 << 13, 1_u64..64), 0..4),
    ) {
        let topology = topology(&made);
        // One behind the other, since two windows of a space don't overlap.
        let mut at = 0;
        let windows: Vec<_> = windows
            .into_iter()
            .map(|(space, is_prefetchable, gap, size)| {
                let base = at + gap * 0x1_0000;
                let size = size * 0x1_1000;
                at = base + size;
                Window { space, is_prefetchable: is_prefetchable && space != Io, base, size }
            })
            .collect();
        let places = placed(&topology, &windows);
        prop_assert_eq!(program(&mut Sink, &topology, &windows, &places), Ok(()));
    }
}
