//! Invocations of the Kernel capability by which monitors have kernels hold something, and
//! change who owns what: the kernel's part in the protocols between them.

use capelin_abi::rights::Need;
use capelin_abi::syscall::Invocation;
use capelin_abi::{OperationId, SysError};
use capelin_cap::{SlotIndex, Step};

use super::call::{Call, DONE, Outcome};
use crate::handover::{self, Settling};
use crate::hold;
use crate::machine::Machine;
use crate::revocation::{self, Progress};
use crate::state::Core;

#[inline(never)]
pub(super) fn invoke<M: Machine>(
    core: &mut Core<M>,
    call: &Call<M>,
    invocation: Invocation,
) -> Result<Outcome, SysError> {
    let id = OperationId(call.argument(1));
    match invocation {
        Invocation::Lock => {
            let slot = call.capability(core, const { Need::invocation(Invocation::Lock, 1) })?;
            let id = hold::lock(core, slot, call.caller)?;
            Ok(call.answer([id.0, 0, 0]))
        }
        Invocation::Unlock => {
            hold::unlock(core, id)?;
            Ok(DONE)
        }
        Invocation::MarkRange => {
            let need = const { Need::invocation(Invocation::MarkRange, 1) };
            let slot = call.capability(core, need)?;
            let marked = revocation::mark(core, slot, call.caller)?;
            Ok(marked.map_or(Outcome::Again, |id| call.answer([id.0, 0, 0])))
        }
        Invocation::JoinMark => {
            let progress = revocation::join(core, id)?;
            Ok(answer(call, progress))
        }
        Invocation::CommitMark => {
            let progress = revocation::commit(core, id)?;
            Ok(answer(call, progress))
        }
        Invocation::SweepStep => {
            let keep = kept(core, call)?;
            let is_left = revocation::sweep(core, id, keep)? == Step::Again;
            Ok(call.answer([u64::from(is_left), 0, 0]))
        }
        Invocation::Unmark => {
            let keep = kept(core, call)?;
            let progress = revocation::unmark(core, id, keep)?;
            Ok(answer(call, progress))
        }
        Invocation::Reclaim | Invocation::SetOwner | Invocation::Adopt => {
            let ticket = call.ticket()?;
            if handover::settle_taken(core) == Settling::Partial {
                return Ok(Outcome::Again);
            }
            match invocation {
                Invocation::Reclaim => {
                    if handover::reclaim(core, ticket)? == Step::Again {
                        return Ok(Outcome::Again);
                    }
                }
                Invocation::SetOwner => handover::set_owner(core, ticket)?,
                _ => {
                    let target = call.own_slot(core, 2)?;
                    handover::adopt(core, ticket, target)?;
                }
            }
            Ok(DONE)
        }
        _ => Err(SysError::UnknownOperation),
    }
}

/// The slot that a revoke of this kernel's leaves; none for 0.
fn kept<M: Machine>(core: &Core<M>, call: &Call<M>) -> Result<SlotIndex, SysError> {
    if call.argument(2) == 0 {
        return Ok(SlotIndex::NONE);
    }
    call.own_slot(core, 2)
}

fn answer<M: Machine>(call: &Call<M>, progress: Progress) -> Outcome {
    match progress {
        Progress::Done => call.answer([0; 3]),
        Progress::Waiting(kernel) => call.answer([1, kernel.0.into(), 0]),
        Progress::Again => Outcome::Again,
    }
}
