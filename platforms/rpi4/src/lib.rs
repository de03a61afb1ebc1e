//! The Raspberry Pi 4 Model B, 400 and Compute Module 4 (measured with QEMU's
//! `raspi4b`, the boards' own trees and Trusted Firmware; no real board was at hand).
//!
//! What no device tree can say:
//!
//! * The GPU's firmware (`start4.elf`) reads the card's first FAT partition, and what
//!   to load from `config.txt` there. It enters an arm64 Image at EL2h with x0 = device
//!   tree, caches off, DAIF masked, `CNTFRQ_EL0` 54 MHz, all interrupts in group 1.
//! * Its own Arm stub has no PSCI, and leaves SMC disabled: an `SMC` would be
//!   undefined. Cores 1–3 then wait in a spin table in page 0, at EL2, for ever: the
//!   page stays reserved, which the boot driver sees to for every release address. A
//!   core that was started can't be stopped for good.
//! * With Trusted Firmware (`armstub=bl31.bin`) there is PSCI 1.1 by SMC; it says so in
//!   the tree, and reserves the first 512 KiB there, which are its own.
//! * The tree's memory node has size 0 until firmware fills it in.
//! * `stdout-path` names the mini UART, whose speed follows the core's clock: the
//!   card's `config.txt` holds `enable_uart=1`, which fixes it.
//!
//! `config.txt` and `cmdline.txt` of the card lie beside this file.
#![no_std]
#![forbid(unsafe_code)]

use capelin_abi::boot::{ConsoleArgs, PhysRegion};
use capelin_platform::{
    Card, Case, CaseEnd, Emulator, Medium, OverlayChange, Package, Platform, Raspberry, StubWords,
};

/// The platform.
pub const PLATFORM: Platform = Platform {
    name: "rpi4",
    machines: "Raspberry Pi 4 Model B, 400, Compute Module 4",
    image: "rpi4",
    fallback_consoles: &FALLBACK_CONSOLES,
    medium: Medium::Card(CARD),
    emulator: Emulator::Raspberry(QEMU),
    cases: CASES,
};

/// The mini UART, which a card of ours has firmware switch on.
const FALLBACK_CONSOLES: [ConsoleArgs; 1] = [ConsoleArgs {
    kind: ConsoleArgs::NS16550,
    register_shift: 2,
    access_bytes: 4,
    intid: 0x5d + 32,
    registers: PhysRegion {
        base: 0xfe21_5040,
        bytes: 0x40,
    },
}];

const CARD: Card = Card {
    boot_bytes: 40 << 20,
    data_bytes: 23 << 20,
    kernel: "kernel8.img",
    files: &[
        ("config.txt", include_str!("../config.txt")),
        ("cmdline.txt", include_str!("../cmdline.txt")),
    ],
    overlays: &[
        ("overlays/disable-bt.dtbo", CONSOLE_ON_PL011),
        ("overlays/miniuart-bt.dtbo", CONSOLE_ON_PL011),
    ],
    packages: &[
        Package {
            name: "raspi-firmware",
            files: &[
                ("usr/lib/raspi-firmware/start4.elf", "start4.elf"),
                ("usr/lib/raspi-firmware/fixup4.dat", "fixup4.dat"),
            ],
            licence: "licences/raspi-firmware.txt",
        },
        Package {
            name: "arm-trusted-firmware",
            files: &[("usr/lib/arm-trusted-firmware/rpi4/bl31.bin", "bl31.bin")],
            licence: "licences/arm-trusted-firmware.txt",
        },
        Package {
            name: "linux-image-arm64",
            files: &[
                (
                    "usr/lib/*/broadcom/bcm2711-rpi-4-b.dtb",
                    "bcm2711-rpi-4-b.dtb",
                ),
                (
                    "usr/lib/*/broadcom/bcm2711-rpi-400.dtb",
                    "bcm2711-rpi-400.dtb",
                ),
                (
                    "usr/lib/*/broadcom/bcm2711-rpi-cm4-io.dtb",
                    "bcm2711-rpi-cm4.dtb",
                ),
            ],
            licence: "licences/linux.txt",
        },
    ],
    imager_devices: &["pi4-64bit"],
};

/// What `disable-bt` and `miniuart-bt` come to: the header's pins, and with them the
/// console, go to the PL011, which Bluetooth has otherwise. (Pins are the firmware's.)
/// The kernel's trees have no `__symbols__`, so the usual overlays don't fit them.
const CONSOLE_ON_PL011: &[OverlayChange] = &[
    OverlayChange {
        node: "/chosen",
        strings: &[("stdout-path", "serial0:115200n8")],
    },
    OverlayChange {
        node: "/soc/serial@7e201000/bluetooth",
        strings: &[("status", "disabled")],
    },
];

const QEMU: Raspberry = Raspberry {
    machine: "raspi4b",
    cores: 4,
    tree: "bcm2711-rpi-4-b.dtb",
    memory_bytes: 0x3c00_0000,
    kernel_address: 0x20_0000,
    tree_address: 0x800_0000,
    stub_words: StubWords {
        magic: 0xf0,
        tree: 0xf8,
        kernel: 0xfc,
    },
    uarts: &["serial@7e201000", "serial@7e215040"],
    uart_without_tree: 1,
    uart_of_unset_pins: 0,
};

const CASES: &[Case] = &[
    Case {
        name: "rpi4",
        options: "--stub stock",
        exec: Some(
            "cores; devices; ls; run hello; temperature; board; gpio 17 high; uptime check; poweroff",
        ),
        prints: &[
            "boot driver on Raspberry Pi 4 Model B: cores: 4, memory: 960 MiB, entered at EL2",
            "no PSCI",
            "0x3*running",
            "/soc/serial@7e201000*pl011*not the console",
            "/soc/serial@7e215040*ns16550*running",
            "/soc/mmc@7e300000*sdhci*running",
            "/soc/interrupt-controller@40041000*irqd*running",
            "/soc/watchdog@7e100000*bcm2835-pm*running",
            "/emmc2bus/mmc@7e340000*sdhci*ended with 0",
            "/timer*cpudriver*used by the kernel",
            "bytes  name",
            "°C, slowed down from",
            "Raspberry Pi 4 Model B 1.",
            " 17  output    high",
            "us by the board's clock, *us by the cores' counter",
            "exec status 0",
        ],
        end: CaseEnd::PowersOff,
        prompt_ms: None,
    },
    // By the stock stub: with Trusted Firmware, which sets the frequency of the board's clock, the emulator's goes on
    // with another.
    Case {
        name: "rpi4-instructions",
        options: "--stub stock --icount",
        exec: Some("cores; poweroff"),
        prints: &["0x3*running", "exec status 0"],
        end: CaseEnd::PowersOff,
        prompt_ms: Some(25),
    },
    Case {
        name: "rpi4-tf-a",
        options: "--stub tf-a",
        exec: Some("cores; devices; ls; run hello; temperature; poweroff"),
        prints: &[
            "boot driver on Raspberry Pi 4 Model B: cores: 4",
            "0x3*running",
            "/soc/mmc@7e300000*sdhci*running",
            "bytes  name",
            "exec status 0",
        ],
        end: CaseEnd::PowersOff,
        prompt_ms: None,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_is_a_size_that_an_emulator_takes() {
        let gap = 1 << 20;
        assert!((gap + CARD.boot_bytes + CARD.data_bytes).is_power_of_two());
    }
}
