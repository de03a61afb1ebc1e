//! The memory that `init` works with; the rest is `mem_serv`'s.

use alloc::vec::Vec;

use capelin_abi::{
    CapAddress, ObjectType, PAGE_SIZE,
    boot::BootInfo,
    capability::{CNODE_BYTES, CNODE_SLOTS},
    layout,
};
use capelin_dt::early;
use capelin_interfaces::memory::HELD;
use capelin_peers::PeerTable;
use capelin_rt::{OwnedCap, RtError, boot, memory, sys};
use capelin_spawn::Program;

/// Memory that the memory service starts with, in bytes, and how much more for each region: what it
/// notes of one, twice while a list grows.
const SERVICE_BYTES: u64 = 512 << 10;
const SERVICE_BYTES_PER_REGION: u64 = 1 << 10;
/// So many regions take no more.
const FEW_REGIONS: u64 = 64;

/// How many regions of memory there are that need more than what every machine needs.
fn many_regions(boot: &BootInfo) -> u64 {
    if boot.ram_count > FEW_REGIONS {
        boot.ram_count
    } else {
        0
    }
}

/// Memory that the memory service starts with, in bytes.
fn service_bytes(boot: &BootInfo) -> u64 {
    let more = many_regions(boot) * SERVICE_BYTES_PER_REGION;
    (SERVICE_BYTES + more).next_multiple_of(PAGE_SIZE)
}

/// Bytes that `init` keeps, whole pages: to start `mem_serv` with, and to read the device tree.
fn own_bytes(boot: &BootInfo) -> u64 {
    const WITH_ANY_TREE: u64 = (2 << 20) - SERVICE_BYTES;
    let tree = usize::try_from(boot.device_tree_bytes).unwrap_or(usize::MAX);
    let heap = early::lean_heap_bytes(tree.min(early::MAX_SIZE)) - early::lean_heap_bytes(0);
    // The heap grows by powers of two (`capelin_rt`): what it lacks may be twice as much.
    (WITH_ANY_TREE + service_bytes(boot) + 2 * heap as u64).next_multiple_of(PAGE_SIZE)
}

/// What is left of a region of memory that `init` took some of.
struct Rest {
    number: usize,
    cap: OwnedCap,
}

/// A region for the memory service: its capability and its NUMA node.
pub(crate) struct Region {
    pub(crate) cap: CapAddress,
    pub(crate) node: u32,
}

/// Takes [`own_bytes`] off the largest region, and off the next ones where it is smaller; all
/// others, and what is left of those, are the memory service's.
///
/// # Errors
/// [`RtError::OutOfMemory`] when there is less; as [`sys::cspace::retype`].
pub(crate) fn divide(boot: &BootInfo) -> Result<Vec<Region>, RtError> {
    let mut missing = own_bytes(boot);
    let mut rests: Vec<Rest> = Vec::new();
    while missing > 0 {
        let unused = boot::ram().iter().enumerate().filter(|&(number, ram)| {
            // No capability is made into one of the same type and range.
            ram.bytes > PAGE_SIZE && rests.iter().all(|rest| rest.number != number)
        });
        let largest = unused.max_by_key(|(_, ram)| ram.bytes);
        let (number, ram) = largest.ok_or(RtError::OutOfMemory)?;
        let source = capability(number);
        let part = |offset, bytes| {
            OwnedCap::make(|to| {
                let ram = ObjectType::Ram;
                sys::cspace::retype(
                    sys::cspace::OWN,
                    to.into(),
                    source.into(),
                    ram,
                    offset,
                    bytes,
                    1,
                )
            })
        };
        let taken = missing.min(ram.bytes - PAGE_SIZE);
        memory::add_ram(part(0, taken)?)?;
        let rest = part(taken, ram.bytes - taken)?;
        rests.push(Rest { number, cap: rest });
        missing -= taken;
    }
    let cap_of = |number| {
        let rest = rests.iter().find(|rest| rest.number == number);
        rest.map_or_else(|| capability(number), |rest| rest.cap.address())
    };
    let regions = boot::ram().iter().enumerate();
    let regions = regions.map(|(number, ram)| Region {
        cap: cap_of(number),
        node: u32::try_from(ram.node).unwrap_or(0),
    });
    let regions = regions.collect();
    // They live as long as init does.
    rests.into_iter().for_each(|rest| rest.cap.keep());
    Ok(regions)
}

/// The capability to region `number`.
fn capability(number: usize) -> CapAddress {
    // There are no more than have one.
    layout::ram_region(u32::try_from(number).unwrap_or(0))
}

/// Bytes of the memory that the service isn't handed, by what it is used for.
fn held(boot: &BootInfo) -> [(&'static str, u64); HELD.len()] {
    let pages = |bytes: u64| bytes.next_multiple_of(PAGE_SIZE);
    let bytes = [
        boot.home.bytes,
        PeerTable::BYTES,
        pages(boot.archive_bytes),
        pages(boot.device_tree_bytes),
        own_bytes(boot),
    ];
    core::array::from_fn(|n| (HELD[n], bytes[n]))
}

/// Gives the memory service what it starts with; of all other memory it learns what it is used for.
pub(crate) fn prepare(mut program: Program, boot: &BootInfo) -> Program {
    for (name, bytes) in held(boot) {
        program = program.word(name, bytes);
    }
    let cnodes = many_regions(boot).div_ceil(CNODE_SLOTS) * CNODE_BYTES;
    program
        .ram_bytes(service_bytes(boot))
        .home_bytes(capelin_spawn::program::HOME_BYTES + cnodes)
}
