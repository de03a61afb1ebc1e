//! What each part of the tables becomes, and what odd ones do.
//!
//! Long, since it has one independent test for each part, and each is held beside its odd forms.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses its own part")]
mod common;

use capelin_acpi::finding::{List, TableFault};
use capelin_acpi::serial::UartKind;
use capelin_acpi::{Block, Finding, Inputs, Range, Signature, Tables};
use capelin_dt::{
    Conduit, ConsoleUse, EnableMethod, GicKind, Machine, Mpidr, Trigger, bootability, pcie_hosts,
};
use common::{
    Body, DATA, ENABLED, INSTRUCTIONS, ONLINE_CAPABLE, UNIFIED, cache, dbg2, fadt, gicc, gicc_with,
    gicd, gicr, gtdt, hmat, iort, its, madt, mcfg, msi_frame, pptt, processor, read, read_with,
    seal, server, server_map, slit, spcr, srat, srat_core, srat_memory, table, with, without,
};

fn findings(raw: &[Vec<u8>]) -> Vec<Finding> {
    read(raw).0.findings.as_slice().to_vec()
}

fn regions(machine: &Machine) -> Vec<(u64, u64)> {
    let gic = machine.gic.as_ref().unwrap();
    let regions = gic.regions.iter();
    regions.map(|region| (region.base.0, region.size)).collect()
}

/// A property's cells, from the tree's text form: what `capelin-dt` doesn't read.
fn cells(blob: &[u8], node: &str, property: &str) -> Option<Vec<u32>> {
    let node = fdt_node(blob, node)?;
    let value = node.into_iter().find(|(name, _)| name == property)?.1;
    Some(
        value
            .as_chunks()
            .0
            .iter()
            .map(|&cell| u32::from_be_bytes(cell))
            .collect(),
    )
}

/// A node's properties, by a walk of the structure block that is this test's own.
fn fdt_node(blob: &[u8], wanted: &str) -> Option<Vec<(String, Vec<u8>)>> {
    let word = |at: usize| u32::from_be_bytes(blob[at..at + 4].try_into().unwrap()) as usize;
    let text = |at: usize| {
        let end = blob[at..].iter().position(|&byte| byte == 0).unwrap();
        String::from_utf8(blob[at..at + end].to_vec()).unwrap()
    };
    let (mut at, strings) = (word(8), word(12));
    let mut open = Vec::new();
    let mut found = None;
    loop {
        let token = word(at);
        at += 4;
        match token {
            1 => {
                let name = text(at);
                at = (at + name.len() + 4) & !3;
                if name == wanted {
                    found = Some(Vec::new());
                }
                open.push(name);
            }
            2 => {
                if open.pop()? == wanted {
                    return found;
                }
            }
            3 => {
                let (length, name) = (word(at), text(strings + word(at + 4)));
                at += 8;
                if let (Some(found), Some(node)) = (&mut found, open.last())
                    && node == wanted
                {
                    found.push((name, blob[at..at + length].to_vec()));
                }
                at = (at + length + 3) & !3;
            }
            _ => return None,
        }
    }
}

#[test]
fn a_server_becomes_a_tree() {
    let (translation, machine) = read(&server());
    assert_eq!(translation.findings.as_slice(), []);
    assert_eq!(machine.model.as_deref(), Some("CAPELN SERVER"));
    let cpus: Vec<_> = machine
        .cpus
        .iter()
        .map(|cpu| (cpu.mpidr.0, cpu.status.is_okay(), cpu.numa.unwrap().0))
        .collect();
    let expected = [
        (0x1_0000_0100, true, 1),
        (0, true, 0),
        (0x100, true, 0),
        (0x1_0000_0000, false, 1),
    ];
    assert_eq!(cpus, expected);
    // It doesn't fit 32 bits, so the header names none.
    assert_eq!(machine.boot_cpuid, 0);
    let places: Vec<_> = machine
        .cpus
        .iter()
        .map(|cpu| {
            let place = cpu.topology.clone().unwrap();
            (place.socket.unwrap(), place.clusters, place.core)
        })
        .collect();
    let expected = [(1, 1), (0, 0), (0, 1), (1, 0)];
    assert_eq!(
        places,
        expected.map(|(socket, core)| (socket, vec![0], core))
    );
    assert_eq!(machine.cpus[0].l1_data.size, Some(64 << 10));
    assert_eq!(machine.cpus[0].l1_instruction.size, Some(48 << 10));
    // One structure, and one cache in each package.
    let shared: Vec<_> = machine
        .caches
        .iter()
        .map(|cache| cache.cpus.clone())
        .collect();
    assert_eq!(shared, [vec![0, 3], vec![1, 2]]);
    assert_eq!(
        regions(&machine),
        [
            (0x1000_0000, 0x1_0000),
            (0x1010_0000, 0x4_0000),
            (0x1020_0000, 0x4_0000)
        ]
    );
    let gic = machine.gic.as_ref().unwrap();
    assert_eq!(gic.its[0].numa.unwrap().0, 1);
    let frame = &gic.v2m_frames[0];
    assert_eq!(
        (frame.first_spi.unwrap().0, frame.spi_count),
        (64, Some(32))
    );
    assert_eq!(gic.maintenance.unwrap().0, 25);
    let timer = machine.timer.as_ref().unwrap();
    assert_eq!(timer.hyp_virt.unwrap().0, 28);
    assert!(
        !timer.always_on,
        "the physical one is, the virtual one isn't"
    );
    let triggers = timer.interrupts.iter().map(|interrupt| interrupt.trigger);
    let low = [false, false, true, false, true];
    assert!(triggers.map(|trigger| trigger == Trigger::LevelLow).eq(low));
    let psci = machine.psci.as_ref().unwrap();
    assert_eq!(
        (psci.conduit, psci.cpu_on()),
        (Conduit::Smc, Some(0xc400_0003))
    );
    // What can be plugged in isn't there.
    let memory: Vec<_> = machine
        .memory
        .iter()
        .map(|memory| memory.region.base.0)
        .collect();
    assert_eq!(memory, [0x8000_0000, 0x80_0000_0000]);
    let console = machine.console.as_ref().unwrap();
    assert_eq!(console.base().unwrap().0, 0x1c09_0000);
    assert_eq!(console.intid().unwrap().0, 37);
    let hosts: Vec<_> = machine
        .compatible_devices("pci-host-ecam-generic")
        .collect();
    let places: Vec<_> = hosts
        .iter()
        .map(|host| (host.regs[0].bus, host.regs[0].size))
        .collect();
    assert_eq!(
        places,
        [(0x40_0000_0000, 256 << 20), (0x50_0100_0000, 16 << 20)]
    );
    assert!(hosts[0].is_dma_coherent && !hosts[1].is_dma_coherent);
    let dog = machine.compatible_devices("arm,sbsa-gwdt").next().unwrap();
    assert_eq!(dog.interrupts[0].intid.unwrap().0, 59);
    assert!(dog.interrupts[0].trigger.is_edge());
    let smmu = machine.compatible_devices("arm,smmu-v3").next().unwrap();
    assert_eq!(
        smmu.interrupt_names,
        ["eventq", "priq", "gerror", "cmdq-sync"]
    );
    assert_eq!(smmu.numa.unwrap().0, 1);
    let verdict = bootability(&machine);
    assert_eq!((verdict.usable_cores, verdict.enabled_cores), (3, 3));
    assert_eq!(verdict.console, ConsoleUse::InputAndOutput);
}

/// Requester ids go through the SMMU to the ITS, as far as both map them.
#[test]
fn ids_are_mapped_through_the_smmu() {
    let blob = read(&server()).0.blob;
    let smmu = cells(&blob, "iommu@2b400000", "phandle").unwrap()[0];
    let its = cells(&blob, "msi-controller@10080000", "phandle").unwrap()[0];
    let host = "pcie@4000000000";
    let through = cells(&blob, host, "iommu-map").unwrap();
    assert_eq!(through, [0x80, smmu, 0x180, 0x100]);
    // Stream ids 0x180 to 0x1ff only: requester ids 0x80 to 0xff.
    let to = cells(&blob, host, "msi-map").unwrap();
    assert_eq!(to, [0x80, its, 0x8180, 0x80]);
    // The other host is mapped to nobody, and there is a frame.
    assert_eq!(cells(&blob, "pcie@5001000000", "msi-map"), None);
    let frame = cells(&blob, "v2m@10300000", "phandle").unwrap();
    assert_eq!(
        cells(&blob, "pcie@5001000000", "msi-parent").unwrap(),
        frame
    );
    assert_eq!(cells(&blob, host, "msi-parent"), None);
    let hosts = pcie_hosts(&blob).unwrap();
    let buses: Vec<_> = hosts
        .iter()
        .map(|host| host.reachable_buses().unwrap())
        .collect();
    assert_eq!(buses, [0..=255, 16..=31]);
    assert_eq!(
        (hosts[1].segment, hosts[0].msi[0].device),
        (Some(1), 0x8180)
    );
    assert_eq!(
        cells(&blob, "pcie@5001000000", "bus-range").unwrap(),
        [16, 31]
    );
    let wrong = with(table(
        b"IORT",
        0,
        &Body(
            iort()[36..]
                .iter()
                .map(|&byte| if byte == 72 { 73 } else { byte })
                .collect(),
        ),
    ));
    let finding = Finding::Reference {
        signature: Tables::IORT,
        offset: 73,
    };
    assert!(findings(&wrong).contains(&finding));
}

#[test]
fn speeds_have_a_binding_of_ours() {
    let blob = read(&server()).0.blob;
    let cells = |name| cells(&blob, "numa-performance", name);
    // What can't be reached isn't listed.
    let expected = [0, 0, 90_000, 0, 1, 140_000, 1, 1, 95_000];
    assert_eq!(cells("read-latency-ps").unwrap(), expected);
    assert_eq!(cells("write-latency-ps"), None);
    let mut cut = hmat();
    cut.truncate(cut.len() - 1);
    let length = u32::try_from(cut.len()).unwrap();
    cut[4..8].copy_from_slice(&length.to_le_bytes());
    seal(&mut cut);
    assert!(matches!(findings(&with(cut))[..], [Finding::Entry { .. }]));
}

#[test]
fn uefi_s_map_is_cut_by_node_and_taken_by_holder() {
    let map = server_map();
    let loaded = [Range::new(0x8100_0000, 0x20_0000)];
    let inputs = Inputs {
        memory_map: Some(&map),
        loaded: &loaded,
        initrd: Some(Range::new(0x8200_0000, 0x1234)),
        command_line: Some("mem=1"),
        boot_core: Some(0x100),
        rsdp: Some(0xbf80_0014),
        entry_ticks: Some(0x1_0000_0002),
    };
    let (translation, machine) = read_with(&server(), &inputs);
    assert_eq!(translation.findings.as_slice(), []);
    assert_eq!(machine.boot_cpu().unwrap().mpidr, Mpidr(0x100));
    let memory: Vec<_> = machine
        .memory
        .iter()
        .map(|memory| {
            (
                memory.region.base.0,
                memory.region.size,
                memory.numa.unwrap().0,
            )
        })
        .collect();
    // The first two pieces touch.
    let expected = [
        (0x8000_0000, 0x4000_0000, 0),
        (0x80_0000_0000, 0x4000_0000, 1),
    ];
    assert_eq!(memory, expected);
    let reserved: Vec<_> = machine
        .reservations
        .iter()
        .map(|one| (one.name.as_str(), one.regions[0].base.0, one.no_map))
        .collect();
    let expected = [
        ("uefi-runtime@bf000000", 0xbf00_0000, true),
        ("acpi-tables@bf800000", 0xbf80_0000, false),
        ("loader@81000000", 0x8100_0000, false),
    ];
    assert_eq!(reserved, expected);
    assert_eq!(machine.initrd().unwrap().size, 0x1234);
    assert_eq!(machine.chosen.bootargs.as_deref(), Some("mem=1"));
    assert_eq!(machine.chosen.entry_ticks, Some(0x1_0000_0002));
    // A map without memory is not made up for by the SRAT.
    let none = Inputs {
        memory_map: Some(&[]),
        ..Inputs::default()
    };
    assert_eq!(read_with(&server(), &none).1.memory, []);
}

#[test]
fn redistributors_of_their_own_are_joined() {
    let place = |spacing: u64| {
        let core = |number: u64, at: u64| {
            let uid = u32::try_from(number).unwrap();
            gicc_with(uid, number, ENABLED, (0, 0), at)
        };
        // Out of order, and one apart from the others.
        let cores = [
            core(0, 0x2000_0000 + spacing),
            core(1, 0x2000_0000),
            core(2, 0x2000_0000 + 2 * spacing),
            core(3, 0x3000_0000),
            gicd(0x1000_0000, 0),
        ];
        read(&with(madt(&cores))).1
    };
    let narrow = place(0x2_0000);
    let expected = [
        (0x1000_0000, 0x1_0000),
        (0x2000_0000, 0x6_0000),
        (0x3000_0000, 0x2_0000),
    ];
    assert_eq!(regions(&narrow), expected);
    let gic = narrow.gic.as_ref().unwrap();
    assert_eq!((gic.kind, gic.redistributor_regions), (GicKind::V3, 2));
    assert_eq!(gic.redistributor_stride, None);
    assert_eq!(bootability(&narrow).usable_cores, 4);
    let wide = place(0x4_0000);
    let expected = [
        (0x1000_0000, 0x1_0000),
        (0x2000_0000, 0xc_0000),
        (0x3000_0000, 0x4_0000),
    ];
    assert_eq!(regions(&wide), expected);
    assert_eq!(
        wide.gic.as_ref().unwrap().redistributor_stride,
        Some(0x4_0000)
    );
    assert_eq!(bootability(&wide).usable_cores, 4);
}

#[test]
fn cores_that_are_no_cores() {
    let raw = with(madt(&[
        gicc(0, 0, 0),
        gicc(1, 0x100, ENABLED),
        // Empty sockets: no such affinity, one that a core has, one of another's.
        gicc(2, 0xffff_ffff, 0),
        gicc(3, 0x100, 0),
        gicc(4, 0, 0),
        gicc(5, 0x200, ONLINE_CAPABLE),
        // Bits that are no affinity; the same core twice.
        gicc(6, 0x8000_0300, ENABLED),
        gicc(7, 0x100, ENABLED),
        gicd(0x1000_0000, 3),
        gicr(0x1010_0000, 0x10_0000),
    ]));
    let machine = read(&raw).1;
    let cpus: Vec<_> = machine
        .cpus
        .iter()
        .map(|cpu| (cpu.mpidr.0, cpu.status.is_okay()))
        .collect();
    assert_eq!(
        cpus,
        [(0, false), (0x100, true), (0x200, false), (0x100, true)]
    );
    assert_eq!(machine.unreadable_cpus, ["/cpus/cpu@80000300"]);
    assert_eq!(machine.boot_cpu().unwrap().mpidr, Mpidr(0x100));
    let verdict = bootability(&machine).to_string();
    assert!(
        verdict.contains("several cores have MPIDR 0x100"),
        "{verdict}"
    );
}

#[test]
fn who_starts_cores() {
    let parked = madt(&[
        gicc_with(0, 0, ENABLED, (1, 0x8000_0000), 0),
        gicc_with(1, 1, ENABLED, (1, 0x8000_1000), 0),
        gicd(0x1000_0000, 3),
        gicr(0x1010_0000, 0x10_0000),
    ]);
    let mut raw = with(parked);
    let hvc = |arm: u16| read(&with(fadt(arm))).1.psci.map(|psci| psci.conduit);
    assert_eq!(
        [hvc(1), hvc(3), hvc(2)],
        [Some(Conduit::Smc), Some(Conduit::Hvc), None]
    );
    // PSCI is asked first.
    assert_eq!(read(&raw).1.cpus[1].enable_method, EnableMethod::Psci);
    raw.retain(|table| table[..4] != *b"FACP");
    raw.push(fadt(0));
    let (translation, machine) = read(&raw);
    assert_eq!(translation.findings.as_slice(), [Finding::Parking]);
    let method = EnableMethod::Other("capelin,parking".to_owned());
    assert_eq!(machine.cpus[1].enable_method, method);
    let mailbox = cells(&translation.blob, "cpu@1", "capelin,parking-mailbox");
    assert_eq!(mailbox.unwrap(), [0, 0x8000_1000]);
    let verdict = bootability(&machine);
    assert_eq!((verdict.usable_cores, verdict.is_bootable()), (1, true));
    // Neither.
    let (translation, machine) = read(&with(fadt(0)));
    assert_eq!(translation.findings.as_slice(), [Finding::NoStartMethod]);
    assert_eq!(machine.cpus[0].enable_method, EnableMethod::None);
}

/// Before revision 3 the table ended before the fifth timer, and others stand there.
#[test]
fn old_tables_have_four_timers() {
    let mut old = gtdt();
    old[8] = 2;
    seal(&mut old);
    let timer = read(&with(old)).1.timer.unwrap();
    assert_eq!(timer.hyp.unwrap().0, 26);
    assert_eq!(timer.hyp_virt, None);
}

#[test]
fn uarts_of_any_stride() {
    let kind = |kind, width, access| {
        let raw = with(spcr(kind, (0, width, access, 0x1c09_0000), (8, 40)));
        let (translation, machine) = read(&raw);
        let console = machine.console.unwrap();
        assert_eq!(console.base().unwrap().0, 0x1c09_0000);
        let layout = console.layout();
        (
            translation.facts.uarts.all[0].kind,
            layout.shift,
            layout.access_bytes,
        )
    };
    let ns16550 = |shift, access_bytes| UartKind::Ns16550 {
        shift,
        access_bytes,
    };
    assert_eq!(kind(0, 8, 1), (ns16550(0, 1), 0, 1));
    assert_eq!(kind(1, 16, 1), (ns16550(1, 1), 1, 1));
    assert_eq!(kind(0x12, 32, 1), (ns16550(2, 1), 2, 1));
    assert_eq!(kind(0x12, 32, 3), (ns16550(2, 4), 2, 4));
    assert_eq!(kind(5, 64, 3), (ns16550(3, 4), 3, 4));
    // The access is wider than the distance; neither is given.
    assert_eq!(kind(0, 8, 3), (ns16550(2, 4), 2, 4));
    assert_eq!(kind(0, 0, 0), (ns16550(0, 1), 0, 1));
    assert_eq!(kind(3, 32, 3), (UartKind::Pl011, 2, 4));
    assert_eq!(kind(0xe, 32, 3), (UartKind::Sbsa, 2, 4));
    assert_eq!(kind(0x10, 32, 3).0, UartKind::Bcm2835Aux);
    let finding = |kind, space, base| findings(&with(spcr(kind, (space, 32, 3, base), (8, 40))));
    assert_eq!(finding(3, 1, 0x3f8), [Finding::UartSpace { space: 1 }]);
    assert_eq!(finding(0x15, 0, 0x1000), [Finding::UartKind { kind: 0x15 }]);
    assert_eq!(finding(3, 0, 0), []);
    let block = Block::Uart;
    let address = 1 << 60;
    assert_eq!(
        finding(3, 0, address),
        [Finding::Address { block, address }]
    );
}

#[test]
fn a_debug_port_is_the_console_where_nothing_else_is() {
    let mut raw = without(b"SPCR");
    let console = read(&raw).1.console.unwrap();
    assert_eq!(console.base().unwrap().0, 0x1c0a_0000);
    assert_eq!(console.intid(), None);
    // One for USB is none.
    raw.retain(|table| table[..4] != *b"DBG2");
    raw.push(dbg2(0x8002, 0, 0x1c0a_0000));
    assert_eq!(read(&raw).1.console, None);
    // The same UART in both is one.
    let both = with(dbg2(0x8000, 3, 0x1c09_0000));
    assert_eq!(read(&both).0.facts.uarts.all.len(), 1);
}

#[test]
fn tables_that_lie_are_left_out() {
    let fault = |change: fn(&mut Vec<u8>)| {
        let mut table = spcr(3, (0, 32, 3, 0x1c09_0000), (8, 40));
        change(&mut table);
        match findings(&with(table))[..] {
            [Finding::Table { signature, fault }] if signature == Tables::SPCR => fault,
            ref other => panic!("{other:?}"),
        }
    };
    assert_eq!(fault(|table| table[60] ^= 1), TableFault::Checksum);
    let truncated = fault(|table| table.truncate(70));
    assert_eq!(
        truncated,
        TableFault::Truncated {
            said: 80,
            there: 70
        }
    );
    let short = fault(|table| {
        table[4..8].copy_from_slice(&20_u32.to_le_bytes());
        seal(table);
    });
    assert_eq!(
        short,
        TableFault::Truncated {
            said: 20,
            there: 80
        }
    );
    let long = fault(|table| table[4..8].copy_from_slice(&u32::MAX.to_le_bytes()));
    assert_eq!(long, TableFault::TooLong { said: u32::MAX });
    let lacks = fault(|table| {
        table.truncate(40);
        table[4..8].copy_from_slice(&40_u32.to_le_bytes());
        seal(table);
    });
    assert_eq!(lacks, TableFault::TooShort);
    let mut twice = server();
    twice.push(spcr(3, (0, 32, 3, 0x4000), (8, 40)));
    let (translation, machine) = read(&twice);
    let repeated = Finding::Table {
        signature: Tables::SPCR,
        fault: TableFault::Repeated,
    };
    assert_eq!(translation.findings.as_slice(), [repeated]);
    assert_eq!(machine.console.unwrap().base().unwrap().0, 0x1c09_0000);
    // What isn't there is missed only if it is needed.
    for name in [b"APIC", b"FACP", b"GTDT"] {
        let missing = Finding::Missing {
            signature: Signature(*name),
        };
        assert!(findings(&without(name)).contains(&missing));
    }
    for name in [
        b"SRAT", b"SLIT", b"HMAT", b"PPTT", b"SPCR", b"DBG2", b"MCFG", b"IORT",
    ] {
        assert_eq!(findings(&without(name)), [], "{name:?}");
    }
}

#[test]
fn entries_that_lie_cost_themselves() {
    let cut = Body::default().b(&[0xb, 40]).zeros(38);
    let beyond = Body::default().b(&[0xb, 81]).zeros(78);
    let raw = with(madt(&[
        gicd(0x1000_0000, 3),
        cut,
        gicr(0x1010_0000, 0x4_0000),
        gicc(0, 0, ENABLED),
        beyond,
    ]));
    let (translation, machine) = read(&raw);
    let entry = |offset| Finding::Entry {
        signature: Tables::MADT,
        offset,
    };
    assert_eq!(translation.findings.as_slice(), [entry(68), entry(204)]);
    assert_eq!(machine.cpus.len(), 1);
    assert_eq!(bootability(&machine).usable_cores, 1);
}

#[test]
fn places_are_taken_once() {
    let raw = with(madt(&[
        gicc(0, 0, ENABLED),
        gicd(0x1000_0000, 3),
        gicd(0x1100_0000, 3),
        gicr(0x1010_0000, 0x4_0000),
        gicr(0x1012_0000, 0x4_0000),
        gicr(0x1012_0800, 0x4_0000),
        its(0, 0x1000_8000),
        its(1, 0x8800_0000),
        msi_frame(0, 0, 0, 0),
    ]));
    let (translation, machine) = read(&raw);
    let expected = [
        Finding::Distributors,
        Finding::Overlap {
            first: Block::Redistributors,
            second: Block::Redistributors,
            address: 0x1012_0000,
        },
        Finding::Address {
            block: Block::Redistributors,
            address: 0x1012_0800,
        },
        Finding::Overlap {
            first: Block::Distributor,
            second: Block::Its,
            address: 0x1000_8000,
        },
        Finding::Overlap {
            first: Block::Memory,
            second: Block::Its,
            address: 0x8800_0000,
        },
        Finding::Address {
            block: Block::MessageFrame,
            address: 0,
        },
    ];
    assert_eq!(translation.findings.as_slice(), expected);
    let its = &machine.gic.as_ref().unwrap().its;
    assert_eq!(
        its.iter().map(|its| its.region.base.0).collect::<Vec<_>>(),
        [0x8800_0000]
    );
    // It is kept out of memory.
    let usable = machine.usable_memory(&[]);
    assert_eq!(
        (usable[0].region.base.0, usable[0].region.size),
        (0x8000_0000, 0x800_0000)
    );
    assert_eq!(usable[1].region.base.0, 0x8802_0000);
}

#[test]
fn nodes_that_share_memory_and_distances_that_cannot_be() {
    let raw = with(srat(&[
        srat_memory(1, 0x9000_0000, 0x2000_0000, 1),
        srat_memory(0, 0x8000_0000, 0x2000_0000, 1),
        srat_memory(2, 0x9800_0000, 0x1000, 1),
        srat_memory(3, u64::MAX - 0xfff, 0x2000, 1),
        srat_memory(3, 0, 0x1000, 0),
        srat_core(0, 0),
    ]));
    let (translation, machine) = read(&raw);
    let second = |address| Finding::Overlap {
        first: Block::Memory,
        second: Block::Memory,
        address,
    };
    let lie = Finding::Address {
        block: Block::Memory,
        address: u64::MAX - 0xfff,
    };
    let found = translation.findings.as_slice();
    assert_eq!(found, [lie, second(0x9000_0000), second(0x9800_0000)]);
    let memory: Vec<_> = machine
        .memory
        .iter()
        .map(|memory| (memory.region.base.0, memory.region.size))
        .collect();
    assert_eq!(
        memory,
        [(0x8000_0000, 0x2000_0000), (0xa000_0000, 0x1000_0000)]
    );
    let raw = with(slit(2, &[11, 9, 255, 10]));
    let (translation, machine) = read(&raw);
    let lie = |from, to, distance| Finding::Distance { from, to, distance };
    assert_eq!(
        translation.findings.as_slice(),
        [lie(0, 0, 11), lie(0, 1, 9)]
    );
    let entries = machine.distances.entries.iter();
    let entries: Vec<_> = entries
        .map(|entry| (entry.0.0, entry.1.0, entry.2))
        .collect();
    assert_eq!(entries, [(1, 1, 10)]);
    for side in [3, 1 << 32, u64::MAX] {
        let found = findings(&with(slit(side, &[10; 4])));
        assert!(matches!(
            found[..],
            [Finding::Table {
                fault: TableFault::TooShort,
                ..
            }]
        ));
    }
}

#[test]
fn topologies_in_circles_place_nobody() {
    let (circle, _) = pptt(&[
        processor(0, 56, 0, &[]),
        processor(0, 36, 0, &[]),
        processor(2, 36, 0, &[]),
        processor(3, 0, 1, &[]),
    ]);
    let (translation, machine) = read(&with(circle));
    let finding = Finding::Reference {
        signature: Tables::PPTT,
        offset: 76,
    };
    assert_eq!(translation.findings.as_slice(), [finding]);
    // A map of some of the cores would mislead.
    assert!(machine.cpus.iter().all(|cpu| cpu.topology.is_none()));
}

#[test]
fn threads_clusters_and_chains_of_caches() {
    // Package, two clusters, a core of two threads in one and a core in the other; the
    // caches lead to each other in a circle.
    let (topology, at) = pptt(&[
        processor(1, 0, 0, &[]),
        processor(0, 36, 0, &[208]),
        processor(0, 56, 0, &[184]),
        processor(0xe, 80, 0, &[]),
        processor(0xe, 80, 1, &[]),
        processor(0, 36, 0, &[]),
        processor(0xa, 144, 2, &[]),
        cache(208, 1 << 15, UNIFIED),
        cache(184, 1 << 20, UNIFIED),
    ]);
    assert_eq!(at, [36, 56, 80, 104, 124, 144, 164, 184, 208]);
    let mut raw = with(madt(&[
        gicc(0, 0, ENABLED),
        gicc(1, 1, ENABLED),
        gicc(2, 0x100, ENABLED),
        gicd(0x1000_0000, 3),
        gicr(0x1010_0000, 0x10_0000),
    ]));
    raw.retain(|table| table[..4] != *b"PPTT");
    raw.push(topology);
    let (translation, machine) = read(&raw);
    assert_eq!(translation.findings.as_slice(), []);
    let place = |cpu: usize| machine.cpus[cpu].topology.clone().unwrap();
    let shape = |cpu: usize| {
        let place = place(cpu);
        (place.clusters, place.core, place.thread)
    };
    assert_eq!(shape(0), (vec![0], 0, Some(0)));
    assert_eq!(shape(1), (vec![0], 0, Some(1)));
    assert_eq!(shape(2), (vec![1], 0, None));
    assert_eq!(machine.cpus[1].l1_data.size, Some(1 << 15));
    assert_eq!(machine.caches.len(), 1);
    assert_eq!(machine.caches[0].cpus, [0, 1]);
}

#[test]
fn data_is_told_from_instructions() {
    let (topology, at) = pptt(&[
        processor(3, 0, 0, &[108, 84]),
        processor(3, 0, 1, &[]),
        cache(0, 1 << 16, DATA),
        cache(0, 1 << 17, INSTRUCTIONS),
    ]);
    assert_eq!(at, [36, 64, 84, 108]);
    let machine = read(&with(topology)).1;
    let cpu = machine.cpus.iter().find(|cpu| cpu.mpidr.0 == 0).unwrap();
    assert_eq!(cpu.l1_data.size, Some(1 << 16));
    assert_eq!(cpu.l1_instruction.size, Some(1 << 17));
    assert_eq!(
        (cpu.l1_data.line_size, cpu.l1_data.sets),
        (Some(64), Some(256))
    );
}

#[test]
fn more_than_any_machine_has() {
    let mut entries = vec![gicd(0x1000_0000, 3), gicr(0x1010_0000, 0x4_0000)];
    for number in 0..1_100_u32 {
        entries.push(gicc(number, u64::from(number) << 8 & 0xff_ff00, ENABLED));
    }
    let (translation, machine) = read(&with(madt(&entries)));
    assert_eq!(machine.cpus.len(), 1024);
    let finding = Finding::TooMany {
        list: List::Cores,
        kept: 1024,
    };
    assert!(translation.findings.as_slice().contains(&finding));
    // Findings of which there are too many are cut off, too.
    let spaces = vec![(1, 0, 0, 0); 300];
    let found = findings(&with(mcfg(&spaces)));
    assert_eq!(found.len(), 1);
    let spaces: Vec<_> = (1..300).map(|base| (base, 0, 0, 0)).collect();
    let found = findings(&with(mcfg(&spaces)));
    assert_eq!((found.len(), found.last()), (65, Some(&Finding::More)));
}
