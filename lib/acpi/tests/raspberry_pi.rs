//! A Raspberry Pi 4 that runs UEFI firmware with ACPI: tables with what its firmware's sources (edk2-platforms,
//! `Platform/RaspberryPi/AcpiTables`) put into them. No board was at hand to record them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses its own part")]
mod common;

use capelin_acpi::{Descriptor, Inputs};
use capelin_dt::{Conduit, ConsoleKind, EnableMethod, GicKind, Machine, bootability};
use common::{Body, ENABLED, fadt, gicd, madt, read_with, spcr, table};

const CPU_INTERFACE: u64 = 0xff84_2000;
const HYPERVISOR: u64 = 0xff84_4000;
const VIRTUAL: u64 = 0xff84_6000;
const MINI_UART: u64 = 0xfe21_5040;
/// The address of its redistributor that each core has, though a GICv2 has none: for the sake of another system.
const NO_REDISTRIBUTOR: u64 = 1;

fn core(number: u32) -> Body {
    Body::default()
        .b(&[0xb, 80, 0, 0])
        .w(&[number, number, ENABLED, 0, 48 + number])
        .d(0)
        .d(CPU_INTERFACE)
        .d(VIRTUAL)
        .d(HYPERVISOR)
        .w(&[25])
        .d(NO_REDISTRIBUTOR)
        .d(u64::from(number))
        .zeros(4)
}

/// The board's tables; its distributor says that it is of this version.
fn board(gic_version: u8) -> Machine {
    let distributor = gicd(0xff84_1000, gic_version);
    let cores = (0..4).map(core).chain([distributor]);
    let timers = Body::default()
        .d(u64::MAX)
        .w(&[0, 29, 0, 30, 0, 27, 0, 26, 0])
        .d(u64::MAX)
        .zeros(16);
    let tables = [
        madt(&cores.collect::<Vec<_>>()),
        fadt(1),
        table(b"GTDT", 3, &timers),
        // Registers of 32 bits, each with four bytes for itself.
        spcr(0x10, (0, 32, 3, MINI_UART), (8, 125)),
    ];
    // As large as the model with 4 GiB: the VideoCore's share is left out, and the registers lie between.
    let conventional = |base: u64, end: u64| Descriptor {
        kind: 7,
        base,
        pages: (end - base) / 4096,
        attributes: 1 << 3,
    };
    let map = [
        conventional(0x1000, 0x3b40_0000),
        conventional(0x4000_0000, 0xfc00_0000),
    ];
    let inputs = Inputs {
        memory_map: Some(&map),
        boot_core: Some(0),
        ..Inputs::default()
    };
    let (translation, machine) = read_with(&tables, &inputs);
    assert_eq!(translation.findings.as_slice(), []);
    machine
}

#[test]
fn all_four_cores_of_a_raspberry_pi_run() {
    for gic_version in [2, 0] {
        let machine = board(gic_version);
        let verdict = bootability(&machine);
        assert_eq!(verdict.findings, [], "version {gic_version}");
        assert_eq!(verdict.usable_cores, 4);
        let cores = machine.cpus.iter();
        assert!(
            cores
                .clone()
                .all(|cpu| cpu.enable_method == EnableMethod::Psci)
        );
        assert_eq!(machine.psci.as_ref().unwrap().conduit, Conduit::Smc);
        let gic = machine.gic.as_ref().unwrap();
        assert_eq!((gic.kind, gic.redistributor_regions), (GicKind::V2, 0));
        let bases: Vec<u64> = gic.regions.iter().map(|region| region.base.0).collect();
        assert_eq!(bases[..2], [0xff84_1000, CPU_INTERFACE]);
        let console = machine.console.as_ref().unwrap();
        assert_eq!(console.kind, ConsoleKind::Bcm2835Aux);
        assert_eq!(console.base().unwrap().0, MINI_UART);
        assert_eq!(console.intid().unwrap().0, 125);
        assert!(console.is_usable() && console.takes_input());
        let memory: u64 = machine.memory.iter().map(|one| one.region.size).sum();
        assert_eq!(memory, 0x3b40_0000 - 0x1000 + 0xbc00_0000);
    }
}
