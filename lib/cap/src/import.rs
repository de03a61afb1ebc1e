//! Import: a capability from another kernel.
//!
//! Nothing that a record says is taken against what this kernel knows. What was
//! moved away comes home in the place of its tombstone; what was never here is
//! adopted; a copy is foreign, and lies beside others to the same object.

use capelin_abi::{KernelId, ObjectType, Rights, SysError};

use crate::copy::copied;
use crate::create::{check_range, has_rival};
use crate::decode::vacant;
use crate::delete::Step;
use crate::key::{is_mapped_kind, is_same};
use crate::mdb::{Mdb, next};
use crate::record::{CapRecord, ExportMode};
use crate::slot::{Slot, SlotFlags, State};
use crate::slot_index::SlotIndex;
use crate::store::SlotStore;
use crate::transfer::note_handed_over;

/// Capabilities in the range of a copy that one step of an import looks at.
pub const LOOKS_AT_ONCE: usize = 128;
/// How often a look begins anew, since others insert something meanwhile, before the import
/// gives up: they could go on with that for ever.
pub const LOOKS_AGAIN: u8 = 64;

/// How far an import has come with its look at what lies in the range of a copy, kept from
/// one step to the next by whoever calls. It is an import's of one capability: with another,
/// the look begins, as if for the first time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Looking {
    /// What is looked at next; none at the beginning.
    next: SlotIndex,
    owner: KernelId,
    is_executable: bool,
    /// Tagged.
    base: u64,
    size: u64,
    /// How often it has begun anew.
    again: u8,
}

impl Looking {
    /// Nothing of the range of `slot` was looked at.
    const fn of(slot: &Slot) -> Self {
        Self {
            next: SlotIndex::NONE,
            owner: slot.owner(),
            is_executable: slot.is_executable(),
            base: slot.base,
            size: slot.size,
            again: 0,
        }
    }

    /// What a look at the range of `slot` goes on with, if all before that was looked at.
    fn reached<S: SlotStore>(&self, mdb: &Mdb, store: &S, slot: &Slot) -> Option<SlotIndex> {
        let next = self.next;
        let stands = self.is_of(slot) && mdb.looked_to() == next && store.slot(next).is_occupied();
        stands.then_some(next)
    }

    /// Whether it was begun, for the range of `slot`.
    fn is_of(&self, slot: &Slot) -> bool {
        let Self { next, again, .. } = *self;
        let same = Self {
            next,
            again,
            ..Self::of(slot)
        };
        !next.is_none() && *self == same
    }

    /// What was to be looked at next is gone: `next` is.
    pub(crate) const fn skip_to(&mut self, mdb: &mut Mdb, next: SlotIndex) {
        self.next = next;
        mdb.note_looked_to(next);
    }
}

/// Puts the capability that `record` describes into the empty slot `dst`.
///
/// Nothing changes when it fails: the sender aborts the transfer
/// ([`crate::abort`]) and has what it had.
///
/// # Errors
/// `NoSuchSlot` or `SlotInUse` for `dst`; `WrongType`, `OutOfRange`,
/// `Unaligned` or `InvalidArgument` for the record; `RangeInUse` where what is
/// known here contradicts it; `Locked` or `Dying` for what is locked, or in a range
/// that is marked, here; `Locked` also for a copy with many capabilities in its range, while others
/// go on inserting some; `Dying` for a copy of what this kernel owned and
/// is gone; `InvalidArgument` also where one of two copies were executable.
pub fn import<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    record: &CapRecord,
    dst: SlotIndex,
) -> Result<(), SysError> {
    let mut looking = Looking::default();
    while import_if(store, mdb, record, dst, &mut looking, || Ok(()))? == Step::Again {}
    Ok(())
}

/// One step of [`import`], if `take` succeeds, which tells the sender that the capability
/// has been taken: it is called once, when nothing else can fail any more. A step looks at
/// [`LOOKS_AT_ONCE`] capabilities in the range; when anything was inserted between two
/// steps, the next begins anew, at most [`LOOKS_AGAIN`] times.
///
/// # Errors
/// As [`import`], and what `take` says; nothing has changed then.
pub fn import_if<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    record: &CapRecord,
    dst: SlotIndex,
    looking: &mut Looking,
    take: impl FnOnce() -> Result<(), SysError>,
) -> Result<Step, SysError> {
    vacant(store, dst)?;
    check_range(&record.capability)?;
    if !record.mode.takes(record.capability.kind) {
        return Err(SysError::WrongType);
    }
    if record.owner.0 >= KernelId::LIMIT {
        return Err(SysError::InvalidArgument);
    }
    let mut slot = Slot::holding(&record.capability, record.owner);
    if record.is_executable {
        if !slot.is_kind(ObjectType::Frame) || slot.rights().contains(Rights::WRITE) {
            return Err(SysError::InvalidArgument);
        }
        slot.set_flags(SlotFlags::EXECUTABLE, true);
    }
    mdb.holds.check(&slot)?;
    let before = mdb.last_not_after(store, &slot);
    let is_known = !before.is_none() && is_same(store.slot(before), &slot);
    match record.mode {
        // These have operations of their own.
        ExportMode::Claim | ExportMode::HandOver => Err(SysError::InvalidArgument),
        ExportMode::Move if record.owner != mdb.kernel() => Err(SysError::InvalidArgument),
        ExportMode::Move if is_known => bring_home(store, mdb, before, &slot, dst, take),
        ExportMode::Move => adopt(store, mdb, before, slot, record, dst, take),
        ExportMode::Copy if record.owner == mdb.kernel() => {
            take_back(store, mdb, is_known, before, &slot, dst, take)
        }
        ExportMode::Copy => {
            if is_known {
                beside(store, mdb, before, slot, dst, take)
            } else {
                return take_foreign(store, mdb, before, slot, dst, looking, take);
            }
        }
    }
    .map(|()| Step::Done)
}

/// After `RangeInUse` (of [`crate::reclaim_if`], `HasRelations`): the Notify of another kernel's
/// that keeps what `record` carries from coming here, with what comes behind it; `None` where
/// something else does. Where that range is no kernel's home, the Notify is of an earlier time:
/// its dispatcher is gone, it rings nobody, and it claims no memory.
pub(crate) fn notify_in_the_way<S: SlotStore>(
    store: &S,
    mdb: &Mdb,
    record: &CapRecord,
    looking: &Looking,
) -> Option<(SlotIndex, SlotIndex)> {
    let slot = Slot::holding(&record.capability, record.owner);
    let index = if record.mode == ExportMode::Copy {
        looking.reached(mdb, store, &slot)?
    } else {
        // Whatever it is that lies there first is in the way.
        let before = mdb.last_not_after(store, &slot);
        mdb.first_inside(store, before, &slot)?
    };
    let found = store.slot(index);
    let is_inside = found.base >= slot.base && found.base < slot.end();
    let is_meant = is_inside && found.is_kind(ObjectType::Notify) && !mdb.owns(found);
    is_meant.then(|| (index, next(store, index)))
}

/// Puts the object of `record`, which its owner hands over to this kernel, into the empty
/// slot `dst`: copies of it are here, and they and others elsewhere stay what they are.
/// `take` as in [`import_if`].
///
/// The copies here name the old owner until one of them takes over from the capability in
/// `dst`: an owner's name in a foreign capability is where to ask first.
///
/// # Errors
/// As [`import`]; `InvalidArgument` for a record that hands nothing over to this kernel;
/// `EmptySlot` where no copy is here any more, so that another kernel has to be asked.
pub fn adopt_if<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    record: &CapRecord,
    dst: SlotIndex,
    take: impl FnOnce() -> Result<(), SysError>,
) -> Result<(), SysError> {
    vacant(store, dst)?;
    if record.mode != ExportMode::HandOver || record.owner != mdb.kernel() {
        return Err(SysError::InvalidArgument);
    }
    check_range(&record.capability)?;
    if !record.mode.takes(record.capability.kind) {
        return Err(SysError::WrongType);
    }
    let mut slot = Slot::holding(&record.capability, record.owner);
    slot.set_flags(SlotFlags::EXECUTABLE, record.is_executable);
    mdb.holds.check(&slot)?;
    let tombstone = mdb.tombstone(store, &slot);
    let mut copy = mdb.last_not_after(store, &slot);
    if Some(copy) == tombstone {
        copy = mdb.other_copy(store, copy);
    }
    if copy.is_none() || !is_same(store.slot(copy), &slot) {
        return Err(SysError::EmptySlot);
    }
    let known = store.slot(copy);
    if mdb.owns(known) || known.is_executable() != slot.is_executable() {
        return Err(SysError::RangeInUse);
    }
    if let Some(tombstone) = tombstone {
        take()?;
        come_home(store, mdb, tombstone, &slot, dst);
    } else {
        slot.set_flags(SlotFlags::REMOTE_ANCESTORS, record.has_ancestors);
        slot.set_flags(SlotFlags::REMOTE_FRAME, record.is_in_frame);
        slot.set_depth_of(known);
        take()?;
        mdb.insert_beside(store, copy, dst, slot);
    }
    note_handed_over(store, mdb, dst);
    Ok(())
}

/// A moved capability returns to the kernel that has its tombstone.
fn bring_home<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    tombstone: SlotIndex,
    slot: &Slot,
    dst: SlotIndex,
    take: impl FnOnce() -> Result<(), SysError>,
) -> Result<(), SysError> {
    // With foreign copies here, the sender couldn't move it.
    let is_alone = !mdb.has_copies(store, tombstone) && !mdb.has_descendants(store, tombstone);
    if !store.slot(tombstone).is_tombstone() || !is_alone {
        return Err(SysError::RangeInUse);
    }
    take()?;
    come_home(store, mdb, tombstone, slot, dst);
    Ok(())
}

/// `slot` takes the place of its tombstone.
fn come_home<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    tombstone: SlotIndex,
    slot: &Slot,
    dst: SlotIndex,
) {
    mdb.move_node(store, tombstone, dst);
    // What the tombstone remembers of its ancestors holds again.
    let here = store.slot_mut(dst);
    here.set_owner(slot.owner());
    here.set_rights(slot.rights());
    here.set_executable_as(slot);
    here.data = slot.data;
    mdb.set_remote_flag(store, dst, SlotFlags::TOMBSTONE, false);
}

/// A moved capability arrives for the first time.
fn adopt<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    before: SlotIndex,
    mut slot: Slot,
    record: &CapRecord,
    dst: SlotIndex,
    take: impl FnOnce() -> Result<(), SysError>,
) -> Result<(), SysError> {
    // Only what was moved away can contain it: it comes back in parts.
    let around = mdb.innermost_around(store, &slot);
    let is_owned_here = !around.is_none() && !store.slot(around).is_tombstone();
    if is_owned_here
        || has_rival(store, mdb, before, &slot)
        || mdb.crosses(store, slot.base, slot.end())
        || mdb.first_inside(store, before, &slot).is_some()
    {
        return Err(SysError::RangeInUse);
    }
    slot.set_flags(SlotFlags::REMOTE_ANCESTORS, record.has_ancestors);
    slot.set_flags(SlotFlags::REMOTE_FRAME, record.is_in_frame);
    if !around.is_none() {
        slot.set_depth_below(store.slot(around));
    }
    take()?;
    mdb.insert_after(store, before, dst, slot);
    Ok(())
}

/// A copy of what this kernel owns comes from another.
fn take_back<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    is_known: bool,
    original: SlotIndex,
    slot: &Slot,
    dst: SlotIndex,
    take: impl FnOnce() -> Result<(), SysError>,
) -> Result<(), SysError> {
    if !is_known || store.slot(original).state() != State::Live || !mdb.owns(store.slot(original)) {
        return Err(SysError::Dying);
    }
    let mut copy = copied(store.slot(original), Rights::all());
    if copy.is_executable() != slot.is_executable() {
        return Err(SysError::InvalidArgument);
    }
    copy.set_rights(slot.rights());
    copy.data = slot.data;
    take()?;
    mdb.insert_beside(store, original, dst, copy);
    Ok(())
}

/// Another copy of what another kernel owns: beside foreign copies, or the tombstone of what
/// was moved to its owner, in `known`.
fn beside<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    known: SlotIndex,
    mut slot: Slot,
    dst: SlotIndex,
    take: impl FnOnce() -> Result<(), SysError>,
) -> Result<(), SysError> {
    let mut copy = known;
    if store.slot(copy).is_tombstone() {
        copy = mdb.other_copy(store, copy);
    }
    let is_as_known = copy.is_none() || store.slot(copy).is_executable() == slot.is_executable();
    // Whom it names as its owner is where to ask first: it may have been handed over.
    if mdb.owns(store.slot(known)) || !is_as_known {
        return Err(SysError::RangeInUse);
    }
    slot.set_depth_of(store.slot(known));
    take()?;
    mdb.insert_beside(store, known, dst, slot);
    Ok(())
}

/// The first copy of what another kernel owns.
fn take_foreign<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    before: SlotIndex,
    mut slot: Slot,
    dst: SlotIndex,
    looking: &mut Looking,
    take: impl FnOnce() -> Result<(), SysError>,
) -> Result<Step, SysError> {
    let around = mdb.innermost_around(store, &slot);
    if !around.is_none() {
        let around = store.slot(around);
        slot.set_depth_below(around);
        // The image of a core, and addresses that aren't known to be memory,
        // contain what other kernels made of them.
        let may_contain = around.is_tombstone()
            || around.is_kind(ObjectType::CoreImage)
            || around.is_kind(ObjectType::PhysAddr)
            || around.owner() == slot.owner();
        // What is in a frame is executable if that is.
        let is_as_around = around.is_tombstone()
            || !is_mapped_kind(around.kind())
            || around.is_executable() == slot.is_executable();
        if !may_contain || !is_as_around {
            return Err(SysError::RangeInUse);
        }
    }
    if has_rival(store, mdb, before, &slot) || mdb.crosses(store, slot.base, slot.end()) {
        return Err(SysError::RangeInUse);
    }
    let inside = mdb.first_inside(store, before, &slot);
    if let Some(first) = inside
        && look_inside(store, mdb, first, &slot, looking)? == Step::Again
    {
        return Ok(Step::Again);
    }
    take()?;
    if inside.is_some() {
        mdb.note_odd_nesting();
    }
    mdb.insert_after(store, before, dst, slot);
    Ok(Step::Done)
}

/// Looks at what lies in the range of `slot`, from `first` on: all of it must be its owner's,
/// since a frame around it reaches it, and executable as it is. Done when nothing is left.
///
/// # Errors
/// `RangeInUse` for what isn't; `Locked` when it has begun anew [`LOOKS_AGAIN`] times.
fn look_inside<S: SlotStore>(
    store: &S,
    mdb: &mut Mdb,
    first: SlotIndex,
    slot: &Slot,
    looking: &mut Looking,
) -> Result<Step, SysError> {
    let before = *looking;
    let reached = looking.reached(mdb, store, slot);
    let mut inside = reached.unwrap_or(first);
    *looking = Looking::of(slot);
    let again = match reached {
        Some(_) => before.again,
        None if before.is_of(slot) => before.again + 1,
        None => 0,
    };
    if again > LOOKS_AGAIN {
        return Err(SysError::Locked);
    }
    for _ in 0..LOOKS_AT_ONCE {
        if inside.is_none() || store.slot(inside).base >= slot.end() {
            return Ok(Step::Done);
        }
        let other = store.slot(inside);
        let is_as_slot = other.is_tombstone()
            || !is_mapped_kind(other.kind())
            || other.is_executable() == slot.is_executable();
        if other.owner() != slot.owner() || !is_as_slot {
            // It may be one that goes (`notify_in_the_way`).
            looking.skip_to(mdb, inside);
            return Err(SysError::RangeInUse);
        }
        inside = next(store, inside);
    }
    if inside.is_none() {
        return Ok(Step::Done);
    }
    looking.again = again;
    looking.skip_to(mdb, inside);
    Ok(Step::Again)
}
