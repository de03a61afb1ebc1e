//! Where home memory and device tree go, and what memory is left.
//!
//! While the boot driver works, its image, the device tree as firmware gave it and
//! the archive are taken. Once the CPU driver runs, the image without the archive
//! and firmware's copy of the tree are free again:
//!
//! ```text
//!              while placing   afterwards
//! boot driver  taken           free
//! archive      taken           taken
//! tree, given  taken           free
//! heap grown   taken           free
//! tree, copy   placed          taken
//! kernels      placed          taken      the table of all kernels (capelin_peers)
//! home memory  placed          taken
//! ```

use alloc::vec::Vec;

use capelin_abi::PAGE_SIZE;
use capelin_abi::boot::{HOME_ALIGNMENT, KernelHeader, PhysRegion, RamRegion};
use capelin_abi::capability::{CNODE_BYTES, CNODE_SLOTS};
use capelin_abi::layout::RAM_REGIONS_LIMIT;
use capelin_dt::early::usable;
use capelin_dt::{Machine, MemoryRegion, NumaId, Region};
use capelin_peers::PeerTable;

use crate::{BootError, HEAP_BYTES};

/// Home memory of a core, in bytes, unless what it must hold is large or memory is
/// small.
pub const HOME_BYTES: u64 = 4 << 20;
/// What home memory should hold beside the images, in bytes: kernel objects.
const OBJECT_BYTES: u64 = 2 << 20;
/// What it must hold at least.
const MIN_OBJECT_BYTES: u64 = 512 << 10;
/// Into how many pieces more memory falls by what is placed: home memory, the tree's copy and the
/// table of all kernels take a piece out of one each.
const PLACED_PIECES: u64 = 3;
/// So many pieces of memory take no home memory worth counting.
const FEW_PIECES: u64 = 24;
/// How many regions of device addresses there may be besides those between pieces of memory:
/// around interrupt controllers and release pages.
const OTHER_ADDRESSES: u64 = 64;

/// What lies where when the boot driver starts.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The boot driver with the heap that it brings and its stack, without the archive.
    pub boot_driver: Region,
    /// The device tree as firmware gave it.
    pub device_tree: Region,
    /// What of the tree is copied: its bytes to the end of the last block.
    pub device_tree_bytes: u64,
    /// The module archive.
    pub archive: Region,
    /// Memory that the boot driver's heap has besides ([`heap_pieces`]).
    pub heap: &'a [Region],
}

/// The memory by which the boot driver's heap must grow so that it has `bytes` bytes in
/// all: of the largest regions in `free`, at most the upper half of each. Less where
/// there is less.
#[must_use]
pub fn heap_pieces(free: &[MemoryRegion], bytes: u64) -> Vec<Region> {
    let mut missing = bytes.saturating_sub(HEAP_BYTES as u64);
    let mut largest: Vec<Region> = free.iter().map(|memory| memory.region).collect();
    largest.sort_unstable_by_key(|region| core::cmp::Reverse(region.size));
    let mut pieces = Vec::new();
    for region in largest {
        if missing == 0 {
            break;
        }
        let bytes = missing
            .checked_next_multiple_of(PAGE_SIZE)
            .unwrap_or(u64::MAX)
            .min(region.size / 2 / PAGE_SIZE * PAGE_SIZE);
        if bytes != 0 {
            pieces.push(Region::new(region.end() - bytes, bytes));
        }
        missing = missing.saturating_sub(bytes);
    }
    pieces
}

/// Where things go.
#[derive(Clone, Debug)]
pub struct Placement {
    /// The boot core's home memory.
    pub home: Region,
    /// Whether home memory is on the boot core's own node.
    pub home_is_local: bool,
    /// Room for the device tree, whole pages.
    pub device_tree: Region,
    /// Room for the table of all kernels.
    pub peers: Region,
    /// The memory that is left, ascending; at most [`RAM_REGIONS_LIMIT`].
    pub ram: Vec<RamRegion>,
    /// Bytes of free memory that didn't fit into `ram` (the smallest regions).
    pub left_out: u64,
}

/// Decides where things go for a boot core on NUMA node `node` (0 where the tree
/// knows none).
///
/// # Errors
/// [`BootError::NoHomeMemory`], [`BootError::NoRoomForTree`].
pub fn place(
    machine: &Machine,
    given: &Given<'_>,
    node: u64,
    kernel: &KernelHeader,
    domain_bytes: u64,
) -> Result<Placement, BootError> {
    let fixed: Vec<Region> = machine
        .reserved_regions()
        .chain(machine.kept_regions())
        .collect();
    let free = |extra: &[Region]| usable(&machine.memory, &fixed, extra);
    let mut taken = Vec::from([given.boot_driver, given.device_tree, given.archive]);
    taken.extend(given.heap);
    let pieces = free(&[given.archive]).len() as u64 + PLACED_PIECES;
    let (home, home_is_local) = home(&free(&taken), node, kernel, domain_bytes, pieces)?;
    taken.push(home);
    let device_tree = tree_copy(&free(&taken), node, given.device_tree_bytes)?;
    taken.push(device_tree);
    let peers = piece(&free(&taken), node, PeerTable::BYTES)
        .ok_or(BootError::NoRoomForTree(PeerTable::BYTES))?;
    let (ram, left_out) = regions(&free(&[given.archive, device_tree, home, peers]));
    Ok(Placement {
        home,
        home_is_local,
        device_tree,
        peers,
        ram,
        left_out,
    })
}

/// The node of a region, 0 where the tree gives none.
fn node_of(region: &MemoryRegion) -> u64 {
    region.numa.map_or(0, |NumaId(node)| u64::from(node))
}

/// Bytes of home memory that tell of `pieces` pieces of memory: the list, one like it of the
/// addresses between them, and CNodes for both. Nothing where there are so few that the slots and
/// pages do that every first domain has.
fn list_bytes(pieces: u64) -> u64 {
    if pieces <= FEW_PIECES {
        return 0;
    }
    let pages = |bytes: u64| bytes.next_multiple_of(PAGE_SIZE);
    let pieces = pieces.min(RAM_REGIONS_LIMIT.into());
    let lists = pages(pieces * size_of::<RamRegion>() as u64)
        + pages((pieces + OTHER_ADDRESSES) * size_of::<PhysRegion>() as u64);
    // The memory service has a copy of each capability to memory.
    let cnodes = 3 * (pieces + OTHER_ADDRESSES).div_ceil(CNODE_SLOTS) * CNODE_BYTES;
    lists + cnodes
}

/// A place for home memory: first of the size wanted, then smaller; each time on
/// the core's own node first; the lowest that fits. It is to tell of `pieces` pieces of memory.
fn home(
    free: &[MemoryRegion],
    node: u64,
    kernel: &KernelHeader,
    domain_bytes: u64,
    pieces: u64,
) -> Result<(Region, bool), BootError> {
    // The kernel has checked its own; neither is near the end of the range.
    let images = kernel
        .memory_bytes
        .saturating_add(PAGE_SIZE)
        .saturating_add(domain_bytes)
        .saturating_add(list_bytes(pieces));
    let rounded = |bytes: u64| {
        bytes
            .checked_next_multiple_of(HOME_ALIGNMENT)
            .unwrap_or(u64::MAX)
    };
    let wanted = rounded(images.saturating_add(OBJECT_BYTES)).max(HOME_BYTES);
    let least = rounded(images.saturating_add(MIN_OBJECT_BYTES));
    for bytes in [wanted, least] {
        for is_local in [true, false] {
            let found = free
                .iter()
                .filter(|region| (node_of(region) == node) == is_local)
                .find_map(|region| aligned(region.region, HOME_ALIGNMENT, bytes));
            if let Some(home) = found {
                return Ok((home, is_local));
            }
        }
    }
    let largest = free
        .iter()
        .filter_map(|region| {
            let start = region.region.base.align_up(HOME_ALIGNMENT)?;
            region.region.end().checked_sub(start.0)
        })
        .max();
    Err(BootError::NoHomeMemory {
        needed: least,
        largest: largest.unwrap_or(0),
    })
}

/// A place for the copy of a tree of `bytes` bytes.
fn tree_copy(free: &[MemoryRegion], node: u64, bytes: u64) -> Result<Region, BootError> {
    let error = BootError::NoRoomForTree(bytes);
    let bytes = bytes
        .checked_next_multiple_of(PAGE_SIZE)
        .ok_or(error.clone())?;
    piece(free, node, bytes).ok_or(error)
}

/// A place for `bytes` bytes of whole pages, on the node if it has room.
fn piece(free: &[MemoryRegion], node: u64, bytes: u64) -> Option<Region> {
    let place = |is_local: bool| {
        free.iter()
            .filter(move |region| (node_of(region) == node) == is_local)
            .find_map(|region| aligned(region.region, PAGE_SIZE, bytes))
    };
    place(true).or_else(|| place(false))
}

/// The lowest aligned piece of `bytes` bytes in `region`.
fn aligned(region: Region, alignment: u64, bytes: u64) -> Option<Region> {
    let base = region.base.align_up(alignment)?;
    let end = base.checked_add(bytes)?;
    (end.0 <= region.end()).then_some(Region { base, size: bytes })
}

/// The regions as the CPU driver is told them: if there are too many, the largest.
fn regions(free: &[MemoryRegion]) -> (Vec<RamRegion>, u64) {
    let mut ram: Vec<RamRegion> = free
        .iter()
        .map(|region| RamRegion {
            base: region.region.base.0,
            bytes: region.region.size,
            node: node_of(region),
        })
        .collect();
    ram.sort_unstable_by_key(|region| core::cmp::Reverse(region.bytes));
    let excess = ram.split_off(ram.len().min(RAM_REGIONS_LIMIT as usize));
    ram.sort_unstable_by_key(|region| region.base);
    (ram, excess.iter().map(|region| region.bytes).sum())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use capelin_abi::PhysAddr;
    use capelin_dt::EnableMethod;
    use std::{format, println, string::String};

    /// QEMU's machine with these properties and options.
    pub(crate) fn qemu(properties: &str, options: &str) -> Machine {
        Machine::parse(&capelin_trees::qemu(properties, options)).unwrap()
    }

    /// A board as somebody described it.
    pub(crate) fn board(file: &str) -> Machine {
        Machine::parse(&capelin_trees::recorded("boards", file)).unwrap()
    }

    fn kernel(memory_bytes: u64) -> KernelHeader {
        KernelHeader {
            branch: 0,
            reserved: 0,
            magic: 0,
            abi_version: 0,
            file_bytes: 0,
            memory_bytes,
            doorbell_offset: 0,
            layout_hash: 0,
            reserved2: 0,
        }
    }

    fn overlaps(a: Region, b: Region) -> bool {
        a.base.0 < b.end() && b.base.0 < a.end()
    }

    /// The boot driver 2 MiB into memory, the archive behind it, the tree after 128 MiB.
    fn given(machine: &Machine) -> Option<Given<'static>> {
        let base = machine.memory.iter().map(|m| m.region.base.0).min()?;
        Some(Given {
            boot_driver: Region::new(base + 0x20_0000, 0x30_0000),
            archive: Region::new(base + 0x50_0000, 0x40_0000),
            device_tree: Region::new(base + 0x800_0000, 0x1_0123),
            device_tree_bytes: 0x8123,
            heap: &[],
        })
    }

    #[test]
    fn nothing_overlaps_on_qemus_machines() {
        let machines = [
            ("gic-version=2", "-smp 1 -m 128M"),
            ("gic-version=2", "-smp 8 -m 1G"),
            ("gic-version=3", "-smp 4 -m 8G"),
            ("gic-version=3", "-smp 256 -m 2G"),
            (
                "gic-version=3",
                "-smp 2 -m 1G -object memory-backend-ram,id=a,size=512M -numa node,memdev=a \
                 -object memory-backend-ram,id=b,size=512M -numa node,memdev=b",
            ),
        ];
        let machines = machines.map(|(properties, options)| {
            (format!("{properties} {options}"), qemu(properties, options))
        });
        assert_eq!(placed_without_overlap(machines), 5);
    }

    #[test]
    #[ignore = "needs trees that others wrote"]
    fn nothing_overlaps_on_any_machine() {
        let trees = capelin_trees::every().into_iter();
        let machines = trees.filter_map(|tree| Some((tree.name, Machine::parse(&tree.blob).ok()?)));
        let placed_on = placed_without_overlap(machines);
        println!("placed on {placed_on} machines");
        assert!(placed_on >= 35, "{placed_on}");
    }

    /// Places everything on each of `machines`, as far as it has memory for it; on how many.
    fn placed_without_overlap(machines: impl IntoIterator<Item = (String, Machine)>) -> usize {
        let mut placed_on = 0;
        for (name, machine) in machines {
            let Some(given) = given(&machine) else {
                continue;
            };
            let Ok(placed) = place(&machine, &given, 0, &kernel(0x8_0000), 0x10_0000) else {
                continue;
            };
            placed_on += 1;
            assert!(placed.home.base.is_aligned(HOME_ALIGNMENT), "{name}");
            assert!(placed.device_tree.base.is_aligned(PAGE_SIZE), "{name}");
            let taken = [given.archive, placed.home, placed.device_tree, placed.peers];
            for (index, one) in taken.iter().enumerate() {
                assert!(
                    !taken[..index].iter().any(|&two| overlaps(*one, two)),
                    "{name}"
                );
            }
            assert!(!overlaps(placed.home, given.boot_driver), "{name}");
            assert!(!overlaps(placed.home, given.device_tree), "{name}");
            assert!(!overlaps(placed.device_tree, given.boot_driver), "{name}");
            assert!(placed.peers.base.is_aligned(PAGE_SIZE), "{name}");
            assert_eq!(placed.peers.size, PeerTable::BYTES, "{name}");
            assert!(!overlaps(placed.peers, given.boot_driver), "{name}");
            assert!(!overlaps(placed.peers, given.device_tree), "{name}");
            let mut floor = 0;
            for region in &placed.ram {
                assert!(region.base >= floor.max(PAGE_SIZE), "{name}");
                floor = region.base + region.bytes;
                let region = Region::new(region.base, region.bytes);
                let reserved: Vec<Region> = machine.reserved_regions().collect();
                assert!(
                    !taken
                        .iter()
                        .chain(&reserved)
                        .any(|&other| overlaps(region, other)),
                    "{name}: {region}"
                );
            }
            for region in machine.reserved_regions() {
                assert!(!overlaps(placed.home, region), "{name}");
                assert!(!overlaps(placed.device_tree, region), "{name}");
            }
        }
        placed_on
    }

    fn machine_with(memory: &[(u64, u64, u32)]) -> Machine {
        let mut machine = qemu("gic-version=3", "-smp 4 -m 1G");
        machine.reservations.clear();
        machine.memory = memory
            .iter()
            .map(|&(base, size, node)| MemoryRegion {
                region: Region::new(base, size),
                numa: Some(NumaId(node)),
            })
            .collect();
        machine
    }

    const SMALL: Given<'_> = Given {
        boot_driver: Region::new(0x4020_0000, 0x30_0000),
        archive: Region::new(0x4050_0000, 0x10_0000),
        device_tree: Region::new(0x4060_0000, 0x1000),
        device_tree_bytes: 0x1000,
        heap: &[],
    };

    #[test]
    fn home_memory_is_local_where_it_can_be() {
        let memory = [(0x4000_0000, 0x1000_0000, 0), (0x8000_0000, 0x1000_0000, 1)];
        let machine = machine_with(&memory);
        let on = |node| place(&machine, &SMALL, node, &kernel(0x4000), 0x1000).unwrap();
        assert_eq!(on(0).home, Region::new(0x4080_0000, HOME_BYTES));
        assert_eq!(on(1).home, Region::new(0x8000_0000, HOME_BYTES));
        assert_eq!(on(1).device_tree.base.0, 0x8040_0000);
        assert!(on(1).home_is_local);
        assert!(!on(2).home_is_local);
    }

    #[test]
    fn small_machines_get_less_and_tiny_ones_a_message() {
        // 10 MiB, of which 4 MiB in the middle are taken.
        let machine = machine_with(&[(0x4000_0000, 0xa0_0000, 0)]);
        let placed = place(&machine, &SMALL, 0, &kernel(0x4000), 0x1000).unwrap();
        assert_eq!(placed.home, Region::new(0x4000_0000, 2 << 20));
        // The boot driver's own memory is free again.
        let driver = SMALL.boot_driver.base.0;
        assert!(
            placed
                .ram
                .iter()
                .any(|r| r.base <= driver && driver < r.base + r.bytes)
        );

        let machine = machine_with(&[(0x4010_0000, 0x80_0000, 0)]);
        assert_eq!(
            place(&machine, &SMALL, 0, &kernel(0x4000), 0x1000).err(),
            Some(BootError::NoHomeMemory {
                needed: 2 << 20,
                largest: 1 << 20,
            })
        );
    }

    #[test]
    fn the_heap_grows_by_what_is_missing_and_is_left_alone() {
        let free = |sizes: &[u64]| -> Vec<MemoryRegion> {
            let regions = sizes.iter().zip(1..);
            regions
                .map(|(&size, n)| MemoryRegion {
                    region: Region::new(n << 30, size),
                    numa: None,
                })
                .collect()
        };
        let one = free(&[64 << 20]);
        let has = HEAP_BYTES as u64;
        assert_eq!(heap_pieces(&one, has), []);
        let piece = Region::new((1 << 30) + (64 << 20) - PAGE_SIZE, PAGE_SIZE);
        assert_eq!(heap_pieces(&one, has + 1), [piece]);
        // The largest first, half of each, until there is enough or nothing more.
        let several = free(&[8 << 20, 16 << 20, 4096]);
        let pieces = heap_pieces(&several, has + (10 << 20));
        assert_eq!(
            pieces,
            [
                Region::new((2 << 30) + (8 << 20), 8 << 20),
                Region::new((1 << 30) + (6 << 20), 2 << 20),
            ]
        );
        let sum = |pieces: &[Region]| pieces.iter().map(|piece| piece.size).sum::<u64>();
        assert_eq!(sum(&heap_pieces(&several, u64::MAX)), 12 << 20);

        // What the heap uses isn't handed out before it is done.
        let machine = machine_with(&[(0x4000_0000, 0x1000_0000, 0)]);
        let heap = [Region::new(0x4080_0000, 0x20_0000)];
        let given = Given {
            heap: &heap,
            ..SMALL
        };
        let placed = place(&machine, &given, 0, &kernel(0x4000), 0x1000).unwrap();
        for place in [placed.home, placed.device_tree, placed.peers] {
            assert!(!overlaps(place, heap[0]), "{place}");
        }
        assert!(
            placed
                .ram
                .iter()
                .any(|ram| ram.base <= 0x4080_0000 && 0x40a0_0000 <= ram.base + ram.bytes)
        );
    }

    #[test]
    fn large_images_get_larger_home_memory() {
        let machine = machine_with(&[(0x4000_0000, 0x4000_0000, 0)]);
        let placed = place(&machine, &SMALL, 0, &kernel(0x10_0000), 0x50_0000).unwrap();
        assert_eq!(placed.home.size, 10 << 20);
        let hostile = place(&machine, &SMALL, 0, &kernel(u64::MAX), u64::MAX);
        assert!(matches!(hostile, Err(BootError::NoHomeMemory { .. })));
    }

    /// `count` pieces of one page more each, 256 MiB apart.
    fn pieces(count: u64) -> Vec<MemoryRegion> {
        let pieces = (0..count).map(|n| MemoryRegion {
            region: Region::new(n << 28, (n + 1) * PAGE_SIZE),
            numa: None,
        });
        pieces.collect()
    }

    #[test]
    fn all_regions_are_told_and_beyond_the_limit_the_smallest_lost() {
        let limit = u64::from(RAM_REGIONS_LIMIT);
        let (ram, left_out) = regions(&pieces(limit));
        assert_eq!((ram.len() as u64, left_out), (limit, 0));
        let (ram, left_out) = regions(&pieces(limit + 6));
        assert_eq!(ram.len() as u64, limit);
        assert_eq!(ram[0].base, 6 << 28);
        assert_eq!(left_out, (1..=6).sum::<u64>() * PAGE_SIZE);
    }

    /// A page is reserved in each 4 MiB of a machine with much memory: nothing is left out, and
    /// home memory has room for the lists and the CNodes.
    #[test]
    fn memory_in_very_many_pieces_is_told_in_a_larger_home() {
        let mut machine = machine_with(&[(0x4000_0000, 32 << 30, 0)]);
        let reserved = (0x4800_0000_u64..0x4000_0000 + (32 << 30)).step_by(4 << 20);
        let regions: Vec<Region> = reserved.map(|base| Region::new(base, PAGE_SIZE)).collect();
        let count = regions.len() as u64;
        machine.reservations = Vec::from([capelin_dt::Reservation {
            name: String::new(),
            compatible: Vec::new(),
            regions,
            kind: capelin_dt::ReservationKind::ReservationBlock,
            no_map: false,
            reusable: false,
            status: capelin_dt::Status::Okay,
        }]);
        let placed = place(&machine, &SMALL, 0, &kernel(0x4000), 0x1000).unwrap();
        assert_eq!(placed.left_out, 0);
        assert!(placed.ram.len() > 8000, "{}", placed.ram.len());
        let told: u64 = placed.ram.iter().map(|ram| ram.bytes).sum();
        let taken = placed.home.size
            + placed.device_tree.size
            + placed.peers.size
            + SMALL.archive.size
            + count * PAGE_SIZE;
        assert_eq!(told + taken, 32 << 30);
        let objects = placed.home.size - 0x4000 - PAGE_SIZE - 0x1000;
        let lists = placed.ram.len() as u64 * (24 + 16);
        let cnodes = placed.ram.len() as u64 * 2 / 256 * CNODE_BYTES;
        assert!(objects >= lists + cnodes + OBJECT_BYTES);
    }

    /// A page with a release address, in the middle of memory that nothing reserves, and page 0.
    #[test]
    fn what_is_left_alone_whatever_the_tree_says_is_nobodys() {
        let release = 0x1234_5678;
        let mut machine = machine_with(&[(0, 0x3c00_0000, 0)]);
        machine.cpus[1].enable_method = EnableMethod::SpinTable {
            release_addr: Some(PhysAddr(release)),
        };
        let given = given(&machine).unwrap();
        let placed = place(&machine, &given, 0, &kernel(0x4000), 0x1000).unwrap();
        let kept = [
            Region::new(0, PAGE_SIZE),
            Region::new(0x1234_5000, PAGE_SIZE),
        ];
        for ram in &placed.ram {
            let ram = Region::new(ram.base, ram.bytes);
            assert!(kept.iter().all(|kept| !overlaps(ram, *kept)), "{ram:?}");
        }
        machine.cpus[1].enable_method = EnableMethod::Psci;
        let others = place(&machine, &given, 0, &kernel(0x4000), 0x1000).unwrap();
        let sum = |ram: &[RamRegion]| ram.iter().map(|ram| ram.bytes).sum::<u64>();
        assert_eq!(sum(&others.ram) - sum(&placed.ram), PAGE_SIZE, "no more");
    }
}
