//! Bytes from a terminal to keys.
//!
//! UTF-8 (RFC 3629), C0 controls, and the escape sequences that terminals send for editing
//! keys (ECMA-48, section 5.4: `ESC [ parameters final`; and `ESC O final` in application
//! mode). A carriage return, a line feed, or the two together are one [`Key::Enter`].
//! What isn't understood is dropped; no bytes make the decoder stick, since any control byte
//! ends a sequence.

/// A key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    /// A character to insert.
    Char(char),
    /// Enter.
    Enter,
    /// Backspace.
    Backspace,
    /// Delete, forwards.
    Delete,
    /// Arrow left.
    Left,
    /// Arrow right.
    Right,
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Home.
    Home,
    /// End.
    End,
    /// Control and this letter, `a`–`z`.
    Control(char),
}

/// Parameters of an escape sequence longer than this are none of ours.
const MAX_PARAMETERS: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    Ground,
    /// After a carriage return: a line feed belongs to it.
    AfterReturn,
    Escape,
    /// After `ESC O`.
    Application,
    /// After `ESC [`: the first parameter so far, and how many bytes of parameters.
    Sequence {
        parameter: u32,
        length: usize,
    },
    /// Within a character: the value so far, bytes to come, least value allowed.
    Character {
        value: u32,
        left: u8,
        least: u32,
    },
}

/// Makes keys of bytes, one at a time.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    state: State,
}

impl Decoder {
    /// The key that `byte` completes.
    pub fn feed(&mut self, byte: u8) -> Option<Key> {
        let state = core::mem::take(&mut self.state);
        match state {
            State::AfterReturn if byte == b'\n' => None,
            State::Escape => self.after_escape(byte),
            State::Application if is_printable(byte) => final_byte(byte, 0),
            State::Sequence { parameter, length } if is_printable(byte) => {
                self.in_sequence(byte, parameter, length)
            }
            State::Character { value, left, least } if byte & 0xc0 == 0x80 => {
                self.in_character(value << 6 | u32::from(byte & 0x3f), left - 1, least)
            }
            // A sequence or character that is broken off: the byte starts anew.
            _ => self.start(byte),
        }
    }

    fn start(&mut self, byte: u8) -> Option<Key> {
        match byte {
            b'\r' => {
                self.state = State::AfterReturn;
                Some(Key::Enter)
            }
            b'\n' => Some(Key::Enter),
            0x08 | 0x7f => Some(Key::Backspace),
            0x1b => {
                self.state = State::Escape;
                None
            }
            1..=26 => Some(Key::Control(char::from(b'a' + byte - 1))),
            b' '..=b'~' => Some(Key::Char(char::from(byte))),
            0xc2..=0xdf => self.begin(byte & 0x1f, 1, 0x80),
            0xe0..=0xef => self.begin(byte & 0x0f, 2, 0x800),
            0xf0..=0xf4 => self.begin(byte & 0x07, 3, 0x1_0000),
            _ => None,
        }
    }

    fn begin(&mut self, bits: u8, left: u8, least: u32) -> Option<Key> {
        self.state = State::Character {
            value: u32::from(bits),
            left,
            least,
        };
        None
    }

    fn in_character(&mut self, value: u32, left: u8, least: u32) -> Option<Key> {
        if left > 0 {
            self.state = State::Character { value, left, least };
            return None;
        }
        char::from_u32(value)
            .filter(|c| value >= least && !c.is_control())
            .map(Key::Char)
    }

    fn after_escape(&mut self, byte: u8) -> Option<Key> {
        match byte {
            b'[' => {
                self.state = State::Sequence {
                    parameter: 0,
                    length: 0,
                };
                None
            }
            b'O' => {
                self.state = State::Application;
                None
            }
            // Escape with a character: none of our keys.
            _ if is_printable(byte) => None,
            _ => self.start(byte),
        }
    }

    fn in_sequence(&mut self, byte: u8, parameter: u32, length: usize) -> Option<Key> {
        if (0x40..=0x7e).contains(&byte) {
            return final_byte(byte, parameter);
        }
        if length < MAX_PARAMETERS {
            let parameter = match byte {
                b'0'..=b'9' => parameter
                    .saturating_mul(10)
                    .saturating_add(u32::from(byte - b'0')),
                _ => parameter,
            };
            self.state = State::Sequence {
                parameter,
                length: length + 1,
            };
        }
        None
    }
}

const fn is_printable(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e)
}

fn final_byte(byte: u8, parameter: u32) -> Option<Key> {
    match (byte, parameter) {
        (b'A', _) => Some(Key::Up),
        (b'B', _) => Some(Key::Down),
        (b'C', _) => Some(Key::Right),
        (b'D', _) => Some(Key::Left),
        (b'H', _) | (b'~', 1 | 7) => Some(Key::Home),
        (b'F', _) | (b'~', 4 | 8) => Some(Key::End),
        (b'~', 3) => Some(Key::Delete),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut decoder = Decoder::default();
        bytes.iter().filter_map(|&b| decoder.feed(b)).collect()
    }

    #[test]
    fn each_kind_of_line_end_is_one_enter() {
        assert_eq!(keys(b"\r"), [Key::Enter]);
        assert_eq!(keys(b"\n"), [Key::Enter]);
        assert_eq!(keys(b"\r\n"), [Key::Enter]);
        assert_eq!(keys(b"\r\r\n\n"), [Key::Enter; 3]);
    }

    #[test]
    fn escape_sequences_become_keys_and_leave_nothing_behind() {
        let bytes = b"\x1b[A\x1b[B\x1bOC\x1b[1;5D\x1b[3~\x1b[H\x1b[4~x";
        assert_eq!(
            keys(bytes),
            [
                Key::Up,
                Key::Down,
                Key::Right,
                Key::Left,
                Key::Delete,
                Key::Home,
                Key::End,
                Key::Char('x')
            ]
        );
        assert_eq!(keys(b"\x1b[15~\x1b[?1xa"), [Key::Char('a')]);
        // A sequence that is broken off by Enter doesn't swallow it.
        assert_eq!(keys(b"\x1b[\ry"), [Key::Enter, Key::Char('y')]);
        assert_eq!(keys(b"\x1b\r"), [Key::Enter]);
    }

    #[test]
    fn characters_are_utf_8() {
        assert_eq!(
            keys("aü€𝄞".as_bytes()),
            [
                Key::Char('a'),
                Key::Char('ü'),
                Key::Char('€'),
                Key::Char('𝄞')
            ]
        );
        // Overlong, surrogate, and a character broken off by another.
        assert_eq!(keys(b"\xe0\x80\xaf\xed\xa0\x80\xc3z"), [Key::Char('z')]);
        assert_eq!(keys(b"\x03\x7f"), [Key::Control('c'), Key::Backspace]);
    }

    proptest! {
        #[test]
        fn any_text_comes_through(text in "[ -~äöüß€漢𝄞]*") {
            let expected: Vec<_> = text.chars().map(Key::Char).collect();
            prop_assert_eq!(keys(text.as_bytes()), expected);
        }

        #[test]
        fn enter_always_works(bytes: Vec<u8>) {
            let mut decoder = Decoder::default();
            for byte in bytes {
                decoder.feed(byte);
            }
            decoder.feed(b'x');
            prop_assert_eq!(decoder.feed(b'\r'), Some(Key::Enter));
        }
    }
}
