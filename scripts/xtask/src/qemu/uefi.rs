//! A disk that firmware boots on QEMU: a server's under UEFI (EDK2), a board's by U-Boot, both
//! from the distribution's packages; the disk on virtio, and of what `run` can ask for what a `virt` board has.
//!
//! The command line is on the disk, in the loader's configuration file or the boot script, so
//! each run has a disk of its own.

use std::fs;
use std::path::{Path, PathBuf};

use capelin_platform::{Disk, UBoot, Uefi, Volume};

use super::exec;
use super::options::RunOptions;
use crate::card::{server, uboot};
use crate::distribution::Distribution;
use crate::error::{Error, Result};
use crate::workspace::Metadata;

/// A disk for one run, which goes with this, and the firmware.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) disk: PathBuf,
    pub(crate) firmware: PathBuf,
}

impl Server {
    /// Puts `kernel` (a boot image) and `loader` on a disk, with the command line that
    /// `options` ask for.
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
        let files = server::files(recipe, kernel, loader, &arguments)?;
        let disk = kernel.with_extension(format!("disk-{}", std::process::id()));
        server::write(&disk, recipe, &files)?;
        Ok(Self { disk, firmware })
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
        Ok(Self { disk, firmware })
    }

    /// Leaves the disk where it is; where.
    pub(crate) fn keep(self) -> PathBuf {
        let disk = self.disk.clone();
        std::mem::forget(self);
        disk
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What can't be removed is overwritten by a process of the same number.
        let _ = fs::remove_file(&self.disk);
    }
}

/// The command line that `options` ask for.
fn arguments(options: &RunOptions) -> Result<String> {
    let exec = options.exec.as_deref().map(exec::argument);
    let arguments: Vec<String> = options.append.iter().cloned().chain(exec).collect();
    let arguments = arguments.join(" ");
    if arguments.contains(['\n', '\r']) {
        return Err(Error::Usage("--append has more than one line".to_owned()));
    }
    Ok(arguments)
}

/// The file `path` of the distribution's package `name`, which is firmware.
///
/// # Errors
/// If it can't be had.
pub(crate) fn firmware(name: &str, path: &str) -> Result<PathBuf> {
    let folder = Metadata::load()?.target_directory.join("firmware");
    let distribution = Distribution::open(folder);
    let package = distribution.package(name, &[path.to_owned()])?;
    Ok(package.folder.join(path))
}
