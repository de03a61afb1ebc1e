//! What a dispatcher finds of itself when it goes on: registers, upcalls, counters, errors.

use capelin_abi::dispatcher::{Upcall, context, offset};
use capelin_abi::lmp::{RECEIVE_SLOT, TAIL};
use capelin_abi::syscall::{Invocation, KernelCounter, SendFlags, Syscall};
use capelin_abi::{ObjectType, Rights, SysError};
use capelin_cap::SlotStore;
use capelin_kernel::machine::{FrameWords, Objects, SaveContext};

use crate::host::{Frame, TIMER};
use crate::world::{CAPACITY, Dispatcher, Left, NEVER, RING, RUN, SLICE, World, cap, slot};

/// The thread pointer of whoever runs, on this machine.
const THREAD_POINTER: u64 = 0x7070_7070;
/// Where a dispatcher wants to hear of deliveries.
const LMP: u64 = RUN + 0x40;

fn words(world: &World, of: Dispatcher) -> Frame {
    world.core.objects.frame_at(of.frame)
}

#[test]
fn the_thread_pointer_is_saved_with_the_rest() {
    let mut world = World::new();
    let other = world.dispatcher();
    for switch in [World::give_way, |world: &mut World| {
        world.wait(false, NEVER)
    }] {
        switch(&mut world);
        let area = world
            .core
            .objects
            .context(world.caller_area.expect("a call"));
        assert_eq!(area.get(context::TPIDR), THREAD_POINTER);
        area.set(context::TPIDR, 0);
    }
    // And at an interrupt, of whoever is interrupted.
    let mut world = World::new();
    let third = world.dispatcher();
    world.run(third);
    words(&world, third).write(offset::DISABLED, 0);
    world.pass(10 * SLICE);
    assert_ne!(world.current(), Some(third.dcb));
    let saved = words(&world, third).read(offset::ENABLED + context::TPIDR * 8);
    assert_eq!(saved, THREAD_POINTER);
    let _ = other;
}

/// A dispatcher that runs enabled is told of what an interrupt brought it; not of what others
/// got, nor while it is disabled, nor if it doesn't want to know.
#[test]
fn who_runs_enabled_is_told_of_deliveries() {
    for (is_disabled, wants, is_its, told) in [
        (false, true, true, true),
        (false, true, false, false),
        (true, true, true, false),
        (false, false, true, false),
    ] {
        let mut world = World::new();
        let [me, other] = [(); 2].map(|()| world.dispatcher());
        let to = if is_its { me } else { other };
        let bind = [cap(to.endpoint).to_word(), cap(210).to_word()];
        world
            .invoke(slot::IRQ, Invocation::BindIrq, &bind)
            .expect("bound");
        world.run(me);
        let frame = words(&world, me);
        frame.write(offset::DISABLED, u64::from(is_disabled));
        frame.write(Upcall::Lmp.entry_offset(), if wants { LMP } else { 0 });
        let before = world.core.kcb.counters[KernelCounter::Upcalls as usize];
        world.core.machine.pending.push_back(40);
        world.interrupt();
        assert_eq!(world.current(), Some(me.dcb));
        let case = (is_disabled, wants, is_its);
        assert_eq!(world.register(context::PC) == LMP, told, "{case:?}");
        let upcalls = world.core.kcb.counters[KernelCounter::Upcalls as usize];
        assert_eq!(upcalls - before, u64::from(told), "{case:?}");
    }
}

#[test]
fn what_happens_is_counted() {
    let mut world = World::new();
    let other = world.dispatcher();
    let read = |world: &mut World, counter: KernelCounter| {
        let answer = world.invoke(slot::KERNEL, Invocation::ReadCounter, &[counter as u64]);
        answer.expect("a counter")[0]
    };
    let syscalls = read(&mut world, KernelCounter::Syscalls);
    let again = read(&mut world, KernelCounter::Syscalls);
    assert_eq!(again, syscalls + 1);
    let switches = read(&mut world, KernelCounter::Switches);
    world.give_way();
    world.give_way();
    assert_eq!(world.current(), Some(world.init.dcb));
    assert_eq!(read(&mut world, KernelCounter::Switches), switches + 2);
    let taken = |world: &mut World| {
        [
            KernelCounter::Interrupts,
            KernelCounter::TimerInterrupts,
            KernelCounter::DoorbellInterrupts,
        ]
        .map(|counter| read(world, counter))
    };
    let [all, timer, doorbell] = taken(&mut world);
    world.core.machine.pending.push_back(77);
    let sgi = capelin_kernel::doorbell::SGI;
    world.core.machine.pending.push_back(u32::from(sgi));
    world.interrupt();
    assert_eq!(taken(&mut world), [all + 2, timer, doorbell + 1]);
    world.core.machine.timer = Some(world.core.machine.now);
    world.interrupt();
    world.run(world.init);
    assert_eq!(taken(&mut world), [all + 3, timer + 1, doorbell + 1]);
    assert_ne!(TIMER, 77);
    let last = KernelCounter::ALL.len() as u64;
    let refused = world.invoke(slot::KERNEL, Invocation::ReadCounter, &[last]);
    assert_eq!(refused, Err(SysError::OutOfRange));
    let _ = other;
}

/// A registers' save area that the domain names is where it goes on.
#[test]
fn a_dispatcher_resumes_from_the_area_that_it_names() {
    for (which, area) in [(0, offset::ENABLED), (1, offset::TRAP)] {
        let mut world = World::new();
        words(&world, world.init).write(offset::DISABLED, 1);
        assert_eq!(
            world.syscall(Syscall::Resume as u64, &[which]),
            Left::Switch
        );
        let at = world.init.frame + area as u64;
        assert_eq!(world.current_area().area().linear(), at);
        let frame = words(&world, world.init);
        assert_eq!(frame.read(offset::DISABLED), which);
    }
    let mut world = World::new();
    assert_eq!(world.syscall(Syscall::Resume as u64, &[2]), Left::Caller);
    assert_eq!(world.register(0), SysError::InvalidArgument as u64);
}

/// A dispatcher that is stopped, or that has lost what it lives on, takes no messages and
/// doesn't run.
#[test]
fn who_cannot_run_takes_nothing() {
    let mut world = World::new();
    let stopped = world.stopped();
    world.send(stopped.endpoint, SendFlags::empty(), &[1], 0);
    assert_eq!(world.register(0), SysError::NotRunnable as u64);
    assert_eq!(world.receive(stopped), None);
    for part in [1, 3] {
        let mut world = World::new();
        let other = world.dispatcher();
        let lost = cap(other.slot + part).to_word();
        world
            .invoke(slot::L1CNODE, Invocation::Revoke, &[lost])
            .expect("revoked");
        let runs = world.invoke(other.slot, Invocation::Run, &[]);
        assert_eq!(runs, Err(SysError::NotRunnable), "part {part}");
        world.pass(10 * SLICE);
        assert_eq!(world.current(), Some(world.init.dcb));
    }
}

/// A capability that is sent goes where the receiver said, once, without the right to revoke
/// unless that is sent, too; and is the sender's no more if it is moved.
#[test]
fn a_capability_is_sent_into_the_slot_that_was_posted() {
    let slot_of = |world: &World, n: u8| world.core.slots.slot(world.index(n)).capability();
    for flags in [
        SendFlags::empty(),
        SendFlags::KEEP_REVOKE,
        SendFlags::MOVE,
        SendFlags::MOVE | SendFlags::KEEP_REVOKE,
    ] {
        let mut world = World::new();
        let other = world.dispatcher();
        let receive = |world: &World| words(world, other).read(RING + RECEIVE_SLOT);
        world
            .retype_ram(200, ObjectType::Frame, 0, 0x1000)
            .expect("a frame");
        let sent = slot_of(&world, 200);
        assert!(sent.rights.contains(Rights::REVOKE));
        // Nothing was posted, and then a slot that isn't free.
        for posted in [None, Some(slot::RAM)] {
            if let Some(posted) = posted {
                world.post_slot(other, posted);
            }
            world.send(other.endpoint, flags, &[], cap(200).to_word());
            assert_eq!(world.register(0), SysError::NoReceiveSlot as u64);
        }
        assert_eq!(slot_of(&world, 200), sent);
        world.post_slot(other, 201);
        world.send(other.endpoint, flags, &[], cap(200).to_word());
        assert_eq!(world.register(0), 0, "{flags:?}");
        let came = slot_of(&world, 201);
        assert_eq!(
            (came.kind, came.base, came.size),
            (sent.kind, sent.base, sent.size)
        );
        let keeps = flags.contains(SendFlags::KEEP_REVOKE);
        assert_eq!(came.rights.contains(Rights::REVOKE), keeps, "{flags:?}");
        assert!(came.rights.contains(Rights::WRITE));
        let is_moved = slot_of(&world, 200).kind == ObjectType::Null;
        assert_eq!(is_moved, flags.contains(SendFlags::MOVE));
        assert_eq!(receive(&world), 0, "once");
        world.send(other.endpoint, SendFlags::empty(), &[], cap(201).to_word());
        assert_eq!(world.register(0), SysError::NoReceiveSlot as u64);
    }
}

/// Who sends and yields runs the receiver at once; to itself, there is nobody to yield to.
#[test]
fn a_send_that_yields_runs_the_receiver() {
    let mut world = World::new();
    let other = world.dispatcher();
    let left = world.send(slot::ENDPOINT, SendFlags::YIELD, &[1], 0);
    assert_eq!((left, world.register(0)), (Left::Caller, 0));
    assert_eq!(world.current(), Some(world.init.dcb));
    assert_eq!(
        world.send(other.endpoint, SendFlags::YIELD, &[1], 0),
        Left::Switch
    );
    assert_eq!(world.current(), Some(other.dcb));
}

/// Room that was promised for an end is the endpoint's again when nobody will end there any
/// more; so is the place of an endpoint that goes.
#[test]
fn promises_and_places_are_given_back() {
    let mut world = World::new();
    let [server, one, two] = [(); 3].map(|()| world.dispatcher());
    let ring = [RING as u64 + 1024, CAPACITY, cap(209).to_word()];
    let answer = world.invoke(server.slot, Invocation::MakeEndpoint, &ring);
    assert_eq!(answer.map(|answer| answer[0]), Ok(1));
    let fills = |world: &mut World, endpoint: u8, at: usize| {
        let mut sent = 0;
        while world.send(endpoint, SendFlags::empty(), &[], 0) == Left::Caller
            && world.register(0) == 0
        {
            sent += 1;
        }
        // All of them are taken out again.
        let frame = words(world, server);
        let head = frame.read32(at + capelin_abi::lmp::HEAD);
        frame.write32(at + TAIL, head);
        sent
    };
    let at = |n: usize| RING + n * 1024;
    for ended in [one, two] {
        let bind = [cap(209).to_word()];
        world
            .invoke(ended.slot, Invocation::BindDeath, &bind)
            .expect("bound");
    }
    assert_eq!(fills(&mut world, 209, at(1)), CAPACITY - 2);
    assert_eq!(fills(&mut world, server.endpoint, at(0)), CAPACITY);
    let delete = |world: &mut World, which: u8| {
        world
            .invoke(slot::L1CNODE, Invocation::Delete, &[cap(which).to_word()])
            .expect("deleted");
    };
    delete(&mut world, one.slot);
    assert_eq!(fills(&mut world, 209, at(1)), CAPACITY - 1);
    delete(&mut world, two.slot);
    assert_eq!(fills(&mut world, 209, at(1)), CAPACITY);
    assert_eq!(fills(&mut world, server.endpoint, at(0)), CAPACITY);
    // The first endpoint's place is free again, and the second's isn't.
    delete(&mut world, server.endpoint);
    let ring = [RING as u64, CAPACITY, cap(server.endpoint).to_word()];
    let answer = world.invoke(server.slot, Invocation::MakeEndpoint, &ring);
    assert_eq!(answer.map(|answer| answer[0]), Ok(0));
    assert_eq!(fills(&mut world, server.endpoint, at(0)), CAPACITY);
}

/// Who waits, and hears of an end that another brought about, has its turn by the timer.
#[test]
fn who_is_told_of_an_end_without_a_promise_has_a_timer() {
    let mut world = World::new();
    let [waits, ends] = [(); 2].map(|()| world.dispatcher());
    let promised: Vec<_> = (0..CAPACITY).map(|_| world.stopped()).collect();
    let bind = [cap(waits.endpoint).to_word()];
    for one in promised.iter().chain([&ends]) {
        world
            .invoke(one.slot, Invocation::BindDeath, &bind)
            .expect("bound");
    }
    for one in [ends, waits] {
        world.run(one);
        world.wait(false, NEVER);
    }
    world.run(world.init);
    world.pass(10 * SLICE);
    assert_eq!(world.core.machine.timer, None, "init is alone");
    world
        .invoke(ends.slot, Invocation::Exit, &[1])
        .expect("it ends");
    assert_eq!(world.current(), Some(world.init.dcb));
    assert!(world.core.objects.dcb(waits.dcb).node.is_queued());
    let timer = world.core.machine.timer.expect("for its turn");
    assert!(timer <= world.core.machine.now + SLICE, "{timer}");
}

/// What was there before the log was full can't be read any more; what is kept is whole.
#[test]
fn the_log_keeps_its_last_bytes() {
    let mut world = World::new();
    let kept = capelin_kernel::log::LOG_BYTES as u64;
    let line = "0123456789abcdef0123456789abcdef0123456789abcdef";
    let mut all = Vec::new();
    world.core.machine.console.clear();
    while all.len() < 2 * capelin_kernel::log::LOG_BYTES {
        world.core.log_line(format_args!("{line}"));
        all.extend_from_slice(format!("cpu 0: {line}\n").as_bytes());
    }
    let read = |world: &mut World, from: u64| {
        let arguments = [crate::host::USER, 4096, from];
        world
            .invoke(slot::KERNEL, Invocation::ReadLog, &arguments)
            .expect("the log")
    };
    let [_, _, end] = read(&mut world, 0);
    let mut at = 0;
    let mut text = Vec::new();
    loop {
        let [bytes, from, _] = read(&mut world, at);
        if bytes == 0 {
            break;
        }
        if text.is_empty() {
            assert_eq!(from, end - kept, "the oldest that is kept");
        }
        let bytes = usize::try_from(bytes).expect("a page");
        text.extend_from_slice(&world.core.machine.user[..bytes]);
        at = from + bytes as u64;
    }
    assert_eq!(text.len() as u64, kept);
    assert!(all.ends_with(&text));
}

/// The registers of who is ended by a fault are on the console, in rows of four.
#[test]
fn a_fault_that_ends_somebody_is_told_with_its_registers() {
    let mut world = World::new();
    let other = world.dispatcher();
    world.run(other);
    for register in 0..31 {
        let area = world.current_area();
        area.set(register, 0x1000 + register as u64);
    }
    // The area that the entry fills.
    let frame = words(&world, other);
    for area in [offset::ENABLED, offset::DISABLED_AREA] {
        for register in 0..31 {
            frame.write(area + register * 8, 0x1000 + register as u64);
        }
        frame.write(area + context::SP * 8, 0x5555);
        frame.write(area + context::PC * 8, 0x6666);
    }
    world.core.machine.console.clear();
    world.fault(false, 0x7777);
    world.core.finish_log();
    let printed = String::from_utf8_lossy(&world.core.machine.console).into_owned();
    let expected = "ESR 0x92000045 FAR 0x7777 PC 0x6666 SP 0x5555";
    assert!(printed.contains(expected), "{printed}");
    for row in 0..7 {
        let x: Vec<_> = (0..4)
            .map(|n| format!("{:016x}", 0x1000 + row * 4 + n))
            .collect();
        let line = format!("x{:<2} {}", row * 4, x.join(" "));
        assert!(printed.contains(&line), "{line} in {printed}");
    }
    let read = |world: &mut World, number: u64| {
        let answer = world.invoke(other.slot, Invocation::FaultRegister, &[number]);
        answer.expect("a register")[0]
    };
    assert_eq!(read(&mut world, 35), 0x7777);
    assert_eq!(read(&mut world, 34), 0x9200_0045);
    assert_eq!(read(&mut world, 30), 0x101e);
}

/// At an upcall a dispatcher finds its frame, what was delivered and its thread's pointer,
/// and nothing that somebody left in the other registers.
#[test]
fn an_upcall_has_its_arguments_and_nothing_else() {
    let mut world = World::new();
    let other = world.dispatcher();
    let frame = words(&world, other);
    for register in 0..31 {
        frame.write(offset::DISABLED_AREA + register * 8, 0xdead_beef);
    }
    frame.write(offset::ENABLED + context::TPIDR * 8, 0x1234);
    frame.write(offset::UPCALL_STACK, 0x5678);
    for _ in 0..3 {
        world.send(other.endpoint, SendFlags::empty(), &[], 0);
    }
    let upcalls = |world: &mut World| {
        let answer = world.invoke(other.slot, Invocation::Status, &[]);
        answer.expect("its state")[1]
    };
    let before = upcalls(&mut world);
    world.run(other);
    let user = world.core.objects.dcb(other.dcb).frame_user;
    assert_eq!([0, 1].map(|n| world.register(n)), [user, 3]);
    for register in 2..31 {
        assert_eq!(world.register(register), 0, "x{register}");
    }
    let special = [context::SP, context::PC, context::TPIDR].map(|n| world.register(n));
    assert_eq!(special, [0x5678, RUN, 0x1234]);
    world.run(world.init);
    assert_eq!(upcalls(&mut world), before + 1);
    // It was disabled: it goes on where it was, and is told only once it is enabled again.
    world.run(other);
    words(&world, other).write(offset::DISABLED, 0);
    world.run(world.init);
    assert_eq!(upcalls(&mut world), before + 1);
    world.run(other);
    world.run(world.init);
    assert_eq!(upcalls(&mut world), before + 2);
}

/// A trap is told with the state it came in: whether the dispatcher was disabled.
#[test]
fn a_trap_says_whether_it_came_disabled() {
    for is_disabled in [0, 1] {
        let mut world = World::new();
        let other = world.dispatcher();
        world.send(other.endpoint, SendFlags::empty(), &[], 0);
        world.send(other.endpoint, SendFlags::empty(), &[], 0);
        world.run(other);
        let frame = words(&world, other);
        frame.write(Upcall::Trap.entry_offset(), RUN + 0x80);
        frame.write(Upcall::PageFault.entry_offset(), RUN + 0x90);
        frame.write(offset::DISABLED, is_disabled);
        world.fault(false, 0x42);
        assert_eq!(world.register(context::PC), RUN + 0x80);
        let told = [1, 2, 3].map(|n| world.register(n));
        assert_eq!(told, [is_disabled, 0x42, 0x9200_0045]);
        if is_disabled == 0 {
            frame.write(offset::DISABLED, 0);
            world.fault(true, 0x43);
            assert_eq!(world.register(1), 2, "what was delivered");
        }
    }
}
