//! From a fake bus to places, with the knowledge base and its rules in between.

use super::*;
use crate::answers;
use alloc::{borrow::ToOwned as _, collections::BTreeMap, format};
use capelin_interfaces::skb::Solution;
use capelin_pci::{Register, RootPin};
use capelin_skb::server::search::solutions;
use capelin_skb::{KnowledgeBase, PCI_RULES, pci_host_facts, schema};

/// Functions on one bus: what each register holds, and which of its bits can be set.
#[derive(Default)]
struct Bus(BTreeMap<(u8, u16), (u32, u32)>);

impl Bus {
    /// A device with one BAR of 64 bits and `size` bytes, which holds `held`, and one of 32 ports.
    fn with(mut self, device: u8, size: u64, held: u64) -> Self {
        let mask = !(size - 1);
        let (low, high) = (held as u32 | 4, (held >> 32) as u32);
        for (register, value, writable) in [
            (0, 0x1005_1af4, 0),
            (4, 0, 0x407),
            (8, 0x00ff_0000, 0),
            (0x10, low, mask as u32 & !0xf),
            (0x14, high, (mask >> 32) as u32),
            (0x18, 1, 0xffff_ffe0),
        ] {
            self.0.insert((device, register), (value, writable));
        }
        self
    }

    fn held(&self, device: u8) -> u64 {
        let word = |register| u64::from(self.0[&(device, register)].0);
        word(0x14) << 32 | word(0x10) & !0xf
    }
}

impl ConfigSpace for Bus {
    fn read(&mut self, function: Address, register: Register) -> u32 {
        let is_there = function.bus() == 0 && function.function() == 0;
        let device = function.device();
        if !is_there || !self.0.contains_key(&(device, 0)) {
            return u32::MAX;
        }
        let held = self.0.get(&(device, register.offset()));
        held.map_or(0, |(value, _)| *value)
    }

    fn write(&mut self, function: Address, register: Register, value: u32) {
        let key = (function.device(), register.offset());
        if let Some((held, writable)) = self.0.get_mut(&key) {
            *held = *held & !*writable | value & *writable;
        }
    }
}

fn window(space: Space, base: u64, size: u64, cpu: u64) -> SeenWindow {
    let is_prefetchable = false;
    let window = Window {
        space,
        is_prefetchable,
        base,
        size,
    };
    SeenWindow { window, cpu }
}

/// As QEMU's board has them: four lines, taken in turn.
fn wires() -> Vec<Wire> {
    let devices = (0..4).flat_map(|device| (1..=4).map(move |pin| RootPin { device, pin }));
    devices
        .map(|pin| Wire {
            mask: 3,
            pin,
            intid: 35 + u32::from(pin.device + pin.pin - 1) % 4,
            is_edge: false,
        })
        .collect()
}

/// All solutions of `goal`, as its server gives them.
fn solve(kb: &mut KnowledgeBase, goal: &str) -> Vec<Solution> {
    solutions(kb, goal).unwrap()
}

/// A knowledge base that knows of a host with its configuration space at 0x4000_0000.
fn knowledge(windows: &[SeenWindow]) -> KnowledgeBase {
    let mut kb = KnowledgeBase::with_rules();
    kb.consult(PCI_RULES).unwrap();
    let path = "/pcie@40000000".to_owned();
    let registers = schema::DeviceReg {
        path: path.clone(),
        index: 0,
        base: 0x4000_0000,
        size: 1 << 20,
    };
    kb.assert_fact(&registers).unwrap();
    let host = schema::PciHost {
        segment: 3,
        path,
        first: 0,
        last: 0,
    };
    for fact in pci_host_facts(&host, windows, &wires()).unwrap() {
        kb.assertz(&fact).unwrap();
    }
    kb
}

/// As the driver does it.
fn look(kb: &mut KnowledgeBase, bus: &mut Bus) -> Below {
    let hosts = solve(kb, &answers::host_goal(0x4000_0000));
    let (segment, buses) = answers::host(&hosts[0]).unwrap();
    let windows = solve(kb, &answers::windows_goal(segment));
    let windows = windows.iter().map(|it| answers::window(it).unwrap());
    let wires = solve(kb, &answers::wires_goal(segment));
    let wires = wires.iter().map(|it| answers::wire(it).unwrap());
    let (windows, wires) = (windows.collect(), wires.collect());
    let mut below = Below::find(bus, segment, buses, windows, wires);
    tell(kb, &below.facts());
    if below.wants_places() {
        let places = solve(kb, &answers::places_goal(segment));
        let read = |it| answers::place(it, &below.topology).unwrap();
        let places: Vec<_> = places.iter().map(read).collect();
        below.place(bus, &places).unwrap();
    }
    tell(kb, &below.place_facts());
    below
}

fn tell(kb: &mut KnowledgeBase, facts: &[String]) {
    for fact in facts {
        kb.assertz(&capelin_skb::read_term(fact).unwrap().term)
            .unwrap();
    }
}

fn placed(kb: &mut KnowledgeBase) -> Vec<String> {
    let solutions = solve(kb, "pci_placed(A, Bar, Bus, Cpu, Size), pci(A, 0x1af4, _)");
    let text = |it: &Solution| -> String {
        let values = it.bindings.iter().map(|(_, value)| value.as_str());
        values.collect::<Vec<_>>().join(" ")
    };
    solutions.iter().map(text).collect()
}

#[test]
fn registers_go_where_the_rules_say_and_the_cpu_sees_them_through_the_window() {
    let windows = [
        window(Space::Io, 0, 1 << 16, 0x5000_0000),
        window(Space::Memory64, 1 << 39, 1 << 20, 0x60_0000_0000),
    ];
    let mut kb = knowledge(&windows);
    let mut bus = Bus::default()
        .with(1, 0x4000, 0)
        .with(2, 0x8000, 0x7000_0000);
    let below = look(&mut kb, &mut bus);
    assert_eq!(below.segment, 3);
    assert_eq!((bus.held(1), bus.held(2)), ((1 << 39) + 0x8000, 1 << 39));
    let mut places = placed(&mut kb);
    places.retain(|place| place.contains(" 0 "));
    let expected = |device, bus: u64, size| {
        let cpu = bus - (1 << 39) + 0x60_0000_0000;
        format!("'0003:00:0{device}.0' 0 {bus} {cpu} {size}")
    };
    assert_eq!(
        places,
        [
            expected(2, 1 << 39, 0x8000),
            expected(1, (1 << 39) + 0x8000, 0x4000)
        ]
    );
    assert_eq!(below.unplaced().count(), 0);
}

#[test]
fn registers_without_room_are_told_and_the_others_placed() {
    let windows = [window(Space::Memory32, 0x1000_0000, 0x10_0000, 0x1000_0000)];
    let mut kb = knowledge(&windows);
    let mut bus = Bus::default().with(1, 0x4000, 0).with(2, 1 << 33, 0);
    let below = look(&mut kb, &mut bus);
    assert_eq!((bus.held(1), bus.held(2)), (0x1000_0000, 0));
    let unplaced: Vec<_> = below.unplaced().map(|it| it.to_string()).collect();
    assert_eq!(
        unplaced,
        ["0003:00:02.0: no room for BAR 0 (0x200000000 bytes): the function can't be driven"]
    );
}

#[test]
fn a_function_answers_once_it_is_enabled_and_only_if_its_registers_have_a_place() {
    let windows = [window(Space::Memory32, 0x1000_0000, 0x10_0000, 0x1000_0000)];
    let mut kb = knowledge(&windows);
    let mut bus = Bus::default().with(1, 0x4000, 0).with(2, 1 << 33, 0);
    let mut below = look(&mut kb, &mut bus);
    let command = |bus: &Bus, device| bus.0[&(device, 4)].0;
    let [first, second] = ["0003:00:01.0", "0003:00:02.0"].map(|it| below.function(it).unwrap());
    assert_eq!(below.function("0003:00:04.0"), None);
    assert_eq!(command(&bus, 1), 0x400);
    assert!(below.enable(&mut bus, first));
    assert!(!below.enable(&mut bus, second));
    assert_eq!((command(&bus, 1), command(&bus, 2)), (0x406, 0x400));
    assert_eq!(
        (below.is_enabled(first), below.is_enabled(second)),
        (true, false)
    );
    below.disable(&mut bus, first);
    assert_eq!(command(&bus, 1), 0x400);
    assert!(!below.is_enabled(first));
}

#[test]
fn without_windows_all_stays_where_firmware_has_placed_it() {
    let mut kb = knowledge(&[]);
    let mut bus = Bus::default()
        .with(1, 0x4000, 0x80_0000_4000)
        .with(2, 0x1000, 0);
    let below = look(&mut kb, &mut bus);
    assert_eq!(bus.held(1), 0x80_0000_4000);
    let expected = format!("'0003:00:01.0' 0 {0} {0} {1}", 0x80_0000_4000_u64, 0x4000);
    assert_eq!(placed(&mut kb), [expected]);
    // The other had none.
    assert_eq!(below.unplaced().count(), 1);
}

#[test]
fn places_of_others_and_nonsense_are_no_places() {
    let mut bus = Bus::default().with(1, 0x1000, 0);
    let below = Below::find(&mut bus, 0, 0..=0, Vec::new(), Vec::new());
    let solution = |function: &str, bar: &str, at: &str| Solution {
        bindings: [("Function", function), ("Bar", bar), ("At", at)]
            .map(|(name, value)| (name.into(), value.into()))
            .into(),
    };
    let read = |function, bar, at| answers::place(&solution(function, bar, at), &below.topology);
    assert!(read("'0000:00:01.0'", "0", "4096").is_some());
    for (function, bar, at) in [
        ("'0000:00:02.0'", "0", "4096"),
        ("0000:00:01.0", "0", "4096"),
        ("'0000:00:01.0'", "256", "4096"),
        ("'0000:00:01.0'", "0", "-4096"),
        ("'0000:00:01.0'", "x", "4096"),
    ] {
        assert_eq!(read(function, bar, at), None, "{function} {bar} {at}");
    }
}

#[test]
fn messages_go_to_whom_the_tree_names() {
    let mut kb = knowledge(&[]);
    let mut bus = Bus::default().with(1, 0x1000, 0).with(3, 0x1000, 0);
    for (requester, count, controller, device) in [
        (0x08, 8, "/intc@8000000/its@8080000", 0x1008),
        (0x18, 1, "/bare", 7),
    ] {
        let controller = controller.to_owned();
        let route = MessageRoute {
            requester,
            count,
            controller,
            device,
        };
        kb.assertz(&route.fact(3).unwrap()).unwrap();
    }
    let mut below = look(&mut kb, &mut bus);
    let routes = solve(&mut kb, &answers::routes_goal(3));
    below.routes = routes.iter().filter_map(answers::route).collect();
    let of = |text| {
        let at = below.function(text).unwrap();
        below.message_route(at)
    };
    assert_eq!(
        of("0003:00:01.0"),
        Some(("/intc@8000000/its@8080000", 0x1008))
    );
    assert_eq!(of("0003:00:03.0"), Some(("/bare", 7)));
    below.routes.remove(0);
    let at = below.function("0003:00:01.0").unwrap();
    assert_eq!(below.message_route(at), None);
}

#[test]
fn pins_lead_where_the_tree_says() {
    let mut kb = knowledge(&[]);
    let mut bus = Bus::default()
        .with(1, 0x1000, 0)
        .with(6, 0x1000, 0)
        .with(9, 0x1000, 0);
    // INTA, INTD, and none.
    bus.0.insert((1, 0x3c), (1 << 8, 0));
    bus.0.insert((6, 0x3c), (4 << 8, 0));
    let mut below = look(&mut kb, &mut bus);
    let wire = |below: &Below, text| {
        let at = below.function(text).unwrap();
        below.wire(at).map(|it| it.intid)
    };
    assert_eq!(wire(&below, "0003:00:01.0"), Some(36));
    assert_eq!(wire(&below, "0003:00:06.0"), Some(36));
    assert_eq!(wire(&below, "0003:00:09.0"), None);
    let at = below.function("0003:00:06.0").unwrap();
    below.interrupts.insert(at, (InterruptKind::Intx, 36));
    tell(&mut kb, &below.interrupt_facts());
    let known = solve(&mut kb, "pci_interrupt(A, K, I)");
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].get("A"), Some("'0003:00:06.0'"));
    assert_eq!(
        (known[0].get("K"), known[0].get("I")),
        (Some("intx"), Some("36"))
    );
    below.lose_line(36);
    assert_eq!(wire(&below, "0003:00:06.0"), None);
    assert_eq!(below.interrupt_facts(), Vec::<String>::new());
    assert!(!below.wires.is_empty(), "other lines are served");
}
