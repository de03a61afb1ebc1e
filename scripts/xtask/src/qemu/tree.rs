//! The device tree that QEMU hands over, and one that tells of no UART: on such a machine the console is another device.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::command::{self, Console, Start};
use super::options::{ConsoleDevice, RunOptions};
use crate::cases::TreeChange;
use crate::error::{Error, Result};

/// The tree that QEMU hands over on the machine that `options` ask for, by way of `path`.
///
/// # Errors
/// If QEMU fails, or the file can't be read.
pub(crate) fn dump(options: &RunOptions, path: &Path) -> Result<Vec<u8>> {
    let kernel = options.kernel.clone().unwrap_or_default();
    let arguments = command::arguments(options, Start::Kernel(&kernel), Console::Plain)?;
    let status = Command::new(command::QEMU)
        .args(arguments)
        .arg("-M")
        .arg(format!("dumpdtb={}", path.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|error| Error::Spawn(command::QEMU.to_owned(), error))?;
    if !status.success() {
        return Err(Error::Program(command::QEMU.to_owned(), status));
    }
    fs::read(path).map_err(|error| Error::File(path.to_owned(), error))
}

/// A tree in a file that goes with this.
#[derive(Debug)]
pub(crate) struct Hidden(PathBuf);

impl Drop for Hidden {
    fn drop(&mut self) {
        // One that stays is in nobody's way.
        let _ = fs::remove_file(&self.0);
    }
}

/// Where the console isn't the UART, and no tree is given, has `options` give one without it. `kernel` is what is booted.
///
/// # Errors
/// As [`dump`].
pub(crate) fn hide_uart(options: &mut RunOptions, kernel: &Path) -> Result<Option<Hidden>> {
    if options.console == ConsoleDevice::Uart || options.dtb.is_some() {
        return Ok(None);
    }
    let name = format!("capelin-without-uart-{}.dtb", std::process::id());
    let hidden = Hidden(std::env::temp_dir().join(name));
    let mut shape = options.clone();
    shape.kernel = Some(kernel.to_owned());
    let mut tree = dump(&shape, &hidden.0)?;
    let other = [("stdout-path", "stdout-none"), ("arm,pl011", "none,uart")];
    let change = TreeChange {
        replace: other
            .map(|(from, to)| (from.to_owned(), to.to_owned()))
            .into(),
        ..TreeChange::default()
    };
    change.apply(&mut tree);
    fs::write(&hidden.0, tree).map_err(|error| Error::File(hidden.0.clone(), error))?;
    options.dtb = Some(hidden.0.clone());
    Ok(Some(hidden))
}
