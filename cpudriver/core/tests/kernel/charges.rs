//! Who pays for the time that interrupts take: those whom they are for.

use capelin_abi::syscall::Invocation;
use capelin_kernel::doorbell::SGI;
use capelin_kernel::machine::{Machine, Objects};
use capelin_wake::Ring;

use crate::world::{Dispatcher, NEVER, SLICE, World, cap, slot};

const QUANTUM: u64 = SLICE / 8;
/// Ticks that each interrupt takes.
const TICKS: u64 = 100;

/// `init`, which runs, and two that are in the queue; all have a doorbell word.
fn three() -> (World, [Dispatcher; 2]) {
    let mut world = World::new();
    let others = [(); 2].map(|()| world.dispatcher());
    for (one, to) in [world.init, others[0], others[1]].into_iter().zip(200..) {
        world
            .invoke(one.slot, Invocation::MakeNotify, &[0, cap(to).to_word()])
            .expect("a Notify");
    }
    world.core.machine.interrupt_ticks = TICKS;
    (world, others)
}

/// Another core rings bit `bit` of `of`, and this one is interrupted.
fn rung(world: &mut World, of: Dispatcher, bit: u32) {
    let word = world.core.objects.dcb(of.dcb).doorbell as usize;
    let ring = world.core.machine.doorbells().ring(word, bit);
    assert_eq!(ring, Ring::Interrupt);
    world.core.machine.pending.push_back(u32::from(SGI));
    world.interrupt();
}

/// Ticks that a dispatcher has run, up to when it last lost the core.
fn ran(world: &World, of: Dispatcher) -> u64 {
    world.core.objects.dcb(of.dcb).run_ticks
}

/// The ticks that are left of the slice that runs.
fn rest(world: &World) -> u64 {
    world.core.kcb.scheduler.slice_end - world.core.machine.now
}

/// Whoever runs has all of its slice, however many interrupts come for one that waits for its
/// turn: those are taken off what that one may run, and off nobody else's.
#[test]
fn a_flood_is_paid_for_by_whom_it_is_for() {
    let (mut world, [flooded, third]) = three();
    let (start, left) = (ran(&world, world.init), rest(&world));
    for bit in 0..8 {
        rung(&mut world, flooded, bit);
        assert_eq!(world.current(), Some(world.init.dcb));
        assert_eq!(rest(&world), left, "none of its time");
    }
    world.pass(left - 1);
    assert_eq!(world.current(), Some(world.init.dcb), "up to the last tick");
    world.core.machine.interrupt_ticks = 0;
    world.pass(1);
    assert_eq!(ran(&world, world.init) - start, QUANTUM, "and no more");
    assert_eq!(world.current(), Some(flooded.dcb));
    assert_eq!(rest(&world), QUANTUM - 8 * TICKS);
    world.pass(rest(&world));
    assert_eq!(world.current(), Some(third.dcb));
    assert_eq!(rest(&world), QUANTUM);
}

/// Nobody's slice becomes longer by interrupts that are for itself: who has itself rung all the
/// time would never lose the core.
#[test]
fn who_is_rung_while_it_runs_pays() {
    let (mut world, _) = three();
    let init = world.init;
    let left = rest(&world);
    for bit in 0..4 {
        rung(&mut world, init, bit);
        assert_eq!(rest(&world), left - TICKS * u64::from(bit + 1));
    }
    for bit in 4..64 {
        rung(&mut world, init, bit);
        if world.current() != Some(world.init.dcb) {
            assert_eq!(u64::from(bit + 1), QUANTUM.div_ceil(TICKS));
            return;
        }
    }
    panic!("it keeps the core");
}

/// The same for interrupts of devices, and with both in one entry.
#[test]
fn a_driver_pays_for_its_device() {
    for is_own in [true, false] {
        let (mut world, [other, _]) = three();
        let endpoint = if is_own {
            slot::ENDPOINT
        } else {
            other.endpoint
        };
        let bind = [cap(endpoint).to_word(), cap(210).to_word()];
        world
            .invoke(slot::IRQ, Invocation::BindIrq, &bind)
            .expect("bound");
        let left = rest(&world);
        world.core.machine.pending.push_back(40);
        let word = world.core.objects.dcb(other.dcb).doorbell as usize;
        let _ = world.core.machine.doorbells().ring(word, 3);
        world.core.machine.pending.push_back(u32::from(SGI));
        world.interrupt();
        let own = if is_own { TICKS } else { 0 };
        assert_eq!(rest(&world), left - own);
        world.core.machine.interrupt_ticks = 0;
        world.pass(rest(&world));
        assert_eq!(world.current(), Some(other.dcb));
        assert_eq!(rest(&world), QUANTUM - (2 * TICKS - own));
    }
}

/// What is nobody's is off nobody's slice.
#[test]
fn nobody_pays_for_an_interrupt_without_an_owner() {
    let (mut world, [next, _]) = three();
    let left = rest(&world);
    world.core.machine.pending.push_back(77);
    world.interrupt();
    assert_eq!(rest(&world), left);
    world.core.machine.interrupt_ticks = 0;
    world.pass(left);
    assert_eq!(world.current(), Some(next.dcb));
    assert_eq!(rest(&world), QUANTUM);
}

/// Whoever an interrupt wakes pays for it once, whether it runs at once or not, and whatever
/// it waited for.
#[test]
fn who_is_woken_pays_once() {
    for by_deadline in [true, false] {
        let (mut world, [sleeper, other]) = three();
        world.run(sleeper);
        let deadline = world.core.machine.now + 600;
        world.wait(false, if by_deadline { deadline } else { NEVER });
        world.run(world.init);
        let before = ran(&world, world.init);
        let since = world.core.kcb.scheduler.run_since;
        let passed = deadline - world.core.machine.now;
        if by_deadline {
            world.pass(passed);
        } else {
            world.core.machine.now += passed;
            rung(&mut world, sleeper, 0);
        }
        // It has had less than the others: its turn comes at once.
        assert_eq!(world.current(), Some(sleeper.dcb));
        assert_eq!(ran(&world, world.init) - before, deadline - since);
        assert_eq!(world.core.machine.now, deadline + TICKS);
        assert_eq!(rest(&world), QUANTUM - TICKS);
        assert_ne!(world.current(), Some(other.dcb));
    }
}

/// An idle core's interrupts are paid for in the same way.
#[test]
fn who_is_woken_on_an_idle_core_pays_once() {
    let (mut world, [first, second]) = three();
    let deadline = world.core.machine.now + 8 * SLICE;
    for one in [first, second] {
        world.run(one);
        world.wait(false, if one == first { deadline } else { NEVER });
    }
    world.run(world.init);
    world.wait(false, NEVER);
    assert_eq!(world.current(), Some(first.dcb));
    assert_eq!(world.core.machine.now, deadline + TICKS);
    assert_eq!(rest(&world), QUANTUM - TICKS);
}

/// One whose wait ends, but whose turn hasn't come, pays for that as well.
#[test]
fn who_is_woken_and_does_not_run_yet_pays() {
    let (mut world, [sleeper, other]) = three();
    world.run(other);
    world.wait(false, NEVER);
    world.run(sleeper);
    // It has had more than `init` when it wakes.
    world.core.machine.interrupt_ticks = 0;
    let deadline = world.core.machine.now + 3 * SLICE + 300;
    world.core.machine.now += 3 * SLICE;
    world.wait(false, deadline);
    assert_eq!(world.current(), Some(world.init.dcb));
    world.core.machine.interrupt_ticks = TICKS;
    world.core.machine.now = deadline - 1;
    let left = rest(&world);
    world.pass(1);
    assert_eq!(world.current(), Some(world.init.dcb));
    assert_eq!(rest(&world), left - 1);
    world.core.machine.interrupt_ticks = 0;
    while world.current() != Some(sleeper.dcb) {
        world.pass(rest(&world));
    }
    assert_eq!(rest(&world), QUANTUM - TICKS);
}
