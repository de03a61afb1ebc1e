//! What grows: an L1 CNode, whose slots past the first 256 serve as those do, with more
//! capabilities than 65,536, which go in bounded steps; and home memory, which becomes this
//! kernel's, serves as what it was started with does, and is given back.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use capelin_harness::abi::boot::HOME_ALIGNMENT;
use capelin_harness::abi::capability::{
    CNODE_BYTES, CNODE_SLOTS, L1_CHUNKS, L1_LIMIT, VNODE_BYTES,
};
use capelin_harness::abi::layout::{DYNAMIC_START, slot};
use capelin_harness::abi::syscall::{Invocation, SendFlags};
use capelin_harness::abi::{CapAddress, CapRef, ObjectType, PAGE_SIZE, SysError};
use capelin_harness::child::{Endpoint, delivered};
use capelin_harness::fault::{peek, poke};
use capelin_harness::report::line;
use capelin_harness::world::READ_WRITE;
use capelin_harness::{Failure, Outcome, Suite, World, call, check, equal, refused, ticker};

capelin_harness::program!(tests);

/// Capabilities that a CSpace has room for before it grows.
const FIRST_LIMIT: u64 = 65_536;
/// The first L1 slot past those that an L1 CNode has at first.
const FIRST: u32 = 256;

fn tests(suite: &mut Suite) {
    suite.test("growth/by-one-cnode-a-call", by_one);
    suite.test("growth/slots-serve", slots_serve);
    suite.test("growth/up-to-the-last-address", last_address);
    suite.test("growth/home-memory", home_memory);
    suite.test("growth/more-than-65536", as_many);
}

/// Grows by the CNode at `offset` of the home memory in `source`; how many more it takes.
fn grow(number: u32, source: CapAddress, offset: u64) -> Result<u64, SysError> {
    let arguments = [number.into(), call::word(source), offset];
    let [more, ..] = call::invoke(call::CSPACE, Invocation::Grow, &arguments)?;
    Ok(more)
}

/// Grows until L1 slot `number` is there, which takes `count` CNodes: the memory that they
/// are made of.
fn grow_to(world: &mut World, number: u32, count: u64) -> Result<CapAddress, Failure> {
    let home = world.of_home(ObjectType::HomeRam, count * CNODE_BYTES)?;
    for made in 0..count {
        let more = grow(number, home, made * CNODE_BYTES)?;
        equal(more, count - made - 1, "CNodes that are missing")?;
    }
    Ok(home)
}

fn by_one(world: &mut World) -> Outcome {
    let home = world.of_home(ObjectType::HomeRam, 4 * CNODE_BYTES)?;
    let gone = |address| refused(call::identify(address), SysError::NoSuchSlot, "not there");
    let address = CapAddress::new(FIRST, 0);
    let in_use = || grow(0, home, 0);
    refused(in_use(), SysError::SlotInUse, "it has slot 0")?;
    refused(grow(255, home, 0), SysError::SlotInUse, "and slot 255")?;
    refused(
        grow(L1_LIMIT, home, 0),
        SysError::OutOfRange,
        "no address has such a slot",
    )?;
    refused(
        grow(FIRST, home, 4 * CNODE_BYTES),
        SysError::OutOfRange,
        "past the memory's end",
    )?;
    refused(grow(FIRST, home, 1), SysError::Unaligned, "between pages")?;
    refused(
        grow(FIRST, world.ram_cap, 0),
        SysError::WrongType,
        "of memory that the kernel doesn't see",
    )?;
    for (offset, more) in [(0, 2), (1, 1), (2, 0)] {
        gone(address)?;
        equal(grow(FIRST, home, offset * CNODE_BYTES)?, more, "missing")?;
        let again = grow(FIRST, home, offset * CNODE_BYTES);
        if more > 0 {
            refused(again, SysError::RangeInUse, "the same memory twice")?;
        } else {
            refused(again, SysError::SlotInUse, "it is there")?;
        }
    }
    gone(address)?;
    check(
        grow(FIRST + 1, home, 3 * CNODE_BYTES) == Err(SysError::SlotInUse),
        "a chunk has 256",
    )?;
    call::revoke(home)?;
    gone(address)
}

fn slots_serve(world: &mut World) -> Outcome {
    let chunks = grow_to(world, FIRST, 3)?;
    // L1 slots in a row, up to the chunk's end and not past it.
    let home = world.of_home(ObjectType::HomeRam, 4 * CNODE_BYTES)?;
    let cnodes = |first, count| {
        let kind = ObjectType::L2CNode;
        call::retype(CapRef::l1(first), home, kind, 0, CNODE_BYTES, count)
    };
    refused(
        cnodes(FIRST + 253, 4),
        SysError::OutOfRange,
        "past a chunk's end",
    )?;
    cnodes(FIRST + 252, 4)?;
    let last = CapAddress::new(FIRST + 255, 255);
    let at = |n| CapAddress::new(FIRST + 252, n);
    // A frame there, mapped by a mapping there, with what was written.
    let frame = world.frame(PAGE_SIZE, PAGE_SIZE)?;
    call::copy(last, frame)?;
    call::delete(frame)?;
    let address = world.addresses(PAGE_SIZE, PAGE_SIZE)?;
    let (table, entry) = world.table3(address)?;
    call::map(table, last, entry, 1, READ_WRITE, 0, at(0))?;
    poke(address, 0x1234);
    equal(peek(address), 0x1234, "what was written")?;
    call::unmap(at(0))?;
    // An object there, invoked; a capability received there.
    let offset = world.claim_home(PAGE_SIZE)?;
    let (kind, target) = (ObjectType::Dispatcher, at(1).into());
    call::retype(target, slot::HOME, kind, offset, PAGE_SIZE, 1)?;
    call::status(at(1))?;
    let endpoint = Endpoint::own(world, 0x1000, 2)?;
    endpoint.post(Some(at(2)));
    call::send(endpoint.cap, Some(last), SendFlags::MOVE, &[7])?;
    check(endpoint.take().is_some(), "a message")?;
    check(call::is_empty(last), "what was moved")?;
    check(call::identify(at(2))?.0 == ObjectType::Frame, "is there")?;
    call::delete(endpoint.cap)?;
    // Growing once more moves nothing.
    let more = world.of_home(ObjectType::HomeRam, CNODE_BYTES)?;
    equal(grow(FIRST + 256, more, 0)?, 0, "CNodes that are missing")?;
    check(call::identify(at(2))?.0 == ObjectType::Frame, "still there")?;
    call::delete(at(2))?;
    // What a chunk holds goes with the chunk's memory.
    call::revoke(more)?;
    call::revoke(chunks)?;
    refused(
        call::identify(at(1)),
        SysError::NoSuchSlot,
        "a slot of a chunk that is gone",
    )?;
    // What lay there is deleted when the kernel has nothing else to do; then its memory is free.
    let _ = call::wait(false, delivered(), call::after(5));
    let again = world.slot()?;
    let bytes = 4 * CNODE_BYTES;
    call::retype(again.into(), home, ObjectType::Frame, 0, bytes, 1)?;
    call::delete(again)?;
    Ok(())
}

fn last_address(world: &mut World) -> Outcome {
    let home = grow_to(world, L1_LIMIT - 1, 3)?;
    let target = CapRef::l1(L1_LIMIT - 1);
    let offset = world.claim_home(CNODE_BYTES)?;
    call::retype(
        target,
        slot::HOME,
        ObjectType::L2CNode,
        offset,
        CNODE_BYTES,
        1,
    )?;
    let address = CapAddress(u32::MAX);
    call::copy(address, slot::ARCHIVE)?;
    check(
        call::identify(address)? == call::identify(slot::ARCHIVE)?,
        "a copy in the last slot of all",
    )?;
    call::revoke(home)?;
    refused(
        call::identify(address),
        SysError::NoSuchSlot,
        "the last slot",
    )
}

/// Whether the CPU driver's own map reaches the first word of a page.
fn is_mapped(page: u64) -> Result<bool, SysError> {
    let [faulted, ..] = call::invoke(call::KERNEL, Invocation::Probe, &[page])?;
    Ok(faulted == 0)
}

/// Whether the CPU driver takes a page of memory into its window.
fn is_shown(world: &World, page: u64) -> Result<(), SysError> {
    let arguments = [page, call::word(world.ram_cap)];
    call::invoke(call::KERNEL, Invocation::ProbeWindow, &arguments).map(drop)
}

/// More home memory, with what it was made of.
struct Adopted {
    ram: CapAddress,
    home: CapAddress,
    base: u64,
}

impl Adopted {
    fn new(world: &mut World, bytes: u64) -> Result<Self, Failure> {
        let ram = world.of_ram(ObjectType::Ram, bytes, HOME_ALIGNMENT)?;
        let (_, base, _) = call::identify(ram)?;
        let home = world.slot()?;
        check(!is_mapped(base)?, "it is mapped before")?;
        adopt(ram, home)?;
        Ok(Self { ram, home, base })
    }

    fn release(&self) -> Result<(), SysError> {
        let arguments = [call::word(self.home)];
        call::invoke(call::KERNEL, Invocation::ReleaseHome, &arguments).map(drop)
    }
}

fn adopt(ram: CapAddress, home: CapAddress) -> Result<(), SysError> {
    let arguments = [ram, home].map(call::word);
    call::invoke(call::KERNEL, Invocation::AdoptHome, &arguments).map(drop)
}

/// Memory that was nobody's home is the kernel's, and nobody else's, until it is given back.
fn home_memory(world: &mut World) -> Outcome {
    let bytes = 2 * HOME_ALIGNMENT;
    for _ in 0..3 {
        let adopted = Adopted::new(world, bytes)?;
        let (base, last) = (adopted.base, adopted.base + bytes - PAGE_SIZE);
        for page in [base, last] {
            check(is_mapped(page)?, "it isn't mapped")?;
            refused(is_shown(world, page), SysError::RangeInUse, "the window")?;
        }
        check(!is_mapped(last + PAGE_SIZE)?, "the page behind is mapped")?;
        is_shown(world, last + PAGE_SIZE)?;
        // Kernel objects there work: a table, which maps, and a CNode.
        let (table, cnode) = (world.slot()?, world.slot()?);
        let place = |kind, at, offset, bytes| {
            call::retype(CapRef::l2(at), adopted.home, kind, offset, bytes, 1)
        };
        place(ObjectType::VNodeL3, table, bytes - VNODE_BYTES, VNODE_BYTES)?;
        place(ObjectType::L2CNode, cnode, 0, CNODE_BYTES)?;
        let (table2, _) = world.table2(0);
        let (entry, frame) = (500, world.frame(PAGE_SIZE, PAGE_SIZE)?);
        let (attached, mapping) = (world.slot()?, world.slot()?);
        call::attach(table2, table, entry, attached)?;
        call::map(table, frame, 7, 1, READ_WRITE, 0, mapping)?;
        let address = DYNAMIC_START.0 + entry * HOME_ALIGNMENT + 7 * PAGE_SIZE;
        poke(address, 0x5678);
        equal(peek(address), 0x5678, "what was written")?;
        // As long as they are there, it stays.
        let used = SysError::HasRelations;
        refused(adopted.release(), used, "with objects in it")?;
        let revoked = call::revoke(adopted.ram);
        refused(revoked, SysError::Locked, "revoking what it was made of")?;
        call::delete(table)?;
        refused(adopted.release(), used, "with a CNode in it")?;
        call::delete(cnode)?;
        adopted.release()?;
        for page in [base, last] {
            check(!is_mapped(page)?, "it is mapped afterwards")?;
            is_shown(world, page)?;
        }
        check(call::is_empty(adopted.home), "the HomeRam is there")?;
        // It serves as any memory does, and is zeroed.
        let frame = world.slot()?;
        let kind = ObjectType::Frame;
        call::retype(frame.into(), adopted.ram, kind, 0, bytes, 1)?;
        refused(
            adopt(adopted.ram, adopted.home),
            SysError::RangeInUse,
            "a frame",
        )?;
        call::delete(frame)?;
        call::delete(adopted.ram)?;
    }
    Ok(())
}

/// Fills CNodes of `home` with copies of one capability: how many copies.
fn fill(home: CapAddress, bytes: u64, source: CapAddress) -> Result<u64, Failure> {
    let mut copies = 0;
    let mut number = FIRST;
    let mut offsets = (0..bytes / CNODE_BYTES).map(|cnode| cnode * CNODE_BYTES);
    while let Some(mut offset) = offsets.next() {
        if number.is_multiple_of(FIRST) && number > FIRST {
            // This one is the next chunk.
            equal(grow(number, home, offset)?, 0, "missing CNodes")?;
            let Some(next) = offsets.next() else { break };
            offset = next;
        }
        let (target, kind) = (CapRef::l1(number), ObjectType::L2CNode);
        call::retype(target, home, kind, offset, CNODE_BYTES, 1)?;
        for low in 0..=255 {
            call::copy(CapAddress::new(number, low), source)?;
            copies += 1;
        }
        number += 1;
    }
    Ok(copies)
}

/// More than 65,536 capabilities; then the slot that leads to them is deleted, in steps.
fn as_many(world: &mut World) -> Outcome {
    let frame = world.frame(PAGE_SIZE, PAGE_SIZE)?;
    let bytes = 3 * HOME_ALIGNMENT;
    let adopted = Adopted::new(world, bytes)?;
    let beside = ticker::beside(world, |world| {
        let other = world.slots(16)?;
        grow_to(world, FIRST, 3)?;
        let copies = fill(adopted.home, bytes, frame)?;
        line(format_args!("growth: {copies} capabilities more"));
        check(copies > FIRST_LIMIT, "few copies")?;
        let last = u32::try_from(copies / CNODE_SLOTS).unwrap_or(0) - 1;
        let last = CapAddress::new(FIRST + last, 255);
        let what = call::identify(frame)?;
        check(call::identify(last)? == what, "the last copy")?;
        call::copy(other, last)?;
        call::delete(frame)?;
        check(call::identify(other)? == what, "a copy of the last")?;
        let before = ticker::ticks();
        delete(CapRef::l1(L1_CHUNKS))?;
        check(ticker::ticks() > before, "nobody else ran meanwhile")?;
        refused(call::identify(last), SysError::NoSuchSlot, "the last copy")?;
        check(call::identify(other)? == what, "the copy elsewhere")?;
        Ok(call::delete(other)?)
    });
    beside?;
    // All of them are gone, and the memory can be had for something else.
    Ok(adopted.release()?)
}

fn delete(target: CapRef) -> Result<(), SysError> {
    call::invoke(call::CSPACE, Invocation::Delete, &[target.to_word()]).map(drop)
}
