//! Holds: objects that an operation between kernels has locked, and ranges that are
//! marked to be revoked, by such an operation or by this kernel alone.
//!
//! A lock or mark is about an object, not about a slot: whatever capability names the
//! object, or lies in a marked range, is asked about here by every use, import and
//! export. So no copy is a way round it, and a capability that arrives while its range
//! is marked is refused. Nothing is walked to set one. The table is small and lies in
//! the kernel control block; when it is empty, which is nearly always, asking is one
//! comparison. A monitor that finds it full waits before it begins; a local revoke has
//! places of its own, so that neither keeps the other out.
//!
//! Long, since what a mark covers, how marks lie in each other and how each ends are one set of rules.

use core::cmp::Ordering;
use core::ops::Range;

pub use capelin_abi::OperationId;
use capelin_abi::{KernelId, ObjectType, Rights, SysError};

use crate::kept::Kept;
use crate::key::{ADDRESS_BITS, ADDRESS_MASK, badge_of, compare_objects, is_same, space_of};
use crate::record::CapRecord;
use crate::slot::{Capability, Slot};
use crate::slot_index::SlotIndex;

/// What all capabilities to one object have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Object {
    /// Its type.
    pub kind: ObjectType,
    /// Its first byte, INTID or number.
    pub base: u64,
    /// Bytes, interrupts, or 1.
    pub size: u64,
}

impl Object {
    /// The object that the capability in `slot` names.
    #[must_use]
    pub fn of(slot: &Slot) -> Self {
        let Capability {
            kind, base, size, ..
        } = slot.capability();
        Self { kind, base, size }
    }

    /// Whether what `record` carries is the object, or was made of it.
    #[must_use]
    pub fn contains(&self, record: &CapRecord) -> bool {
        is_of(
            &self.probe(),
            &Slot::holding(&record.capability, record.owner),
        )
    }

    /// Whether what `slot` holds is a capability to the object, or to what was made of it.
    #[must_use]
    pub fn covers(&self, slot: &Slot) -> bool {
        slot.is_occupied() && is_of(&self.probe(), slot)
    }

    /// A slot in the place that a capability to it would have.
    pub(crate) fn probe(&self) -> Slot {
        self.probe_with(0)
    }

    /// The same, with a badge.
    fn probe_with(&self, badge: u64) -> Slot {
        let Self { kind, base, size } = *self;
        let capability = Capability {
            kind,
            rights: Rights::empty(),
            base: base & ADDRESS_MASK,
            size,
            data: [badge, 0],
        };
        Slot::holding(&capability, KernelId(0))
    }
}

/// How an object is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Kind {
    /// The object alone: [`SysError::Locked`].
    Lock = 1,
    /// The object and all in its range: [`SysError::Dying`].
    Mark = 2,
    /// A mark that lies in another, which holds all for it.
    Absorbed = 3,
    /// A mark that lay in another, which has swept all for it.
    Answered = 4,
}

/// How an operation ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It was given up: marks that lay in its range hold again.
    GivenUp,
    /// It is complete on all kernels: so are revokes that lay in its range.
    Complete,
}

/// One hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Hold {
    entry: Entry,
    /// Of a local revoke: that of the capabilities that go; 0: all of the object.
    badge: u64,
}

/// A hold in the table, without the badge, which few have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
struct Entry {
    operation: OperationId,
    /// Tagged with the space, as in slots.
    base: u64,
    size: u64,
    object: ObjectType,
    kind: Kind,
}

/// A mark that is out of the table while its sweep does a step.
pub(crate) struct Lifted {
    hold: Hold,
    place: usize,
}

/// How a mark stands among the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It holds its range.
    Holds,
    /// It lies in that of this operation, which holds it.
    Within(OperationId),
    /// Another, in whose range it lay, has removed all in it.
    Answered,
}

/// How many operations between kernels can hold something at a time.
pub const HOLDS: usize = 16;
/// How many revokes of this kernel's alone can be unfinished and hold others back.
pub const LOCAL_REVOKES: usize = 3;
/// Places in the table: those of operations between kernels come first.
const PLACES: usize = HOLDS + LOCAL_REVOKES;

/// The table; part of [`crate::Mdb`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct Holds {
    count: u32,
    entries: [Option<Entry>; PLACES],
    /// Of those in the last places.
    badges: [u64; LOCAL_REVOKES],
    /// The capabilities that these revoke, which stay.
    pub(crate) kept: Kept<LOCAL_REVOKES>,
}

impl Hold {
    fn of(operation: OperationId, object: &Slot, kind: Kind) -> Self {
        let entry = Entry {
            operation,
            base: object.base() | space_of(object.kind()) << ADDRESS_BITS,
            size: object.size(),
            object: object.kind(),
            kind,
        };
        Self { entry, badge: 0 }
    }

    const fn kind(&self) -> Kind {
        self.entry.kind
    }

    const fn operation(&self) -> OperationId {
        self.entry.operation
    }

    fn probe(&self) -> Slot {
        let base = self.entry.base & ADDRESS_MASK;
        let (kind, size) = (self.entry.object, self.entry.size);
        Object { kind, base, size }.probe_with(self.badge)
    }

    /// Whether `slot` is held: it names the object, or for a mark, something made of it.
    fn covers(&self, slot: &Slot) -> bool {
        match self.kind() {
            Kind::Lock => is_same(&self.probe(), slot),
            Kind::Mark => self.contains(slot),
            Kind::Absorbed | Kind::Answered => false,
        }
    }

    /// Whether `slot` names the object, with the badge, or something made of it.
    fn contains(&self, slot: &Slot) -> bool {
        is_of(&self.probe(), slot) && (self.badge == 0 || badge_of(slot) == self.badge)
    }
}

/// Whether `slot` names the same object as `object`, or something made of it.
fn is_of(object: &Slot, slot: &Slot) -> bool {
    let is_inside =
        || slot.end() <= object.end() && compare_objects(object, slot) == Ordering::Less;
    is_same(object, slot) || is_inside()
}

impl Holds {
    pub(crate) const fn new() -> Self {
        Self {
            count: 0,
            entries: [None; PLACES],
            badges: [0; LOCAL_REVOKES],
            kept: Kept::NOTHING,
        }
    }

    /// The number of the local revoke in a place.
    fn local(place: usize) -> Option<usize> {
        place.checked_sub(HOLDS)
    }

    /// The revoke of `operation`, which is entered, keeps the capability in `slot`.
    pub(crate) fn keep(&mut self, operation: OperationId, slot: SlotIndex) {
        let place = self.find(operation).map(|(place, _)| place);
        if let Some(number) = place.and_then(Self::local) {
            self.kept.set(number, slot);
        }
    }

    /// What the revoke of `operation` keeps; none when that is gone.
    pub(crate) fn kept_by(&self, operation: OperationId) -> SlotIndex {
        let place = self.find(operation).map(|(place, _)| place);
        place.map_or(SlotIndex::NONE, |place| self.kept_at(place))
    }

    /// The same of a revoke whose mark is out of the table.
    pub(crate) fn kept_in(&self, lifted: &Lifted) -> SlotIndex {
        self.kept_at(lifted.place)
    }

    fn kept_at(&self, place: usize) -> SlotIndex {
        Self::local(place).map_or(SlotIndex::NONE, |number| self.kept.of(number))
    }

    /// That in a place.
    fn get(&self, place: usize) -> Option<Hold> {
        let entry = (*self.entries.get(place)?)?;
        let badge = Self::local(place).and_then(|at| self.badges.get(at).copied());
        let badge = badge.unwrap_or_default();
        Some(Hold { entry, badge })
    }

    /// All of them, with their places, local ones first: those are what there is, if anything.
    fn all(&self) -> impl Iterator<Item = (usize, Hold)> + Clone {
        let places = (0..PLACES).rev();
        let held = places.filter_map(|place| Some((place, self.get(place)?)));
        held.take(self.count as usize)
    }

    /// That of `operation`, with its place.
    fn find(&self, operation: OperationId) -> Option<(usize, Hold)> {
        let is_its = |entry: &Option<Entry>| entry.is_some_and(|it| it.operation == operation);
        let place = self.entries.iter().rposition(is_its)?;
        Some((place, self.get(place)?))
    }

    fn put(&mut self, place: usize, hold: Hold) {
        if let Some(entry) = self.entries.get_mut(place) {
            *entry = Some(hold.entry);
            self.count += 1;
        }
        if let Some(badge) = Self::local(place).and_then(|at| self.badges.get_mut(at)) {
            *badge = hold.badge;
        }
    }

    fn take(&mut self, place: usize) {
        if let Some(entry) = self.entries.get_mut(place) {
            *entry = None;
            self.count -= 1;
        }
    }

    fn set_kind(&mut self, place: usize, kind: Kind) {
        if let Some(Some(entry)) = self.entries.get_mut(place) {
            entry.kind = kind;
        }
    }

    #[inline(always)]
    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// Whether what `slot` names isn't held.
    ///
    /// # Errors
    /// `Locked`; `Dying` in a marked range.
    #[inline(always)]
    pub(crate) fn check(&self, slot: &Slot) -> Result<(), SysError> {
        if self.is_empty() {
            Ok(())
        } else {
            self.look(slot)
        }
    }

    #[cold]
    #[inline(never)]
    fn look(&self, slot: &Slot) -> Result<(), SysError> {
        let mut result = Ok(());
        for (_, hold) in self.all() {
            if hold.covers(slot) {
                match hold.kind() {
                    Kind::Mark => return Err(SysError::Dying),
                    Kind::Lock | Kind::Absorbed | Kind::Answered => result = Err(SysError::Locked),
                }
            }
        }
        result
    }

    /// Notes that `operation` has locked `object`.
    ///
    /// # Errors
    /// As [`Self::check`]; `InvalidArgument` for an operation that has a hold;
    /// `NoResources` when the table is full.
    pub(crate) fn lock(&mut self, operation: OperationId, object: &Slot) -> Result<(), SysError> {
        self.check(object)?;
        self.add(Hold::of(operation, object, Kind::Lock), 0..HOLDS)
    }

    /// Notes that `operation` has marked `object` and all in its range. Marks within it
    /// are absorbed: this one is answered for them.
    ///
    /// # Errors
    /// As [`Self::lock`], and `Locked` for a locked object in the range.
    pub(crate) fn mark(&mut self, operation: OperationId, object: &Slot) -> Result<(), SysError> {
        self.check(object)?;
        self.enter(Hold::of(operation, object, Kind::Mark), 0..HOLDS)
    }

    /// The same for a revoke of this kernel's alone, of the capability `slot`: of those to
    /// the object, only those with its badge, if it has one. Where the range lies in one
    /// that is marked, this mark is absorbed at once.
    ///
    /// # Errors
    /// `Locked` for a locked object in the range; `NoResources` when all places of such are
    /// taken.
    pub(crate) fn mark_or_join(
        &mut self,
        operation: OperationId,
        slot: &Slot,
    ) -> Result<(), SysError> {
        let kind = match self.check(slot) {
            Ok(()) => Kind::Mark,
            Err(SysError::Dying) => Kind::Absorbed,
            Err(error) => return Err(error),
        };
        let hold = Hold {
            badge: badge_of(slot),
            ..Hold::of(operation, slot, kind)
        };
        self.enter(hold, HOLDS..PLACES)
    }

    /// Adds a mark, and absorbs those in its range.
    fn enter(&mut self, mark: Hold, places: Range<usize>) -> Result<(), SysError> {
        let is_lock = |hold: &Hold| hold.kind() == Kind::Lock && mark.contains(&hold.probe());
        if self.all().any(|(_, hold)| is_lock(&hold)) {
            return Err(SysError::Locked);
        }
        self.add(mark, places)?;
        for place in 0..PLACES {
            let is_absorbed = |hold: Hold| {
                hold.kind() == Kind::Mark
                    && hold.operation() != mark.operation()
                    && mark.covers(&hold.probe())
            };
            if self.get(place).is_some_and(is_absorbed) {
                self.set_kind(place, Kind::Absorbed);
            }
        }
        Ok(())
    }

    fn add(&mut self, new: Hold, mut places: Range<usize>) -> Result<(), SysError> {
        if self.find(new.operation()).is_some() {
            return Err(SysError::InvalidArgument);
        }
        let is_free = |&place: &usize| self.entries.get(place) == Some(&None);
        let free = places.find(is_free).ok_or(SysError::NoResources)?;
        self.put(free, new);
        Ok(())
    }

    /// Whether something may be made in the tagged range `[start, end)`: what was in a
    /// marked range may be gone here before it is gone elsewhere.
    ///
    /// # Errors
    /// `Dying` where a mark overlaps it.
    #[inline(always)]
    pub(crate) fn check_new(&self, start: u64, end: u64) -> Result<(), SysError> {
        if self.is_empty() {
            Ok(())
        } else {
            self.look_for_marks(start, end)
        }
    }

    #[cold]
    #[inline(never)]
    fn look_for_marks(&self, start: u64, end: u64) -> Result<(), SysError> {
        let mut marks = self.entries.iter().flatten();
        let overlaps = |entry: &Entry| {
            entry.kind == Kind::Mark && entry.base < end && start < entry.base + entry.size
        };
        if marks.any(overlaps) {
            return Err(SysError::Dying);
        }
        Ok(())
    }

    /// Takes the mark of `operation` from the table for a moment, with its object.
    ///
    /// # Errors
    /// `InvalidArgument` when it has marked nothing; `Dying` when its mark is absorbed.
    pub(crate) fn lift(&mut self, operation: OperationId) -> Result<(Lifted, Slot), SysError> {
        let (place, hold) = self.find(operation).ok_or(SysError::InvalidArgument)?;
        match hold.kind() {
            Kind::Mark => {
                self.take(place);
                Ok((Lifted { hold, place }, hold.probe()))
            }
            Kind::Absorbed => Err(SysError::Dying),
            Kind::Lock | Kind::Answered => Err(SysError::InvalidArgument),
        }
    }

    /// Puts back what was lifted. Nothing has been entered meanwhile.
    pub(crate) fn put_back(&mut self, lifted: Lifted) {
        self.put(lifted.place, lifted.hold);
    }

    /// How the mark of `operation` stands among the others.
    ///
    /// # Errors
    /// `InvalidArgument` when it has marked nothing.
    pub(crate) fn standing(&self, operation: OperationId) -> Result<Standing, SysError> {
        let (_, mark) = self.find(operation).ok_or(SysError::InvalidArgument)?;
        match mark.kind() {
            Kind::Lock => Err(SysError::InvalidArgument),
            Kind::Mark => Ok(Standing::Holds),
            Kind::Answered => Ok(Standing::Answered),
            Kind::Absorbed => {
                let is_around =
                    |hold: &Hold| hold.kind() == Kind::Mark && hold.covers(&mark.probe());
                let around = self.all().find(|(_, hold)| is_around(hold));
                // There is one: see `release`.
                let (_, around) = around.ok_or(SysError::InvalidArgument)?;
                Ok(Standing::Within(around.operation()))
            }
        }
    }

    /// The object that `operation` holds.
    ///
    /// # Errors
    /// `InvalidArgument` when it holds none.
    pub(crate) fn object(&self, operation: OperationId) -> Result<Slot, SysError> {
        let (_, hold) = self.find(operation).ok_or(SysError::InvalidArgument)?;
        Ok(hold.probe())
    }

    /// The object that `operation` has marked: [`crate::Mdb::marked_object`].
    pub(crate) fn marked_object(&self, operation: OperationId) -> Result<Object, SysError> {
        match self.find(operation) {
            Some((_, hold)) if hold.kind() == Kind::Absorbed => Err(SysError::Dying),
            Some((_, hold)) if hold.kind() != Kind::Lock => Ok(Object::of(&hold.probe())),
            _ => Err(SysError::NoSuchOperation),
        }
    }

    /// Whether another operation has done all that `operation` was to do.
    pub(crate) fn is_answered(&self, operation: OperationId) -> bool {
        let found = self.find(operation);
        found.is_some_and(|(_, hold)| hold.kind() == Kind::Answered)
    }

    /// Ends the hold of `operation`. Marks that lay in it, and in no other, hold again if it
    /// was given up, the outermost for those within; or there is nothing left for them to do.
    /// So what is absorbed always lies in a mark that holds.
    ///
    /// # Errors
    /// `InvalidArgument` when it has none.
    pub(crate) fn release(&mut self, operation: OperationId, end: End) -> Result<(), SysError> {
        let (place, ended) = self.find(operation).ok_or(SysError::InvalidArgument)?;
        self.take(place);
        if let Some(number) = Self::local(place) {
            self.kept.set(number, SlotIndex::NONE);
        }
        // What lies in an absorbed one lies in what that lies in.
        match (ended.kind(), end) {
            (Kind::Mark, End::Complete) => {
                let lay_in_it =
                    |hold: Hold| hold.kind() == Kind::Absorbed && ended.contains(&hold.probe());
                for place in 0..PLACES {
                    if self.get(place).is_some_and(lay_in_it) {
                        self.set_kind(place, Kind::Answered);
                    }
                }
            }
            (Kind::Mark, End::GivenUp) => self.hold_again(),
            (Kind::Lock | Kind::Absorbed | Kind::Answered, _) => {}
        }
        Ok(())
    }

    /// Ends the holds of all of `operations` that have one, as if given up one by one: what lay
    /// in them, and in no other, is looked for once.
    pub(crate) fn release_all(&mut self, operations: &[OperationId]) {
        let mut has_held = false;
        for place in 0..PLACES {
            let ended = self.entries.get(place).copied().flatten();
            let Some(ended) = ended.filter(|one| operations.contains(&one.operation)) else {
                continue;
            };
            has_held |= ended.kind == Kind::Mark;
            self.take(place);
            if let Some(number) = Self::local(place) {
                self.kept.set(number, SlotIndex::NONE);
            }
        }
        if has_held {
            self.hold_again();
        }
    }

    /// Has those absorbed marks hold that lie in no other; of marks of the same object, the
    /// first.
    fn hold_again(&mut self) {
        let before = *self;
        let is_mark = |hold: &Hold| matches!(hold.kind(), Kind::Mark | Kind::Absorbed);
        let marks = before.all().filter(|(_, hold)| is_mark(hold));
        for (place, hold) in before.all() {
            let is_around = |(other_place, other): (usize, Hold)| {
                let is_same = || other.kind() == Kind::Absorbed && hold.contains(&other.probe());
                other_place != place
                    && other.contains(&hold.probe())
                    && !(is_same() && place < other_place)
            };
            if hold.kind() == Kind::Absorbed && !marks.clone().any(is_around) {
                self.set_kind(place, Kind::Mark);
            }
        }
    }
}

#[cfg(test)]
mod tests;
