//! The line editor: bytes in, bytes out, lines.
//!
//! It keeps the line and the cursor, and tells the terminal what to show by the least that any
//! terminal understands: characters, backspace, `CSI n D` and `CSI n C` (cursor left and right),
//! `CSI K` (erase to the end of the line), `CSI 2J` (clear). It takes each character to be one
//! column wide; on a line longer than the terminal's, only typing at the end shows rightly.
//!
//! | key | does |
//! | --- | --- |
//! | Left, Right, Ctrl-B, Ctrl-F | move by a character |
//! | Home, End, Ctrl-A, Ctrl-E | move to the start, the end |
//! | Backspace, Delete, Ctrl-D | delete before, at the cursor |
//! | Ctrl-U, Ctrl-K, Ctrl-W | delete to the start, to the end, the word before the cursor |
//! | Up, Down, Ctrl-P, Ctrl-N | earlier lines |
//! | Ctrl-C | give the line up |
//! | Ctrl-D on an empty line | end of input |
//! | Ctrl-L | clear the screen |

use alloc::{string::String, vec::Vec};
use core::fmt::Write as _;

use crate::{
    history::History,
    keys::{Decoder, Key},
};

/// Characters that a line may have. A longer one isn't run: half a command may mean something
/// else than the whole.
pub const MAX_LINE: usize = 1024;

const BELL: char = '\x07';

/// What a byte has led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A line, without its end.
    Line(String),
    /// A line that is longer than [`MAX_LINE`]; what didn't fit is lost.
    TooLong,
    /// The line was given up (Ctrl-C).
    Interrupted,
    /// The input has ended (Ctrl-D on an empty line).
    EndOfInput,
}

/// A line being edited.
#[derive(Clone, Debug)]
pub struct Editor {
    prompt: &'static str,
    decoder: Decoder,
    history: History,
    line: Vec<char>,
    /// The cursor stands before this character.
    cursor: usize,
    /// The line has lost characters that didn't fit; so until it is empty.
    is_too_long: bool,
}

impl Editor {
    /// An editor that shows `prompt`.
    #[must_use]
    pub fn new(prompt: &'static str) -> Self {
        Self {
            prompt,
            decoder: Decoder::default(),
            history: History::default(),
            line: Vec::new(),
            cursor: 0,
            is_too_long: false,
        }
    }

    /// Starts a new line: shows the prompt.
    pub fn start(&mut self, out: &mut String) {
        self.line.clear();
        self.cursor = 0;
        self.is_too_long = false;
        out.push_str(self.prompt);
    }

    /// Takes a byte; what the terminal is to show for it goes to `out`.
    pub fn feed(&mut self, byte: u8, out: &mut String) -> Option<Event> {
        match self.decoder.feed(byte)? {
            Key::Char(c) => self.insert(c, out),
            Key::Enter => return Some(self.enter(out)),
            Key::Backspace | Key::Control('h') if self.cursor > 0 => {
                self.move_to(self.cursor - 1, out);
                self.delete(1, out);
            }
            Key::Control('d') if self.line.is_empty() => {
                out.push_str("\r\n");
                return Some(Event::EndOfInput);
            }
            Key::Delete | Key::Control('d') => self.delete(1, out),
            Key::Left | Key::Control('b') => self.move_to(self.cursor.saturating_sub(1), out),
            Key::Right | Key::Control('f') => self.move_to(self.cursor + 1, out),
            Key::Home | Key::Control('a') => self.move_to(0, out),
            Key::End | Key::Control('e') => self.move_to(self.line.len(), out),
            Key::Control('u') => self.delete_back_to(0, out),
            Key::Control('k') => self.delete(self.line.len(), out),
            Key::Control('w') => self.delete_back_to(self.word_start(), out),
            Key::Up | Key::Control('p') => self.recall_older(out),
            Key::Down | Key::Control('n') => self.recall_newer(out),
            Key::Control('l') => self.redraw(out),
            Key::Control('c') => {
                out.push_str("^C\r\n");
                self.history.leave();
                self.line.clear();
                self.cursor = 0;
                return Some(Event::Interrupted);
            }
            Key::Backspace | Key::Control(_) => {}
        }
        None
    }

    fn enter(&mut self, out: &mut String) -> Event {
        out.push_str("\r\n");
        let line: String = self.line.drain(..).collect();
        self.cursor = 0;
        if core::mem::take(&mut self.is_too_long) {
            self.history.leave();
            return Event::TooLong;
        }
        self.history.add(&line);
        Event::Line(line)
    }

    fn insert(&mut self, c: char, out: &mut String) {
        if self.line.len() >= MAX_LINE {
            self.is_too_long = true;
            out.push(BELL);
            return;
        }
        self.line.insert(self.cursor, c);
        out.extend(&self.line[self.cursor..]);
        self.cursor += 1;
        move_left(self.line.len() - self.cursor, out);
    }

    /// Deletes `count` characters from the cursor on, or as many as there are.
    fn delete(&mut self, count: usize, out: &mut String) {
        let end = self.line.len().min(self.cursor.saturating_add(count));
        if end == self.cursor {
            return;
        }
        self.line.drain(self.cursor..end);
        self.is_too_long &= !self.line.is_empty();
        out.extend(&self.line[self.cursor..]);
        out.push_str("\x1b[K");
        move_left(self.line.len() - self.cursor, out);
    }

    fn delete_back_to(&mut self, start: usize, out: &mut String) {
        let count = self.cursor - start;
        self.move_to(start, out);
        self.delete(count, out);
    }

    /// Where the word before the cursor starts.
    fn word_start(&self) -> usize {
        let before = &self.line[..self.cursor];
        let word_end = before.iter().rposition(|c| !c.is_whitespace());
        word_end
            .and_then(|end| before[..end].iter().rposition(|c| c.is_whitespace()))
            .map_or(0, |space| space + 1)
    }

    fn move_to(&mut self, cursor: usize, out: &mut String) {
        let cursor = cursor.min(self.line.len());
        match cursor.checked_sub(self.cursor) {
            None => move_left(self.cursor - cursor, out),
            Some(0) => {}
            Some(right) => {
                // Writing to a String can't fail.
                let _ = write!(out, "\x1b[{right}C");
            }
        }
        self.cursor = cursor;
    }

    fn recall_older(&mut self, out: &mut String) {
        let current: String = self.line.iter().collect();
        let recalled = self.history.older(&current).map(String::from);
        self.replace(recalled, out);
    }

    fn recall_newer(&mut self, out: &mut String) {
        let recalled = self.history.newer().map(String::from);
        self.replace(recalled, out);
    }

    fn replace(&mut self, line: Option<String>, out: &mut String) {
        let Some(line) = line else {
            out.push(BELL);
            return;
        };
        self.move_to(0, out);
        out.push_str("\x1b[K");
        out.push_str(&line);
        self.line = line.chars().collect();
        self.is_too_long = false;
        self.cursor = self.line.len();
    }

    fn redraw(&self, out: &mut String) {
        out.push_str("\x1b[H\x1b[2J");
        out.push_str(self.prompt);
        out.extend(&self.line);
        move_left(self.line.len() - self.cursor, out);
    }
}

fn move_left(columns: usize, out: &mut String) {
    match columns {
        0 => {}
        1 => out.push('\x08'),
        // Writing to a String can't fail.
        _ => drop(write!(out, "\x1b[{columns}D")),
    }
}

#[cfg(test)]
#[path = "editor_tests.rs"]
mod tests;
