//! Output of many clients on one line of time.
//!
//! What a client writes goes behind what is there already, with one exception: behind somebody
//! else's unfinished line it has to wait, for [`HOLD`] since the last bytes of that line. If the
//! line isn't finished by then (a prompt, say), a line break goes between. However the others write,
//! nobody waits for longer than [`MOST_HOLDS`] times that: then all the others wait for whoever was
//! held back first.
//!
//! A line feed becomes carriage return and line feed, unless a carriage return stands before it.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::ClientId;

/// How long an unfinished line keeps others waiting.
pub const HOLD: Duration = Duration::from_millis(100);
/// Whoever waits behind others' unfinished lines waits for so many times [`HOLD`] at most.
pub const MOST_HOLDS: u64 = 10;
/// Bytes that may wait for the device.
const CAPACITY: usize = 16 * 1024;

/// Whose line it is that only holds what was typed: none of the clients'.
const ECHO: ClientId = 0;

/// What became of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accepted {
    /// All bytes were taken.
    All,
    /// So many bytes were taken; for more, room must come.
    Part(usize),
    /// Nothing was taken: somebody else's line stands unfinished until then, in counter ticks.
    Held(u64),
}

/// A line that isn't finished.
#[derive(Clone, Copy, Debug)]
struct Unfinished {
    client: ClientId,
    /// Until when others wait, in counter ticks.
    until: u64,
    /// The client has more to write and waits for room.
    has_more: bool,
}

/// Who has been held back, for the longest of all.
#[derive(Clone, Copy, Debug)]
struct HeldBack {
    client: ClientId,
    /// From then on it is held back no more, in counter ticks.
    until: u64,
}

/// Bytes that wait for the device.
#[derive(Debug)]
pub struct Output {
    queue: VecDeque<u8>,
    unfinished: Option<Unfinished>,
    held_back: Option<HeldBack>,
    last: u8,
    hold_ticks: u64,
}

impl Output {
    /// An empty queue; [`HOLD`] is `hold_ticks` counter ticks.
    #[must_use]
    pub const fn new(hold_ticks: u64) -> Self {
        Self {
            queue: VecDeque::new(),
            unfinished: None,
            held_back: None,
            last: b'\n',
            hold_ticks,
        }
    }

    /// Takes bytes of `client`; `now` in counter ticks.
    pub fn write(&mut self, client: ClientId, bytes: &[u8], now: u64) -> Accepted {
        if bytes.is_empty() {
            return Accepted::All;
        }
        let is_due = match self.held_back {
            Some(first) if now >= first.until && first.client != client => {
                // It comes as soon as there is room, which is left to it.
                return Accepted::Held(now.saturating_add(self.hold_ticks.max(1)));
            }
            Some(first) => now >= first.until,
            None => false,
        };
        if let Some(line) = self.unfinished
            && line.client != client
        {
            if !is_due && (line.has_more || now < line.until) {
                return Accepted::Held(self.hold_back(client, line, now));
            }
            if !self.has_room() {
                return Accepted::Part(0);
            }
            self.queue.extend(b"\r\n");
            self.last = b'\n';
            self.unfinished = None;
        }
        let mut count = 0;
        for &byte in bytes {
            if !self.has_room() {
                break;
            }
            if byte == b'\n' && self.last != b'\r' {
                self.queue.push_back(b'\r');
            }
            self.queue.push_back(byte);
            self.last = byte;
            count += 1;
        }
        if count > 0 {
            self.held_back.take_if(|first| first.client == client);
        }
        let has_more = count < bytes.len();
        self.unfinished = (self.last != b'\n' || has_more && count > 0).then(|| Unfinished {
            client,
            until: now.saturating_add(self.hold_ticks),
            has_more,
        });
        if has_more {
            Accepted::Part(count)
        } else {
            Accepted::All
        }
    }

    /// Holds `client` back behind `line`; until when.
    fn hold_back(&mut self, client: ClientId, line: Unfinished, now: u64) -> u64 {
        let until = now.saturating_add(self.hold_ticks.saturating_mul(MOST_HOLDS));
        let first = self.held_back.get_or_insert(HeldBack { client, until });
        // Once the rest of the line comes, all who wait are told.
        let line_until = if line.has_more { u64::MAX } else { line.until };
        line_until.min(first.until).max(now.saturating_add(1))
    }

    /// Shows what was typed, where the cursor is, as far as there is room.
    pub fn echo(&mut self, bytes: &[u8]) {
        let room = CAPACITY.saturating_sub(self.queue.len());
        let bytes = &bytes[..bytes.len().min(room)];
        let Some(&last) = bytes.last() else { return };
        self.queue.extend(bytes);
        self.last = last;
        if last == b'\n' {
            self.unfinished = None;
        } else if self.unfinished.is_none() {
            self.unfinished = Some(Unfinished {
                client: ECHO,
                until: 0,
                has_more: false,
            });
        }
    }

    /// `client` is gone, or waits no more: its unfinished line keeps nobody waiting.
    pub fn forget(&mut self, client: ClientId) {
        if let Some(line) = self.unfinished.as_mut().filter(|l| l.client == client) {
            line.has_more = false;
            line.until = 0;
        }
        self.held_back.take_if(|first| first.client == client);
    }

    /// Whether there is room for a byte and what may have to go before it.
    fn has_room(&self) -> bool {
        self.queue.len() + 2 <= CAPACITY
    }

    /// The next bytes for the device, in one piece.
    #[must_use]
    pub fn next(&self) -> &[u8] {
        match self.queue.as_slices() {
            ([], second) => second,
            (first, _) => first,
        }
    }

    /// The device has taken `count` bytes.
    pub fn advance(&mut self, count: usize) {
        self.queue.drain(..count.min(self.queue.len()));
    }

    /// Bytes that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether none wait.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::String, vec::Vec};
    use proptest::prelude::*;

    fn text(output: &Output) -> String {
        String::from_utf8(output.queue.iter().copied().collect()).unwrap()
    }

    #[test]
    fn lines_end_with_both() {
        let mut output = Output::new(10);
        assert_eq!(output.write(1, b"a\nb\r\nc\r", 0), Accepted::All);
        assert_eq!(output.write(1, b"\n\n", 0), Accepted::All);
        assert_eq!(text(&output), "a\r\nb\r\nc\r\n\r\n");
    }

    #[test]
    fn a_line_in_pieces_stays_whole() {
        let mut output = Output::new(10);
        output.write(1, b"one ", 0);
        assert_eq!(output.write(2, b"other\n", 5), Accepted::Held(10));
        // Each piece gives it more time.
        output.write(1, b"line", 8);
        assert_eq!(output.write(2, b"other\n", 12), Accepted::Held(18));
        output.write(1, b"\n", 15);
        assert_eq!(output.write(2, b"other\n", 15), Accepted::All);
        assert_eq!(text(&output), "one line\r\nother\r\n");
    }

    #[test]
    fn a_prompt_is_broken_off_in_the_end() {
        let mut output = Output::new(10);
        output.write(1, b"> ", 0);
        assert_eq!(output.write(2, b"x\n", 10), Accepted::All);
        output.write(1, b"more", 11);
        output.forget(1);
        assert_eq!(output.write(2, b"y\n", 12), Accepted::All);
        assert_eq!(text(&output), "> \r\nx\r\nmore\r\ny\r\n");
    }

    #[test]
    fn whoever_waits_for_room_keeps_the_line() {
        let mut output = Output::new(10);
        let long = [b'x'; CAPACITY + 100];
        let Accepted::Part(taken) = output.write(1, &long, 0) else {
            panic!("it can't have room for that");
        };
        assert!(taken > CAPACITY - 3);
        output.advance(CAPACITY);
        assert!(matches!(output.write(2, b"y\n", 1000), Accepted::Held(_)));
        assert_eq!(output.write(1, &long[taken..], 1000), Accepted::All);
        assert_eq!(output.write(2, b"y\n", 1010), Accepted::All);
    }

    /// However often a line gets longer, and however often it is finished by what begins the next.
    #[test]
    fn nobody_holds_others_back_for_ever() {
        for piece in [&b"."[..], b"\n."] {
            let mut output = Output::new(10);
            output.write(1, piece, 0);
            let mut shown = None;
            for now in (5..200).step_by(5) {
                if output.write(2, b"it\n", now) == Accepted::All {
                    shown = Some(now);
                    break;
                }
                output.write(1, piece, now);
            }
            assert_eq!(shown, Some(5 + 10 * MOST_HOLDS));
            assert!(text(&output).ends_with(".\r\nit\r\n"));
            // The other goes on behind it, and may be held back for as long again.
            assert_eq!(output.write(1, b"more", 106), Accepted::All);
            assert_eq!(output.write(2, b"it\n", 107), Accepted::Held(116));
        }
    }

    /// Who fills all the room that comes leaves it to whoever has waited too long.
    #[test]
    fn room_is_for_whoever_has_waited_too_long() {
        let mut output = Output::new(10);
        let long = [b'x'; CAPACITY + 100];
        assert!(matches!(output.write(1, &long, 0), Accepted::Part(_)));
        let due = 10 * MOST_HOLDS;
        assert_eq!(output.write(2, b"it\n", 0), Accepted::Held(due));
        // The one that asked first comes first.
        assert_eq!(output.write(3, b"more\n", 5), Accepted::Held(due));
        output.advance(10);
        assert_eq!(output.write(1, &long, 50), Accepted::Part(10));
        assert_eq!(output.write(2, b"it\n", due), Accepted::Part(0));
        output.advance(10);
        for other in [1, 3] {
            assert_eq!(output.write(other, &long, due), Accepted::Held(due + 10));
        }
        assert_eq!(output.write(2, b"it\n", due), Accepted::All);
        assert!(text(&output).ends_with("x\r\nit\r\n"));
        // Gone, it keeps nobody waiting.
        output.advance(CAPACITY);
        output.write(1, b"x", 200);
        assert_eq!(output.write(2, b"it\n", 201), Accepted::Held(210));
        output.forget(2);
        assert_eq!(output.write(1, b"x", 201 + due), Accepted::All);
    }

    #[test]
    fn what_is_typed_stands_in_a_line_of_its_own() {
        let mut output = Output::new(10);
        output.write(1, b"name: ", 0);
        output.echo(b"bob");
        assert_eq!(output.write(2, b"x\n", 5), Accepted::Held(10));
        output.echo(b"\r\n");
        assert_eq!(output.write(2, b"x\n", 5), Accepted::All);
        output.echo(b"typed");
        assert_eq!(output.write(2, b"y\n", 5), Accepted::All);
        assert_eq!(text(&output), "name: bob\r\nx\r\ntyped\r\ny\r\n");
    }

    proptest! {
        /// Whatever is written when, nothing is lost, the order of each client stays, and no
        /// line holds bytes of two clients.
        #[test]
        fn lines_hold_bytes_of_one_client(
            writes in prop::collection::vec((1..4usize, "[x\n]{0,3}", 0..15u64), 0..60)
        ) {
            let mut output = Output::new(10);
            let mut now = 0;
            let mut expected: [String; 4] = Default::default();
            for (client, text, later) in writes {
                let letter = ["", "a", "b", "c"][client];
                let bytes = text.replace('x', letter);
                now += later;
                while let Accepted::Held(until) = output.write(client as u64, bytes.as_bytes(), now) {
                    prop_assert!(until > now);
                    now = until;
                }
                expected[client].push_str(&bytes);
            }
            let shown = text(&output);
            for line in shown.split("\r\n") {
                let mut letters: Vec<char> = line.chars().collect();
                letters.dedup();
                prop_assert!(letters.len() <= 1, "{:?}", line);
            }
            for (client, letter) in [(1, 'a'), (2, 'b'), (3, 'c')] {
                let count = expected[client].matches(letter).count();
                prop_assert_eq!(shown.matches(letter).count(), count, "{}", format!("{shown:?}"));
            }
        }
    }
}
