//! Rings to other monitors.
//!
//! The accepting side allocates the ring and exports a copy of its frame; the other
//! side imports it. What rings the peer comes separately: from the parent in the
//! core image, from the child with its hello, and for direct rings with the request
//! and its answer.

use alloc::rc::Rc;

use capelin_abi::{CapAddress, PAGE_SIZE};
use capelin_monitor::{Ticket, intermon::Opened};
use capelin_rt::{
    OwnedCap, RtError, notify::Notify, slots, sys::kernel::Receiver, urpc::Urpc,
    vspace::SharedMapped,
};

use crate::{error::Error, node::Node, transfer};

/// The accepting side of a ring.
pub(crate) struct Accepted {
    /// Our side.
    pub(crate) ring: Urpc,
    /// The frame, for the peer.
    pub(crate) frame: Ticket,
    /// What the peer rings.
    pub(crate) bell: Ticket,
    /// The slot for what rings the peer; empty until the peer has told.
    pub(crate) peer: CapAddress,
}

/// Bytes of a ring's frame: whole pages.
pub(crate) fn frame_bytes() -> u64 {
    Urpc::bytes().next_multiple_of(PAGE_SIZE)
}

/// Memory of our own for a ring.
///
/// # Errors
/// No memory, slots or addresses.
pub(crate) fn own_memory() -> Result<SharedMapped, RtError> {
    SharedMapped::fresh(frame_bytes())
}

/// Makes a ring to the core of `to` in `memory`.
///
/// # Errors
/// No memory, slots or addresses; as [`capelin_rt::sys::kernel::export`].
pub(crate) fn accept(node: &Node, to: Receiver, memory: SharedMapped) -> Result<Accepted, RtError> {
    let frame = memory.cap().into();
    let frame = transfer::offer_copy(node, frame, to)?;
    let bell = node.bell_for(to)?;
    let peer = slots::allocate()?;
    // Until something lies in the slot, ringing the peer does nothing; it hasn't been
    // sent anything then.
    let ring = Urpc::create(memory, bell.notify, OwnedCap::adopt(peer))?;
    Ok(Accepted {
        ring,
        frame,
        bell: bell.ticket,
        peer,
    })
}

/// The other side of a ring that its accepting side, core `from`, has told about, and
/// rings `own` for.
///
/// # Errors
/// As [`transfer::take`]; [`RtError::BadChannel`].
pub(crate) fn attach(
    node: &Node,
    opened: &Opened,
    from: u16,
    own: Rc<Notify>,
) -> Result<Urpc, Error> {
    let frame = transfer::take(node, opened.ring, from)?;
    let peer = transfer::take(node, opened.bell, from)?;
    let memory = SharedMapped::new(frame, true)?;
    Ok(Urpc::attach(memory, own, peer)?)
}
