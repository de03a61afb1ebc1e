//! The calling side of a binding.
//!
//! Many calls may be outstanding; whichever of them is polled moves fragments for
//! all. The transport keeps one waker, that of the call polled last, so a call
//! that ends wakes another one to take over.
//!
//! A call that is dropped before its reply has come leaves a *tombstone*: its
//! correlation id isn't used again, and the reply, with its capability, is
//! disposed of when it comes.

use alloc::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    vec::Vec,
};
use core::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use crate::{
    CallError, Cap, InterfaceId, Kind, Message, RemoteError, Transport, TransportError, WireHeader,
    message::{Outgoing, Reassembler},
};

/// Calls that may be outstanding on one binding, tombstones included.
pub const MAX_CALLS: usize = 256;
/// Fragments taken in before other tasks get their turn.
const RECEIVE_BUDGET: usize = 128;

/// What the interface macro makes of an interface for callers.
pub trait Client<T: Transport>: Sized {
    /// The interface that it speaks.
    const INTERFACE: InterfaceId;

    /// A client that calls through `binding`.
    fn from_binding(binding: Rc<Binding<T>>) -> Self;

    /// A client at one side of `transport`, whose other side serves.
    fn new(transport: T) -> Self {
        Self::from_binding(Rc::new(Binding::new(transport, Self::INTERFACE)))
    }
}

/// A reply's body and capability.
type Reply = (Vec<u8>, Option<Cap>);

#[derive(Debug)]
enum Call {
    Waiting(Option<Waker>),
    Answered(Result<Reply, CallError>),
    Tombstone,
}

#[derive(Debug, Default)]
struct State {
    calls: BTreeMap<u16, Call>,
    outgoing: VecDeque<Outgoing>,
    reassembler: Reassembler,
    next: u16,
    closed: bool,
}

/// One client's connection to one server.
#[derive(Debug)]
pub struct Binding<T: Transport> {
    transport: T,
    interface: InterfaceId,
    state: RefCell<State>,
}

impl<T: Transport> Binding<T> {
    /// A binding over `transport`.
    pub fn new(transport: T, interface: InterfaceId) -> Self {
        Self {
            transport,
            interface,
            state: RefCell::default(),
        }
    }

    /// What carries it.
    pub const fn transport(&self) -> &T {
        &self.transport
    }

    /// Calls outstanding, tombstones included.
    pub fn outstanding(&self) -> usize {
        self.state.borrow().calls.len()
    }

    /// Calls `operation` and waits for the reply. `body` is at most
    /// [`crate::MAX_BODY_BYTES`] long.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn call(
        &self,
        operation: u8,
        body: Vec<u8>,
        cap: Option<Cap>,
    ) -> impl Future<Output = Result<Reply, CallError>> + '_ {
        let correlation = self.begin(operation, body, cap);
        CallFuture {
            binding: self,
            correlation,
        }
    }

    /// Sends `operation` without waiting for more than room.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn send(
        &self,
        operation: u8,
        body: Vec<u8>,
        cap: Option<Cap>,
    ) -> Result<(), CallError> {
        if body.len() > crate::MAX_BODY_BYTES {
            return Err(CallError::TooLong);
        }
        let header = WireHeader::new(self.interface, Kind::Oneway, operation, 0);
        {
            let mut state = self.state.borrow_mut();
            if state.closed {
                return Err(CallError::Transport(TransportError::Closed));
            }
            state
                .outgoing
                .push_back(Outgoing::new(Message { header, body, cap }));
        }
        poll_fn(|context| {
            self.pump(context);
            let state = self.state.borrow();
            if state.closed {
                Poll::Ready(Err(CallError::Transport(TransportError::Closed)))
            } else if state.outgoing.is_empty() {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        })
        .await
    }

    fn begin(&self, operation: u8, body: Vec<u8>, cap: Option<Cap>) -> Result<u16, CallError> {
        if body.len() > crate::MAX_BODY_BYTES {
            return Err(CallError::TooLong);
        }
        let mut state = self.state.borrow_mut();
        if state.closed {
            return Err(CallError::Transport(TransportError::Closed));
        }
        if state.calls.len() >= MAX_CALLS {
            return Err(CallError::TooManyCalls);
        }
        // Fewer than 65,536 are taken, so this ends. 0 is for one-way messages.
        loop {
            state.next = state.next.wrapping_add(1).max(1);
            if !state.calls.contains_key(&state.next) {
                break;
            }
        }
        let correlation = state.next;
        state.calls.insert(correlation, Call::Waiting(None));
        let header = WireHeader::new(self.interface, Kind::Request, operation, correlation);
        state
            .outgoing
            .push_back(Outgoing::new(Message { header, body, cap }));
        Ok(correlation)
    }

    /// Moves fragments both ways as far as they go.
    fn pump(&self, context: &mut Context<'_>) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if state.closed {
            return;
        }
        self.pump_out(state, context);
        for _ in 0..RECEIVE_BUDGET {
            let arrival = match self.transport.poll_receive(context) {
                Poll::Pending => {
                    self.transport.flush();
                    return;
                }
                Poll::Ready(Ok(arrival)) => arrival,
                Poll::Ready(Err(_)) => return self.close(state),
            };
            let progress = state.reassembler.push(arrival);
            for broken in progress.broken {
                let result = Err(CallError::MalformedReply);
                self.answer(state, broken.header.correlation(), result);
            }
            if let Some(message) = progress.complete {
                self.take(state, message);
            }
        }
        context.waker().wake_by_ref();
    }

    fn pump_out(&self, state: &mut State, context: &mut Context<'_>) {
        let size = self.transport.fragment_bytes();
        while let Some(front) = state.outgoing.front_mut() {
            let (fragment, cap) = (front.fragment(size), front.unsent_cap());
            match self.transport.poll_send(context, &fragment, cap) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) => {
                    if front.advance(size) {
                        state.outgoing.pop_front();
                    }
                }
                Poll::Ready(Err(TransportError::Closed)) => return self.close(state),
                Poll::Ready(Err(error)) => {
                    let correlation = front.header().correlation();
                    state.outgoing.pop_front();
                    self.answer(state, correlation, Err(error.into()));
                }
            }
        }
    }

    fn take(&self, state: &mut State, message: Message) {
        let correlation = message.header.correlation();
        let result = match message.header.kind() {
            Kind::Reply if message.header.interface() == self.interface => {
                Ok((message.body, message.cap))
            }
            Kind::Failure => {
                let byte = message.body.first().copied().unwrap_or(u8::MAX);
                Err(CallError::Remote(RemoteError::from_wire(byte)))
            }
            Kind::Close => return self.close(state),
            _ => Err(CallError::MalformedReply),
        };
        self.answer(state, correlation, result);
    }

    fn answer(&self, state: &mut State, correlation: u16, result: Result<Reply, CallError>) {
        match state.calls.get_mut(&correlation) {
            Some(call @ Call::Waiting(_)) => {
                let Call::Waiting(waker) = core::mem::replace(call, Call::Answered(result)) else {
                    return;
                };
                waker.into_iter().for_each(Waker::wake);
            }
            Some(Call::Tombstone) => {
                state.calls.remove(&correlation);
            }
            // Nobody asked, or it has been answered already.
            Some(Call::Answered(_)) | None => {}
        }
    }

    fn close(&self, state: &mut State) {
        state.closed = true;
        state.outgoing.clear();
        state
            .calls
            .retain(|_, call| !matches!(call, Call::Tombstone));
        for call in state.calls.values_mut() {
            if let Call::Waiting(waker) = call {
                waker.take().into_iter().for_each(Waker::wake);
                *call = Call::Answered(Err(CallError::Transport(TransportError::Closed)));
            }
        }
    }

    /// Lets another call look after the transport.
    fn hand_over(state: &mut State) {
        for call in state.calls.values_mut() {
            if let Call::Waiting(waker @ Some(_)) = call {
                waker.take().into_iter().for_each(Waker::wake);
                return;
            }
        }
    }
}

struct CallFuture<'a, T: Transport> {
    binding: &'a Binding<T>,
    correlation: Result<u16, CallError>,
}

impl<T: Transport> Future for CallFuture<'_, T> {
    type Output = Result<Reply, CallError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let correlation = match self.correlation {
            Ok(correlation) => correlation,
            Err(error) => return Poll::Ready(Err(error)),
        };
        self.binding.pump(context);
        let mut state = self.binding.state.borrow_mut();
        match state.calls.get_mut(&correlation) {
            Some(Call::Waiting(waker)) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            Some(Call::Answered(_)) => match state.calls.remove(&correlation) {
                Some(Call::Answered(result)) => {
                    Binding::<T>::hand_over(&mut state);
                    Poll::Ready(result)
                }
                _ => Poll::Ready(Err(CallError::MalformedReply)),
            },
            // It has been polled to its end before.
            _ => Poll::Ready(Err(CallError::Transport(TransportError::Closed))),
        }
    }
}

impl<T: Transport> Drop for CallFuture<'_, T> {
    fn drop(&mut self) {
        let Ok(correlation) = self.correlation else {
            return;
        };
        let mut state = self.binding.state.borrow_mut();
        let state = &mut *state;
        let unsent = state
            .outgoing
            .iter()
            .position(|out| out.header().correlation() == correlation && !out.has_started());
        match state.calls.remove(&correlation) {
            // It hasn't left yet: it needn't.
            Some(Call::Waiting(_)) if let Some(position) = unsent => {
                state.outgoing.remove(position);
            }
            Some(Call::Waiting(_)) => {
                state.calls.insert(correlation, Call::Tombstone);
            }
            Some(Call::Answered(_)) => {}
            Some(Call::Tombstone) | None => return,
        }
        Binding::<T>::hand_over(state);
    }
}

impl<T: Transport> Drop for Binding<T> {
    fn drop(&mut self) {
        let header = WireHeader::new(self.interface, Kind::Close, 0, 0);
        let mut state = self.state.borrow_mut();
        state.outgoing.clear();
        if !state.closed {
            // Best effort: a server that has no room learns of it when it can't
            // send any more.
            let close = Outgoing::new(Message {
                header,
                body: Vec::new(),
                cap: None,
            });
            let mut context = Context::from_waker(Waker::noop());
            let _ = self.transport.poll_send(
                &mut context,
                &close.fragment(self.transport.fragment_bytes()),
                None,
            );
            self.transport.flush();
        }
    }
}
