//! Finding functions on a fake bus, and putting their BARs somewhere.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "registers have halves and bytes"
)]

mod common;

use capelin_pci::{
    Address, Bar, Command, ConfigSpace as _, Fault, Finding, Place, Register, Side, Space,
    Topology, Window, enable, enumerate, program, survey,
};
use common::{Fake, Made, bar};

fn at(bus: u8, device: u8, function: u8) -> Address {
    Address::new(0, bus, device, function).unwrap()
}

fn addresses(topology: &Topology) -> Vec<String> {
    let functions = topology.functions.iter();
    functions.map(|it| it.address.to_string()).collect()
}

/// Windows as QEMU's: ports, memory below 4 GiB, memory above.
const WINDOWS: [Window; 3] = [
    Window {
        space: Space::Io,
        is_prefetchable: false,
        base: 0,
        size: 0x1_0000,
    },
    Window {
        space: Space::Memory32,
        is_prefetchable: false,
        base: 0x1000_0000,
        size: 0x2eff_0000,
    },
    Window {
        space: Space::Memory64,
        is_prefetchable: false,
        base: 0x80_0000_0000,
        size: 0x80_0000_0000,
    },
];

#[test]
fn functions_and_buses_in_order() {
    let leaf = || Made::endpoint(vec![]);
    let several = Made {
        has_more_functions: true,
        ..leaf()
    };
    let mut fake = Fake::new(
        4,
        [
            ((0, 0), leaf()),
            (
                (1, 0),
                Made::bridge([
                    ((3, 0), Made::bridge([((0, 0), leaf())])),
                    ((7, 0), Made::bridge([])),
                ]),
            ),
            ((2, 0), several),
            ((2, 5), leaf()),
            // Its function 0 says that it has no others, and they aren't looked for.
            ((3, 0), leaf()),
            ((3, 1), leaf()),
            // Without function 0 there is no device.
            ((4, 1), leaf()),
            ((31, 0), Made::bridge([((31, 0), leaf())])),
        ],
    );
    let topology = enumerate(&mut fake, 0, 4..=255);
    assert_eq!(
        addresses(&topology),
        [
            "0000:04:00.0",
            "0000:04:01.0",
            "0000:05:03.0",
            "0000:06:00.0",
            "0000:05:07.0",
            "0000:04:02.0",
            "0000:04:02.5",
            "0000:04:03.0",
            "0000:04:1f.0",
            "0000:08:1f.0",
        ]
    );
    assert_eq!(topology.findings, []);
    let buses = |address| {
        let bridge = topology.function(address).unwrap().bridge.unwrap();
        (bridge.secondary, bridge.subordinate)
    };
    assert_eq!(buses(at(4, 1, 0)), (Some(5), 7));
    assert_eq!(buses(at(5, 3, 0)), (Some(6), 6));
    assert_eq!(buses(at(5, 7, 0)), (Some(7), 7));
    assert_eq!(buses(at(4, 31, 0)), (Some(8), 8));
    let parents: Vec<_> = topology
        .behind(Some(at(4, 1, 0)))
        .map(|it| it.address)
        .collect();
    assert_eq!(parents, [at(5, 3, 0), at(5, 7, 0)]);
}

#[test]
fn nothing_that_firmware_left_running_goes_on() {
    let mut fake = Fake::new(
        0,
        [((1, 0), Made::bridge([((0, 0), Made::endpoint(vec![]))]))],
    );
    let topology = enumerate(&mut fake, 0, 0..=255);
    assert_eq!(topology.functions.len(), 2);
    for function in &topology.functions {
        assert_eq!(fake.command(function.address), Command::NO_PIN);
    }
}

#[test]
fn the_other_end_of_a_link_is_found_once() {
    let mut fake = Fake::new(
        0,
        [((1, 0), Made::root_port([((0, 0), Made::endpoint(vec![]))]))],
    );
    let topology = enumerate(&mut fake, 0, 0..=255);
    assert_eq!(addresses(&topology), ["0000:00:01.0", "0000:01:00.0"]);
}

#[test]
fn bus_numbers_run_out() {
    let bridge = || Made::bridge([((0, 0), Made::endpoint(vec![]))]);
    let mut fake = Fake::new(0, [((0, 0), bridge()), ((1, 0), bridge())]);
    let topology = enumerate(&mut fake, 0, 0..=1);
    assert_eq!(
        addresses(&topology),
        ["0000:00:00.0", "0000:01:00.0", "0000:00:01.0"]
    );
    assert_eq!(topology.findings, [Finding::NoBus(at(0, 1, 0))]);
    let bridge = topology.function(at(0, 1, 0)).unwrap().bridge.unwrap();
    assert_eq!(bridge.secondary, None);
    // Nothing behind it can be taken for something behind the other.
    let buses = fake.read(at(0, 1, 0), Register::new(0x18).unwrap());
    assert_eq!(buses & 0x00ff_ff00, 0);
}

#[test]
fn bridges_behind_each_other_end() {
    let mut chain = Made::endpoint(vec![]);
    for _ in 0..100 {
        chain = Made::bridge([((0, 0), chain)]);
    }
    let mut fake = Fake::new(0, [((0, 0), chain)]);
    let topology = enumerate(&mut fake, 0, 0..=255);
    assert_eq!(topology.functions.len(), 65);
    assert!(matches!(&*topology.findings, [Finding::TooDeep(_)]));
}

#[test]
fn what_bars_want() {
    let wanted = [
        bar(Space::Memory32, false, 0x1000),
        bar(Space::Io, false, 0x20),
        bar(Space::Memory64, true, 1 << 33),
        bar(Space::Memory64, false, 0x4000),
    ];
    let mut fake = Fake::new(0, [((0, 0), Made::endpoint(wanted.concat()))]);
    let topology = enumerate(&mut fake, 0, 0..=255);
    let found = |number, space, is_prefetchable, size| Bar {
        number,
        space,
        is_prefetchable,
        size,
        held: 0,
    };
    assert_eq!(
        topology.functions[0].bars,
        [
            found(0, Space::Memory32, false, 0x1000),
            found(1, Space::Io, false, 0x20),
            found(2, Space::Memory64, true, 1 << 33),
            found(4, Space::Memory64, false, 0x4000),
        ]
    );
    // Ports of 16 bits are ports.
    let mut fake = Fake::new(0, [((0, 0), Made::endpoint(vec![(0xffe0, 1)]))]);
    let topology = enumerate(&mut fake, 0, 0..=255);
    assert_eq!(
        topology.functions[0].bars,
        [found(0, Space::Io, false, 0x20)]
    );
}

#[test]
fn bars_that_make_no_sense_are_told() {
    // Holes in the mask; a kind that is reserved; 64 bits in the last one.
    let bars = vec![
        (0xff0f_0000, 0),
        (0xffff_f000, 2),
        (0, 0),
        (0, 0),
        (0, 0),
        (0xffff_0000, 4),
    ];
    let mut fake = Fake::new(0, [((0, 0), Made::endpoint(bars))]);
    let topology = enumerate(&mut fake, 0, 0..=255);
    let told = [0, 1, 5].map(|number| Finding::BadBar(at(0, 0, 0), number));
    assert_eq!(topology.findings, told);
    assert_eq!(topology.functions[0].bars, []);
}

#[test]
fn capabilities() {
    let function = Made {
        pin: 2,
        capabilities: vec![
            // MSI-X: 17 entries, table in BAR 4 at 0x2000, pending bits in BAR 0.
            (0x50, vec![0x0010_6011, 0x2004, 0x800]),
            // MSI: up to 8, 64 bits.
            (0x60, vec![0x0086_0005]),
        ],
        ..Made::endpoint(vec![])
    };
    let mut fake = Fake::new(0, [((0, 0), function)]);
    let topology = enumerate(&mut fake, 0, 0..=255);
    let function = &topology.functions[0];
    assert_eq!(topology.findings, []);
    assert_eq!(function.pin, Some(2));
    assert_eq!(function.subsystem, Some((0x1af4, 0xcafe)));
    let ids: Vec<_> = function
        .capabilities
        .iter()
        .map(|it| (it.id.0, it.offset))
        .collect();
    assert_eq!(ids, [(0x11, 0x50), (0x05, 0x60)]);
    let msi = function.msi.unwrap();
    assert_eq!((msi.offset, msi.vectors, msi.is_64_bit), (0x60, 8, true));
    let msi_x = function.msi_x.unwrap();
    assert_eq!((msi_x.offset, msi_x.vectors), (0x50, 17));
    assert_eq!((msi_x.table, msi_x.pending), ((4, 0x2000), (0, 0x800)));
}

#[test]
fn lists_of_capabilities_that_lead_nowhere_end() {
    for words in [
        // In a circle; into the header.
        vec![0x0000_4009],
        vec![0x0000_1009],
    ] {
        let function = Made {
            capabilities: vec![(0x40, words)],
            ..Made::endpoint(vec![])
        };
        let mut fake = Fake::new(0, [((0, 0), function)]);
        let topology = enumerate(&mut fake, 0, 0..=255);
        assert_eq!(topology.findings, [Finding::BadCapabilities(at(0, 0, 0))]);
        assert!(fake.accesses < 1000);
    }
}

/// A host with a bridge, with a device on each side of it.
fn two_levels() -> (Fake, Topology) {
    let inner = [
        bar(Space::Memory32, false, 0x1000),
        bar(Space::Memory64, true, 1 << 20),
        bar(Space::Io, false, 0x100),
    ];
    let outer = [bar(Space::Memory64, true, 1 << 16)];
    let mut fake = Fake::new(
        0,
        [
            (
                (1, 0),
                Made::bridge([((2, 0), Made::endpoint(inner.concat()))]),
            ),
            ((2, 0), Made::endpoint(outer.concat())),
        ],
    );
    let topology = enumerate(&mut fake, 0, 0..=255);
    (fake, topology)
}

const fn place(function: Address, bar: u8, address: u64) -> Place {
    Place {
        function,
        bar,
        address,
    }
}

#[test]
fn what_is_placed_answers_there_alone_once_it_is_enabled() {
    let (mut fake, topology) = two_levels();
    let (inner, outer) = (at(1, 2, 0), at(0, 2, 0));
    let places = [
        place(inner, 0, 0x1000_1000),
        place(inner, 1, 0x80_0010_0000),
        place(inner, 3, 0x2000),
        place(outer, 0, 0x80_0020_0000),
    ];
    program(&mut fake, &topology, &WINDOWS, &places).unwrap();
    assert!(fake.answering(false, 0x1000_1000).is_empty());
    enable(
        &mut fake,
        &topology,
        inner,
        Command::IO | Command::MEMORY | Command::BUS_MASTER,
    );
    let bars = |fake: &Fake, is_io, address| -> Vec<usize> {
        let answering = fake.answering(is_io, address);
        answering.into_iter().map(|(_, bar)| bar).collect()
    };
    assert_eq!(bars(&fake, false, 0x1000_1fff), [0]);
    assert_eq!(bars(&fake, false, 0x1000_2000), []);
    assert_eq!(bars(&fake, false, 0x1000_0fff), []);
    assert_eq!(bars(&fake, false, 0x80_001f_ffff), [1]);
    assert_eq!(bars(&fake, true, 0x20ff), [3]);
    assert_eq!(bars(&fake, true, 0x2100), []);
    assert_eq!(bars(&fake, false, 0x80_0020_0000), []);
    enable(&mut fake, &topology, outer, Command::MEMORY);
    assert_eq!(bars(&fake, false, 0x80_0020_0000), [0]);
    let through = Command::IO | Command::MEMORY | Command::BUS_MASTER | Command::NO_PIN;
    assert_eq!(fake.command(at(0, 1, 0)), through);
}

#[test]
fn what_firmware_has_placed_is_found_there_and_stays() {
    let (mut fake, topology) = two_levels();
    let (inner, outer) = (at(1, 2, 0), at(0, 2, 0));
    let places = [
        place(inner, 0, 0x1000_1000),
        place(inner, 1, 0x80_0010_0000),
        place(outer, 0, 0x80_0020_0000),
    ];
    program(&mut fake, &topology, &WINDOWS, &places).unwrap();
    enable(&mut fake, &topology, inner, Command::MEMORY);
    let found = survey(&mut fake, 0, 0..=255);
    assert!(found.findings.is_empty());
    let held = |function: Address| -> Vec<(u8, u64)> {
        let bars = &found.function(function).unwrap().bars;
        bars.iter().map(|bar| (bar.number, bar.held)).collect()
    };
    assert_eq!(held(inner), [(0, 0x1000_1000), (1, 0x80_0010_0000), (3, 0)]);
    assert_eq!(held(outer), [(0, 0x80_0020_0000)]);
    // All else is as it was numbered and measured.
    let mut same = found.clone();
    for bar in same.functions.iter_mut().flat_map(|it| &mut it.bars) {
        bar.held = 0;
    }
    assert_eq!(same, topology);
    assert_eq!(fake.command(inner), Command::NO_PIN);
    enable(&mut fake, &found, inner, Command::MEMORY);
    for (address, bar) in [(0x1000_1fff, 0), (0x80_001f_ffff, 1)] {
        let answering = fake.answering(false, address);
        let bars: Vec<usize> = answering.into_iter().map(|(_, bar)| bar).collect();
        assert_eq!(bars, [bar], "{address:#x}");
    }
}

#[test]
fn a_bridge_that_firmware_numbered_badly_leads_nowhere() {
    let behind = || Made::bridge([((0, 0), Made::endpoint(vec![]))]);
    // Secondary and subordinate bus, of buses 2 to 9.
    for (secondary, subordinate) in [(0, 0), (2, 3), (1, 3), (3, 10), (4, 3)] {
        let mut fake = Fake::new(2, [((1, 0), behind())]);
        let numbers = u32::from_le_bytes([2, secondary, subordinate, 0]);
        let buses = Register::new(0x18).unwrap();
        fake.write(at(2, 1, 0), buses, numbers);
        let found = survey(&mut fake, 0, 2..=9);
        assert_eq!(found.findings, [Finding::NotNumbered(at(2, 1, 0))]);
        assert_eq!(addresses(&found), ["0000:02:01.0"]);
        assert_eq!(found.functions[0].bridge.unwrap().secondary, None);
        // Nobody takes what lies there for something else.
        assert_eq!(fake.read(at(2, 1, 0), buses), 2);
    }
    // Two with the same number: the second leads nowhere.
    let mut fake = Fake::new(2, [((1, 0), behind()), ((2, 0), behind())]);
    for device in [1, 2] {
        let numbers = u32::from_le_bytes([2, 3, 3, 0]);
        fake.write(at(2, device, 0), Register::new(0x18).unwrap(), numbers);
    }
    let found = survey(&mut fake, 0, 2..=9);
    assert_eq!(found.findings, [Finding::NotNumbered(at(2, 2, 0))]);
    assert_eq!(
        addresses(&found),
        ["0000:02:01.0", "0000:03:00.0", "0000:02:02.0"]
    );
}

#[test]
fn places_that_cannot_be_are_refused_before_anything_is_written() {
    let (inner, outer, bridge) = (at(1, 2, 0), at(0, 2, 0), at(0, 1, 0));
    let good = place(inner, 0, 0x1000_0000);
    let refusals: [(&[Place], Fault); 12] = [
        (
            &[place(inner, 5, 0x1000_0000)],
            Fault::NoSuchBar(place(inner, 5, 0x1000_0000)),
        ),
        (
            &[good, place(inner, 0, 0x1100_0000)],
            Fault::NoSuchBar(place(inner, 0, 0x1100_0000)),
        ),
        (
            &[place(at(9, 0, 0), 0, 0x1000_0000)],
            Fault::NoSuchBar(place(at(9, 0, 0), 0, 0x1000_0000)),
        ),
        (
            &[good, place(outer, 0, 0x1000_8000)],
            Fault::Unaligned(place(outer, 0, 0x1000_8000)),
        ),
        (
            &[place(inner, 0, 1 << 32)],
            Fault::Unaligned(place(inner, 0, 1 << 32)),
        ),
        (
            &[place(inner, 3, 0x1_0000)],
            Fault::Unaligned(place(inner, 3, 0x1_0000)),
        ),
        (
            &[place(outer, 0, 0x0fff_0000)],
            Fault::OutsideWindows(place(outer, 0, 0x0fff_0000)),
        ),
        // What a bridge lets through is a MiB, and the window ends in the middle of one.
        (
            &[place(inner, 0, 0x3efe_f000)],
            Fault::OutsideWindows(place(inner, 0, 0x3efe_f000)),
        ),
        // Within the MiB that the bridge takes.
        (
            &[good, place(outer, 0, 0x1008_0000)],
            Fault::Overlap(bridge, outer),
        ),
        (
            &[good, place(inner, 1, 0x1000_0000)],
            Fault::Overlap(inner, inner),
        ),
        // On one bus, apart, but in one MiB on the other.
        (
            &[
                place(inner, 0, 0x1000_0000),
                place(inner, 1, 0x1010_0000),
                place(outer, 0, 0x1010_0000),
            ],
            Fault::Overlap(outer, bridge),
        ),
        (
            &[place(outer, 0, u64::MAX << 16)],
            Fault::OutsideWindows(place(outer, 0, u64::MAX << 16)),
        ),
    ];
    for (places, fault) in refusals {
        let (mut fake, topology) = two_levels();
        let accesses = fake.accesses;
        let refused = program(&mut fake, &topology, &WINDOWS, places);
        assert_eq!(refused, Err(fault), "{places:x?}");
        assert_eq!(fake.accesses, accesses);
    }
}

#[test]
fn bridges_let_through_what_they_can() {
    let device = || {
        let bars = [
            bar(Space::Memory64, true, 1 << 20),
            bar(Space::Memory64, false, 1 << 20),
            bar(Space::Io, false, 0x100),
        ];
        Made::endpoint(bars.concat())
    };
    let refused = |change: fn(&mut Made), bar, address| {
        let mut bridge = Made::bridge([((0, 0), device())]);
        change(&mut bridge);
        let mut fake = Fake::new(0, [((0, 0), bridge)]);
        let topology = enumerate(&mut fake, 0, 0..=255);
        let places = [place(at(1, 0, 0), bar, address)];
        program(&mut fake, &topology, &WINDOWS, &places).err()
    };
    let narrow = |side| Some(Fault::BridgeTooNarrow(at(0, 0, 0), side));
    let high = 0x80_0000_0000;
    assert_eq!(refused(|_| {}, 0, high), None);
    assert_eq!(refused(|_| {}, 2, high), narrow(Side::Memory));
    let none = |it: &mut Made| it.bridge.as_mut().unwrap().prefetchable = None;
    assert_eq!(refused(none, 0, high), narrow(Side::Memory));
    assert_eq!(refused(none, 0, 0x1000_0000), None);
    let short = |it: &mut Made| it.bridge.as_mut().unwrap().prefetchable = Some(false);
    assert_eq!(refused(short, 0, high), narrow(Side::Prefetchable));
    assert_eq!(refused(short, 0, 0x1000_0000), None);
    let no_io = |it: &mut Made| it.bridge.as_mut().unwrap().has_io = false;
    assert_eq!(refused(no_io, 4, 0x1000), narrow(Side::Io));
    assert_eq!(refused(|_| {}, 4, 0x1000), None);
}

#[test]
fn prefetchable_windows_are_for_what_may_be_read_ahead() {
    let windows = [Window {
        space: Space::Memory32,
        is_prefetchable: true,
        base: 0x1000_0000,
        size: 0x1000_0000,
    }];
    let bars = [
        bar(Space::Memory32, true, 0x1000),
        bar(Space::Memory32, false, 0x1000),
    ];
    let mut fake = Fake::new(0, [((0, 0), Made::endpoint(bars.concat()))]);
    let topology = enumerate(&mut fake, 0, 0..=255);
    let ahead = place(at(0, 0, 0), 0, 0x1000_0000);
    assert_eq!(program(&mut fake, &topology, &windows, &[ahead]), Ok(()));
    let behind = place(at(0, 0, 0), 1, 0x1000_0000);
    assert_eq!(
        program(&mut fake, &topology, &windows, &[behind]),
        Err(Fault::OutsideWindows(behind))
    );
}
