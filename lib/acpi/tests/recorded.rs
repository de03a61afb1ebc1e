//! The tree of every recorded set of tables says what an independent reader found in
//! them.
//!
//! `../shared/data/acpi` (next to the repository) holds tables of servers and of QEMU,
//! and what they say in `truth.json`. `scripts/test` runs these where that folder is
//! (`host/recorded-tables`).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;

use capelin_acpi::madt::{Core, CoreState};
use capelin_acpi::root::{self, PhysicalMemory};
use capelin_acpi::{Inputs, Tables, Translation, translate};
use capelin_dt::{Conduit, ConsoleKind, Device, EnableMethod, GicKind, Machine, bootability};
use serde_json::{Value, json};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/acpi")
}

/// The files of a set.
fn files(set: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder().join(set))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn translated(files: &[Vec<u8>]) -> (Translation, Machine) {
    let mut tables = Tables::default();
    for file in files {
        tables.add(file);
    }
    let translation = translate(&tables, &Inputs::default()).unwrap();
    let machine = Machine::parse(&translation.blob).unwrap();
    (translation, machine)
}

/// Calls `check` with each set's translation and what is said of it.
fn for_each(check: impl Fn(&Translation, &Machine, &Value)) {
    let truth = fs::read_to_string(folder().join("truth.json")).unwrap();
    let truth: Vec<Value> = serde_json::from_str(&truth).unwrap();
    assert!(!truth.is_empty());
    for expected in &truth {
        let set = expected["dir"].as_str().unwrap();
        println!("{set}");
        let (translation, machine) = translated(&files(set));
        check(&translation, &machine, expected);
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn devices<'m>(machine: &'m Machine, name: &'m str) -> Vec<&'m Device> {
    machine.compatible_devices(name).collect()
}

fn bases(devices: &[&Device]) -> Vec<u64> {
    let first = devices.iter().map(|device| device.regs[0]);
    first.map(|reg| reg.base.unwrap().0).collect()
}

#[test]
#[ignore = "needs tables that others wrote"]
fn nothing_is_wrong_with_them() {
    for_each(|translation, machine, _| {
        assert_eq!(translation.findings.as_slice(), []);
        assert!(bootability(machine).is_bootable());
    });
}

#[test]
#[ignore = "needs tables that others wrote"]
fn cores_agree() {
    for_each(|translation, machine, expected| {
        let node_of = |uid: u64| {
            let mut rows = list(&expected["srat_gicc"]).iter();
            rows.find(|row| number(&row["uid"]) == uid && number(&row["flags"]) & 1 == 1)
                .map(|row| number(&row["pxm"]))
        };
        let has_psci = expected["fadt"]["psci"] == json!(true);
        let expected: Vec<Value> = list(&expected["gicc"])
            .iter()
            .map(|gicc| {
                json!([
                    gicc["mpidr"],
                    number(&gicc["flags"]) & 1 == 1,
                    node_of(number(&gicc["uid"])),
                    has_psci,
                ])
            })
            .collect();
        let cpus: Vec<Value> = machine
            .cpus
            .iter()
            .map(|cpu| {
                json!([
                    cpu.mpidr.0,
                    cpu.status.is_okay(),
                    cpu.numa.map(|node| node.0),
                    cpu.enable_method == EnableMethod::Psci,
                ])
            })
            .collect();
        assert_eq!(cpus, expected);
        assert!(!cpus.is_empty());
        let verdict = bootability(machine);
        assert_eq!(verdict.usable_cores, expected.len());
        assert_eq!(translation.facts.madt.cores.len(), expected.len());
    });
}

/// All that a GICC has, as far as it is read.
#[test]
#[ignore = "needs tables that others wrote"]
fn core_interfaces_agree() {
    for_each(|translation, _, expected| {
        let row = |core: &Core| {
            let flags = match core.state {
                CoreState::Enabled => 1,
                CoreState::OnlineCapable => 8,
                CoreState::Disabled => 0,
            };
            let [gicc, gich, gicv] = core.gicv2;
            json!({
                "iface": core.interface, "uid": core.uid, "flags": flags, "pmu": core.pmu,
                "parking": core.parking.map_or(0, |parking| parking.version),
                "parked": core.parking.map_or(0, |parking| parking.mailbox),
                "gicc": gicc, "gicv": gicv, "gich": gich, "vgic": core.maintenance,
                "gicr": core.redistributor, "mpidr": core.mpidr, "eff": core.efficiency,
            })
        };
        for (core, gicc) in translation
            .facts
            .madt
            .cores
            .iter()
            .zip(list(&expected["gicc"]))
        {
            let mut gicc = gicc.as_object().unwrap().clone();
            gicc.remove("spe");
            gicc.remove("len");
            assert_eq!(row(core), Value::Object(gicc));
        }
    });
}

#[test]
#[ignore = "needs tables that others wrote"]
fn interrupt_controllers_agree() {
    for_each(|_, machine, expected| {
        let gic = machine.gic.as_ref().unwrap();
        let gicd = &expected["gicd"][0];
        assert_eq!(gic.regions[0].base.0, number(&gicd["base"]));
        let kind = match number(&gicd["version"]) {
            2 => GicKind::V2,
            3 => GicKind::V3,
            other => panic!("GICv{other}"),
        };
        assert_eq!(gic.kind, kind);
        let regions = gic.redistributors().iter();
        let regions: Vec<Value> = regions
            .map(|region| json!({"base": region.base.0, "len": region.size}))
            .collect();
        assert_eq!(json!(regions), expected["gicr"]);
        let gicc = number(&expected["gicc"][0]["gicc"]);
        let interface = gic.cpu_interface().map_or(0, |region| region.base.0);
        assert_eq!(interface, gicc);
        let its: Vec<Value> = gic.its.iter().map(|its| json!(its.region.base.0)).collect();
        let expected_its = list(&expected["its"]).iter();
        assert_eq!(
            its,
            expected_its
                .map(|its| its["base"].clone())
                .collect::<Vec<_>>()
        );
        for (its, row) in gic.its.iter().zip(list(&expected["its"])) {
            let mut nodes = list(&expected["srat_its"]).iter();
            let node = nodes.find(|node| node["id"] == row["id"]);
            assert_eq!(
                its.numa.map(|node| u64::from(node.0)),
                node.map(|node| number(&node["pxm"]))
            );
        }
        let frames: Vec<Value> = gic
            .v2m_frames
            .iter()
            .map(|frame| {
                json!([
                    frame.region.base.0,
                    frame.spi_count,
                    frame.first_spi.map(|i| i.0)
                ])
            })
            .collect();
        let expected_frames = list(&expected["msi"]).iter();
        let expected_frames: Vec<Value> = expected_frames
            .map(|row| json!([row["base"], row["spi_count"], row["spi_base"]]))
            .collect();
        assert_eq!(frames, expected_frames);
    });
}

#[test]
#[ignore = "needs tables that others wrote"]
fn timer_and_firmware_agree() {
    for_each(|translation, machine, expected| {
        let timer = machine.timer.as_ref().unwrap();
        let gtdt = &expected["gtdt"];
        let intid = |value: &Value| value.as_u64().filter(|&gsi| gsi != 0);
        let roles = [
            (timer.secure, "s_el1"),
            (timer.nonsecure, "ns_el1"),
            (timer.virt, "virt"),
            (timer.hyp, "el2"),
            (timer.hyp_virt, "virt_el2"),
        ];
        for (found, name) in roles {
            let found = found.map(|intid| u64::from(intid.0));
            assert_eq!(found, intid(&gtdt[name]), "{name}");
        }
        let lines = translation.facts.gtdt.as_ref().unwrap().timers;
        for (line, flags) in lines.iter().zip(list(&gtdt["flags"])) {
            let line = line.unwrap();
            let flags = number(flags);
            assert_eq!(line.is_edge, flags & 1 != 0);
            assert_eq!(line.is_low, flags & 2 != 0);
        }
        let fadt = &expected["fadt"];
        let conduit = match (fadt["psci"].as_bool(), fadt["hvc"].as_bool()) {
            (Some(true), Some(true)) => Some(Conduit::Hvc),
            (Some(true), Some(false)) => Some(Conduit::Smc),
            _ => None,
        };
        assert_eq!(machine.psci.as_ref().map(|psci| psci.conduit), conduit);
        let is_reduced = translation.facts.fadt.is_hardware_reduced;
        assert_eq!(json!(is_reduced), fadt["hw_reduced"]);
    });
}

#[test]
#[ignore = "needs tables that others wrote"]
fn memory_and_distances_agree() {
    for_each(|_, machine, expected| {
        let memory: Vec<Value> = machine
            .memory
            .iter()
            .map(|memory| {
                json!({
                    "pxm": memory.numa.unwrap().0,
                    "base": memory.region.base.0,
                    "len": memory.region.size,
                })
            })
            .collect();
        let rows = list(&expected["srat_mem"]).iter();
        let mut rows: Vec<Value> = rows
            .filter(|row| number(&row["flags"]) == 1)
            .cloned()
            .collect();
        for row in &mut rows {
            row.as_object_mut().unwrap().remove("flags");
        }
        assert_eq!(memory, rows);
        let mut distances = Vec::new();
        for (from, row) in list(&expected["slit"]).iter().enumerate() {
            for (to, distance) in list(row).iter().enumerate() {
                distances.push(json!([from, to, distance]));
            }
        }
        let found = machine.distances.entries.iter();
        let found: Vec<Value> = found
            .map(|(from, to, distance)| json!([from.0, to.0, distance]))
            .collect();
        assert_eq!(found, distances);
    });
}

#[test]
#[ignore = "needs tables that others wrote"]
fn consoles_agree() {
    for_each(|_, machine, expected| {
        let console = machine.console.as_ref().unwrap();
        let spcr = &expected["spcr"];
        if spcr.is_null() {
            // That server has a debug port only.
            assert_eq!(expected["dir"], "honeycomb-lx2160a");
            assert_eq!(console.base().unwrap().0, 0x21d_0000);
            return;
        }
        assert_eq!(number(&spcr["type"]), 3);
        assert_eq!(console.kind, ConsoleKind::Pl011);
        assert_eq!(console.base().unwrap().0, number(&spcr["base"]));
        let intid = console.intid().map(|intid| u64::from(intid.0));
        assert_eq!(intid, Some(number(&spcr["gsi"])));
    });
}

#[test]
#[ignore = "needs tables that others wrote"]
fn pcie_hosts_and_smmus_agree() {
    for_each(|translation, machine, expected| {
        let hosts = devices(machine, "pci-host-ecam-generic");
        let rows = list(&expected["mcfg"]);
        let places: Vec<(u64, u64)> = rows
            .iter()
            .map(|row| {
                let (first, last) = (number(&row["bus"][0]), number(&row["bus"][1]));
                (
                    number(&row["base"]) + (first << 20),
                    (last - first + 1) << 20,
                )
            })
            .collect();
        let found: Vec<(u64, u64)> = hosts
            .iter()
            .map(|host| (host.regs[0].base.unwrap().0, host.regs[0].size))
            .collect();
        assert_eq!(found, places);
        let segments = translation
            .facts
            .pcie
            .iter()
            .map(|ecam| json!(ecam.segment));
        let rows = rows.iter().map(|row| row["seg"].clone());
        assert_eq!(segments.collect::<Vec<_>>(), rows.collect::<Vec<_>>());

        let nodes = list(&expected["iort"]);
        let of = |kind: &str| {
            nodes
                .iter()
                .filter(|node| node["type"] == kind)
                .collect::<Vec<_>>()
        };
        let smmus: Vec<u64> = of("smmuv3")
            .iter()
            .map(|node| number(&node["base"]))
            .collect();
        assert_eq!(bases(&devices(machine, "arm,smmu-v3")), smmus);
        let iort = &translation.facts.iort;
        let groups: Vec<Value> = iort
            .groups
            .iter()
            .map(|(offset, ids)| json!([offset, ids]))
            .collect();
        let expected_groups = of("its").into_iter();
        let expected_groups: Vec<Value> = expected_groups
            .map(|node| json!([node["off"], node["its_ids"]]))
            .collect();
        assert_eq!(groups, expected_groups);
        let hosts = iort.hosts.iter().map(|host| {
            let maps = host.mappings.iter().map(|map| {
                json!([
                    map.input,
                    map.count_less_one,
                    map.output,
                    map.target,
                    u32::from(map.is_single)
                ])
            });
            json!([host.segment, maps.collect::<Vec<_>>()])
        });
        let expected_hosts = of("rc").into_iter();
        let expected_hosts = expected_hosts.map(|node| json!([node["segment"], node["maps"]]));
        assert_eq!(
            hosts.collect::<Vec<_>>(),
            expected_hosts.collect::<Vec<_>>()
        );
    });
}

/// Each core is in a place of its own, with others of its package as the table has it;
/// with one walk from each leaf up, which the library doesn't take.
#[test]
#[ignore = "needs tables that others wrote"]
fn topologies_agree() {
    for_each(|_, machine, expected| {
        let nodes = list(&expected["pptt"]);
        let at = |offset: &Value| nodes.iter().find(|node| node["off"] == *offset);
        let package = |uid: u64| {
            let mut node = nodes
                .iter()
                .find(|node| {
                    let is_leaf = nodes.iter().all(|other| other["parent"] != node["off"]);
                    is_leaf && number(&node["flags"]) & 2 != 0 && number(&node["uid"]) == uid
                })
                .unwrap();
            while number(&node["flags"]) & 1 == 0 {
                node = at(&node["parent"]).unwrap();
            }
            number(&node["off"])
        };
        let mut places = Vec::new();
        let mut sockets: Vec<(u64, u32)> = Vec::new();
        for (cpu, gicc) in machine.cpus.iter().zip(list(&expected["gicc"])) {
            let place = cpu.topology.clone().unwrap();
            sockets.push((package(number(&gicc["uid"])), place.socket.unwrap()));
            places.push(place);
        }
        places.sort();
        places.dedup();
        assert_eq!(places.len(), machine.cpus.len());
        sockets.sort_unstable();
        sockets.dedup();
        for (rank, (_, socket)) in sockets.iter().enumerate() {
            assert_eq!(usize::try_from(*socket).unwrap(), rank);
        }
    });
}

/// Shapes that are known from the machines' manuals, or from how QEMU was started.
#[test]
#[ignore = "needs tables that others wrote"]
fn known_shapes() {
    let (_, machine) = translated(&files("virt-gic3-smp16-2s2cl2co2t"));
    let shape = |cpu: usize| {
        let place = machine.cpus[cpu].topology.clone().unwrap();
        (place.socket, place.clusters, place.core, place.thread)
    };
    assert_eq!(shape(0), (Some(0), vec![0], 0, Some(0)));
    assert_eq!(shape(1), (Some(0), vec![0], 0, Some(1)));
    assert_eq!(shape(2), (Some(0), vec![0], 1, Some(0)));
    assert_eq!(shape(7), (Some(0), vec![1], 1, Some(1)));
    assert_eq!(shape(8), (Some(1), vec![0], 0, Some(0)));

    // LX2160A: eight clusters of two A72, 48 KiB and 32 KiB, 1 MiB of L2 a cluster.
    let (_, machine) = translated(&files("honeycomb-lx2160a"));
    assert_eq!(machine.cpus[0].l1_instruction.size, Some(48 << 10));
    assert_eq!(machine.cpus[0].l1_data.size, Some(32 << 10));
    let l2 = machine.caches.iter().filter(|cache| cache.level == Some(2));
    let l2: Vec<_> = l2
        .map(|cache| (cache.geometry.size, cache.cpus.len()))
        .collect();
    assert_eq!(l2, [(Some(1 << 20), 2); 8]);

    // Altra: 64 KiB each, and 1 MiB of L2 a core.
    let (_, machine) = translated(&files("ampere-altra-32c"));
    for cpu in &machine.cpus {
        assert_eq!(cpu.l1_instruction.size, Some(64 << 10));
        assert_eq!(cpu.l1_data.size, Some(64 << 10));
        let l2 = &machine.caches[cpu.caches[0]];
        assert_eq!((l2.geometry.size, l2.cpus.len()), (Some(1 << 20), 1));
    }
}

/// Tables as they lie in memory, found from the RSDP, are those in the files.
#[test]
#[ignore = "needs tables that others wrote"]
fn the_root_leads_to_all_of_them() {
    struct Memory<'a>(&'a [u8]);
    impl<'a> PhysicalMemory<'a> for Memory<'a> {
        fn bytes(&self, address: u64, length: usize) -> Option<&'a [u8]> {
            let at = usize::try_from(address.checked_sub(0xbff0_0000)?).ok()?;
            self.0.get(at..at.checked_add(length)?)
        }
    }
    for set in ["altra-2s-160c-synthetic", "altramax-2s-256c-hemi-synthetic"] {
        let blob = fs::read(folder().join(set).join("blob.bin")).unwrap();
        let tables = root::tables(&Memory(&blob), 0xbff0_0000).unwrap();
        let found = translate(&tables, &Inputs::default()).unwrap();
        let machine = Machine::parse(&found.blob).unwrap();
        assert_eq!(found.findings.as_slice(), []);
        assert_eq!(machine, translated(&files(set)).1);
        assert!(root::tables(&Memory(&blob), 0xbff0_0040).is_err());
        let mut damaged = blob.clone();
        damaged[24] ^= 1;
        assert!(root::tables(&Memory(&damaged), 0xbff0_0000).is_err());
    }
}
