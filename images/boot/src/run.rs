//! The sequence, from firmware's entry to the CPU driver's.

#![expect(unsafe_code, reason = "memory that firmware filled")]

use alloc::vec::Vec;
use core::convert::Infallible;

use capelin_aarch64::control::Control;
#[cfg(target_arch = "aarch64")]
use capelin_aarch64::cpu::Features;
use capelin_aarch64::{cache, cpu, timer};
use capelin_abi::boot::{CoreArgs, PsciArgs, RamRegion};
use capelin_abi::{PAGE_SIZE, VirtAddr};
use capelin_archive::HEADER_LEN;
use capelin_boot::arguments::{BootCore, core_args, domain_offset};
use capelin_boot::modules::{self, Modules};
use capelin_boot::place::{Given, heap_pieces, place};
use capelin_boot::{BootError, HEAP_BYTES, bootargs, hardware};
use capelin_dt::{DtError, Machine, Region, Severity, bootability, early};
use capelin_peers::table::CORES_OFFSET;
use zerocopy::IntoBytes;

use crate::memory::{Room, given, slice};
use crate::report::{say, use_console};
use crate::translation::Image;
use crate::{heap, translation};

/// Bytes of the Image header in front of `image_size`.
const IMAGE_SIZE_OFFSET: u64 = 16;

/// Boots; returns only with the reason why not.
///
/// `device_tree`: what firmware passed.
pub(crate) fn main(device_tree: u64, entry_ticks: u64, image: &Image) -> BootError {
    heap::init();
    let Err(error) = boot(device_tree, entry_ticks, image);
    error
}

fn boot(device_tree: u64, entry_ticks: u64, image: &Image) -> Result<Infallible, BootError> {
    let blob = device_tree_blob(device_tree)?;
    let boot_driver = Region::new(image.start, image.end - image.start);
    let given_tree = Region::new(device_tree, blob.len() as u64);
    let used = early::used_size(blob)?;
    let heap = grow_heap(blob, used, boot_driver, given_tree)?;
    let machine = Machine::parse_without_devices(blob)?;
    use_console(
        &hardware::console(&machine),
        hardware::console_may_be_enabled(&machine),
    );
    let core = BootCore::new(&machine, cpu::mpidr(), entry_ticks);
    introduce(&machine, &core);
    check_machine(&machine, &core)?;

    let (archive_bytes, archive) = find_archive(&machine, boot_driver)?;
    let modules = modules::check(archive_bytes, crc32c)?;

    let given = Given {
        boot_driver,
        device_tree: given_tree,
        device_tree_bytes: used as u64,
        archive,
        heap: &heap,
    };
    let domain_bytes = modules.domain_file.len() as u64;
    let placement = place(&machine, &given, core.node, &modules.kernel, domain_bytes)?;
    if !placement.home_is_local {
        say(format_args!(
            "warning: node {} has no room for the boot core's home memory",
            core.node
        ));
    }
    if placement.left_out != 0 {
        say(format_args!(
            "warning: memory is in too many pieces; {} KiB are left out",
            placement.left_out / 1024
        ));
    }
    let args = core_args(
        &machine,
        &core,
        &modules.kernel,
        domain_bytes,
        archive,
        used as u64,
        &placement,
    )?;

    // SAFETY: `place` found it to be memory that nothing uses (1).
    let mut tree = unsafe { Room::take(placement.device_tree.base.0, placement.device_tree.size) }?;
    tree.write(0, blob.get(..used).unwrap_or(blob));
    // Nobody after us looks for what firmware left behind the last block.
    let total = u32::try_from(used).unwrap_or(u32::MAX);
    tree.write(early::TOTAL_SIZE_OFFSET, &total.to_be_bytes());
    tree.zero(used as u64, placement.device_tree.size);
    tree.finish();
    fill_home(placement.home, &modules, &args, &placement.ram)?;
    fill_peers(placement.peers, &hardware::cores(&machine))?;
    let milliseconds = elapsed_ms(entry_ticks);
    say(format_args!(
        "CPU driver and init in {} at {}, entering after {milliseconds} ms",
        Mebibytes(placement.home.size),
        placement.home.base,
    ));
    // Whose these pages will be, writes to them past the caches, perhaps.
    for piece in &heap {
        cache::clean_invalidate_to_poc(VirtAddr(piece.base.0), piece.size);
    }
    // SAFETY: `fill_home` has put it there and finished the writing (1); the entry code's
    // (2).
    unsafe { translation::leave(placement.home.base.0, image) }
}

/// The device tree's bytes, as far as its header can be believed.
fn device_tree_blob(address: u64) -> Result<&'static [u8], BootError> {
    if address == 0 {
        return Err(BootError::NoDeviceTree);
    }
    // The boot protocol asks firmware for 8 bytes; the tree is read byte by byte, and
    // some firmware only keeps its cells aligned.
    if !address.is_multiple_of(4) {
        return Err(BootError::MisplacedDeviceTree(address));
    }
    // SAFETY: firmware says that there is a device tree (1); nobody writes to it
    // while we run (2).
    let prefix = unsafe { given(address, 8) }?;
    let size = early::total_size(prefix)?;
    if address.checked_add(size as u64).is_none() {
        return Err(BootError::DeviceTree(DtError::Truncated {
            total_size: size,
            length: 8,
        }));
    }
    // SAFETY: as above; magic and size are plausible.
    unsafe { given(address, size) }
}

/// Sees to it that the heap has room for what the first `used` bytes of the tree, which
/// are all that is read, become. Answers which memory the heap has got.
fn grow_heap(
    blob: &[u8],
    used: usize,
    boot_driver: Region,
    device_tree: Region,
) -> Result<Vec<Region>, BootError> {
    let needed = early::heap_bytes(used);
    if needed <= HEAP_BYTES {
        return Ok(Vec::new());
    }
    let (chosen, _) = capelin_dt::console(blob)?;
    let mut taken = Vec::from([boot_driver, archive_behind(boot_driver), device_tree]);
    taken.extend(chosen.initrd());
    let free = early::free_memory(blob, &taken)?;
    let mut pieces = heap_pieces(&free, needed as u64);
    // Where memory lies in very many pieces the map has no room for all of them.
    pieces.retain(|&piece| translation::map_heap(piece).is_ok());
    for &piece in &pieces {
        // SAFETY: memory that is free of what firmware, the image, the tree and the
        // initrd need, and that `place` leaves alone; pieces don't overlap (1).
        unsafe { heap::add(piece) };
    }
    Ok(pieces)
}

fn introduce(machine: &Machine, core: &BootCore) {
    say(format_args!(
        "boot driver on {}: cores: {}, memory: {}, entered at EL{} on core {}, {}",
        machine.model.as_deref().unwrap_or("an unnamed machine"),
        machine.cpus.len(),
        Mebibytes(machine.memory_size()),
        cpu::current_el(),
        core.mpidr,
        Control::read(),
    ));
}

/// Gives up on what blocks, warns of what degrades.
fn check_machine(machine: &Machine, core: &BootCore) -> Result<(), BootError> {
    for finding in bootability(machine).findings {
        match finding.severity() {
            Severity::Blocks | Severity::NeedsFirmware => return Err(BootError::Machine(finding)),
            Severity::CoresNeedFirmware | Severity::Degrades => {
                say(format_args!("warning: {finding}"))
            }
        }
    }
    if machine.cpu(core.mpidr).is_none() {
        say(format_args!(
            "warning: the device tree doesn't know this core"
        ));
    }
    if hardware::psci(machine).method == PsciArgs::NONE {
        say(format_args!(
            "warning: no PSCI: firmware can't switch the machine off"
        ));
    }
    let bootargs = machine.chosen.bootargs.as_deref().unwrap_or_default();
    if let Err(unknown) = bootargs::mitigations(bootargs) {
        say(format_args!("warning: {unknown}: mitigations stay on"));
    }
    if timer::frequency() == 0 && hardware::timer_frequency(machine) == 0 {
        say(format_args!("warning: firmware didn't set CNTFRQ_EL0"));
    }
    Ok(())
}

/// The archive's bytes and pages: behind the image where its header says that
/// there is more, else the initrd.
fn find_archive(
    machine: &Machine,
    boot_driver: Region,
) -> Result<(&'static [u8], Region), BootError> {
    let behind = archive_in(archive_behind(boot_driver), &machine.memory);
    let Some(initrd) = machine.initrd() else {
        return behind;
    };
    match behind {
        Ok(found) => return Ok(found),
        Err(BootError::NoArchive) => {}
        Err(error) => return archive_in(initrd, &machine.memory).map_err(|_| error),
    }
    archive_in(initrd, &machine.memory).map_err(|error| match error {
        BootError::NoArchive if is_memory(initrd, &machine.memory) => {
            BootError::InitrdIsNoArchive(initrd.base.0)
        }
        BootError::NoArchive => BootError::InitrdOutsideMemory(initrd.base.0, initrd.end()),
        other => other,
    })
}

/// Where the image's header says that there is more of it than the boot driver.
fn archive_behind(boot_driver: Region) -> Region {
    // SAFETY: our own header (1), which nobody writes (2).
    let image_size = unsafe { slice(boot_driver.base.0 + IMAGE_SIZE_OFFSET, 8) };
    let image_size = image_size
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes));
    Region::new(
        boot_driver.end(),
        image_size.saturating_sub(boot_driver.size),
    )
}

fn is_memory(region: Region, memory: &[capelin_dt::MemoryRegion]) -> bool {
    memory
        .iter()
        .any(|it| it.region.base <= region.base && region.end() <= it.region.end())
}

fn archive_in(
    region: Region,
    memory: &[capelin_dt::MemoryRegion],
) -> Result<(&'static [u8], Region), BootError> {
    if region.size < HEADER_LEN as u64 || !is_memory(region, memory) {
        return Err(BootError::NoArchive);
    }
    // SAFETY: it lies in memory (1), as an image or initrd that a loader put there (2).
    let read = |bytes| unsafe { given(region.base.0, bytes) };
    let prefix = read(HEADER_LEN)?;
    let length = match capelin_archive::total_length(prefix) {
        Ok(length) => length,
        Err(capelin_archive::ArchiveError::BadMagic) => return Err(BootError::NoArchive),
        Err(error) => return Err(error.into()),
    };
    if !region.base.is_aligned(PAGE_SIZE) {
        return Err(BootError::UnalignedArchive(region.base.0));
    }
    let too_long = BootError::Archive(capelin_archive::ArchiveError::Truncated {
        needed: length,
        given: region.size,
    });
    let bytes = usize::try_from(length).map_err(|_| too_long.clone())?;
    if length > region.size {
        return Err(too_long);
    }
    let archive = read(bytes)?;
    Ok((archive, Region::new(region.base.0, length)))
}

/// The checksum of modules, by the core's instructions where it has them.
fn crc32c(bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "aarch64")]
    if Features::read().crc32 {
        // SAFETY: the core has them.
        return unsafe { capelin_archive::crc32c_by_instruction(bytes) };
    }
    capelin_archive::crc32c(bytes)
}

/// Fills the home memory as `capelin_abi::boot` draws it; what lies behind the
/// list of memory is left as it is.
fn fill_home(
    home: Region,
    modules: &Modules<'_>,
    args: &CoreArgs,
    ram: &[RamRegion],
) -> Result<(), BootError> {
    let kernel = &modules.kernel;
    let domain = domain_offset(kernel);
    let domain_end = domain + modules.domain_file.len() as u64;
    // `place` has made room for it, and the kernel checks that there is.
    let used = args.used_bytes(kernel.memory_bytes).unwrap_or(home.size);
    let regions = args.ram_offset().unwrap_or(used);
    let list = ram.as_bytes();
    let args = args.as_bytes();
    // SAFETY: `place` found it to be memory that nothing uses, at least so large (1).
    let mut room = unsafe { Room::take(home.base.0, used.min(home.size)) }?;
    room.write(0, modules.kernel_file);
    room.zero(kernel.file_bytes, kernel.memory_bytes);
    room.write(kernel.memory_bytes, args);
    room.zero(kernel.memory_bytes + args.len() as u64, domain);
    room.write(domain, modules.domain_file);
    room.zero(domain_end, regions);
    room.write(regions, list);
    room.zero(regions + list.len() as u64, used);
    room.finish();
    Ok(())
}

/// Fills the table of all kernels: nobody runs yet, on the cores that the tree knows.
fn fill_peers(peers: Region, cores: &[[u64; 4]]) -> Result<(), BootError> {
    // SAFETY: `place` found it to be memory that nothing uses (1).
    let mut room = unsafe { Room::take(peers.base.0, peers.size) }?;
    room.zero(0, peers.size);
    room.write(CORES_OFFSET, cores.as_bytes());
    room.finish();
    Ok(())
}

fn elapsed_ms(since: u64) -> u64 {
    let per_ms = (timer::frequency() / 1000).max(1);
    timer::now_ordered().wrapping_sub(since) / per_ms
}

/// A number of bytes, for people.
struct Mebibytes(u64);

impl core::fmt::Display for Mebibytes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} MiB", self.0 >> 20)
    }
}
