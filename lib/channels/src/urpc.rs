//! Interfaces over URPC: between cores, through a frame that both sides map.
//!
//! A slot's payload is the header word and up to 48 bytes; its tag repeats the correlation id and
//! its kind the message's kind, for whoever dumps a ring. Capabilities don't travel this way
//! ([`TransportError::NoCapabilities`]): the monitors pass them.
//!
//! A side that has nothing to do polls for a while, then announces sleep and waits for its Notify
//! bit. [`Urpc::flush`] is made once per batch, by the binding, before it waits.
//!
//! A wake-up costs what there is to do. Where channels share a bit, one that was woken for another
//! looks at one word: its announcement stands, so it isn't made again, and the barrier has been made
//! for all when the bit was taken (`capelin_urpc::sleep`). A flush after nothing was sent and
//! nothing taken makes no barrier either: the one before it has told the peer of everything.

use alloc::rc::Rc;
use core::{
    cell::RefCell,
    task::{Context, Poll},
};

use capelin_idc::{Arrival, Cap, Fragment, Transport, TransportError, WireHeader};
use capelin_urpc::{Channel, Flush, Label, RingConfig, SendError};

use crate::{OwnedCap, RtError, executor, notify::Notify, sys, vspace::SharedMapped};

/// Bytes of payload of a fragment, after the header word.
const FRAGMENT_BYTES: usize = 48;
/// Polls without a message before the receiver sleeps.
const POLL_ROUNDS: u32 = 64;

struct State {
    // Dropped before the memory that it lies in.
    channel: Channel<'static>,
    memory: SharedMapped,
    idle_polls: u32,
    /// Whether the peer may have to be told of messages or of freed slots.
    is_unflushed: bool,
}

impl State {
    /// Whether the peer must be rung for what was sent or taken since the last time.
    fn flush(&mut self) -> Flush {
        if core::mem::take(&mut self.is_unflushed) {
            self.channel.flush()
        } else {
            Flush::Quiet
        }
    }
}

/// One side of a channel.
pub struct Urpc {
    state: RefCell<State>,
    /// Our bit, which the peer rings.
    own: Rc<Notify>,
    /// The peer's bit.
    peer: OwnedCap,
}

impl core::fmt::Debug for Urpc {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let state = self.state.borrow();
        f.debug_struct("Urpc")
            .field("bytes", &state.memory.bytes())
            .field("failure", &state.channel.rx.failure())
            .finish_non_exhaustive()
    }
}

impl Urpc {
    /// Bytes of a frame for a channel with rings of the usual size.
    #[must_use]
    pub fn bytes() -> u64 {
        Self::bytes_with(RingConfig::default(), RingConfig::default())
    }

    /// Bytes of a frame for a channel whose creator sends on `outgoing` and receives on `incoming`.
    #[must_use]
    pub const fn bytes_with(outgoing: RingConfig, incoming: RingConfig) -> u64 {
        Channel::bytes(outgoing, incoming) as u64
    }

    /// Lays a channel out in `memory`, with rings of the usual size. `own` is the bit that the peer
    /// rings, `peer` rings the peer's.
    ///
    /// # Errors
    /// [`RtError::BadChannel`] when the memory is too small or read-only.
    pub fn create(memory: SharedMapped, own: Rc<Notify>, peer: OwnedCap) -> Result<Self, RtError> {
        Self::new(memory, own, peer, |lines| {
            Channel::create(lines, RingConfig::default(), RingConfig::default())
        })
    }

    /// Attaches to the channel that the peer has laid out in `memory`.
    ///
    /// # Errors
    /// [`RtError::BadChannel`] when there is none.
    pub fn attach(memory: SharedMapped, own: Rc<Notify>, peer: OwnedCap) -> Result<Self, RtError> {
        Self::new(memory, own, peer, Channel::attach)
    }

    #[expect(
        unsafe_code,
        reason = "keeps a channel beside the memory that it lies in"
    )]
    fn new(
        memory: SharedMapped,
        own: Rc<Notify>,
        peer: OwnedCap,
        open: impl FnOnce(
            &'static [capelin_urpc::Line],
        ) -> Result<Channel<'static>, capelin_urpc::SetupError>,
    ) -> Result<Self, RtError> {
        // SAFETY: (1) the lines are used by the channel only, which is dropped before `memory`;
        // (2) `memory` is kept private here, and gives atomic words at most.
        let lines = unsafe { memory.lines()? };
        let channel = open(lines).map_err(|_| RtError::BadChannel)?;
        Ok(Self {
            state: RefCell::new(State {
                channel,
                memory,
                idle_polls: 0,
                is_unflushed: false,
            }),
            own,
            peer,
        })
    }

    fn ring(&self, flush: Flush) {
        if flush == Flush::Notify {
            // A peer that is gone can't be rung; the channel then stays silent.
            let _ = sys::dispatcher::ring(self.peer.address());
        }
    }
}

impl Drop for Urpc {
    fn drop(&mut self) {
        let flush = self.state.borrow_mut().channel.close();
        self.ring(flush);
    }
}

impl Transport for Urpc {
    fn fragment_bytes(&self) -> usize {
        FRAGMENT_BYTES
    }

    fn poll_send(
        &self,
        context: &mut Context<'_>,
        fragment: &Fragment,
        cap: Option<&Cap>,
    ) -> Poll<Result<(), TransportError>> {
        if cap.is_some() {
            return Poll::Ready(Err(TransportError::NoCapabilities));
        }
        let (payload, count) = fragment.payload_words();
        let mut words = [0; 7];
        words[0] = fragment.header().to_word();
        words[1..].copy_from_slice(&payload[..6]);
        let count = count.min(6) + 1;
        let label =
            Label::new(fragment.header().correlation()).with_kind(fragment.header().kind() as u8);
        let mut state = self.state.borrow_mut();
        match state.channel.tx.try_send(label, &words[..count]) {
            Ok(()) => {
                state.is_unflushed = true;
                Poll::Ready(Ok(()))
            }
            Err(SendError::Full) => {
                // What is in the ring must be known to the peer before we wait for room.
                let flush = state.flush();
                self.ring(flush);
                match state.channel.tx.arm() {
                    Ok(true) if self.own.poll_rung(context).is_pending() => {}
                    Ok(_) => context.waker().wake_by_ref(),
                    Err(_) => return Poll::Ready(Err(TransportError::Closed)),
                }
                Poll::Pending
            }
            Err(_) => Poll::Ready(Err(TransportError::Closed)),
        }
    }

    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Result<Arrival, TransportError>> {
        let mut state = self.state.borrow_mut();
        loop {
            match state.channel.rx.try_recv() {
                Ok(Some(message)) => {
                    state.idle_polls = 0;
                    state.is_unflushed = true;
                    let fragment = match message.words() {
                        [word, payload @ ..] => WireHeader::from_word(*word)
                            .map(|header| Fragment::from_words(header, payload)),
                        [] => None,
                    };
                    if let Some(fragment) = fragment {
                        return Poll::Ready(Ok(Arrival {
                            fragment,
                            cap: None,
                        }));
                    }
                    // A peer that sends nothing else mustn't keep the other tasks from running.
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(None) if state.idle_polls < POLL_ROUNDS => {
                    state.idle_polls += 1;
                    executor::look_again(context.waker());
                    return Poll::Pending;
                }
                Ok(None) => {
                    if !state.channel.rx.arm() {
                        continue;
                    }
                    // A bit rung earlier says nothing about now: look once more, then wait.
                    if self.own.poll_rung(context).is_ready() {
                        context.waker().wake_by_ref();
                    }
                    return Poll::Pending;
                }
                Err(_) => return Poll::Ready(Err(TransportError::Closed)),
            }
        }
    }

    fn flush(&self) {
        let flush = self.state.borrow_mut().flush();
        self.ring(flush);
    }
}
