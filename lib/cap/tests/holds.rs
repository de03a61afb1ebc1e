//! Locks and marks are about objects: no copy, part, or capability that arrives is a
//! way round them; and sweeping removes exactly what was marked.

#[path = "common/peers.rs"]
mod peers;

use capelin_abi::{KernelId, ObjectType, Rights, SysError};
use capelin_cap::{CapRecord, Capability, ExportMode, Object, OperationId, State};
use peers::{PAGE, Peer, RAM, with_ram};

use ObjectType::{EndpointUmp, Frame, L2CNode, Ram};

const ONE: OperationId = OperationId(1);
const TWO: OperationId = OperationId(2);
const LOCKED: Result<(), SysError> = Err(SysError::Locked);
const DYING: Result<(), SysError> = Err(SysError::Dying);

/// Everything that can be tried with the Ram in `at` and in `copy`.
fn uses(peer: &mut Peer, at: u32) -> [Result<(), SysError>; 6] {
    [
        peer.copy(at, 90),
        peer.part(at, 90, 8 * PAGE, PAGE),
        peer.retype(at, Frame, 8 * PAGE, PAGE, 90),
        peer.export(at, 1, ExportMode::Move).map(|_| ()),
        peer.revoke(at),
        peer.delete(at),
    ]
}

/// Memory may begin at address 0, where an empty slot's base is, too.
#[test]
fn an_object_covers_itself_and_what_is_made_of_it() {
    let mut a = with_ram();
    a.make(41, Frame, PAGE, PAGE, 43);
    let ram = Object::of(a.slot(41));
    let frame = Object::of(a.slot(43));
    assert!(ram.covers(a.slot(41)) && ram.covers(a.slot(43)));
    assert!(frame.covers(a.slot(43)) && !frame.covers(a.slot(41)));
    let from_0 = Object { base: 0, ..ram };
    assert!(a.slot(44).is_empty());
    assert!(!from_0.covers(a.slot(44)));
}

#[test]
fn a_lock_holds_the_object_not_the_slot() {
    let mut a = with_ram();
    a.copy(41, 42).expect("an empty slot");
    a.make(41, Frame, 0, PAGE, 43);
    assert!(!a.mdb.has_holds());
    let object = a.lock(41, ONE).expect("it is ours");
    assert!(a.mdb.has_holds());
    assert_eq!((object.kind, object.base), (Ram, RAM));
    // It has marked nothing.
    assert_eq!(a.mdb.marked_object(ONE), Err(SysError::NoSuchOperation));
    for at in [41, 42] {
        assert_eq!(uses(&mut a, at), [LOCKED; 6], "slot {at}");
    }
    // What is made of it isn't locked.
    assert_eq!(a.copy(43, 44), Ok(()));
    assert_eq!(a.delete(44), Ok(()));
    // Each object once, each operation one hold.
    assert_eq!(a.lock(42, TWO), Err(SysError::Locked));
    assert_eq!(a.lock(43, ONE), Err(SysError::InvalidArgument));
    a.lock(43, TWO).expect("another object");
    assert_eq!(a.copy(43, 44), LOCKED);
    assert_eq!(a.unlock(ONE), Ok(()));
    assert_eq!(a.unlock(ONE), Err(SysError::InvalidArgument));
    assert_eq!(a.copy(42, 45), Ok(()));
    assert_eq!(a.copy(43, 44), LOCKED);
    assert_eq!(a.unlock(TWO), Ok(()));
    assert_eq!(a.copy(43, 44), Ok(()));
}

/// A monitor knows by this what a record that it passes has to do with what is revoked.
#[test]
fn an_object_contains_what_was_made_of_it() {
    let mut a = with_ram();
    a.make(41, Ram, 4 * PAGE, 8 * PAGE, 42);
    let object = Object::of(a.slot(42));
    for (kind, page, pages, expected) in [
        (Ram, 4, 8, true),
        (Frame, 4, 8, true),
        (Frame, 4, 1, true),
        (Frame, 11, 1, true),
        (Ram, 0, 64, false),
        (Frame, 3, 1, false),
        (Frame, 12, 1, false),
        (Ram, 4, 9, false),
        (ObjectType::PhysAddr, 4, 8, false),
    ] {
        let base = capelin_abi::PhysAddr(RAM + page * PAGE);
        let record = CapRecord {
            capability: Capability::memory(kind, base, pages * PAGE, Rights::all()),
            owner: KernelId(1),
            mode: ExportMode::Move,
            has_ancestors: false,
            is_in_frame: false,
            is_executable: false,
        };
        assert_eq!(object.contains(&record), expected, "{record:?}");
    }
}

#[test]
fn the_table_has_an_end() {
    let mut a = with_ram();
    for n in 0..17 {
        a.make(41, Ram, u64::from(n) * PAGE, PAGE, 50 + n);
        let expected = if n < 16 {
            Ok(())
        } else {
            Err(SysError::NoResources)
        };
        let locked = a.lock(50 + n, OperationId(n.into())).map(|_| ());
        assert_eq!(locked, expected);
    }
    assert_eq!(a.unlock(OperationId(7)), Ok(()));
    assert!(a.lock(66, TWO).is_err(), "operation 2 has a hold");
    assert!(a.lock(66, OperationId(99)).is_ok());
}

#[test]
fn a_mark_holds_all_in_its_range() {
    let mut a = with_ram();
    a.make(41, Ram, 0, 16 * PAGE, 42);
    a.make(42, Frame, 0, 4 * PAGE, 43);
    a.part(43, 44, 0, PAGE).expect("a part");
    a.make(41, Frame, 16 * PAGE, PAGE, 45);
    a.copy(42, 46).expect("an empty slot");
    a.map(43, 47).expect("a frame");
    let object = Object::of(a.slot(42));
    assert_eq!(a.mark(&object, ONE), Ok(()));
    for at in [42, 43, 44, 46] {
        assert_eq!(a.copy(at, 90), DYING, "slot {at}");
        assert_eq!(a.delete(at), LOCKED, "slot {at}");
        let exported = a.export(at, 1, ExportMode::Move).map(|_| ());
        assert_eq!(exported, DYING, "slot {at}");
    }
    // What is mapped can be unmapped.
    assert_eq!(a.delete(47), Ok(()));
    // Around and beside it, all goes on; but nothing is made in it.
    assert_eq!(a.copy(45, 90), Ok(()));
    assert_eq!(a.copy(41, 91), Ok(()));
    assert_eq!(a.retype(41, Frame, 17 * PAGE, PAGE, 92), Ok(()));
    assert_eq!(a.retype(41, Frame, 15 * PAGE, 2 * PAGE, 93), DYING);
    assert_eq!(a.lock(43, TWO), Err(SysError::Dying));
    // What arrives late is refused.
    let mut b = with_ram();
    b.make(41, Frame, 5 * PAGE, PAGE, 42);
    let late = b.export(42, 1, ExportMode::Copy).expect("a frame");
    assert_eq!(a.import(&late, 94), DYING);
    let mut ring = late;
    ring.capability.kind = EndpointUmp;
    assert_eq!(a.import(&ring, 94), DYING);
    // A mark within is answered by this one.
    let inner = Object::of(a.slot(43));
    assert_eq!(a.mark(&inner, TWO), DYING);
    assert_eq!(a.unmark(ONE), Ok(()));
    assert_eq!(a.copy(43, 95), Ok(()));
}

#[test]
fn a_mark_ends_where_its_range_ends() {
    let mut a = with_ram();
    a.make(41, Ram, 4 * PAGE, 4 * PAGE, 42);
    let object = Object::of(a.slot(42));
    a.mark(&object, ONE).expect("nothing is locked");
    assert_eq!(a.retype(41, Frame, 3 * PAGE, PAGE, 43), Ok(()));
    assert_eq!(a.retype(41, Frame, 8 * PAGE, PAGE, 44), Ok(()));
    assert_eq!(a.retype(41, Frame, 2 * PAGE, 3 * PAGE, 45), DYING);
    assert_eq!(a.copy(43, 45), Ok(()));
    assert_eq!(a.copy(44, 46), Ok(()));
}

/// A CNode that goes stops at what is locked in it, in whatever slot that lies.
#[test]
fn what_is_locked_stays_in_what_goes() {
    for number in [0, 3] {
        let mut a = with_ram();
        a.boot_home(40);
        a.make(40, L2CNode, 0, 0, 50);
        let inside = a.within(50, number);
        a.make(40, L2CNode, 0x4000, 0, inside);
        a.lock(inside, ONE).expect("it is ours");
        assert_eq!(a.delete(50), LOCKED);
        a.drain().expect_err("it is locked still");
        let [.., locked, _] = a.all()[..] else {
            panic!("home memory, two CNodes and memory");
        };
        assert_eq!(a.slot(locked).state(), State::Live, "slot {number}");
        a.unlock(ONE).expect("it is locked");
        a.delete(50).expect("nothing is locked");
        assert_eq!(a.all(), [40, 41]);
    }
}

/// Interrupts are numbered in a space of their own.
#[test]
fn interrupts_are_held_like_memory() {
    let mut a = with_ram();
    let all = Capability::interrupts(ObjectType::IrqSource, 32, 16, Rights::all());
    a.create(all, 60).expect("at boot");
    a.make(60, ObjectType::IrqSource, 0, 4, 61);
    a.make(60, ObjectType::IrqSource, 8, 4, 62);
    a.lock(61, ONE).expect("it is ours");
    assert_eq!(a.copy(61, 90), LOCKED);
    assert_eq!(a.copy(62, 90), Ok(()));
    let object = Object::of(a.slot(62));
    a.mark(&object, TWO).expect("it isn't locked");
    assert_eq!(a.copy(62, 91), DYING);
    assert_eq!(a.copy(41, 91), Ok(()));
    assert_eq!(a.retype(60, ObjectType::IrqSource, 10, 4, 63), DYING);
    // What is locked isn't marked.
    assert_eq!(a.sweep(ONE, 0), Err(SysError::InvalidArgument));
    assert_eq!(a.sweep(TWO, 62), Ok(()));
    assert!(a.slot(90).is_empty());
}

#[test]
fn a_mark_waits_for_locks_in_its_range() {
    let mut a = with_ram();
    a.make(41, Ram, 0, 16 * PAGE, 42);
    let (outer, inner) = (Object::of(a.slot(41)), Object::of(a.slot(42)));
    a.lock(42, ONE).expect("it is ours");
    assert_eq!(a.mark(&outer, TWO), LOCKED);
    assert_eq!(a.unlock(ONE), Ok(()));
    // An outer mark comes over an inner one, which can't be swept any more.
    assert_eq!(a.mark(&inner, ONE), Ok(()));
    assert_eq!(a.mark(&outer, TWO), Ok(()));
    assert_eq!(a.sweep(ONE, 0), DYING);
    assert_eq!(a.sweep(TWO, 41), Ok(()));
    assert_eq!(a.all(), [41]);
    assert_eq!(a.sweep(ONE, 0), DYING);
    assert_eq!((a.unmark(ONE), a.unmark(TWO)), (Ok(()), Ok(())));
    assert!(!a.mdb.has_holds());
}

/// A revoke that is given up before it sweeps, since another kernel couldn't mark,
/// leaves the marks that it came over as they were.
#[test]
fn a_mark_given_up_leaves_those_within() {
    let mut a = with_ram();
    a.make(41, Ram, 0, 32 * PAGE, 42);
    a.make(42, Ram, 0, 16 * PAGE, 43);
    a.make(42, Ram, 16 * PAGE, PAGE, 44);
    a.make(43, Frame, 0, PAGE, 45);
    let [outer, middle, inner, beside] = [41, 42, 43, 44].map(|at| Object::of(a.slot(at)));
    let (three, four) = (OperationId(3), OperationId(4));
    assert_eq!(a.mark(&inner, ONE), Ok(()));
    assert_eq!(a.mark(&beside, four), Ok(()));
    assert_eq!(a.mark(&middle, TWO), Ok(()));
    assert_eq!(a.mark(&outer, three), Ok(()));
    assert_eq!(a.unmark(three), Ok(()));
    // The largest that is left holds for those within.
    assert_eq!(a.copy(41, 90), Ok(()));
    for at in 42..46 {
        assert_eq!(a.copy(at, 91), DYING, "{at}");
    }
    assert_eq!(a.sweep(ONE, 0), DYING);
    assert_eq!(a.unmark(four), Ok(()));
    assert_eq!(a.unmark(TWO), Ok(()));
    for (at, held) in [(42, Ok(())), (43, DYING), (44, Ok(())), (45, DYING)] {
        assert_eq!(a.copy(at, 50 + at), held, "{at}");
    }
    assert_eq!(a.sweep(ONE, 43), Ok(()));
    assert!(a.slot(45).is_empty());
    assert_eq!(a.unmark(ONE), Ok(()));
    assert!(!a.mdb.has_holds());
}

/// A revoke over three kernels: everything made of it goes, wherever it went, also what
/// alone kept memory elsewhere; and nothing else.
#[test]
fn sweeping_removes_what_was_marked() {
    let mut a = with_ram();
    let (mut b, mut c) = (Peer::new(1), Peer::new(2));
    b.boot_home(40);
    a.make(41, Ram, 0, 16 * PAGE, 42);
    a.make(41, Frame, 32 * PAGE, PAGE, 45);
    a.copy(42, 46).expect("an empty slot");
    a.make(42, Frame, 8 * PAGE, PAGE, 44);
    let copied = a.export(44, 1, ExportMode::Copy).expect("a frame");
    b.import(&copied, 60).expect("nobody has it");
    a.commit(&copied).expect("it is under way");
    a.make(42, Ram, 0, 4 * PAGE, 43);
    peers::hand_over(&mut a, 43, &mut b, 43).expect("nobody has it");
    // On 1, in a CNode, with a part on 2 and one that is in transit.
    b.make(40, L2CNode, 0, 0, 50);
    let inside = b.within(50, 7);
    b.copy(43, inside).expect("an empty slot");
    b.make(43, Ram, 0, PAGE, 44);
    peers::hand_over(&mut b, 44, &mut c, 44).expect("nobody has it");
    b.make(43, Ram, PAGE, PAGE, 45);
    let flying = b.export(45, 2, ExportMode::Move).expect("it may go");
    let object = Object::of(a.slot(42));
    for peer in [&mut a, &mut b, &mut c] {
        peer.mark(&object, ONE).expect("nothing is locked");
    }
    assert_eq!(c.import(&flying, 70), DYING);
    // Not before the transfer has ended.
    assert_eq!(b.sweep(ONE, 0), LOCKED);
    assert_eq!(b.abort(&flying), Ok(()));
    assert_eq!(a.sweep(ONE, 42), Ok(()));
    assert_eq!(b.sweep(ONE, 0), Ok(()));
    assert_eq!(c.sweep(ONE, 0), Ok(()));
    assert_eq!(a.all(), [41, 42, 45]);
    assert_eq!(b.all(), [40, 50]);
    assert_eq!(c.count(), 0);
    // Its memory isn't made anew before all are done.
    assert_eq!(a.retype(42, Frame, 0, PAGE, 43), DYING);
    for peer in [&mut a, &mut b, &mut c] {
        assert_eq!(peer.unmark(ONE), Ok(()));
    }
    assert_eq!(a.retype(42, Frame, 0, PAGE, 43), Ok(()));
    assert_eq!(a.sweep(ONE, 42), Err(SysError::InvalidArgument));
    // Outside of a sweep, the same isn't given up.
    assert_eq!(a.slot(45).state(), State::Live);
}

/// Containers that go in a sweep go wholly, step by step.
#[test]
fn sweeping_empties_containers() {
    let mut a = with_ram();
    a.boot_home(40);
    a.make(40, L2CNode, 0, 0, 50);
    for number in [0, 3, 200] {
        let inside = a.within(50, number);
        a.make(40, L2CNode, 0x4000, 0, inside);
        a.delete(inside).expect("an empty CNode");
        a.copy(41, inside).expect("an empty slot");
    }
    let object = Object::of(a.slot(40));
    a.mark(&object, ONE).expect("nothing is locked");
    assert_eq!(a.delete(50), LOCKED);
    assert_eq!(a.sweep(ONE, 40), Ok(()));
    a.unmark(ONE).expect("it is marked");
    a.drain().expect("nothing is locked");
    assert_eq!(a.all(), [40, 41]);
}

/// Two revokes whose containers hold capabilities to each other's objects, as those of
/// two programs that talk do: neither waits for the other.
#[test]
fn two_sweeps_do_not_wait_for_each_other() {
    let mut a = with_ram();
    a.boot_home(40);
    for (own, at) in [(42, 0), (43, 16 * PAGE)] {
        a.make(40, ObjectType::HomeRam, at, 16 * PAGE, own);
        a.make(own, L2CNode, 0, 0, own + 2);
        a.make(own, Frame, 8 * PAGE, PAGE, own + 4);
    }
    for (cnode, others) in [(44, 47), (45, 46)] {
        let inside = a.within(cnode, 5);
        a.copy(others, inside).expect("an empty slot");
    }
    let objects = [42, 43].map(|at| Object::of(a.slot(at)));
    assert_eq!(a.mark(&objects[0], ONE), Ok(()));
    assert_eq!(a.mark(&objects[1], TWO), Ok(()));
    assert_eq!(a.sweep(ONE, 42), Ok(()));
    assert_eq!(a.sweep(TWO, 43), Ok(()));
    for operation in [ONE, TWO] {
        assert_eq!(a.unmark(operation), Ok(()));
    }
    a.drain().expect("nothing is left that blocks");
    assert_eq!(a.all(), [40, 42, 43, 41]);
}

#[test]
fn a_tombstone_learns_who_holds_it() {
    let mut a = with_ram();
    let mut b = Peer::new(1);
    a.make(41, Ram, 0, 4 * PAGE, 42);
    peers::hand_over(&mut a, 42, &mut b, 42).expect("nobody has it");
    assert_eq!(
        a.export(42, 2, ExportMode::Claim).map(drop),
        Err(SysError::Foreign)
    );
    let claim = b.export(42, 0, ExportMode::Claim).expect("it is there");
    assert_eq!(b.commit(&claim), Ok(()));
    assert_eq!(b.abort(&claim), Ok(()));
    assert_eq!(b.copy(42, 43), Ok(()));
    let rehome = |peer: &mut Peer, record: &CapRecord| peer.set_owner(record, || Ok(()));
    let by = |owner| CapRecord {
        owner: KernelId(owner),
        ..claim
    };
    assert_eq!(rehome(&mut a, &by(2)), Ok(()));
    assert_eq!(a.slot(42).owner(), KernelId(2));
    assert!(a.slot(42).is_tombstone());
    // Not before it is taken.
    let gone = a.set_owner(&claim, || Err(SysError::NoSuchTransfer));
    assert_eq!(gone, Err(SysError::NoSuchTransfer));
    assert_eq!(a.slot(42).owner(), KernelId(2));
    assert_eq!(rehome(&mut a, &by(0)), Err(SysError::InvalidArgument));
    assert_eq!(rehome(&mut a, &by(512)), Err(SysError::InvalidArgument));
    let mut other = claim;
    other.capability.size = PAGE;
    assert_eq!(rehome(&mut a, &other), Err(SysError::EmptySlot));
    other = claim;
    other.mode = ExportMode::Move;
    assert_eq!(rehome(&mut a, &other), Err(SysError::WrongType));
    assert_eq!(rehome(&mut b, &by(2)), Err(SysError::EmptySlot));
    a.assert_sound();
}

/// The keeper's tombstone of what is revoked isn't the revoker's to remove: its memory
/// would be made anew here, and be its owner's there.
#[test]
fn the_tombstone_of_what_is_revoked_stays() {
    let (mut a, mut b) = (with_ram(), Peer::new(1));
    a.make(41, Frame, 0, 4 * PAGE, 42);
    peers::hand_over(&mut a, 42, &mut b, 42).expect("nobody has it");
    for at in [43, 44, 45] {
        let copied = b.export(42, 0, ExportMode::Copy).expect("a frame");
        a.import(&copied, at).expect("beside its tombstone");
        b.commit(&copied).expect("it is under way");
    }
    a.part(44, 46, PAGE, PAGE).expect("a part");
    let object = Object::of(b.slot(42));
    a.mark(&object, ONE).expect("nothing is locked");
    assert_eq!(a.sweep(ONE, 0), Ok(()));
    assert_eq!(a.finish_revoke(ONE, 0), Ok(()));
    assert_eq!(a.all(), [41, 42]);
    assert!(a.slot(42).is_tombstone());
    assert_eq!(a.retype(41, Frame, 0, PAGE, 43), Err(SysError::RangeInUse));
}

/// A revoke within another's range is complete with that; what isn't swept isn't over.
#[test]
fn a_revoke_answers_those_in_its_range() {
    let mut a = with_ram();
    a.make(41, Ram, 0, 16 * PAGE, 42);
    a.make(42, Frame, 0, PAGE, 43);
    a.make(42, Frame, PAGE, PAGE, 44);
    let begun = |peer: &mut Peer, at, operation| peer.begin_revoke(at, operation).map(drop);
    assert_eq!(begun(&mut a, 43, ONE), Ok(()));
    assert_eq!(begun(&mut a, 42, TWO), Ok(()));
    assert_eq!(a.mdb.marked_object(ONE), Err(SysError::Dying));
    assert_eq!(a.mdb.marked_object(TWO).map(|object| object.base), Ok(RAM));
    assert_eq!(
        a.mdb.marked_object(OperationId(9)),
        Err(SysError::NoSuchOperation)
    );
    assert_eq!(a.finish_revoke(TWO, 42), LOCKED, "not swept");
    assert_eq!(
        a.sweep(TWO, 44),
        Err(SysError::InvalidArgument),
        "not a copy"
    );
    assert_eq!(a.sweep(TWO, 42), Ok(()));
    assert_eq!(a.finish_revoke(TWO, 41), Err(SysError::InvalidArgument));
    assert_eq!(a.finish_revoke(TWO, 42), Ok(()));
    assert_eq!(a.all(), [41, 42]);
    // Nothing is left for the inner one to do, and it holds nothing: what is made now is
    // another's.
    a.make(42, Frame, 0, PAGE, 45);
    assert_eq!(a.sweep(ONE, 0), Ok(()));
    assert_eq!(a.copy(45, 46), Ok(()));
    assert_eq!(
        begun(&mut a, 42, TWO),
        Ok(()),
        "not around an inner one that holds"
    );
    assert_eq!(a.unmark(TWO), Ok(()));
    assert_eq!(a.copy(45, 47), Ok(()));
    assert_eq!(a.finish_revoke(ONE, 0), Ok(()));
    assert!(!a.mdb.has_holds());
    // Memory that nothing else could make isn't swept away.
    assert_eq!(begun(&mut a, 41, ONE), Ok(()));
    assert_eq!(a.sweep(ONE, 0), Err(SysError::LastCopy));
    assert_eq!(a.sweep(ONE, 41), Ok(()));
    assert_eq!(a.finish_revoke(ONE, 41), Ok(()));
    assert_eq!(a.all(), [41]);
}
