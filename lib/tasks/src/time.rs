//! Time: the counter, sleeping, time limits.
//!
//! Points in time are ticks of the virtual counter, the same on all cores.

use alloc::collections::BTreeMap;
use core::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::sys;

struct Timers {
    waiting: BTreeMap<(u64, u64), Waker>,
    next: u64,
}

local! {
    /// Who waits for which point in time; the second number tells equal ones apart.
    static TIMERS: Timers = Timers { waiting: BTreeMap::new(), next: 0 };
}

/// Now, in counter ticks.
#[must_use]
pub fn now() -> u64 {
    sys::counter()
}

/// Counter ticks per second.
#[must_use]
pub fn frequency() -> u64 {
    sys::counter_frequency().max(1)
}

/// Ticks in `duration`, rounded up; as many as there are for a longer one.
#[must_use]
pub fn to_ticks(duration: Duration) -> u64 {
    let ticks = (duration.as_nanos() * u128::from(frequency())).div_ceil(1_000_000_000);
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// The time in `ticks` ticks.
#[must_use]
pub fn to_duration(ticks: u64) -> Duration {
    let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(frequency());
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Waits for `duration` at least.
#[must_use]
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(now().saturating_add(to_ticks(duration)))
}

/// Waits until the counter reaches `deadline`.
#[must_use]
pub const fn sleep_until(deadline: u64) -> Sleep {
    Sleep {
        deadline,
        number: None,
    }
}

/// Ends when its time has come.
#[derive(Debug)]
pub struct Sleep {
    deadline: u64,
    number: Option<u64>,
}

impl Sleep {
    /// When it ends, in counter ticks.
    #[must_use]
    pub const fn deadline(&self) -> u64 {
        self.deadline
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if now() >= self.deadline {
            return Poll::Ready(());
        }
        TIMERS.with(|timers| {
            let mut timers = timers.borrow_mut();
            let number = *self.number.get_or_insert_with(|| {
                timers.next += 1;
                timers.next
            });
            let waker = context.waker().clone();
            timers.waiting.insert((self.deadline, number), waker);
        });
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            TIMERS.with(|timers| {
                let mut timers = timers.borrow_mut();
                timers.waiting.remove(&(self.deadline, number));
            });
        }
    }
}

/// The time was over first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Elapsed;

impl core::fmt::Display for Elapsed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the time is over")
    }
}

/// What `future` gives, if it does within `limit`; else it is dropped.
///
/// # Errors
/// [`Elapsed`].
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut sleep = pin!(sleep(limit));
    core::future::poll_fn(|context| {
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(value));
        }
        sleep.as_mut().poll(context).map(|()| Err(Elapsed))
    })
    .await
}

/// The earliest point in time that somebody waits for.
pub(crate) fn earliest() -> Option<u64> {
    TIMERS.with(|timers| {
        let timers = timers.borrow();
        timers.waiting.first_key_value().map(|((at, _), _)| *at)
    })
}

/// Wakes those whose time has come.
pub(crate) fn wake_sleepers() {
    let Some(first) = earliest() else { return };
    let now = now();
    if first > now {
        return;
    }
    TIMERS.with(|timers| {
        let mut timers = timers.borrow_mut();
        while let Some(entry) = timers.waiting.first_entry() {
            if entry.key().0 > now {
                break;
            }
            entry.remove().wake();
        }
    });
}
