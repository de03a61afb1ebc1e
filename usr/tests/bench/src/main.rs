//! What the CPU driver's operations cost.
//!
//! Run under `-icount`, where an instruction takes a nanosecond: `cargo xtask bench` does. Each
//! figure is timed over a whole batch of operations, since the counter ticks every 16 instructions
//! only; `min` and `median` are over batches. The few instructions of the loops are not taken off.
//!
//! Requests, replies and yields are between two address spaces, with ASIDs.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use guest_harness::abi::dispatcher::{Upcall, offset};
use guest_harness::abi::layout::{DISPATCHER_FRAME, slot};
use guest_harness::abi::syscall::{Invocation, SendFlags, invoke_word, send_word};
use guest_harness::abi::{CapAddress, ObjectType, PAGE_SIZE, Rights};
use guest_harness::child::{Endpoint, delivered};
use guest_harness::fault::{peek, poke};
use guest_harness::island::Island;
use guest_harness::report::line;
use guest_harness::world::READ_WRITE;
use guest_harness::{Failure, Outcome, Suite, World, call, check, code, lean, svc};

guest_harness::program!(benches);

/// Batches of each figure.
const BATCHES: usize = 11;
/// Operations that a batch repeats, where they leave nothing behind.
const ROUNDS: u64 = 2000;
/// Slots that operations fill and empty again.
const SLOTS: u32 = 256;

fn benches(suite: &mut Suite) {
    suite.test("bench/null-system-call", |_| nulls());
    suite.test("bench/yield", yields);
    suite.test("bench/request-and-reply", |world| rpc(world, true));
    suite.test("bench/request-and-reply-enabled", |world| rpc(world, false));
    suite.test("bench/page-fault", page_fault);
    suite.test("bench/capabilities", capabilities);
    suite.test("bench/mapping", mapping);
    suite.test("bench/revoke", revoke);
    line(format_args!("capelin: exec status 0"));
}

/// Instructions per operation, in hundredths, of each batch.
struct Figures([u64; BATCHES]);

impl Figures {
    /// `batch` does `count` operations and is timed whole.
    fn of(count: u64, mut batch: impl FnMut() -> Outcome) -> Result<Self, Failure> {
        let mut figures = [0; BATCHES];
        for figure in &mut figures {
            let start = svc::counter();
            batch()?;
            *figure = hundredths(svc::counter() - start, count);
        }
        Ok(Self(figures))
    }

    /// Prints the mean, the least and the median; each is divided by `share`.
    fn print(mut self, name: &str, count: u64, share: u64) {
        self.0.sort_unstable();
        let mean = self.0.iter().sum::<u64>() / BATCHES as u64;
        let show = |value: u64| (value / share / 100, value / share % 100);
        let (value, min, median) = (show(mean), show(self.0[0]), show(self.0[BATCHES / 2]));
        let n = count * BATCHES as u64;
        line(format_args!(
            "bench: {name} {}.{:02} instructions n={n} min={}.{:02} median={}.{:02}",
            value.0, value.1, min.0, min.1, median.0, median.1
        ));
    }
}

/// Hundredths of a nanosecond, which is an instruction, for each of `count` operations.
fn hundredths(ticks: u64, count: u64) -> u64 {
    ticks * (1_000_000_000 / svc::frequency()) * 100 / count
}

fn nulls() -> Outcome {
    let figures = Figures::of(ROUNDS, || {
        lean::nops(ROUNDS);
        Ok(())
    })?;
    figures.print("null-syscall", ROUNDS, 1);
    Ok(())
}

fn yields(world: &mut World) -> Outcome {
    let other = Island::new(world, code::yielder(), code::yielder_end())?;
    other.child.run()?;
    let figures = Figures::of(ROUNDS, || {
        lean::yields(ROUNDS);
        Ok(())
    })?;
    // There and back again.
    figures.print("yield", ROUNDS * 2, 2);
    call::invoke(other.dispatcher, Invocation::Stop, &[])?;
    Ok(())
}

/// Disables this dispatcher, or enables it again: how a runtime's dispatch loop waits, and how a
/// thread does.
fn set_disabled(disabled: bool) {
    poke(
        DISPATCHER_FRAME.0 + offset::DISABLED as u64,
        u64::from(disabled),
    );
}

fn rpc(world: &mut World, disabled: bool) -> Outcome {
    let ring = if disabled { 0x1000 } else { 0x1400 };
    let own = Endpoint::own(world, ring, 4)?;
    let mut server = Island::new(world, code::echo(), code::echo_end())?;
    let request = server.child.endpoint(world, 4)?;
    server.give(3, own.cap)?;
    server.child.run()?;
    server.child.until_blocked()?;
    let word = send_word(request.cap.into(), SendFlags::empty(), 1);
    let figures = Figures::of(ROUNDS, || {
        set_disabled(disabled);
        let replies = lean::calls(word, delivered(), ROUNDS);
        set_disabled(false);
        check(replies == ROUNDS, "a reply that didn't come in registers")
    })?;
    let name = if disabled {
        "lmp-rpc"
    } else {
        "lmp-rpc-enabled"
    };
    figures.print(name, ROUNDS, 1);
    call::invoke(server.dispatcher, Invocation::Stop, &[])?;
    Ok(())
}

fn page_fault(_: &mut World) -> Outcome {
    let upcall = DISPATCHER_FRAME.0 + Upcall::PageFault.entry_offset() as u64;
    let usual = peek(upcall);
    poke(upcall, lean::skipper());
    let figures = Figures::of(ROUNDS, || {
        lean::faults(0x123_4560, ROUNDS);
        Ok(())
    })?;
    poke(upcall, usual);
    figures.print("page-fault", ROUNDS, 1);
    Ok(())
}

/// Does an operation with each of [`SLOTS`] slots: the hundredths of instructions that each took.
/// `arguments` says what the `n`th call of `invocation` of `capability` gets.
#[inline(always)]
fn batch(
    capability: CapAddress,
    invocation: Invocation,
    arguments: impl Fn(u64) -> [u64; 6],
) -> Result<u64, Failure> {
    let word = invoke_word(capability.into(), invocation);
    let mut errors = 0;
    let start = svc::counter();
    for n in 0..u64::from(SLOTS) {
        errors |= lean::invoke(word, arguments(n));
    }
    let ticks = svc::counter() - start;
    check(errors == 0, "an operation failed")?;
    Ok(hundredths(ticks, u64::from(SLOTS)))
}

fn capabilities(world: &mut World) -> Outcome {
    let count = u64::from(SLOTS);
    let slots = call::word(world.slots(SLOTS)?);
    let ram = world.of_ram(ObjectType::Ram, count * PAGE_SIZE, PAGE_SIZE)?;
    let frame = world.frame(PAGE_SIZE, PAGE_SIZE)?;
    let (ram, frame) = (call::word(ram), call::word(frame));
    let rights = u64::from(Rights::all().bits());
    let kind = ObjectType::Frame as u64;
    let mut figures = [const { Figures([0; BATCHES]) }; 4];
    for number in 0..BATCHES {
        let own = slot::L1CNODE;
        figures[0].0[number] = batch(own, Invocation::Copy, |n| {
            [slots + n, frame, rights, 0, 0, 0]
        })?;
        figures[1].0[number] = batch(own, Invocation::Delete, |n| [slots + n, 0, 0, 0, 0, 0])?;
        figures[2].0[number] = batch(own, Invocation::Retype, |n| {
            [slots + n, ram, kind, n * PAGE_SIZE, PAGE_SIZE, 1]
        })?;
        figures[3].0[number] = batch(own, Invocation::Delete, |n| [slots + n, 0, 0, 0, 0, 0])?;
    }
    let names = ["cap-copy", "cap-delete-copy", "frame", "cap-delete"];
    for (figures, name) in figures.into_iter().zip(names) {
        figures.print(name, count, 1);
    }
    Ok(())
}

fn mapping(world: &mut World) -> Outcome {
    let count = u64::from(SLOTS);
    let slots = world.slots(SLOTS)?;
    let frames = world.slots(SLOTS)?;
    let offset = world.claim(count * PAGE_SIZE, PAGE_SIZE)?;
    let ram = world.ram_cap;
    call::retype(
        frames.into(),
        ram,
        ObjectType::Frame,
        offset,
        PAGE_SIZE,
        count,
    )?;
    let address = world.addresses(2 << 20, 2 << 20)?;
    let (table, _) = world.table3(address)?;
    let (to, from) = (call::word(slots), call::word(frames));
    let place = 1 << 16 | u64::from(READ_WRITE.bits()) << 32;
    let mut figures = [const { Figures([0; BATCHES]) }; 2];
    for number in 0..BATCHES {
        figures[0].0[number] = batch(table, Invocation::Map, |n| {
            [from + n, place | n, 0, to + n, 0, 0]
        })?;
        // Each mapping is invoked itself.
        let mut errors = 0;
        let start = svc::counter();
        for n in 0..SLOTS {
            let mapping = CapAddress(slots.0 + n);
            errors |= lean::invoke(invoke_word(mapping.into(), Invocation::Unmap), [0; 6]);
        }
        figures[1].0[number] = hundredths(svc::counter() - start, count);
        check(errors == 0, "an unmap failed")?;
    }
    for (figures, name) in figures.into_iter().zip(["map", "unmap"]) {
        figures.print(name, count, 1);
    }
    Ok(())
}

fn revoke(world: &mut World) -> Outcome {
    const TIMES: u64 = 64;
    let ram = world.of_ram(ObjectType::Ram, PAGE_SIZE, PAGE_SIZE)?;
    let slots = world.slots(2)?;
    let (frame, mapping) = (slots, CapAddress(slots.0 + 1));
    let address = world.addresses(PAGE_SIZE, PAGE_SIZE)?;
    let (table, entry) = world.table3(address)?;
    let mut figures = Figures([0; BATCHES]);
    for figure in &mut figures.0 {
        let mut ticks = 0;
        for _ in 0..TIMES {
            call::retype(frame.into(), ram, ObjectType::Frame, 0, PAGE_SIZE, 1)?;
            call::map(table, frame, entry, 1, READ_WRITE, 0, mapping)?;
            let start = svc::counter();
            call::invoke(call::CSPACE, Invocation::Revoke, &[call::word(ram)])?;
            ticks += svc::counter() - start;
        }
        *figure = hundredths(ticks, TIMES);
    }
    check(call::is_empty(mapping), "the mapping went")?;
    figures.print("revoke", TIMES, 1);
    Ok(())
}
