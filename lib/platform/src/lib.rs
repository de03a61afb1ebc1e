//! What a platform declares of itself: one [`Platform`] in each crate of
//! `platforms/`, which the boot driver and the recipes of `scripts/xtask` read
//! (`docs/110-platforms.md`).
//!
//! The device tree describes the machine. Here is what no tree can say: what firmware
//! does and wants, what is written on a disk or card, how an emulator shows the
//! machine, and what is tested there.
//!
//! ```text
//! platforms/NAME ── PLATFORM ──▶ images/boot     consoles when there is no tree
//!                            ├─▶ cargo xtask image NAME     medium
//!                            ├─▶ scripts/run --platform NAME     emulator
//!                            └─▶ scripts/test --filter platform/NAME     cases
//! ```
#![no_std]
#![forbid(unsafe_code)]

use capelin_abi::boot::ConsoleArgs;

/// A platform: boards or servers that boot from one medium.
#[derive(Clone, Copy, Debug)]
pub struct Platform {
    /// Its name on the command line, which is its folder's in `platforms/`.
    pub name: &'static str,
    /// The machines, for people.
    pub machines: &'static str,
    /// The image manifest that is built for it: `images/NAME.toml`.
    pub image: &'static str,
    /// Consoles that are always there. The boot driver tries them when it can't read
    /// the device tree, to say just that.
    pub fallback_consoles: &'static [ConsoleArgs],
    /// What its firmware boots from.
    pub medium: Medium,
    /// The emulator that shows it.
    pub emulator: Emulator,
    /// What is booted on the emulator by `scripts/test`.
    pub cases: &'static [Case],
}

/// What firmware boots from.
#[derive(Clone, Copy, Debug)]
pub enum Medium {
    /// The boot image itself, handed to an emulator or a boot loader.
    BootImage,
    /// An SD card that the Raspberry Pi's GPU firmware reads.
    Card(Card),
    /// A disk that UEFI boots from.
    Disk(Disk),
    /// A disk or card that U-Boot boots from, by a script.
    Volume(Volume),
}

/// An emulator's machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emulator {
    /// QEMU's `virt` board, of any shape.
    Virt,
    /// A QEMU board of fixed shape that boots the card.
    Raspberry(Raspberry),
    /// QEMU's `virt` board, of any shape, with UEFI, which boots the disk.
    Uefi(Uefi),
    /// QEMU's `virt` board, of any shape, with U-Boot, which boots the disk.
    UBoot(UBoot),
    /// None: it boots on real boards alone.
    Missing,
}

/// UEFI on an emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uefi {
    /// The distribution's package that has it.
    pub package: &'static str,
    /// Its file in there.
    pub firmware: &'static str,
    /// The package's file of firmware's variables in which keys are enrolled and Secure Boot is on.
    pub secure_variables: &'static str,
}

/// U-Boot on an emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UBoot {
    /// The distribution's package that has it.
    pub package: &'static str,
    /// Its file in there.
    pub firmware: &'static str,
}

/// A disk with a FAT partition that U-Boot reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Bytes of the partition.
    pub bytes: u64,
    /// Name of the arm64 Image on it; compressed, with `.gz` behind.
    pub kernel: &'static str,
    /// Name of the archive, which is the initrd.
    pub archive: &'static str,
    /// Name of the FIT with both.
    pub fit: &'static str,
}

/// A disk with an EFI system partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Bytes of the partition.
    pub bytes: u64,
    /// Path of the loader on it: where UEFI looks.
    pub loader: &'static str,
    /// Path of the boot image.
    pub kernel: &'static str,
    /// Path of the loader's configuration.
    pub configuration: &'static str,
    /// Name of the file that holds all of this, for firmware that loads it by network.
    pub network_file: &'static str,
}

/// QEMU's model of a Raspberry Pi.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raspberry {
    /// QEMU's name of it.
    pub machine: &'static str,
    /// Its cores.
    pub cores: u32,
    /// The device tree that the firmware picks for it, unless `config.txt` names
    /// another.
    pub tree: &'static str,
    /// Memory that the firmware leaves to the Arm cores, from 0, in bytes.
    pub memory_bytes: u64,
    /// Where the firmware puts an arm64 Image that asks for no other place.
    pub kernel_address: u64,
    /// Where the firmware puts the device tree.
    pub tree_address: u64,
    /// The Arm stub's words that the firmware fills in: the tree's address and the
    /// kernel's, as 32-bit numbers.
    pub stub_words: StubWords,
    /// The UARTs' nodes, in the order in which QEMU's `-serial` connects them.
    pub uarts: &'static [&'static str],
    /// The one of them that the boot driver tries where there is no device tree.
    pub uart_without_tree: usize,
    /// The one of them that Trusted Firmware takes, and puts into the tree, where nobody
    /// has set the pins: the emulator doesn't, and the firmware would.
    pub uart_of_unset_pins: usize,
}

/// Addresses of the words that the firmware fills into an Arm stub, which lies at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StubWords {
    /// Of the stub's magic number, which becomes 0: the others are filled in.
    pub magic: u64,
    /// Of the device tree's address.
    pub tree: u64,
    /// Of the kernel's address.
    pub kernel: u64,
}

/// An SD card: a boot partition with what the firmware loads, and one for files.
#[derive(Clone, Copy, Debug)]
pub struct Card {
    /// Bytes of the FAT32 partition that firmware reads.
    pub boot_bytes: u64,
    /// Bytes of the FAT partition behind it.
    pub data_bytes: u64,
    /// The boot image's name on the card.
    pub kernel: &'static str,
    /// Files of our own: name on the card, contents.
    pub files: &'static [(&'static str, &'static str)],
    /// Device tree overlays of our own: name on the card, what they change.
    pub overlays: &'static [(&'static str, &'static [OverlayChange])],
    /// Files of others, by the distribution's package.
    pub packages: &'static [Package],
    /// What Raspberry Pi Imager calls the boards that the card boots on.
    pub imager_devices: &'static [&'static str],
}

/// One change that an overlay makes: properties of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverlayChange {
    /// The node's path.
    pub node: &'static str,
    /// Properties that are strings: name, value.
    pub strings: &'static [(&'static str, &'static str)],
}

/// A package of the distribution, for arm64, and what of it goes onto a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name, or that of a package without files that depends on the newest that has
    /// them.
    pub name: &'static str,
    /// Paths inside the package and names on the card; a folder called `*` is the only one
    /// that is there.
    pub files: &'static [(&'static str, &'static str)],
    /// What the package's licence is called on the card.
    pub licence: &'static str,
}

/// A boot on the emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// The case is called `qemu/platform/NAME` in `scripts/test --list`.
    pub name: &'static str,
    /// Options of `scripts/run`, besides `--platform`.
    pub options: &'static str,
    /// What the shell is told; nothing, if it isn't reached.
    pub exec: Option<&'static str>,
    /// What is printed, in this order; `*` stands for anything on the line.
    pub prints: &'static [&'static str],
    /// How it ends.
    pub end: CaseEnd,
    /// By when the prompt must be there, in milliseconds after firmware handed over, by the machine's own clock: with
    /// `--icount` that are millions of instructions of all cores.
    pub prompt_ms: Option<u64>,
}

/// How a case ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaseEnd {
    /// All commands succeed, and the machine is off.
    PowersOff,
    /// All commands succeed; the machine can't be switched off, and says so.
    StaysOn,
}
