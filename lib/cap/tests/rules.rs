//! One test for each rule that a naive version gets wrong, and the boundaries of
//! each argument.
//!
//! Long, since the rules are many; the tests are independent of each other.

mod common;

use capelin_abi::lmp::COUNTED_BADGE;
use capelin_abi::{CapAddress, CapRef, KernelId, ObjectType, PhysAddr, Rights, SysError};
use capelin_cap::{
    CapRecord, Capability, ExportMode, MappingData, Mint, Retype, RetypeRequest, SlotStore, State,
    Step, abort, check, commit, copy, create, cspace, derive, export, finish, import,
    make_executable, mint, reclaim, retype, seal,
};
use common::{HOME, RAM, RAM_BYTES, World, address_of, at_index, number_of};

const PAGE: u64 = 4096;
const RAM_SLOT: u32 = 1;
const HOME_SLOT: u32 = 2;
const DEVICE_SLOT: u32 = 3;
const IRQ_SLOT: u32 = 4;
const ID_SLOT: u32 = 5;

fn request(kind: ObjectType, offset: u64, object_size: u64, count: u32) -> RetypeRequest {
    RetypeRequest {
        kind,
        offset,
        object_size,
        count,
        is_privileged: false,
    }
}

impl World {
    fn retype(&mut self, src: u32, request: RetypeRequest, dst: u32) -> Result<Retype, SysError> {
        retype(
            &mut self.arena,
            &mut self.mdb,
            at_index(src),
            &request,
            at_index(dst),
        )
    }

    /// Retypes, zeroes and makes live.
    fn make(&mut self, src: u32, kind: ObjectType, offset: u64, size: u64, dst: u32) {
        self.retype(src, request(kind, offset, size, 1), dst)
            .expect("a legal retype");
        let (base, size) = (self.slot(dst).base(), self.slot(dst).size());
        if self.slot(dst).state() == State::InProgress {
            self.zero(base, size);
            finish(&mut self.arena, at_index(dst)).expect("it is in progress");
        }
    }

    fn copy(&mut self, src: u32, dst: u32) -> Result<(), SysError> {
        copy(
            &mut self.arena,
            &mut self.mdb,
            at_index(src),
            at_index(dst),
            Rights::all(),
        )
    }

    fn mint(&mut self, src: u32, dst: u32, what: Mint) -> Result<(), SysError> {
        let (src, dst) = (at_index(src), at_index(dst));
        mint(
            &mut self.arena,
            &mut self.mdb,
            src,
            dst,
            Rights::all(),
            what,
        )
    }

    fn part(&mut self, src: u32, dst: u32, offset: u64, size: u64) -> Result<(), SysError> {
        self.mint(src, dst, Mint::Range { offset, size })
    }

    fn export(&mut self, at: u32, mode: ExportMode) -> Result<CapRecord, SysError> {
        export(
            &mut self.arena,
            &mut self.mdb,
            at_index(at),
            KernelId(2),
            mode,
        )
    }

    fn commit(&mut self, record: &CapRecord) -> Result<(), SysError> {
        commit(&mut self.arena, &mut self.mdb, record)
    }

    fn abort(&mut self, record: &CapRecord) -> Result<(), SysError> {
        abort(&mut self.arena, &mut self.mdb, record)
    }

    fn import(&mut self, record: &CapRecord, at: u32) -> Result<(), SysError> {
        import(&mut self.arena, &mut self.mdb, record, at_index(at))
    }

    /// Exports and commits: the record is on another kernel then.
    fn move_away(&mut self, at: u32) -> CapRecord {
        let record = self.export(at, ExportMode::Move).expect("it may go");
        self.commit(&record).expect("it is under way");
        record
    }

    fn map(&mut self, frame: u32, table: u32, entry: u16, dst: u32) {
        let table = self.slot(table).address();
        let data = MappingData {
            table,
            first_entry: entry,
            entries: 1,
            kernel: 0,
        };
        let of = self.slot(frame).capability();
        let mapping = Capability {
            kind: ObjectType::Mapping,
            ..of
        }
        .with_data(data.to_words());
        let (arena, mdb) = (&mut self.arena, &mut self.mdb);
        derive(arena, mdb, at_index(frame), mapping, at_index(dst)).expect("a mappable frame");
        self.kernel
            .tables
            .insert((table.0, u32::from(entry)), at_index(dst));
    }

    /// The slot `number` of the CNode in `at`.
    fn within(&self, at: u32, number: u32) -> u32 {
        let first = self
            .arena
            .index_of(self.slot(at).address())
            .expect("in the arena");
        number_of(first) + number
    }
}

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
fn a_badge_is_set_once() {
    let mut world = World::new();
    assert_eq!(
        world.mint(ID_SLOT, 20, Mint::Badge(0)),
        Err(SysError::InvalidArgument)
    );
    assert_eq!(world.mint(ID_SLOT, 20, Mint::Badge(5)), Ok(()));
    assert_eq!(
        world.mint(20, 21, Mint::Badge(6)),
        Err(SysError::AlreadyBound)
    );
    assert_eq!(
        world.mint(RAM_SLOT, 21, Mint::Badge(6)),
        Err(SysError::WrongType)
    );
    assert_eq!(world.slot(20).data()[0], 5);
}

/// One client can be shut out: copies with its badge go, all others stay.
#[test]
fn a_badge_is_revoked_alone() {
    let mut world = World::new();
    for (at, badge) in [(20, 7), (21, 5), (22, 7), (23, 9), (24, 5)] {
        assert_eq!(world.mint(ID_SLOT, at, Mint::Badge(badge)), Ok(()));
    }
    assert_eq!(world.copy(21, 25), Ok(()));
    assert_eq!(world.copy(ID_SLOT, 26), Ok(()));
    world.assert_sound(false);
    assert_eq!(world.revoke_all(24), Ok(()));
    let left = |world: &World| -> Vec<u32> {
        (20..27)
            .filter(|&at| world.slot(at).is_occupied())
            .collect()
    };
    assert_eq!(left(&world), [20, 22, 23, 24, 26]);
    assert_eq!(world.revoke_all(23), Ok(()));
    assert_eq!(left(&world), [20, 22, 23, 24, 26]);
    assert_eq!(world.revoke_all(20), Ok(()));
    assert_eq!(left(&world), [20, 23, 24, 26]);
    // Whoever has it without a badge takes back all.
    assert_eq!(world.revoke_all(ID_SLOT), Ok(()));
    assert_eq!(left(&world), []);
}

/// A server hears when the last capability of one of its clients goes, however it goes, and not
/// before; it isn't told of badges that aren't counted, nor of the others' ends.
#[test]
fn the_last_with_a_counted_badge_is_told_of() {
    const FIRST: u64 = COUNTED_BADGE | 7;
    const SECOND: u64 = COUNTED_BADGE | 8;
    let mut world = World::new();
    world.make(HOME_SLOT, ObjectType::Dispatcher, 0, PAGE, 20);
    let base = world.slot(20).address();
    let endpoint = Capability {
        base: base.0 + 1024,
        size: 1,
        kind: ObjectType::EndpointLmp,
        ..Capability::memory(ObjectType::EndpointLmp, base, 1, Rights::all())
    };
    derive(
        &mut world.arena,
        &mut world.mdb,
        at_index(20),
        endpoint,
        at_index(21),
    )
    .expect("an endpoint");
    for (at, badge) in [(22, FIRST), (23, SECOND), (24, 7), (25, FIRST)] {
        assert_eq!(world.mint(21, at, Mint::Badge(badge)), Ok(()));
    }
    assert_eq!(world.copy(22, 26), Ok(()));
    assert_eq!(world.copy(24, 27), Ok(()));
    let told = |world: &mut World| core::mem::take(&mut world.kernel.no_senders);
    for at in [22, 24, 25] {
        assert_eq!(world.delete_all(at), Ok(()));
        assert_eq!(told(&mut world), [], "after {at}");
    }
    // Moved, it is the same one.
    capelin_cap::relocate(
        &mut world.arena,
        &mut world.mdb,
        at_index(26),
        at_index(28),
        Rights::all(),
    )
    .expect("moved");
    assert_eq!(told(&mut world), []);
    assert_eq!(world.delete_all(28), Ok(()));
    assert_eq!(told(&mut world), [FIRST]);
    assert_eq!(world.delete_all(27), Ok(()));
    assert_eq!(told(&mut world), []);
    // With a CNode, or a revocation, it goes as well.
    world.make(HOME_SLOT, ObjectType::L2CNode, 4 * PAGE, 4 * PAGE, 30);
    let inner = world
        .arena
        .index_of(world.slot(30).address())
        .expect("in the arena");
    copy(
        &mut world.arena,
        &mut world.mdb,
        at_index(23),
        at_index(number_of(inner) + 9),
        Rights::all(),
    )
    .expect("a copy");
    assert_eq!(world.delete_all(23), Ok(()));
    assert_eq!(told(&mut world), []);
    assert_eq!(world.delete_all(30), Ok(()));
    assert_eq!(told(&mut world), [SECOND]);
    assert_eq!(world.mint(21, 22, Mint::Badge(FIRST)), Ok(()));
    assert_eq!(world.mint(21, 23, Mint::Badge(SECOND)), Ok(()));
    assert_eq!(world.revoke_all(21), Ok(()));
    let mut both = told(&mut world);
    both.sort_unstable();
    assert_eq!(both, [FIRST, SECOND]);
    world.assert_sound(false);
}

#[test]
fn rights_only_shrink() {
    let mut world = World::new();
    let read = Rights::READ | Rights::REVOKE;
    let (from, to) = (at_index(RAM_SLOT), at_index(20));
    assert_eq!(
        copy(&mut world.arena, &mut world.mdb, from, to, read),
        Ok(())
    );
    assert_eq!(world.copy(20, 21), Ok(()));
    assert_eq!(world.slot(21).rights(), read);
    let frame = request(ObjectType::Frame, 0, PAGE, 1);
    assert_eq!(world.retype(21, frame, 22), Err(SysError::MissingRight));
}

#[test]
fn memory_is_never_lost() {
    let mut world = World::new();
    assert_eq!(world.delete_all(RAM_SLOT), Err(SysError::LastCopy));
    assert_eq!(world.copy(RAM_SLOT, 20), Ok(()));
    assert_eq!(world.delete_all(RAM_SLOT), Ok(()));
    assert_eq!(world.delete_all(20), Err(SysError::LastCopy));
    world.make(20, ObjectType::Frame, 0, PAGE, 21);
    assert_eq!(world.delete_all(21), Ok(()));
    // In a CNode that goes, it moves to the shelter.
    world.make(HOME_SLOT, ObjectType::L2CNode, 0, 0, 22);
    let inside = world.within(22, 9);
    assert_eq!(world.copy(20, inside), Ok(()));
    assert_eq!(world.delete_all(20), Ok(()));
    assert_eq!(world.delete_all(22), Ok(()));
    assert_eq!(world.kernel.orphaned, [(ObjectType::Ram, RAM, RAM_BYTES)]);
    world.assert_sound(false);
}

#[test]
fn without_shelter_a_deletion_waits() {
    let mut world = World::new();
    world.make(HOME_SLOT, ObjectType::L2CNode, 0, 0, 20);
    let inside = world.within(20, 9);
    assert_eq!(world.copy(RAM_SLOT, inside), Ok(()));
    assert_eq!(world.delete_all(RAM_SLOT), Ok(()));
    let shelter = std::mem::take(&mut world.kernel.shelter);
    assert_eq!(world.delete_step(20), Ok(Step::Again));
    let refused = (0..20)
        .map(|_| world.delete_step(20))
        .find(|step| *step != Ok(Step::Again));
    assert_eq!(refused, Some(Err(SysError::NoResources)));
    assert_eq!(world.delete_step(20), Err(SysError::NoResources));
    assert_eq!(world.drain_step(), Err(SysError::NoResources));
    world.assert_sound(true);
    // Nobody else waits for it.
    world.make(HOME_SLOT, ObjectType::L2CNode, 0x4000, 0, 21);
    assert_eq!(world.delete_all(21), Ok(()));
    assert!(world.slot(21).is_empty());
    world.make(HOME_SLOT, ObjectType::L2CNode, 0x4000, 0, 21);
    assert_eq!(world.delete_step(20), Err(SysError::NoResources));
    world.kernel.shelter = shelter;
    assert_eq!(world.delete_all(20), Ok(()));
    assert_eq!(world.delete_all(21), Ok(()));
    world.assert_sound(false);
}

#[test]
fn mappings_go_with_the_table_or_with_the_last_copy() {
    let mut world = World::new();
    world.make(RAM_SLOT, ObjectType::Frame, 0, PAGE, 20);
    for (dst, offset) in [(21, 0), (22, 2 * PAGE)] {
        world.make(HOME_SLOT, ObjectType::VNodeL3, offset, 0, dst);
    }
    world.map(20, 21, 0, 30);
    world.map(20, 21, 511, 31);
    world.map(20, 21, 1, 33);
    world.map(20, 22, 7, 32);
    world.map(20, 22, 8, 34);
    assert_eq!(world.copy(20, 23), Ok(()));
    assert_eq!(world.copy(30, 40), Err(SysError::WrongType));
    assert_eq!(world.delete_all(20), Ok(()));
    assert_eq!(world.kernel.unmapped, 0);
    assert_eq!(world.delete_all(21), Ok(()));
    assert_eq!(world.kernel.unmapped, 3);
    assert!([30, 31, 33].iter().all(|&at| world.slot(at).is_empty()));
    assert_eq!(world.delete_step(23), Ok(Step::Again));
    assert_eq!(world.kernel.unmapped, 4);
    // Between the steps nobody can map it again.
    assert_eq!(world.slot(23).state(), State::Dying);
    assert_eq!(world.copy(23, 24), Err(SysError::Dying));
    // The frame goes in one step with its last mapping.
    assert_eq!(world.delete_step(23), Ok(Step::Done));
    assert_eq!(world.kernel.unmapped, 5);
    assert!([32, 34, 23].iter().all(|&at| world.slot(at).is_empty()));
    world.assert_sound(false);
}

/// What is mapped into a table may be a table: its entry there goes with it, and its own first or
/// last.
#[test]
fn an_entry_goes_with_the_table_that_it_leads_to() {
    let mut world = World::new();
    world.make(RAM_SLOT, ObjectType::Frame, 0, PAGE, 20);
    world.make(HOME_SLOT, ObjectType::VNodeL2, 0, 0, 21);
    for is_inner_used in [false, true] {
        world.make(HOME_SLOT, ObjectType::VNodeL3, 2 * PAGE, 0, 22);
        world.map(22, 21, 3, 30);
        if is_inner_used {
            world.map(20, 22, 7, 31);
        }
        let unmapped = world.kernel.unmapped;
        assert_eq!(world.delete_all(22), Ok(()));
        assert_eq!(
            world.kernel.unmapped - unmapped,
            1 + usize::from(is_inner_used)
        );
        assert!([22, 30, 31].iter().all(|&at| world.slot(at).is_empty()));
        world.assert_sound(false);
    }
    assert_eq!(world.delete_all(21), Ok(()));
}

/// A table whose records name what is no mapping goes, and takes nothing else along.
#[test]
fn records_that_name_no_mapping_take_nothing_along() {
    let mut world = World::new();
    world.make(RAM_SLOT, ObjectType::Frame, 0, PAGE, 20);
    world.make(HOME_SLOT, ObjectType::VNodeL3, 0, 0, 21);
    let table = world.slot(21).base();
    world.map(20, 21, 7, 22);
    let wrong = [(5, capelin_cap::SlotIndex::NONE), (6, at_index(ID_SLOT))];
    for (entry, slot) in wrong {
        world.kernel.tables.insert((table, entry), slot);
    }
    let steps = (0..20).map(|_| world.delete_step(21));
    assert_eq!(steps.filter(|step| *step == Ok(Step::Done)).count(), 1);
    assert_eq!(world.kernel.unmapped, 1);
    assert!(world.slot(22).is_empty() && world.slot(ID_SLOT).is_occupied());
    for (entry, slot) in wrong {
        assert_eq!(world.kernel.tables.remove(&(table, entry)), Some(slot));
    }
    world.assert_sound(false);
}

#[test]
fn cnodes_that_hold_each_other_end() {
    let mut world = World::new();
    for (dst, number) in [(20, 0), (21, 1), (22, 2)] {
        world.make(HOME_SLOT, ObjectType::L2CNode, number * 0x4000, 0, dst);
    }
    // A ring, through the first slots and others, each holding itself as well.
    for (of, within, number) in [
        (21, 20, 0),
        (22, 21, 0),
        (20, 22, 0),
        (20, 20, 5),
        (21, 21, 255),
    ] {
        let dst = world.within(within, number);
        assert_eq!(world.copy(of, dst), Ok(()));
    }
    // The ring holds itself: the capabilities outside go like any copy.
    for at in [20, 21, 22] {
        assert_eq!(world.delete_all(at), Ok(()));
    }
    assert!(world.kernel.released.is_empty());
    // Whoever has the memory can end it.
    assert_eq!(world.revoke_all(HOME_SLOT), Ok(()));
    assert_eq!(world.kernel.released.len(), 3);
    assert_eq!(world.walk().len(), World::first_capabilities().len());
    world.assert_sound(false);
    // And use the memory again.
    world.make(HOME_SLOT, ObjectType::L2CNode, 0, 0, 20);
}

#[test]
fn a_cycle_ends_from_within() {
    let mut world = World::new();
    for (dst, number) in [(20, 0), (21, 1)] {
        world.make(HOME_SLOT, ObjectType::L2CNode, number * 0x4000, 0, dst);
    }
    // Each in the other's first slot, and nothing else.
    let (in_first, in_second) = (world.within(20, 0), world.within(21, 0));
    assert_eq!(world.copy(21, in_first), Ok(()));
    assert_eq!(world.copy(20, in_second), Ok(()));
    assert_eq!(world.delete_all(20), Ok(()));
    assert_eq!(world.delete_all(21), Ok(()));
    assert_eq!(world.delete_all(in_second), Ok(()));
    assert_eq!(world.kernel.released.len(), 2);
    assert_eq!(world.walk().len(), World::first_capabilities().len());
    world.assert_sound(false);
}

#[test]
fn what_is_locked_blocks_only_what_holds_it() {
    let mut world = World::new();
    for (dst, number) in [(20, 0), (21, 1)] {
        world.make(HOME_SLOT, ObjectType::L2CNode, number * 0x4000, 0, dst);
        let inside = world.within(dst, 7);
        assert_eq!(world.copy(ID_SLOT, inside), Ok(()));
    }
    let locked = at_index(world.within(21, 7));
    assert_eq!(
        capelin_cap::pin(&mut world.arena, &world.mdb, locked),
        Ok(())
    );
    assert_eq!(world.delete_step(20), Ok(Step::Again));
    assert_eq!(world.delete_step(21), Ok(Step::Again));
    let steps: Vec<_> = (0..40).map(|_| world.drain_step()).collect();
    assert!(steps.contains(&Err(SysError::Locked)));
    assert_eq!(world.kernel.released.len(), 1);
    assert_eq!(world.drain_step(), Err(SysError::Locked));
    world.assert_sound(true);
    assert_eq!(capelin_cap::unpin(&mut world.arena, locked), Ok(()));
    assert_eq!(world.delete_all(21), Ok(()));
    assert_eq!(world.delete_all(20), Ok(()));
    assert_eq!(world.kernel.released.len(), 2);
    world.assert_sound(false);
}

#[test]
fn a_locked_copy_stops_a_revocation() {
    let mut world = World::new();
    assert_eq!(world.copy(RAM_SLOT, 20), Ok(()));
    assert_eq!(
        capelin_cap::pin(&mut world.arena, &world.mdb, at_index(20)),
        Ok(())
    );
    assert_eq!(world.revoke_all(RAM_SLOT), Err(SysError::Locked));
    assert_eq!(world.delete_all(20), Err(SysError::Locked));
    assert_eq!(capelin_cap::unpin(&mut world.arena, at_index(20)), Ok(()));
    assert_eq!(world.revoke_all(RAM_SLOT), Ok(()));
    assert!(world.slot(20).is_empty());
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

/// What another kernel owns dies alone: its part doesn't count on it.
#[test]
fn a_part_of_what_is_anothers_outlives_it() {
    let mut world = World::new();
    let whole = CapRecord {
        capability: Capability::memory(
            ObjectType::Frame,
            PhysAddr(0x2_0000_0000),
            2 * PAGE,
            Rights::all(),
        ),
        owner: KernelId(2),
        mode: ExportMode::Copy,
        has_ancestors: false,
        is_in_frame: false,
        is_executable: false,
    };
    assert_eq!(world.import(&whole, 20), Ok(()));
    let part = Mint::Range {
        offset: PAGE,
        size: PAGE,
    };
    let (arena, mdb) = (&mut world.arena, &mut world.mdb);
    let rights = Rights::all();
    assert_eq!(
        mint(arena, mdb, at_index(20), at_index(21), rights, part),
        Ok(())
    );
    let copy = export(arena, mdb, at_index(21), KernelId(3), ExportMode::Copy);
    assert!(copy.expect("passed on").has_ancestors);
    assert_eq!(world.delete_all(20), Ok(()));
    let (arena, mdb) = (&mut world.arena, &mut world.mdb);
    let copy = export(arena, mdb, at_index(21), KernelId(3), ExportMode::Copy);
    assert!(!copy.expect("passed on").has_ancestors);
    world.assert_sound(false);
}

#[test]
fn a_chain_of_cnodes_takes_no_stack() {
    let mut world = World::new();
    let mut at = 20;
    for number in 0..8 {
        world.make(HOME_SLOT, ObjectType::L2CNode, number * 0x4000, 0, at);
        at = world.within(at, 0);
    }
    assert_eq!(world.delete_all(20), Ok(()));
    assert_eq!(world.kernel.released.len(), 8);
    assert!(world.list.is_empty());
    world.assert_sound(false);
}

#[test]
fn a_dispatcher_takes_its_endpoints_and_what_it_holds() {
    let mut world = World::new();
    world.make(HOME_SLOT, ObjectType::Dispatcher, 0, 0, 20);
    world.make(HOME_SLOT, ObjectType::L1CNode, 0x4000, 0, 21);
    let base = world.slot(20).base();
    let inner = number_of(common::inner_slots(base)[1]);
    assert_eq!(world.copy(21, inner), Ok(()));
    world.arena.slot_mut(at_index(inner)).watch();
    let endpoint = Capability {
        kind: ObjectType::EndpointLmp,
        ..Capability::memory(
            ObjectType::EndpointLmp,
            PhysAddr(base + 3),
            1,
            Rights::all(),
        )
    };
    let (arena, mdb) = (&mut world.arena, &mut world.mdb);
    assert_eq!(
        derive(arena, mdb, at_index(20), endpoint, at_index(22)),
        Ok(())
    );
    let again = derive(arena, mdb, at_index(20), endpoint, at_index(23));
    assert_eq!(again, Err(SysError::RangeInUse));
    assert_eq!(world.copy(22, 24), Ok(()));
    // Losing what it holds is told, once, while it runs.
    assert_eq!(world.delete_all(inner), Ok(()));
    assert_eq!(world.kernel.lost, [at_index(inner)]);
    assert_eq!(world.copy(21, inner), Ok(()));
    assert_eq!(world.delete_all(21), Ok(()));
    world.arena.slot_mut(at_index(inner)).watch();
    assert_eq!(world.delete_all(20), Ok(()));
    assert_eq!(world.kernel.stopped, [base]);
    assert_eq!(world.kernel.lost.len(), 1);
    let released: Vec<_> = world
        .kernel
        .released
        .iter()
        .map(|(kind, _, _)| *kind)
        .collect();
    assert!(released.contains(&ObjectType::EndpointLmp));
    assert!(released.contains(&ObjectType::L1CNode));
    assert_eq!(world.walk().len(), World::first_capabilities().len());
    world.assert_sound(false);
}

#[test]
fn a_dispatcher_loses_a_cspace_that_dies_in_its_hands() {
    let mut world = World::new();
    world.make(HOME_SLOT, ObjectType::Dispatcher, 0, 0, 20);
    world.make(HOME_SLOT, ObjectType::L1CNode, 0x4000, 0, 21);
    let inner = number_of(common::inner_slots(world.slot(20).base())[1]);
    assert_eq!(world.copy(21, inner), Ok(()));
    world.arena.slot_mut(at_index(inner)).watch();
    assert_eq!(world.delete_all(21), Ok(()));
    assert!(world.kernel.lost.is_empty());
    // The last capability moves into the CNode: what is told is the slot it left.
    assert_eq!(world.delete_all(inner), Ok(()));
    assert_eq!(world.kernel.lost, [at_index(inner)]);
    world.assert_sound(false);
}

#[test]
fn what_moved_away_keeps_its_range() {
    use ObjectType::Ram;
    let mut world = World::new();
    world.make(RAM_SLOT, Ram, 0, 4 * PAGE, 20);
    let record = world.move_away(20);
    assert!(record.has_ancestors);
    assert_eq!(world.copy(20, 21), Err(SysError::Foreign));
    assert_eq!(world.delete_all(20), Err(SysError::Foreign));
    assert_eq!(world.revoke_all(RAM_SLOT), Err(SysError::ThroughMonitor));
    let frame = request(ObjectType::Frame, 2 * PAGE, PAGE, 1);
    assert_eq!(world.retype(RAM_SLOT, frame, 21), Err(SysError::RangeInUse));
    // A part comes back: there is no way to delete it, since its ancestor isn't
    // here, and the tombstone stays while it exists.
    let mut part = record;
    part.owner = common::SELF;
    part.capability.size = PAGE;
    let (arena, mdb) = (&mut world.arena, &mut world.mdb);
    assert_eq!(import(arena, mdb, &part, at_index(22)), Ok(()));
    assert_eq!(
        reclaim(arena, mdb, at_index(20)),
        Err(SysError::HasRelations)
    );
    assert_eq!(world.delete_all(22), Err(SysError::LastCopy));
    // It goes again, and leaves nothing: the tombstone around it claims its range.
    world.move_away(22);
    assert!(world.slot(22).is_empty());
    // All of it comes back.
    let mut whole = record;
    whole.owner = common::SELF;
    assert_eq!(world.import(&whole, 23), Ok(()));
    assert!(world.slot(20).is_empty());
    assert_eq!(world.delete_all(23), Ok(()));
    assert_eq!(world.retype(RAM_SLOT, frame, 21), Ok(Retype::Fresh));
    world.assert_sound(false);
}

#[test]
fn a_mark_of_remote_copies_outlives_the_copy_that_has_it() {
    let mut world = World::new();
    world.make(RAM_SLOT, ObjectType::Frame, 0, PAGE, 20);
    assert_eq!(world.copy(20, 21), Ok(()));
    let record = world.export(20, ExportMode::Copy).expect("a frame");
    assert_eq!(world.commit(&record), Ok(()));
    assert!(
        !record
            .capability
            .rights
            .intersects(Rights::REVOKE | Rights::RETYPE)
    );
    assert_eq!(world.delete_all(20), Ok(()));
    assert_eq!(world.delete_all(21), Err(SysError::ThroughMonitor));
    assert_eq!(
        world.export(21, ExportMode::Move),
        Err(SysError::ThroughMonitor)
    );
    assert_eq!(world.revoke_all(RAM_SLOT), Err(SysError::ThroughMonitor));
    let cleared =
        capelin_cap::set_remote_copies(&mut world.arena, &mut world.mdb, at_index(21), false);
    assert_eq!(cleared, Ok(()));
    assert_eq!(world.delete_all(21), Ok(()));
}

#[test]
fn sealing_needs_that_nobody_can_touch_it() {
    let mut world = World::new();
    world.make(RAM_SLOT, ObjectType::Frame, 0, 2 * PAGE, 20);
    let attempt = |world: &mut World, at| seal(&mut world.arena, &mut world.mdb, at_index(at));
    assert_eq!(attempt(&mut world, RAM_SLOT), Err(SysError::WrongType));
    assert_eq!(world.part(20, 21, 0, PAGE), Ok(()));
    assert_eq!(attempt(&mut world, 20), Err(SysError::HasRelations));
    // The whole frame still reaches the part.
    assert_eq!(attempt(&mut world, 21), Err(SysError::HasRelations));
    world.make(HOME_SLOT, ObjectType::VNodeL3, 0, 0, 22);
    world.map(20, 22, 3, 23);
    assert_eq!(attempt(&mut world, 21), Err(SysError::HasRelations));
    assert_eq!(world.delete_all(21), Ok(()));
    assert_eq!(attempt(&mut world, 20), Err(SysError::HasRelations));
    assert_eq!(world.delete_all(23), Ok(()));
    assert_eq!(attempt(&mut world, 20), Ok(()));
    assert_eq!(world.slot(20).kind(), ObjectType::CoreImage);
    assert_eq!(
        world.slot(20).rights(),
        Rights::EXECUTE | Rights::GRANT | Rights::REVOKE
    );
    assert_eq!(attempt(&mut world, 20), Err(SysError::WrongType));
    world.assert_sound(false);
}

/// W^X for the object: by copies, parts, mappings, the frame around, and again from
/// the same memory.
#[test]
fn what_is_executable_was_written_before() {
    use ObjectType::Frame;
    let mut world = World::new();
    let attempt =
        |world: &mut World, at| make_executable(&mut world.arena, &mut world.mdb, at_index(at));
    world.make(RAM_SLOT, Frame, 0, 4 * PAGE, 20);
    world.make(HOME_SLOT, ObjectType::VNodeL3, 0, 0, 22);
    assert_eq!(attempt(&mut world, RAM_SLOT), Err(SysError::WrongType));
    world.map(20, 22, 3, 23);
    assert_eq!(attempt(&mut world, 20), Err(SysError::HasRelations));
    assert_eq!(world.delete_all(23), Ok(()));
    assert_eq!(world.copy(20, 21), Ok(()));
    assert_eq!(attempt(&mut world, 20), Err(SysError::HasRelations));
    assert_eq!(world.delete_all(21), Ok(()));
    assert_eq!(world.part(20, 21, 0, PAGE), Ok(()));
    assert_eq!(attempt(&mut world, 20), Err(SysError::HasRelations));
    assert_eq!(attempt(&mut world, 21), Err(SysError::HasRelations));
    assert_eq!(world.delete_all(21), Ok(()));
    // A copy that is elsewhere, or on its way.
    let record = world.export(20, ExportMode::Copy).expect("a frame");
    assert_eq!(attempt(&mut world, 20), Err(SysError::ThroughMonitor));
    assert_eq!(world.commit(&record), Ok(()));
    assert_eq!(attempt(&mut world, 20), Err(SysError::ThroughMonitor));
    let (arena, mdb) = (&mut world.arena, &mut world.mdb);
    capelin_cap::set_remote_copies(arena, mdb, at_index(20), false).expect("they are gone");
    assert_eq!(attempt(&mut world, 20), Ok(()));
    assert_eq!(attempt(&mut world, 20), Ok(()));
    // Nothing that is made of it can be written to, here or elsewhere.
    assert_eq!(world.copy(20, 21), Ok(()));
    assert_eq!(world.part(20, 24, PAGE, PAGE), Ok(()));
    world.map(20, 22, 3, 23);
    for at in [20, 21, 23, 24] {
        let slot = world.slot(at);
        assert!(slot.is_executable() && !slot.rights().contains(Rights::WRITE));
    }
    let record = world.export(21, ExportMode::Copy).expect("a frame");
    assert!(record.is_executable && !record.capability.rights.contains(Rights::WRITE));
    let mut writable = record;
    writable.capability.rights |= Rights::WRITE;
    assert_eq!(world.import(&writable, 25), Err(SysError::InvalidArgument));
    writable.is_executable = false;
    assert_eq!(world.import(&writable, 25), Err(SysError::InvalidArgument));
    assert_eq!(world.import(&record, 25), Ok(()));
    assert_eq!(world.abort(&record), Ok(()));
    // The memory can be written to again as another frame, which isn't executable.
    for at in [25, 24, 23, 21, 20] {
        assert_eq!(world.delete_all(at), Ok(()));
    }
    world.make(RAM_SLOT, Frame, 0, 4 * PAGE, 20);
    assert!(!world.slot(20).is_executable());
    assert!(world.slot(20).rights().contains(Rights::WRITE));
    world.assert_sound(false);
}

/// A part of a frame that is on another kernel could be written to there.
#[test]
fn a_part_of_what_is_elsewhere_is_not_made_executable() {
    let mut world = World::new();
    let part = CapRecord {
        capability: Capability::memory(
            ObjectType::Frame,
            PhysAddr(0x2_0000_0000),
            PAGE,
            Rights::all(),
        ),
        owner: common::SELF,
        mode: ExportMode::Move,
        has_ancestors: true,
        is_in_frame: true,
        is_executable: false,
    };
    assert_eq!(world.import(&part, 20), Ok(()));
    let (arena, mdb) = (&mut world.arena, &mut world.mdb);
    let result = make_executable(arena, mdb, at_index(20));
    assert_eq!(result, Err(SysError::ThroughMonitor));
    let weak = CapRecord {
        capability: Capability {
            base: 0x3_0000_0000,
            rights: Rights::READ | Rights::WRITE,
            ..part.capability
        },
        is_in_frame: false,
        ..part
    };
    assert_eq!(world.import(&weak, 21), Ok(()));
    let (arena, mdb) = (&mut world.arena, &mut world.mdb);
    let result = make_executable(arena, mdb, at_index(21));
    assert_eq!(result, Err(SysError::MissingRight));
}

#[test]
fn addresses_lead_to_slots() {
    let mut world = World::new();
    world.make(HOME_SLOT, ObjectType::L1CNode, 0, 0, 20);
    world.make(HOME_SLOT, ObjectType::L2CNode, 0x4000, 0, 21);
    let l1 = world.within(20, 255);
    assert_eq!(world.copy(21, l1), Ok(()));
    let look =
        |world: &World, root, reference| cspace::lookup(&world.arena, at_index(root), reference);
    let last = CapRef::l2(CapAddress::new(255, 255));
    assert_eq!(look(&world, 20, last), Ok(at_index(HOME + 256 + 255)));
    assert_eq!(look(&world, 20, CapRef::l1(255)), Ok(at_index(l1)));
    assert_eq!(look(&world, 20, CapRef::l1(256)), Err(SysError::NoSuchSlot));
    let beyond = CapRef::l2(CapAddress::new(0xff_ffff, 0));
    assert_eq!(look(&world, 20, beyond), Err(SysError::NoSuchSlot));
    let empty = CapRef::l2(CapAddress::new(3, 0));
    assert_eq!(look(&world, 20, empty), Err(SysError::NoSuchSlot));
    assert_eq!(
        look(&world, 20, CapRef::l2(CapAddress::NULL)),
        Err(SysError::NoSuchSlot)
    );
    // Not even where a CNode would have it.
    let (null, l1) = (CapRef::l2(CapAddress::NULL), world.within(20, 0));
    assert_eq!(world.copy(21, l1), Ok(()));
    for reference in [null, CapRef::l2(CapAddress::new(0, 1))] {
        let expected = if reference == null {
            Err(SysError::NoSuchSlot)
        } else {
            Ok(at_index(HOME + 256 + 1))
        };
        assert_eq!(look(&world, 20, reference), expected);
        let word = reference.to_word();
        let found = cspace::lookup_word(&world.arena, at_index(l1), word);
        assert_eq!(found, expected);
        let plain = cspace::lookup_plain(&world.arena, at_index(l1), word);
        assert_eq!(plain, expected.ok());
    }
    assert_eq!(look(&world, 21, last), Err(SysError::WrongType));
    assert_eq!(look(&world, 0, last), Err(SysError::WrongType));
    // From the first slot, the same.
    let first = world.within(20, 0);
    for reference in [last, CapRef::l1(255), CapRef::l1(256), beyond, empty] {
        assert_eq!(
            cspace::lookup_from(&world.arena, at_index(first), reference),
            look(&world, 20, reference),
            "{reference:?}"
        );
    }
    assert_eq!(world.slot(HOME_SLOT).base(), address_of(HOME));
    assert_eq!(world.slot(DEVICE_SLOT).kind(), ObjectType::PhysAddr);
}

/// A CNode that can't be used leads nowhere, by the quick way or the other.
#[test]
fn addresses_end_at_cnodes_that_cannot_be_used() {
    let mut world = World::new();
    world.make(HOME_SLOT, ObjectType::L1CNode, 0, 0, 20);
    let l1 = world.within(20, 7);
    world.make(HOME_SLOT, ObjectType::L2CNode, 0x4000, 0, l1);
    let (first, inner) = (at_index(world.within(20, 0)), world.within(l1, 0));
    let reference = CapRef::l2(CapAddress::new(7, 9));
    let target = at_index(inner + 9);
    let ways = |world: &World| {
        let arena = &world.arena;
        let quick = cspace::lookup_plain(arena, first, reference.to_word());
        let word = cspace::lookup_word(arena, first, reference.to_word());
        let from_root = cspace::lookup(arena, at_index(20), reference);
        assert_eq!(word, from_root);
        assert_eq!(cspace::lookup_from(arena, first, reference), from_root);
        assert_eq!(quick, from_root.ok());
        from_root
    };
    assert_eq!(ways(&world), Ok(target));
    assert_eq!(
        capelin_cap::pin(&mut world.arena, &world.mdb, at_index(l1)),
        Ok(())
    );
    assert_eq!(ways(&world), Err(SysError::Locked));
    assert_eq!(capelin_cap::unpin(&mut world.arena, at_index(l1)), Ok(()));
    // What lies in its first slot goes first: until then it is dying where it is.
    assert_eq!(world.copy(ID_SLOT, inner), Ok(()));
    assert_eq!(world.delete_step(l1), Ok(Step::Again));
    assert_eq!(world.slot(l1).state(), State::Dying);
    assert_eq!(ways(&world), Err(SysError::Dying));
    assert_eq!(world.delete_all(l1), Ok(()));
    assert_eq!(ways(&world), Err(SysError::NoSuchSlot));
}
