//! Idle is idle: how much of one host core a machine takes while its shell waits at the prompt.

use std::fs;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::{Context, Outcome};
use crate::args::Args;
use crate::build::DEFAULT_IMAGE;
use crate::error::{Error, Result};
use crate::qemu::command::{self, Console};
use crate::qemu::options::RunOptions;

/// What the shell prints when it waits.
const PROMPT: &str = "capelin> ";
/// How long the machine may take to get there.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
/// How long it may take to come to rest.
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
    let image = context.image(DEFAULT_IMAGE)?;
    let options = RunOptions::parse(Args::new(["--smp".to_owned(), cores.to_string()]))?;
    let path = context.log_path(name);
    let failed = |error| Error::File(path.clone(), error);
    let mut log = fs::File::create(&path).map_err(failed)?;
    let child = Command::new(command::QEMU)
        .args(command::arguments(&options, &image, Console::Plain)?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Error::Spawn(command::QEMU.to_owned(), error))?;
    let mut machine = Machine(child);
    let outcome = watch(&mut machine, &mut log);
    drop(machine);
    Ok(match outcome {
        Ok(percent) => {
            writeln!(log, "\n{percent:.1}% of one host core").map_err(failed)?;
            let failure =
                format!("took {percent:.1}% of one host core, more than {LIMIT_PERCENT}%");
            Outcome::of(Vec::from_iter((percent > LIMIT_PERCENT).then_some(failure)))
        }
        Err(what) => Outcome::of(vec![what]),
    })
}

/// An emulator that ends with this value.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Machine {
    /// Processor time that it has used, in seconds.
    fn used_s(&self) -> Option<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).ok()?;
        used_ticks(&stat).map(|ticks| ticks / TICKS_PER_SECOND)
    }
}

/// User and system time in the line of `/proc/PID/stat`: fields 14 and 15, behind the name in parentheses.
fn used_ticks(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let user: f64 = times.next()?.parse().ok()?;
    let system: f64 = times.next()?.parse().ok()?;
    Some(user + system)
}

/// Waits for the prompt, then measures; the percentage, or what went wrong.
fn watch(machine: &mut Machine, log: &mut fs::File) -> Result<f64, String> {
    let output = machine.0.stdout.take().ok_or("has no output")?;
    let pieces = listen(output);
    wait_for_prompt(&pieces, log)?;
    thread::sleep(SETTLE);
    let before = machine.used_s().ok_or("ended")?;
    let start = Instant::now();
    thread::sleep(WATCHED);
    let after = machine.used_s().ok_or("ended")?;
    Ok((after - before) / start.elapsed().as_secs_f64() * 100.0)
}

fn listen(mut output: impl std::io::Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, pieces) = sync_channel(64);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = output.read(&mut buffer) {
            // Nobody listens any more: what the machine says is drained all the same.
            let _ = sender.try_send(buffer[..count].to_vec());
        }
    });
    pieces
}

fn wait_for_prompt(pieces: &Receiver<Vec<u8>>, log: &mut fs::File) -> Result<(), String> {
    let end = Instant::now() + BOOT_LIMIT;
    let mut text = String::new();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match pieces.recv_timeout(left) {
            Ok(piece) => {
                log.write_all(&piece).map_err(|error| error.to_string())?;
                text.push_str(&String::from_utf8_lossy(&piece));
                if text.contains(PROMPT) {
                    return Ok(());
                }
            }
            Err(RecvTimeoutError::Timeout) => return Err("never came to the prompt".to_owned()),
            Err(RecvTimeoutError::Disconnected) => return Err("ended before the prompt".to_owned()),
        }
    }
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
