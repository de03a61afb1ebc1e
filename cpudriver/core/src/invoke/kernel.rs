//! Invocations of the Kernel capability: what only a monitor and `init` may ask.

use capelin_abi::boot::{ARGS_MAGIC, CoreArgs, KERNEL_MAGIC, KernelHeader};
use capelin_abi::rights::Need;
use capelin_abi::syscall::{HAS_CRC32, Invocation, KernelCounter};
use capelin_abi::{KernelId, Mpidr, ObjectType, PAGE_SIZE, PhysAddr, SysError, VirtAddr};
use capelin_cap::{CapRecord, Capability, ExportMode, SlotStore};
use zerocopy::{FromBytes, IntoBytes};

use super::call::{Call, DONE, Outcome};
use crate::doorbell::Bell;
use crate::machine::{LeafSearch, Machine, Objects, SaveContext};
use crate::narrow::{index, low16};
use crate::state::Core;

/// Replaces [`ARGS_MAGIC`] in a core image that has been used: no second core
/// starts in the same memory.
pub const ARGS_USED: u64 = u64::from_le_bytes(*b"CAPEUSED");

/// Bytes of an image cleaned between two looks at the interrupts.
const CLEAN_STEP_BYTES: u64 = 16 * PAGE_SIZE;
/// Bytes of an image cleaned in one entry, at some 430 instructions a page.
const CLEAN_AT_ONCE: u64 = 2 * CLEAN_STEP_BYTES;

/// Every invocation of a Kernel capability.
pub(crate) fn invoke<M: Machine>(
    core: &mut Core<M>,
    call: &Call<M>,
    invocation: Invocation,
) -> Result<Outcome, SysError> {
    match invocation {
        Invocation::KernelInfo => Ok(call.answer([
            u64::from(core.kernel.0) | core.node << 16 | if core.has_crc32 { HAS_CRC32 } else { 0 },
            core.mpidr.0,
            core.frequency,
        ])),
        Invocation::ReadCounter => read_counter(core, call),
        Invocation::ReadLog => read_log(core, call),
        // Whoever takes over, or the end, comes after what has been said.
        Invocation::ReleaseConsole | Invocation::PowerOff | Invocation::Reboot
            if !core.show_log() =>
        {
            Ok(Outcome::Again)
        }
        Invocation::ReleaseConsole => {
            core.console_released = true;
            Ok(DONE)
        }
        Invocation::Seal => {
            let frame = call.capability(core, const { Need::invocation(Invocation::Seal, 1) })?;
            capelin_cap::seal(&mut core.slots, &mut core.kcb.mdb, frame)?;
            Ok(DONE)
        }
        Invocation::StartCore => start_core(core, call),
        Invocation::AffinityInfo => {
            let state = core.machine.affinity_info(Mpidr(call.argument(1)))?;
            Ok(call.answer([state, 0, 0]))
        }
        Invocation::Export => export(core, call),
        Invocation::Import => import(core, call),
        Invocation::PowerOff => Err(core.machine.power_off()),
        Invocation::Reboot => Err(core.machine.reboot()),
        Invocation::Probe => probe(core, call),
        Invocation::MapLeaf => {
            let from = VirtAddr(call.argument(2));
            match core.machine.kernel_leaf(call.argument(1), from) {
                LeafSearch::Found(address, target, size, kind) => {
                    Ok(call.answer([address.0, target.0, size | kind.bits()]))
                }
                LeafSearch::Past => Err(SysError::OutOfRange),
                LeafSearch::Later(left, from) => {
                    call.area.set(1, left);
                    call.area.set(2, from.0);
                    Ok(Outcome::Again)
                }
            }
        }
        _ => Err(SysError::UnknownOperation),
    }
}

fn read_counter<M: Machine>(core: &Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    let counter = KernelCounter::try_from(call.argument(1)).map_err(|_| SysError::OutOfRange)?;
    let value = core
        .kcb
        .counters
        .get(counter as usize)
        .copied()
        .unwrap_or(0);
    Ok(call.answer([value, 0, 0]))
}

fn read_log<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    let limit = usize::try_from(call.argument(2))
        .unwrap_or(usize::MAX)
        .min(index(PAGE_SIZE));
    let (from, bytes) = core.log.read(call.argument(3));
    let bytes = bytes.get(..limit).unwrap_or(bytes);
    core.machine.write_user(VirtAddr(call.argument(1)), bytes)?;
    Ok(call.answer([bytes.len() as u64, from, core.log.end()]))
}

/// Reads a structure at physical address `at` in a sealed image.
fn read_image<T: FromBytes + IntoBytes, M: Machine>(
    core: &mut Core<M>,
    at: PhysAddr,
) -> Result<T, SysError> {
    let mut value = T::new_zeroed();
    core.machine.read_page(at, value.as_mut_bytes())?;
    Ok(value)
}

fn start_core<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    const NEED: Need = Need::invocation(Invocation::StartCore, 1);
    let image_slot = call.capability(core, NEED)?;
    let image = core.slots.slot(image_slot);
    let (base, bytes) = (image.address(), image.size());
    let cleaned = image.data()[0];
    // Locking holds one slot only: by a copy a running core's memory could be deleted
    // from the database, or looked into here.
    capelin_cap::usable(&core.slots, &core.kcb.mdb, image_slot)?;
    if core.kcb.mdb.has_copies(&core.slots, image_slot) {
        return Err(SysError::HasRelations);
    }
    if core.objects.contains(base, 1) {
        // No core lives in another's home memory.
        return Err(SysError::InvalidArgument);
    }
    let mpidr = Mpidr(call.argument(2));
    let release = call.argument(3);
    let header: KernelHeader = read_image(core, base)?;
    if header.magic != KERNEL_MAGIC
        || header.abi_version != capelin_abi::ABI_VERSION
        || !header.memory_bytes.is_multiple_of(PAGE_SIZE)
        || header.memory_bytes > bytes - PAGE_SIZE
    {
        return Err(SysError::InvalidArgument);
    }
    let args_at = base.0 + header.memory_bytes;
    let args: CoreArgs = read_image(core, PhysAddr(args_at))?;
    let used = args.domain_offset.checked_add(args.domain_bytes);
    let used = used.and_then(|end| end.checked_next_multiple_of(PAGE_SIZE));
    let used = used
        .filter(|&end| end <= bytes)
        .ok_or(SysError::InvalidArgument)?;
    if args.magic != ARGS_MAGIC
        || args.home.base != base.0
        || args.home.bytes != bytes
        || args.mpidr != mpidr.0
        || args.kernel_id == u32::from(core.kernel.0)
        || args.kernel_id >= u32::from(KernelId::LIMIT)
    {
        return Err(SysError::InvalidArgument);
    }
    // The child runs with its caches off at first: what it reads must have reached
    // memory, and nothing dirty may come down on what it writes. Nobody can write to a
    // sealed image, so how far we got is kept in its capability.
    for page in (cleaned..used).step_by(index(PAGE_SIZE)) {
        clean_page(core, PhysAddr(base.0 + page))?;
        let done = page + PAGE_SIZE;
        core.slots.slot_mut(image_slot).set_data([done, 0]);
        let is_enough = done - cleaned >= CLEAN_AT_ONCE || core.machine.interrupt_pending();
        if done.is_multiple_of(CLEAN_STEP_BYTES) && done < used && is_enough {
            return Ok(Outcome::Again);
        }
    }
    write_magic(core, args_at, ARGS_USED)?;
    clean_page(core, PhysAddr(args_at))?;
    let started = if release == 0 {
        core.machine.cpu_on(mpidr, base, base.0)
    } else {
        release_spin_table(core, PhysAddr(release), base)
    };
    match started {
        // The core lives there now: nobody deletes or revokes its memory.
        Ok(()) => capelin_cap::pin(&mut core.slots, &core.kcb.mdb, image_slot)?,
        Err(error) => {
            write_magic(core, args_at, ARGS_MAGIC)?;
            return Err(error);
        }
    }
    Ok(DONE)
}

/// Writes a page of a sealed image back, and drops it from the caches.
fn clean_page<M: Machine>(core: &mut Core<M>, page: PhysAddr) -> Result<(), SysError> {
    core.machine.clean_invalidate_page(page)
}

fn write_magic<M: Machine>(core: &mut Core<M>, args: u64, magic: u64) -> Result<(), SysError> {
    core.machine.write_page_word(PhysAddr(args), magic)
}

/// Writes a spin-table release address, which lies in memory that firmware keeps.
fn release_spin_table<M: Machine>(
    core: &mut Core<M>,
    at: PhysAddr,
    entry: PhysAddr,
) -> Result<(), SysError> {
    if !at.is_aligned(8) || core.objects.contains(at, 8) {
        return Err(SysError::InvalidArgument);
    }
    let page = at.align_down(PAGE_SIZE);
    let offset = at.0 - page.0;
    core.machine.release_spin_table(page, offset, entry)
}

fn export<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    let slot = call.capability(core, const { Need::invocation(Invocation::Export, 1) })?;
    let address = VirtAddr(call.argument(2));
    let word = call.argument(3);
    let to = KernelId(low16(word));
    let mode = match word >> 16 {
        0 => ExportMode::Move,
        1 => ExportMode::Copy,
        _ => return Err(SysError::InvalidArgument),
    };
    if to.0 >= KernelId::LIMIT || to == core.kernel {
        return Err(SysError::InvalidArgument);
    }
    // The record can be written, or nothing happens.
    core.machine.write_user(address, &[0; 64])?;
    let record = capelin_cap::export(&mut core.slots, &mut core.kcb.mdb, slot, to, mode)?;
    // Nobody tells yet whether the receiver has taken it.
    capelin_cap::commit(&mut core.slots, &mut core.kcb.mdb, &record)?;
    core.machine
        .write_user(address, record.to_words().as_bytes())?;
    Ok(DONE)
}

fn import<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    let mut words = [0_u64; 8];
    core.machine
        .read_user(words.as_mut_bytes(), VirtAddr(call.argument(1)))?;
    let target = call.own_slot(core, 2)?;
    let record = CapRecord::parse(&words)?;
    if names_the_kernel(core, &record) {
        return Err(SysError::RangeInUse);
    }
    capelin_cap::import(&mut core.slots, &mut core.kcb.mdb, &record, target)?;
    Ok(DONE)
}

/// Whether a record from elsewhere is about this CPU driver's own memory: what no
/// capability here covers of home memory is nobody's to name, nor is another kernel's
/// doorbell page there. (A range around all of it contains our `HomeRam`, and
/// [`capelin_cap::import`] refuses that.)
fn names_the_kernel<M: Machine>(core: &Core<M>, record: &CapRecord) -> bool {
    let Capability {
        kind,
        base,
        size,
        data,
        ..
    } = record.capability;
    let is_ours = |at: u64| {
        let at = PhysAddr(at);
        core.objects.contains(at, 1) && core.kcb.mdb.find(&core.slots, at).is_none()
    };
    let rings_here = kind == ObjectType::Notify
        && record.owner != core.kernel
        && core
            .objects
            .contains(Bell::from_data(record.owner, data).page, 1);
    // `parse` has checked that the end is representable and the size isn't 0.
    is_ours(base) || is_ours(base + (size - 1)) || rings_here
}

/// A test of I1: does the CPU driver's own map reach a physical address?
fn probe<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    let address = call.argument(1);
    if address >= 1 << 47 || !address.is_multiple_of(8) {
        return Err(SysError::InvalidArgument);
    }
    if core.machine.reaches(PhysAddr(address)) {
        Ok(DONE)
    } else {
        call.answer([1, 0, 0]);
        Ok(Outcome::AfterFault)
    }
}
