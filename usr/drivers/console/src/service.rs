//! The interface Console, one session object a client.

use alloc::{rc::Rc, vec::Vec};
use core::{cell::RefCell, time::Duration};

use capelin_interfaces::console::{Console as Interface, ConsoleError, ConsoleMode};
use capelin_rt::{sync::Event, time};

use crate::{ClientId, console::Console, output::Accepted, uart::Uart};

/// How often the device is looked at until its last byte has left: no interrupt tells.
const DRAIN_STEP: Duration = Duration::from_millis(1);
/// Bytes that a read gives at most.
const MAX_READ: usize = 4096;

/// The console, and the tasks that wait for it.
pub struct Shared<U> {
    console: RefCell<Console<U>>,
    /// Set, and made anew, when there may be room, or a line was finished.
    output: RefCell<Event>,
    /// Set, and made anew, when there may be input.
    input: RefCell<Event>,
}

fn announce(event: &RefCell<Event>) {
    event.take().set();
}

impl<U: Uart> Shared<U> {
    /// Of `console`, for which nobody waits yet.
    pub fn new(console: Console<U>) -> Self {
        Self {
            console: RefCell::new(console),
            output: RefCell::default(),
            input: RefCell::default(),
        }
    }

    /// The device has interrupted.
    pub fn interrupt(&self) {
        let received = self.console.borrow_mut().interrupt();
        announce(&self.output);
        if received {
            announce(&self.input);
        }
    }

    /// What `look` finds about the device.
    pub fn with_uart<R>(&self, look: impl FnOnce(&U) -> R) -> R {
        look(self.console.borrow().uart())
    }

    fn wait_for(event: &RefCell<Event>) -> impl Future<Output = ()> + use<U> {
        let event = event.borrow().clone();
        async move { event.wait().await }
    }
}

/// What one client sees of the console.
pub struct Session<U: Uart> {
    shared: Rc<Shared<U>>,
    client: ClientId,
}

impl<U: Uart> Session<U> {
    /// What `client` sees of `shared`.
    pub fn new(shared: Rc<Shared<U>>, client: ClientId) -> Self {
        Self { shared, client }
    }

    /// Takes the input session; shows what that echoes.
    fn enter(&self) -> Result<(), ConsoleError> {
        let mut console = self.shared.console.borrow_mut();
        let mut echo = Vec::new();
        let entered = console.input.enter(self.client, &mut echo);
        console.echo(&echo);
        entered.map_err(|_| ConsoleError::NotForeground)
    }
}

impl<U: Uart> Drop for Session<U> {
    fn drop(&mut self) {
        self.shared.console.borrow_mut().leave(self.client);
        announce(&self.shared.output);
        announce(&self.shared.input);
    }
}

impl<U: Uart> Interface for Session<U> {
    async fn write(&self, bytes: &[u8]) -> Result<(), ConsoleError> {
        let mut rest = bytes;
        loop {
            let changed = Shared::<U>::wait_for(&self.shared.output);
            let accepted = self
                .shared
                .console
                .borrow_mut()
                .write(self.client, rest, time::now());
            match accepted {
                Accepted::All => {
                    // A line may have been finished for which others wait.
                    announce(&self.shared.output);
                    return Ok(());
                }
                Accepted::Part(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    changed.await;
                }
                Accepted::Held(until) => {
                    let left = time::to_duration(until.saturating_sub(time::now()));
                    // Whichever comes first, we try again.
                    let _ = time::timeout(left, changed).await;
                }
            }
        }
    }

    async fn read(&self, limit: u32) -> Result<Vec<u8>, ConsoleError> {
        let limit = usize::try_from(limit).map_or(MAX_READ, |limit| limit.min(MAX_READ));
        self.enter()?;
        loop {
            let changed = Shared::<U>::wait_for(&self.shared.input);
            let taken = self.shared.console.borrow_mut().take(limit);
            if let Some(bytes) = taken {
                return Ok(bytes);
            }
            changed.await;
        }
    }

    async fn set_mode(&self, mode: ConsoleMode) -> Result<(), ConsoleError> {
        self.enter()?;
        let mut echo = Vec::new();
        let mut console = self.shared.console.borrow_mut();
        console.input.set_mode(mode, &mut echo);
        console.echo(&echo);
        drop(console);
        announce(&self.shared.input);
        Ok(())
    }

    async fn flush(&self) -> Result<(), ConsoleError> {
        while !self.shared.console.borrow().is_drained() {
            time::sleep(DRAIN_STEP).await;
        }
        Ok(())
    }
}
