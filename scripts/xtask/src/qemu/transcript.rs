//! What a guest and its emulator have printed, in bounded memory.

use std::collections::VecDeque;

use super::exec::{Verdict, verdict};

/// Lines kept for the report.
pub(super) const TAIL_LINES: usize = 30;
/// A longer line is kept in pieces.
pub(super) const LINE_LIMIT: usize = 4096;
/// Output kept for tests to look at.
pub(super) const OUTPUT_LIMIT: usize = 8 << 20;

/// Where output comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The guest's console, on standard output.
    Console,
    /// The emulator's own messages, on standard error.
    Emulator,
}

/// Some output.
pub(super) struct Piece {
    pub(super) source: Source,
    pub(super) bytes: Vec<u8>,
}

/// What was printed: last lines, beginning, verdict.
///
/// Each source has a line of its own, so that a warning of the emulator doesn't break a line of the console.
#[derive(Default)]
pub(super) struct Transcript {
    tail: VecDeque<String>,
    console_line: Vec<u8>,
    emulator_line: Vec<u8>,
    output: Vec<u8>,
    verdict: Option<Verdict>,
}

impl Transcript {
    /// Takes in what was printed next.
    pub(super) fn push(&mut self, piece: &Piece) {
        if piece.source == Source::Console {
            let room = OUTPUT_LIMIT.saturating_sub(self.output.len());
            self.output.extend(piece.bytes.iter().take(room));
        }
        for &byte in &piece.bytes {
            let line = self.line(piece.source);
            let is_full = line.len() >= LINE_LIMIT;
            if byte == b'\n' || is_full {
                self.end_line(piece.source);
            }
            if byte != b'\n' && byte != b'\r' {
                self.line(piece.source).push(byte);
            }
        }
    }

    /// What the guest said of its end so far: its first fatal line, or else its last status.
    pub(super) fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    fn line(&mut self, source: Source) -> &mut Vec<u8> {
        match source {
            Source::Console => &mut self.console_line,
            Source::Emulator => &mut self.emulator_line,
        }
    }

    fn end_line(&mut self, source: Source) {
        let line = std::mem::take(self.line(source));
        let line = String::from_utf8_lossy(&line).into_owned();
        if source == Source::Console {
            // The first fatal line is the reason; later ones are its echo. The last status counts.
            match (verdict(&line), &self.verdict) {
                (None, _) | (_, Some(Verdict::Fatal(_))) => {}
                (found, _) => self.verdict = found,
            }
        }
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// The last lines, oldest first, and the console's output from the start.
    pub(super) fn finish(mut self) -> (Vec<String>, String) {
        for source in [Source::Console, Source::Emulator] {
            if !self.line(source).is_empty() {
                self.end_line(source);
            }
        }
        let output = String::from_utf8_lossy(&self.output).into_owned();
        (self.tail.into(), output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript(pieces: &[(Source, &str)]) -> Transcript {
        let mut transcript = Transcript::default();
        for &(source, text) in pieces {
            let bytes = text.as_bytes().to_vec();
            transcript.push(&Piece { source, bytes });
        }
        transcript
    }

    #[test]
    fn lines_come_in_pieces() {
        let transcript = transcript(&[
            (Source::Console, "capelin: exec st"),
            (Source::Emulator, "warning\n"),
            (Source::Console, "atus 4\r\nlast"),
        ]);
        assert_eq!(transcript.verdict(), Some(&Verdict::Status(4)));
        let (tail, output) = transcript.finish();
        assert_eq!(tail, ["warning", "capelin: exec status 4", "last"]);
        assert_eq!(output, "capelin: exec status 4\r\nlast");
    }

    #[test]
    fn the_last_status_and_the_first_fatal_line_count() {
        let say = |text: &str| transcript(&[(Source::Console, text)]).verdict;
        let forged = "capelin: exec status 0\ncapelin: exec status 2\n";
        assert_eq!(say(forged), Some(Verdict::Status(2)));
        let fatal = "capelin: fatal: a\ncapelin: fatal: b\ncapelin: exec status 0\n";
        assert_eq!(say(fatal), Some(Verdict::Fatal("a".to_owned())));
        assert_eq!(say("capelin: exec status 0"), None);
    }

    #[test]
    fn the_emulator_has_no_say() {
        let transcript = transcript(&[(Source::Emulator, "capelin: exec status 0\n")]);
        assert_eq!(transcript.verdict(), None);
        assert_eq!(transcript.finish().1, "");
    }

    #[test]
    fn memory_is_bounded() {
        let mut transcript = Transcript::default();
        let bytes = vec![b'x'; 1 << 20];
        for _ in 0..10 {
            transcript.push(&Piece {
                source: Source::Console,
                bytes: bytes.clone(),
            });
        }
        let (tail, output) = transcript.finish();
        assert_eq!(output.len(), OUTPUT_LIMIT);
        assert_eq!(tail.len(), TAIL_LINES);
        assert!(tail.iter().all(|line| line.len() <= LINE_LIMIT));
    }
}
