//! Mapping: every size, every refusal, and that what is unmapped is really gone, TLB included.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use capelin_harness::abi::capability::VNODE_BYTES;
use capelin_harness::abi::dispatcher::FRAME_BYTES;
use capelin_harness::abi::layout::slot;
use capelin_harness::abi::syscall::{DispatcherState, Invocation, MapFlags};
use capelin_harness::abi::{CapAddress, ObjectType, PAGE_SIZE, Rights, SysError};
use capelin_harness::fault::{self, peek, poke, read, write};
use capelin_harness::island::Island;
use capelin_harness::report::line;
use capelin_harness::world::READ_WRITE;
use capelin_harness::{Outcome, Suite, World, call, check, equal, refused};

capelin_harness::program!(tests);

const READ: MapFlags = MapFlags::READ;
const READ_EXECUTE: MapFlags = MapFlags::READ.union(MapFlags::EXECUTE);
const BLOCK: u64 = 2 << 20;
const GIB: u64 = 1 << 30;
/// `ret`.
const RET: u64 = 0xd65f_03c0;

fn tests(suite: &mut Suite) {
    suite.test("mapping/pages", pages);
    suite.test("mapping/blocks", blocks);
    suite.test("mapping/gigabyte", gigabyte);
    suite.test("mapping/never-writable-and-executable", write_xor_execute);
    suite.test("mapping/rights", rights);
    suite.test("mapping/permissions-hold", permissions);
    suite.test("mapping/protect", protect);
    suite.test("mapping/code", executable);
    suite.test("mapping/write-or-execute", write_or_execute);
    suite.test("mapping/uncached", uncached);
    suite.test("mapping/unmap", unmap);
    suite.test("mapping/no-stale-translation", stale);
    suite.test("mapping/goes-with-the-last-copy", last_copy);
    suite.test("mapping/goes-with-the-table", with_table);
    suite.test("mapping/table-rules", table_rules);
    suite.test("mapping/ranges", ranges);
    suite.test("mapping/slots", slots);
    suite.test("mapping/address-spaces", address_spaces);
    suite.test("mapping/a-lost-vspace-stops-it", lost_vspace);
}

fn pages(world: &mut World) -> Outcome {
    let frame = world.frame(16 * PAGE_SIZE, PAGE_SIZE)?;
    let (all, _) = world.map(frame, 16 * PAGE_SIZE, READ_WRITE)?;
    for page in 0..16 {
        equal(peek(all + page * PAGE_SIZE + 8), 0, "fresh memory")?;
        poke(all + page * PAGE_SIZE + 8, page + 1);
    }
    // Four pages from the middle, elsewhere.
    let address = world.addresses(4 * PAGE_SIZE, PAGE_SIZE)?;
    let (table, entry) = world.table3(address)?;
    let mapping = world.slot()?;
    call::map(table, frame, entry, 4, READ, 5 * PAGE_SIZE, mapping)?;
    for page in 0..4 {
        equal(
            peek(address + page * PAGE_SIZE + 8),
            page + 6,
            "the right page",
        )?;
    }
    check(read(address + 4 * PAGE_SIZE).is_err(), "not a page more")?;
    check(read(address - PAGE_SIZE).is_err(), "not a page less")?;
    let (kind, base, size) = call::identify(mapping)?;
    let (_, frame_base, frame_size) = call::identify(frame)?;
    check(kind == ObjectType::Mapping, "a mapping's type")?;
    check(
        (base, size) == (frame_base, frame_size),
        "a mapping's range",
    )
}

fn blocks(world: &mut World) -> Outcome {
    let frame = world.frame(2 * BLOCK, BLOCK)?;
    let address = world.addresses(2 * BLOCK, BLOCK)?;
    let (table, entry) = world.table2(address);
    let mapping = world.slot()?;
    call::map(table, frame, entry, 2, READ_WRITE, 0, mapping)?;
    poke(address + BLOCK + 0x1_2340, 77);
    let at = world.addresses(PAGE_SIZE, PAGE_SIZE)?;
    let (page, entry3) = world.table3(at)?;
    let small = world.slot()?;
    call::map(page, frame, entry3, 1, READ, BLOCK + 0x1_2000, small)?;
    equal(peek(at + 0x340), 77, "the same memory by a page")?;
    call::unmap(mapping)?;
    check(read(address).is_err(), "the first block is gone")?;
    check(read(address + BLOCK).is_err(), "the second block is gone")?;
    equal(peek(at + 0x340), 77, "the page stays")?;
    // A table fits where the block was.
    let table3 = world.object(ObjectType::VNodeL3)?;
    let mapping = world.slot()?;
    call::attach(table, table3, entry, mapping)?;
    refused(
        call::map(table, frame, entry, 1, READ, 0, small),
        SysError::EntryInUse,
        "a block over a table",
    )
}

fn gigabyte(world: &mut World) -> Outcome {
    let Ok(frame) = world.frame(GIB, GIB) else {
        line(format_args!("  skipped: there is no aligned GiB of memory"));
        return Ok(());
    };
    let address = 5 * GIB;
    let mapping = world.slot()?;
    call::map(slot::VSPACE_L1, frame, 5, 1, READ_WRITE, 0, mapping)?;
    poke(address + GIB - 8, 5);
    equal(peek(address + GIB - 8), 5, "the last word")?;
    call::unmap(mapping)?;
    check(read(address + GIB - 8).is_err(), "unmapped")?;
    call::delete(frame)?;
    Ok(())
}

fn write_xor_execute(world: &mut World) -> Outcome {
    let (frame, _, mapping) = world.mapped(PAGE_SIZE)?;
    let address = world.addresses(PAGE_SIZE, PAGE_SIZE)?;
    let (table, entry) = world.table3(address)?;
    let other = world.slot()?;
    for flags in [
        READ_WRITE | MapFlags::EXECUTE,
        MapFlags::WRITE | MapFlags::EXECUTE,
        MapFlags::all(),
    ] {
        let mapped = call::map(table, frame, entry, 1, flags, 0, other);
        refused(mapped, SysError::InvalidArgument, "writable and executable")?;
        let changed = call::protect(mapping, flags);
        refused(changed, SysError::InvalidArgument, "made so by Protect")?;
    }
    check(call::is_empty(other), "nothing was made")
}

fn rights(world: &mut World) -> Outcome {
    let frame = world.frame(PAGE_SIZE, PAGE_SIZE)?;
    let address = world.addresses(PAGE_SIZE, PAGE_SIZE)?;
    let (table, entry) = world.table3(address)?;
    let (weak, mapping) = (world.slot()?, world.slot()?);
    call::copy_with(weak, frame, Rights::READ | Rights::GRANT)?;
    let map = |cap, flags| call::map(table, cap, entry, 1, flags, 0, mapping);
    refused(map(weak, READ_WRITE), SysError::MissingRight, "writing")?;
    refused(map(weak, READ_EXECUTE), SysError::MissingRight, "executing")?;
    map(weak, READ)?;
    refused(
        call::protect(mapping, READ_WRITE),
        SysError::MissingRight,
        "Protect gives no right",
    )?;
    call::unmap(mapping)?;
    call::delete(weak)?;
    call::copy_with(weak, frame, Rights::WRITE)?;
    refused(map(weak, READ_WRITE), SysError::MissingRight, "reading")?;
    call::delete(weak)?;
    // A table that can't be changed.
    let read_only = world.slot()?;
    call::copy_with(read_only, table, Rights::READ)?;
    refused(
        call::map(read_only, frame, entry, 1, READ, 0, mapping),
        SysError::MissingRight,
        "into a table without WRITE",
    )
}

fn permissions(world: &mut World) -> Outcome {
    let frame = world.frame(PAGE_SIZE, PAGE_SIZE)?;
    let (address, _) = world.map(frame, PAGE_SIZE, READ)?;
    equal(read(address)?, 0, "reading")?;
    let fault = write(address, 1).err();
    check(
        fault.is_some_and(|f| f.is_permission()),
        "writing what is read-only",
    )?;
    let fault = fault::jump(address).err();
    check(
        fault.is_some_and(|f| f.is_permission()),
        "executing what isn't code",
    )?;
    let (writable, _) = world.map(frame, PAGE_SIZE, READ_WRITE)?;
    write(writable, 1)?;
    check(fault::jump(writable).is_err(), "executing what is writable")?;
    equal(peek(address), 1, "the same memory")
}

fn protect(world: &mut World) -> Outcome {
    let (_, address, mapping) = world.mapped(2 * PAGE_SIZE)?;
    for round in 0..10 {
        write(address + PAGE_SIZE, round)?;
        call::protect(mapping, READ)?;
        check(write(address, 9).is_err(), "the first page is read-only")?;
        check(write(address + PAGE_SIZE, 9).is_err(), "the second too")?;
        equal(read(address + PAGE_SIZE)?, round, "what was written")?;
        call::protect(mapping, READ_WRITE)?;
    }
    Ok(())
}

fn executable(world: &mut World) -> Outcome {
    let (frame, address, mapping) = world.mapped(PAGE_SIZE)?;
    poke(address, RET);
    check(fault::jump(address).is_err(), "not yet")?;
    let not_executable = SysError::NotExecutable;
    refused(
        call::protect(mapping, READ_EXECUTE),
        not_executable,
        "what is writable made executable",
    )?;
    call::unmap(mapping)?;
    check(world.map(frame, PAGE_SIZE, READ_EXECUTE).is_err(), "before")?;
    call::make_executable(frame)?;
    let (address, mapping) = world.map(frame, PAGE_SIZE, READ_EXECUTE)?;
    equal(fault::jump(address)?, address, "it returns")?;
    check(write(address, 0).is_err(), "no longer writable")?;
    refused(
        call::protect(mapping, READ_WRITE),
        SysError::MissingRight,
        "what is executable made writable",
    )?;
    call::protect(mapping, READ)?;
    call::protect(mapping, READ_EXECUTE)?;
    equal(fault::jump(address)?, address, "it returns again")?;
    call::delete(frame)?;
    Ok(())
}

/// One frame, writable and executable at once: by an alias, a copy, a part, the frame
/// around it, and a frame of the same memory.
fn write_or_execute(world: &mut World) -> Outcome {
    let (frame, address, mapping) = world.mapped(2 * PAGE_SIZE)?;
    let executable = |world: &mut World, cap| world.map(cap, PAGE_SIZE, READ_EXECUTE);
    let attempt = call::make_executable;
    check(executable(world, frame).is_err(), "an alias")?;
    refused(attempt(frame), SysError::HasRelations, "while it is mapped")?;
    call::unmap(mapping)?;
    let copy = world.slot()?;
    call::copy(copy, frame)?;
    refused(attempt(frame), SysError::HasRelations, "with a copy")?;
    refused(attempt(copy), SysError::HasRelations, "as a copy")?;
    call::delete(copy)?;
    let part = world.slot()?;
    call::mint(part, frame, 0, PAGE_SIZE)?;
    refused(attempt(frame), SysError::HasRelations, "with a part")?;
    refused(attempt(part), SysError::HasRelations, "as a part")?;
    call::delete(part)?;
    let weak = world.slot()?;
    call::copy_with(weak, frame, Rights::READ | Rights::WRITE)?;
    refused(attempt(weak), SysError::MissingRight, "without the right")?;
    call::delete(weak)?;
    attempt(frame)?;
    call::copy(copy, frame)?;
    call::mint(part, frame, 0, PAGE_SIZE)?;
    for cap in [frame, copy, part] {
        check(
            world.map(cap, PAGE_SIZE, READ_WRITE).is_err(),
            "writing to it",
        )?;
        executable(world, cap)?;
    }
    for cap in [part, copy, frame] {
        call::delete(cap)?;
    }
    let at = world.map_at(address, part, PAGE_SIZE, READ);
    check(at.is_err(), "it is gone")
}

fn uncached(world: &mut World) -> Outcome {
    let (frame, cached, _) = world.mapped(PAGE_SIZE)?;
    poke(cached, 0x1234);
    let (address, _) = world.map(frame, PAGE_SIZE, READ_WRITE | MapFlags::UNCACHED)?;
    equal(peek(address), 0x1234, "what was written through the cache")?;
    poke(address + 8, 1);
    equal(peek(address + 8), 1, "what is written past it")
}

fn unmap(world: &mut World) -> Outcome {
    let frame = world.frame(8 * PAGE_SIZE, PAGE_SIZE)?;
    let (address, mapping) = world.map(frame, 8 * PAGE_SIZE, READ_WRITE)?;
    for page in 0..8 {
        poke(address + page * PAGE_SIZE, 1);
    }
    call::unmap(mapping)?;
    for page in 0..8 {
        let fault = read(address + page * PAGE_SIZE).err();
        check(fault.is_some_and(|f| f.is_translation()), "nothing is left")?;
    }
    check(call::is_empty(mapping), "the capability is gone")?;
    refused(call::unmap(mapping), SysError::EmptySlot, "unmapping twice")?;
    // Deleting the capability unmaps too.
    let mapping = world.map_at(address, frame, 8 * PAGE_SIZE, READ)?;
    equal(read(address)?, 1, "mapped again")?;
    call::delete(mapping)?;
    check(read(address).is_err(), "and gone again")
}

/// The same address shows one frame after the other, with nothing but Unmap and Map between.
fn stale(world: &mut World) -> Outcome {
    let frames = [
        world.frame(PAGE_SIZE, PAGE_SIZE)?,
        world.frame(PAGE_SIZE, PAGE_SIZE)?,
    ];
    let mut windows = [0; 2];
    for (window, frame) in windows.iter_mut().zip(frames) {
        *window = world.map(frame, PAGE_SIZE, READ_WRITE)?.0;
    }
    let address = world.addresses(PAGE_SIZE, PAGE_SIZE)?;
    let (table, entry) = world.table3(address)?;
    let mapping = world.slot()?;
    for round in 0..50 {
        for (window, frame) in windows.iter().zip(frames) {
            call::map(table, frame, entry, 1, READ_WRITE, 0, mapping)?;
            poke(address, round * 2 + window);
            equal(
                peek(*window),
                round * 2 + window,
                "written to the frame mapped now",
            )?;
            call::unmap(mapping)?;
        }
    }
    check(read(address).is_err(), "nothing is left")
}

fn last_copy(world: &mut World) -> Outcome {
    let (frame, address, mapping) = world.mapped(PAGE_SIZE)?;
    let copy = world.slot()?;
    call::copy(copy, frame)?;
    poke(address, 3);
    call::delete(frame)?;
    equal(read(address)?, 3, "a copy is left")?;
    call::delete(copy)?;
    check(
        read(address).is_err(),
        "the last copy took the mapping along",
    )?;
    check(call::is_empty(mapping), "and its capability")
}

fn with_table(world: &mut World) -> Outcome {
    let frame = world.frame(PAGE_SIZE, PAGE_SIZE)?;
    let address = world.addresses(BLOCK, BLOCK)?;
    let (table2, entry) = world.table2(address);
    let table3 = world.object(ObjectType::VNodeL3)?;
    let (link, mapping) = (world.slot()?, world.slot()?);
    call::attach(table2, table3, entry, link)?;
    call::map(table3, frame, 7, 1, READ_WRITE, 0, mapping)?;
    let at = address + 7 * PAGE_SIZE;
    write(at, 1)?;
    // Detached, it shows nothing; attached again, it may.
    call::unmap(link)?;
    check(read(at).is_err(), "a detached table is walked")?;
    call::delete(table3)?;
    check(call::is_empty(mapping), "the mapping went with its table")?;
    check(read(at).is_err(), "nothing is left")?;
    let other = world.object(ObjectType::VNodeL3)?;
    call::attach(table2, other, entry, link)?;
    check(read(at).is_err(), "a fresh table is empty")?;
    call::map(other, frame, 7, 1, READ, 0, mapping)?;
    equal(read(at)?, 1, "the frame is as it was")?;
    call::delete(other)?;
    check(call::is_empty(link) && call::is_empty(mapping), "both went")?;
    check(read(at).is_err(), "at once")
}

fn table_rules(world: &mut World) -> Outcome {
    let frame = world.frame(PAGE_SIZE, PAGE_SIZE)?;
    let loose = [
        world.object(ObjectType::VNodeL1)?,
        world.object(ObjectType::VNodeL2)?,
        world.object(ObjectType::VNodeL3)?,
    ];
    let root = world.object(ObjectType::VNodeL0)?;
    let mapping = world.slot()?;
    for table in loose {
        refused(
            call::map(table, frame, 0, 1, READ, 0, mapping),
            SysError::NotRunnable,
            "into a table that is in no address space",
        )?;
    }
    let [l1, l2, l3] = loose;
    for (table, child) in [(root, l2), (root, l3), (root, root), (slot::VSPACE_L1, l3)] {
        refused(
            call::attach(table, child, 9, mapping),
            SysError::WrongType,
            "a table of the wrong level",
        )?;
    }
    check(
        call::map(root, frame, 0, 1, READ, 0, mapping).is_err(),
        "a frame in a table of level 0",
    )?;
    call::attach(root, l1, 511, mapping)?;
    let second = world.slot()?;
    refused(
        call::attach(root, l1, 510, second),
        SysError::AlreadyBound,
        "a table with two parents",
    )?;
    refused(
        call::map(root, l1, 509, 2, MapFlags::empty(), 0, second),
        SysError::InvalidArgument,
        "a table in two entries",
    )?;
    refused(
        call::protect(mapping, READ),
        SysError::WrongType,
        "Protect of a table",
    )?;
    // Nothing but a table is attached, to a table of whichever level.
    let cnode = world.object(ObjectType::L2CNode)?;
    let (table3, entry) = world.table3(world.addresses_end())?;
    let (table2, _) = world.table2(0);
    for other in [
        cnode,
        slot::HOME,
        slot::DISPATCHER,
        slot::KERNEL,
        slot::IRQ,
        l1,
    ] {
        for (table, entry) in [(table3, entry), (table2, 400), (l1, 400), (root, 400)] {
            if table == root && other == l1 {
                continue;
            }
            for flags in [MapFlags::empty(), READ] {
                refused(
                    call::map(table, other, entry, 1, flags, 0, second),
                    SysError::WrongType,
                    "what is neither frame nor table",
                )?;
            }
        }
    }
    Ok(())
}

fn ranges(world: &mut World) -> Outcome {
    let frame = world.frame(4 * PAGE_SIZE, PAGE_SIZE)?;
    let address = world.addresses(8 * PAGE_SIZE, PAGE_SIZE)?;
    let (table, entry) = world.table3(address)?;
    let (table2, block) = world.table2(address);
    let mapping = world.slot()?;
    let map = |first, count, at| call::map(table, frame, first, count, READ, at, mapping);
    refused(map(entry, 0, 0), SysError::OutOfRange, "no page")?;
    refused(map(512, 1, 0), SysError::OutOfRange, "past the table")?;
    refused(map(511, 2, 0), SysError::OutOfRange, "over its end")?;
    refused(map(0xffff, 1, 0), SysError::OutOfRange, "far past it")?;
    refused(map(entry, 0xffff, 0), SysError::OutOfRange, "too many")?;
    refused(
        map(entry, 5, 0),
        SysError::OutOfRange,
        "more than the frame has",
    )?;
    refused(
        map(entry, 1, 4 * PAGE_SIZE),
        SysError::OutOfRange,
        "behind the frame",
    )?;
    refused(
        map(entry, 1, u64::MAX - 4095),
        SysError::OutOfRange,
        "an offset that wraps",
    )?;
    refused(map(entry, 1, 1), SysError::Unaligned, "an odd offset")?;
    check(
        call::map(table2, frame, block + 1, 1, READ, 0, mapping).is_err(),
        "a block of four pages",
    )?;
    check(call::is_empty(mapping), "nothing was made")?;
    map(entry, 4, 0)?;
    let other = world.slot()?;
    refused(
        call::map(table, frame, entry + 3, 1, READ, 0, other),
        SysError::EntryInUse,
        "over a mapping",
    )?;
    // A frame of 2 MiB that doesn't start at 2 MiB is no block.
    let odd = world.frame(BLOCK + PAGE_SIZE, BLOCK)?;
    let free = world.addresses(BLOCK, BLOCK)?;
    let (table2, block) = world.table2(free);
    refused(
        call::map(table2, odd, block, 1, READ, PAGE_SIZE, other),
        SysError::Unaligned,
        "an unaligned block",
    )
}

fn slots(world: &mut World) -> Outcome {
    let frame = world.frame(PAGE_SIZE, PAGE_SIZE)?;
    let address = world.addresses(PAGE_SIZE, PAGE_SIZE)?;
    let (table, entry) = world.table3(address)?;
    let map = |source, target| call::map(table, source, entry, 1, READ, 0, target);
    let empty = world.slot()?;
    refused(map(empty, empty), SysError::EmptySlot, "nothing to map")?;
    refused(map(frame, frame), SysError::SlotInUse, "a slot in use")?;
    let nowhere = CapAddress::new(0xff_ffff, 0);
    refused(map(frame, nowhere), SysError::NoSuchSlot, "no slot")?;
    refused(map(nowhere, empty), SysError::NoSuchSlot, "no frame")?;
    refused(
        map(slot::HOME, empty),
        SysError::WrongType,
        "memory that is no frame",
    )?;
    check(read(address).is_err(), "nothing was mapped")?;
    map(frame, empty)?;
    refused(
        call::copy(world.slot()?, empty),
        SysError::WrongType,
        "copying a mapping",
    )
}

/// Two domains use the same addresses for different memory, each with its own tables and ASID.
fn address_spaces(world: &mut World) -> Outcome {
    let islands = [Island::counter(world)?, Island::counter(world)?];
    poke(islands[1].data, 1000);
    for island in &islands {
        call::invoke(island.dispatcher, Invocation::Run, &[])?;
    }
    for _ in 0..100 {
        call::yield_now();
    }
    let counts = [peek(islands[0].data), peek(islands[1].data)];
    check(
        counts[0] > 50 && counts[0] < 1000,
        "the first counted in its own memory",
    )?;
    check(counts[1] > 1050, "the second in its")?;
    let limit = call::after(10_000);
    for (island, code) in islands.iter().zip([3, 4]) {
        poke(island.data, 1 << 32 | code);
        while call::status(island.dispatcher)?.0 == DispatcherState::Runnable {
            check(capelin_harness::svc::counter() < limit, "it doesn't end")?;
            call::yield_now();
        }
        let ended = call::status(island.dispatcher)?;
        check(ended.0 == DispatcherState::Exited, "it exited")?;
        equal(u64::from(ended.1), code, "with its own code")?;
    }
    Ok(())
}

/// The frame and the tables of a dispatcher that runs are taken away.
fn lost_vspace(world: &mut World) -> Outcome {
    check(FRAME_BYTES > VNODE_BYTES, "sizes")?;
    let first = Island::counter(world)?;
    call::invoke(first.dispatcher, Invocation::Run, &[])?;
    call::yield_now();
    call::revoke(first.root)?;
    call::yield_now();
    let count = peek(first.data);
    call::yield_now();
    equal(peek(first.data), count, "it runs without its address space")?;
    let state = call::status(first.dispatcher)?.0;
    check(state == DispatcherState::Stopped, "it is stopped")?;
    refused(
        call::yield_to(first.dispatcher),
        SysError::NotRunnable,
        "yielding to it",
    )
}
