//! A card that is pulled while the machine runs, and put in again: by the emulator's monitor, which shares the terminal
//! with the guest.

use super::cards;
use super::session::Session;
use super::{Context, Outcome};
use crate::card::disk::Files;
use crate::card::{self, declared};
use crate::error::{Error, Result};
use crate::platforms;
use crate::qemu::options::RunOptions;
use capelin_platform::Emulator;
use lexopt::Parser;

/// What switches between guest and monitor.
const SWITCH: &str = "\u{1}c";
/// What the shell says when there is no card.
const GONE: &str = "there is no card";

/// Reads a file, pulls the card, and puts it in again: errors while it is gone, all else runs, and then the file.
///
/// # Errors
/// If the card can't be written, or QEMU can't be started.
pub(super) fn run(context: &Context, name: &str) -> Result<Outcome> {
    let platform = platforms::find(cards::CHANGED)?;
    let Emulator::Raspberry(board) = platform.emulator else {
        return Err(Error::Usage(format!("{} has no card", platform.name)));
    };
    let recipe = declared(platform)?;
    let path = context.folder.join("pulled.img");
    let data = Files::from([("notes.txt".to_owned(), b"milk\n".to_vec())]);
    let boot = cards::small(&recipe, &context.image(platform.image)?)?;
    card::write(&path, &recipe, &boot, &data)?;
    let line = format!("--platform {} --card keep", platform.name);
    let options = RunOptions::parse(Parser::from_args(line.split_whitespace()))?;
    let mut session = Session::start_card(context, name, &path, &board, &options)?;
    let put_in = format!("change sd0 {}", path.display());
    Ok(Outcome::of(Vec::from_iter(
        talk(&mut session, &put_in).err(),
    )))
}

fn talk(session: &mut Session, put_in: &str) -> Result<(), String> {
    session.until_prompt()?;
    expect(session, "cat notes.txt", "milk")?;
    monitor(session, "eject -f sd0")?;
    expect(session, "cat notes.txt", GONE)?;
    expect(session, "cp notes.txt more.txt", GONE)?;
    expect(session, "run hello", "hello from core 0")?;
    expect(session, "devices", "sdhci")?;
    monitor(session, put_in)?;
    expect(session, "cat notes.txt", "milk")?;
    expect(session, "cp notes.txt more.txt; cat more.txt", "milk")?;
    Ok(())
}

fn expect(session: &mut Session, command: &str, wanted: &str) -> Result<(), String> {
    let said = session.ask(command)?;
    if said.lines().any(|line| line.contains(wanted)) {
        return Ok(());
    }
    Err(format!("{command}: no {wanted:?} in {said:?}"))
}

/// Gives the monitor `command`, and goes back to the guest, which then prompts anew.
fn monitor(session: &mut Session, command: &str) -> Result<(), String> {
    session.type_ahead(&format!("{SWITCH}{command}\n{SWITCH}"))?;
    session.ask("").map(drop)
}
