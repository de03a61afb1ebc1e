//! A guest that is spoken with: started, waited for until its shell prompts, asked, and ended.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::Context;
use crate::build::DEFAULT_IMAGE;
use crate::error::{Error, Result};
use crate::qemu::command::{self, Console};
use crate::qemu::options::RunOptions;
use crate::qemu::raspberry::Unpacked;
use crate::qemu::tree::{self, Hidden};
use capelin_platform::Raspberry;
use lexopt::Parser;

/// What the shell prints when it waits.
const PROMPT: &str = "capelin> ";
/// How long the machine may take to its first prompt, and a command to its next one.
const LIMIT: Duration = Duration::from_secs(180);

/// A running guest; it ends with this value.
pub(super) struct Session {
    machine: Child,
    input: ChildStdin,
    pieces: Receiver<Vec<u8>>,
    log: fs::File,
    /// What the emulator read as it started, which goes with the guest.
    loaded: Option<Unpacked>,
    /// The tree that it has been given, if it has.
    tree: Option<Hidden>,
}

impl Drop for Session {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.machine.kill();
        let _ = self.machine.wait();
    }
}

impl Session {
    /// Boots the default image with `options` (those of `scripts/run`, separated by spaces); what it says goes to the
    /// log of the case `name`.
    ///
    /// # Errors
    /// If the image doesn't build, or QEMU can't be started.
    pub(super) fn start(context: &Context, name: &str, options: &str) -> Result<Self> {
        let image = context.image(DEFAULT_IMAGE)?;
        let mut options = RunOptions::parse(Parser::from_args(options.split_whitespace()))?;
        let tree = tree::hide_uart(&mut options, &image)?;
        let start = command::Start::Kernel(&image);
        let arguments = command::arguments(&options, start, Console::Plain)?;
        let mut session = Self::of(context, name, arguments)?;
        session.tree = tree;
        Ok(session)
    }

    /// Boots the card at `card` on `board` with `options`; Ctrl-A c switches between its console and the emulator's
    /// monitor.
    ///
    /// # Errors
    /// If nothing would be started from the card, or QEMU can't be started.
    pub(super) fn start_card(
        context: &Context,
        name: &str,
        card: &Path,
        board: &Raspberry,
        options: &RunOptions,
    ) -> Result<Self> {
        let unpacked = Unpacked::of(card, board, options)?;
        let arguments = unpacked.arguments(options, Console::Terminal);
        let mut session = Self::of(context, name, arguments)?;
        session.loaded = Some(unpacked);
        Ok(session)
    }

    /// Starts the emulator with `arguments`.
    ///
    /// # Errors
    /// If QEMU can't be started.
    pub(super) fn of(context: &Context, name: &str, arguments: Vec<OsString>) -> Result<Self> {
        let path = context.log_path(name);
        let log = fs::File::create(&path).map_err(|error| Error::File(path, error))?;
        let failed = |error| Error::Spawn(command::QEMU.to_owned(), error);
        let mut machine = Command::new(command::QEMU)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let closed = || failed(std::io::ErrorKind::BrokenPipe.into());
        let output = machine.stdout.take().ok_or_else(closed)?;
        let input = machine.stdin.take().ok_or_else(closed)?;
        Ok(Self {
            machine,
            input,
            pieces: listen(output),
            log,
            loaded: None,
            tree: None,
        })
    }

    /// The emulator's process.
    pub(super) fn process(&self) -> u32 {
        self.machine.id()
    }

    /// Says `line` in the log.
    pub(super) fn note(&mut self, line: &str) {
        // A log that can't be written takes nothing from the test.
        let _ = writeln!(self.log, "\n{line}");
    }

    /// What the guest says until its next prompt.
    ///
    /// # Errors
    /// If it ends or says nothing more.
    pub(super) fn until_prompt(&mut self) -> Result<String, String> {
        self.until(|text| text.strip_suffix(PROMPT).map(str::to_owned))
    }

    /// Reads on until `found` finds what it seeks in what was said since this was called.
    fn until<T>(&mut self, found: impl Fn(&str) -> Option<T>) -> Result<T, String> {
        let end = Instant::now() + LIMIT;
        let mut text = String::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.pieces.recv_timeout(left) {
                Ok(piece) => {
                    let _ = self.log.write_all(&piece);
                    text.push_str(&String::from_utf8_lossy(&piece));
                    if let Some(found) = found(&text) {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err("said nothing more of what was expected".to_owned());
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("ended before its time".to_owned());
                }
            }
        }
    }

    /// Waits until the guest, or its firmware, says `words`; all that it says until then.
    ///
    /// # Errors
    /// If it ends or says nothing more.
    pub(super) fn until_said(&mut self, words: &str) -> Result<String, String> {
        let said = self.until(|text| text.contains(words).then(|| text.to_owned()));
        said.map_err(|error| format!("{words:?}: {error}"))
    }

    /// Waits until the guest has said `line` after its last prompt.
    ///
    /// # Errors
    /// If it ends or says nothing more.
    pub(super) fn until_line(&mut self, line: &str) -> Result<(), String> {
        let line = format!("\n{line}\r\n");
        self.until(|text| text.contains(&line).then_some(()))
    }

    /// Types `text`, whether or not anybody listens yet.
    ///
    /// # Errors
    /// If the machine has ended.
    pub(super) fn type_ahead(&mut self, text: &str) -> Result<(), String> {
        write!(self.input, "{text}").map_err(|error| error.to_string())
    }

    /// Gives the shell `command`, and waits for what it says.
    ///
    /// # Errors
    /// As [`Session::until_prompt`].
    pub(super) fn ask(&mut self, command: &str) -> Result<String, String> {
        writeln!(self.input, "{command}").map_err(|error| error.to_string())?;
        self.until_prompt()
    }
}

fn listen(mut output: impl std::io::Read + Send + 'static) -> Receiver<Vec<u8>> {
    // Without a bound: what this host is slow to read must not be lost.
    let (sender, pieces) = channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = output.read(&mut buffer) {
            // When nobody listens any more, what the machine says is drained all the same.
            let _ = sender.send(buffer[..count].to_vec());
        }
    });
    pieces
}
