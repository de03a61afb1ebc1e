//! Operations that hold something here: which there are, and for whom.
//!
//! What is held stands in the mapping database (`capelin_cap::hold`), by the operation's
//! id. This table gives the ids out, and knows whose each is: when the dispatcher that
//! began an operation ends, nobody would ever end its lock. As many places as the
//! database has holds, so that an operation with a place has one: those between kernels
//! first, then those of unfinished revokes of this kernel's alone.

use core::ops::Range;

use capelin_abi::{KernelId, LAST_USE, NAMED_PLACES, OperationId, SysError};
use capelin_cap::{HOLDS, LOCAL_REVOKES, SlotIndex};
use capelin_peers::shared::OFFERS;

use crate::dcb::DcbRef;
use crate::narrow::{index, low16};

/// What an operation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Role {
    /// There is none in this place.
    Free = 0,
    /// It locks an object.
    Lock = 1,
    /// It revokes an object of this kernel's.
    Revoke = 2,
    /// It is another kernel's revoke, in which this one has a part.
    Part = 3,
    /// It is an unfinished revoke of this kernel's alone.
    LocalRevoke = 4,
}

/// How far an operation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Stage {
    /// It holds something.
    Begun = 0,
    /// Of a revoke: this kernel looks whether all have joined.
    Closing = 1,
    /// Of a part: nothing is on its way from here any more.
    Marked = 2,
    /// Of a revoke: all have marked.
    Committed = 3,
    /// Nothing is left here.
    Swept = 4,
}

/// One operation.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Operation {
    /// Its name.
    pub id: OperationId,
    /// The dispatcher that began it; nobody once that is gone.
    pub owner: Option<DcbRef>,
    /// What it is.
    pub role: Role,
    /// How far it is.
    pub stage: Stage,
    /// Where a look at all kernels, or all offers of one, goes on.
    pub next: Position,
}

/// How far a look has come at other kernels, and at the offers of one: that kernel in bits 8:0,
/// the entry of its outbox in bits 15:9.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Position(u16);

impl Position {
    /// Nothing was looked at.
    pub const START: Self = Self(0);

    /// At `entry` of what `kernel` offers.
    pub(crate) const fn new(kernel: KernelId, entry: u16) -> Self {
        const { assert!(KernelId::LIMIT <= 1 << 9 && OFFERS < 1 << 7) };
        Self(kernel.0 | entry << 9)
    }

    /// The kernel to look at next.
    pub(crate) const fn kernel(self) -> KernelId {
        KernelId(self.0 & 0x1ff)
    }

    /// The entry to look at next of what that offers.
    pub(crate) const fn entry(self) -> u16 {
        self.0 >> 9
    }
}

/// How many operations there can be.
const PLACES: usize = HOLDS + LOCAL_REVOKES;
const _: () = assert!(PLACES <= NAMED_PLACES);
// Others are told of those between kernels, by places of a board.
const _: () = assert!(HOLDS <= capelin_peers::board::PLACES);

/// How many of those between kernels can be parts in one other kernel's revokes: whose
/// monitor never ends what it began takes no more than these.
pub const PARTS_OF_ONE: usize = 3;
/// How many can be parts in others' revokes at all: the rest is for this kernel's own locks
/// and revokes, whatever the monitors of all others do.
pub const PARTS: usize = 12;

const _: () = assert!(PARTS_OF_ONE < PARTS && PARTS < HOLDS);

/// The table; part of [`crate::kcb::Kcb`].
#[repr(C)]
pub struct Operations {
    /// How many have been begun whose ids others are told.
    begun: u64,
    /// How many local revokes have, modulo 2^32: which of those there are is the oldest.
    begun_local: u32,
    /// How many there are.
    count: u8,
    /// How many of them are local revokes.
    local: u8,
    /// Whether the owner of one is gone, and it isn't ended yet.
    has_orphans: bool,
    places: [Operation; PLACES],
    /// Where the capabilities were that the local revokes in the last places are of, when they
    /// were begun. A name to compare: what is there by now, nobody knows.
    named: [SlotIndex; LOCAL_REVOKES],
}

/// A revoke of this kernel's alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalRevoke {
    /// Its name.
    pub id: OperationId,
    /// Whose it is.
    pub owner: Option<DcbRef>,
    /// Where the capability that is revoked was when it was begun: a name to compare.
    pub named: SlotIndex,
}

impl Operation {
    const FREE: Self = Self {
        id: OperationId(0),
        owner: None,
        role: Role::Free,
        stage: Stage::Begun,
        next: Position::START,
    };
}

impl Operations {
    /// There are none.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            begun: 0,
            begun_local: 0,
            count: 0,
            local: 0,
            has_orphans: false,
            places: [Operation::FREE; PLACES],
            named: [SlotIndex::NONE; LOCAL_REVOKES],
        }
    }

    /// Gives `owner` a place and an id for an operation that `own` begins.
    ///
    /// # Errors
    /// `NoResources` while there is no place, and for good after the last number.
    pub fn begin(
        &mut self,
        own: KernelId,
        role: Role,
        owner: DcbRef,
    ) -> Result<OperationId, SysError> {
        let place = self.free(0..HOLDS)?;
        let operation = Operation {
            owner: Some(owner),
            role,
            ..Operation::FREE
        };
        let number = next(&mut self.begun)?;
        Ok(self.begin_at(
            place,
            OperationId::new(own, low16(place as u64), number),
            operation,
        ))
    }

    /// Gives `owner` a place and an id for a local revoke of the capability in `named`. Nobody
    /// is told that id, so it may come back once the revoke is over. It uses up none of the
    /// numbers of operations that others are told of.
    ///
    /// # Errors
    /// `NoResources` while there is no place.
    pub(crate) fn begin_local(
        &mut self,
        own: KernelId,
        named: SlotIndex,
        owner: DcbRef,
    ) -> Result<OperationId, SysError> {
        let place = self.free(HOLDS..PLACES)?;
        self.begun_local = self.begun_local.checked_add(1).unwrap_or(1);
        let number = self.begun_local.into();
        self.named[place - HOLDS] = named;
        self.local += 1;
        let operation = Operation {
            owner: Some(owner),
            role: Role::LocalRevoke,
            ..Operation::FREE
        };
        Ok(self.begin_at(
            place,
            OperationId::new(own, low16(place as u64), number),
            operation,
        ))
    }

    fn begin_at(&mut self, place: usize, id: OperationId, operation: Operation) -> OperationId {
        self.places[place] = Operation { id, ..operation };
        self.count += 1;
        id
    }

    /// Whether there is any local revoke.
    #[inline]
    pub(crate) const fn has_local(&self) -> bool {
        self.local != 0
    }

    /// The local revokes.
    pub(crate) fn local(&self) -> impl Iterator<Item = LocalRevoke> {
        let all = self.places.iter().skip(HOLDS).zip(self.named);
        let all = all.filter(|(one, _)| one.role == Role::LocalRevoke);
        all.map(|(&Operation { id, owner, .. }, named)| LocalRevoke { id, owner, named })
    }

    /// Gives another kernel's revoke `id` a place here.
    ///
    /// # Errors
    /// `NoResources` while there is no place, and while it has as many parts in revokes of
    /// that kernel, or of others, as it may ([`PARTS_OF_ONE`], [`PARTS`]).
    pub(crate) fn join(&mut self, id: OperationId) -> Result<(), SysError> {
        let (mut all, mut of_one) = (0, 0);
        for part in self.parts() {
            all += usize::from(part != OperationId(0));
            of_one += usize::from(part != OperationId(0) && part.kernel() == id.kernel());
        }
        if of_one >= PARTS_OF_ONE || all >= PARTS {
            return Err(SysError::NoResources);
        }
        let place = self.free(0..HOLDS)?;
        self.places[place] = Operation {
            id,
            role: Role::Part,
            ..Operation::FREE
        };
        self.count += 1;
        Ok(())
    }

    fn free(&self, mut places: Range<usize>) -> Result<usize, SysError> {
        let free = places.find(|&place| self.places[place].role == Role::Free);
        free.ok_or(SysError::NoResources)
    }

    /// The operation `id`, a revoke or this kernel's part in one.
    ///
    /// # Errors
    /// `NoSuchOperation`.
    pub(crate) fn any(&self, id: OperationId) -> Result<&Operation, SysError> {
        self.places
            .iter()
            .find(|one| one.id == id && matches!(one.role, Role::Revoke | Role::Part))
            .ok_or(SysError::NoSuchOperation)
    }

    /// This kernel's part in another's revoke `id`.
    ///
    /// # Errors
    /// `NoSuchOperation` when it has none.
    pub(crate) fn part(&self, id: OperationId) -> Result<&Operation, SysError> {
        let part = self.any(id)?;
        if part.role == Role::Part {
            Ok(part)
        } else {
            Err(SysError::NoSuchOperation)
        }
    }

    /// The ids of all parts in others' revokes, zero for other places.
    pub(crate) fn parts(&self) -> [OperationId; PLACES] {
        self.places.map(|one| match one.role {
            Role::Part => one.id,
            Role::Free | Role::Lock | Role::Revoke | Role::LocalRevoke => OperationId(0),
        })
    }

    /// The ids of this kernel's revokes that others may have a part in.
    pub(crate) fn own_revokes(&self) -> impl Iterator<Item = OperationId> {
        let own = self.places.iter().filter(|one| one.role == Role::Revoke);
        own.map(|one| one.id)
    }

    /// The place of the operation `id` here.
    ///
    /// # Errors
    /// `NoSuchOperation`.
    pub(crate) fn place(&self, id: OperationId) -> Result<u16, SysError> {
        let place = self.places.iter().position(|one| one.id == id);
        let place = place.ok_or(SysError::NoSuchOperation)?;
        Ok(low16(place as u64))
    }

    /// How far the operation `id` is from now on. Its place.
    ///
    /// # Errors
    /// `NoSuchOperation`.
    pub(crate) fn set_stage(&mut self, id: OperationId, stage: Stage) -> Result<u16, SysError> {
        let place = self.place(id)?;
        self.places[index(place.into())].stage = stage;
        Ok(place)
    }

    /// Where a look for `id` goes on.
    pub(crate) fn set_next(&mut self, id: OperationId, next: Position) {
        if let Some(one) = self.places.iter_mut().find(|one| one.id == id) {
            one.next = next;
        }
    }

    /// The operation `id`, if it is one in that role.
    ///
    /// # Errors
    /// `NoSuchOperation`.
    pub fn find(&self, id: OperationId, role: Role) -> Result<&Operation, SysError> {
        let place = self.places.get(index(id.place().into()));
        place
            .filter(|one| one.id == id && one.role == role)
            .ok_or(SysError::NoSuchOperation)
    }

    /// Gives the place of `id` back.
    pub fn end(&mut self, id: OperationId) {
        if let Some(place) = self.places.iter_mut().find(|one| one.id == id) {
            self.local -= u8::from(place.role == Role::LocalRevoke);
            *place = Operation::FREE;
            self.count -= 1;
        }
    }

    /// The dispatcher `gone` ends. Whether it had begun anything.
    pub(crate) fn leave(&mut self, gone: DcbRef) -> bool {
        if self.count == 0 {
            return false;
        }
        let mut has_left = false;
        for one in &mut self.places {
            if one.owner == Some(gone) {
                one.owner = None;
                has_left = true;
            }
        }
        self.has_orphans |= has_left;
        has_left
    }

    /// Those whose owners are gone, if any of them went since this was last asked.
    pub(crate) fn take_orphans(&mut self) -> Option<[Operation; PLACES]> {
        core::mem::take(&mut self.has_orphans).then(|| {
            self.places.map(|one| match one.owner {
                Some(_) => Operation::FREE,
                None => one,
            })
        })
    }
}

/// The next number of those that `begun` counts: none ever comes back, since what another kernel
/// shows of an operation may stand for as long as it likes.
fn next(begun: &mut u64) -> Result<u64, SysError> {
    if *begun == LAST_USE {
        return Err(SysError::NoResources);
    }
    *begun += 1;
    Ok(*begun)
}

impl Default for Operations {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: KernelId = KernelId(3);

    fn owner() -> DcbRef {
        let first = SlotIndex::in_segment(0, 64).expect("a slot");
        DcbRef::around(first).expect("a control block")
    }

    #[test]
    fn a_number_never_comes_back() {
        let mut operations = Operations::new();
        let mut begin = |begun| {
            operations.begun = begun;
            let id = operations.begin(OWN, Role::Lock, owner());
            id.inspect(|&id| operations.end(id))
        };
        let first = begin(0).expect("a place");
        assert_eq!((first.place(), first.number()), (0, 1));
        for begun in [(1 << 32) - 1, 1 << 32, LAST_USE - 1] {
            let later = begin(begun).expect("a place");
            assert_eq!((later.place(), later.number()), (0, begun + 1));
            assert_ne!(later, first);
        }
        for _ in 0..3 {
            assert_eq!(begin(LAST_USE), Err(SysError::NoResources));
        }
    }

    #[test]
    fn local_revokes_use_up_no_numbers_of_others() {
        let mut operations = Operations::new();
        for number in 1..9 {
            let named = SlotIndex::NONE;
            let id = operations.begin_local(OWN, named, owner());
            let id = id.expect("a place");
            assert_eq!(id.number(), number);
            operations.end(id);
        }
        let id = operations.begin(OWN, Role::Revoke, owner());
        assert_eq!(id.map(OperationId::number), Ok(1));
        // They don't end, as locks and revokes between kernels do.
        (operations.begun, operations.begun_local) = (LAST_USE, u32::MAX);
        let local = operations.begin_local(OWN, SlotIndex::NONE, owner());
        assert_eq!(local.map(OperationId::number), Ok(1));
        let other = operations.begin(OWN, Role::Lock, owner());
        assert_eq!(other, Err(SysError::NoResources));
    }
}
