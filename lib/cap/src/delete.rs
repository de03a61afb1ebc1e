//! Delete: one capability goes, and with the last one its object.
//!
//! Every call does one bounded step. What is begun is marked dying, refuses all
//! else, and is on the [`DeleteList`]: it is continued by the same call issued again,
//! by whoever deletes what it lies in, or by [`drain`].
//!
//! CNodes, and dispatchers with the capabilities in their control blocks,
//! are *containers*: to empty one takes many steps and finds further containers.
//! Instead of recursing, a dying container's last capability moves to the
//! container's own first slot and stays on the list there:
//!
//! ```text
//!   X: [A]      A: [D | … ]          D is deleted first, then
//!   X: [r]      A: [A | … ]          A hosts itself; r waits for it
//! ```
//!
//! If D is the last capability to a container B, the two exchange places, so B
//! hosts itself and what lay in B's first slot lies in A's. Each exchange settles
//! one container, so it ends. No dying container that hosts itself lies in another's
//! memory: they finish in any order, cycles included, and each claims its range
//! until it is empty.
//!
//! Long, since it is one state machine: splitting its steps would hide that every one
//! of them leaves the list and the tree as the next expects them.

use capelin_abi::capability::VNODE_ENTRIES;
use capelin_abi::{ObjectType, SysError};

use crate::delete_list::{DeleteList, is_leader};
use crate::key::is_conserved;
use crate::mdb::{Mdb, next};
use crate::relations::after_tombstone;
use crate::slot::{Slot, SlotFlags, State};
use crate::slot_index::SlotIndex;
use crate::store::{Effects, SlotStore, cnode_slot, cnode_slots, is_cnode};
use crate::transfer::hand_on_copies;

/// Whether an operation is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// It is complete.
    Done,
    /// Issue the same call again.
    Again,
}

/// Why a capability is deleted, and where it lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Someone asked for just this one: what must not be lost is refused.
    Direct,
    /// It was begun before, or goes with its ancestor; the slot belongs to
    /// someone who is alive.
    Swept,
    /// A revoke that all kernels have agreed on takes it: nothing is saved.
    Revoked,
    /// It goes with the container in this slot, which is dying.
    Inside(SlotIndex),
}

/// How many empty slots of a container one step passes over, at a few instructions each.
const SCAN: u32 = 256;

/// Deletes the capability in `index`. With the last one, the object goes:
/// mappings are undone, tables and CNodes emptied, dispatchers stopped.
///
/// On [`Step::Again`], `index` holds a dying capability or is reserved, until all
/// that goes with it is gone and the same call answers [`Step::Done`]. Whatever else
/// is being deleted isn't waited for. A slot that lies in what goes is freed with it:
/// the call that waited finds it empty, and [`drain`] does the rest.
///
/// # Errors
/// `NoSuchSlot`, `EmptySlot`; `Locked` for what is locked or in transit; `LastCopy`
/// for the last capability to memory or interrupts without a local ancestor;
/// `Foreign` for a tombstone; `ThroughMonitor` for the last owned copy of what has copies
/// elsewhere. While a container is emptied also `Locked` or `NoResources` (the
/// [`Effects::shelter`] is full) for something in it: the deletion stays begun and
/// can be continued.
#[inline(always)]
pub fn delete<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    index: SlotIndex,
    effects: &mut E,
) -> Result<Step, SysError> {
    if index.is_none() {
        return Err(SysError::NoSuchSlot);
    }
    let slot = store.slot(index);
    if slot.is_usable()
        && mdb.holds.is_empty()
        && let Some(after) = goes_at_once(store, mdb, index, effects)
    {
        unlink_before(store, mdb, list, index, after, effects);
        return Ok(Step::Done);
    }
    delete_in_steps(store, mdb, list, index, effects)
}

#[inline(never)]
fn delete_in_steps<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    index: SlotIndex,
    effects: &mut E,
) -> Result<Step, SysError> {
    let slot = store.slot(index);
    match (slot.is_occupied(), slot.state()) {
        (true, State::Dying) => {
            if is_host(store, index, effects) {
                // Its own slot goes last: nobody could wait in it for the others.
                let other = DeleteList::other_member(store, index);
                if other.is_none() || go_on(store, mdb, list, other, effects).is_err() {
                    go_on(store, mdb, list, index, effects)?;
                }
            } else {
                if is_leader(slot) {
                    store.slot_mut(index).set_flags(SlotFlags::RESERVES, true);
                }
                go_on(store, mdb, list, index, effects)?;
            }
        }
        (true, _) => {
            destroy(store, mdb, list, index, effects, Mode::Direct)?;
        }
        (false, State::Dying) if slot.has_flags(SlotFlags::QUEUED) => {
            let member = DeleteList::first(store, index);
            let result = go_on(store, mdb, list, member, effects);
            // It may have lain in what goes, where nobody can wait any longer.
            let waits = store.slot(index).has_flags(SlotFlags::QUEUED);
            if result.is_err() && waits {
                list.rotate(store, index);
            }
            result?;
            if store.slot(index).is_empty() {
                return Ok(Step::Again);
            }
        }
        (false, State::Dying) => {}
        (false, _) => return Err(SysError::EmptySlot),
    }
    let slot = store.slot(index);
    if slot.is_occupied() || slot.has_flags(SlotFlags::QUEUED) {
        return Ok(Step::Again);
    }
    *store.slot_mut(index) = Slot::EMPTY;
    Ok(Step::Done)
}

/// Whether nothing but its slot goes with the usable capability in `index`, which is so
/// for most: a mapping (unmapped here), a copy, or the last capability to a frame of
/// this kernel's that is mapped nowhere and whose memory an ancestor claims. Then what
/// comes next in order, or none if that was of no interest.
/// [`destroy`] would find the same, among much else.
#[inline(always)]
fn goes_at_once<S: SlotStore, E: Effects>(
    store: &S,
    mdb: &Mdb,
    index: SlotIndex,
    effects: &mut E,
) -> Option<SlotIndex> {
    let slot = store.slot(index);
    if slot.is_kind(ObjectType::Mapping) {
        effects.unmap(slot);
        return Some(SlotIndex::NONE);
    }
    if !slot.is_occupied() || slot.has_flags(SlotFlags::REMOTE_COPIES) {
        return None;
    }
    let after = next(store, index);
    if !mdb.copy_beside(store, index, after).is_none() {
        return Some(after);
    }
    let is_claimed = slot.is_kind(ObjectType::Frame)
        && slot.has_flags(SlotFlags::HAS_ANCESTOR)
        && mdb.owns(slot);
    if is_claimed && !is_mapped(store, index, after) {
        effects.released(slot);
        return Some(after);
    }
    None
}

/// Does one step of what is on the list, whoever began it, one request after the
/// other. For a kernel with nothing else to do, and before `HomeRam` is given away.
/// As bounded as [`delete`].
///
/// # Errors
/// `Locked` or `NoResources`, as [`delete`]: this one can't go on now. The next call
/// tries another, so a caller stops when some calls in a row have failed.
pub fn drain<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    effects: &mut E,
) -> Result<Step, SysError> {
    if list.is_empty() {
        return Ok(Step::Done);
    }
    let first = DeleteList::first(store, list.turn());
    let result = go_on(store, mdb, list, first, effects);
    if result.is_err() {
        list.pass_turn(store);
    }
    result?;
    Ok(if list.is_empty() {
        Step::Done
    } else {
        Step::Again
    })
}

/// One step of what is dying in `index`, and on the list.
pub(crate) fn go_on<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    index: SlotIndex,
    effects: &mut E,
) -> Result<(), SysError> {
    if is_host(store, index, effects) {
        empty_container(store, mdb, list, index, effects)
    } else {
        destroy(store, mdb, list, index, effects, Mode::Swept).map(|_| ())
    }
}

/// Whether `index` is the first slot of the container that its capability names.
fn is_host<S: SlotStore, E: Effects>(store: &S, index: SlotIndex, effects: &mut E) -> bool {
    container_slot(store, index, 0, effects) == Some(index)
}

/// One step of emptying the container in `head`, its own first slot.
fn empty_container<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    head: SlotIndex,
    effects: &mut E,
) -> Result<(), SysError> {
    if store.slot(head).is_kind(ObjectType::Dispatcher)
        && let Some(endpoint) = mdb.first_descendant(store, head)
    {
        return destroy_leaf(store, mdb, list, endpoint, effects);
    }
    let from = store.slot(head).progress.max(1);
    let mut number = pass_empty(store, head, from);
    while number < from + SCAN {
        let Some(inner) = container_slot(store, head, number, effects) else {
            effects.released(store.slot(head));
            unlink(store, mdb, list, head, effects);
            return Ok(());
        };
        if !inner.is_none() {
            if store.slot(inner).is_occupied() {
                store.slot_mut(head).progress = number;
                return destroy(store, mdb, list, inner, effects, Mode::Inside(head)).map(|_| ());
            }
            free_reserved(store, list, inner);
        }
        number += 1;
    }
    store.slot_mut(head).progress = number;
    Ok(())
}

/// The number of the first slot of the CNode in `head`, of those from `from` on that one step may
/// pass over, that isn't empty; most are. `from` for a dispatcher.
fn pass_empty<S: SlotStore>(store: &S, head: SlotIndex, from: u32) -> u32 {
    let slot = store.slot(head);
    let first = if is_cnode(slot) {
        store.index_of(slot.address())
    } else {
        None
    };
    let Some(first) = first else { return from };
    let end = cnode_slots(slot).min(from + SCAN);
    let mut from = from;
    while from + 8 <= end && Slot::are_empty(store.eight(first.within(from))) {
        from += 8;
    }
    (from..end)
        .find(|&number| !store.slot(first.within(number)).is_empty())
        .unwrap_or(end.max(from))
}

/// Frees an empty slot in a container that dies, if it is reserved.
fn free_reserved<S: SlotStore>(store: &mut S, list: &mut DeleteList, index: SlotIndex) {
    let slot = store.slot(index);
    if slot.has_flags(SlotFlags::QUEUED) {
        list.dissolve(store, index);
    } else if slot.state() == State::Dying {
        *store.slot_mut(index) = Slot::EMPTY;
    }
}

/// Marks what is in `index` dying and puts it on the list, if it isn't there.
fn begin<S: SlotStore>(store: &mut S, list: &mut DeleteList, index: SlotIndex, mode: Mode) {
    if store.slot(index).has_flags(SlotFlags::QUEUED) {
        return;
    }
    match mode {
        Mode::Inside(container) => DeleteList::begin_with(store, index, container),
        Mode::Direct | Mode::Swept | Mode::Revoked => list.begin(store, index),
    }
    if mode == Mode::Direct {
        store.slot_mut(index).set_flags(SlotFlags::RESERVES, true);
    }
}

/// One step of deleting the capability in `index`. `Done` means that nothing is left
/// to do for it.
#[inline]
pub(crate) fn destroy<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    index: SlotIndex,
    effects: &mut E,
    mode: Mode,
) -> Result<Step, SysError> {
    let slot = store.slot(index);
    let kind = slot.kind();
    if mode != Mode::Revoked && kind != ObjectType::Mapping {
        match (mdb.holds.check(slot), mode) {
            // What is marked goes with its container: its revoke takes it, too, and that
            // of the container waits for nobody who may wait for it.
            (Ok(()), _) | (Err(SysError::Dying), Mode::Inside(_)) => {}
            (Err(_), _) => return Err(SysError::Locked),
        }
    }
    match slot.state() {
        State::Locked => return Err(SysError::Locked),
        State::InProgress => {
            // Nobody has seen the object yet.
            unlink(store, mdb, list, index, effects);
            return Ok(Step::Done);
        }
        // Its transfer may end in another slot.
        State::InTransit if mode == Mode::Revoked => return Err(SysError::Locked),
        State::InTransit => {
            return rescue(store, mdb, list, index, effects, mode, SysError::Locked);
        }
        State::Live | State::Dying => {}
    }
    if kind == ObjectType::Mapping {
        destroy_leaf(store, mdb, list, index, effects)?;
        return Ok(Step::Done);
    }
    if slot.is_tombstone() && mode == Mode::Revoked {
        unlink(store, mdb, list, index, effects);
        return Ok(Step::Done);
    }
    if slot.is_tombstone() {
        return rescue(store, mdb, list, index, effects, mode, SysError::Foreign);
    }
    let after = next(store, index);
    let copy = mdb.copy_beside(store, index, after);
    if !copy.is_none() {
        remove_copy(store, mdb, list, index, copy, effects);
        return Ok(Step::Done);
    }
    let is_owned = mdb.owns(slot);
    // Beside what is owned there is no tombstone of it.
    let after_object = |store: &S, after| {
        if is_owned {
            after
        } else {
            after_tombstone(store, index, after)
        }
    };
    let after = after_object(store, after);
    if is_owned && mode != Mode::Revoked {
        let has_remote_copies = slot.has_flags(SlotFlags::REMOTE_COPIES);
        if has_remote_copies && kind != ObjectType::Notify {
            return rescue(
                store,
                mdb,
                list,
                index,
                effects,
                mode,
                SysError::ThroughMonitor,
            );
        }
        if is_conserved(kind) && !mdb.has_ancestors(store, index) {
            return rescue(store, mdb, list, index, effects, mode, SysError::LastCopy);
        }
    }
    match kind {
        ObjectType::Frame | ObjectType::DevFrame | ObjectType::EndpointUmp => {
            // Mostly there is one mapping at most: then this is the last step.
            if remove_mapping_of(store, mdb, list, index, after, effects)
                && is_mapped(store, index, after_object(store, next(store, index)))
            {
                begin(store, list, index, mode);
                return Ok(Step::Again);
            }
            if is_owned {
                effects.released(store.slot(index));
            }
            unlink(store, mdb, list, index, effects);
            Ok(Step::Done)
        }
        ObjectType::VNodeL0 | ObjectType::VNodeL1 | ObjectType::VNodeL2 | ObjectType::VNodeL3
            if remove_mapping_of(store, mdb, list, index, after, effects) =>
        {
            begin(store, list, index, mode);
            Ok(Step::Again)
        }
        ObjectType::VNodeL0 | ObjectType::VNodeL1 | ObjectType::VNodeL2 | ObjectType::VNodeL3
            if has_mapping_in(store, index, effects) =>
        {
            begin(store, list, index, mode);
            remove_mapping_in(store, mdb, list, index, effects);
            Ok(Step::Again)
        }
        ObjectType::L1CNode | ObjectType::L2CNode | ObjectType::Dispatcher => {
            begin_container(store, mdb, list, index, effects, mode);
            match container_slot(store, index, 0, effects) {
                Some(first) if !first.is_none() => {
                    host(store, mdb, list, index, first, effects, mode)?;
                    Ok(Step::Again)
                }
                // A CNode in memory that isn't ours, which no operation makes,
                // or a dispatcher without slots: there is nothing inside.
                _ => destroy_without_slots(store, mdb, list, index, effects),
            }
        }
        _ => {
            let slot = store.slot(index);
            if kind == ObjectType::IrqDest {
                effects.unbind_irq(slot);
            } else if is_owned {
                effects.released(slot);
            }
            unlink(store, mdb, list, index, effects);
            Ok(Step::Done)
        }
    }
}

/// Deletes what takes one step: a mapping, an endpoint, a notification.
fn destroy_leaf<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    index: SlotIndex,
    effects: &mut E,
) -> Result<(), SysError> {
    let slot = store.slot(index);
    if slot.state() == State::Locked {
        return Err(SysError::Locked);
    }
    if slot.is_kind(ObjectType::Mapping) {
        effects.unmap(slot);
    } else {
        let copy = mdb.other_copy(store, index);
        if !copy.is_none() {
            remove_copy(store, mdb, list, index, copy, effects);
            return Ok(());
        }
        if mdb.owns(slot) {
            effects.released(slot);
        }
    }
    unlink(store, mdb, list, index, effects);
    Ok(())
}

/// Removes a capability that has a copy, which takes over what it remembered.
pub(crate) fn remove_copy<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    index: SlotIndex,
    copy: SlotIndex,
    effects: &mut E,
) {
    if store.slot(index).has_flags(SlotFlags::REMOTE_COPIES) {
        hand_on_copies(store, mdb, index, copy);
    }
    unlink(store, mdb, list, index, effects);
}

/// A dispatcher without slots in its control block: its endpoints, then it.
fn destroy_without_slots<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    index: SlotIndex,
    effects: &mut E,
) -> Result<Step, SysError> {
    if let Some(endpoint) = mdb.first_descendant(store, index) {
        destroy_leaf(store, mdb, list, endpoint, effects)?;
        return Ok(Step::Again);
    }
    effects.released(store.slot(index));
    unlink(store, mdb, list, index, effects);
    Ok(Step::Done)
}

/// Refuses a direct deletion with `refusal`; otherwise moves what mustn't be
/// lost to an empty slot of the kernel's shelter.
fn rescue<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    index: SlotIndex,
    effects: &mut E,
    mode: Mode,
    refusal: SysError,
) -> Result<Step, SysError> {
    if mode == Mode::Direct {
        return Err(refusal);
    }
    let shelter = effects.shelter();
    let mut looked = 0;
    let refuge = (0..shelter.slots)
        .inspect(|_| looked += 1)
        .filter_map(|number| shelter.first.checked_add(number))
        .find(|&refuge| !refuge.is_none() && store.slot(refuge).is_empty());
    effects.looked_for_refuge(looked);
    let refuge = refuge.ok_or(SysError::NoResources)?;
    effects.orphaned(store.slot(index), refuge);
    if store.slot(index).has_flags(SlotFlags::QUEUED) {
        list.leave(store, index);
        store.slot_mut(index).set_state(State::Live);
    }
    mdb.move_node(store, index, refuge);
    if !mdb.holds.kept.has(refuge) {
        store.slot_mut(refuge).set_flags(SlotFlags::WATCHED, false);
    }
    Ok(Step::Done)
}

/// Takes what is in `index` from the tree and from the list, and empties the slot; a
/// call that waits in it finds it reserved.
#[inline(always)]
fn unlink<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    index: SlotIndex,
    effects: &mut E,
) {
    unlink_before(store, mdb, list, index, SlotIndex::NONE, effects);
}

/// [`unlink`], by who may know the next in order: none for not.
#[inline(always)]
fn unlink_before<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    index: SlotIndex,
    after: SlotIndex,
    effects: &mut E,
) {
    let slot = store.slot(index);
    let noted = SlotFlags::WATCHED
        .union(SlotFlags::QUEUED)
        .union(SlotFlags::COUNTED);
    if slot.has_flags(noted) {
        return unlink_noted(store, mdb, list, index, effects);
    }
    mdb.remove_before(store, index, after);
}

/// [`unlink`] for what others want to know of.
#[cold]
#[inline(never)]
fn unlink_noted<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    index: SlotIndex,
    effects: &mut E,
) {
    let slot = store.slot(index);
    let is_reserved = slot.has_flags(SlotFlags::RESERVES);
    if slot.has_flags(SlotFlags::WATCHED) && !mdb.holds.kept.has(index) {
        effects.lost(index, slot);
    }
    if slot.has_flags(SlotFlags::COUNTED) && mdb.copy_to_revoke(store, index).is_none() {
        effects.no_senders(slot);
    }
    if slot.has_flags(SlotFlags::QUEUED) {
        list.leave(store, index);
    }
    mdb.remove(store, index);
    if is_reserved {
        store.slot_mut(index).set_state(State::Dying);
    }
}

/// Removes the first mapping of the frame or table in `index`, which is in `after`,
/// the next in order; false when it has none.
#[inline]
fn remove_mapping_of<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    index: SlotIndex,
    after: SlotIndex,
    effects: &mut E,
) -> bool {
    let is_mapped = is_mapped(store, index, after);
    if is_mapped {
        effects.unmap(store.slot(after));
        unlink(store, mdb, list, after, effects);
    }
    is_mapped
}

/// Whether `after`, the next in order, is a mapping of the frame or table in `index`.
#[inline]
fn is_mapped<S: SlotStore>(store: &S, index: SlotIndex, after: SlotIndex) -> bool {
    if after.is_none() {
        return false;
    }
    let (slot, mapping) = (store.slot(index), store.slot(after));
    mapping.is_kind(ObjectType::Mapping) && mapping.base == slot.base && mapping.size == slot.size
}

/// Whether a mapping is left in the table in `index`.
fn has_mapping_in<S: SlotStore, E: Effects>(store: &S, index: SlotIndex, effects: &mut E) -> bool {
    let table = store.slot(index);
    let from = if table.state() == State::Dying {
        table.progress
    } else {
        0
    };
    let entry = effects.next_mapping(table, from);
    entry.is_some_and(|(entry, _)| u64::from(entry) < VNODE_ENTRIES)
}

/// Removes the next mapping in the table in `index`, which is on the list.
fn remove_mapping_in<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    index: SlotIndex,
    effects: &mut E,
) {
    let table = store.slot(index);
    let Some((entry, mapping)) = effects.next_mapping(table, table.progress) else {
        return;
    };
    store.slot_mut(index).progress = entry + 1;
    if !mapping.is_none() && store.slot(mapping).is_kind(ObjectType::Mapping) {
        effects.unmap(store.slot(mapping));
        unlink(store, mdb, list, mapping, effects);
    }
}

/// Slot `number` of the container in `index`: `None` past the last, or
/// [`SlotIndex::NONE`] for one that a dispatcher lacks.
fn container_slot<S: SlotStore, E: Effects>(
    store: &S,
    index: SlotIndex,
    number: u32,
    effects: &mut E,
) -> Option<SlotIndex> {
    let slot = store.slot(index);
    if slot.is_kind(ObjectType::Dispatcher) {
        let mut slots = effects.dispatcher_slots(slot.address());
        // Those that exist first: the first hosts the dispatcher's capability.
        slots.sort_unstable_by_key(|slot| slot.is_none());
        slots.get(usize::try_from(number).ok()?).copied()
    } else {
        cnode_slot(store, index, number)
    }
}

/// Marks a container dying, and stops it if it is a dispatcher.
fn begin_container<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &Mdb,
    list: &mut DeleteList,
    index: SlotIndex,
    effects: &mut E,
    mode: Mode,
) {
    let slot = store.slot(index);
    if slot.state() != State::Live {
        return;
    }
    if slot.is_kind(ObjectType::Dispatcher) {
        let dispatcher = slot.address();
        effects.stop_dispatcher(dispatcher);
        // It has stopped: that it loses them is no news any more.
        for inner in effects.dispatcher_slots(dispatcher) {
            if !inner.is_none() {
                store.slot_mut(inner).set_flags(SlotFlags::WATCHED, false);
            }
        }
    }
    // It goes to the container's own first slot, so this one loses it now.
    if store.slot(index).has_flags(SlotFlags::WATCHED) && !mdb.holds.kept.has(index) {
        effects.lost(index, store.slot(index));
        store.slot_mut(index).set_flags(SlotFlags::WATCHED, false);
    }
    begin(store, list, index, mode);
}

/// One step towards the container in `index` hosting itself in its slot `first`.
fn host<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    index: SlotIndex,
    first: SlotIndex,
    effects: &mut E,
    mode: Mode,
) -> Result<(), SysError> {
    if first == index {
        return Ok(());
    }
    // What lies in the first slot may come to `index` only if that dies too.
    if matches!(mode, Mode::Inside(_)) || !store.slot(first).is_occupied() {
        return exchange(store, mdb, list, index, first, effects);
    }
    // If that is a container, it changes places with what lies in its own first slot: no
    // further nesting.
    destroy(store, mdb, list, first, effects, Mode::Inside(index)).map(|_| ())
}

/// Moves the dying container's capability from `index` to its own slot `first`; what
/// lay there comes to `index`, or a call that waits keeps that reserved.
fn exchange<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    index: SlotIndex,
    first: SlotIndex,
    effects: &mut E,
) -> Result<(), SysError> {
    let inner = store.slot(first);
    if inner.is_occupied() && inner.state() == State::Locked {
        return Err(SysError::Locked);
    }
    if inner.is_kind(ObjectType::Mapping) {
        // Its table knows where it lies: it can't move.
        destroy_leaf(store, mdb, list, first, effects)?;
    }
    let is_waited_for = store.slot(index).has_flags(SlotFlags::RESERVES);
    store.slot_mut(index).set_flags(SlotFlags::RESERVES, false);
    if store.slot(first).is_occupied() {
        // Both may be dying, each in a ring: then what comes here joins this one's.
        // A call that waited for it named a slot that goes.
        let is_dying = store.slot(first).has_flags(SlotFlags::QUEUED);
        let progress = store.slot(first).progress;
        if is_dying {
            list.leave(store, first);
        }
        list.rename(store, index, first);
        mdb.swap_nodes(store, index, first);
        if is_dying {
            DeleteList::begin_with(store, index, first);
            store.slot_mut(index).progress = progress;
        }
    } else {
        free_reserved(store, list, first);
        list.rename(store, index, first);
        mdb.move_node(store, index, first);
        if is_waited_for {
            list.reserve(store, index, first);
        }
    }
    Ok(())
}
