//! The short way of a `Call`: straight from the caller to the receiver.
//!
//! A request and its reply are one `Call` on each side, so this is what every
//! exchange on one core costs. Most of what [`crate::lmp::send`] and
//! [`crate::dispatch`] have to ask has the same answer each time. [`call`] asks for
//! just that case: a message without capability, to a receiver that waits for one
//! in registers ([`Wait::Short`]), nobody else wants to run, and no deadline, FP
//! register or doorbell is concerned. It then does what the long way would. In any
//! other case, errors included, it changes nothing, and the long way follows.

use capelin_aarch64::timer;
use capelin_abi::dispatcher::offset;
use capelin_abi::lmp::{MESSAGE_WORDS, MessageHeader};
use capelin_abi::syscall::{DIRECT_MESSAGE, DispatcherState, KernelCounter};
use capelin_abi::{CapRef, ObjectType, Rights};
use capelin_cap::SlotStore;

use crate::core::Core;
use crate::dcb::{DcbRef, Resume, Wait};
use crate::dispatch;
use crate::doorbell;
use crate::lmp;
use crate::memory::Context;
use crate::narrow::low16;
use crate::scheduler::NEVER;

/// Bits of x0 that have to be zero: the level, flags, and what is unused between.
const PLAIN: u64 = 0x00ff_ffff << 32;

/// Handles [`capelin_abi::syscall::Syscall::Call`] of `caller`, which runs and
/// whose registers are in `area`. True when it did; false when nothing changed.
#[inline(never)]
pub(crate) fn call(core: &mut Core, caller: DcbRef, area: Context) -> bool {
    let Some((to, length)) = decode(core, caller, area) else {
        return false;
    };
    let now = timer::now();
    dispatch::save_thread_pointer(core);
    let scheduler = &mut core.kcb.scheduler;
    let ran = now.wrapping_sub(scheduler.run_since);
    scheduler.run_since = now;
    scheduler.current = Some(to.dcb);
    core.kcb.count(KernelCounter::Switches);

    let from = core.objects.dcb_mut(caller);
    from.run_ticks = from.run_ticks.wrapping_add(ran);
    from.resume = Resume::Disabled;
    from.waits_disabled = true;
    from.state = DispatcherState::Blocked;
    from.wait = Wait::Short;

    let receiver = core.objects.dcb_mut(to.dcb);
    receiver.wait = Wait::Not;
    receiver.state = DispatcherState::Runnable;
    let (frame, root) = (receiver.frame, receiver.root);
    let target = Context(frame + offset::DISABLED_AREA as u64);
    target.set(0, DIRECT_MESSAGE);
    target.set(1, to.badge);
    copy_words(area, target, length);
    let index = low16(to.index as u64);
    target.set(10, MessageHeader::new(length, false, index).0);
    core.kcb.current_frame = frame;
    core.kcb.current_area = target.0;
    dispatch::use_address_space(core, root);
    true
}

/// Where the message goes and how many words count, if this is the short case.
#[inline(always)]
fn decode(core: &Core, caller: DcbRef, area: Context) -> Option<(lmp::Destination, usize)> {
    let word = area.get(0);
    let length = (word >> 56) as usize;
    let is_plain = word & PLAIN == 0 && area.get(1) == 0 && area.get(11) == NEVER;
    if !is_plain || length > MESSAGE_WORDS {
        return None;
    }
    let slot = lmp::lookup(core, caller, CapRef::from_word(word)?).ok()?;
    let slot = core.slots.slot(slot);
    if slot.kind() != ObjectType::EndpointLmp || !slot.rights().contains(Rights::WRITE) {
        return None;
    }
    let to = lmp::destination(core, slot).ok()?;
    let receiver = core.objects.dcb(to.dcb);
    let record = receiver.endpoints.get(to.index)?;
    let frame = core.objects.frame(receiver.frame);
    let takes_it =
        receiver.wait == Wait::Short && record.ring != 0 && lmp::used(frame, record) == 0;

    let scheduler = &core.kcb.scheduler;
    let is_alone = scheduler.is_empty() && scheduler.slice_end == NEVER;
    let waits_short =
        core.kcb.current_disabled != 0 && core.objects.dcb(caller).delivered == area.get(10);
    let keeps_fp = !core.fp_access && core.kcb.fp_owner != Some(to.dcb);
    if takes_it && is_alone && waits_short && keeps_fp && !doorbell::is_rung(core, to.dcb) {
        Some((to, length))
    } else {
        None
    }
}

/// Copies the first `length` words of a message from one save area to another and
/// zeroes the others.
#[inline(always)]
fn copy_words(from: Context, to: Context, length: usize) {
    match length {
        0 => copy_exactly::<0>(from, to),
        1 => copy_exactly::<1>(from, to),
        2 => copy_exactly::<2>(from, to),
        3 => copy_exactly::<3>(from, to),
        4 => copy_exactly::<4>(from, to),
        5 => copy_exactly::<5>(from, to),
        6 => copy_exactly::<6>(from, to),
        7 => copy_exactly::<7>(from, to),
        _ => copy_exactly::<MESSAGE_WORDS>(from, to),
    }
}

/// [`copy_words`] for a length that the compiler knows.
#[inline(always)]
fn copy_exactly<const LENGTH: usize>(from: Context, to: Context) {
    for word in 2..2 + MESSAGE_WORDS {
        let value = if word < 2 + LENGTH { from.get(word) } else { 0 };
        to.set(word, value);
    }
}
