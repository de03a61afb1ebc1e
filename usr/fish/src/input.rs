//! Input from the console, read by a task of its own: so that Ctrl-C is seen while a command runs,
//! and that what is typed meanwhile isn't lost.

use alloc::rc::Rc;
use core::{cell::Cell, future::Future};

use fish::ahead::Ahead;

use capelin_interfaces::console::{ConsoleClient, ConsoleError, ConsoleMode};
use capelin_rt::{
    Lmp,
    future::{Either, race},
    spawn,
    sync::Queue,
};

/// Bytes asked for at a time.
const CHUNK: u32 = 256;
/// Ctrl-C.
const INTERRUPT: u8 = 3;

/// What comes from the console.
pub(crate) struct Input {
    bytes: Rc<Ahead>,
    interrupts: Queue<()>,
    is_running: Rc<Cell<bool>>,
}

impl Input {
    /// Takes the input session of `console`, byte by byte.
    ///
    /// # Errors
    /// What the console says.
    pub(crate) async fn start(console: ConsoleClient<Lmp>) -> Result<Self, ConsoleError> {
        console.set_mode(ConsoleMode::Raw).await?;
        let input = Self {
            bytes: Rc::default(),
            interrupts: Queue::new(),
            is_running: Rc::default(),
        };
        let (bytes, interrupts) = (Rc::clone(&input.bytes), input.interrupts.clone());
        let is_running = Rc::clone(&input.is_running);
        spawn(async move {
            while let Ok(chunk) = console.read(CHUNK).await {
                for byte in chunk {
                    if byte == INTERRUPT && is_running.get() {
                        // One ends the command.
                        if interrupts.is_empty() {
                            interrupts.push(());
                        }
                    } else {
                        bytes.push(Some(byte));
                    }
                }
                bytes.room().await;
            }
            bytes.push(None);
        });
        Ok(input)
    }

    /// The next byte; `None` when the console has ended.
    pub(crate) async fn next(&self) -> Option<u8> {
        self.bytes.next().await
    }

    /// The next byte that is there already.
    pub(crate) fn try_next(&self) -> Option<u8> {
        self.bytes.try_next()
    }

    /// What `command` gives, or `None` when Ctrl-C came first; then it is dropped.
    pub(crate) async fn or_interrupt<T>(&self, command: impl Future<Output = T>) -> Option<T> {
        while self.interrupts.try_pop().is_some() {}
        self.is_running.set(true);
        let result = race(command, self.interrupts.pop()).await;
        self.is_running.set(false);
        match result {
            Either::First(value) => Some(value),
            Either::Second(()) => None,
        }
    }
}
