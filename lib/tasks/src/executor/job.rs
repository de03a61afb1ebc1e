//! A task's future, with whom its result is for.
//!
//! A type of its own, since an async block that awaits a future holds it twice: as what it was given,
//! and as what it waits for. The second is a move of the whole future at its first poll.
#![expect(unsafe_code, reason = "what is pinned with it is a field")]

use alloc::rc::Rc;
use core::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

/// Where a task's result is left for who waits.
pub(super) struct Join<T> {
    pub(super) result: Option<T>,
    pub(super) waker: Option<Waker>,
}

/// A future whose result goes to a [`Join`].
pub(super) struct Job<F: Future> {
    /// Pinned with the job.
    future: F,
    at_end: Rc<RefCell<Join<F::Output>>>,
}

impl<F: Future> Job<F> {
    pub(super) const fn new(future: F, at_end: Rc<RefCell<Join<F::Output>>>) -> Self {
        Self { future, at_end }
    }
}

impl<F: Future> Future for Job<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // SAFETY: neither the job nor its future is moved through this reference.
        let job = unsafe { self.get_unchecked_mut() };
        // SAFETY: the job is pinned, so the field stays where it is until it is dropped; it is
        // dropped in place, since there is no `Drop` that could move it, and `Job` is `Unpin` only if
        // `F` is.
        let future = unsafe { Pin::new_unchecked(&mut job.future) };
        let result = ready!(future.poll(context));
        let mut join = job.at_end.borrow_mut();
        join.result = Some(result);
        if let Some(waker) = join.waker.take() {
            waker.wake();
        }
        Poll::Ready(())
    }
}
