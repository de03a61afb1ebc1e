//! Which home memory a kernel has, and how slots in it are named ([`SlotIndex`]).
//!
//! A kernel's own home memory begins with segment 0, and memory within 256 GiB of it is
//! named by its distance. What lies further away, as what is adopted from another NUMA
//! node does, takes segments that hold nothing, from the last on:
//!
//! ```text
//! physical   ──[home]──[near]─────────────── 4 TiB ─────────────────[far]──
//! name         0       distance / 64                                15 << 28
//! ```
//!
//! So all slots of a kernel lie within 256 GiB of addresses, once far memory is mapped
//! where its segment says ([`Segments::adopt`]): the kernel adds 64 times the index to one
//! base, whatever the segment.

use core::cell::Cell;

use capelin_abi::capability::SLOT_BYTES;
use capelin_abi::{PAGE_SIZE, PhysAddr, SysError};

use crate::slot_index::{ALL_BYTES, OFFSET_BITS, SEGMENT_BYTES, SEGMENTS, SlotIndex};

/// The memory that a kernel was started with, as far as it can hold slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Home {
    base: u64,
    bytes: u64,
}

impl Home {
    /// Its first byte.
    #[must_use]
    pub const fn base(&self) -> PhysAddr {
        PhysAddr(self.base)
    }

    /// The index of the slot at a physical address; `None` outside of it. (The very
    /// first has none: zero is no slot. The kernel's image lies there.)
    #[inline(always)]
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it ends where the segments do"
    )]
    pub const fn index_of(&self, address: PhysAddr) -> Option<SlotIndex> {
        let offset = address.0.wrapping_sub(self.base);
        if offset < self.bytes {
            Some(SlotIndex::from_bits((offset / SLOT_BYTES) as u32))
        } else {
            None
        }
    }

    /// Whether all of `[address, address + bytes)` lies in it.
    #[inline]
    #[must_use]
    pub const fn contains(&self, address: PhysAddr, bytes: u64) -> bool {
        let offset = address.0.wrapping_sub(self.base);
        offset < self.bytes && bytes <= self.bytes - offset
    }
}

/// A contiguous piece of home memory that was adopted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
struct Piece {
    base: u64,
    bytes: u64,
    /// Name of its first slot.
    first: u32,
}

impl Piece {
    const NONE: Self = Self {
        base: 0,
        bytes: 0,
        first: 0,
    };

    /// How far into the piece an address is.
    #[inline]
    const fn offset_of(&self, address: u64) -> Option<u64> {
        let offset = address.wrapping_sub(self.base);
        if offset < self.bytes {
            Some(offset)
        } else {
            None
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "a piece ends where the segments do"
    )]
    const fn name(&self, offset: u64) -> SlotIndex {
        SlotIndex::from_bits(self.first.wrapping_add((offset / SLOT_BYTES) as u32))
    }

    /// The segments that its names lie in, a bit each.
    fn segments(&self) -> u32 {
        let first = self.first >> OFFSET_BITS;
        let offset = u64::from(self.first & ((1 << OFFSET_BITS) - 1)) * SLOT_BYTES;
        run(first, (offset + self.bytes).div_ceil(SEGMENT_BYTES))
    }
}

/// The bits of `count` segments from `first` on; 0 where there aren't so many.
fn run(first: u32, count: u64) -> u32 {
    match u32::try_from(count) {
        Ok(count) if count <= SEGMENTS - first.min(SEGMENTS) => ((1 << count) - 1) << first,
        _ => 0,
    }
}

/// The home memory of a kernel, and the names of what lies there.
#[derive(Clone, Debug)]
pub struct Segments {
    /// The memory that the kernel was started with.
    home: Home,
    /// What it has adopted, the first `count`.
    adopted: [Cell<Piece>; SEGMENTS as usize],
    /// How many pieces that is.
    count: Cell<usize>,
}

const _: () = assert!(capelin_abi::boot::ADOPTED_LIMIT == SEGMENTS);

impl Segments {
    /// A kernel's first home memory, `bytes` from `base` on, in whole pages. Only its
    /// first 256 GiB can hold slots.
    #[must_use]
    pub const fn new(base: PhysAddr, bytes: u64) -> Self {
        let home = Home {
            base: base.0,
            bytes: if bytes < ALL_BYTES { bytes } else { ALL_BYTES },
        };
        Self {
            home,
            adopted: [const { Cell::new(Piece::NONE) }; SEGMENTS as usize],
            count: Cell::new(0),
        }
    }

    /// Takes another piece of home memory, and says where its first slot's name is: the
    /// kernel maps the piece at 64 times that from where it sees its first home memory,
    /// before it uses it. Near memory is there already, if all is mapped linearly.
    ///
    /// # Errors
    /// `Unaligned` for what isn't whole pages; `OutOfRange` for nothing, or past the end
    /// of addresses; `RangeInUse` for what is home memory already; `NoResources` when too
    /// few segments are free.
    pub fn adopt(&self, base: PhysAddr, bytes: u64) -> Result<SlotIndex, SysError> {
        if !base.0.is_multiple_of(PAGE_SIZE) || !bytes.is_multiple_of(PAGE_SIZE) {
            return Err(SysError::Unaligned);
        }
        let end = base.0.checked_add(bytes).filter(|_| bytes != 0);
        let end = end.ok_or(SysError::OutOfRange)?;
        let has_part = |piece: Piece| piece.base < end && base.0 < piece.base + piece.bytes;
        let Home {
            base: home,
            bytes: home_bytes,
        } = self.home;
        let is_home = home < end && base.0 < home + home_bytes;
        if is_home || self.pieces().any(has_part) {
            return Err(SysError::RangeInUse);
        }
        let (first, all) = match self.near(base.0, bytes) {
            Some(first) => (first, self.far_segments()),
            None => self.free_run(bytes)?,
        };
        let piece = Piece {
            base: base.0,
            bytes,
            first,
        };
        if piece.segments() & all != 0 {
            return Err(SysError::NoResources);
        }
        let free = self.adopted.get(self.count.get());
        free.ok_or(SysError::NoResources)?.set(piece);
        self.count.set(self.count.get() + 1);
        Ok(SlotIndex::from_bits(first))
    }

    /// [`Self::adopt`] of near memory only: what a kernel sees where it is, linearly.
    ///
    /// # Errors
    /// As [`Self::adopt`]; `NoResources` for memory that isn't near, too.
    pub fn adopt_near(&self, base: PhysAddr, bytes: u64) -> Result<(), SysError> {
        if self.near(base.0, bytes).is_none() {
            return Err(SysError::NoResources);
        }
        self.adopt(base, bytes).map(drop)
    }

    /// Gives a piece up that was adopted, which is to be named no more. Whether there is one
    /// that begins at `base`.
    pub fn release(&self, base: PhysAddr) -> bool {
        let Some(at) = self.pieces().position(|piece| piece.base == base.0) else {
            return false;
        };
        let last = self.count.get() - 1;
        if let (Some(gone), Some(kept)) = (self.adopted.get(at), self.adopted.get(last)) {
            gone.set(kept.replace(Piece::NONE));
        }
        self.count.set(last);
        true
    }

    /// What was adopted.
    fn pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        self.adopted.iter().take(self.count.get()).map(Cell::get)
    }

    /// From the first home memory to the end of the last piece near it. What lies there and
    /// is home memory is named by its distance.
    #[must_use]
    pub fn near_span(&self) -> Home {
        let Home { base, bytes } = self.home;
        let is_near = |piece: &Piece| self.near(piece.base, piece.bytes) == Some(piece.first);
        let ends = self.pieces().filter(is_near);
        let ends = ends.map(|piece| piece.base + piece.bytes - base);
        Home {
            base,
            bytes: ends.fold(bytes, u64::max),
        }
    }

    /// The name of what lies within reach of the first home memory.
    fn near(&self, base: u64, bytes: u64) -> Option<u32> {
        let distance = base.checked_sub(self.home.base)?;
        let end = distance.checked_add(bytes)?;
        (end <= ALL_BYTES)
            .then(|| u32::try_from(distance / SLOT_BYTES).ok())
            .flatten()
    }

    /// The segments that hold memory from further away.
    fn far_segments(&self) -> u32 {
        let is_far = |piece: &Piece| self.near(piece.base, piece.bytes) != Some(piece.first);
        let far = self.pieces().filter(is_far);
        far.fold(0, |all, piece| all | piece.segments())
    }

    /// The last free segments that have room, and the others.
    fn free_run(&self, bytes: u64) -> Result<(u32, u32), SysError> {
        let adopted = self.pieces().map(|piece| piece.segments());
        let home = run(0, self.home.bytes.div_ceil(SEGMENT_BYTES));
        let taken = adopted.fold(home, |all, piece| all | piece);
        let count = bytes.div_ceil(SEGMENT_BYTES);
        let is_free = |&first: &u32| {
            let wanted = run(first, count);
            wanted != 0 && wanted & taken == 0
        };
        let first = (0..SEGMENTS).rev().find(is_free);
        let first = first.ok_or(SysError::NoResources)?;
        Ok((first << OFFSET_BITS, taken))
    }

    /// The memory that the kernel was started with.
    #[must_use]
    pub const fn home(&self) -> Home {
        self.home
    }

    /// The index of the slot at a physical address; `None` outside of home memory.
    #[must_use]
    pub fn index_of(&self, address: PhysAddr) -> Option<SlotIndex> {
        let near = self.home.index_of(address);
        near.or_else(|| self.index_of_adopted(address))
    }

    /// [`Self::index_of`] in what was adopted, for who has asked [`Home::index_of`].
    #[inline]
    #[must_use]
    pub fn index_of_adopted(&self, address: PhysAddr) -> Option<SlotIndex> {
        if self.count.get() == 0 {
            return None;
        }
        self.search_index(address)
    }

    #[cold]
    #[inline(never)]
    fn search_index(&self, address: PhysAddr) -> Option<SlotIndex> {
        let named = |piece: Piece| piece.offset_of(address.0).map(|offset| piece.name(offset));
        self.pieces().find_map(named)
    }

    /// Where the slot `index` lies; `None` where no home memory has that name.
    #[must_use]
    pub fn address_of(&self, index: SlotIndex) -> Option<PhysAddr> {
        let Home { base, bytes } = self.home;
        let home = Piece {
            base,
            bytes,
            first: 0,
        };
        let at = |piece: Piece| {
            let slots = index.to_bits().checked_sub(piece.first)?;
            let offset = u64::from(slots) * SLOT_BYTES;
            (offset < piece.bytes).then(|| PhysAddr(piece.base + offset))
        };
        at(home).or_else(|| self.pieces().find_map(at))
    }

    /// Whether all of `[address, address + bytes)` lies in one piece of home memory.
    #[must_use]
    pub fn contains(&self, address: PhysAddr, bytes: u64) -> bool {
        self.home.contains(address, bytes) || self.has_adopted(address, bytes)
    }

    /// [`Self::contains`] for what was adopted.
    #[inline]
    #[must_use]
    pub fn has_adopted(&self, address: PhysAddr, bytes: u64) -> bool {
        self.count.get() != 0 && self.search_adopted(address, bytes)
    }

    #[cold]
    #[inline(never)]
    fn search_adopted(&self, address: PhysAddr, bytes: u64) -> bool {
        self.pieces().any(|piece| {
            let offset = piece.offset_of(address.0);
            offset.is_some_and(|offset| bytes <= piece.bytes - offset)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const HOME: PhysAddr = PhysAddr(0x4000_0000);
    const FAR: PhysAddr = PhysAddr(0x400_0000_0000);

    fn home() -> Segments {
        Segments::new(HOME, 2 * GIB)
    }

    fn at(segment: u32, offset: u32) -> SlotIndex {
        SlotIndex::in_segment(segment, offset).expect("such a slot")
    }

    /// Both ways, at the first, second and last slot, and one past either end.
    fn assert_named(segments: &Segments, base: PhysAddr, bytes: u64, first: SlotIndex) {
        for offset in [0, 64, bytes - 64] {
            let address = PhysAddr(base.0 + offset);
            let index = segments.index_of(address).expect("home memory");
            assert_eq!(u64::from(index.to_bits() - first.to_bits()), offset / 64);
            assert_eq!(segments.address_of(index), Some(address));
            assert!(
                segments.contains(address, 64) && !segments.contains(address, bytes - offset + 1)
            );
        }
        for outside in [base.0 - 64, base.0 + bytes] {
            assert_eq!(segments.index_of(PhysAddr(outside)), None);
            assert!(!segments.contains(PhysAddr(outside), 0));
        }
    }

    #[test]
    fn what_is_given_up_has_no_name_and_can_be_adopted_again() {
        let segments = Segments::new(HOME, 4 << 20);
        let [low, high] = [8, 64].map(|mib| PhysAddr(HOME.0 + (mib << 20)));
        assert_eq!(segments.near_span(), segments.home());
        for _ in 0..40 {
            assert_eq!(segments.adopt_near(low, 2 << 20), Ok(()));
            assert_eq!(segments.adopt_near(high, 4 << 20), Ok(()));
            assert_eq!(segments.near_span().bytes, 68 << 20);
            let name = segments.index_of(low).expect("it is home memory");
            assert_eq!(segments.near_span().index_of(low), Some(name));
            assert!(segments.contains(high, 4 << 20) && !segments.contains(high, 5 << 20));
            assert!(!segments.release(PhysAddr(low.0 + 4096)));
            assert!(segments.release(low) && !segments.release(low));
            assert_eq!(
                (segments.index_of(low), segments.address_of(name)),
                (None, None)
            );
            assert!(segments.index_of(high).is_some());
            assert!(segments.release(high));
            assert_eq!(segments.near_span(), segments.home());
        }
        // Nothing before the first, and nothing too far away, is near.
        let below = PhysAddr(HOME.0 - (2 << 20));
        assert_eq!(
            segments.adopt_near(below, 2 << 20),
            Err(SysError::NoResources)
        );
        assert_eq!(
            segments.adopt_near(FAR, 2 << 20),
            Err(SysError::NoResources)
        );
        for piece in 0..u64::from(SEGMENTS) {
            let at = PhysAddr(HOME.0 + ((4 + 2 * piece) << 20));
            assert_eq!(segments.adopt_near(at, 2 << 20), Ok(()));
        }
        assert_eq!(
            segments.adopt_near(high, 2 << 20),
            Err(SysError::NoResources)
        );
    }

    #[test]
    fn near_memory_is_named_by_its_distance_and_far_memory_by_a_free_segment() {
        let segments = home();
        assert_named(&segments, HOME, 2 * GIB, at(0, 0));
        let near = PhysAddr(HOME.0 + 20 * GIB);
        assert_eq!(segments.adopt(near, GIB), Ok(at(1, 1 << 26)));
        assert_eq!(segments.adopt(FAR, 4096), Ok(at(15, 0)));
        let second = PhysAddr(2 * FAR.0);
        assert_eq!(segments.adopt(second, 17 * GIB), Ok(at(13, 0)));
        // Below the first home memory is far, too.
        assert_eq!(segments.adopt(PhysAddr(0x1000), 4096), Ok(at(12, 0)));
        assert_named(&segments, HOME, 2 * GIB, at(0, 0));
        assert_named(&segments, near, GIB, at(1, 1 << 26));
        assert_named(&segments, FAR, 4096, at(15, 0));
        assert_named(&segments, second, 17 * GIB, at(13, 0));
        assert_eq!(
            segments.address_of(at(14, (1 << 24) - 1)),
            Some(PhysAddr(second.0 + 17 * GIB - 64))
        );
        assert_eq!(segments.address_of(at(14, 1 << 24)), None);
        assert_eq!(segments.address_of(at(2, 0)), None);
    }

    #[test]
    fn no_two_slots_have_one_name() {
        let segments = home();
        assert_eq!(
            segments.adopt(PhysAddr(HOME.0 + GIB), GIB),
            Err(SysError::RangeInUse)
        );
        let near = PhysAddr(HOME.0 + 250 * GIB);
        assert_eq!(segments.adopt(FAR, GIB), Ok(at(15, 0)));
        // The segment that its distance gives is another's.
        assert_eq!(segments.adopt(near, GIB), Err(SysError::NoResources));
        assert_eq!(
            segments.adopt(PhysAddr(FAR.0 + GIB / 2), GIB),
            Err(SysError::RangeInUse)
        );
        // In the segment before it there is room for near memory, twice.
        for distance in [225, 227] {
            let near = PhysAddr(HOME.0 + distance * GIB);
            let first = at(14, u32::try_from((distance - 224) << 24).expect("28 bits"));
            assert_eq!(segments.adopt(near, GIB), Ok(first));
        }
        assert_eq!(segments.adopt(PhysAddr(2 * FAR.0), GIB), Ok(at(13, 0)));
        let too_large = segments.adopt(PhysAddr(3 * FAR.0), 13 * SEGMENT_BYTES);
        assert_eq!(too_large, Err(SysError::NoResources));
        assert_eq!(
            segments.adopt(PhysAddr(3 * FAR.0), 12 * SEGMENT_BYTES),
            Ok(at(1, 0))
        );
        assert_eq!(
            segments.adopt(PhysAddr(4 * FAR.0), GIB),
            Err(SysError::NoResources)
        );
        for (base, bytes, error) in [
            (FAR.0 * 5 + 64, 4096, SysError::Unaligned),
            (FAR.0 * 5, 64, SysError::Unaligned),
            (FAR.0 * 5, 0, SysError::OutOfRange),
            (u64::MAX - 4095, 8192, SysError::OutOfRange),
        ] {
            assert_eq!(segments.adopt(PhysAddr(base), bytes), Err(error));
        }
    }

    /// Memory next to what is there is other memory; what doesn't fit in one segment takes as
    /// many as it reaches into.
    #[test]
    fn pieces_touch_but_share_no_segment() {
        let segments = home();
        let two = PhysAddr(FAR.0 + GIB);
        assert_eq!(segments.adopt(two, 17 * GIB), Ok(at(14, 0)));
        assert_eq!(segments.adopt(FAR, GIB), Ok(at(13, 0)));
        let below = PhysAddr(HOME.0 - GIB);
        assert_eq!(segments.adopt(below, GIB), Ok(at(12, 0)));
        // Near memory from the middle of the first segment into the second.
        let near = PhysAddr(HOME.0 + 15 * GIB);
        assert_eq!(segments.adopt(near, 2 * GIB), Ok(at(0, 15 << 24)));
        let rest = PhysAddr(2 * FAR.0);
        assert_eq!(segments.adopt(rest, 10 * SEGMENT_BYTES), Ok(at(2, 0)));
        let more = segments.adopt(PhysAddr(4 * FAR.0), GIB);
        assert_eq!(more, Err(SysError::NoResources));
        for (base, bytes, first) in [
            (two, 17 * GIB, at(14, 0)),
            (FAR, GIB, at(13, 0)),
            (below, GIB, at(12, 0)),
            (near, 2 * GIB, at(0, 15 << 24)),
        ] {
            let last = PhysAddr(base.0 + bytes - 64);
            assert_eq!(segments.index_of(base), Some(first));
            assert_eq!(segments.address_of(first), Some(base));
            let last = segments.index_of(last).expect("home memory");
            assert_eq!(u64::from(last.to_bits() - first.to_bits()), bytes / 64 - 1);
        }
        assert_eq!(segments.home().base(), HOME);
    }

    #[test]
    fn home_memory_past_all_segments_holds_no_slots() {
        let segments = Segments::new(HOME, 2 * ALL_BYTES);
        let last = PhysAddr(HOME.0 + ALL_BYTES - 64);
        assert_eq!(segments.index_of(last), Some(at(15, (1 << 28) - 1)));
        assert_eq!(segments.index_of(PhysAddr(HOME.0 + ALL_BYTES)), None);
    }
}
