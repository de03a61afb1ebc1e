//! What may be mapped how: by the rights of who maps, the kind of memory, and its size.

use capelin_abi::syscall::{Invocation, MapFlags};
use capelin_abi::{ObjectType, PAGE_SIZE, PhysAddr, Rights, SysError};
use capelin_cap::{Capability, SlotStore};

use crate::host::{Asked, RAM};
use crate::memory::{FRAME, TABLES, tables};
use crate::world::{Left, World, cap, slot};

const R: MapFlags = MapFlags::READ;
const W: MapFlags = MapFlags::WRITE;
const X: MapFlags = MapFlags::EXECUTE;
const U: MapFlags = MapFlags::UNCACHED;
/// Where mappings are noted.
const MAPPING: u8 = 170;

/// `init` maps `count` entries of the table from `first` on, from `offset` in the frame on.
fn map_in(
    world: &mut World,
    table: u8,
    frame: u8,
    [first, count]: [u64; 2],
    offset: u64,
    flags: MapFlags,
) -> Result<(), SysError> {
    let what = first | count << 16 | u64::from(flags.bits()) << 32;
    let arguments = [cap(frame).to_word(), what, offset, cap(MAPPING).to_word()];
    world.invoke(table, Invocation::Map, &arguments).map(drop)
}

fn map(world: &mut World, frame: u8, flags: MapFlags) -> Result<(), SysError> {
    map_in(world, TABLES[2], frame, [0, 1], 0, flags)
}

fn unmap(world: &mut World) {
    world
        .invoke(MAPPING, Invocation::Unmap, &[])
        .expect("unmapped");
}

fn protect(world: &mut World, flags: MapFlags) -> Result<(), SysError> {
    let arguments = [u64::from(flags.bits())];
    let changed = world.invoke(MAPPING, Invocation::Protect, &arguments);
    changed.map(drop)
}

fn copy(world: &mut World, from: u8, to: u8, rights: Rights) {
    let arguments = [
        cap(to).to_word(),
        cap(from).to_word(),
        u64::from(rights.bits()),
    ];
    world
        .invoke(slot::L1CNODE, Invocation::Copy, &arguments)
        .expect("a copy");
}

fn frame(world: &mut World, to: u8, offset: u64, pages: u64) {
    world
        .retype_ram(to, ObjectType::Frame, offset, pages * PAGE_SIZE)
        .expect("a frame");
}

fn first_entry(world: &World) -> u64 {
    let table = world.address_of(TABLES[2]);
    world.core.objects.table_at(table).entries[0]
}

/// AP[2] and AP[1], UXN and the attributes' index of a leaf (Arm ARM D8.3.2).
fn is_writable(entry: u64) -> bool {
    entry & 1 << 7 == 0
}

fn is_executable(entry: u64) -> bool {
    entry & 1 << 54 == 0
}

/// A mapping has no permission that the capability mapped hasn't, now or later.
#[test]
fn nothing_is_mapped_with_more_than_the_capability_has() {
    let missing = Err(SysError::MissingRight);
    for (rights, flags, expected) in [
        (Rights::READ, R, Ok(())),
        (Rights::READ, R | W, missing),
        (Rights::READ | Rights::EXECUTE, R | W, missing),
        (Rights::READ | Rights::WRITE, R | W, Ok(())),
        (Rights::WRITE, R, missing),
        (Rights::WRITE | Rights::EXECUTE, R | W, missing),
        (Rights::empty(), R, missing),
    ] {
        let mut world = World::new();
        tables(&mut world);
        copy(&mut world, FRAME, 190, rights);
        assert_eq!(
            map(&mut world, 190, flags),
            expected,
            "{rights:?} {flags:?}"
        );
        if expected.is_ok() {
            assert_eq!(is_writable(first_entry(&world)), flags.contains(W));
            assert!(!is_executable(first_entry(&world)));
            let more = protect(&mut world, R | W);
            let may = rights.contains(Rights::WRITE);
            assert_eq!(more.is_ok(), may, "{rights:?} {more:?}");
            assert_eq!(is_writable(first_entry(&world)), may);
        } else {
            assert_eq!(first_entry(&world), 0);
        }
    }
}

/// Only a frame that was made executable is mapped so, by who has the right; and that isn't
/// mapped writable by anybody.
#[test]
fn only_what_is_executable_is_mapped_so() {
    let mut world = World::new();
    tables(&mut world);
    assert_eq!(map(&mut world, FRAME, R | X), Err(SysError::NotExecutable));
    map(&mut world, FRAME, R).expect("readable");
    assert_eq!(protect(&mut world, R | X), Err(SysError::NotExecutable));
    assert!(!is_executable(first_entry(&world)));
    unmap(&mut world);
    assert_eq!(
        map(&mut world, FRAME, R | W | X),
        Err(SysError::InvalidArgument)
    );
    world
        .invoke(FRAME, Invocation::MakeExecutable, &[])
        .expect("nobody else has it");
    assert_eq!(map(&mut world, FRAME, R | W), Err(SysError::MissingRight));
    copy(&mut world, FRAME, 190, Rights::READ);
    assert_eq!(map(&mut world, 190, R | X), Err(SysError::MissingRight));
    map(&mut world, 190, R).expect("readable");
    assert_eq!(protect(&mut world, R | X), Err(SysError::MissingRight));
    unmap(&mut world);
    map(&mut world, FRAME, R).expect("readable");
    assert!(!is_executable(first_entry(&world)));
    protect(&mut world, R | X).expect("executable");
    assert!(is_executable(first_entry(&world)) && !is_writable(first_entry(&world)));
    assert_eq!(protect(&mut world, R | W), Err(SysError::MissingRight));
    protect(&mut world, R).expect("no more");
    assert!(!is_executable(first_entry(&world)));
}

/// Not one byte beyond the end of a frame is mapped, nor what no descriptor can hold.
#[test]
fn a_mapping_ends_with_its_frame() {
    let mut world = World::new();
    tables(&mut world);
    let table = TABLES[2];
    let out = Err(SysError::OutOfRange);
    let page = PAGE_SIZE;
    for (entries, offset, expected) in [
        ([0, 4], 0, Ok(())),
        ([0, 5], 0, out),
        ([0, 4], page, out),
        ([0, 3], page, Ok(())),
        ([0, 1], 3 * page, Ok(())),
        ([0, 2], 3 * page, out),
        ([0, 1], 4 * page, out),
        ([0, 1], 5 * page, out),
        ([0, 1], u64::MAX, out),
        ([0, 1], u64::MAX - page + 1, out),
        ([0, 1], 8, Err(SysError::Unaligned)),
    ] {
        let mapped = map_in(&mut world, table, FRAME, entries, offset, R);
        assert_eq!(mapped, expected, "{entries:?} at {offset:#x}");
        if mapped.is_ok() {
            // Descriptors hold addresses of 48 bits, whole pages.
            let base = first_entry(&world) & 0xffff_ffff_f000;
            assert_eq!(base, RAM + 0x4000 + offset);
            unmap(&mut world);
        }
    }
    // Memory up to the last that a descriptor can hold, and beyond it.
    let bases = [
        ((1 << 48) - page, Ok(())),
        (1 << 48, out),
        ((1 << 48) + page, out),
    ];
    for (to, (base, expected)) in (180..).zip(bases) {
        let device = Capability::memory(ObjectType::DevFrame, PhysAddr(base), page, Rights::all());
        let target = world.index(to);
        world.core.caps().create(device, target).expect("room");
        let mapped = map_in(&mut world, table, to, [0, 1], 0, R);
        assert_eq!(mapped, expected, "{base:#x}");
        if mapped.is_ok() {
            unmap(&mut world);
        }
    }
}

/// Entries that are taken aren't taken once more: the first, nor any of the others, nor the
/// last.
#[test]
fn taken_entries_are_not_mapped_over() {
    for (taken, entries, expected) in [
        (0, [0, 1], Err(SysError::EntryInUse)),
        (0, [1, 2], Ok(())),
        (1, [0, 2], Err(SysError::EntryInUse)),
        (2, [0, 3], Err(SysError::EntryInUse)),
        (3, [0, 3], Ok(())),
        (511, [510, 2], Err(SysError::EntryInUse)),
        (511, [508, 3], Ok(())),
    ] {
        let mut world = World::new();
        tables(&mut world);
        map_in(&mut world, TABLES[2], FRAME, [taken, 1], 0, R).expect("free");
        let before = first_entry(&world);
        let what = entries[0] | entries[1] << 16 | u64::from(R.bits()) << 32;
        let arguments = [cap(FRAME).to_word(), what, 0, cap(171).to_word()];
        let over = world.invoke(TABLES[2], Invocation::Map, &arguments);
        assert_eq!(over.map(drop), expected, "{taken} {entries:?}");
        if expected.is_err() {
            assert_eq!(first_entry(&world), before);
        }
    }
}

/// A table goes into the next level's place only, alone, with nothing else said, and once.
#[test]
fn tables_are_attached_where_they_belong() {
    let mut world = World::new();
    tables(&mut world);
    for (to, kind, offset) in [
        (180, ObjectType::VNodeL3, 0x7_0000),
        (181, ObjectType::VNodeL2, 0x7_2000),
        (182, ObjectType::VNodeL0, 0x7_4000),
    ] {
        world.retype(to, kind, offset, 0x2000, 1).expect("a table");
    }
    let wrong = Err(SysError::WrongType);
    let invalid = Err(SysError::InvalidArgument);
    for (table, child, entries, offset, flags, expected) in [
        (TABLES[2], 180, [7, 1], 0, MapFlags::empty(), wrong),
        (TABLES[2], 182, [7, 1], 0, MapFlags::empty(), wrong),
        (TABLES[0], 180, [7, 1], 0, MapFlags::empty(), wrong),
        (TABLES[1], 181, [7, 1], 0, MapFlags::empty(), wrong),
        (
            TABLES[1],
            slot::DISPATCHER,
            [7, 1],
            0,
            MapFlags::empty(),
            wrong,
        ),
        (TABLES[1], 180, [7, 2], 0, MapFlags::empty(), invalid),
        (
            TABLES[1],
            180,
            [7, 1],
            PAGE_SIZE,
            MapFlags::empty(),
            invalid,
        ),
        (TABLES[1], 180, [7, 1], 0, R, invalid),
        (
            TABLES[1],
            180,
            [0, 1],
            0,
            MapFlags::empty(),
            Err(SysError::EntryInUse),
        ),
        (
            TABLES[1],
            TABLES[2],
            [7, 1],
            0,
            MapFlags::empty(),
            Err(SysError::AlreadyBound),
        ),
        (TABLES[1], 180, [7, 1], 0, MapFlags::empty(), Ok(())),
    ] {
        let attached = map_in(&mut world, table, child, entries, offset, flags);
        assert_eq!(attached, expected, "{child} in {table} {entries:?}");
    }
    // It translates what lies from there on.
    let child = world.core.objects.table_at(world.address_of(180));
    assert_eq!(child.first_address, 7 << 21);
}

/// The permissions of all that a mapping maps change, and only those; a table has none.
#[test]
fn protecting_changes_one_mapping() {
    let mut world = World::new();
    tables(&mut world);
    let arguments = [
        cap(FRAME).to_word(),
        5 | 1 << 16 | u64::from((R | W).bits()) << 32,
        0,
        cap(171).to_word(),
    ];
    world
        .invoke(TABLES[2], Invocation::Map, &arguments)
        .expect("mapped");
    map_in(&mut world, TABLES[2], FRAME, [0, 3], 0, R | W).expect("mapped");
    protect(&mut world, R).expect("less");
    let table = world.core.objects.table_at(world.address_of(TABLES[2]));
    for (entry, &descriptor) in table.entries.iter().enumerate().take(8) {
        let is_mapped = [0, 1, 2, 5].contains(&entry);
        assert_eq!(descriptor != 0, is_mapped, "{entry}");
        assert!(
            !is_mapped || is_writable(descriptor) == (entry == 5),
            "{entry}"
        );
    }
    let table = TABLES[2] + 20;
    let refused = world.invoke(table, Invocation::Protect, &[u64::from(R.bits())]);
    assert_eq!(refused, Err(SysError::WrongType));
    // Cached memory doesn't become uncached under its users.
    assert_eq!(protect(&mut world, R | U), Err(SysError::InvalidArgument));
}

/// What is mapped uncached is cleaned from the caches, page by page, and all of it; of blocks,
/// no more than a table's worth; home memory not at all.
#[test]
fn pages_are_made_ready_one_by_one_and_all_of_them() {
    let mut world = World::new();
    tables(&mut world);
    frame(&mut world, 142, 0x20_0000, 512);
    frame(&mut world, 143, 0x40_0000, 1024);
    let cleaned = |world: &World| {
        let asked = world.core.machine.asked();
        let pages = asked.iter().filter_map(|what| match what {
            Asked::CleanInvalidate(page) => Some(*page),
            _ => None,
        });
        pages.collect::<Vec<_>>()
    };
    world.core.machine.asked();
    map_in(&mut world, TABLES[2], 142, [3, 40], 2 * PAGE_SIZE, R | U).expect("mapped");
    let from = RAM + 0x20_0000 + 2 * PAGE_SIZE;
    let expected: Vec<_> = (0..40).map(|page| from + page * PAGE_SIZE).collect();
    assert_eq!(cleaned(&world), expected);
    unmap(&mut world);
    // A block of 512 pages can be, two of them can't.
    world.core.machine.asked();
    map_in(&mut world, TABLES[1], 142, [3, 1], 0, R | U).expect("mapped");
    let from = RAM + 0x20_0000;
    let expected: Vec<_> = (0..512).map(|page| from + page * PAGE_SIZE).collect();
    assert_eq!(cleaned(&world), expected);
    unmap(&mut world);
    let two = map_in(&mut world, TABLES[1], 143, [3, 2], 0, R | U);
    assert_eq!(two, Err(SysError::Unsupported));
    world
        .retype(144, ObjectType::Frame, 0x8_0000, PAGE_SIZE, 1)
        .expect("a frame of home memory");
    let home = map_in(&mut world, TABLES[2], 144, [3, 1], 0, R | U);
    assert_eq!(home, Err(SysError::Unsupported));
    map_in(&mut world, TABLES[2], 144, [3, 1], 0, R).expect("it is mapped cached");
}

/// A mapping that is being prepared is gone on with by the same call alone.
#[test]
fn another_mapping_does_not_go_on_with_one_being_prepared() {
    let mut world = World::new();
    tables(&mut world);
    frame(&mut world, 142, 0x20_0000, 100);
    frame(&mut world, 143, 0x30_0000, 100);
    let begin = |world: &mut World, frame: u8, [first, count]: [u64; 2], offset: u64| {
        let what = first | count << 16 | u64::from((R | U).bits()) << 32;
        let arguments = [cap(frame).to_word(), what, offset, cap(MAPPING).to_word()];
        let left = world.invoke_once(TABLES[2], Invocation::Map, &arguments);
        (left, world.register(0))
    };
    assert_eq!(begin(&mut world, 142, [0, 60], 0).0, Left::Restart);
    let entries = |world: &World| {
        let table = world.core.objects.table_at(world.address_of(TABLES[2]));
        table.entries.to_vec()
    };
    let before = entries(&world);
    for (frame, place, offset) in [
        (143, [0, 60], 0),
        (142, [0, 59], 0),
        (142, [1, 59], 0),
        (142, [1, 60], 0),
        (142, [0, 60], PAGE_SIZE),
    ] {
        let (left, error) = begin(&mut world, frame, place, offset);
        let refused = (Left::Caller, SysError::EntryInUse as u64);
        let is_refused = left != Left::Restart && error == refused.1;
        assert!(is_refused, "{frame} {place:?} {offset}: {left:?} {error}");
        assert_eq!(entries(&world), before);
    }
    while begin(&mut world, 142, [0, 60], 0).0 == Left::Restart {}
    assert!(entries(&world)[..60].iter().all(|entry| entry & 1 == 1));
    let mapping = world.core.slots.slot(world.index(MAPPING)).size();
    assert_eq!(mapping, 100 * PAGE_SIZE);
}

/// A block becomes executable when all of its pages are ready; two are too many for that.
#[test]
fn a_block_is_made_executable_as_a_whole() {
    for (count, expected) in [(1, Ok(())), (2, Err(SysError::Unsupported))] {
        let mut world = World::new();
        tables(&mut world);
        frame(&mut world, 143, 0x40_0000, 1024);
        world
            .invoke(143, Invocation::MakeExecutable, &[])
            .expect("nobody else has it");
        map_in(&mut world, TABLES[1], 143, [3, count], 0, R).expect("mapped");
        world.core.machine.asked();
        assert_eq!(protect(&mut world, R | X), expected, "{count}");
        let asked = world.core.machine.asked();
        let is_page = |what: &&Asked| matches!(what, Asked::CleanInstructions(_));
        let pages = asked.iter().filter(is_page).count();
        assert_eq!(pages, if expected.is_ok() { 512 } else { 0 });
    }
}
