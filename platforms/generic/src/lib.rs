//! Any other board that U-Boot starts, by `booti` or `bootm`, with its own device tree.
//!
//! What no description of the machine says:
//!
//! * U-Boot hands over the tree that it works with itself, or one that its firmware gave
//!   it; which of the two, and where it lies, is in its environment. The boot script takes
//!   `dtb/${fdtfile}` from the disk if that is there, then what is at `fdt_addr`, then
//!   U-Boot's own (`fdtcontroladdr`).
//! * `cargo xtask dt` says of a board's tree whether Capelin can boot there.
#![no_std]
#![forbid(unsafe_code)]

use capelin_platform::{Case, CaseEnd, Emulator, Medium, Platform, UBoot, Volume};

/// The platform.
pub const PLATFORM: Platform = Platform {
    name: "generic",
    machines: "other boards that U-Boot starts",
    image: "qemu-virt",
    fallback_consoles: &[],
    medium: Medium::Volume(VOLUME),
    emulator: Emulator::UBoot(QEMU),
    cases: CASES,
};

const VOLUME: Volume = Volume {
    bytes: 63 << 20,
    kernel: "Image",
    archive: "capelin.archive",
    fit: "capelin.itb",
};

const QEMU: UBoot = UBoot {
    package: "u-boot-qemu",
    firmware: "usr/lib/u-boot/qemu_arm64/u-boot.bin",
};

const PRINTS: &[&str] = &[
    "U-Boot",
    "capelin: boot driver on *: cores: 4, *entered at EL1",
    "running",
    "exec status 0",
];

const CASES: &[Case] = &[
    Case {
        name: "generic",
        options: "--smp 4",
        exec: Some("cores; run hello; poweroff"),
        prints: PRINTS,
        end: CaseEnd::PowersOff,
        prompt_ms: None,
    },
    Case {
        name: "generic-el2",
        options: "--smp 4 --el2",
        exec: Some("cores; run hello; poweroff"),
        prints: &[
            "U-Boot",
            "capelin: boot driver on *: cores: 4, *entered at EL2",
            "running",
            "exec status 0",
        ],
        end: CaseEnd::PowersOff,
        prompt_ms: None,
    },
    Case {
        name: "generic-gzip",
        options: "--smp 4 --form gzip",
        exec: Some("cores; run hello; poweroff"),
        prints: PRINTS,
        end: CaseEnd::PowersOff,
        prompt_ms: None,
    },
    Case {
        name: "generic-fit",
        options: "--smp 4 --form fit",
        exec: Some("cores; run hello; poweroff"),
        prints: PRINTS,
        end: CaseEnd::PowersOff,
        prompt_ms: None,
    },
];
