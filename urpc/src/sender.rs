//! The sending end of a ring.
//!
//! [`Sender::try_send`] writes the payload, then publishes it by one store-release of the header
//! word. It has no fence and reads no shared line while credits last. When they run out it loads
//! the receiver's index (acquire: the receiver is done reading what it gives back) and checks it.
//! [`Sender::flush`], once per batch, finds out whether the receiver must be notified.

use crate::error::{ChannelError, SendError, Violation};
use crate::header::{Header, Label};
use crate::memory::{Slots, Word};
use crate::ring::Ring;
use crate::sleep::{Announcer, Flush, Watcher, full_barrier};
use crate::{PAYLOAD_BYTES, PAYLOAD_WORDS};
use core::sync::atomic::Ordering;

/// Which part of the ring a message may use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Ordinary,
    Reserved,
    Closing,
}

/// The sending end of one ring.
#[derive(Debug)]
pub struct Sender<'m> {
    slots: Slots<'m>,
    /// Number of the next message.
    position: u32,
    /// Number of the first message that has no credit. Not after `position` when there is none.
    limit: u32,
    /// Number of the first message that isn't known to be taken.
    taken: u32,
    reserve: u32,
    slot_count: u32,
    taken_word: &'m Word,
    receiver: Watcher<'m>,
    own_sleep: Announcer<'m>,
    failure: Option<ChannelError>,
}

impl<'m> Sender<'m> {
    pub(crate) fn new(ring: &Ring<'m>) -> Self {
        let first = ring.config.first_sequence();
        Self {
            slots: ring.slots,
            position: first,
            limit: first.wrapping_add(ring.config.credits()),
            taken: first,
            reserve: ring.config.reserve(),
            slot_count: ring.config.slots(),
            taken_word: ring.taken,
            receiver: Watcher::new(ring.receiver_sleep),
            own_sleep: Announcer::new(ring.sender_sleep),
            failure: None,
        }
    }

    /// Sends seven words: the fast path, in straight-line code.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] when no credits are left, [`SendError::Channel`] when the ring is closed
    /// or broken.
    #[inline(always)]
    pub fn try_send_line(
        &mut self,
        label: Label,
        payload: &[u64; PAYLOAD_WORDS],
    ) -> Result<(), SendError> {
        if !self.has_credit() {
            self.refill(Class::Ordinary)?;
        }
        let slot = self.slots.slot(self.position);
        slot.write(payload);
        slot.publish(Header::new(self.position, label, PAYLOAD_BYTES).bits());
        self.position = self.position.wrapping_add(1);
        Ok(())
    }

    /// Sends up to seven words.
    ///
    /// # Errors
    ///
    /// As [`try_send_line`](Self::try_send_line), and [`SendError::TooLong`].
    #[inline]
    pub fn try_send(&mut self, label: Label, payload: &[u64]) -> Result<(), SendError> {
        self.send(Class::Ordinary, label, payload, payload.len() * 8)
    }

    /// Sends up to seven words, using the reserve if need be. For messages that let the peer go on,
    /// such as acknowledgements and replies, and of which the user's own flow control bounds the
    /// number.
    ///
    /// # Errors
    ///
    /// As [`try_send`](Self::try_send).
    #[inline]
    pub fn try_send_reserved(&mut self, label: Label, payload: &[u64]) -> Result<(), SendError> {
        self.send(Class::Reserved, label, payload, payload.len() * 8)
    }

    /// Sends up to 56 bytes.
    ///
    /// # Errors
    ///
    /// As [`try_send`](Self::try_send).
    #[inline]
    pub fn try_send_bytes(&mut self, label: Label, payload: &[u8]) -> Result<(), SendError> {
        if payload.len() > PAYLOAD_BYTES {
            return Err(SendError::TooLong);
        }
        let mut words = [0; PAYLOAD_WORDS];
        for (word, bytes) in words.iter_mut().zip(payload.chunks(8)) {
            let mut whole = [0; 8];
            for (to, from) in whole.iter_mut().zip(bytes) {
                *to = *from;
            }
            *word = u64::from_le_bytes(whole);
        }
        let used = words
            .get(..payload.len().div_ceil(8))
            .ok_or(SendError::TooLong)?;
        self.send(Class::Ordinary, label, used, payload.len())
    }

    /// Sends as many of `payloads` as credits allow, all with the same label; gives their number,
    /// which is 0 when the ring is full.
    ///
    /// # Errors
    ///
    /// [`ChannelError`] when the ring is closed or broken. Some may have been sent before.
    pub fn send_many(
        &mut self,
        label: Label,
        payloads: &[[u64; PAYLOAD_WORDS]],
    ) -> Result<usize, ChannelError> {
        for (sent, payload) in payloads.iter().enumerate() {
            match self.try_send_line(label, payload) {
                Ok(()) => {}
                Err(SendError::Channel(error)) => return Err(error),
                Err(SendError::Full | SendError::TooLong) => return Ok(sent),
            }
        }
        Ok(payloads.len())
    }

    /// Asks whether the receiver must be notified of what was sent. To be called once after each
    /// batch, and before this domain waits for anything.
    #[inline]
    pub fn flush(&mut self) -> Flush {
        full_barrier();
        self.check_receiver()
    }

    /// [`flush`](Self::flush) after the caller's own [`full_barrier`].
    #[inline]
    pub fn check_receiver(&mut self) -> Flush {
        self.receiver.check(self.position)
    }

    /// Ordinary messages that can be sent for certain, without looking at shared memory.
    #[must_use]
    pub fn credits(&self) -> u32 {
        if self.has_credit() {
            self.limit.wrapping_sub(self.position)
        } else {
            0
        }
    }

    /// Looks at the receiver's index for more credits.
    ///
    /// # Errors
    ///
    /// As [`try_send_line`](Self::try_send_line).
    pub fn refresh_credits(&mut self) -> Result<(), SendError> {
        self.refill(Class::Ordinary)
    }

    /// Messages sent that the receiver isn't known to have taken.
    ///
    /// A receiver that has stalled is not an error by itself, since a ring has no clock: a user
    /// that has one sees this number stand still over failing sends.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.position.wrapping_sub(self.taken)
    }

    /// Announces that this end will sleep until it has credits. True when the announcement is new:
    /// follow with [`full_barrier`] and [`refresh_credits`](Self::refresh_credits), and block only
    /// if that says [`Full`](SendError::Full). The receiver's flush notifies.
    pub fn announce_sleep(&mut self) -> bool {
        // An ordinary message has room once fewer than `credits` are outstanding.
        let credits = self.slot_count - 1 - self.reserve;
        let target = self.position.wrapping_sub(credits).wrapping_add(1);
        self.own_sleep.announce(target)
    }

    /// Withdraws the announcement of sleep.
    pub fn cancel_sleep(&mut self) {
        self.own_sleep.cancel();
    }

    /// Announces sleep and checks again. True when the caller may block: the ring is full, and the
    /// receiver will notify when it has freed a slot.
    ///
    /// # Errors
    ///
    /// [`ChannelError`] when the ring is closed or broken.
    pub fn arm(&mut self) -> Result<bool, ChannelError> {
        self.announce_sleep();
        full_barrier();
        match self.refill(Class::Ordinary) {
            Err(SendError::Full) => Ok(true),
            Ok(()) | Err(SendError::TooLong) => {
                self.cancel_sleep();
                Ok(false)
            }
            Err(SendError::Channel(error)) => Err(error),
        }
    }

    /// Closes the ring. The receiver still gets all messages sent before, then
    /// [`ChannelError::Closed`]. Asks to notify the receiver, as [`flush`](Self::flush).
    pub fn close(&mut self) -> Flush {
        if self.failure.is_none() {
            // A slot is always kept for this, except from a receiver whose index is wrong; and that
            // one is past telling.
            if self.refill(Class::Closing).is_ok() {
                let closing = Header::closing(self.position);
                self.slots.slot(self.position).publish(closing.bits());
                // Counts as a message for a receiver that sleeps.
                self.position = self.position.wrapping_add(1);
            }
            self.fail(ChannelError::Closed);
        }
        self.flush()
    }

    /// Why the ring can't be used any more, as far as this end knows.
    #[must_use]
    pub fn failure(&self) -> Option<ChannelError> {
        self.failure
    }

    #[inline(always)]
    fn has_credit(&self) -> bool {
        // By the sign of the difference, since reserved messages take `position` past `limit`.
        self.position.wrapping_sub(self.limit).cast_signed() < 0
    }

    #[inline]
    fn send(
        &mut self,
        class: Class,
        label: Label,
        words: &[u64],
        bytes: usize,
    ) -> Result<(), SendError> {
        if words.len() > PAYLOAD_WORDS {
            return Err(SendError::TooLong);
        }
        if !self.has_credit() {
            self.refill(class)?;
        }
        let slot = self.slots.slot(self.position);
        slot.write_prefix(words);
        slot.publish(Header::new(self.position, label, bytes).bits());
        self.position = self.position.wrapping_add(1);
        Ok(())
    }

    /// Reads how far the receiver has come, and says whether a message of `class` has a slot.
    #[cold]
    #[inline(never)]
    fn refill(&mut self, class: Class) -> Result<(), SendError> {
        if let Some(failure) = self.failure {
            return Err(failure.into());
        }
        // Pairs with the receiver's release store: its reads of the slots that it gives back come
        // before our writes to them.
        let claimed = self.taken_word.load(Ordering::Acquire);
        match u32::try_from(claimed) {
            Ok(taken) if taken.wrapping_sub(self.taken) <= self.outstanding() => self.taken = taken,
            _ => {
                let violation = Violation::Index {
                    known: self.taken,
                    sent: self.position,
                    claimed,
                };
                return Err(self.fail(ChannelError::Corrupt(violation)).into());
            }
        }
        if class != Class::Closing && self.receiver.peer_is_closed() {
            return Err(self.fail(ChannelError::Closed).into());
        }
        let room = self.slot_count - 1;
        self.limit = self.taken.wrapping_add(room - self.reserve);
        let has_room = match class {
            Class::Ordinary => self.outstanding() < room - self.reserve,
            Class::Reserved => self.outstanding() < room,
            Class::Closing => self.outstanding() < self.slot_count,
        };
        if has_room {
            Ok(())
        } else {
            Err(SendError::Full)
        }
    }

    /// Ends the use of this end: with the limit at the position, every send comes to `refill`.
    fn fail(&mut self, error: ChannelError) -> ChannelError {
        self.failure = Some(error);
        self.limit = self.position;
        error
    }
}
