//! Home memory that grows: what is nobody's home becomes this kernel's, and is given back.
//!
//! Only a kernel whose home it is ever reads or writes home memory (architecture.md, I1). So
//! what becomes home memory here must not be reached from anywhere else, nor be another
//! kernel's home, and must stay so for as long as it is mapped here:
//!
//! 1. It is Ram of which nothing was made, here or elsewhere: HomeRam is made of all of it,
//!    as by a retype, which claims the range. So there is no frame in it, and no part of it
//!    on another kernel.
//! 2. It is entered in the table of all kernels, which refuses what is another's home, and
//!    keeps it out of every kernel's window, of images and of records.
//! 3. The kernel keeps a copy of the HomeRam, pinned, in a slot of its own. Whatever users do
//!    with theirs, or with the Ram, the range stays claimed; a revoke of the Ram is `Locked`.
//! 4. It is mapped when nothing can fail any more; it is given up only when nothing made of
//!    it is left, and no copy but the caller's: unmapped and invalidated first, then freed.

use capelin_abi::boot::{HOME_ALIGNMENT, HOME_AT_ONCE};
use capelin_abi::rights::Need;
use capelin_abi::syscall::{Invocation, KernelCounter};
use capelin_abi::{ObjectType, SysError};
use capelin_cap::{RetypeRequest, SlotIndex, SlotStore};
use capelin_peers::Home;

use super::call::{Call, DONE, Outcome};
use super::{cnode, start_core};
use crate::handover;
use crate::hold::adopted_slots;
use crate::machine::Machine;
use crate::state::Core;

/// [`Invocation::AdoptHome`].
#[inline(never)]
pub(super) fn adopt<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    let ram = call.capability(core, const { Need::invocation(Invocation::AdoptHome, 1) })?;
    let target = call.own_slot(core, 2)?;
    let piece = Home {
        base: core.slots.slot(ram).address(),
        bytes: core.slots.slot(ram).size(),
    };
    let is_whole = piece.bytes.is_multiple_of(HOME_ALIGNMENT);
    if !is_whole || !piece.base.is_aligned(HOME_ALIGNMENT) {
        return Err(SysError::Unaligned);
    }
    if piece.bytes > HOME_AT_ONCE {
        return Err(SysError::OutOfRange);
    }
    let own = adopted_slots(core).find(|&slot| core.slots.slot(slot).is_empty());
    let own = own.ok_or(SysError::NoResources)?;
    let request = RetypeRequest {
        kind: ObjectType::HomeRam,
        offset: 0,
        object_size: piece.bytes,
        count: 1,
        is_privileged: true,
    };
    core.caps().retype_first(ram, &request, target, 1)?;
    if let Err(error) = map(core, piece) {
        // It was made just now: nothing is made of it.
        cnode::delete_slot(core, target)?;
        return Err(error);
    }
    handover::keep(core, target, own)?;
    core.kcb.counters[KernelCounter::HomeBytes as usize] += piece.bytes;
    Ok(DONE)
}

/// Enters a piece in the table of all kernels, and maps it.
fn map<M: Machine>(core: &mut Core<M>, piece: Home) -> Result<(), SysError> {
    if core.machine.is_peer_table(piece.base, piece.bytes) {
        return Err(SysError::RangeInUse);
    }
    // It may have been zeroed here.
    core.machine.forget_zeroed_pages();
    let peers = core.machine.peers();
    let entered = peers.adopt(core.kernel, piece);
    entered.map_err(start_core::refusal)?;
    let mapped = core
        .machine
        .adopt_home(&mut core.slots, piece.base, piece.bytes);
    if mapped.is_err() {
        peers.release(core.kernel, piece.base);
    }
    mapped
}

/// [`Invocation::ReleaseHome`].
#[inline(never)]
pub(super) fn release<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    let home = call.capability(core, const { Need::invocation(Invocation::ReleaseHome, 1) })?;
    core.caps().usable(home)?;
    let (base, bytes) = {
        let slot = core.slots.slot(home);
        (slot.address(), slot.size())
    };
    let is_kept = |slot: &SlotIndex| {
        let kept = core.slots.slot(*slot);
        kept.is_occupied() && kept.address() == base && kept.size() == bytes
    };
    let own = adopted_slots(core)
        .find(is_kept)
        .ok_or(SysError::OutOfRange)?;
    let mdb = &core.database.mdb;
    if mdb.has_descendants(&core.slots, home) {
        return Err(SysError::HasRelations);
    }
    if !mdb.has_ancestors(&core.slots, home) {
        return Err(SysError::LastCopy);
    }
    capelin_cap::unpin(&mut core.slots, own)?;
    cnode::delete_slot(core, own)?;
    if core.database.mdb.has_copies(&core.slots, home) {
        handover::keep(core, home, own)?;
        return Err(SysError::HasRelations);
    }
    core.database.mdb.forget_looked();
    core.machine.release_home(&mut core.slots, base, bytes);
    core.machine.peers().release(core.kernel, base);
    core.kcb.counters[KernelCounter::HomeBytes as usize] -= bytes;
    cnode::delete_slot(core, home)
}
