//! What boards' trees leave to a reader's knowledge: one small change each to a tree
//! on which Capelin boots with all it has.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses its own part")]
mod common;

use capelin_dt::bootability::{ConsoleUse, Others};
use capelin_dt::{
    Bootability, ConsoleSource, Finding, Intid, Machine, PhysAddr, Region, RegisterLayout,
    Severity, bootability,
};
use common::{Builder, Value};

/// What a tree may differ in; the root's cells are 2 and 2.
struct Board<'a> {
    cpu: &'a str,
    method: Option<&'a str>,
    redistributor_bytes: u32,
    memory_bytes: u32,
    chosen: &'a dyn Fn(&mut Builder),
    psci: Option<&'a str>,
    devices: &'a dyn Fn(&mut Builder),
}

const GIC: u32 = 1;

impl Default for Board<'_> {
    fn default() -> Self {
        Board {
            cpu: "arm,cortex-a53",
            method: Some("psci"),
            redistributor_bytes: 0x4_0000,
            memory_bytes: 0x4000_0000,
            chosen: &|b| {
                b.str("stdout-path", "/serial@9000000");
            },
            psci: Some("arm,psci-1.0"),
            devices: &|b| uart(b, "serial@9000000", &["arm,pl011"], 0x900_0000, |_| {}),
        }
    }
}

fn uart(b: &mut Builder, name: &str, kinds: &[&str], base: u32, more: impl Fn(&mut Builder)) {
    b.begin(name)
        .property("compatible", Value::Strs(kinds))
        .cells("reg", &[0, base, 0, 0x1000]);
    if !name.ends_with('x') {
        b.cells("interrupts", &[0, 1, 4]);
    }
    more(b);
    b.end();
}

impl Board<'_> {
    fn read(&self) -> (Machine, Bootability) {
        let mut b = Builder::new();
        b.cells("#address-cells", &[2])
            .cells("#size-cells", &[2])
            .cells("interrupt-parent", &[GIC]);
        b.begin("interrupt-controller@8000000")
            .str("compatible", "arm,gic-v3")
            .flag("interrupt-controller")
            .cells("#interrupt-cells", &[3])
            .cells("phandle", &[GIC])
            .cells(
                "reg",
                &[
                    0,
                    0x800_0000,
                    0,
                    0x1_0000,
                    0,
                    0x80a_0000,
                    0,
                    self.redistributor_bytes,
                ],
            )
            .end();
        b.begin("timer")
            .str("compatible", "arm,armv8-timer")
            .cells("interrupts", &[1, 13, 8, 1, 14, 8, 1, 11, 8, 1, 10, 8])
            .end();
        b.begin("memory@40000000")
            .str("device_type", "memory")
            .cells("reg", &[0, 0x4000_0000, 0, self.memory_bytes])
            .end();
        b.begin("cpus")
            .cells("#address-cells", &[1])
            .cells("#size-cells", &[0]);
        for core in 0..2 {
            b.begin(&format!("cpu@{core}"))
                .str("device_type", "cpu")
                .str("compatible", self.cpu)
                .cells("reg", &[core]);
            if let Some(method) = self.method {
                b.str("enable-method", method);
            }
            b.end();
        }
        b.end();
        if let Some(psci) = self.psci {
            b.begin("psci")
                .str("compatible", psci)
                .str("method", "smc")
                .end();
        }
        b.begin("chosen");
        (self.chosen)(&mut b);
        b.end();
        (self.devices)(&mut b);
        let machine = Machine::parse(&b.finish()).unwrap();
        let verdict = bootability(&machine);
        (machine, verdict)
    }
}

#[test]
fn the_board_that_the_others_differ_from_lacks_nothing() {
    let (machine, verdict) = Board::default().read();
    assert_eq!(verdict.findings, []);
    assert_eq!((verdict.usable_cores, verdict.enabled_cores), (2, 2));
    assert_eq!(verdict.console, ConsoleUse::InputAndOutput);
    assert_eq!(machine.console.unwrap().source, ConsoleSource::StdoutPath);
}

#[test]
fn a_uarts_layout_is_what_its_binding_fixes() {
    let layout = |kinds: &[&str], shift: Option<u32>, width: Option<u32>| {
        let (machine, _) = Board {
            devices: &|b| {
                uart(b, "serial@9000000", kinds, 0x900_0000, |b| {
                    if let Some(shift) = shift {
                        b.cells("reg-shift", &[shift]);
                    }
                    if let Some(width) = width {
                        b.cells("reg-io-width", &[width]);
                    }
                });
            },
            ..Board::default()
        }
        .read();
        let RegisterLayout {
            shift,
            access_bytes,
        } = machine.console.unwrap().layout();
        (shift, access_bytes)
    };
    assert_eq!(
        layout(&["ti,am64-uart", "ti,am654-uart"], None, None),
        (2, 1)
    );
    let mediatek = ["mediatek,mt8183-uart", "mediatek,mt6577-uart"];
    assert_eq!(layout(&mediatek, None, None), (2, 4));
    let tegra = ["nvidia,tegra234-uart", "nvidia,tegra20-uart"];
    assert_eq!(layout(&tegra, None, None), (2, 4));
    // Where the binding fixes nothing, the properties tell.
    assert_eq!(layout(&["ns16550a"], None, None), (0, 1));
    assert_eq!(layout(&["snps,dw-apb-uart"], Some(2), Some(4)), (2, 4));
    assert_eq!(layout(&["ns16550a"], Some(1), None), (1, 1));
}

#[test]
fn a_console_that_is_disabled_is_none() {
    let (_, verdict) = Board {
        devices: &|b| {
            uart(b, "serial@9000000", &["arm,pl011"], 0x900_0000, |b| {
                b.str("status", "disabled");
            });
        },
        ..Board::default()
    }
    .read();
    let path = String::from("/serial@9000000");
    assert_eq!(verdict.findings, [Finding::DisabledConsole { path }]);
    assert_eq!(verdict.console, ConsoleUse::None);

    // The same on a disabled bus.
    let on_bus = |status: &str| {
        Board {
            chosen: &|b| {
                b.str("stdout-path", "/bus/serial@9000000");
            },
            devices: &|b| {
                b.begin("bus")
                    .str("compatible", "simple-bus")
                    .cells("#address-cells", &[2])
                    .cells("#size-cells", &[2])
                    .flag("ranges")
                    .str("status", status);
                uart(b, "serial@9000000", &["arm,pl011"], 0x900_0000, |_| {});
                b.end();
            },
            ..Board::default()
        }
        .read()
        .1
    };
    let path = String::from("/bus/serial@9000000");
    assert_eq!(
        on_bus("disabled").findings,
        [Finding::DisabledConsole { path }]
    );
    assert_eq!(on_bus("okay").findings, []);
}

#[test]
fn a_console_is_found_where_stdout_path_names_none() {
    let with = |bootargs: Option<&str>, second: bool| {
        Board {
            chosen: &|b| {
                if let Some(bootargs) = bootargs {
                    b.str("bootargs", bootargs);
                }
            },
            devices: &|b| {
                b.begin("aliases").str("serial2", "/serial@a000000").end();
                uart(b, "serial@9000000", &["arm,pl011"], 0x900_0000, |_| {});
                if second {
                    uart(
                        b,
                        "serial@a000000",
                        &["snps,dw-apb-uart"],
                        0xa00_0000,
                        |_| {},
                    );
                }
            },
            ..Board::default()
        }
        .read()
    };
    let named = |machine: &Machine| {
        let console = machine.console.as_ref()?;
        Some((console.base()?.0, console.source))
    };
    let (machine, verdict) = with(None, false);
    assert_eq!(named(&machine), Some((0x900_0000, ConsoleSource::OnlyUart)));
    assert_eq!(verdict.console, ConsoleUse::InputAndOutput);
    // Of two UARTs none is guessed.
    let (machine, verdict) = with(None, true);
    assert_eq!(named(&machine), None);
    assert_eq!(verdict.findings, [Finding::NoConsole]);
    let by_bootargs = Some((0xa00_0000, ConsoleSource::Bootargs));
    for bootargs in [
        "quiet earlycon=uart8250,mmio32,0xa000000 console=ttyAMA9",
        "console=ttyAMA0 console=ttyS2,1500000",
        "earlycon console=ttyS2",
    ] {
        let (machine, verdict) = with(Some(bootargs), true);
        assert_eq!(named(&machine), by_bootargs, "{bootargs}");
        assert_eq!(verdict.console, ConsoleUse::InputAndOutput);
        assert_eq!(verdict.findings, []);
    }
    for nonsense in [
        "console=tty2",
        "console=ttyS",
        "earlycon=0xzz",
        "earlycon=pl011,0x1",
    ] {
        assert_eq!(named(&with(Some(nonsense), true).0), None, "{nonsense}");
    }
}

#[test]
fn a_console_whose_interrupt_is_lost_takes_no_input() {
    let (_, verdict) = Board {
        devices: &|b| {
            b.begin("crossbar@4a002a48")
                .str("compatible", "ti,irq-crossbar")
                .flag("interrupt-controller")
                .cells("#interrupt-cells", &[3])
                .cells("phandle", &[7])
                .end();
            uart(b, "serial@9000000", &["arm,pl011"], 0x900_0000, |b| {
                b.cells("interrupt-parent", &[7]);
            });
        },
        ..Board::default()
    }
    .read();
    // The crossbar renumbers: nobody knows which INTID that is.
    let path = String::from("/serial@9000000");
    assert_eq!(
        verdict.findings,
        [Finding::ConsoleWithoutInterrupt { path }]
    );
    assert_eq!(verdict.console, ConsoleUse::Output);
}

#[test]
fn an_empty_entry_of_interrupts_extended_keeps_its_place() {
    let (machine, verdict) = Board {
        devices: &|b| {
            uart(b, "serial@9000000", &["arm,pl011"], 0x900_0000, |b| {
                b.cells("interrupts-extended", &[0, GIC, 0, 1, 4]);
            });
        },
        ..Board::default()
    }
    .read();
    let console = machine.console.unwrap();
    let intids: Vec<_> = console.interrupts.iter().map(|one| one.intid).collect();
    assert_eq!(intids, [None, Some(Intid(33))]);
    assert_eq!(console.intid(), Some(Intid(33)));
    assert_eq!(verdict.findings, []);
}

#[test]
fn a_window_shorter_than_the_register_block_still_leads_there() {
    let (machine, verdict) = Board {
        chosen: &|b| {
            b.str("stdout-path", "/bus/serial@9000000");
        },
        devices: &|b| {
            b.begin("bus")
                .cells("#address-cells", &[1])
                .cells("#size-cells", &[1])
                .cells("ranges", &[0x900_0000, 0, 0x1900_0000, 0x400]);
            b.begin("serial@9000000")
                .str("compatible", "arm,pl011")
                .cells("reg", &[0x900_0000, 0x1000])
                .cells("interrupts", &[0, 1, 4])
                .end();
            // Past the end of the window is nowhere.
            b.begin("lost@9000400")
                .str("compatible", "lost")
                .cells("reg", &[0x900_0400, 4])
                .end();
            b.end();
        },
        ..Board::default()
    }
    .read();
    assert_eq!(
        machine.console.as_ref().unwrap().base(),
        Some(PhysAddr(0x1900_0000))
    );
    assert_eq!(verdict.findings, []);
    let lost = machine.compatible_devices("lost").next().unwrap();
    assert_eq!(lost.regs[0].base, None);
}

#[test]
fn machines_without_64_bit_cores_are_told_apart() {
    for cpu in ["arm,cortex-a7", "arm,cortex-a15", "qcom,krait"] {
        let (_, verdict) = Board {
            cpu,
            ..Board::default()
        }
        .read();
        let blocks = Finding::Aarch32Cpus {
            cores: 2,
            others: Others::None,
        };
        assert_eq!(verdict.findings, [blocks], "{cpu}");
        assert!(!verdict.is_bootable());
        assert_eq!(verdict.usable_cores, 0);
    }
    let (_, verdict) = Board {
        cpu: "arm,armv8",
        ..Board::default()
    }
    .read();
    assert!(verdict.is_bootable());
}

#[test]
fn too_little_memory_blocks_wherever_it_goes() {
    let (_, verdict) = Board {
        memory_bytes: 4 << 20,
        ..Board::default()
    }
    .read();
    let little = Finding::TooLittleMemory {
        bytes: 4 << 20,
        usable: 4 << 20,
    };
    assert_eq!(verdict.findings, [little]);
    assert!(!verdict.is_bootable());

    let reserving = |bytes: u32| {
        Board {
            devices: &|b| {
                uart(b, "serial@9000000", &["arm,pl011"], 0x900_0000, |_| {});
                b.begin("reserved-memory")
                    .cells("#address-cells", &[2])
                    .cells("#size-cells", &[2])
                    .flag("ranges");
                b.begin("all@40000000")
                    .cells("reg", &[0, 0x4000_0000, 0, bytes])
                    .flag("no-map")
                    .end();
                b.end();
            },
            ..Board::default()
        }
        .read()
        .1
    };
    let nothing = Finding::TooLittleMemory {
        bytes: 1 << 30,
        usable: 0,
    };
    assert_eq!(reserving(0x4000_0000).findings, [nothing]);
    assert_eq!(reserving(0x3000_0000).findings, []);
}

#[test]
fn memory_that_the_boot_loader_keeps_is_not_capelins() {
    let range = [0, 0x6000_0000, 0, 0x1000_0000];
    let (machine, verdict) = Board {
        chosen: &|b| {
            b.str("stdout-path", "/serial@9000000");
            b.cells("linux,usable-memory-range", &range);
        },
        ..Board::default()
    }
    .read();
    let regions: Vec<Region> = machine.memory.iter().map(|memory| memory.region).collect();
    assert_eq!(regions, [Region::new(0x6000_0000, 0x1000_0000)]);
    assert_eq!(verdict.findings, []);
    // Two ranges, one of them partly outside.
    let (machine, _) = Board {
        chosen: &|b| {
            let two = [0, 0x3000_0000, 0, 0x1800_0000, 0, 0x7000_0000, 0, 0x1000];
            b.cells("linux,usable-memory-range", &two);
        },
        ..Board::default()
    }
    .read();
    let regions: Vec<Region> = machine.memory.iter().map(|memory| memory.region).collect();
    let wanted = [
        Region::new(0x4000_0000, 0x800_0000),
        Region::new(0x7000_0000, 0x1000),
    ];
    assert_eq!(regions, wanted);
    // Of one node: in place of its `reg`.
    let mut b = Builder::new();
    b.cells("#address-cells", &[2]).cells("#size-cells", &[2]);
    b.begin("memory@40000000")
        .str("device_type", "memory")
        .cells("reg", &[0, 0x4000_0000, 0, 0x4000_0000])
        .cells("linux,usable-memory", &range)
        .end();
    let machine = Machine::parse(&b.finish()).unwrap();
    assert_eq!(
        machine.memory[0].region,
        Region::new(0x6000_0000, 0x1000_0000)
    );
}

#[test]
fn cores_that_firmware_completes_are_not_hopeless() {
    let (_, verdict) = Board {
        method: None,
        psci: None,
        ..Board::default()
    }
    .read();
    assert_eq!(verdict.findings, [Finding::NoEnableMethod { cores: 1 }]);
    assert_eq!(verdict.findings[0].severity(), Severity::CoresNeedFirmware);
    // One core runs whatever firmware does.
    assert!(verdict.is_bootable() && verdict.is_bootable_as_is());
    assert_eq!(verdict.usable_cores, 1);
    assert!(
        verdict
            .to_string()
            .contains("once firmware has completed the tree")
    );
    let (_, verdict) = Board {
        psci: None,
        ..Board::default()
    }
    .read();
    assert_eq!(verdict.findings, [Finding::PsciMissing { cores: 1 }]);
    assert_eq!(verdict.findings[0].severity(), Severity::CoresNeedFirmware);
}

#[test]
fn later_versions_of_psci_are_at_least_1_0() {
    for psci in ["arm,psci-1.0", "arm,psci-1.1", "arm,psci-1.3"] {
        let (_, verdict) = Board {
            psci: Some(psci),
            ..Board::default()
        }
        .read();
        assert_eq!(verdict.findings, [], "{psci}");
    }
    let (_, verdict) = Board {
        psci: Some("arm,psci-bananas"),
        ..Board::default()
    }
    .read();
    assert_eq!(verdict.findings, [Finding::PsciMissing { cores: 1 }]);
}

#[test]
fn cores_without_a_redistributor_are_left_out() {
    let (_, verdict) = Board {
        redistributor_bytes: 0x2_0000,
        ..Board::default()
    }
    .read();
    let short = Finding::MoreCpusThanGic {
        cores: 2,
        interfaces: 1,
    };
    assert_eq!(verdict.findings, [short]);
    assert_eq!(verdict.usable_cores, 1);
}
