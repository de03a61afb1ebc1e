//! The answering side of a connection.
//!
//! Each request becomes a future of its own, so a slow one holds up no other.
//! Replies queue until the transport takes them; while too many wait, no further
//! requests are taken from that client, and nobody else is affected.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};
use core::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};

use serde::Serialize;

use crate::{
    Cap, InterfaceId, Kind, Message, RemoteError, Transport, TransportError, WireHeader, encode,
    message::{Outgoing, Reassembler},
};

/// Requests of one client that may be at work at a time.
pub const MAX_REQUESTS: usize = 64;
/// Replies that may wait for room before no more requests are taken.
pub const MAX_REPLIES: usize = 64;
/// What a request at work counts beside its body, in bytes.
const REQUEST_BYTES: usize = 256;
/// Fragments taken in before other tasks get their turn.
const RECEIVE_BUDGET: usize = 128;

/// A boxed future that stays on its dispatcher.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A request as it arrived.
#[derive(Debug)]
pub struct Request {
    /// Which operation.
    pub operation: u8,
    /// The encoded arguments.
    pub body: Vec<u8>,
    /// The capability that came along.
    pub cap: Option<Cap>,
}

/// What a request is answered with.
#[derive(Debug)]
pub struct Response {
    result: Result<Vec<u8>, RemoteError>,
    cap: Option<Cap>,
}

impl Response {
    /// `value` as the result, with `cap`.
    pub fn value<T: Serialize + ?Sized>(value: &T, cap: Option<Cap>) -> Self {
        match encode(value) {
            Ok(body) => Self {
                result: Ok(body),
                cap,
            },
            Err(_) => Self::failure(RemoteError::TooLong),
        }
    }

    /// An error of the protocol.
    #[must_use]
    pub const fn failure(error: RemoteError) -> Self {
        Self {
            result: Err(error),
            cap: None,
        }
    }
}

/// Something that answers requests. The interface macro implements it.
pub trait Service {
    /// The interface served.
    fn interface(&self) -> InterfaceId;

    /// Answers one request. The future runs beside those of other requests.
    fn handle(&self, request: Request) -> BoxFuture<'_, Response>;

    /// The client is gone: nobody waits for answers any more. Requests at work go on all the same;
    /// a service that would do a lot for nothing ends them itself.
    fn closed(&self) {}
}

struct Work<'a> {
    header: WireHeader,
    /// What it counts.
    bytes: usize,
    future: BoxFuture<'a, Response>,
}

struct Server<'a, T: Transport> {
    transport: &'a T,
    service: &'a dyn Service,
    reassembler: Reassembler,
    work: Vec<Work<'a>>,
    replies: VecDeque<Outgoing>,
    /// What requests at work and replies count, in bytes.
    held: usize,
    closed: bool,
}

/// Serves one client over `transport` until that closes; requests at work then
/// are still finished, so that no operation stops half-way; the service hears of the
/// end meanwhile ([`Service::closed`]).
pub async fn serve<T: Transport>(transport: &T, service: &dyn Service) {
    let mut server = Server {
        transport,
        service,
        reassembler: Reassembler::default(),
        work: Vec::new(),
        replies: VecDeque::new(),
        held: 0,
        closed: false,
    };
    poll_fn(|context| server.poll(context)).await;
}

impl<T: Transport> Server<'_, T> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut budget = RECEIVE_BUDGET;
        // New requests are polled at once, and finished ones make room for more,
        // so go round until nothing moves.
        loop {
            let received = self.receive(context, &mut budget);
            let finished = self.run(context);
            self.send(context);
            if self.closed && self.work.is_empty() {
                return Poll::Ready(());
            }
            if budget == 0 {
                context.waker().wake_by_ref();
                break;
            }
            if !received && !finished {
                break;
            }
        }
        self.transport.flush();
        Poll::Pending
    }

    fn receive(&mut self, context: &mut Context<'_>, budget: &mut usize) -> bool {
        let mut moved = false;
        while !self.closed
            && *budget > 0
            && self.work.len() < MAX_REQUESTS
            && self.replies.len() < MAX_REPLIES
        {
            match self.transport.poll_receive(context) {
                Poll::Pending => break,
                Poll::Ready(Err(_)) => self.close(),
                Poll::Ready(Ok(arrival)) => {
                    *budget -= 1;
                    moved = true;
                    let progress = self
                        .reassembler
                        .push_if(arrival, |bytes| self.transport.admit(bytes));
                    self.tell_held();
                    for broken in progress.broken {
                        self.reply(broken.header, Response::failure(broken.error));
                    }
                    if let Some(message) = progress.complete {
                        self.take(message);
                    }
                }
            }
        }
        moved
    }

    fn take(&mut self, message: Message) {
        let header = message.header;
        match header.kind() {
            Kind::Request | Kind::Oneway => {}
            Kind::Close => return self.close(),
            Kind::Reply | Kind::Failure | Kind::Bind | Kind::Bound => {
                return self.reply(header, Response::failure(RemoteError::Malformed));
            }
        }
        let served = self.service.interface();
        if header.interface() != served {
            let error = if header.interface().hash == served.hash {
                RemoteError::WrongVersion
            } else {
                RemoteError::UnknownInterface
            };
            return self.reply(header, Response::failure(error));
        }
        let bytes = message.body.len() + REQUEST_BYTES;
        if let Err(error) = self.transport.admit(bytes) {
            return self.reply(header, Response::failure(error));
        }
        let future = self.service.handle(Request {
            operation: header.operation(),
            body: message.body,
            cap: message.cap,
        });
        self.work.push(Work {
            header,
            bytes,
            future,
        });
        self.held += bytes;
        self.tell_held();
    }

    /// Tells the transport how much is kept for the client.
    fn tell_held(&self) {
        self.transport.hold(self.held + self.reassembler.reserved());
    }

    fn run(&mut self, context: &mut Context<'_>) -> bool {
        let mut finished = false;
        let mut index = 0;
        while let Some(work) = self.work.get_mut(index) {
            match work.future.as_mut().poll(context) {
                Poll::Pending => index += 1,
                Poll::Ready(response) => {
                    let header = work.header;
                    self.held -= self.work.swap_remove(index).bytes;
                    self.reply(header, response);
                    finished = true;
                }
            }
        }
        finished
    }

    /// Queues the answer to the request that had `header`.
    fn reply(&mut self, header: WireHeader, response: Response) {
        // Answers are for requests alone: answering what isn't one could go on
        // for ever between two servers.
        if header.kind() != Kind::Request || self.closed {
            return;
        }
        let (kind, body) = match response.result {
            Ok(body) => (Kind::Reply, body),
            Err(error) => (Kind::Failure, alloc::vec![error as u8]),
        };
        let header = WireHeader::new(
            self.service.interface(),
            kind,
            header.operation(),
            header.correlation(),
        );
        self.held += body.len();
        self.replies.push_back(Outgoing::new(Message {
            header,
            body,
            cap: response.cap,
        }));
        self.tell_held();
    }

    fn send(&mut self, context: &mut Context<'_>) {
        let size = self.transport.fragment_bytes();
        while let Some(front) = self.replies.front_mut() {
            let (fragment, cap) = (front.fragment(size), front.unsent_cap());
            match self.transport.poll_send(context, &fragment, cap) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) => {
                    if front.advance(size) {
                        self.pop_reply();
                    }
                }
                Poll::Ready(Err(TransportError::Closed)) => return self.close(),
                Poll::Ready(Err(_)) => self.replace_front(),
            }
        }
    }

    fn pop_reply(&mut self) -> Option<Outgoing> {
        let reply = self.replies.pop_front()?;
        self.held -= reply.body_bytes();
        self.tell_held();
        Some(reply)
    }

    /// The transport refuses the first reply: tells the client so instead.
    fn replace_front(&mut self) {
        let Some(refused) = self.pop_reply() else {
            return;
        };
        let header = refused.header();
        if header.kind() == Kind::Reply {
            self.held += 1;
            self.replies.push_front(Outgoing::new(Message {
                header: WireHeader::new(
                    header.interface(),
                    Kind::Failure,
                    header.operation(),
                    header.correlation(),
                ),
                body: alloc::vec![RemoteError::ReplyLost as u8],
                cap: None,
            }));
        }
    }

    fn close(&mut self) {
        self.closed = true;
        self.service.closed();
        while self.pop_reply().is_some() {}
    }
}
