//! Local messages, waiting and waking.
//!
//! Long, since one program is booted for all of them; each test makes what it needs.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering};

use capelin_harness::abi::dispatcher::offset;
use capelin_harness::abi::layout::{DISPATCHER_FRAME, slot};
use capelin_harness::abi::lmp::{COUNTED_BADGE, MISSED, MessageHeader, ring_bytes};
use capelin_harness::abi::syscall::{
    DIRECT_MESSAGE, DispatcherState, Invocation, SendFlags, send_word,
};
use capelin_harness::abi::{CapAddress, CapRef, ObjectType, PAGE_SIZE, Rights, SysError};
use capelin_harness::child::{Endpoint, delivered};
use capelin_harness::fault::{peek, peek32, poke};
use capelin_harness::{
    Child, Failure, Outcome, Suite, World, call, check, code, equal, refused, svc,
};

capelin_harness::program!(tests);

const NONE: SendFlags = SendFlags::empty();
const NEVER: u64 = u64::MAX;
const TIMED_OUT: u64 = SysError::TimedOut as u64;
/// Capacity of the ring that most tests use.
const CAPACITY: u32 = 4;
/// First word of a message that ends a server.
const STOP: u64 = u64::MAX;

// Words that children write and tests read, on one core: relaxed order suffices.
static SHARED: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

fn shared(index: usize) -> u64 {
    SHARED[index].load(Ordering::Relaxed)
}

fn share(index: usize, value: u64) {
    SHARED[index].store(value, Ordering::Relaxed);
}

fn tests(suite: &mut Suite) {
    let own = suite.prepare("messages/endpoint", |world| {
        Endpoint::own(world, offset::ENDPOINTS, CAPACITY as usize)
    });
    let Some(own) = own else { return };
    suite.test("messages/registers-kept", |_| registers_kept());
    suite.test("messages/order", |_| order(own));
    suite.test("messages/full-ring", |_| full(own));
    suite.test("messages/length", |_| length(own));
    suite.test("messages/badges-and-rights", |world| badges(world, own));
    suite.test("messages/last-sender", |world| last_sender(world, own));
    suite.test("messages/capability", |world| capability(world, own));
    suite.test("messages/capability-all-or-nothing", |world| {
        nothing(world, own)
    });
    suite.test("messages/lying-receiver", |_| lies(own));
    suite.test("messages/wrong-endpoints", |world| wrong(world, own));
    suite.test("messages/endpoint-limits", limits);
    suite.test("messages/request-and-reply", |world| rpc(world, own));
    suite.test("messages/short-way", |world| short_way(world, own));
    suite.test("messages/ring-when-it-does-not-wait", |world| {
        busy_receiver(world, own)
    });
    suite.test("messages/yielding-send", |world| yielding(world, own));
    suite.test("messages/wait-times-out", |_| time_out());
    suite.test("messages/wait-sees-what-came", |_| seen(own));
    suite.test("messages/deadlines-in-order", deadlines);
    suite.test("messages/yield", yields);
    suite.test("messages/notify", notify);
    suite.test("messages/notify-wakes", |world| notify_wakes(world, own));
    suite.test("messages/death-has-reserved-room", |world| {
        death(world, own)
    });
    suite.test("messages/promises-are-counted", promises);
    suite.test("messages/dead-receiver", dead);
    suite.test("messages/preemption", preemption);
}

fn registers_kept() -> Outcome {
    for routine in [code::kept(), code::kept_by_yield()] {
        let changed = capelin_harness::fault::jump(routine);
        equal(
            changed.unwrap_or(99),
            0,
            "registers changed by a system call",
        )?;
    }
    Ok(())
}

fn order(own: Endpoint) -> Outcome {
    for round in 0..50 {
        for n in 0..3 {
            call::send(own.cap, None, NONE, &[round, n, 7])?;
        }
        for n in 0..3 {
            let message = own.take().ok_or(Failure::because("a message is missing"))?;
            check(message.words[..4] == [round, n, 7, 0], "its words")?;
            equal(message.header.length() as u64, 3, "its length")?;
            equal(
                u64::from(message.header.endpoint()),
                own.index,
                "its endpoint",
            )?;
            check(!message.header.is_event(), "no event")?;
        }
        check(own.take().is_none(), "no more")?;
    }
    Ok(())
}

fn full(own: Endpoint) -> Outcome {
    for round in 0..20 {
        let before = delivered();
        for n in 0..own.capacity {
            call::send(own.cap, None, NONE, &[round * 10 + n])?;
        }
        refused(
            call::send(own.cap, None, NONE, &[0]),
            SysError::EndpointFull,
            "one more",
        )?;
        equal(delivered() - before, own.capacity, "deliveries counted")?;
        for n in 0..own.capacity {
            let message = own.take().ok_or(Failure::because("a message is missing"))?;
            equal(message.words[0], round * 10 + n, "nothing was overwritten")?;
        }
    }
    Ok(())
}

fn length(own: Endpoint) -> Outcome {
    for length in 0..=8_u64 {
        let mut words = [0; 8];
        for (index, word) in words.iter_mut().enumerate() {
            *word = if (index as u64) < length { 5 } else { 0 };
        }
        let mut registers = [0; 12];
        registers[0] = call::word(own.cap) | length << 56;
        registers[2..10].copy_from_slice(&[5; 8]);
        svc::send(&mut registers);
        equal(registers[0], 0, "a send")?;
        let message = own.take().ok_or(Failure::because("a message is missing"))?;
        equal(message.header.length() as u64, length, "the length")?;
        check(message.words == words, "words past the length are 0")?;
    }
    for length in [9, 16, 255] {
        let mut registers = [0; 12];
        registers[0] = call::word(own.cap) | length << 56;
        svc::send(&mut registers);
        equal(
            registers[0],
            SysError::InvalidArgument as u64,
            "too long a message",
        )?;
    }
    let mut registers = [0; 12];
    registers[0] = call::word(own.cap) | 0x80 << 48;
    svc::send(&mut registers);
    equal(
        registers[0],
        SysError::InvalidArgument as u64,
        "a flag that isn't",
    )?;
    check(own.take().is_none(), "nothing came of it")
}

fn badges(world: &mut World, own: Endpoint) -> Outcome {
    let slots = world.slots(4)?;
    let at = |n| CapAddress(slots.0 + n);
    call::badge(at(0), own.cap, 11)?;
    call::badge(at(1), own.cap, COUNTED_BADGE - 1)?;
    for (cap, badge) in [(at(0), 11), (at(1), COUNTED_BADGE - 1), (own.cap, 0)] {
        call::send(cap, None, NONE, &[1])?;
        let message = own.take().ok_or(Failure::because("a message is missing"))?;
        equal(message.badge, badge, "the badge")?;
    }
    check(
        call::badge(at(2), at(0), 12).is_err(),
        "a badge is given once",
    )?;
    call::copy_with(at(3), at(0), Rights::READ | Rights::GRANT)?;
    refused(
        call::send(at(3), None, NONE, &[1]),
        SysError::MissingRight,
        "without WRITE",
    )?;
    for n in [0, 1, 3] {
        call::delete(at(n))?;
    }
    call::send(own.cap, None, NONE, &[2])?;
    check(own.take().is_some(), "the endpoint outlives its copies")
}

/// Who receives is told when the last capability with a counted badge goes, and not before.
fn last_sender(world: &mut World, own: Endpoint) -> Outcome {
    let slots = world.slots(2)?;
    let at = |n| CapAddress(slots.0 + n);
    call::badge(at(0), own.cap, u64::MAX)?;
    call::copy(at(1), at(0))?;
    call::send(at(0), None, NONE, &[1])?;
    call::delete(at(0))?;
    let message = own.take().ok_or(Failure::because("a message is missing"))?;
    check(!message.header.is_event(), "the message comes first")?;
    check(own.take().is_none(), "there is another")?;
    call::delete(at(1))?;
    let event = own.take().ok_or(Failure::because("no event"))?;
    check(event.header.is_event(), "an event")?;
    equal(event.badge, u64::MAX, "whose")?;
    check(own.take().is_none(), "it is told once")
}

fn capability(world: &mut World, own: Endpoint) -> Outcome {
    let frame = world.frame(PAGE_SIZE, PAGE_SIZE)?;
    let posted = world.slot()?;
    own.post(Some(posted));
    call::send(own.cap, Some(frame), NONE, &[1])?;
    let message = own.take().ok_or(Failure::because("no message"))?;
    check(message.header.has_capability(), "it has a capability")?;
    equal(own.posted(), 0, "the posted slot is used up")?;
    check(call::identify(posted)? == call::identify(frame)?, "a copy")?;
    check(
        !call::rights(posted)?.contains(Rights::REVOKE),
        "without REVOKE",
    )?;
    call::delete(posted)?;
    own.post(Some(posted));
    call::send(own.cap, Some(frame), SendFlags::KEEP_REVOKE, &[1])?;
    check(
        call::rights(posted)?.contains(Rights::REVOKE),
        "REVOKE kept",
    )?;
    call::delete(posted)?;
    own.post(Some(posted));
    let what = call::identify(frame)?;
    let keeping = SendFlags::MOVE | SendFlags::KEEP_REVOKE;
    call::send(own.cap, Some(frame), keeping, &[1])?;
    check(call::is_empty(frame), "moved away")?;
    check(call::identify(posted)? == what, "moved here")?;
    check(
        call::rights(posted)?.contains(Rights::REVOKE),
        "REVOKE kept in a move",
    )?;
    let _ = (own.take(), own.take());
    own.post(Some(frame));
    call::send(own.cap, Some(posted), SendFlags::MOVE, &[1])?;
    check(call::is_empty(posted), "moved back")?;
    check(
        !call::rights(frame)?.contains(Rights::REVOKE),
        "a move drops REVOKE, unless asked",
    )?;
    let _ = own.take();
    call::delete(frame)?;
    Ok(())
}

/// Whatever is wrong, neither ring nor slots change.
fn nothing(world: &mut World, own: Endpoint) -> Outcome {
    let frame = world.frame(PAGE_SIZE, PAGE_SIZE)?;
    let slots = world.slots(3)?;
    let (posted, empty, weak) = (slots, CapAddress(slots.0 + 1), CapAddress(slots.0 + 2));
    call::copy_with(weak, frame, Rights::READ)?;
    let before = (own.indices(), delivered());
    let send = |cap, flags| call::send(own.cap, Some(cap), flags, &[1]);
    own.post(None);
    refused(send(frame, NONE), SysError::NoReceiveSlot, "no slot posted")?;
    own.post(Some(frame));
    refused(
        send(frame, NONE),
        SysError::NoReceiveSlot,
        "a slot in use posted",
    )?;
    own.post(Some(CapAddress::new(0xff_ffff, 9)));
    refused(
        send(frame, NONE),
        SysError::NoReceiveSlot,
        "no such slot posted",
    )?;
    poke(own.ring + 8, u64::MAX);
    check(send(frame, NONE).is_err(), "nonsense posted")?;
    own.post(Some(posted));
    refused(send(empty, NONE), SysError::EmptySlot, "sending nothing")?;
    refused(send(weak, NONE), SysError::MissingRight, "without GRANT")?;
    check(
        send(CapAddress::new(0xff_ffff, 0), NONE).is_err(),
        "sending from nowhere",
    )?;
    check(
        (own.indices(), delivered()) == before,
        "the ring is as it was",
    )?;
    check(call::is_empty(posted), "the posted slot too")?;
    check(!call::is_empty(frame), "and the sender's")?;
    // A full ring doesn't take the capability.
    for _ in 0..own.capacity {
        call::send(own.cap, None, NONE, &[])?;
    }
    refused(
        send(frame, SendFlags::MOVE),
        SysError::EndpointFull,
        "a full ring",
    )?;
    check(call::is_empty(posted) && !call::is_empty(frame), "it stays")?;
    while own.take().is_some() {}
    own.post(None);
    call::delete(weak)?;
    call::delete(frame)?;
    Ok(())
}

fn lies(own: Endpoint) -> Outcome {
    let (head, tail) = own.indices();
    for lie in [
        tail.wrapping_add(1),
        tail.wrapping_add(1000),
        tail.wrapping_sub(100),
        !tail,
    ] {
        own.set_tail(lie);
        let sent = call::send(own.cap, None, NONE, &[1]);
        refused(sent, SysError::EndpointFull, "a tail that makes no sense")?;
    }
    own.set_tail(tail);
    // The kernel's head is its own.
    poke(own.ring, u64::from(tail) << 32 | 0xdead_beef);
    call::send(own.cap, None, NONE, &[6])?;
    equal(
        u64::from(own.indices().0),
        u64::from(head.wrapping_add(1)),
        "the head",
    )?;
    let message = own.take().ok_or(Failure::because("no message"))?;
    equal(message.words[0], 6, "the message")
}

fn wrong(world: &mut World, own: Endpoint) -> Outcome {
    let empty = world.slot()?;
    let send = |cap| call::send(cap, None, NONE, &[1]);
    refused(send(empty), SysError::EmptySlot, "to an empty slot")?;
    refused(
        send(slot::DISPATCHER),
        SysError::WrongType,
        "to a dispatcher",
    )?;
    refused(
        send(CapAddress::new(9999, 1)),
        SysError::NoSuchSlot,
        "to no slot",
    )?;
    // An endpoint that is gone.
    let gone = Endpoint::own(world, offset::ENDPOINTS + 1024, 1)?;
    let copy = world.slot()?;
    call::copy(copy, gone.cap)?;
    call::delete(gone.cap)?;
    call::send(copy, None, NONE, &[1])?;
    call::delete(copy)?;
    refused(send(copy), SysError::EmptySlot, "to a deleted endpoint")?;
    refused(send(gone.cap), SysError::EmptySlot, "to a deleted endpoint")?;
    check(own.take().is_none(), "nothing came here")?;
    // A call that fails doesn't wait.
    let result = call::call(empty, &[1], delivered(), NEVER);
    equal(result[0], SysError::EmptySlot as u64, "a call to nobody")
}

fn limits(world: &mut World) -> Outcome {
    let make = |ring: u64, capacity: u64, slot: CapAddress| {
        let arguments = [ring, capacity, call::word(slot)];
        call::invoke(call::SELF, Invocation::MakeEndpoint, &arguments)
    };
    let target = world.slot()?;
    refused(
        make(0x1000, 0, target),
        SysError::InvalidArgument,
        "no capacity",
    )?;
    refused(
        make(0x1000, 129, target),
        SysError::InvalidArgument,
        "too much",
    )?;
    refused(
        make(0x1000, u64::MAX, target),
        SysError::InvalidArgument,
        "far too much",
    )?;
    refused(make(0x1008, 1, target), SysError::Unaligned, "an odd ring")?;
    refused(
        make(0x100, 1, target),
        SysError::OutOfRange,
        "in a save area",
    )?;
    refused(
        make(0x4000, 1, target),
        SysError::OutOfRange,
        "behind the frame",
    )?;
    refused(
        make(0x3fc0, 1, target),
        SysError::OutOfRange,
        "over its end",
    )?;
    refused(
        make(u64::MAX - 63, 1, target),
        SysError::OutOfRange,
        "that wraps",
    )?;
    refused(
        make(0x1000, 1, slot::HOME),
        SysError::SlotInUse,
        "a slot in use",
    )?;
    check(call::is_empty(target), "nothing was made")?;
    // 64 endpoints, of which one is the others' tests'.
    let slots = world.slots(64)?;
    for n in 0..63 {
        make(0x1000, 1, CapAddress(slots.0 + n))?;
    }
    let last = CapAddress(slots.0 + 63);
    refused(make(0x1000, 1, last), SysError::NoResources, "the 65th")?;
    call::delete(CapAddress(slots.0 + 30))?;
    make(0x1000, 1, last)?;
    for n in (0..64).filter(|&n| n != 30) {
        call::delete(CapAddress(slots.0 + n))?;
    }
    Ok(())
}

/// Answers each request, of which the first word is a number, with the next number and the badge.
extern "C" fn server(reply: u64) -> u64 {
    let reply = CapAddress(call::halves(reply)[0]);
    let mut registers = call::wait(true, 0, NEVER);
    loop {
        if registers[0] != DIRECT_MESSAGE {
            return 1000 + registers[0];
        }
        if registers[2] == STOP {
            return registers[3];
        }
        registers = call::call(reply, &[registers[2] + 1, registers[1]], 0, NEVER);
    }
}

fn rpc(world: &mut World, own: Endpoint) -> Outcome {
    let mut child = Child::of(world, server, u64::from(own.cap.0))?;
    let request = child.endpoint(world, 2)?;
    let badged = world.slot()?;
    call::badge(badged, request.cap, 77)?;
    child.run()?;
    child.until_blocked()?;
    for n in 0..100 {
        let result = call::call(badged, &[n], delivered(), call::after(1000));
        equal(result[0], DIRECT_MESSAGE, "an answer in registers")?;
        check(result[2..4] == [n + 1, 77], "the answer")?;
    }
    check(
        own.take().is_none() && request.take().is_none(),
        "no ring was used",
    )?;
    call::send(request.cap, None, NONE, &[STOP, 5])?;
    check(child.finish()? == (DispatcherState::Exited, 5), "it ended")
}

/// Answers each message with the eight words that came, and shares badge and header.
extern "C" fn echo(reply: u64) -> u64 {
    let reply = CapAddress(call::halves(reply)[0]);
    let mut registers = call::wait(true, 0, NEVER);
    loop {
        if registers[0] != DIRECT_MESSAGE {
            return 1000 + registers[0];
        }
        if registers[2] == STOP {
            return registers[3];
        }
        share(1, registers[1]);
        share(2, registers[10]);
        registers = call::call(reply, &registers[2..10], 0, NEVER);
    }
}

/// Without deadlines, a call switches straight to the receiver; with one it goes the
/// long way. What both sides see is the same, whatever is in the registers past the
/// message's length.
fn short_way(world: &mut World, own: Endpoint) -> Outcome {
    let mut child = Child::of(world, echo, u64::from(own.cap.0))?;
    let request = child.endpoint(world, 2)?;
    let badged = world.slot()?;
    call::badge(badged, request.cap, 91)?;
    child.run()?;
    child.until_blocked()?;
    for length in 0..=8 {
        let ways = [call::after(1000), NEVER, NEVER].map(|deadline| {
            let mut registers = svc::Registers::default();
            for (at, register) in registers.iter_mut().enumerate().take(10).skip(2) {
                *register = 0x1234_5670 + at as u64;
            }
            registers[0] = send_word(CapRef::l2(badged), NONE, length);
            registers[1] = 0;
            registers[10] = delivered();
            registers[11] = deadline;
            svc::call(&mut registers);
            registers[11] = 0;
            (registers, shared(1), shared(2))
        });
        check(ways[0] == ways[1] && ways[1] == ways[2], "both ways")?;
        let (registers, badge, header) = ways[1];
        equal(registers[0], DIRECT_MESSAGE, "an answer in registers")?;
        equal(badge, 91, "the badge")?;
        equal(
            MessageHeader(header).length() as u64,
            length as u64,
            "the length",
        )?;
        for at in 0..8 {
            let sent = if at < length {
                0x1234_5672 + at as u64
            } else {
                0
            };
            equal(registers[2 + at], sent, "a word")?;
        }
    }
    check(
        own.take().is_none() && request.take().is_none(),
        "no ring was used",
    )?;
    call::send(request.cap, None, NONE, &[STOP, 6])?;
    check(child.finish()? == (DispatcherState::Exited, 6), "it ended")
}

/// A message to a dispatcher that runs goes into its ring, and its next wait sees it.
fn busy_receiver(world: &mut World, own: Endpoint) -> Outcome {
    let mut child = Child::of(world, server, u64::from(own.cap.0))?;
    let request = child.endpoint(world, 2)?;
    child.run()?;
    call::send(request.cap, None, NONE, &[4])?;
    equal(child.get(offset::DELIVERED), 1, "a delivery")?;
    // Its first wait has seen 0 deliveries: it returns at once with 0.
    check(
        child.finish()? == (DispatcherState::Exited, 1000),
        "its wait returned",
    )?;
    let message = request.take().ok_or(Failure::because("no message"))?;
    equal(message.words[0], 4, "the message")
}

extern "C" fn order_keeper(_: u64) -> u64 {
    let registers = call::wait(true, 0, NEVER);
    share(0, shared(0) + 1);
    registers[2]
}

fn yielding(world: &mut World, _: Endpoint) -> Outcome {
    let mut child = Child::of(world, order_keeper, 0)?;
    let request = child.endpoint(world, 2)?;
    child.run()?;
    child.until_blocked()?;
    share(0, 0);
    call::send(request.cap, None, SendFlags::YIELD, &[8])?;
    equal(shared(0), 1, "the receiver ran before the sender went on")?;
    check(
        child.finish()? == (DispatcherState::Exited, 8),
        "it got the message",
    )
}

fn time_out() -> Outcome {
    for milliseconds in [0, 1, 5, 20] {
        let deadline = call::after(milliseconds);
        let result = call::wait(false, delivered(), deadline);
        equal(result[0], TIMED_OUT, "the wait's end")?;
        check(svc::counter() >= deadline, "it ended too early")?;
    }
    let result = call::wait(true, delivered(), 0);
    equal(result[0], TIMED_OUT, "a deadline long past")
}

fn seen(own: Endpoint) -> Outcome {
    let before = delivered();
    call::send(own.cap, None, NONE, &[1])?;
    // The message came between looking and waiting: the wait doesn't sleep.
    let result = call::wait(true, before, NEVER);
    equal(result[0], 0, "the wait's end")?;
    check(own.take().is_some(), "the message")?;
    let result = call::wait(true, delivered().wrapping_sub(1), NEVER);
    equal(result[0], 0, "any other count")
}

extern "C" fn sleeper(milliseconds: u64) -> u64 {
    let result = call::wait(false, 0, call::after(milliseconds));
    share(1, shared(1) << 8 | milliseconds);
    result[0]
}

fn deadlines(world: &mut World) -> Outcome {
    share(1, 0);
    let mut children = [None; 4];
    for (child, milliseconds) in children.iter_mut().zip([160, 40, 120, 80]) {
        let made = Child::of(world, sleeper, milliseconds)?;
        made.run()?;
        *child = Some(made);
    }
    for child in children.into_iter().flatten() {
        let (_, code) = child.finish()?;
        equal(u64::from(code), TIMED_OUT, "each timed out")?;
    }
    equal(shared(1), 0x2850_78a0, "the order in which they woke")
}

extern "C" fn count_up(index: u64) -> u64 {
    for _ in 0..20 {
        share(
            2 + usize::from(index == 1),
            shared(2 + usize::from(index == 1)) + 1,
        );
        call::yield_now();
    }
    0
}

fn yields(world: &mut World) -> Outcome {
    share(2, 0);
    share(3, 0);
    let children = [
        Child::of(world, count_up, 0)?,
        Child::of(world, count_up, 1)?,
    ];
    for child in &children {
        child.run()?;
    }
    for round in 1..=20 {
        call::yield_now();
        check(shared(2) == round && shared(3) == round, "turns are fair")?;
    }
    for child in children {
        check(child.finish()?.0 == DispatcherState::Exited, "it ended")?;
        refused(
            call::yield_to(child.dispatcher),
            SysError::NotRunnable,
            "yielding to one that ended",
        )?;
    }
    // To a named one, past another.
    share(2, 0);
    share(3, 0);
    let children = [
        Child::of(world, count_up, 0)?,
        Child::of(world, count_up, 1)?,
    ];
    for child in &children {
        child.run()?;
    }
    call::yield_to(children[1].dispatcher)?;
    check(shared(3) >= 1, "the one named ran")?;
    let empty = world.slot()?;
    refused(
        call::yield_to(empty),
        SysError::EmptySlot,
        "yielding to nobody",
    )?;
    refused(
        call::yield_to(slot::HOME),
        SysError::WrongType,
        "yielding to memory",
    )?;
    for child in children {
        child.finish()?;
    }
    Ok(())
}

fn make_notify(dispatcher: CapAddress, bit: u64, slot: CapAddress) -> Result<(), SysError> {
    let arguments = [bit, call::word(slot)];
    call::invoke(dispatcher, Invocation::MakeNotify, &arguments).map(drop)
}

fn notify(world: &mut World) -> Outcome {
    let slots = world.slots(3)?;
    let at = |n| CapAddress(slots.0 + n);
    refused(
        make_notify(slot::DISPATCHER, 64, at(0)),
        SysError::InvalidArgument,
        "bit 64",
    )?;
    make_notify(slot::DISPATCHER, 5, at(0))?;
    make_notify(slot::DISPATCHER, 63, at(1))?;
    let bits = DISPATCHER_FRAME.0 + offset::NOTIFIED as u64;
    poke(bits, 0);
    let before = delivered();
    for _ in 0..3 {
        call::invoke(at(0), Invocation::Ring, &[])?;
    }
    call::invoke(at(1), Invocation::Ring, &[])?;
    let result = call::wait(true, before, call::after(1000));
    equal(result[0], 0, "the wait ended")?;
    equal(peek(bits), 1 << 63 | 1 << 5, "the bits")?;
    poke(bits, 0);
    let result = call::wait(true, delivered(), call::after(5));
    equal(result[0], TIMED_OUT, "no more comes of it")?;
    equal(peek(bits), 0, "no bit either")?;
    call::delete(at(0))?;
    refused(
        call::invoke(at(0), Invocation::Ring, &[]),
        SysError::EmptySlot,
        "ringing one that is gone",
    )
}

extern "C" fn notified(frame_address: u64) -> u64 {
    let result = call::wait(true, 0, call::after(5000));
    if result[0] == 0 {
        peek(frame_address + offset::NOTIFIED as u64)
    } else {
        9999
    }
}

fn notify_wakes(world: &mut World, _: Endpoint) -> Outcome {
    let child = Child::of(world, notified, 0)?;
    child.set(capelin_harness::child::own::ARGUMENT, child.frame);
    let cap = world.slot()?;
    make_notify(child.dispatcher, 3, cap)?;
    child.run()?;
    child.until_blocked()?;
    call::invoke(cap, Invocation::Ring, &[])?;
    check(
        child.finish()? == (DispatcherState::Exited, 1 << 3),
        "it woke with its bit",
    )
}

extern "C" fn ends(code: u64) -> u64 {
    code
}

/// Ordinary messages never take the room that an event was promised.
fn death(world: &mut World, own: Endpoint) -> Outcome {
    while own.take().is_some() {}
    let child = Child::of(world, ends, 1234)?;
    let bind = [call::word(own.cap)];
    call::invoke(child.dispatcher, Invocation::BindDeath, &bind)?;
    for _ in 1..own.capacity {
        call::send(own.cap, None, NONE, &[1])?;
    }
    refused(
        call::send(own.cap, None, NONE, &[1]),
        SysError::EndpointFull,
        "the last place",
    )?;
    child.run()?;
    child.finish()?;
    for _ in 1..own.capacity {
        check(
            own.take().is_some_and(|m| !m.header.is_event()),
            "a message",
        )?;
    }
    let event = own.take().ok_or(Failure::because("no event"))?;
    check(event.header.is_event(), "an event")?;
    equal(
        event.words[0],
        DispatcherState::Exited as u64,
        "how it ended",
    )?;
    equal(event.words[1], 1234, "with which code")?;
    // The room is free again.
    for _ in 0..own.capacity {
        call::send(own.cap, None, NONE, &[1])?;
    }
    while own.take().is_some() {}
    Ok(())
}

/// A ring that is full of promises makes no more of them: a further end would count as missed.
/// A promise to a dispatcher that is deleted before it ended is one no more.
fn promises(world: &mut World) -> Outcome {
    let own = Endpoint::own(world, offset::ENDPOINTS + 1024, CAPACITY as usize)?;
    let bind = [call::word(own.cap)];
    let full = world.slots(CAPACITY + 1)?;
    for n in 0..=CAPACITY {
        let cap = CapAddress(full.0 + n);
        let object = world.claim_home(PAGE_SIZE)?;
        call::retype(
            cap.into(),
            slot::HOME,
            ObjectType::Dispatcher,
            object,
            PAGE_SIZE,
            1,
        )?;
        call::invoke(cap, Invocation::BindDeath, &bind)?;
    }
    let child = Child::of(world, ends, 77)?;
    call::invoke(child.dispatcher, Invocation::BindDeath, &bind)?;
    let seen = delivered();
    child.run()?;
    child.finish()?;
    check(own.take().is_none(), "room that was promised is taken")?;
    let missed = peek32(own.ring + MISSED as u64);
    equal(missed.into(), 1, "ends that were missed")?;
    check(delivered() > seen, "it isn't a delivery")?;
    for n in 0..=CAPACITY {
        call::delete(CapAddress(full.0 + n))?;
    }
    call::send(own.cap, None, NONE, &[1])?;
    while own.take().is_some() {}
    Ok(())
}

fn dead(world: &mut World) -> Outcome {
    let mut child = Child::of(world, ends, 0)?;
    let request = child.endpoint(world, 2)?;
    refused(
        call::send(request.cap, None, NONE, &[1]),
        SysError::NotRunnable,
        "to one that hasn't started",
    )?;
    child.run()?;
    child.finish()?;
    refused(
        call::send(request.cap, None, NONE, &[1]),
        SysError::NotRunnable,
        "to one that has ended",
    )?;
    call::delete(child.dispatcher)?;
    check(
        call::is_empty(request.cap),
        "the endpoint went with its dispatcher",
    )?;
    check(ring_bytes(2) > 0, "sizes")
}

extern "C" fn spinner(index: u64) -> u64 {
    let index = usize::from(index == 1) + 4;
    while shared(6) == 0 {
        share(index, shared(index) + 1);
    }
    0
}

/// Nobody has to yield: slices end.
fn preemption(world: &mut World) -> Outcome {
    for index in 4..7 {
        share(index, 0);
    }
    let children = [Child::of(world, spinner, 0)?, Child::of(world, spinner, 1)?];
    for child in &children {
        child.run()?;
    }
    for _ in 0..5 {
        call::yield_now();
    }
    check(shared(4) > 0 && shared(5) > 0, "both ran")?;
    share(6, 1);
    for child in children {
        child.finish()?;
    }
    Ok(())
}
