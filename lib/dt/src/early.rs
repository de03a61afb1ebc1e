//! What the boot driver needs around a [`crate::Machine`]: before, the blob's
//! size from its first bytes, without allocation; after, the memory that is free.
//!
//! Firmware hands over a bare address. The boot driver makes a slice of the
//! first 8 bytes, [`total_size`] says how many there are to map and look at, and
//! [`header`] checks the first [`HEADER_SIZE`] of them (devicetree specification
//! 5.2). [`usable`] subtracts everything that is taken from the memory.

use alloc::collections::{BTreeSet, BinaryHeap};
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::error::DtError;
use crate::memory::MemoryRegion;
use crate::types::{PhysAddr, Region};

/// The first word of a blob.
pub const MAGIC: u32 = 0xd00d_feed;
/// Where a header holds `totalsize`, in bytes from the blob's start.
pub const TOTAL_SIZE_OFFSET: u64 = 4;
/// Bytes of a version 17 header.
pub const HEADER_SIZE: usize = 40;
/// Largest blob that is read, in bytes up to the end of its last block: what the arm64
/// boot protocol allows. The largest tree in Linux 6.12 has 152 KB, that of a real
/// RK3588 board, as U-Boot hands it over, 280 KB.
pub const MAX_SIZE: usize = 2 << 20;
/// Largest `totalsize`, in bytes. What follows the last block isn't read, and isn't
/// copied either; QEMU pads its own trees to 1 MiB, and any tree that it is given to
/// twice the size and 10,000 bytes.
pub const MAX_TOTAL_SIZE: usize = 8 << 20;

/// Bytes of a buddy heap that [`crate::Machine::parse_without_devices`] takes at most
/// for a blob of `used` bytes ([`used_size`]), whatever they are. A real tree takes less
/// than its own size.
#[must_use]
pub const fn heap_bytes(used: usize) -> usize {
    FIXED_BYTES + 24 * used
}

/// As [`heap_bytes`], for [`crate::console`].
#[must_use]
pub const fn lean_heap_bytes(used: usize) -> usize {
    FIXED_BYTES + 8 * used
}

/// What reading takes of a heap for the smallest blob, in bytes.
const FIXED_BYTES: usize = 128 << 10;

/// A blob's header: offsets and sizes in bytes, not yet checked against the blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Size of the whole blob: 36 to [`MAX_TOTAL_SIZE`].
    pub total_size: usize,
    /// Offset of the structure block.
    pub structure_offset: usize,
    /// Size of the structure block; a version 16 blob doesn't say.
    pub structure_size: Option<usize>,
    /// Offset of the strings block.
    pub strings_offset: usize,
    /// Size of the strings block.
    pub strings_size: usize,
    /// Offset of the memory reservation block.
    pub reservations_offset: usize,
    /// Version of the format, 16 or more.
    pub version: u32,
    /// `boot_cpuid_phys`: the `reg` of the core that boots, often just 0.
    pub boot_cpu: u32,
}

/// The size of the blob, in bytes, from its first 8 bytes or more.
///
/// # Errors
///
/// [`DtError::ShortHeader`], [`DtError::BadMagic`] and [`DtError::BadTotalSize`].
pub fn total_size(bytes: &[u8]) -> Result<usize, DtError> {
    let (Some(magic), Some(size)) = (
        crate::validate::word(bytes, 0),
        crate::validate::word(bytes, 4),
    ) else {
        return Err(DtError::ShortHeader {
            length: bytes.len(),
        });
    };
    if magic != MAGIC {
        return Err(DtError::BadMagic { found: magic });
    }
    let total = size as usize;
    // Version 16 headers have 36 bytes.
    if !(36..=MAX_TOTAL_SIZE).contains(&total) {
        return Err(DtError::BadTotalSize { total_size: size });
    }
    Ok(total)
}

/// Bytes of `blob` to the end of its last block, which is all that anybody reads.
///
/// # Errors
///
/// Why the bytes are no well-formed tree.
pub fn used_size(blob: &[u8]) -> Result<usize, DtError> {
    crate::validate::validate(blob).map(|blob| blob.used)
}

/// Reads the header from a blob's first [`HEADER_SIZE`] bytes (36 suffice for
/// version 16); more may be given.
///
/// # Errors
///
/// Those of [`total_size`], and [`DtError::BadVersion`].
pub fn header(bytes: &[u8]) -> Result<Header, DtError> {
    let total_size = total_size(bytes)?;
    let short = DtError::ShortHeader {
        length: bytes.len(),
    };
    let field = |index: usize| crate::validate::word(bytes, 4 * index).ok_or(short);
    let (version, last_compatible) = (field(5)?, field(6)?);
    if version < 16 || last_compatible > 17 || last_compatible > version {
        return Err(DtError::BadVersion {
            version,
            last_compatible,
        });
    }
    Ok(Header {
        total_size,
        structure_offset: field(2)? as usize,
        strings_offset: field(3)? as usize,
        reservations_offset: field(4)? as usize,
        version,
        boot_cpu: field(7)?,
        strings_size: field(8)? as usize,
        structure_size: if version >= 17 {
            Some(field(9)? as usize)
        } else {
            None
        },
    })
}

/// The memory that the tree gives, without its reservations and `extra`, as
/// [`usable`] cuts it: found before there is memory enough for the whole
/// [`crate::Machine`]. Of a real tree, that takes about half of what the blob has; never
/// more than [`heap_bytes`].
///
/// # Errors
///
/// Why the bytes are no well-formed tree.
pub fn free_memory(blob: &[u8], extra: &[Region]) -> Result<Vec<MemoryRegion>, DtError> {
    let blob = crate::validate::validate(blob)?;
    let tree = crate::tree::Tree::new(&blob)?;
    let memory = crate::memory::memory(&tree);
    let mut reserved = blob.reservations.clone();
    crate::memory::reserved_nodes(&tree, &mut reserved);
    if tree.is_exhausted() {
        return Err(DtError::TooComplex);
    }
    drop(tree);
    Ok(usable(&memory, &reserved, extra))
}

/// The whole 4 KiB pages of `memory` in which no byte is in `reservations` or
/// `extra` (what the boot driver itself knows to be taken: its image, the blob,
/// the initial ramdisk), as maximal regions with ascending addresses.
///
/// Regions of `memory` may touch and overlap; pages of different NUMA nodes
/// never share a region, and where nodes overlap, the region that `memory` lists
/// first says whose a page is. What passes the end of the address space is cut.
#[must_use]
pub fn usable(
    memory: &[MemoryRegion],
    reservations: &[Region],
    extra: &[Region],
) -> Vec<MemoryRegion> {
    let mut starts: Vec<(u64, u64, usize)> = Vec::new();
    for (index, region) in memory.iter().enumerate() {
        starts.push((region.region.base.0, region.region.end(), index));
    }
    starts.retain(|&(start, end, _)| start < end);
    starts.sort_unstable();
    let mut taken: Vec<(u64, u64)> = reservations
        .iter()
        .chain(extra)
        .map(|region| (region.base.0, region.end()))
        .filter(|&(start, end)| start < end)
        .collect();
    taken.sort_unstable();

    let mut found: Vec<MemoryRegion> = Vec::new();
    for (start, end, index) in owned_pieces(&starts) {
        let Some(owner) = memory.get(index) else {
            continue;
        };
        // The pieces come in order, so a run goes on where the last one ended.
        match found.last_mut() {
            Some(last) if last.region.end() == start && last.numa == owner.numa => {
                last.region.size = end - last.region.base.0;
            }
            _ => found.push(MemoryRegion {
                region: Region {
                    base: PhysAddr(start),
                    size: end - start,
                },
                numa: owner.numa,
            }),
        }
    }
    let mut free = Vec::new();
    // Index of the first reservation that may still matter; reservations are
    // sorted by start, so `reach` keeps what earlier ones cover.
    let (mut next, mut reach) = (0, 0_u64);
    for run in &found {
        let mut at = run.region.base.0;
        let end = run.region.end();
        while at < end {
            while let Some(&(start, stop)) = taken.get(next) {
                if start > at {
                    break;
                }
                reach = reach.max(stop);
                next += 1;
            }
            if reach > at {
                at = reach;
                continue;
            }
            let stop = taken.get(next).map_or(end, |&(start, _)| start.min(end));
            push_pages(&mut free, at, stop, run);
            at = stop;
        }
    }
    free
}

/// Cuts overlapping memory into disjoint pieces `(start, end, index)`, ascending,
/// each owned by the lowest index that covers it. `starts` is sorted by start.
fn owned_pieces(starts: &[(u64, u64, usize)]) -> Vec<(u64, u64, usize)> {
    let mut pieces = Vec::new();
    let mut active: BTreeSet<usize> = BTreeSet::new();
    let mut ends: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut upcoming = starts.iter().copied().peekable();
    let mut at = 0;
    loop {
        while let Some(&Reverse((end, index))) = ends.peek()
            && end <= at
        {
            ends.pop();
            active.remove(&index);
        }
        while let Some((_, end, index)) = upcoming.next_if(|&(start, ..)| start <= at) {
            ends.push(Reverse((end, index)));
            active.insert(index);
        }
        let next_start = upcoming.peek().map(|&(start, ..)| start);
        let next_end = ends.peek().map(|&Reverse((end, _))| end);
        let next = match (next_start, next_end) {
            (Some(start), Some(end)) => start.min(end),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return pieces,
        };
        if let Some(&owner) = active.first() {
            pieces.push((at, next, owner));
        }
        at = next;
    }
}

/// Adds the whole pages in `start..end` to `free`.
fn push_pages(free: &mut Vec<MemoryRegion>, start: u64, end: u64, run: &MemoryRegion) {
    let Some(base) = PhysAddr(start).align_up(capelin_abi::PAGE_SIZE) else {
        return;
    };
    let end = PhysAddr(end).align_down(capelin_abi::PAGE_SIZE);
    if base < end {
        free.push(MemoryRegion {
            region: Region {
                base,
                size: end.0 - base.0,
            },
            numa: run.numa,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::prelude::rust_2024::*;
    use std::vec;

    use proptest::prelude::{Strategy, prop, proptest};

    use super::*;
    use crate::types::NumaId;

    const PAGE: u64 = capelin_abi::PAGE_SIZE;
    /// Pages in the model.
    const PAGES: u64 = 16;

    fn memory(base: u64, size: u64, numa: u32) -> MemoryRegion {
        MemoryRegion {
            region: Region::new(base, size),
            numa: Some(NumaId(numa)),
        }
    }

    /// Byte ranges of which most start or end just beside a page boundary.
    fn range() -> impl Strategy<Value = (u64, u64)> {
        let edge = (0..=PAGES, 0..5_u64).prop_map(|(page, beside)| {
            // -2, -1, 0, 1 and 700 bytes off the boundary.
            let off = [
                PAGE * 2 - 2,
                PAGE * 2 - 1,
                PAGE * 2,
                PAGE * 2 + 1,
                PAGE * 2 + 700,
            ];
            let off = off.get(usize::try_from(beside).unwrap()).copied();
            (page * PAGE + off.unwrap()).saturating_sub(2 * PAGE)
        });
        (edge, 0..6 * PAGE).prop_map(|(base, size)| (base, size))
    }

    /// Whose byte `at` is, if it is free.
    fn owner(at: u64, memory: &[MemoryRegion], taken: &[Region]) -> Option<Option<NumaId>> {
        let holds = |region: &Region| region.base.0 <= at && at < region.end();
        if taken.iter().any(holds) {
            return None;
        }
        let owner = memory.iter().find(|memory| holds(&memory.region))?;
        Some(owner.numa)
    }

    proptest! {
        /// Against a model that asks each byte of each page.
        #[test]
        fn usable_agrees_with_a_page_bitmap(
            memory_ranges in prop::collection::vec((range(), 0..3_u32), 0..5),
            taken in prop::collection::vec(range(), 0..5),
            extra in prop::collection::vec(range(), 0..3),
        ) {
            let memory: Vec<MemoryRegion> = memory_ranges
                .into_iter()
                .map(|((base, size), numa)| memory(base, size, numa))
                .collect();
            let region = |(base, size)| Region::new(base, size);
            let taken: Vec<Region> = taken.into_iter().map(region).collect();
            let extra: Vec<Region> = extra.into_iter().map(region).collect();
            let found = usable(&memory, &taken, &extra);

            let all: Vec<Region> = [taken, extra].concat();
            let mut model: Vec<MemoryRegion> = Vec::new();
            for page in 0..PAGES + 8 {
                let start = page * PAGE;
                let Some(numa) = owner(start, &memory, &all) else {
                    continue;
                };
                if (start..start + PAGE).any(|at| owner(at, &memory, &all) != Some(numa)) {
                    continue;
                }
                match model.last_mut() {
                    Some(last) if last.region.end() == start && last.numa == numa => {
                        last.region.size += PAGE;
                    }
                    _ => model.push(MemoryRegion {
                        region: Region::new(start, PAGE),
                        numa,
                    }),
                }
            }
            proptest::prop_assert_eq!(found, model);
        }
    }

    #[test]
    fn the_end_of_the_address_space_is_cut() {
        let found = usable(
            &[memory(u64::MAX - 3 * PAGE, u64::MAX, 0)],
            &[Region::new(u64::MAX - 100, u64::MAX)],
            &[],
        );
        // u64::MAX is no page boundary: rounding keeps whole pages only.
        assert_eq!(found, [memory(u64::MAX - 3 * PAGE + 1, 2 * PAGE, 0)]);
    }

    #[test]
    fn a_page_of_two_nodes_is_nobodys() {
        let found = usable(
            &[memory(0, PAGE + 8, 0), memory(PAGE + 8, 2 * PAGE - 8, 1)],
            &[],
            &[],
        );
        assert_eq!(found, [memory(0, PAGE, 0), memory(2 * PAGE, PAGE, 1)]);
        // Of one node, it is whole.
        let found = usable(
            &[memory(0, PAGE + 8, 0), memory(PAGE + 8, 2 * PAGE - 8, 0)],
            &[],
            &[],
        );
        assert_eq!(found, vec![memory(0, 3 * PAGE, 0)]);
    }
}
