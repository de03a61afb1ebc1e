//! Endpoint rings: where local messages wait (`docs/030-dispatchers.md`).
//!
//! A ring lies in the receiver's dispatcher frame, 64-byte aligned:
//!
//! ```text
//! +0   head: messages ever put in (kernel writes; low 32 bits)
//! +4   tail: messages ever taken out (receiver writes; low 32 bits)
//! +8   receive slot: reference of the slot for the next capability, 0 for none
//!      (receiver writes; the kernel sets it to 0 when it has used it)
//! +16  missed: *no senders* events that found no room, ever (kernel writes; low 32 bits)
//! +20  unused
//! +64  message 0, message 1, … each 80 bytes
//! ```
//! A message is a header word, the badge, and eight words of payload.

/// Bytes before the first message.
pub const RING_HEADER_BYTES: usize = 64;
/// Bytes of one message.
pub const MESSAGE_BYTES: usize = 80;
/// Payload words of one message.
pub const MESSAGE_WORDS: usize = 8;
/// Offset of `head` in the ring.
pub const HEAD: usize = 0;
/// Offset of `tail` in the ring.
pub const TAIL: usize = 4;
/// Offset of the receive slot's word in the ring.
pub const RECEIVE_SLOT: usize = 8;
/// Offset of the count of missed events in the ring.
pub const MISSED: usize = 16;
/// A badge with this bit is *counted*: when the last capability with it goes, whoever held it,
/// the endpoint gets an event with that badge, all words zero. It comes after every message that
/// was sent through them. If the ring has no room, [`MISSED`] goes up instead, and that counts as
/// a delivery, too: the receiver then looks after all whom it serves.
pub const COUNTED_BADGE: u64 = 1 << 63;
/// How many endpoints one dispatcher can have.
pub const ENDPOINTS_PER_DISPATCHER: usize = 64;
/// The largest capacity of a ring, in messages. All are powers of two: the counts of messages
/// in the header, of 32 bits, wrap, and the next message's place must go on where it did.
pub const MAX_CAPACITY: usize = 128;

/// Bytes of a ring that holds `capacity` messages, a multiple of 64.
#[must_use]
pub const fn ring_bytes(capacity: usize) -> usize {
    (RING_HEADER_BYTES + capacity * MESSAGE_BYTES).next_multiple_of(64)
}

/// The header word of a message: length in words (0–8) in bits 7:0, flags in
/// bits 15:8, the endpoint's index in bits 47:32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageHeader(pub u64);

impl MessageHeader {
    const CAPABILITY: u64 = 1 << 8;
    const EVENT: u64 = 1 << 9;

    /// A header for `length` words at endpoint `index`.
    #[must_use]
    pub const fn new(length: usize, capability: bool, index: u16) -> Self {
        let flag = if capability { Self::CAPABILITY } else { 0 };
        Self((length as u64 & 0xff) | flag | (index as u64) << 32)
    }

    /// The header of a kernel event (interrupt, end of a dispatcher, no senders).
    #[must_use]
    pub const fn event(index: u16) -> Self {
        Self(Self::EVENT | (index as u64) << 32)
    }

    /// Words of payload, at most 8.
    #[must_use]
    pub const fn length(self) -> usize {
        let n = (self.0 & 0xff) as usize;
        if n > MESSAGE_WORDS { MESSAGE_WORDS } else { n }
    }

    /// Whether a capability arrived in the posted slot.
    #[must_use]
    pub const fn has_capability(self) -> bool {
        self.0 & Self::CAPABILITY != 0
    }

    /// Whether the kernel sent it: an interrupt, the end of a dispatcher, or of a badge's senders.
    #[must_use]
    pub const fn is_event(self) -> bool {
        self.0 & Self::EVENT != 0
    }

    /// The index of the receiving endpoint.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the field is 16 bits wide")]
    pub const fn endpoint(self) -> u16 {
        (self.0 >> 32) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_fields_do_not_mix() {
        let header = MessageHeader::new(8, true, 0xffff);
        assert_eq!((header.length(), header.endpoint()), (8, 0xffff));
        assert!(header.has_capability() && !header.is_event());
        assert!(MessageHeader::event(3).is_event());
        assert_eq!(MessageHeader(0xff).length(), 8);
    }
}
