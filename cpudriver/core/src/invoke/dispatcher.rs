//! Invocations of a dispatcher: its life, its endpoints, its Notify bits.

use capelin_abi::dispatcher::{FRAME_BYTES, context, offset};
use capelin_abi::lmp::{HEAD, MAX_CAPACITY, RECEIVE_SLOT, TAIL, ring_bytes};
use capelin_abi::rights::Need;
use capelin_abi::syscall::{DispatcherFlags, DispatcherState, Invocation};
use capelin_abi::{ObjectType, PAGE_SIZE, PhysAddr, Rights, SysError, VirtAddr};
use capelin_cap::{Capability, SlotStore};
use capelin_vspace::geometry::is_user_range;
use capelin_wake::count::Frame;

use super::call::{Call, DONE, Outcome};
use super::cnode::delete_slot;
use crate::dcb::{Dcb, DcbRef, EndpointRecord, Resume, Wait, held};
use crate::delivery::{self, Cause, seen_by};
use crate::dispatch;
use crate::doorbell::Bell;
use crate::doorbell_page;
use crate::endpoint;
use crate::lifecycle;
use crate::machine::{FrameRef, FrameWords, Machine, Objects, RootRef};
use crate::names::{EndpointIndex, Place};
use crate::narrow::{self, low16, low32};
use crate::state::Core;

/// First byte of a dispatcher object whose addresses name its Notify bits.
const NOTIFY_NAMES: u64 = 1536;

/// Bytes that one `Print` takes.
const PRINT_LIMIT: usize = 256;

/// Every invocation of a dispatcher.
pub(crate) fn invoke<M: Machine>(
    core: &mut Core<M>,
    call: &Call<M>,
    invocation: Invocation,
) -> Result<Outcome, SysError> {
    let slot = core.slots.slot(call.slot);
    let dcb = core
        .objects
        .dcb_at(slot.address())
        .ok_or(SysError::Foreign)?;
    match invocation {
        Invocation::Configure => configure(core, call, dcb),
        Invocation::Run => run(core, dcb),
        Invocation::Stop => stop(core, dcb),
        Invocation::Print => print(core, call),
        Invocation::MakeEndpoint => make_endpoint(core, call, dcb),
        Invocation::MakeNotify => make_notify(core, call, dcb),
        Invocation::BindDeath => bind_death(core, call, dcb),
        Invocation::Exit => exit(core, call, dcb),
        Invocation::Status => status(core, call, dcb),
        Invocation::FaultRegister => fault_register(core, call, dcb),
        _ => Err(SysError::UnknownOperation),
    }
}

fn configure<M: Machine>(
    core: &mut Core<M>,
    call: &Call<M>,
    dcb: DcbRef,
) -> Result<Outcome, SysError> {
    if core.objects.dcb(dcb).place.is_some() {
        return Err(SysError::AlreadyBound);
    }
    let flags = u32::try_from(call.argument(5))
        .ok()
        .and_then(DispatcherFlags::from_bits);
    let flags = flags.ok_or(SysError::InvalidArgument)?;
    let frame_user = VirtAddr(call.argument(2));
    let sources = [
        call.capability(core, const { Need::invocation(Invocation::Configure, 1) })?,
        call.capability(core, const { Need::invocation(Invocation::Configure, 3) })?,
        call.capability(core, const { Need::invocation(Invocation::Configure, 4) })?,
    ];
    let frame = FrameRef::of(core.slots.slot(sources[0]), &core.objects)?;
    let cnode = core.slots.slot(sources[1]).address();
    let l1 = core.slots.index_of(cnode).ok_or(SysError::Foreign)?;
    let root = RootRef::of(core.slots.slot(sources[2])).ok_or(SysError::WrongType)?;
    if !frame_user.is_aligned(PAGE_SIZE) || !is_user_range(frame_user, FRAME_BYTES) {
        return Err(SysError::Unaligned);
    }
    let targets = [held::FRAME, held::CSPACE, held::VSPACE];
    for (number, (&source, which)) in sources.iter().zip(targets).enumerate() {
        let target = dcb.held(which);
        let made = core.caps().copy(source, target, Rights::all());
        if let Err(error) = made {
            for &undo in targets.iter().take(number) {
                delete_slot(core, dcb.held(undo))?;
            }
            return Err(error);
        }
    }
    for which in targets {
        core.slots.slot_mut(dcb.held(which)).watch();
    }
    let words = core.objects.frame(frame);
    words.write(offset::FREQUENCY, core.frequency);
    let entry = core.objects.dcb_mut(dcb);
    entry.l1 = l1;
    entry.flags = flags;
    entry.place = Some(Place { frame, root });
    entry.frame_user = frame_user.0;
    // It may have had, and lost, another address space: an ASID kept from that would
    // be nobody's to invalidate.
    entry.asid_generation = 0;
    entry.resume = Resume::Run;
    // Nor is anything else that it left behind anybody's: no registers, no fault.
    entry.wait = Wait::Not;
    entry.in_fault = false;
    entry.fault = Dcb::NEW.fault;
    entry.fp = Dcb::NEW.fp;
    entry.delivered = Dcb::NEW.delivered;
    entry.state = DispatcherState::Stopped;
    if core.kcb.fp_owner == Some(dcb) {
        core.kcb.fp_owner = None;
    }
    // The frame may have been another's: what it says is what is counted.
    if let Some(frame) = seen_by(core, dcb) {
        frame.set_delivered(0);
    }
    Ok(DONE)
}

fn run<M: Machine>(core: &mut Core<M>, dcb: DcbRef) -> Result<Outcome, SysError> {
    let entry = core.objects.dcb(dcb);
    match entry.state {
        DispatcherState::Stopped if entry.place.is_some() && lifecycle::is_whole(core, dcb) => {
            delivery::ready(core, dcb, Cause::Call);
            Ok(DONE)
        }
        DispatcherState::Runnable => Ok(DONE),
        _ => Err(SysError::NotRunnable),
    }
}

fn stop<M: Machine>(core: &mut Core<M>, dcb: DcbRef) -> Result<Outcome, SysError> {
    match core.objects.dcb(dcb).state {
        DispatcherState::Runnable => {
            // A wait that is cut short ends as if something had been delivered.
            delivery::end_wait(core, dcb, 0);
            let now = core.machine.now();
            if core.kcb.scheduler.current == Some(dcb) {
                dispatch::leave_current(core, now);
                core.kcb.scheduler.block(&mut core.objects, now);
            }
            core.kcb.scheduler.forget(&mut core.objects, dcb, now);
            core.objects.dcb_mut(dcb).state = DispatcherState::Stopped;
            Ok(DONE)
        }
        DispatcherState::Stopped => Ok(DONE),
        _ => Err(SysError::NotRunnable),
    }
}

fn print<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    let length = narrow::index(call.argument(2));
    let mut buffer = [0; PRINT_LIMIT];
    let text = buffer.get_mut(..length).ok_or(SysError::OutOfRange)?;
    core.machine.read_user(text, VirtAddr(call.argument(1)))?;
    core.log_bytes(text);
    Ok(DONE)
}

fn make_endpoint<M: Machine>(
    core: &mut Core<M>,
    call: &Call<M>,
    dcb: DcbRef,
) -> Result<Outcome, SysError> {
    let (ring, capacity) = (call.argument(1), call.argument(2));
    // The counts in the ring's header wrap: places go on where they do.
    if !capacity.is_power_of_two() || capacity > MAX_CAPACITY as u64 {
        return Err(SysError::InvalidArgument);
    }
    let bytes = ring_bytes(narrow::index(capacity)) as u64;
    if ring % 64 != 0 {
        return Err(SysError::Unaligned);
    }
    if ring < offset::RUNTIME as u64 || ring > FRAME_BYTES || bytes > FRAME_BYTES - ring {
        return Err(SysError::OutOfRange);
    }
    let entry = core.objects.dcb(dcb);
    let frame = core
        .objects
        .frame(entry.frame().ok_or(SysError::NotRunnable)?);
    let index = entry.endpoints.iter().position(|record| record.ring == 0);
    let index = EndpointIndex::from_word(index.ok_or(SysError::NoResources)? as u64);
    let target = call.own_slot(core, 3)?;
    let object = core.objects.dcb_address(dcb).0;
    let capability = Capability::memory(
        ObjectType::EndpointLmp,
        PhysAddr(endpoint::endpoint_name(object, index)),
        1,
        Rights::all(),
    )
    .with_data([0, endpoint::endpoint_data(dcb, index)]);
    core.caps().derive(call.slot, capability, target)?;
    *core.objects.dcb_mut(dcb).endpoint_mut(index) = EndpointRecord {
        ring: low32(ring),
        capacity: low16(capacity),
        ..EndpointRecord::UNUSED
    };
    let ring = narrow::index(ring);
    frame.write32(ring + HEAD, 0);
    frame.write32(ring + TAIL, 0);
    frame.write(ring + RECEIVE_SLOT, 0);
    Ok(call.answer([index.get().into(), 0, 0]))
}

fn make_notify<M: Machine>(
    core: &mut Core<M>,
    call: &Call<M>,
    dcb: DcbRef,
) -> Result<Outcome, SysError> {
    let bit = call.argument(1);
    if bit > 63 {
        return Err(SysError::InvalidArgument);
    }
    let target = call.own_slot(core, 2)?;
    if !core.slots.slot(target).is_empty() {
        return Err(SysError::SlotInUse);
    }
    let entry = core.objects.dcb(dcb);
    if entry.place.is_none() {
        return Err(SysError::NotRunnable);
    }
    let mut word = entry.doorbell;
    if word == 0 {
        word = core.kcb.doorbells.allocate(&mut core.machine, dcb)?;
        core.objects.dcb_mut(dcb).doorbell = word;
    }
    let bell = Bell {
        kernel: core.kernel,
        word,
        bit: low32(bit),
        generation: doorbell_page::generation(&core.machine, word),
    };
    let capability = Capability::memory(
        ObjectType::Notify,
        PhysAddr(core.objects.dcb_address(dcb).0 + NOTIFY_NAMES + bit),
        1,
        Rights::all(),
    )
    .with_data(bell.to_data());
    core.caps().derive(call.slot, capability, target)?;
    // The copies that other kernels have of the one before are copies of this one.
    if core.objects.dcb(dcb).named_elsewhere & 1 << bit != 0 {
        core.caps().set_remote_copies(target, true)?;
        core.objects.dcb_mut(dcb).named_elsewhere &= !(1 << bit);
    }
    Ok(DONE)
}

fn bind_death<M: Machine>(
    core: &mut Core<M>,
    call: &Call<M>,
    dcb: DcbRef,
) -> Result<Outcome, SysError> {
    let source = call.capability(core, const { Need::invocation(Invocation::BindDeath, 1) })?;
    let to = endpoint::destination(core.slots.slot(source))?;
    let target = dcb.held(held::DEATH);
    if core.slots.slot(target).is_occupied() {
        return Err(SysError::AlreadyBound);
    }
    // Without room, the end counts as missed: whoever has more dispatchers than his ring
    // has room for looks after all of them then.
    let is_promised = match endpoint::reserve(core, to) {
        Ok(()) => true,
        Err(SysError::EndpointFull) => false,
        Err(error) => return Err(error),
    };
    let made = core.caps().copy(source, target, Rights::all());
    if let Err(error) = made {
        if is_promised {
            endpoint::unreserve(core, to);
        }
        return Err(error);
    }
    core.slots.slot_mut(target).watch();
    if is_promised {
        let entry = core.objects.dcb_mut(dcb);
        (entry.promise, entry.promise_index) = (Some(to.dcb), to.index);
    }
    Ok(DONE)
}

fn exit<M: Machine>(core: &mut Core<M>, call: &Call<M>, dcb: DcbRef) -> Result<Outcome, SysError> {
    match core.objects.dcb(dcb).state {
        DispatcherState::Exited | DispatcherState::Faulted => Err(SysError::NotRunnable),
        _ => {
            let code = low32(call.argument(1));
            if core.kcb.scheduler.current == Some(dcb) {
                dispatch::leave_current(core, core.machine.now());
            }
            lifecycle::end(core, dcb, DispatcherState::Exited, code);
            Ok(DONE)
        }
    }
}

fn status<M: Machine>(core: &Core<M>, call: &Call<M>, dcb: DcbRef) -> Result<Outcome, SysError> {
    let entry = core.objects.dcb(dcb);
    let mut ticks = entry.run_ticks;
    if core.kcb.scheduler.current == Some(dcb) {
        ticks = ticks.wrapping_add(
            core.machine
                .now()
                .wrapping_sub(core.kcb.scheduler.run_since),
        );
    }
    let state = if entry.wait == Wait::Not {
        entry.state
    } else {
        DispatcherState::Blocked
    };
    let word = state as u64 | u64::from(entry.exit_code) << 32;
    Ok(call.answer([word, entry.upcalls, ticks]))
}

fn fault_register<M: Machine>(
    core: &Core<M>,
    call: &Call<M>,
    dcb: DcbRef,
) -> Result<Outcome, SysError> {
    // The ABI's numbers leave out TPIDR_EL0, the last word of a context.
    let index = match usize::try_from(call.argument(1)) {
        Ok(index @ ..context::TPIDR) => index,
        Ok(34) => context::WORDS,
        Ok(35) => context::WORDS + 1,
        _ => return Err(SysError::OutOfRange),
    };
    let entry = core.objects.dcb(dcb);
    Ok(call.answer([entry.fault[index], 0, 0]))
}
