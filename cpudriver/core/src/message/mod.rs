//! Local messages: eight words and a capability, into the receiver's registers
//! when it waits for that, else into a ring in its dispatcher frame.
//!
//! The whole send succeeds or nothing changes: `send` decodes and checks
//! everything, the capability moves first (its only failure modes are checked
//! by the same call), and the message is then written by steps that can't fail.
//!
//! The way of a Call that is short is in `short`; where messages lie, in
//! [`crate::endpoint`].

pub(crate) mod short;

use capelin_abi::lmp::{MESSAGE_WORDS, MessageHeader, RECEIVE_SLOT};
use capelin_abi::rights::{Need, Operation};
use capelin_abi::syscall::{DIRECT_MESSAGE, DispatcherState, SendFlags};
use capelin_abi::{CapRef, Rights, SysError};
use capelin_cap::SlotStore;

use crate::cspace::lookup;
use crate::dcb::{DcbRef, EndpointRecord, Takes};
use crate::delivery::{self, Cause};
use crate::endpoint::{destination, put, used};
use crate::machine::{FrameWords, Machine, Objects, SaveContext};
use crate::state::Core;

/// A message to be sent.
pub(crate) struct Message {
    /// Where to.
    pub endpoint: CapRef,
    /// How.
    pub flags: SendFlags,
    /// Words of payload that count (0–8); the others are zero.
    pub length: usize,
    /// The payload.
    pub words: [u64; MESSAGE_WORDS],
    /// A capability to send along.
    pub capability: Option<CapRef>,
}

fn is_alive<M: Machine>(core: &Core<M>, dcb: DcbRef) -> bool {
    let state = core.objects.dcb(dcb).state;
    state == DispatcherState::Runnable
}

/// A message that was sent.
pub(crate) struct Sent {
    /// Who has it.
    pub receiver: DcbRef,
    /// Where it went. A receiver that took it in registers is in no queue: whoever
    /// called [`send`] enters or queues it.
    pub into: Takes,
}

/// Sends `message` from `sender`. On success the receiver has it.
pub(crate) fn send<M: Machine>(
    core: &mut Core<M>,
    sender: DcbRef,
    message: &Message,
) -> Result<Sent, SysError> {
    let slot = core.slots.slot(lookup(core, sender, message.endpoint)?);
    slot.meets(const { Need::of(Operation::Send, 0) })?;
    let to = destination(slot)?;
    if message.length > MESSAGE_WORDS {
        return Err(SysError::InvalidArgument);
    }
    if !is_alive(core, to.dcb) {
        return Err(SysError::NotRunnable);
    }
    let entry = core.objects.dcb(to.dcb);
    let record = *entry.endpoint(to.index);
    let frame = entry.frame().filter(|_| record.ring != 0);
    let frame = core.objects.frame(frame.ok_or(SysError::NotRunnable)?);
    let in_ring = used(frame, &record);
    let direct = in_ring == 0 && entry.wait.is_direct();
    let room = u32::from(record.capacity).saturating_sub(in_ring);
    if !direct && room <= u32::from(record.reserved) {
        return Err(SysError::EndpointFull);
    }
    if let Some(source) = message.capability {
        transfer(core, sender, source, to.dcb, frame, &record, message.flags)?;
    }
    let is_given = message.capability.is_some();
    let header = MessageHeader::new(message.length, is_given, to.index.get());
    if direct && let Some(area) = delivery::end_wait(core, to.dcb, DIRECT_MESSAGE) {
        area.set(1, to.badge);
        for (word, &value) in message.words.iter().enumerate() {
            area.set(2 + word, value);
        }
        area.set(10, header.0);
        return Ok(Sent {
            receiver: to.dcb,
            into: Takes::Registers,
        });
    }
    put(&mut core.objects, to, header, &message.words);
    delivery::deliver(core, to.dcb, Cause::Call);
    Ok(Sent {
        receiver: to.dcb,
        into: Takes::Ring,
    })
}

/// Copies or moves a capability into the slot that the receiver posted.
fn transfer<M: Machine>(
    core: &mut Core<M>,
    sender: DcbRef,
    source: CapRef,
    receiver: DcbRef,
    frame: impl FrameWords,
    record: &EndpointRecord,
    flags: SendFlags,
) -> Result<(), SysError> {
    let source = lookup(core, sender, source)?;
    let posted = frame.read(record.ring as usize + RECEIVE_SLOT);
    if posted == 0 {
        return Err(SysError::NoReceiveSlot);
    }
    let posted = CapRef::from_word(posted).ok_or(SysError::NoReceiveSlot)?;
    let target = lookup(core, receiver, posted).map_err(|_| SysError::NoReceiveSlot)?;
    if !core.slots.slot(target).is_empty() {
        return Err(SysError::NoReceiveSlot);
    }
    let slot = core.slots.slot(source);
    slot.meets(const { Need::of(Operation::Send, 1) })?;
    let mut rights = Rights::all();
    if !flags.contains(SendFlags::KEEP_REVOKE) {
        rights.remove(Rights::REVOKE);
    }
    if flags.contains(SendFlags::MOVE) {
        core.caps().relocate(source, target, rights)?;
    } else {
        core.caps().copy(source, target, rights)?;
    }
    frame.write(record.ring as usize + RECEIVE_SLOT, 0);
    Ok(())
}
