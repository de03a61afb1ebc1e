//! Idle is idle: how much of one host core a machine takes while its shell waits at the prompt.

use std::thread;
use std::time::{Duration, Instant};

use super::session::Session;
use super::{Context, Outcome, processor};
use crate::error::Result;

/// How long a machine may take to come to rest.
const SETTLE: Duration = Duration::from_secs(3);
/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(10);
/// What it may take of one host core, in percent.
const LIMIT_PERCENT: f64 = 10.0;

/// Boots a machine of `cores` cores and watches it at the prompt.
///
/// # Errors
/// If the image doesn't build, or QEMU can't be started.
pub(super) fn run(context: &Context, name: &str, cores: u32) -> Result<Outcome> {
    let mut session = Session::start(context, name, &format!("--smp {cores}"))?;
    Ok(match watch(&mut session) {
        Ok(percent) => {
            session.note(&format!("{percent:.1}% of one host core"));
            let failure =
                format!("took {percent:.1}% of one host core, more than {LIMIT_PERCENT}%");
            Outcome::of(Vec::from_iter((percent > LIMIT_PERCENT).then_some(failure)))
        }
        Err(what) => Outcome::of(vec![what]),
    })
}

/// Waits for the prompt, then measures; the percentage, or what went wrong.
fn watch(session: &mut Session) -> Result<f64, String> {
    session.until_prompt()?;
    thread::sleep(SETTLE);
    let used_s = || processor::of(session.process()).ok_or("ended");
    let before = used_s()?;
    let start = Instant::now();
    thread::sleep(WATCHED);
    let after = used_s()?;
    Ok((after - before) / start.elapsed().as_secs_f64() * 100.0)
}
