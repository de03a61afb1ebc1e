//! Idle is idle: how much of one host core a machine takes while its shell waits at the prompt.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::session::Session;
use super::{Context, Outcome};
use crate::error::Result;

/// How long a machine may take to come to rest.
const SETTLE: Duration = Duration::from_secs(3);
/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(10);
/// What it may take of one host core, in percent.
const LIMIT_PERCENT: f64 = 10.0;
/// Clock ticks per second in `/proc/PID/stat` (proc(5); `sysconf(_SC_CLK_TCK)` is 100 on Linux).
const TICKS_PER_SECOND: f64 = 100.0;

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
    let used_s = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", session.process()));
        let ticks = stat.ok().and_then(|stat| used_ticks(&stat));
        ticks.map(|ticks| ticks / TICKS_PER_SECOND).ok_or("ended")
    };
    let before = used_s()?;
    let start = Instant::now();
    thread::sleep(WATCHED);
    let after = used_s()?;
    Ok((after - before) / start.elapsed().as_secs_f64() * 100.0)
}

/// User and system time in the line of `/proc/PID/stat`: fields 14 and 15, behind the name in parentheses.
fn used_ticks(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let user: f64 = times.next()?.parse().ok()?;
    let system: f64 = times.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "42 (qemu) (x) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 5 0 1 2";
        assert_eq!(used_ticks(stat), Some(300.0));
        assert_eq!(used_ticks("42 (qemu) S 1 2"), None);
        assert_eq!(used_ticks(""), None);
    }

    #[test]
    fn our_own_time_can_be_read() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        assert!(used_ticks(&stat).is_some());
    }
}
