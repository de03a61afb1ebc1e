//! Requests to any monitor, passed on along the tree.
//!
//! A monitor has a *link* to each neighbour in the tree, and one to each monitor
//! that it has opened a ring to directly. A *connection* joins a client on one core
//! with a service on another; it looks like any other transport of `capelin_idc`
//! ([`Hop`]), so that every interface works across cores as it does on one.
//!
//! What travels over a link is a fragment of `capelin_idc` whose payload begins
//! with a route word; the rest is the connection's own payload:
//!
//! ```text
//!  63          48 47        41 40        32 31    16 15     0
//! | connection   | 0          | to server  |   to   |  from  |
//! ```
//! A monitor that isn't the destination puts the fragment into the queue of the
//! next link: towards the child below which the destination is, else towards the
//! parent. A queue holds [`QUEUE_LIMIT`] fragments; while the next one is full, the
//! link that the fragment came from isn't read. Ways lead up and then down and
//! never back, and what has arrived is always taken, so nothing can wait in a
//! circle. No handler waits for a queue: each request is a future of its own.
//!
//! Fragments of one connection take one way, in order. A connection stays on the
//! link that it was opened on. A request for a core that can't be reached is
//! answered with [`RemoteError::Refused`] by the first monitor that notices.
//!
//! Long, since a transport, its links and what passes through share the bookkeeping of
//! calls under way.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    vec::Vec,
};
use core::{
    cell::{Cell, RefCell},
    future::poll_fn,
    task::{Context, Poll, Waker},
};

use capelin_idc::{
    Arrival, BoxFuture, Cap, Client, Fragment, InterfaceId, Kind, RemoteError, Service, Transport,
    TransportError, WireHeader, serve,
};

use crate::plan::Plan;

/// Fragments that wait for one link before those who send are held up.
pub const QUEUE_LIMIT: usize = 256;
/// Connections that other cores may have open to this one.
pub const MAX_CONNECTIONS: usize = 4096;
/// Fragments moved before other tasks get their turn.
const BUDGET: usize = 128;
/// Bytes of the route word.
const ROUTE_BYTES: usize = 8;

/// Where a fragment comes from and goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Route {
    from: u16,
    to: u16,
    connection: u16,
    is_to_server: bool,
}

impl Route {
    const fn to_word(self) -> u64 {
        self.from as u64
            | (self.to as u64) << 16
            | (self.is_to_server as u64) << 32
            | (self.connection as u64) << 48
    }

    /// `None` for bits that have no meaning.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the fields are cut out on purpose"
    )]
    const fn from_word(word: u64) -> Option<Self> {
        if word >> 33 & 0x7fff != 0 {
            return None;
        }
        Some(Self {
            from: word as u16,
            to: (word >> 16) as u16,
            is_to_server: word >> 32 & 1 != 0,
            connection: (word >> 48) as u16,
        })
    }

    /// The way back.
    const fn reversed(self) -> Self {
        Self {
            from: self.to,
            to: self.from,
            connection: self.connection,
            is_to_server: !self.is_to_server,
        }
    }

    /// The route of a fragment and the words that follow it.
    fn of(fragment: &Fragment) -> Option<(Self, &[u64])> {
        let (words, count) = fragment.payload_words();
        let (word, rest) = words.get(..count)?.split_first()?;
        Some((Self::from_word(*word)?, rest))
    }

    /// A fragment that goes this way.
    fn wrap(self, header: WireHeader, payload: &[u64]) -> Fragment {
        let mut words = [0; capelin_idc::message::MAX_FRAGMENT_BYTES / 8];
        let count = payload.len().min(words.len() - 1);
        words[0] = self.to_word();
        words[1..=count].copy_from_slice(&payload[..count]);
        Fragment::from_words(header, &words[..=count])
    }
}

/// A ring to another monitor, with what waits to go out.
struct Link<T> {
    transport: T,
    outgoing: RefCell<VecDeque<Fragment>>,
    pump: Cell<Option<Waker>>,
    waiting_for_room: RefCell<Vec<Waker>>,
    is_closed: Cell<bool>,
}

impl<T> Link<T> {
    /// Queues `fragment`, or keeps the waker for when there is room.
    fn push(&self, context: &mut Context<'_>, fragment: &Fragment) -> Poll<()> {
        if self.outgoing.borrow().len() >= QUEUE_LIMIT {
            let mut waiting = self.waiting_for_room.borrow_mut();
            if !waiting.iter().any(|known| known.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            return Poll::Pending;
        }
        self.queue(fragment);
        Poll::Ready(())
    }

    /// Queues `fragment`, also where there is no room: a connection's last, of which nobody would hear otherwise
    /// that it has ended.
    fn queue(&self, fragment: &Fragment) {
        self.outgoing.borrow_mut().push_back(*fragment);
        if let Some(pump) = self.pump.take() {
            pump.wake();
        }
    }

    fn made_room(&self) {
        let waiting = core::mem::take(&mut *self.waiting_for_room.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// What arrived for one side of a connection.
#[derive(Default)]
struct Inbox {
    queue: RefCell<VecDeque<Fragment>>,
    reader: Cell<Option<Waker>>,
    is_closed: Cell<bool>,
}

impl Inbox {
    fn wake(&self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// Which side of which connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    peer: u16,
    connection: u16,
    is_server: bool,
}

/// One side of a connection, as it is found by its key.
struct Connection<T> {
    inbox: Rc<Inbox>,
    /// The link that it goes over; `None` within this core.
    link: Option<Rc<Link<T>>>,
}

/// Runs a future beside others.
pub type Spawner = Box<dyn Fn(BoxFuture<'static, ()>)>;
/// Makes the service with an interface for a core, or refuses.
pub type Acceptor = Box<dyn Fn(u16, InterfaceId) -> Option<Box<dyn Service>>>;

struct Inner<T: Transport> {
    own: u16,
    parent: Option<u16>,
    below: RefCell<Plan>,
    tree: RefCell<BTreeMap<u16, Rc<Link<T>>>>,
    direct: RefCell<BTreeMap<u16, Rc<Link<T>>>>,
    connections: RefCell<BTreeMap<Key, Connection<T>>>,
    last_connection: Cell<u16>,
    spawn: Spawner,
    accept: RefCell<Option<Acceptor>>,
}

/// One monitor's part of the overlay. Clones are the same one.
pub struct Overlay<T: Transport>(Rc<Inner<T>>);

impl<T: Transport> Clone for Overlay<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T: Transport> core::fmt::Debug for Overlay<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Overlay")
            .field("own", &self.0.own)
            .field("parent", &self.0.parent)
            .finish_non_exhaustive()
    }
}

/// How a core is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Along the tree.
    Tree,
    /// Over the ring that joins the two.
    Direct,
}

impl<T: Transport + 'static> Overlay<T> {
    /// The part of core `own`, whose parent is `parent` (the boot core has none).
    pub fn new(own: u16, parent: Option<u16>, spawn: Spawner) -> Self {
        Self(Rc::new(Inner {
            own,
            parent,
            below: RefCell::default(),
            tree: RefCell::default(),
            direct: RefCell::default(),
            connections: RefCell::default(),
            last_connection: Cell::new(0),
            spawn,
            accept: RefCell::new(None),
        }))
    }

    /// This core.
    #[must_use]
    pub fn own(&self) -> u16 {
        self.0.own
    }

    /// The parent's core.
    #[must_use]
    pub fn parent(&self) -> Option<u16> {
        self.0.parent
    }

    /// From now on, other cores' connections are served by what `accept` makes.
    pub fn serve(&self, accept: Acceptor) {
        *self.0.accept.borrow_mut() = Some(accept);
    }

    /// The cores below this one, and through whom they are reached.
    pub fn set_below(&self, plan: Plan) {
        *self.0.below.borrow_mut() = plan;
    }

    /// Adds the ring to a neighbour in the tree (parent or child).
    pub fn add_neighbour(&self, core: u16, transport: T) {
        let link = self.link(transport);
        self.0.tree.borrow_mut().insert(core, link);
    }

    /// Adds a ring that leads to `core` directly.
    pub fn add_direct(&self, core: u16, transport: T) {
        let link = self.link(transport);
        self.0.direct.borrow_mut().insert(core, link);
    }

    /// Whether there is a ring to `core` that isn't part of the tree, or a neighbour.
    #[must_use]
    pub fn is_direct(&self, core: u16) -> bool {
        let is_open = |link: &Rc<Link<T>>| !link.is_closed.get();
        self.0.direct.borrow().get(&core).is_some_and(is_open)
            || self.0.tree.borrow().get(&core).is_some_and(is_open)
    }

    /// Forgets a neighbour that doesn't answer.
    pub fn remove_neighbour(&self, core: u16) {
        if let Some(link) = self.0.tree.borrow_mut().remove(&core) {
            self.0.close(&link);
        }
    }

    /// A client of a service on `core`.
    ///
    /// # Errors
    /// [`TransportError::Closed`] when no way leads there.
    pub fn connect<C: Client<Hop<T>>>(&self, core: u16, way: Way) -> Result<C, TransportError> {
        Ok(C::new(self.hop(core, way)?))
    }

    fn hop(&self, core: u16, way: Way) -> Result<Hop<T>, TransportError> {
        let inner = &self.0;
        let direct = inner.direct.borrow().get(&core).map(Rc::clone);
        let link = match (core == inner.own, direct) {
            (true, _) => None,
            (false, Some(link)) if way == Way::Direct && !link.is_closed.get() => Some(link),
            _ => Some(inner.towards(core).ok_or(TransportError::Closed)?),
        };
        let mut connections = inner.connections.borrow_mut();
        // A connection number that isn't in use with that peer.
        for _ in 0..=u16::MAX {
            let connection = inner.last_connection.get().wrapping_add(1);
            inner.last_connection.set(connection);
            let key = Key {
                peer: core,
                connection,
                is_server: false,
            };
            if connections.contains_key(&key) {
                continue;
            }
            let inbox = Rc::<Inbox>::default();
            let entry = Connection {
                inbox: Rc::clone(&inbox),
                link: link.as_ref().map(Rc::clone),
            };
            connections.insert(key, entry);
            return Ok(Hop {
                overlay: Rc::clone(inner),
                link,
                key,
                inbox,
            });
        }
        Err(TransportError::Closed)
    }

    fn link(&self, transport: T) -> Rc<Link<T>> {
        let link = Rc::new(Link {
            transport,
            outgoing: RefCell::default(),
            pump: Cell::new(None),
            waiting_for_room: RefCell::default(),
            is_closed: Cell::new(false),
        });
        let (inner, pumped) = (Rc::clone(&self.0), Rc::clone(&link));
        (self.0.spawn)(Box::pin(async move {
            let mut held = None;
            poll_fn(|context| pump(&inner, &pumped, &mut held, context)).await;
        }));
        link
    }
}

/// Moves what there is to move over one link, both ways. Ends when it has closed.
fn pump<T: Transport + 'static>(
    inner: &Rc<Inner<T>>,
    link: &Rc<Link<T>>,
    held: &mut Option<Fragment>,
    context: &mut Context<'_>,
) -> Poll<()> {
    link.pump.set(Some(context.waker().clone()));
    let mut budget = BUDGET;
    loop {
        let mut moved = false;
        loop {
            let front = link.outgoing.borrow().front().copied();
            let Some(front) = front else { break };
            match link.transport.poll_send(context, &front, None) {
                Poll::Pending => break,
                Poll::Ready(Err(TransportError::Closed)) => {
                    inner.close(link);
                    return Poll::Ready(());
                }
                // A fragment that the transport refuses is lost; its call times out.
                Poll::Ready(_) => {
                    link.outgoing.borrow_mut().pop_front();
                    link.made_room();
                    moved = true;
                }
            }
        }
        if held.is_none() {
            match link.transport.poll_receive(context) {
                Poll::Pending => {}
                // Capabilities don't travel on the overlay.
                Poll::Ready(Ok(arrival)) => *held = Some(arrival.fragment),
                Poll::Ready(Err(_)) => {
                    inner.close(link);
                    return Poll::Ready(());
                }
            }
        }
        if let Some(fragment) = held
            && inner.route(link, fragment, context).is_ready()
        {
            *held = None;
            moved = true;
        }
        if link.is_closed.get() {
            return Poll::Ready(());
        }
        budget -= 1;
        if budget == 0 {
            context.waker().wake_by_ref();
            break;
        }
        if !moved {
            break;
        }
    }
    link.transport.flush();
    Poll::Pending
}

impl<T: Transport + 'static> Inner<T> {
    /// The neighbour's link on the way to `core`.
    fn towards(&self, core: u16) -> Option<Rc<Link<T>>> {
        let child = self.below.borrow().child_towards(core);
        let next = child.or(self.parent)?;
        let link = self.tree.borrow().get(&next).map(Rc::clone)?;
        (!link.is_closed.get()).then_some(link)
    }

    /// Takes a fragment that came over `link`: keeps it or passes it on. `Pending`
    /// while the next queue is full.
    fn route(
        self: &Rc<Self>,
        link: &Rc<Link<T>>,
        fragment: &Fragment,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let Some((route, payload)) = Route::of(fragment) else {
            return Poll::Ready(());
        };
        if route.to == self.own {
            self.deliver(route, fragment.header(), payload, Some(link));
            return Poll::Ready(());
        }
        match self.towards(route.to) {
            Some(next) if !Rc::ptr_eq(&next, link) => next.push(context, fragment),
            // Nowhere, or back: the trees don't agree while a core joins or has failed.
            _ => {
                self.refuse(link, route, fragment.header(), context);
                Poll::Ready(())
            }
        }
    }

    /// Answers a request that leads nowhere.
    fn refuse(&self, link: &Link<T>, route: Route, header: WireHeader, context: &mut Context<'_>) {
        if header.kind() == Kind::Request && header.is_first() {
            let header = WireHeader::new(
                header.interface(),
                Kind::Failure,
                header.operation(),
                header.correlation(),
            );
            // The body's length, one, and the byte.
            let body = [1 | (RemoteError::Refused as u64) << 16];
            // Without room the caller's time limit tells.
            let _ = link.push(context, &route.reversed().wrap(header, &body));
        }
    }

    /// Puts a fragment into its connection's inbox; opens one for a new client.
    fn deliver(
        self: &Rc<Self>,
        route: Route,
        header: WireHeader,
        payload: &[u64],
        link: Option<&Rc<Link<T>>>,
    ) {
        let key = Key {
            peer: route.from,
            connection: route.connection,
            is_server: route.is_to_server,
        };
        let inbox_of = |entry: &Connection<T>| Rc::clone(&entry.inbox);
        let known = self.connections.borrow().get(&key).map(inbox_of);
        let inbox = match known {
            Some(inbox) => inbox,
            None if route.is_to_server && header.is_first() && header.kind() != Kind::Close => {
                match self.open(key, header.interface(), link) {
                    Some(inbox) => inbox,
                    None => {
                        if let Some(link) = link {
                            let mut context = Context::from_waker(Waker::noop());
                            self.refuse(link, route, header, &mut context);
                        }
                        return;
                    }
                }
            }
            // Late for a connection that has ended.
            None => return,
        };
        inbox
            .queue
            .borrow_mut()
            .push_back(Fragment::from_words(header, payload));
        inbox.wake();
    }

    /// Serves a new client.
    fn open(
        self: &Rc<Self>,
        key: Key,
        interface: InterfaceId,
        link: Option<&Rc<Link<T>>>,
    ) -> Option<Rc<Inbox>> {
        if self.connections.borrow().len() >= MAX_CONNECTIONS {
            return None;
        }
        let service = self.accept.borrow().as_ref()?(key.peer, interface)?;
        let inbox = Rc::<Inbox>::default();
        let hop = Hop {
            overlay: Rc::clone(self),
            link: link.map(Rc::clone),
            key,
            inbox: Rc::clone(&inbox),
        };
        let entry = Connection {
            inbox: Rc::clone(&inbox),
            link: link.map(Rc::clone),
        };
        self.connections.borrow_mut().insert(key, entry);
        (self.spawn)(Box::pin(async move { serve(&hop, &*service).await }));
        Some(inbox)
    }

    /// The peer of `link` is gone: ends what goes over it.
    fn close(&self, link: &Rc<Link<T>>) {
        link.is_closed.set(true);
        link.outgoing.borrow_mut().clear();
        link.made_room();
        if let Some(pump) = link.pump.take() {
            pump.wake();
        }
        for Connection { inbox, link: way } in self.connections.borrow().values() {
            if way.as_ref().is_some_and(|way| Rc::ptr_eq(way, link)) {
                inbox.is_closed.set(true);
                inbox.wake();
            }
        }
    }
}

/// One side of a connection between two cores.
pub struct Hop<T: Transport> {
    overlay: Rc<Inner<T>>,
    /// `None` when both ends are on this core.
    link: Option<Rc<Link<T>>>,
    key: Key,
    inbox: Rc<Inbox>,
}

impl<T: Transport> core::fmt::Debug for Hop<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Hop")
            .field("peer", &self.key.peer)
            .field("connection", &self.key.connection)
            .finish_non_exhaustive()
    }
}

impl<T: Transport + 'static> Transport for Hop<T> {
    fn fragment_bytes(&self) -> usize {
        let bytes = self
            .link
            .as_ref()
            .map_or(48, |link| link.transport.fragment_bytes());
        bytes.saturating_sub(ROUTE_BYTES)
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
        let route = Route {
            from: self.overlay.own,
            to: self.key.peer,
            connection: self.key.connection,
            is_to_server: !self.key.is_server,
        };
        let (words, count) = fragment.payload_words();
        let payload = words.get(..count).unwrap_or_default();
        let Some(link) = &self.link else {
            self.overlay
                .deliver(route, fragment.header(), payload, None);
            return Poll::Ready(Ok(()));
        };
        if link.is_closed.get() {
            return Poll::Ready(Err(TransportError::Closed));
        }
        let wrapped = route.wrap(fragment.header(), payload);
        if fragment.header().kind() == Kind::Close {
            // Whoever sends it doesn't wait. There is one a connection.
            link.queue(&wrapped);
            return Poll::Ready(Ok(()));
        }
        link.push(context, &wrapped).map(Ok)
    }

    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Result<Arrival, TransportError>> {
        if let Some(fragment) = self.inbox.queue.borrow_mut().pop_front() {
            return Poll::Ready(Ok(Arrival {
                fragment,
                cap: None,
            }));
        }
        if self.inbox.is_closed.get() {
            return Poll::Ready(Err(TransportError::Closed));
        }
        self.inbox.reader.set(Some(context.waker().clone()));
        Poll::Pending
    }
}

impl<T: Transport> Drop for Hop<T> {
    fn drop(&mut self) {
        self.overlay.connections.borrow_mut().remove(&self.key);
    }
}

#[cfg(test)]
#[path = "overlay_tests.rs"]
mod tests;
