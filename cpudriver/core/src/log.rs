//! The kernel's log: a ring of its own in each core's image. Before the console
//! hand-over lines go to the console too.

use crate::narrow::index;

/// Bytes that a log keeps.
pub const LOG_BYTES: usize = 16 * 1024;
// Whoever is late by a screenful or two has missed nothing.
const _: () = assert!(LOG_BYTES >= 16_000 && LOG_BYTES.is_power_of_two());

/// Bytes that one entry writes to the console at a time.
pub(crate) const SHOWN_AT_ONCE: usize = 256;

/// A console that takes nothing for a twentieth of a second is stuck: the slowest in
/// use, 9,600 baud, takes a byte a millisecond.
pub(crate) const CONSOLE_STUCK_PER_SECOND: u64 = 20;

/// How often a second the timer has the console looked at while it is behind: a FIFO of
/// 16 bytes is empty after 1.4 ms at 115,200 baud.
pub(crate) const CONSOLE_LOOKS_PER_SECOND: u64 = 1000;

/// The ring. Positions count bytes ever written; the last [`LOG_BYTES`] are kept.
pub struct Log {
    bytes: &'static mut [u8; LOG_BYTES],
    end: u64,
    /// Up to where the console has it.
    pub(crate) shown: u64,
    /// Counter value when the console last took something, or was up to date.
    pub(crate) shown_at: u64,
}

impl Log {
    /// An empty log in `bytes`.
    #[must_use]
    pub const fn new(bytes: &'static mut [u8; LOG_BYTES]) -> Self {
        Self {
            bytes,
            end: 0,
            shown: 0,
            shown_at: 0,
        }
    }

    /// Position after the last byte.
    pub(crate) const fn end(&self) -> u64 {
        self.end
    }

    /// Position of the oldest byte kept.
    pub(crate) const fn start(&self) -> u64 {
        self.end.saturating_sub(LOG_BYTES as u64)
    }

    /// The bytes from `position` on, up to where the ring wraps: call again for
    /// the rest. A position that isn't kept any more counts as the oldest.
    pub(crate) fn read(&self, position: u64) -> (u64, &[u8]) {
        let from = position.clamp(self.start(), self.end);
        let at = index(from % LOG_BYTES as u64);
        let until = (at + index(self.end - from)).min(LOG_BYTES);
        (from, &self.bytes[at..until])
    }

    /// Adds bytes.
    pub(crate) fn push(&mut self, text: &[u8]) {
        for &byte in text {
            self.bytes[index(self.end % LOG_BYTES as u64)] = byte;
            self.end += 1;
        }
    }
}
