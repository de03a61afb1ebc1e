//! Endpoints: what their capabilities name, and the rings that messages lie in.
//!
//! The kernel's own `head` counts; of what the receiver writes, `tail` is read as a
//! value to be checked. Whoever puts a message says so (`crate::dispatch::deliver`).

use capelin_abi::lmp::{
    HEAD, MESSAGE_BYTES, MESSAGE_WORDS, MessageHeader, RING_HEADER_BYTES, TAIL,
};
use capelin_abi::{ObjectType, SysError};
use capelin_cap::Slot;

use crate::dcb::{DcbRef, EndpointRecord};
use crate::machine::{FrameWords, Machine, Objects};
use crate::names::EndpointIndex;
use crate::state::Core;

/// First byte of a dispatcher object whose addresses name its endpoints.
const ENDPOINT_NAMES: u64 = 1024;

/// The base of an `EndpointLmp` capability is [`ENDPOINT_NAMES`] + index bytes into
/// the dispatcher object, so that distinct endpoints are distinct objects. Its
/// first data word is the badge, its second [`endpoint_data`].
pub(crate) const fn endpoint_name(dispatcher: u64, index: EndpointIndex) -> u64 {
    dispatcher + ENDPOINT_NAMES + index.get() as u64
}

/// What an `EndpointLmp` capability's second data word holds: the endpoint's index, and its
/// dispatcher in bits 63:32.
pub(crate) const fn endpoint_data(dcb: DcbRef, index: EndpointIndex) -> u64 {
    (dcb.number() as u64) << 32 | index.get() as u64
}

/// A checked destination.
#[derive(Clone, Copy)]
pub(crate) struct Destination {
    pub dcb: DcbRef,
    pub index: EndpointIndex,
    pub badge: u64,
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
    Ok(Destination {
        dcb: DcbRef::of_endpoint(slot).ok_or(SysError::Foreign)?,
        index: EndpointIndex::from_word(data),
        badge,
    })
}

/// Messages in the ring of `record`, as far as the receiver can be believed.
pub(crate) fn used(frame: impl FrameWords, record: &EndpointRecord) -> u32 {
    let tail = frame.read32(record.ring as usize + TAIL);
    record.head.wrapping_sub(tail)
}

/// Writes a message that has room.
pub(crate) fn put(
    objects: &mut impl Objects,
    to: Destination,
    header: MessageHeader,
    words: &[u64; MESSAGE_WORDS],
) {
    let entry = objects.dcb_mut(to.dcb);
    let Some(frame) = entry.frame() else { return };
    let record = entry.endpoint_mut(to.index);
    let ring = record.ring as usize;
    let at = ring
        + RING_HEADER_BYTES
        + (record.head % u32::from(record.capacity.max(1))) as usize * MESSAGE_BYTES;
    record.head = record.head.wrapping_add(1);
    let head = record.head;
    let frame = objects.frame(frame);
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
    // Without a frame it has lost all rings, or is being deleted.
    let frame = entry.frame().ok_or(SysError::NotRunnable)?;
    let record = entry.endpoint(to.index);
    let free = u32::from(record.capacity).saturating_sub(used(core.objects.frame(frame), record));
    if record.ring == 0 || free <= u32::from(record.reserved) {
        return Err(SysError::EndpointFull);
    }
    core.objects.dcb_mut(to.dcb).endpoint_mut(to.index).reserved += 1;
    Ok(())
}

/// Gives back what [`reserve`] kept.
pub(crate) fn unreserve<M: Machine>(core: &mut Core<M>, to: Destination) {
    let record = core.objects.dcb_mut(to.dcb).endpoint_mut(to.index);
    record.reserved = record.reserved.saturating_sub(1);
}

/// `dcb` has told its death endpoint how it ended, or never will: the room kept for
/// that is free.
pub(crate) fn take_back_promise(objects: &mut impl Objects, dcb: DcbRef) {
    let entry = objects.dcb_mut(dcb);
    let which = entry.promise_index;
    let Some(to) = entry.promise.take() else {
        return;
    };
    let record = objects.dcb_mut(to).endpoint_mut(which);
    record.reserved = record.reserved.saturating_sub(1);
}

/// The last capability to an endpoint goes: its record is free again.
pub(crate) fn forget_endpoint(objects: &mut impl Objects, last: &Slot) {
    let Ok(to) = destination(last) else { return };
    *objects.dcb_mut(to.dcb).endpoint_mut(to.index) = EndpointRecord::UNUSED;
}
