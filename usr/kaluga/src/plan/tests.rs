//! Goals and answers, against the knowledge base with its rules.

use super::*;
use capelin_dt::Machine;
use capelin_skb::{KnowledgeBase, facts_from_machine, schema, server::search::solutions};

/// All solutions of `goal`, as its server gives them.
fn solve(kb: &mut KnowledgeBase, goal: &str) -> Vec<Solution> {
    solutions(kb, goal).unwrap()
}

fn module(kb: &mut KnowledgeBase, name: &str) {
    let name = name.into();
    kb.assert_fact(&schema::Module { name, size: 1 }).unwrap();
}

fn device(kb: &mut KnowledgeBase, path: &str, compatible: &[&str]) {
    let path: String = path.into();
    let compatible = compatible.iter().map(|&name| name.into()).collect();
    let fact = schema::Device {
        path: path.clone(),
        compatible,
    };
    kb.assert_fact(&fact).unwrap();
    let fact = schema::DeviceReg {
        path,
        index: 0,
        base: 0x1000,
        size: 0x100,
    };
    kb.assert_fact(&fact).unwrap();
}

fn plans(kb: &mut KnowledgeBase) -> Vec<Planned> {
    let solutions = solve(kb, DEVICES);
    let plans: Option<_> = solutions.iter().map(Planned::read).collect();
    plans.unwrap()
}

#[test]
fn every_kind_of_plan() {
    let mut kb = KnowledgeBase::with_rules();
    for name in ["cpudriver", "irqd", "pl011", "bcm2835-pm", "pcid"] {
        module(&mut kb, name);
    }
    let tree = [
        ("/timer", "arm,armv8-timer"),
        ("/gic", "arm,gic-v3"),
        ("/serial@1", "arm,pl011"),
        ("/serial@2", "ns16550a"),
        ("/pm", "brcm,bcm2835-pm-wdt"),
        ("/pcie", "pci-host-ecam-generic"),
        ("/usb", "acme,usb"),
    ];
    for (path, compatible) in tree {
        device(&mut kb, path, &[compatible]);
    }
    let found: Vec<_> = plans(&mut kb)
        .into_iter()
        .map(|it| (it.path, it.module, it.plan))
        .collect();
    let expected = [
        ("/timer", Some("cpudriver"), Plan::Kernel),
        ("/gic", Some("irqd"), Plan::First),
        ("/serial@1", Some("pl011"), Plan::Console),
        ("/serial@2", Some("ns16550"), Plan::Absent),
        ("/pm", Some("bcm2835-pm"), Plan::Start),
        ("/pcie", Some("pcid"), Plan::Asked),
        ("/usb", None, Plan::None),
    ];
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(path, module, plan)| (path.to_string(), module.map(String::from), plan))
        .collect();
    assert_eq!(found, expected);
}

fn function(kb: &mut KnowledgeBase, address: &str, device: u64, base: u64) {
    let address: String = address.into();
    let fact = schema::Pci {
        address: address.clone(),
        vendor: 0x1af4,
        device,
    };
    kb.assert_fact(&fact).unwrap();
    let fact = schema::PciClass {
        address,
        base,
        sub: 0,
        interface: 0,
    };
    kb.assert_fact(&fact).unwrap();
}

#[test]
fn every_kind_of_function() {
    let mut kb = KnowledgeBase::with_rules();
    assert_eq!(solve(&mut kb, FUNCTIONS), []);
    let found = |kb: &mut KnowledgeBase| -> Vec<_> {
        let solutions = solve(kb, FUNCTIONS);
        let planned = solutions.iter().map(|it| Planned::read(it).unwrap());
        planned.map(|it| (it.path, it.module, it.plan)).collect()
    };
    function(&mut kb, "0000:00:00.0", 0x1005, 6);
    function(&mut kb, "0000:00:01.0", 0x1000, 2);
    function(&mut kb, "0000:00:02.0", 0x1005, 0);
    let expected = |plan| {
        [
            ("0000:00:00.0".into(), Some("pcid".into()), Plan::Bus),
            ("0000:00:01.0".into(), None, Plan::None),
            ("0000:00:02.0".into(), Some("virtio-rng".into()), plan),
        ]
    };
    assert_eq!(found(&mut kb), expected(Plan::Absent));
    module(&mut kb, "virtio-rng");
    assert_eq!(found(&mut kb), expected(Plan::Start));
}

#[test]
fn a_functions_registers_are_those_in_memory_by_their_bars_number() {
    let mut kb = KnowledgeBase::with_rules();
    function(&mut kb, "0000:00:02.0", 0x1005, 0);
    for (number, space) in [(0, "io"), (1, "memory32"), (4, "memory64")] {
        let address = || "0000:00:02.0".into();
        let fact = schema::PciBar {
            address: address(),
            bar: number,
            space,
            kind: "plain",
            size: 0x1000,
        };
        kb.assert_fact(&fact).unwrap();
        let fact = schema::PciPlaced {
            address: address(),
            bar: number,
            bus: 0x1000,
            cpu: 0x8000_0000 + number * 0x1000,
            size: 0x1000,
        };
        kb.assert_fact(&fact).unwrap();
    }
    let planned = Planned::read(&solve(&mut kb, FUNCTIONS)[0]).unwrap();
    let found = solve(&mut kb, &planned.bars_goal());
    let found: Vec<_> = found.iter().map(|it| bar(it).unwrap()).collect();
    let region = |base| Region {
        base,
        bytes: 0x1000,
    };
    assert_eq!(found, [(1, region(0x8000_1000)), (4, region(0x8000_4000))]);
}

#[test]
fn a_device_without_registers_and_interrupts_is_none() {
    let mut kb = KnowledgeBase::with_rules();
    let fact = schema::Device {
        path: "/soc".into(),
        compatible: vec!["simple-bus".into()],
    };
    kb.assert_fact(&fact).unwrap();
    assert_eq!(plans(&mut kb), []);
}

#[test]
fn paths_come_back_as_they_are_whatever_is_in_them() {
    for path in [
        "/soc/watchdog@7e100000",
        "/it's",
        "/back\\slash",
        "/new\nline\tand bell\u{7}",
        "/grün",
    ] {
        let mut kb = KnowledgeBase::with_rules();
        device(&mut kb, "/other", &["acme,other"]);
        device(&mut kb, path, &["acme,a'b", "acme,second"]);
        let planned = plans(&mut kb).remove(1);
        assert_eq!(planned.path, path);
        let names = solve(&mut kb, &planned.names_goal());
        let names: Vec<_> = names.iter().map(|it| name(it).unwrap()).collect();
        assert_eq!(names, ["acme,a'b", "acme,second"]);
        let regs = solve(&mut kb, &planned.registers_goal());
        assert_eq!(regs.len(), 1);
        let expected = Region {
            base: 0x1000,
            bytes: 0x100,
        };
        assert_eq!(registers(&regs[0]), Some(expected));
    }
}

#[test]
fn memory_is_for_drivers_that_share_it() {
    let mut kb = KnowledgeBase::with_rules();
    device(&mut kb, "/mailbox@1", &["brcm,bcm2835-mbox"]);
    device(&mut kb, "/serial@2", &["arm,pl011"]);
    let planned = plans(&mut kb);
    let shared: Vec<_> = planned
        .iter()
        .map(|it| solve(&mut kb, &it.memory_goal()))
        .map(|solutions| solutions.first().map(|it| memory(it).unwrap()))
        .collect();
    let page = SharedMemory {
        bytes: 4096,
        end: 1 << 30,
    };
    assert_eq!(shared, [Some(page), None]);
}

#[test]
fn interrupts_are_read_with_their_trigger() {
    let mut kb = KnowledgeBase::with_rules();
    for (index, intid, trigger) in [(0, 126, "level"), (1, 40, "edge")] {
        let path = "/a".into();
        let fact = schema::DeviceIrq {
            path,
            index,
            intid,
            trigger,
        };
        kb.assert_fact(&fact).unwrap();
    }
    let planned = Planned {
        term: "'/a'".into(),
        path: "/a".into(),
        module: None,
        module_term: "none".into(),
        plan: Plan::None,
    };
    let found = solve(&mut kb, &planned.interrupts_goal());
    let found: Vec<_> = found.iter().map(|it| interrupt(it).unwrap()).collect();
    assert_eq!(found, [(126, IsEdge(false)), (40, IsEdge(true))]);
}

#[test]
fn a_driver_that_looks_gets_no_interrupts() {
    let mut kb = KnowledgeBase::with_rules();
    // As the two controllers of BCM2711 do, whose line is one.
    for (path, name) in [
        ("/mmc@1", "brcm,bcm2711-emmc2"),
        ("/mmc@2", "brcm,bcm2835-sdhci"),
        ("/uart@3", "arm,pl011"),
    ] {
        device(&mut kb, path, &[name]);
        let fact = schema::DeviceIrq {
            path: path.into(),
            index: 0,
            intid: 158,
            trigger: "level",
        };
        kb.assert_fact(&fact).unwrap();
    }
    let told: Vec<_> = plans(&mut kb)
        .iter()
        .map(|it| {
            let services = solve(&mut kb, &it.services_goal());
            let services: Vec<_> = services.iter().map(|it| name(it).unwrap()).collect();
            (solve(&mut kb, &it.interrupts_goal()).len(), services)
        })
        .collect();
    let card = (0, vec!["files".to_string()]);
    assert_eq!(told, [card.clone(), card, (1, Vec::new())]);
}

#[test]
fn what_is_no_answer_is_not_taken_for_one() {
    let solution = |bindings: &[(&str, &str)]| Solution {
        bindings: bindings
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect(),
    };
    for bindings in [
        &[("Path", "a"), ("Module", "m"), ("Plan", "later")][..],
        &[("Path", "'a"), ("Module", "m"), ("Plan", "start")],
        &[("Path", "a"), ("Plan", "start")],
        &[("Module", "m"), ("Plan", "start")],
    ] {
        assert_eq!(Planned::read(&solution(bindings)), None, "{bindings:?}");
    }
    let huge = solution(&[("Base", "-1"), ("Bytes", "16")]);
    assert_eq!(registers(&huge), None);
    let huge = solution(&[("Intid", "99999999999"), ("Trigger", "edge")]);
    assert_eq!(interrupt(&huge), None);
}

#[test]
#[ignore = "needs trees that others wrote"]
fn the_raspberry_pi_has_its_drivers() {
    let blob = capelin_trees::recorded("boards", "bcm2711-rpi-4-b.dtb");
    let machine = Machine::parse(&blob).unwrap();
    let mut kb = KnowledgeBase::with_rules();
    facts_from_machine(&mut kb, &machine).unwrap();
    module(&mut kb, "bcm2835-pm");
    module(&mut kb, "sdhci");
    let plans = plans(&mut kb);
    let started = |module: &str| {
        let mut of_module = plans
            .iter()
            .filter(|it| it.module.as_deref() == Some(module));
        let started = of_module.next().unwrap();
        assert_eq!(started.plan, Plan::Start);
        (started, of_module.count())
    };
    let (pm, others) = started("bcm2835-pm");
    assert_eq!(others, 0);
    assert_eq!(pm.path, "/soc/watchdog@7e100000");
    let first = solve(&mut kb, &pm.registers_goal());
    assert_eq!(registers(&first[0]).unwrap().base, 0xfe10_0000);
    let (_, others) = started("sdhci");
    assert_eq!(others, 1, "EMMC2, and the one that has the radio");
}

#[test]
fn a_virtio_device_has_one_driver_wherever_it_is() {
    let mut kb = KnowledgeBase::with_rules();
    for name in ["virtio-mmio", "virtio-rng", "pcid"] {
        module(&mut kb, name);
    }
    assert_eq!(solve(&mut kb, SLOT_DEVICES), []);
    for number in 1..=5 {
        device(&mut kb, &format!("/virtio_mmio@{number}"), &["virtio,mmio"]);
    }
    device(&mut kb, "/it's", &["virtio,mmio"]);
    let found: Option<Vec<_>> = solve(&mut kb, SLOTS).iter().map(slot).collect();
    let slots = found.unwrap();
    assert_eq!(slots.len(), 6);
    assert_eq!(slots[0].registers.base, 0x1000);
    assert!(plans(&mut kb).iter().all(|it| it.plan == Plan::Slot));
    for (slot, kind) in [(0, 4), (2, 3), (3, 99), (5, 4)] {
        kb.consult(&format!("{}.", slot_fact(&slots[slot], kind)))
            .unwrap();
    }
    let devices = |kb: &mut KnowledgeBase| -> Vec<_> {
        let solutions = solve(kb, SLOT_DEVICES);
        let planned = solutions.iter().map(|it| Planned::read(it).unwrap());
        planned.collect()
    };
    let found = devices(&mut kb);
    let found: Vec<_> = found
        .iter()
        .map(|it| (it.path.as_str(), it.module.as_deref(), it.plan))
        .collect();
    let expected = [
        ("/virtio_mmio@1", Some("virtio-rng"), Plan::Start),
        ("/virtio_mmio@3", Some("virtio-console"), Plan::Absent),
        ("/virtio_mmio@4", None, Plan::None),
        ("/it's", Some("virtio-rng"), Plan::Start),
    ];
    assert_eq!(found, expected);
    module(&mut kb, "virtio-console");
    let consoles = devices(&mut kb);
    assert_eq!(consoles[1].plan, Plan::Console);
    let services = |kb: &mut KnowledgeBase, it: &Planned| -> Vec<_> {
        let solutions = solve(kb, &it.services_goal());
        solutions.iter().map(|it| name(it).unwrap()).collect()
    };
    assert_eq!(services(&mut kb, &consoles[0]), ["entropy"]);
    assert_eq!(services(&mut kb, &consoles[1]), ["console"]);
    assert_eq!(services(&mut kb, &consoles[2]), [""; 0]);
    // The same on a PCI bus, by its old number and by its new one.
    for (number, device) in [0x1003, 0x1043, 0x1005, 0x1044, 0x1041]
        .into_iter()
        .enumerate()
    {
        function(&mut kb, &format!("0000:00:0{number}.0"), device, 0);
    }
    let solutions = solve(&mut kb, FUNCTIONS);
    let planned: Vec<_> = solutions
        .iter()
        .map(|it| Planned::read(it).unwrap())
        .collect();
    let plans: Vec<_> = planned.iter().map(|it| it.plan).collect();
    let (console, start) = (Plan::Console, Plan::Start);
    assert_eq!(plans, [console, console, start, start, Plan::None]);
    assert_eq!(services(&mut kb, &planned[0]), ["console"]);
}
