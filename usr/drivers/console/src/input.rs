//! Who gets the input, and whether it is edited first.
//!
//! The first client that asks for input holds the *session* until it closes; to all others it is
//! refused. What arrives while nobody holds it is kept, up to [`CAPACITY`] bytes.

use alloc::{collections::VecDeque, vec::Vec};

use capelin_interfaces::console::ConsoleMode;

use crate::ClientId;

/// Bytes that may wait for a reader; what comes beyond them stays in the device.
pub const CAPACITY: usize = 4096;
/// Bytes that a line takes besides what it holds.
const LINE_BYTES: usize = size_of::<Vec<u8>>();
/// Bytes that a line may have in line mode. A longer one reaches nobody: half a line may mean
/// something else than the whole.
const MAX_LINE: usize = 1024;

/// Shown in place of giving a line to its reader.
const TOO_LONG: &[u8] = b"\x07the line is too long and was dropped\r\n";

const BELL: u8 = 0x07;
const BACKSPACE: u8 = 0x08;
const DELETE: u8 = 0x7f;
const END: u8 = 0x04;
const KILL: u8 = 0x15;

/// Somebody else holds the session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotForeground;

/// Input of one console.
#[derive(Debug, Default)]
pub struct Input {
    session: Option<ClientId>,
    mode: ConsoleMode,
    /// As it arrived, not looked at yet.
    raw: VecDeque<u8>,
    /// The line being edited (line mode).
    line: Vec<u8>,
    /// Lines, each with its end (line mode); an empty one is the end of input.
    lines: VecDeque<Vec<u8>>,
    /// The line lost something: it is longer than it may be.
    is_too_long: bool,
    after_return: bool,
}

impl Input {
    /// Gives the session to `client` if nobody else holds it. The bytes to be echoed for what
    /// came before go to `echo`.
    ///
    /// # Errors
    /// [`NotForeground`].
    pub fn enter(&mut self, client: ClientId, echo: &mut Vec<u8>) -> Result<(), NotForeground> {
        match self.session {
            Some(holder) if holder != client => Err(NotForeground),
            Some(_) => Ok(()),
            None => {
                self.session = Some(client);
                self.mode = ConsoleMode::default();
                self.edit(echo);
                Ok(())
            }
        }
    }

    /// How the client that holds the session gets its input.
    pub fn set_mode(&mut self, mode: ConsoleMode, echo: &mut Vec<u8>) {
        if self.mode == mode {
            return;
        }
        self.mode = mode;
        if mode == ConsoleMode::Raw {
            // What had been edited goes first.
            let edited = self.lines.drain(..).flatten().chain(self.line.drain(..));
            let mut raw: VecDeque<u8> = edited.collect();
            raw.append(&mut self.raw);
            self.raw = raw;
        }
        self.edit(echo);
    }

    /// `client` is gone. Whether it held the session, which is free now.
    pub fn leave(&mut self, client: ClientId) -> bool {
        let held = self.session == Some(client);
        if held {
            *self = Self {
                raw: core::mem::take(&mut self.raw),
                ..Self::default()
            };
        }
        held
    }

    /// Bytes that may arrive now.
    #[must_use]
    pub fn room(&self) -> usize {
        let lines = self.lines.iter().map(|line| line.len() + LINE_BYTES);
        let lines: usize = lines.sum();
        CAPACITY.saturating_sub(self.raw.len() + lines)
    }

    /// Bytes arrive, at most [`Input::room`]; what is to be echoed goes to `echo`.
    pub fn arrive(&mut self, bytes: &[u8], echo: &mut Vec<u8>) {
        let (kept, lost) = bytes.split_at(bytes.len().min(self.room()));
        self.raw.extend(kept);
        if !lost.is_empty() {
            echo.push(BELL);
        }
        self.edit(echo);
    }

    /// At most `limit` bytes for the client that holds the session: what is there (raw mode), or
    /// of one line. `None` when there are none yet.
    pub fn take(&mut self, limit: usize) -> Option<Vec<u8>> {
        if limit == 0 {
            return Some(Vec::new());
        }
        match self.mode {
            ConsoleMode::Raw if self.raw.is_empty() => None,
            ConsoleMode::Raw => {
                let count = limit.min(self.raw.len());
                Some(self.raw.drain(..count).collect())
            }
            ConsoleMode::Line => {
                let mut line = self.lines.pop_front()?;
                if line.len() > limit {
                    self.lines.push_front(line.split_off(limit));
                }
                Some(line)
            }
        }
    }

    /// Line mode: makes lines of what has arrived.
    fn edit(&mut self, echo: &mut Vec<u8>) {
        if self.session.is_none() || self.mode == ConsoleMode::Raw {
            return;
        }
        while let Some(byte) = self.raw.pop_front() {
            let after_return = core::mem::take(&mut self.after_return);
            match byte {
                b'\n' if after_return => {}
                b'\r' | b'\n' => {
                    self.after_return = byte == b'\r';
                    self.line.push(b'\n');
                    echo.extend(b"\r\n");
                    self.finish_line(echo);
                }
                BACKSPACE | DELETE => {
                    if self.erase() {
                        echo.extend(b"\x08 \x08");
                    }
                }
                KILL => {
                    while self.erase() {
                        echo.extend(b"\x08 \x08");
                    }
                }
                END => self.finish_line(echo),
                0..0x20 => echo.push(BELL),
                _ if self.line.len() >= MAX_LINE => {
                    self.is_too_long = true;
                    echo.push(BELL);
                }
                _ => {
                    self.line.push(byte);
                    echo.push(byte);
                }
            }
        }
    }

    /// Gives the line to its reader, unless it lost something.
    fn finish_line(&mut self, echo: &mut Vec<u8>) {
        let line = core::mem::take(&mut self.line);
        if core::mem::take(&mut self.is_too_long) {
            echo.extend(TOO_LONG);
        } else {
            self.lines.push_back(line);
        }
    }

    /// Takes the last character off the line, all its bytes.
    fn erase(&mut self) -> bool {
        loop {
            match self.line.pop() {
                None => {
                    self.is_too_long = false;
                    return false;
                }
                Some(byte) if byte & 0xc0 == 0x80 => {}
                Some(_) => return true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_session() -> Input {
        let mut input = Input::default();
        input.enter(1, &mut Vec::new()).unwrap();
        input
    }

    fn arrive(input: &mut Input, bytes: &[u8]) -> Vec<u8> {
        let mut echo = Vec::new();
        input.arrive(bytes, &mut echo);
        echo
    }

    #[test]
    fn one_client_has_the_session() {
        let mut input = line_session();
        assert_eq!(input.enter(2, &mut Vec::new()), Err(NotForeground));
        assert_eq!(input.enter(1, &mut Vec::new()), Ok(()));
        assert!(!input.leave(2));
        assert!(input.leave(1));
        assert_eq!(input.enter(2, &mut Vec::new()), Ok(()));
    }

    #[test]
    fn what_is_typed_ahead_is_kept() {
        let mut input = Input::default();
        assert_eq!(arrive(&mut input, b"ab\r"), b"");
        let mut echo = Vec::new();
        input.enter(1, &mut echo).unwrap();
        assert_eq!(echo, b"ab\r\n");
        assert_eq!(input.take(100).unwrap(), b"ab\n");
        input.leave(1);
        arrive(&mut input, b"\x03x");
        input.enter(2, &mut Vec::new()).unwrap();
        input.set_mode(ConsoleMode::Raw, &mut Vec::new());
        assert_eq!(
            input.take(100).unwrap(),
            b"x",
            "line mode dropped the control"
        );
    }

    #[test]
    fn lines_are_edited_and_echoed() {
        let mut input = line_session();
        let echo = arrive(&mut input, "sü\x7f\x7f\x7fax\x08b\r\ncd\x15\n".as_bytes());
        assert_eq!(
            echo,
            "sü\x08 \x08\x08 \x08ax\x08 \x08b\r\ncd\x08 \x08\x08 \x08\r\n".as_bytes()
        );
        assert_eq!(input.take(2).unwrap(), b"ab");
        assert_eq!(input.take(2).unwrap(), b"\n");
        assert_eq!(input.take(2).unwrap(), b"\n");
        assert_eq!(input.take(2), None);
        arrive(&mut input, b"\x04");
        assert_eq!(input.take(2).unwrap(), b"", "the end of input");
    }

    #[test]
    fn a_line_that_is_too_long_reaches_nobody() {
        let mut input = line_session();
        arrive(&mut input, &[b'x'; MAX_LINE]);
        arrive(&mut input, b"\r");
        assert_eq!(input.take(2000).unwrap().len(), MAX_LINE + 1);
        arrive(&mut input, &[b'x'; MAX_LINE + 1]);
        assert!(arrive(&mut input, b"\r").ends_with(TOO_LONG));
        assert_eq!(input.take(2000), None);
        // Emptied, it is a line like any other.
        arrive(&mut input, &[b'x'; MAX_LINE + 1]);
        arrive(&mut input, b"\x15ok\r");
        assert_eq!(input.take(2000).unwrap(), b"ok\n");
    }

    #[test]
    fn raw_input_is_as_it_comes() {
        let mut input = line_session();
        arrive(&mut input, b"half");
        input.set_mode(ConsoleMode::Raw, &mut Vec::new());
        assert_eq!(arrive(&mut input, b"\r\x03\x7f"), b"");
        assert_eq!(input.take(5).unwrap(), b"half\r");
        assert_eq!(input.take(5).unwrap(), b"\x03\x7f");
        assert_eq!(input.take(5), None);
    }

    #[test]
    fn too_much_rings_the_bell_and_takes_no_room() {
        let mut input = Input::default();
        assert_eq!(arrive(&mut input, &[b'x'; CAPACITY]), b"");
        assert_eq!(arrive(&mut input, b"y"), [BELL]);
        // Empty lines take some as well.
        let mut input = line_session();
        let mut lines = 0;
        while input.room() > 0 {
            assert_eq!(arrive(&mut input, &[END]), b"");
            lines += 1;
            assert!(lines < CAPACITY, "it never fills up");
        }
        assert_eq!(arrive(&mut input, &[END]), [BELL]);
        assert_eq!(input.lines.len(), lines);
        input.take(1);
        assert!(input.room() > 0);
        let mut input = line_session();
        let echo = arrive(&mut input, &[b'x'; MAX_LINE + 1]);
        assert_eq!(echo[MAX_LINE], BELL);
    }
}
