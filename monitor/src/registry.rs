//! Services by name, and who waits for one.

use alloc::{collections::BTreeMap, string::String, vec::Vec};
use core::task::Waker;

use capelin_interfaces::names::NamesError;

/// The longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 63;
/// How many services can be registered.
pub const MAX_SERVICES: usize = 256;

/// Services of sort `S`, by name.
#[derive(Debug)]
pub struct Registry<S> {
    services: BTreeMap<String, S>,
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
    /// Registers `service`, and wakes whoever waits. A refused service is given
    /// back.
    ///
    /// # Errors
    /// [`NamesError::InvalidName`], [`NamesError::AlreadyRegistered`],
    /// [`NamesError::Exhausted`].
    pub fn register(&mut self, name: &str, service: S) -> Result<(), (NamesError, S)> {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err((NamesError::InvalidName, service));
        }
        if self.services.contains_key(name) {
            return Err((NamesError::AlreadyRegistered, service));
        }
        if self.services.len() >= MAX_SERVICES {
            return Err((NamesError::Exhausted, service));
        }
        self.services.insert(name.into(), service);
        self.waiting.drain(..).for_each(Waker::wake);
        Ok(())
    }

    /// Takes a service out.
    pub fn remove(&mut self, name: &str) -> Option<S> {
        self.services.remove(name)
    }

    /// The service called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&S> {
        self.services.get(name)
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
        assert_eq!(registry.register("skb", 1), Ok(()));
        assert_eq!(
            registry.register("skb", 2),
            Err((NamesError::AlreadyRegistered, 2))
        );
        assert_eq!(registry.register("", 2), Err((NamesError::InvalidName, 2)));
        let long = "x".repeat(64);
        assert_eq!(
            registry.register(&long, 2),
            Err((NamesError::InvalidName, 2))
        );
        assert_eq!(registry.register(&long[..63], 3), Ok(()));
        assert_eq!(registry.get("skb"), Some(&1));
        assert_eq!(registry.remove("skb"), Some(1));
        assert_eq!(registry.register("skb", 4), Ok(()));
        assert_eq!(registry.names().first().map(String::as_str), Some("skb"));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut registry = Registry::default();
        for n in 0..MAX_SERVICES {
            assert_eq!(registry.register(&n.to_string(), n), Ok(()));
        }
        assert_eq!(
            registry.register("more", 0),
            Err((NamesError::Exhausted, 0))
        );
    }

    #[test]
    fn registering_wakes_each_waiter_once() {
        let mut registry = Registry::default();
        let count = Arc::<Count>::default();
        let waker = Waker::from(Arc::clone(&count));
        registry.wait(&waker);
        registry.wait(&waker);
        registry.register("a", ()).unwrap();
        registry.register("b", ()).unwrap();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
