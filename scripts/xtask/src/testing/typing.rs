//! What somebody types who doesn't wait for a prompt.

use super::session::Session;
use super::{Context, Outcome};
use crate::error::Result;

/// Lines of a paste: more bytes than the console driver keeps.
const PASTED: usize = 300;

/// Types during boot, and pastes more than any buffer holds: all of it is answered, in order.
///
/// # Errors
/// If the image doesn't build, or QEMU can't be started.
pub(super) fn run(context: &Context, name: &str, options: &str) -> Result<Outcome> {
    let mut session = Session::start(context, name, options)?;
    Ok(Outcome::of(Vec::from_iter(talk(&mut session).err())))
}

fn talk(session: &mut Session) -> Result<(), String> {
    // Before the first instruction of the guest.
    session.type_ahead("echo typed during boot\n")?;
    answered(session, &["typed during boot".to_owned()])?;
    let lines: Vec<String> = (0..PASTED)
        .map(|n| format!("line {n} of a paste"))
        .collect();
    session.type_ahead(
        &lines
            .iter()
            .map(|line| format!("echo {line}\n"))
            .collect::<String>(),
    )?;
    answered(session, &lines)?;
    session.type_ahead(&format!(
        "echo kept; echo {}\necho done\n",
        "x".repeat(2000)
    ))?;
    let refusal = answered(session, &["done".to_owned()])?;
    // Each of the commands is short; all of them would take days.
    session.type_ahead("repeat 4000000000 repeat 2 echo and again\n")?;
    session.until_line("and again")?;
    session.type_ahead("\u{3}echo given up\n")?;
    answered(session, &["^C".to_owned(), "given up".to_owned()])?;
    if refusal.contains("error: the line has more than") && !refusal.contains("\nkept") {
        Ok(())
    } else {
        Err(format!("an overlong line isn't refused: {refusal:?}"))
    }
}

/// What the guest says until it has said the lines `wanted`, in order, each alone.
fn answered(session: &mut Session, wanted: &[String]) -> Result<String, String> {
    let mut text = String::new();
    loop {
        let more = session.until_prompt();
        text.push_str(more.as_deref().unwrap_or_default());
        let mut said = text.lines().map(str::trim);
        let missing = wanted.iter().find(|&line| !said.any(|one| one == line));
        match (missing, more) {
            (None, _) => return Ok(text),
            (Some(line), Err(what)) => return Err(format!("{what}; no line {line:?}")),
            (Some(_), Ok(_)) => {}
        }
    }
}
