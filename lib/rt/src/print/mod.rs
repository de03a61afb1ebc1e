//! Text output.
//!
//! [`print!`](crate::print!) and [`println!`](crate::println!) are a program's *standard output*: the
//! first use binds to the console, and a line is there, in order, when `println!` returns. A console
//! that is slow holds the program up, all its tasks; nothing is dropped. Text without an end of line
//! waits for it, for [`flush`], or until the program waits for something else.
//!
//! ```text
//! print! ──→ buffer ──→ writer, a task ──→ console          standard output, diagnostics
//!    └─────────────────────────────────────→ kernel's log   without a console
//! ```
//!
//! | text goes to | for whom | and waits |
//! | --- | --- | --- |
//! | the console, as standard output (`standard.rs`) | whoever was given a name service, or a console | for each line |
//! | the kernel's log | system services (`handover::LOG`), and who was given neither | never |
//! | the console, as diagnostics ([`to_console`]) | services on which the console itself may depend | never: what doesn't fit 16 KiB is dropped, and the number of bytes is printed |
//!
//! A program whose console can't be reached, or goes away, writes to the log from then on, and what
//! it had written and the console hadn't taken goes there first; it can't end with success any more
//! ([`crate::ExitCode::NO_CONSOLE`]).

mod output;
mod standard;

use alloc::{format, vec::Vec};
use core::fmt::{self, Write};
use core::time::Duration;

use capelin_interfaces::{console::ConsoleClient, handover, service};

use crate::{Lmp, env, executor, sys, time};
use output::{OUTPUT, Target};
pub(crate) use standard::is_lost;
use sys::log::write_bytes;

/// Bytes that may wait as diagnostics.
const BUFFER_BYTES: usize = 16 * 1024;
/// Bytes that go to the console in one call, as diagnostics.
const CHUNK_BYTES: usize = 1024;
/// How long the end of a program waits for its diagnostics.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

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
    let target = OUTPUT.with(|output| output.borrow().target);
    let target = match target {
        Target::Undecided => decide(),
        known => known,
    };
    match target {
        Target::Standard(_) => standard::write(arguments),
        Target::Diagnostics => {
            // It only fails when formatting itself does.
            let _ = Diagnostics.write_fmt(arguments);
        }
        Target::Undecided | Target::Log | Target::Lost => to_log(arguments),
    }
}

/// Where the text of this program goes.
fn decide() -> Target {
    let is_given = |name| env::capability(name).is_some();
    let has_output = is_given(service::NAMES) || is_given(service::CONSOLE);
    if has_output && env::word(handover::LOG).unwrap_or(0) == 0 {
        standard::start(standard::console())
    } else {
        OUTPUT.with(|output| output.borrow_mut().target = Target::Log);
        Target::Log
    }
}

/// Writes formatted text to the kernel's log, whatever the console.
pub use sys::log::write as to_log;

/// From now on text goes to `console` as diagnostics, which nobody waits for.
pub fn to_console(console: ConsoleClient<Lmp>) {
    OUTPUT.with(|output| output.borrow_mut().target = Target::Diagnostics);
    executor::spawn(async move {
        loop {
            let chunk = diagnostics().await;
            if console.write(&chunk).await.is_err() {
                // The console is gone: back to the log, with what it hasn't taken.
                give_up(&chunk, Target::Log);
                return;
            }
            done();
        }
    });
}

/// Waits until all text written so far has been taken.
pub async fn flush() {
    let (target, waiting) = OUTPUT.with(|output| output.borrow_mut().when_drained());
    let Some(drained) = waiting else { return };
    if matches!(target, Target::Standard(_)) {
        drained.wait().await;
    } else {
        // Diagnostics don't keep a program from ending.
        let _ = time::timeout(FLUSH_LIMIT, drained.wait()).await;
    }
}

/// The program can't go on: what the console hasn't taken goes to the log. Without the heap, which
/// may be the reason.
pub(crate) fn abandon() {
    OUTPUT.with(|output| {
        if let Ok(mut output) = output.try_borrow_mut() {
            let (first, second) = output.buffer.as_slices();
            [first, second].into_iter().for_each(write_bytes);
            output.buffer.clear();
        }
    });
}

/// The next piece of diagnostics.
async fn diagnostics() -> Vec<u8> {
    loop {
        let taken = OUTPUT.with(|output| {
            let mut output = output.borrow_mut();
            if output.lost > 0 && output.buffer.len() < BUFFER_BYTES / 2 {
                let note = format!("\n[{} bytes of output lost]\n", output.lost);
                output.lost = 0;
                output.buffer.extend(note.as_bytes());
            }
            output.take(CHUNK_BYTES)
        });
        match taken {
            Ok(chunk) => return chunk,
            Err(filled) => filled.wait().await,
        }
    }
}

/// The writer's last piece has been taken.
fn done() {
    if let Some(drained) = OUTPUT.with(|output| output.borrow_mut().done()) {
        drained.set();
    }
}

/// The console is gone: `chunk`, which it hasn't taken, and what follows go to the log.
fn give_up(chunk: &[u8], target: Target) {
    let (rest, drained) = OUTPUT.with(|output| output.borrow_mut().give_up(target));
    write_bytes(chunk);
    write_bytes(&rest);
    if let Some(drained) = drained {
        drained.set();
    }
}

/// Puts text into the buffer, as far as there is room.
struct Diagnostics;

impl Write for Diagnostics {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let filled = OUTPUT.with(|output| {
            let mut output = output.borrow_mut();
            let room = BUFFER_BYTES.saturating_sub(output.buffer.len());
            let taken = text.len().min(room);
            output.lost += text.len() - taken;
            output.put(&text.as_bytes()[..taken])
        });
        filled.into_iter().for_each(|filled| filled.set());
        Ok(())
    }
}
