//! Standard output: in order, whole, and whoever prints waits.
//!
//! Who prints isn't asynchronous, and can't be: `println!` stands anywhere. So it runs the writer's
//! task alone ([`executor::run_alone`]) until the console has taken the line; all other tasks of the
//! program stand still meanwhile, as in a system call that blocks. The writer needs none of them.

use core::fmt;

use capelin_interfaces::{console::ConsoleClient, service};

use super::{
    done, give_up,
    output::{OUTPUT, Target},
};
use crate::{Lmp, RtError, executor, services, sys::log::write_bytes};

/// Bytes that may wait for the end of their line.
const BUFFER_BYTES: usize = 4096;

/// What takes the text.
pub(super) trait Sink {
    /// Writes all of `bytes`; when that is over, they have been taken.
    async fn write(&self, bytes: &[u8]) -> Result<(), RtError>;
}

impl Sink for ConsoleClient<Lmp> {
    async fn write(&self, bytes: &[u8]) -> Result<(), RtError> {
        Self::write(self, bytes)
            .await
            .map_err(|_| RtError::NoService)
    }
}

/// The console.
///
/// # Errors
/// As [`services::connect`].
pub(super) async fn console() -> Result<ConsoleClient<Lmp>, RtError> {
    services::connect(service::CONSOLE).await
}

/// Sends text to what `reach` reaches, from now on.
pub(super) fn start<S: Sink + 'static>(
    reach: impl Future<Output = Result<S, RtError>> + 'static,
) -> Target {
    let writer = executor::spawn_writer(async move {
        let Ok(sink) = reach.await else {
            give_up(&[], Target::Lost);
            return;
        };
        loop {
            let taken = OUTPUT.with(|output| output.borrow_mut().take(BUFFER_BYTES));
            match taken {
                Ok(piece) if sink.write(&piece).await.is_ok() => done(),
                Ok(piece) => return give_up(&piece, Target::Lost),
                Err(filled) => filled.wait().await,
            }
        }
    });
    OUTPUT.with(|output| output.borrow_mut().target = Target::Standard(writer));
    Target::Standard(writer)
}

/// Whether text has gone to the log that was meant for the console.
pub(crate) fn is_lost() -> bool {
    OUTPUT.with(|output| output.borrow().target == Target::Lost)
}

/// Waits until the console has taken everything.
fn push() {
    let target = OUTPUT.with(|output| output.borrow().target);
    if let Target::Standard(writer) = target {
        executor::run_alone(writer, || {
            OUTPUT.with(|output| output.borrow().is_drained())
        });
    }
}

/// Writes formatted text, and waits if a line has ended with it. Nothing is borrowed meanwhile: what
/// is formatted may print, too.
pub(super) fn write(arguments: fmt::Arguments<'_>) {
    let mut text = Text { has_line: false };
    // It only fails when formatting itself does.
    let _ = fmt::write(&mut text, arguments);
    if text.has_line {
        push();
    }
}

/// Text that is being formatted.
struct Text {
    has_line: bool,
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.has_line |= text.contains('\n');
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let (target, room) = OUTPUT.with(|output| {
                let output = output.borrow();
                (
                    output.target,
                    BUFFER_BYTES.saturating_sub(output.buffer.len()),
                )
            });
            if !matches!(target, Target::Standard(_)) {
                // Lost meanwhile.
                write_bytes(rest);
                break;
            }
            if room == 0 {
                push();
            }
            // What the writer itself would print isn't waited for.
            let (taken, behind) = rest.split_at(rest.len().min(room.max(1)));
            let filled = OUTPUT.with(|output| output.borrow_mut().put(taken));
            filled.into_iter().for_each(|filled| filled.set());
            rest = behind;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{executor::block_on, spawn, time};
    use alloc::{rc::Rc, string::String};
    use core::{
        cell::{Cell, RefCell},
        time::Duration,
    };

    /// A console that takes its time, and at most so many writes.
    #[derive(Clone, Default)]
    struct Slow {
        taken: Rc<RefCell<String>>,
        writes: Rc<Cell<usize>>,
        most: usize,
    }

    impl Slow {
        fn new(most: usize) -> Self {
            Self {
                most,
                ..Self::default()
            }
        }
    }

    impl Sink for Slow {
        async fn write(&self, bytes: &[u8]) -> Result<(), RtError> {
            assert!(bytes.len() <= BUFFER_BYTES);
            if self.writes.get() == self.most {
                return Err(RtError::NoService);
            }
            self.writes.set(self.writes.get() + 1);
            time::sleep(Duration::from_micros(50)).await;
            self.taken
                .borrow_mut()
                .push_str(core::str::from_utf8(bytes).unwrap());
            Ok(())
        }
    }

    fn begin(most: usize) -> Slow {
        let console = Slow::new(most);
        let reached = console.clone();
        start(async move {
            time::sleep(Duration::from_micros(50)).await;
            Ok(reached)
        });
        console
    }

    #[test]
    fn a_line_is_there_when_println_returns() {
        let console = begin(usize::MAX);
        block_on(async move {
            for line in 1..=100 {
                crate::println!("line {line}");
                let taken = console.taken.borrow();
                assert!(taken.ends_with(&alloc::format!("\nline {line}\n")) || line == 1);
            }
            crate::print!("no end");
            assert!(!console.taken.borrow().contains("no end"), "it waits");
            crate::print::flush().await;
            assert!(console.taken.borrow().ends_with("line 100\nno end"));
        });
    }

    #[test]
    fn much_without_a_line_is_whole() {
        let console = begin(usize::MAX);
        block_on(async move {
            let text: String = (0..9000).map(|n| alloc::format!("{n} ")).collect();
            crate::print!("{text}");
            crate::println!();
            assert!(*console.taken.borrow() == text + "\n");
        });
    }

    #[test]
    fn other_tasks_stand_still_and_go_on() {
        let console = begin(usize::MAX);
        block_on(async move {
            let ran = Rc::new(Cell::new(0));
            let counter = Rc::clone(&ran);
            let other = spawn(async move {
                for _ in 0..3 {
                    counter.set(counter.get() + 1);
                    crate::println!("other");
                    executor::yield_now().await;
                }
            });
            // It is ready, in the same turn as the writer.
            executor::yield_now().await;
            let before = ran.get();
            crate::println!("one");
            crate::println!("two");
            assert_eq!(ran.get(), before);
            other.await;
            let taken = console.taken.borrow();
            assert_eq!(taken.matches("other\n").count(), 3);
            assert!(taken.contains("one\ntwo\n"), "{taken}");
        });
    }

    #[test]
    fn what_is_formatted_may_print() {
        struct Chatty;
        impl fmt::Display for Chatty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                crate::println!("inner");
                f.write_str("outer")
            }
        }
        let console = begin(usize::MAX);
        block_on(async move {
            crate::println!("<{Chatty}>");
            assert_eq!(*console.taken.borrow(), "<inner\nouter>\n");
        });
    }

    #[test]
    fn a_console_that_goes_away_is_noticed() {
        let console = begin(2);
        block_on(async move {
            crate::println!("one");
            crate::println!("two");
            assert!(!is_lost());
            crate::println!("three\n{}", "x".repeat(3 * BUFFER_BYTES));
            assert!(is_lost());
            crate::println!("four");
            crate::print::flush().await;
            assert_eq!(*console.taken.borrow(), "one\ntwo\n");
        });
    }

    #[test]
    fn a_console_that_is_not_there_is_noticed() {
        start(async { Err::<Slow, _>(RtError::NoService) });
        block_on(async {
            crate::print!("half a line");
            crate::print::flush().await;
            assert!(is_lost());
        });
    }
}
