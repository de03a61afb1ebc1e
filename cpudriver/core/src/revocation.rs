//! Revokes that other kernels have a part in (`docs/020-capabilities.md`, "Revoke").
//!
//! ```text
//!   owner's kernel                     every other kernel
//!   MarkRange  marks, shows it   ──▶   JoinMark   marks, recalls its offers, shows it
//!   CommitMark all have          ──▶   SweepStep  until nothing is left, shows it
//!   SweepStep  the same here
//!   Unmark     all have          ──▶   Unmark
//! ```
//! The monitors carry the operation's id and ask for the steps. What a kernel knows of
//! another's step it reads from that one's board (`capelin_peers::board`), which only that
//! kernel writes: so no monitor can have a range revoked that its kernel doesn't own, nor
//! have anything swept before all have marked, nor used again before all have swept.
//!
//! Whoever holds the Kernel capability may go on with an operation. What was begun by a
//! dispatcher that is gone is given up if nothing has been swept for it.

use capelin_abi::{KernelId, OperationId, SysError};
use capelin_cap::{Object, SlotIndex, SlotStore, Standing, Step};
use capelin_peers::board::{Part, Phase, Range};
use capelin_peers::{Board, SharedPages};

use crate::dcb::DcbRef;
use crate::delivery::program_timer;
use crate::effects::{DELETE_AT_ONCE, KernelEffects, step_cost};
use crate::handover::{self, Settling};
use crate::hold;
use crate::machine::Machine;
use crate::operations::{Position, Role, Stage};
use crate::state::Core;

/// Boards of other kernels that one entry looks at.
const BOARDS_AT_ONCE: usize = 16;

/// What has come of a step in which other kernels have a part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// All of it is done.
    Done,
    /// This kernel hasn't done its part yet.
    Waiting(KernelId),
    /// The same call goes on.
    Again,
}

/// Marks what the capability in `slot` names, for a revoke that other kernels may join. None:
/// the same call goes on.
///
/// # Errors
/// As [`capelin_cap::begin_revoke`]; `RangeInUse` for what kernels live on
/// ([`hold::keeps`]); `NoResources` while there is no place.
pub(crate) fn mark<M: Machine>(
    core: &mut Core<M>,
    slot: SlotIndex,
    owner: DcbRef,
) -> Result<Option<OperationId>, SysError> {
    if leave_what_is_over(core) == Step::Again {
        return Ok(None);
    }
    if hold::keeps(core, &Object::of(core.slots.slot(slot))) {
        return Err(SysError::RangeInUse);
    }
    let operations = &mut core.kcb.operations;
    let id = operations.begin(core.kernel, Role::Revoke, owner)?;
    match core.caps().begin_revoke(slot, id) {
        Ok(Object { kind, base, size }) => {
            let range = Range { kind, base, size };
            core.machine.own_shared().board.show(id, &range)?;
            Ok(Some(id))
        }
        Err(error) => {
            core.kcb.operations.end(id);
            Err(error)
        }
    }
}

/// Takes part in another kernel's revoke: marks its range, and takes back all that is on
/// its way from here.
///
/// # Errors
/// `NoSuchOperation` for one that is over, or never was; `Locked` for a locked object in
/// the range, and while its kernel counts who has joined; `RangeInUse` for what kernels live
/// on ([`hold::keeps`]); otherwise as [`capelin_cap::mark_range`]; `NoResources` while
/// there is no place, and while that kernel's revokes, or all others', have as many here as
/// they may.
pub(crate) fn join<M: Machine>(core: &mut Core<M>, id: OperationId) -> Result<Progress, SysError> {
    let (phase, object) = match shown(core, id) {
        Ok(shown) => shown,
        Err(error) => {
            if core.kcb.operations.part(id).map(|part| part.stage) == Ok(Stage::Begun) {
                // It was given up before this kernel had shown its part.
                hold::give_up(core, id);
            }
            return Err(error);
        }
    };
    match core.kcb.operations.part(id).map(|part| part.stage) {
        Ok(Stage::Begun) => {}
        Ok(_) => return Ok(Progress::Done),
        Err(_) if phase != Phase::Marking => return Err(SysError::Locked),
        Err(_) => {
            if leave_what_is_over(core) == Step::Again {
                return Ok(Progress::Again);
            }
            if hold::keeps(core, &object) {
                return Err(SysError::RangeInUse);
            }
            if let Err(error) = core.kcb.operations.join(id) {
                return match leave_those_off(core) {
                    Step::Again => Ok(Progress::Again),
                    Step::Done => Err(error),
                };
            }
            if let Err(error) = core.caps().mark_range(&object, id) {
                core.kcb.operations.end(id);
                return Err(error);
            }
            // The look at all homes was enough for one entry.
            return Ok(Progress::Again);
        }
    }
    if recall(core, id, &object)? == Settling::Partial {
        return Ok(Progress::Again);
    }
    // Nothing is on its way any more, and nothing will be. That counts if nobody sweeps as
    // yet: whoever does has looked after this.
    let error = match shown(core, id) {
        Ok((Phase::Marking, _)) => {
            let place = core.kcb.operations.set_stage(id, Stage::Marked)?;
            let board = &core.machine.own_shared().board;
            board.set_part(place, id, Some(Part::Marked));
            return Ok(Progress::Done);
        }
        Ok(_) => SysError::Locked,
        Err(error) => error,
    };
    hold::give_up(core, id);
    Err(error)
}

/// Has other kernels sweep, once all have marked: which they have, this kernel sees.
///
/// # Errors
/// `NoSuchOperation`; `Dying` when its mark lies in another, whose revoke is its answer.
pub(crate) fn commit<M: Machine>(
    core: &mut Core<M>,
    id: OperationId,
) -> Result<Progress, SysError> {
    let stage = core.kcb.operations.find(id, Role::Revoke)?.stage;
    if is_answered(core, id) {
        return Ok(Progress::Done);
    }
    let object = core.database.mdb.marked_object(id)?;
    match stage {
        Stage::Begun => {
            if recall(core, id, &object)? == Settling::Partial {
                return Ok(Progress::Again);
            }
            core.kcb.operations.set_stage(id, Stage::Closing)?;
            // From now on, nobody joins: who hasn't been started yet has nothing, and gets
            // nothing that is in the range.
            core.machine
                .own_shared()
                .board
                .set_phase(id, Phase::Closing);
        }
        Stage::Closing => {}
        Stage::Marked | Stage::Committed | Stage::Swept => return Ok(Progress::Done),
    }
    let looked = look(core, id, |core, kernel, board, first| {
        if board.part(id).is_some() {
            return Ok(Answer::Ready);
        }
        Ok(has_left(core, kernel, &object, first))
    });
    match looked {
        Ok(Progress::Done) => {
            core.kcb.operations.set_stage(id, Stage::Committed)?;
            core.machine
                .own_shared()
                .board
                .set_phase(id, Phase::Committed);
        }
        Ok(Progress::Again) => {}
        Ok(Progress::Waiting(_)) | Err(_) => {
            core.kcb.operations.set_stage(id, Stage::Begun)?;
            core.machine
                .own_shared()
                .board
                .set_phase(id, Phase::Marking);
        }
    }
    looked
}

/// Does as many steps as one entry may of removing what is in the range, but for the
/// capability in `keep`, in a revoke of this kernel's own; a part in another's keeps nothing,
/// whatever `keep` says.
///
/// # Errors
/// `NoSuchOperation`; `Locked` before all kernels have marked; otherwise as
/// [`capelin_cap::sweep_step`].
pub(crate) fn sweep<M: Machine>(
    core: &mut Core<M>,
    id: OperationId,
    keep: SlotIndex,
) -> Result<Step, SysError> {
    let is_own = id.kernel() == core.kernel;
    let keep = if is_own { keep } else { SlotIndex::NONE };
    let stage = core.kcb.operations.any(id)?.stage;
    match (stage, is_own) {
        (Stage::Swept, _) => return Ok(Step::Done),
        (_, true) if is_answered(core, id) => return Ok(Step::Done),
        (Stage::Committed, true) => {}
        (Stage::Marked, false) if shown(core, id)?.0 == Phase::Committed => {}
        _ => return Err(SysError::Locked),
    }
    let (mut caps, mut effects) = KernelEffects::split(core);
    let mut steps = 0;
    let swept = loop {
        match caps.sweep_step(id, keep, &mut effects) {
            Ok(Step::Again) => {}
            other => break other,
        }
        steps += step_cost(caps.holds_count());
        if effects.interrupt_pending() || steps + effects.cost() > DELETE_AT_ONCE {
            break Ok(Step::Again);
        }
    };
    if effects.has_more() {
        hold::end_for_those_gone(core);
        program_timer(core, core.machine.now());
    }
    if swept == Ok(Step::Done) {
        let place = core.kcb.operations.set_stage(id, Stage::Swept)?;
        core.kcb.operations.set_next(id, Position::START);
        if !is_own {
            let board = &core.machine.own_shared().board;
            board.set_part(place, id, Some(Part::Swept));
        }
        hold::show_over_within(core, id);
    }
    swept
}

/// Whether a revoke in whose range `id` lay has done all of it, on all kernels.
fn is_answered<M: Machine>(core: &Core<M>, id: OperationId) -> bool {
    core.database.mdb.standing(id) == Ok(Standing::Answered)
}

/// Ends a revoke: what is in the range can be used again, once nothing of it is left
/// anywhere but the capability in `keep`. One for which nothing was swept is given up; one that
/// lay in another's range is over with that.
///
/// # Errors
/// `NoSuchOperation`; `Locked` while it isn't swept here, or not over at its owner's; `Dying`
/// while what is swept lies in the range of another;
/// otherwise as [`capelin_cap::finish_revoke`].
pub(crate) fn unmark<M: Machine>(
    core: &mut Core<M>,
    id: OperationId,
    keep: SlotIndex,
) -> Result<Progress, SysError> {
    if id.kernel() != core.kernel {
        return leave(core, id);
    }
    let stage = core.kcb.operations.find(id, Role::Revoke)?.stage;
    match stage {
        _ if is_answered(core, id) => {
            hold::give_up(core, id);
            return Ok(Progress::Done);
        }
        Stage::Begun | Stage::Closing => {
            hold::give_up(core, id);
            return Ok(Progress::Done);
        }
        Stage::Marked | Stage::Committed => return Err(SysError::Locked),
        Stage::Swept => {}
    }
    let object = core.database.mdb.marked_object(id)?;
    // One that shows no part was started after all others had theirs.
    let looked = look(core, id, |core, kernel, board, first| {
        if board.part(id) != Some(Part::Marked) {
            return Ok(Answer::Ready);
        }
        Ok(has_left(core, kernel, &object, first))
    })?;
    if looked == Progress::Done {
        core.caps().finish_revoke(id, keep)?;
        core.machine.own_shared().board.set_phase(id, Phase::Over);
        core.kcb.operations.end(id);
    }
    Ok(looked)
}

/// Ends this kernel's part in another's revoke, which is over.
fn leave<M: Machine>(core: &mut Core<M>, id: OperationId) -> Result<Progress, SysError> {
    let stage = core.kcb.operations.part(id)?.stage;
    if shown(core, id).is_ok() && !is_off(core, id.kernel()) {
        return Err(SysError::Locked);
    }
    if stage == Stage::Swept {
        core.caps().finish_revoke(id, SlotIndex::NONE)?;
        hold::end(core, id);
    } else {
        hold::give_up(core, id);
    }
    Ok(Progress::Done)
}

/// Ends the first part in a revoke that is over: nobody may have asked for it. Done when there
/// is none that can be ended.
fn leave_what_is_over<M: Machine>(core: &mut Core<M>) -> Step {
    leave_first(core, |core, id| shown(core, id).is_err())
}

/// Ends the first part in a revoke of a kernel that has left for good: it would stay for ever.
fn leave_those_off<M: Machine>(core: &mut Core<M>) -> Step {
    leave_first(core, |core, id| is_off(core, id.kernel()))
}

/// Ends the first part of which `is_to_end` says so, and which can be ended: what is left of it
/// is refused otherwise, and stays. One is enough for an entry.
fn leave_first<M: Machine>(
    core: &mut Core<M>,
    is_to_end: impl Fn(&mut Core<M>, OperationId) -> bool,
) -> Step {
    for id in core.kcb.operations.parts() {
        if id != OperationId(0) && is_to_end(core, id) && leave(core, id).is_ok() {
            return Step::Again;
        }
    }
    Step::Done
}

/// A step of the operation `id`'s recall of `object`, from where the last one left off: nothing
/// in a marked range is offered any more.
fn recall<M: Machine>(
    core: &mut Core<M>,
    id: OperationId,
    object: &Object,
) -> Result<Settling, SysError> {
    let first = core.kcb.operations.any(id)?.next.entry();
    let next = handover::recall(core, object, first);
    let at = next.map_or(Position::START, |entry| Position::new(KernelId(0), entry));
    core.kcb.operations.set_next(id, at);
    Ok(match next {
        Some(_) => Settling::Partial,
        None => Settling::Complete,
    })
}

/// What a look at another kernel comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    /// It has done its part.
    Ready,
    /// It hasn't.
    Waiting,
    /// It has left for good, and nothing is on its way from there.
    Gone,
    /// It has left, and more has to be taken back, from this entry on.
    Going(u16),
}

/// Asks for `answer` of each other kernel that has been started, from where the
/// operation `id` is on; of the first, with the entry of its outbox to go on at.
fn look<M: Machine>(
    core: &mut Core<M>,
    id: OperationId,
    answer: impl Fn(&mut Core<M>, KernelId, &Board, u16) -> Result<Answer, SysError>,
) -> Result<Progress, SysError> {
    let mut looked = 0;
    let reached = core.kcb.operations.any(id)?.next;
    for number in reached.kernel().0..KernelId::LIMIT {
        let kernel = KernelId(number);
        let first = if kernel == reached.kernel() {
            reached.entry()
        } else {
            0
        };
        if kernel == core.kernel || core.machine.peers().home(kernel).is_none() {
            continue;
        }
        if looked == BOARDS_AT_ONCE {
            let next = Position::new(kernel, 0);
            core.kcb.operations.set_next(id, next);
            return Ok(Progress::Again);
        }
        let pages: &SharedPages = core.machine.map_shared(kernel)?;
        match answer(core, kernel, &pages.board, first)? {
            Answer::Ready => looked += 1,
            // The last of its offers were looked at: enough for one entry.
            Answer::Gone => looked = BOARDS_AT_ONCE,
            Answer::Going(entry) => {
                let next = Position::new(kernel, entry);
                core.kcb.operations.set_next(id, next);
                return Ok(Progress::Again);
            }
            Answer::Waiting => {
                core.kcb.operations.set_next(id, Position::START);
                return Ok(Progress::Waiting(kernel));
            }
        }
    }
    core.kcb.operations.set_next(id, Position::START);
    Ok(Progress::Done)
}

/// What another kernel shows of its revoke `id`.
fn shown<M: Machine>(core: &mut Core<M>, id: OperationId) -> Result<(Phase, Object), SysError> {
    if id.kernel() == core.kernel {
        return Err(SysError::NoSuchOperation);
    }
    let pages = core
        .machine
        .map_shared(id.kernel())
        .map_err(|_| SysError::NoSuchOperation)?;
    let (phase, Range { kind, base, size }) = pages.board.revoke(id)?;
    Ok((phase, Object { kind, base, size }))
}

/// Whether `kernel` has left for good: its core is off, as firmware says, and what it
/// still offered of `object`, from entry `first` on, is taken back. Nobody has to wait for it
/// then.
fn has_left<M: Machine>(
    core: &mut Core<M>,
    kernel: KernelId,
    object: &Object,
    first: u16,
) -> Answer {
    if !is_off(core, kernel) {
        return Answer::Waiting;
    }
    let Ok(pages) = core.machine.map_shared(kernel) else {
        return Answer::Gone;
    };
    match handover::take_back_for(&pages.outbox, kernel, object, first) {
        None => Answer::Gone,
        Some(next) => Answer::Going(next),
    }
}

fn is_off<M: Machine>(core: &mut Core<M>, kernel: KernelId) -> bool {
    const OFF: u64 = 1;
    let place = core.machine.peers().place(kernel);
    place.is_some_and(|(mpidr, _)| core.machine.affinity_info(mpidr) == Ok(OFF))
}
