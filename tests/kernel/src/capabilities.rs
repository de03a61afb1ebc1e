//! Capabilities: copies, retypes, deletion and revocation of trees, also while interrupts come.
//!
//! Long, since the rules are many; each test makes what it needs.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use capelin_harness::abi::capability::{CNODE_BYTES, CNODE_SLOTS, VNODE_BYTES};
use capelin_harness::abi::layout::{self, slot};
use capelin_harness::abi::syscall::{Invocation, MapFlags};
use capelin_harness::abi::{CapAddress, CapRef, ObjectType, PAGE_SIZE, Rights, SysError};
use capelin_harness::child::Endpoint;
use capelin_harness::fault::{peek, poke};
use capelin_harness::world::READ_WRITE;
use capelin_harness::{Child, Failure, Outcome, Suite, World, call, check, equal, refused, ticker};

capelin_harness::program!(tests);

/// L1 slots that these tests fill with CNodes of their own, far above the harness's.
const L1_BASE: u32 = 200;

fn tests(suite: &mut Suite) {
    suite.test("capabilities/copies", copies);
    suite.test("capabilities/rights-only-shrink", rights);
    suite.test("capabilities/mint-ranges", ranges);
    suite.test("capabilities/retype-rules", retype_rules);
    suite.test("capabilities/retype-types", retype_types);
    suite.test("capabilities/retype-overlap", overlap);
    suite.test("capabilities/objects-are-zeroed", zeroed);
    suite.test("capabilities/devices-are-not-zeroed", devices);
    suite.test("capabilities/memory-comes-back", comes_back);
    suite.test("capabilities/last-copy", last_copy);
    suite.test("capabilities/lost-and-found", lost_and_found);
    suite.test("capabilities/locked", locked);
    suite.test("capabilities/revoke-of-all-kernels", revoke_everywhere);
    suite.test("capabilities/revoke-a-tree", revoke_tree);
    suite.test("capabilities/revoke-needs-the-right", revoke_right);
    suite.test("capabilities/cnode-cycle", cnode_cycle);
    suite.test("capabilities/cnode-chain", cnode_chain);
    suite.test("capabilities/revoke-under-interrupts", big_revoke);
    suite.test("capabilities/zeroing-under-interrupts", big_zeroing);
    suite.test("capabilities/seal", seal);
    suite.test("capabilities/export-and-import", export);
    suite.test("capabilities/own-cspace-lost", own_cspace);
}

fn copies(world: &mut World) -> Outcome {
    let frame = world.frame(2 * PAGE_SIZE, PAGE_SIZE)?;
    let slots = world.slots(3)?;
    let at = |n| CapAddress(slots.0 + n);
    call::copy(at(0), frame)?;
    call::copy(at(1), at(0))?;
    let what = call::identify(frame)?;
    check(call::identify(at(1))? == what, "a copy's copy")?;
    refused(call::copy(at(1), frame), SysError::SlotInUse, "over a copy")?;
    refused(call::copy(at(2), at(2)), SysError::EmptySlot, "of nothing")?;
    refused(
        call::copy(CapAddress::new(0xff_ffff, 0), frame),
        SysError::NoSuchSlot,
        "to nowhere",
    )?;
    call::delete(frame)?;
    call::delete(at(0))?;
    check(
        call::identify(at(1))? == what,
        "the last copy is as good as the first",
    )?;
    refused(call::delete(at(0)), SysError::EmptySlot, "deleting nothing")?;
    call::delete(at(1))?;
    Ok(())
}

fn rights(world: &mut World) -> Outcome {
    let frame = world.frame(PAGE_SIZE, PAGE_SIZE)?;
    let slots = world.slots(2)?;
    let (weak, other) = (slots, CapAddress(slots.0 + 1));
    call::copy_with(weak, frame, Rights::READ | Rights::RETYPE)?;
    call::copy_with(other, weak, Rights::all())?;
    let left = call::rights(other)?;
    check(
        left == Rights::READ | Rights::RETYPE,
        "what was dropped stays dropped",
    )?;
    let arguments = [call::word(slots), call::word(frame), 0x100];
    refused(
        call::invoke(call::CSPACE, Invocation::Copy, &arguments),
        SysError::InvalidArgument,
        "a right that isn't",
    )?;
    call::delete(other)?;
    call::delete(weak)?;
    Ok(())
}

fn ranges(world: &mut World) -> Outcome {
    let (frame, address, _) = world.mapped(8 * PAGE_SIZE)?;
    poke(address + 3 * PAGE_SIZE, 33);
    let slots = world.slots(3)?;
    let at = |n| CapAddress(slots.0 + n);
    call::mint(at(0), frame, 3 * PAGE_SIZE, 2 * PAGE_SIZE)?;
    let (_, base, bytes) = call::identify(at(0))?;
    equal(base, call::identify(frame)?.1 + 3 * PAGE_SIZE, "its base")?;
    equal(bytes, 2 * PAGE_SIZE, "its size")?;
    let (window, _) = world.map(at(0), PAGE_SIZE, READ_WRITE)?;
    equal(peek(window), 33, "the right page")?;
    let mint = |offset, bytes| call::mint(at(1), frame, offset, bytes);
    refused(
        mint(7 * PAGE_SIZE, 2 * PAGE_SIZE),
        SysError::OutOfRange,
        "over the end",
    )?;
    refused(
        mint(u64::MAX - 4095, PAGE_SIZE),
        SysError::OutOfRange,
        "an offset that wraps",
    )?;
    refused(mint(0, u64::MAX), SysError::OutOfRange, "everything")?;
    check(mint(1, PAGE_SIZE).is_err(), "an odd offset")?;
    check(mint(0, 1).is_err(), "an odd size")?;
    // Across another sub-range: neither contains the other.
    check(
        mint(4 * PAGE_SIZE, 2 * PAGE_SIZE).is_err(),
        "a range that crosses one",
    )?;
    call::mint(at(1), frame, 0, 8 * PAGE_SIZE)?;
    for n in [0, 1] {
        call::delete(at(n))?;
    }
    Ok(())
}

fn retype_rules(world: &mut World) -> Outcome {
    let offset = world.claim(16 * PAGE_SIZE, PAGE_SIZE)?;
    let slots = world.slots(16)?;
    let make = |offset, bytes, count| {
        let ram = world.ram_cap;
        call::retype(slots.into(), ram, ObjectType::Frame, offset, bytes, count)
    };
    let bad = [
        (make(offset, 0, 1), "no bytes"),
        (make(offset, 1, 1), "a byte"),
        (make(offset + 1, PAGE_SIZE, 1), "an odd offset"),
        (make(offset, PAGE_SIZE + 1, 1), "an odd size"),
        (make(offset, PAGE_SIZE, 0), "no object"),
        (make(offset, PAGE_SIZE, 257), "more than a CNode"),
        (make(offset, PAGE_SIZE, u64::MAX), "far more"),
        (make(offset, 1 << 63, 2), "a product that wraps"),
        (make(u64::MAX - 4095, PAGE_SIZE, 1), "an offset that wraps"),
        (make(!4095, PAGE_SIZE, 2), "a sum that wraps"),
        (make(offset, 1 << 60, 1), "more than there is"),
    ];
    for (result, what) in bad {
        check(result.is_err(), what)?;
    }
    check(call::is_empty(slots), "nothing was made")?;
    make(offset, PAGE_SIZE, 16)?;
    let base = call::identify(slots)?.1;
    for n in 0..16 {
        let (kind, at, bytes) = call::identify(CapAddress(slots.0 + n))?;
        check(
            kind == ObjectType::Frame && bytes == PAGE_SIZE,
            "each a frame",
        )?;
        equal(at, base + u64::from(n) * PAGE_SIZE, "one behind the other")?;
    }
    // The last one of a CNode is the last one.
    let last = CapRef::l2(CapAddress(slots.0 | 0xff));
    let ram = world.ram_cap;
    refused(
        call::retype(last, ram, ObjectType::Frame, offset, PAGE_SIZE, 2),
        SysError::OutOfRange,
        "over a CNode's end",
    )?;
    for n in 0..16 {
        call::delete(CapAddress(slots.0 + n))?;
    }
    // One slot in the middle is taken: nothing is made.
    call::copy(CapAddress(slots.0 + 3), slot::DISPATCHER)?;
    refused(
        make(offset, PAGE_SIZE, 8),
        SysError::SlotInUse,
        "over a capability",
    )?;
    check(call::is_empty(slots), "nothing was made")?;
    call::delete(CapAddress(slots.0 + 3))?;
    Ok(())
}

fn retype_types(world: &mut World) -> Outcome {
    let target = world.slot()?;
    let ram = world.of_ram(ObjectType::Ram, 64 * PAGE_SIZE, PAGE_SIZE)?;
    let home = world.of_home(ObjectType::HomeRam, 8 * PAGE_SIZE)?;
    let frame = world.frame(8 * PAGE_SIZE, PAGE_SIZE)?;
    for &kind in ObjectType::ALL {
        let bytes = kind.fixed_size().unwrap_or(PAGE_SIZE);
        for (source, allowed) in [
            (
                ram,
                &[ObjectType::Ram, ObjectType::Frame, ObjectType::EndpointUmp][..],
            ),
            (
                home,
                &[
                    ObjectType::HomeRam,
                    ObjectType::Frame,
                    ObjectType::L1CNode,
                    ObjectType::L2CNode,
                    ObjectType::VNodeL0,
                    ObjectType::VNodeL1,
                    ObjectType::VNodeL2,
                    ObjectType::VNodeL3,
                    ObjectType::Dispatcher,
                    ObjectType::KernelControlBlock,
                ][..],
            ),
            (frame, &[][..]),
            (slot::L1CNODE, &[][..]),
            (slot::DISPATCHER, &[][..]),
            (slot::KERNEL, &[][..]),
        ] {
            let made = call::retype(target.into(), source, kind, 0, bytes, 1);
            if allowed.contains(&kind) {
                made?;
                check(call::identify(target)?.0 == kind, "the type asked for")?;
                call::delete(target)?;
            } else {
                check(made.is_err(), "made of what it can't be made of")?;
                check(call::is_empty(target), "and nothing was made")?;
            }
        }
    }
    // Objects of fixed size have that size.
    for bytes in [PAGE_SIZE, VNODE_BYTES + PAGE_SIZE, CNODE_BYTES + PAGE_SIZE] {
        for kind in [ObjectType::VNodeL1, ObjectType::L2CNode] {
            let made = call::retype(target.into(), home, kind, 0, bytes, 1);
            check(made.is_err(), "an object of another size")?;
        }
    }
    // Without the right, no retype.
    let weak = world.slot()?;
    call::copy_with(weak, ram, Rights::READ | Rights::WRITE)?;
    refused(
        call::retype(target.into(), weak, ObjectType::Frame, 0, PAGE_SIZE, 1),
        SysError::MissingRight,
        "without RETYPE",
    )
}

fn overlap(world: &mut World) -> Outcome {
    let ram = world.of_ram(ObjectType::Ram, 16 * PAGE_SIZE, PAGE_SIZE)?;
    let slots = world.slots(4)?;
    let at = |n| CapAddress(slots.0 + n);
    let make = |n, page, pages| {
        let (offset, bytes) = (page * PAGE_SIZE, pages * PAGE_SIZE);
        call::retype(at(n).into(), ram, ObjectType::Frame, offset, bytes, 1)
    };
    make(0, 4, 4)?;
    for (page, pages) in [(4, 4), (0, 5), (7, 1), (7, 4), (5, 1), (0, 16)] {
        refused(make(1, page, pages), SysError::RangeInUse, "over a frame")?;
    }
    make(1, 0, 4)?;
    make(2, 8, 8)?;
    // A copy of the parent doesn't help.
    let copy = at(3);
    call::copy(copy, ram)?;
    refused(
        call::retype(
            CapRef::l2(world.slot()?),
            copy,
            ObjectType::Frame,
            0,
            PAGE_SIZE,
            1,
        ),
        SysError::RangeInUse,
        "by a copy of the parent",
    )?;
    call::delete(at(0))?;
    make(0, 5, 2)?;
    call::delete(copy)?;
    call::revoke(ram)?;
    make(0, 0, 16)
        .map_err(Failure::from)
        .and_then(|()| Ok(call::delete(at(0))?))
}

fn zeroed(world: &mut World) -> Outcome {
    const BYTES: u64 = 64 * PAGE_SIZE;
    let ram = world.of_ram(ObjectType::Ram, BYTES, PAGE_SIZE)?;
    let frame = world.slot()?;
    let address = world.addresses(BYTES, PAGE_SIZE)?;
    // More pages than the kernel's window has places for.
    for round in 0..8 {
        call::retype(frame.into(), ram, ObjectType::Frame, 0, BYTES, 1)?;
        world.map_at(address, frame, BYTES, READ_WRITE)?;
        for word in (0..BYTES).step_by(8) {
            if peek(address + word) != 0 {
                return Err(Failure::because("a fresh frame holds something"));
            }
            poke(address + word, !round);
        }
        call::delete(frame)?;
    }
    // The same of home memory: a frame, then a CNode where it was.
    let home = world.of_home(ObjectType::HomeRam, CNODE_BYTES)?;
    call::retype(frame.into(), home, ObjectType::Frame, 0, CNODE_BYTES, 1)?;
    world.map_at(address, frame, CNODE_BYTES, READ_WRITE)?;
    for word in (0..CNODE_BYTES).step_by(8) {
        poke(address + word, 0x0505_0505_0505_0505);
    }
    call::delete(frame)?;
    let cnode = CapRef::l1(L1_BASE);
    call::retype(cnode, home, ObjectType::L2CNode, 0, CNODE_BYTES, 1)?;
    for n in 0..=255 {
        check(
            call::is_empty(CapAddress::new(L1_BASE, n)),
            "a fresh CNode is empty",
        )?;
    }
    call::invoke(call::CSPACE, Invocation::Delete, &[cnode.to_word()])?;
    Ok(())
}

fn devices(world: &mut World) -> Outcome {
    // The distributor's type register says how many interrupts there are: never 0.
    let registers = capelin_harness::world::distributor();
    let (number, region) = (0..)
        .map_while(|n| capelin_harness::world::devices(u64::from(n)).map(|region| (n, region)))
        .find(|(_, region)| {
            region.base <= registers.base && registers.base < region.base + region.bytes
        })
        .ok_or(Failure::because("no capability to the distributor"))?;
    let source = layout::device_region(number);
    let device = world.slot()?;
    let offset = registers.base - region.base;
    refused(
        call::retype(
            device.into(),
            source,
            ObjectType::Frame,
            offset,
            PAGE_SIZE,
            1,
        ),
        SysError::InvalidRetype,
        "a frame of device registers",
    )?;
    call::retype(
        device.into(),
        source,
        ObjectType::DevFrame,
        offset,
        PAGE_SIZE,
        1,
    )?;
    let (address, mapping) = world.map(device, PAGE_SIZE, MapFlags::READ)?;
    check(
        capelin_harness::fault::peek32(address + 4) != 0,
        "GICD_TYPER",
    )?;
    call::unmap(mapping)?;
    call::delete(device)?;
    Ok(())
}

fn comes_back(world: &mut World) -> Outcome {
    let ram = world.of_ram(ObjectType::Ram, 4 * PAGE_SIZE, PAGE_SIZE)?;
    let slots = world.slots(4)?;
    for _ in 0..2000 {
        call::retype(slots.into(), ram, ObjectType::Frame, 0, PAGE_SIZE, 4)?;
        for n in [2, 0, 3, 1] {
            call::delete(CapAddress(slots.0 + n))?;
        }
    }
    Ok(())
}

fn last_copy(world: &mut World) -> Outcome {
    refused(
        call::delete(world.ram_cap),
        SysError::LastCopy,
        "the last capability to memory",
    )?;
    refused(call::delete(slot::IRQ), SysError::LastCopy, "to interrupts")?;
    let copy = world.slot()?;
    call::copy(copy, world.ram_cap)?;
    call::delete(copy)?;
    Ok(())
}

/// Interrupts that nobody else has lie in a CNode that goes, and are taken out of where
/// the kernel keeps them.
fn lost_and_found(world: &mut World) -> Outcome {
    let take = |to: CapAddress| {
        let target = [call::word(to)];
        call::invoke(call::KERNEL, Invocation::TakeOrphan, &target)
    };
    refused(take(world.slot()?), SysError::EmptySlot, "nothing was lost")?;
    let before = call::identify(slot::IRQ)?;
    let home = world.of_home(ObjectType::HomeRam, CNODE_BYTES)?;
    let cnode = CapRef::l1(L1_BASE);
    call::retype(cnode, home, ObjectType::L2CNode, 0, CNODE_BYTES, 1)?;
    call::copy(CapAddress::new(L1_BASE, 5), slot::IRQ)?;
    call::delete(slot::IRQ)?;
    call::invoke(call::CSPACE, Invocation::Delete, &[cnode.to_word()])?;
    refused(
        take(slot::DISPATCHER),
        SysError::SlotInUse,
        "into what is used",
    )?;
    take(slot::IRQ)?;
    check(call::identify(slot::IRQ)? == before, "as it was")?;
    refused(take(world.slot()?), SysError::EmptySlot, "there was one")?;
    Ok(())
}

/// What is locked can't be used through any capability, but looked at; the rest goes on.
fn locked(world: &mut World) -> Outcome {
    let frame = world.frame(PAGE_SIZE, PAGE_SIZE)?;
    let twin = world.slot()?;
    call::copy(twin, frame)?;
    let lock = [call::word(twin)];
    let [id, ..] = call::invoke(call::KERNEL, Invocation::Lock, &lock)?;
    let to = world.slot()?;
    for held in [frame, twin] {
        refused(call::copy(to, held), SysError::Locked, "copied")?;
        refused(call::delete(held), SysError::Locked, "deleted")?;
        refused(call::make_executable(held), SysError::Locked, "changed")?;
        call::identify(held)?;
    }
    let at = world.addresses(PAGE_SIZE, PAGE_SIZE)?;
    let (table, entry) = world.table3(at)?;
    let mapped = call::map(table, frame, entry, 1, MapFlags::READ, 0, to);
    refused(mapped, SysError::Locked, "mapped")?;
    world.mapped(PAGE_SIZE)?;
    let again = call::invoke(call::KERNEL, Invocation::Lock, &lock);
    refused(again, SysError::Locked, "locked twice")?;
    call::invoke(call::KERNEL, Invocation::Unlock, &[id])?;
    let again = call::invoke(call::KERNEL, Invocation::Unlock, &[id]);
    refused(again, SysError::NoSuchOperation, "unlocked twice")?;
    call::copy(to, frame)?;
    call::delete(twin)?;
    call::delete(to)?;
    Ok(())
}

/// The steps of a revoke that other kernels would have a part in, where there are none.
fn revoke_everywhere(world: &mut World) -> Outcome {
    let ram = world.of_ram(ObjectType::Ram, 64 * PAGE_SIZE, PAGE_SIZE)?;
    let frames = world.slots(64)?;
    call::retype(frames.into(), ram, ObjectType::Frame, 0, PAGE_SIZE, 64)?;
    let (address, _) = world.map(frames, PAGE_SIZE, READ_WRITE)?;
    poke(address, 1);
    let begin = [call::word(ram)];
    let [id, ..] = call::invoke(call::KERNEL, Invocation::MarkRange, &begin)?;
    let arguments = [id, call::word(ram)];
    let ask = |what| call::invoke(call::KERNEL, what, &arguments);
    refused(call::delete(frames), SysError::Locked, "marked")?;
    refused(ask(Invocation::SweepStep), SysError::Locked, "too early")?;
    check(ask(Invocation::CommitMark)?[0] == 0, "nobody else is asked")?;
    refused(ask(Invocation::Unmark), SysError::Locked, "not swept")?;
    let mut steps = 1;
    while ask(Invocation::SweepStep)?[0] != 0 {
        steps += 1;
    }
    check(steps > 4, "bounded steps")?;
    check(peek_fails(address), "its mapping is gone")?;
    check(call::is_empty(frames), "and so are the frames")?;
    let early = call::retype(frames.into(), ram, ObjectType::Frame, 0, PAGE_SIZE, 1);
    refused(early, SysError::Dying, "made before the end")?;
    check(ask(Invocation::Unmark)?[0] == 0, "all have swept")?;
    refused(ask(Invocation::Unmark), SysError::NoSuchOperation, "twice")?;
    call::retype(frames.into(), ram, ObjectType::Frame, 0, 64 * PAGE_SIZE, 1)?;
    call::delete(frames)?;
    Ok(())
}

fn peek_fails(address: u64) -> bool {
    capelin_harness::fault::read(address).is_err()
}

fn revoke_tree(world: &mut World) -> Outcome {
    let ram = world.of_ram(ObjectType::Ram, 64 * PAGE_SIZE, PAGE_SIZE)?;
    let slots = world.slots(200)?;
    let at = |n: u32| CapAddress(slots.0 + n);
    // Four pieces, each cut into frames, each frame copied and mapped.
    call::retype(at(0).into(), ram, ObjectType::Ram, 0, 16 * PAGE_SIZE, 4)?;
    let address = world.addresses(64 * PAGE_SIZE, PAGE_SIZE)?;
    for piece in 0..4 {
        let first = 4 + piece * 48;
        call::retype(
            at(first).into(),
            at(piece),
            ObjectType::Frame,
            0,
            PAGE_SIZE,
            16,
        )?;
        for n in 0..16 {
            call::copy(at(first + 16 + n), at(first + n))?;
            let page = address + u64::from(piece * 16 + n) * PAGE_SIZE;
            let (table, entry) = world.table3(page)?;
            call::map(
                table,
                at(first + n),
                entry,
                1,
                READ_WRITE,
                0,
                at(first + 32 + n),
            )?;
            poke(page, 1);
        }
    }
    let copy = world.slot()?;
    call::copy(copy, ram)?;
    call::revoke(ram)?;
    for n in 0..196 {
        check(call::is_empty(at(n)), "something is left")?;
    }
    check(call::is_empty(copy), "a copy is left")?;
    for page in 0..64 {
        let read = capelin_harness::fault::read(address + page * PAGE_SIZE);
        check(read.is_err(), "a mapping is left")?;
    }
    check(!call::is_empty(ram), "what was revoked stays")?;
    call::retype(at(0).into(), ram, ObjectType::Frame, 0, 64 * PAGE_SIZE, 1)?;
    call::delete(at(0))?;
    Ok(())
}

fn revoke_right(world: &mut World) -> Outcome {
    let ram = world.of_ram(ObjectType::Ram, PAGE_SIZE, PAGE_SIZE)?;
    let weak = world.slot()?;
    call::copy_with(weak, ram, Rights::all() - Rights::REVOKE)?;
    refused(call::revoke(weak), SysError::MissingRight, "without REVOKE")?;
    check(!call::is_empty(ram), "nothing happened")
}

/// CNodes that hold capabilities to each other and to themselves go with the outer ones.
fn cnode_cycle(world: &mut World) -> Outcome {
    let home = world.of_home(ObjectType::HomeRam, 3 * CNODE_BYTES)?;
    for round in 0..3 {
        let cnode = |n: u32| CapRef::l1(L1_BASE + n);
        call::retype(cnode(0), home, ObjectType::L2CNode, 0, CNODE_BYTES, 3)?;
        let copy = |l1: u32, l2: u8, from: u32| {
            let target = CapAddress::new(L1_BASE + l1, l2);
            let rights = u64::from(Rights::all().bits());
            let arguments = [call::word(target), cnode(from).to_word(), rights];
            call::invoke(call::CSPACE, Invocation::Copy, &arguments)
        };
        // 0 -> 1 -> 2 -> 0, and each holds itself, in slot 0 too.
        for n in 0..3 {
            copy(n, 0, n)?;
            copy(n, 7, (n + 1) % 3)?;
            copy(n, 255, (n + 2) % 3)?;
        }
        call::copy(CapAddress::new(L1_BASE, 9), slot::DISPATCHER)?;
        let order = [[0, 1, 2], [2, 0, 1], [1, 2, 0]][round];
        for n in order {
            call::invoke(call::CSPACE, Invocation::Delete, &[cnode(n).to_word()])?;
        }
        if round == 2 {
            // They still hold each other: only revoking their memory ends them.
            call::revoke(home)?;
        } else {
            // Nobody outside holds them, but they do: the memory isn't free yet.
            let again = call::retype(cnode(0), home, ObjectType::L2CNode, 0, CNODE_BYTES, 3);
            if again.is_ok() {
                call::revoke(home)?;
            } else {
                refused(again, SysError::RangeInUse, "while they hold each other")?;
                call::revoke(home)?;
            }
        }
        let slot = world.slot()?;
        call::retype(slot.into(), home, ObjectType::Frame, 0, 3 * CNODE_BYTES, 1)?;
        call::delete(slot)?;
    }
    Ok(())
}

/// A CNode in a CNode in a CNode…, whose first holds the only way to the rest.
fn cnode_chain(world: &mut World) -> Outcome {
    const LENGTH: u32 = 16;
    let home = world.of_home(ObjectType::HomeRam, u64::from(LENGTH) * CNODE_BYTES)?;
    let first = CapRef::l1(L1_BASE);
    call::retype(
        first,
        home,
        ObjectType::L2CNode,
        0,
        CNODE_BYTES,
        u64::from(LENGTH),
    )?;
    let rights = u64::from(Rights::all().bits());
    for n in (1..LENGTH).rev() {
        let target = CapAddress::new(L1_BASE + n - 1, 0);
        let source = CapRef::l1(L1_BASE + n);
        call::invoke(
            call::CSPACE,
            Invocation::Copy,
            &[call::word(target), source.to_word(), rights],
        )?;
        call::invoke(call::CSPACE, Invocation::Delete, &[source.to_word()])?;
    }
    call::invoke(call::CSPACE, Invocation::Delete, &[first.to_word()])?;
    let slot = world.slot()?;
    let bytes = u64::from(LENGTH) * CNODE_BYTES;
    call::retype(slot.into(), home, ObjectType::Frame, 0, bytes, 1)?;
    call::delete(slot)?;
    Ok(())
}

/// One Revoke of thousands of capabilities is interrupted, restarted, and complete.
fn big_revoke(world: &mut World) -> Outcome {
    const CNODES: u32 = 40;
    let home = world.of_home(ObjectType::HomeRam, u64::from(CNODES) * CNODE_BYTES)?;
    let first = CapRef::l1(L1_BASE);
    call::retype(
        first,
        home,
        ObjectType::L2CNode,
        0,
        CNODE_BYTES,
        u64::from(CNODES),
    )?;
    let bytes = u64::from(CNODES) * CNODE_SLOTS / 2 * PAGE_SIZE;
    let ram = world.of_ram(ObjectType::Ram, bytes, PAGE_SIZE)?;
    for n in 0..CNODES {
        let target = CapAddress::new(L1_BASE + n, 0);
        let offset = u64::from(n) * CNODE_SLOTS / 2 * PAGE_SIZE;
        call::retype(
            target.into(),
            ram,
            ObjectType::Frame,
            offset,
            PAGE_SIZE,
            CNODE_SLOTS / 2,
        )?;
        for l2 in 0..128 {
            let copy = CapAddress::new(L1_BASE + n, 128 + l2);
            call::copy(copy, CapAddress::new(L1_BASE + n, l2))?;
        }
    }
    let ticks = ticker::beside(world, |_| Ok(call::revoke(ram)?))?;
    check(ticks > 0, "nobody else ran during a long revoke")?;
    for n in 0..CNODES {
        for l2 in [0, 1, 127, 128, 255] {
            check(
                call::is_empty(CapAddress::new(L1_BASE + n, l2)),
                "something is left",
            )?;
        }
    }
    // Deleting the CNodes, full of copies of one capability, is long work too.
    for n in 0..CNODES {
        for l2 in 0..=255 {
            call::copy(CapAddress::new(L1_BASE + n, l2), ram)?;
        }
    }
    let ticks = ticker::beside(world, |_| Ok(call::revoke(home)?))?;
    check(ticks > 0, "nobody else ran during a long delete")?;
    let slot = world.slot()?;
    call::retype(slot.into(), ram, ObjectType::Frame, 0, bytes, 1)?;
    call::delete(slot)?;
    Ok(())
}

fn big_zeroing(world: &mut World) -> Outcome {
    const BYTES: u64 = 64 << 20;
    let offset = world.claim(BYTES, PAGE_SIZE)?;
    let slot = world.slot()?;
    let ticks = ticker::beside(world, |world| {
        let ram = world.ram_cap;
        Ok(call::retype(
            slot.into(),
            ram,
            ObjectType::Frame,
            offset,
            BYTES,
            1,
        )?)
    })?;
    check(ticks > 2, "nobody else ran while 64 MiB were zeroed")?;
    call::delete(slot)?;
    Ok(())
}

fn seal(world: &mut World) -> Outcome {
    let (frame, _, mapping) = world.mapped(PAGE_SIZE)?;
    let seal = |cap| call::invoke(call::KERNEL, Invocation::Seal, &[call::word(cap)]);
    refused(
        seal(frame),
        SysError::HasRelations,
        "sealing what is mapped",
    )?;
    call::unmap(mapping)?;
    let copy = world.slot()?;
    call::copy(copy, frame)?;
    refused(
        seal(frame),
        SysError::HasRelations,
        "sealing what has a copy",
    )?;
    call::delete(copy)?;
    seal(frame)?;
    check(call::identify(frame)?.0 == ObjectType::CoreImage, "sealed")?;
    refused(seal(frame), SysError::WrongType, "sealing twice")?;
    let address = world.addresses(PAGE_SIZE, PAGE_SIZE)?;
    check(
        world.map_at(address, frame, PAGE_SIZE, READ_WRITE).is_err(),
        "mapping a core image",
    )?;
    refused(
        seal(slot::DISPATCHER),
        SysError::WrongType,
        "sealing a dispatcher",
    )?;
    call::delete(frame)?;
    Ok(())
}

fn export(world: &mut World) -> Outcome {
    let ram = world.of_ram(ObjectType::Ram, 4 * PAGE_SIZE, PAGE_SIZE)?;
    let what = call::identify(ram)?;
    let export = |cap, to, copy: u64| {
        let arguments = [call::word(cap), to | copy << 16];
        let answer = call::invoke(call::KERNEL, Invocation::Export, &arguments)?;
        Ok::<_, SysError>(answer[0])
    };
    let child = world.slot()?;
    call::retype(child.into(), ram, ObjectType::Frame, 0, PAGE_SIZE, 1)?;
    refused(
        export(ram, 5, 0),
        SysError::HasRelations,
        "moving what has descendants",
    )?;
    call::delete(child)?;
    check(export(ram, 5, 1).is_err(), "copying memory itself")?;
    check(call::identify(ram)? == what, "nothing happened")?;
    let ticket = export(ram, 5, 0)?;
    // It is on its way: its range is claimed, and nobody uses it.
    let back = world.slot()?;
    let used = || call::retype(back.into(), ram, ObjectType::Frame, 0, PAGE_SIZE, 1);
    refused(used(), SysError::Locked, "using what is on its way")?;
    let import = |ticket, target| {
        let arguments = [ticket, call::word(target)];
        call::invoke(call::KERNEL, Invocation::Import, &arguments)
    };
    // What is offered to another kernel isn't ours to take, however the ticket is bent.
    for forged in [
        ticket,
        ticket + (1 << 16),
        ticket | 9,
        0,
        u64::MAX,
        1 << 32 | 9,
    ] {
        let taken = import(forged, back);
        refused(taken, SysError::NoSuchTransfer, "a forged ticket")?;
    }
    let settle =
        |withdraw| call::invoke(call::KERNEL, Invocation::SettleExport, &[ticket, withdraw]);
    check(settle(0)?[0] == 0, "nobody has taken it")?;
    check(settle(1)?[0] == 2, "it is taken back")?;
    refused(settle(1), SysError::NoSuchTransfer, "twice")?;
    check(call::identify(ram)? == what, "all is as before")?;
    used()?;
    Ok(())
}

/// A dispatcher that loses its CSpace stops; nobody else does.
fn own_cspace(world: &mut World) -> Outcome {
    let endpoint = Endpoint::own(world, 0x1000, 2)?;
    call::delete(endpoint.cap)?;
    let child = Child::of(world, ticker::ticker, 0)?;
    child.run()?;
    child.until_blocked()?;
    call::delete(child.dispatcher)?;
    let before = ticker::ticks();
    let result = call::wait(false, capelin_harness::child::delivered(), call::after(5));
    equal(result[0], SysError::TimedOut as u64, "a wait")?;
    equal(ticker::ticks(), before, "a deleted dispatcher runs")
}
