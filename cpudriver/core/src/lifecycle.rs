//! How a dispatcher ends.

use capelin_abi::syscall::DispatcherState;
use capelin_cap::SlotStore;

use crate::dcb::{DcbRef, Wait, held};
use crate::delivery::{Cause, Told, event, program_timer, tell};
use crate::endpoint::{destination, take_back_promise};
use crate::hold;
use crate::kcb::FIRST_DOMAIN_ENDED;
use crate::machine::{Machine, Objects};
use crate::state::Core;

/// Ends `dcb` for good and tells its death endpoint. If it was current, nobody
/// is: the caller runs the next. With the first domain, the CPU driver ends.
pub(crate) fn end<M: Machine>(core: &mut Core<M>, dcb: DcbRef, state: DispatcherState, code: u32) {
    let now = core.machine.now();
    if core.kcb.scheduler.current == Some(dcb) {
        core.kcb.scheduler.block(&mut core.objects, now);
    }
    core.kcb.scheduler.forget(&mut core.objects, dcb, now);
    if core.kcb.fp_owner == Some(dcb) {
        core.kcb.fp_owner = None;
    }
    let entry = core.objects.dcb_mut(dcb);
    entry.state = state;
    entry.exit_code = code;
    entry.wait = Wait::Not;
    core.kcb.operations.leave(dcb);
    hold::end_for_those_gone(core);
    report_end(core, dcb, state, code);
    if core.kcb.first == Some(dcb) {
        // This core is of no use, and says so rather than to sleep. (It returns in tests only.)
        core.kcb.first = None;
        core.machine.panic(FIRST_DOMAIN_ENDED);
    }
}

/// Whether `dcb` still has its frame, its CSpace and its VSpace. One that is dying
/// counts as lost: the dispatcher was told of it, and won't be again.
pub(crate) fn is_whole<M: Machine>(core: &Core<M>, dcb: DcbRef) -> bool {
    (held::FRAME..=held::VSPACE)
        .all(|n| capelin_cap::usable(&core.slots, &core.database.mdb, dcb.held(n)).is_ok())
}

/// Tells the death endpoint of `dcb` how it ended: words are the state and the
/// exit code. Where no room was promised, it may have to count as missed.
fn report_end<M: Machine>(core: &mut Core<M>, dcb: DcbRef, state: DispatcherState, code: u32) {
    let slot = core.slots.slot(dcb.held(held::DEATH));
    let Ok(to) = destination(slot) else {
        return;
    };
    let words = [state as u64, u64::from(code), 0, 0, 0, 0, 0, 0];
    if core.objects.dcb(dcb).promise.is_none() {
        let now = core.machine.now();
        let told = tell(&mut core.objects, &mut core.kcb.scheduler, to, &words, now);
        if told == Told::Woken {
            program_timer(core, now);
        }
    } else if event(core, to, words, Cause::Call) {
        take_back_promise(&mut core.objects, dcb);
    }
}
