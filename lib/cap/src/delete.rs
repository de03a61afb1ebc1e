//! Delete: one capability goes, and with the last one its object.
//!
//! Every call does one bounded step. What is begun is marked dying, refuses all
//! else, and is continued by the same call issued again, or by whoever deletes
//! what it lies in.
//!
//! CNodes, and dispatchers with the capabilities in their control blocks,
//! are *containers*: to empty one takes many steps and finds further containers.
//! Instead of recursing, a dying container's last capability moves to the
//! container's own first slot and joins the [`DeleteList`] there:
//!
//! ```text
//!   X: [A]      A: [D | … ]          D is deleted first, then
//!   X: [ ]      A: [A | … ] ← list   A hosts itself
//! ```
//!
//! If D is the last capability to a container B, the two exchange places, so B
//! hosts itself and what lay in B's first slot lies in A's. Each exchange puts
//! one container on the list, so it ends. No dying container lies in another's
//! memory: they finish in any order, cycles included, and each claims its range
//! until it is empty.
//!
//! Long, since it is one state machine: splitting its steps would hide that every one
//! of them leaves the list and the tree as the next expects them.

use capelin_abi::capability::VNODE_ENTRIES;
use capelin_abi::{ObjectType, SysError};

use crate::key::is_conserved;
use crate::mdb::{Mdb, next};
use crate::slot::{Slot, SlotFlags, SlotIndex, State};
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

/// The containers that are being emptied; lies in the kernel control block.
///
/// Links are in the second data word of the capabilities.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct DeleteList {
    head: SlotIndex,
    tail: SlotIndex,
}

impl DeleteList {
    /// Nothing to delete.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            head: SlotIndex::NONE,
            tail: SlotIndex::NONE,
        }
    }

    /// Whether nothing is left to delete.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    fn push<S: SlotStore>(&mut self, store: &mut S, container: SlotIndex) {
        let slot = store.slot_mut(container);
        slot.data[1] = u64::from(self.head.0);
        slot.progress = 1;
        slot.set_state(State::Dying);
        slot.set_flags(SlotFlags::QUEUED, true);
        if self.head.is_none() {
            self.tail = container;
        }
        self.head = container;
    }

    fn pop<S: SlotStore>(&mut self, store: &mut S) {
        self.head = link(store.slot(self.head));
        if self.head.is_none() {
            self.tail = SlotIndex::NONE;
        }
    }

    /// Puts the first last, so that what blocks it doesn't block the others.
    fn rotate<S: SlotStore>(&mut self, store: &mut S) {
        if self.head == self.tail {
            return;
        }
        let first = self.head;
        self.head = link(store.slot(first));
        store.slot_mut(first).data[1] = 0;
        store.slot_mut(self.tail).data[1] = u64::from(first.0);
        self.tail = first;
    }
}

fn link(slot: &Slot) -> SlotIndex {
    SlotIndex(u32::try_from(slot.data[1]).unwrap_or(0))
}

/// Why a capability is deleted, and where it lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Someone asked for just this one: what must not be lost is refused.
    Direct,
    /// It was begun before, or goes with its ancestor; the slot belongs to
    /// someone who is alive.
    Swept,
    /// It lies in a container on the list.
    Inside,
}

/// How many empty slots of a container one step passes over.
const SCAN: u32 = 32;

/// Deletes the capability in `index`. With the last one, the object goes:
/// mappings are undone, tables and CNodes emptied, dispatchers stopped.
///
/// On [`Step::Again`], `index` holds a dying capability or is reserved, until
/// the same call, or [`drain`] and the same call, answers [`Step::Done`].
///
/// # Errors
/// `NoSuchSlot`, `EmptySlot`, `Locked`; `LastCopy` for the last capability to
/// memory or interrupts without a local ancestor; `RemoteRelations` for a
/// tombstone, and for the last owned copy of what has copies elsewhere.
/// While a container is emptied also `Locked` or `NoResources` (from
/// [`Effects::orphaned`]) for something in it: the deletion stays begun and can
/// be continued.
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
    if slot.is_usable() && goes_at_once(store, mdb, index, effects) {
        unlink(store, mdb, index, effects);
        return Ok(Step::Done);
    }
    let mode = match (slot.is_occupied(), slot.state()) {
        (true, State::Dying) if slot.has_flags(SlotFlags::QUEUED) => {
            return drain(store, mdb, list, effects);
        }
        (true, State::Dying) => Mode::Swept,
        (true, _) => Mode::Direct,
        (false, State::Dying) => {
            let step = drain(store, mdb, list, effects)?;
            // The container's own first slot may be this one: look again.
            if step == Step::Done && !store.slot(index).is_occupied() {
                *store.slot_mut(index) = Slot::EMPTY;
            }
            return Ok(step);
        }
        (false, _) => return Err(SysError::EmptySlot),
    };
    let step = destroy(store, mdb, list, index, effects, mode)?;
    if step == Step::Again && store.slot(index).is_empty() {
        store.slot_mut(index).set_state(State::Dying);
    }
    Ok(step)
}

/// Whether nothing but its slot goes with the usable capability in `index`, which is so
/// for most: a mapping (unmapped here), a copy, or the last capability to a frame of
/// this kernel's that is mapped nowhere and whose memory an ancestor claims.
/// [`destroy`] would find the same, among much else.
#[inline(always)]
fn goes_at_once<S: SlotStore, E: Effects>(
    store: &S,
    mdb: &Mdb,
    index: SlotIndex,
    effects: &mut E,
) -> bool {
    let slot = store.slot(index);
    if slot.is_kind(ObjectType::Mapping) {
        effects.unmap(slot);
        return true;
    }
    if !slot.is_occupied() || slot.has_flags(SlotFlags::REMOTE_COPIES) {
        return false;
    }
    let after = next(store, index);
    if !mdb.copy_beside(store, index, after).is_none() {
        return true;
    }
    let is_claimed = slot.is_kind(ObjectType::Frame)
        && slot.has_flags(SlotFlags::HAS_ANCESTOR)
        && mdb.owns(slot);
    if is_claimed && !is_mapped(store, index, after) {
        effects.released(slot);
        return true;
    }
    false
}

/// Does one step of emptying the containers on the list, whoever began it. For a
/// kernel with nothing else to do, and before `HomeRam` is given away.
///
/// # Errors
/// `Locked` or `NoResources`, as [`delete`]; the next call tries another
/// container.
pub fn drain<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    effects: &mut E,
) -> Result<Step, SysError> {
    if list.is_empty() {
        return Ok(Step::Done);
    }
    let result = empty_container(store, mdb, list, list.head, effects);
    if result.is_err() {
        list.rotate(store);
    }
    result
}

/// One step of emptying the container `head`, the first on the list.
fn empty_container<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    head: SlotIndex,
    effects: &mut E,
) -> Result<Step, SysError> {
    if store.slot(head).is_kind(ObjectType::Dispatcher)
        && let Some(endpoint) = mdb.first_descendant(store, head)
    {
        destroy_leaf(store, mdb, endpoint, effects)?;
        return Ok(Step::Again);
    }
    let mut number = store.slot(head).progress;
    for _ in 0..SCAN {
        let Some(inner) = container_slot(store, head, number, effects) else {
            list.pop(store);
            effects.released(store.slot(head));
            unlink(store, mdb, head, effects);
            return Ok(if list.is_empty() {
                Step::Done
            } else {
                Step::Again
            });
        };
        if !inner.is_none() {
            if store.slot(inner).is_occupied() {
                store.slot_mut(head).progress = number;
                let step = destroy(store, mdb, list, inner, effects, Mode::Inside)?;
                if step == Step::Done {
                    store.slot_mut(head).progress = number + 1;
                }
                return Ok(Step::Again);
            }
            // It may be reserved by a deletion that nobody continued.
            store.slot_mut(inner).set_state(State::Live);
        }
        number += 1;
    }
    store.slot_mut(head).progress = number;
    Ok(Step::Again)
}

/// One step of deleting the capability in `index`. `Done` means that the slot is
/// empty and nothing is left to do for it.
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
    match slot.state() {
        State::Locked => return Err(SysError::Locked),
        State::InProgress => {
            // Nobody has seen the object yet.
            unlink(store, mdb, index, effects);
            return Ok(Step::Done);
        }
        // Its transfer may end in another slot.
        State::InTransit => {
            return rescue(store, mdb, index, effects, mode, SysError::Locked);
        }
        State::Live | State::Dying => {}
    }
    if kind == ObjectType::Mapping {
        return destroy_leaf(store, mdb, index, effects);
    }
    if slot.is_tombstone() {
        return rescue(store, mdb, index, effects, mode, SysError::RemoteRelations);
    }
    let after = next(store, index);
    let copy = mdb.copy_beside(store, index, after);
    if !copy.is_none() {
        remove_copy(store, mdb, index, copy, effects);
        return Ok(Step::Done);
    }
    let is_owned = mdb.owns(slot);
    if is_owned {
        let has_remote_copies = slot.has_flags(SlotFlags::REMOTE_COPIES);
        if has_remote_copies && kind != ObjectType::Notify {
            return rescue(store, mdb, index, effects, mode, SysError::RemoteRelations);
        }
        if is_conserved(kind) && !mdb.has_ancestors(store, index) {
            return rescue(store, mdb, index, effects, mode, SysError::LastCopy);
        }
    }
    match kind {
        ObjectType::Frame | ObjectType::DevFrame | ObjectType::EndpointUmp => {
            // Mostly there is one mapping at most: then this is the last step.
            if remove_mapping_of(store, mdb, index, after, effects)
                && is_mapped(store, index, next(store, index))
            {
                return Ok(Step::Again);
            }
            if is_owned {
                effects.released(store.slot(index));
            }
            unlink(store, mdb, index, effects);
            Ok(Step::Done)
        }
        ObjectType::VNodeL0 | ObjectType::VNodeL1 | ObjectType::VNodeL2 | ObjectType::VNodeL3
            if remove_mapping_of(store, mdb, index, after, effects)
                || remove_mapping_in(store, mdb, index, effects) =>
        {
            Ok(Step::Again)
        }
        ObjectType::L1CNode | ObjectType::L2CNode | ObjectType::Dispatcher => {
            begin_container(store, index, effects);
            match container_slot(store, index, 0, effects) {
                Some(first) if !first.is_none() => {
                    host(store, mdb, list, index, first, effects, mode)?;
                    Ok(Step::Again)
                }
                // A CNode in memory that isn't ours, which no operation makes,
                // or a dispatcher without slots: there is nothing inside.
                _ => destroy_without_slots(store, mdb, index, effects),
            }
        }
        _ => {
            let slot = store.slot(index);
            if kind == ObjectType::IrqDest {
                effects.unbind_irq(slot);
            } else if is_owned {
                effects.released(slot);
            }
            unlink(store, mdb, index, effects);
            Ok(Step::Done)
        }
    }
}

/// Deletes what takes one step: a mapping, an endpoint, a notification.
fn destroy_leaf<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    index: SlotIndex,
    effects: &mut E,
) -> Result<Step, SysError> {
    let slot = store.slot(index);
    if slot.state() == State::Locked {
        return Err(SysError::Locked);
    }
    if slot.is_kind(ObjectType::Mapping) {
        effects.unmap(slot);
    } else {
        let copy = mdb.other_copy(store, index);
        if !copy.is_none() {
            remove_copy(store, mdb, index, copy, effects);
            return Ok(Step::Done);
        }
        if mdb.owns(slot) {
            effects.released(slot);
        }
    }
    unlink(store, mdb, index, effects);
    Ok(Step::Done)
}

/// Removes a capability that has a copy, which takes over what it remembered.
pub(crate) fn remove_copy<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    index: SlotIndex,
    copy: SlotIndex,
    effects: &mut E,
) {
    if store.slot(index).has_flags(SlotFlags::REMOTE_COPIES) {
        hand_on_copies(store, mdb, index, copy);
    }
    unlink(store, mdb, index, effects);
}

/// A dispatcher without slots in its control block: its endpoints, then it.
fn destroy_without_slots<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    index: SlotIndex,
    effects: &mut E,
) -> Result<Step, SysError> {
    if let Some(endpoint) = mdb.first_descendant(store, index) {
        destroy_leaf(store, mdb, endpoint, effects)?;
        return Ok(Step::Again);
    }
    effects.released(store.slot(index));
    unlink(store, mdb, index, effects);
    Ok(Step::Done)
}

/// Refuses a direct deletion with `refusal`; otherwise moves what mustn't be
/// lost to a slot that the kernel names.
fn rescue<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    index: SlotIndex,
    effects: &mut E,
    mode: Mode,
    refusal: SysError,
) -> Result<Step, SysError> {
    if mode == Mode::Direct {
        return Err(refusal);
    }
    let shelter = effects
        .orphaned(store.slot(index))
        .unwrap_or(SlotIndex::NONE);
    if shelter.is_none() || !store.slot(shelter).is_empty() {
        return Err(SysError::NoResources);
    }
    mdb.move_node(store, index, shelter);
    let slot = store.slot_mut(shelter);
    if slot.state() == State::Dying {
        slot.set_state(State::Live);
    }
    slot.set_flags(SlotFlags::WATCHED, false);
    Ok(Step::Done)
}

fn unlink<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    index: SlotIndex,
    effects: &mut E,
) {
    let slot = store.slot(index);
    if slot.has_flags(SlotFlags::WATCHED) {
        effects.lost(index, slot);
    }
    mdb.remove(store, index);
}

/// Removes the first mapping of the frame or table in `index`, which is in `after`,
/// the next in order; false when it has none.
#[inline]
fn remove_mapping_of<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    index: SlotIndex,
    after: SlotIndex,
    effects: &mut E,
) -> bool {
    let is_mapped = is_mapped(store, index, after);
    if is_mapped {
        effects.unmap(store.slot(after));
        store.slot_mut(index).set_state(State::Dying);
        unlink(store, mdb, after, effects);
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

/// Removes the next mapping in the table in `index`; false when there is none.
fn remove_mapping_in<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    index: SlotIndex,
    effects: &mut E,
) -> bool {
    let table = store.slot(index);
    let entry = effects.next_mapping(table.address(), table.progress);
    let Some((entry, mapping)) = entry.filter(|(entry, _)| u64::from(*entry) < VNODE_ENTRIES)
    else {
        return false;
    };
    let table = store.slot_mut(index);
    table.set_state(State::Dying);
    table.progress = entry + 1;
    if !mapping.is_none() && store.slot(mapping).is_kind(ObjectType::Mapping) {
        effects.unmap(store.slot(mapping));
        unlink(store, mdb, mapping, effects);
    }
    true
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
    } else if is_cnode(slot) && number < cnode_slots(slot) {
        cnode_slot(store, index, number)
    } else {
        None
    }
}

/// Marks a container dying, and stops it if it is a dispatcher.
fn begin_container<S: SlotStore, E: Effects>(store: &mut S, index: SlotIndex, effects: &mut E) {
    let slot = store.slot(index);
    if slot.state() == State::Live {
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
        if store.slot(index).has_flags(SlotFlags::WATCHED) {
            effects.lost(index, store.slot(index));
            store.slot_mut(index).set_flags(SlotFlags::WATCHED, false);
        }
        store.slot_mut(index).set_state(State::Dying);
    }
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
        list.push(store, index);
        return Ok(());
    }
    // What lies in the first slot may come to `index` only if that dies too.
    if mode == Mode::Inside || !store.slot(first).is_occupied() {
        return exchange(store, mdb, list, index, first, effects);
    }
    if let Some(first_of_inner) = last_of_container(store, mdb, first, effects) {
        begin_container(store, first, effects);
        return exchange(store, mdb, list, first, first_of_inner, effects);
    }
    // Not a container: no further nesting.
    destroy(store, mdb, list, first, effects, Mode::Inside).map(|_| ())
}

/// The first slot of the container that the capability in `index` is the last
/// usable one to; `None` if it isn't that.
fn last_of_container<S: SlotStore, E: Effects>(
    store: &S,
    mdb: &Mdb,
    index: SlotIndex,
    effects: &mut E,
) -> Option<SlotIndex> {
    let slot = store.slot(index);
    let is_usable = matches!(slot.state(), State::Live | State::Dying);
    let is_container = is_cnode(slot) || slot.is_kind(ObjectType::Dispatcher);
    if !is_usable || !is_container || mdb.has_copies(store, index) {
        return None;
    }
    container_slot(store, index, 0, effects).filter(|first| !first.is_none() && *first != index)
}

/// Moves the dying container's capability from `index` to its own slot `first`
/// and puts it on the list; what lay there comes to `index`.
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
        destroy_leaf(store, mdb, first, effects)?;
    }
    if store.slot(first).is_occupied() {
        mdb.swap_nodes(store, index, first);
    } else {
        mdb.move_node(store, index, first);
    }
    list.push(store, first);
    // In a cycle, what came here may be the dying capability to the container
    // whose first slot this is.
    let arrived = store.slot(index);
    if arrived.is_occupied()
        && arrived.state() == State::Dying
        && !arrived.has_flags(SlotFlags::QUEUED)
        && is_container_kind(arrived)
        && container_slot(store, index, 0, effects) == Some(index)
    {
        list.push(store, index);
    }
    Ok(())
}

fn is_container_kind(slot: &Slot) -> bool {
    is_cnode(slot) || slot.is_kind(ObjectType::Dispatcher)
}
