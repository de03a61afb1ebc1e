//! The short way of a `Call`: straight from the caller to the receiver.
//!
//! A request and its reply are one `Call` on each side, so this is what every
//! exchange on one core costs. Most of what [`super::send`] and
//! [`crate::dispatch`] have to ask has the same answer each time. [`try_call`] asks for
//! just that case: a message without capability, to a receiver that waits for one
//! in registers ([`Wait::Short`]), and no deadline, FP register or doorbell is
//! concerned. The receiver goes on with the caller's slice, so it doesn't matter who
//! else wants to run. It then does what the long way would. In any
//! other case, errors included, it changes nothing, and the long way follows.

use capelin_abi::lmp::{MESSAGE_WORDS, MessageHeader};
use capelin_abi::rights::{Need, Operation};
use capelin_abi::syscall::{DIRECT_MESSAGE, KernelCounter};
use capelin_cap::{SlotStore, cspace};

use crate::address_space;
use crate::dcb::{DcbRef, Wait};
use crate::doorbell;
use crate::endpoint::{self, Destination};
use crate::exit::{Next, save_thread_pointer};
use crate::machine::{Area, Machine, Objects, SaveContext};
use crate::names::Place;
use crate::narrow::index;
use crate::scheduler::NEVER;
use crate::state::Core;

/// Bits of x0 that have to be zero: the level, flags, and what is unused between.
const PLAIN: u64 = 0x00ff_ffff << 32;

/// What [`decode`] found out.
struct Short {
    to: Destination,
    /// Words of the message that count.
    length: usize,
    /// Where the receiver runs, and its ASID.
    place: Place,
    asid: u16,
}

/// Does a [`Call`](capelin_abi::syscall::Syscall::Call) of `caller`, which runs and
/// whose registers are in `area`, if it is the short case.
#[inline(always)]
pub(crate) fn try_call<M: Machine>(
    core: &mut Core<M>,
    caller: DcbRef,
    area: M::Context,
) -> Option<Next> {
    let now = core.machine.now();
    let short = decode(core, caller, area)?;
    save_thread_pointer(core, area);
    let to = short.to;
    let area_of_receiver = short.place.frame.area(Area::Disabled);
    let target = core.objects.context(area_of_receiver);
    let kcb = &mut *core.kcb;
    let ran = now.wrapping_sub(kcb.scheduler.run_since);
    kcb.scheduler.take_over(to.dcb, now);
    kcb.count(KernelCounter::Switches);
    kcb.current_frame = Some(short.place.frame);
    kcb.current_area = Some(area_of_receiver);
    let from = core.objects.dcb_mut(caller);
    from.run_ticks = from.run_ticks.wrapping_add(ran);
    from.wait = Wait::Short;
    core.objects.dcb_mut(to.dcb).wait = Wait::Not;
    address_space::load_address_space(core, short.place.root, short.asid);

    target.set_pair::<0>([DIRECT_MESSAGE, to.badge]);
    copy_words(area, target, short.length);
    let header = MessageHeader::new(short.length, false, to.index.get());
    target.set(10, header.0);
    Some(Next::Switch)
}

/// Whether this is the short case.
#[inline(always)]
fn decode<M: Machine>(core: &Core<M>, caller: DcbRef, area: M::Context) -> Option<Short> {
    let [word, capability] = area.get_pair::<0>();
    let [seen, deadline] = area.get_pair::<10>();
    let length = index(word >> 56);
    if word & PLAIN | capability != 0 || deadline != NEVER || length > MESSAGE_WORDS {
        return None;
    }
    let kcb = &*core.kcb;
    if kcb.current_disabled == 0 {
        return None;
    }
    if !core.objects.dcb(caller).delivered.may_block(seen) || doorbell::is_rung(core, caller) {
        return None;
    }
    let slot = core.slots.slot(cspace::lookup_plain(
        &core.slots,
        core.objects.dcb(caller).l1,
        word,
    )?);
    slot.meets(const { Need::of(Operation::Send, 0) }).ok()?;
    let to = endpoint::destination(slot).ok()?;
    let receiver = core.objects.dcb(to.dcb);
    let knows_asid = receiver.asid_generation == kcb.asid_generation;
    if receiver.wait != Wait::Short || !knows_asid || doorbell::is_rung(core, to.dcb) {
        return None;
    }
    // Neither may use the FP registers now. Nobody may while nobody owns them.
    if kcb.fp_owner.is_some() && (core.fp_access || kcb.fp_owner == Some(to.dcb)) {
        return None;
    }
    let place = receiver.place?;
    let record = receiver.endpoint(to.index);
    let is_free = record.ring != 0 && endpoint::used(core.objects.frame(place.frame), record) == 0;
    is_free.then_some(Short {
        to,
        length,
        place,
        asid: receiver.asid,
    })
}

/// Copies the first `length` words of a message from one save area to another and
/// zeroes the others.
#[inline(always)]
fn copy_words(from: impl SaveContext, to: impl SaveContext, length: usize) {
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
fn copy_exactly<const LENGTH: usize>(from: impl SaveContext, to: impl SaveContext) {
    copy_pair::<2, LENGTH>(from, to);
    copy_pair::<4, LENGTH>(from, to);
    copy_pair::<6, LENGTH>(from, to);
    copy_pair::<8, LENGTH>(from, to);
}

/// Registers `FIRST` and `FIRST` + 1 of a message whose words begin in x2.
#[inline(always)]
fn copy_pair<const FIRST: usize, const LENGTH: usize>(
    from: impl SaveContext,
    to: impl SaveContext,
) {
    to.set_pair::<FIRST>(match (LENGTH + 2).saturating_sub(FIRST) {
        0 => [0, 0],
        1 => [from.get(FIRST), 0],
        _ => from.get_pair::<FIRST>(),
    });
}
