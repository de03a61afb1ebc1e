//! Names of slots: a segment and an offset.
//!
//! A [`SlotIndex`] has 32 bits, the upper 4 of which are the segment: 16 GiB of slots. Which
//! memory a segment is, [`crate::segment`] says.

use core::fmt;
use core::num::NonZeroU32;

use capelin_abi::capability::SLOT_BYTES;

/// Names a slot: a segment in bits 31:28, and in bits 27:0 the distance from its
/// beginning in slots of 64 bytes. Zero is no slot.
///
/// An index is made for a slot that is there ([`crate::Segments::index_of`]), or from another
/// one of the same CNode or control block ([`SlotIndex::checked_add`],
/// [`SlotIndex::in_same_page`]), or is read where a slot holds one
/// ([`crate::Slot::named`]); everywhere else one is only handed on. There is no way from a
/// number to one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct SlotIndex(u32);

/// Slots in a page of home memory.
const SLOTS_PER_PAGE: u32 = 64;
const _: () = assert!(SLOTS_PER_PAGE as u64 * SLOT_BYTES == capelin_abi::PAGE_SIZE);
/// Bits of the offset in a segment.
pub(crate) const OFFSET_BITS: u32 = 28;
/// Bytes of home memory that a segment spans.
pub const SEGMENT_BYTES: u64 = SLOT_BYTES << OFFSET_BITS;
/// How many segments there are.
pub const SEGMENTS: u32 = 1 << (u32::BITS - OFFSET_BITS);
/// What all segments span.
pub(crate) const ALL_BYTES: u64 = SEGMENT_BYTES * SEGMENTS as u64;
const _: () = assert!(ALL_BYTES == capelin_abi::boot::HOME_REACH);

impl SlotIndex {
    /// No slot.
    pub const NONE: Self = Self(0);

    /// Slot `offset` of a segment; `None` past the last segment, or past its end.
    #[must_use]
    pub const fn in_segment(segment: u32, offset: u32) -> Option<Self> {
        if segment < SEGMENTS && offset < 1 << OFFSET_BITS {
            Some(Self(segment << OFFSET_BITS | offset))
        } else {
            None
        }
    }

    /// Whether this names no slot.
    #[inline]
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The segment.
    #[must_use]
    pub const fn segment(self) -> u32 {
        self.0 >> OFFSET_BITS
    }

    /// The offset in the segment, in slots.
    #[must_use]
    pub const fn offset(self) -> u32 {
        self.0 & ((1 << OFFSET_BITS) - 1)
    }

    /// Both as one number: what a kernel multiplies by 64, or keeps in a data word.
    #[inline]
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    /// What [`Self::to_bits`] gave, kept in a word of this crate's.
    #[inline]
    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Slot `number`, modulo 64, of the page that this one is in.
    #[inline]
    #[must_use]
    pub const fn in_same_page(self, number: u32) -> Self {
        let first = self.0 & !(SLOTS_PER_PAGE - 1);
        Self(first | (number % SLOTS_PER_PAGE))
    }

    /// The same, unless it names no slot.
    #[inline]
    #[must_use]
    pub const fn some(self) -> Option<SomeSlot> {
        match NonZeroU32::new(self.0) {
            Some(bits) => Some(SomeSlot(bits)),
            None => None,
        }
    }

    /// The slot `count` further on in the same memory, or `None` where the numbers end.
    #[inline]
    #[must_use]
    pub const fn checked_add(self, count: u32) -> Option<Self> {
        match self.0.checked_add(count) {
            Some(sum) if !self.is_none() => Some(Self(sum)),
            _ => None,
        }
    }

    /// The slot `count` further on in a CNode that has so many.
    #[inline(always)]
    pub(crate) const fn within(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// How far behind `first` this is, in slots; `None` before it.
    pub(crate) const fn distance_from(self, first: Self) -> Option<u32> {
        self.0.checked_sub(first.0)
    }
}

/// A [`SlotIndex`] that names a slot.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct SomeSlot(NonZeroU32);

impl SomeSlot {
    /// The slot.
    #[inline]
    #[must_use]
    pub const fn index(self) -> SlotIndex {
        SlotIndex(self.0.get())
    }
}

impl fmt::Debug for SomeSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.index().fmt(f)
    }
}

impl fmt::Debug for SlotIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.segment() {
            0 => write!(f, "#{}", self.0),
            segment => write!(f, "#{segment}:{}", self.offset()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(segment: u32, offset: u32) -> SlotIndex {
        SlotIndex::in_segment(segment, offset).expect("a name")
    }

    #[test]
    fn a_name_is_shown_by_its_segment() {
        extern crate std;
        let shown = |index: SlotIndex| std::format!("{index:?}");
        assert_eq!(shown(SlotIndex::NONE), "#0");
        assert_eq!(shown(at(0, 77)), "#77");
        assert_eq!(shown(at(15, 77)), "#15:77");
    }

    #[test]
    fn a_name_is_made_of_a_segment_and_an_offset_in_it() {
        assert_eq!(SlotIndex::in_segment(16, 0), None);
        assert_eq!(SlotIndex::in_segment(0, 1 << 28), None);
        let last = at(15, (1 << 28) - 1);
        assert_eq!((last.segment(), last.offset()), (15, (1 << 28) - 1));
        assert_eq!(last.checked_add(1), None);
        assert_eq!(at(3, 7).checked_add(2), Some(at(3, 9)));
        assert_eq!(SlotIndex::NONE.checked_add(1), None);
        assert_eq!(SlotIndex::from_bits(last.to_bits()), last);
    }

    #[test]
    fn a_page_has_64_slots() {
        let first = at(3, 128);
        for (of, number, expected) in [
            (first, 0, first),
            (first, 63, at(3, 191)),
            (at(3, 191), 0, first),
            (at(3, 150), 64, first),
            (at(3, 150), u32::MAX, at(3, 191)),
            (at(3, 192), 1, at(3, 193)),
        ] {
            assert_eq!(of.in_same_page(number), expected, "{of:?} {number}");
        }
    }

    #[test]
    fn what_names_no_slot_is_none() {
        assert_eq!(SlotIndex::NONE.some(), None);
        assert_eq!(at(3, 7).some().map(SomeSlot::index), Some(at(3, 7)));
        assert_eq!(size_of::<Option<SomeSlot>>(), size_of::<SlotIndex>());
    }
}
