//! Every recorded tree says here what an independent reader found in it.
//!
//! `../shared/data/dtb` (next to the repository) holds device trees of boards
//! and of QEMU, and what they say in `boards.json` and `qemu.json`. `scripts/test`
//! runs these where that folder is (`host/recorded-trees`).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::{print, println};

use capelin_dt::{
    Bootability, ConsoleSource, Cpu, EnableMethod, Machine, ReservationKind, Severity, Status,
    bootability,
};
use serde_json::{Value, json};

/// Calls `check` with each recorded tree and what is said of it.
fn for_each(check: impl Fn(&Machine, &Value)) {
    let mut count = 0;
    for set in ["boards", "qemu"] {
        let recorded: Vec<Value> = serde_json::from_str(&capelin_trees::facts(set)).unwrap();
        for expected in &recorded {
            let file = expected["file"].as_str().unwrap();
            let blob = capelin_trees::recorded(set, file);
            let machine =
                Machine::parse(&blob).unwrap_or_else(|error| panic!("{file} is refused: {error}"));
            print!("{file}: ");
            check(&machine, expected);
            println!("ok");
            count += 1;
        }
    }
    println!("{count} trees");
}

#[test]
#[ignore = "needs trees that others wrote"]
fn pci_hosts_agree() {
    let mut count = 0;
    for set in ["boards", "qemu"] {
        let recorded: Vec<Value> = serde_json::from_str(&capelin_trees::facts(set)).unwrap();
        for expected in &recorded {
            let file = expected["file"].as_str().unwrap();
            let hosts = capelin_dt::pcie_hosts(&capelin_trees::recorded(set, file)).unwrap();
            for wanted in list(&expected["pcie"]) {
                let path = wanted["path"].as_str().unwrap();
                let host = hosts.iter().find(|host| host.path == path);
                let host = host.unwrap_or_else(|| panic!("{file}: {path} is missing"));
                let named = json!([host.buses.start(), host.buses.end()]);
                let all = json!([0, 255]);
                let buses = Some(&wanted["bus_range"]).filter(|it| !it.is_null());
                assert_eq!(&named, buses.unwrap_or(&all), "{file}: {path}");
                assert_eq!(json!(host.segment), wanted["domain"], "{file}: {path}");
                let windows: Vec<Value> = host
                    .windows
                    .iter()
                    .map(|it| json!({ "pci": it.bus, "cpu": it.cpu.0, "size": it.size }))
                    .collect();
                let ranges = list(&wanted["ranges"]).iter();
                let wanted_windows: Vec<Value> = ranges
                    .filter(|it| it["flags"].as_u64().unwrap() >> 24 & 3 != 0)
                    .map(|it| json!({ "pci": it["pci"], "cpu": it["cpu"], "size": it["size"] }))
                    .collect();
                assert_eq!(windows, wanted_windows, "{file}: {path}");
                let rows = list(&wanted["msi_map"]).len() / 4;
                if rows > 0 {
                    assert_eq!(host.msi.len(), rows, "{file}: {path}");
                    assert_eq!(
                        json!(host.msi[0].requester),
                        wanted["msi_map"][0],
                        "{file}: {path}"
                    );
                    assert_eq!(
                        json!(host.msi[0].device),
                        wanted["msi_map"][2],
                        "{file}: {path}"
                    );
                }
                count += 1;
            }
        }
    }
    assert!(count > 80, "{count} hosts");
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn is_okay(value: &Value) -> bool {
    matches!(value["status"].as_str(), None | Some("okay" | "ok"))
}

fn method(cpu: &Cpu) -> Value {
    match &cpu.enable_method {
        EnableMethod::Psci => json!("psci"),
        EnableMethod::SpinTable { release_addr } => {
            assert_eq!(*release_addr, cpu.release_addr);
            json!("spin-table")
        }
        EnableMethod::Other(other) => json!(other),
        EnableMethod::None => Value::Null,
    }
}

#[test]
#[ignore = "needs trees that others wrote"]
fn identity_agrees() {
    for_each(|machine, expected| {
        assert_eq!(json!(machine.model), expected["model"]);
        assert_eq!(json!(machine.compatible), expected["compatible"]);
        assert_eq!(json!(machine.boot_cpuid), expected["boot_cpuid_phys"]);
        assert_eq!(json!(machine.chosen.bootargs), expected["bootargs"]);
    });
}

#[test]
#[ignore = "needs trees that others wrote"]
fn cores_agree() {
    for_each(|machine, expected| {
        assert_eq!(machine.unreadable_cpus, [""; 0]);
        let cpus: Vec<Value> = machine
            .cpus
            .iter()
            .map(|cpu| {
                assert!(cpu.path.starts_with("/cpus/"));
                json!([
                    cpu.path.rsplit('/').next(),
                    cpu.mpidr.0,
                    method(cpu),
                    cpu.release_addr.map(|address| address.0),
                    cpu.numa.map(|numa| numa.0),
                    cpu.compatible,
                    cpu.capacity,
                ])
            })
            .collect();
        let wanted: Vec<Value> = list(&expected["cpus"])
            .iter()
            .map(|cpu| {
                json!([
                    cpu["node"],
                    cpu["mpidr"],
                    cpu["enable_method"],
                    cpu["release_addr"],
                    cpu["numa"],
                    // A missing list and an empty one are the same here.
                    cpu["compatible"].as_array().cloned().unwrap_or_default(),
                    cpu["capacity"],
                ])
            })
            .collect();
        assert_eq!(cpus, wanted);
        let enabled = machine.cpus.iter().filter(|cpu| cpu.status.is_okay());
        assert_eq!(json!(enabled.count()), expected["ncpus_enabled"]);
    });
}

/// The paths in a recorded `cpu_map`, such as `["socket0", "core1"]`, by MPIDR.
fn positions(map: &Value, above: &[String], found: &mut BTreeMap<u64, Vec<String>>) {
    if let Some(mpidr) = map.as_u64() {
        found.insert(mpidr, above.to_vec());
    }
    for (name, below) in map.as_object().into_iter().flatten() {
        let path = [above, std::slice::from_ref(name)].concat();
        positions(below, &path, found);
    }
}

#[test]
#[ignore = "needs trees that others wrote"]
fn topology_agrees() {
    for_each(|machine, expected| {
        let mut wanted = BTreeMap::new();
        positions(&expected["cpu_map"], &[], &mut wanted);
        let found: BTreeMap<u64, Vec<String>> = machine
            .cpus
            .iter()
            .filter_map(|cpu| {
                let topology = cpu.topology.as_ref()?;
                let mut path = Vec::new();
                path.extend(topology.socket.map(|number| format!("socket{number}")));
                path.extend(topology.clusters.iter().map(|n| format!("cluster{n}")));
                path.push(format!("core{}", topology.core));
                path.extend(topology.thread.map(|number| format!("thread{number}")));
                Some((cpu.mpidr.0, path))
            })
            .collect();
        assert_eq!(found, wanted);
    });
}

#[test]
#[ignore = "needs trees that others wrote"]
fn interrupt_controller_agrees() {
    for_each(|machine, expected| {
        // The list also has interrupt controllers that are no GIC, and GICs of
        // other processors; the timer's interrupts show the one that counts.
        let is_gic = |gic: &&Value| {
            let known = ["arm,gic", "arm,cortex-a15-gic", "qcom,msm-qgic2"];
            list(&gic["compatible"]).iter().any(|one| {
                known
                    .iter()
                    .any(|known| one.as_str().unwrap().starts_with(known))
            })
        };
        let wanted: Vec<&Value> = list(&expected["gic"]).iter().filter(is_gic).collect();
        let Some(gic) = &machine.gic else {
            assert!(wanted.is_empty());
            return;
        };
        let parent = list(&expected["timer"])
            .iter()
            .find_map(|timer| timer["interrupts"][0]["parent"].as_str());
        if let Some(parent) = parent {
            assert_eq!(gic.path, parent);
        }
        let wanted = wanted
            .into_iter()
            .find(|wanted| wanted["path"] == json!(gic.path))
            .unwrap();
        assert_eq!(json!(gic.compatible), wanted["compatible"]);
        let regions: Vec<Value> = gic
            .regions
            .iter()
            .map(|region| json!([region.base.0, region.size]))
            .collect();
        let wanted_regions: Vec<Value> = list(&wanted["reg"])
            .iter()
            .map(|reg| json!([reg["cpu"], reg["size"]]))
            .collect();
        assert_eq!(regions, wanted_regions);
        let count = wanted["redist_regions"].as_u64();
        if gic.kind == capelin_dt::GicKind::V2 {
            assert_eq!(gic.redistributors(), []);
        } else {
            assert_eq!(gic.redistributors().len() as u64, count.unwrap_or(1));
        }
        assert_eq!(json!(gic.redistributor_stride), wanted["redist_stride"]);
        let ppi = wanted["maintenance_irq"][0]["cells"][1].as_u64();
        let maintenance = gic.maintenance.map(|intid| u64::from(intid.0));
        assert_eq!(maintenance, ppi.map(|ppi| ppi + 16));

        let mut services: Vec<Value> = Vec::new();
        for its in &gic.its {
            services.push(json!([its.path, its.region.base.0, its.region.size]));
        }
        for frame in &gic.v2m_frames {
            services.push(json!([frame.path, frame.region.base.0, frame.region.size]));
        }
        let mut wanted: Vec<Value> = list(&expected["its_v2m"])
            .iter()
            .map(|its| json!([its["path"], its["reg"][0]["cpu"], its["reg"][0]["size"]]))
            .collect();
        services.sort_by_key(Value::to_string);
        wanted.sort_by_key(Value::to_string);
        assert_eq!(services, wanted);
    });
}

#[test]
#[ignore = "needs trees that others wrote"]
fn timer_agrees() {
    for_each(|machine, expected| {
        let wanted = list(&expected["timer"])
            .iter()
            .find(|timer| !timer["intids"].is_null());
        let found: Option<Vec<u32>> = machine
            .timer
            .as_ref()
            .map(|timer| timer.intids().map(|intid| intid.0).collect());
        match wanted {
            Some(wanted) => {
                assert_eq!(json!(found), wanted["intids"]);
                let timer = machine.timer.as_ref().unwrap();
                assert_eq!(json!(timer.path), wanted["path"]);
                assert_eq!(json!(timer.virt.map(|intid| intid.0)), wanted["intids"][2]);
                assert_eq!(json!(timer.clock_frequency), wanted["clock_frequency"]);
            }
            None => assert!(found.unwrap_or_default().is_empty()),
        }
    });
}

#[test]
#[ignore = "needs trees that others wrote"]
fn memory_agrees() {
    for_each(|machine, expected| {
        let found: Vec<Value> = machine
            .memory
            .iter()
            .map(|memory| {
                json!([
                    memory.region.base.0,
                    memory.region.size,
                    memory.numa.map(|numa| numa.0)
                ])
            })
            .collect();
        let mut wanted = Vec::new();
        let mut total = 0;
        for node in list(&expected["memory"])
            .iter()
            .filter(|node| is_okay(node))
        {
            for reg in list(&node["reg"]) {
                wanted.push(json!([reg[0], reg[1], node["numa"]]));
                total += reg[1].as_u64().unwrap();
            }
        }
        assert_eq!(found, wanted);
        assert_eq!(machine.memory_size(), total);
        let ids: Vec<u32> = machine.numa_ids().iter().map(|numa| numa.0).collect();
        assert_eq!(json!(ids), expected["numa_ids"]);
        let distances: Vec<Value> = machine
            .distances
            .entries
            .iter()
            .map(|(from, to, distance)| json!([from.0, to.0, distance]))
            .collect();
        assert_eq!(distances, list(&expected["distance_map"]));
    });
}

#[test]
#[ignore = "needs trees that others wrote"]
fn reservations_agree() {
    for_each(|machine, expected| {
        let mut wanted: Vec<Value> = list(&expected["memreserve"])
            .iter()
            .map(|entry| json!(["", [entry], false, false, true, null, null]))
            .collect();
        for node in list(&expected["reserved_memory"]) {
            wanted.push(json!([
                node["name"],
                node["reg"],
                node["no_map"],
                node["reusable"],
                is_okay(node),
                node["dyn_size"],
                // An alignment means nothing to one that has its place.
                if node["dyn_size"].is_null() {
                    &Value::Null
                } else {
                    &node["alignment"]
                },
            ]));
        }
        let found: Vec<Value> = machine
            .reservations
            .iter()
            .map(|reservation| {
                let (size, alignment) = match &reservation.kind {
                    ReservationKind::Dynamic {
                        size, alignment, ..
                    } => (Some(*size), *alignment),
                    ReservationKind::ReservationBlock | ReservationKind::Static => (None, None),
                };
                let regions: Vec<Value> = reservation
                    .regions
                    .iter()
                    .map(|region| json!([region.base.0, region.size]))
                    .collect();
                json!([
                    reservation.name,
                    regions,
                    reservation.no_map,
                    reservation.reusable,
                    reservation.status == Status::Okay,
                    size,
                    alignment,
                ])
            })
            .collect();
        assert_eq!(found, wanted);
        // What is usable keeps out of all that is reserved.
        let usable = machine.usable_memory(&[]);
        for reserved in machine.reserved_regions().filter(|region| region.size > 0) {
            for free in &usable {
                assert!(
                    free.region.end() <= reserved.base.0 || reserved.end() <= free.region.base.0
                );
            }
        }
    });
}

#[test]
#[ignore = "needs trees that others wrote"]
fn psci_agrees() {
    for_each(|machine, expected| {
        let wanted = &expected["psci"][0];
        let Some(psci) = &machine.psci else {
            assert!(wanted.is_null());
            return;
        };
        assert_eq!(json!(psci.path), wanted["path"]);
        assert_eq!(json!(psci.compatible), wanted["compatible"]);
        assert_eq!(json!(psci.conduit.name()), wanted["method"]);
        assert_eq!(json!(psci.listed.cpu_on), wanted["cpu_on"]);
        assert_eq!(json!(psci.listed.cpu_off), wanted["cpu_off"]);
        assert_eq!(json!(psci.listed.cpu_suspend), wanted["cpu_suspend"]);
        assert_eq!(json!(psci.listed.migrate), wanted["migrate"]);
        assert_eq!(psci.cpu_on(), Some(0xc400_0003));
    });
}

#[test]
#[ignore = "needs trees that others wrote"]
fn console_agrees() {
    for_each(|machine, expected| {
        let wanted = &expected["stdout"];
        assert_eq!(json!(machine.chosen.stdout_raw), wanted["raw"]);
        assert_eq!(json!(machine.chosen.stdout_path), wanted["path"]);
        let named = machine.console.as_ref();
        let named = named.filter(|console| console.source == ConsoleSource::StdoutPath);
        let Some(console) = named else {
            // The other reader looks at stdout-path alone; one that can't be used
            // gives way to the only UART.
            let chosen = machine
                .devices
                .iter()
                .find(|device| Some(&device.path) == machine.chosen.stdout_path.as_ref());
            assert!(
                chosen.is_none_or(|device| !device.status.is_okay() || machine.console.is_some())
            );
            return;
        };
        assert_eq!(json!(console.compatible), wanted["compatible"]);
        let reg = console.reg.unwrap();
        assert_eq!(
            json!(console.base().map(|base| base.0)),
            wanted["reg"][0]["cpu"]
        );
        assert_eq!(json!(reg.bus), wanted["reg"][0]["bus"]);
        assert_eq!(json!(reg.size), wanted["reg"][0]["size"]);
        let shift = wanted["reg_shift"].as_u64().unwrap_or(0);
        assert_eq!(u64::from(console.reg_shift), shift);
        assert_eq!(json!(console.reg_io_width), wanted["reg_io_width"]);
        assert_eq!(json!(console.clock_frequency), wanted["clock_frequency"]);
        // The other reader does not follow interrupt maps: it records none there.
        for (found, wanted) in console.interrupts.iter().zip(list(&wanted["irq"])) {
            assert_eq!(json!(found.controller), wanted["parent"]);
            assert_eq!(json!(found.cells), wanted["cells"]);
            if machine
                .gic
                .as_ref()
                .is_some_and(|gic| gic.path == found.controller)
            {
                let spi = wanted["cells"][1].as_u64().unwrap();
                assert_eq!(found.intid.map(|intid| u64::from(intid.0)), Some(32 + spi));
            }
        }
        assert!(console.interrupts.len() >= list(&wanted["irq"]).len());
    });
}

#[test]
#[ignore = "needs trees that others wrote"]
fn devices_agree() {
    for_each(|machine, expected| {
        for kind in ["uarts", "pcie"] {
            for wanted in list(&expected[kind]) {
                let path = wanted["path"].as_str().unwrap();
                let device = machine.devices.iter().find(|device| device.path == path);
                let device = device.unwrap_or_else(|| panic!("{path} is missing"));
                assert_eq!(json!(device.compatible), wanted["compatible"]);
                let regs: Vec<Value> = device
                    .regs
                    .iter()
                    .map(|reg| {
                        json!({
                            "cpu": reg.base.map(|base| base.0),
                            "size": reg.size,
                            "bus": reg.bus,
                        })
                    })
                    .collect();
                assert_eq!(json!(regs), wanted["reg"], "{path}");
            }
        }
        let virtio: Vec<Value> = machine
            .compatible_devices("virtio,mmio")
            .map(|device| {
                json!([
                    device.regs[0].base.map(|base| base.0),
                    device.regs[0].size,
                    device.interrupts.first().map(|one| one.cells.clone()),
                ])
            })
            .collect();
        let wanted: Vec<Value> = list(&expected["virtio_mmio"])
            .iter()
            .map(|one| json!([one["reg"], one["size"], one["irq"]]))
            .collect();
        if wanted.iter().all(|one| !one[2].is_null()) {
            assert_eq!(virtio, wanted);
        } else {
            assert_eq!(virtio.len(), wanted.len());
        }
    });
}

fn read(set: &str, file: &str) -> (Machine, Bootability) {
    let machine = Machine::parse(&capelin_trees::recorded(set, file)).unwrap();
    let verdict = bootability(&machine);
    (machine, verdict)
}

fn sentences(verdict: &Bootability) -> String {
    verdict.to_string()
}

/// The verdict on the trees whose oddities are known.
#[test]
#[ignore = "needs trees that others wrote"]
fn known_oddities_are_reported() {
    {
        let (machine, verdict) = read("boards", "broadcom__bcm2711-rpi-4-b.dtb");
        assert!(verdict.is_bootable() && !verdict.is_bootable_as_is());
        assert!(sentences(&verdict).contains("memory node's size is 0"));
        assert_eq!(verdict.usable_cores, 4);
        assert_eq!(machine.caches.len(), 1);
        assert_eq!(machine.caches[0].cpus, [0, 1, 2, 3]);
        assert_eq!(machine.caches[0].geometry.size, Some(1 << 20));
    }
    {
        let (machine, verdict) = read("boards", "broadcom__bcm2837-rpi-3-b.dtb");
        assert!(machine.gic.is_none());
        assert!(!verdict.is_bootable());
        assert!(sentences(&verdict).contains("no GIC"));
    }
    {
        let (_, verdict) = read("boards", "apm__apm-mustang.dtb");
        assert!(verdict.is_bootable_as_is());
        assert!(sentences(&verdict).contains("7 secondary cores can't be started: others wait"));
        assert_eq!(verdict.usable_cores, 1);
    }
    {
        let (machine, verdict) = read("boards", "hisilicon__hip06-d03.dtb");
        assert_eq!(machine.boot_cpu().map(|cpu| cpu.mpidr.0), Some(0x10000));
        assert_eq!(verdict.usable_cores, 16);
    }
    {
        let (machine, _) = read("boards", "hisilicon__hip07-d05.dtb");
        assert_eq!(
            machine
                .distances
                .distance(capelin_dt::NumaId(1), capelin_dt::NumaId(2)),
            Some(25)
        );
        assert_eq!(machine.gic.as_ref().unwrap().its.len(), 8);
    }
    {
        let (_, verdict) = read("boards", "qcom__msm8939-samsung-a7.dtb");
        assert_eq!(verdict.usable_cores, 1);
        assert!(sentences(&verdict).contains("the spin table has no release address"));
    }
    {
        let (_, verdict) = read("boards", "freescale__fsl-ls2088a-rdb.dtb");
        assert_eq!(verdict.usable_cores, 1);
        assert!(
            sentences(&verdict)
                .contains("7 secondary cores can't be started: there is no enable-method")
        );
    }
    // The motherboard's interrupt-map leads to the GIC: SPI 5.
    {
        let (machine, _) = read("boards", "arm__fvp-base-revc.dtb");
        let console = machine.console.unwrap();
        assert_eq!(
            console.interrupts[0].intid.map(|intid| intid.0),
            Some(32 + 5)
        );
    }
    // A stacked controller passes the line through.
    {
        let (machine, _) = read("boards", "mediatek__mt6795-evb.dtb");
        let console = machine.console.unwrap();
        assert_eq!(
            console.interrupts[0].intid.map(|intid| intid.0),
            Some(32 + 91)
        );
    }
}

#[test]
#[ignore = "needs trees that others wrote"]
fn known_shapes_of_qemu_are_reported() {
    {
        let (_, verdict) = read("qemu", "virt-gic3-smp4.dtb");
        assert_eq!(verdict.findings, []);
        assert_eq!(verdict.usable_cores, 4);
    }
    {
        let (_, verdict) = read("qemu", "virt-gic3-smp1.dtb");
        assert_eq!(verdict.findings, []);
        assert_eq!(verdict.usable_cores, 1);
    }
    {
        let (machine, verdict) = read("qemu", "virt-gic3-smp4-secure.dtb");
        assert!(verdict.is_bootable_as_is());
        assert_eq!(verdict.usable_cores, 1);
        assert!(sentences(&verdict).contains("there is no usable psci node"));
        assert_eq!(machine.memory.len(), 1);
    }
    {
        let (_, verdict) = read("qemu", "sbsa-ref-smp4-numa2-image.dtb");
        assert!(!verdict.is_bootable());
        let blocks = |finding: &&capelin_dt::Finding| finding.severity() == Severity::Blocks;
        assert_eq!(verdict.findings.iter().filter(blocks).count(), 2);
    }
    {
        let (machine, verdict) = read("qemu", "virt-gic3-smp512.dtb");
        assert_eq!(verdict.usable_cores, 512);
        assert_eq!(machine.gic.unwrap().redistributors().len(), 2);
    }
    {
        let (machine, verdict) = read("qemu", "raspi4b-debian612-after-tfa.dtb");
        assert_eq!(verdict.usable_cores, 4);
        assert!(
            machine
                .reserved_regions()
                .any(|region| region.size == 0x80000)
        );
    }
}
