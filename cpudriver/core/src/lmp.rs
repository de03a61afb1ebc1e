//! Local messages: eight words and a capability, into the receiver's registers
//! when it waits for that, else into a ring in its dispatcher frame.
//!
//! The whole send succeeds or nothing changes: [`send`] decodes and checks
//! everything, the capability moves first (its only failure modes are checked
//! by the same call), and the message is then written by steps that can't fail.
//!
//! The kernel's own `head` counts; of what the receiver writes, `tail` and the
//! receive slot are read once, as values to be checked.

use core::num::NonZeroU32;

use capelin_abi::lmp::{
    HEAD, MESSAGE_BYTES, MESSAGE_WORDS, MessageHeader, RECEIVE_SLOT, RING_HEADER_BYTES, TAIL,
};
use capelin_abi::rights::{Need, Operation};
use capelin_abi::syscall::{DIRECT_MESSAGE, DispatcherState, SendFlags};
use capelin_abi::{CapRef, ObjectType, Rights, SysError};
use capelin_cap::{Slot, SlotIndex, SlotStore, cspace};

use crate::dcb::{DcbRef, EndpointRecord, held};
use crate::dispatch::{self, Cause};
use crate::machine::{FrameWords, Machine, Objects, SaveContext};
use crate::narrow::{index, low32};
use crate::state::Core;

/// First byte of a dispatcher object whose addresses name its endpoints.
const ENDPOINT_NAMES: u64 = 1024;

/// The base of an `EndpointLmp` capability is [`ENDPOINT_NAMES`] + index bytes into
/// the dispatcher object, so that distinct endpoints are distinct objects. Its
/// first data word is the badge, its second [`endpoint_data`].
pub(crate) const fn endpoint_name(dispatcher: u64, index: u64) -> u64 {
    dispatcher + ENDPOINT_NAMES + index
}

/// What an `EndpointLmp` capability's second data word holds: the endpoint's index
/// (below [`capelin_abi::lmp::ENDPOINTS_PER_DISPATCHER`]), and its dispatcher in bits 63:32.
pub(crate) const fn endpoint_data(dcb: DcbRef, index: u64) -> u64 {
    (dcb.0.get() as u64) << 32 | index
}

/// A checked destination.
#[derive(Clone, Copy)]
pub(crate) struct Destination {
    pub dcb: DcbRef,
    pub index: usize,
    pub badge: u64,
}

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

/// The slot that `reference` names in the CSpace of `dcb`.
///
/// Every invocation comes through here several times, so this takes the short
/// way: the control block knows the L1 CNode's first slot. That holds while the
/// dispatcher has its CSpace; losing that stops it (`KernelEffects::lost`).
#[inline]
pub(crate) fn lookup<M: Machine>(
    core: &Core<M>,
    dcb: DcbRef,
    reference: CapRef,
) -> Result<SlotIndex, SysError> {
    cspace::lookup_from(&core.slots, core.objects.dcb(dcb).l1, reference)
}

/// As [`lookup`], for a reference as system calls have it.
#[inline(always)]
pub(crate) fn lookup_word<M: Machine>(
    core: &Core<M>,
    dcb: DcbRef,
    word: u64,
) -> Result<SlotIndex, SysError> {
    cspace::lookup_word(&core.slots, core.objects.dcb(dcb).l1, word)
}

/// The endpoint that a capability names.
#[inline]
pub(crate) fn destination(slot: &Slot) -> Result<Destination, SysError> {
    if slot.kind() != ObjectType::EndpointLmp {
        return Err(if slot.is_occupied() {
            SysError::WrongType
        } else {
            SysError::EmptySlot
        });
    }
    // Only `MakeEndpoint` makes such capabilities, and they never leave a kernel.
    let [badge, data] = slot.data();
    let dcb = NonZeroU32::new(low32(data >> 32)).ok_or(SysError::Foreign)?;
    Ok(Destination {
        dcb: DcbRef(dcb),
        index: index(data & 0xffff_ffff),
        badge,
    })
}

/// Messages in the ring of `record`, as far as the receiver can be believed.
pub(crate) fn used(frame: impl FrameWords, record: &EndpointRecord) -> u32 {
    let tail = frame.read32(record.ring as usize + TAIL);
    record.head.wrapping_sub(tail)
}

fn is_alive<M: Machine>(core: &Core<M>, dcb: DcbRef) -> bool {
    let state = core.objects.dcb(dcb).state;
    state == DispatcherState::Runnable
}

/// Sends `message` from `sender`. On success the receiver has it; when it took it
/// in registers it is in no queue, and the caller enters or queues it (`Ok(true)`).
pub(crate) fn send<M: Machine>(
    core: &mut Core<M>,
    sender: DcbRef,
    message: &Message,
) -> Result<(DcbRef, bool), SysError> {
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
    let record = entry.endpoints.get(to.index).copied().unwrap_or_default();
    if record.ring == 0 {
        return Err(SysError::NotRunnable);
    }
    let frame = core.objects.frame(entry.frame);
    let in_ring = used(frame, &record);
    let direct = in_ring == 0 && entry.wait.is_direct();
    let room = u32::from(record.capacity).saturating_sub(in_ring);
    if !direct && room <= u32::from(record.reserved) {
        return Err(SysError::EndpointFull);
    }
    if let Some(source) = message.capability {
        transfer(core, sender, source, to.dcb, frame, &record, message.flags)?;
    }
    let index = u16::try_from(to.index).unwrap_or(0);
    let header = MessageHeader::new(message.length, message.capability.is_some(), index);
    if direct && let Some(area) = dispatch::end_wait(core, to.dcb, DIRECT_MESSAGE) {
        area.set(1, to.badge);
        for (word, &value) in message.words.iter().enumerate() {
            area.set(2 + word, value);
        }
        area.set(10, header.0);
        return Ok((to.dcb, true));
    }
    put(core, to, header, &message.words);
    dispatch::deliver(core, to.dcb, Cause::Call);
    Ok((to.dcb, false))
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
    let mdb = &mut core.kcb.mdb;
    if flags.contains(SendFlags::MOVE) {
        capelin_cap::relocate(&mut core.slots, mdb, source, target, rights)?;
    } else {
        capelin_cap::copy(&mut core.slots, mdb, source, target, rights)?;
    }
    frame.write(record.ring as usize + RECEIVE_SLOT, 0);
    Ok(())
}

/// Writes a message that has room.
fn put<M: Machine>(
    core: &mut Core<M>,
    to: Destination,
    header: MessageHeader,
    words: &[u64; MESSAGE_WORDS],
) {
    let entry = core.objects.dcb_mut(to.dcb);
    let Some(record) = entry.endpoints.get_mut(to.index) else {
        return;
    };
    let ring = record.ring as usize;
    let at = ring
        + RING_HEADER_BYTES
        + (record.head % u32::from(record.capacity.max(1))) as usize * MESSAGE_BYTES;
    record.head = record.head.wrapping_add(1);
    let head = record.head;
    let frame = entry.frame;
    let frame = core.objects.frame(frame);
    frame.write(at, header.0);
    frame.write(at + 8, to.badge);
    for (word, &value) in words.iter().enumerate() {
        frame.write(at + 16 + word * 8, value);
    }
    // Same core: the receiver can't run before the kernel has left.
    frame.write32(ring + HEAD, head);
}

/// Keeps room for one event in the ring of an endpoint.
pub(crate) fn reserve<M: Machine>(core: &mut Core<M>, to: Destination) -> Result<(), SysError> {
    let entry = core.objects.dcb(to.dcb);
    let frame = entry.frame;
    if frame == 0 {
        // It lost its frame, and with that all rings, or is being deleted.
        return Err(SysError::NotRunnable);
    }
    let record = entry.endpoints.get(to.index).copied().unwrap_or_default();
    let free = u32::from(record.capacity).saturating_sub(used(core.objects.frame(frame), &record));
    if record.ring == 0 || free <= u32::from(record.reserved) {
        return Err(SysError::EndpointFull);
    }
    core.objects.dcb_mut(to.dcb).endpoints[to.index].reserved += 1;
    Ok(())
}

/// Gives back what [`reserve`] kept.
pub(crate) fn unreserve<M: Machine>(core: &mut Core<M>, to: Destination) {
    if let Some(record) = core.objects.dcb_mut(to.dcb).endpoints.get_mut(to.index) {
        record.reserved = record.reserved.saturating_sub(1);
    }
}

/// Puts an event into room that [`reserve`] kept. False when the receiver made
/// the room disappear (it lied about its tail, or is gone): the caller keeps the
/// event pending.
pub(crate) fn event<M: Machine>(
    core: &mut Core<M>,
    to: Destination,
    words: [u64; MESSAGE_WORDS],
) -> bool {
    let entry = core.objects.dcb(to.dcb);
    // One that was stopped finds the event in its ring when it is run again; nobody
    // would send it then.
    let may_run = matches!(
        entry.state,
        DispatcherState::Runnable | DispatcherState::Stopped
    );
    if !may_run || entry.frame == 0 {
        return false;
    }
    let Some(record) = entry.endpoints.get(to.index).copied() else {
        return false;
    };
    let frame = core.objects.frame(entry.frame);
    if record.ring == 0 || used(frame, &record) >= u32::from(record.capacity) {
        return false;
    }
    let index = u16::try_from(to.index).unwrap_or(0);
    put(core, to, MessageHeader::event(index), &words);
    dispatch::deliver(core, to.dcb, Cause::Interrupt);
    true
}

/// Where the endpoint of an interrupt or of a death lies.
pub(crate) fn event_destination(dcb: DcbRef, index: u32, badge: u64) -> Destination {
    Destination {
        dcb,
        index: index as usize,
        badge,
    }
}

impl Destination {
    /// The dispatcher.
    pub(crate) const fn dispatcher(&self) -> DcbRef {
        self.dcb
    }

    /// The endpoint's index.
    pub(crate) fn index(&self) -> u32 {
        u32::try_from(self.index).unwrap_or(u32::MAX)
    }
}

/// Tells the death endpoint of `dcb` how it ended: words are the state and the
/// exit code.
pub(crate) fn report_end<M: Machine>(
    core: &mut Core<M>,
    dcb: DcbRef,
    state: DispatcherState,
    code: u32,
) {
    let slot = core.slots.slot(dcb.held(held::DEATH));
    let Ok(to) = destination(slot) else {
        return;
    };
    if event(core, to, [state as u64, u64::from(code), 0, 0, 0, 0, 0, 0]) {
        take_back_promise(&mut core.objects, dcb);
    }
}

/// `dcb` has told its death endpoint how it ended, or never will: the room kept for
/// that is free.
pub(crate) fn take_back_promise(objects: &mut impl Objects, dcb: DcbRef) {
    let promise = core::mem::take(&mut objects.dcb_mut(dcb).promise);
    let Some(to) = NonZeroU32::new(low32(promise >> 32)).map(DcbRef) else {
        return;
    };
    let records = &mut objects.dcb_mut(to).endpoints;
    if let Some(record) = records.get_mut(index(promise & 0xffff_ffff)) {
        record.reserved = record.reserved.saturating_sub(1);
    }
}

/// The last capability to an endpoint goes: its record is free again.
pub(crate) fn forget_endpoint(objects: &mut impl Objects, last: &Slot) {
    let Ok(to) = destination(last) else { return };
    if let Some(record) = objects.dcb_mut(to.dcb).endpoints.get_mut(to.index) {
        *record = EndpointRecord::default();
    }
}
