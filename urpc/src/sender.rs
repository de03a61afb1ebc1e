//! The sending end of a ring.
//!
//! [`Sender::try_send`] writes the payload, then publishes it by one store-release of the header
//! word. It has no fence and reads no shared line while credits last. When they run out it loads
//! the receiver's index (acquire: the receiver is done reading what it gives back) and checks it.
//! [`Sender::flush`], once per batch, finds out whether the receiver must be notified.

use crate::error::{ChannelError, SendError, Violation};
use crate::header::{Header, Label, low, next};
use crate::memory::{Slots, Word};
use crate::ring::Ring;
use crate::sleep::{Announcer, Flush, Watcher, full_barrier};
use crate::{PAYLOAD_BYTES, PAYLOAD_WORDS};
use core::sync::atomic::Ordering;

/// Which part of the ring a message may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// All slots but the reserve.
    Ordinary,
    /// The reserve as well: for messages that let the peer go on, such as acknowledgements and
    /// replies, of which the user's own flow control bounds the number.
    Reserved,
}

/// The sending end of one ring.
// The first four words are all that the fast path touches, in the order in which pairs of them are
// loaded by one instruction.
#[derive(Debug)]
#[repr(C)]
pub struct Sender<'m> {
    slots: Slots<'m>,
    /// Number of the next message; 32 bits, kept in a word so that it needs no extension.
    position: u64,
    /// Number of the first message that has no credit; equal to `position` when there is none.
    limit: u64,
    /// Number of the first message that isn't known to be taken.
    taken: u32,
    /// Slots that one class may fill.
    ordinary_room: u32,
    reserved_room: u32,
    failure: Option<ChannelError>,
    violation: Option<Violation>,
    taken_word: &'m Word,
    receiver: Watcher<'m>,
    own_sleep: Announcer<'m>,
}

impl<'m> Sender<'m> {
    pub(crate) fn new(ring: &Ring<'m>) -> Self {
        let config = ring.config;
        let first = config.first_sequence();
        Self {
            slots: ring.slots,
            position: u64::from(first),
            limit: u64::from(first.wrapping_add(config.credits())),
            taken: first,
            ordinary_room: config.credits(),
            reserved_room: config.slots() - 1,
            failure: None,
            violation: None,
            taken_word: ring.taken,
            receiver: Watcher::new(ring.receiver_sleep),
            own_sleep: Announcer::new(ring.sender_sleep),
        }
    }

    /// Sends seven words: the fast path, in straight-line code.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] when no credits are left, [`SendError::Closed`] or
    /// [`SendError::Corrupt`] when the ring can't be used any more.
    #[inline(always)]
    pub fn try_send_line(
        &mut self,
        label: Label,
        payload: &[u64; PAYLOAD_WORDS],
    ) -> Result<(), SendError> {
        self.try_send_sized(Class::Ordinary, label, payload, PAYLOAD_BYTES)
    }

    /// Sends the first `len` bytes of seven words: straight-line code for any length. The slot
    /// gets all seven words.
    ///
    /// # Errors
    ///
    /// As [`try_send_line`](Self::try_send_line), and [`SendError::TooLong`].
    #[inline(always)]
    pub fn try_send_sized(
        &mut self,
        class: Class,
        label: Label,
        payload: &[u64; PAYLOAD_WORDS],
        len: usize,
    ) -> Result<(), SendError> {
        if len > PAYLOAD_BYTES {
            return Err(SendError::TooLong);
        }
        if !self.has_credit() {
            self.refill(class)?;
        }
        let (slots, position) = (self.slots, self.position);
        let slot = slots.slot(position);
        slot.write(payload);
        slot.publish(Header::new(position, label, len).bits());
        self.position = next(position);
        Ok(())
    }

    /// Sends up to seven words.
    ///
    /// # Errors
    ///
    /// As [`try_send_line`](Self::try_send_line), and [`SendError::TooLong`].
    #[inline]
    pub fn try_send(&mut self, label: Label, payload: &[u64]) -> Result<(), SendError> {
        self.send_words(Class::Ordinary, label, payload)
    }

    /// Sends up to seven words as [`Class::Reserved`].
    ///
    /// # Errors
    ///
    /// As [`try_send`](Self::try_send).
    #[inline]
    pub fn try_send_reserved(&mut self, label: Label, payload: &[u64]) -> Result<(), SendError> {
        self.send_words(Class::Reserved, label, payload)
    }

    /// Sends up to 56 bytes.
    ///
    /// # Errors
    ///
    /// As [`try_send`](Self::try_send).
    #[inline]
    pub fn try_send_bytes(&mut self, label: Label, payload: &[u8]) -> Result<(), SendError> {
        let mut words = [0; PAYLOAD_WORDS];
        for (word, bytes) in words.iter_mut().zip(payload.chunks(8)) {
            let mut whole = [0; 8];
            for (to, from) in whole.iter_mut().zip(bytes) {
                *to = *from;
            }
            *word = u64::from_le_bytes(whole);
        }
        self.try_send_sized(Class::Ordinary, label, &words, payload.len())
    }

    /// Sends as many of `payloads` as credits allow, all with the same label; gives their number,
    /// which is 0 when the ring is full.
    ///
    /// # Errors
    ///
    /// [`ChannelError`] when the ring is closed or broken. Some may have been sent before.
    #[inline]
    pub fn send_many(
        &mut self,
        label: Label,
        payloads: &[[u64; PAYLOAD_WORDS]],
    ) -> Result<usize, ChannelError> {
        if (self.credits() as usize) < payloads.len() {
            match self.refill(Class::Ordinary) {
                Err(SendError::Closed) => return Err(ChannelError::Closed),
                Err(SendError::Corrupt) => return Err(ChannelError::Corrupt),
                Ok(()) | Err(SendError::Full | SendError::TooLong) => {}
            }
        }
        let (slots, mut position) = (self.slots, self.position);
        let count = payloads.len().min(self.credits() as usize);
        for payload in payloads.iter().take(count) {
            let slot = slots.slot(position);
            slot.write(payload);
            slot.publish(Header::new(position, label, PAYLOAD_BYTES).bits());
            position = next(position);
        }
        self.position = position;
        Ok(count)
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
        self.receiver.check(low(self.position))
    }

    /// Ordinary messages that can be sent for certain, without looking at shared memory.
    #[inline]
    #[must_use]
    pub fn credits(&self) -> u32 {
        low(self.limit).wrapping_sub(low(self.position))
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
        low(self.position).wrapping_sub(self.taken)
    }

    /// Announces that this end will sleep until it has credits. True when the announcement is new:
    /// follow with [`full_barrier`] and [`refresh_credits`](Self::refresh_credits), and block only
    /// if that says [`Full`](SendError::Full). The receiver's flush notifies.
    pub fn announce_sleep(&mut self) -> bool {
        // An ordinary message fits once fewer than `ordinary_room` are outstanding.
        let target = low(self.position).wrapping_sub(self.ordinary_room);
        self.own_sleep.announce(target.wrapping_add(1))
    }

    /// Withdraws the announcement of sleep.
    pub fn cancel_sleep(&mut self) {
        self.own_sleep.cancel();
    }

    /// Announces sleep and checks again. True when the caller may block: the ring is full, and the
    /// receiver will notify when an ordinary message fits. As with
    /// [`Receiver::arm`](crate::Receiver::arm), a barrier is made for a new announcement only.
    ///
    /// # Errors
    ///
    /// [`ChannelError`] when the ring is closed or broken.
    pub fn arm(&mut self) -> Result<bool, ChannelError> {
        if self.announce_sleep() {
            full_barrier();
        }
        let refilled = self.refill(Class::Ordinary);
        if refilled != Err(SendError::Full) {
            self.cancel_sleep();
        }
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(refilled.is_err()),
        }
    }

    /// Closes the ring. The receiver still gets all messages sent before, then
    /// [`ChannelError::Closed`]. Asks to notify the receiver, as [`flush`](Self::flush).
    pub fn close(&mut self) -> Flush {
        if self.failure.is_none() {
            // Even with the reserve used up one slot is left. When the index turns out wrong, or
            // the receiver has closed, there is nobody to tell.
            self.update_taken();
            if self.failure.is_none() {
                let closing = Header::closing(low(self.position));
                self.slots.slot(self.position).publish(closing.bits());
                // Counts as a message for a receiver that sleeps.
                self.position = next(self.position);
                self.fail(ChannelError::Closed);
            }
        }
        self.flush()
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
    fn has_credit(&self) -> bool {
        self.position != self.limit
    }

    #[inline]
    fn send_words(&mut self, class: Class, label: Label, words: &[u64]) -> Result<(), SendError> {
        if words.len() > PAYLOAD_WORDS {
            return Err(SendError::TooLong);
        }
        if !self.has_credit() {
            self.refill(class)?;
        }
        let (slots, position) = (self.slots, self.position);
        let slot = slots.slot(position);
        slot.write_prefix(words);
        slot.publish(Header::new(position, label, words.len() * 8).bits());
        self.position = next(position);
        Ok(())
    }

    /// Looks for credits, and says whether a message of `class` fits.
    #[cold]
    #[inline(never)]
    fn refill(&mut self, class: Class) -> Result<(), SendError> {
        if self.failure.is_none() {
            self.update_taken();
        }
        if let Some(failure) = self.failure {
            return Err(failure.into());
        }
        let room = match class {
            Class::Ordinary => self.ordinary_room,
            Class::Reserved => self.reserved_room,
        };
        self.limit = if self.outstanding() < self.ordinary_room {
            u64::from(self.taken.wrapping_add(self.ordinary_room))
        } else if self.outstanding() < room {
            // For this message only: the next one has to ask again.
            next(self.position)
        } else {
            self.position
        };
        if self.has_credit() {
            Ok(())
        } else {
            Err(SendError::Full)
        }
    }

    /// Reads how far the receiver has come, and whether it has closed.
    fn update_taken(&mut self) {
        // Pairs with the receiver's release store: its reads of the slots that it gives back come
        // before our writes to them.
        let claimed = self.taken_word.load(Ordering::Acquire);
        match u32::try_from(claimed) {
            Ok(taken) if taken.wrapping_sub(self.taken) <= self.outstanding() => self.taken = taken,
            _ => {
                self.violation = Some(Violation::Index {
                    known: self.taken,
                    sent: low(self.position),
                    claimed,
                });
                return self.fail(ChannelError::Corrupt);
            }
        }
        if self.receiver.peer_is_closed() {
            self.fail(ChannelError::Closed);
        }
    }

    /// Ends the use of this end: with the limit at the position, every send comes to `refill`.
    fn fail(&mut self, error: ChannelError) {
        self.failure = Some(error);
        self.limit = self.position;
    }
}
