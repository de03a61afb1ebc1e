//! What is delivered to whom, when somebody lies, is gone or is someone else by now.

use std::sync::atomic::Ordering;

use capelin_abi::dispatcher::offset;
use capelin_abi::lmp::{COUNTED_BADGE, HEAD, TAIL};
use capelin_abi::syscall::{Invocation, KernelCounter, SendFlags};
use capelin_abi::{KernelId, ObjectType, Rights, SysError};
use capelin_cap::{CapRecord, Capability, ExportMode, import};
use capelin_kernel::machine::{FrameWords, Machine, Objects};

use crate::host::TIMER;
use crate::world::{CAPACITY, Dispatcher, FRAME_USER, Left, NEVER, RING, SLICE, World, cap, slot};

/// Room in a slot that nobody else uses, for a capability to an interrupt.
fn interrupt(world: &mut World, intid: u32, to: u8) {
    let target = world.index(to);
    let source = Capability::interrupts(ObjectType::IrqSource, intid, 1, Rights::all());
    world.core.caps().create(source, target).expect("room");
}

fn bind(world: &mut World, source: u8, endpoint: u8, to: u8) -> Result<(), SysError> {
    let arguments = [cap(endpoint).to_word(), cap(to).to_word()];
    let bound = world.invoke(source, Invocation::BindIrq, &arguments);
    bound.map(drop)
}

fn delete(world: &mut World, which: u8) {
    world
        .invoke(slot::L1CNODE, Invocation::Delete, &[cap(which).to_word()])
        .expect("deleted");
}

/// How many messages find room in a ring.
fn fill(world: &mut World, endpoint: u8) -> u64 {
    let mut sent = 0;
    while world.send(endpoint, SendFlags::empty(), &[sent], 0) == Left::Caller
        && world.register(0) == 0
    {
        sent += 1;
    }
    sent
}

fn fire(world: &mut World, intid: u32) {
    world.core.machine.pending.push_back(intid);
    world.interrupt();
}

fn is_enabled(world: &World, intid: u32) -> bool {
    world.core.machine.enabled.contains(&intid)
}

/// An endpoint of a dispatcher beside its first, in the slot `to`.
fn second_endpoint(world: &mut World, of: Dispatcher, to: u8) {
    let ring = [RING as u64 + 1024, CAPACITY, cap(to).to_word()];
    world
        .invoke(of.slot, Invocation::MakeEndpoint, &ring)
        .expect("an endpoint");
}

#[test]
fn an_interrupt_is_bound_once_and_the_timers_never() {
    let mut world = World::new();
    let other = world.dispatcher();
    interrupt(&mut world, TIMER, 201);
    bind(&mut world, slot::IRQ, other.endpoint, 210).expect("bound");
    for (source, endpoint) in [
        (slot::IRQ, other.endpoint),
        (slot::IRQ, slot::ENDPOINT),
        (201, other.endpoint),
    ] {
        let refused = bind(&mut world, source, endpoint, 211);
        assert_eq!(refused, Err(SysError::AlreadyBound));
    }
    // Nothing was promised to them either.
    assert_eq!(fill(&mut world, slot::ENDPOINT), CAPACITY);
    assert_eq!(fill(&mut world, other.endpoint), CAPACITY - 1);
}

/// What can't be enabled isn't bound: not the room for it, nor the entry; and what is bound
/// beside it stays so.
#[test]
fn an_interrupt_that_the_controller_refuses_leaves_nothing() {
    let mut world = World::new();
    let other = world.dispatcher();
    bind(&mut world, slot::IRQ, other.endpoint, 210).expect("bound");
    // The last that is a source, and that this controller doesn't have.
    interrupt(&mut world, 1019, 201);
    world.core.machine.refused = Some(1019);
    let refused = bind(&mut world, 201, other.endpoint, 211);
    assert_eq!(refused, Err(SysError::InvalidArgument));
    assert!(is_enabled(&world, 40) && !is_enabled(&world, 1019));
    assert_eq!(fill(&mut world, other.endpoint), CAPACITY - 1);
    fire(&mut world, 40);
    for _ in 0..CAPACITY - 1 {
        world.receive(other).expect("a message");
    }
    assert_eq!(world.receive(other).map(|(_, badge, _)| badge), Some(40));
    // It can be bound later, when the controller takes it.
    world.core.machine.refused = None;
    bind(&mut world, 201, other.endpoint, 211).expect("bound");
    assert!(is_enabled(&world, 1019));
}

/// The interrupts of who goes are masked, of whatever of its endpoints; others' stay.
#[test]
fn interrupts_end_with_whom_they_are_for() {
    let mut world = World::new();
    let other = world.dispatcher();
    for (intid, source) in [(41, 201), (42, 202), (43, 203)] {
        interrupt(&mut world, intid, source);
    }
    second_endpoint(&mut world, other, 209);
    bind(&mut world, slot::IRQ, other.endpoint, 210).expect("bound");
    bind(&mut world, 201, 209, 211).expect("bound");
    bind(&mut world, 202, slot::ENDPOINT, 212).expect("bound");
    let enabled = |world: &World| [40, 41, 42].map(|intid| is_enabled(world, intid));
    // One endpoint goes: its alone. Whoever has the place next isn't told of it.
    delete(&mut world, other.endpoint);
    assert_eq!(enabled(&world), [false, true, true]);
    let acknowledged = world.invoke(210, Invocation::AcknowledgeIrq, &[]);
    assert_eq!(acknowledged, Err(SysError::NotRunnable));
    world
        .invoke(211, Invocation::AcknowledgeIrq, &[])
        .expect("bound still");
    // The capability to the binding goes: so does that, and the room for it.
    bind(&mut world, 203, 209, 213).expect("bound");
    assert_eq!(fill(&mut world, 209), CAPACITY - 2);
    delete(&mut world, 213);
    assert!(!is_enabled(&world, 43));
    assert_eq!(enabled(&world), [false, true, true]);
    assert_eq!(fill(&mut world, 209), 1, "the room is there again");
    // The dispatcher goes: from the first step on, however long the rest takes.
    world.core.machine.patience.set(Some(0));
    world.core.machine.pending.push_back(77);
    let which = [cap(other.slot).to_word()];
    let left = world.invoke_once(slot::L1CNODE, Invocation::Delete, &which);
    assert_eq!(left, Left::Restart);
    assert_eq!(enabled(&world), [false, false, true]);
    world.core.machine.patience.set(None);
    delete(&mut world, other.slot);
    assert_eq!(enabled(&world), [false, false, true]);
    world
        .invoke(212, Invocation::AcknowledgeIrq, &[])
        .expect("init's");
}

/// A dispatcher that has ended, or lost its frame, is told of no interrupt: that stays masked.
#[test]
fn an_interrupt_for_who_is_gone_is_kept_masked() {
    for loses_frame in [false, true] {
        let mut world = World::new();
        let other = world.dispatcher();
        bind(&mut world, slot::IRQ, other.endpoint, 210).expect("bound");
        if loses_frame {
            world
                .invoke(
                    slot::L1CNODE,
                    Invocation::Revoke,
                    &[cap(other.slot + 1).to_word()],
                )
                .expect("revoked");
        } else {
            world
                .invoke(other.slot, Invocation::Exit, &[1])
                .expect("it ends");
        }
        let before = world.delivered(other);
        fire(&mut world, 40);
        assert!(!is_enabled(&world, 40));
        assert_eq!(world.delivered(other), before, "frame lost: {loses_frame}");
        let head = world.core.objects.frame_at(other.frame).read32(RING + HEAD);
        assert_eq!(head, 0);
    }
}

/// A receiver may lie about what it has read: the kernel writes over nothing, and keeps the
/// interrupt until there is room.
#[test]
fn an_interrupt_waits_for_a_receiver_that_lies() {
    let mut world = World::new();
    let other = world.dispatcher();
    bind(&mut world, slot::IRQ, other.endpoint, 210).expect("bound");
    let frame = world.core.objects.frame_at(other.frame);
    frame.write32(RING + TAIL, 1);
    let before = world.delivered(other);
    fire(&mut world, 40);
    assert_eq!(
        (world.delivered(other), is_enabled(&world, 40)),
        (before, false)
    );
    assert_eq!(frame.read32(RING + HEAD), 0, "nothing was put there");
    frame.write32(RING + TAIL, 0);
    world
        .invoke(210, Invocation::AcknowledgeIrq, &[])
        .expect("bound");
    assert_eq!(world.receive(other).map(|(_, badge, _)| badge), Some(40));
    assert_eq!(world.delivered(other), before + 1);
    assert!(!is_enabled(&world, 40), "until that is acknowledged");
    world
        .invoke(210, Invocation::AcknowledgeIrq, &[])
        .expect("bound");
    assert!(is_enabled(&world, 40));
}

/// Whoever has ended or lost its frame isn't told that a client has gone.
#[test]
fn the_end_of_a_badges_senders_is_told_to_nobody_who_is_gone() {
    for loses_frame in [false, true] {
        let mut world = World::new();
        let server = world.dispatcher();
        let all = u64::from(Rights::all().bits());
        let [to, from] = [210, server.endpoint].map(|slot| cap(slot).to_word());
        world
            .invoke(
                slot::L1CNODE,
                Invocation::Mint,
                &[to, from, all, COUNTED_BADGE | 7],
            )
            .expect("minted");
        if loses_frame {
            let frame = cap(server.slot + 1).to_word();
            world
                .invoke(slot::L1CNODE, Invocation::Revoke, &[frame])
                .expect("revoked");
        } else {
            world
                .invoke(server.slot, Invocation::Exit, &[1])
                .expect("it ends");
        }
        let before = world.delivered(server);
        delete(&mut world, 210);
        assert_eq!(world.delivered(server), before, "frame lost: {loses_frame}");
        let head = world
            .core
            .objects
            .frame_at(server.frame)
            .read32(RING + HEAD);
        assert_eq!(head, 0);
    }
}

/// A server that waits, and is told that a client has gone, has its turn within a quantum
/// even if nobody else ever enters the kernel.
#[test]
fn who_is_told_of_an_end_has_a_timer() {
    let mut world = World::new();
    let server = world.dispatcher();
    let all = u64::from(Rights::all().bits());
    let [to, from] = [210, server.endpoint].map(|slot| cap(slot).to_word());
    world
        .invoke(
            slot::L1CNODE,
            Invocation::Mint,
            &[to, from, all, COUNTED_BADGE | 7],
        )
        .expect("minted");
    world.run(server);
    world.wait(false, NEVER);
    world.pass(10 * SLICE);
    assert_eq!(world.core.machine.timer, None, "init is alone");
    delete(&mut world, 210);
    let timer = world.core.machine.timer.expect("for the server's turn");
    assert!(timer <= world.core.machine.now + SLICE, "{timer}");
}

/// A domain sees in its frame how much has been delivered to it: all of it, and nothing that
/// isn't there.
#[test]
fn the_count_of_deliveries_is_in_the_frame() {
    let mut world = World::new();
    let other = world.dispatcher();
    let seen = |world: &World| {
        world
            .core
            .objects
            .frame_at(other.frame)
            .read(offset::DELIVERED)
    };
    let before = seen(&world);
    world.send(other.endpoint, SendFlags::empty(), &[1], 0);
    assert_eq!(seen(&world), before + 1);
    bind(&mut world, slot::IRQ, other.endpoint, 210).expect("bound");
    fire(&mut world, 40);
    assert_eq!(seen(&world), before + 2);
    assert_eq!(world.delivered(other), seen(&world));
    let arguments = [5, cap(200).to_word()];
    world
        .invoke(other.slot, Invocation::MakeNotify, &arguments)
        .expect("a Notify");
    world.invoke(200, Invocation::Ring, &[]).expect("a ring");
    assert_eq!(seen(&world), before + 3);
}

/// A word of the page that was given back isn't another's before all others have been.
#[test]
fn doorbells_are_given_in_turn() {
    let mut world = World::new();
    let [keeper, other] = [(); 2].map(|()| world.stopped());
    let [frame, l1, root] =
        [other.slot + 1, slot::L1CNODE, other.slot + 3].map(|at| cap(at).to_word());
    let first = u32::try_from(capelin_wake::page::SUMMARY_WORDS).expect("few");
    let count = u32::try_from(capelin_wake::page::OWNERS).expect("few");
    let notify = [0, cap(200).to_word()];
    let delete = |world: &mut World, at: u8| {
        let deleted = world.invoke(slot::L1CNODE, Invocation::Delete, &[cap(at).to_word()]);
        deleted.expect("nothing is in the way");
    };
    delete(&mut world, other.endpoint);
    let mut word = |of: Dispatcher| {
        let made = world.invoke(of.slot, Invocation::MakeNotify, &notify);
        made.expect("a Notify");
        delete(&mut world, 200);
        let number = world.core.objects.dcb(of.dcb).doorbell;
        if of == other {
            // Its control block, made anew, gets another.
            delete(&mut world, other.slot);
            let made = world.retype(other.slot, ObjectType::Dispatcher, 0x8000, 0x1000, 1);
            made.expect("the same memory");
            let parts = [frame, FRAME_USER, l1, root, 0];
            let configured = world.invoke(other.slot, Invocation::Configure, &parts);
            configured.expect("all of it is there");
        }
        number
    };
    assert_eq!(word(keeper), first);
    for number in first + 1..first + count {
        assert_eq!(word(other), number);
    }
    // All around: the first has an owner still.
    assert_eq!([word(other), word(other)], [first + 1, first + 2]);
}

/// A Notify of another kernel as this one has it after an import.
fn foreign(world: &mut World, data: u64, to: u8) {
    let bell = Capability::plain(ObjectType::Notify, 0x77, Rights::all()).with_data([data, 0]);
    let target = world.index(to);
    let record = CapRecord {
        capability: bell,
        owner: KernelId(9),
        mode: ExportMode::Copy,
        has_ancestors: false,
        is_in_frame: false,
        is_executable: false,
    };
    let core = &mut world.core;
    import(&mut core.slots, &mut core.database.mdb, &record, target).expect("room");
}

/// The words of a page that say which others are set aren't rung by themselves, and those
/// after them are, up to the last.
#[test]
fn only_words_with_owners_are_rung_on_another_kernel() {
    let mut world = World::new();
    let first = capelin_wake::page::SUMMARY_WORDS as u64;
    let last = first + capelin_wake::page::OWNERS as u64 - 1;
    let pages = world
        .core
        .machine
        .map_shared(KernelId(9))
        .expect("it is there");
    for (word, expected) in [
        (0, Err(SysError::InvalidArgument)),
        (first - 1, Err(SysError::InvalidArgument)),
        (first, Ok(())),
        (first + 1, Ok(())),
        (last, Ok(())),
    ] {
        foreign(&mut world, word | 3 << 16, 201);
        let before = pages.doorbell[0].load(Ordering::Relaxed);
        let rung = world.invoke(201, Invocation::Ring, &[]).map(drop);
        assert_eq!(rung, expected, "word {word}");
        let at = usize::try_from(word).expect("a word");
        let is_rung = pages.doorbell[at].load(Ordering::Relaxed) & 1 << 3 != 0;
        assert_eq!(is_rung, expected.is_ok() || at == 0 && before & 1 << 3 != 0);
        delete(&mut world, 201);
    }
}

/// Words of the page aren't given out again before all others have been, and then to one
/// whom old capabilities don't ring but new ones do.
#[test]
fn doorbell_words_are_used_in_turn() {
    let mut world = World::new();
    let words = capelin_wake::page::OWNERS;
    let mut seen = std::collections::BTreeSet::new();
    let mut last = None;
    for round in 0..=words {
        let stopped = world.stopped();
        let arguments = [5, cap(200).to_word()];
        world
            .invoke(stopped.slot, Invocation::MakeNotify, &arguments)
            .expect("a Notify");
        let word = world.core.objects.dcb(stopped.dcb).doorbell;
        assert_eq!(
            seen.insert(word),
            round < words,
            "word {word} in round {round}"
        );
        assert_ne!(last.replace(word), Some(word));
        world.invoke(200, Invocation::Ring, &[]).expect("its own");
        for which in [
            200,
            stopped.endpoint,
            stopped.slot,
            stopped.slot + 1,
            stopped.slot + 3,
        ] {
            delete(&mut world, which);
        }
        world.children.pop();
    }
    assert_eq!(seen.len(), words, "all of them");
}

/// A core without anything to do takes the interrupts that somebody waits for, and no others.
#[test]
fn an_idle_core_sleeps_up_to_the_first_deadline() {
    let mut world = World::new();
    let other = world.dispatcher();
    let ticks = |world: &World| {
        let counters = &world.core.kcb.counters;
        [KernelCounter::TimerInterrupts, KernelCounter::IdleTicks].map(|one| counters[one as usize])
    };
    world.run(other);
    world.wait(false, NEVER);
    // The timer is set for the end of a slice that nobody needs any more.
    world.core.machine.arm_timer(world.core.machine.now + 100);
    world.core.kcb.scheduler.timer_deadline = world.core.machine.now + 100;
    let before = ticks(&world);
    let deadline = world.core.machine.now + 50 * SLICE;
    world.wait(false, deadline);
    assert_eq!(world.core.machine.now, deadline);
    assert_eq!(world.current(), Some(world.init.dcb));
    let slept = 50 * SLICE;
    assert_eq!(ticks(&world), [before[0] + 1, before[1] + slept]);
    // And without a deadline it isn't woken at all.
    world.core.machine.arm_timer(world.core.machine.now + 100);
    world.core.kcb.scheduler.timer_deadline = world.core.machine.now + 100;
    assert_eq!(world.wait(false, NEVER), Left::Asleep);
    assert_eq!(world.core.machine.timer, None);
    assert_eq!(ticks(&world), [before[0] + 1, before[1] + slept]);
}
