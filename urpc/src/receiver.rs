//! The receiving end of a ring.
//!
//! [`Receiver::try_recv`] loads the header of the next slot (acquire); if it carries the next
//! sequence, it copies the payload to private memory and frees the slot by a store-release of its
//! index, which lies on a line of its own. The receiver polls only slots, which it never writes.
//!
//! To wait: poll for a bounded time ([`Receiver::poll`], with [`Receiver::wait_on_line`] where
//! nothing else is runnable), then [`Receiver::arm`] and block. Many channels at once: on each
//! [`announce_sleep`](Receiver::announce_sleep), one [`full_barrier`], on each newly announced
//! [`is_ready`](Receiver::is_ready), block; then [`take_rung`](crate::take_rung), and look at those
//! whose bits were rung.

use crate::PAYLOAD_WORDS;
use crate::error::{ChannelError, Violation};
use crate::header::{CLOSE_MARK, Header, low, next};
use crate::memory::{Slots, Word, relax};
use crate::message::Message;
use crate::ring::Ring;
use crate::sleep::{Announcer, Flush, Watcher, full_barrier};
use core::sync::atomic::Ordering;

/// Set in [`Receiver::expected`] when the ring has failed. No header's sequence, widened to 64
/// bits, equals it then, so the fast path needs no check of its own.
const FAILED: u64 = 1 << 32;

/// The receiving end of one ring.
// The first four words are all that the fast path touches, in the order in which pairs of them are
// loaded by one instruction.
#[derive(Debug)]
#[repr(C)]
pub struct Receiver<'m> {
    slots: Slots<'m>,
    taken_word: &'m Word,
    /// Sequence of the next message; [`FAILED`] is added when there will be none.
    expected: u64,
    slot_count: u32,
    failure: Option<ChannelError>,
    violation: Option<Violation>,
    sender: Watcher<'m>,
    own_sleep: Announcer<'m>,
}

impl<'m> Receiver<'m> {
    pub(crate) fn new(ring: &Ring<'m>) -> Self {
        Self {
            slots: ring.slots,
            taken_word: ring.taken,
            expected: u64::from(ring.config.first_sequence()),
            slot_count: ring.config.slots(),
            sender: Watcher::new(ring.sender_sleep),
            own_sleep: Announcer::new(ring.receiver_sleep),
            failure: None,
            violation: None,
        }
    }

    /// Takes the next message if there is one.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Closed`] after the last message of a closed ring,
    /// [`ChannelError::Corrupt`] when the slot holds what no sender writes.
    #[inline(always)]
    pub fn try_recv(&mut self) -> Result<Option<Message>, ChannelError> {
        let (slots, expected, taken_word) = (self.slots, self.expected, self.taken_word);
        let message = match peek(slots, expected) {
            Ok(message) => message,
            Err(header) => {
                self.explain(header)?;
                return Ok(None);
            }
        };
        let taken = next(expected);
        self.expected = taken;
        // Pairs with the acquiring load in the sender's `update_taken`: the copy above is complete
        // before the slot may be written again.
        taken_word.store(taken, Ordering::Release);
        Ok(Some(message))
    }

    /// Takes messages into `batch` until it is full or none is left; gives their number. All slots
    /// are freed together, after the last copy.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv), when there is no message before the error.
    #[inline]
    pub fn recv_many(&mut self, batch: &mut [Message]) -> Result<usize, ChannelError> {
        let (slots, mut expected) = (self.slots, self.expected);
        let mut count = 0;
        for place in batch {
            match peek(slots, expected) {
                Ok(message) => *place = message,
                Err(header) if count == 0 => {
                    self.explain(header)?;
                    return Ok(0);
                }
                Err(_) => break,
            }
            expected = next(expected);
            count += 1;
        }
        if count == 0 {
            return Ok(0);
        }
        self.expected = expected;
        // As in `try_recv`.
        self.taken_word.store(expected, Ordering::Release);
        Ok(count)
    }

    /// Tries up to `rounds` times, resting for a moment between two tries.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv).
    #[inline]
    pub fn poll(&mut self, rounds: u32) -> Result<Option<Message>, ChannelError> {
        for _ in 0..rounds {
            if let Some(message) = self.try_recv()? {
                return Ok(Some(message));
            }
            relax();
        }
        Ok(None)
    }

    /// Rests until the next slot changes, or for a bounded time: by `WFE` on the slot's line on
    /// aarch64, by a pause elsewhere. For a domain that has nothing else to do; may return early.
    #[inline]
    pub fn wait_on_line(&self) {
        if self.expected & FAILED == 0 {
            let position = self.position();
            let idle = position.wrapping_sub(self.slot_count);
            self.slots.slot(self.expected).wait_while(idle);
        }
    }

    /// True when [`try_recv`](Self::try_recv) would give a message or an error.
    #[inline]
    #[must_use]
    pub fn is_ready(&self) -> bool {
        if self.expected & FAILED != 0 {
            return true;
        }
        let position = self.position();
        let header = Header::from_bits(self.slots.slot(self.expected).load());
        header.sequence() != position.wrapping_sub(self.slot_count)
    }

    /// Announces that this end will sleep. True when the announcement is new: then, after a
    /// [`full_barrier`], the caller must look at [`is_ready`](Self::is_ready) and not block if it
    /// is. False when an announcement stands since nothing has been received: one look after the
    /// bits were taken ([`take_rung`](crate::take_rung)) is enough, and needs no barrier.
    pub fn announce_sleep(&mut self) -> bool {
        self.own_sleep.announce(self.position().wrapping_add(1))
    }

    /// Withdraws the announcement of sleep. Not needed for correctness: without it, the sender's
    /// next flush may ask for a notification that nobody needs.
    pub fn cancel_sleep(&mut self) {
        self.own_sleep.cancel();
    }

    /// True while an announcement stands and no message has been taken since.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.own_sleep.is_armed(self.position().wrapping_add(1))
    }

    /// Announces sleep and checks again. True when the caller may block: there is nothing to
    /// receive, and the sender's flush will ask to notify. False when there is something.
    ///
    /// A barrier is made for a new announcement only: while one stands, the wake-up that brought the
    /// caller here has made it ([`take_rung`](crate::take_rung)).
    pub fn arm(&mut self) -> bool {
        if self.announce_sleep() {
            full_barrier();
        }
        if self.is_ready() {
            self.cancel_sleep();
            return false;
        }
        true
    }

    /// Asks whether the sender sleeps for want of credits and must be notified of the slots that
    /// were freed. To be called before this domain waits for anything.
    #[inline]
    pub fn flush(&mut self) -> Flush {
        full_barrier();
        self.check_sender()
    }

    /// [`flush`](Self::flush) after the caller's own [`full_barrier`].
    #[inline]
    pub fn check_sender(&mut self) -> Flush {
        self.sender.check(self.position())
    }

    /// Closes the ring. The sender gets [`ChannelError::Closed`] when it next looks for credits.
    /// Asks to notify a sender that waits for any: it would wait for ever.
    pub fn close(&mut self) -> Flush {
        self.own_sleep.close();
        if self.failure.is_none() {
            self.fail(ChannelError::Closed);
        }
        full_barrier();
        self.sender.check_after_closing()
    }

    /// Why the ring can't be used any more, as far as this end knows.
    #[must_use]
    pub fn failure(&self) -> Option<ChannelError> {
        self.failure
    }

    /// What the peer did when the failure is [`ChannelError::Corrupt`].
    #[must_use]
    pub fn violation(&self) -> Option<Violation> {
        self.violation
    }

    #[inline(always)]
    fn position(&self) -> u32 {
        low(self.expected)
    }

    /// Finds out why the next slot, in which `header` was found, holds no message.
    #[inline(never)]
    fn explain(&mut self, header: Header) -> Result<(), ChannelError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let expected = self.position();
        let found = header.sequence();
        if found == expected.wrapping_sub(self.slot_count) {
            return Ok(());
        }
        if found == expected ^ CLOSE_MARK {
            return Err(self.fail(ChannelError::Closed));
        }
        self.violation = Some(Violation::Sequence { expected, found });
        Err(self.fail(ChannelError::Corrupt))
    }

    fn fail(&mut self, error: ChannelError) -> ChannelError {
        self.failure = Some(error);
        self.expected |= FAILED;
        error
    }
}

/// Copies the message in the slot of `expected` if it is that one; gives the header that it found
/// otherwise.
#[inline(always)]
fn peek(slots: Slots<'_>, expected: u64) -> Result<Message, Header> {
    let slot = slots.slot(expected);
    let header = Header::from_bits(slot.load());
    if u64::from(header.sequence()) != expected {
        return Err(header);
    }
    let words: [u64; PAYLOAD_WORDS] = slot.read();
    Ok(Message::new(words, header))
}
