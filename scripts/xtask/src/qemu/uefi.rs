//! A server's disk under UEFI on QEMU: EDK2 from the distribution's package, the disk on
//! virtio, and of what `run` can ask for what a `virt` board has.
//!
//! The command line is in the loader's configuration file on the disk, so each run has a
//! disk of its own.

use std::fs;
use std::path::{Path, PathBuf};

use capelin_platform::{Disk, Uefi};

use super::exec;
use super::options::RunOptions;
use crate::card::server;
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
        let firmware = firmware(emulator)?;
        let exec = options.exec.as_deref().map(exec::argument);
        let arguments: Vec<String> = options.append.iter().cloned().chain(exec).collect();
        let arguments = arguments.join(" ");
        if arguments.contains(['\n', '\r']) {
            return Err(Error::Usage("--append has more than one line".to_owned()));
        }
        let files = server::files(recipe, kernel, loader, &arguments)?;
        let disk = kernel.with_extension(format!("disk-{}", std::process::id()));
        server::write(&disk, recipe, &files)?;
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

/// The firmware's file.
///
/// # Errors
/// If it can't be had.
pub(crate) fn firmware(emulator: &Uefi) -> Result<PathBuf> {
    let folder = Metadata::load()?.target_directory.join("firmware");
    let distribution = Distribution::open(folder);
    let patterns = [emulator.firmware.to_owned()];
    let package = distribution.package(emulator.package, &patterns)?;
    Ok(package.folder.join(emulator.firmware))
}
