//! The name service of one core, as `init` and the monitors serve it.

use alloc::{rc::Rc, string::String, vec::Vec};
use core::{cell::RefCell, future::poll_fn, task::Poll};

use capelin_idc::Cap;
use capelin_interfaces::names::{Names, NamesError, PRIVATE};

use crate::registry::Registry;

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

    /// Registers a capability that lies in a slot of ours.
    ///
    /// # Errors
    /// As [`Registry::register`].
    pub fn add(&self, name: &str, endpoint: Cap) -> Result<(), NamesError> {
        let registered = self.registry.borrow_mut().register(name, endpoint);
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
        poll_fn(|context| {
            let mut registry = self.registry.borrow_mut();
            match registry.get(name) {
                Some(endpoint) => Poll::Ready(*endpoint),
                None => {
                    registry.wait(context.waker());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Forgets a service whose server is gone.
    pub fn remove(&self, name: &str) {
        let removed = self.registry.borrow_mut().remove(name);
        removed.into_iter().for_each(self.discard);
    }
}

impl Names for NameService {
    async fn register(&self, name: &str, endpoint: Cap) -> Result<(), NamesError> {
        self.add(name, endpoint)
    }

    async fn look_up(&self, name: &str) -> Result<Cap, NamesError> {
        let found = self.get(name).filter(|_| !is_private(name));
        let found = found.ok_or(NamesError::NotFound)?;
        Ok(Cap::copy(found.address()))
    }

    async fn wait_for(&self, name: &str) -> Result<Cap, NamesError> {
        if is_private(name) {
            return Err(NamesError::NotFound);
        }
        Ok(Cap::copy(self.wait(name).await.address()))
    }

    async fn list(&self) -> Result<Vec<String>, NamesError> {
        let mut names = self.registry.borrow().names();
        names.retain(|name| !is_private(name));
        Ok(names)
    }
}

/// Whether what is registered under `name` is for whoever serves the names, and nobody else.
fn is_private(name: &str) -> bool {
    name.starts_with(PRIVATE)
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
            let names = NameService::new(discard);
            let waiting = spawn({
                let names = names.clone();
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
            let names = NameService::new(discard);
            for (name, slot) in [(".skb", 3), ("skb", 4)] {
                let given = Cap::give(CapAddress(slot));
                assert_eq!(names.register(name, given).await, Ok(()));
            }
            assert_eq!(names.look_up(".skb").await, Err(NamesError::NotFound));
            assert_eq!(names.wait_for(".skb").await, Err(NamesError::NotFound));
            assert_eq!(names.list().await, Ok(vec!["skb".into()]));
            let own = names.get(".skb").map(|cap| cap.address());
            assert_eq!(own, Some(CapAddress(3)));
        });
    }

    #[test]
    fn what_is_refused_or_removed_is_disposed_of() {
        block_on(async {
            let names = NameService::new(discard);
            assert_eq!(names.register("a", Cap::copy(CapAddress(1))).await, Ok(()));
            let again = names.register("a", Cap::copy(CapAddress(2))).await;
            assert_eq!(again, Err(NamesError::AlreadyRegistered));
            assert_eq!(DISCARDED.with(Cell::get), 2);
            names.remove("a");
            names.remove("a");
            assert_eq!(DISCARDED.with(Cell::get), 3);
        });
    }
}
