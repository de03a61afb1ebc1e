//! Services by name, and who waits for one.

use alloc::{collections::BTreeMap, string::String, vec::Vec};
use core::task::Waker;

use capelin_idc::shares::ClientId;
use capelin_interfaces::names::NamesError;

/// The longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 63;
/// How many services can be registered.
pub const MAX_SERVICES: usize = 256;
/// How many one client can have registered, on all its connections.
pub const MAX_OF_CLIENT: usize = 16;

/// On whose behalf a service is registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The name server's own: there is no bound, and no end.
    Own,
    /// A client's, as long as the connection of this number lasts.
    Client(ClientId, u64),
}

#[derive(Debug)]
struct Entry<S> {
    service: S,
    owner: Owner,
}

/// Services of sort `S`, by name.
#[derive(Debug)]
pub struct Registry<S> {
    services: BTreeMap<String, Entry<S>>,
    waiting: Vec<Waker>,
}

impl<S> Default for Registry<S> {
    fn default() -> Self {
        Self {
            services: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }
}

impl<S> Registry<S> {
    /// Registers `service`, and wakes whoever waits. A refused service is
    /// dropped.
    ///
    /// # Errors
    /// [`NamesError::InvalidName`], [`NamesError::AlreadyRegistered`],
    /// [`NamesError::ShareUsed`], [`NamesError::Exhausted`].
    pub fn register(&mut self, name: &str, service: S, owner: Owner) -> Result<(), NamesError> {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(NamesError::InvalidName);
        }
        if self.services.contains_key(name) {
            return Err(NamesError::AlreadyRegistered);
        }
        if let Owner::Client(client, _) = owner {
            let is_of_client =
                |entry: &&Entry<S>| matches!(entry.owner, Owner::Client(it, _) if it == client);
            if self.services.values().filter(is_of_client).count() >= MAX_OF_CLIENT {
                return Err(NamesError::ShareUsed);
            }
        }
        if self.services.len() >= MAX_SERVICES {
            return Err(NamesError::Exhausted);
        }
        self.services.insert(name.into(), Entry { service, owner });
        self.wake_all();
        Ok(())
    }

    /// Wakes all who wait, to look again.
    pub fn wake_all(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    /// Takes out what was registered for `owner`.
    pub fn remove_of(&mut self, owner: Owner) -> Vec<S> {
        let removed = self
            .services
            .extract_if(.., |_, entry| entry.owner == owner);
        removed.map(|(_, entry)| entry.service).collect()
    }

    /// Takes a service out.
    pub fn remove(&mut self, name: &str) -> Option<S> {
        self.services.remove(name).map(|entry| entry.service)
    }

    /// The service called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&S> {
        self.services.get(name).map(|entry| &entry.service)
    }

    /// On whose behalf `name` is registered.
    #[must_use]
    pub fn owner(&self, name: &str) -> Option<Owner> {
        self.services.get(name).map(|entry| entry.owner)
    }

    /// Wakes `waker` at the next registration of anything.
    pub fn wait(&mut self, waker: &Waker) {
        if !self.waiting.iter().any(|known| known.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
    }

    /// All names, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.services.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    #[derive(Default)]
    struct Count(AtomicU32);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_name_is_taken_once() {
        let mut registry = Registry::default();
        assert_eq!(registry.register("skb", 1, Owner::Own), Ok(()));
        assert_eq!(
            registry.register("skb", 2, Owner::Own),
            Err(NamesError::AlreadyRegistered)
        );
        assert_eq!(
            registry.register("", 2, Owner::Own),
            Err(NamesError::InvalidName)
        );
        let long = "x".repeat(64);
        assert_eq!(
            registry.register(&long, 2, Owner::Own),
            Err(NamesError::InvalidName)
        );
        assert_eq!(registry.register(&long[..63], 3, Owner::Own), Ok(()));
        assert_eq!(registry.get("skb"), Some(&1));
        assert_eq!(registry.remove("skb"), Some(1));
        assert_eq!(registry.register("skb", 4, Owner::Own), Ok(()));
        assert_eq!(registry.names().first().map(String::as_str), Some("skb"));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut registry = Registry::default();
        for n in 0..MAX_SERVICES {
            assert_eq!(registry.register(&n.to_string(), n, Owner::Own), Ok(()));
        }
        assert_eq!(
            registry.register("more", 0, Owner::Own),
            Err(NamesError::Exhausted)
        );
    }

    #[test]
    fn one_client_leaves_names_for_others() {
        let mut registry = Registry::default();
        let of = |client, connection| Owner::Client(ClientId(client), connection);
        for n in 0..MAX_OF_CLIENT {
            let owner = of(1, n as u64 % 2);
            assert_eq!(registry.register(&n.to_string(), n, owner), Ok(()));
        }
        let more = registry.register("more", 90, of(1, 2));
        assert_eq!(more, Err(NamesError::ShareUsed));
        assert_eq!(registry.register("more", 91, of(2, 3)), Ok(()));
        assert_eq!(registry.register("own", 92, Owner::Own), Ok(()));
        // Its names end with the connection by which it registered them.
        let half: Vec<usize> = (0..MAX_OF_CLIENT).filter(|n| n % 2 == 1).collect();
        let mut removed = registry.remove_of(of(1, 1));
        removed.sort_unstable();
        assert_eq!(removed, half);
        assert_eq!(registry.register("again", 93, of(1, 0)), Ok(()));
        assert_eq!(registry.remove_of(of(1, 0)).len(), MAX_OF_CLIENT / 2 + 1);
        assert_eq!(registry.names(), ["more", "own"]);
    }

    #[test]
    fn registering_wakes_each_waiter_once() {
        let mut registry = Registry::default();
        let count = Arc::<Count>::default();
        let waker = Waker::from(Arc::clone(&count));
        registry.wait(&waker);
        registry.wait(&waker);
        registry.register("a", (), Owner::Own).unwrap();
        registry.register("b", (), Owner::Own).unwrap();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
