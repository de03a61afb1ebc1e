//! What holds of a kernel's state whenever no entry is under way: for tests.

use capelin_abi::syscall::DispatcherState;
use capelin_abi::{ObjectType, PhysAddr};
use capelin_cap::{SlotStore, State};

use crate::dcb::{DcbRef, Wait};
use crate::machine::{Above, Area, Machine, Objects, TableRef};
use crate::state::Core;

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// The mapping database.
    Database(capelin_cap::Violation),
    /// The links of the run queue or of the deadlines don't agree, or their order.
    QueueLinks(DcbRef),
    /// A dispatcher in the run queue isn't runnable, waits, or runs.
    Queued(DcbRef),
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
    /// A table doesn't say what it is attached to as its mapping does.
    Table(PhysAddr),
    /// An interrupt is bound to an endpoint that isn't there, or isn't promised room.
    Interrupt(u32),
}

/// Looks at everything.
///
/// # Errors
/// The first thing found wrong.
pub fn check<M: Machine>(core: &Core<M>) -> Result<(), Violation> {
    capelin_cap::check(&core.slots, &core.database.mdb).map_err(Violation::Database)?;
    tables(core)?;
    queues(core)?;
    current(core)?;
    for (word, dcb) in core.kcb.doorbells.all() {
        if core.objects.dcb(dcb).doorbell as usize != word {
            return Err(Violation::Doorbell(dcb));
        }
    }
    for irq in &core.kcb.irqs {
        let Some(dcb) = irq.dispatcher else { continue };
        let record = core.objects.dcb(dcb).endpoint(irq.endpoint);
        if record.ring == 0 || record.reserved == 0 {
            return Err(Violation::Interrupt(irq.intid));
        }
    }
    Ok(())
}

/// What each table is attached to, against the mappings.
fn tables<M: Machine>(core: &Core<M>) -> Result<(), Violation> {
    let mdb = &core.database.mdb;
    let mut at = mdb.first(&core.slots);
    while let Some(index) = at {
        at = mdb.next(&core.slots, index);
        let slot = core.slots.slot(index);
        if slot.kind().vnode_level().is_none() || slot.state() == State::InProgress {
            continue;
        }
        let own = TableRef::of(slot).map(|(table, _)| table);
        let following = at.map(|next| core.slots.slot(next));
        let expected = match following {
            _ if slot.is_kind(ObjectType::VNodeL0) => own.map_or(Above::NONE, Above::table),
            // A copy, which is looked at itself.
            Some(next) if next.kind() == slot.kind() && next.base() == slot.base() => continue,
            // Of the last copy: its mapping, if it is attached.
            following => following
                .and_then(TableRef::holding)
                .map_or(Above::NONE, Above::table),
        };
        if own.is_none_or(|own| core.objects.vnode(own).above != expected) {
            return Err(Violation::Table(slot.address()));
        }
    }
    Ok(())
}

fn queues<M: Machine>(core: &Core<M>) -> Result<(), Violation> {
    let scheduler = &core.kcb.scheduler;
    let (mut queued, mut waiting) = (None, None);
    let wrong_queued = |dcb: DcbRef| {
        let entry = core.objects.dcb(dcb);
        let runs = scheduler.current == Some(dcb);
        if entry.state != DispatcherState::Runnable || entry.wait != Wait::Not || runs {
            queued = Some(dcb);
        }
    };
    let wrong_waiting = |dcb: DcbRef| {
        if core.objects.dcb(dcb).wait == Wait::Not {
            waiting = Some(dcb);
        }
    };
    scheduler
        .check(&core.objects, wrong_queued, wrong_waiting)
        .map_err(Violation::QueueLinks)?;
    match (queued, waiting) {
        (Some(dcb), _) => Err(Violation::Queued(dcb)),
        (_, Some(dcb)) => Err(Violation::Deadline(dcb)),
        _ => Ok(()),
    }
}

fn current<M: Machine>(core: &Core<M>) -> Result<(), Violation> {
    let Some(dcb) = core.kcb.scheduler.current else {
        return Ok(());
    };
    let entry = core.objects.dcb(dcb);
    if entry.state != DispatcherState::Runnable || entry.wait != Wait::Not {
        return Err(Violation::Current(dcb));
    }
    let frame = entry.frame().ok_or(Violation::Current(dcb))?;
    let areas = [Area::Enabled, Area::Disabled, Area::Trap].map(|area| frame.area(area));
    let is_own = |area| areas.contains(&area);
    if core.kcb.current_frame != Some(frame) || !core.kcb.current_area.is_some_and(is_own) {
        return Err(Violation::Vectors(dcb));
    }
    let scheduler = &core.kcb.scheduler;
    if !scheduler.is_empty() && scheduler.timer_deadline > scheduler.slice_end {
        return Err(Violation::EndlessSlice);
    }
    Ok(())
}
