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
//! # Standing announcements, and doorbells that several peers ring
//!
//! An end that is armed stays so until its target is reached: announcing again does nothing while
//! the target is the same. An announcement that was notified has its target reached, so it can't be
//! left standing by mistake. After a wake-up that was for another channel, an end that is still
//! armed looks at its ring once, without a barrier, and blocks again.
//!
//! That look must not miss a message whose sender took the wake-up for done. A doorbell that finds
//! its bit set does nothing: the bit says that the waiter is still to look. So between *taking* the
//! bit and looking stands a barrier, [`take_rung`]:
//!
//! | a peer, on finding the bit set | the waiter |
//! | --- | --- |
//! | a. publish | 5. take the bit: set it to 0 |
//! | b. full barrier; c. announced, so ring | 6. full barrier |
//! | d. the bit is set: done | 7. look at the rings of all who may ring this bit |
//!
//! If d found the bit set it came before 5, so b precedes 6 and 7 sees what a wrote. A doorbell that
//! finds the bit clear sets it, and is taken by a later 5. An atomic swap alone, with acquire and
//! release, doesn't do: 7 may then be satisfied before 5's store, and d before a's. So waking costs
//! one barrier a take, however many channels share the bit, and none a channel.

use crate::memory::{Word, fence};
use core::sync::atomic::Ordering;

/// Set while the announcer may be blocked.
const ASLEEP: u64 = 0b01;

/// Set once and for all when the announcer has closed its end.
const CLOSED: u64 = 0b10;

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

/// Takes the bits that peers have rung in `word`: steps 5 and 6. The caller then looks at every ring
/// whose peer may have rung one of them, before it blocks.
///
/// Relaxed: the barrier after it orders it before these looks. When no bit was set nobody has taken
/// a wake-up for done since the last take, so there is nothing to order.
#[inline]
pub fn take_rung(word: &Word) -> u64 {
    let bits = word.swap(0, Ordering::Relaxed);
    if bits != 0 {
        full_barrier();
    }
    bits
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
        self.check_unless(|target| progress.wrapping_sub(target).cast_signed() < 0)
    }

    /// Step c by a peer that has just closed its end: there is nothing left to wait for, so any
    /// announcement is due, whatever its target.
    pub(crate) fn check_after_closing(&mut self) -> Flush {
        self.check_unless(|_| false)
    }

    #[inline(always)]
    fn check_unless(&mut self, is_ahead: impl FnOnce(u32) -> bool) -> Flush {
        let word = self.word.load(Ordering::Relaxed);
        if word & ASLEEP == 0 || word == self.notified {
            return Flush::Quiet;
        }
        let target = (word >> TARGET_SHIFT & 0xffff_ffff) as u32;
        if is_ahead(target) {
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_made_again_is_a_new_one() {
        let word = Word::new(0);
        let mut announcer = Announcer::new(&word);
        let mut watcher = Watcher::new(&word);
        // The same target comes again after 2³² messages, or when an announcement was withdrawn.
        for _ in 0..3 {
            assert!(announcer.announce(5));
            assert!(!announcer.announce(5), "it stands");
            assert_eq!(watcher.check(4), Flush::Quiet, "not reached");
            assert_eq!(watcher.check(5), Flush::Notify);
            assert_eq!(watcher.check(6), Flush::Quiet, "notified already");
            announcer.cancel();
            assert_eq!(watcher.check(7), Flush::Quiet, "withdrawn");
        }
    }

    #[test]
    fn the_word_has_its_fields_where_they_are_drawn() {
        let word = Word::new(0);
        let mut announcer = Announcer::new(&word);
        announcer.announce(0x8000_0001);
        assert_eq!(
            word.load(Ordering::Relaxed),
            1 << 34 | 0x8000_0001 << 2 | 0b01
        );
        announcer.close();
        assert_eq!(word.load(Ordering::Relaxed), 1 << 34 | 0b10);
        announcer.announce(3);
        assert_eq!(word.load(Ordering::Relaxed), 2 << 34 | 3 << 2 | 0b11);
    }

    #[test]
    fn a_target_is_reached_across_the_wrap_around() {
        let word = Word::new(0);
        let mut announcer = Announcer::new(&word);
        let mut watcher = Watcher::new(&word);
        announcer.announce(1);
        assert_eq!(watcher.check(u32::MAX), Flush::Quiet);
        assert_eq!(watcher.check(0), Flush::Quiet);
        assert_eq!(watcher.check(1), Flush::Notify);
        announcer.announce(u32::MAX);
        assert_eq!(watcher.check(u32::MAX - 1), Flush::Quiet);
        assert_eq!(watcher.check(3), Flush::Notify);
    }

    #[test]
    fn bits_that_were_rung_are_taken_once() {
        let word = Word::new(0b101);
        assert_eq!(take_rung(&word), 0b101);
        assert_eq!(take_rung(&word), 0);
    }
}
