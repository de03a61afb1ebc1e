//! Home memory on another node: CNodes, control blocks, tables and their frames there
//! serve as those in the first home memory do, and what lies in either names the other.

use capelin_abi::syscall::{DispatcherState, Invocation, MapFlags};
use capelin_abi::{CapAddress, CapRef, ObjectType, PhysAddr, Rights, SysError};
use capelin_cap::{SlotIndex, SlotStore, check, cspace};
use capelin_kernel::machine::Objects;

use crate::host::{FAR_HOME, HOME_BYTES};
use crate::world::{World, cap, slot};

/// A slot of the CNode that [`with_cnode`] makes.
fn inner(number: u8) -> CapRef {
    CapRef::l2(CapAddress::new(1, number))
}

/// An L2 CNode in far home memory, in L1 slot 1: the first object there.
fn with_cnode() -> World {
    let mut world = World::far();
    let kind = ObjectType::L2CNode as u64;
    let home = cap(slot::HOME).to_word();
    let arguments = [CapRef::l1(1).to_word(), home, kind, 0x4_0000, 0, 1];
    let made = world.invoke(slot::L1CNODE, Invocation::Retype, &arguments);
    made.expect("a CNode");
    world
}

fn copy(world: &mut World, from: CapRef, to: CapRef) -> Result<[u64; 3], SysError> {
    let all = u64::from(Rights::all().bits());
    world.invoke(
        slot::L1CNODE,
        Invocation::Copy,
        &[to.to_word(), from.to_word(), all],
    )
}

fn index(world: &World, reference: CapRef) -> SlotIndex {
    let l1 = world.core.objects.dcb(world.init.dcb).l1;
    cspace::lookup_from(&world.core.slots, l1, reference).expect("such a slot")
}

fn assert_sound(world: &World) {
    check(&world.core.slots, &world.core.database.mdb).expect("a sound database");
}

#[test]
fn slots_far_away_hold_copies_objects_and_what_is_made_of_them() {
    let mut world = with_cnode();
    assert_eq!(
        index(&world, inner(7)),
        SlotIndex::in_segment(15, 0x1000 + 7).unwrap()
    );
    // From the first segment to the other, within it, and back.
    copy(&mut world, cap(slot::RAM), inner(7)).expect("an empty slot");
    copy(&mut world, inner(7), inner(255)).expect("an empty slot");
    copy(&mut world, inner(255), cap(200)).expect("an empty slot");
    assert_eq!(
        copy(&mut world, inner(7), inner(255)),
        Err(SysError::SlotInUse)
    );
    // Sixteen at a time are made in one entry, and these twenty lie in a row.
    let kind = ObjectType::Frame as u64;
    let arguments = [inner(10).to_word(), inner(7).to_word(), kind, 0, 0x1000, 20];
    let made = world.invoke(slot::L1CNODE, Invocation::Retype, &arguments);
    made.expect("frames");
    for number in 0..20_u8 {
        let frame = world.core.slots.slot(index(&world, inner(10 + number)));
        assert_eq!(frame.kind(), ObjectType::Frame);
    }
    assert_sound(&world);
    let delete = [inner(12).to_word()];
    world
        .invoke(slot::L1CNODE, Invocation::Delete, &delete)
        .expect("a frame");
    // All that was made of it goes, and the copies but the one named, wherever they are.
    let revoke = [inner(255).to_word()];
    world
        .invoke(slot::L1CNODE, Invocation::Revoke, &revoke)
        .expect("revocable");
    for gone in [cap(slot::RAM), cap(200), inner(7), inner(10), inner(29)] {
        assert!(
            world.core.slots.slot(index(&world, gone)).is_empty(),
            "{gone:?}"
        );
    }
    assert_sound(&world);
    // The CNode goes, with its own memory: nothing but the far home memory is there then.
    copy(&mut world, inner(255), cap(slot::RAM)).expect("an empty slot");
    world
        .invoke(
            slot::L1CNODE,
            Invocation::Delete,
            &[CapRef::l1(1).to_word()],
        )
        .expect("a CNode");
    assert_sound(&world);
    assert_eq!(
        copy(&mut world, cap(slot::RAM), inner(7)),
        Err(SysError::NoSuchSlot)
    );
    let found = world
        .core
        .database
        .mdb
        .find(&world.core.slots, PhysAddr(FAR_HOME + 0x4_0000));
    assert_eq!(found, Some(world.index(slot::HOME)));
}

#[test]
fn a_dispatcher_far_away_runs_and_stops_without_its_frame() {
    let mut world = World::far();
    let other = world.dispatcher();
    assert!(world.core.objects.dcb_address(other.dcb).0 >= FAR_HOME);
    world.run(other);
    assert_eq!(world.current(), Some(other.dcb));
    assert_eq!(
        world.core.objects.dcb(other.dcb).state,
        DispatcherState::Runnable
    );
    world.give_way();
    assert_eq!(world.current(), Some(world.init.dcb));
    // Its message comes to that control block.
    assert_eq!(world.receive(other), None);
    world.call(other.endpoint, &[5, 6]);
    assert_eq!(
        world
            .receive(other)
            .map(|(_, _, words)| words[..2].to_vec()),
        Some(vec![5, 6])
    );
}

#[test]
fn losing_its_frame_stops_a_dispatcher_far_away() {
    let mut world = World::far();
    let other = world.dispatcher();
    let frame = [cap(other.slot + 1).to_word()];
    world
        .invoke(slot::L1CNODE, Invocation::Revoke, &frame)
        .expect("revocable");
    assert_eq!(
        world.core.objects.dcb(other.dcb).state,
        DispatcherState::Stopped
    );
    assert_eq!(world.core.objects.dcb(other.dcb).place, None);
    world.give_way();
    assert_eq!(world.current(), Some(world.init.dcb));
    let block = [cap(other.slot).to_word()];
    world
        .invoke(slot::L1CNODE, Invocation::Delete, &block)
        .expect("a dispatcher");
    assert_sound(&world);
}

#[test]
fn tables_far_away_know_the_slots_of_their_mappings() {
    let mut world = with_cnode();
    let kinds = [
        ObjectType::VNodeL1,
        ObjectType::VNodeL2,
        ObjectType::VNodeL3,
    ];
    let mut above = slot::VSPACE;
    for (number, kind) in (0_u8..).zip(kinds) {
        let table = 130 + number;
        world
            .retype(
                table,
                kind,
                0x6_0000 + u64::from(number) * 0x2000,
                0x2000,
                1,
            )
            .expect("a table");
        // Its mapping's capability lies in the far CNode.
        let arguments = [cap(table).to_word(), 1 << 16, 0, inner(number).to_word()];
        world
            .invoke(above, Invocation::Map, &arguments)
            .expect("attached");
        above = table;
    }
    world
        .retype_ram(140, ObjectType::Frame, 0, 0x1000)
        .expect("a frame");
    let flags = MapFlags::READ.union(MapFlags::WRITE);
    let what = 3 | 1 << 16 | u64::from(flags.bits()) << 32;
    let arguments = [cap(140).to_word(), what, 0, inner(9).to_word()];
    world
        .invoke(above, Invocation::Map, &arguments)
        .expect("mapped");
    let table = world.address_of(above);
    assert!(table.0 >= FAR_HOME && table.0 < FAR_HOME + HOME_BYTES);
    let held = &world.core.objects.table_at(table).mappings;
    assert_eq!(held[3], index(&world, inner(9)));
    // The frame's deletion finds the mapping by its place in the database, the table's
    // by what the table knows.
    world
        .invoke(slot::L1CNODE, Invocation::Delete, &[cap(140).to_word()])
        .expect("a frame");
    assert_eq!(world.core.objects.table_at(table).entries[3], 0);
    assert!(world.core.slots.slot(index(&world, inner(9))).is_empty());
    world
        .invoke(slot::L1CNODE, Invocation::Delete, &[cap(130).to_word()])
        .expect("a table");
    assert!(world.core.slots.slot(index(&world, inner(0))).is_empty());
    assert_sound(&world);
}
