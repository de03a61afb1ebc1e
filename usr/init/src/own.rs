//! The memory that `init` works with; the rest is `mem_serv`'s.

use alloc::{format, vec::Vec};

use capelin_abi::{CapAddress, ObjectType, PAGE_SIZE, Rights, boot::BootInfo, layout::slot};
use capelin_dt::early;
use capelin_interfaces::memory::HELD;
use capelin_peers::PeerTable;
use capelin_rt::{OwnedCap, RtError, memory, sys};
use capelin_spawn::Program;

/// Bytes that `init` keeps, whole pages: to start `mem_serv` with, and to read the device tree.
fn own_bytes(boot: &BootInfo) -> u64 {
    const WITH_ANY_TREE: u64 = 2 << 20;
    let tree = usize::try_from(boot.device_tree_bytes).unwrap_or(usize::MAX);
    let heap = early::lean_heap_bytes(tree.min(early::MAX_SIZE)) - early::lean_heap_bytes(0);
    // The heap grows by powers of two (`capelin_rt`): what it lacks may be twice as much.
    (WITH_ANY_TREE + 2 * heap as u64).next_multiple_of(PAGE_SIZE)
}

/// A region for the memory service: its capability and its NUMA node.
pub(crate) struct Region {
    cap: CapAddress,
    node: u64,
}

/// Takes [`own_bytes`] off the largest region; all others, and the rest of that one,
/// are the memory service's.
///
/// # Errors
/// [`RtError::OutOfMemory`] when no region is large enough; as [`sys::cspace::retype`].
pub(crate) fn divide(boot: &BootInfo) -> Result<Vec<Region>, RtError> {
    let own_bytes = own_bytes(boot);
    let count = usize::try_from(boot.ram_count).unwrap_or(usize::MAX);
    let known = || (0_u32..).zip(boot.ram.iter().take(count));
    let (largest, region) = known()
        .max_by_key(|(_, region)| region.bytes)
        .filter(|(_, region)| region.bytes >= own_bytes + PAGE_SIZE)
        .ok_or(RtError::OutOfMemory)?;
    let source = CapAddress(slot::RAM_REGIONS.0 + largest);
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
    memory::add_ram(part(0, own_bytes)?)?;
    let rest = part(own_bytes, region.bytes - own_bytes)?;
    let regions = known().map(|(number, ram)| Region {
        cap: if number == largest {
            rest.address()
        } else {
            CapAddress(slot::RAM_REGIONS.0 + number)
        },
        node: ram.node,
    });
    let regions = regions.collect();
    // It lives as long as init does.
    rest.keep();
    Ok(regions)
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

/// Passes the regions to the memory service, with the right to revoke what is made
/// of them: whoever gets memory may take it back from those to whom it goes on. Of all other memory
/// it learns what it is used for.
pub(crate) fn pass(mut program: Program, boot: &BootInfo, regions: &[Region]) -> Program {
    for (name, bytes) in held(boot) {
        program = program.word(name, bytes);
    }
    for (number, region) in regions.iter().enumerate() {
        let name = format!("ram{number}");
        program =
            program
                .word(&name, region.node)
                .capability_with(&name, region.cap, Rights::all());
    }
    program
}
