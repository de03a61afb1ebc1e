//! What holds of a kernel's state whenever no entry is under way: for tests.

use capelin_abi::syscall::DispatcherState;

use crate::dcb::{DcbRef, Wait};
use crate::machine::{Machine, Objects};
use crate::scheduler::NEVER;
use crate::state::Core;

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// The mapping database.
    Database(capelin_cap::Violation),
    /// The run queue's links don't agree, or form a circle.
    QueueLinks(DcbRef),
    /// A dispatcher in the run queue isn't runnable, waits, or runs.
    Queued(DcbRef),
    /// The list of deadlines is out of order, or its links don't agree.
    DeadlineLinks(DcbRef),
    /// A dispatcher has a deadline and doesn't wait.
    Deadline(DcbRef),
    /// The dispatcher that runs isn't runnable, waits, or has lost its frame.
    Current(DcbRef),
    /// The KCB's words for the vectors aren't the current dispatcher's.
    Vectors(DcbRef),
    /// Somebody waits for his turn, and nothing ends the current slice.
    EndlessSlice,
    /// A doorbell word's owner doesn't know of it.
    Doorbell(DcbRef),
    /// An interrupt is bound to an endpoint that isn't there, or isn't promised room.
    Interrupt(u32),
}

/// More dispatchers than fit in the home memory that the tests use: a list that is
/// longer is a circle.
const MANY: usize = 1 << 16;

/// Looks at everything.
///
/// # Errors
/// The first thing found wrong.
pub fn check<M: Machine>(core: &Core<M>) -> Result<(), Violation> {
    capelin_cap::check(&core.slots, &core.kcb.mdb).map_err(Violation::Database)?;
    queue(core)?;
    deadlines(core)?;
    current(core)?;
    for (word, dcb) in core.kcb.doorbells.all() {
        if core.objects.dcb(dcb).doorbell as usize != word {
            return Err(Violation::Doorbell(dcb));
        }
    }
    for irq in &core.kcb.irqs {
        let Some(dcb) = irq.dispatcher else { continue };
        let record = core.objects.dcb(dcb).endpoints.get(irq.endpoint as usize);
        if record.is_none_or(|record| record.ring == 0 || record.reserved == 0) {
            return Err(Violation::Interrupt(irq.intid));
        }
    }
    Ok(())
}

fn queue<M: Machine>(core: &Core<M>) -> Result<(), Violation> {
    let mut before = None;
    for (count, dcb) in core.kcb.scheduler.queue(&core.objects).enumerate() {
        let entry = core.objects.dcb(dcb);
        if entry.previous != before || count > MANY {
            return Err(Violation::QueueLinks(dcb));
        }
        let runs = core.kcb.scheduler.current == Some(dcb);
        if entry.state != DispatcherState::Runnable || entry.wait != Wait::Not || runs {
            return Err(Violation::Queued(dcb));
        }
        before = Some(dcb);
    }
    Ok(())
}

fn deadlines<M: Machine>(core: &Core<M>) -> Result<(), Violation> {
    let mut before = 0;
    for (count, dcb) in core.kcb.scheduler.deadlines(&core.objects).enumerate() {
        let entry = core.objects.dcb(dcb);
        if entry.deadline < before || count > MANY {
            return Err(Violation::DeadlineLinks(dcb));
        }
        if !entry.has_deadline || entry.wait == Wait::Not || entry.deadline == NEVER {
            return Err(Violation::Deadline(dcb));
        }
        before = entry.deadline;
    }
    Ok(())
}

fn current<M: Machine>(core: &Core<M>) -> Result<(), Violation> {
    let Some(dcb) = core.kcb.scheduler.current else {
        return Ok(());
    };
    let entry = core.objects.dcb(dcb);
    if entry.state != DispatcherState::Runnable || entry.wait != Wait::Not || entry.frame == 0 {
        return Err(Violation::Current(dcb));
    }
    let area = core.kcb.current_area.wrapping_sub(entry.frame);
    if core.kcb.current_frame != entry.frame || area >= capelin_abi::dispatcher::FRAME_BYTES {
        return Err(Violation::Vectors(dcb));
    }
    let is_alone = core.kcb.scheduler.is_empty();
    if !is_alone && core.kcb.scheduler.slice_end == NEVER {
        return Err(Violation::EndlessSlice);
    }
    Ok(())
}
