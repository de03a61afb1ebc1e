//! Who runs when.

use capelin_abi::SysError;
use capelin_abi::dispatcher::offset;
use capelin_abi::lmp::TAIL;
use capelin_abi::syscall::{Invocation, SendFlags, Syscall};
use capelin_kernel::machine::{FrameWords, Objects};

use crate::world::{Dispatcher, Left, NEVER, RING, SLICE, World, cap, slot};

#[test]
fn dispatchers_run_in_turn() {
    let mut world = World::new();
    let first = world.dispatcher();
    let second = world.dispatcher();
    let mut ran = Vec::new();
    for _ in 0..6 {
        world.give_way();
        ran.push(world.current().expect("somebody runs"));
    }
    let turn = [first.dcb, second.dcb, world.init.dcb];
    assert_eq!(ran, [turn, turn].concat());
}

#[test]
fn yielding_alone_comes_back() {
    let mut world = World::new();
    assert_eq!(world.give_way(), Left::Caller);
    assert_eq!(world.register(0), 0);
}

#[test]
fn a_slice_ends_after_its_time_and_not_before() {
    let mut world = World::new();
    let other = world.dispatcher();
    let turns = [world.init.dcb, other.dcb].into_iter().cycle();
    // Everybody begins with a quantum.
    for (ticks, turn) in [SLICE / 8, SLICE / 8, SLICE, SLICE, SLICE]
        .iter()
        .zip(turns)
    {
        world.pass(ticks - 1);
        assert_eq!(world.current(), Some(turn));
        world.pass(1);
        assert_ne!(world.current(), Some(turn));
    }
}

#[test]
fn who_runs_alone_takes_no_ticks() {
    let mut world = World::new();
    let other = world.stopped();
    assert_eq!(world.core.machine.timer, None);
    world.invoke(other.slot, Invocation::Run, &[]).expect("run");
    assert!(world.core.machine.timer.is_some());
    world.run(other);
    world.wait(false, NEVER);
    assert_eq!(world.current(), Some(world.init.dcb));
    world.pass(SLICE);
    assert_eq!(world.core.machine.timer, None);
}

#[test]
fn a_named_dispatcher_runs_next() {
    let mut world = World::new();
    let [_, _, third] = [(); 3].map(|()| world.dispatcher());
    let name = cap(third.slot).to_word();
    assert_eq!(world.syscall(Syscall::Yield as u64, &[name]), Left::Switch);
    assert_eq!(world.current(), Some(third.dcb));
}

#[test]
fn only_a_queued_dispatcher_can_be_named() {
    let mut world = World::new();
    let stopped = world.stopped();
    for (name, error) in [
        (cap(stopped.slot).to_word(), SysError::NotRunnable),
        (cap(slot::FRAME).to_word(), SysError::WrongType),
        (cap(200).to_word(), SysError::EmptySlot),
        (7 << 32, SysError::NoSuchSlot),
    ] {
        assert_eq!(world.syscall(Syscall::Yield as u64, &[name]), Left::Caller);
        assert_eq!(world.register(0), error as u64);
    }
}

#[test]
fn deadlines_wake_in_their_order() {
    let mut world = World::new();
    let waiters = [300, 100, 200].map(|after| (after, world.dispatcher()));
    let start = world.core.machine.now;
    for (after, waiter) in waiters {
        world.run(waiter);
        world.wait(false, start + after);
    }
    // `init` waits too: the core sleeps up to the first deadline.
    world.run(world.init);
    world.wait(false, NEVER);
    for (after, waiter) in [waiters[1], waiters[2], waiters[0]] {
        assert_eq!(world.core.machine.now, start + after);
        assert_eq!(world.current(), Some(waiter.dcb));
        let left = world.wait(false, NEVER);
        assert_eq!(left == Left::Asleep, after == 300);
    }
}

#[test]
fn a_deadline_that_passes_is_told() {
    let mut world = World::new();
    let other = world.dispatcher();
    world.run(other);
    let deadline = world.core.machine.now + 50;
    world.wait(true, deadline);
    world.pass(50);
    world.run(other);
    assert_eq!(world.register(0), SysError::TimedOut as u64);
}

#[test]
fn a_deadline_in_the_past_does_not_block() {
    let mut world = World::new();
    let now = world.core.machine.now;
    assert_eq!(world.wait(false, now), Left::Caller);
    assert_eq!(world.register(0), SysError::TimedOut as u64);
}

#[test]
fn stopping_who_lent_its_slice_saves_nothing() {
    let mut world = World::new();
    let [client, server] = [(); 2].map(|()| world.dispatcher());
    world.run(server);
    world.wait(false, NEVER);
    let start = world.core.machine.now;
    let mut had = 0;
    while world.core.machine.now < start + 100 * SLICE {
        let before = world.core.machine.now;
        let current = world.current();
        if current == Some(world.init.dcb) {
            world.pass(SLICE / 16);
            had += world.core.machine.now - before;
        } else if current == Some(client.dcb) {
            world.pass(1);
            if world.current() == current {
                world.call(server.endpoint, &[]);
            }
        } else {
            world.receive(server);
            // Its client isn't there when the slice that it lent is used.
            world
                .invoke(client.slot, Invocation::Stop, &[])
                .expect("stopped");
            let left = world.core.kcb.scheduler.slice_end - world.core.machine.now;
            world.pass(left - 1);
            if world.current() == Some(server.dcb) {
                world
                    .invoke(client.slot, Invocation::Run, &[])
                    .expect("runs");
                world.wait(false, NEVER);
            }
        }
    }
    assert!(had >= 30 * SLICE, "{had} ticks");
}

/// `init` and another, which waits for a message in its ring. The timer is off: nobody else
/// wants to run.
fn one_waits() -> (World, Dispatcher) {
    let mut world = World::new();
    let other = world.dispatcher();
    world.run(other);
    world.wait(false, NEVER);
    world.pass(SLICE);
    assert_eq!(world.core.machine.timer, None);
    (world, other)
}

/// Whoever runs asks for nothing more, and has no interrupt but the timer's.
fn has_a_turn(world: &mut World, who: Dispatcher) {
    world.pass(SLICE);
    assert_eq!(world.current(), Some(who.dcb), "the other spins for ever");
}

/// What makes somebody runnable ends the slice of whoever did it, however that came: here by
/// an end that another brought about.
#[test]
fn who_hears_of_an_end_has_a_turn() {
    let (mut world, other) = one_waits();
    let child = world.stopped();
    let bind = [cap(other.endpoint).to_word()];
    world
        .invoke(child.slot, Invocation::BindDeath, &bind)
        .expect("bound");
    world
        .invoke(child.slot, Invocation::Exit, &[])
        .expect("it ends");
    has_a_turn(&mut world, other);
}

/// The same, by an interrupt that had found no room.
#[test]
fn who_hears_of_an_interrupt_by_its_acknowledgement_has_a_turn() {
    let (mut world, other) = one_waits();
    let bind = [cap(other.endpoint).to_word(), cap(200).to_word()];
    world
        .invoke(slot::IRQ, Invocation::BindIrq, &bind)
        .expect("bound");
    let frame = world.core.objects.frame_at(other.frame);
    frame.write32(RING + TAIL, 1000);
    world.core.machine.pending.push_back(40);
    world.interrupt();
    frame.write32(RING + TAIL, 0);
    world.pass(SLICE);
    assert_eq!(world.core.machine.timer, None);
    world
        .invoke(200, Invocation::AcknowledgeIrq, &[])
        .expect("bound");
    has_a_turn(&mut world, other);
}

/// Who gives the rest of its slice away to one that waits for that in registers gets the next
/// one: the receiver can't keep the core.
#[test]
fn who_gives_its_slice_away_has_a_turn() {
    for calls in [false, true] {
        let mut world = World::new();
        let other = world.dispatcher();
        world.run(other);
        world.wait(true, NEVER);
        world.pass(SLICE);
        assert_eq!(world.core.machine.timer, None);
        if calls {
            // Something has come that it hasn't seen, so it doesn't wait.
            world.send(slot::ENDPOINT, SendFlags::empty(), &[], 0);
            let mut registers = [0; 12];
            registers[0] = cap(other.endpoint).to_word();
            registers[11] = NEVER;
            world.syscall(Syscall::Call as u64, &registers);
        } else {
            world.send(other.endpoint, SendFlags::YIELD, &[], 0);
        }
        assert_eq!(world.current(), Some(other.dcb));
        let init = world.init;
        has_a_turn(&mut world, init);
    }
}

/// A slice ends in time also when it is another's, shorter one that was given way to.
#[test]
fn a_slice_that_was_given_way_to_ends_in_time() {
    let mut world = World::new();
    for _ in 0..20 {
        world.pass(SLICE / 8);
    }
    // It is new: it has a quantum, and its turn comes last.
    let other = world.dispatcher();
    world.give_way();
    assert_eq!(world.current(), Some(other.dcb));
    let timer = world.core.machine.timer.expect("the slice ends");
    assert!(timer <= world.core.machine.now + SLICE / 8, "{timer}");
}

/// A receiver that waits up to a deadline has none any more when a call has come, and a
/// caller that waits up to one is woken then, if nobody has answered.
#[test]
fn a_call_ends_the_receivers_deadline_and_keeps_the_callers() {
    for is_disabled in [0, 1] {
        let mut world = World::new();
        let server = world.dispatcher();
        for one in [world.init, server] {
            let frame = world.core.objects.frame_at(one.frame);
            frame.write(offset::DISABLED, is_disabled);
        }
        world.run(server);
        let frame = world.core.objects.frame_at(server.frame);
        frame.write(offset::DISABLED, is_disabled);
        let start = world.core.machine.now;
        world.wait(true, start + 20 * SLICE);
        world.call(server.endpoint, &[1]);
        assert_eq!(world.current(), Some(server.dcb));
        assert!(!world.core.objects.dcb(server.dcb).node.has_deadline());
        // It answers, and the next call has a deadline of its own.
        world.call(slot::ENDPOINT, &[2]);
        assert_eq!(world.current(), Some(world.init.dcb));
        let mut registers = [0; 12];
        registers[0] = capelin_abi::syscall::send_word(cap(server.endpoint), SendFlags::empty(), 0);
        registers[10] = world.core.current_delivered();
        let deadline = world.core.machine.now + 3 * SLICE;
        registers[11] = deadline;
        world.syscall(Syscall::Call as u64, &registers);
        assert_eq!(world.current(), Some(server.dcb));
        let timer = world.core.machine.timer.expect("for the deadline");
        assert!(timer <= deadline, "{timer} for {deadline}");
    }
}
