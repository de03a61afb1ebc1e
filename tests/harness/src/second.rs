//! A second core that runs the same program, and a page that both share.
#![expect(unsafe_code, reason = "the archive and the boot information as slices")]

use capelin_abi::boot::{ARGS_MAGIC, BootInfo, CoreArgs, KernelHeader, PhysRegion};
use capelin_abi::layout::{self, slot};
use capelin_abi::syscall::Invocation;
use capelin_abi::{ABI_VERSION, CapAddress, ObjectType, PAGE_SIZE, SysError};
use capelin_archive::{Archive, Module};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::world::READ_WRITE;
use crate::{Failure, World, call};

/// Home memory of the second core, in bytes.
const HOME_BYTES: u64 = 4 << 20;
/// Memory that its program gets, in bytes.
const RAM_BYTES: u64 = 4 << 20;
const BLOCK: u64 = 2 << 20;
/// Its kernel's id, and on QEMU's boards the affinity of the second core.
const SECOND: u64 = 1;
/// [`Invocation::Export`]'s mode for a copy.
const COPY: u64 = 1 << 16;

/// A slice of `bytes` bytes at `address`, where the kernel mapped them for good, read-only.
fn mapped(address: u64, bytes: u64) -> Result<&'static [u8], Failure> {
    let wrong = Failure::because("addresses that don't fit");
    let address = usize::try_from(address).map_err(|_| wrong)?;
    let bytes = usize::try_from(bytes).map_err(|_| wrong)?;
    let first = core::ptr::with_exposed_provenance(address);
    // SAFETY: mapped, initialised, and never written again, as the caller knows.
    Ok(unsafe { core::slice::from_raw_parts(first, bytes) })
}

fn info() -> Result<BootInfo, Failure> {
    let page = mapped(layout::BOOT_INFO.0, PAGE_SIZE)?;
    let info = BootInfo::read_from_prefix(page);
    let (info, _) = info.map_err(|_| Failure::because("there is no boot information"))?;
    Ok(info)
}

/// Whether this is the second core.
///
/// # Errors
/// If there is no boot information.
pub fn is_second() -> Result<bool, Failure> {
    Ok(info()?.is_boot_core == 0)
}

/// Offers a capability to the second core's kernel: the ticket.
///
/// # Errors
/// Those of `Export`.
pub fn export(what: CapAddress, mode: u64) -> Result<u64, Failure> {
    let arguments = [call::word(what), SECOND | mode];
    let [ticket, ..] = call::invoke(call::KERNEL, Invocation::Export, &arguments)?;
    Ok(ticket)
}

/// [`export`] of a copy.
///
/// # Errors
/// Those of `Export`.
pub fn export_copy(what: CapAddress) -> Result<u64, Failure> {
    export(what, COPY)
}

/// Starts the second core: the address of the page that both share.
///
/// # Errors
/// If there is none; when something has run out; those of `StartCore`.
pub fn start(world: &mut World) -> Result<u64, Failure> {
    let (shared, address, _) = world.mapped(PAGE_SIZE)?;
    let ram = world.of_ram(ObjectType::Ram, RAM_BYTES, BLOCK)?;
    let tickets = [
        export_copy(shared)?,
        export_copy(slot::ARCHIVE)?,
        export(ram, 0)?,
    ];
    start_image(image(world, tickets, |_| None)?)?;
    Ok(address)
}

/// A sealed image for the second core, of this kernel and this program, which brings the
/// tickets of ring, archive and memory. `flipped` says which bit of the image is another, by
/// the header of its kernel: the offset of a word in bytes, and the bit.
///
/// # Errors
/// When something has run out.
pub fn image(
    world: &mut World,
    tickets: [u64; 3],
    flipped: impl FnOnce(&KernelHeader) -> Option<(u64, u32)>,
) -> Result<CapAddress, Failure> {
    let info = info()?;
    let archive = mapped(layout::ARCHIVE.0, info.archive_bytes)?;
    let archive = Archive::parse(archive).map_err(|_| Failure::because("the archive"))?;
    let missing = Failure::because("a module is missing");
    let kernel = archive.find("cpudriver").ok_or(missing)?;
    let program = archive.find("init").ok_or(missing)?;
    let header = KernelHeader::read_from_prefix(kernel.data());
    let (header, _) = header.map_err(|_| Failure::because("no CPU driver"))?;
    let home = world.frame(HOME_BYTES, BLOCK)?;
    let (_, base, _) = call::identify(home)?;
    let args = arguments(&header, &program, base, tickets);
    fill(world, home, &kernel, &args, flipped(&header))?;
    call::invoke(call::KERNEL, Invocation::Seal, &[call::word(home)])?;
    Ok(home)
}

/// Starts the second core from `image`.
///
/// # Errors
/// Those of `StartCore`.
pub fn start_image(image: CapAddress) -> Result<(), SysError> {
    let start = [call::word(image), SECOND, 0];
    call::invoke(call::KERNEL, Invocation::StartCore, &start).map(drop)
}

/// Whether the second core is on.
///
/// # Errors
/// Those of `AffinityInfo`.
pub fn is_on() -> Result<bool, SysError> {
    let state = call::invoke(call::KERNEL, Invocation::AffinityInfo, &[SECOND])?;
    Ok(state[0] != 1)
}

/// What the machine is, the kernel says that starts the core.
fn arguments(
    header: &KernelHeader,
    program: &Module<'_>,
    base: u64,
    [ring, package, ram]: [u64; 3],
) -> CoreArgs {
    let mut args = CoreArgs::new_zeroed();
    args.magic = ARGS_MAGIC;
    args.abi_version = ABI_VERSION;
    args.kernel_id = 1;
    args.mpidr = SECOND;
    args.home = PhysRegion {
        base,
        bytes: HOME_BYTES,
    };
    args.domain_offset = header.memory_bytes + PAGE_SIZE;
    args.package_domain = PhysRegion {
        base: program.offset() as u64,
        bytes: program.data().len() as u64,
    };
    args.parent_ring = ring;
    args.core_package = package;
    args.grants[0] = ram;
    args
}

/// Writes the image into its frame, which nobody maps before and after.
fn fill(
    world: &mut World,
    home: CapAddress,
    kernel: &Module<'_>,
    args: &CoreArgs,
    flipped: Option<(u64, u32)>,
) -> Result<(), Failure> {
    let at = world.addresses(HOME_BYTES, BLOCK)?;
    let mut mappings = [CapAddress::NULL; 2];
    for (offset, mapping) in (0..).step_by(1 << 21).zip(&mut mappings) {
        *mapping = world.map_piece(at + offset, home, offset, BLOCK, READ_WRITE)?;
    }
    let write = |offset: u64, bytes: &[u8]| {
        for (place, piece) in (at + offset..).step_by(8).zip(bytes.chunks(8)) {
            let mut word = [0; 8];
            word[..piece.len()].copy_from_slice(piece);
            crate::fault::poke(place, u64::from_le_bytes(word));
        }
    };
    write(0, kernel.data());
    write(args.domain_offset - PAGE_SIZE, args.as_bytes());
    if let Some((offset, bit)) = flipped {
        let word = crate::fault::peek(at + offset);
        crate::fault::poke(at + offset, word ^ 1 << bit);
    }
    for mapping in mappings {
        call::unmap(mapping)?;
    }
    Ok(())
}
