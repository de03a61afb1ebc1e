//! Sending with patience ([`super::patience`]).
//!
//! The kernel doesn't tell when a ring has room again. A sender that finds it full lets the
//! receiver run once, if that is likely to help, tries again, and then waits for longer and longer.

use core::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};

use capelin_abi::{SysError, syscall::SendFlags};
use capelin_idc::{Cap, CapMode, Fragment, TransportError};

use super::patience::{Bound, Tries, Verdict, Yielded, Yields};
use crate::{OwnedCap, slots, sys, time};

local! {
    /// What all connections of this program yield.
    static YIELDS: Yields = Yields::new();
}

/// The sending half of an LMP transport.
#[derive(Debug)]
pub(super) struct Sender {
    target: OwnedCap,
    tries: Cell<Tries>,
    sleep: RefCell<Option<time::Sleep>>,
    is_closed: Cell<bool>,
}

impl Sender {
    /// Sends to `target`, which may leave its ring full for as long as `bound` says.
    pub(super) fn new(target: OwnedCap, bound: Bound) -> Self {
        Self {
            target,
            tries: Cell::new(Tries::new(bound)),
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
        let mut yielded = Yielded::No;
        if is_full(&result) && self.yield_to_it() {
            yielded = Yielded::Yes;
            result = self.send(fragment, cap);
        }
        match result {
            Ok(()) => {
                let mut tries = self.tries.get();
                tries.sent();
                self.tries.set(tries);
                Poll::Ready(Ok(()))
            }
            Err(SysError::EndpointFull | SysError::NoReceiveSlot) => self.pause(context, yielded),
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

    /// Lets the receiver run, if it is likely to make room soon. Whether it did run.
    fn yield_to_it(&self) -> bool {
        let start = time::now();
        let may = YIELDS.with(|yields| yields.borrow().may(start));
        if !may || !self.tries.get().is_worth_a_yield() {
            return false;
        }
        // A failure to yield only means that we try again at once.
        let _ = sys::yield_now();
        let now = time::now();
        YIELDS.with(|yields| {
            let took = now.saturating_sub(start);
            yields.borrow_mut().took(took, now, time::frequency());
        });
        true
    }

    fn pause(
        &self,
        context: &mut Context<'_>,
        yielded: Yielded,
    ) -> Poll<Result<(), TransportError>> {
        let mut tries = self.tries.get();
        let verdict = tries.full(yielded, time::now(), time::frequency());
        self.tries.set(tries);
        let Verdict::Pause(length) = verdict else {
            self.is_closed.set(true);
            return Poll::Ready(Err(TransportError::Closed));
        };
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

fn is_full(sent: &Result<(), SysError>) -> bool {
    matches!(sent, Err(SysError::EndpointFull | SysError::NoReceiveSlot))
}
