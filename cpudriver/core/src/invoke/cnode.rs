//! Invocations of a CSpace root: copy, mint, retype, delete, revoke, identify, grow.

use capelin_abi::capability::{CNODE_BYTES, CNODE_SLOTS};
use capelin_abi::rights::{Condition, Need};
use capelin_abi::syscall::{Invocation, KernelCounter};
use capelin_abi::{CapAddress, CapRef, Level, ObjectType, PAGE_SIZE, PhysAddr, Rights, SysError};
use capelin_cap::{Mint, Retype, RetypeRequest, SlotIndex, SlotStore, State, Step, cspace};

use super::call::{Call, DONE, Outcome};
use crate::dcb::held;
use crate::delivery::program_timer;
use crate::effects::{DELETE_AT_ONCE, KernelEffects, step_cost};
use crate::hold;
use crate::local_revoke;
use crate::machine::{Above, Looked, Machine, Objects, RootRef, SaveContext};
use crate::state::Core;

/// Bytes zeroed between two looks at the interrupts.
const STEP_BYTES: u64 = 16 * PAGE_SIZE;

// What one entry does at most (`docs/015-cpu-driver.md`, "Bounds"); a longer operation is
// restarted. In instructions: an object takes some 250, a page to be zeroed some 190 or,
// with its object, 500; a step of a deletion some 1,000 beside what it costs by its size.

/// Objects made.
const RETYPE_AT_ONCE: u32 = 16;
/// Pages zeroed.
const ZERO_AT_ONCE: u64 = 48;

/// Argument `n` as a slot of the invoked CSpace.
#[inline(always)]
fn target<M: Machine>(core: &Core<M>, call: &Call<M>, n: usize) -> Result<SlotIndex, SysError> {
    target_of(core, call, call.argument(n))
}

/// A reference to a slot of the invoked CSpace.
#[inline(always)]
fn target_of<M: Machine>(core: &Core<M>, call: &Call<M>, word: u64) -> Result<SlotIndex, SysError> {
    let cnode = core.slots.slot(call.slot).address();
    let near = core.slots.index_near(cnode);
    match near.and_then(|cnode| cspace::lookup_plain(&core.slots, cnode, word)) {
        Some(slot) => Ok(slot),
        None => rare_target(core, call.slot, word),
    }
}

/// [`target_of`] for all but slots of near L2 CNodes.
#[cold]
#[inline(never)]
fn rare_target<M: Machine>(
    core: &Core<M>,
    root: SlotIndex,
    word: u64,
) -> Result<SlotIndex, SysError> {
    let cnode = core.slots.index_of(core.slots.slot(root).address());
    cspace::lookup_word(&core.slots, cnode.ok_or(SysError::Foreign)?, word)
}

/// Whether the capability in `from` may be put where the call says: it must be
/// grantable when that is in another CSpace than the caller's.
#[inline(always)]
fn check_grant<M: Machine>(
    core: &Core<M>,
    call: &Call<M>,
    from: SlotIndex,
    need: Need,
) -> Result<(), SysError> {
    let own = core.slots.slot(call.caller.held(held::CSPACE));
    if core.slots.slot(call.slot).address() == own.address() {
        return Ok(());
    }
    core.slots
        .slot(from)
        .require(need.when(Condition::AnotherCSpace))
}

#[inline(always)]
fn rights(word: u64) -> Result<Rights, SysError> {
    u8::try_from(word)
        .ok()
        .and_then(Rights::from_bits)
        .ok_or(SysError::InvalidArgument)
}

/// Describes the capability in `slot`.
#[inline(never)]
pub(crate) fn identify<M: Machine>(
    core: &Core<M>,
    call: &Call<M>,
    slot: SlotIndex,
) -> Result<Outcome, SysError> {
    let identity = capelin_cap::identify(&core.slots, &core.database.mdb, slot)?;
    let capability = identity.capability;
    let flags = core.slots.slot(slot).flags().bits();
    let word = capability.kind as u64
        | u64::from(capability.rights.bits()) << 8
        | u64::from(identity.owner.0) << 16
        | u64::from(flags) << 32
        | (identity.state as u64) << 44;
    // One of these has no size to speak of.
    let size_or_badge = match capability.kind {
        ObjectType::EndpointLmp | ObjectType::Id => capability.data[0],
        _ => capability.size,
    };
    Ok(call.answer([word, capability.base, size_or_badge]))
}

/// Describes a slot, which may be empty.
#[inline(never)]
pub(super) fn identify_slot<M: Machine>(
    core: &Core<M>,
    call: &Call<M>,
) -> Result<Outcome, SysError> {
    let slot = target(core, call, 1)?;
    if core.slots.slot(slot).is_occupied() {
        identify(core, call, slot)
    } else {
        Ok(DONE)
    }
}

#[inline(always)]
pub(super) fn copy<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    const NEED: Need = Need::invocation(Invocation::Copy, 2);
    let to = target(core, call, 1)?;
    let from = call.capability(core, NEED)?;
    check_grant(core, call, from, NEED)?;
    let mask = rights(call.argument(3))?;
    core.caps().copy(from, to, mask)?;
    Ok(DONE)
}

#[inline(never)]
pub(super) fn mint<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    const NEED: Need = Need::invocation(Invocation::Mint, 2);
    let to = target(core, call, 1)?;
    let from = call.capability(core, NEED)?;
    check_grant(core, call, from, NEED)?;
    let mask = rights(call.argument(3))?;
    let source = core.slots.slot(from);
    let what = match call.argument(5) {
        0 => {
            source.require(const { NEED.when(Condition::Badge) })?;
            Mint::Badge(call.argument(4))
        }
        size => {
            // What a part of a frame claims, nobody else is kept from.
            if !matches!(source.kind(), ObjectType::Frame | ObjectType::DevFrame) {
                source.require(const { NEED.when(Condition::Claim) })?;
            }
            Mint::Range {
                offset: call.argument(4),
                size,
            }
        }
    };
    core.caps().mint(from, to, mask, what)?;
    let made = core.slots.slot(to);
    let (base, bytes) = (made.address(), made.size());
    let is_part = made.is_kind(ObjectType::Frame) && core.objects.contains(base, bytes);
    // Its end will be that of an object of its own.
    if is_part && !core.database.mdb.has_copies(&core.slots, to) {
        core.kcb.counters[KernelCounter::ObjectBytes as usize] += bytes;
    }
    Ok(DONE)
}

#[inline(always)]
pub(super) fn retype<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    const NEED: Need = Need::invocation(Invocation::Retype, 2);
    // Read once: arguments lie in the dispatcher frame, which another core may write,
    // and the check that all slots are in one CNode must be about the first of them.
    let word = call.argument(1);
    let reference = CapRef::from_word(word).ok_or(SysError::NoSuchSlot)?;
    let first = target_of(core, call, word)?;
    let from = call.capability(core, NEED)?;
    check_grant(core, call, from, NEED)?;
    let kind = u8::try_from(call.argument(3))
        .ok()
        .and_then(|raw| ObjectType::try_from(raw).ok());
    let kind = kind.ok_or(SysError::InvalidArgument)?;
    let count = call.argument(6);
    let slot_number = match reference.level {
        Level::L2 => u64::from(reference.address.l2()),
        Level::L1 => u64::from(reference.address.l1()) % CNODE_SLOTS,
    };
    if count == 0 || count > CNODE_SLOTS - slot_number {
        return Err(SysError::OutOfRange);
    }
    let count = u32::try_from(count).map_err(|_| SysError::OutOfRange)?;
    let request = RetypeRequest {
        kind,
        offset: call.argument(4),
        object_size: call.argument(5),
        count,
        is_privileged: false,
    };
    // One object more or less costs little beside a look, which is had when it is zeroed.
    if count > 1 && look_ahead(core, from, request.offset)? == Looked::Long {
        return Ok(Outcome::Again);
    }
    let retyped = core
        .caps()
        .retype_first(from, &request, first, RETYPE_AT_ONCE)?;
    let made = count.min(RETYPE_AT_ONCE);
    let mut pages = ZERO_AT_ONCE;
    let zeroed = match retyped {
        Retype::Done => Ok(Zeroed::All),
        // Mostly one object is made.
        Retype::Fresh if made == 1 => zero(core, first, &mut pages),
        Retype::Fresh | Retype::Continue => zero_each(core, first, made, &mut pages),
    };
    let zeroed = match zeroed {
        Ok(zeroed) => zeroed,
        Err(error) => return Err(undo(core, first, made, error)),
    };
    if zeroed == Zeroed::Part {
        return Ok(Outcome::Again);
    }
    if made == count {
        return Ok(DONE);
    }
    // These are made for good: the call that is issued again is for the others. What
    // it says is checked anew, like everything that user space could have written.
    let size = core.slots.slot(first).size();
    let slots = match reference.level {
        Level::L2 => CapRef::l2(CapAddress(reference.address.0 + made)),
        Level::L1 => CapRef::l1(reference.address.l1() + made),
    };
    call.area.set(1, slots.to_word());
    call.area.set(4, request.offset + u64::from(made) * size);
    call.area.set(6, u64::from(count - made));
    Ok(Outcome::Again)
}

/// There is no memory where objects were to be made: nothing is left of those of this step that
/// aren't finished.
#[cold]
#[inline(never)]
fn undo<M: Machine>(core: &mut Core<M>, first: SlotIndex, made: u32, error: SysError) -> SysError {
    for slot in (0..made).filter_map(|number| first.checked_add(number)) {
        if core.slots.slot(slot).state() == State::InProgress {
            // It has no copies, nothing was made of it, and nobody could use it.
            let _ = delete_slot(core, slot);
        }
    }
    error
}

/// Before many objects are made `offset` bytes into the memory in `from`, and zeroed: homes may
/// have to be looked at for that. No home lies in memory of which something can be made, so
/// what holds for the first page holds for all.
#[inline(never)]
fn look_ahead<M: Machine>(
    core: &mut Core<M>,
    from: SlotIndex,
    offset: u64,
) -> Result<Looked, SysError> {
    let memory = core.slots.slot(from);
    if offset >= memory.size() || !memory.is_kind(ObjectType::Ram) {
        // It is refused, or zeroed where it lies, as home memory is.
        return Ok(Looked::Little);
    }
    core.machine
        .look_ahead(PhysAddr(memory.address().0 + offset))
}

/// Adds a CNode on the way to an L1 slot: a retype whose target is found by what is
/// missing. The identical call finds what it has begun.
#[inline(never)]
pub(super) fn grow<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    const NEED: Need = Need::invocation(Invocation::Grow, 2);
    let from = call.capability(core, NEED)?;
    check_grant(core, call, from, NEED)?;
    let number = u32::try_from(call.argument(1)).map_err(|_| SysError::OutOfRange)?;
    let first = core.slots.index_of(core.slots.slot(call.slot).address());
    let first = first.ok_or(SysError::Foreign)?;
    let gap = cspace::next_gap(&core.slots, first, number)?;
    let request = RetypeRequest {
        kind: ObjectType::L2CNode,
        offset: call.argument(3),
        object_size: CNODE_BYTES,
        count: 1,
        is_privileged: false,
    };
    core.caps().retype_first(from, &request, gap.slot, 1)?;
    match zero(core, gap.slot, &mut { ZERO_AT_ONCE })? {
        Zeroed::All => Ok(call.answer([gap.more.into(), 0, 0])),
        Zeroed::Part => Ok(Outcome::Again),
    }
}

/// How far [`zero`] got.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Zeroed {
    All,
    Part,
}

/// [`zero`] of `count` objects, until an interrupt waits. The others stay as they are,
/// claimed and unusable: the same call finds them.
#[inline(never)]
fn zero_each<M: Machine>(
    core: &mut Core<M>,
    first: SlotIndex,
    count: u32,
    pages: &mut u64,
) -> Result<Zeroed, SysError> {
    for number in 0..count {
        let slot = first.checked_add(number).ok_or(SysError::OutOfRange)?;
        if core.slots.slot(slot).state() != State::InProgress {
            continue;
        }
        let is_last = number + 1 == count;
        if zero(core, slot, pages)? == Zeroed::Part {
            return Ok(Zeroed::Part);
        }
        if !is_last && core.machine.interrupt_pending() {
            return Ok(Zeroed::Part);
        }
    }
    Ok(Zeroed::All)
}

/// Zeroes what is left of an object in progress and makes it live, unless `pages`, how
/// many more this entry may zero, run out, or an interrupt waits.
#[inline(always)]
fn zero<M: Machine>(
    core: &mut Core<M>,
    slot: SlotIndex,
    pages: &mut u64,
) -> Result<Zeroed, SysError> {
    let object = core.slots.slot(slot);
    let (base, bytes, before) = (object.address(), object.size(), object.zeroed_bytes());
    let is_in_home = core.objects.contains(base, bytes);
    let end = bytes.min(before + *pages * PAGE_SIZE);
    let mut done = before;
    while done < end {
        let page = PhysAddr(base.0 + done);
        if is_in_home {
            core.objects.zero_page(page);
        } else if core.machine.zero_foreign_page(page)? == Looked::Long {
            break;
        }
        done += PAGE_SIZE;
        if done % STEP_BYTES == 0 && core.machine.interrupt_pending() {
            break;
        }
    }
    *pages -= (done - before) / PAGE_SIZE;
    if done < bytes {
        core.slots.slot_mut(slot).set_zeroed_bytes(done);
        return Ok(Zeroed::Part);
    }
    if let Some(root) = RootRef::of(core.slots.slot(slot)) {
        let root = root.table();
        core.objects.vnode_mut(root).above = Above::table(root);
    }
    if is_in_home {
        core.kcb.counters[KernelCounter::ObjectBytes as usize] += bytes;
    }
    core.caps().finish(slot)?;
    Ok(Zeroed::All)
}

/// Calls `step` until it is done, an interrupt waits, as much is done as one entry may
/// do, or it fails.
macro_rules! in_steps {
    ($core:expr, $operation:ident, $slot:expr) => {{
        let (mut caps, mut effects) = KernelEffects::split($core);
        let mut steps = 0;
        let outcome = loop {
            match caps.$operation($slot, &mut effects) {
                Ok(Step::Done) => break Ok(DONE),
                Ok(Step::Again) => {}
                Err(error) => break Err(error),
            }
            steps += step_cost(caps.holds_count());
            if effects.interrupt_pending() || steps + effects.cost() > DELETE_AT_ONCE {
                break Ok(Outcome::Again);
            }
        };
        if effects.has_more() {
            more($core);
        }
        outcome
    }};
}

/// A deletion has made somebody runnable, who gets a turn within a quantum, or has ended
/// somebody for whom something is held.
#[cold]
#[inline(never)]
fn more<M: Machine>(core: &mut Core<M>) {
    hold::end_for_those_gone(core);
    let now = core.machine.now();
    program_timer(core, now);
}

#[inline(always)]
pub(super) fn delete<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    let slot = target(core, call, 1)?;
    in_steps!(core, delete, slot)
}

#[inline(always)]
pub(super) fn revoke<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    let slot = target(core, call, 1)?;
    if core.database.mdb.has_holds() {
        return Ok(match local_revoke::revoke(core, call.caller, slot)? {
            Step::Done => DONE,
            Step::Again => Outcome::Again,
        });
    }
    core.slots
        .slot(slot)
        .meets(const { Need::invocation(Invocation::Revoke, 1) })?;
    let outcome = in_steps!(core, revoke, slot);
    if let Ok(Outcome::Again) = outcome {
        local_revoke::hold_back(core, call.caller, slot);
    }
    outcome
}

/// Deletes `slot`, which isn't the last copy of anything that takes steps.
#[inline(always)]
pub(crate) fn delete_slot<M: Machine>(
    core: &mut Core<M>,
    slot: SlotIndex,
) -> Result<Outcome, SysError> {
    in_steps!(core, delete, slot)
}
