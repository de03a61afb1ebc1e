//! What one client may have of a server, so that it leaves some for the others.
//!
//! A server's memory and connections are for all its clients. Each may have connections, and
//! may keep bytes in the server for messages that are on their way in, for requests at work and
//! for replies that it hasn't taken: as much as it likes up to its share, over all its
//! connections together. Who goes over gets [`RemoteError::ShareUsed`]; whoever is gone has
//! nothing any more, since a [`Share`] gives back what it stands for when it is dropped.
//!
//! There are never so many connections that the first ones of a newcomer are refused for those
//! that others have beside their own first.

use alloc::{collections::BTreeMap, rc::Rc};
use core::cell::{Cell, RefCell};

use crate::RemoteError;

/// Connections that one client may have.
pub const CONNECTIONS: usize = 32;
/// Connections that any client may have, also when others have [`ALL_CONNECTIONS`].
const FIRST_CONNECTIONS: usize = 2;
/// Connections of all clients, without the first of newcomers.
pub const ALL_CONNECTIONS: usize = 512;
/// Connections of all clients.
const MOST_CONNECTIONS: usize = 2 * ALL_CONNECTIONS;
/// Fragments of one client that may wait, on all its connections.
pub const FRAGMENTS: usize = 768;
/// Bytes of bodies that may be kept for one client, unless it is one body alone.
pub const BYTES: usize = 64 << 10;

/// A client, as the server's transport tells them apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct ClientId(pub u64);

/// What one client has.
#[derive(Debug, Default)]
struct Used {
    connections: Cell<usize>,
    fragments: Cell<usize>,
    bytes: Cell<usize>,
}

/// What the clients of a server have. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Shares(Rc<All>);

#[derive(Debug, Default)]
struct All {
    clients: RefCell<BTreeMap<ClientId, Rc<Used>>>,
    connections: Cell<usize>,
}

/// One connection's part of what its client has.
#[derive(Debug)]
pub struct Share {
    all: Rc<All>,
    client: ClientId,
    used: Rc<Used>,
    fragments: Cell<usize>,
    bytes: Cell<usize>,
}

impl Shares {
    /// A connection for `client`.
    ///
    /// # Errors
    /// [`RemoteError::ShareUsed`] when it has as many as one client may have,
    /// [`RemoteError::Busy`] when all clients together do.
    pub fn connect(&self, client: ClientId) -> Result<Share, RemoteError> {
        let all = &self.0;
        let mut clients = all.clients.borrow_mut();
        let own = clients
            .get(&client)
            .map_or(0, |used| used.connections.get());
        if own >= CONNECTIONS {
            return Err(RemoteError::ShareUsed);
        }
        let most = if own < FIRST_CONNECTIONS {
            MOST_CONNECTIONS
        } else {
            ALL_CONNECTIONS
        };
        if all.connections.get() >= most {
            return Err(RemoteError::Busy);
        }
        let used = Rc::clone(clients.entry(client).or_default());
        used.connections.set(own + 1);
        all.connections.set(all.connections.get() + 1);
        Ok(Share {
            all: Rc::clone(all),
            client,
            used,
            fragments: Cell::new(0),
            bytes: Cell::new(0),
        })
    }
}

impl Share {
    /// A fragment is to wait on this connection: whether the client may have one more.
    #[must_use]
    pub fn add_fragment(&self) -> bool {
        let has_room = self.used.fragments.get() < FRAGMENTS;
        if has_room {
            self.used.fragments.set(self.used.fragments.get() + 1);
            self.fragments.set(self.fragments.get() + 1);
        }
        has_room
    }

    /// One that waited has been taken.
    pub fn take_fragment(&self) {
        self.used
            .fragments
            .set(self.used.fragments.get().saturating_sub(1));
        self.fragments.set(self.fragments.get().saturating_sub(1));
    }

    /// Whether `bytes` more may be kept for the client: up to its share, or one body whatever
    /// its size.
    ///
    /// # Errors
    /// [`RemoteError::ShareUsed`].
    pub fn admit(&self, bytes: usize) -> Result<(), RemoteError> {
        let held = self.used.bytes.get();
        if held == 0 || held.saturating_add(bytes) <= BYTES {
            Ok(())
        } else {
            Err(RemoteError::ShareUsed)
        }
    }

    /// So many bytes are kept for this connection now.
    pub fn hold(&self, bytes: usize) {
        let others = self.used.bytes.get().saturating_sub(self.bytes.get());
        self.used.bytes.set(others + bytes);
        self.bytes.set(bytes);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.hold(0);
        let used = &self.used;
        used.fragments
            .set(used.fragments.get().saturating_sub(self.fragments.get()));
        used.connections
            .set(used.connections.get().saturating_sub(1));
        let all = &self.all;
        all.connections.set(all.connections.get().saturating_sub(1));
        if used.connections.get() == 0 {
            all.clients.borrow_mut().remove(&self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn connect(shares: &Shares, client: u64, count: usize) -> Vec<Share> {
        let one = |_| shares.connect(ClientId(client));
        (0..count).map(one).collect::<Result<_, _>>().expect("room")
    }

    #[test]
    fn one_client_leaves_connections_for_others() {
        let shares = Shares::default();
        let mut greedy = connect(&shares, 1, CONNECTIONS);
        let more = shares.connect(ClientId(1));
        assert_eq!(more.unwrap_err(), RemoteError::ShareUsed);
        drop(connect(&shares, 2, CONNECTIONS));
        greedy.pop();
        greedy.append(&mut connect(&shares, 1, 1));
        drop(greedy);
        assert!(shares.0.clients.borrow().is_empty());
        assert_eq!(shares.0.connections.get(), 0);
    }

    #[test]
    fn many_clients_leave_a_newcomer_its_first_connections() {
        let shares = Shares::default();
        let clients = 0..u64::try_from(ALL_CONNECTIONS / CONNECTIONS).unwrap();
        let crowd: Vec<_> = clients.map(|n| connect(&shares, n, CONNECTIONS)).collect();
        assert_eq!(shares.0.connections.get(), ALL_CONNECTIONS);
        let _first = connect(&shares, 900, FIRST_CONNECTIONS);
        let next = shares.connect(ClientId(900)).unwrap_err();
        assert_eq!(next, RemoteError::Busy);
        drop(crowd);
        drop(connect(&shares, 900, CONNECTIONS - FIRST_CONNECTIONS));
    }

    #[test]
    fn bytes_are_the_clients_over_all_its_connections() {
        let shares = Shares::default();
        let [one, other] = <[Share; 2]>::try_from(connect(&shares, 1, 2)).expect("two");
        let stranger = shares.connect(ClientId(2)).expect("room");
        // One body alone may have any size.
        assert_eq!(one.admit(BYTES + 1), Ok(()));
        one.hold(BYTES - 10);
        assert_eq!(other.admit(10), Ok(()));
        assert_eq!(other.admit(11), Err(RemoteError::ShareUsed));
        assert_eq!(one.admit(11), Err(RemoteError::ShareUsed));
        assert_eq!(stranger.admit(BYTES), Ok(()));
        other.hold(10);
        one.hold(20);
        assert_eq!(one.admit(BYTES - 30), Ok(()));
        assert_eq!(one.admit(BYTES - 29), Err(RemoteError::ShareUsed));
        drop(one);
        assert_eq!(other.admit(BYTES - 10), Ok(()));
        assert_eq!(other.admit(BYTES), Err(RemoteError::ShareUsed));
    }

    #[test]
    fn fragments_are_the_clients_over_all_its_connections() {
        let shares = Shares::default();
        let [one, other] = <[Share; 2]>::try_from(connect(&shares, 1, 2)).expect("two");
        assert!((1..FRAGMENTS).all(|_| one.add_fragment()));
        assert!(other.add_fragment());
        assert!(!other.add_fragment() && !one.add_fragment());
        assert!(shares.connect(ClientId(2)).expect("room").add_fragment());
        one.take_fragment();
        assert!(other.add_fragment());
        assert!(!one.add_fragment());
        drop(one);
        assert!((2..FRAGMENTS).all(|_| other.add_fragment()));
        assert!(!other.add_fragment());
    }

    proptest! {
        /// Whatever is done: what clients have is the sum of what their connections have, and
        /// nothing is left when all are gone.
        #[test]
        fn all_is_given_back(steps in proptest::collection::vec((0..4_u64, 0..6_u8, 0..70_000_usize), 0..200)) {
            let shares = Shares::default();
            let mut open: Vec<(u64, Share)> = Vec::new();
            for (client, what, bytes) in steps {
                let at = open.iter().position(|(known, _)| *known == client);
                match (what, at) {
                    (0 | 1, _) | (_, None) => {
                        open.extend(shares.connect(ClientId(client)).ok().map(|share| (client, share)));
                    }
                    (2, Some(at)) => drop(open.swap_remove(at)),
                    (3, Some(at)) => {
                        let share = &open[at].1;
                        if share.admit(bytes).is_ok() {
                            share.hold(share.bytes.get() + bytes);
                        }
                    }
                    (4, Some(at)) => open[at].1.hold(bytes % 100),
                    (_, Some(at)) => {
                        let _ = open[at].1.add_fragment();
                    }
                }
                let clients = shares.0.clients.borrow();
                for (id, used) in clients.iter() {
                    let of_client = || open.iter().filter(|(known, _)| *known == id.0).map(|(_, share)| share);
                    prop_assert_eq!(used.connections.get(), of_client().count());
                    prop_assert_eq!(used.bytes.get(), of_client().map(|s| s.bytes.get()).sum::<usize>());
                    prop_assert_eq!(used.fragments.get(), of_client().map(|s| s.fragments.get()).sum::<usize>());
                }
                prop_assert_eq!(shares.0.connections.get(), open.len());
            }
            open.clear();
            prop_assert!(shares.0.clients.borrow().is_empty());
            prop_assert_eq!(shares.0.connections.get(), 0);
        }
    }
}
