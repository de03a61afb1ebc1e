//! `cargo xtask image`: what is written on a card, as its platform declares it.
//!
//! ```text
//! platforms/NAME ─▶ contents ─▶ disk ─▶ capelin-NAME.img ─▶ os_list ─▶ Raspberry Pi Imager
//!                     ▲                        │
//!   distribution ─────┘                        └─▶ disk ─▶ loader (config, tree) ─▶ QEMU (qemu::raspberry)
//! ```

pub(crate) mod config;
pub(crate) mod contents;
pub(crate) mod disk;
pub(crate) mod gpt;
pub(crate) mod iso;
pub(crate) mod loader;
mod os_list;
pub(crate) mod server;
pub(crate) mod uboot;
pub(crate) mod unified;

use std::fs;
use std::path::{Path, PathBuf};

use capelin_platform::{Card, Medium, Platform};

use crate::build::{Image, Profile};
use crate::error::{Error, Result};
use crate::platforms;
use contents::Firmware;
use lexopt::Parser;
use lexopt::prelude::{Long, Value, ValueExt as _};

const HELP: &str = "\
usage: cargo xtask image PLATFORM [OPTION…]

Builds Capelin and writes target/capelin/capelin-PLATFORM.img, to be written on a card, and beside it the list by which
Raspberry Pi Imager finds it. Firmware comes from the distribution's packages, which are fetched once.

  rpi4            Raspberry Pi 4 Model B, 400 and Compute Module 4
  ampere          for Ampere Altra and other servers with UEFI: a disk (USB, NVMe), an ISO image (discs and virtual
                  media), and a folder for network boot (PXE, HTTP); no list, and no firmware on them
  generic         a disk or card for any board with U-Boot, and a folder with its files (Image, Image.gz, a FIT, the
                  archive, a boot script), to be put beside what the board itself needs

  --firmware DIR  take firmware and device trees from this folder instead (names as on the card)
  --append ARGS   ampere: kernel arguments
  --url URL       where the image will be downloaded from (default: the file itself)";

/// The recipe.
///
/// # Errors
/// If anything doesn't build, can't be fetched or doesn't fit.
pub(crate) fn main(mut args: Parser) -> Result<()> {
    let (mut name, mut firmware, mut url) = (None, Firmware::Distribution, None);
    let mut arguments = None;
    while let Some(argument) = args.next()? {
        match argument {
            Long("firmware") => firmware = Firmware::Folder(args.value()?.into()),
            Long("url") => url = Some(args.value()?.string()?),
            Long("append") => arguments = Some(args.value()?.string()?),
            Long("help") => {
                println!("{HELP}");
                return Ok(());
            }
            Value(word) if name.is_none() => name = Some(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let name = name.ok_or_else(|| Error::Usage("which platform's image?".to_owned()))?;
    let platform = platforms::find(&name)?;
    if let Medium::Disk(disk) = platform.medium {
        let arguments = arguments.unwrap_or_default();
        let [path, iso, folder] = server::image(platform, &disk, &arguments)?;
        println!(
            "{}\n{}\n{}",
            path.display(),
            iso.display(),
            folder.display()
        );
        return Ok(());
    }
    if arguments.is_some() {
        return Err(Error::Usage(format!(
            "--append is for servers: the arguments of {name} are in a file on its card"
        )));
    }
    if let Medium::Volume(volume) = platform.medium {
        let [path, folder] = uboot::image(platform.name, platform.image, &volume)?;
        println!("{}\n{}", path.display(), folder.display());
        return Ok(());
    }
    let card = declared(platform)?;
    let path = image(platform, &firmware, Profile::Release)?;
    let list = path.with_extension("json");
    let url = url.unwrap_or_else(|| format!("file://{}", path.display()));
    let image = fs::read(&path).map_err(|error| Error::File(path.clone(), error))?;
    let json = os_list::json(platform, &card, &image, &url)?;
    fs::write(&list, json).map_err(|error| Error::File(list.clone(), error))?;
    println!("{}\n{}", path.display(), list.display());
    Ok(())
}

/// The card that `platform` boots from.
///
/// # Errors
/// If it boots from something else.
pub(crate) fn declared(platform: &Platform) -> Result<Card> {
    match platform.medium {
        Medium::Card(card) => Ok(card),
        Medium::BootImage => Err(Error::Usage(format!(
            "{} boots what `cargo xtask build` makes",
            platform.name
        ))),
        Medium::Disk(_) | Medium::Volume(_) => {
            Err(Error::Usage(format!("{} boots no card", platform.name)))
        }
    }
}

/// Where the card image of `platform` is, once built with `profile`.
///
/// # Errors
/// If cargo can't tell.
pub(crate) fn image_path(platform: &Platform, profile: Profile) -> Result<PathBuf> {
    let kernel = Image::new(platform.image, None, profile)?.path();
    Ok(kernel.with_file_name(format!("capelin-{}.img", platform.name)))
}

/// Builds `platform`'s card image; its path.
///
/// # Errors
/// If anything doesn't build, can't be fetched or doesn't fit.
pub(crate) fn image(platform: &Platform, firmware: &Firmware, profile: Profile) -> Result<PathBuf> {
    let card = declared(platform)?;
    // What can't be had is told before anything is built.
    let mut files = contents::firmware(&card, firmware)?;
    let kernel = Image::new(platform.image, None, profile)?;
    kernel.build()?;
    files.extend(contents::own(&card, &kernel.path())?);
    let path = image_path(platform, profile)?;
    write(&path, &card, &files, &disk::Files::new())?;
    Ok(path)
}

/// Writes a card with `files` on its boot partition and `data` on the other to `path`.
///
/// # Errors
/// If they don't fit, or the file can't be written.
pub(crate) fn write(
    path: &Path,
    card: &Card,
    files: &disk::Files,
    data: &disk::Files,
) -> Result<()> {
    let image = disk::write(card.boot_bytes, card.data_bytes, files, data)
        .map_err(|error| Error::Malformed(path.to_owned(), error.to_string()))?;
    fs::write(path, image).map_err(|error| Error::File(path.to_owned(), error))
}
