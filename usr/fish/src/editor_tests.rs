//! The editor against a small terminal that shows what it is told.

use super::*;
use alloc::{format, string::ToString, vec};
use proptest::prelude::*;

/// One line of a terminal.
#[derive(Default)]
struct Screen {
    cells: Vec<char>,
    column: usize,
    bells: usize,
}

impl Screen {
    fn show(&mut self, text: &str) {
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\x1b' => self.sequence(&mut chars),
                '\x08' => self.column -= 1,
                '\x07' => self.bells += 1,
                '\r' => self.column = 0,
                '\n' => *self = Self::default(),
                _ => {
                    if self.column == self.cells.len() {
                        self.cells.push(' ');
                    }
                    self.cells[self.column] = c;
                    self.column += 1;
                }
            }
        }
    }

    fn sequence(&mut self, chars: &mut core::str::Chars<'_>) {
        assert_eq!(chars.next(), Some('['));
        let mut number = String::new();
        let last = loop {
            match chars.next() {
                Some(digit @ '0'..='9') => number.push(digit),
                Some(last) => break last,
                None => panic!("an escape sequence ends early"),
            }
        };
        let count = number.parse::<usize>().unwrap_or(0);
        match last {
            'D' => self.column -= count,
            'C' => self.column += count,
            'K' => self.cells.truncate(self.column),
            'H' => self.column = 0,
            'J' => self.cells.clear(),
            other => panic!("an unknown sequence: {other}"),
        }
    }

    fn text(&self) -> String {
        self.cells.iter().collect()
    }
}

struct Session {
    editor: Editor,
    screen: Screen,
    events: Vec<Event>,
}

impl Session {
    fn new() -> Self {
        let mut session = Self {
            editor: Editor::new("> "),
            screen: Screen::default(),
            events: Vec::new(),
        };
        session.start();
        session
    }

    fn start(&mut self) {
        let mut out = String::new();
        self.editor.start(&mut out);
        self.screen.show(&out);
    }

    fn type_bytes(&mut self, bytes: &[u8]) -> &mut Self {
        for &byte in bytes {
            let mut out = String::new();
            let event = self.editor.feed(byte, &mut out);
            self.screen.show(&out);
            if let Some(event) = event {
                self.events.push(event);
                self.start();
            }
        }
        self
    }

    fn line(&self) -> String {
        self.editor.line.iter().collect()
    }
}

#[track_caller]
fn edits_to(bytes: &[u8], line: &str) {
    let mut session = Session::new();
    session.type_bytes(bytes);
    assert_eq!(session.line(), line);
    assert_eq!(session.screen.text(), format!("> {line}"));
    assert_eq!(session.screen.column, 2 + session.editor.cursor);
}

#[test]
fn editing_keys_edit() {
    edits_to(b"helo\x1b[Dl", "hello");
    edits_to(b"hello\x7f\x08\x7f", "he");
    edits_to(b"\x7f\x1b[D\x1b[Cx", "x");
    edits_to(b"bc\x01a\x05d", "abcd");
    edits_to(b"one two\x15three", "three");
    edits_to(b"one two\x1b[D\x1b[D\x15", "wo");
    edits_to(b"one two\x02\x02\x0b", "one t");
    edits_to(b"one  two  \x17", "one  ");
    edits_to(b"one  two  \x17\x17\x17", "");
    edits_to(b"abc\x01\x1b[3~\x04", "c");
    edits_to("süß\x1b[D\x7f".as_bytes(), "sß");
}

#[test]
fn lines_come_out_once_whatever_ends_them() {
    let mut session = Session::new();
    session.type_bytes(b"one\r\ntwo\nthree\r\rx\x1b[D\r");
    let lines = ["one", "two", "three", "", "x"].map(|l| Event::Line(l.to_string()));
    assert_eq!(session.events, lines);
    assert_eq!(session.screen.text(), "> ");
}

#[test]
fn giving_up_and_ending() {
    let mut session = Session::new();
    session.type_bytes(b"abc\x03x\x04\x15\x04");
    assert_eq!(session.events, [Event::Interrupted, Event::EndOfInput]);
}

#[test]
fn history_is_edited_in_a_copy() {
    let mut session = Session::new();
    session.type_bytes(b"first\rsecond\rdra\x1b[A\x1b[A!");
    assert_eq!(session.line(), "first!");
    session.type_bytes(b"\x1b[B");
    assert_eq!(session.line(), "second");
    session.type_bytes(b"\x1b[B");
    assert_eq!(session.line(), "dra");
    assert_eq!(session.screen.text(), "> dra");
    session.type_bytes(b"\x1b[B");
    assert_eq!((session.line().as_str(), session.screen.bells), ("dra", 1));
    session.type_bytes(b"\x10\x10\r");
    assert_eq!(session.events[2], Event::Line("first".into()));
}

#[test]
fn a_line_has_an_end() {
    let mut session = Session::new();
    session.type_bytes(&[b'x'; MAX_LINE + 3]);
    assert_eq!((session.line().len(), session.screen.bells), (MAX_LINE, 3));
    // What was cut off isn't run, even if other characters go.
    session.type_bytes(b"\x7f\x7f\r");
    assert_eq!(session.events, [Event::TooLong]);
    // Nor remembered, and the next line is a new one.
    session.type_bytes(b"\x1b[A");
    session.type_bytes(b"ok\r");
    assert_eq!(session.events[1], Event::Line("ok".into()));
    // A line that is emptied begins anew; the longest is run.
    session.type_bytes(&[b'x'; MAX_LINE + 3]);
    session.type_bytes(b"\x15");
    session.type_bytes(&[b'y'; MAX_LINE]);
    session.type_bytes(b"\r");
    assert_eq!(session.events[2], Event::Line("y".repeat(MAX_LINE)));
}

proptest! {
    /// Whatever is typed, the screen shows the line and the cursor stands where it is.
    #[test]
    fn the_screen_shows_the_line(keys in prop::collection::vec(
        prop_oneof![
            4 => "[a-zü ]".prop_map(String::from),
            1 => prop::sample::select(vec![
                "\x01", "\x02", "\x04", "\x05", "\x06", "\x0b", "\x0c", "\x0e", "\x10", "\x15",
                "\x17", "\x7f", "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D", "\x1b[3~", "\r",
            ]).prop_map(String::from),
        ], 0..200)) {
        let mut session = Session::new();
        for key in keys {
            session.type_bytes(key.as_bytes());
            prop_assert_eq!(session.screen.text(), format!("> {}", session.line()));
            prop_assert_eq!(session.screen.column, 2 + session.editor.cursor);
        }
    }
}
