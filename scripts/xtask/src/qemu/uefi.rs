//! What firmware boots from on QEMU: a server's disk, ISO image or network under UEFI (EDK2), a board's disk by U-Boot,
//! both from the distribution's packages; and of what `run` can ask for what a `virt` board has.
//!
//! The command line is on the disk, in the loader's configuration file or the boot script, so
//! each run has a disk of its own.

use std::fs;
use std::path::{Path, PathBuf};

use capelin_platform::{Disk, UBoot, Uefi, Volume};

use super::command::Source;
use super::exec;
use super::options::{BootFrom, RunOptions};
use crate::card::{server, uboot};
use crate::distribution::Distribution;
use crate::error::{Error, Result};
use crate::workspace::Metadata;

/// What one run boots from, and the firmware.
#[derive(Debug)]
pub(crate) struct Server {
    medium: Medium,
    life: Life,
    pub(crate) firmware: PathBuf,
}

/// How long what is booted from is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// It was made for this run, and goes with it.
    Run,
    /// It was there before, and stays.
    Longer,
}

/// A file, or a folder that is served.
#[derive(Debug)]
enum Medium {
    Disk(PathBuf),
    Disc(PathBuf),
    Folder(PathBuf, &'static str),
}

impl Medium {
    fn path(&self) -> &Path {
        match self {
            Self::Disk(path) | Self::Disc(path) | Self::Folder(path, _) => path,
        }
    }
}

impl Server {
    /// Puts `kernel` (a boot image) and `loader` on what `options` boot from, with the command
    /// line that they ask for.
    ///
    /// # Errors
    /// If the firmware can't be had, or something doesn't fit.
    pub(crate) fn of(
        (recipe, emulator): (&Disk, &Uefi),
        (kernel, loader): (&Path, &Path),
        options: &RunOptions,
    ) -> Result<Self> {
        let firmware = firmware(emulator.package, emulator.firmware)?;
        let arguments = arguments(options)?;
        let path = kernel.with_extension(format!("disk-{}", std::process::id()));
        let files = || server::files(recipe, kernel, loader, &arguments);
        let medium = match options.boot {
            BootFrom::Disk => {
                server::write(&path, recipe, &files()?)?;
                Medium::Disk(path)
            }
            BootFrom::Iso => {
                server::write_iso(&path, &files()?)?;
                Medium::Disc(path)
            }
            BootFrom::Network => {
                let file = server::network_file(kernel, loader, &arguments)?;
                server::write_folder(&path, recipe, &file)?;
                Medium::Folder(path, recipe.network_file)
            }
        };
        Ok(Self {
            medium,
            life: Life::Run,
            firmware,
        })
    }

    /// What is at `path` already: a disk, an ISO image or a folder, as `options` say.
    ///
    /// # Errors
    /// If it isn't there, or the firmware can't be had.
    pub(crate) fn given(
        (package, firmware_file): (&str, &str),
        network_file: &'static str,
        path: PathBuf,
        boot: BootFrom,
    ) -> Result<Self> {
        fs::metadata(&path).map_err(|error| Error::File(path.clone(), error))?;
        let medium = match boot {
            BootFrom::Disk => Medium::Disk(path),
            BootFrom::Iso => Medium::Disc(path),
            BootFrom::Network => Medium::Folder(path, network_file),
        };
        Ok(Self {
            medium,
            life: Life::Longer,
            firmware: firmware(package, firmware_file)?,
        })
    }

    /// Puts `kernel` (a boot image) in the form that `options` ask for on a disk that U-Boot
    /// boots from.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(crate) fn of_uboot(
        (recipe, emulator): (&Volume, &UBoot),
        kernel: &Path,
        options: &RunOptions,
    ) -> Result<Self> {
        let firmware = firmware(emulator.package, emulator.firmware)?;
        let files = uboot::files(recipe, kernel, options.form, &arguments(options)?)?;
        let disk = kernel.with_extension(format!("disk-{}", std::process::id()));
        uboot::write(&disk, recipe, &files)?;
        Ok(Self {
            medium: Medium::Disk(disk),
            life: Life::Run,
            firmware,
        })
    }

    /// What the machine boots from.
    pub(crate) fn source(&self) -> Source<'_> {
        match &self.medium {
            Medium::Disk(path) => Source::Disk(path),
            Medium::Disc(path) => Source::Disc(path),
            Medium::Folder(folder, file) => Source::Network { folder, file },
        }
    }

    /// Leaves what is booted from where it is; where.
    pub(crate) fn keep(self) -> PathBuf {
        let path = self.medium.path().to_owned();
        std::mem::forget(self);
        path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.life == Life::Longer {
            return;
        }
        // What can't be removed is overwritten by a process of the same number.
        let _ = match &self.medium {
            Medium::Disk(path) | Medium::Disc(path) => fs::remove_file(path),
            Medium::Folder(folder, _) => fs::remove_dir_all(folder),
        };
    }
}

/// The command line that `options` ask for.
///
/// # Errors
/// If it has several lines.
pub(crate) fn arguments(options: &RunOptions) -> Result<String> {
    let exec = options.exec.as_deref().map(exec::argument);
    let arguments: Vec<String> = options.append.iter().cloned().chain(exec).collect();
    let arguments = arguments.join(" ");
    server::one_line(&arguments)?;
    Ok(arguments)
}

/// The file `path` of the distribution's package `name`, which is firmware.
///
/// # Errors
/// If it can't be had.
pub(crate) fn firmware(name: &str, path: &str) -> Result<PathBuf> {
    let package = distribution()?.package(name, &[path.to_owned()])?;
    Ok(package.folder.join(path))
}

/// The variables of `emulator`'s firmware with which Secure Boot is on.
///
/// # Errors
/// As [`firmware`].
pub(crate) fn secure_variables(emulator: &Uefi) -> Result<PathBuf> {
    let (name, path) = (emulator.package, emulator.secure_variables);
    let purpose = format!("{name}-secure-boot");
    let package = distribution()?.package_for(&purpose, name, &[path.to_owned()])?;
    Ok(package.folder.join(path))
}

fn distribution() -> Result<Distribution> {
    let folder = Metadata::load()?.target_directory.join("firmware");
    Ok(Distribution::open(folder))
}
