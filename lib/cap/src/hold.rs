//! Holds: objects that an operation between kernels has locked, and ranges that are
//! marked to be revoked.
//!
//! A lock or mark is about an object, not about a slot: whatever capability names the
//! object, or lies in a marked range, is asked about here by every use, import and
//! export. So no copy is a way round it, and a capability that arrives while its range
//! is marked is refused. Nothing is walked to set one. The table is small and lies in
//! the kernel control block; when it is empty, which is nearly always, asking is one
//! comparison. A monitor that finds it full waits before it begins.

use core::cmp::Ordering;

pub use capelin_abi::OperationId;
use capelin_abi::{KernelId, ObjectType, Rights, SysError};

use crate::key::{ADDRESS_BITS, ADDRESS_MASK, compare_objects, is_same, space_of};
use crate::record::CapRecord;
use crate::slot::{Capability, Slot};

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

    /// A slot in the place that a capability to it would have.
    pub(crate) fn probe(&self) -> Slot {
        let Self { kind, base, size } = *self;
        let capability = Capability {
            kind,
            rights: Rights::empty(),
            base: base & ADDRESS_MASK,
            size,
            data: [0; 2],
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

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
struct Hold {
    operation: OperationId,
    /// Tagged with the space, as in slots.
    base: u64,
    size: u64,
    object: ObjectType,
    kind: Kind,
}

/// A mark that is out of the table while its sweep does a step.
pub(crate) struct Lifted(Hold);

/// How many there can be at a time.
pub const HOLDS: usize = 16;

/// The table; part of [`crate::Mdb`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct Holds {
    count: u32,
    entries: [Option<Hold>; HOLDS],
}

impl Hold {
    fn probe(&self) -> Slot {
        let base = self.base & ADDRESS_MASK;
        let (kind, size) = (self.object, self.size);
        Object { kind, base, size }.probe()
    }

    /// Whether `slot` names the object, or for a mark, something made of it.
    fn covers(&self, slot: &Slot) -> bool {
        match self.kind {
            Kind::Lock => is_same(&self.probe(), slot),
            Kind::Mark => is_of(&self.probe(), slot),
            Kind::Absorbed | Kind::Answered => false,
        }
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
            entries: [None; HOLDS],
        }
    }

    #[inline(always)]
    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
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
        for hold in self.entries.iter().flatten() {
            if hold.covers(slot) {
                match hold.kind {
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
        self.add(operation, object, Kind::Lock)
    }

    /// Notes that `operation` has marked `object` and all in its range. Marks within it
    /// are absorbed: this one is answered for them.
    ///
    /// # Errors
    /// As [`Self::lock`], and `Locked` for a locked object in the range.
    pub(crate) fn mark(&mut self, operation: OperationId, object: &Slot) -> Result<(), SysError> {
        self.check(object)?;
        let mark = Self::hold(operation, object, Kind::Mark);
        let locks = self.entries.iter().flatten();
        if locks
            .filter(|hold| hold.kind == Kind::Lock)
            .any(|lock| mark.covers(&lock.probe()))
        {
            return Err(SysError::Locked);
        }
        self.add(operation, object, Kind::Mark)?;
        for hold in self.entries.iter_mut().flatten() {
            let is_mark = hold.kind != Kind::Answered && hold.operation != operation;
            if is_mark && mark.covers(&hold.probe()) {
                hold.kind = Kind::Absorbed;
            }
        }
        Ok(())
    }

    fn hold(operation: OperationId, object: &Slot, kind: Kind) -> Hold {
        Hold {
            operation,
            base: object.base() | space_of(object.kind()) << ADDRESS_BITS,
            size: object.size(),
            object: object.kind(),
            kind,
        }
    }

    fn add(&mut self, operation: OperationId, object: &Slot, kind: Kind) -> Result<(), SysError> {
        let held = self.entries.iter().flatten();
        if held.clone().any(|hold| hold.operation == operation) {
            return Err(SysError::InvalidArgument);
        }
        let free = self.entries.iter_mut().find(|entry| entry.is_none());
        *free.ok_or(SysError::NoResources)? = Some(Self::hold(operation, object, kind));
        self.count += 1;
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
        let overlaps = |hold: &Hold| {
            hold.kind == Kind::Mark && hold.base < end && start < hold.base + hold.size
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
        let of = |entry: &&mut Option<Hold>| entry.is_some_and(|hold| hold.operation == operation);
        let entry = self.entries.iter_mut().find(of);
        let entry = entry.ok_or(SysError::InvalidArgument)?;
        match *entry {
            Some(hold) if hold.kind == Kind::Mark => {
                *entry = None;
                self.count -= 1;
                Ok((Lifted(hold), hold.probe()))
            }
            Some(hold) if hold.kind == Kind::Absorbed => Err(SysError::Dying),
            _ => Err(SysError::InvalidArgument),
        }
    }

    /// Puts back what was lifted.
    pub(crate) fn put_back(&mut self, lifted: Lifted) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.is_none()) {
            *entry = Some(lifted.0);
            self.count += 1;
        }
    }

    /// The object that `operation` holds.
    ///
    /// # Errors
    /// `InvalidArgument` when it holds none.
    pub(crate) fn object(&self, operation: OperationId) -> Result<Slot, SysError> {
        let of = |hold: &&Hold| hold.operation == operation;
        let hold = self.entries.iter().flatten().find(of);
        hold.map(Hold::probe).ok_or(SysError::InvalidArgument)
    }

    /// The object that `operation` has marked: [`crate::Mdb::marked_object`].
    pub(crate) fn marked_object(&self, operation: OperationId) -> Result<Object, SysError> {
        let of = |hold: &&Hold| hold.operation == operation;
        match self.entries.iter().flatten().find(of) {
            Some(hold) if hold.kind == Kind::Absorbed => Err(SysError::Dying),
            Some(hold) if hold.kind != Kind::Lock => Ok(Object::of(&hold.probe())),
            _ => Err(SysError::NoSuchOperation),
        }
    }

    /// Whether another operation has done all that `operation` was to do.
    pub(crate) fn is_answered(&self, operation: OperationId) -> bool {
        let answered = |hold: &Hold| hold.operation == operation && hold.kind == Kind::Answered;
        self.entries.iter().flatten().any(answered)
    }

    /// Ends the hold of `operation`. Marks that lay in it and in no other hold again, if
    /// it was given up; or there is nothing left for them to do.
    ///
    /// # Errors
    /// `InvalidArgument` when it has none.
    pub(crate) fn release(&mut self, operation: OperationId, end: End) -> Result<(), SysError> {
        let is_its =
            |entry: &&mut Option<Hold>| entry.is_some_and(|hold| hold.operation == operation);
        let entry = self.entries.iter_mut().find(is_its);
        *entry.ok_or(SysError::InvalidArgument)? = None;
        self.count -= 1;
        let left = self.entries;
        for hold in self.entries.iter_mut().flatten() {
            let contains = |other: &Hold| {
                let around = Hold {
                    kind: Kind::Mark,
                    ..*other
                };
                other.operation != hold.operation
                    && matches!(other.kind, Kind::Mark | Kind::Absorbed)
                    && around.covers(&hold.probe())
            };
            if hold.kind == Kind::Absorbed && !left.iter().flatten().any(contains) {
                hold.kind = match end {
                    End::GivenUp => Kind::Mark,
                    End::Complete => Kind::Answered,
                };
            }
        }
        Ok(())
    }
}
