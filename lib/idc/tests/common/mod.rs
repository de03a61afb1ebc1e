//! An interface to test with, its server, and something that runs futures.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "shared by test crates that each use a part"
)]

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use capelin_abi::CapAddress;
use capelin_idc::{CallError, Cap, interface};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum EchoError {
    Empty,
    Call(CallError),
}

impl From<CallError> for EchoError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Point {
    pub x: i32,
    pub y: i32,
}

/// One operation for each kind of argument and result.
#[interface(name = "echo", version = 3)]
pub trait Echo {
    async fn add(&self, a: u64, b: u64) -> u64;
    async fn text(&self, text: &str, times: u32) -> Result<String, EchoError>;
    async fn bytes(&self, bytes: &[u8]) -> Vec<u8>;
    async fn sum(&self, points: &[Point], offset: &Point) -> Point;
    async fn pass(&self, name: &str, cap: Cap) -> Result<Cap, EchoError>;
    async fn maybe(&self, cap: Option<Cap>, want: bool) -> Option<Cap>;
    async fn pair(&self, cap: Cap) -> Result<(u64, Cap), EchoError>;
    #[oneway]
    async fn note(&self, value: u64);
    async fn noted(&self) -> Vec<u64>;
    /// Waits until `open` has been called.
    async fn gate(&self, number: u64) -> u64;
    async fn open(&self);
}

#[derive(Default)]
pub struct EchoImpl {
    pub notes: RefCell<Vec<u64>>,
    pub is_open: Cell<bool>,
    /// Its gate opens when the client is gone.
    pub opens_at_end: Cell<bool>,
    pub waiting: RefCell<VecDeque<Waker>>,
    pub finished: Cell<u32>,
}

impl Echo for EchoImpl {
    async fn add(&self, a: u64, b: u64) -> u64 {
        a.wrapping_add(b)
    }

    async fn text(&self, text: &str, times: u32) -> Result<String, EchoError> {
        if text.is_empty() {
            return Err(EchoError::Empty);
        }
        Ok(text.repeat(times as usize))
    }

    async fn bytes(&self, bytes: &[u8]) -> Vec<u8> {
        bytes.iter().rev().copied().collect()
    }

    async fn sum(&self, points: &[Point], offset: &Point) -> Point {
        points.iter().fold(offset.clone(), |sum, point| Point {
            x: sum.x + point.x,
            y: sum.y + point.y,
        })
    }

    async fn pass(&self, name: &str, cap: Cap) -> Result<Cap, EchoError> {
        if name.is_empty() {
            return Err(EchoError::Empty);
        }
        Ok(cap)
    }

    async fn maybe(&self, cap: Option<Cap>, want: bool) -> Option<Cap> {
        cap.filter(|_| want)
    }

    async fn pair(&self, cap: Cap) -> Result<(u64, Cap), EchoError> {
        Ok((u64::from(cap.address().0), cap))
    }

    async fn note(&self, value: u64) {
        self.notes.borrow_mut().push(value);
    }

    async fn noted(&self) -> Vec<u64> {
        self.notes.borrow().clone()
    }

    async fn gate(&self, number: u64) -> u64 {
        poll_fn(|context| {
            if self.is_open.get() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push_back(context.waker().clone());
            Poll::Pending
        })
        .await;
        self.finished.set(self.finished.get() + 1);
        number
    }

    async fn open(&self) {
        self.is_open.set(true);
        self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
    }

    fn closed(&self) {
        if self.opens_at_end.get() {
            self.is_open.set(true);
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
    }
}

thread_local! {
    static DISPOSED: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// A capability whose disposal is noted.
pub fn owned(slot: u32) -> Cap {
    Cap::owned(CapAddress(slot), |address| {
        DISPOSED.with_borrow_mut(|slots| slots.push(address.0));
    })
}

/// The slots of those that were disposed of since it was last asked.
pub fn disposed() -> Vec<u32> {
    DISPOSED.take()
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

type Task = (Pin<Box<dyn Future<Output = ()>>>, Arc<Flag>);

/// Polls tasks, each only when it has been woken, so that a lost wake shows as a deadlock.
#[derive(Default)]
pub struct Runner {
    tasks: RefCell<Vec<Option<Task>>>,
}

impl Runner {
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        self.tasks.borrow_mut().push(Some((Box::pin(future), flag)));
    }

    /// Runs until `future` has ended; fails when nothing can go on before.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let main = Arc::new(Flag(AtomicBool::new(true)));
        loop {
            let mut moved = false;
            if main.0.swap(false, Ordering::Relaxed) {
                moved = true;
                let waker = Waker::from(Arc::clone(&main));
                if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return value;
                }
            }
            moved |= self.turn();
            assert!(moved, "everybody waits: a wake was lost");
        }
    }

    /// Runs until nothing moves.
    pub fn settle(&self) {
        while self.turn() {}
    }

    fn turn(&self) -> bool {
        let mut moved = false;
        let count = self.tasks.borrow().len();
        for index in 0..count {
            let Some((mut task, flag)) = self.tasks.borrow_mut()[index].take() else {
                continue;
            };
            let mut done = false;
            if flag.0.swap(false, Ordering::Relaxed) {
                moved = true;
                let waker = Waker::from(Arc::clone(&flag));
                done = task
                    .as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_ready();
            }
            if !done {
                self.tasks.borrow_mut()[index] = Some((task, flag));
            }
        }
        moved
    }

    pub fn running(&self) -> usize {
        self.tasks.borrow().iter().flatten().count()
    }
}

/// Polls all of some futures, in an order that changes, until all have ended.
pub async fn all<F: Future + Unpin>(mut futures: Vec<F>) -> Vec<F::Output> {
    let mut results: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    let mut turn = 0usize;
    poll_fn(|context| {
        turn += 1;
        let count = futures.len();
        for n in 0..count {
            let index = (n * 7 + turn) % count;
            if results[index].is_none()
                && let Poll::Ready(value) = Pin::new(&mut futures[index]).poll(context)
            {
                results[index] = Some(value);
            }
        }
        if results.iter().all(Option::is_some) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    results.into_iter().flatten().collect()
}

pub fn shared() -> Rc<EchoImpl> {
    Rc::default()
}
