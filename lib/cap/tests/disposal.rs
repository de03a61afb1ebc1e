//! What goes with what, and what stops that: rules of deletion and revocation that a naive version
//! gets wrong.

mod common;

use capelin_abi::lmp::COUNTED_BADGE;
use capelin_abi::{ObjectType, PhysAddr, Rights, SysError};
use capelin_cap::{Capability, Mint, SlotStore, State, Step, copy, derive};
use common::calls::{HOME_SLOT, ID_SLOT, PAGE, RAM_SLOT};
use common::{RAM, RAM_BYTES, World, at_index, number_of};

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
