//! Capabilities between kernels (`docs/022-peers.md`).
//!
//! *Export* puts a record into this kernel's outbox and the capability in transit; user
//! space gets a ticket. *Import*, on the kernel that it is offered to, reads the record
//! from the sender's outbox, checks it against all that is known here, and takes it:
//! from then on it is the importer's. *Settle* on the sender's side ends the transfer,
//! or takes an offer back; what has been taken is settled by later exports, too, so that
//! nobody has to ask.
//!
//! A record comes from a CPU driver, so what is checked here guards against a core that
//! lies or errs, not against user space: nothing that user space writes is read.

use capelin_abi::{KernelId, ObjectType, PhysAddr, Rights, SysError, Ticket};
use capelin_cap::{CapRecord, Capability, ExportMode, Object, SlotIndex, Step};
use capelin_peers::outbox::{RECORD_WORDS, Settled};
use capelin_peers::shared::OFFERS;
use capelin_peers::{Offer, OfferState, Outbox, Taker};

use crate::effects::KernelEffects;
use crate::machine::Machine;
use crate::state::Core;

/// Offers settled by one export: each brings up to this many to their end.
const SETTLED_AT_ONCE: usize = 4;

/// Offers that one entry looks at, whether they are of an object.
const LOOKED_AT_ONCE: usize = 8;

/// What has become of an offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Fate {
    /// Nobody has taken it yet.
    Offered = 0,
    /// The receiver has it; its entry is free again.
    Taken = 1,
    /// It was taken back: all is as before the export.
    Withdrawn = 2,
}

/// Whether an offer is taken back if it can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// It stands.
    Wait,
    /// It ends now.
    Withdraw,
}

/// Offers the capability in `slot` to kernel `to`, to which of that id says `taker`.
///
/// # Errors
/// As [`capelin_cap::export`]; `RangeInUse` for home memory; `NoResources` while as many
/// offers stand as there can be. Nothing has changed then.
pub fn export<M: Machine>(
    core: &mut Core<M>,
    slot: SlotIndex,
    to: KernelId,
    taker: Taker,
    mode: ExportMode,
) -> Result<Ticket, SysError> {
    settle_taken(core);
    // It may be memory that was zeroed here, and become anything elsewhere, a home, too.
    core.machine.forget_zeroed_pages();
    let record = core.caps().export(slot, to, mode)?;
    let offered = keeps_homes(core, &record).and_then(|()| {
        let offer = Offer {
            to,
            taker,
            record: words(&record),
        };
        core.machine.own_shared().outbox.offer(core.kernel, &offer)
    });
    if offered.is_err() {
        // It was put in transit just now.
        core.caps().abort(&record)?;
    }
    offered
}

/// Takes what `ticket` offers to this kernel into the empty slot `target`.
///
/// # Errors
/// `NoSuchTransfer` for what isn't offered, here, or any more; `RangeInUse` for what
/// contradicts what is known of homes; as [`capelin_cap::import()`]. The offer stands then,
/// and until the last step.
pub fn import<M: Machine>(
    core: &mut Core<M>,
    ticket: Ticket,
    target: SlotIndex,
) -> Result<Step, SysError> {
    let (record, outbox) = offered(core, ticket)?;
    let own = core.kernel;
    let take = || outbox.take(own, ticket);
    let mut looking = core.looking;
    let step = core.caps().import_if(&record, target, &mut looking, take);
    core.looking = looking;
    if step == Err(SysError::RangeInUse) && drop_stale(core, &record) {
        return Ok(Step::Again);
    }
    step
}

/// What only rings claims no memory on other kernels: where memory that is no kernel's home comes
/// to this one, what is here of the Notifies that lay in it goes, one a call: the one that was in
/// the way. Whether one went.
fn drop_stale<M: Machine>(core: &mut Core<M>, record: &CapRecord) -> bool {
    if record.capability.kind == ObjectType::Notify {
        return false;
    }
    let mut looking = core.looking;
    let (mut caps, mut effects) = KernelEffects::split(core);
    let is_gone = caps.drop_notify(record, &mut looking, &mut effects);
    core.looking = looking;
    is_gone
}

/// Has what `ticket` hands over to this kernel be owned here, in the empty slot `target`.
///
/// # Errors
/// As [`import`], and [`capelin_cap::adopt_if`]. The offer stands then.
pub fn adopt<M: Machine>(
    core: &mut Core<M>,
    ticket: Ticket,
    target: SlotIndex,
) -> Result<(), SysError> {
    let (record, outbox) = offered(core, ticket)?;
    let own = core.kernel;
    let take = || outbox.take(own, ticket);
    core.caps().adopt_if(&record, target, take)
}

/// Gives the range of what `ticket` moves home back to what its tombstone was made from.
///
/// # Errors
/// As [`import`], and [`capelin_cap::reclaim_if`]. The offer stands then.
pub fn reclaim<M: Machine>(core: &mut Core<M>, ticket: Ticket) -> Result<Step, SysError> {
    let (record, outbox) = offered(core, ticket)?;
    let own = core.kernel;
    let take = || outbox.take(own, ticket);
    let reclaimed = core.caps().reclaim_if(&record, take);
    if reclaimed == Err(SysError::HasRelations) && drop_stale(core, &record) {
        return Ok(Step::Again);
    }
    reclaimed.map(|()| Step::Done)
}

/// Notes that the kernel which says so by `ticket` has what was moved away from here.
///
/// # Errors
/// As [`import`], and [`capelin_cap::set_owner`]. The offer stands then.
pub fn set_owner<M: Machine>(core: &mut Core<M>, ticket: Ticket) -> Result<(), SysError> {
    let (record, outbox) = offered(core, ticket)?;
    let own = core.kernel;
    let take = || outbox.take(own, ticket);
    core.caps().set_owner(&record, take)
}

/// What `ticket` offers to this kernel, checked against all that is known of homes, and
/// the outbox to take it from.
fn offered<M: Machine>(
    core: &mut Core<M>,
    ticket: Ticket,
) -> Result<(CapRecord, &'static Outbox<OFFERS>), SysError> {
    let own = core.kernel;
    if ticket.kernel() == own {
        return Err(SysError::NoSuchTransfer);
    }
    let pages = core
        .machine
        .map_shared(ticket.kernel())
        .map_err(|_| SysError::NoSuchTransfer)?;
    let offer = pages.outbox.look(own, ticket)?;
    let sender = ticket.kernel();
    if offer.taker == Taker::Child && !core.machine.peers().is_started_by(own, sender) {
        // Somebody else took the id before the sender could start this kernel.
        return Err(SysError::NoSuchTransfer);
    }
    let mut all = [0; 8];
    for (to, from) in all.iter_mut().zip(offer.record) {
        *to = from;
    }
    let record = CapRecord::parse(&all)?;
    if !says_who_may(&record, sender, own) {
        return Err(SysError::InvalidArgument);
    }
    keeps_homes(core, &record)?;
    Ok((record, &pages.outbox))
}

/// Keeps what is in `slot` by a copy in the kernel's own slot `keep`, which nobody can
/// name: for what the kernel maps without a capability that says so. As long as the
/// kernel runs, it isn't moved on, nor taken back, and its memory becomes nothing else.
///
/// # Errors
/// As [`capelin_cap::copy()`].
pub fn keep<M: Machine>(
    core: &mut Core<M>,
    slot: SlotIndex,
    keep: SlotIndex,
) -> Result<(), SysError> {
    core.caps().copy(slot, keep, Rights::empty())?;
    core.caps().pin(keep)
}

/// Ends a transfer that this kernel began.
///
/// # Errors
/// `InvalidArgument` for another kernel's; `NoSuchTransfer` for one that was settled
/// before: then it was taken, unless somebody withdrew it.
pub fn settle<M: Machine>(
    core: &mut Core<M>,
    ticket: Ticket,
    patience: Patience,
) -> Result<Fate, SysError> {
    if ticket.kernel() != core.kernel {
        return Err(SysError::InvalidArgument);
    }
    let outbox = &core.machine.own_shared().outbox;
    if patience == Patience::Withdraw
        && let Ok(settled) = outbox.withdraw(ticket)
    {
        let record = record_of(&settled)?;
        core.caps().abort(&record)?;
        return Ok(Fate::Withdrawn);
    }
    match outbox.state(ticket)? {
        (OfferState::Offered, _) => Ok(Fate::Offered),
        (OfferState::Taken, settled) => {
            end(core, settled);
            Ok(Fate::Taken)
        }
    }
}

/// Ends some of the transfers of `object`, and of what was made of it, that this kernel
/// began, from entry `first` on: takes back what stands offered, and settles what was taken.
/// Where to go on; none when all are ended. To be asked until then, after the range has been
/// marked ([`capelin_cap::mark_range`]) and before that is answered: then nothing in it is on
/// its way from here, and nothing will be. A copy that was passed on is noted nowhere else: its
/// ticket, kept until the mark is gone, would bring back what has been revoked.
pub fn recall<M: Machine>(core: &mut Core<M>, object: &Object, first: u16) -> Option<u16> {
    let own = core.kernel;
    let outbox = &core.machine.own_shared().outbox;
    let Found { tickets, next } = find_open(outbox, own, object, first);
    for ticket in tickets.into_iter().flatten() {
        // It was open just now, and only this kernel ends it.
        let _ = settle(core, ticket, Patience::Withdraw);
    }
    next
}

/// Takes back some of what `sender`, which has stopped for good, still offers of `object`, or
/// of what was made of it, from entry `first` on. Where to go on; none when all is.
pub(crate) fn take_back_for(
    outbox: &Outbox<OFFERS>,
    sender: KernelId,
    object: &Object,
    first: u16,
) -> Option<u16> {
    // Nobody writes these records any more, so each belongs to its ticket.
    let Found { tickets, next } = find_open(outbox, sender, object, first);
    for ticket in tickets.into_iter().flatten() {
        // Whoever took it, or takes it meanwhile, was in time.
        let _ = outbox.withdraw(ticket);
    }
    next
}

/// Some of the open offers of an object.
struct Found {
    tickets: [Option<Ticket>; SETTLED_AT_ONCE],
    /// The entry to look at next; none: that was all.
    next: Option<u16>,
}

/// Looks at some of what `sender` offers, from entry `first` on, for what is of `object`.
fn find_open(outbox: &Outbox<OFFERS>, sender: KernelId, object: &Object, mut first: u16) -> Found {
    let mut tickets = [None; SETTLED_AT_ONCE];
    let mut room = tickets.iter_mut();
    let mut looked = 0;
    let next = loop {
        let Some((ticket, open)) = outbox.next_open(sender, first) else {
            break None;
        };
        if looked == LOOKED_AT_ONCE {
            break Some(open.entry);
        }
        looked += 1;
        if record_of(&open).is_ok_and(|record| object.contains(&record)) {
            match room.next() {
                Some(found) => *found = Some(ticket),
                None => break Some(open.entry),
            }
        }
        first = open.entry + 1;
    };
    Found { tickets, next }
}

/// Whether more offers are to be ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settling {
    /// All are.
    Complete,
    /// Ask again.
    Partial,
}

/// Settles some of what has been taken. An import asks until all is: what has gone to
/// another kernel and isn't settled is in transit here, and would refuse parts of it
/// that come back.
pub(crate) fn settle_taken<M: Machine>(core: &mut Core<M>) -> Settling {
    let mut first = 0;
    for _ in 0..SETTLED_AT_ONCE {
        let Some(settled) = core.machine.own_shared().outbox.next_taken(first) else {
            return Settling::Complete;
        };
        first = settled.entry + 1;
        end(core, settled);
    }
    Settling::Partial
}

fn end<M: Machine>(core: &mut Core<M>, settled: Settled) {
    if let Ok(record) = record_of(&settled) {
        // What isn't under way any more was a copy of something that is gone.
        let _ = core.caps().commit(&record);
    }
    core.machine.own_shared().outbox.free(settled);
}

fn record_of(settled: &Settled) -> Result<CapRecord, SysError> {
    let mut all = [0; 8];
    for (to, from) in all.iter_mut().zip(settled.offer.record) {
        *to = from;
    }
    CapRecord::parse(&all)
}

fn words(record: &CapRecord) -> [u64; RECORD_WORDS] {
    let [a, b, c, d, e, ..] = record.to_words();
    [a, b, c, d, e]
}

/// Whether `sender` may say what the record says: what is moved becomes ours, what is
/// claimed is the sender's, and a copy of what is ours, or of the sender's or a third kernel's, stays whose it is.
fn says_who_may(record: &CapRecord, sender: KernelId, own: KernelId) -> bool {
    match record.mode {
        ExportMode::Move | ExportMode::HandOver => record.owner == own,
        ExportMode::Claim => record.owner == sender,
        ExportMode::Copy => record.owner.0 < KernelId::LIMIT && sender.0 < KernelId::LIMIT,
    }
}

/// Whether a record keeps what all kernels are promised: nobody names memory that is a
/// kernel's home, or that kernels share, but a Notify, which names its owner's.
fn keeps_homes<M: Machine>(core: &Core<M>, record: &CapRecord) -> Result<(), SysError> {
    let Capability {
        kind, base, size, ..
    } = record.capability;
    let base = PhysAddr(base);
    let peers = core.machine.peers();
    let is_sound = match kind {
        ObjectType::Notify => peers.is_home_of(record.owner, base, size),
        // Numbers of interrupts, which name no memory.
        ObjectType::IrqSource => true,
        _ => !peers.meets_home(base, size) && !core.machine.is_peer_table(base, size),
    };
    if is_sound {
        Ok(())
    } else {
        Err(SysError::RangeInUse)
    }
}
