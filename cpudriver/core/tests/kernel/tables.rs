//! Tables: what they note of what is mapped in them, and how they go.

use std::collections::BTreeSet;

use capelin_abi::syscall::{Invocation, KernelCounter, MapFlags};
use capelin_abi::{ObjectType, PAGE_SIZE};
use capelin_cap::{MappingData, SlotStore, State};
use capelin_kernel::machine::TableRef;
use capelin_kernel::state::Core;

use crate::host::{Asked, Host};
use crate::memory::{FRAME, TABLES, tables};
use crate::world::{Left, World, cap, slot};

/// The flag in the kernel's word of a mapping that maps a table.
const MAPS_TABLE: u32 = 1 << 31;

/// Every table notes the slot of each mapping in it, how many entries those have, and how
/// many of them are tables; a table that is attached knows where; and every mapping lies in the entries that it says. Nothing can be unmapped otherwise, and
/// no translation invalidated.
pub fn assert_sound(core: &Core<Host>) {
    let mdb = &core.database.mdb;
    let mut seen = BTreeSet::new();
    let mut next = mdb.first(&core.slots);
    while let Some(index) = next {
        next = mdb.next(&core.slots, index);
        let slot = core.slots.slot(index);
        if slot.state() != State::Live {
            continue;
        }
        if slot.kind() == ObjectType::Mapping {
            let data = MappingData::of(slot);
            let table = core.objects.table_at(data.table);
            let first = usize::from(data.first_entry);
            let noted = &table.mappings[first..first + usize::from(data.entries)];
            assert!(noted.iter().all(|&noted| noted == index), "{data:?}");
        } else if slot.kind().vnode_level().is_some() && seen.insert(slot.address().0) {
            assert_table_is_sound(core, slot.address().0);
        }
    }
}

fn assert_table_is_sound(core: &Core<Host>, address: u64) {
    let at = capelin_abi::PhysAddr(address);
    let table = core.objects.table_at(at);
    let (mut held, mut child_tables) = (0, 0);
    for (number, &mapping) in table.mappings.iter().enumerate() {
        let entry = table.entries[number];
        assert_eq!(entry == 0, mapping.is_none(), "{address:#x} entry {number}");
        if mapping.is_none() {
            continue;
        }
        held += 1;
        let mapping = core.slots.slot(mapping);
        assert_eq!(mapping.kind(), ObjectType::Mapping);
        let data = MappingData::of(mapping);
        let entries = usize::from(data.first_entry)..;
        assert!(data.table == at && entries.contains(&number), "{data:?}");
        if data.kernel & MAPS_TABLE != 0 {
            child_tables += 1;
            let child = core.objects.table_at(mapping.address());
            assert_eq!(child.above.get().map(TableRef::address), Some(at));
            assert!(child.first_address >= table.first_address);
        }
    }
    let noted = (table.held, table.child_tables);
    assert_eq!(noted, (held, child_tables), "table {address:#x}");
}

/// `init` maps `count` pages of a frame from entry `first` on, noted in slot `mapping`.
fn map(world: &mut World, frame: u8, first: u64, count: u64, mapping: u8) {
    let flags = u64::from(MapFlags::READ.bits());
    let what = first | count << 16 | flags << 32;
    let arguments = [cap(frame).to_word(), what, 0, cap(mapping).to_word()];
    world
        .invoke(TABLES[2], Invocation::Map, &arguments)
        .expect("mapped");
}

fn is_there(world: &World, slot: u8) -> bool {
    world.core.slots.slot(world.index(slot)).is_occupied()
}

fn delete(world: &mut World, which: u8) -> Left {
    world.invoke_once(slot::L1CNODE, Invocation::Delete, &[cap(which).to_word()])
}

/// A table goes with all that is mapped in it, wherever that is: what stayed would be a
/// capability to entries of somebody else's memory.
#[test]
fn a_table_takes_what_is_mapped_in_it_with_it() {
    let places = [(0, 1), (5, 2), (7, 1), (8, 1), (15, 2), (300, 3), (511, 1)];
    let mut world = World::new();
    tables(&mut world);
    for (mapping, (first, count)) in (160..).zip(places) {
        map(&mut world, FRAME, first, count, mapping);
    }
    world.core.machine.asked();
    while delete(&mut world, TABLES[2]) == Left::Restart {}
    assert!(!is_there(&world, TABLES[2]), "it is gone");
    for (mapping, place) in (160..).zip(places) {
        assert!(!is_there(&world, mapping), "{place:?}");
    }
    // Detached, which drops the whole address space, before its memory is anything else's.
    let asked = world.core.machine.asked();
    let is_dropped = |what: &Asked| matches!(what, Asked::InvalidateAsid(_));
    assert!(asked.iter().any(is_dropped), "{asked:?}");
    let above = world.core.objects.table_at(world.address_of(TABLES[1]));
    assert_eq!((above.held, above.child_tables), (0, 0));
    // What was below isn't attached to anything any more.
    assert!(!is_there(&world, TABLES[2] + 20));
}

/// A table isn't attached with tables below it, and may be once they are gone.
#[test]
fn a_detached_table_is_attached_again_without_tables_below() {
    let mut world = World::new();
    tables(&mut world);
    let attach = |world: &mut World| {
        let mapping = cap(TABLES[1] + 20).to_word();
        let arguments = [cap(TABLES[1]).to_word(), 1 << 16, 0, mapping];
        world.invoke(TABLES[0], Invocation::Map, &arguments)
    };
    assert_eq!(delete(&mut world, TABLES[1] + 20), Left::Caller);
    assert_eq!(
        attach(&mut world).map(drop),
        Err(capelin_abi::SysError::HasRelations)
    );
    assert_eq!(delete(&mut world, TABLES[2] + 20), Left::Caller);
    attach(&mut world).expect("nothing below it");
}

/// What unmapping costs is counted: a table full of mappings goes in several entries.
#[test]
fn a_full_table_goes_in_several_entries() {
    const MAPPINGS: u8 = 10;
    let mut world = World::new();
    tables(&mut world);
    let kind = ObjectType::Frame as u64;
    let [to, from] = [142, slot::RAM].map(|slot| cap(slot).to_word());
    let arguments = [to, from, kind, 0x10_0000, 50 * PAGE_SIZE, 1];
    world
        .invoke(slot::L1CNODE, Invocation::Retype, &arguments)
        .expect("a frame");
    for number in 0..MAPPINGS {
        map(&mut world, 142, 51 * u64::from(number), 50, 160 + number);
    }
    let left = |world: &World| (0..MAPPINGS).filter(|n| is_there(world, 160 + n)).count();
    let mut before = left(&world);
    // Fifty entries at eight instructions, and a step, and the search: six mappings or fewer.
    while delete(&mut world, TABLES[2]) == Left::Restart {
        let now = left(&world);
        assert!(before - now <= 6, "{before} to {now}");
        before = now;
    }
    assert_eq!(left(&world), 0);
}

/// Looking for what is mapped costs, too: of what lies at a table's end, one entry unmaps less.
#[test]
fn tables_that_have_to_be_searched_go_more_slowly() {
    let at_once = |first: u64| {
        let goes = |count: &u8| {
            let mut world = World::new();
            tables(&mut world);
            for number in 0..*count {
                map(
                    &mut world,
                    FRAME,
                    first + u64::from(number),
                    1,
                    160 + number,
                );
            }
            delete(&mut world, TABLES[2]) == Left::Caller
        };
        (1..12).take_while(goes).count()
    };
    let (near, far) = (at_once(0), at_once(500));
    assert!(
        far > 2 && far + 3 <= near,
        "{near} at the start, {far} at the end"
    );
}

/// The bytes of objects in home memory, as the kernel counts them.
#[test]
fn what_is_made_of_home_memory_is_counted_until_it_is_gone() {
    let mut world = World::new();
    let counted = |world: &World| world.core.kcb.counters[KernelCounter::ObjectBytes as usize];
    let before = counted(&world);
    let makes = [
        (ObjectType::L2CNode, 0x8_0000, 0, 0x4000),
        (ObjectType::Frame, 0x8_4000, 0x3000, 0x3000),
        (ObjectType::VNodeL3, 0x8_8000, 0, 0x2000),
    ];
    let mut all = before;
    for (to, (kind, offset, bytes, size)) in (200..).zip(makes) {
        world.retype(to, kind, offset, bytes, 1).expect("made");
        all += size;
        assert_eq!(counted(&world), all, "{kind:?}");
    }
    // Memory that isn't home memory doesn't count.
    world
        .retype_ram(210, ObjectType::Frame, 0x1_0000, PAGE_SIZE)
        .expect("a frame");
    assert_eq!(delete(&mut world, 210), Left::Caller);
    assert_eq!(counted(&world), all);
    for (to, (kind, _, _, size)) in (200..).zip(makes) {
        while delete(&mut world, to) == Left::Restart {}
        all -= size;
        assert_eq!(counted(&world), all, "{kind:?}");
    }
    assert_eq!(all, before);
}

/// What is being deleted takes no new mappings, nor does what is in transit: they would
/// outlive it. What it is can still be asked.
#[test]
fn a_table_that_is_going_takes_no_mappings() {
    let mut world = World::new();
    tables(&mut world);
    map(&mut world, FRAME, 0, 1, 160);
    map(&mut world, FRAME, 1, 1, 161);
    // An interrupt waits after the first step.
    world.core.machine.patience.set(Some(0));
    world.core.machine.pending.push_back(40);
    assert_eq!(delete(&mut world, TABLES[2]), Left::Restart);
    world.core.machine.patience.set(None);
    world.core.machine.pending.clear();
    let flags = u64::from(MapFlags::READ.bits());
    let what = 7 | 1 << 16 | flags << 32;
    let arguments = [cap(FRAME).to_word(), what, 0, cap(170).to_word()];
    let mapped = world.invoke(TABLES[2], Invocation::Map, &arguments);
    assert_eq!(mapped.map(drop), Err(capelin_abi::SysError::Dying));
    assert!(!is_there(&world, 170));
    let identify = |world: &mut World, slot: u8| {
        let answer = world.invoke(slot, Invocation::Identify, &[]);
        answer.map(|answer| answer[0] & 0xff)
    };
    let kind = ObjectType::VNodeL3 as u64;
    assert_eq!(identify(&mut world, TABLES[2]), Ok(kind));
    assert_eq!(identify(&mut world, FRAME), Ok(ObjectType::Frame as u64));
    assert!(identify(&mut world, 200).is_err(), "nothing is there");
    while delete(&mut world, TABLES[2]) == Left::Restart {}
    assert!(!is_there(&world, TABLES[2]));
}

/// Blocks are invalidated by their own size, at their own address.
#[test]
fn unmapping_a_block_invalidates_all_of_it() {
    const BLOCK: u64 = 2 << 20;
    let mut world = World::new();
    tables(&mut world);
    let kind = ObjectType::Frame as u64;
    let [to, from] = [142, slot::RAM].map(|slot| cap(slot).to_word());
    let arguments = [to, from, kind, 2 * BLOCK, 2 * BLOCK, 1];
    world
        .invoke(slot::L1CNODE, Invocation::Retype, &arguments)
        .expect("a frame");
    let device = capelin_cap::Capability::memory(
        ObjectType::DevFrame,
        capelin_abi::PhysAddr(0x40_0000_0000),
        1 << 30,
        capelin_abi::Rights::all(),
    );
    let target = world.index(143);
    world.core.caps().create(device, target).expect("room");
    let root = world.address_of(slot::VSPACE);
    for (table, frame, first, count, span) in [
        (TABLES[1], 142, 3, 2, BLOCK),
        (TABLES[0], 143, 5, 1, 1 << 30),
    ] {
        let flags = u64::from(MapFlags::READ.bits());
        let what = first | count << 16 | flags << 32;
        let arguments = [cap(frame).to_word(), what, 0, cap(170).to_word()];
        world
            .invoke(table, Invocation::Map, &arguments)
            .expect("mapped");
        world.core.machine.asked();
        world.invoke(170, Invocation::Unmap, &[]).expect("unmapped");
        let asid = world.core.objects.table_at(root).asid;
        let dropped = Asked::InvalidateLeaves {
            address: first * span,
            count,
            span,
            asid: u16::try_from(asid).expect("an ASID"),
        };
        assert_eq!(world.core.machine.asked(), [dropped]);
    }
}

/// Translations are dropped under the address space's own ASID, and none where it has none
/// as yet: nothing can be cached then.
#[test]
fn unmapping_invalidates_under_the_address_spaces_own_asid() {
    for (generation, asid) in [(true, 7), (true, 1), (false, 7)] {
        let mut world = World::new();
        tables(&mut world);
        map(&mut world, FRAME, 3, 1, 160);
        let root = world.address_of(slot::VSPACE);
        let current = world.core.kcb.asid_generation;
        let table = world.core.objects.table_at_mut(root);
        table.asid = asid;
        table.asid_generation = if generation { current } else { current - 1 };
        world.core.machine.asked();
        world.invoke(160, Invocation::Unmap, &[]).expect("unmapped");
        let dropped = Asked::InvalidateLeaves {
            address: 3 * PAGE_SIZE,
            count: 1,
            span: PAGE_SIZE,
            asid: u16::try_from(asid).expect("an ASID"),
        };
        let expected = if generation { vec![dropped] } else { vec![] };
        assert_eq!(world.core.machine.asked(), expected);
    }
}

/// Whoever runs keeps its address space when another's goes.
#[test]
fn another_address_space_goes_without_the_current_one() {
    let mut world = World::new();
    world
        .retype(200, ObjectType::VNodeL0, 0x9_0000, 0, 1)
        .expect("a table");
    let active = world.core.active_root;
    world.core.machine.asked();
    assert_eq!(delete(&mut world, 200), Left::Caller);
    assert_eq!(world.core.active_root, active);
    assert!(!world.core.machine.asked().contains(&Asked::EmptyRoot));
}
