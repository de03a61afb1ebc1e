//! Text for the kernel's log, which everybody may write, and which no heap is needed for.

use core::fmt::{self, Write};

use crate::dispatcher::{self, PRINT_BYTES};

/// Writes formatted text.
pub fn write(text: fmt::Arguments<'_>) {
    let mut pieces = Pieces {
        bytes: [0; PRINT_BYTES],
        length: 0,
    };
    // It fails only if formatting itself does.
    let _ = pieces.write_fmt(text);
    pieces.flush();
}

/// Writes text, or what there is of it in bytes.
pub fn write_bytes(text: &[u8]) {
    for piece in text.chunks(PRINT_BYTES) {
        // Nobody is left to be told when the log doesn't take it.
        let _ = dispatcher::print(piece);
    }
}

/// Gathers text, so that it reaches the log in as few calls as possible.
struct Pieces {
    bytes: [u8; PRINT_BYTES],
    length: usize,
}

impl Pieces {
    fn flush(&mut self) {
        write_bytes(&self.bytes[..self.length]);
        self.length = 0;
    }
}

impl Write for Pieces {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            if self.length == self.bytes.len() {
                self.flush();
            }
            let count = rest.len().min(self.bytes.len() - self.length);
            self.bytes[self.length..self.length + count].copy_from_slice(&rest[..count]);
            self.length += count;
            rest = &rest[count..];
        }
        Ok(())
    }
}
