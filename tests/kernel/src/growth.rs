//! An L1 CNode that grows: slots past its first 256 serve as those do, more capabilities than
//! 65,536 fit, and all of it goes in bounded steps.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use capelin_harness::abi::capability::{CNODE_BYTES, CNODE_SLOTS, L1_CHUNKS, L1_LIMIT};
use capelin_harness::abi::layout::slot;
use capelin_harness::abi::syscall::{Invocation, SendFlags};
use capelin_harness::abi::{CapAddress, CapRef, ObjectType, PAGE_SIZE, SysError};
use capelin_harness::child::{Endpoint, delivered};
use capelin_harness::fault::{peek, poke};
use capelin_harness::report::line;
use capelin_harness::world::READ_WRITE;
use capelin_harness::{Failure, Outcome, Suite, World, call, check, equal, refused, ticker};

capelin_harness::program!(tests);

/// The first L1 slot past those that an L1 CNode has at first.
const FIRST: u32 = 256;

fn tests(suite: &mut Suite) {
    suite.test("growth/by-one-cnode-a-call", by_one);
    suite.test("growth/slots-serve", slots_serve);
    suite.test("growth/up-to-the-last-address", last_address);
    suite.test("growth/as-many-as-fit", as_many);
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

/// Fills CNodes with copies of one capability, until home memory runs out: how many copies.
fn fill(world: &mut World, source: CapAddress) -> Result<u64, Failure> {
    let mut copies = 0;
    let mut number = FIRST;
    while let Ok(offset) = world.claim_home(CNODE_BYTES) {
        let target = CapRef::l1(number);
        let kind = ObjectType::L2CNode;
        if number.is_multiple_of(FIRST) && number > FIRST {
            // This one is the next chunk.
            equal(grow(number, slot::HOME, offset)?, 0, "missing CNodes")?;
            let Ok(offset) = world.claim_home(CNODE_BYTES) else {
                break;
            };
            call::retype(target, slot::HOME, kind, offset, CNODE_BYTES, 1)?;
        } else {
            call::retype(target, slot::HOME, kind, offset, CNODE_BYTES, 1)?;
        }
        for low in 0..=255 {
            call::copy(CapAddress::new(number, low), source)?;
            copies += 1;
        }
        number += 1;
    }
    Ok(copies)
}

/// As many capabilities as there is memory for; then the slot that leads to them is deleted,
/// in steps, and a million of them would be.
fn as_many(world: &mut World) -> Outcome {
    let frame = world.frame(PAGE_SIZE, PAGE_SIZE)?;
    let beside = ticker::beside(world, |world| {
        // What is needed later takes its slots and memory first.
        let other = world.slots(16)?;
        grow_to(world, FIRST, 3)?;
        let copies = fill(world, frame)?;
        line(format_args!("growth: {copies} capabilities more"));
        check(copies >= 32 * CNODE_SLOTS, "few copies")?;
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
        // It was the last but one; its memory is free, and can be made something of.
        check(call::identify(other)? == what, "the copy elsewhere")?;
        Ok(call::delete(other)?)
    });
    beside.map(drop)
}

fn delete(target: CapRef) -> Result<(), SysError> {
    call::invoke(call::CSPACE, Invocation::Delete, &[target.to_word()]).map(drop)
}
