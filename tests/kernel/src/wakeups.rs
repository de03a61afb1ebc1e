//! Notify from another core: no wake-up is lost, whenever it comes.
//!
//! The first core does by hand what a runtime's idle loop does, and has the second core ring it at
//! a chosen step. Between the steps it gives way, so that it is entered again.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering};

use capelin_harness::abi::dispatcher::offset;
use capelin_harness::abi::layout::{DISPATCHER_FRAME, slot};
use capelin_harness::abi::syscall::Invocation;
use capelin_harness::child::delivered;
use capelin_harness::fault::{peek, poke};
use capelin_harness::world::READ_WRITE;
use capelin_harness::{Child, Failure, Outcome, Suite, World, call, check, equal, second, svc};

capelin_harness::program!(tests);

/// Offsets in the shared page: rings asked for, rings done, the ticket of the Notify.
const ASKED: u64 = 0;
const DONE: u64 = 8;
const TICKET: u64 = 64;
/// The Notify's bit.
const BIT: u64 = 5;
/// Steps of the loop before which it may be rung.
const STEPS: u64 = 5;

static STOPPED: AtomicU64 = AtomicU64::new(0);

fn tests(suite: &mut Suite) {
    if matches!(second::is_second(), Ok(true)) {
        ring_for_ever(suite.world());
    }
    let Some(page) = suite.prepare("wakeups/start", prepare) else {
        return;
    };
    suite.test("wakeups/rung-before-the-loop", |world| rung(world, page, 0));
    suite.test("wakeups/rung-before-the-look", |world| rung(world, page, 1));
    suite.test("wakeups/rung-after-the-look", |world| rung(world, page, 2));
    suite.test("wakeups/rung-before-the-wait", |world| rung(world, page, 3));
    suite.test("wakeups/rung-while-it-waits", |world| rung(world, page, 4));
}

/// The second core: rings as often as it is asked to.
fn ring_for_ever(world: &mut World) -> ! {
    let ready = |world: &mut World| -> Result<_, Failure> {
        let (page, _) = world.map(slot::PARENT_RING, 4096, READ_WRITE)?;
        Ok((page, world.slot()?))
    };
    let prepared = ready(world);
    let mut rung = 0;
    loop {
        core::hint::spin_loop();
        let Ok((page, bell)) = prepared else { continue };
        let asked = peek(page + ASKED);
        if asked == rung {
            continue;
        }
        if rung == 0 {
            let import = [peek(page + TICKET), call::word(bell)];
            let _ = call::invoke(call::KERNEL, Invocation::Import, &import);
        }
        if asked == u64::from(u32::MAX) + STEPS {
            // Once the first core is sure to wait.
            let until = call::after(50);
            while svc::counter() < until {
                core::hint::spin_loop();
            }
        }
        let _ = call::invoke(bell, Invocation::Ring, &[]);
        rung = asked;
        poke(page + DONE, rung);
    }
}

fn prepare(world: &mut World) -> Result<u64, Failure> {
    let page = second::start(world)?;
    let bell = world.slot()?;
    call::invoke(call::SELF, Invocation::MakeNotify, &[BIT, call::word(bell)])?;
    poke(page + TICKET, second::export_copy(bell)?);
    Ok(page)
}

/// Takes the Notify bits, as a runtime does.
fn look() -> u64 {
    let at = DISPATCHER_FRAME.0 + offset::NOTIFIED as u64;
    let bits = peek(at);
    poke(at, 0);
    bits
}

extern "C" fn compute(_: u64) -> u64 {
    while STOPPED.load(Ordering::Relaxed) == 0 {
        call::yield_now();
    }
    0
}

/// One round of the loop, rung before step `when`.
fn rung(world: &mut World, page: u64, when: u64) -> Outcome {
    STOPPED.store(0, Ordering::Relaxed);
    let other = Child::of(world, compute, 0)?;
    let number = u64::from(u32::MAX) + when + 1;
    let before = |step: u64| {
        if step != when {
            return;
        }
        poke(page + ASKED, number);
        if step + 1 == STEPS {
            return;
        }
        let limit = call::after(5000);
        while peek(page + DONE) != number && svc::counter() < limit {
            core::hint::spin_loop();
        }
        // The interrupt has been taken then.
        let until = call::after(20);
        while svc::counter() < until {
            core::hint::spin_loop();
        }
    };
    before(0);
    let seen = delivered();
    before(1);
    let mut bits = look();
    before(2);
    // From here on it is entered again and again; until here it ran alone, so that bits that
    // have interrupted it are still in the page.
    other.run()?;
    call::yield_now();
    before(3);
    call::yield_now();
    before(4);
    let mut result = 0;
    if bits == 0 {
        [result, ..] = call::wait(false, seen, call::after(3000));
        bits = look();
    }
    STOPPED.store(1, Ordering::Relaxed);
    other.finish()?;
    equal(result, 0, "the wait is ended by the ring")?;
    check(bits == 1 << BIT, "and the bit is there")
}
