//! Ampere Altra servers (from recorded ACPI tables; no real machine was at hand).
//!
//! What no description of the machine says:
//!
//! * There is no device tree: the UEFI loader makes one of the ACPI tables, and
//!   from then on it is the only description.
//! * Affinity: socket in Aff3, core pair module in Aff2, core in Aff1; Aff0 is 0, so
//!   SGIs need no range selector. Firmware lists the cores in scrambled order, and
//!   the first need not be 0 (0x100000 was seen).
//! * One redistributor region of 16 MiB for each socket, 128 KiB a core; `GICC.GICR` in the MADT is 0.
//! * PSCI by SMC. The console is an SBSA UART, which has no control registers.
#![no_std]
#![forbid(unsafe_code)]

use capelin_platform::{Case, CaseEnd, Disk, Emulator, Medium, Platform, Uefi};

/// The platform.
pub const PLATFORM: Platform = Platform {
    name: "ampere",
    machines: "Ampere Altra servers",
    image: "qemu-virt",
    fallback_consoles: &[],
    medium: Medium::Disk(DISK),
    emulator: Emulator::Uefi(QEMU),
    cases: CASES,
};

const DISK: Disk = Disk {
    bytes: 63 << 20,
    loader: "EFI/BOOT/BOOTAA64.EFI",
    kernel: "EFI/capelin/capelin.img",
    configuration: "EFI/capelin/capelin.conf",
    network_file: "BOOTAA64.EFI",
};

const QEMU: Uefi = Uefi {
    package: "qemu-efi-aarch64",
    firmware: "usr/share/qemu-efi-aarch64/QEMU_EFI.fd",
    secure_variables: "usr/share/AAVMF/AAVMF_VARS.ms.fd",
};

const CASES: &[Case] = &[
    Case {
        name: "ampere-acpi",
        options: "--smp 4 --numa 2",
        exec: Some("cores; run hello; devices; skb pci(A, 0x1af4, D); poweroff"),
        prints: &[
            "capelin: UEFI loader: 4 cores, a device tree of * bytes from ACPI",
            "boot driver on *: cores: 4, *entered at EL1",
            "0x3*running",
            // The disk is there: firmware has given it its place.
            "/pcie@4010000000*pcid*running",
            "0000:00:01.0*none*no driver",
            "A = '0000:00:01.0', D = 4097",
            "exec status 0",
        ],
        end: CaseEnd::PowersOff,
        prompt_ms: None,
    },
    Case {
        name: "ampere-device-tree",
        options: "--smp 4 --numa 2 --acpi off",
        exec: Some("cores; run hello; poweroff"),
        prints: &[
            "capelin: UEFI loader: firmware's device tree, * bytes",
            "boot driver on *: cores: 4, *entered at EL1",
            "0x2     1  running",
            "exec status 0",
        ],
        end: CaseEnd::PowersOff,
        prompt_ms: None,
    },
    Case {
        name: "ampere-iso",
        options: "--smp 4 --boot iso",
        exec: Some("cores; run hello; poweroff"),
        prints: &[
            "capelin: UEFI loader: 4 cores",
            "boot driver on *: cores: 4, *entered at EL1",
            "0x3*running",
            "exec status 0",
        ],
        end: CaseEnd::PowersOff,
        prompt_ms: None,
    },
    Case {
        name: "ampere-pxe",
        options: "--smp 4 --boot pxe",
        exec: Some("cores; run hello; poweroff"),
        prints: &[
            "NBP file downloaded successfully",
            "capelin: UEFI loader: 4 cores",
            "boot driver on *: cores: 4, *entered at EL1",
            "0x3*running",
            "exec status 0",
        ],
        end: CaseEnd::PowersOff,
        prompt_ms: None,
    },
    Case {
        name: "ampere-acpi-el2",
        options: "--smp 4 --el2",
        exec: Some("cores; run hello; poweroff"),
        prints: &[
            "capelin: UEFI loader: 4 cores",
            "entered at EL2",
            "0x3*running",
            "exec status 0",
        ],
        end: CaseEnd::PowersOff,
        prompt_ms: None,
    },
];
