//! The table of tasks and the queue of those that are ready.

use alloc::{boxed::Box, collections::VecDeque, sync::Arc, task::Wake, vec::Vec};
use core::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, Waker},
};

type Body = Pin<Box<dyn Future<Output = ()>>>;

/// Names a task. A place in the table is used again, with another generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskId {
    place: usize,
    generation: u64,
}

struct TaskWaker {
    id: TaskId,
    /// Set while the task is in the ready queue. Relaxed: one dispatcher, no partner elsewhere.
    queued: AtomicBool,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            queue::push(self.id);
        }
    }
}

#[derive(Default)]
struct Place {
    generation: u64,
    /// Empty while the task is polled, and when there is none.
    body: Option<Body>,
    waker: Option<Arc<TaskWaker>>,
}

/// All tasks.
pub(super) struct Tasks {
    places: Vec<Place>,
    free: Vec<usize>,
}

local! {
    /// The tasks of this dispatcher.
    static TASKS: Tasks = Tasks { places: Vec::new(), free: Vec::new() };
}

impl Tasks {
    /// Adds a task, ready to run.
    pub(super) fn add(body: Body) -> TaskId {
        TASKS.with(|tasks| {
            let mut tasks = tasks.borrow_mut();
            let place = tasks.free.pop().unwrap_or_else(|| {
                tasks.places.push(Place::default());
                tasks.places.len() - 1
            });
            let entry = &mut tasks.places[place];
            entry.generation += 1;
            let id = TaskId {
                place,
                generation: entry.generation,
            };
            let waker = Arc::new(TaskWaker {
                id,
                queued: AtomicBool::new(false),
            });
            entry.body = Some(body);
            waker.wake_by_ref();
            entry.waker = Some(waker);
            id
        })
    }

    /// Whether task `id` has been woken and not been polled since. `None` while it is polled, and
    /// once it has ended.
    pub(super) fn is_woken(id: TaskId) -> Option<bool> {
        TASKS.with(|tasks| {
            let tasks = tasks.borrow();
            let place = tasks.places.get(id.place)?;
            let waits = place.generation == id.generation && place.body.is_some();
            let waker = place.waker.as_ref().filter(|_| waits)?;
            Some(waker.queued.load(Ordering::Relaxed))
        })
    }

    /// Polls task `id`, if there still is one.
    pub(super) fn poll(id: TaskId) {
        // The table isn't borrowed while the task runs: it may spawn others.
        let taken = TASKS.with(|tasks| {
            let mut tasks = tasks.borrow_mut();
            let place = tasks.places.get_mut(id.place)?;
            if place.generation != id.generation {
                return None;
            }
            Some((place.body.take()?, place.waker.clone()?))
        });
        let Some((mut body, task_waker)) = taken else {
            return;
        };
        // Cleared first: a wake from within the poll queues it again.
        task_waker.queued.store(false, Ordering::Relaxed);
        let waker = Waker::from(task_waker);
        let result = body.as_mut().poll(&mut Context::from_waker(&waker));
        match result {
            Poll::Pending => TASKS.with(|tasks| {
                if let Some(place) = tasks.borrow_mut().places.get_mut(id.place) {
                    place.body = Some(body);
                }
            }),
            Poll::Ready(()) => {
                drop(body);
                TASKS.with(|tasks| {
                    let mut tasks = tasks.borrow_mut();
                    if let Some(place) = tasks.places.get_mut(id.place) {
                        place.waker = None;
                        tasks.free.push(id.place);
                    }
                });
            }
        }
    }

    /// Places in the table, used or not.
    #[cfg(test)]
    pub(super) fn places() -> usize {
        TASKS.with(|tasks| tasks.borrow().places.len())
    }
}

/// The queue of tasks that are ready.
pub(super) mod queue {
    use super::{TaskId, VecDeque};

    local! {
        static READY: VecDeque<TaskId> = VecDeque::new();
    }

    pub(super) fn push(id: TaskId) {
        READY.with(|queue| queue.borrow_mut().push_back(id));
    }

    pub(in crate::executor) fn take_all() -> VecDeque<TaskId> {
        READY.with(|queue| core::mem::take(&mut *queue.borrow_mut()))
    }

    pub(in crate::executor) fn is_empty() -> bool {
        READY.with(|queue| queue.borrow().is_empty())
    }
}
