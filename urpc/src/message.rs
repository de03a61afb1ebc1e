//! A message that has been copied out of the ring.
//!
//! It lies in the receiver's private memory: the peer can't change it any more, so it may be
//! validated and then used. Its contents are still the peer's claim.

use crate::header::{Header, Label};
use crate::{PAYLOAD_BYTES, PAYLOAD_WORDS};
use core::fmt;

/// One received message: 56 bytes of payload at most, and the header that came with it.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Message {
    words: [u64; PAYLOAD_WORDS],
    header: Header,
}

impl Message {
    #[inline(always)]
    pub(crate) const fn new(words: [u64; PAYLOAD_WORDS], header: Header) -> Self {
        Self { words, header }
    }

    /// The label that the sender gave: tag, kind and fragment mark.
    #[inline]
    #[must_use]
    pub const fn label(&self) -> Label {
        self.header.label()
    }

    /// The tag of the [`label`](Self::label).
    #[inline]
    #[must_use]
    pub const fn tag(&self) -> u16 {
        self.label().tag()
    }

    /// The kind of the [`label`](Self::label).
    #[inline]
    #[must_use]
    pub const fn kind(&self) -> u8 {
        self.label().kind()
    }

    /// True when further fragments of the same message follow.
    #[inline]
    #[must_use]
    pub const fn has_more(&self) -> bool {
        self.label().has_more()
    }

    /// Payload length in bytes, 0 to 56.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.header.byte_count()
    }

    /// True when the payload has no bytes.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The payload's words, 0 to 7. Where the length is no multiple of 8, the last word's unused
    /// bytes (its most significant ones) are what the sender left there.
    #[inline]
    #[must_use]
    pub fn words(&self) -> &[u64] {
        self.words.get(..self.header.word_count()).unwrap_or(&[])
    }

    /// All seven words, whatever the length; words past the length are what the slot held before.
    #[inline(always)]
    #[must_use]
    pub const fn line(&self) -> &[u64; PAYLOAD_WORDS] {
        &self.words
    }

    /// Copies the payload into `buffer` and gives the part that it fills.
    ///
    /// Bytes are in the order in which [`Sender::try_send_bytes`](crate::Sender::try_send_bytes)
    /// took them.
    #[inline]
    pub fn read_bytes<'b>(&self, buffer: &'b mut [u8; PAYLOAD_BYTES]) -> &'b [u8] {
        for (bytes, word) in buffer.chunks_exact_mut(8).zip(self.words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        buffer.get(..self.len()).unwrap_or(&[])
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("tag", &self.tag())
            .field("kind", &self.kind())
            .field("more", &self.has_more())
            .field("len", &self.len())
            .field("words", &self.words())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_beyond_the_length_are_not_shown() {
        let message = Message::new([1, 2, 3, 4, 5, 6, 7], Header::new(9, Label::new(1), 12));
        assert_eq!(message.words(), [1, 2]);
        assert_eq!(message.len(), 12);
        let mut buffer = [0xff; PAYLOAD_BYTES];
        assert_eq!(
            message.read_bytes(&mut buffer),
            [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]
        );
    }

    #[test]
    fn only_a_message_without_bytes_is_empty() {
        let message = |len| Message::new([1; 7], Header::new(9, Label::new(1), len));
        assert!(message(0).is_empty());
        assert!(!message(1).is_empty() && !message(PAYLOAD_BYTES).is_empty());
    }

    #[test]
    fn a_dump_shows_what_was_sent_and_no_more() {
        let label = Label::new(0x77).with_kind(3).with_more();
        let message = Message::new([11, 22, 33, 4, 5, 6, 7], Header::new(9, label, 16));
        let expected = "Message { tag: 119, kind: 3, more: true, len: 16, words: [11, 22] }";
        assert_eq!(std::format!("{message:?}"), expected);
    }
}
