//! Invocations of the Kernel capability: what only a monitor and `init` may ask.

use capelin_abi::rights::Need;
use capelin_abi::syscall::{HAS_CRC32, Invocation, KernelCounter};
use capelin_abi::{KernelId, Mpidr, PAGE_SIZE, PhysAddr, SysError, VirtAddr};
use capelin_cap::{ExportMode, Search, SlotStore, Step};
use capelin_peers::Taker;

use super::call::{Call, DONE, Outcome};
use super::{operation, start_core};
use crate::handover::{self, Patience, Settling};
use crate::machine::{LeafSearch, Looked, Machine, Objects, SaveContext};
use crate::narrow::{index, low16};
use crate::state::Core;

/// Every invocation of a Kernel capability.
pub(crate) fn invoke<M: Machine>(
    core: &mut Core<M>,
    call: &Call<M>,
    invocation: Invocation,
) -> Result<Outcome, SysError> {
    match invocation {
        Invocation::KernelInfo => Ok(call.answer([
            u64::from(core.kernel.0) | core.node << 16 | if core.has_crc32 { HAS_CRC32 } else { 0 },
            core.mpidr.0,
            core.frequency,
        ])),
        Invocation::ReadCounter => read_counter(core, call),
        Invocation::ReadLog => read_log(core, call),
        // That is for one of them: the others' monitors answer for their own cores.
        Invocation::PowerOff | Invocation::Reboot if !core.is_boot_core => {
            Err(SysError::Unsupported)
        }
        Invocation::ReleaseConsole | Invocation::PowerOff | Invocation::Reboot
            if !is_said(core, call) =>
        {
            Ok(Outcome::Again)
        }
        Invocation::ReleaseConsole => {
            core.console_released = true;
            Ok(DONE)
        }
        Invocation::Seal => {
            let frame = call.capability(core, const { Need::invocation(Invocation::Seal, 1) })?;
            if core.objects.contains(core.slots.slot(frame).address(), 1) {
                // No core lives in another's home memory.
                return Err(SysError::InvalidArgument);
            }
            core.caps().seal(frame)?;
            Ok(DONE)
        }
        Invocation::StartCore => start_core::start_core(core, call),
        Invocation::AffinityInfo => {
            let state = core.machine.affinity_info(Mpidr(call.argument(1)))?;
            Ok(call.answer([state, 0, 0]))
        }
        Invocation::Export => export(core, call),
        Invocation::Import => import(core, call),
        Invocation::SettleExport => settle(core, call),
        Invocation::ProbeWindow => probe_window(core, call),
        Invocation::TakeOrphan => {
            let target = call.own_slot(core, 1)?;
            let (shelter, from) = (core.kcb.shelter, call.argument(2));
            let from = u32::try_from(from).map_err(|_| SysError::EmptySlot)?;
            match core.caps().take_orphan(shelter, from, target)? {
                Search::Taken => Ok(DONE),
                Search::From(next) => {
                    call.area.set(2, next.into());
                    Ok(Outcome::Again)
                }
            }
        }
        Invocation::Lock
        | Invocation::Unlock
        | Invocation::MarkRange
        | Invocation::JoinMark
        | Invocation::CommitMark
        | Invocation::SweepStep
        | Invocation::Unmark
        | Invocation::Reclaim
        | Invocation::SetOwner
        | Invocation::Adopt => operation::invoke(core, call, invocation),
        Invocation::PowerOff => Err(core.machine.power_off()),
        Invocation::Reboot => Err(core.machine.reboot()),
        Invocation::Panic => Err(core.machine.panic("asked for")),
        Invocation::Probe => probe(core, call),
        Invocation::MapLeaf => {
            let from = VirtAddr(call.argument(2));
            match core.machine.kernel_leaf(call.argument(1), from) {
                LeafSearch::Found(address, target, size, kind) => {
                    Ok(call.answer([address.0, target.0, size | kind.bits()]))
                }
                LeafSearch::Past => Err(SysError::OutOfRange),
                LeafSearch::Later(left, from) => {
                    call.area.set(1, left);
                    call.area.set(2, from.0);
                    Ok(Outcome::Again)
                }
            }
        }
        _ => Err(SysError::UnknownOperation),
    }
}

/// Whether the console has what was in the log when this call was first looked at: whoever
/// takes over, or the end, comes after what has been said. What is said meanwhile isn't waited
/// for, or who goes on talking would keep them off. The restarted call has where that ends,
/// and 1, in its first argument.
fn is_said<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> bool {
    let end = core.log.end();
    let until = match call.argument(1) {
        0 => end,
        noted => end.min(noted - 1),
    };
    if core.show_log() || core.log.shown >= until {
        return true;
    }
    call.area.set(1, until + 1);
    false
}

fn read_counter<M: Machine>(core: &Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    let counter = KernelCounter::try_from(call.argument(1)).map_err(|_| SysError::OutOfRange)?;
    let value = core.kcb.counters[counter as usize];
    Ok(call.answer([value, 0, 0]))
}

fn read_log<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    let limit = index(call.argument(2).min(PAGE_SIZE));
    let (from, bytes) = core.log.read(call.argument(3));
    let bytes = &bytes[..limit.min(bytes.len())];
    core.machine.write_user(VirtAddr(call.argument(1)), bytes)?;
    Ok(call.answer([bytes.len() as u64, from, core.log.end()]))
}

fn export<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    let slot = call.capability(core, const { Need::invocation(Invocation::Export, 1) })?;
    let word = call.argument(2);
    let (mode, taker) = match word >> 16 {
        0 => (ExportMode::Move, Taker::Any),
        1 => (ExportMode::Copy, Taker::Any),
        2 => (ExportMode::Move, Taker::Child),
        3 => (ExportMode::Copy, Taker::Child),
        4 => (ExportMode::Claim, Taker::Any),
        8 => (ExportMode::HandOver, Taker::Any),
        _ => return Err(SysError::InvalidArgument),
    };
    let ticket = handover::export(core, slot, KernelId(low16(word)), taker, mode)?;
    Ok(call.answer([ticket.to_word(), 0, 0]))
}

fn import<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    let target = call.own_slot(core, 2)?;
    let ticket = call.ticket()?;
    if handover::settle_taken(core) == Settling::Partial {
        return Ok(Outcome::Again);
    }
    match handover::import(core, ticket, target)? {
        Step::Done => Ok(DONE),
        Step::Again => Ok(Outcome::Again),
    }
}

fn settle<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    let patience = match call.argument(2) {
        0 => Patience::Wait,
        1 => Patience::Withdraw,
        _ => return Err(SysError::InvalidArgument),
    };
    let fate = handover::settle(core, call.ticket()?, patience)?;
    Ok(call.answer([fate as u64, 0, 0]))
}

/// A test of I1: what the map shows while a page is in the temporary window. What is there is
/// read, so the caller must have what lets him read it.
fn probe_window<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    const NEED: Need = Need::invocation(Invocation::ProbeWindow, 2);
    let page = PhysAddr(call.argument(1));
    let covering = call.capability(core, NEED)?;
    if core.machine.look_ahead(page)? == Looked::Long {
        return Ok(Outcome::Again);
    }
    let range = core.caps().usable(covering)?.capability();
    let offset = page.0.checked_sub(range.base);
    if !offset.is_some_and(|offset| offset < range.size && range.size - offset >= PAGE_SIZE) {
        return Err(SysError::OutOfRange);
    }
    let (shown, kind) = core.machine.show(page)?;
    Ok(call.answer([shown.0, kind.bits(), 0]))
}

/// A test of I1: does the CPU driver's own map reach a physical address?
fn probe<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    let address = call.argument(1);
    if address >= 1 << 47 || !address.is_multiple_of(8) {
        return Err(SysError::InvalidArgument);
    }
    if core.machine.reaches(PhysAddr(address)) {
        Ok(DONE)
    } else {
        call.answer([1, 0, 0]);
        Ok(Outcome::AfterFault)
    }
}
