//! Interrupts to user space. The test pends shared interrupts itself, by the distributor's
//! set-pending registers (`GICD_ISPENDR`, IHI 0069 12.9.20), so that it needs no device.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use capelin_harness::abi::layout::{self, slot};
use capelin_harness::abi::syscall::{Invocation, KernelCounter, SendFlags};
use capelin_harness::abi::{CapAddress, ObjectType, PAGE_SIZE, SysError};
use capelin_harness::child::{Child, Endpoint, Message, delivered};
use capelin_harness::fault::{peek32, poke32};
use capelin_harness::world::{self, READ_WRITE};
use capelin_harness::{Failure, Outcome, Suite, World, call, check, equal, refused};

capelin_harness::program!(tests);

/// First interrupt of those in [`slot::IRQ`].
const FIRST_SPI: u32 = 32;
const ENABLED: u64 = 0x100;
const PENDING: u64 = 0x200;
const CONFIGURATION: u64 = 0xc00;
const CAPACITY: u32 = 2;
/// QEMU's frame for messages with GICv2 (GICv2m), and its registers (`V2M_MSI_TYPER`, `V2M_MSI_SETSPI_NS`).
const MESSAGE_FRAME: u64 = 0x802_0000;
const MESSAGE_TYPE: u64 = 0x008;
const MESSAGE_SET: u64 = 0x040;

/// What all tests here use.
#[derive(Clone, Copy)]
struct Bench {
    /// Where the distributor is mapped.
    distributor: u64,
    endpoint: Endpoint,
}

fn tests(suite: &mut Suite) {
    let Some(bench) = suite.prepare("interrupts/start", prepare) else {
        return;
    };
    suite.test("interrupts/comes-once-until-acknowledged", |world| {
        once(world, bench)
    });
    suite.test("interrupts/wakes", |world| wakes(world, bench));
    suite.test("interrupts/room-is-reserved", |world| {
        reserved(world, bench)
    });
    suite.test("interrupts/lying-receiver", |world| lying(world, bench));
    suite.test("interrupts/stopped-receiver", |world| stopped(world, bench));
    suite.test("interrupts/receiver-without-frame", |world| {
        frameless(world, bench)
    });
    suite.test("interrupts/unbound-by-deletion", |world| {
        unbound(world, bench)
    });
    suite.test("interrupts/binding-rules", |world| rules(world, bench));
    suite.test("interrupts/many", |world| many(world, bench));
    suite.test("interrupts/flood", |world| {
        flood(world, bench, 120, |bench| bench.pend(120))
    });
    if world::gic_version() == 2 {
        suite.test("interrupts/flood-of-messages", |world| {
            let frame = registers(world, MESSAGE_FRAME)?;
            let first = peek32(frame + MESSAGE_TYPE) >> 16 & 0x3ff;
            bench.trigger_by_edge(first);
            flood(world, bench, first, |_| poke32(frame + MESSAGE_SET, first))
        });
    }
    suite.test("interrupts/timer-is-the-kernels", |_| timer());
}

fn prepare(world: &mut World) -> Result<Bench, Failure> {
    let distributor = registers(world, world::distributor().base)?;
    let endpoint = Endpoint::own(world, 0x1000, CAPACITY as usize)?;
    Ok(Bench {
        distributor,
        endpoint,
    })
}

/// Maps the page of registers at `base`.
fn registers(world: &mut World, base: u64) -> Result<u64, Failure> {
    let (number, region) = (0..)
        .map_while(|n| world::devices(u64::from(n)).map(|region| (n, region)))
        .find(|(_, region)| region.base <= base && base < region.base + region.bytes)
        .ok_or(Failure::because("no capability to the registers"))?;
    let device = world.slot()?;
    call::retype(
        device.into(),
        layout::device_region(number),
        ObjectType::DevFrame,
        base - region.base,
        PAGE_SIZE,
        1,
    )?;
    let (mapped, _) = world.map(device, PAGE_SIZE, READ_WRITE)?;
    Ok(mapped)
}

impl Bench {
    /// A capability to interrupt `intid`.
    fn source(self, world: &mut World, intid: u32) -> Result<CapAddress, Failure> {
        let source = world.slot()?;
        let offset = u64::from(intid - FIRST_SPI);
        call::retype(
            source.into(),
            slot::IRQ,
            ObjectType::IrqSource,
            offset,
            1,
            1,
        )?;
        Ok(source)
    }

    /// Binds `source` to the endpoint; the IrqDest.
    fn bind(self, world: &mut World, source: CapAddress) -> Result<CapAddress, Failure> {
        let destination = world.slot()?;
        bind(source, self.endpoint.cap, destination)?;
        Ok(destination)
    }

    fn pend(self, intid: u32) {
        poke32(
            self.distributor + PENDING + u64::from(intid / 32 * 4),
            1 << (intid % 32),
        );
        // The distributor needs a moment, even an emulated one.
        let until = call::after(1);
        while capelin_harness::svc::counter() < until {}
    }

    /// Messages are edges.
    fn trigger_by_edge(self, intid: u32) {
        let register = self.distributor + CONFIGURATION + u64::from(intid / 16 * 4);
        poke32(register, peek32(register) | 0b10 << (intid % 16 * 2));
    }

    fn is_enabled(self, intid: u32) -> bool {
        let word = peek32(self.distributor + ENABLED + u64::from(intid / 32 * 4));
        word >> (intid % 32) & 1 != 0
    }

    fn take(self) -> Result<Message, Failure> {
        let message = self.endpoint.take();
        message.ok_or(Failure::because("no interrupt came"))
    }

    fn nothing(self, what: &'static str) -> Outcome {
        check(self.endpoint.take().is_none(), what)
    }
}

fn bind(source: CapAddress, endpoint: CapAddress, target: CapAddress) -> Result<(), SysError> {
    let arguments = [call::word(endpoint), call::word(target)];
    call::invoke(source, Invocation::BindIrq, &arguments).map(drop)
}

/// What the children here would run: they never do.
extern "C" fn never(_argument: u64) -> u64 {
    0
}

/// An interrupt for a dispatcher that is stopped waits in its ring.
fn stopped(world: &mut World, bench: Bench) -> Outcome {
    let mut child = Child::of(world, never, 0)?;
    let endpoint = child.endpoint(world, 2)?;
    let source = bench.source(world, 110)?;
    let destination = world.slot()?;
    bind(source, endpoint.cap, destination)?;
    bench.pend(110);
    let event = endpoint.take();
    let event = event.ok_or(Failure::because("it was lost"))?;
    equal(event.words[0], 110, "which interrupt")?;
    call::delete(destination)?;
    call::delete(source)?;
    call::delete(child.dispatcher)?;
    Ok(())
}

/// An endpoint whose ring is gone takes no promises.
fn frameless(world: &mut World, bench: Bench) -> Outcome {
    let mut child = Child::of(world, never, 0)?;
    let endpoint = child.endpoint(world, 2)?;
    call::revoke(child.frame_cap)?;
    let source = bench.source(world, 111)?;
    let destination = world.slot()?;
    refused(
        bind(source, endpoint.cap, destination),
        SysError::NotRunnable,
        "an interrupt",
    )?;
    let death = call::invoke(
        child.dispatcher,
        Invocation::BindDeath,
        &[call::word(endpoint.cap)],
    );
    refused(death, SysError::NotRunnable, "a death")?;
    call::delete(source)?;
    call::delete(child.dispatcher)?;
    Ok(())
}

fn acknowledge(destination: CapAddress) -> Result<(), SysError> {
    call::invoke(destination, Invocation::AcknowledgeIrq, &[]).map(drop)
}

fn once(world: &mut World, bench: Bench) -> Outcome {
    let source = bench.source(world, 100)?;
    check(!bench.is_enabled(100), "masked at first")?;
    let destination = bench.bind(world, source)?;
    check(bench.is_enabled(100), "unmasked when bound")?;
    bench.nothing("nothing yet")?;
    for _ in 0..10 {
        bench.pend(100);
        let event = bench.take()?;
        check(event.header.is_event(), "an event")?;
        check(
            event.words[0] == 100 && event.badge == 100,
            "which interrupt",
        )?;
        check(!bench.is_enabled(100), "masked meanwhile")?;
        bench.pend(100);
        bench.nothing("a second one before the first was acknowledged")?;
        acknowledge(destination)?;
        let until = call::after(1);
        while capelin_harness::svc::counter() < until {}
        let event = bench.take()?;
        equal(event.words[0], 100, "the second one")?;
        acknowledge(destination)?;
        bench.nothing("no third one")?;
    }
    call::delete(destination)?;
    call::delete(source)?;
    Ok(())
}

fn wakes(world: &mut World, bench: Bench) -> Outcome {
    let source = bench.source(world, 101)?;
    let destination = bench.bind(world, source)?;
    let before = delivered();
    bench.pend(101);
    let result = call::wait(true, before, call::after(1000));
    equal(result[0], 0, "the wait's end")?;
    bench.take()?;
    acknowledge(destination)?;
    call::delete(destination)?;
    call::delete(source)?;
    Ok(())
}

/// Ordinary messages never take an interrupt's room.
fn reserved(world: &mut World, bench: Bench) -> Outcome {
    let send = || call::send(bench.endpoint.cap, None, SendFlags::empty(), &[1]);
    let sources = [bench.source(world, 102)?, bench.source(world, 103)?];
    let first = bench.bind(world, sources[0])?;
    send()?;
    refused(send(), SysError::EndpointFull, "the reserved room")?;
    bench.pend(102);
    check(bench.take()?.words[0] == 1, "the message")?;
    check(bench.take()?.header.is_event(), "the interrupt")?;
    acknowledge(first)?;
    let second = bench.bind(world, sources[1])?;
    refused(send(), SysError::EndpointFull, "all of it is reserved")?;
    call::delete(second)?;
    send()?;
    bench.take()?;
    call::delete(first)?;
    send()?;
    send()?;
    bench.take()?;
    bench.take()?;
    for source in sources {
        call::delete(source)?;
    }
    Ok(())
}

/// A receiver that makes its ring look full gets its interrupt when it acknowledges.
fn lying(world: &mut World, bench: Bench) -> Outcome {
    let source = bench.source(world, 104)?;
    let destination = bench.bind(world, source)?;
    let (_, tail) = bench.endpoint.indices();
    bench.endpoint.set_tail(tail.wrapping_sub(CAPACITY));
    bench.pend(104);
    bench.endpoint.set_tail(tail);
    bench.nothing("there was no room")?;
    acknowledge(destination)?;
    equal(bench.take()?.words[0], 104, "the interrupt, late")?;
    acknowledge(destination)?;
    bench.pend(104);
    equal(bench.take()?.words[0], 104, "the next one")?;
    acknowledge(destination)?;
    call::delete(destination)?;
    call::delete(source)?;
    Ok(())
}

fn unbound(world: &mut World, bench: Bench) -> Outcome {
    let source = bench.source(world, 105)?;
    let destination = bench.bind(world, source)?;
    call::delete(destination)?;
    check(!bench.is_enabled(105), "masked when unbound")?;
    bench.pend(105);
    bench.nothing("an interrupt that is bound no more")?;
    // Bound anew, the one that pends comes.
    let destination = bench.bind(world, source)?;
    let until = call::after(1);
    while capelin_harness::svc::counter() < until {}
    equal(bench.take()?.words[0], 105, "the interrupt")?;
    acknowledge(destination)?;
    // Deleting the source takes the destination along.
    call::revoke(source)?;
    check(call::is_empty(destination), "the destination went")?;
    check(!bench.is_enabled(105), "masked")?;
    bench.pend(105);
    bench.nothing("an interrupt that is bound no more")?;
    call::delete(source)?;
    Ok(())
}

fn rules(world: &mut World, bench: Bench) -> Outcome {
    let target = world.slot()?;
    let endpoint = bench.endpoint.cap;
    refused(
        bind(slot::IRQ, endpoint, target),
        SysError::InvalidArgument,
        "all interrupts at once",
    )?;
    let source = bench.source(world, 106)?;
    refused(
        bind(source, slot::DISPATCHER, target),
        SysError::WrongType,
        "to a dispatcher",
    )?;
    refused(
        bind(source, target, target),
        SysError::EmptySlot,
        "to nothing",
    )?;
    refused(
        bind(source, endpoint, slot::DISPATCHER),
        SysError::SlotInUse,
        "into a slot in use",
    )?;
    check(!bench.is_enabled(106), "nothing was bound")?;
    bind(source, endpoint, target)?;
    let other = world.slot()?;
    refused(
        bind(source, endpoint, other),
        SysError::AlreadyBound,
        "bound twice",
    )?;
    refused(
        call::invoke(target, Invocation::BindIrq, &[]),
        SysError::UnknownOperation,
        "binding a destination",
    )?;
    call::delete(target)?;
    call::delete(source)?;
    // Past the last interrupt, and beyond.
    let made = call::retype(target.into(), slot::IRQ, ObjectType::IrqSource, 988, 1, 1);
    check(made.is_err(), "an interrupt that isn't")?;
    let made = call::retype(
        target.into(),
        slot::IRQ,
        ObjectType::IrqSource,
        u64::MAX,
        1,
        1,
    );
    check(made.is_err(), "an interrupt far beyond")
}

/// Many interrupts, one after the other, all delivered, none twice.
fn many(world: &mut World, bench: Bench) -> Outcome {
    let before = call::counter(KernelCounter::Interrupts)?;
    for intid in [32, 63, 64, 95, 127, 200, 255] {
        let source = bench.source(world, intid)?;
        let destination = bench.bind(world, source)?;
        for _ in 0..20 {
            bench.pend(intid);
            equal(bench.take()?.words[0], u64::from(intid), "which interrupt")?;
            acknowledge(destination)?;
        }
        bench.nothing("one too many")?;
        call::delete(destination)?;
        call::delete(source)?;
    }
    let taken = call::counter(KernelCounter::Interrupts)? - before;
    check(taken >= 140, "they were counted")
}

/// A device that interrupts without end costs one interrupt each time that its driver acknowledges, which waits for
/// that as long as it likes: `raise` raises `intid`.
fn flood(world: &mut World, bench: Bench, intid: u32, raise: impl Fn(Bench)) -> Outcome {
    const ROUNDS: u64 = 5;
    let source = bench.source(world, intid)?;
    let destination = bench.bind(world, source)?;
    let before = taken()?;
    for _ in 0..ROUNDS {
        for _ in 0..200 {
            raise(bench);
        }
        equal(bench.take()?.words[0], u64::from(intid), "which interrupt")?;
        bench.nothing("one that nobody has acknowledged the last for")?;
        acknowledge(destination)?;
    }
    // The one that came while the last was served.
    bench.take()?;
    equal(taken()? - before, ROUNDS + 1, "interrupts taken")?;
    acknowledge(destination)?;
    bench.nothing("one more than was raised")?;
    call::delete(destination)?;
    call::delete(source)?;
    Ok(())
}

/// Interrupts that the kernel has taken, but for its timer's.
fn taken() -> Result<u64, SysError> {
    let all = call::counter(KernelCounter::Interrupts)?;
    Ok(all - call::counter(KernelCounter::TimerInterrupts)?)
}

fn timer() -> Outcome {
    let ticks = call::counter(KernelCounter::TimerInterrupts)?;
    let result = call::wait(false, delivered(), call::after(5));
    equal(result[0], SysError::TimedOut as u64, "a wait")?;
    let ticks = call::counter(KernelCounter::TimerInterrupts)? - ticks;
    check(
        (1..=2).contains(&ticks),
        "one tick for one deadline: the core is tickless",
    )
}
