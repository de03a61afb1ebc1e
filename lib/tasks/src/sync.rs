//! What tasks of one program tell each other by.

use alloc::{collections::VecDeque, rc::Rc, vec::Vec};
use core::{
    cell::{Cell, RefCell},
    future::poll_fn,
    ops::{Deref, DerefMut},
    task::{Poll, Waker},
};

/// Those who wait for something: each once, however often it is polled, and no longer than its
/// future lives.
#[derive(Debug, Default)]
struct Waiters {
    /// With the numbers of their places.
    wakers: RefCell<Vec<(u64, Waker)>>,
    /// The last number that was given out.
    last: Cell<u64>,
}

/// The place of one who waits.
struct Place<'a> {
    waiters: &'a Waiters,
    /// 0 before it has waited.
    number: u64,
}

impl Waiters {
    const fn new() -> Self {
        Self {
            wakers: RefCell::new(Vec::new()),
            last: Cell::new(0),
        }
    }

    /// A place for one who may have to wait.
    const fn place(&self) -> Place<'_> {
        Place {
            waiters: self,
            number: 0,
        }
    }

    /// Wakes all of them: who was first may have stopped waiting.
    fn wake_all(&self) {
        // Whoever is dropped meanwhile leaves its place.
        let mut all = self.wakers.take();
        all.drain(..).for_each(|(_, waker)| waker.wake());
        let mut wakers = self.wakers.borrow_mut();
        if wakers.capacity() == 0 {
            *wakers = all;
        }
    }
}

impl Place<'_> {
    /// It waits, until all are woken.
    fn wait(&mut self, waker: &Waker) {
        let mut wakers = self.waiters.wakers.borrow_mut();
        let before = wakers.iter_mut().find(|(at, _)| *at == self.number);
        if let Some((_, before)) = before {
            if !before.will_wake(waker) {
                let old = core::mem::replace(before, waker.clone());
                drop(wakers);
                drop(old);
            }
            return;
        }
        self.number = self.waiters.last.get() + 1;
        self.waiters.last.set(self.number);
        wakers.push((self.number, waker.clone()));
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut wakers = self.waiters.wakers.borrow_mut();
        let at = wakers.iter().position(|(at, _)| *at == self.number);
        let left = at.map(|at| wakers.swap_remove(at));
        drop(wakers);
        // A task may go with it, and leave places of its own.
        drop(left);
    }
}

/// Something that happens once, for all who wait.
#[derive(Clone, Debug, Default)]
pub struct Event(Rc<EventState>);

#[derive(Debug, Default)]
struct EventState {
    is_set: Cell<bool>,
    waiting: Waiters,
}

impl Event {
    /// It hasn't happened.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// It happens.
    pub fn set(&self) {
        self.0.is_set.set(true);
        self.0.waiting.wake_all();
    }

    /// Whether it has happened.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.is_set.get()
    }

    /// Waits until it has.
    pub async fn wait(&self) {
        let mut place = self.0.waiting.place();
        poll_fn(|context| {
            if self.is_set() {
                return Poll::Ready(());
            }
            place.wait(context.waker());
            Poll::Pending
        })
        .await;
    }
}

/// A queue between tasks, without limit. Clones are the same queue.
#[derive(Debug)]
pub struct Queue<T>(Rc<QueueState<T>>);

#[derive(Debug)]
struct QueueState<T> {
    items: RefCell<VecDeque<T>>,
    waiting: Waiters,
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
        Self(Rc::new(QueueState {
            items: RefCell::new(VecDeque::new()),
            waiting: Waiters::new(),
        }))
    }

    /// Adds an item at the end.
    pub fn push(&self, item: T) {
        self.0.items.borrow_mut().push_back(item);
        self.0.waiting.wake_all();
    }

    /// Takes the first item, if there is one.
    #[must_use]
    pub fn try_pop(&self) -> Option<T> {
        self.0.items.borrow_mut().pop_front()
    }

    /// Items in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.items.borrow().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits for the first item.
    pub async fn pop(&self) -> T {
        let mut place = self.0.waiting.place();
        poll_fn(|context| match self.try_pop() {
            Some(item) => Poll::Ready(item),
            None => {
                place.wait(context.waker());
                Poll::Pending
            }
        })
        .await
    }
}

/// Lets one task at a time at a value, across waits.
#[derive(Debug, Default)]
pub struct Mutex<T> {
    value: RefCell<T>,
    waiting: Waiters,
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
            waiting: Waiters::new(),
        }
    }

    /// Waits until nobody else is at the value.
    pub async fn lock(&self) -> MutexGuard<'_, T> {
        let mut place = self.waiting.place();
        poll_fn(|context| match self.value.try_borrow_mut() {
            Ok(value) => Poll::Ready(MutexGuard {
                value: Some(value),
                mutex: self,
            }),
            Err(_) => {
                place.wait(context.waker());
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
        self.mutex.waiting.wake_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::{block_on, spawn, yield_now};
    use alloc::{boxed::Box, sync::Arc, task::Wake};
    use core::{
        pin::Pin,
        sync::atomic::{AtomicUsize, Ordering},
        task::Context,
    };

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

    /// A shell waits for Ctrl-C beside each of its commands, which wake it often.
    #[test]
    fn who_is_polled_often_waits_once_and_who_gives_up_not_at_all() {
        let (event, queue, mutex) = (Event::new(), Queue::<()>::new(), Mutex::new(()));
        let held = mutex.value.borrow_mut();
        let context = &mut Context::from_waker(Waker::noop());
        for _ in 0..3 {
            type Waiting<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;
            let lock = || async { drop(mutex.lock().await) };
            let all: [(&Waiters, [Waiting<'_>; 2]); 3] = [
                (
                    &event.0.waiting,
                    [Box::pin(event.wait()), Box::pin(event.wait())],
                ),
                (
                    &queue.0.waiting,
                    [Box::pin(queue.pop()), Box::pin(queue.pop())],
                ),
                (&mutex.waiting, [Box::pin(lock()), Box::pin(lock())]),
            ];
            for (waiting, [mut first, mut second]) in all {
                let count = || waiting.wakers.borrow().len();
                for _ in 0..5 {
                    assert!(first.as_mut().poll(context).is_pending());
                    assert_eq!(count(), 1);
                }
                assert!(second.as_mut().poll(context).is_pending());
                assert_eq!(count(), 2);
                drop(first);
                assert_eq!(count(), 1);
                drop(second);
                assert_eq!(count(), 0);
            }
        }
        drop(held);
    }

    /// What polls a future may change: the waker of the last poll is woken, once.
    #[test]
    fn the_last_waker_is_woken() {
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let wakers = [0, 1].map(|_| Arc::new(Count(AtomicUsize::new(0))));
        let woken = || [0, 1].map(|at: usize| wakers[at].0.load(Ordering::Relaxed));
        let queue = Queue::new();
        let mut future = Box::pin(queue.pop());
        for waker in [&wakers[0], &wakers[0], &wakers[1]] {
            let waker = Waker::from(Arc::clone(waker));
            let context = &mut Context::from_waker(&waker);
            assert!(future.as_mut().poll(context).is_pending());
        }
        queue.push(7);
        assert_eq!(woken(), [0, 1]);
        queue.push(8);
        assert_eq!(woken(), [0, 1], "it waits no more");
        let waker = Waker::from(Arc::clone(&wakers[0]));
        let context = &mut Context::from_waker(&waker);
        assert_eq!(future.as_mut().poll(context), Poll::Ready(7));
        assert_eq!(Arc::strong_count(&wakers[1]), 1, "none is kept");
    }
}
