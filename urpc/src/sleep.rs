//! Announcements of sleep: how an end that blocks makes sure that its peer wakes it.
//!
//! Each end of a ring can wait: the receiver for a message, the sender for credits. Each has a line
//! of its own for the announcement, written by it alone and read by the peer's *flush*:
//!
//! ```text
//!   63                34 33                  2  1        0
//!  ┌────────────────────┬─────────────────────┬────────┬────────┐
//!  │ announcement number│ target (sequence)   │ closed │ asleep │
//!  └────────────────────┴─────────────────────┴────────┴────────┘
//! ```
//!
//! The *target* is what the end waits for: the count of messages that the peer must have published,
//! or taken, before there is anything to do. The peer notifies only when its own count has reached
//! it, so a notification always means progress, and flushing without having sent wakes nobody.
//!
//! | the end that waits | its peer |
//! | --- | --- |
//! | 1. store the announcement, number raised by one, *asleep* set | a. publish (or free) any number of slots, without a fence |
//! | 2. full barrier | b. full barrier, once per batch: *flush* |
//! | 3. look at the ring again; if there is something, don't block | c. load the announcement; *asleep*, target reached and not yet notified: notify |
//! | 4. block until notified | |
//!
//! The barriers 2 and b are sequentially consistent, hence ordered. If 2 comes first, the load c
//! sees the announcement; if b comes first, 3 sees what a wrote. So either the waiter doesn't
//! block or its peer notifies it.
//!
//! The peer never writes the announcement: it remembers the one that it has notified, so each is
//! notified at most once, and nobody needs a read-modify-write. An announcement word recurs only
//! after 2³⁰ announcements and with the same target, so none is mistaken for one notified before.
//!
//! An end that is armed stays so until its target is reached: announcing again does nothing
//! while the target is the same. An announcement that was notified has its target reached, so it
//! can't be left standing by mistake; and an idle channel costs a waiting dispatcher nothing.

use crate::memory::{Word, fence};
use core::sync::atomic::Ordering;

/// Set while the announcer may be blocked.
const ASLEEP: u64 = 1 << 0;

/// Set once and for all when the announcer has closed its end.
const CLOSED: u64 = 1 << 1;

const TARGET_SHIFT: u32 = 2;
const NUMBER_SHIFT: u32 = 34;

/// What a flush asks its caller to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a peer that sleeps isn't woken unless its Notify capability is invoked"]
pub enum Flush {
    /// The peer is awake, or has been notified of everything before: nothing to do.
    Quiet,
    /// The peer has announced sleep: invoke its Notify capability. Said once per announcement.
    Notify,
}

impl Flush {
    /// [`Notify`](Self::Notify) if either asks for it.
    pub fn or(self, other: Self) -> Self {
        match self {
            Self::Notify => Self::Notify,
            Self::Quiet => other,
        }
    }
}

/// A full barrier between this core's earlier stores and its later loads (`DMB ISH`).
///
/// One call serves any number of channels: announce on each, call this, recheck each.
#[inline]
pub fn full_barrier() {
    fence(Ordering::SeqCst);
}

/// The writing side of an announcement: the end that may sleep.
#[derive(Debug)]
pub(crate) struct Announcer<'m> {
    word: &'m Word,
    number: u64,
    /// The target of the standing announcement.
    armed_for: Option<u32>,
    closed: u64,
}

impl<'m> Announcer<'m> {
    pub(crate) fn new(word: &'m Word) -> Self {
        Self {
            word,
            number: 0,
            armed_for: None,
            closed: 0,
        }
    }

    /// Announces sleep until the peer has reached `target`, unless that announcement stands. True
    /// when it is new, so that the ring must be checked again after a full barrier.
    ///
    /// Relaxed: the barrier that follows orders it before the second look at the ring.
    pub(crate) fn announce(&mut self, target: u32) -> bool {
        if self.is_armed(target) {
            return false;
        }
        self.number = self.number.wrapping_add(1);
        self.armed_for = Some(target);
        self.store(u64::from(target) << TARGET_SHIFT | ASLEEP);
        true
    }

    /// Withdraws the announcement.
    ///
    /// Relaxed: a peer that doesn't see it yet notifies once more than needed.
    pub(crate) fn cancel(&mut self) {
        if self.armed_for.take().is_some() {
            self.store(0);
        }
    }

    /// True while an announcement with this `target` stands.
    pub(crate) fn is_armed(&self, target: u32) -> bool {
        self.armed_for == Some(target)
    }

    /// Says that this end is closed for good.
    pub(crate) fn close(&mut self) {
        self.closed = CLOSED;
        self.armed_for = None;
        self.store(0);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed != 0
    }

    fn store(&self, state: u64) {
        let word = self.number << NUMBER_SHIFT | self.closed | state;
        self.word.store(word, Ordering::Relaxed);
    }
}

/// The reading side of an announcement: the peer of the end that may sleep.
#[derive(Debug)]
pub(crate) struct Watcher<'m> {
    word: &'m Word,
    /// The announcement that was last notified.
    notified: u64,
}

impl<'m> Watcher<'m> {
    pub(crate) fn new(word: &'m Word) -> Self {
        Self { word, notified: 0 }
    }

    /// Step c, after a full barrier, by a peer that has published or taken everything before
    /// `progress`.
    ///
    /// Any value that a hostile peer writes there is a valid state; the worst that it gains is one
    /// notification of itself per flush.
    pub(crate) fn check(&mut self, progress: u32) -> Flush {
        let word = self.word.load(Ordering::Relaxed);
        if word & ASLEEP == 0 || word == self.notified {
            return Flush::Quiet;
        }
        let target = (word >> TARGET_SHIFT & 0xffff_ffff) as u32;
        if progress.wrapping_sub(target).cast_signed() < 0 {
            return Flush::Quiet;
        }
        self.notified = word;
        Flush::Notify
    }

    /// True when the peer has closed its end.
    pub(crate) fn peer_is_closed(&self) -> bool {
        self.word.load(Ordering::Relaxed) & CLOSED != 0
    }
}
