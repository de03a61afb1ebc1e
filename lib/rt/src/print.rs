//! Text output.
//!
//! [`print!`](crate::print!) and [`println!`](crate::println!) never wait. Until [`to_console`] has
//! been called, text goes to the kernel's log, up to 256 bytes in one piece. After that it goes to
//! the console service, through a buffer that a task empties; what doesn't fit the buffer any more
//! is dropped, and the number of bytes lost is printed.

use alloc::{collections::VecDeque, format, vec::Vec};
use core::fmt::{self, Write};
use core::time::Duration;

use capelin_interfaces::console::ConsoleClient;

use crate::{Lmp, executor::spawn, sync::Event, sys, time};

/// Bytes that may wait for the console.
const BUFFER_BYTES: usize = 16 * 1024;
/// Bytes that go to the console in one call.
const CHUNK_BYTES: usize = 1024;
/// How long the end of a program waits for its output.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Output {
    to_console: bool,
    buffer: VecDeque<u8>,
    lost: usize,
    /// Set, and made anew, when there is something to write.
    filled: Option<Event>,
    /// Set when the buffer has been emptied.
    drained: Option<Event>,
}

local! {
    /// Where text goes.
    static OUTPUT: Output = Output {
        to_console: false,
        buffer: VecDeque::new(),
        lost: 0,
        filled: None,
        drained: None,
    };
}

/// Writes formatted text.
#[macro_export]
macro_rules! print {
    ($($arguments:tt)*) => {
        $crate::print::write(::core::format_args!($($arguments)*))
    };
}

/// Writes formatted text and the end of the line.
#[macro_export]
macro_rules! println {
    () => { $crate::print::write(::core::format_args!("\n")) };
    ($($arguments:tt)*) => {
        $crate::print::write(::core::format_args!(
            "{}\n", ::core::format_args!($($arguments)*)
        ))
    };
}

/// Writes formatted text; what the macros expand to.
pub fn write(arguments: fmt::Arguments<'_>) {
    let buffered = OUTPUT.with(|output| {
        let mut output = output.try_borrow_mut().ok()?;
        if !output.to_console {
            return None;
        }
        // It only fails when formatting itself does.
        let _ = output.write_fmt(arguments);
        if let Some(filled) = output.filled.take() {
            filled.set();
        }
        Some(())
    });
    if buffered.is_none() {
        to_log(arguments);
    }
}

/// Writes formatted text to the kernel's log, whatever the console.
pub fn to_log(arguments: fmt::Arguments<'_>) {
    let mut log = Log {
        bytes: [0; sys::dispatcher::PRINT_BYTES],
        length: 0,
    };
    let _ = log.write_fmt(arguments);
    log.flush();
}

/// From now on text goes to `console`.
pub fn to_console(console: ConsoleClient<Lmp>) {
    OUTPUT.with(|output| output.borrow_mut().to_console = true);
    spawn(async move {
        loop {
            let chunk = next_chunk().await;
            if console.write(&chunk).await.is_err() {
                // The console is gone: back to the log, with what it hasn't taken.
                let rest = OUTPUT.with(|output| {
                    let mut output = output.borrow_mut();
                    output.to_console = false;
                    core::mem::take(&mut output.buffer)
                });
                chunk
                    .into_iter()
                    .chain(rest)
                    .collect::<Vec<_>>()
                    .chunks(sys::dispatcher::PRINT_BYTES)
                    .for_each(log_bytes);
                drained();
                return;
            }
            let is_empty = OUTPUT.with(|output| output.borrow().buffer.is_empty());
            if is_empty {
                drained();
            }
        }
    });
}

/// Waits until all text written so far has been taken.
pub async fn flush() {
    let waiting = OUTPUT.with(|output| {
        let mut output = output.borrow_mut();
        (output.to_console && !output.is_idle())
            .then(|| output.drained.get_or_insert_default().clone())
    });
    if let Some(drained) = waiting {
        // A console that hangs doesn't keep a program from ending.
        let _ = time::timeout(FLUSH_LIMIT, drained.wait()).await;
    }
}

async fn next_chunk() -> Vec<u8> {
    loop {
        let filled = OUTPUT.with(|output| {
            let mut output = output.borrow_mut();
            if output.lost > 0 && output.buffer.len() < BUFFER_BYTES / 2 {
                let note = format!("\n[{} bytes of output lost]\n", output.lost);
                output.lost = 0;
                output.buffer.extend(note.as_bytes());
            }
            let count = output.buffer.len().min(CHUNK_BYTES);
            if count > 0 {
                return Ok(output.buffer.drain(..count).collect());
            }
            Err(output.filled.get_or_insert_default().clone())
        });
        match filled {
            Ok(chunk) => return chunk,
            Err(event) => event.wait().await,
        }
    }
}

fn drained() {
    let event = OUTPUT.with(|output| output.borrow_mut().drained.take());
    if let Some(event) = event {
        event.set();
    }
}

fn log_bytes(bytes: &[u8]) {
    // Nobody is left to be told when the log doesn't take it.
    let _ = sys::dispatcher::print(bytes);
}

impl Output {
    /// Whether the writing task waits for text, having written all of it.
    fn is_idle(&self) -> bool {
        self.buffer.is_empty() && self.filled.is_some()
    }
}

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = BUFFER_BYTES.saturating_sub(self.buffer.len());
        let taken = text.len().min(room);
        self.buffer.extend(&text.as_bytes()[..taken]);
        self.lost += text.len() - taken;
        Ok(())
    }
}

/// Gathers text, so that it reaches the log in as few pieces as possible.
struct Log {
    bytes: [u8; sys::dispatcher::PRINT_BYTES],
    length: usize,
}

impl Log {
    fn flush(&mut self) {
        if self.length > 0 {
            log_bytes(&self.bytes[..self.length]);
            self.length = 0;
        }
    }
}

impl Write for Log {
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
