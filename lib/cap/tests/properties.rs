//! What a capability is beside its object: rights, badge, whose it is, executable or sealed, and the
//! address that leads to it.

mod common;

use capelin_abi::{CapAddress, CapRef, KernelId, ObjectType, PhysAddr, Rights, SysError};
use capelin_cap::{
    CapRecord, Capability, ExportMode, Mint, Retype, State, Step, copy, cspace, export, import,
    make_executable, mint, reclaim, seal,
};
use common::calls::{DEVICE_SLOT, HOME_SLOT, ID_SLOT, PAGE, RAM_SLOT, request};
use common::{HOME, World, address_of, at_index};

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
