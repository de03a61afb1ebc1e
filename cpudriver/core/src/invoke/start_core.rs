//! Starting another core from a sealed image (`docs/065-core-start.md`).
//!
//! User space fills the image, and says which kernel is to run on which core. Nothing
//! that it wrote decides what the new core runs or believes:
//!
//! 1. The image is a CoreImage without copies, so nobody can write it any more.
//! 2. The kernel in it is this kernel's own, word by word; what isn't constant is zero.
//!    It begins the block that its entry code maps, and the arguments, which say how much
//!    there is to look at, can't say that it is less ([`CoreArgs::used_bytes`]).
//!    Text and constants need not be in it: then the core enters those that this kernel
//!    runs itself ([`CoreText::Shared`]). Nobody can write these either: they lie in
//!    a home, this one's or that of the core from which this one has them.
//! 3. Of the arguments, what is told of the machine (interrupt controller, timer,
//!    firmware, console, mitigations, the table of all kernels) is replaced by what this
//!    kernel was told itself. What is left names the first program and its tickets.
//! 4. Kernel id, core and home are reserved in the table of all kernels, which refuses
//!    what another has; the core is one that the device tree knows, and is released at
//!    the address that the tree gave. Other kernels know of it once that is done: of one
//!    that firmware refuses they have never mapped anything.

use capelin_abi::boot::{ARGS_MAGIC, CoreArgs, KERNEL_MAGIC, KernelHeader, PhysRegion};
use capelin_abi::rights::Need;
use capelin_abi::syscall::{CoreText, Invocation};
use capelin_abi::{KernelId, Mpidr, PAGE_SIZE, PhysAddr, SysError};
use capelin_cap::SlotStore;
use capelin_peers::{Home, PeerError};
use zerocopy::{FromBytes, IntoBytes};

use super::call::{Call, DONE, Outcome};
use crate::machine::{Looked, Machine, Objects};
use crate::narrow::{index, low16};
use crate::state::Core;

/// Replaces [`ARGS_MAGIC`] in a core image that has been used: no second core
/// starts in the same memory.
pub const ARGS_USED: u64 = u64::from_le_bytes(*b"CAPEUSED");

/// Bytes of an image checked and cleaned in one entry, at some 7,000 instructions a page.
const STEP_BYTES: u64 = 2 * PAGE_SIZE;

/// Reads a structure at the start of a page of a sealed image.
fn read_image<T: FromBytes + IntoBytes, M: Machine>(
    core: &mut Core<M>,
    page: PhysAddr,
) -> Result<T, SysError> {
    let mut value = T::new_zeroed();
    let words = <[u64]>::mut_from_bytes(value.as_mut_bytes()).map_err(|_| SysError::Unaligned)?;
    core.machine.read_page(page, words)?;
    Ok(value)
}

#[inline(never)]
pub(super) fn start_core<M: Machine>(
    core: &mut Core<M>,
    call: &Call<M>,
) -> Result<Outcome, SysError> {
    let image_slot = call.capability(core, const { Need::invocation(Invocation::StartCore, 1) })?;
    let image = core.slots.slot(image_slot);
    let home = Home {
        base: image.address(),
        bytes: image.size(),
    };
    let text = CoreText::try_from(call.argument(4)).map_err(|_| SysError::InvalidArgument)?;
    let done = checked(image.data(), text);
    // Locking holds one slot only: by a copy a running core's memory could be deleted
    // from the database, or looked into here.
    capelin_cap::usable(&core.slots, &core.database.mdb, image_slot)?;
    if core.database.mdb.has_copies(&core.slots, image_slot) {
        return Err(SysError::HasRelations);
    }
    if core.objects.contains(home.base, 1) {
        // No core lives in another's home memory.
        return Err(SysError::InvalidArgument);
    }
    if core.machine.look_ahead(home.base)? == Looked::Long {
        return Ok(Outcome::Again);
    }
    let mpidr = Mpidr(call.argument(2));
    let memory_bytes = core.machine.image_bytes();
    if memory_bytes > home.bytes - PAGE_SIZE {
        return Err(SysError::InvalidArgument);
    }
    if text == CoreText::Own {
        let header: KernelHeader = read_image(core, home.base)?;
        if header.magic != KERNEL_MAGIC
            || header.abi_version != capelin_abi::ABI_VERSION
            || header.memory_bytes != memory_bytes
        {
            return Err(SysError::InvalidArgument);
        }
    }
    let args_at = PhysAddr(home.base.0 + memory_bytes);
    let mut args: CoreArgs = read_image(core, args_at)?;
    // What is used comes behind the kernel and its arguments: all of both is looked at.
    let used = args.used_bytes(memory_bytes);
    let used = used.map_err(|_| SysError::InvalidArgument)?;
    if args.magic != ARGS_MAGIC
        || args.abi_version != capelin_abi::ABI_VERSION
        || args.home.base != home.base.0
        || args.home.bytes != home.bytes
        || args.mpidr != mpidr.0
        || args.kernel_id >= u32::from(KernelId::LIMIT)
    {
        return Err(SysError::InvalidArgument);
    }
    let release = core.machine.peers().release_address(mpidr);
    let release = release.map_err(refusal)?;
    // Nothing tells a core that comes out of a spin table which home is its own, but the
    // place where it enters.
    let is_shared = text == CoreText::Shared;
    if call.argument(3) != release.map_or(0, |address| address.0) || is_shared && release.is_some()
    {
        return Err(SysError::InvalidArgument);
    }
    // The child runs with its caches off at first: what it reads must have reached
    // memory, and nothing dirty may come down on what it writes. Nobody can write to a
    // sealed image, so how far we got is kept in its capability.
    let first = if is_shared {
        core.machine.text_bytes()
    } else {
        0
    };
    for offset in (done.max(first)..used).step_by(index(PAGE_SIZE)) {
        let page = PhysAddr(home.base.0 + offset);
        if offset < memory_bytes && !core.machine.is_own_image(page, offset)? {
            return Err(SysError::InvalidArgument);
        }
        core.machine.clean_invalidate_page(page)?;
        let reached = offset + PAGE_SIZE;
        core.slots
            .slot_mut(image_slot)
            .set_data([reached, text as u64]);
        if reached - done.max(first) >= STEP_BYTES
            || reached == used
            || core.machine.interrupt_pending()
        {
            return Ok(Outcome::Again);
        }
    }
    // All is checked and clean: the rest is an entry of its own.
    tell_of_machine(core.machine.args(), &mut args);
    write_args(core, args_at, &args)?;
    let kernel = KernelId(low16(u64::from(args.kernel_id)));
    let peers = core.machine.peers();
    // From here on the window doesn't show the image any more.
    let reserved = peers.reserve(kernel, mpidr, home, Some(core.kernel));
    let reserved = reserved.map_err(refusal);
    let started = reserved.and_then(|()| {
        let released = match release {
            None => {
                let entry = if is_shared {
                    core.machine.shared_entry()
                } else {
                    home.base
                };
                core.machine.cpu_on(mpidr, entry, home.base.0)
            }
            Some(at) => release_spin_table(core, at, home.base),
        };
        match released {
            Ok(()) => peers.announce(kernel),
            Err(_) => peers.withdraw(kernel, mpidr),
        }
        released
    });
    match started {
        // The core lives there now: nobody deletes or revokes its memory.
        Ok(()) => core.caps().pin(image_slot)?,
        Err(error) => {
            // It can be tried again.
            args.magic = ARGS_MAGIC;
            write_args(core, args_at, &args)?;
            return Err(error);
        }
    }
    Ok(DONE)
}

/// How much of an image has been checked for `text`, by what its capability says: what was
/// looked at for a core with another's text says nothing of its own.
fn checked([reached, of]: [u64; 2], text: CoreText) -> u64 {
    if of == text as u64 { reached } else { 0 }
}

pub(super) const fn refusal(error: PeerError) -> SysError {
    match error {
        PeerError::NoSuchKernel | PeerError::NoSuchCore => SysError::InvalidArgument,
        PeerError::KernelInUse | PeerError::CoreInUse => SysError::AlreadyBound,
        PeerError::HomeInUse => SysError::RangeInUse,
        PeerError::Full => SysError::NoResources,
    }
}

/// Replaces all that a kernel has to believe by what this one was told.
fn tell_of_machine(own: &CoreArgs, args: &mut CoreArgs) {
    args.magic = ARGS_USED;
    args.abi_version = own.abi_version;
    args.is_boot_core = 0;
    args.gic = own.gic;
    args.timer_intid = own.timer_intid;
    args.timer_is_physical = own.timer_is_physical;
    args.timer_frequency = own.timer_frequency;
    args.psci = own.psci;
    args.console = own.console;
    args.mitigations = own.mitigations;
    args.peers = own.peers;
    args.archive = own.archive;
    // The boot core's alone.
    args.device_tree = PhysRegion::default();
    args.ram_count = 0;
}

/// Writes the arguments' page of a sealed image, through to memory.
fn write_args<M: Machine>(
    core: &mut Core<M>,
    page: PhysAddr,
    args: &CoreArgs,
) -> Result<(), SysError> {
    let words = <[u64]>::ref_from_bytes(args.as_bytes()).map_err(|_| SysError::Unaligned)?;
    core.machine.write_page(page, words)?;
    core.machine.clean_invalidate_page(page)
}

/// Writes a spin-table release address, which lies in memory that firmware keeps.
fn release_spin_table<M: Machine>(
    core: &mut Core<M>,
    at: PhysAddr,
    entry: PhysAddr,
) -> Result<(), SysError> {
    if !at.is_aligned(8) {
        return Err(SysError::InvalidArgument);
    }
    let page = at.align_down(PAGE_SIZE);
    core.machine.release_spin_table(page, at.0 - page.0, entry)
}
