//! Supervision of a guest: its output streams through live, its last lines are kept, and it always comes to an end.
//!
//! One thread reads the child's standard output, one its standard error; both feed a bounded queue, so that a guest
//! that floods the console is slowed down and takes no memory. This thread forwards what comes, looks at whole lines,
//! and ends the child (by the process id that it got from starting it, nothing else) when it is out of time, when a
//! signal asks this program to end, when the guest gave up, or when it lingers after its last word.
//!
//! If this program is killed outright, `setpriv --pdeathsig` takes the child along where that program exists.

use std::fmt;
use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::exec::Verdict;
use super::transcript::{Piece, Source, Transcript};

/// How often signals and the child's state are looked at.
const TICK: Duration = Duration::from_millis(50);
/// Time for the rest of the output to arrive after the child has ended.
const DRAIN: Duration = Duration::from_millis(300);
/// How long a full terminal is left alone.
const FULL: Duration = Duration::from_millis(2);
/// Time to say more in after giving up.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What the guest may do.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Wall-clock time until it is ended, if limited.
    pub(crate) timeout: Option<Duration>,
    /// Time to power off in after its status or after giving up.
    pub(crate) grace: Duration,
    /// Whether a line with its status is expected: ending without one is then premature.
    pub(crate) expects_status: bool,
}

/// How the guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It powered off and QEMU was content; with the number of failed commands if it gave one.
    PoweredOff(Option<u32>),
    /// It ran out of its time.
    TimedOut(Duration),
    /// It ended without the status that was expected.
    Premature,
    /// The emulator failed or crashed.
    Crashed(ExitStatus),
    /// It said that it can't go on.
    Fatal(String),
    /// It gave its status and then didn't power off.
    Lingered(u32),
    /// Nobody takes its output any more.
    Unheard,
    /// This program was asked to end, by this signal.
    Interrupted(usize),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PoweredOff(None) => f.write_str("the guest powered off"),
            Self::PoweredOff(Some(count)) => write!(f, "{count} guest command(s) failed"),
            Self::TimedOut(time) => {
                write!(f, "the guest hung: ended after {:.1} s", time.as_secs_f64())
            }
            Self::Premature => f.write_str("the guest ended before its commands were done"),
            Self::Crashed(status) => write!(f, "the emulator failed: {status}"),
            Self::Fatal(reason) => write!(f, "the guest gave up: {reason}"),
            Self::Lingered(_) => f.write_str("the guest didn't power off after its commands"),
            Self::Unheard => f.write_str("nobody reads the console any more"),
            Self::Interrupted(signal) => write!(f, "interrupted by signal {signal}"),
        }
    }
}

/// What a guest did.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) end: End,
    /// Its last lines, oldest first.
    pub(crate) tail: Vec<String>,
    /// Its standard output (the console) from the start, up to 8 MiB.
    pub(crate) output: String,
}

/// Runs `command` to its end, copying its output to `sink`.
///
/// Standard input is the caller's to set. If `sink` fails (a closed pipe), that ends the guest, too; one that takes
/// nothing for a while is waited for.
///
/// # Errors
/// If the program can't be started or waited for.
pub(crate) fn supervise(
    command: Command,
    limits: &Limits,
    sink: &mut dyn Write,
) -> io::Result<Report> {
    let signal = interrupted();
    let start = Instant::now();
    let mut child = dying_with_us(command)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (sender, events) = sync_channel(64);
    if let Some(stdout) = child.stdout.take() {
        forward(Source::Console, stdout, sender.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        forward(Source::Emulator, stderr, sender);
    }
    let mut session = Session {
        child,
        limits,
        start,
        transcript: Transcript::default(),
    };
    let end = session.watch(&events, &signal, sink);
    // Whatever came of it, no child is left behind; both fail only if it is gone already.
    let _ = session.child.kill();
    let _ = session.child.wait();
    let (tail, output) = session.transcript.finish();
    Ok(Report {
        end: end?,
        tail,
        output,
    })
}

struct Session<'a> {
    child: Child,
    limits: &'a Limits,
    start: Instant,
    transcript: Transcript,
}

impl Session<'_> {
    fn watch(
        &mut self,
        events: &Receiver<Piece>,
        signal: &AtomicUsize,
        sink: &mut dyn Write,
    ) -> io::Result<End> {
        let deadline = self.limits.timeout.map(|timeout| self.start + timeout);
        let mut patience_ends: Option<Instant> = None;
        loop {
            let output_ended = match events.recv_timeout(TICK) {
                Ok(piece) if self.take(&piece, sink).is_err() => return Ok(End::Unheard),
                Ok(_) => false,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            if let Some(verdict) = self.transcript.verdict() {
                // One that gave up may well be unable to power off.
                let patience = match verdict {
                    Verdict::Status(_) => self.limits.grace,
                    Verdict::Fatal(_) => self.limits.grace.min(LAST_WORDS),
                };
                patience_ends.get_or_insert_with(|| Instant::now() + patience);
            }
            if let Some(status) = self.child.try_wait()? {
                let drain_until = Instant::now() + DRAIN;
                while let Some(left) = drain_until.checked_duration_since(Instant::now()) {
                    match events.recv_timeout(left) {
                        Ok(piece) if self.take(&piece, sink).is_err() => return Ok(End::Unheard),
                        Ok(_) => {}
                        Err(_) => break,
                    }
                }
                return Ok(self.ended(status));
            }
            let now = Instant::now();
            // Pairs with the store in the handler that signal-hook installs; the number is all there is to see.
            let signal = signal.load(Ordering::Relaxed);
            if signal != 0 {
                return Ok(End::Interrupted(signal));
            }
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Ok(End::TimedOut(self.start.elapsed()));
            }
            if let Some(verdict) = self.transcript.verdict()
                && patience_ends.is_some_and(|end| now >= end)
            {
                return Ok(match verdict {
                    Verdict::Status(count) => End::Lingered(*count),
                    Verdict::Fatal(reason) => End::Fatal(reason.clone()),
                });
            }
            if output_ended {
                thread::sleep(TICK);
            }
        }
    }

    fn take(&mut self, piece: &Piece, sink: &mut dyn Write) -> io::Result<()> {
        self.transcript.push(piece);
        patiently_write(sink, &piece.bytes)
    }

    fn ended(&self, status: ExitStatus) -> End {
        match self.transcript.verdict() {
            Some(Verdict::Fatal(reason)) => End::Fatal(reason.clone()),
            _ if !status.success() => End::Crashed(status),
            Some(Verdict::Status(count)) => End::PoweredOff(Some(*count)),
            None if self.limits.expects_status => End::Premature,
            None => End::PoweredOff(None),
        }
    }
}

/// Writes all of `bytes`, also to a terminal or pipe that somebody has made non-blocking and that is full.
///
/// # Errors
/// Those of `sink`, but for [`io::ErrorKind::WouldBlock`].
pub(crate) fn patiently_write(sink: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    let patiently = |act: &mut dyn FnMut() -> io::Result<usize>| {
        loop {
            match act() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(FULL),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    };
    let mut left = bytes;
    while !left.is_empty() {
        match patiently(&mut || sink.write(left))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => left = left.get(count..).unwrap_or_default(),
        }
    }
    patiently(&mut || sink.flush().map(|()| 0)).map(|_| ())
}

/// Sends what `stream` gives, until it ends or nobody listens.
fn forward(source: Source, mut stream: impl Read + Send + 'static, pieces: SyncSender<Piece>) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            let bytes = buffer[..count].to_vec();
            if pieces.send(Piece { source, bytes }).is_err() {
                break;
            }
        }
    });
}

/// `command`, run so that the kernel ends it when this process dies.
fn dying_with_us(command: Command) -> Command {
    static SETPRIV: OnceLock<bool> = OnceLock::new();
    let available = *SETPRIV.get_or_init(|| {
        let probe = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "true"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        probe.is_ok_and(|status| status.success())
    });
    if !available {
        return command;
    }
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--pdeathsig", "KILL", "--"]);
    wrapped.arg(command.get_program()).args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        wrapped.current_dir(directory);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    wrapped
}

/// The last signal that asked this process to end, 0 while there was none. From the first call on such signals only
/// set this.
pub(crate) fn interrupted() -> Arc<AtomicUsize> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    static LAST: OnceLock<Arc<AtomicUsize>> = OnceLock::new();
    let register = || {
        let last = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // Without the handler the signal ends this process at once, and `setpriv` sees to the child.
            let number = usize::try_from(signal).unwrap_or(0);
            let _ = signal_hook::flag::register_usize(signal, Arc::clone(&last), number);
        }
        last
    };
    Arc::clone(LAST.get_or_init(register))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::transcript::{LINE_LIMIT, OUTPUT_LIMIT, TAIL_LINES};

    fn guest(script: &str, limits: &Limits) -> (Report, String) {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null());
        let mut sink = Vec::new();
        let report = supervise(command, limits, &mut sink).unwrap();
        (report, String::from_utf8_lossy(&sink).into_owned())
    }

    fn limits(timeout_ms: u64) -> Limits {
        Limits {
            timeout: Some(Duration::from_millis(timeout_ms)),
            grace: Duration::from_millis(200),
            expects_status: true,
        }
    }

    #[test]
    fn output_streams_and_status_counts() {
        let (report, sink) = guest("echo hello; echo capelin: exec status 0", &limits(9000));
        assert_eq!(report.end, End::PoweredOff(Some(0)));
        assert_eq!(sink, "hello\ncapelin: exec status 0\n");
        assert_eq!(report.output, sink);
        let (report, _) = guest("printf 'capelin: exec status 3\\r\\n'", &limits(9000));
        assert_eq!(report.end, End::PoweredOff(Some(3)));
    }

    #[test]
    fn a_hung_guest_is_ended_and_its_last_lines_are_kept() {
        let start = Instant::now();
        let (report, _) = guest("seq 100; printf stuck; exec sleep 60", &limits(400));
        assert!(matches!(report.end, End::TimedOut(_)), "{:?}", report.end);
        assert!(start.elapsed() < Duration::from_secs(20));
        assert_eq!(report.tail.len(), TAIL_LINES);
        assert_eq!(report.tail.last().map(String::as_str), Some("stuck"));
        assert_eq!(report.tail[TAIL_LINES - 2], "100");
    }

    #[test]
    fn a_guest_that_floods_is_ended_in_bounded_memory() {
        let (report, _) = guest("exec yes 'a line that comes again and again'", &limits(500));
        assert!(matches!(report.end, End::TimedOut(_)));
        assert!(report.output.len() <= OUTPUT_LIMIT);
        let (report, _) = guest("exec tr '\\0' x < /dev/zero", &limits(500));
        assert!(matches!(report.end, End::TimedOut(_)));
        assert!(report.tail.iter().all(|line| line.len() <= LINE_LIMIT));
    }

    #[test]
    fn an_early_end_is_told_from_success() {
        let (report, _) = guest("echo booting", &limits(9000));
        assert_eq!(report.end, End::Premature);
        let (report, _) = guest("echo capelin: exec status 0; exit 7", &limits(9000));
        assert!(matches!(report.end, End::Crashed(_)));
        let (report, _) = guest("kill -SEGV $$", &limits(9000));
        assert!(matches!(report.end, End::Crashed(_)));
        let interactive = Limits {
            expects_status: false,
            ..limits(9000)
        };
        let (report, _) = guest("echo bye", &interactive);
        assert_eq!(report.end, End::PoweredOff(None));
    }

    #[test]
    fn a_guest_that_gives_up_is_not_waited_for() {
        let script =
            "echo capelin: fatal: no archive; sleep 0.1; echo capelin: fatal: echo; exec sleep 60";
        let start = Instant::now();
        let (report, _) = guest(script, &limits(30_000));
        assert_eq!(report.end, End::Fatal("no archive".to_owned()));
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_guest_that_lingers_after_its_status_failed() {
        let start = Instant::now();
        let (report, _) = guest(
            "echo capelin: exec status 0; exec sleep 60",
            &limits(30_000),
        );
        assert_eq!(report.end, End::Lingered(0));
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn output_that_others_hold_open_is_not_waited_for() {
        let start = Instant::now();
        let (report, _) = guest("sleep 20 & echo capelin: exec status 0", &limits(15_000));
        assert_eq!(report.end, End::PoweredOff(Some(0)));
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    /// A terminal that takes three bytes at a time, and refuses every second write.
    #[derive(Default)]
    struct Slow {
        shown: Vec<u8>,
        writes: usize,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.writes += 1;
            if self.writes.is_multiple_of(2) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = bytes.len().min(3);
            self.shown.extend(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            self.writes += 1;
            match self.writes % 2 {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(()),
            }
        }
    }

    #[test]
    fn a_slow_terminal_is_waited_for() {
        let mut command = Command::new("sh");
        command.args(["-c", "seq 300; echo capelin: exec status 0"]);
        command.stdin(Stdio::null());
        let mut sink = Slow::default();
        let report = supervise(command, &limits(30_000), &mut sink).unwrap();
        assert_eq!(report.end, End::PoweredOff(Some(0)));
        assert_eq!(String::from_utf8(sink.shown).unwrap(), report.output);
        assert!(report.output.contains("\n300\n"));
    }

    #[test]
    fn errors_of_the_emulator_are_shown() {
        let (report, sink) = guest("echo 'bad option' >&2; exit 1", &limits(9000));
        assert!(matches!(report.end, End::Crashed(_)));
        assert_eq!(sink, "bad option\n");
    }

    #[test]
    fn a_warning_in_the_middle_of_a_line_leaves_the_line_whole() {
        let script =
            "printf 'capelin: exec '; sleep 0.2; echo warning >&2; sleep 0.2; echo status 0";
        let (report, sink) = guest(script, &limits(9000));
        assert_eq!(report.end, End::PoweredOff(Some(0)));
        assert_eq!(report.output, "capelin: exec status 0\n");
        assert!(sink.contains("warning"));
    }

    #[test]
    fn a_closed_sink_ends_the_guest() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo x; exec sleep 60"])
            .stdin(Stdio::null());
        let start = Instant::now();
        let report = supervise(command, &limits(30_000), &mut Closed).unwrap();
        assert_eq!(report.end, End::Unheard);
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}
