//! What may be put into whose CSpace, and what is told of a capability.

use capelin_abi::capability::CNODE_BYTES;
use capelin_abi::lmp::COUNTED_BADGE;
use capelin_abi::syscall::Invocation;
use capelin_abi::{CapAddress, CapRef, ObjectType, PAGE_SIZE, Rights, SysError};
use capelin_cap::{SlotStore, State};
use capelin_kernel::machine::Objects;

use crate::world::{Left, World, cap, slot};

/// The root of a second CSpace, and its only L2 CNode.
const OTHER: u8 = 200;
const INNER: u8 = 201;
/// A frame with all rights, and one that nobody else may be given.
const FRAME: u8 = 210;
const KEPT: u8 = 211;

const ALL: u64 = u64::MAX >> 58;

fn copy(world: &mut World, root: u8, to: CapRef, from: u8, mask: u64) -> Result<(), SysError> {
    let arguments = [to.to_word(), cap(from).to_word(), mask];
    let copied = world.invoke(root, Invocation::Copy, &arguments);
    copied.map(drop)
}

/// A world with a second CSpace, of which slot 0 of the L1 CNode has an L2 CNode.
fn world() -> World {
    let mut world = World::new();
    for (to, kind, offset) in [
        (OTHER, ObjectType::L1CNode, 0x8_0000),
        (INNER, ObjectType::L2CNode, 0x8_0000 + CNODE_BYTES),
    ] {
        world.retype(to, kind, offset, 0, 1).expect("a CNode");
    }
    copy(&mut world, OTHER, CapRef::l1(0), INNER, ALL).expect("the way to its slots");
    world
        .retype_ram(FRAME, ObjectType::Frame, 0, PAGE_SIZE)
        .expect("a frame");
    let kept = ALL & !u64::from(Rights::GRANT.bits());
    copy(&mut world, slot::L1CNODE, cap(KEPT), FRAME, kept).expect("for itself");
    world
}

/// What has no GRANT stays in its CSpace, by whatever way it might leave; what has it goes.
#[test]
fn without_grant_nothing_goes_into_another_cspace() {
    let mut world = world();
    let there = CapRef::l2(CapAddress::new(0, 7));
    let refused = copy(&mut world, OTHER, there, KEPT, ALL);
    assert_eq!(refused, Err(SysError::MissingRight));
    copy(&mut world, OTHER, there, FRAME, ALL).expect("it may be given");
    // Within the CSpace nobody is given anything.
    copy(&mut world, slot::L1CNODE, cap(212), KEPT, ALL).expect("its own");
    // Minted: a part of it.
    let part = |world: &mut World, from: u8, to: u8| {
        let to = CapRef::l2(CapAddress::new(0, to)).to_word();
        let arguments = [to, cap(from).to_word(), ALL, 0, PAGE_SIZE];
        let minted = world.invoke(OTHER, Invocation::Mint, &arguments);
        minted.map(drop)
    };
    assert_eq!(part(&mut world, KEPT, 8), Err(SysError::MissingRight));
    assert_eq!(part(&mut world, FRAME, 8), Ok(()));
    // Made of memory.
    let kept = ALL & !u64::from(Rights::GRANT.bits());
    copy(&mut world, slot::L1CNODE, cap(213), slot::RAM, kept).expect("its own");
    let make = |world: &mut World, from: u8| {
        let to = CapRef::l2(CapAddress::new(0, 9)).to_word();
        let kind = ObjectType::Frame as u64;
        let arguments = [to, cap(from).to_word(), kind, 0x10_0000, PAGE_SIZE, 1];
        let made = world.invoke(OTHER, Invocation::Retype, &arguments);
        made.map(drop)
    };
    assert_eq!(make(&mut world, 213), Err(SysError::MissingRight));
    assert_eq!(make(&mut world, slot::RAM), Ok(()));
}

/// A badge is given to an endpoint by who may do that; a part of memory that others would be
/// kept from is made by who may claim it; of a frame, by anybody who has it.
#[test]
fn parts_and_badges_are_made_by_who_may() {
    let mut world = world();
    let without = |right: Rights| ALL & !u64::from(right.bits());
    let claims = without(Rights::RETYPE);
    let mint = |world: &mut World, from: u8, to: u8, what: [u64; 2]| {
        let arguments = [
            cap(to).to_word(),
            cap(from).to_word(),
            ALL,
            what[0],
            what[1],
        ];
        let minted = world.invoke(slot::L1CNODE, Invocation::Mint, &arguments);
        minted.map(drop)
    };
    for (from, to, allowed) in [
        (slot::RAM, 220, Err(SysError::MissingRight)),
        (FRAME, 221, Ok(())),
        (slot::DEVICE, 222, Ok(())),
    ] {
        copy(&mut world, slot::L1CNODE, cap(to), from, claims).expect("a copy");
        let minted = mint(&mut world, to, to + 10, [0, PAGE_SIZE]);
        assert_eq!(minted, allowed, "slot {from}");
    }
}

#[test]
fn a_capability_is_told_as_it_is() {
    let mut world = world();
    let tell = |world: &mut World, root: Option<u8>, of: u8| {
        let (at, how, arguments) = match root {
            None => (of, Invocation::Identify, vec![]),
            Some(root) => (root, Invocation::IdentifySlot, vec![cap(of).to_word()]),
        };
        world.invoke(at, how, &arguments)
    };
    let own = Some(slot::L1CNODE);
    let word = |world: &World, of: u8| {
        let slot = world.core.slots.slot(world.index(of));
        let kind = slot.kind() as u64;
        let rights = u64::from(slot.rights().bits());
        let flags = u64::from(slot.flags().bits());
        let owner = u64::from(slot.owner().0);
        kind + (rights << 8) + (owner << 16) + (flags << 32) + ((slot.state() as u64) << 44)
    };
    for of in [FRAME, KEPT, slot::DEVICE, slot::RAM, slot::VSPACE] {
        let (base, size) = {
            let slot = world.core.slots.slot(world.index(of));
            (slot.base(), slot.size())
        };
        let expected = Ok([word(&world, of), base, size]);
        assert_eq!(tell(&mut world, None, of), expected);
        assert_eq!(tell(&mut world, own, of), expected);
    }
    // An endpoint has a badge, and no size to speak of.
    let arguments = [
        cap(220).to_word(),
        cap(slot::ENDPOINT).to_word(),
        ALL,
        COUNTED_BADGE | 7,
        0,
    ];
    world
        .invoke(slot::L1CNODE, Invocation::Mint, &arguments)
        .expect("a badge");
    let told = tell(&mut world, None, 220).map(|told| told[2]);
    assert_eq!(told, Ok(COUNTED_BADGE | 7));
    // What is locked can still be told, with its state; what isn't there can't.
    let lock = [cap(FRAME).to_word()];
    world
        .invoke(slot::KERNEL, Invocation::Lock, &lock)
        .expect("it is ours");
    assert_eq!(
        tell(&mut world, None, FRAME).map(|told| told[0] & 0xff),
        Ok(ObjectType::Frame as u64)
    );
    assert_eq!(tell(&mut world, None, 230), Err(SysError::EmptySlot));
    assert_eq!(tell(&mut world, own, 230), Ok([0; 3]));
    // Moved away: another's, in a state of its own.
    let export = [cap(220).to_word(), 9];
    assert!(
        world
            .invoke(slot::KERNEL, Invocation::Export, &export)
            .is_err()
    );
    let ram = [cap(KEPT).to_word(), 9 | 1 << 16];
    let _ = world.invoke(slot::KERNEL, Invocation::Export, &ram);
    world
        .retype_ram(231, ObjectType::Frame, 0x20_0000, PAGE_SIZE)
        .expect("a frame");
    let moved = [cap(231).to_word(), 9];
    world
        .invoke(slot::KERNEL, Invocation::Export, &moved)
        .expect("on its way");
    let state = tell(&mut world, own, 231).map(|told| told[0] >> 44 & 0xf);
    assert_eq!(state, Ok(State::InTransit as u64));
}

/// All objects of one retype are in one CNode: not one slot beyond its end is written.
#[test]
fn a_retype_ends_with_its_cnode() {
    let mut world = world();
    let make = |world: &mut World, to: CapRef, count: u64| {
        let kind = ObjectType::Frame as u64;
        let arguments = [
            to.to_word(),
            cap(slot::RAM).to_word(),
            kind,
            0x30_0000,
            PAGE_SIZE,
            count,
        ];
        let made = world.invoke(slot::L1CNODE, Invocation::Retype, &arguments);
        made.map(drop)
    };
    for (to, count) in [
        (255, 2),
        (254, 3),
        (240, 17),
        (240, 0),
        (240, u64::MAX),
        (251, 256),
    ] {
        assert_eq!(
            make(&mut world, cap(to), count),
            Err(SysError::OutOfRange),
            "{to} {count}"
        );
    }
    assert_eq!(
        make(&mut world, CapRef::l1(255), 2),
        Err(SysError::OutOfRange)
    );
    assert_eq!(
        make(&mut world, CapRef::l1(254), 3),
        Err(SysError::OutOfRange)
    );
    for slot in (240..=255).filter(|&slot| slot != slot::FIRST_HOME) {
        let is_there = world.core.slots.slot(world.index(slot)).is_occupied();
        assert!(!is_there, "{slot}");
    }
    assert_eq!(make(&mut world, cap(251), 5), Ok(()));
    assert_eq!(
        make(&mut world, CapRef::l1(254), 2).map_err(|error| error == SysError::OutOfRange),
        Err(false)
    );
}

/// A dispatcher is given memory of this kernel's home that is large enough for its frame, at
/// an address of user space that its pages can have, and once.
#[test]
fn a_dispatcher_is_configured_with_what_it_can_use() {
    let mut world = world();
    const USER: u64 = 0x7000_0000;
    for (to, kind, offset, bytes) in [
        (220, ObjectType::Dispatcher, 0x9_0000, 0x1000),
        (221, ObjectType::Frame, 0x9_1000, 0x4000),
        (222, ObjectType::Frame, 0x9_5000, 0x3000),
        (223, ObjectType::VNodeL0, 0x9_8000, 0),
    ] {
        world.retype(to, kind, offset, bytes, 1).expect("made");
    }
    world
        .retype_ram(224, ObjectType::Frame, 0x40_0000, 0x4000)
        .expect("not home memory");
    let configure = |world: &mut World, frame: u8, user: u64, flags: u64| {
        let [frame, cspace, root] = [frame, slot::L1CNODE, 223].map(|slot| cap(slot).to_word());
        let arguments = [frame, user, cspace, root, flags];
        let configured = world.invoke(220, Invocation::Configure, &arguments);
        configured.map(drop)
    };
    for (frame, user, flags, error) in [
        (222, USER, 0, SysError::OutOfRange),
        (224, USER, 0, SysError::OutOfRange),
        (221, USER + 8, 0, SysError::Unaligned),
        (221, 1 << 60, 0, SysError::Unaligned),
        (221, USER, 1 << 20, SysError::InvalidArgument),
        (221, USER, 1 << 40, SysError::InvalidArgument),
    ] {
        assert_eq!(
            configure(&mut world, frame, user, flags),
            Err(error),
            "{frame} {user:#x}"
        );
        // Nothing was given to it either.
        assert_eq!(
            world.invoke(220, Invocation::Run, &[]),
            Err(SysError::NotRunnable)
        );
    }
    assert_eq!(configure(&mut world, 221, USER, 0), Ok(()));
    assert_eq!(
        configure(&mut world, 221, USER, 0),
        Err(SysError::AlreadyBound)
    );
    world.invoke(220, Invocation::Run, &[]).expect("it may run");
    // It runs already: that is no error, and no second turn.
    world.invoke(220, Invocation::Run, &[]).expect("it does");
    let dcb = world
        .core
        .objects
        .dcb_at(world.address_of(220))
        .expect("a control block");
    assert!(world.core.objects.dcb(dcb).node.is_queued());
    assert_eq!(world.give_way(), Left::Switch);
}

/// What a program prints is on the console, up to a line's length.
#[test]
fn what_is_printed_is_on_the_console() {
    let mut world = World::new();
    world.core.machine.console.clear();
    world.core.machine.user[..5].copy_from_slice(b"hello");
    let print = |world: &mut World, bytes: u64| {
        let printed = world.invoke(
            slot::DISPATCHER,
            Invocation::Print,
            &[crate::host::USER, bytes],
        );
        printed.map(drop)
    };
    assert_eq!(print(&mut world, 5), Ok(()));
    assert_eq!(world.core.machine.console, b"hello");
    assert_eq!(print(&mut world, 257), Err(SysError::OutOfRange));
    assert_eq!(print(&mut world, 256), Ok(()));
    assert_eq!(world.core.machine.console.len(), 5 + 256);
}
