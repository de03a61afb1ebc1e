//! The name service of one core, as `init` and the monitors serve it.

use alloc::{rc::Rc, string::String, vec::Vec};
use core::{
    cell::{Cell, RefCell},
    future::poll_fn,
    task::Poll,
};

use capelin_idc::{BoxFuture, Cap, InterfaceId, Request, Response, Service, shares::ClientId};
use capelin_interfaces::names::{Names, NamesError, NamesServer, PRIVATE};

use crate::registry::{Owner, Registry};

/// The services registered on a core. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct NameService {
    registry: Rc<RefCell<Registry<Cap>>>,
    discard: fn(Cap),
}

impl NameService {
    /// No services. `discard` disposes of capabilities that aren't kept.
    #[must_use]
    pub fn new(discard: fn(Cap)) -> Self {
        Self {
            registry: Rc::default(),
            discard,
        }
    }

    /// Serves one client, on one connection.
    pub fn serve(&self, client: ClientId, connection: u64) -> impl Service + use<> {
        Watched(NamesServer(self.of_client(client, connection)))
    }

    fn of_client(&self, client: ClientId, connection: u64) -> ClientNames {
        ClientNames {
            service: self.clone(),
            owner: Owner::Client(client, connection),
            is_closed: Cell::new(false),
        }
    }

    /// Registers a capability that lies in a slot of ours.
    ///
    /// # Errors
    /// As [`Registry::register`].
    pub fn add(&self, name: &str, endpoint: Cap) -> Result<(), NamesError> {
        self.add_for(name, endpoint, Owner::Own)
    }

    fn add_for(&self, name: &str, endpoint: Cap, owner: Owner) -> Result<(), NamesError> {
        let registered = self.registry.borrow_mut().register(name, endpoint, owner);
        registered.map_err(|(error, refused)| {
            (self.discard)(refused);
            error
        })
    }

    /// The capability registered under `name`, in our own slot.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cap> {
        self.registry.borrow().get(name).copied()
    }

    /// As [`NameService::get`], but waits until there is one.
    pub async fn wait(&self, name: &str) -> Cap {
        loop {
            if let Some(endpoint) = self.wait_unless(name, || false).await {
                return endpoint;
            }
        }
    }

    /// As [`NameService::wait`], unless `is_over`, which is asked whenever all who wait are woken.
    async fn wait_unless(&self, name: &str, is_over: impl Fn() -> bool) -> Option<Cap> {
        poll_fn(|context| {
            let mut registry = self.registry.borrow_mut();
            let found = registry.get(name).copied();
            if found.is_some() || is_over() {
                return Poll::Ready(found);
            }
            registry.wait(context.waker());
            Poll::Pending
        })
        .await
    }

    /// Forgets a service whose server is gone.
    pub fn remove(&self, name: &str) {
        let removed = self.registry.borrow_mut().remove(name);
        removed.into_iter().for_each(self.discard);
    }
}

/// The name service for one client.
#[derive(Debug)]
pub struct ClientNames {
    service: NameService,
    owner: Owner,
    is_closed: Cell<bool>,
}

impl Drop for ClientNames {
    /// The connection has ended: nobody answers any more to what was registered by it.
    fn drop(&mut self) {
        let removed = self.service.registry.borrow_mut().remove_of(self.owner);
        removed.into_iter().for_each(self.service.discard);
    }
}

impl Names for ClientNames {
    async fn register(&self, name: &str, endpoint: Cap) -> Result<(), NamesError> {
        self.service.add_for(name, endpoint, self.owner)
    }

    async fn look_up(&self, name: &str) -> Result<Cap, NamesError> {
        let found = self.service.get(name).filter(|_| !is_private(name));
        let found = found.ok_or(NamesError::NotFound)?;
        Ok(Cap::copy(found.address()))
    }

    async fn wait_for(&self, name: &str) -> Result<Cap, NamesError> {
        if is_private(name) {
            return Err(NamesError::NotFound);
        }
        let is_closed = || self.is_closed.get();
        let found = self.service.wait_unless(name, is_closed).await;
        let found = found.ok_or(NamesError::NotFound)?;
        Ok(Cap::copy(found.address()))
    }

    async fn list(&self) -> Result<Vec<String>, NamesError> {
        let mut names = self.service.registry.borrow().names();
        names.retain(|name| !is_private(name));
        Ok(names)
    }
}

/// Whether what is registered under `name` is for whoever serves the names, and nobody else.
fn is_private(name: &str) -> bool {
    name.starts_with(PRIVATE)
}

/// A [`ClientNames`] whose client's requests end with the client: it may wait for a name that
/// nobody ever registers.
struct Watched(NamesServer<ClientNames>);

impl Service for Watched {
    fn interface(&self) -> InterfaceId {
        self.0.interface()
    }

    fn handle(&self, request: Request) -> BoxFuture<'_, Response> {
        self.0.handle(request)
    }

    fn closed(&self) {
        let names = &self.0.0;
        names.is_closed.set(true);
        names.service.registry.borrow_mut().wake_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capelin_abi::CapAddress;
    use capelin_rt::executor::{block_on, spawn, yield_now};
    use std::cell::Cell;

    std::thread_local! {
        static DISCARDED: Cell<u32> = const { Cell::new(0) };
    }

    fn discard(cap: Cap) {
        DISCARDED.with(|sum| sum.set(sum.get() + cap.address().0));
    }

    #[test]
    fn who_waits_gets_a_copy_once_it_is_registered() {
        block_on(async {
            let service = NameService::new(discard);
            let names = service.of_client(ClientId(1), 1);
            let waiting = spawn({
                let names = service.of_client(ClientId(2), 2);
                async move { names.wait_for("skb").await }
            });
            yield_now().await;
            assert_eq!(names.look_up("skb").await, Err(NamesError::NotFound));
            let given = Cap::give(CapAddress(7));
            assert_eq!(names.register("skb", given).await, Ok(()));
            // What is handed out is a copy, even where the entry was given away to us.
            assert_eq!(waiting.await, Ok(Cap::copy(CapAddress(7))));
            assert_eq!(names.look_up("skb").await, Ok(Cap::copy(CapAddress(7))));
        });
    }

    #[test]
    fn private_names_are_for_the_one_who_serves_them() {
        block_on(async {
            let service = NameService::new(discard);
            let names = service.of_client(ClientId(1), 1);
            for (name, slot) in [(".skb", 3), ("skb", 4)] {
                let given = Cap::give(CapAddress(slot));
                assert_eq!(names.register(name, given).await, Ok(()));
            }
            assert_eq!(names.look_up(".skb").await, Err(NamesError::NotFound));
            assert_eq!(names.wait_for(".skb").await, Err(NamesError::NotFound));
            assert_eq!(names.list().await, Ok(vec!["skb".into()]));
            let own = service.get(".skb").map(|cap| cap.address());
            assert_eq!(own, Some(CapAddress(3)));
        });
    }

    #[test]
    fn what_is_refused_or_removed_is_disposed_of() {
        block_on(async {
            let names = NameService::new(discard);
            assert_eq!(names.add("a", Cap::copy(CapAddress(1))), Ok(()));
            let again = names.add("a", Cap::copy(CapAddress(2)));
            assert_eq!(again, Err(NamesError::AlreadyRegistered));
            assert_eq!(DISCARDED.with(Cell::get), 2);
            names.remove("a");
            names.remove("a");
            assert_eq!(DISCARDED.with(Cell::get), 3);
        });
    }

    /// With a client go the names that it has registered, and what it waits for.
    #[test]
    fn nothing_is_left_of_a_client() {
        block_on(async {
            let names = NameService::new(discard);
            let client = Rc::new(Watched(NamesServer(names.of_client(ClientId(1), 1))));
            let other = names.of_client(ClientId(1), 2);
            let register = client.0.0.register("mine", Cap::copy(CapAddress(5)));
            assert_eq!(register.await, Ok(()));
            let kept = other.register("kept", Cap::copy(CapAddress(6)));
            assert_eq!(kept.await, Ok(()));
            let waiting = spawn({
                let client = Rc::clone(&client);
                async move { client.0.0.wait_for("never").await }
            });
            yield_now().await;
            client.closed();
            assert_eq!(waiting.await, Err(NamesError::NotFound));
            let discarded = DISCARDED.with(Cell::get);
            drop(client);
            assert_eq!(DISCARDED.with(Cell::get), discarded + 5);
            assert_eq!(other.list().await, Ok(vec!["kept".into()]));
        });
    }
}
