//! Shares of the processor: who can take them, and how long anybody waits.
//!
//! Runs under `-icount`, where an instruction takes a nanosecond.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering};

use capelin_harness::abi::CapAddress;
use capelin_harness::abi::dispatcher::Upcall;
use capelin_harness::abi::layout::slot;
use capelin_harness::abi::syscall::{DispatcherState, Invocation, SendFlags};
use capelin_harness::child::{delivered, own};
use capelin_harness::{Child, Failure, Outcome, Suite, World, call, check, svc};

capelin_harness::program!(tests);

const NEVER: u64 = u64::MAX;
/// Instructions that one entry of the kernel may take.
const ENTRY_NS: u64 = 20_000;
/// Nanoseconds that somebody runs at most before one who has waited longer than his share's worth.
const QUANTUM_NS: u64 = 1_250_000;

// Words that children write and tests read, on one core: relaxed order suffices.
static STOPPED: AtomicU64 = AtomicU64::new(0);
static ROUNDS: AtomicU64 = AtomicU64::new(0);
static LATEST: AtomicU64 = AtomicU64::new(0);
static DEADLINE: AtomicU64 = AtomicU64::new(0);
static WOKEN: AtomicU64 = AtomicU64::new(0);

fn tests(suite: &mut Suite) {
    suite.test("sharing/two-that-call-each-other", rpc_pair);
    suite.test("sharing/two-that-yield-to-each-other", yield_pair);
    suite.test("sharing/short-sleeper", short_sleeper);
    suite.test("sharing/light-one-is-not-late", light);
    suite.test("sharing/message-flood", flood);
    suite.test("sharing/many-dead", many_dead);
    suite.test("sharing/many-deadlines", many_deadlines);
}

fn nanoseconds(ticks: u64) -> u64 {
    ticks * 1_000_000_000 / svc::frequency()
}

fn begin() {
    for word in [&STOPPED, &ROUNDS, &LATEST, &WOKEN] {
        word.store(0, Ordering::Relaxed);
    }
}

/// Sleeps, so that only the children run.
fn sleep(milliseconds: u64) {
    let until = call::after(milliseconds);
    while svc::counter() < until {
        let _ = call::wait(false, delivered(), until);
    }
}

/// Ticks that a child has run.
fn ran(child: &Child) -> Result<u64, Failure> {
    Ok(call::invoke(child.dispatcher, Invocation::Status, &[])?[2])
}

/// Lets the children run for 300 ms: what each has had of that, in thousandths.
fn shares<const N: usize>(children: [&Child; N]) -> Result<[u64; N], Failure> {
    let mut before = [0; N];
    for (ticks, child) in before.iter_mut().zip(children) {
        *ticks = ran(child)?;
    }
    sleep(300);
    let mut shares = [0; N];
    for (number, child) in children.into_iter().enumerate() {
        shares[number] = (ran(child)? - before[number]) * 10_000 / (3 * svc::frequency());
    }
    STOPPED.store(1, Ordering::Relaxed);
    for child in children {
        call::invoke(child.dispatcher, Invocation::Stop, &[])?;
    }
    capelin_harness::report::line(format_args!("  shares in thousandths: {shares:?}"));
    Ok(shares)
}

extern "C" fn compute(_: u64) -> u64 {
    while STOPPED.load(Ordering::Relaxed) == 0 {
        core::hint::spin_loop();
    }
    0
}

/// Calls and answers for ever.
extern "C" fn caller(peer: u64) -> u64 {
    let peer = CapAddress(call::halves(peer)[0]);
    let mut last = call::wait(true, 0, NEVER);
    while STOPPED.load(Ordering::Relaxed) == 0 {
        ROUNDS.fetch_add(1, Ordering::Relaxed);
        last = call::call(peer, &[last[2]], 0, NEVER);
    }
    0
}

/// Two that call each other have one slice between them, and go on as fast as alone.
fn rpc_pair(world: &mut World) -> Outcome {
    begin();
    let mut first = Child::of(world, caller, 0)?;
    let mut second = Child::of(world, caller, 0)?;
    let to_first = first.endpoint(world, 2)?.cap;
    let to_second = second.endpoint(world, 2)?.cap;
    first.set(own::ARGUMENT, u64::from(to_second.0));
    second.set(own::ARGUMENT, u64::from(to_first.0));
    let third = Child::of(world, compute, 0)?;
    first.run()?;
    first.until_blocked()?;
    second.run()?;
    second.until_blocked()?;
    call::send(to_first, None, SendFlags::empty(), &[1])?;
    third.run()?;
    let [first, second, third] = shares([&first, &second, &third])?;
    check(
        third >= 450,
        "a third has as much as two that call each other",
    )?;
    check(first + second >= 400, "and they have the rest")?;
    check(ROUNDS.load(Ordering::Relaxed) > 50_000, "at full speed")
}

/// Yields to another for ever.
extern "C" fn yielder(peer: u64) -> u64 {
    let peer = CapAddress(call::halves(peer)[0]);
    while STOPPED.load(Ordering::Relaxed) == 0 {
        let _ = call::yield_to(peer);
    }
    0
}

fn yield_pair(world: &mut World) -> Outcome {
    begin();
    let first = Child::of(world, yielder, 0)?;
    let second = Child::of(world, yielder, 0)?;
    first.set(own::ARGUMENT, u64::from(second.dispatcher.0));
    second.set(own::ARGUMENT, u64::from(first.dispatcher.0));
    let third = Child::of(world, compute, 0)?;
    for child in [&first, &second, &third] {
        child.run()?;
    }
    let [first, second, third] = shares([&first, &second, &third])?;
    check(third >= 320, "a third has its share")?;
    check(first + second >= 320, "and they have theirs")
}

/// Works for 9 ms, sleeps for 50 µs.
extern "C" fn hog(_: u64) -> u64 {
    while STOPPED.load(Ordering::Relaxed) == 0 {
        let until = svc::counter() + svc::frequency() * 9 / 1000;
        while svc::counter() < until {}
        let _ = call::wait(false, 0, svc::counter() + svc::frequency() / 20_000);
    }
    0
}

fn short_sleeper(world: &mut World) -> Outcome {
    begin();
    let hog = Child::of(world, hog, 0)?;
    let victim = Child::of(world, compute, 0)?;
    hog.run()?;
    victim.run()?;
    let [hog, victim] = shares([&hog, &victim])?;
    check(victim >= 480, "sleeping shortly wins nothing")?;
    check(hog >= 100, "nor does it lose all")
}

/// Sleeps for 5 ms and notes how late it is woken.
extern "C" fn punctual(_: u64) -> u64 {
    while STOPPED.load(Ordering::Relaxed) == 0 {
        let deadline = call::after(5);
        let _ = call::wait(false, 0, deadline);
        LATEST.fetch_max(svc::counter() - deadline, Ordering::Relaxed);
        ROUNDS.fetch_add(1, Ordering::Relaxed);
    }
    0
}

fn light(world: &mut World) -> Outcome {
    let light = Child::of(world, punctual, 0)?;
    let busy = [
        Child::of(world, compute, 0)?,
        Child::of(world, hog, 0)?,
        Child::of(world, compute, 0)?,
    ];
    STOPPED.store(0, Ordering::Relaxed);
    for child in &busy {
        child.run()?;
    }
    // They find their places first.
    sleep(50);
    begin();
    light.run()?;
    let [a, b, c] = &busy;
    shares([&light, a, b, c])?;
    let late = nanoseconds(LATEST.load(Ordering::Relaxed));
    capelin_harness::report::line(format_args!("  at most {late} ns late"));
    check(
        ROUNDS.load(Ordering::Relaxed) > 50,
        "it was woken each time",
    )?;
    check(late < QUANTUM_NS, "who uses little is woken at once")
}

/// Sends to another for ever.
extern "C" fn sender(peer: u64) -> u64 {
    let peer = CapAddress(call::halves(peer)[0]);
    while STOPPED.load(Ordering::Relaxed) == 0 {
        let _ = call::send(peer, None, SendFlags::YIELD, &[1]);
    }
    0
}

/// Takes messages in registers for ever.
extern "C" fn receiver(_: u64) -> u64 {
    while STOPPED.load(Ordering::Relaxed) == 0 {
        let _ = call::wait(true, 0, NEVER);
    }
    0
}

/// One that wakes another again and again, and yields to it, gains no share by that.
fn flood(world: &mut World) -> Outcome {
    begin();
    let mut to = Child::of(world, receiver, 0)?;
    let cap = to.endpoint(world, 2)?.cap;
    let from = Child::of(world, sender, u64::from(cap.0))?;
    let third = Child::of(world, compute, 0)?;
    for child in [&to, &from, &third] {
        child.run()?;
    }
    let [to, from, third] = shares([&to, &from, &third])?;
    check(third >= 320, "a third has its share")?;
    check(to + from >= 320, "and they have theirs")
}

/// Dispatchers that share one frame, and so their registers.
fn crowd(
    world: &mut World,
    shared: &Child,
    limit: usize,
    mut made: impl FnMut(usize, CapAddress),
) -> Outcome {
    for number in 0..limit {
        let dispatcher = world.object(capelin_harness::abi::ObjectType::Dispatcher)?;
        let arguments = [
            call::word(shared.frame_cap),
            shared.frame,
            call::word(slot::L1CNODE),
            call::word(slot::VSPACE_ROOT),
            0,
        ];
        call::invoke(dispatcher, Invocation::Configure, &arguments)?;
        call::invoke(dispatcher, Invocation::Run, &[])?;
        made(number, dispatcher);
    }
    Ok(())
}

const DEAD: usize = 150;

/// All of them end when they are to run: their frame has no entry point. No entry buries them all.
fn many_dead(world: &mut World) -> Outcome {
    let shared = Child::unconfigured(world)?;
    shared.set(Upcall::Run.entry_offset(), 0);
    let mut dead = [CapAddress::NULL; DEAD];
    crowd(world, &shared, DEAD, |number, dispatcher| {
        dead[number] = dispatcher;
    })?;
    let mut longest = 0;
    let limit = call::after(50);
    let mut last = svc::counter();
    while svc::counter() < limit {
        call::yield_now();
        let now = svc::counter();
        longest = longest.max(now - last);
        last = now;
    }
    for dispatcher in dead {
        check(
            call::status(dispatcher)?.0 == DispatcherState::Faulted,
            "all have ended",
        )?;
    }
    let longest = nanoseconds(longest);
    capelin_harness::report::line(format_args!("  at most {longest} ns away"));
    check(longest < ENTRY_NS, "an entry ends a few of them")
}

extern "C" fn sleeper(_: u64) -> u64 {
    let _ = call::wait(false, 0, DEADLINE.load(Ordering::Relaxed));
    let now = svc::counter();
    if WOKEN.fetch_add(1, Ordering::Relaxed) == 0 {
        LATEST.store(now, Ordering::Relaxed);
    }
    loop {
        let _ = call::wait(false, 0, NEVER);
    }
}

const SLEEPERS: usize = 100;

/// Many waits end at once. No entry ends them all, and all end.
fn many_deadlines(world: &mut World) -> Outcome {
    begin();
    DEADLINE.store(call::after(400), Ordering::Relaxed);
    for _ in 0..SLEEPERS {
        Child::of(world, sleeper, 0)?.run()?;
    }
    // Until all wait; and it computes when the time has come.
    while svc::counter() + svc::frequency() / 1000 < DEADLINE.load(Ordering::Relaxed) {
        call::yield_now();
    }
    while WOKEN.load(Ordering::Relaxed) == 0 {
        core::hint::spin_loop();
    }
    let late = LATEST.load(Ordering::Relaxed) - DEADLINE.load(Ordering::Relaxed);
    let late = nanoseconds(late);
    sleep(200);
    let woken = WOKEN.load(Ordering::Relaxed);
    capelin_harness::report::line(format_args!("  {woken} woken, the first after {late} ns"));
    check(late < ENTRY_NS, "an entry ends a few waits")?;
    check(woken == SLEEPERS as u64, "all are woken")
}
