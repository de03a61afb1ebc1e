//! One endpoint that serves many clients.
//!
//! One task takes messages from the endpoint and sorts them by badge into the queues of their
//! connections; each connection has a task of its own, which runs [`capelin_idc::serve`]. A client
//! that doesn't take its replies holds up only itself: its replies wait, then its requests, and
//! when its queue is full its connection ends. How many connections it may have, and how much may
//! be kept for it on all of them, is bounded ([`capelin_idc::shares`]): a client is the dispatcher
//! to whose endpoint replies go. A connection ends, too, when the client is gone, which the kernel
//! says: nobody holds the capability any more by which it called.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};
use core::{
    cell::{Cell, RefCell},
    task::{Context, Poll, Waker},
};

use capelin_abi::{ObjectType, capability::DISPATCHER_BYTES, lmp::COUNTED_BADGE};
use capelin_idc::{
    Arrival, Cap, Fragment, InterfaceId, Kind, RemoteError, Service, Transport, TransportError,
    WireHeader,
    message::MAX_FRAGMENT_BYTES,
    serve,
    shares::{ClientId, Share, Shares},
};

use super::{arrival, patience::Bound, sender::Sender};
use crate::{
    OwnedCap, RtError,
    endpoint::{Endpoint, News},
    heap, spawn,
};

/// Badges from here on are connections, which the kernel counts: it says when a client is gone.
/// Those below are whatever the server gives out.
const CONNECTIONS: u64 = COUNTED_BADGE;
/// The first badge that a server can't give out.
const FIRST_OTHER: u64 = 1 << 32;
/// Fragments of one connection that may wait.
const MAX_WAITING: usize = 512;
/// So many may wait even while memory is short: the flood is somebody else's.
const FEW_WAITING: usize = 64;

/// Who asks to be served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The badge of the capability through which it asked.
    pub badge: u64,
    /// Which dispatcher it is: another after its end may be called the same.
    pub client: ClientId,
    /// This connection's own number.
    pub connection: u64,
    /// The interface that it wants.
    pub interface: InterfaceId,
}

/// An endpoint to which clients bind.
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
}

/// The server's side of a connection.
struct Connection {
    sender: Sender,
    share: Share,
    waiting: RefCell<VecDeque<Arrival>>,
    waker: Cell<Option<Waker>>,
    is_closed: Cell<bool>,
}

type Connections = Rc<RefCell<BTreeMap<u64, Rc<Connection>>>>;

impl Listener {
    /// A listener whose ring holds `capacity` messages (1–128; 16 is usual) of all its clients.
    ///
    /// # Errors
    /// As [`Endpoint::new`].
    pub fn new(capacity: usize) -> Result<Self, RtError> {
        let endpoint = Endpoint::new(capacity)?;
        endpoint.accept_caps();
        Ok(Self { endpoint })
    }

    /// A capability by which a client may bind. `badge` (1 to 2³² − 1) is what
    /// [`Caller::badge`] says of whoever uses it.
    ///
    /// # Errors
    /// [`RtError::InvalidSize`] for another badge; as [`OwnedCap::badged`].
    pub fn capability(&self, badge: u64) -> Result<OwnedCap, RtError> {
        if badge == 0 || badge >= FIRST_OTHER {
            return Err(RtError::InvalidSize);
        }
        self.endpoint.badged(badge)
    }

    /// Serves every client by a service of its own, which `make` makes. Runs for ever.
    pub async fn serve<S: Service + 'static>(self, make: impl Fn(Caller) -> S) {
        self.serve_any(|caller| Ok(Box::new(make(caller)))).await;
    }

    /// Serves every client by a service of its own, which `make` makes or refuses: for listeners
    /// with several interfaces. Runs for ever.
    pub async fn serve_any(self, make: impl Fn(Caller) -> Result<Box<dyn Service>, RemoteError>) {
        let connections = Connections::default();
        let shares = Shares::default();
        let mut last = CONNECTIONS;
        loop {
            let received = self.endpoint.receive().await;
            let badge = received.badge;
            match received.news() {
                Some(News::NoSenders(gone)) => {
                    if let Some(connection) = connections.borrow().get(&gone) {
                        connection.end();
                    }
                }
                Some(News::Missed) => {
                    let connections = connections.borrow();
                    let gone = connections.values().filter(|it| it.sender.is_gone());
                    gone.for_each(|connection| connection.end());
                }
                None => {}
            }
            let Some(arrival) = arrival(received) else {
                continue;
            };
            let header = arrival.fragment.header();
            if badge >= CONNECTIONS {
                route(&connections, badge, arrival);
            } else if header.kind() == Kind::Bind {
                last += 1;
                let Some((client, replies)) = client(arrival.cap) else {
                    continue;
                };
                let caller = Caller {
                    badge,
                    client,
                    connection: last,
                    interface: header.interface(),
                };
                let share = shares.connect(client);
                let sender = Sender::new(replies, Bound::Client);
                self.accept(&connections, caller, sender, share, &make);
            }
        }
    }

    fn accept(
        &self,
        connections: &Connections,
        caller: Caller,
        sender: Sender,
        share: Result<Share, RemoteError>,
        make: &impl Fn(Caller) -> Result<Box<dyn Service>, RemoteError>,
    ) {
        let accepted = share.and_then(|share| {
            if !heap::has_room() {
                return Err(RemoteError::Busy);
            }
            let service = make(caller)?;
            let served = service.interface();
            if served.hash != caller.interface.hash {
                return Err(RemoteError::UnknownInterface);
            }
            if served.version != caller.interface.version {
                return Err(RemoteError::WrongVersion);
            }
            let cap = self.endpoint.badged(caller.connection);
            Ok((share, service, cap.map_err(|_| RemoteError::Busy)?))
        });
        let header = |kind| WireHeader::new(caller.interface, kind, 0, 0);
        match accepted {
            Err(error) => {
                let body = [1, 0, error as u8];
                let failure = Fragment::new(header(Kind::Failure), &body);
                // Its ring is fresh, so there is room; if not, the client did that.
                let mut context = Context::from_waker(Waker::noop());
                let _ = sender.poll_send(&mut context, &failure, None);
            }
            Ok((share, service, cap)) => {
                let bound = Fragment::new(header(Kind::Bound), &[0, 0]);
                let connection = Rc::new(Connection {
                    sender,
                    share,
                    waiting: RefCell::default(),
                    waker: Cell::new(None),
                    is_closed: Cell::new(false),
                });
                connections
                    .borrow_mut()
                    .insert(caller.connection, Rc::clone(&connection));
                let connections = Rc::clone(connections);
                spawn(async move {
                    let sent = connection.sender.deliver(&bound, cap.give()).await;
                    if sent.is_ok() {
                        serve(&*connection, &*service).await;
                    }
                    connections.borrow_mut().remove(&caller.connection);
                    connection.close(caller.interface);
                });
            }
        }
    }
}

/// Who binds, and the capability by which it is answered. Without one there is nobody to answer;
/// and that must be one whose badge is counted, as a client makes it for this connection alone:
/// others, of which many hold copies, may lead to somebody else.
fn client(replies: Option<Cap>) -> Option<(ClientId, OwnedCap)> {
    let replies = OwnedCap::received(replies?);
    let it = replies.identify().ok()?;
    // An endpoint has no size; its badge stands there. Its address is its dispatcher's, and on.
    let is_own = it.kind == ObjectType::EndpointLmp && it.size & COUNTED_BADGE != 0;
    let dispatcher = it.base.0 / DISPATCHER_BYTES;
    is_own.then_some((ClientId(dispatcher), replies))
}

fn route(connections: &Connections, badge: u64, arrival: Arrival) {
    let connection = connections.borrow().get(&badge).map(Rc::clone);
    let Some(connection) = connection.filter(|connection| !connection.is_closed.get()) else {
        // It has ended; the client has been told, or will find out.
        return;
    };
    let waiting = connection.waiting.borrow().len();
    let is_too_much = waiting >= MAX_WAITING || (waiting >= FEW_WAITING && !heap::has_room());
    if is_too_much || !connection.share.add_fragment() {
        connection.is_closed.set(true);
    } else {
        connection.waiting.borrow_mut().push_back(arrival);
    }
    if let Some(waker) = connection.waker.take() {
        waker.wake();
    }
}

impl Connection {
    /// The client is gone: what it sent is still taken, and then nothing more.
    fn end(&self) {
        self.is_closed.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Tells the client, if it has room, and disposes of what it sent.
    fn close(&self, interface: InterfaceId) {
        self.is_closed.set(true);
        let close = Fragment::new(WireHeader::new(interface, Kind::Close, 0, 0), &[0, 0]);
        let mut context = Context::from_waker(Waker::noop());
        let _ = self.sender.poll_send(&mut context, &close, None);
        for _ in self.waiting.take() {
            self.share.take_fragment();
        }
    }
}

impl Transport for Connection {
    fn fragment_bytes(&self) -> usize {
        MAX_FRAGMENT_BYTES
    }

    fn admit(&self, bytes: usize) -> Result<(), RemoteError> {
        self.share.admit(bytes)?;
        if heap::has_room() {
            Ok(())
        } else {
            Err(RemoteError::Busy)
        }
    }

    fn hold(&self, bytes: usize) {
        self.share.hold(bytes);
    }

    fn poll_send(
        &self,
        context: &mut Context<'_>,
        fragment: &Fragment,
        cap: Option<&Cap>,
    ) -> Poll<Result<(), TransportError>> {
        self.sender.poll_send(context, fragment, cap)
    }

    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Result<Arrival, TransportError>> {
        if let Some(arrival) = self.waiting.borrow_mut().pop_front() {
            self.share.take_fragment();
            return Poll::Ready(Ok(arrival));
        }
        if self.is_closed.get() {
            return Poll::Ready(Err(TransportError::Closed));
        }
        self.waker.set(Some(context.waker().clone()));
        Poll::Pending
    }
}
