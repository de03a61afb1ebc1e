//! Tasks, and what runs them.
//!
//! A task is a future that has been handed to [`spawn`]. A waker puts its task into the ready
//! queue, once; the loop polls what is ready, looks at the sources (endpoints, Notify bits,
//! deadlines), and when nothing is ready waits in the kernel for one of them.
//!
//! How that loses no wake-up is [`capelin_wake`]'s. The
//! wait is made while disabled, so that it returns here and not through the run upcall.

mod job;
mod task;

use alloc::{boxed::Box, collections::VecDeque, rc::Rc, vec::Vec};
use core::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use capelin_abi::{SysError, dispatcher::offset};

use crate::{endpoint, frame, notify, sys, time};
use job::{Job, Join};
pub use task::TaskId;
use task::{Tasks, queue};

local! {
    /// Wakers of those who want to look again soon, without an event: channels that poll.
    static BUSY: Vec<Waker> = Vec::new();
}

/// Runs `future` beside the caller. The future doesn't start before the caller waits.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let join = Rc::new(RefCell::new(Join {
        result: None,
        waker: None,
    }));
    let at_end = Rc::clone(&join);
    Tasks::add(Box::pin(Job::new(future, at_end)));
    JoinHandle(join)
}

/// Waits for a task's result. Dropping it lets the task run on.
pub struct JoinHandle<T>(Rc<RefCell<Join<T>>>);

impl<T> JoinHandle<T> {
    /// Whether the task has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.borrow().result.is_some()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut join = self.0.borrow_mut();
        match join.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                join.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> core::fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("JoinHandle")
            .field("is_finished", &self.is_finished())
            .finish()
    }
}

/// Lets every other task that is ready run first.
pub fn yield_now() -> impl Future<Output = ()> {
    let mut yielded = false;
    poll_fn(move |context| {
        if core::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

/// Wakes `waker` after the sources have been looked at once, before the runtime waits.
pub fn look_again(waker: &Waker) {
    BUSY.with(|busy| busy.borrow_mut().push(waker.clone()));
}

/// Runs tasks until `future` has ended. A program's start-up code calls it, and tests do; a task
/// that called it would stop all others.
pub fn block_on<F>(future: F) -> F::Output
where
    F: Future + 'static,
    F::Output: 'static,
{
    let main = spawn(future);
    loop {
        turn();
        if let Some(result) = main.0.borrow_mut().result.take() {
            return result;
        }
        idle(&mut Dispatcher { only: None });
    }
}

/// As [`spawn`], for a task that [`run_alone`] runs.
pub fn spawn_writer(future: impl Future<Output = ()> + 'static) -> TaskId {
    Tasks::add(Box::pin(future))
}

/// Runs nothing but `task` until `is_done`, or until it has ended: for callers that can't wait
/// otherwise. It must need no other task of this program. From within `task` itself it does nothing.
///
/// What wakes other tasks meanwhile puts them into the ready queue, as ever. `task` may stand there,
/// or in the batch of a turn: it is polled once more then, for nothing.
pub fn run_alone(task: TaskId, is_done: impl Fn() -> bool) {
    while !is_done() {
        match Tasks::is_woken(task) {
            Some(true) => Tasks::poll(task),
            Some(false) => idle(&mut Dispatcher { only: Some(task) }),
            None => return,
        }
    }
}

/// Polls what is ready, and no task twice.
fn turn() {
    let batch: VecDeque<_> = queue::take_all();
    for id in batch {
        Tasks::poll(id);
    }
}

/// Looks at the sources; waits when nothing is ready.
fn idle(dispatcher: &mut Dispatcher) {
    match capelin_wake::idle(dispatcher) {
        Some(Ok(sys::Wake::Message(message))) => endpoint::deliver(&message),
        // No such system call: on the host. Let time pass for those who wait for it.
        Some(Err(_)) => core::hint::spin_loop(),
        _ => {}
    }
}

/// This dispatcher, as [`capelin_wake::idle()`] sees it.
struct Dispatcher {
    /// The task that alone is to run, if not all.
    only: Option<TaskId>,
}

impl capelin_wake::Runtime for Dispatcher {
    type Wake = Result<sys::Wake, SysError>;

    fn delivered(&mut self) -> u64 {
        // Acquire (in `frame::read`): pairs with the kernel's write after the delivery itself.
        sys::delivered()
    }

    fn look(&mut self) {
        poll_sources();
    }

    fn is_ready(&mut self) -> bool {
        match self.only {
            Some(task) => Tasks::is_woken(task) != Some(false),
            None => !queue::is_empty(),
        }
    }

    fn wait(&mut self, seen: u64) -> Self::Wake {
        let deadline = time::earliest().unwrap_or(sys::NEVER);
        // Between here and the wait an upcall can't intervene; a delivery only raises the count.
        frame::write(offset::DISABLED, 1);
        let wake = sys::wait(endpoint::all_empty(), seen, deadline);
        frame::write(offset::DISABLED, 0);
        wake
    }
}

/// Wakes the tasks for which something has happened.
fn poll_sources() {
    endpoint::wake_receivers();
    notify::wake_waiters();
    time::wake_sleepers();
    let busy = BUSY.with(|busy| core::mem::take(&mut *busy.borrow_mut()));
    busy.into_iter().for_each(Waker::wake);
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::{cell::Cell, time::Duration};

    #[test]
    fn tasks_run_beside_each_other() {
        let trace = Rc::new(RefCell::new(Vec::new()));
        let result = block_on({
            let trace = Rc::clone(&trace);
            async move {
                let tasks: Vec<_> = (0..3)
                    .map(|n| {
                        let trace = Rc::clone(&trace);
                        spawn(async move {
                            for step in 0..2 {
                                trace.borrow_mut().push((step, n));
                                yield_now().await;
                            }
                            n * 10
                        })
                    })
                    .collect();
                let mut sum = 0;
                for task in tasks {
                    sum += task.await;
                }
                sum
            }
        });
        assert_eq!(result, 30);
        let expected = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)];
        assert_eq!(*trace.borrow(), expected);
    }

    #[test]
    fn a_task_that_ended_is_dropped_and_its_place_used_again() {
        struct Guard(Rc<Cell<u32>>);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let dropped = Rc::new(Cell::new(0));
        let count = Rc::clone(&dropped);
        block_on(async move {
            for _ in 0..100 {
                let guard = Guard(Rc::clone(&count));
                spawn(async move { drop(guard) }).await;
            }
        });
        assert_eq!(dropped.get(), 100);
        assert!(Tasks::places() <= 3);
    }

    #[test]
    fn sleepers_wake_in_order_of_their_deadlines() {
        let order = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&order);
        block_on(async move {
            let sleep = |ms: u64| {
                let order = Rc::clone(&seen);
                spawn(async move {
                    time::sleep(Duration::from_millis(ms)).await;
                    order.borrow_mut().push(ms);
                })
            };
            let (a, b, c) = (sleep(15), sleep(5), sleep(10));
            a.await;
            b.await;
            c.await;
            let late = time::timeout(Duration::from_millis(5), core::future::pending::<()>());
            assert_eq!(late.await, Err(time::Elapsed));
            let early = time::timeout(Duration::from_secs(5), async { 7 });
            assert_eq!(early.await, Ok(7));
        });
        assert_eq!(*order.borrow(), [5, 10, 15]);
    }
}
