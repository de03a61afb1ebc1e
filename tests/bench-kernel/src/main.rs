//! What the CPU driver's operations cost.
//!
//! Run under `-icount`, where an instruction takes a nanosecond: `cargo xtask bench` does. Each
//! figure is timed over a whole batch of operations, since the counter ticks every 16 instructions
//! only; `min` and `median` are over batches. The few instructions of the loops are not taken off.
//!
//! Requests, replies and yields are between two address spaces, with ASIDs.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use capelin_harness::abi::dispatcher::{Upcall, offset};
use capelin_harness::abi::layout::{DISPATCHER_FRAME, slot};
use capelin_harness::abi::syscall::{Invocation, SendFlags, invoke_word, send_word};
use capelin_harness::abi::{CapAddress, ObjectType, PAGE_SIZE, Rights};
use capelin_harness::child::{Endpoint, delivered};
use capelin_harness::fault::{peek, poke};
use capelin_harness::island::Island;
use capelin_harness::report::{Figure, Mark, MarkKind, line};
use capelin_harness::world::READ_WRITE;
use capelin_harness::{Failure, Outcome, Suite, World, call, check, code, lean, svc};

capelin_harness::program!(benches);

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
    suite.end();
}

/// Instructions of each batch.
struct Figures([u64; BATCHES]);

impl Figures {
    /// `batch` is timed whole, as often as figures are.
    fn of(path: Path, mut batch: impl FnMut() -> Outcome) -> Result<Self, Failure> {
        let mut figures = [0; BATCHES];
        for instructions in &mut figures {
            let watch = Watch::start(path);
            batch()?;
            *instructions = watch.stop();
        }
        Ok(Self(figures))
    }

    /// Prints the mean, the least and the median; and for who counts what the kernel executes, which
    /// path this was, and how many operations.
    fn print(mut self, path: Path, count: u64) {
        let name = path.name();
        let Some(figure) = Figure::of_batches(name, "instructions", count, &mut self.0) else {
            return;
        };
        line(format_args!("{figure}"));
        let mark = Mark {
            kind: MarkKind::Path,
            number: path as u32,
            text: format_args!("{name} {}", count * BATCHES as u64),
        };
        line(format_args!("{mark}"));
    }
}

/// What is timed: a path through the kernel, whose number who counts knows.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Path {
    Null,
    Yield,
    Rpc,
    RpcEnabled,
    PageFault,
    Copy,
    DeleteCopy,
    Frame,
    Delete,
    Map,
    Unmap,
    Revoke,
}

impl Path {
    const fn name(self) -> &'static str {
        match self {
            Self::Null => "null-syscall",
            Self::Yield => "yield",
            Self::Rpc => "lmp-rpc",
            Self::RpcEnabled => "lmp-rpc-enabled",
            Self::PageFault => "page-fault",
            Self::Copy => "cap-copy",
            Self::DeleteCopy => "cap-delete-copy",
            Self::Frame => "frame",
            Self::Delete => "cap-delete",
            Self::Map => "map",
            Self::Unmap => "unmap",
            Self::Revoke => "revoke",
        }
    }
}

/// Instructions since a path began, by the counter.
struct Watch(u64);

impl Watch {
    #[inline(always)]
    fn start(path: Path) -> Self {
        svc::path_enters(path as u8);
        Self(svc::counter())
    }

    #[inline(always)]
    fn stop(self) -> u64 {
        let ticks = svc::counter() - self.0;
        svc::path_leaves();
        // An instruction takes a nanosecond.
        ticks * (1_000_000_000 / svc::frequency())
    }
}

fn nulls() -> Outcome {
    let figures = Figures::of(Path::Null, || {
        lean::nops(ROUNDS);
        Ok(())
    })?;
    figures.print(Path::Null, ROUNDS);
    Ok(())
}

fn yields(world: &mut World) -> Outcome {
    let other = Island::new(world, code::yielder(), code::yielder_end())?;
    other.child.run()?;
    let figures = Figures::of(Path::Yield, || {
        lean::yields(ROUNDS);
        Ok(())
    })?;
    // There and back again.
    figures.print(Path::Yield, ROUNDS * 2);
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
    let path = if disabled {
        Path::Rpc
    } else {
        Path::RpcEnabled
    };
    let figures = Figures::of(path, || {
        set_disabled(disabled);
        let replies = lean::calls(word, delivered(), ROUNDS);
        set_disabled(false);
        check(replies == ROUNDS, "a reply that didn't come in registers")
    })?;
    figures.print(path, ROUNDS);
    call::invoke(server.dispatcher, Invocation::Stop, &[])?;
    Ok(())
}

fn page_fault(_: &mut World) -> Outcome {
    let upcall = DISPATCHER_FRAME.0 + Upcall::PageFault.entry_offset() as u64;
    let usual = peek(upcall);
    poke(upcall, lean::skipper());
    let figures = Figures::of(Path::PageFault, || {
        lean::faults(0x123_4560, ROUNDS);
        Ok(())
    })?;
    poke(upcall, usual);
    figures.print(Path::PageFault, ROUNDS);
    Ok(())
}

/// Does an operation with each of [`SLOTS`] slots: the instructions that all took.
/// `arguments` says what the `n`th call of `invocation` of `capability` gets.
#[inline(always)]
fn batch(
    path: Path,
    capability: CapAddress,
    invocation: Invocation,
    arguments: impl Fn(u64) -> [u64; 6],
) -> Result<u64, Failure> {
    let word = invoke_word(capability.into(), invocation);
    let mut errors = 0;
    let watch = Watch::start(path);
    for n in 0..u64::from(SLOTS) {
        errors |= lean::invoke(word, arguments(n));
    }
    let instructions = watch.stop();
    check(errors == 0, "an operation failed")?;
    Ok(instructions)
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
        figures[0].0[number] = batch(Path::Copy, own, Invocation::Copy, |n| {
            [slots + n, frame, rights, 0, 0, 0]
        })?;
        figures[1].0[number] = batch(Path::DeleteCopy, own, Invocation::Delete, |n| {
            [slots + n, 0, 0, 0, 0, 0]
        })?;
        figures[2].0[number] = batch(Path::Frame, own, Invocation::Retype, |n| {
            [slots + n, ram, kind, n * PAGE_SIZE, PAGE_SIZE, 1]
        })?;
        figures[3].0[number] = batch(Path::Delete, own, Invocation::Delete, |n| {
            [slots + n, 0, 0, 0, 0, 0]
        })?;
    }
    let paths = [Path::Copy, Path::DeleteCopy, Path::Frame, Path::Delete];
    for (figures, path) in figures.into_iter().zip(paths) {
        figures.print(path, count);
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
        figures[0].0[number] = batch(Path::Map, table, Invocation::Map, |n| {
            [from + n, place | n, 0, to + n, 0, 0]
        })?;
        // Each mapping is invoked itself.
        let mut errors = 0;
        let watch = Watch::start(Path::Unmap);
        for n in 0..SLOTS {
            let mapping = CapAddress(slots.0 + n);
            errors |= lean::invoke(invoke_word(mapping.into(), Invocation::Unmap), [0; 6]);
        }
        figures[1].0[number] = watch.stop();
        check(errors == 0, "an unmap failed")?;
    }
    for (figures, path) in figures.into_iter().zip([Path::Map, Path::Unmap]) {
        figures.print(path, count);
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
    for instructions in &mut figures.0 {
        for _ in 0..TIMES {
            call::retype(frame.into(), ram, ObjectType::Frame, 0, PAGE_SIZE, 1)?;
            call::map(table, frame, entry, 1, READ_WRITE, 0, mapping)?;
            let watch = Watch::start(Path::Revoke);
            call::invoke(call::CSPACE, Invocation::Revoke, &[call::word(ram)])?;
            *instructions += watch.stop();
        }
    }
    check(call::is_empty(mapping), "the mapping went")?;
    figures.print(Path::Revoke, TIMES);
    Ok(())
}
