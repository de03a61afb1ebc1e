//! Boots of media on which something is otherwise than on ours, missing or damaged ([`MediumChange`]): cards of a
//! Raspberry Pi, and what UEFI boots from.
//!
//! The cards hold nothing from elsewhere; UEFI comes from the distribution, and where it can't be had, its cases are
//! skipped.

use std::fs;
use std::path::Path;

use capelin_platform::{Card, Disk, Emulator, Medium};

use super::cards::{self, without_firmware};
use super::guest::{self, find};
use super::{Context, Outcome};
use crate::build::{Image, Profile};
use crate::card::disk::Files;
use crate::card::{self, server};
use crate::cases::{Expected, GuestCase, MediumChange};
use crate::error::{Error, Result};
use crate::platforms;
use crate::qemu::options::{BootFrom, RunOptions};
use crate::qemu::uefi;

/// Where the loader by itself is, beside the file for network boot that holds it: for changes only.
const LOADER: &str = "loader.efi";

/// Boots `case` from its platform's medium with `changes`.
///
/// # Errors
/// If it can't be written or booted.
pub(super) fn run(
    context: &Context,
    case: &GuestCase,
    changes: &[MediumChange],
) -> Result<Outcome> {
    let mut options = guest::options(case)?;
    let platform = platforms::find(&options.platform)?;
    let kernel = context.image(platform.image)?;
    options.build = false;
    options.profile = Profile::Release;
    let path = context.folder.join(match options.boot {
        BootFrom::Disk | BootFrom::Iso => "medium",
        BootFrom::Network => "served",
    });
    match (platform.medium, platform.emulator) {
        (Medium::Card(recipe), _) => {
            write_card(&path, &recipe, &kernel, changes)?;
            options.kernel = Some(path);
        }
        (Medium::Disk(recipe), Emulator::Uefi(emulator)) => {
            if let Err(error) = uefi::firmware(emulator.package, emulator.firmware) {
                return Ok(without_firmware(&error));
            }
            let loader = Image::new(platform.image, None, Profile::Release)?.loader()?;
            write_server((&path, &recipe), (&kernel, &loader), &options, changes)?;
            options.disk = Some(path);
        }
        _ => {
            let what = format!("{}'s medium can't be changed", platform.name);
            return Err(Error::Usage(what));
        }
    }
    match guest::boot(context, case, &options, &case.name) {
        Err(Error::Malformed(_, what)) if case.expected == Expected::Refused => {
            let missing = case.patterns.iter().filter(|it| find(&what, it).is_none());
            let failures = missing.map(|it| format!("said {what:?}, not {it:?}"));
            Ok(Outcome::of(failures.collect()))
        }
        other => other,
    }
}

/// A card at `path` with what is ours, changed.
fn write_card(path: &Path, recipe: &Card, kernel: &Path, changes: &[MediumChange]) -> Result<()> {
    let files = changed(cards::small(recipe, kernel)?, kernel, changes)?;
    card::write(path, recipe, &files, &Files::new())
}

/// What UEFI boots from at `path`, changed.
fn write_server(
    (path, recipe): (&Path, &Disk),
    (kernel, loader): (&Path, &Path),
    options: &RunOptions,
    changes: &[MediumChange],
) -> Result<()> {
    let arguments = uefi::arguments(options)?;
    let files = match options.boot {
        BootFrom::Disk | BootFrom::Iso => server::files(recipe, kernel, loader, &arguments)?,
        BootFrom::Network => {
            let all = server::network_file(kernel, loader, &arguments)?;
            let alone = fs::read(loader).map_err(|error| Error::File(loader.to_owned(), error))?;
            let name = recipe.network_file.to_owned();
            Files::from([(name, all), (LOADER.to_owned(), alone)])
        }
    };
    let files = changed(files, kernel, changes)?;
    match options.boot {
        BootFrom::Disk => server::write(path, recipe, &files),
        BootFrom::Iso => server::write_iso(path, &files),
        BootFrom::Network => {
            let file = files.get(recipe.network_file).cloned().unwrap_or_default();
            server::write_folder(path, recipe, &file)
        }
    }
}

fn changed(mut files: Files, kernel: &Path, changes: &[MediumChange]) -> Result<Files> {
    let archive = kernel.with_extension("archive");
    let archive = fs::read(&archive).map_err(|error| Error::File(archive, error))?;
    for change in changes {
        change
            .apply(&mut files, &archive)
            .map_err(|what| Error::Malformed("the medium".into(), what))?;
    }
    Ok(files)
}
