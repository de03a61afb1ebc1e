//! Rings to other monitors.
//!
//! The accepting side allocates the ring and exports a copy of its frame; the other
//! side imports it. What rings the peer comes separately: from the parent in the
//! core image, from the child with its hello, and for direct rings with the request
//! and its answer.

use alloc::rc::Rc;

use capelin_abi::{CapAddress, KernelId, PAGE_SIZE};
use capelin_monitor::{Record, intermon::Opened};
use capelin_rt::{OwnedCap, RtError, notify::Notify, slots, sys, urpc::Urpc, vspace::SharedMapped};

use crate::{error::Error, node::Node};

/// The accepting side of a ring.
pub(crate) struct Accepted {
    /// Our side.
    pub(crate) ring: Urpc,
    /// The frame, for the peer.
    pub(crate) record: Record,
    /// What the peer rings.
    pub(crate) bell: Record,
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

/// Makes a ring to `core` in `memory`.
///
/// # Errors
/// No memory, slots or addresses; what the kernel says.
pub(crate) fn accept(node: &Node, core: u16, memory: SharedMapped) -> Result<Accepted, RtError> {
    let frame = memory.cap().into();
    let record = sys::kernel::export(node.kernel, frame, KernelId(core), true)?;
    let bell = node.bell_for(core)?;
    let peer = slots::allocate()?;
    // Until something lies in the slot, ringing the peer does nothing; it hasn't been
    // sent anything then.
    let ring = Urpc::create(memory, bell.notify, OwnedCap::adopt(peer))?;
    Ok(Accepted {
        ring,
        record,
        bell: bell.record,
        peer,
    })
}

/// The capability in `record`.
///
/// # Errors
/// No slots; what the kernel says.
pub(crate) fn import(node: &Node, record: &Record) -> Result<OwnedCap, RtError> {
    OwnedCap::make(|slot| sys::kernel::import(node.kernel, record, slot.into()))
}

/// The other side of a ring that its accepting side has told about, and rings `own` for.
///
/// # Errors
/// As [`import`]; [`RtError::BadChannel`].
pub(crate) fn attach(node: &Node, opened: &Opened, own: Rc<Notify>) -> Result<Urpc, Error> {
    let frame = import(node, &opened.ring)?;
    let peer = import(node, &opened.bell)?;
    let memory = SharedMapped::new(frame, true)?;
    Ok(Urpc::attach(memory, own, peer)?)
}
