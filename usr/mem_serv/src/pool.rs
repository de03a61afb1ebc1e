//! Regions of memory, what of them is free, and what is given out.
//!
//! A piece never crosses two regions: each region is a capability of its own. Free
//! ranges of one region are merged whenever they touch. A piece comes from the
//! smallest free range that holds it; pieces below 2 MiB from that range's end, larger
//! ones from its start, so that small pieces don't break up what 2 MiB blocks could
//! be made of.
//!
//! Clients are charged with what they have (`given.rs`), wherever their connections are by now: so who
//! closes one and keeps its memory has no more of a share than before.
//!
//! Whether a piece is still held the kernel knows, and one question to it costs a system call. So no step looks at
//! more than a given number of pieces: [`Pool::look_at`] says where to go on.

use alloc::{collections::BTreeMap, vec::Vec};

use capelin_abi::PAGE_SIZE;
use capelin_idc::shares::ClientId;
use capelin_interfaces::memory::{ANY_NODE, MemoryError, MemoryStats, Within};

use crate::given::Given;
pub use crate::given::{Charge, Holder, Piece};

/// Pieces from this size on are placed at the start of a range, in bytes.
const LARGE_BYTES: u64 = 2 << 20;
/// Pieces that one client may have at a time: each costs memory of ours, and time whenever it is looked for
/// what has been dropped. With single pages these are 16 MiB.
pub const MOST_PIECES: u64 = 4096;

/// A region that was handed to the service.
#[derive(Clone, Debug)]
struct Region {
    base: u64,
    bytes: u64,
    node: u32,
    /// Free ranges: base, bytes.
    free: BTreeMap<u64, u64>,
    /// Bytes of them.
    free_bytes: u64,
    /// Pieces given out.
    pieces: u64,
}

/// Which pieces are looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// All that is given out.
    All,
    /// What came by connections that have ended, or is held by we don't know whom.
    Left,
}

/// All regions.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    regions: Vec<Region>,
    given: Given,
    /// Bytes of all regions, and what of them is free.
    total_bytes: u64,
    free_bytes: u64,
}

impl Pool {
    /// No memory.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            regions: Vec::new(),
            given: Given::new(),
            total_bytes: 0,
            free_bytes: 0,
        }
    }

    /// Adds a region; what isn't whole pages at its ends is left out. Its number.
    ///
    /// A capability is never made into one of the same type and range, so the whole region
    /// is never given out as one piece, and one of a single page isn't used.
    pub fn add(&mut self, base: u64, bytes: u64, node: u32) -> usize {
        let start = base.checked_next_multiple_of(PAGE_SIZE).unwrap_or(base);
        let end = base.saturating_add(bytes) / PAGE_SIZE * PAGE_SIZE;
        let usable = end.saturating_sub(start);
        let mut free = BTreeMap::new();
        if usable > PAGE_SIZE {
            free.insert(start, usable);
        }
        let bytes = free.values().sum();
        self.total_bytes += bytes;
        self.free_bytes += bytes;
        self.regions.push(Region {
            base,
            bytes,
            node,
            free,
            free_bytes: bytes,
            pieces: 0,
        });
        self.regions.len() - 1
    }

    /// Takes `bytes` bytes at a multiple of `alignment` on `node`, or on any.
    ///
    /// # Errors
    /// [`MemoryError::InvalidSize`], [`MemoryError::NoSuchNode`],
    /// [`MemoryError::Exhausted`].
    pub fn allocate(
        &mut self,
        bytes: u64,
        alignment: u64,
        node: u32,
    ) -> Result<Piece, MemoryError> {
        self.allocate_at(bytes, alignment, Within::node(node))
    }

    /// As [`Pool::allocate`], all of it within that.
    ///
    /// # Errors
    /// As [`Pool::allocate`].
    pub fn allocate_at(
        &mut self,
        bytes: u64,
        alignment: u64,
        Within {
            node,
            from: first,
            end,
        }: Within,
    ) -> Result<Piece, MemoryError> {
        let is_sound = bytes > 0
            && bytes.is_multiple_of(PAGE_SIZE)
            && alignment.is_power_of_two()
            && alignment >= PAGE_SIZE;
        if !is_sound {
            return Err(MemoryError::InvalidSize);
        }
        self.check_node(node)?;
        let (region, from, at) = self
            .regions
            .iter()
            .enumerate()
            .filter(|(_, region)| node == ANY_NODE || region.node == node)
            // Never the whole of it (`add`).
            .filter(|(_, region)| bytes < region.bytes)
            .flat_map(|(number, region)| {
                let free = region.free.iter();
                free.map(move |(&base, &length)| (number, base, length))
            })
            .filter_map(|(number, base, length)| {
                let start = base.max(first);
                let usable = (base + length).min(end).saturating_sub(start);
                let at = place(start, usable, bytes, alignment)?;
                Some((length, number, base, at))
            })
            .min()
            .map(|(_, number, base, at)| (number, base, at))
            .ok_or(MemoryError::Exhausted)?;
        let found = self.regions.get_mut(region).ok_or(MemoryError::Exhausted)?;
        let length = found.free.remove(&from).unwrap_or(0);
        if at > from {
            found.free.insert(from, at - from);
        }
        let rest = from + length - (at + bytes);
        if rest > 0 {
            found.free.insert(at + bytes, rest);
        }
        let piece = Piece {
            region,
            offset: at - found.base,
            base: at,
            bytes,
        };
        found.free_bytes -= bytes;
        found.pieces += 1;
        self.given.insert(piece);
        self.free_bytes -= bytes;
        Ok(piece)
    }

    /// Whether there would be such a piece if nothing were given out: where not, nobody need look for what
    /// has been dropped.
    #[must_use]
    pub fn could_hold(&self, bytes: u64, alignment: u64, within: Within) -> bool {
        let of_node = |it: &&Region| within.node == ANY_NODE || it.node == within.node;
        let mut regions = self.regions.iter().filter(of_node);
        regions.any(|it| {
            let base = it.base.checked_next_multiple_of(PAGE_SIZE);
            let start = base.unwrap_or(it.base).max(within.from);
            let end = it.base.saturating_add(it.bytes).min(within.end);
            let usable = end.saturating_sub(start);
            bytes < it.bytes && place(start, usable, bytes, alignment).is_some()
        })
    }

    /// Whether `client` may have `bytes` more, as one piece.
    #[must_use]
    pub fn is_within_share(&self, client: ClientId, bytes: u64) -> bool {
        let all = MemoryStats {
            total_bytes: self.total_bytes,
            free_bytes: self.free_bytes,
            largest_bytes: 0,
            allocations: 0,
        };
        let has = self.given.charge(client);
        has.pieces < MOST_PIECES && all.is_within_share(has.bytes, bytes)
    }

    /// What `client` is charged with.
    #[must_use]
    pub fn charge(&self, client: ClientId) -> Charge {
        self.given.charge(client)
    }

    /// `piece`, which is given out, is `holder`'s until it is free again.
    pub fn hand(&mut self, piece: &Piece, holder: Holder) {
        self.given.hand(piece, holder);
    }

    /// A connection has ended. What came by it is looked at with [`Which::Left`].
    pub fn close(&mut self, connection: u64) {
        self.given.close(connection);
    }

    /// The piece that was given out as `base` and `bytes`.
    ///
    /// # Errors
    /// [`MemoryError::NotYours`].
    pub fn given(&self, base: u64, bytes: u64) -> Result<Piece, MemoryError> {
        self.given
            .get(base)
            .filter(|piece| piece.bytes == bytes)
            .ok_or(MemoryError::NotYours)
    }

    /// Looks at `limit` pieces at most, from address `from` on, and frees those that are unused. Where to
    /// go on; `None` when there are no more.
    pub fn look_at(
        &mut self,
        which: Which,
        mut from: u64,
        limit: usize,
        is_unused: impl Fn(&Piece) -> bool,
    ) -> Option<u64> {
        for _ in 0..limit {
            let piece = match which {
                Which::All => self.given.next(from),
                Which::Left => self.given.next_left(from),
            }?;
            from = piece.base + piece.bytes;
            if is_unused(&piece) {
                self.free(&piece);
            }
        }
        Some(from)
    }

    /// A piece is free again. Nothing happens for one that isn't given out.
    pub fn free(&mut self, piece: &Piece) {
        if !self.given.remove(piece) {
            return;
        }
        let Some(region) = self.regions.get_mut(piece.region) else {
            return;
        };
        let (mut base, mut bytes) = (piece.base, piece.bytes);
        if let Some((&below, &length)) = region.free.range(..base).next_back()
            && below + length == base
        {
            region.free.remove(&below);
            base = below;
            bytes += length;
        }
        if let Some(length) = region.free.remove(&(base + bytes)) {
            bytes += length;
        }
        region.free.insert(base, bytes);
        region.free_bytes += piece.bytes;
        region.pieces -= 1;
        self.free_bytes += piece.bytes;
    }

    /// What there is, on `node` or altogether.
    ///
    /// # Errors
    /// [`MemoryError::NoSuchNode`].
    pub fn stats(&self, node: u32) -> Result<MemoryStats, MemoryError> {
        self.check_node(node)?;
        let of_node = |region: &Region| node == ANY_NODE || region.node == node;
        let regions = || self.regions.iter().filter(|region| of_node(region));
        Ok(MemoryStats {
            total_bytes: regions().map(|region| region.bytes).sum(),
            free_bytes: regions().map(|region| region.free_bytes).sum(),
            largest_bytes: regions()
                .flat_map(|r| r.free.values().map(|&free| free.min(r.bytes - PAGE_SIZE)))
                .max()
                .unwrap_or(0),
            allocations: regions().map(|region| region.pieces).sum(),
        })
    }

    /// Bytes of all regions.
    #[must_use]
    pub const fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    fn check_node(&self, node: u32) -> Result<(), MemoryError> {
        if node == ANY_NODE || self.regions.iter().any(|region| region.node == node) {
            Ok(())
        } else {
            Err(MemoryError::NoSuchNode)
        }
    }
}

/// Where in the free range a piece would go.
fn place(base: u64, length: u64, bytes: u64, alignment: u64) -> Option<u64> {
    let end = base + length;
    let at = if bytes >= LARGE_BYTES || alignment >= LARGE_BYTES {
        base.checked_next_multiple_of(alignment)?
    } else {
        end.checked_sub(bytes)? / alignment * alignment
    };
    let fits = at >= base && at.checked_add(bytes)? <= end;
    fits.then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn large_pieces_come_from_below_small_ones_from_above() {
        let mut pool = Pool::new();
        pool.add(0x4010_0000, 16 * MIB, 0);
        let home = pool.allocate(2 * MIB, 2 * MIB, 0).unwrap();
        assert_eq!(home.base, 0x4020_0000);
        assert_eq!(home.offset, MIB);
        let small = pool.allocate(4096, 4096, 0).unwrap();
        // The smallest range that holds it is the one before the home memory.
        assert_eq!(small.base, 0x401f_f000);
        let megabyte = pool.allocate(MIB, 4096, ANY_NODE).unwrap();
        assert_eq!(megabyte.base, 0x4110_0000 - MIB);
    }

    #[test]
    fn nodes_are_kept_apart() {
        let mut pool = Pool::new();
        pool.add(0, 2 * MIB, 0);
        pool.add(16 * MIB, 4 * MIB, 2);
        assert_eq!(pool.allocate(4096, 4096, 1), Err(MemoryError::NoSuchNode));
        assert_eq!(pool.allocate(3 * MIB, 4096, 0), Err(MemoryError::Exhausted));
        let piece = pool.allocate(3 * MIB, 4096, ANY_NODE).unwrap();
        assert_eq!((piece.region, piece.offset), (1, 0));
        assert_eq!(pool.stats(2).unwrap().free_bytes, MIB);
        assert_eq!(pool.stats(0).unwrap().allocations, 0);
        assert_eq!(pool.stats(7), Err(MemoryError::NoSuchNode));
    }

    /// For kernels, whose home memory begins somewhere: the smaller range below doesn't do.
    #[test]
    fn memory_from_an_address_on_is_found() {
        let from = |from, end| Within {
            node: ANY_NODE,
            from,
            end,
        };
        let mut pool = Pool::new();
        pool.add(0, 8 * MIB, 0);
        pool.add(12 * MIB, 32 * MIB, 0);
        let above =
            |pool: &mut Pool, first, end| pool.allocate_at(2 * MIB, 2 * MIB, from(first, end));
        // Large pieces come from below.
        assert_eq!(above(&mut pool, 12 * MIB, u64::MAX).unwrap().base, 12 * MIB);
        // Within the lower one, and from the middle of the upper one to its end.
        assert_eq!(above(&mut pool, 3 * MIB, 12 * MIB).unwrap().base, 4 * MIB);
        assert_eq!(above(&mut pool, 41 * MIB, 44 * MIB).unwrap().base, 42 * MIB);
        let none = Err(MemoryError::Exhausted);
        assert_eq!(above(&mut pool, 41 * MIB, u64::MAX), none);
        assert_eq!(above(&mut pool, 44 * MIB, u64::MAX), none);
        // Around what was taken, all is left.
        let free = pool.stats(ANY_NODE).unwrap().free_bytes;
        assert_eq!(free, (8 + 32 - 6) * MIB);
        assert_eq!(above(&mut pool, 0, 4 * MIB).unwrap().base, 0);
    }

    /// For devices that reach only so far, however the ranges lie about that.
    #[test]
    fn memory_below_an_address_is_found() {
        let below = |end| Within {
            node: ANY_NODE,
            from: 0,
            end,
        };
        let mut pool = Pool::new();
        pool.add(64 * MIB, MIB, 0);
        pool.add(0, 16 * MIB, 1);
        let low = pool.allocate_at(4096, 4096, below(32 * MIB)).unwrap();
        assert_eq!(low.base, 16 * MIB - 4096);
        // From the middle of a range that goes on.
        let lower = pool.allocate_at(4096, 4096, below(5 * MIB)).unwrap();
        assert_eq!(lower.base, 5 * MIB - 4096);
        assert_eq!(pool.stats(1).unwrap().free_bytes, 16 * MIB - 8192);
        let none = pool.allocate_at(4 * MIB, 4096, below(4 * MIB - 1));
        assert_eq!(none, Err(MemoryError::Exhausted));
        assert_eq!(
            pool.allocate_at(4096, 4096, below(0)),
            Err(MemoryError::Exhausted)
        );
        pool.free(&low);
        pool.free(&lower);
        assert_eq!(pool.stats(1).unwrap().largest_bytes, 16 * MIB - 4096);
    }

    /// What is left of memory with a page reserved at the start of each 4 MiB still has
    /// room for 2 MiB at a multiple of 2 MiB, up to its last byte.
    #[test]
    fn the_end_of_a_region_is_used() {
        let mut pool = Pool::new();
        pool.add(0x4000_1000, 4 * MIB - 4096, 0);
        assert_eq!(pool.stats(0).unwrap().largest_bytes, 4 * MIB - 8192);
        let home = pool.allocate(2 * MIB, 2 * MIB, 0).unwrap();
        assert_eq!(home.base, 0x4020_0000);
        let rest = pool.allocate(2 * MIB - 4096, 4096, 0).unwrap();
        assert_eq!(rest.base, 0x4000_1000);
        assert_eq!(pool.stats(0).unwrap().free_bytes, 0);
        // But never all of it at once.
        pool.free(&home);
        pool.free(&rest);
        let all = pool.allocate(4 * MIB - 4096, 4096, 0);
        assert_eq!(all, Err(MemoryError::Exhausted));
    }

    #[test]
    fn nonsense_is_refused() {
        let mut pool = Pool::new();
        pool.add(0, 4 * MIB, 0);
        for (bytes, alignment) in [(0, 4096), (4097, 4096), (4096, 0), (4096, 12288), (4096, 8)] {
            let result = pool.allocate(bytes, alignment, 0);
            assert_eq!(result, Err(MemoryError::InvalidSize), "{bytes} {alignment}");
        }
        let huge = pool.allocate(!4095, 1 << 63, 0);
        assert_eq!(huge, Err(MemoryError::Exhausted));
        assert_eq!(pool.given(0, 4096), Err(MemoryError::NotYours));
        pool.add(u64::MAX - 100, 50, 0);
        pool.add(4096, 4096, 3);
        assert_eq!(pool.allocate(4096, 4096, 3), Err(MemoryError::Exhausted));
    }

    fn of(client: u64, connection: u64) -> Holder {
        Holder {
            connection: Some(connection),
            client: Some(ClientId(client)),
        }
    }

    /// What a client has is charged to it until it is free, by whomever; then it may have it again.
    #[test]
    fn a_share_comes_back_with_the_memory() {
        let (greedy, other) = (ClientId(1), ClientId(2));
        let mut pool = Pool::new();
        pool.add(0, 64 * MIB, 0);
        let mut taken = Vec::new();
        while pool.is_within_share(greedy, 2 * MIB) {
            let piece = pool.allocate(2 * MIB, 4096, 0).unwrap();
            pool.hand(&piece, of(1, 7));
            taken.push(piece);
        }
        let all = Charge {
            bytes: 30 * MIB,
            pieces: 15,
        };
        assert_eq!((pool.charge(greedy), taken.len()), (all, 15));
        // Also when its connection has ended.
        pool.close(7);
        assert_eq!(pool.charge(greedy), all);
        assert!(pool.is_within_share(other, 14 * MIB));
        let last = taken.pop().unwrap();
        pool.free(&last);
        pool.free(&last);
        assert_eq!(pool.charge(greedy).bytes, 28 * MIB);
        assert!(pool.is_within_share(greedy, 2 * MIB));
        // What isn't given out is charged to nobody.
        pool.hand(&last, of(2, 8));
        assert_eq!(pool.charge(other), Charge::default());
        taken.iter().for_each(|piece| pool.free(piece));
        assert!(pool.given.is_empty());
    }

    /// However many pieces a client takes and drops, only those are noted that are given out: by whatever way it
    /// is found that they are free.
    #[test]
    fn nothing_is_noted_of_what_is_free() {
        let mut pool = Pool::new();
        pool.add(0, 64 * MIB, 0);
        for pages in 1..2000_u64 {
            let within = Within {
                node: 0,
                from: 0,
                end: (64 << 20) - pages % 64 * 4096,
            };
            let piece = pool.allocate_at(pages % 100 * 4096 + 4096, 4096, within);
            pool.hand(&piece.unwrap(), of(pages % 3, pages % 5));
            match pages % 3 {
                0 => pool.free(&piece.unwrap()),
                1 => assert!(pool.look_at(Which::All, 0, 9, |_| true).is_none()),
                _ => {
                    pool.close(pages % 5);
                    assert!(pool.look_at(Which::Left, 0, 9, |_| true).is_none());
                }
            }
            assert!(pool.given.is_empty(), "{pages}");
        }
    }

    #[test]
    fn how_many_pieces_one_may_have_is_bounded() {
        let mut pool = Pool::new();
        pool.add(0, 1024 * MIB, 0);
        let mut last = None;
        while pool.is_within_share(ClientId(1), 4096) {
            let piece = pool.allocate(4096, 4096, 0).unwrap();
            pool.hand(&piece, of(1, 1));
            last = Some(piece);
        }
        assert_eq!(pool.charge(ClientId(1)).pieces, MOST_PIECES);
        assert!(pool.is_within_share(ClientId(2), 4096));
        pool.free(&last.unwrap());
        assert!(pool.is_within_share(ClientId(1), 4096));
    }

    /// No step looks at more than it may, and all steps together look at each piece once.
    #[test]
    fn one_step_looks_at_few() {
        let mut pool = Pool::new();
        pool.add(0, 64 * MIB, 0);
        for number in 0..100 {
            let piece = pool.allocate(4096, 4096, 0).unwrap();
            pool.hand(&piece, of(1, number % 2));
        }
        let seen = core::cell::RefCell::new(Vec::new());
        let look = |piece: &Piece| {
            seen.borrow_mut().push(piece.base);
            (piece.base / 4096).is_multiple_of(2)
        };
        assert_eq!(pool.look_at(Which::Left, 0, 7, look), None);
        pool.close(0);
        for (which, pieces) in [(Which::Left, 50), (Which::All, 100)] {
            let before = pool.stats(0).unwrap().allocations;
            let (mut from, mut steps) = (Some(0), 0);
            while let Some(at) = from {
                from = pool.look_at(which, at, 7, look);
                steps += 1;
                assert!(seen.borrow().len() <= steps * 7);
            }
            let mut seen = seen.take();
            let looked_at = seen.len();
            seen.dedup();
            assert_eq!(seen.len(), looked_at);
            let freed = seen
                .iter()
                .filter(|&base| (base / 4096).is_multiple_of(2))
                .count();
            let left = pool.stats(0).unwrap().allocations;
            assert_eq!(left, before - freed as u64);
            assert_eq!(looked_at as u64, pieces.min(before));
        }
        assert_eq!(pool.stats(0).unwrap().allocations, 50);
    }

    #[test]
    fn what_could_never_be_is_known() {
        let within = |node, from, end| Within { node, from, end };
        let mut pool = Pool::new();
        pool.add(0, 8 * MIB, 0);
        pool.add(12 * MIB, 32 * MIB, 1);
        // All of it is given out.
        while pool.allocate(MIB, 4096, ANY_NODE).is_ok() {}
        for (could, bytes, alignment, place) in [
            (true, 4096, 4096, Within::node(ANY_NODE)),
            (true, 31 * MIB, 4096, Within::node(1)),
            (false, 32 * MIB, 4096, Within::node(1)),
            (false, 9 * MIB, 4096, Within::node(0)),
            (false, 4096, 4096, within(ANY_NODE, 0, 0)),
            (false, 4096, 4096, within(ANY_NODE, 9 * MIB, 11 * MIB)),
            (true, 4096, 16 * MIB, within(1, 0, u64::MAX)),
            (false, 4096, 64 * MIB, within(1, 0, u64::MAX)),
            (false, 4096, 1 << 63, within(1, 0, u64::MAX)),
        ] {
            assert_eq!(pool.could_hold(bytes, alignment, place), could, "{bytes}");
        }
    }

    proptest! {
        /// Pieces never overlap, lie in their region and node, and all of it comes back.
        #[test]
        fn pieces_never_overlap_and_all_comes_back(
            steps in proptest::collection::vec((1_u16..700, 12_u32..22, 0_u32..3, any::<bool>()), 1..150)
        ) {
            let mut pool = Pool::new();
            let client = |piece: &Piece| ClientId(piece.bytes / 4096 % 3);
            let regions = [(0x10_0000, 5 * MIB, 0), (0x4000_0000, 9 * MIB + 4096, 1), (0x5000_0000, MIB, 0)];
            for (base, bytes, node) in regions {
                pool.add(base, bytes, node);
            }
            let full = pool.stats(ANY_NODE).unwrap();
            let mut held: Vec<Piece> = Vec::new();
            for (pages, alignment, node, release) in steps {
                if release && !held.is_empty() {
                    let piece = held.swap_remove(usize::from(pages) % held.len());
                    prop_assert_eq!(pool.given(piece.base, piece.bytes), Ok(piece));
                    pool.free(&piece);
                    // A second time it changes nothing.
                    let before = pool.stats(ANY_NODE).unwrap();
                    pool.free(&piece);
                    prop_assert_eq!(pool.stats(ANY_NODE).unwrap(), before);
                    continue;
                }
                let node = if node == 2 { ANY_NODE } else { node };
                if let Ok(piece) = pool.allocate(u64::from(pages) * 4096, 1 << alignment, node) {
                    let (base, bytes, on) = regions[piece.region];
                    prop_assert!(piece.base.is_multiple_of(1 << alignment));
                    prop_assert!(piece.base >= base && piece.base + piece.bytes <= base + bytes);
                    prop_assert!(piece.bytes < bytes);
                    prop_assert_eq!(piece.base, base + piece.offset);
                    prop_assert!(node == ANY_NODE || node == on);
                    let apart = |p: &Piece| {
                        p.base + p.bytes <= piece.base || piece.base + piece.bytes <= p.base
                    };
                    prop_assert!(held.iter().all(apart));
                    pool.hand(&piece, of(client(&piece).0, piece.base / 4096 % 4));
                    held.push(piece);
                }
                for id in (0..3).map(ClientId) {
                    let of_client = held.iter().filter(|&piece| client(piece) == id);
                    let charge = Charge {
                        bytes: of_client.clone().map(|piece| piece.bytes).sum(),
                        pieces: of_client.count() as u64,
                    };
                    prop_assert_eq!(pool.charge(id), charge);
                }
                let used: u64 = held.iter().map(|p| p.bytes).sum();
                let now = pool.stats(ANY_NODE).unwrap();
                prop_assert_eq!(now.free_bytes + used, full.total_bytes);
                prop_assert_eq!((pool.free_bytes, pool.total_bytes), (now.free_bytes, now.total_bytes));
                prop_assert_eq!(now.allocations, held.len() as u64);
            }
            for piece in held {
                pool.free(&piece);
            }
            prop_assert_eq!(pool.stats(ANY_NODE).unwrap(), full);
            prop_assert!(pool.given.is_empty());
        }
    }
}
