//! Firmware with Secure Boot on: it doesn't start the loader, which nobody has signed, and says what
//! `docs/125-uefi.md` and the README tell its owner.

use super::cards::without_firmware;
use super::session::Session;
use super::{Context, Outcome};
use crate::build::{Image, Profile};
use crate::error::{Error, Result};
use crate::platforms;
use crate::qemu::command::{self, Console, Start};
use crate::qemu::options::RunOptions;
use crate::qemu::uefi::{self, Server};
use capelin_platform::{Emulator, Medium};
use lexopt::Parser;

/// The platform that boots by UEFI.
const PLATFORM: &str = "ampere";
/// What firmware says when it has tried everything.
const NOTHING_LEFT: &str = "No bootable option or device was found";
/// What it says of a program that it doesn't start.
const REFUSED: &str = "Access Denied";
/// What each message of the loader begins with.
const OURS: &str = "capelin:";

/// Boots our disk by firmware whose variables hold keys.
///
/// # Errors
/// If something doesn't build, or QEMU can't be started.
pub(super) fn run(context: &Context, name: &str) -> Result<Outcome> {
    let platform = platforms::find(PLATFORM)?;
    let (Emulator::Uefi(emulator), Medium::Disk(disk)) = (platform.emulator, platform.medium)
    else {
        return Err(Error::Usage(format!("{PLATFORM} has no UEFI")));
    };
    let variables = match uefi::secure_variables(&emulator) {
        Ok(variables) => variables,
        Err(error) => return Ok(without_firmware(&error)),
    };
    let kernel = context.image(platform.image)?;
    let loader = Image::new(platform.image, None, Profile::Release)?.loader()?;
    let line = format!("--platform {PLATFORM} --smp 2");
    let options = RunOptions::parse(Parser::from_args(line.split_whitespace()))?;
    let server = Server::of((&disk, &emulator), (&kernel, &loader), &options)?;
    let start = Start::Firmware {
        firmware: &server.firmware,
        source: server.source(),
    };
    let mut arguments = command::arguments(&options, start, Console::Plain)?;
    // The second flash, where firmware keeps its variables; what it writes is forgotten.
    let flash = "if=pflash,unit=1,format=raw,snapshot=on,file=";
    arguments.push("-drive".into());
    arguments.push(format!("{flash}{}", variables.display()).into());
    let mut session = Session::of(context, name, arguments)?;
    let failures = match session.until_said(NOTHING_LEFT) {
        Err(failure) => vec![failure],
        Ok(said) => {
            let refused = said.lines().any(|line| line.contains(REFUSED));
            let missing = (!refused).then(|| format!("firmware didn't say {REFUSED:?}"));
            let started = said.contains(OURS);
            let started = started.then(|| "firmware started the loader".to_owned());
            missing.into_iter().chain(started).collect()
        }
    };
    Ok(Outcome::of(failures))
}
