//! Sending with patience.
//!
//! The kernel doesn't tell when a ring has room again. A sender that finds it full lets the
//! receiver run once, tries again, and then waits for longer and longer, up to 2 ms.

use core::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use capelin_abi::{SysError, syscall::SendFlags};
use capelin_idc::{Cap, CapMode, Fragment, TransportError};

use crate::{OwnedCap, slots, sys, time};

const FIRST_PAUSE: Duration = Duration::from_micros(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(2);

/// The sending half of an LMP transport.
#[derive(Debug)]
pub(super) struct Sender {
    target: OwnedCap,
    pause: Cell<Duration>,
    sleep: RefCell<Option<time::Sleep>>,
    is_closed: Cell<bool>,
}

impl Sender {
    pub(super) fn new(target: OwnedCap) -> Self {
        Self {
            target,
            pause: Cell::new(FIRST_PAUSE),
            sleep: RefCell::new(None),
            is_closed: Cell::new(false),
        }
    }

    /// As [`capelin_idc::Transport::poll_send`].
    pub(super) fn poll_send(
        &self,
        context: &mut Context<'_>,
        fragment: &Fragment,
        cap: Option<&Cap>,
    ) -> Poll<Result<(), TransportError>> {
        if self.is_closed.get() {
            return Poll::Ready(Err(TransportError::Closed));
        }
        {
            let mut sleep = self.sleep.borrow_mut();
            if let Some(pause) = sleep.as_mut() {
                if Pin::new(pause).poll(context).is_pending() {
                    return Poll::Pending;
                }
                *sleep = None;
            }
        }
        let mut result = self.send(fragment, cap);
        if result == Err(SysError::EndpointFull) || result == Err(SysError::NoReceiveSlot) {
            // A failure to yield only means that we try again at once.
            let _ = sys::yield_now();
            result = self.send(fragment, cap);
        }
        match result {
            Ok(()) => {
                self.pause.set(FIRST_PAUSE);
                Poll::Ready(Ok(()))
            }
            Err(SysError::EndpointFull | SysError::NoReceiveSlot) => self.pause(context),
            Err(_) if cap.is_some() && self.is_reachable() => {
                Poll::Ready(Err(TransportError::Refused))
            }
            Err(_) => {
                self.is_closed.set(true);
                Poll::Ready(Err(TransportError::Closed))
            }
        }
    }

    /// Sends a message of one fragment with `cap`, which goes with it or is disposed of.
    ///
    /// # Errors
    /// As `poll_send`.
    pub(super) async fn deliver(
        &self,
        fragment: &Fragment,
        cap: Cap,
    ) -> Result<(), TransportError> {
        poll_fn(|context| self.poll_send(context, fragment, Some(&cap))).await?;
        cap.leak();
        Ok(())
    }

    fn pause(&self, context: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let length = self.pause.get();
        self.pause.set((length * 2).min(LONGEST_PAUSE));
        let mut pause = time::sleep(length);
        // It may be over already; then the next poll, soon, finds that.
        if Pin::new(&mut pause).poll(context).is_ready() {
            context.waker().wake_by_ref();
        }
        *self.sleep.borrow_mut() = Some(pause);
        Poll::Pending
    }

    fn send(&self, fragment: &Fragment, cap: Option<&Cap>) -> Result<(), SysError> {
        let (payload, count) = fragment.payload_words();
        let mut words = [0; 8];
        words[0] = fragment.header().to_word();
        words[1..].copy_from_slice(payload);
        let mut flags = SendFlags::empty();
        if let Some(cap) = cap {
            flags.set(SendFlags::MOVE, cap.mode() == CapMode::Give);
            flags.set(SendFlags::KEEP_REVOKE, cap.keeps_revoke());
        }
        let address = cap.map(Cap::address);
        sys::send(self.target.address(), address, flags, &words[..=count])?;
        if let Some(cap) = cap.filter(|cap| cap.mode() == CapMode::Give) {
            slots::free(cap.address());
        }
        Ok(())
    }

    /// Whether the receiver's endpoint is gone: the kernel takes the capabilities to it along.
    pub(super) fn is_gone(&self) -> bool {
        self.target.identify().is_err()
    }

    /// Whether the receiver is alive. An empty message tells; receivers drop those.
    pub(super) fn is_reachable(&self) -> bool {
        let probe = sys::send(self.target.address(), None, SendFlags::empty(), &[]);
        let is_alive = matches!(probe, Ok(()) | Err(SysError::EndpointFull));
        if !is_alive {
            self.is_closed.set(true);
        }
        is_alive
    }
}
