//! Capabilities to and from other kernels.
//!
//! Our kernel offers, and gives out a ticket; the peer's kernel takes. A ticket that
//! doesn't reach its receiver, or is refused there, costs nothing but the offer, which
//! is withdrawn: then the capability is ours as before.

use core::time::Duration;

use capelin_abi::{CapAddress, CapRef, KernelId, ObjectType, SysError, Ticket as KernelTicket};
use capelin_monitor::Ticket;
use capelin_rt::{
    OwnedCap, RtError, memory, sys,
    sys::kernel::{ExportMode, OfferFate, Receiver, Settle},
    time,
};

use crate::node::Node;

/// How often an offer is tried again while the kernel has no room for it, and how long
/// it is waited in between: receivers take what is offered to them before they ask on.
const TRIES: u32 = 2000;
const PAUSE: Duration = Duration::from_millis(1);

/// The kernel of `core`, which runs.
pub(crate) const fn running(core: u16) -> Receiver {
    Receiver::Kernel(KernelId(core))
}

/// The kernel of `core`, which we are about to start.
pub(crate) const fn child(core: u16) -> Receiver {
    Receiver::Child(KernelId(core))
}

/// Offers a copy of `source` to the kernel `to`.
///
/// # Errors
/// As [`sys::kernel::export`].
pub(crate) fn offer_copy(node: &Node, source: CapRef, to: Receiver) -> Result<Ticket, SysError> {
    let ticket = sys::kernel::export(node.kernel, source, to, ExportMode::Copy)?;
    Ok(ticket.to_word())
}

/// Offers `cap` itself to the kernel `to`. Its slot stays: what was moved out of
/// memory of ours leaves a mark there.
///
/// # Errors
/// As [`sys::kernel::export`]; nothing has changed then.
pub(crate) fn offer(node: &Node, cap: &OwnedCap, to: Receiver) -> Result<Ticket, SysError> {
    let ticket = sys::kernel::export(node.kernel, cap.reference(), to, ExportMode::Move)?;
    Ok(ticket.to_word())
}

/// As [`offer`], to the kernel of `core`, which runs; but waits while the kernel has no room for more offers.
///
/// # Errors
/// As [`offer`].
pub(crate) async fn give(node: &Node, cap: OwnedCap, core: u16) -> Result<Ticket, SysError> {
    let ticket = send(node, &cap, core).await?;
    // The kernel empties or marks the slot when it has been taken.
    node.given.borrow_mut().add(cap, is_empty);
    Ok(ticket)
}

/// Whether nothing is left in the slot.
fn is_empty(cap: &OwnedCap) -> bool {
    let there = sys::cspace::identify_slot(sys::cspace::OWN, cap.reference());
    there.is_ok_and(|there| there.kind == ObjectType::Null)
}

/// As [`give`], for who keeps the slot, which the kernel empties or marks.
///
/// # Errors
/// As [`offer`].
pub(crate) async fn send(node: &Node, cap: &OwnedCap, core: u16) -> Result<Ticket, SysError> {
    let mut left = TRIES;
    loop {
        match offer(node, cap, running(core)) {
            Err(SysError::NoResources) if left > 0 => {
                left -= 1;
                time::sleep(PAUSE).await;
            }
            other => return other,
        }
    }
}

/// Notes what has become of an offer that was taken.
pub(crate) fn settle(node: &Node, ticket: Ticket) {
    if let Some(ticket) = KernelTicket::from_word(ticket) {
        // Else a later export does.
        let _ = sys::kernel::settle_export(node.kernel, ticket, Settle::Ask);
    }
}

/// What `ticket`, which core `from` has sent, offers to us.
///
/// # Errors
/// No slots; as [`take_into`].
pub(crate) fn take(node: &Node, ticket: Ticket, from: u16) -> Result<OwnedCap, RtError> {
    let ticket = sent_by(ticket, from)?;
    OwnedCap::make(|slot| sys::kernel::import(node.kernel, ticket, slot.into()))
}

/// Takes what `ticket`, which core `from` has sent, offers to us into `slot`, which is
/// empty.
///
/// # Errors
/// `NoSuchTransfer` for the ticket of another core; as [`sys::kernel::import`]: the offer stands
/// then.
pub(crate) fn take_into(
    node: &Node,
    ticket: Ticket,
    from: u16,
    slot: CapAddress,
) -> Result<(), SysError> {
    let ticket = sent_by(ticket, from)?;
    sys::kernel::import(node.kernel, ticket, slot.into())
}

/// Tickets can be guessed. What another core offers to us isn't `from`'s to send: it
/// would go to whom `from` says.
fn sent_by(ticket: Ticket, from: u16) -> Result<KernelTicket, SysError> {
    KernelTicket::from_word(ticket)
        .filter(|ticket| ticket.kernel() == KernelId(from))
        .ok_or(SysError::NoSuchTransfer)
}

/// Takes an offer back, unless it has been taken. Whether it was taken back.
pub(crate) fn withdraw(node: &Node, ticket: Ticket) -> bool {
    KernelTicket::from_word(ticket).is_some_and(|ticket| {
        sys::kernel::settle_export(node.kernel, ticket, Settle::Withdraw)
            == Ok(OfferFate::Withdrawn)
    })
}

/// Takes memory back that was offered, for our own use, unless it has been taken.
pub(crate) fn withdraw_memory(node: &Node, ticket: Ticket, ram: OwnedCap) {
    if withdraw(node, ticket) {
        // Without room for it in the books it is lost to us, as if it had gone.
        let _ = memory::add_ram(ram);
    } else {
        ram.keep();
    }
}
