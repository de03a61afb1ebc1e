//! What a kernel shows of the revokes that it began, and of its part in others'.
//!
//! ```text
//!   owner's kernel                      every other kernel
//!   MARKING   ── may be joined ──▶      marks, recalls its offers, looks again:
//!                                         still MARKING? then it shows its part: Marked
//!   CLOSING   nobody joins any more; are all parts there? if not, MARKING again
//!   COMMITTED ── may be swept ───▶      sweeps, and shows: Swept
//!   OVER      when all have swept ─▶    takes its part away
//! ```
//! So that nothing in the range is on its way once it is committed, each side looks only
//! after it has said its word: the joining kernel withdraws its offers, then looks whether
//! the revoke can be joined still; a sweeping kernel looks whether it is committed, then
//! takes nothing more. Between, there is a full barrier (store and load to different
//! words, both ways). A part is never taken away before the revoke is over.
//!
//! A place of the board is used again by an operation with another number, so that an id
//! names one operation for ever, as a ticket does.

use capelin_abi::{KernelId, LAST_USE, ObjectType, OperationId, SysError};

use crate::sync::{AtomicU64, Ordering, fence};

/// Operations that a kernel can have a part in at one time.
pub const PLACES: usize = 16;

/// Where a part stands in its word.
const PART: u32 = 14;
/// An id has the number from this bit on.
const NUMBER: u32 = 16;
const _: () = {
    assert!(PLACES == 16);
    let last = OperationId::new(KernelId(KernelId::LIMIT - 1), 15, LAST_USE);
    assert!(last.0 & 0b11 << PART == 0, "there is room for a part");
    assert!(last.0 >> NUMBER == LAST_USE && NUMBER == PART + 2);
};

/// How far a revoke is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    /// It has ended, or never was.
    Over = 0,
    /// Kernels may join.
    Marking = 1,
    /// Its owner counts those that have.
    Closing = 2,
    /// All have marked: they may sweep.
    Committed = 3,
}

/// A kernel's part in another's revoke.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Part {
    /// It has marked the range, and nothing in it is on its way from there.
    Marked = 1,
    /// Nothing in the range is there any more.
    Swept = 2,
}

/// The object that is revoked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// Its type.
    pub kind: ObjectType,
    /// Its first byte, INTID or number.
    pub base: u64,
    /// Bytes, interrupts, or 1.
    pub size: u64,
}

/// A revoke of the owner's. `state`: phase in bits 7:0, type in 15:8, number in 63:16.
#[repr(C)]
#[derive(Debug)]
struct Shown {
    state: AtomicU64,
    base: AtomicU64,
    size: AtomicU64,
}

/// See the module documentation. Written by its kernel, read by all others. Zeroed memory
/// is an empty one.
///
/// A part is one word: the revoke's id, and the part in the bits of the place that are zero in
/// all those (`PART`).
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Board {
    revokes: [Shown; PLACES],
    parts: [AtomicU64; PLACES],
}

#[cfg(not(loom))]
impl Board {
    /// An empty board, for a static.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            revokes: [const {
                Shown {
                    state: AtomicU64::new(0),
                    base: AtomicU64::new(0),
                    size: AtomicU64::new(0),
                }
            }; PLACES],
            parts: [const { AtomicU64::new(0) }; PLACES],
        }
    }
}

impl Board {
    /// An empty board.
    #[must_use]
    pub fn new() -> Self {
        Self {
            revokes: core::array::from_fn(|_| Shown {
                state: AtomicU64::new(0),
                base: AtomicU64::new(0),
                size: AtomicU64::new(0),
            }),
            parts: core::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Owner: shows a revoke of `range`, which others may join.
    ///
    /// # Errors
    /// `InvalidArgument` for a place that isn't.
    pub fn show(&self, id: OperationId, range: &Range) -> Result<(), SysError> {
        let shown = self.place(id).ok_or(SysError::InvalidArgument)?;
        // Who finds the number of the one before doesn't take these for its range: its
        // phase is Over.
        shown.base.store(range.base, Ordering::Relaxed);
        shown.size.store(range.size, Ordering::Relaxed);
        let state = Phase::Marking as u64 | (range.kind as u64) << 8;
        // Pairs with the load in `revoke`: who sees the number sees the range.
        shown
            .state
            .store(state | id.number() << NUMBER, Ordering::Release);
        Ok(())
    }

    /// Owner: the revoke `id`, which it has shown, is in `phase` now.
    pub fn set_phase(&self, id: OperationId, phase: Phase) {
        if let Some(shown) = self.place(id) {
            let state = shown.state.load(Ordering::Relaxed);
            // Pairs with the load in `revoke`. What follows (the look at parts) comes after.
            let next = state & !0xff | phase as u64;
            shown.state.store(next, Ordering::Release);
            fence(Ordering::SeqCst);
        }
    }

    /// Others: how far the revoke `id` is, and of what. What the caller did before is seen
    /// by whoever sees a later phase; what it does after comes after.
    ///
    /// # Errors
    /// `NoSuchOperation` when it is over, or never was.
    pub fn revoke(&self, id: OperationId) -> Result<(Phase, Range), SysError> {
        let shown = self.place(id).ok_or(SysError::NoSuchOperation)?;
        fence(Ordering::SeqCst);
        // Pairs with the stores in `show` and `set_phase`.
        let state = shown.state.load(Ordering::Acquire);
        let (base, size) = (
            shown.base.load(Ordering::Relaxed),
            shown.size.load(Ordering::Relaxed),
        );
        // The range belongs to the number only if the place hasn't been used again.
        fence(Ordering::SeqCst);
        let is_it = |state: u64| state >> NUMBER == id.number() && state & 0xff != 0;
        if !is_it(state) || !is_it(shown.state.load(Ordering::Relaxed)) {
            return Err(SysError::NoSuchOperation);
        }
        let phase = match state & 0xff {
            1 => Phase::Marking,
            2 => Phase::Closing,
            _ => Phase::Committed,
        };
        let kind = u8::try_from(state >> 8 & 0xff).unwrap_or(0);
        let kind = ObjectType::try_from(kind).map_err(|_| SysError::NoSuchOperation)?;
        Ok((phase, Range { kind, base, size }))
    }

    /// Owner: shows its part in another's revoke, in `place` of its own; none takes it away.
    pub fn set_part(&self, place: u16, id: OperationId, part: Option<Part>) {
        if let Some(word) = self.parts.get(usize::from(place)) {
            let value = part.map_or(0, |part| id.0 | (part as u64) << PART);
            // Pairs with the load in `part`: who sees it sees that the offers are withdrawn.
            word.store(value, Ordering::Release);
        }
    }

    /// Others: the owner's part in the revoke `id`, if it shows one.
    pub fn part(&self, id: OperationId) -> Option<Part> {
        // One whose place is none has no part: its word is taken for nobody's.
        self.place(id)?;
        self.parts.iter().find_map(|word| {
            // Pairs with the store in `set_part`.
            let word = word.load(Ordering::Acquire);
            if word & !(0b11 << PART) != id.0 {
                return None;
            }
            match word >> PART & 0b11 {
                1 => Some(Part::Marked),
                2 => Some(Part::Swept),
                _ => None,
            }
        })
    }

    fn place(&self, id: OperationId) -> Option<&Shown> {
        self.revokes.get(usize::from(id.place()))
    }
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const ONE: OperationId = OperationId::new(KernelId(3), 15, 7);
    const RANGE: Range = Range {
        kind: ObjectType::Ram,
        base: 0x8000,
        size: 0x4000,
    };
    const NONE: SysError = SysError::NoSuchOperation;

    #[test]
    fn a_revoke_is_shown_until_it_is_over() {
        let board = Board::new();
        assert_eq!(board.revoke(ONE), Err(NONE));
        board.show(ONE, &RANGE).unwrap();
        for phase in [Phase::Marking, Phase::Closing, Phase::Committed] {
            board.set_phase(ONE, phase);
            assert_eq!(board.revoke(ONE), Ok((phase, RANGE)));
        }
        for other in [
            OperationId::new(KernelId(3), 15, 8),
            OperationId::new(KernelId(3), 14, 7),
            OperationId::new(KernelId(3), 31, 7),
            OperationId(0),
        ] {
            assert_eq!(board.revoke(other), Err(NONE), "{other:?}");
        }
        board.set_phase(ONE, Phase::Over);
        assert_eq!(board.revoke(ONE), Err(NONE));
        let beyond = OperationId::new(KernelId(3), 16, 7);
        assert_eq!(board.show(beyond, &RANGE), Err(SysError::InvalidArgument));
    }

    #[test]
    fn a_place_used_again_is_another_revoke() {
        let board = Board::new();
        board.show(ONE, &RANGE).unwrap();
        board.set_phase(ONE, Phase::Over);
        let later = OperationId::new(KernelId(3), 15, 9);
        let other = Range {
            base: 0xc000,
            ..RANGE
        };
        board.show(later, &other).unwrap();
        assert_eq!(board.revoke(ONE), Err(NONE));
        assert_eq!(board.revoke(later), Ok((Phase::Marking, other)));
    }

    #[test]
    fn parts_are_those_of_one_revoke() {
        let board = Board::new();
        let others = [
            OperationId::new(KernelId(4), 15, 7),
            OperationId::new(KernelId(3), 14, 7),
            OperationId::new(KernelId(3), 15, 8),
        ];
        assert_eq!(board.part(ONE), None);
        board.set_part(5, ONE, Some(Part::Marked));
        board.set_part(6, others[0], Some(Part::Swept));
        assert_eq!(board.part(ONE), Some(Part::Marked));
        assert_eq!(
            others.map(|id| board.part(id)),
            [Some(Part::Swept), None, None]
        );
        board.set_part(5, ONE, Some(Part::Swept));
        assert_eq!(board.part(ONE), Some(Part::Swept));
        board.set_part(5, ONE, None);
        assert_eq!(board.part(ONE), None);
        assert_eq!(board.part(OperationId(0)), None);
    }

    #[test]
    fn all_of_a_number_counts() {
        for bit in 0..48 {
            let id = |number| OperationId::new(KernelId(511), 15, number);
            let (one, other) = (id(LAST_USE), id(LAST_USE ^ 1 << bit));
            let board = Board::new();
            board.show(one, &RANGE).unwrap();
            board.set_part(5, one, Some(Part::Marked));
            assert_eq!(board.revoke(one), Ok((Phase::Marking, RANGE)));
            assert_eq!(board.part(one), Some(Part::Marked));
            assert_eq!(board.revoke(other), Err(NONE), "bit {bit}");
            assert_eq!(board.part(other), None, "bit {bit}");
        }
        // A place that a revoke can't have, and bits of which stand for a part.
        let board = Board::new();
        board.set_part(5, ONE, Some(Part::Marked));
        let odd = OperationId::new(KernelId(3), 15 + 32, 7);
        assert_eq!(board.part(odd), None);
    }
}
