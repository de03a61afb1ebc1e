//! Names of what lies in home memory: made only from capabilities to it.

use core::num::NonZeroU64;

use capelin_abi::dispatcher::FRAME_BYTES;
use capelin_abi::lmp::ENDPOINTS_PER_DISPATCHER;
use capelin_abi::syscall::{Invocation, MapFlags};
use capelin_abi::{ObjectType, PAGE_SIZE, PhysAddr, SysError};
use capelin_cap::SlotStore;
use capelin_kernel::machine::{FrameRef, HomeMemory, RootRef, TableRef};
use capelin_kernel::names::EndpointIndex;
use capelin_vspace::TableLevel;

use crate::host::Asked;
use crate::memory::{FRAME, TABLES, map, tables};
use crate::world::{SLICE, World, cap, slot};

/// Where `map` puts the mapping.
const PAGE_MAPPING: u8 = 160;
/// A slot for what isn't a mapping and has data.
const NOTIFY: u8 = 200;

/// A world with tables of all levels, and capabilities of every other kind.
fn world() -> World {
    let mut world = World::new();
    tables(&mut world);
    map(&mut world, FRAME, 3, 1, MapFlags::READ).expect("free entries");
    world
}

#[test]
fn only_a_vnode_is_a_table_and_only_one_of_level_0_a_root() {
    let world = world();
    let own = |at| world.core.slots.slot(world.index(at));
    let levels = [slot::VSPACE, TABLES[0], TABLES[1], TABLES[2]]
        .map(|at| TableRef::of(own(at)).map(|(table, level)| (table.address(), level)));
    let expected = [
        (slot::VSPACE, TableLevel::L0),
        (TABLES[0], TableLevel::L1),
        (TABLES[1], TableLevel::L2),
        (TABLES[2], TableLevel::L3),
    ];
    assert_eq!(
        levels,
        expected.map(|(at, level)| Some((world.address_of(at), level)))
    );
    let root = RootRef::of(own(slot::VSPACE)).map(RootRef::address);
    assert_eq!(root, Some(world.address_of(slot::VSPACE)));
    for at in TABLES {
        assert_eq!(RootRef::of(own(at)), None);
    }
    for at in 1..=slot::ENDPOINT {
        let is_vnode = own(at).kind().vnode_level().is_some();
        assert_eq!(TableRef::of(own(at)).is_some(), is_vnode, "slot {at}");
        assert_eq!(RootRef::of(own(at)).is_some(), is_vnode, "slot {at}");
    }
}

#[test]
fn a_mapping_names_the_table_it_is_in_and_the_one_it_attaches() {
    let mut world = world();
    let notify = [5, cap(NOTIFY).to_word()];
    world
        .invoke(slot::DISPATCHER, Invocation::MakeNotify, &notify)
        .expect("a Notify");
    let own = |at| world.core.slots.slot(world.index(at));
    let above = [slot::VSPACE, TABLES[0], TABLES[1]];
    for (holder, table) in above.into_iter().zip(TABLES) {
        // Where `tables` puts the mapping of a table.
        let mapping = own(table + 20);
        let holding = TableRef::holding(mapping).map(TableRef::address);
        assert_eq!(holding, Some(world.address_of(holder)));
        let attached = TableRef::attached(mapping).map(TableRef::address);
        assert_eq!(attached, Some(world.address_of(table)));
    }
    let page = own(PAGE_MAPPING);
    let holding = TableRef::holding(page).map(TableRef::address);
    assert_eq!(holding, Some(world.address_of(TABLES[2])));
    assert_eq!(TableRef::attached(page), None);
    for at in (1..=slot::ENDPOINT).chain(TABLES).chain([FRAME, NOTIFY]) {
        assert_eq!(TableRef::holding(own(at)), None, "slot {at}");
        assert_eq!(TableRef::attached(own(at)), None, "slot {at}");
    }
}

#[test]
fn a_dispatcher_frame_is_a_whole_frame_of_home_memory() {
    let mut world = World::new();
    for (number, at, bytes) in [(0, 60, FRAME_BYTES), (1, 61, FRAME_BYTES - PAGE_SIZE)] {
        let offset = number * FRAME_BYTES;
        world
            .retype(at, ObjectType::Frame, offset, bytes, 1)
            .expect("room");
    }
    world
        .retype_ram(62, ObjectType::Frame, 0, FRAME_BYTES)
        .expect("room");
    let made = |at| FrameRef::of(world.core.slots.slot(world.index(at)), &world.core.objects);
    let linear = world
        .core
        .objects
        .linear(world.address_of(60), FRAME_BYTES)
        .map(NonZeroU64::get);
    assert_eq!(made(60).map(FrameRef::linear).ok(), linear);
    assert_eq!(made(61), Err(SysError::OutOfRange));
    assert_eq!(made(62), Err(SysError::OutOfRange));
    for at in [slot::VSPACE, slot::HOME, slot::RAM, slot::DEVICE] {
        assert_eq!(made(at), Err(SysError::WrongType), "slot {at}");
    }
}

#[test]
fn what_is_taken_at_boot_is_home_memory() {
    let world = World::new();
    let objects = &world.core.objects;
    let home = world.address_of(slot::HOME);
    let ram = world.address_of(slot::RAM);
    let table = TableRef::at_boot(home, objects).map(TableRef::address);
    assert_eq!(table, Some(home));
    assert_eq!(TableRef::at_boot(PhysAddr(home.0 + 8), objects), None);
    assert_eq!(TableRef::at_boot(ram, objects), None);
}

#[test]
fn an_endpoint_index_is_in_range() {
    let count = ENDPOINTS_PER_DISPATCHER as u64;
    for word in [0, 1, count - 1, count, count + 5, 9 << 32 | 7, u64::MAX] {
        let index = EndpointIndex::from_word(word);
        assert_eq!(index.index() as u64, word % count);
        assert_eq!(u64::from(index.get()), word % count);
    }
}

/// Whoever goes on in the address space that the core walks already has nothing asked of it.
#[test]
fn a_root_in_use_is_not_loaded_again() {
    let mut world = World::new();
    world.core.machine.asked();
    let deadline = world.core.machine.now + SLICE;
    world.wait(false, deadline);
    assert_eq!(world.current(), Some(world.init.dcb));
    let asked = world.core.machine.asked();
    let is_root = |asked: &Asked| matches!(asked, Asked::Root(..) | Asked::EmptyRoot);
    assert!(!asked.iter().any(is_root), "{asked:?}");
}
