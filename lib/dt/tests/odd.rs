//! What real trees do and the specification doesn't promise, in trees made here.
//!
//! Long, since the oddities are many; the tests are independent of each other.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses its own part")]
mod common;

use capelin_dt::bootability::{Start, start};
use capelin_dt::types::Trigger;
use capelin_dt::validate::{MAX_DEPTH, MAX_NAME};
use capelin_dt::{
    Conduit, ConsoleKind, ConsoleSource, DtError, EnableMethod, Finding, GicKind, Intid, Machine,
    Mpidr, NumaId, PhysAddr, PsciVersion, Region, ReservationKind, Status, bootability, early,
};
use common::{Builder, Value, small};

fn parse(builder: &Builder) -> Machine {
    Machine::parse(&builder.finish()).unwrap()
}

/// A tree of two-cell addresses whose nodes `write` adds.
fn tree(write: impl FnOnce(&mut Builder)) -> Machine {
    let mut b = Builder::new();
    b.cells("#address-cells", &[2]).cells("#size-cells", &[2]);
    write(&mut b);
    parse(&b)
}

fn gic(b: &mut Builder, name: &str, compatible: &str, phandle: u32, base: u32) {
    b.begin(name)
        .str("compatible", compatible)
        .flag("interrupt-controller")
        .cells("#interrupt-cells", &[3])
        .cells("phandle", &[phandle])
        .cells("reg", &[0, base, 0, 0x1000, 0, base + 0x1000, 0, 0x2000]);
}

#[test]
fn a_small_machine_is_read_whole() {
    let machine = parse(&small());
    assert_eq!(machine.model.as_deref(), Some("small"));
    let verdict = bootability(&machine);
    assert_eq!(verdict.findings, []);
    assert_eq!(verdict.usable_cores, 2);
    let how = Start::Psci {
        conduit: Conduit::Smc,
        function: 0xc400_0003,
    };
    assert_eq!(start(&machine, &machine.cpus[1]), Some(how));
    let gic = machine.gic.as_ref().unwrap();
    // Through ranges: bus address 0 is at 0x1_0000_0000.
    assert_eq!(
        gic.regions,
        [
            Region::new(0x1_0001_0000, 0x1_0000),
            Region::new(0x1_0010_0000, 0x4_0000)
        ]
    );
    assert_eq!(gic.redistributors(), &gic.regions[1..]);
    let console = machine.console.as_ref().unwrap();
    assert_eq!(console.kind, ConsoleKind::Pl011);
    assert_eq!(console.base(), Some(PhysAddr(0x1_0000_9000)));
    assert_eq!(console.interrupts[0].intid, Some(Intid(37)));
    assert_eq!(console.interrupts[0].trigger, Trigger::LevelHigh);
    assert_eq!(machine.chosen.stdout_options.as_deref(), Some("115200n8"));
    let timer = machine.timer.as_ref().unwrap();
    assert_eq!(timer.virt, Some(Intid(27)));
    assert_eq!(timer.hyp_virt, None);
    assert_eq!(machine.caches[0].cpus, [0, 1]);
    // The reserved first page is gone from what is usable.
    let usable = machine.usable_memory(&[Region::new(0x8010_0800, 1)]);
    let regions: Vec<Region> = usable.iter().map(|memory| memory.region).collect();
    assert_eq!(
        regions,
        [
            Region::new(0x8000_1000, 0xff000),
            Region::new(0x8010_1000, 0x3fef_f000)
        ]
    );
}

#[test]
fn nops_and_version_16_read_like_any_other() {
    let plain = parse(&small());
    // A NOP in front of every token.
    let mut b = Builder::new();
    b.token(4).str("model", "nops").token(4).token(4);
    b.begin("a").token(4).str("compatible", "x").token(4).end();
    b.token(4);
    b.begin("b").token(4).token(4).end().token(4);
    let machine = parse(&b);
    assert_eq!(machine.model.as_deref(), Some("nops"));
    assert_eq!(machine.devices[0].path, "/a");

    let mut old = small();
    old.end().token(9);
    assert_eq!(Machine::parse(&old.assemble(16)).unwrap(), plain);
    assert_eq!(Machine::parse(&old.assemble(17)).unwrap(), plain);
}

#[test]
fn trailing_bytes_and_newer_compatible_versions_are_fine() {
    let mut blob = small().finish();
    let plain = Machine::parse(&blob).unwrap();
    blob.extend([0xff; 100]);
    blob[23] = 18;
    assert_eq!(Machine::parse(&blob).unwrap(), plain);
}

#[test]
fn malformed_blobs_name_what_is_wrong() {
    let refused = |builder: &Builder| Machine::parse(&builder.assemble(17)).unwrap_err();
    assert_eq!(
        Machine::parse(&[0; 64]),
        Err(DtError::BadMagic { found: 0 })
    );
    assert_eq!(
        Machine::parse(&[0xd0]),
        Err(DtError::ShortHeader { length: 1 })
    );
    let blob = small().finish();
    let length = blob.len() - 1;
    assert_eq!(
        Machine::parse(&blob[..length]),
        Err(DtError::Truncated {
            total_size: blob.len(),
            length
        })
    );
    // A property after a subnode.
    let mut b = Builder::new();
    b.begin("a").end().flag("late").end().token(9);
    assert!(matches!(refused(&b), DtError::BadToken { token: 3, .. }));
    // A second root, an unclosed root, nothing at all.
    let mut b = Builder::new();
    b.end().begin("").end().token(9);
    assert_eq!(refused(&b), DtError::NoSingleRoot);
    let mut b = Builder::new();
    b.token(9);
    assert!(matches!(refused(&b), DtError::BadToken { token: 9, .. }));
    let mut b = Builder::default();
    b.token(9);
    assert_eq!(refused(&b), DtError::NoSingleRoot);
    // A value that reaches out of the block; a name out of the strings.
    let mut b = Builder::new();
    b.token(3).token(u32::MAX).token(0);
    assert!(matches!(refused(&b), DtError::BadName { .. }));
    let mut b = Builder::new();
    b.flag("p").token(3).token(u32::MAX).token(0);
    assert!(matches!(refused(&b), DtError::PropertyOutside { .. }));
    // Names.
    let mut b = Builder::new();
    b.begin("").end().end().token(9);
    assert!(matches!(refused(&b), DtError::BadName { .. }));
    let mut b = Builder::new();
    b.begin("a/b").end().end().token(9);
    assert!(matches!(refused(&b), DtError::BadName { .. }));
    let mut b = Builder::new();
    b.begin(&"x".repeat(MAX_NAME + 1)).end().end().token(9);
    assert!(matches!(refused(&b), DtError::BadName { .. }));
}

#[test]
fn depth_is_bounded_exactly() {
    let nested = |levels: usize| {
        let mut b = Builder::new();
        for _ in 1..levels {
            b.begin("n");
        }
        Machine::parse(&b.finish()).map(|_| ())
    };
    assert_eq!(nested(MAX_DEPTH), Ok(()));
    assert!(matches!(
        nested(MAX_DEPTH + 1),
        Err(DtError::TooDeep { .. })
    ));
}

#[test]
fn the_header_alone_gives_the_size() {
    let blob = small().finish();
    assert_eq!(early::total_size(&blob[..8]), Ok(blob.len()));
    assert_eq!(
        early::total_size(&blob[..7]),
        Err(DtError::ShortHeader { length: 7 })
    );
    let header = early::header(&blob[..early::HEADER_SIZE]).unwrap();
    assert_eq!(header.total_size, blob.len());
    assert_eq!(header.version, 17);
    let mut huge = blob[..40].to_vec();
    huge[4] = 0x7f;
    assert!(matches!(
        early::header(&huge),
        Err(DtError::BadTotalSize { .. })
    ));
    let mut newer = blob[..40].to_vec();
    newer[23] = 18;
    newer[27] = 18;
    assert!(matches!(
        early::header(&newer),
        Err(DtError::BadVersion { .. })
    ));
}

#[test]
fn the_gic_of_the_timer_wins_over_one_listed_first() {
    let machine = tree(|b| {
        b.cells("interrupt-parent", &[7]);
        gic(b, "audio@1000000", "arm,gic-400", 8, 0x100_0000);
        b.cells("interrupts", &[0, 102, 4]).end();
        gic(b, "real@2000000", "arm,gic-400", 7, 0x200_0000);
        b.cells("interrupts", &[1, 9, 4]).end();
        b.begin("timer")
            .str("compatible", "arm,armv8-timer")
            .cells("interrupts", &[1, 13, 4, 1, 14, 4])
            .end();
    });
    let gic = machine.gic.unwrap();
    assert_eq!(gic.path, "/real@2000000");
    assert_eq!(gic.kind, GicKind::V2);
    assert_eq!(gic.maintenance, Some(Intid(25)));
    assert_eq!(gic.redistributors(), []);
    assert_eq!(gic.cpu_interface(), Some(Region::new(0x200_1000, 0x2000)));
}

#[test]
fn without_timer_and_root_parent_the_gic_that_no_other_feeds_wins() {
    let machine = tree(|b| {
        gic(b, "audio@1000000", "arm,gic-400", 8, 0x100_0000);
        b.cells("interrupt-parent", &[7])
            .cells("interrupts", &[0, 102, 4])
            .end();
        gic(b, "off@3000000", "arm,gic-v3", 9, 0x300_0000);
        b.str("status", "disabled").end();
        gic(b, "real@2000000", "arm,gic-400", 7, 0x200_0000);
        b.end();
    });
    assert_eq!(machine.gic.unwrap().path, "/real@2000000");
}

#[test]
fn addresses_climb_through_every_bus() {
    let machine = tree(|b| {
        // Three levels; the middle one is a one-to-one bus with wider cells.
        b.begin("outer")
            .cells("#address-cells", &[1])
            .cells("#size-cells", &[1])
            .cells("ranges", &[0x1000, 4, 0x5000, 0x1000, 0x8000, 5, 0, 0x100]);
        b.begin("middle")
            .cells("#address-cells", &[1])
            .cells("#size-cells", &[1])
            .flag("ranges");
        b.begin("inside@1800")
            .str("compatible", "a")
            .cells("reg", &[0x1800, 0x800])
            .end();
        b.begin("across@1900")
            .str("compatible", "b")
            .cells("reg", &[0x1900, 0x800])
            .end();
        b.begin("i2c")
            .cells("#address-cells", &[1])
            .cells("#size-cells", &[0]);
        b.begin("sensor@44")
            .str("compatible", "c")
            .cells("reg", &[0x44])
            .end();
        b.end().end().end();
        // PCI: the space bits of the first cell count, the others don't.
        b.begin("pcie")
            .cells("#address-cells", &[3])
            .cells("#size-cells", &[2])
            .cells(
                "ranges",
                &[
                    0x100_0000,
                    0,
                    0,
                    0,
                    0x3000_0000,
                    0,
                    0x1_0000, //
                    0x200_0000,
                    0,
                    0,
                    0,
                    0x4000_0000,
                    0,
                    0x1_0000,
                ],
            );
        b.begin("function")
            .str("compatible", "d")
            .cells("reg", &[0x8200_0810, 0, 0x100, 0, 0x80])
            .end();
        b.end();
    });
    let base = |compatible: &str| {
        let device = machine.compatible_devices(compatible).next().unwrap();
        device.regs[0].base.map(|base| base.0)
    };
    assert_eq!(base("a"), Some(0x4_0000_5800));
    assert_eq!(
        base("b"),
        Some(0x4_0000_5900),
        "goes where its first byte does"
    );
    assert_eq!(base("c"), None, "an I2C bus has no ranges");
    assert_eq!(base("d"), Some(0x4000_0100));
}

#[test]
fn interrupts_go_through_maps_and_named_parents() {
    let machine = tree(|b| {
        b.cells("interrupt-parent", &[1]);
        gic(b, "gic@1000000", "arm,gic-400", 1, 0x100_0000);
        b.cells("#address-cells", &[1]).end();
        b.begin("nexus")
            .cells("#address-cells", &[1])
            .cells("#interrupt-cells", &[1])
            .cells("interrupt-map-mask", &[0xf00, 0x3])
            .cells(
                "interrupt-map",
                &[
                    0x100, 1, 1, 0, 0, 40, 1, //
                    0x200, 1, 1, 0, 0, 41, 4,
                ],
            );
        // Masked, this is (0x200, 1): the second row.
        b.begin("x@255")
            .str("compatible", "x")
            .cells("reg", &[0x255, 1]);
        b.cells("interrupts", &[5]).end();
        b.begin("y@300")
            .str("compatible", "y")
            .cells("reg", &[0x300, 1]);
        b.cells("interrupts", &[1]).end();
        b.end();
        b.begin("other")
            .flag("interrupt-controller")
            .cells("#interrupt-cells", &[2])
            .cells("phandle", &[2])
            .end();
        b.begin("z")
            .str("compatible", "z")
            .cells("interrupts-extended", &[2, 7, 8, 1, 0, 9, 1, 1, 1, 3, 2])
            .end();
    });
    let intids = |compatible: &str| {
        let device = machine.compatible_devices(compatible).next().unwrap();
        let intids = device
            .interrupts
            .iter()
            .map(|one| one.intid.map(|intid| intid.0));
        intids.collect::<Vec<_>>()
    };
    assert_eq!(intids("x"), [Some(32 + 41)]);
    assert_eq!(intids("y"), [None], "no row of the map fits");
    assert_eq!(intids("z"), [None, Some(32 + 9), Some(16 + 3)]);
    let z = machine.compatible_devices("z").next().unwrap();
    assert_eq!(z.interrupts[0].controller, "/other");
    assert_eq!(z.interrupts[0].cells, [7, 8]);
    assert_eq!(z.interrupts[1].trigger, Trigger::EdgeRising);
}

#[test]
fn the_timers_names_tell_its_interrupts() {
    let machine = tree(|b| {
        b.cells("interrupt-parent", &[1]);
        gic(b, "gic@1000000", "arm,gic-400", 1, 0x100_0000);
        b.end();
        b.begin("timer")
            .str("compatible", "arm,armv8-timer")
            .property("interrupt-names", Value::Strs(&["virt", "phys"]))
            .cells("interrupts", &[1, 1, 4, 1, 2, 4])
            .end();
    });
    let timer = machine.timer.unwrap();
    assert_eq!(
        (timer.virt, timer.nonsecure),
        (Some(Intid(17)), Some(Intid(18)))
    );
    assert_eq!((timer.secure, timer.hyp), (None, None));
}

/// Cores with the given enable methods and release addresses.
fn cores(list: &[(Option<&str>, Option<u32>)]) -> Machine {
    tree(|b| {
        b.begin("cpus")
            .cells("#address-cells", &[2])
            .cells("#size-cells", &[0]);
        for (index, (method, release)) in (0..).zip(list) {
            b.begin(&format!("cpu@{index:x}"))
                .str("device_type", "cpu")
                .cells("reg", &[0, index]);
            if let Some(method) = method {
                b.str("enable-method", method);
            }
            if let Some(release) = release {
                b.cells("cpu-release-addr", &[0, *release]);
            }
            b.end();
        }
        b.end();
    })
}

#[test]
fn what_keeps_secondaries_from_starting_is_told() {
    let has = |machine: &Machine, finding: Finding| {
        let verdict = bootability(machine);
        assert!(verdict.findings.contains(&finding), "{verdict}");
        verdict.usable_cores
    };
    let psci = Some("psci");
    let table = Some("spin-table");
    let machine = cores(&[(psci, None), (psci, None), (psci, None)]);
    assert_eq!(has(&machine, Finding::PsciMissing { cores: 2 }), 1);
    let machine = cores(&[(table, Some(8)), (table, None), (table, Some(24))]);
    assert_eq!(has(&machine, Finding::NoReleaseAddress { cores: 1 }), 2);
    let machine = cores(&[(table, Some(8)), (table, Some(8)), (table, Some(8))]);
    let shared = Finding::SharedReleaseAddress {
        address: PhysAddr(8),
        cores: 2,
    };
    assert_eq!(has(&machine, shared), 1);
    // Two of three: the third is alone. A disabled core waits there like any other.
    let machine = cores(&[(table, Some(8)), (table, Some(16)), (table, Some(16))]);
    let shared = Finding::SharedReleaseAddress {
        address: PhysAddr(16),
        cores: 2,
    };
    assert_eq!(has(&machine, shared), 1);
    // Address 0 is where firmware was to write one in.
    let machine = cores(&[(table, Some(8)), (table, Some(0)), (table, Some(24))]);
    assert_eq!(has(&machine, Finding::NoReleaseAddress { cores: 1 }), 2);
    // The method counts, not the address that firmware left in.
    let machine = cores(&[(psci, Some(8)), (None, Some(8))]);
    assert_eq!(machine.cpus[0].release_addr, Some(PhysAddr(8)));
    assert_eq!(machine.cpus[0].enable_method, EnableMethod::Psci);
    assert_eq!(has(&machine, Finding::NoEnableMethod { cores: 1 }), 1);
    let machine = cores(&[(psci, None), (Some("magic"), None)]);
    let unknown = Finding::UnknownEnableMethod {
        method: "magic".into(),
        cores: 1,
    };
    assert_eq!(has(&machine, unknown), 1);
}

#[test]
fn cores_with_odd_registers_are_left_out() {
    let machine = tree(|b| {
        b.boot_cpu(0x201);
        b.begin("cpus")
            .cells("#address-cells", &[1])
            .cells("#size-cells", &[0]);
        for (name, reg, status) in [
            ("cpu@200", 0x200, "okay"),
            ("cpu@201", 0x201, "okay"),
            ("cpu@202", 0x201, "okay"),
            ("cpu@203", 0x203, "disabled"),
            ("cpu@204", 0x8000_0000, "okay"),
        ] {
            b.begin(name)
                .str("device_type", "cpu")
                .str("enable-method", "spin-table")
                .cells("cpu-release-addr", &[0, reg])
                .str("status", status)
                .cells("reg", &[reg])
                .end();
        }
        b.begin("cpu-map").begin("cluster0").end().end();
        b.end();
    });
    assert_eq!(machine.unreadable_cpus, ["/cpus/cpu@204"]);
    assert_eq!(machine.boot_cpu().map(|cpu| cpu.mpidr), Some(Mpidr(0x201)));
    let verdict = bootability(&machine);
    assert_eq!(verdict.usable_cores, 2);
    for finding in [
        Finding::DuplicateMpidr {
            mpidr: Mpidr(0x201),
        },
        Finding::DisabledCpus { cores: 1 },
        Finding::UnreadableCpu {
            path: "/cpus/cpu@204".into(),
        },
    ] {
        assert!(verdict.findings.contains(&finding), "{verdict}");
    }
    assert_eq!(start(&machine, &machine.cpus[3]), None);
}

#[test]
fn cores_are_numbered_by_their_place() {
    let machine = tree(|b| {
        b.begin("cpus")
            .cells("#address-cells", &[1])
            .cells("#size-cells", &[0]);
        for mpidr in [0x100, 0, 0x200, 0x200] {
            b.begin(&format!("cpu@{mpidr:x}"))
                .str("device_type", "cpu")
                .cells("reg", &[mpidr])
                .end();
        }
        b.end();
    });
    let numbers = [0x100, 0, 0x200, 0x300].map(|mpidr| machine.core_number(Mpidr(mpidr)));
    assert_eq!(numbers, [0, 1, 2, 4]);
}

#[test]
fn caches_may_loop() {
    let machine = tree(|b| {
        b.begin("cpus")
            .cells("#address-cells", &[1])
            .cells("#size-cells", &[0]);
        b.begin("cpu@0")
            .str("device_type", "cpu")
            .cells("reg", &[0])
            .cells("d-cache-size", &[0x8000])
            .cells("next-level-cache", &[1])
            .end();
        for (name, phandle, next) in [("l2", 1, 2), ("l3", 2, 1)] {
            b.begin(name)
                .cells("phandle", &[phandle])
                .cells("cache-level", &[phandle + 1])
                .cells("cache-size", &[0x1000 * phandle])
                .cells("next-level-cache", &[next])
                .end();
        }
        b.end();
    });
    assert_eq!(machine.cpus[0].caches, [0, 1]);
    assert_eq!(machine.cpus[0].l1_data.size, Some(0x8000));
    assert_eq!(machine.caches[0].next, Some(1));
    assert_eq!(machine.caches[1].next, None);
    assert_eq!(machine.caches[1].geometry.size, Some(0x2000));
    assert_eq!(machine.caches[1].cpus, [0]);
}

#[test]
fn old_psci_has_function_ids_of_its_own() {
    let psci = |compatible: &[&str], cpu_on: Option<u32>| {
        tree(|b| {
            b.begin("firmware").begin("psci");
            b.property("compatible", Value::Strs(compatible))
                .str("method", "hvc");
            if let Some(id) = cpu_on {
                b.cells("cpu_on", &[id]);
            }
            b.end().end();
        })
        .psci
        .unwrap()
    };
    let old = psci(&["arm,psci"], Some(0x95c1_ba60));
    assert_eq!(old.version, PsciVersion::V0_1);
    assert_eq!(old.cpu_on(), Some(0x95c1_ba60));
    assert_eq!(old.path, "/firmware/psci");
    assert_eq!(psci(&["arm,psci"], None).cpu_on(), None);
    let new = psci(&["arm,psci-0.2", "arm,psci"], Some(0x8400_0003));
    assert_eq!(new.version, PsciVersion::V0_2);
    assert_eq!(new.cpu_on(), Some(0xc400_0003));
    assert_eq!(new.listed.cpu_on, Some(0x8400_0003));
}

#[test]
fn memory_and_reservations_keep_what_they_say() {
    let machine = tree(|b| {
        b.reserve(0x1000, 0x1000);
        b.begin("memory@0").cells("reg", &[0, 0, 0, 0x10_0000]);
        b.cells("numa-node-id", &[1]).end();
        b.begin("secure@200000")
            .str("device_type", "memory")
            .str("status", "disabled")
            .cells("reg", &[0, 0x20_0000, 0, 0x1000])
            .end();
        b.begin("memory-controller@5")
            .cells("reg", &[0, 5, 0, 5])
            .end();
        b.begin("reserved-memory")
            .cells("#address-cells", &[1])
            .cells("#size-cells", &[1]);
        b.begin("fixed@4000")
            .cells("reg", &[0x4000, 0x800])
            .flag("no-map")
            .end();
        b.begin("off@8000")
            .cells("reg", &[0x8000, 0x1000])
            .str("status", "disabled")
            .end();
        b.begin("pool")
            .cells("size", &[0x2000])
            .cells("alignment", &[0x1000])
            .cells("alloc-ranges", &[0x1_0000, 0x1_0000])
            .flag("reusable")
            .end();
        b.end();
        b.begin("distance-map")
            .str("compatible", "numa-distance-map-v1")
            .cells("distance-matrix", &[0, 1, 20, 1, 0, 30, 0])
            .end();
    });
    assert_eq!(machine.memory.len(), 1);
    assert_eq!(machine.memory[0].numa, Some(NumaId(1)));
    let kinds: Vec<&ReservationKind> = machine.reservations.iter().map(|one| &one.kind).collect();
    let dynamic = ReservationKind::Dynamic {
        size: 0x2000,
        alignment: Some(0x1000),
        ranges: vec![Region::new(0x1_0000, 0x1_0000)],
    };
    assert_eq!(
        kinds,
        [
            &ReservationKind::ReservationBlock,
            &ReservationKind::Static,
            &ReservationKind::Static,
            &dynamic
        ]
    );
    assert!(machine.reservations[1].no_map && !machine.reservations[1].reusable);
    assert_eq!(machine.reservations[2].status, Status::Disabled);
    assert!(machine.reservations[3].reusable);
    let usable: Vec<Region> = machine
        .usable_memory(&[])
        .iter()
        .map(|one| one.region)
        .collect();
    assert_eq!(
        usable,
        [
            Region::new(0, 0x1000),
            Region::new(0x2000, 0x2000),
            Region::new(0x5000, 0xf_b000)
        ]
    );
    let distance = |from, to| machine.distances.distance(NumaId(from), NumaId(to));
    assert_eq!(distance(0, 1), Some(20));
    assert_eq!(distance(1, 0), Some(30), "distances may be asymmetric");
    assert_eq!(distance(0, 0), Some(10));
    assert_eq!(distance(0, 2), None);
}

#[test]
fn the_console_is_found_by_path_alias_and_options() {
    let console = |path: &str| {
        let mut b = Builder::new();
        b.begin("aliases")
            .str("s", "/bus/uart@10")
            .str("bus", "/bus")
            .end();
        b.begin("bus")
            .cells("#address-cells", &[1])
            .cells("#size-cells", &[1])
            .flag("ranges");
        b.begin("uart@10")
            .str("compatible", "ns16550a")
            .cells("reg", &[0x10, 8]);
        b.cells("reg-shift", &[2]).end().end();
        b.begin("chosen").str("stdout-path", path).end();
        parse(&b)
    };
    for path in [
        "s",
        "s:9600",
        "/bus/uart@10",
        "/bus/uart@10:1",
        "/bus/uart",
        "bus/uart@10",
    ] {
        let machine = console(path);
        let found = machine.console.unwrap();
        assert_eq!(found.path, "/bus/uart@10", "{path}");
        assert_eq!((found.kind, found.reg_shift), (ConsoleKind::Ns16550, 2));
    }
    // What leads nowhere is told, and the only UART is the console.
    let machine = console("gone:115200");
    let found = machine.console.as_ref().unwrap();
    assert_eq!(found.path, "/bus/uart@10");
    assert_eq!(found.source, ConsoleSource::OnlyUart);
    let raw = "gone:115200".into();
    assert!(
        bootability(&machine)
            .findings
            .contains(&Finding::UnresolvedConsole { raw })
    );
}

#[test]
fn an_empty_tree_gives_every_reason() {
    let machine = parse(&Builder::new());
    let verdict = bootability(&machine);
    assert!(!verdict.is_bootable());
    assert_eq!(
        verdict.findings,
        [
            Finding::NoCpu,
            Finding::NoGic,
            Finding::NoTimer,
            Finding::NoMemoryNode,
            Finding::NoConsole
        ]
    );
    assert!(verdict.to_string().starts_with("Capelin can't boot here"));
}
