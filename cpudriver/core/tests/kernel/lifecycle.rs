//! How dispatchers end, and what is left of them.

use capelin_abi::capability::CNODE_BYTES;
use capelin_abi::dispatcher::{Upcall, context, offset};
use capelin_abi::lmp::MessageHeader;
use capelin_abi::syscall::{DispatcherState, Invocation, Syscall, invoke_word};
use capelin_abi::{ObjectType, Rights, SysError};
use capelin_cap::{Shelter, SlotStore, check};
use capelin_kernel::machine::{FrameWords, Objects};
use capelin_wake::count::{Deliveries, Frame};

use crate::host::Asked;
use crate::world::{Left, NEVER, RUN, World, cap, slot};

/// Deletes a capability, or revokes what isn't the dispatcher's only one.
fn take(world: &mut World, slot: u8, how: Invocation) -> Left {
    let registers = [invoke_word(cap(slot::L1CNODE), how), cap(slot).to_word()];
    world.syscall(Syscall::Invoke as u64, &registers)
}

#[test]
fn who_deletes_itself_runs_no_more() {
    for part in 0..4 {
        // The dispatcher; its copies of its frame and its tables; and its endpoint, which
        // it doesn't live on.
        let how = [Invocation::Delete, Invocation::Revoke][part as usize % 2];
        let mut world = World::new();
        let other = world.dispatcher();
        world.run(other);
        let left = take(&mut world, other.slot + part, how);
        let goes_on = part == 2;
        assert_eq!(left == Left::Caller, goes_on, "part {part}");
        assert_eq!(world.current() == Some(other.dcb), goes_on, "part {part}");
        for _ in 0..3 {
            world.give_way();
        }
    }
}

#[test]
fn who_waits_for_a_deadline_can_be_deleted() {
    for (part, how) in [
        (0, Invocation::Delete),
        (1, Invocation::Revoke),
        (3, Invocation::Revoke),
    ] {
        let mut world = World::new();
        let other = world.dispatcher();
        world.run(other);
        let deadline = world.core.machine.now + 100;
        world.wait(true, deadline);
        assert_eq!(take(&mut world, other.slot + part, how), Left::Caller);
        world.pass(200);
        assert_eq!(world.current(), Some(world.init.dcb));
    }
}

#[test]
fn tables_in_use_are_left_before_they_go() {
    let mut world = World::new();
    let other = world.dispatcher();
    world.run(other);
    // It lives on its own copy, and that goes with it.
    take(&mut world, other.slot + 3, Invocation::Delete);
    assert_eq!(world.current(), Some(other.dcb));
    world.core.machine.asked();
    take(&mut world, other.slot, Invocation::Delete);
    let asked = world.core.machine.asked();
    let left = asked.iter().position(|&what| what == Asked::EmptyRoot);
    let dropped = asked
        .iter()
        .position(|what| matches!(what, Asked::InvalidateAsid(_)));
    assert!(left.is_some() && left < dropped, "{asked:?}");
}

#[test]
fn the_end_is_told_even_to_a_full_ring() {
    let mut world = World::new();
    let other = world.dispatcher();
    let bind = [cap(slot::ENDPOINT).to_word()];
    world
        .invoke(other.slot, Invocation::BindDeath, &bind)
        .expect("bound");
    world.run(other);
    let mut sent = 0;
    while world.send(
        slot::ENDPOINT,
        capelin_abi::syscall::SendFlags::empty(),
        &[],
        0,
    ) == Left::Caller
        && world.register(0) == 0
    {
        sent += 1;
    }
    assert_eq!(sent, crate::world::CAPACITY - 1);
    let exit = [42];
    world
        .invoke(other.slot, Invocation::Exit, &exit)
        .expect("it ends");
    for _ in 0..sent {
        world.receive(world.init).expect("a message");
    }
    let (header, _, words) = world.receive(world.init).expect("the end");
    assert!(MessageHeader(header).is_event());
    assert_eq!(words[..2], [DispatcherState::Exited as u64, 42]);
    // And its life is over.
    assert_eq!(world.current(), Some(world.init.dcb));
    let again = world.invoke(other.slot, Invocation::Run, &[]);
    assert_eq!(again, Err(SysError::NotRunnable));
}

/// Room that is kept for the ends of a client's dispatchers, or for its interrupt, is room that
/// the server's other clients don't have: who may only send has none kept.
#[test]
fn who_may_only_send_takes_no_room_from_others() {
    let mut world = World::new();
    let client = 200;
    let rights = u64::from((Rights::WRITE | Rights::GRANT).bits());
    let [to, from] = [client, slot::ENDPOINT].map(|slot| cap(slot).to_word());
    world
        .invoke(slot::L1CNODE, Invocation::Mint, &[to, from, rights, 7, 0])
        .expect("minted");
    let others: Vec<_> = (0..crate::world::CAPACITY)
        .map(|_| world.stopped())
        .collect();
    for one in &others {
        let bound = world.invoke(one.slot, Invocation::BindDeath, &[to]);
        assert_eq!(bound, Err(SysError::MissingRight));
    }
    let bound = world.invoke(slot::IRQ, Invocation::BindIrq, &[to, cap(201).to_word()]);
    assert_eq!(bound, Err(SysError::MissingRight));
    for _ in 0..crate::world::CAPACITY {
        world.send(client, capelin_abi::syscall::SendFlags::empty(), &[], 0);
        assert_eq!(world.register(0), 0, "there is room");
    }
}

#[test]
fn an_end_that_no_room_was_kept_for_counts_as_missed() {
    let mut world = World::new();
    let other = world.dispatcher();
    let promised: Vec<_> = (0..crate::world::CAPACITY)
        .map(|_| world.stopped())
        .collect();
    let bind = [cap(slot::ENDPOINT).to_word()];
    for one in promised.iter().chain([&other]) {
        world
            .invoke(one.slot, Invocation::BindDeath, &bind)
            .expect("bound");
    }
    let missed = |world: &World| {
        let frame = world.core.objects.frame_at(world.init.frame);
        frame.read32(crate::world::RING + capelin_abi::lmp::MISSED)
    };
    assert_eq!(missed(&world), 0);
    // `init` waits, and is woken by it.
    let before = world.delivered(world.init);
    world.wait(false, NEVER);
    assert_eq!(world.current(), Some(other.dcb));
    world.syscall(
        Syscall::Invoke as u64,
        &[invoke_word(cap(other.slot), Invocation::Exit), 9],
    );
    assert_eq!(world.current(), Some(world.init.dcb));
    assert_eq!((missed(&world), world.receive(world.init)), (1, None));
    assert_eq!(world.delivered(world.init), before + 1);
    // With room that nobody was promised, it is an event like any other.
    for one in &promised {
        let delete = [cap(one.slot).to_word()];
        world
            .invoke(slot::L1CNODE, Invocation::Delete, &delete)
            .expect("a dispatcher");
    }
    assert_eq!(missed(&world), 1);
}

#[test]
fn the_cpu_driver_ends_with_its_first_domain_alone() {
    let mut world = World::new();
    let other = world.dispatcher();
    world.core.kcb.first = Some(world.init.dcb);
    world.run(other);
    world
        .invoke(other.slot, Invocation::Exit, &[3])
        .expect("it ends");
    assert_eq!(world.core.machine.panics, [""; 0]);
    assert_eq!(world.current(), Some(world.init.dcb));
    let third = world.dispatcher();
    world.run(world.init);
    world.invoke_once(slot::DISPATCHER, Invocation::Exit, &[3]);
    assert_eq!(world.core.machine.panics, ["the first domain has ended"]);
    assert_eq!(world.current(), Some(third.dcb));
}

/// Whoever deletes it, or what it lives on: nobody is left to hear of it.
#[test]
fn the_cpu_driver_ends_when_its_first_domain_is_taken_away() {
    // The dispatcher and its copy are one object; its frame has the next slot.
    for frame_only in [false, true] {
        let mut world = World::new();
        let first = world.dispatcher();
        world.core.kcb.first = Some(first.dcb);
        world.run(world.init);
        let gone = if frame_only {
            Invocation::Revoke
        } else {
            Invocation::Delete
        };
        let what = if frame_only {
            first.slot + 1
        } else {
            first.slot
        };
        let word = [cap(what).to_word()];
        world
            .invoke(slot::L1CNODE, gone, &word)
            .expect("nobody runs in it");
        assert_eq!(world.core.machine.panics, ["the first domain has ended"]);
        assert_eq!(world.core.kcb.first, None, "told once");
    }
}

#[test]
fn a_fault_goes_to_its_dispatcher_and_a_second_one_ends_it() {
    let mut world = World::new();
    let other = world.dispatcher();
    world.run(other);
    let frame = world.core.objects.frame_at(other.frame);
    for kind in [Upcall::PageFault, Upcall::PageFaultDisabled] {
        frame.write(kind.entry_offset(), RUN + kind.entry_offset() as u64);
    }
    frame.write(offset::DISABLED, 0);
    world.fault(true, 0x1234);
    let at = |world: &World| world.register(context::PC);
    assert_eq!(at(&world), RUN + offset::UPCALL_PAGE_FAULT as u64);
    assert_eq!(
        [world.register(2), frame.read(offset::DISABLED)],
        [0x1234, 1]
    );
    // It is disabled now: once it may.
    world.fault(true, 0x5678);
    assert_eq!(at(&world), RUN + offset::UPCALL_PAGE_FAULT_DISABLED as u64);
    world.fault(true, 0x9abc);
    assert_eq!(world.current(), Some(world.init.dcb));
    let [state, ..] = world
        .invoke(other.slot, Invocation::Status, &[])
        .expect("its state");
    assert_eq!(state & 0xffff_ffff, DispatcherState::Faulted as u64);
}

#[test]
fn who_takes_no_faults_ends_at_the_first() {
    let mut world = World::new();
    let other = world.dispatcher();
    world.run(other);
    world.fault(false, 0);
    assert_eq!(world.current(), Some(world.init.dcb));
    let printed = String::from_utf8_lossy(&world.core.machine.console).into_owned();
    assert!(printed.contains("ended by a fault"), "{printed}");
}

#[test]
fn a_stopped_dispatcher_runs_again() {
    let mut world = World::new();
    let other = world.dispatcher();
    world.run(other);
    world.wait(true, NEVER);
    world
        .invoke(other.slot, Invocation::Stop, &[])
        .expect("stopped");
    let [state, ..] = world
        .invoke(other.slot, Invocation::Status, &[])
        .expect("its state");
    assert_eq!(state, DispatcherState::Stopped as u64);
    world
        .invoke(other.slot, Invocation::Run, &[])
        .expect("it runs");
    world.run(other);
    assert_eq!(world.register(0), 0);
}

#[test]
fn a_revoked_notify_gives_its_word_back() {
    let mut world = World::new();
    for _ in 0..3 {
        let other = world.dispatcher();
        world
            .invoke(other.slot, Invocation::MakeNotify, &[0, cap(200).to_word()])
            .expect("a Notify");
        for slot in [
            200,
            other.slot + 2,
            other.slot,
            other.slot + 1,
            other.slot + 3,
        ] {
            assert_eq!(take(&mut world, slot, Invocation::Delete), Left::Caller);
            assert_eq!(world.register(0), 0);
        }
    }
}

/// Who looks after ends that he missed finds them, whatever was taken away since.
#[test]
fn how_a_dispatcher_ended_stays_known() {
    for part in [1, 3] {
        let mut world = World::new();
        let other = world.dispatcher();
        world
            .invoke(other.slot, Invocation::Exit, &[42])
            .expect("it ends");
        assert_eq!(
            take(&mut world, other.slot + part, Invocation::Revoke),
            Left::Caller
        );
        assert_eq!(world.register(0), 0);
        let status = world.invoke(other.slot, Invocation::Status, &[]);
        let ended = DispatcherState::Exited as u64 | 42 << 32;
        assert_eq!(status.map(|status| status[0]), Ok(ended));
        let again = world.invoke(other.slot, Invocation::Run, &[]);
        assert_eq!(again, Err(SysError::NotRunnable));
    }
}

#[test]
fn who_is_ended_by_another_is_in_no_queue() {
    for waits in [false, true] {
        let mut world = World::new();
        let other = world.dispatcher();
        if waits {
            world.run(other);
            let deadline = world.core.machine.now + 100;
            world.wait(true, deadline);
        }
        world
            .invoke(other.slot, Invocation::Exit, &[1])
            .expect("it ends");
        world.pass(200);
        assert_eq!(world.give_way(), Left::Caller);
    }
}

#[test]
fn who_has_the_kernel_takes_out_what_was_sheltered() {
    let mut world = World::new();
    let take = |world: &mut World, to: u8| {
        let target = [cap(to).to_word()];
        world.invoke(slot::KERNEL, Invocation::TakeOrphan, &target)
    };
    assert_eq!(take(&mut world, 200), Err(SysError::EmptySlot));
    // The shelter is a CNode like any other; the memory that is to be kept lies in one.
    for (to, offset) in [(200, 0), (201, 0x4000)] {
        let made = world.retype(to, ObjectType::L2CNode, 0x4_0000 + offset, 0, 1);
        made.expect("a CNode");
    }
    let first = |world: &World, cnode: u8| {
        let address = world.address_of(cnode);
        world.core.slots.index_of(address).expect("home memory")
    };
    let shelter = Shelter {
        first: first(&world, 200),
        slots: 256,
    };
    world.core.kcb.shelter = shelter;
    let inside = first(&world, 201)
        .checked_add(77)
        .expect("one of its slots");
    let ram = world.index(slot::RAM);
    let mut caps = world.core.caps();
    caps.relocate(ram, inside, Rights::all())
        .expect("an empty slot");
    assert_eq!(take(&mut world, slot::RAM), Err(SysError::EmptySlot));
    let delete = [cap(201).to_word()];
    world
        .invoke(slot::L1CNODE, Invocation::Delete, &delete)
        .expect("the shelter has room");
    assert_eq!(world.core.slots.slot(shelter.first).kind(), ObjectType::Ram);
    assert_eq!(world.core.kcb.orphans, 1);
    assert_eq!(take(&mut world, slot::HOME), Err(SysError::SlotInUse));
    assert_eq!(take(&mut world, slot::RAM).map(drop), Ok(()));
    assert_eq!(world.core.slots.slot(ram).kind(), ObjectType::Ram);
    assert_eq!(take(&mut world, 202), Err(SysError::EmptySlot));
    check(&world.core.slots, &world.core.database.mdb).expect("a sound database");
    world
        .retype_ram(202, ObjectType::Frame, 0, 0x1000)
        .expect("memory as ever");
}

/// A dispatcher that has lost all it needs may be configured anew, for another program: nothing of
/// the one before is in it.
#[test]
fn a_dispatcher_configured_anew_is_new() {
    const OFFSET: u64 = 0x4_0000;
    const BLOCK: u8 = 220;
    const PARTS: [(u8, ObjectType, u64, u64); 3] = [
        (221, ObjectType::Frame, 0x1000, 0x4000),
        (222, ObjectType::L1CNode, 0x8000, CNODE_BYTES),
        (223, ObjectType::VNodeL0, 0x5000, 0x2000),
    ];
    let mut world = World::new();
    let configure = |world: &mut World| {
        for (to, kind, at, bytes) in PARTS {
            world
                .retype(to, kind, OFFSET + at, bytes, 1)
                .expect("home memory");
        }
        let [frame, cspace, vspace] = PARTS.map(|(to, ..)| cap(to).to_word());
        let given = [frame, 0x80_0000, cspace, vspace, 1];
        world
            .invoke(BLOCK, Invocation::Configure, &given)
            .expect("it has none of these");
    };
    world
        .retype(BLOCK, ObjectType::Dispatcher, OFFSET, 0x1000, 1)
        .expect("home memory");
    configure(&mut world);
    let block = world.address_of(BLOCK);
    let dcb = world.core.objects.dcb_at(block).expect("a control block");
    let entry = world.core.objects.dcb_mut(dcb);
    entry.in_fault = true;
    entry.fp.q[0] = [0x5ec2e7; 2];
    entry.fault[0] = 0x5ec2e7;
    entry.delivered.add(None::<&Quiet>);
    world.core.kcb.fp_owner = Some(dcb);
    for (part, ..) in PARTS {
        for how in [Invocation::Revoke, Invocation::Delete] {
            world
                .invoke(slot::L1CNODE, how, &[cap(part).to_word()])
                .expect("nothing is in the way");
        }
    }
    configure(&mut world);
    let entry = world.core.objects.dcb(dcb);
    assert!(!entry.in_fault);
    assert_eq!((entry.fp.q[0], entry.fault[0]), ([0; 2], 0));
    assert_eq!(entry.delivered, Deliveries::NONE);
    assert_eq!(world.core.kcb.fp_owner, None, "nor are they in the core");
    let frame = entry.place.expect("it is configured").frame;
    let frame = world.core.objects.frame(frame);
    assert_eq!(frame.read(offset::DELIVERED), 0, "as it is counted");
}

/// A frame that nobody reads.
struct Quiet;

impl Frame for Quiet {
    fn add_notified(&self, _: u64) {}
    fn set_delivered(&self, _: u64) {}
}
