//! Faults: each misdeed ends the dispatcher that commits it, alone and with its registers; a
//! dispatcher that takes its faults goes on; and no save area, whatever is written there, gets
//! anyone out of EL0.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use capelin_harness::abi::dispatcher::{Upcall, context, offset};
use capelin_harness::abi::syscall::{DispatcherState, Invocation, KernelCounter};
use capelin_harness::abi::{PAGE_SIZE, SysError};
use capelin_harness::child::{Endpoint, delivered};
use capelin_harness::fault::{self, Pager};
use capelin_harness::world::READ_WRITE;
use capelin_harness::{Child, Outcome, Suite, World, call, check, code, equal, refused};

capelin_harness::program!(tests);

/// Addresses that no program may touch.
const WILD: [u64; 8] = [
    0,
    8,
    0x7f_ffff_f000,
    0x8000_0000_0000,
    0xffff_8000_0000_0000,
    0xffff_ffff_8000_0000,
    0xffff_ffff_ffff_fff8,
    0xdead_beef_dead_bee8,
];

/// The test's name, the routine, and the classes of exception that may end it.
type Misdeed = (&'static str, fn() -> u64, &'static [u64]);

fn tests(suite: &mut Suite) {
    suite.test("faults/wild-reads", |world| all_die(world, code::read()));
    suite.test("faults/wild-writes", |world| all_die(world, code::write()));
    suite.test("faults/wild-jumps", |world| all_die(world, code::jump()));
    suite.test("faults/own-code-is-read-only", |world| {
        dies(world, code::write(), code::write(), &[0x24]).map(drop)
    });
    suite.test("faults/own-data-is-not-executable", |world| {
        let (_, address, _) = world.mapped(PAGE_SIZE)?;
        dies(world, code::jump(), address, &[0x20]).map(drop)
    });
    let misdeeds: [Misdeed; 14] = [
        ("faults/breakpoint", code::breakpoint, &[0x3c]),
        ("faults/undefined-instruction", code::undefined, &[0x00]),
        ("faults/fp-without-the-flag", code::fp, &[0x07]),
        ("faults/stack-overflow", code::overflow, &[0x24]),
        // QEMU doesn't check the alignment of SP, and reads.
        ("faults/misaligned-stack", code::bad_stack, &[0x26, 0x24]),
        ("faults/privileged-instruction", code::privileged, &[0x18]),
        ("faults/hypervisor-call", code::hvc, &[0x00]),
        ("faults/secure-monitor-call", code::smc, &[0x00]),
        // Trapped where the core has it, undefined where it hasn't (docs/055-arch.md).
        ("faults/sve", code::sve, &[0x19, 0x00]),
        ("faults/sme", code::sme, &[0x1d, 0x00]),
        ("faults/event-counter", code::event_counter, &[0x18, 0x00]),
        (
            "faults/activity-monitor",
            code::activity_monitor,
            &[0x18, 0x00],
        ),
        ("faults/context-number", code::context_number, &[0x18, 0x00]),
        (
            "faults/second-thread-register",
            code::second_thread_register,
            &[0x18, 0x00],
        ),
    ];
    for (name, routine, classes) in misdeeds {
        suite.test(name, |world| dies(world, routine(), 0, classes).map(drop));
    }
    suite.test("faults/misaligned-jump", |world| {
        dies(world, code::jump(), code::breakpoint() + 2, &[0x22]).map(drop)
    });
    suite.test("faults/registers-are-kept", registers);
    suite.test("faults/death-is-told", death);
    suite.test("faults/a-faulting-handler-ends", faulting_handler);
    suite.test("faults/self-paging", self_paging);
    suite.test("faults/caught-and-gone-on", caught);
    suite.test("faults/forged-status", forged_status);
    suite.test("faults/garbage-in-save-areas", garbage);
    suite.test("faults/garbage-in-upcall-words", garbage_upcalls);
    suite.test("faults/stop-and-run-again", stop_and_run);
    suite.test("faults/the-kernel-still-works", still_works);
}

/// Runs `routine(argument)` in a child, which must die of an exception of one of these classes. Answers its
/// syndrome and fault address.
fn dies(
    world: &mut World,
    routine: u64,
    argument: u64,
    classes: &[u64],
) -> Result<[u64; 2], capelin_harness::Failure> {
    let child = Child::new(world, routine, argument)?;
    child.run()?;
    let (state, code) = child.finish()?;
    check(state == DispatcherState::Faulted, "it didn't die")?;
    equal(u64::from(code), u64::from(u32::MAX), "the exit code")?;
    let syndrome = call::fault_register(child.dispatcher, 34)?;
    let address = call::fault_register(child.dispatcher, 35)?;
    let class = syndrome >> 26;
    if !classes.contains(&class) {
        equal(class, classes[0], "the class of the exception")?;
    }
    refused(
        call::invoke(child.dispatcher, Invocation::Run, &[]),
        SysError::NotRunnable,
        "running the dead",
    )?;
    call::delete(child.dispatcher)?;
    Ok([syndrome, address])
}

fn all_die(world: &mut World, routine: u64) -> Outcome {
    let class = if routine == code::jump() {
        &[0x20]
    } else {
        &[0x24]
    };
    for address in WILD {
        let [_, reported] = dies(world, routine, address, class)?;
        // Tagged or not, the address says where it was.
        let bits = 0xff_ffff_ffff_fff8;
        equal(reported & bits, address & bits, "the address")?;
    }
    Ok(())
}

fn registers(world: &mut World) -> Outcome {
    let child = Child::new(world, code::read(), 0x123_4560)?;
    child.run()?;
    child.finish()?;
    let register = |index| call::fault_register(child.dispatcher, index);
    equal(register(0)?, 0x123_4560, "x0")?;
    equal(register(10)?, code::read(), "x10, which held the function")?;
    equal(register(19)?, child.frame, "x19, which held the frame")?;
    equal(register(32)?, code::read(), "the program counter")?;
    equal(register(33)? & 0xf, 0, "the mode")?;
    equal(register(35)?, 0x123_4560, "the fault address")?;
    refused(
        call::fault_register(child.dispatcher, 36),
        SysError::OutOfRange,
        "a register past the last",
    )
}

fn death(world: &mut World) -> Outcome {
    let endpoint = Endpoint::own(world, offset::ENDPOINTS, 2)?;
    let badged = world.slot()?;
    call::badge(badged, endpoint.cap, 41)?;
    let child = Child::new(world, code::undefined(), 0)?;
    let bind = |cap| call::invoke(child.dispatcher, Invocation::BindDeath, &[call::word(cap)]);
    bind(badged)?;
    refused(
        bind(badged),
        SysError::AlreadyBound,
        "a second death endpoint",
    )?;
    child.run()?;
    child.finish()?;
    let event = endpoint.take();
    let event = event.ok_or(capelin_harness::Failure::because("nobody told"))?;
    check(event.header.is_event(), "an event")?;
    equal(event.badge, 41, "the badge")?;
    equal(event.words[0], DispatcherState::Faulted as u64, "the state")?;
    check(endpoint.take().is_none(), "told once")?;
    call::delete(badged)?;
    call::delete(endpoint.cap)?;
    Ok(())
}

/// Faults in its handlers: the page fault upcall reads where nothing is.
fn faulting_handler(world: &mut World) -> Outcome {
    for kind in [Upcall::PageFault, Upcall::PageFaultDisabled] {
        let child = Child::new(world, code::read(), 0x123_4560)?;
        child.set(Upcall::PageFault.entry_offset(), code::read());
        child.set(kind.entry_offset(), code::read());
        child.run()?;
        let (state, _) = child.finish()?;
        check(state == DispatcherState::Faulted, "it didn't end")?;
        // x0 of an upcall is the frame's address, which can be read: `ret` then goes to 0.
        equal(child.fault_pc()?, 0, "where the handler came to")?;
    }
    // A handler at no address at all.
    let child = Child::new(world, code::read(), 0x123_4560)?;
    child.set(Upcall::PageFault.entry_offset(), 0x7777_7777_0000);
    child.run()?;
    check(
        child.finish()?.0 == DispatcherState::Faulted,
        "it didn't end",
    )
}

fn self_paging(world: &mut World) -> Outcome {
    let frame = world.frame(PAGE_SIZE, PAGE_SIZE)?;
    let address = world.addresses(PAGE_SIZE, PAGE_SIZE)?;
    let (table, entry) = world.table3(address)?;
    let mapping = world.slot()?;
    let place = entry | 1 << 16 | u64::from(READ_WRITE.bits()) << 32;
    let before = fault::paged();
    fault::set_pager(Some(Pager {
        page: address,
        invocation: [
            capelin_harness::abi::syscall::invoke_word(table.into(), Invocation::Map),
            call::word(frame),
            place,
            0,
            call::word(mapping),
        ],
    }));
    fault::poke(address + 16, 99);
    equal(fault::peek(address + 16), 99, "what was written")?;
    equal(fault::paged() - before, 1, "faults taken")?;
    call::unmap(mapping)?;
    check(fault::read(address).is_err(), "unmapped again")
}

fn caught(_: &mut World) -> Outcome {
    let faults = call::counter(KernelCounter::Faults)?;
    for _ in 0..1000 {
        check(fault::read(0x123_4560).is_err(), "a read of nothing")?;
    }
    let faults = call::counter(KernelCounter::Faults)? - faults;
    equal(faults, 1000, "faults counted")?;
    let fault = fault::jump(code::undefined()).err();
    check(
        fault.is_some_and(|fault| fault.class() == 0),
        "an undefined instruction",
    )
}

/// Turns that a child gets until it does what it is made for. Where the host is busy, a
/// slice may end before the first instruction of who has it.
const TURNS: u32 = 1000;

/// Gives `child` turns until it has lost one while it spun, enabled.
fn until_it_spins(child: &Child) -> Outcome {
    for _ in 0..TURNS {
        call::yield_now();
        let at = child.saved(offset::ENABLED, context::PC);
        if child.saved(offset::DISABLED, 0) == 0 && at & !7 == code::spin() & !7 {
            return Ok(());
        }
    }
    check(false, "it spins")
}

/// A child spins in EL0; each forged status is put into its save area before it goes on.
fn forged_status(world: &mut World) -> Outcome {
    let forgeries = [
        0x3c5,       // EL1h, everything masked
        0x3c4,       // EL1t
        0x3c9,       // EL2h
        0x3c0,       // EL0, everything masked
        0x0010_03d3, // AArch32 supervisor
        0x0010_0010, // AArch32 user
        0x0020_0000, // single step
        0x0010_0000, // illegal execution state
        u64::MAX,
    ];
    for forged in forgeries {
        let child = Child::new(world, code::spin(), 0)?;
        child.run()?;
        until_it_spins(&child)?;
        child.set(offset::ENABLED + context::SPSR * 8, forged);
        let interrupts = call::counter(KernelCounter::TimerInterrupts)?;
        // It spins on: if it had interrupts masked, we would never be back.
        let mut status = forged;
        for _ in 0..TURNS {
            call::yield_now();
            status = child.saved(offset::ENABLED, context::SPSR);
            if status != forged {
                break;
            }
        }
        let interrupts = call::counter(KernelCounter::TimerInterrupts)? - interrupts;
        check(interrupts > 0, "its slice was ended by the timer")?;
        equal(
            status & 0x0fff_ffff & !0xc00_1000,
            0,
            "the status that it runs with",
        )?;
        child.set(offset::ENABLED, 7);
        check(
            child.finish()? == (DispatcherState::Exited, 7),
            "it ended well",
        )?;
    }
    Ok(())
}

/// Wild program counters and stacks in the save areas.
fn garbage(world: &mut World) -> Outcome {
    for value in WILD {
        let child = Child::new(world, code::spin(), 0)?;
        child.run()?;
        until_it_spins(&child)?;
        child.set(offset::ENABLED + context::SP * 8, value);
        child.set(offset::ENABLED + context::TPIDR * 8, value);
        child.set(offset::ENABLED + context::PC * 8, value);
        check(
            child.finish()?.0 == DispatcherState::Faulted,
            "it didn't die",
        )?;
    }
    // Resume from an area that was never filled, and from one that isn't.
    let child = Child::of(world, resume_trap, 1)?;
    child.run()?;
    check(
        child.finish()?.0 == DispatcherState::Faulted,
        "resumed to nowhere",
    )?;
    let child = Child::of(world, resume_trap, 2)?;
    child.run()?;
    let (state, code) = child.finish()?;
    check(state == DispatcherState::Exited, "a refused Resume returns")?;
    equal(
        u64::from(code),
        SysError::InvalidArgument as u64,
        "the error",
    )
}

extern "C" fn resume_trap(area: u64) -> u64 {
    let mut registers = [0; 12];
    registers[0] = area;
    capelin_harness::svc::resume(&mut registers);
    registers[0]
}

/// Wild words in the control part of the frame.
fn garbage_upcalls(world: &mut World) -> Outcome {
    for value in WILD {
        let child = Child::new(world, code::spin(), 0)?;
        child.run()?;
        until_it_spins(&child)?;
        // The critical range may wrap; it decides only which of its own areas is used.
        child.set(offset::CRITICAL_START, value);
        child.set(offset::CRITICAL_LENGTH, u64::MAX);
        call::yield_now();
        child.set(offset::MAGIC, value);
        child.set(offset::DELIVERED, value);
        child.set(offset::UPCALL_STACK, value);
        child.set(offset::CRITICAL_LENGTH, 0);
        child.set(offset::DISABLED, 0);
        child.set(Upcall::Run.entry_offset(), value);
        call::yield_now();
        call::yield_now();
        let (state, _) = child.status()?;
        if state == DispatcherState::Runnable {
            // It went on where it was, disabled.
            child.set(offset::DISABLED_AREA, 1);
            child.set(offset::ENABLED, 1);
            call::invoke(child.dispatcher, Invocation::Stop, &[])?;
        }
    }
    Ok(())
}

fn stop_and_run(world: &mut World) -> Outcome {
    let child = Child::new(world, code::spin(), 0)?;
    child.run()?;
    until_it_spins(&child)?;
    call::invoke(child.dispatcher, Invocation::Stop, &[])?;
    check(child.status()?.0 == DispatcherState::Stopped, "stopped")?;
    child.set(offset::ENABLED, 5);
    call::yield_now();
    check(
        child.status()?.0 == DispatcherState::Stopped,
        "it stays stopped",
    )?;
    child.run()?;
    check(
        child.finish()? == (DispatcherState::Exited, 5),
        "it went on",
    )
}

fn still_works(world: &mut World) -> Outcome {
    let (_, address, mapping) = world.mapped(PAGE_SIZE)?;
    fault::poke(address, 1);
    call::unmap(mapping)?;
    let seen = delivered();
    let result = call::wait(false, seen, call::after(1));
    equal(result[0], SysError::TimedOut as u64, "a wait")
}
