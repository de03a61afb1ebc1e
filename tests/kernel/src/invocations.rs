//! Every invocation of every type of object with boundary values: each call answers with a result
//! or an error of the table, and the kernel goes on.
//!
//! Targets are sacrificial objects; a second L1 CNode is the victim of operations on slots. What
//! would end the test by doing what it should (PowerOff, giving up the console) is left out.
//!
//! Long, since it is a table of all invocations.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use capelin_harness::abi::layout::slot;
use capelin_harness::abi::syscall::{Invocation, MapFlags, invoke_word};
use capelin_harness::abi::{CapAddress, CapRef, Level, ObjectType, PAGE_SIZE, Rights, SysError};
use capelin_harness::child::{Endpoint, delivered};
use capelin_harness::world::READ_WRITE;
use capelin_harness::{
    Child, Failure, Outcome, Suite, World, call, check, code, equal, fault, refused, report, svc,
};

capelin_harness::program!(tests);

/// Random argument vectors for each pair of object and invocation.
const VECTORS: u32 = 150;
/// Objects tried.
const OBJECTS: usize = 24;

/// What the tests work on.
struct Stage {
    /// One slot a type, some types twice.
    objects: [Option<CapAddress>; OBJECTS],
    /// First of 64 slots that are free at first.
    free: CapAddress,
    /// A page that may be written.
    buffer: u64,
    /// State of the generator.
    seed: u64,
}

fn tests(suite: &mut Suite) {
    suite.test("invocations/wrong-types", wrong_types);
    suite.test("invocations/no-capability", |_| no_capability());
    suite.test("invocations/unknown-numbers", unknown_numbers);
    suite.test("invocations/unknown-system-calls", |_| unknown_calls());
    suite.test("invocations/kernel", kernel);
    suite.test("invocations/configure", configure);
    suite.test("invocations/boundaries", |world| storm(world, true));
    suite.test("invocations/random", |world| storm(world, false));
    suite.test("invocations/other-system-calls", |_| other_calls());
    suite.test("invocations/dead-capabilities", dead);
    suite.test("invocations/the-kernel-still-works", still_works);
}

impl Stage {
    /// The stage of the `number`th test: each has its own device addresses and interrupt.
    fn new(world: &mut World, number: u64) -> Result<Self, Failure> {
        let mut objects = [None; OBJECTS];
        let mut count = 0;
        let mut add = |cap: CapAddress| {
            if let Some(slot) = objects.get_mut(count) {
                *slot = Some(cap);
                count += 1;
            }
        };
        let (frame, _, mapping) = world.mapped(PAGE_SIZE)?;
        add(frame);
        add(mapping);
        add(world.of_ram(ObjectType::Ram, 16 * PAGE_SIZE, PAGE_SIZE)?);
        add(world.of_home(ObjectType::HomeRam, 16 * PAGE_SIZE)?);
        for kind in [
            ObjectType::L2CNode,
            ObjectType::VNodeL0,
            ObjectType::VNodeL1,
            ObjectType::VNodeL2,
            ObjectType::VNodeL3,
            ObjectType::Dispatcher,
            ObjectType::KernelControlBlock,
        ] {
            add(world.object(kind)?);
        }
        let root = world.object(ObjectType::L1CNode)?;
        let offset = world.claim_home(0x4000)?;
        let arguments = [
            CapRef::l1(0).to_word(),
            call::word(slot::HOME),
            ObjectType::L2CNode as u64,
            offset,
            0x4000,
            1,
        ];
        call::invoke(root, Invocation::Retype, &arguments)?;
        add(root);
        let child = Child::new(world, code::spin(), 1)?;
        add(child.dispatcher);
        let endpoint = Endpoint::own(world, 0x1000, 4)?;
        add(endpoint.cap);
        let notify = world.slot()?;
        let arguments = [9 + number, call::word(notify)];
        call::invoke(call::SELF, Invocation::MakeNotify, &arguments)?;
        add(notify);
        add(world.of_ram(ObjectType::EndpointUmp, PAGE_SIZE, PAGE_SIZE)?);
        let image = world.frame(PAGE_SIZE, PAGE_SIZE)?;
        call::invoke(call::KERNEL, Invocation::Seal, &[call::word(image)])?;
        add(image);
        let interrupt = world.slot()?;
        call::retype(
            interrupt.into(),
            slot::IRQ,
            ObjectType::IrqSource,
            80 + number,
            1,
            1,
        )?;
        add(interrupt);
        let destination = world.slot()?;
        let arguments = [call::word(endpoint.cap), call::word(destination)];
        call::invoke(interrupt, Invocation::BindIrq, &arguments)?;
        add(destination);
        let device = world.slot()?;
        let (kind, _, bytes) = call::identify(slot::DEVICES)?;
        check(kind == ObjectType::PhysAddr, "device addresses")?;
        let offset = bytes - (1 + 8 * number) * PAGE_SIZE;
        call::retype(
            device.into(),
            slot::DEVICES,
            ObjectType::DevFrame,
            offset,
            PAGE_SIZE,
            1,
        )?;
        add(device);
        let addresses = world.slot()?;
        let offset = bytes - (4 + 8 * number) * PAGE_SIZE;
        let (kind, source) = (ObjectType::PhysAddr, slot::DEVICES);
        call::retype(addresses.into(), source, kind, offset, PAGE_SIZE, 1)?;
        add(addresses);
        add(slot::KERNEL);
        let free = world.slots(64)?;
        let (_, buffer, _) = world.mapped(PAGE_SIZE)?;
        Ok(Self {
            objects,
            free,
            buffer,
            seed: 0x9e37_79b9_7f4a_7c15,
        })
    }

    fn objects(&self) -> impl Iterator<Item = CapAddress> + use<> {
        self.objects.into_iter().flatten()
    }

    /// xorshift64*, so that every run is the same.
    fn random(&mut self) -> u64 {
        self.seed ^= self.seed >> 12;
        self.seed ^= self.seed << 25;
        self.seed ^= self.seed >> 27;
        self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// The `number`th value to try, of [`VALUES`].
    fn value(&self, number: u64) -> u64 {
        const FIXED: [u64; 26] = [
            0,
            1,
            2,
            7,
            63,
            64,
            255,
            256,
            511,
            512,
            4095,
            4096,
            4097,
            0xffff,
            0x1_0000,
            0x1_0001,
            0x1_0000_0001,
            0x2_0000_0000,
            1 << 39,
            1 << 47,
            1 << 48,
            1 << 63,
            0xffff_8000_0000_0000,
            u64::MAX - 4095,
            u64::MAX - 7,
            u64::MAX,
        ];
        let fixed = usize::try_from(number).ok().and_then(|n| FIXED.get(n));
        if let Some(&value) = fixed {
            return value;
        }
        match number - FIXED.len() as u64 {
            0 => self.buffer,
            1 => self.buffer + PAGE_SIZE - 8,
            2 => 0x123_4560,
            n @ 3..26 => {
                let object = usize::try_from(n - 3)
                    .ok()
                    .and_then(|n| self.objects.get(n));
                object.copied().flatten().map_or(0, call::word)
            }
            n => u64::from(self.free.0) + (n - 26) % 64,
        }
    }

    /// Puts back what a storm has deleted, as far as it is needed to go on.
    fn clear(&self) {
        for n in 0..64 {
            let _ = call::delete(CapAddress(self.free.0 + n));
        }
    }
}

/// Values that [`Stage::value`] knows.
const VALUES: u64 = 26 + 26 + 8;

/// Whether `invocation` exists for `kind`, whatever its arguments.
fn exists(invocation: Invocation, kind: ObjectType) -> bool {
    use Invocation as I;
    use ObjectType as T;
    match invocation {
        I::Identify => true,
        I::Copy | I::Mint | I::Retype | I::Delete | I::Revoke | I::IdentifySlot | I::Grow => {
            kind == T::L1CNode
        }
        I::Map => kind.vnode_level().is_some(),
        I::Unmap | I::Protect => kind == T::Mapping,
        I::MakeExecutable => kind == T::Frame,
        I::Configure
        | I::Run
        | I::Stop
        | I::Print
        | I::MakeEndpoint
        | I::MakeNotify
        | I::BindDeath
        | I::Exit
        | I::Status
        | I::FaultRegister => kind == T::Dispatcher,
        I::Ring => kind == T::Notify,
        I::BindIrq => kind == T::IrqSource,
        I::AcknowledgeIrq => kind == T::IrqDest,
        _ => kind == T::Kernel,
    }
}

/// Whether a success would end the test: then only errors are tried for.
const fn is_final(invocation: Invocation) -> bool {
    matches!(
        invocation,
        Invocation::PowerOff | Invocation::Reboot | Invocation::ReleaseConsole | Invocation::Panic
    )
}

fn wrong_types(world: &mut World) -> Outcome {
    let stage = Stage::new(world, 0)?;
    let mut pairs = 0;
    for object in stage.objects() {
        let (kind, ..) = call::identify(object)?;
        for &invocation in Invocation::ALL {
            if exists(invocation, kind) {
                continue;
            }
            pairs += 1;
            for argument in [0, 1, u64::MAX, call::word(stage.free)] {
                let result = call::invoke(object, invocation, &[argument; 7]);
                if result.err() != Some(SysError::UnknownOperation) {
                    report::line(format_args!("  {invocation:?} of {kind:?}"));
                    return refused(result, SysError::UnknownOperation, "a wrong type");
                }
            }
        }
    }
    check(pairs > 700, "pairs tried")?;
    for &kind in ObjectType::ALL {
        let made = matches!(
            kind,
            ObjectType::Null | ObjectType::Id | ObjectType::PerfMon
        );
        let known = stage
            .objects()
            .any(|object| call::identify(object).is_ok_and(|(is, ..)| is == kind));
        if !made && !known {
            report::line(format_args!("  there was no {kind:?}"));
            return Err(Failure::because("a type wasn't tried"));
        }
    }
    check(call::is_empty(stage.free), "nothing was made")
}

fn no_capability() -> Outcome {
    for &invocation in Invocation::ALL {
        for (word, error) in [
            (0, SysError::NoSuchSlot),
            (call::word(CapAddress::new(1, 255)), SysError::EmptySlot),
            (call::word(CapAddress::new(255, 0)), SysError::NoSuchSlot),
            (call::word(CapAddress::new(256, 0)), SysError::NoSuchSlot),
            (
                call::word(CapAddress::new(0xff_ffff, 255)),
                SysError::NoSuchSlot,
            ),
            (CapRef::l1(256).to_word(), SysError::NoSuchSlot),
            (CapRef::l1(0xff_ffff).to_word(), SysError::NoSuchSlot),
            (2 << 32, SysError::NoSuchSlot),
            (255 << 32 | 1, SysError::NoSuchSlot),
        ] {
            let mut registers = [u64::MAX; 12];
            registers[0] = word | (invocation as u64) << 48;
            svc::invoke(&mut registers);
            equal(registers[0], error as u64, "the error")?;
        }
    }
    Ok(())
}

fn unknown_numbers(world: &mut World) -> Outcome {
    let stage = Stage::new(world, 1)?;
    for object in stage.objects() {
        for number in (0..128).chain([255, 256, 0x7fff, 0xffff]) {
            if Invocation::try_from(number).is_ok() {
                continue;
            }
            let mut registers = [0; 12];
            registers[0] = call::word(object) | u64::from(number) << 48;
            svc::invoke(&mut registers);
            equal(registers[0], SysError::UnknownOperation as u64, "the error")?;
        }
    }
    Ok(())
}

fn unknown_calls() -> Outcome {
    for value in [0, 1, u64::MAX] {
        let mut registers = [value; 12];
        svc::numbered::<7>(&mut registers);
        equal(registers[0], SysError::UnknownOperation as u64, "number 7")?;
        let mut registers = [value; 12];
        svc::numbered::<65535>(&mut registers);
        equal(
            registers[0],
            SysError::UnknownOperation as u64,
            "the last number",
        )?;
    }
    Ok(())
}

fn kernel(world: &mut World) -> Outcome {
    let (_, buffer, _) = world.mapped(PAGE_SIZE)?;
    let [word, _, frequency] = call::invoke(call::KERNEL, Invocation::KernelInfo, &[])?;
    equal(word & 0xffff, 0, "the boot core's id")?;
    equal(frequency, svc::frequency(), "the counter's frequency")?;
    let counter = |n| call::invoke(call::KERNEL, Invocation::ReadCounter, &[n]);
    check(counter(0)?[0] > 0, "system calls so far")?;
    for n in [11, 12, u64::MAX] {
        refused(counter(n), SysError::OutOfRange, "no such counter")?;
    }
    let log = |address, length, position| {
        call::invoke(
            call::KERNEL,
            Invocation::ReadLog,
            &[address, length, position],
        )
    };
    let [bytes, _, end] = log(buffer, 100, 0)?;
    check(
        bytes > 0 && bytes <= 100 && end >= bytes,
        "a piece of the log",
    )?;
    equal(log(buffer, 100, u64::MAX)?[0], 0, "nothing behind its end")?;
    refused(log(0x123_4560, 100, 0), SysError::BadPointer, "to nowhere")?;
    refused(
        log(u64::MAX, 100, 0),
        SysError::BadPointer,
        "to the last byte",
    )?;
    let code = code::spin() & !0xfff;
    refused(log(code, 100, 0), SysError::BadPointer, "over our code")?;
    let print = |address, length| call::invoke(call::SELF, Invocation::Print, &[address, length]);
    refused(print(buffer, 257), SysError::OutOfRange, "too long a text")?;
    refused(
        print(buffer, u64::MAX),
        SysError::OutOfRange,
        "far too long",
    )?;
    refused(
        print(buffer + PAGE_SIZE - 4, 8),
        SysError::BadPointer,
        "over the end",
    )?;
    refused(print(u64::MAX - 3, 8), SysError::BadPointer, "that wraps")?;
    refused(print(1 << 48, 8), SysError::BadPointer, "of nobody")?;
    print(u64::MAX, 0).or(print(buffer, 0))?;
    let start = |image, core, release| {
        call::invoke(call::KERNEL, Invocation::StartCore, &[image, core, release])
    };
    let empty = call::word(world.slot()?);
    refused(start(empty, 1, 0), SysError::EmptySlot, "no image")?;
    refused(
        start(call::word(slot::HOME), 1, 0),
        SysError::WrongType,
        "no image",
    )?;
    let image = world.frame(16 * PAGE_SIZE, PAGE_SIZE)?;
    call::invoke(call::KERNEL, Invocation::Seal, &[call::word(image)])?;
    for (core, release) in [(1, 0), (0, 0), (u64::MAX, u64::MAX), (1, 0x4000_0000)] {
        refused(
            start(call::word(image), core, release),
            SysError::InvalidArgument,
            "an image without a kernel",
        )?;
    }
    check(
        call::invoke(call::KERNEL, Invocation::AffinityInfo, &[0xdead_beef]).is_err(),
        "a core that isn't",
    )?;
    equal(
        call::invoke(call::KERNEL, Invocation::AffinityInfo, &[0])?[0],
        0,
        "this core is on",
    )
}

fn configure(world: &mut World) -> Outcome {
    let child = Child::unconfigured(world)?;
    let good = [
        call::word(child.frame_cap),
        child.frame,
        call::word(slot::L1CNODE),
        call::word(slot::VSPACE_ROOT),
        0,
    ];
    let with = |index: usize, value: u64| {
        let mut arguments = good;
        arguments[index] = value;
        call::invoke(child.dispatcher, Invocation::Configure, &arguments)
    };
    refused(
        call::invoke(child.dispatcher, Invocation::Run, &[]),
        SysError::NotRunnable,
        "running it before",
    )?;
    let foreign_frame = world.frame(4 * PAGE_SIZE, PAGE_SIZE)?;
    let small = world.of_home(ObjectType::Frame, PAGE_SIZE)?;
    refused(
        with(0, call::word(foreign_frame)),
        SysError::OutOfRange,
        "a frame of RAM",
    )?;
    refused(
        with(0, call::word(small)),
        SysError::OutOfRange,
        "a small frame",
    )?;
    refused(
        with(0, call::word(slot::HOME)),
        SysError::WrongType,
        "no frame",
    )?;
    let weak = world.slot()?;
    call::copy_with(weak, child.frame_cap, Rights::READ)?;
    refused(
        with(0, call::word(weak)),
        SysError::MissingRight,
        "a read-only frame",
    )?;
    for address in [
        1,
        4097,
        (1 << 48) - 4096,
        1 << 48,
        u64::MAX - 4095,
        0xffff_8000_0000_0000,
    ] {
        refused(with(1, address), SysError::Unaligned, "a frame at no place")?;
    }
    refused(
        with(2, call::word(slot::HOME)),
        SysError::WrongType,
        "no CNode",
    )?;
    refused(
        with(2, CapRef::l1(0).to_word()),
        SysError::WrongType,
        "a CNode of level 2",
    )?;
    refused(
        with(3, call::word(slot::VSPACE_L1)),
        SysError::WrongType,
        "no root",
    )?;
    refused(with(4, 2), SysError::InvalidArgument, "a flag that isn't")?;
    refused(with(4, u64::MAX), SysError::InvalidArgument, "all flags")?;
    with(4, 0)?;
    refused(with(4, 0), SysError::AlreadyBound, "twice")
}

/// One call of `object`. Its answer must be one of the ABI's.
fn try_one(object: CapAddress, invocation: Invocation, arguments: &[u64; 7]) -> Outcome {
    let mut registers = [0; 12];
    registers[0] = invoke_word(object.into(), invocation);
    registers[1..8].copy_from_slice(arguments);
    svc::invoke(&mut registers);
    let known = registers[0] == 0 || SysError::try_from(registers[0]).is_ok();
    if !known {
        report::line(format_args!("  {invocation:?}: {arguments:x?}"));
    }
    if registers[0] == 0 && invocation == Invocation::Lock {
        // It may be what this program lives on.
        call::invoke(call::KERNEL, Invocation::Unlock, &[registers[1]])?;
    }
    if registers[0] == 0 && invocation == Invocation::MarkRange {
        call::invoke(call::KERNEL, Invocation::Unmark, &[registers[1]])?;
    }
    check(known, "an answer that is no error of the ABI")
}

/// All invocations of all objects, with the same value everywhere, or with random ones.
fn storm(world: &mut World, same: bool) -> Outcome {
    let mut stage = Stage::new(world, 2 + u64::from(same))?;
    for object in stage.objects() {
        let (kind, ..) = call::identify(object)?;
        for &invocation in Invocation::ALL {
            if is_final(invocation) || !exists(invocation, kind) {
                continue;
            }
            let rounds = if same { VALUES } else { u64::from(VECTORS) };
            for round in 0..rounds {
                let mut arguments = [0; 7];
                for argument in &mut arguments {
                    let number = if same { round } else { stage.random() % VALUES };
                    *argument = stage.value(number);
                }
                if invocation == Invocation::Print && arguments[1] <= 256 {
                    // The text would be the console's to show.
                    arguments[0] = 0x123_4560;
                }
                try_one(object, invocation, &arguments)?;
            }
            let mut registers = [0; 12];
            svc::nop(&mut registers);
            equal(
                registers[0],
                capelin_harness::abi::ABI_VERSION,
                "the kernel still answers",
            )?;
        }
        stage.clear();
    }
    Ok(())
}

/// Send, Call, Wait, Yield and Resume with boundary values. Waits have deadlines in the past, or
/// counts that aren't the current one.
fn other_calls() -> Outcome {
    let values = [0, 1, 8, 255, 1 << 16, 1 << 32, 1 << 40, 1 << 63, u64::MAX];
    for a in values {
        for b in values {
            let mut registers = [b; 12];
            registers[0] = a;
            svc::send(&mut registers);
            check(SysError::try_from(registers[0]).is_ok(), "Send to nowhere")?;
            let mut registers = [b; 12];
            registers[0] = a;
            registers[11] = 0;
            svc::call(&mut registers);
            check(SysError::try_from(registers[0]).is_ok(), "Call of nowhere")?;
            let mut registers = [b; 12];
            registers[0] = a;
            registers[10] = delivered().wrapping_add(b | 1);
            svc::wait(&mut registers);
            equal(registers[0], 0, "Wait with another count")?;
            let mut registers = [b; 12];
            registers[0] = a;
            registers[10] = delivered();
            registers[11] = 0;
            svc::wait(&mut registers);
            equal(registers[0], SysError::TimedOut as u64, "Wait for the past")?;
            if a > 1 {
                let mut registers = [b; 12];
                registers[0] = a;
                svc::resume(&mut registers);
                equal(
                    registers[0],
                    SysError::InvalidArgument as u64,
                    "Resume of nothing",
                )?;
            }
        }
        let mut registers = [a; 12];
        svc::yield_to(&mut registers);
        check(
            (registers[0] == 0) == (a == 0) || a == 1 << 63 || a == 1 << 40,
            "Yield to nobody",
        )?;
    }
    Ok(())
}

/// Capabilities whose object went while they were held elsewhere.
fn dead(world: &mut World) -> Outcome {
    let stage = Stage::new(world, 4)?;
    for object in stage.objects().filter(|&object| object != slot::KERNEL) {
        let (kind, ..) = call::identify(object)?;
        // The last capability to memory stays; what went with another is gone.
        let stays = matches!(
            kind,
            ObjectType::Ram | ObjectType::HomeRam | ObjectType::PhysAddr | ObjectType::IrqSource
        );
        match call::delete(object) {
            Ok(()) => {}
            Err(SysError::EmptySlot) if kind == ObjectType::Null => {}
            Err(SysError::LastCopy) if stays => continue,
            Err(error) => return Err(error.into()),
        }
        for &invocation in Invocation::ALL {
            refused(
                call::invoke(object, invocation, &[0; 7]),
                SysError::EmptySlot,
                "an invocation of what is gone",
            )?;
        }
    }
    check(CapRef::l1(0).level == Level::L1, "levels")
}

fn still_works(world: &mut World) -> Outcome {
    let (frame, address, mapping) = world.mapped(4 * PAGE_SIZE)?;
    fault::poke(address, 1);
    call::protect(mapping, MapFlags::READ)?;
    check(fault::write(address, 2).is_err(), "protection")?;
    call::protect(mapping, READ_WRITE)?;
    fault::poke(address, 3);
    call::delete(frame)?;
    check(fault::read(address).is_err(), "unmapping")?;
    let child = Child::new(world, code::spin(), 12)?;
    child.run()?;
    check(child.finish()?.1 == 12, "a child")?;
    let result = call::wait(false, delivered(), call::after(2));
    equal(result[0], SysError::TimedOut as u64, "a wait")
}
