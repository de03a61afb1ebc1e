//! Boots of what is flashed on a card.
//!
//! `platform/` is declared by the platforms, and boots their card as a user has it, with the distribution's firmware and
//! trees; where those can't be had, it is skipped. Cases with files for the guest need nothing from elsewhere, nor do
//! those of [`super::media`]: their cards hold a device tree that is written here ([`small_tree`]).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use capelin_platform::{Card, CaseEnd, Emulator, Platform};

use super::guest;
use super::{Case, Context, Outcome};
use crate::build::{Image, Profile};
use crate::card::contents::{self, Firmware};
use crate::card::disk::{self, Files};
use crate::card::{self, declared};
use crate::cases::{CardFiles, Expected, GuestCase};
use crate::error::{Error, Result};
use crate::{platforms, qemu};
use capelin_tree::Tree;

/// The platform whose cards are changed.
pub(super) const CHANGED: &str = "rpi4";
/// The tree's.
const TREE: &str = "bcm2711-rpi-4-b.dtb";

/// Seconds for a boot whose instructions are counted.
const INSTRUCTIONS_TIMEOUT_S: u64 = 400;

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for platform in platforms::ALL {
        for case in platform.cases {
            cases.push(Case {
                name: format!("qemu/platform/{}", case.name),
                is_long: false,
                run: Box::new(move |context| as_flashed(context, platform, case)),
            });
        }
    }
    cases
}

/// The card with the distribution's files.
fn as_flashed(
    context: &Context,
    platform: &'static Platform,
    case: &'static capelin_platform::Case,
) -> Result<Outcome> {
    let expected = match case.end {
        CaseEnd::PowersOff => Expected::Success,
        CaseEnd::StaysOn => Expected::StaysOn,
    };
    let guest = GuestCase {
        exec: case.exec.map(Into::into),
        expected,
        patterns: case.prints.iter().map(|&it| it.into()).collect(),
        prompt_ms: case.prompt_ms,
        // Counting instructions, one thread does the work of all cores.
        timeout_s: case.prompt_ms.map(|_| INSTRUCTIONS_TIMEOUT_S),
        ..GuestCase::new(
            case.name,
            format!("--platform {} {}", platform.name, case.options),
        )
    };
    let name = format!("platform/{}", case.name);
    let packaged = match platform.emulator {
        Emulator::Uefi(it) => Some((it.package, it.firmware)),
        Emulator::UBoot(it) => Some((it.package, it.firmware)),
        Emulator::Virt | Emulator::Raspberry(_) | Emulator::Missing => None,
    };
    if let Some((package, file)) = packaged {
        if let Err(error) = qemu::uefi::firmware(package, file) {
            return Ok(without_firmware(&error));
        }
        let mut options = guest::options(&guest)?;
        options.kernel = Some(context.image(platform.image)?);
        if matches!(platform.emulator, Emulator::Uefi(_)) {
            Image::new(platform.image, None, Profile::Release)?.loader()?;
        }
        options.profile = Profile::Release;
        options.build = false;
        return guest::boot(context, &guest, &options, &name);
    }
    let firmware = match contents::firmware(&declared(platform)?, &Firmware::Distribution) {
        Ok(firmware) => firmware,
        // There is no apt here, it knows no such package, or there is no network.
        Err(error @ (Error::Spawn(..) | Error::Program(..))) => {
            return Ok(without_firmware(&error));
        }
        Err(Error::Malformed(path, what)) if path.starts_with("/etc") => {
            return Ok(Outcome::Skipped(format!("{}: {what}", path.display())));
        }
        Err(error) => return Err(error),
    };
    boot(context, platform, firmware, &guest, &name)
}

/// What comes of a case whose firmware can't be had.
pub(super) fn without_firmware(error: &Error) -> Outcome {
    Outcome::Skipped(format!("no firmware to be had: {error}"))
}

/// Boots a card with `files` beside our own.
fn boot(
    context: &Context,
    platform: &Platform,
    files: Files,
    case: &GuestCase,
    name: &str,
) -> Result<Outcome> {
    let card = declared(platform)?;
    let mut all = contents::own(&card, &context.image(platform.image)?)?;
    all.extend(files);
    let path = context.folder.join("card.img");
    card::write(&path, &card, &all, &Files::new())?;
    boot_card(context, path, case, name)
}

fn boot_card(context: &Context, path: PathBuf, case: &GuestCase, name: &str) -> Result<Outcome> {
    let mut options = guest::options(case)?;
    options.kernel = Some(path);
    options.build = false;
    guest::boot(context, case, &options, name)
}

/// The card with what is ours, without anything from elsewhere.
///
/// # Errors
/// If the kernel can't be read.
pub(super) fn small(recipe: &Card, kernel: &Path) -> Result<Files> {
    let mut files = contents::own(recipe, kernel)?;
    // Ours names Trusted Firmware, which isn't here.
    files.insert("config.txt".to_owned(), b"enable_uart=1\n".to_vec());
    files.insert(TREE.to_owned(), small_tree().to_bytes());
    Ok(files)
}

/// Such a card with `files` for the guest, which it may change: what is on it afterwards counts, too.
///
/// # Errors
/// If it can't be written, booted or read.
pub(super) fn with_files(
    context: &Context,
    case: &GuestCase,
    files: &CardFiles,
) -> Result<Outcome> {
    let platform = platforms::find(CHANGED)?;
    let recipe = declared(platform)?;
    let kernel = context.image(platform.image)?;
    let path = context.folder.join("card.img");
    let archive = kernel.with_extension("archive");
    let archive = fs::read(&archive).map_err(|error| Error::File(archive, error))?;
    let data = files.before(&archive)?;
    let mut boot = small(&recipe, &kernel)?;
    boot.insert(TREE.to_owned(), with_power(small_tree()).to_bytes());
    card::write(&path, &recipe, &boot, &data)?;
    let outcome = boot_card(context, path.clone(), case, &case.name)?;
    let mut image = fs::read(&path).map_err(|error| Error::File(path.clone(), error))?;
    let after =
        disk::read_data(&mut image).map_err(|error| Error::Malformed(path, error.to_string()))?;
    let expected = files.after(data);
    Ok(outcome.and(differences(&expected, &after)))
}

/// How the files on a card differ from those that should be there.
fn differences(expected: &Files, found: &Files) -> Vec<String> {
    let paths: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let difference = |path: &String| match (expected.get(path), found.get(path)) {
        (Some(_), None) => Some(format!("the card has no {path} any more")),
        (None, Some(_)) => Some(format!("the card has {path} now")),
        (expected, found) if expected != found => {
            Some(format!("{path} on the card holds something else"))
        }
        _ => None,
    };
    paths.into_iter().filter_map(difference).collect()
}

/// A device tree of a Raspberry Pi 4 with what Capelin needs of it, and nothing else. (BCM2711 ARM Peripherals: address
/// map and interrupts; GIC-400 at 0xff84_0000; spin table of the firmware's stub.)
fn small_tree() -> Tree {
    const GIC: u32 = 1;
    let mut tree = Tree::default();
    let root = &mut tree.root;
    root.set_cells("#address-cells", &[2]);
    root.set_cells("#size-cells", &[1]);
    root.set_cells("interrupt-parent", &[GIC]);
    root.set_text("model", "Raspberry Pi 4 with a small tree");
    root.set_text("compatible", "raspberrypi,4-model-b\0brcm,bcm2711");
    let aliases = root.ensure_child("aliases");
    aliases.set_text("serial0", "/soc/serial@7e201000");
    aliases.set_text("serial1", "/soc/serial@7e215040");
    root.ensure_child("chosen")
        .set_text("stdout-path", "serial1:115200n8");
    root.ensure_child("memory@0")
        .set_text("device_type", "memory");
    let cpus = root.ensure_child("cpus");
    cpus.set_cells("#address-cells", &[1]);
    cpus.set_cells("#size-cells", &[0]);
    for core in 0..4 {
        let cpu = cpus.ensure_child(&format!("cpu@{core}"));
        cpu.set_text("device_type", "cpu");
        cpu.set_text("compatible", "arm,cortex-a72");
        cpu.set_cells("reg", &[core]);
        cpu.set_text("enable-method", "spin-table");
        cpu.set_cells("cpu-release-addr", &[0, 0xd8 + 8 * core]);
    }
    let timer = root.ensure_child("timer");
    timer.set_text("compatible", "arm,armv8-timer");
    // PPIs 13, 14, 11, 10: level, active low, for all four cores.
    let interrupts = [13, 14, 11, 10].map(|ppi| [1, ppi, 0xf08]);
    timer.set_cells("interrupts", interrupts.as_flattened());
    let soc = root.ensure_child("soc");
    soc.set_text("compatible", "simple-bus");
    soc.set_cells("#address-cells", &[1]);
    soc.set_cells("#size-cells", &[1]);
    // As the GPU sees its devices, and the Arm cores do.
    soc.set_cells(
        "ranges",
        &[
            0x7e00_0000,
            0,
            0xfe00_0000,
            0x180_0000,
            0x4000_0000,
            0,
            0xff80_0000,
            0x80_0000,
        ],
    );
    let gic = soc.ensure_child("interrupt-controller@40041000");
    gic.set_text("compatible", "arm,gic-400");
    gic.set("interrupt-controller", []);
    gic.set_cells("#interrupt-cells", &[3]);
    gic.set_cells("phandle", &[GIC]);
    gic.set_cells(
        "reg",
        &[
            0x4004_1000,
            0x1000,
            0x4004_2000,
            0x2000,
            0x4004_4000,
            0x2000,
            0x4004_6000,
            0x2000,
        ],
    );
    for (name, compatible, bytes, spi) in [
        ("serial@7e201000", "arm,pl011\0arm,primecell", 0x200, 121),
        ("serial@7e215040", "brcm,bcm2835-aux-uart", 0x40, 93),
    ] {
        let uart = soc.ensure_child(name);
        uart.set_text("compatible", compatible);
        let address = name
            .split('@')
            .next_back()
            .map(|it| u32::from_str_radix(it, 16));
        uart.set_cells("reg", &[address.unwrap_or(Ok(0)).unwrap_or(0), bytes]);
        uart.set_cells("interrupts", &[0, spi, 4]);
        uart.ensure_child("bluetooth");
    }
    // Both on one line.
    for (name, compatible, address) in [
        ("mmc@7e300000", "brcm,bcm2835-sdhci", 0x7e30_0000),
        ("mmc@7e340000", "brcm,bcm2711-emmc2", 0x7e34_0000),
    ] {
        let controller = soc.ensure_child(name);
        controller.set_text("compatible", compatible);
        controller.set_cells("reg", &[address, 0x100]);
        controller.set_cells("interrupts", &[0, 126, 4]);
    }
    let gpio = soc.ensure_child("gpio@7e200000");
    gpio.set_text("compatible", "brcm,bcm2711-gpio");
    // As the boards' trees have it: without the registers for pulls.
    gpio.set_cells("reg", &[0x7e20_0000, 0xb4]);
    let lines = [113, 114, 115, 116].map(|spi| [0, spi, 4]);
    gpio.set_cells("interrupts", lines.as_flattened());
    let timer = soc.ensure_child("timer@7e003000");
    timer.set_text("compatible", "brcm,bcm2835-system-timer");
    timer.set_cells("reg", &[0x7e00_3000, 0x1000]);
    let comparisons = [64, 65, 66, 67].map(|spi| [0, spi, 4]);
    timer.set_cells("interrupts", comparisons.as_flattened());
    tree
}

/// With what switches the machine off.
fn with_power(mut tree: Tree) -> Tree {
    let soc = tree.root.ensure_child("soc");
    let watchdog = soc.ensure_child("watchdog@7e100000");
    watchdog.set_text("compatible", "brcm,bcm2835-pm-wdt");
    watchdog.set_cells("reg", &[0x7e10_0000, 0x114]);
    tree
}

#[cfg(test)]
mod tests {
    use super::*;
    use capelin_dt::Machine;

    #[test]
    fn the_small_tree_is_one_that_capelin_boots_with() {
        let machine = Machine::parse(&small_tree().to_bytes()).unwrap();
        assert_eq!(machine.cpus.len(), 4);
        assert!(machine.gic.is_some());
    }

    #[test]
    fn every_case_has_options_that_parse() {
        for platform in platforms::ALL {
            for case in platform.cases {
                let line = format!("--platform {} {}", platform.name, case.options);
                guest::options(&GuestCase::new(case.name, line)).unwrap();
            }
        }
    }
}
