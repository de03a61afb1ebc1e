//! What may be made, of what, and where: one test for each rule that a naive version gets wrong, and
//! the boundaries of each argument.

mod common;

use capelin_abi::{KernelId, ObjectType, PhysAddr, Rights, SysError};
use capelin_cap::{
    CapRecord, Capability, ExportMode, MappingData, Retype, RetypeRequest, SlotStore, check,
    create, finish, import,
};
use common::calls::{HOME_SLOT, IRQ_SLOT, PAGE, RAM_SLOT, request};
use common::{HOME, RAM, RAM_BYTES, World, at_index};

#[test]
fn retype_checks_every_argument() {
    use ObjectType::{Frame, HomeRam, L2CNode, Ram};
    let mut world = World::new();
    let before = common::driver::seen(&world, RAM_SLOT);
    let all = RAM_BYTES / PAGE;
    let cases = [
        (request(Frame, 0, PAGE, 0), SysError::InvalidArgument),
        (request(Frame, 0, PAGE, 257), SysError::InvalidArgument),
        (request(Frame, 0, PAGE, u32::MAX), SysError::InvalidArgument),
        (request(Frame, 0, 0, 1), SysError::InvalidArgument),
        (request(Frame, 1, PAGE, 1), SysError::Unaligned),
        (request(Frame, 0, PAGE + 1, 1), SysError::Unaligned),
        (request(Frame, 1, PAGE + 1, 1), SysError::Unaligned),
        (request(Frame, RAM_BYTES, PAGE, 1), SysError::OutOfRange),
        (request(Frame, 0, RAM_BYTES + PAGE, 1), SysError::OutOfRange),
        (
            request(Frame, PAGE, PAGE, u32::try_from(all).expect("small")),
            SysError::OutOfRange,
        ),
        (
            request(Frame, 0u64.wrapping_sub(PAGE), PAGE, 1),
            SysError::OutOfRange,
        ),
        (
            request(Frame, 0u64.wrapping_sub(PAGE), PAGE, 2),
            SysError::OutOfRange,
        ),
        (request(Frame, 0, 1 << 63, 2), SysError::OutOfRange),
        (request(Ram, 0, RAM_BYTES, 1), SysError::InvalidRetype),
        (request(HomeRam, 0, PAGE, 1), SysError::InvalidRetype),
        (request(L2CNode, 0, 0, 1), SysError::InvalidRetype),
    ];
    for (request, error) in cases {
        assert_eq!(
            world.retype(RAM_SLOT, request, 20),
            Err(error),
            "{request:?}"
        );
    }
    let fixed = request(L2CNode, 0, PAGE, 1);
    assert_eq!(
        world.retype(HOME_SLOT, fixed, 20),
        Err(SysError::InvalidArgument)
    );
    let top = u32::MAX - 1;
    let many = request(Frame, 0, PAGE, 4);
    assert_eq!(world.retype(RAM_SLOT, many, top), Err(SysError::NoSuchSlot));
    assert_eq!(world.retype(RAM_SLOT, many, 0), Err(SysError::NoSuchSlot));
    assert_eq!(world.retype(0, many, 20), Err(SysError::NoSuchSlot));
    assert_eq!(common::driver::seen(&world, RAM_SLOT), before);
    world.assert_sound(false);
    let privileged = RetypeRequest {
        is_privileged: true,
        ..request(HomeRam, 0, PAGE, 1)
    };
    assert_eq!(world.retype(RAM_SLOT, privileged, 20), Ok(Retype::Done));
}

/// What isn't made from anything has its range alone, or lies wholly in or around others.
#[test]
fn what_is_made_at_boot_contradicts_nothing() {
    use ObjectType::{CoreImage, EndpointUmp, Frame, L2CNode, Ram};
    let mut world = World::new();
    let base = PhysAddr(RAM + (1 << 32));
    let at = |kind, offset, size| {
        Capability::memory(kind, PhysAddr(base.0 + offset), size, Rights::all())
    };
    let cases = [
        (at(Frame, 4 * PAGE, 4 * PAGE), Ok(())),
        (at(Frame, 4 * PAGE, 4 * PAGE), Err(SysError::RangeInUse)),
        (
            at(EndpointUmp, 4 * PAGE, 4 * PAGE),
            Err(SysError::RangeInUse),
        ),
        (at(Frame, 2 * PAGE, 4 * PAGE), Err(SysError::RangeInUse)),
        (at(Frame, 6 * PAGE, 4 * PAGE), Err(SysError::RangeInUse)),
        (at(Frame, 0, 16 * PAGE), Ok(())),
        (at(Frame, 5 * PAGE, PAGE), Ok(())),
        (at(Ram, 4 * PAGE, 4 * PAGE), Ok(())),
        (at(CoreImage, 4 * PAGE, 4 * PAGE), Ok(())),
        (at(Ram, 32 * PAGE, 0), Err(SysError::OutOfRange)),
        (at(Ram, 32 * PAGE + 1, PAGE), Err(SysError::Unaligned)),
        (at(Ram, 32 * PAGE, PAGE + 1), Err(SysError::Unaligned)),
        (at(Ram, 32 * PAGE + 1, PAGE + 1), Err(SysError::Unaligned)),
        (
            at(L2CNode, 32 * PAGE, 8 * PAGE),
            Err(SysError::InvalidArgument),
        ),
        (at(L2CNode, 32 * PAGE, 4 * PAGE), Ok(())),
        (
            at(ObjectType::Null, 48 * PAGE, PAGE),
            Err(SysError::WrongType),
        ),
        (
            at(ObjectType::Mapping, 48 * PAGE, PAGE),
            Err(SysError::WrongType),
        ),
    ];
    for (capability, expected) in cases {
        let before = world.walk();
        let dst = (20..48).find(|&at| world.slot(at).is_empty());
        let dst = at_index(dst.expect("one of them"));
        let made = create(&mut world.arena, &mut world.mdb, capability, dst);
        assert_eq!(made, expected, "{capability:?}");
        if expected.is_err() {
            assert_eq!(world.walk(), before);
        }
        check(&world.arena, &world.mdb).expect("a sound database");
    }
}

/// Numbers of what has no range aren't addresses, nor each other's.
#[test]
fn what_has_only_a_number_is_related_to_nothing() {
    let mut world = World::new();
    let kinds = [ObjectType::Kernel, ObjectType::Id, ObjectType::PerfMon];
    let number = RAM + 5;
    for (kind, at) in kinds.into_iter().zip(20..) {
        let plain = Capability::plain(kind, number, Rights::all());
        let made = create(&mut world.arena, &mut world.mdb, plain, at_index(at));
        made.expect("nothing has this number");
        let again = create(&mut world.arena, &mut world.mdb, plain, at_index(30));
        assert_eq!(again, Err(SysError::RangeInUse));
    }
    for at in 20..23 {
        let known = capelin_cap::identify(&world.arena, &world.mdb, at_index(at));
        let known = known.expect("it is there");
        assert!(!known.has_ancestors && !known.has_copies && !known.has_descendants);
    }
    assert!(!world.mdb.has_descendants(&world.arena, at_index(RAM_SLOT)));
    let found = world.mdb.find(&world.arena, PhysAddr(number));
    assert_eq!(found, Some(at_index(RAM_SLOT)));
    world.make(RAM_SLOT, ObjectType::Frame, 0, PAGE, 40);
    world.assert_sound(false);
}

/// Memory is found up to the last address that there is, and nothing beyond.
#[test]
fn addresses_end() {
    let mut world = World::new();
    let end = 1 << 56;
    let last = Capability::memory(
        ObjectType::PhysAddr,
        PhysAddr(end - PAGE),
        PAGE,
        Rights::all(),
    );
    create(&mut world.arena, &mut world.mdb, last, at_index(20)).expect("nothing is there");
    let find = |address| world.mdb.find(&world.arena, PhysAddr(address));
    assert_eq!(find(end - PAGE - 1), None);
    for address in [end - PAGE, end - 1] {
        assert_eq!(find(address), Some(at_index(20)));
    }
    // Behind them come interrupts, in the order.
    for address in [end, end + 32, end + 40, u64::MAX] {
        assert_eq!(find(address), None, "{address:#x}");
    }
}

#[test]
fn a_range_is_used_where_something_made_of_it_overlaps() {
    use ObjectType::Ram;
    let mut world = World::new();
    world.make(RAM_SLOT, Ram, 4 * PAGE, 4 * PAGE, 20);
    world.make(RAM_SLOT, Ram, 8 * PAGE, PAGE, 21);
    let is_used = |at, offset, size| {
        let (arena, mdb) = (&world.arena, &world.mdb);
        mdb.is_range_used(arena, at_index(at), offset, size)
    };
    for (offset, size, expected) in [
        (0, 4 * PAGE, false),
        (0, 4 * PAGE + 1, true),
        (5 * PAGE, 1, true),
        (5 * PAGE, 0, false),
        (9 * PAGE - 1, PAGE, true),
        (9 * PAGE, RAM_BYTES - 9 * PAGE, false),
        // Not in it.
        (4 * PAGE, RAM_BYTES - 4 * PAGE, true),
        (4 * PAGE, RAM_BYTES, false),
        (u64::MAX, 2, false),
    ] {
        assert_eq!(
            is_used(RAM_SLOT, offset, size),
            expected,
            "{offset:#x}, {size:#x}"
        );
    }
    // What lies behind a range isn't made of it.
    assert!(!is_used(20, 0, 4 * PAGE) && !is_used(20, 4 * PAGE, PAGE));
}

/// Depths are counted to 255; what lies deeper is seen by where it lies.
#[test]
fn nesting_has_no_end() {
    use ObjectType::Ram;
    const LEVELS: u32 = 260;
    let mut world = World::new();
    world.arena = common::Arena::new(2048);
    world.mdb = capelin_cap::Mdb::new(common::SELF);
    let bytes = u64::from(LEVELS + 20) * PAGE;
    let all = Capability::memory(Ram, PhysAddr(RAM), bytes, Rights::all());
    create(&mut world.arena, &mut world.mdb, all, at_index(HOME)).expect("nothing is there");
    for level in 1..LEVELS {
        let size = bytes - u64::from(level) * PAGE;
        world.make(HOME + level - 1, Ram, 0, size, HOME + level);
    }
    // Two levels further in, at the beginning: what reaches further is the one between.
    let inner = HOME + LEVELS;
    world.make(inner - 1, Ram, 0, 4 * PAGE, inner);
    world.make(inner, Ram, 0, PAGE, inner + 1);
    let second = request(Ram, 2 * PAGE, PAGE, 1);
    assert_eq!(
        world.retype(inner - 1, second, inner + 2),
        Err(SysError::RangeInUse)
    );
    assert_eq!(world.retype(inner, second, inner + 2), Ok(Retype::Done));
    let beside = request(Ram, 4 * PAGE, PAGE, 1);
    assert_eq!(world.retype(inner - 1, beside, inner + 3), Ok(Retype::Done));
    check(&world.arena, &world.mdb).expect("a sound database");
}

#[test]
fn only_what_is_memory_or_a_table_is_mapped() {
    use ObjectType::{DevFrame, EndpointUmp, Frame, VNodeL1, VNodeL2, VNodeL3};
    let mut world = World::new();
    let kinds = ObjectType::ALL.iter().copied();
    let kinds = kinds.filter(|kind| !matches!(kind, ObjectType::Null | ObjectType::Mapping));
    for (kind, place) in kinds.zip(0..) {
        let size = kind.fixed_size().unwrap_or(PAGE);
        let base = PhysAddr(RAM + ((1 + place) << 32));
        let capability = Capability::memory(kind, base, size, Rights::all());
        create(&mut world.arena, &mut world.mdb, capability, at_index(20)).expect("a fresh range");
        let data = MappingData::from_words([0, 0]);
        let (arena, mdb) = (&mut world.arena, &mut world.mdb);
        let made = capelin_cap::derive_mapping(arena, mdb, at_index(20), data, at_index(21));
        let expected = match kind {
            Frame | DevFrame | EndpointUmp | VNodeL1 | VNodeL2 | VNodeL3 => Ok(()),
            _ => Err(SysError::WrongType),
        };
        assert_eq!(made, expected, "{kind:?}");
        world = World::new();
    }
}

#[test]
fn only_the_range_asked_for_must_be_free() {
    use ObjectType::{Frame, Ram};
    let mut world = World::new();
    world.make(RAM_SLOT, Frame, PAGE, PAGE, 20);
    assert_eq!(
        world.retype(RAM_SLOT, request(Frame, 0, PAGE, 2), 30),
        Err(SysError::RangeInUse)
    );
    assert_eq!(
        world.retype(RAM_SLOT, request(Frame, 0, PAGE, 1), 30),
        Ok(Retype::Fresh)
    );
    let rest = request(Ram, 2 * PAGE, 3 * PAGE, 1);
    assert_eq!(world.retype(RAM_SLOT, rest, 31), Ok(Retype::Done));
    // What is in progress claims its range like the rest.
    assert_eq!(
        world.retype(RAM_SLOT, request(Ram, 0, PAGE, 1), 32),
        Err(SysError::RangeInUse)
    );
    world.assert_sound(false);
}

#[test]
fn what_was_put_around_others_is_seen() {
    use ObjectType::Ram;
    let mut world = World::new();
    // Made from the first capability; then, as only boot can, something around
    // it that reaches further.
    world.make(RAM_SLOT, Ram, PAGE, PAGE, 20);
    let around = Capability::memory(Ram, PhysAddr(RAM), 4 * PAGE, Rights::all());
    create(&mut world.arena, &mut world.mdb, around, at_index(21)).expect("it nests");
    let inside = request(Ram, 3 * PAGE, PAGE, 1);
    assert_eq!(
        world.retype(RAM_SLOT, inside, 22),
        Err(SysError::RangeInUse)
    );
    assert_eq!(world.retype(21, inside, 22), Ok(Retype::Done));
    world.assert_sound(false);
}

#[test]
fn a_retype_goes_on_where_it_stopped() {
    let mut world = World::new();
    let three = request(ObjectType::Frame, 0, PAGE, 3);
    assert_eq!(world.retype(RAM_SLOT, three, 20), Ok(Retype::Fresh));
    assert_eq!(world.copy(20, 30), Err(SysError::Locked));
    world.arena.slot_mut(at_index(21)).set_zeroed_bytes(512);
    assert_eq!(finish(&mut world.arena, at_index(20)), Ok(()));
    assert_eq!(
        finish(&mut world.arena, at_index(20)),
        Err(SysError::InvalidArgument)
    );
    assert_eq!(world.retype(RAM_SLOT, three, 20), Ok(Retype::Continue));
    assert_eq!(world.slot(21).zeroed_bytes(), 512);
    // Another request for these slots isn't the same one.
    let other = request(ObjectType::Frame, PAGE, PAGE, 3);
    assert_eq!(world.retype(RAM_SLOT, other, 20), Err(SysError::SlotInUse));
    for at in 21..23 {
        assert_eq!(finish(&mut world.arena, at_index(at)), Ok(()));
        assert_eq!(world.slot(at).data(), [0; 2]);
    }
    assert_eq!(world.retype(RAM_SLOT, three, 20), Err(SysError::SlotInUse));
    assert_eq!(world.copy(20, 30), Ok(()));
}

#[test]
fn parts_nest_and_dont_cross() {
    let mut world = World::new();
    world.make(RAM_SLOT, ObjectType::Frame, 0, 16 * PAGE, 20);
    assert_eq!(world.part(20, 21, 4 * PAGE, 4 * PAGE), Ok(()));
    assert_eq!(
        world.part(20, 22, 2 * PAGE, 4 * PAGE),
        Err(SysError::RangeInUse)
    );
    assert_eq!(
        world.part(20, 22, 6 * PAGE, 4 * PAGE),
        Err(SysError::RangeInUse)
    );
    assert_eq!(world.part(20, 22, 2 * PAGE, 8 * PAGE), Ok(()));
    assert_eq!(world.part(20, 23, 5 * PAGE, PAGE), Ok(()));
    assert_eq!(world.part(20, 24, 0, 0), Err(SysError::OutOfRange));
    assert_eq!(
        world.part(20, 24, 15 * PAGE, 2 * PAGE),
        Err(SysError::OutOfRange)
    );
    assert_eq!(world.part(20, 24, u64::MAX, 2), Err(SysError::OutOfRange));
    for (offset, size) in [(1, PAGE), (PAGE, PAGE + 1), (1, PAGE + 1)] {
        assert_eq!(world.part(20, 24, offset, size), Err(SysError::Unaligned));
    }
    assert_eq!(world.part(IRQ_SLOT, 24, 3, 1), Ok(()));
    assert_eq!(world.part(IRQ_SLOT, 25, 0, 4), Err(SysError::RangeInUse));
    world.assert_sound(false);
}

#[test]
fn a_range_is_of_one_mappable_type() {
    let mut world = World::new();
    let mut record = CapRecord {
        capability: Capability::memory(
            ObjectType::Frame,
            PhysAddr(0x2_0000_0000),
            PAGE,
            Rights::all(),
        ),
        owner: KernelId(2),
        mode: ExportMode::Copy,
        has_ancestors: false,
        is_in_frame: false,
        is_executable: false,
    };
    let (arena, mdb) = (&mut world.arena, &mut world.mdb);
    assert_eq!(import(arena, mdb, &record, at_index(20)), Ok(()));
    record.capability.kind = ObjectType::EndpointUmp;
    assert_eq!(
        import(arena, mdb, &record, at_index(21)),
        Err(SysError::RangeInUse)
    );
    record.capability.base += PAGE;
    assert_eq!(import(arena, mdb, &record, at_index(21)), Ok(()));
    record.capability.kind = ObjectType::Frame;
    assert_eq!(
        import(arena, mdb, &record, at_index(22)),
        Err(SysError::RangeInUse)
    );
}
