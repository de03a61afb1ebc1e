//! The longest entries: every operation with the worst arguments that are known, each between
//! marks, so that who counts what the kernel executes (`scripts/xtask/plugin/events.c`) finds the
//! longest single entry of each. A call that is restarted is several entries.
//!
//! One line a path ([`Mark`]), in the order of the marks.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use core::cell::Cell;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use capelin_harness::abi::boot::{
    ARGS_MAGIC, CoreArgs, HOME_ALIGNMENT, HOME_AT_ONCE, KERNEL_MAGIC, KernelHeader,
};
use capelin_harness::abi::capability::{CNODE_BYTES, L1_LIMIT};
use capelin_harness::abi::dispatcher::offset;
use capelin_harness::abi::layout::slot;
use capelin_harness::abi::syscall::{Invocation, MapFlags, SendFlags};
use capelin_harness::abi::{
    ABI_VERSION, CapAddress, CapRef, KernelId, ObjectType, PAGE_SIZE, Rights, SysError, Ticket,
};
use capelin_harness::child::Endpoint;
use capelin_harness::fault::{peek, poke, read};
use capelin_harness::report::{Mark, MarkKind, line};
use capelin_harness::world::READ_WRITE;
use capelin_harness::{
    Child, Failure, Outcome, Suite, World, call, check, code, equal, refused, svc,
};

capelin_harness::program!(tests);

/// Entries of a table, and slots of a CNode.
const ENTRIES: u64 = 512;
const SLOTS: u32 = 256;
const BLOCK: u64 = ENTRIES * PAGE_SIZE;
const READ_EXECUTE: MapFlags = MapFlags::READ.union(MapFlags::EXECUTE);
const UNCACHED: MapFlags = READ_WRITE.union(MapFlags::UNCACHED);

fn tests(suite: &mut Suite) {
    let paths = Paths(Cell::new(0));
    // Many relations make the database's paths long.
    suite.test("entries/crowd", crowd);
    suite.test("entries/retype", |world| retypes(world, &paths));
    suite.test("entries/mappings", |world| mappings(world, &paths));
    suite.test("entries/deletions", |world| deletions(world, &paths));
    suite.test("entries/revocations", |world| revocations(world, &paths));
    suite.test("entries/dispatchers", |world| dispatchers(world, &paths));
    suite.test("entries/messages", |world| messages(world, &paths));
    suite.test("entries/kernel", |world| kernel(world, &paths));
    suite.test("entries/start-core", |world| start_core(world, &paths));
    suite.test("entries/marks", |world| marks(world, &paths));
    suite.test("entries/lost-and-found", |world| found(world, &paths));
    suite.test("entries/offers", |world| offers(world, &paths));
    suite.test("entries/nonsense", |world| nonsense(world, &paths));
}

/// Numbers the paths as who counts does.
struct Paths(Cell<u32>);

impl Paths {
    /// One operation, which must work.
    fn of(&self, name: &str, work: impl FnOnce() -> Result<(), SysError>) -> Outcome {
        svc::path_begins();
        let result = work();
        svc::path_ends();
        self.tell(format_args!("{name}"));
        Ok(result?)
    }

    /// Says which path that was.
    fn tell(&self, text: fmt::Arguments<'_>) {
        let number = self.0.replace(self.0.get() + 1);
        let kind = MarkKind::Entry;
        line(format_args!("{}", Mark { kind, number, text }));
    }

    /// One that may come to anything.
    fn any(&self, name: &str, work: impl FnOnce()) -> Outcome {
        self.of(name, || {
            work();
            Ok(())
        })
    }
}

/// Some thousand capabilities in one piece of memory, and copies.
fn crowd(world: &mut World) -> Outcome {
    for _ in 0..8 {
        let at = world.claim(u64::from(SLOTS) * PAGE_SIZE, PAGE_SIZE)?;
        let first = world.slots(SLOTS)?;
        let count = u64::from(SLOTS);
        let kind = ObjectType::Ram;
        call::retype(first.into(), world.ram_cap, kind, at, PAGE_SIZE, count)?;
    }
    Ok(())
}

fn retypes(world: &mut World, paths: &Paths) -> Outcome {
    let count = u64::from(SLOTS);
    for (name, kind) in [
        ("retype to 256 Ram", ObjectType::Ram),
        ("retype to 256 frames", ObjectType::Frame),
    ] {
        let (at, first) = (
            world.claim(count * PAGE_SIZE, PAGE_SIZE)?,
            world.slots(SLOTS)?,
        );
        let source = world.ram_cap;
        paths.of(name, || {
            call::retype(first.into(), source, kind, at, PAGE_SIZE, count)
        })?;
        for number in 0..SLOTS {
            let (is, ..) = call::identify(CapAddress(first.0 + number))?;
            check(is == kind, "each was made")?;
        }
    }
    let (at, full) = (
        world.claim(count * PAGE_SIZE, PAGE_SIZE)?,
        world.slots(SLOTS)?,
    );
    call::copy(CapAddress(full.0 + SLOTS - 1), slot::ARCHIVE)?;
    let source = world.ram_cap;
    paths.any("retype to 256 slots, the last in use", || {
        let kind = ObjectType::Frame;
        let got = call::retype(full.into(), source, kind, at, PAGE_SIZE, count);
        check(got == Err(SysError::SlotInUse), "the last slot is in use").unwrap_or(());
    })?;
    check(call::is_empty(full), "nothing was made")?;
    let (at, one) = (world.claim(8 * BLOCK, PAGE_SIZE)?, world.slot()?);
    paths.of("retype to a frame of 16 MiB", || {
        call::retype(one.into(), source, ObjectType::Frame, at, 8 * BLOCK, 1)
    })?;
    let (at, first) = (world.claim_home(32 * 8192)?, world.slots(32)?);
    paths.of("retype to 32 tables", || {
        let kind = ObjectType::VNodeL3;
        call::retype(first.into(), slot::HOME, kind, at, 0, 32)
    })?;
    let at = world.claim_home(3 * CNODE_BYTES)?;
    for number in 0..3 {
        let offset = at + number * CNODE_BYTES;
        paths.of("grow a CSpace to its last slot", || {
            let arguments = [u64::from(L1_LIMIT - 1), call::word(slot::HOME), offset];
            call::invoke(call::CSPACE, Invocation::Grow, &arguments).map(drop)
        })?;
    }
    let (ram, home) = (
        world.of_ram(ObjectType::Ram, HOME_AT_ONCE, HOME_ALIGNMENT)?,
        world.slot()?,
    );
    paths.of("adopt 64 MiB of home memory", || {
        let arguments = [ram, home].map(call::word);
        call::invoke(call::KERNEL, Invocation::AdoptHome, &arguments).map(drop)
    })?;
    paths.of("give 64 MiB of home memory back", || {
        let arguments = [call::word(home)];
        call::invoke(call::KERNEL, Invocation::ReleaseHome, &arguments).map(drop)
    })?;
    paths.any("a slot past the last chunk", || {
        let _ = call::identify(CapAddress::new(L1_LIMIT - 1, 9));
    })
}

fn mappings(world: &mut World, paths: &Paths) -> Outcome {
    for (name, flags) in [
        ("map 512 pages", READ_WRITE),
        ("map 512 pages executable", READ_EXECUTE),
        ("map 512 pages uncached", UNCACHED),
    ] {
        let frame = world.frame(BLOCK, BLOCK)?;
        let (table, mapping) = (full_table(world)?, world.slot()?);
        if flags.contains(MapFlags::EXECUTE) {
            paths.of("make a frame executable", || call::make_executable(frame))?;
        }
        paths.of(name, || {
            call::map(table, frame, 0, ENTRIES, flags, 0, mapping)
        })?;
        paths.of("unmap 512 pages", || call::unmap(mapping))?;
        let mapping = world.slot()?;
        call::map(table, frame, 0, ENTRIES, flags, 0, mapping)?;
        paths.of("delete a frame mapped by 512 entries", || {
            call::delete(frame)
        })?;
        check(call::is_empty(mapping), "its mapping went with it")?;
    }
    let (table, frame) = (full_table(world)?, world.frame(BLOCK, BLOCK)?);
    let (last, mapping) = (world.slot()?, world.slot()?);
    call::map(table, frame, ENTRIES - 1, 1, READ_WRITE, 0, last)?;
    paths.any("map 512 entries, the last in use", || {
        let _ = call::map(table, frame, 0, ENTRIES, READ_WRITE, 0, mapping);
    })?;
    check(call::is_empty(mapping), "nothing was mapped")?;
    let (table, frame) = (full_table(world)?, world.frame(BLOCK, BLOCK)?);
    call::make_executable(frame)?;
    call::map(table, frame, 0, ENTRIES, MapFlags::READ, 0, mapping)?;
    paths.of("protect 512 executable", || {
        call::protect(mapping, READ_EXECUTE)
    })?;
    paths.of("protect 512", || call::protect(mapping, MapFlags::READ))?;
    // A table with as many mappings as it has entries.
    let (table, frame) = (full_table(world)?, world.frame(BLOCK, BLOCK)?);
    for half in 0..2 {
        let first = world.slots(SLOTS)?;
        for number in 0..SLOTS {
            let entry = half * u64::from(SLOTS) + u64::from(number);
            let at = CapAddress(first.0 + number);
            call::map(table, frame, entry, 1, READ_WRITE, 0, at)?;
        }
    }
    paths.of("delete a table with 512 mappings", || call::delete(table))
}

/// A table of level 3 that is part of this address space.
fn full_table(world: &mut World) -> Result<CapAddress, Failure> {
    let address = world.addresses(BLOCK, BLOCK)?;
    Ok(world.table3(address)?.0)
}

fn deletions(world: &mut World, paths: &Paths) -> Outcome {
    for (name, level1) in [("an L2 CNode", false), ("an L1 CNode", true)] {
        let root = world.object(ObjectType::L1CNode)?;
        let source = world.claim(u64::from(SLOTS) * PAGE_SIZE, PAGE_SIZE)?;
        let offset = world.claim_home(0x4000)?;
        let (home, kind) = (call::word(slot::HOME), ObjectType::L2CNode as u64);
        let arguments = [CapRef::l1(0).to_word(), home, kind, offset, 0x4000, 1];
        call::invoke(root, Invocation::Retype, &arguments)?;
        for number in 1..SLOTS {
            let to = CapAddress(number);
            let at = source + u64::from(number) * PAGE_SIZE;
            let ram = call::word(world.ram_cap);
            let kind = ObjectType::Frame as u64;
            let arguments = [call::word(to), ram, kind, at, PAGE_SIZE, 1];
            call::invoke(root, Invocation::Retype, &arguments)?;
        }
        if level1 {
            paths.of(name, || call::delete(root))?;
        } else {
            let cnode = CapRef::l1(0).to_word();
            paths.of(name, || {
                call::invoke(root, Invocation::Delete, &[cnode]).map(drop)
            })?;
        }
    }
    let frame = world.frame(PAGE_SIZE, PAGE_SIZE)?;
    let copies = world.slots(SLOTS)?;
    for number in 0..SLOTS {
        call::copy(CapAddress(copies.0 + number), frame)?;
    }
    paths.of("delete a copy", || call::delete(copies))?;
    paths.of("copy", || call::copy(copies, frame))
}

fn revocations(world: &mut World, paths: &Paths) -> Outcome {
    let ram = world.of_ram(ObjectType::Ram, 2 * BLOCK, BLOCK)?;
    let first = world.slots(SLOTS)?;
    let (kind, count) = (ObjectType::Frame, u64::from(SLOTS));
    call::retype(first.into(), ram, kind, 0, PAGE_SIZE, count)?;
    paths.of("revoke Ram with 256 frames", || call::revoke(ram))?;
    // Big mappings, one behind the other: each is one step.
    for number in 0..2 {
        let to = CapAddress(first.0 + number);
        call::retype(to.into(), ram, kind, u64::from(number) * BLOCK, BLOCK, 1)?;
        for _ in 0..3 {
            let (table, mapping) = (full_table(world)?, world.slot()?);
            call::map(table, to, 0, ENTRIES, READ_WRITE, 0, mapping)?;
        }
    }
    paths.of("revoke Ram with frames mapped by 3072 entries", || {
        call::revoke(ram)
    })?;
    call::retype(first.into(), ram, kind, 0, PAGE_SIZE, 1)?;
    let copies = world.slots(SLOTS)?;
    for number in 0..SLOTS {
        call::copy(CapAddress(copies.0 + number), first)?;
    }
    paths.of("revoke a frame with 256 copies", || call::revoke(first))
}

fn child(world: &mut World) -> Result<Child, Failure> {
    Child::new(world, code::spin(), 1)
}

fn dispatchers(world: &mut World, paths: &Paths) -> Outcome {
    let bare = Child::unconfigured(world)?;
    let arguments = [
        call::word(bare.frame_cap),
        bare.frame,
        call::word(slot::L1CNODE),
        call::word(slot::VSPACE_ROOT),
        0,
    ];
    paths.of("configure", || {
        call::invoke(bare.dispatcher, Invocation::Configure, &arguments).map(drop)
    })?;
    let busy = child(world)?;
    let first = world.slots(64)?;
    for number in 0..63 {
        let ring = offset::ENDPOINTS as u64;
        let to = call::word(CapAddress(first.0 + number));
        call::invoke(busy.dispatcher, Invocation::MakeEndpoint, &[ring, 1, to])?;
    }
    let last = CapAddress(first.0 + 63);
    paths.of("make the 64th endpoint", || {
        let arguments = [offset::ENDPOINTS as u64, 1, call::word(last)];
        call::invoke(busy.dispatcher, Invocation::MakeEndpoint, &arguments).map(drop)
    })?;
    let irqs = world.slots(128)?;
    let bind = |number: u32| {
        let one = CapAddress(irqs.0 + number);
        let (to, kind) = (CapAddress(one.0 + 64), ObjectType::IrqSource);
        let intid = 120 + u64::from(number);
        call::retype(one.into(), slot::IRQ, kind, intid, 1, 1)?;
        let arguments = [call::word(CapAddress(first.0 + number)), call::word(to)];
        call::invoke(one, Invocation::BindIrq, &arguments).map(|_| ())
    };
    let mut bound = 0;
    while bound < 62 && bind(bound).is_ok() {
        bound += 1;
    }
    paths.any("bind one interrupt more", || {
        let _ = bind(63);
    })?;
    let notify = world.slot()?;
    paths.of("make a Notify", || {
        let arguments = [63, call::word(notify)];
        call::invoke(busy.dispatcher, Invocation::MakeNotify, &arguments).map(drop)
    })?;
    paths.of("ring", || {
        call::invoke(notify, Invocation::Ring, &[]).map(drop)
    })?;
    paths.of("run", || {
        call::invoke(busy.dispatcher, Invocation::Run, &[]).map(drop)
    })?;
    paths.of("stop", || {
        call::invoke(busy.dispatcher, Invocation::Stop, &[]).map(drop)
    })?;
    paths.of("exit", || {
        call::invoke(busy.dispatcher, Invocation::Exit, &[7]).map(drop)
    })?;
    paths.of("delete a dispatcher with 64 endpoints", || {
        call::delete(busy.dispatcher)
    })?;
    let fault = child(world)?;
    fault.run()?;
    paths.any("yield to one that ends", call::yield_now)?;
    // Its registers are told, while the console is the kernel's.
    let faulty = Child::new(world, code::breakpoint(), 0)?;
    faulty.run()?;
    paths.any("a fault that ends a dispatcher", call::yield_now)
}

fn messages(world: &mut World, paths: &Paths) -> Outcome {
    let own = Endpoint::own(world, 0x1000, 4)?;
    let (frame, to) = (world.frame(PAGE_SIZE, PAGE_SIZE)?, world.slot()?);
    own.post(Some(to));
    paths.of("send eight words and a capability", || {
        call::send(own.cap, Some(frame), SendFlags::empty(), &[5; 8])
    })?;
    paths.any("call oneself", || {
        let _ = call::call(own.cap, &[1; 8], 0, u64::MAX);
    })?;
    paths.any("wait for a deadline", || {
        let seen = capelin_harness::child::delivered();
        let _ = call::wait(true, seen, svc::counter() + 1000);
    })?;
    paths.any("a page fault", || {
        let _ = read(0x123_4560);
    })
}

fn kernel(world: &mut World, paths: &Paths) -> Outcome {
    let (_, buffer, _) = world.mapped(2 * PAGE_SIZE)?;
    let invoke =
        |invocation, arguments: &[u64]| call::invoke(call::KERNEL, invocation, arguments).map(drop);
    paths.of("read the log", || {
        invoke(Invocation::ReadLog, &[buffer + 1, PAGE_SIZE, 0])
    })?;
    paths.of("print", || call::print(&[b' '; 255]))?;
    paths.any("the leaf past the last", || {
        let got = invoke(Invocation::MapLeaf, &[1 << 40]);
        let _ = refused(got, SysError::OutOfRange, "the last leaf");
    })?;
    let ram = world.of_ram(ObjectType::Ram, PAGE_SIZE, PAGE_SIZE)?;
    let free = world.slot()?;
    paths.any("export and import", || {
        let _ = invoke(Invocation::Export, &[call::word(ram), 1]);
        let ticket = Ticket::new(KernelId(1), 0, 1).to_word();
        let _ = invoke(Invocation::Import, &[ticket, call::word(free)]);
    })?;
    let frame = world.frame(BLOCK, BLOCK)?;
    paths.of("seal", || invoke(Invocation::Seal, &[call::word(frame)]))?;
    paths.of("probe", || invoke(Invocation::Probe, &[0x4000_0000]))?;
    paths.any("ask for a core", || {
        let _ = invoke(Invocation::AffinityInfo, &[1]);
    })
}

/// Frames that are on their way to other kernels: they mustn't be lost.
struct Away {
    pool: CapAddress,
    made: u64,
    to: u64,
}

impl Away {
    /// An L1 CNode with `count` of them, no more than one outbox takes, and their tickets.
    fn cnode(
        &mut self,
        world: &mut World,
        count: u32,
    ) -> Result<(CapAddress, [u64; 100]), Failure> {
        let root = world.object(ObjectType::L1CNode)?;
        let scratch = world.slot()?;
        let mut tickets = [0; 100];
        for (number, ticket) in (0..count).zip(&mut tickets) {
            let (kind, at) = (ObjectType::Frame, self.made * PAGE_SIZE);
            call::retype(scratch.into(), self.pool, kind, at, PAGE_SIZE, 1)?;
            self.made += 1;
            *ticket = loop {
                const COPY: u64 = 1 << 16;
                let arguments = [call::word(scratch), self.to | COPY];
                match call::invoke(call::KERNEL, Invocation::Export, &arguments) {
                    Ok([ticket, ..]) => break ticket,
                    // One kernel has its share of the outbox.
                    Err(_) if self.to < 60 => self.to += 1,
                    Err(error) => return Err(error.into()),
                }
            };
            let target = CapRef::l1(number).to_word();
            let all = u64::from(Rights::all().bits());
            call::invoke(root, Invocation::Copy, &[target, call::word(scratch), all])?;
            call::delete(scratch)?;
        }
        Ok((root, tickets))
    }
}

/// What becomes of a full lost-and-found: deletions that look for room in it, some that it
/// blocks, beside the timer; and what it has, taken out while 16 ranges are marked.
fn found(world: &mut World, paths: &Paths) -> Outcome {
    const BLOCKED: u32 = 12;
    let pool = world.of_ram(ObjectType::Ram, 320 * PAGE_SIZE, PAGE_SIZE)?;
    let mut away = Away {
        pool,
        made: 0,
        to: 1,
    };
    let settle = |tickets: &[u64]| {
        // That it is over leaves what was offered in the lost-and-found.
        for &ticket in tickets {
            call::invoke(call::KERNEL, Invocation::SettleExport, &[ticket, 1])?;
        }
        Ok::<(), SysError>(())
    };
    for _ in 0..2 {
        let (root, tickets) = away.cnode(world, 100)?;
        call::delete(root)?;
        settle(&tickets)?;
    }
    let (root, tickets) = away.cnode(world, 50)?;
    paths.of("a CNode whose 50 frames are kept behind 200", || {
        call::delete(root)
    })?;
    settle(&tickets[..50])?;
    let roots = world.slots(BLOCKED)?;
    let mut stay = [[0; 2]; BLOCKED as usize];
    for (number, stay) in (0..).zip(&mut stay) {
        let (root, tickets) = away.cnode(world, 2)?;
        stay.copy_from_slice(&tickets[..2]);
        call::copy(CapAddress(roots.0 + number), root)?;
        call::delete(root)?;
    }
    paths.any("deletions that a full lost-and-found blocks", || {
        for number in 0..BLOCKED {
            let _ = call::delete(CapAddress(roots.0 + number));
        }
    })?;
    let busy = Child::new(world, code::spin(), 0)?;
    busy.run()?;
    paths.any("the timer beside such deletions", || {
        for _ in 0..4 {
            let seen = capelin_harness::child::delivered();
            let _ = call::wait(true, seen, call::after(3));
        }
    })?;
    call::invoke(busy.dispatcher, Invocation::Stop, &[])?;
    let mut ids = [0; MARKS as usize];
    let marked = world.slots(MARKS)?;
    let at = world.claim(u64::from(MARKS) * PAGE_SIZE, PAGE_SIZE)?;
    call::retype(
        marked.into(),
        world.ram_cap,
        ObjectType::Ram,
        at,
        PAGE_SIZE,
        MARKS.into(),
    )?;
    for (number, id) in (0..).zip(&mut ids) {
        // All that is there lies in the first.
        let piece = if number == 0 {
            pool.0
        } else {
            marked.0 + number
        };
        let piece = call::word(CapAddress(piece));
        [*id, ..] = call::invoke(call::KERNEL, Invocation::MarkRange, &[piece])?;
    }
    let free = world.slot()?;
    let mut taken = Ok([0; 3]);
    paths.any("take what was found, all of which is marked", || {
        taken = call::invoke(call::KERNEL, Invocation::TakeOrphan, &[call::word(free)]);
    })?;
    refused(taken, SysError::EmptySlot, "one that is marked")?;
    for id in ids {
        call::invoke(call::KERNEL, Invocation::Unmark, &[id, 0])?;
    }
    settle(stay.as_flattened())?;
    let all_found = call::invoke(call::KERNEL, Invocation::TakeOrphan, &[call::word(free)]);
    all_found.map(drop).map_err(Failure::from)
}

/// A CoreImage that passes all checks, for a core that doesn't exist.
fn start_core(world: &mut World, paths: &Paths) -> Outcome {
    let bytes = 2 * BLOCK;
    let frame = world.frame(bytes, BLOCK)?;
    let address = world.addresses(bytes, BLOCK)?;
    let mapping = world.map_at(address, frame, BLOCK, READ_WRITE)?;
    let (_, base, _) = call::identify(frame)?;
    let memory = 16 * PAGE_SIZE;
    let field = |at: usize, value: u64| poke(address + at as u64, value);
    field(core::mem::offset_of!(KernelHeader, magic), KERNEL_MAGIC);
    let version = core::mem::offset_of!(KernelHeader, abi_version);
    field(version, ABI_VERSION);
    field(core::mem::offset_of!(KernelHeader, memory_bytes), memory);
    let argument = |at: usize, value: u64| poke(address + memory + at as u64, value);
    argument(core::mem::offset_of!(CoreArgs, magic), ARGS_MAGIC);
    argument(core::mem::offset_of!(CoreArgs, kernel_id), 7);
    argument(core::mem::offset_of!(CoreArgs, mpidr), 0xff_00ff_00ff);
    let home = core::mem::offset_of!(CoreArgs, home);
    argument(home, base);
    argument(home + 8, bytes);
    let domain = core::mem::offset_of!(CoreArgs, domain_offset);
    argument(domain, bytes - PAGE_SIZE);
    argument(domain + 8, PAGE_SIZE);
    call::unmap(mapping)?;
    call::invoke(call::KERNEL, Invocation::Seal, &[call::word(frame)])?;
    paths.any("start a core from 4 MiB", || {
        let arguments = [call::word(frame), 0xff_00ff_00ff, 0];
        let got = call::invoke(call::KERNEL, Invocation::StartCore, &arguments);
        let _ = got;
    })
}

/// How many operations between kernels can hold something, and whose marks are nested in a
/// dispatcher that ends.
const MARKS: u32 = 16;

/// The first of [`MARKS`] pieces of memory, each in the one before.
static NESTED: AtomicU32 = AtomicU32::new(0);

/// Marks them all, the innermost first, so that each absorbs those before, and ends.
extern "C" fn marker(_: u64) -> u64 {
    let first = NESTED.load(Ordering::Relaxed);
    let marked = (0..MARKS).rev().filter(|number| {
        let piece = call::word(CapAddress(first + number));
        call::invoke(call::KERNEL, Invocation::MarkRange, &[piece]).is_ok()
    });
    marked.count() as u64
}

/// The end of a dispatcher for which something is held in every place.
fn marks(world: &mut World, paths: &Paths) -> Outcome {
    let pieces = u64::from(MARKS);
    let first = world.slots(MARKS)?;
    let mut from = (
        world.ram_cap,
        world.claim((pieces + 1) * PAGE_SIZE, PAGE_SIZE)?,
    );
    for number in 0..MARKS {
        let to = CapAddress(first.0 + number);
        let bytes = (pieces + 1 - u64::from(number)) * PAGE_SIZE;
        call::retype(to.into(), from.0, ObjectType::Ram, from.1, bytes, 1)?;
        from = (to, 0);
    }
    NESTED.store(first.0, Ordering::Relaxed);
    let child = Child::of(world, marker, 0)?;
    child.run()?;
    paths.any("the end of who has marked 16 ranges in each other", || {
        let _ = child.finish();
    })?;
    let (_, marked) = child.status()?;
    equal(u64::from(marked), pieces, "ranges that were marked")?;
    // Nothing is held any more.
    call::copy(world.slot()?, CapAddress(first.0 + MARKS - 1))?;
    Ok(())
}

/// As many offers as there can be, the last four of them in a range that is revoked.
fn offers(world: &mut World, paths: &Paths) -> Outcome {
    // One more stands since `entries/kernel`.
    const OFFERS: u32 = 119;
    const INSIDE: u32 = 4;
    let invoke = |what, arguments: &[u64]| call::invoke(call::KERNEL, what, arguments);
    let ram = world.of_ram(
        ObjectType::Ram,
        2 * u64::from(INSIDE) * PAGE_SIZE,
        PAGE_SIZE,
    )?;
    let (first, outside) = (world.slots(OFFERS)?, u64::from(OFFERS - INSIDE));
    let at = world.claim(outside * PAGE_SIZE, PAGE_SIZE)?;
    let (source, kind) = (world.ram_cap, ObjectType::Ram);
    call::retype(first.into(), source, kind, at, PAGE_SIZE, outside)?;
    let inside = CapAddress(first.0 + OFFERS - INSIDE);
    call::retype(inside.into(), ram, kind, 0, PAGE_SIZE, INSIDE.into())?;
    // To each kernel as many as it may have.
    let (mut to, mut refusals) = (1, 0);
    let mut number = 0;
    while number < OFFERS && refusals < OFFERS {
        let piece = call::word(CapAddress(first.0 + number));
        match invoke(Invocation::Export, &[piece, to]) {
            Ok(_) => number += 1,
            Err(_) => (to, refusals) = (to + 1, refusals + 1),
        }
    }
    equal(number.into(), OFFERS.into(), "offers that stand")?;
    let [id, ..] = invoke(Invocation::MarkRange, &[call::word(ram)])?;
    paths.of("commit a mark beside 120 offers", || {
        invoke(Invocation::CommitMark, &[id]).map(drop)
    })?;
    Ok(())
}

/// Every invocation of every capability that there is, with arguments that are large.
fn nonsense(world: &mut World, paths: &Paths) -> Outcome {
    let scratch = world.slots(64)?;
    let kinds = [
        slot::L1CNODE,
        slot::VSPACE_L1,
        slot::DISPATCHER_FRAME,
        slot::HOME,
        slot::IRQ,
        slot::KERNEL,
    ];
    for (number, &kind) in (0..).zip(&kinds) {
        call::copy(CapAddress(scratch.0 + number), kind)?;
    }
    for &invocation in Invocation::ALL {
        let ends = [
            Invocation::PowerOff,
            Invocation::Reboot,
            Invocation::Panic,
            Invocation::ReleaseConsole,
        ];
        if ends.contains(&invocation) {
            continue;
        }
        svc::path_begins();
        for (number, _) in (0..).zip(&kinds) {
            let cap = CapAddress(scratch.0 + number);
            for word in [0, 1, 256, 1 << 16, 511 << 16, 1 << 40, u64::MAX] {
                let _ = call::invoke(cap, invocation, &[word; 7]);
            }
        }
        svc::path_ends();
        paths.tell(format_args!("nonsense: {invocation:?}"));
    }
    check(
        peek(capelin_harness::abi::layout::BOOT_INFO.0) != 0,
        "it goes on",
    )?;
    check(Rights::all().bits() == 0x3f, "rights")
}
