//! The header word: the last word of a slot, whose store publishes the message.
//!
//! ```text
//!  63  62    60 59    57  56  55          48 47               32 31                          0
//! ┌───┬────────┬────────┬────┬──────────────┬───────────────────┬─────────────────────────────┐
//! │ 0 │ unused │ words  │more│     kind     │        tag        │          sequence           │
//! │   │ bytes  │ 0..=7  │    │   (user's)   │      (user's)     │                             │
//! └───┴────────┴────────┴────┴──────────────┴───────────────────┴─────────────────────────────┘
//! ```
//!
//! * **sequence**: the number of the message on its ring, modulo 2³². It tells a fresh slot from
//!   one of the previous lap, so a message is there if and only if the sequence is the next one.
//!   It fills the low half so that one compare instruction checks it. The mark of closing is the
//!   next sequence with its top bit inverted ([`CLOSE_MARK`]).
//! * **tag**, **kind**: 24 bits that the ring carries for its user.
//! * **more**: further fragments of the same message follow.
//! * **words**, **unused bytes**: the payload is `8 × words − unused` bytes long. Every bit pattern
//!   is a length of 0 to 56 bytes, so decoding can't fail and costs the receiver no check.
//! * Bit 63 is sent as 0 and ignored.

use crate::{PAYLOAD_BYTES, PAYLOAD_WORDS};

/// What closing adds to the sequence that would come next. Rings are far smaller than 2³¹ slots,
/// so it is never the sequence of a previous lap.
pub const CLOSE_MARK: u32 = 1 << 31;

const TAG_SHIFT: u32 = 32;
const KIND_SHIFT: u32 = 48;
const MORE: u64 = 1 << 56;
const WORDS_SHIFT: u32 = 57;
const UNUSED_SHIFT: u32 = 60;
const FIELD_MASK: u64 = 7;

/// What the user of a ring writes on the outside of a message: a tag, a kind, and whether more
/// fragments follow.
///
/// The fields are in header position already, so that a constant label costs nothing to apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Label(u64);

impl Label {
    /// A label with `tag`, kind 0, and no further fragment.
    #[inline]
    #[must_use]
    pub const fn new(tag: u16) -> Self {
        Self((tag as u64) << TAG_SHIFT)
    }

    /// This label with `kind`.
    #[inline]
    #[must_use]
    pub const fn with_kind(self, kind: u8) -> Self {
        Self(self.0 & !(0xff << KIND_SHIFT) | (kind as u64) << KIND_SHIFT)
    }

    /// This label, marked as a fragment that others follow.
    #[inline]
    #[must_use]
    pub const fn with_more(self) -> Self {
        Self(self.0 | MORE)
    }

    /// The user's tag.
    #[inline]
    #[must_use]
    pub const fn tag(self) -> u16 {
        ((self.0 >> TAG_SHIFT) & 0xffff) as u16
    }

    /// The user's kind.
    #[inline]
    #[must_use]
    pub const fn kind(self) -> u8 {
        ((self.0 >> KIND_SHIFT) & 0xff) as u8
    }

    /// True when further fragments of the same message follow.
    #[inline]
    #[must_use]
    pub const fn has_more(self) -> bool {
        self.0 & MORE != 0
    }
}

/// The sequence in a word whose upper half is 0 or something else.
#[inline(always)]
pub(crate) const fn low(word: u64) -> u32 {
    (word & 0xffff_ffff) as u32
}

/// The word of the sequence after that in `word`.
///
/// Both ends keep sequences in words: so they compare with a header's low half, and extend to a
/// header, without an instruction of their own.
#[inline(always)]
pub(crate) const fn next(word: u64) -> u64 {
    low(word).wrapping_add(1) as u64
}

/// A decoded or to-be-published header word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header(u64);

impl Header {
    /// The header of message number `sequence`, a word with upper half 0, with `len` payload bytes,
    /// at most [`PAYLOAD_BYTES`]; longer is taken as that.
    #[inline(always)]
    pub(crate) const fn new(sequence: u64, label: Label, len: usize) -> Self {
        let len = if len < PAYLOAD_BYTES {
            len as u64
        } else {
            PAYLOAD_BYTES as u64
        };
        let words = len.div_ceil(8);
        let unused = words * 8 - len;
        Self(sequence | label.0 | words << WORDS_SHIFT | unused << UNUSED_SHIFT)
    }

    /// The header that says that nothing follows the message before `sequence`.
    pub(crate) const fn closing(sequence: u32) -> Self {
        Self((sequence ^ CLOSE_MARK) as u64)
    }

    /// The header as read from memory.
    #[inline(always)]
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The word to store.
    #[inline(always)]
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// The sequence number.
    #[inline(always)]
    pub(crate) const fn sequence(self) -> u32 {
        low(self.0)
    }

    /// The user's part.
    #[inline]
    pub(crate) const fn label(self) -> Label {
        Label(self.0 & (0x1ff_ffff << TAG_SHIFT))
    }

    /// Payload words in use, 0 to 7.
    #[inline]
    pub(crate) const fn word_count(self) -> usize {
        let words = (self.0 >> WORDS_SHIFT & FIELD_MASK) as usize;
        debug_assert!(words <= PAYLOAD_WORDS);
        words
    }

    /// Payload bytes, 0 to 56. A nonsensical combination gives 0.
    #[inline]
    pub(crate) const fn byte_count(self) -> usize {
        let unused = (self.0 >> UNUSED_SHIFT & FIELD_MASK) as usize;
        (self.word_count() * 8).saturating_sub(unused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_survives_the_header() {
        for len in 0..=PAYLOAD_BYTES {
            let header = Header::new(0xdead_beef, Label::new(0xffff), len);
            assert_eq!(header.byte_count(), len);
            assert_eq!(header.word_count(), len.div_ceil(8));
            assert_eq!(header.sequence(), 0xdead_beef);
        }
    }

    #[test]
    fn label_fields_do_not_touch_each_other_nor_the_length() {
        for (tag, kind, more) in [
            (0, 0, false),
            (0xffff, 0, false),
            (0, 0xff, false),
            (0, 0, true),
        ] {
            let mut label = Label::new(tag).with_kind(kind);
            if more {
                label = label.with_more();
            }
            let header = Header::from_bits(Header::new(0, label, 0).bits());
            assert_eq!(header.label(), label);
            assert_eq!(
                (
                    header.label().tag(),
                    header.label().kind(),
                    header.label().has_more()
                ),
                (tag, kind, more)
            );
            assert_eq!((header.sequence(), header.byte_count()), (0, 0));
        }
        assert_eq!(Label::new(3).with_kind(0xff).with_kind(1).kind(), 1);
        assert!(Label::new(3).with_more().with_more().has_more());
    }

    #[test]
    fn any_word_decodes_to_a_length_within_the_payload() {
        for top in 0..=255_u64 {
            for rest in [0, u64::MAX >> 8] {
                let header = Header::from_bits(top << 56 | rest);
                assert!(header.byte_count() <= PAYLOAD_BYTES);
                assert!(header.byte_count() <= header.word_count() * 8);
            }
        }
    }

    #[test]
    fn closing_differs_from_the_next_and_from_the_previous_lap() {
        for sequence in [0, 1, u32::MAX, CLOSE_MARK] {
            let closing = Header::closing(sequence).sequence();
            assert_ne!(closing, sequence);
            assert_ne!(closing, sequence.wrapping_sub(crate::ring::MAX_SLOTS));
        }
    }
}
