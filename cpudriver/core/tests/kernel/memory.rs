//! Mapping and zeroing: what the machine is asked for.

use capelin_abi::syscall::{Invocation, MapFlags};
use capelin_abi::{ObjectType, PAGE_SIZE, SysError};
use capelin_cap::SlotStore;

use crate::host::{Asked, RAM};
use crate::world::{Left, World, cap, slot};

pub const TABLES: [u8; 3] = [130, 131, 132];
pub const FRAME: u8 = 140;

/// Makes the tables down to level 3 in `init`'s address space, and a frame of four
/// pages of memory that isn't home memory.
pub fn tables(world: &mut World) {
    tables_below(world, slot::VSPACE);
}

/// The same in the address space whose root is in `root`.
pub fn tables_below(world: &mut World, root: u8) {
    let kinds = [
        ObjectType::VNodeL1,
        ObjectType::VNodeL2,
        ObjectType::VNodeL3,
    ];
    let mut above = root;
    for (number, (table, kind)) in TABLES.into_iter().zip(kinds).enumerate() {
        let offset = 0x6_0000 + number as u64 * 0x2000;
        world
            .retype(table, kind, offset, 0x2000, 1)
            .expect("a table");
        let mapping = cap(table + 20).to_word();
        let arguments = [cap(table).to_word(), 1 << 16, 0, mapping];
        world
            .invoke(above, Invocation::Map, &arguments)
            .expect("attached");
        above = table;
    }
    let kind = ObjectType::Frame as u64;
    let [to, from] = [FRAME, slot::RAM].map(|slot| cap(slot).to_word());
    let arguments = [to, from, kind, 0x4000, 4 * PAGE_SIZE, 1];
    world
        .invoke(slot::L1CNODE, Invocation::Retype, &arguments)
        .expect("a frame");
}

pub fn map(
    world: &mut World,
    frame: u8,
    first: u64,
    count: u64,
    flags: MapFlags,
) -> Result<[u64; 3], SysError> {
    let what = first | count << 16 | u64::from(flags.bits()) << 32;
    let arguments = [cap(frame).to_word(), what, 0, cap(160).to_word()];
    world.invoke(TABLES[2], Invocation::Map, &arguments)
}

/// Has a frame be mapped executable from now on.
pub fn make_executable(world: &mut World, frame: u8) {
    world
        .invoke(frame, Invocation::MakeExecutable, &[])
        .expect("nobody else has it");
}

pub fn entries(world: &World) -> Vec<u64> {
    let table = world.address_of(TABLES[2]);
    world.core.objects.table_at(table).entries[..8].to_vec()
}

/// What is asked of the machine when two pages from entry 3 on are forgotten.
fn both_pages_dropped(world: &World) -> Asked {
    let root = world.address_of(slot::VSPACE);
    Asked::InvalidateLeaves {
        address: 3 * PAGE_SIZE,
        count: 2,
        span: PAGE_SIZE,
        asid: u16::try_from(world.core.objects.table_at(root).asid).expect("an ASID"),
    }
}

#[test]
fn a_frame_is_zeroed_before_anyone_has_it() {
    let mut world = World::new();
    tables(&mut world);
    let asked = world.core.machine.asked();
    let zeroed: Vec<_> = (0..4)
        .map(|page| Asked::ZeroForeign(RAM + 0x4000 + page * PAGE_SIZE))
        .collect();
    assert!(asked.ends_with(&zeroed), "{asked:?}");
}

#[test]
fn an_interrupted_retype_goes_on_where_it_was() {
    let mut world = World::new();
    let kind = ObjectType::Frame as u64;
    let [to, from] = [FRAME, slot::RAM].map(|slot| cap(slot).to_word());
    let bytes = 64 * PAGE_SIZE;
    for (objects, patience) in [(1, 1), (4, 2), (4, 0)] {
        world.core.machine.asked();
        world.core.machine.patience.set(Some(patience));
        let arguments = [to, from, kind, 0, bytes / objects, objects];
        world
            .invoke(slot::L1CNODE, Invocation::Retype, &arguments)
            .expect("frames");
        let asked = world.core.machine.asked();
        let zeroed = asked
            .iter()
            .filter(|what| matches!(what, Asked::ZeroForeign(_)))
            .count();
        assert_eq!(zeroed, 64, "each page once");
        for object in 0..objects {
            let slot = cap(FRAME + u8::try_from(object).expect("small")).to_word();
            world
                .invoke(slot::L1CNODE, Invocation::Delete, &[slot])
                .expect("deleted");
        }
    }
}

#[test]
fn unmapping_invalidates_what_was_mapped() {
    let mut world = World::new();
    tables(&mut world);
    map(&mut world, FRAME, 3, 2, MapFlags::READ).expect("mapped");
    let mapped = entries(&world);
    assert_eq!(mapped.iter().filter(|&&entry| entry != 0).count(), 2);
    assert_eq!(mapped[4] - mapped[3], PAGE_SIZE);
    assert_eq!(
        map(&mut world, FRAME, 4, 1, MapFlags::READ),
        Err(SysError::EntryInUse)
    );
    world.core.machine.asked();
    world.invoke(160, Invocation::Unmap, &[]).expect("unmapped");
    assert_eq!(entries(&world), [0; 8]);
    let asked = world.core.machine.asked();
    let dropped = both_pages_dropped(&world);
    assert_eq!(asked, [dropped]);
}

#[test]
fn protecting_forgets_the_old_permissions() {
    let mut world = World::new();
    tables(&mut world);
    map(&mut world, FRAME, 3, 2, MapFlags::READ | MapFlags::WRITE).expect("mapped");
    let before = entries(&world);
    world.core.machine.asked();
    let readable = u64::from(MapFlags::READ.bits());
    world
        .invoke(160, Invocation::Protect, &[readable])
        .expect("fewer permissions");
    // AP[2], read-only (Arm ARM D8.4.1), and nothing else.
    let mut expected = before;
    for entry in &mut expected[3..5] {
        *entry |= 1 << 7;
    }
    assert_eq!(entries(&world), expected);
    let dropped = both_pages_dropped(&world);
    assert_eq!(world.core.machine.asked(), [dropped]);
}

/// Break before make, which Cortex-A715's erratum 2645198 wants: the entries are invalid,
/// and forgotten, before they are anything else.
#[test]
fn what_is_executable_no_more_is_nothing_in_between() {
    let mut world = World::new();
    tables(&mut world);
    make_executable(&mut world, FRAME);
    let executable = MapFlags::READ | MapFlags::EXECUTE;
    map(&mut world, FRAME, 3, 2, executable).expect("mapped");
    let before = entries(&world);
    world.core.machine.asked();
    world.core.objects.written.clear();
    let readable = u64::from(MapFlags::READ.bits());
    let protected = world.invoke(160, Invocation::Protect, &[readable]);
    protected.expect("fewer permissions");
    let after = entries(&world);
    // UXN (Arm ARM D8.4.1), and nothing else.
    let changed = before.iter().zip(&after).filter(|(old, new)| old != new);
    assert!(changed.clone().all(|(old, new)| *new == old | 1 << 54));
    assert_eq!(changed.count(), 2);
    let dropped = both_pages_dropped(&world);
    assert_eq!(world.core.machine.asked(), [dropped, dropped]);
    assert_eq!(
        world.core.objects.written,
        [
            (0, 3, before[3] & !1),
            (0, 4, before[4] & !1),
            (1, 3, after[3]),
            (1, 4, after[4]),
        ]
    );
}

#[test]
fn deleting_a_frame_unmaps_it() {
    let mut world = World::new();
    tables(&mut world);
    map(&mut world, FRAME, 0, 1, MapFlags::READ).expect("mapped");
    world.core.machine.asked();
    let frame = cap(FRAME).to_word();
    world
        .invoke(slot::L1CNODE, Invocation::Delete, &[frame])
        .expect("deleted");
    assert_eq!(entries(&world), [0; 8]);
    assert_eq!(world.core.machine.asked().len(), 1);
}

#[test]
fn detaching_a_table_drops_the_address_space() {
    let mut world = World::new();
    tables(&mut world);
    map(&mut world, FRAME, 0, 1, MapFlags::READ).expect("mapped");
    world.core.machine.asked();
    let mapping = cap(152).to_word();
    world
        .invoke(slot::L1CNODE, Invocation::Delete, &[mapping])
        .expect("detached");
    let asked = world.core.machine.asked();
    assert!(matches!(asked[..], [Asked::InvalidateAsid(_)]), "{asked:?}");
    let again = map(&mut world, FRAME, 5, 1, MapFlags::READ);
    assert_eq!(again, Err(SysError::NotRunnable));
}

#[test]
fn instructions_are_published_before_they_are_mapped() {
    let mut world = World::new();
    tables(&mut world);
    make_executable(&mut world, FRAME);
    world.core.machine.asked();
    let flags = MapFlags::READ | MapFlags::EXECUTE;
    map(&mut world, FRAME, 0, 2, flags).expect("mapped");
    let pages = [0, 1].map(|page| Asked::CleanInstructions(RAM + 0x4000 + page * PAGE_SIZE));
    let [first, second] = pages;
    let asked = world.core.machine.asked();
    assert_eq!(asked, [first, second, Asked::PublishInstructions]);
}

/// What lies in the module archive is ready since the boot.
#[test]
fn the_archive_is_not_made_ready_again() {
    let flags = MapFlags::READ | MapFlags::EXECUTE;
    let frame = RAM + 0x4000;
    let work = |base: u64, bytes: u64| {
        let mut world = World::new();
        let mut args = *world.core.machine.args;
        args.archive.base = base;
        args.archive.bytes = bytes;
        world.core.machine.args = Box::leak(Box::new(args));
        tables(&mut world);
        make_executable(&mut world, FRAME);
        world.core.machine.asked();
        map(&mut world, FRAME, 0, 2, flags).expect("mapped");
        world.core.machine.asked().len()
    };
    assert_eq!(work(frame, 2 * PAGE_SIZE), 0);
    assert_eq!(work(frame - PAGE_SIZE, 3 * PAGE_SIZE), 0);
    // Two pages and the end of it, where one of them isn't part of the archive.
    assert_eq!(work(frame, PAGE_SIZE), 3);
    assert_eq!(work(frame + PAGE_SIZE, 2 * PAGE_SIZE), 3);
    assert_eq!(work(frame - PAGE_SIZE, 2 * PAGE_SIZE), 3);
    assert_eq!(work(frame + 2 * PAGE_SIZE, PAGE_SIZE), 3);
    assert_eq!(work(0, 0), 3);
}

/// A large frame is made executable in several entries, without an interrupt: the
/// mapping is there from the first on, no walk sees any of it before the last, and
/// nobody else takes its entries or goes on with another mapping in its place.
#[test]
fn a_long_preparation_is_seen_only_when_it_is_over() {
    let mut world = World::new();
    tables(&mut world);
    let kind = ObjectType::Frame as u64;
    let [to, from] = [142, slot::RAM].map(|slot| cap(slot).to_word());
    let arguments = [to, from, kind, 0x10_0000, 100 * PAGE_SIZE, 1];
    world
        .invoke(slot::L1CNODE, Invocation::Retype, &arguments)
        .expect("a frame");
    make_executable(&mut world, 142);
    let flags = MapFlags::READ | MapFlags::EXECUTE;
    let what = 100 << 16 | u64::from(flags.bits()) << 32;
    let arguments = [to, what, 0, cap(160).to_word()];
    let mut cleaned = 0;
    let mut count = |world: &mut World| {
        let asked = world.core.machine.asked();
        let is_page = |what: &&Asked| matches!(what, Asked::CleanInstructions(_));
        let pages = asked.iter().filter(is_page).count();
        assert!(pages <= 16, "an entry has a bound");
        cleaned += pages;
        cleaned
    };
    world.core.machine.asked();
    let mut entries_made = 0;
    while world.invoke_once(TABLES[2], Invocation::Map, &arguments) == Left::Restart {
        entries_made += 1;
        assert!(count(&mut world) < 100, "the last page makes it whole");
        assert!(entries(&world).iter().all(|entry| entry & 1 == 0), "hidden");
        assert!(entries(&world).iter().all(|&entry| entry != 0), "claimed");
        let over = map(&mut world, FRAME, 3, 1, MapFlags::READ);
        assert_eq!(over, Err(SysError::EntryInUse));
        // Neither another part of the frame nor other permissions go on with it.
        for (flags, offset) in [(flags, PAGE_SIZE), (MapFlags::READ | MapFlags::UNCACHED, 0)] {
            let what = 99 << 16 | u64::from(flags.bits()) << 32;
            let other = [to, what, offset, cap(160).to_word()];
            let other = world.invoke(TABLES[2], Invocation::Map, &other);
            assert_eq!(other, Err(SysError::EntryInUse));
        }
        let protected = world.invoke(160, Invocation::Protect, &[u64::from(flags.bits())]);
        assert_eq!(protected, Err(SysError::Locked));
        assert_eq!(world.core.machine.asked(), []);
    }
    assert_eq!(world.register(0), 0);
    assert_eq!(
        (count(&mut world), entries_made),
        (100, 6),
        "each page once"
    );
    assert!(entries(&world).iter().all(|entry| entry & 1 == 1), "seen");
    // Begun once more, and given up: nothing of it stays.
    world.invoke(160, Invocation::Unmap, &[]).expect("unmapped");
    let left = world.invoke_once(TABLES[2], Invocation::Map, &arguments);
    assert_eq!(left, Left::Restart);
    world.invoke(160, Invocation::Unmap, &[]).expect("unmapped");
    assert_eq!(entries(&world), [0; 8]);
}

/// Of two mappings of the same frame that are being prepared in one table, neither is gone on
/// with in the entries of the other.
#[test]
fn two_preparations_of_a_frame_go_on_apart() {
    let mut world = World::new();
    tables(&mut world);
    world
        .retype_ram(142, ObjectType::Frame, 0x10_0000, 40 * PAGE_SIZE)
        .expect("a frame");
    make_executable(&mut world, 142);
    let flags = u64::from((MapFlags::READ | MapFlags::EXECUTE).bits());
    let arguments = |first: u64, mapping: u8| {
        let what = first | 40 << 16 | flags << 32;
        [cap(142).to_word(), what, 0, cap(mapping).to_word()]
    };
    let both = [(0, 160), (100, 161)];
    for (first, mapping) in both {
        let left = world.invoke_once(TABLES[2], Invocation::Map, &arguments(first, mapping));
        assert_eq!(left, Left::Restart);
    }
    for (first, mapping) in [(0, 161), (100, 160)] {
        let refused = world.invoke(TABLES[2], Invocation::Map, &arguments(first, mapping));
        assert_eq!(refused, Err(SysError::EntryInUse));
    }
    for (first, mapping) in both {
        world
            .invoke(TABLES[2], Invocation::Map, &arguments(first, mapping))
            .expect("it goes on");
    }
    assert!(entries(&world).iter().all(|entry| entry & 1 == 1));
}

/// What becomes executable step by step is so only at the end, and a step that another
/// call undoes doesn't count.
#[test]
fn a_long_protection_is_over_at_its_end() {
    let mut world = World::new();
    tables(&mut world);
    let kind = ObjectType::Frame as u64;
    let [to, from] = [142, slot::RAM].map(|slot| cap(slot).to_word());
    let arguments = [to, from, kind, 0x10_0000, 40 * PAGE_SIZE, 1];
    world
        .invoke(slot::L1CNODE, Invocation::Retype, &arguments)
        .expect("a frame");
    make_executable(&mut world, 142);
    map(&mut world, 142, 0, 40, MapFlags::READ).expect("mapped");
    let was = entries(&world);
    let executable = u64::from((MapFlags::READ | MapFlags::EXECUTE).bits());
    let once = |world: &mut World| world.invoke_once(160, Invocation::Protect, &[executable]);
    assert_eq!(once(&mut world), Left::Restart);
    assert_eq!(entries(&world), was, "not yet");
    let readable = u64::from(MapFlags::READ.bits());
    world
        .invoke(160, Invocation::Protect, &[readable])
        .expect("as it was");
    assert_eq!(entries(&world), was);
    world.core.machine.asked();
    world
        .invoke(160, Invocation::Protect, &[executable])
        .expect("executable");
    let asked = world.core.machine.asked();
    let is_page = |what: &&Asked| matches!(what, Asked::CleanInstructions(_));
    assert_eq!(
        asked.iter().filter(is_page).count(),
        40,
        "all from the first"
    );
    // UXN (Arm ARM D8.4.1).
    assert!(entries(&world).iter().all(|entry| entry >> 54 & 1 == 0));
}

/// More objects than one entry makes: the call goes on by itself.
#[test]
fn many_objects_are_made_in_several_entries() {
    let mut world = World::new();
    let arguments = [
        cap(150).to_word(),
        cap(slot::RAM).to_word(),
        ObjectType::Frame as u64,
        0x20_0000,
        PAGE_SIZE,
        40,
    ];
    let left = world.invoke_once(slot::L1CNODE, Invocation::Retype, &arguments);
    assert_eq!(left, Left::Restart);
    let made = |world: &World, n: u8| world.core.slots.slot(world.index(150 + n)).is_occupied();
    assert!(made(&world, 15) && !made(&world, 16), "sixteen");
    assert_eq!([1, 4, 6].map(|n| world.register(n))[2], 24);
    let rest = [1, 2, 3, 4, 5, 6].map(|n| world.register(n));
    world
        .invoke(slot::L1CNODE, Invocation::Retype, &rest)
        .expect("the rest");
    for n in 0..40 {
        let at = RAM + 0x20_0000 + u64::from(n) * PAGE_SIZE;
        assert_eq!(world.address_of(150 + n).0, at);
    }
}

/// Another core may write to the dispatcher frame of whoever maps, and so to the
/// arguments: what was checked has to be what is used.
#[test]
fn arguments_that_change_while_they_are_read_map_nothing_else() {
    let victims = [slot::ENDPOINT, slot::DEVICE, TABLES[1], 161];
    for (register, value) in victims
        .map(|victim| (4, cap(victim).to_word()))
        .into_iter()
        .chain([
            (3, PAGE_SIZE),
            (3, 1 << 40),
            (3, u64::MAX),
            (1, cap(slot::RAM).to_word()),
        ])
    {
        for flags in [MapFlags::UNCACHED, MapFlags::EXECUTE] {
            for readings in 1..4 {
                let mut world = World::new();
                tables(&mut world);
                if flags == MapFlags::EXECUTE {
                    make_executable(&mut world, FRAME);
                }
                let described = |world: &World| {
                    victims.map(|victim| {
                        let slot = world.core.slots.slot(world.index(victim));
                        (slot.kind(), slot.data())
                    })
                };
                let before = described(&world);
                world.core.machine.asked();
                world.core.objects.rewrite(register, readings, value);
                let mapped = map(&mut world, FRAME, 0, 2, MapFlags::READ | flags);
                world.core.objects.rewrite_nothing();
                assert_eq!(described(&world), before);
                assert!(mapped.is_ok(), "{mapped:?}");
                let work: Vec<_> = (0..2)
                    .map(|page| RAM + 0x4000 + page * PAGE_SIZE)
                    .map(|page| match flags {
                        MapFlags::EXECUTE => Asked::CleanInstructions(page),
                        _ => Asked::CleanInvalidate(page),
                    })
                    .collect();
                assert!(world.core.machine.asked().starts_with(&work));
            }
        }
    }
}
