//! Revokes of this kernel's alone that take longer than one entry.
//!
//! Between the entries others run, and whoever has a copy of what is revoked, or something
//! made of it, could make more as fast as it goes. So an unfinished revoke marks its range, as
//! those that other kernels have a part in do ([`crate::mark_range`]): until it is over, what
//! lies there can't be used, copied, sent or received ([`SysError::Dying`]), nor deleted one
//! by one (`Locked`). Then every step takes something away for good, and it ends.
//!
//! ```text
//!   hold_revoke ──▶ Holds ──▶ revoke_held … ──▶ Done, end_revoke(Complete)
//!                    │  ▲                        or end_revoke(GivenUp): its caller ended
//!        an outer one│  │given up
//!                    ▼  │
//!                  Within(that) ──▶ Answered, when that is complete
//! ```
//!
//! A revoke in the range of another *joins* it: all that it is to remove goes with that, its
//! own capability too. The step of either is the outer one's. One around others takes them
//! over in the same way.
//!
//! Between the entries the capability that is revoked may go with the container in which it
//! lies, and that memory become anything; or it changes its slot. Its slot is watched
//! ([`SlotFlags::WATCHED`]), so that the table knows: no slot is read by a number from
//! an earlier entry unless that capability is still in it.

use capelin_abi::SysError;

use crate::delete::Step;
use crate::delete_list::DeleteList;
use crate::hold::{End, Holds, OperationId, Standing};
use crate::mdb::Mdb;
use crate::revoke::{check_revoke, revoke_unheld};
use crate::slot::SlotFlags;
use crate::slot_index::SlotIndex;
use crate::store::{Effects, SlotStore};

/// Has `operation` hold the range of the capability in `index`, which it revokes; or joins the
/// revoke in whose range that lies.
///
/// # Errors
/// As [`crate::revoke()`], but not `Dying` for a marked range; `Locked` for a locked object in
/// the range; `NoResources` while there is no place.
pub fn hold_revoke<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    index: SlotIndex,
    operation: OperationId,
) -> Result<(), SysError> {
    check_revoke(store, mdb, index)?;
    mdb.holds.mark_or_join(operation, store.slot(index))?;
    mdb.holds.keep(operation, index);
    store.slot_mut(index).watch();
    Ok(())
}

/// Steps of the revoke that `operation` holds the range of, as [`crate::revoke()`] without a
/// mark. After each that isn't the last, `goes_on` says whether to do another.
///
/// # Errors
/// As [`crate::revoke()`]; `InvalidArgument` for an operation that has marked nothing,
/// `Dying` for one that has joined another; `EmptySlot` when the capability that is revoked is
/// gone: it went with what it lay in.
pub fn revoke_held<S: SlotStore, E: Effects>(
    store: &mut S,
    mdb: &mut Mdb,
    list: &mut DeleteList,
    operation: OperationId,
    effects: &mut E,
    mut goes_on: impl FnMut(&mut E) -> bool,
) -> Result<Step, SysError> {
    let (lifted, _) = mdb.holds.lift(operation)?;
    let result = loop {
        // It may go with a container that a step takes away.
        let index = mdb.holds.kept_in(&lifted);
        if index.is_none() {
            break Err(SysError::EmptySlot);
        }
        match revoke_unheld(store, mdb, list, index, effects) {
            Ok(Step::Again) if goes_on(effects) => {}
            result => break result,
        }
    };
    mdb.holds.put_back(lifted);
    result
}

/// Ends what [`hold_revoke`] began.
///
/// # Errors
/// `InvalidArgument` for an operation that holds nothing.
pub fn end_revoke<S: SlotStore>(
    store: &mut S,
    mdb: &mut Mdb,
    operation: OperationId,
    end: End,
) -> Result<(), SysError> {
    unwatching(store, mdb, |holds| holds.release(operation, end))
}

/// Ends whatever `operations` hold, as given up: locks, marks for which nothing has been swept,
/// and what [`hold_revoke`] began. At the price of little more than one, however many there are.
pub fn give_up_all<S: SlotStore>(store: &mut S, mdb: &mut Mdb, operations: &[OperationId]) {
    unwatching(store, mdb, |holds| holds.release_all(operations));
}

/// Ends holds, and watches no longer what nobody keeps any more.
fn unwatching<S: SlotStore, T>(
    store: &mut S,
    mdb: &mut Mdb,
    release: impl FnOnce(&mut Holds) -> T,
) -> T {
    let kept = mdb.holds.kept.all();
    let result = release(&mut mdb.holds);
    for slot in kept {
        if !slot.is_none() && !mdb.holds.kept.has(slot) {
            store.slot_mut(slot).set_flags(SlotFlags::WATCHED, false);
        }
    }
    result
}

impl Mdb {
    /// How the mark of `operation` stands among the others.
    ///
    /// # Errors
    /// `InvalidArgument` when it has marked nothing.
    pub fn standing(&self, operation: OperationId) -> Result<Standing, SysError> {
        self.holds.standing(operation)
    }

    /// Where the capability is that the unfinished revoke `operation` is of; none when it is
    /// gone, or there is no such revoke.
    #[must_use]
    pub fn kept(&self, operation: OperationId) -> SlotIndex {
        self.holds.kept_by(operation)
    }
}
