//! What tasks of one program tell each other by.

use alloc::{collections::VecDeque, rc::Rc, vec::Vec};
use core::{
    cell::RefCell,
    future::poll_fn,
    ops::{Deref, DerefMut},
    task::{Poll, Waker},
};

/// Something that happens once, for all who wait.
#[derive(Clone, Debug, Default)]
pub struct Event(Rc<RefCell<EventState>>);

#[derive(Debug, Default)]
struct EventState {
    is_set: bool,
    waiting: Vec<Waker>,
}

impl Event {
    /// It hasn't happened.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// It happens.
    pub fn set(&self) {
        let mut state = self.0.borrow_mut();
        state.is_set = true;
        state.waiting.drain(..).for_each(Waker::wake);
    }

    /// Whether it has happened.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.borrow().is_set
    }

    /// Waits until it has.
    pub async fn wait(&self) {
        poll_fn(|context| {
            let mut state = self.0.borrow_mut();
            if state.is_set {
                return Poll::Ready(());
            }
            state.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A queue between tasks, without limit. Clones are the same queue.
#[derive(Debug)]
pub struct Queue<T>(Rc<RefCell<QueueState<T>>>);

#[derive(Debug)]
struct QueueState<T> {
    items: VecDeque<T>,
    waiting: Vec<Waker>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Queue<T> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self(Rc::new(RefCell::new(QueueState {
            items: VecDeque::new(),
            waiting: Vec::new(),
        })))
    }

    /// Adds an item at the end.
    pub fn push(&self, item: T) {
        let mut state = self.0.borrow_mut();
        state.items.push_back(item);
        // All of them: who was first may have stopped waiting.
        state.waiting.drain(..).for_each(Waker::wake);
    }

    /// Takes the first item, if there is one.
    #[must_use]
    pub fn try_pop(&self) -> Option<T> {
        self.0.borrow_mut().items.pop_front()
    }

    /// Items in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.borrow().items.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits for the first item.
    pub async fn pop(&self) -> T {
        poll_fn(|context| {
            let mut state = self.0.borrow_mut();
            match state.items.pop_front() {
                Some(item) => Poll::Ready(item),
                None => {
                    state.waiting.push(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// Lets one task at a time at a value, across waits.
#[derive(Debug, Default)]
pub struct Mutex<T> {
    value: RefCell<T>,
    waiting: RefCell<VecDeque<Waker>>,
}

/// The right to a [`Mutex`]'s value.
#[derive(Debug)]
pub struct MutexGuard<'a, T> {
    value: Option<core::cell::RefMut<'a, T>>,
    mutex: &'a Mutex<T>,
}

impl<T> Mutex<T> {
    /// A mutex around `value`.
    pub const fn new(value: T) -> Self {
        Self {
            value: RefCell::new(value),
            waiting: RefCell::new(VecDeque::new()),
        }
    }

    /// Waits until nobody else is at the value.
    pub async fn lock(&self) -> MutexGuard<'_, T> {
        poll_fn(|context| match self.value.try_borrow_mut() {
            Ok(value) => Poll::Ready(MutexGuard {
                value: Some(value),
                mutex: self,
            }),
            Err(_) => {
                let waker = context.waker().clone();
                self.waiting.borrow_mut().push_back(waker);
                Poll::Pending
            }
        })
        .await
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[expect(clippy::expect_used, reason = "the value is there until drop")]
    fn deref(&self) -> &T {
        self.value
            .as_ref()
            .expect("the guard holds the value until it is dropped")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[expect(clippy::expect_used, reason = "the value is there until drop")]
    fn deref_mut(&mut self) -> &mut T {
        self.value
            .as_mut()
            .expect("the guard holds the value until it is dropped")
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.value = None;
        // All of them: who was first may have been dropped meanwhile.
        let waiting = core::mem::take(&mut *self.mutex.waiting.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::{block_on, spawn, yield_now};

    #[test]
    fn a_mutex_lets_in_one_at_a_time() {
        let mutex = Rc::new(Mutex::new(0));
        let seen = Rc::clone(&mutex);
        block_on(async move {
            let tasks: Vec<_> = (0..4)
                .map(|_| {
                    let mutex = Rc::clone(&seen);
                    spawn(async move {
                        let mut value = mutex.lock().await;
                        let before = *value;
                        yield_now().await;
                        *value = before + 1;
                    })
                })
                .collect();
            for task in tasks {
                task.await;
            }
        });
        assert_eq!(*mutex.value.borrow(), 4);
    }

    #[test]
    fn events_and_queues_wake_those_who_wait() {
        block_on(async {
            let (event, queue) = (Event::new(), Queue::new());
            let waiter = {
                let (event, queue) = (event.clone(), queue.clone());
                spawn(async move {
                    event.wait().await;
                    (queue.pop().await, queue.pop().await)
                })
            };
            yield_now().await;
            event.set();
            queue.push(1);
            yield_now().await;
            queue.push(2);
            assert_eq!(waiter.await, (1, 2));
        });
    }
}
