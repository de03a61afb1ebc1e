//! What one entry does is bounded, and what it leaves is done later.

use capelin_abi::syscall::{DispatcherState, Invocation, MapFlags, Syscall, invoke_word};
use capelin_abi::{KernelId, ObjectType, PhysAddr, Rights, dispatcher::offset};
use capelin_cap::{SlotFlags, SlotStore};
use capelin_kernel::dcb::Wait;
use capelin_kernel::doorbell::SGI;
use capelin_kernel::machine::{FrameWords, Machine, Objects};
use capelin_peers::Home;

use crate::between::kernels;
use crate::host::USER;
use crate::memory::{TABLES, tables};
use crate::world::{Dispatcher, Left, NEVER, SLICE, World, cap, slot};

/// More than one entry looks at.
const MANY: usize = 24;

fn many(world: &mut World) -> Vec<Dispatcher> {
    (0..MANY).map(|_| world.dispatcher()).collect()
}

fn waiting(world: &World, all: &[Dispatcher]) -> usize {
    let waits = |one: &&Dispatcher| world.core.objects.dcb(one.dcb).wait != Wait::Not;
    all.iter().filter(waits).count()
}

#[test]
fn waits_that_are_over_at_once_end_in_steps() {
    let mut world = World::new();
    let all = many(&mut world);
    let deadline = world.core.machine.now + 8 * SLICE;
    for &one in &all {
        world.run(one);
        world.wait(false, deadline);
    }
    world.run(world.init);
    assert_eq!(waiting(&world, &all), MANY);
    world.core.machine.now = deadline;
    world.interrupt();
    let left = waiting(&world, &all);
    assert!((MANY - 16..MANY).contains(&left), "{left}");
    // Whoever runs has some time before the next step.
    let timer = world.core.machine.timer.expect("there will be one");
    assert_eq!(timer - deadline, SLICE / 64, "an eighth of a quantum");
    world.pass(timer - deadline);
    assert_eq!(waiting(&world, &all), 0);
}

#[test]
fn dead_dispatchers_are_buried_in_steps() {
    let mut world = World::new();
    let all = many(&mut world);
    for one in &all {
        let frame = world.core.objects.frame_at(one.frame);
        frame.write(offset::UPCALL_RUN, 0);
    }
    let ended = |world: &World| {
        let has_ended =
            |one: &&Dispatcher| world.core.objects.dcb(one.dcb).state == DispatcherState::Faulted;
        all.iter().filter(has_ended).count()
    };
    world.give_way();
    // `init` goes on before all others have had their turn.
    assert_eq!(world.current(), Some(world.init.dcb));
    let first = ended(&world);
    assert!(first > 0 && first <= 4, "{first}");
    // The timer has the rest looked at, as many each time.
    for entries in 2..=MANY {
        let timer = world.core.machine.timer.expect("there will be one");
        world.pass(timer - world.core.machine.now);
        assert_eq!(world.current(), Some(world.init.dcb));
        assert!(ended(&world) <= 4 * entries, "{}", ended(&world));
        if ended(&world) == MANY {
            return;
        }
    }
    panic!("{} of {MANY}", ended(&world));
}

/// Where nobody is left to go back to, interrupts are looked at after each four, and whoever they
/// wake doesn't wait for the rest of the dead; nor does anybody pay for these.
#[test]
fn dead_dispatchers_keep_no_interrupt_waiting() {
    const TICKS: u64 = 40;
    for sleeps in [true, false] {
        let mut world = World::new();
        let sleeper = world.dispatcher();
        world.run(sleeper);
        let begun = world.core.machine.now;
        world.wait(false, if sleeps { begun + 10 * TICKS } else { NEVER });
        let all: Vec<_> = (0..26).map(|_| world.dispatcher()).collect();
        // It is new: its turn comes behind all of them.
        let behind = world.dispatcher();
        for one in &all {
            let frame = world.core.objects.frame_at(one.frame);
            frame.write(offset::UPCALL_RUN, 0);
        }
        world.core.machine.switch_ticks = TICKS;
        world.core.machine.looks.clear();
        world.wait(false, NEVER);
        let alive = if sleeps { sleeper } else { behind };
        assert_eq!(world.current(), Some(alive.dcb));
        let mut last = begun;
        for &look in &world.core.machine.looks {
            assert!(look - last <= 4 * TICKS, "{look}, {last} before it");
            last = look;
        }
        let has_ended =
            |one: &&Dispatcher| world.core.objects.dcb(one.dcb).state == DispatcherState::Faulted;
        // Up to the first look behind its deadline; or all.
        let expected = if sleeps { 12 } else { all.len() };
        assert_eq!(all.iter().filter(has_ended).count(), expected);
        let scheduler = &world.core.kcb.scheduler;
        let rest = scheduler.slice_end - world.core.machine.now;
        assert_eq!(rest, SLICE / 8 - TICKS, "all but its own switch");
    }
}

#[test]
fn a_slice_is_lent_by_a_call() {
    let mut world = World::new();
    let [server, third] = [(); 2].map(|()| world.dispatcher());
    let init = world.init;
    world.run(server);
    world.wait(true, NEVER);
    world.run(init);
    world.give_way();
    world.run(init);
    let end = world.core.kcb.scheduler.slice_end;
    let before = world.core.machine.timer;
    for _ in 0..40 {
        world.call(server.endpoint, &[1]);
        assert_eq!(world.current(), Some(server.dcb));
        assert_eq!(world.core.kcb.scheduler.slice_end, end);
        assert_eq!(world.core.machine.timer, before);
        world.core.machine.now += 10;
        // It answers by a call.
        world.call(init.endpoint, &[2]);
        assert_eq!(world.current(), Some(init.dcb));
    }
    world.call(server.endpoint, &[1]);
    let rest = end - world.core.machine.now;
    world.pass(rest);
    assert_eq!(world.current(), Some(third.dcb));
    // Neither of the two comes before a third has had as much.
    world.pass(SLICE / 8);
    let now = world.current();
    assert!(now == Some(third.dcb) || now == Some(server.dcb), "{now:?}");
}

#[test]
fn a_deletion_that_nobody_continues_ends_when_the_core_idles() {
    let mut world = World::new();
    let child = world.dispatcher();
    world
        .retype(200, ObjectType::L2CNode, 0x8_0000, 0x4000, 1)
        .expect("a CNode");
    // An interrupt waits from the first step on: the call is to be made again.
    world.core.machine.patience.set(Some(0));
    world.core.machine.pending.push_back(40);
    let word = invoke_word(cap(slot::L1CNODE), Invocation::Delete);
    let left = world.syscall(Syscall::Invoke as u64, &[word, cap(200).to_word()]);
    assert_eq!(left, Left::Restart);
    assert!(!world.core.database.deletions.is_empty());
    world.core.machine.patience.set(None);
    world.core.machine.pending.clear();
    // Nobody makes it. Everybody sleeps for a while.
    let deadline = world.core.machine.now + 100;
    world.run(child);
    world.wait(false, NEVER);
    world.wait(false, deadline);
    assert!(world.core.database.deletions.is_empty());
}

/// Deletions that can't go on don't keep the core from the others, nor from sleep.
#[test]
fn deletions_that_are_blocked_block_no_other() {
    let mut world = World::new();
    let child = world.dispatcher();
    let delete = invoke_word(cap(slot::L1CNODE), Invocation::Delete);
    let (blocked, others) = ([200, 201, 202, 203], [204, 205]);
    let mut inside = Vec::new();
    for (n, at) in blocked.into_iter().chain(others).enumerate() {
        let offset = 0x8_0000 + 0x4000 * n as u64;
        world
            .retype(at, ObjectType::L2CNode, offset, 0x4000, 1)
            .expect("a CNode");
        let first = world.core.slots.index_of(world.address_of(at));
        let slot = first.and_then(|first| first.checked_add(1));
        inside.push(slot.expect("one of its slots"));
    }
    for (n, &slot) in inside[..blocked.len()].iter().enumerate() {
        world
            .retype_ram(210, ObjectType::Frame, n as u64 * 0x1000, 0x1000)
            .expect("free memory");
        let frame = world.index(210);
        let mut caps = world.core.caps();
        caps.relocate(frame, slot, Rights::all()).expect("empty");
        caps.pin(slot).expect("it is there");
    }
    // All are begun, and nobody goes on with them.
    for at in blocked.into_iter().chain(others) {
        world.core.machine.patience.set(Some(0));
        world.core.machine.pending.push_back(40);
        let left = world.syscall(Syscall::Invoke as u64, &[delete, cap(at).to_word()]);
        assert_eq!(left, Left::Restart);
    }
    world.core.machine.patience.set(None);
    world.core.machine.pending.clear();
    let deadline = world.core.machine.now + 100;
    world.run(child);
    world.wait(false, NEVER);
    world.wait(false, deadline);
    let is_gone = |world: &World, at| {
        // The slot is kept for the call that will not come.
        let flags = world.core.slots.slot(world.index(at)).flags();
        !flags.contains(SlotFlags::QUEUED)
    };
    assert_eq!(others.map(|at| is_gone(&world, at)), [true; 2]);
    assert_eq!(blocked.map(|at| is_gone(&world, at)), [false; 4]);
    for slot in &inside[..blocked.len()] {
        capelin_cap::unpin(&mut world.core.slots, *slot).expect("it is pinned");
    }
    let deadline = world.core.machine.now + 100;
    world.wait(false, deadline);
    assert!(world.core.database.deletions.is_empty());
}

/// What the end of a dispatcher costs counts: 1,500 instructions beside each step's 1,000.
#[test]
fn dispatchers_are_revoked_in_bounded_entries() {
    let mut world = World::new();
    let part = ObjectType::HomeRam;
    world
        .retype(200, part, 0x8_0000, 0x1_0000, 1)
        .expect("home memory");
    let slots = 201..217;
    let [to, from] = [slots.start, 200].map(|at| cap(at).to_word());
    let arguments = [to, from, ObjectType::Dispatcher as u64, 0, 0, 16];
    world
        .invoke(slot::L1CNODE, Invocation::Retype, &arguments)
        .expect("room");
    // The first entry, and one that goes on.
    for gone in [3, 6] {
        let left = world.invoke_once(slot::L1CNODE, Invocation::Revoke, &[cap(200).to_word()]);
        assert_eq!(left, Left::Restart);
        let is_gone = |&at: &u8| world.core.slots.slot(world.index(at)).is_empty();
        assert_eq!(slots.clone().filter(is_gone).count(), gone);
    }
}

#[test]
fn the_console_is_not_waited_for() {
    let mut world = World::new();
    world.core.machine.console.clear();
    world.core.machine.console_room = 10;
    world.core.log_line(format_args!("a line of some length"));
    assert_eq!(world.core.machine.console.len(), 10);
    // The timer has the rest written as there is room, 16 bytes each time.
    for _ in 0..2 {
        world.core.machine.console_room = 16;
        let timer = world.core.machine.timer.expect("text is left");
        assert!(timer <= world.core.machine.now + SLICE);
        world.pass(timer - world.core.machine.now);
    }
    assert_eq!(
        world.core.machine.console,
        b"cpu 0: a line of some length\n"
    );
    // And no more ticks then.
    world.pass(SLICE);
    assert_eq!(world.core.machine.timer, None);
}

#[test]
fn a_stuck_console_costs_output_only() {
    let mut world = World::new();
    world.core.machine.console_room = 0;
    world.core.log_line(format_args!("nobody reads this"));
    let start = world.core.machine.now;
    while let Some(timer) = world.core.machine.timer {
        assert!(timer < start + 100 * SLICE, "it is given up");
        world.pass(timer - world.core.machine.now);
    }
    world.core.finish_log();
    world.core.machine.console_room = 100;
    world.core.log_line(format_args!("but this"));
    assert!(world.core.machine.console.ends_with(b"cpu 0: but this\n"));
}

/// With many homes, to look where they are is an entry's whole work: what needs the window
/// looks first, changes nothing, and goes on in the next entry; until a home comes or goes.
#[test]
fn a_look_at_many_homes_is_an_entry_of_its_own() {
    let ([mut world, ..], table) = kernels(1);
    world.core.machine.homes_beside = 0;
    let frame = |world: &mut World, page: u64, to: u8| {
        let [to, from] = [to, slot::RAM].map(|at| cap(at).to_word());
        let kind = ObjectType::Frame as u64;
        let arguments = [to, from, kind, page * 0x1000, 0x1000, 1];
        world.invoke_once(slot::L1CNODE, Invocation::Retype, &arguments)
    };
    let is_there = |world: &World, at| !world.core.slots.slot(world.index(at)).is_empty();
    let zeroed = world.core.machine.remembered.len();
    assert_eq!(frame(&mut world, 0, 200), Left::Restart);
    assert_eq!(
        world.core.machine.remembered.len(),
        zeroed,
        "nothing but the look"
    );
    assert_eq!(frame(&mut world, 0, 200), Left::Caller);
    assert_eq!(world.core.machine.remembered.len(), zeroed + 1);
    assert_eq!(frame(&mut world, 1, 201), Left::Caller, "it is known");
    // Many are made after the look.
    let far = Home {
        base: PhysAddr(0xa000_0000),
        bytes: 2 << 20,
    };
    table.adopt(KernelId(6), far).expect("nobody has it");
    let [to, from] = [220, slot::RAM].map(|at| cap(at).to_word());
    let many = [to, from, ObjectType::Frame as u64, 0x8_0000, 0x1000, 4];
    let once = |world: &mut World| world.invoke_once(slot::L1CNODE, Invocation::Retype, &many);
    assert_eq!(once(&mut world), Left::Restart);
    assert!(!is_there(&world, 220), "nothing but the look");
    assert_eq!(once(&mut world), Left::Caller);
    assert!((220..224).all(|at| is_there(&world, at)));
    let home = Home {
        base: PhysAddr(0x9000_0000),
        bytes: 2 << 20,
    };
    let map = |world: &mut World, at: u64, flags: MapFlags| {
        let request = at | 1 << 16 | u64::from(flags.bits()) << 32;
        let [from, to] = [200, 210].map(|slot| cap(slot).to_word());
        world.invoke_once(TABLES[2], Invocation::Map, &[from, request, 0, to])
    };
    tables(&mut world);
    let uncached = MapFlags::READ | MapFlags::WRITE | MapFlags::UNCACHED;
    for comes in [true, false] {
        if comes {
            table.adopt(KernelId(5), home).expect("nobody has it");
        } else {
            assert!(table.release(KernelId(5), home.base));
        }
        assert_eq!(map(&mut world, 3, uncached), Left::Restart);
        assert!(!is_there(&world, 210), "nothing but the look");
        let mut entries = 1;
        while map(&mut world, 3, uncached) == Left::Restart {
            entries += 1;
        }
        assert!(is_there(&world, 210) && entries < 4);
        let deleted = [cap(210).to_word()];
        let gone = world.invoke(slot::L1CNODE, Invocation::Delete, &deleted);
        gone.expect("a mapping");
    }
    let probe = [
        world.core.slots.slot(world.index(200)).base(),
        cap(200).to_word(),
    ];
    table.adopt(KernelId(5), home).expect("nobody has it");
    let once = |world: &mut World| world.invoke_once(slot::KERNEL, Invocation::ProbeWindow, &probe);
    assert_eq!(
        [once(&mut world), once(&mut world)],
        [Left::Restart, Left::Caller]
    );
    // Few are looked at beside.
    world.core.machine.homes_beside = 64;
    assert!(table.release(KernelId(5), home.base));
    assert_eq!(frame(&mut world, 2, 202), Left::Caller);
}

/// Who is told that badges' senders are gone is told of some in each entry.
#[test]
fn the_ends_of_many_badges_are_told_in_steps() {
    const BADGES: u64 = 14;
    let mut world = World::new();
    let server = world.dispatcher();
    let cnode = 0x9_0000;
    world
        .retype(200, ObjectType::L2CNode, cnode, 0, 1)
        .expect("a CNode");
    let all = Rights::all();
    let first = world
        .core
        .slots
        .index_of(world.address_of(200))
        .expect("home memory");
    for badge in 0..BADGES {
        let [to, from] = [201, server.endpoint].map(|slot| cap(slot).to_word());
        let badge_word = capelin_abi::lmp::COUNTED_BADGE | badge;
        let arguments = [to, from, u64::from(all.bits()), badge_word];
        world
            .invoke(slot::L1CNODE, Invocation::Mint, &arguments)
            .expect("minted");
        let inside = first
            .checked_add(u32::try_from(badge).expect("few"))
            .expect("a slot");
        let at = world.index(201);
        world.core.caps().relocate(at, inside, all).expect("room");
    }
    let mut told = world.delivered(server);
    let mut entries = 0;
    let arguments = [cap(200).to_word()];
    loop {
        let left = world.invoke_once(slot::L1CNODE, Invocation::Delete, &arguments);
        let now = world.delivered(server);
        assert!(now - told <= 8, "{told} to {now}");
        told = now;
        entries += 1;
        if left != Left::Restart {
            break;
        }
    }
    assert_eq!(told, BADGES);
    assert!(entries < 6, "{entries}");
}

/// Who goes on talking keeps the machine from nothing: what was said before is waited for.
#[test]
fn the_end_waits_for_no_later_output() {
    let mut world = World::new();
    let other = world.dispatcher();
    world.core.machine.console_room = 0;
    world.core.log_line(format_args!("said before"));
    // It comes back with the register that it left.
    let (mut entries, mut noted) = (0, 0);
    while world.invoke_once(slot::KERNEL, Invocation::PowerOff, &[noted]) == Left::Restart {
        noted = world.register(1);
        world.run(other);
        world.core.machine.console_room = 64;
        let printed = world.invoke(other.slot, Invocation::Print, &[USER, 200]);
        printed.expect("it may");
        world.run(world.init);
        world.core.machine.console_room = 64;
        entries += 1;
        assert!(entries < 100, "it never ends");
    }
    let said = String::from_utf8_lossy(&world.core.machine.console).into_owned();
    assert!(said.contains("said before"), "{said}");
}

/// Doorbells that one entry doesn't look at keep nothing else that is pending from it.
#[test]
fn an_entry_looks_at_sixteen_words() {
    let mut world = World::new();
    let all = many(&mut world);
    for (number, one) in (0..).zip(&all) {
        let to = cap(200 + number).to_word();
        let made = world.invoke(one.slot, Invocation::MakeNotify, &[0, to]);
        made.expect("a Notify");
    }
    for &one in &all {
        world.run(one);
        assert_eq!(world.wait(true, NEVER), Left::Switch);
    }
    for one in &all {
        let word = world.core.objects.dcb(one.dcb).doorbell as usize;
        let _ = world.core.machine.doorbells().ring(word, 0);
    }
    let timer = world.core.timer_intid;
    world.core.machine.pending.extend([u32::from(SGI), timer]);
    world.interrupt();
    assert_eq!(waiting(&world, &all), MANY - 16);
    assert!(!world.core.machine.pending.contains(&timer), "it was taken");
    assert!(
        world.core.machine.pending.contains(&u32::from(SGI)),
        "it comes again"
    );
    world.interrupt();
    assert_eq!(waiting(&world, &all), 0);
}
