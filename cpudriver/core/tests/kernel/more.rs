//! Words of the doorbell page beside each other, timers of calls, where a fault is kept, and
//! the console's patience.

use capelin_abi::dispatcher::{Upcall, context, offset};
use capelin_abi::syscall::{Invocation, SendFlags, Syscall, send_word};
use capelin_kernel::machine::{FrameWords, Machine, Objects};
use capelin_wake::Ring;

use crate::world::{NEVER, RUN, SLICE, World, cap};

/// What becomes of one word is nothing to another: not its bits, nor its generation.
#[test]
fn doorbell_words_are_apart() {
    let mut world = World::new();
    let all: Vec<_> = (0..20).map(|_| world.stopped()).collect();
    let mut words = Vec::new();
    for (to, one) in (200..).zip(&all) {
        let notify = [3, cap(to).to_word()];
        world
            .invoke(one.slot, Invocation::MakeNotify, &notify)
            .expect("a Notify");
        let word = world.core.objects.dcb(one.dcb).doorbell as usize;
        assert!(!words.contains(&word));
        // It is rung from afar, and nobody looks as yet.
        assert_eq!(
            world.core.machine.doorbells().ring(word, 7),
            Ring::Interrupt
        );
        words.push(word);
    }
    for (to, &word) in (200..).zip(&words) {
        assert!(world.core.machine.doorbells().is_rung(word), "word {word}");
        world.invoke(to, Invocation::Ring, &[]).expect("its own");
    }
}

/// A caller that waits up to a deadline has a timer for it, though nobody else wants to run.
#[test]
fn a_call_with_a_deadline_has_a_timer() {
    let mut world = World::new();
    let server = world.dispatcher();
    world.run(server);
    world.wait(true, NEVER);
    world.pass(10 * SLICE);
    world.pass(10 * SLICE);
    assert_eq!(world.core.machine.timer, None, "init is alone");
    let deadline = world.core.machine.now + 3 * SLICE;
    let mut registers = [0; 12];
    registers[0] = send_word(cap(server.endpoint), SendFlags::empty(), 0);
    registers[10] = world.core.current_delivered();
    registers[11] = deadline;
    world.syscall(Syscall::Call as u64, &registers);
    assert_eq!(world.current(), Some(server.dcb));
    assert_eq!(world.core.machine.timer, Some(deadline));
    world.pass(3 * SLICE);
    world.run(world.init);
    let error = capelin_abi::SysError::TimedOut as u64;
    assert_eq!(world.register(0), error, "nobody has answered");
}

/// Where a dispatcher was when it faulted while disabled is kept for it, and nothing is written
/// anywhere else in its frame.
#[test]
fn a_fault_while_disabled_is_kept_in_the_trap_area() {
    let mut world = World::new();
    let other = world.dispatcher();
    world.run(other);
    let frame = world.core.objects.frame_at(other.frame);
    let kind = Upcall::PageFaultDisabled;
    frame.write(kind.entry_offset(), RUN + 0x90);
    frame.write(offset::DISABLED, 1);
    for register in 0..31 {
        frame.write(
            offset::DISABLED_AREA + register * 8,
            0x1000 + register as u64,
        );
    }
    world.fault(true, 0x1234);
    assert_eq!(world.register(context::PC), RUN + 0x90);
    for register in 0..31 {
        let kept = frame.read(offset::TRAP + register * 8);
        assert_eq!(kept, 0x1000 + register as u64, "x{register}");
    }
    assert_eq!(frame.read(offset::TRAP + context::PC * 8), RUN);
}

/// A console that takes nothing is waited for a twentieth of a second, and not longer; the
/// rest of what is said before an end is said.
#[test]
fn the_console_is_given_its_time() {
    let mut world = World::new();
    let twentieth = world.core.frequency / 20;
    world.core.log_line(format_args!("on time"));
    let start = world.core.machine.now;
    world.core.machine.console.clear();
    world.core.machine.console_room = 0;
    world.core.log_line(format_args!("late"));
    world.core.machine.now = start + twentieth;
    world.interrupt();
    world.core.machine.console_room = 3;
    world.interrupt();
    assert_eq!(world.core.machine.console, b"cpu", "it is only slow");
    // It took something: its time begins again.
    world.core.machine.now += twentieth;
    world.interrupt();
    world.core.machine.console_room = usize::MAX;
    world.interrupt();
    assert_eq!(world.core.machine.console, b"cpu 0: late\n");
    world.core.machine.console.clear();
    world.core.machine.console_room = 0;
    world.core.log_line(format_args!("lost"));
    world.core.machine.now += twentieth + 1;
    world.interrupt();
    world.core.machine.console_room = usize::MAX;
    world.interrupt();
    assert_eq!(world.core.machine.console, b"", "given up");
}

#[test]
fn all_is_said_before_the_end() {
    let mut world = World::new();
    world.core.machine.console.clear();
    world.core.machine.console_room = 0;
    for number in 0..20 {
        world
            .core
            .log_line(format_args!("a line of some length, number {number}"));
    }
    assert_eq!(world.core.machine.console, b"");
    world.core.machine.console_room = usize::MAX;
    world.core.finish_log();
    let said = String::from_utf8_lossy(&world.core.machine.console).into_owned();
    assert_eq!(said.lines().count(), 20);
    assert!(said.ends_with("number 19\n"), "{said}");
}
