//! The name service of one core, as `init` and the monitors serve it.

use alloc::{rc::Rc, string::String, vec::Vec};
use core::{
    cell::{Cell, RefCell},
    future::poll_fn,
    task::Poll,
};

use capelin_idc::{Cap, Service, shares::ClientId};
use capelin_interfaces::names::{Names, NamesError, NamesServer, PRIVATE, is_reserved};

use crate::registry::{Owner, Registry};

/// What a client may do with names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Naming {
    /// Register under all but those that are reserved ([`is_reserved`]), and find those that are
    /// for everybody.
    Public,
    /// Register under all: the system has started it.
    System,
    /// The same, and find private ones, too ([`PRIVATE`]).
    All,
}

impl Naming {
    /// Whether what is registered under `name` is found.
    fn sees(self, name: &str) -> bool {
        self == Self::All || !name.starts_with(PRIVATE)
    }
}

/// The services registered on a core. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct NameService {
    registry: Rc<RefCell<Registry<Cap>>>,
}

impl NameService {
    /// Serves one client, on one connection.
    pub fn serve(&self, client: ClientId, connection: u64, naming: Naming) -> impl Service + use<> {
        NamesServer(self.of_client(client, connection, naming))
    }

    fn of_client(&self, client: ClientId, connection: u64, naming: Naming) -> ClientNames {
        ClientNames {
            service: self.clone(),
            owner: Owner::Client(client, connection),
            naming,
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
        self.registry.borrow_mut().register(name, endpoint, owner)
    }

    /// The capability registered under `name`, lent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cap> {
        self.registry.borrow().get(name).map(lend)
    }

    /// As [`NameService::get`], but waits until there is one.
    pub async fn wait(&self, name: &str) -> Cap {
        self.wait_with(|registry| registry.get(name).map(lend))
            .await
    }

    /// As [`NameService::wait`], but for one that `client` has registered.
    pub async fn wait_of(&self, name: &str, client: ClientId) -> Cap {
        let of_client = |registry: &Registry<Cap>| {
            let owner = registry.owner(name);
            let is_its = matches!(owner, Some(Owner::Client(it, _)) if it == client);
            registry.get(name).filter(|_| is_its).map(lend)
        };
        self.wait_with(of_client).await
    }

    async fn wait_with(&self, look: impl Fn(&Registry<Cap>) -> Option<Cap>) -> Cap {
        loop {
            if let Some(endpoint) = self.wait_unless(&look, || false).await {
                return endpoint;
            }
        }
    }

    /// What `look` finds, once it does, unless `is_over`; both are asked whenever all who wait are
    /// woken.
    async fn wait_unless(
        &self,
        look: impl Fn(&Registry<Cap>) -> Option<Cap>,
        is_over: impl Fn() -> bool,
    ) -> Option<Cap> {
        poll_fn(|context| {
            let mut registry = self.registry.borrow_mut();
            let found = look(&registry);
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
        self.registry.borrow_mut().remove(name);
    }
}

/// The name service for one client.
#[derive(Debug)]
pub struct ClientNames {
    service: NameService,
    owner: Owner,
    naming: Naming,
    is_closed: Cell<bool>,
}

impl Drop for ClientNames {
    /// The connection has ended: nobody answers any more to what was registered by it.
    fn drop(&mut self) {
        self.service.registry.borrow_mut().remove_of(self.owner);
    }
}

impl Names for ClientNames {
    async fn register(&self, name: &str, endpoint: Cap) -> Result<(), NamesError> {
        if self.naming == Naming::Public && is_reserved(name) {
            return Err(NamesError::Reserved);
        }
        self.service.add_for(name, endpoint, self.owner)
    }

    async fn look_up(&self, name: &str) -> Result<Cap, NamesError> {
        let found = self.service.get(name).filter(|_| self.naming.sees(name));
        found.ok_or(NamesError::NotFound)
    }

    async fn wait_for(&self, name: &str) -> Result<Cap, NamesError> {
        if !self.naming.sees(name) {
            return Err(NamesError::NotFound);
        }
        let is_closed = || self.is_closed.get();
        let look = |registry: &Registry<Cap>| registry.get(name).map(lend);
        let found = self.service.wait_unless(look, is_closed).await;
        found.ok_or(NamesError::NotFound)
    }

    async fn list(&self) -> Result<Vec<String>, NamesError> {
        let mut names = self.service.registry.borrow().names();
        names.retain(|name| self.naming.sees(name));
        Ok(names)
    }

    /// It may have waited for a name that nobody ever registers.
    fn closed(&self) {
        self.is_closed.set(true);
        self.service.registry.borrow_mut().wake_all();
    }
}

/// What is registered stays where it is: others get copies.
const fn lend(registered: &Cap) -> Cap {
    Cap::copy(registered.address())
}

#[cfg(test)]
mod tests {
    use super::*;
    use capelin_abi::CapAddress;
    use capelin_interfaces::service;
    use capelin_rt::executor::{block_on, spawn, yield_now};
    use std::cell::Cell;

    std::thread_local! {
        static DISCARDED: Cell<u32> = const { Cell::new(0) };
    }

    /// A capability that came from a client.
    fn came(slot: u32) -> Cap {
        Cap::owned(CapAddress(slot), |address| {
            DISCARDED.with(|sum| sum.set(sum.get() + address.0));
        })
    }

    #[test]
    fn who_waits_gets_a_copy_once_it_is_registered() {
        block_on(async {
            let service = NameService::default();
            let names = service.of_client(ClientId(1), 1, Naming::System);
            let waiting = spawn({
                let names = service.of_client(ClientId(2), 2, Naming::Public);
                async move { names.wait_for("skb").await }
            });
            yield_now().await;
            assert_eq!(names.look_up("skb").await, Err(NamesError::NotFound));
            let given = came(7);
            assert_eq!(names.register("skb", given).await, Ok(()));
            // What is handed out is a copy, even where the entry was given away to us.
            assert_eq!(waiting.await, Ok(Cap::copy(CapAddress(7))));
            assert_eq!(names.look_up("skb").await, Ok(Cap::copy(CapAddress(7))));
        });
    }

    #[test]
    fn private_names_are_for_the_one_who_serves_them() {
        block_on(async {
            let service = NameService::default();
            let names = service.of_client(ClientId(1), 1, Naming::System);
            for (name, slot) in [(".skb", 3), ("skb", 4)] {
                let given = came(slot);
                assert_eq!(names.register(name, given).await, Ok(()));
            }
            assert_eq!(names.look_up(".skb").await, Err(NamesError::NotFound));
            assert_eq!(names.wait_for(".skb").await, Err(NamesError::NotFound));
            assert_eq!(names.list().await, Ok(vec!["skb".into()]));
            let own = service.get(".skb").map(|cap| cap.address());
            assert_eq!(own, Some(CapAddress(3)));
            let trusted = service.of_client(ClientId(2), 2, Naming::All);
            assert_eq!(trusted.look_up(".skb").await, Ok(Cap::copy(CapAddress(3))));
            assert_eq!(trusted.wait_for(".skb").await, Ok(Cap::copy(CapAddress(3))));
            assert_eq!(trusted.list().await.map(|all| all.len()), Ok(2));
        });
    }

    #[test]
    fn the_systems_names_are_for_what_the_system_starts() {
        block_on(async {
            let service = NameService::default();
            let program = service.of_client(ClientId(1), 1, Naming::Public);
            for &name in service::ALL.iter().chain(&[".pcid", "."]) {
                let refused = program.register(name, came(0)).await;
                assert_eq!(refused, Err(NamesError::Reserved), "{name}");
                let driver = service.of_client(ClientId(2), 2, Naming::System);
                assert_eq!(driver.register(name, came(8)).await, Ok(()), "{name}");
            }
            for name in ["mine", "skb2", "files.", "Power"] {
                assert_eq!(program.register(name, came(9)).await, Ok(()));
            }
            assert!(service::ALL.contains(&service::FILES) && service::ALL.len() > 10);
        });
    }

    /// Among those whom the system has started, who registers is looked at as well.
    #[test]
    fn what_another_has_registered_is_not_waited_for() {
        block_on(async {
            let service = NameService::default();
            let waiting = spawn({
                let service = service.clone();
                async move { service.wait_of(".pcid", ClientId(2)).await }
            });
            let other = service.of_client(ClientId(1), 1, Naming::System);
            assert_eq!(other.register(".pcid", came(3)).await, Ok(()));
            yield_now().await;
            assert!(!waiting.is_finished());
            drop(other);
            let its = service.of_client(ClientId(2), 2, Naming::System);
            assert_eq!(its.register(".pcid", came(4)).await, Ok(()));
            assert_eq!(waiting.await, Cap::copy(CapAddress(4)));
        });
    }

    #[test]
    fn what_is_refused_or_removed_is_disposed_of() {
        block_on(async {
            let names = NameService::default();
            assert_eq!(names.add("a", came(1)), Ok(()));
            let again = names.add("a", came(2));
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
            let names = NameService::default();
            let client = Rc::new(NamesServer(names.of_client(ClientId(1), 1, Naming::Public)));
            let other = names.of_client(ClientId(1), 2, Naming::Public);
            let register = client.0.register("mine", came(5));
            assert_eq!(register.await, Ok(()));
            let kept = other.register("kept", came(6));
            assert_eq!(kept.await, Ok(()));
            let waiting = spawn({
                let client = Rc::clone(&client);
                async move { client.0.wait_for("never").await }
            });
            yield_now().await;
            Service::closed(&*client);
            assert_eq!(waiting.await, Err(NamesError::NotFound));
            let discarded = DISCARDED.with(Cell::get);
            drop(client);
            assert_eq!(DISCARDED.with(Cell::get), discarded + 5);
            assert_eq!(other.list().await, Ok(vec!["kept".into()]));
        });
    }
}
