//! Whether a client is gone, for what is done on its behalf and may never end.
//!
//! Requests at work go on when their client is gone ([`capelin_idc::serve`]), and the connection stays as long as
//! one of them does. So whoever waits for something that may never happen, waits with [`Gone::unless`]; the service tells
//! of the end with [`Gone::set`], in its `closed`. All requests of a connection are polled by one task, so one waker
//! is enough for all of them.

use core::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    task::{Poll, Waker},
};

/// Whether one connection's client is gone.
#[derive(Debug, Default)]
pub struct Gone {
    is_gone: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Gone {
    /// It is.
    pub fn set(&self) {
        self.is_gone.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// What `call` gives, unless the client is gone before: then `call` is dropped.
    pub async fn unless<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        let mut call = pin!(call);
        poll_fn(|context| {
            if self.is_gone.get() {
                return Poll::Ready(None);
            }
            self.waker.replace(Some(context.waker().clone()));
            call.as_mut().poll(context).map(Some)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::rc::Rc;
    use capelin_rt::{
        executor::{block_on, spawn, yield_now},
        sync::Event,
    };
    use core::future::{pending, ready};

    #[test]
    fn what_never_ends_ends_with_the_client() {
        block_on(async {
            let gone = Rc::new(Gone::default());
            assert_eq!(gone.unless(ready(3)).await, Some(3));
            let happens = Event::new();
            let task = spawn({
                let (gone, happens) = (Rc::clone(&gone), happens.clone());
                async move { gone.unless(happens.wait()).await }
            });
            yield_now().await;
            happens.set();
            assert_eq!(task.await, Some(()));
            let task = spawn({
                let gone = Rc::clone(&gone);
                async move { gone.unless(pending::<()>()).await }
            });
            yield_now().await;
            gone.set();
            assert_eq!(task.await, None);
            // Nothing is begun for who is gone.
            assert_eq!(gone.unless(ready(3)).await, None);
        });
    }
}
