//! Locks and marks are about objects: no copy, part, or capability that arrives is a
//! way round them; and sweeping removes exactly what was marked.

#[path = "common/peers.rs"]
mod peers;

use capelin_abi::{KernelId, ObjectType, Rights, SysError};
use capelin_cap::{
    CapRecord, Capability, ExportMode, Object, OperationId, State, Step, begin_revoke, create,
    finish_revoke, lock_object, mark_range, set_owner, sweep_step, unlock_object, unmark,
};
use peers::{PAGE, Peer, RAM, at_index, with_ram};

use ObjectType::{EndpointUmp, Frame, L2CNode, Ram};

const ONE: OperationId = OperationId(1);
const TWO: OperationId = OperationId(2);
const LOCKED: Result<(), SysError> = Err(SysError::Locked);
const DYING: Result<(), SysError> = Err(SysError::Dying);

fn lock(peer: &mut Peer, at: u32, operation: OperationId) -> Result<Object, SysError> {
    lock_object(&peer.arena, &mut peer.mdb, at_index(at), operation)
}

fn sweep(peer: &mut Peer, operation: OperationId, keep: u32) -> Result<(), SysError> {
    for _ in 0..10_000 {
        let (arena, mdb, list) = (&mut peer.arena, &mut peer.mdb, &mut peer.list);
        let keep = at_index(keep);
        let step = sweep_step(arena, mdb, list, operation, keep, &mut peer.effects)?;
        peer.assert_sound();
        if step == Step::Done {
            return Ok(());
        }
    }
    panic!("it doesn't end");
}

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
    let object = lock(&mut a, 41, ONE).expect("it is ours");
    assert_eq!((object.kind, object.base), (Ram, RAM));
    for at in [41, 42] {
        assert_eq!(uses(&mut a, at), [LOCKED; 6], "slot {at}");
    }
    // What is made of it isn't locked.
    assert_eq!(a.copy(43, 44), Ok(()));
    assert_eq!(a.delete(44), Ok(()));
    // Each object once, each operation one hold.
    assert_eq!(lock(&mut a, 42, TWO), Err(SysError::Locked));
    assert_eq!(lock(&mut a, 43, ONE), Err(SysError::InvalidArgument));
    lock(&mut a, 43, TWO).expect("another object");
    assert_eq!(a.copy(43, 44), LOCKED);
    assert_eq!(unlock_object(&mut a.mdb, ONE), Ok(()));
    assert_eq!(
        unlock_object(&mut a.mdb, ONE),
        Err(SysError::InvalidArgument)
    );
    assert_eq!(a.copy(42, 45), Ok(()));
    assert_eq!(a.copy(43, 44), LOCKED);
    assert_eq!(unlock_object(&mut a.mdb, TWO), Ok(()));
    assert_eq!(a.copy(43, 44), Ok(()));
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
        let locked = lock(&mut a, 50 + n, OperationId(n.into())).map(|_| ());
        assert_eq!(locked, expected);
    }
    assert_eq!(unlock_object(&mut a.mdb, OperationId(7)), Ok(()));
    assert!(lock(&mut a, 66, TWO).is_err(), "operation 2 has a hold");
    assert!(lock(&mut a, 66, OperationId(99)).is_ok());
}

#[test]
fn a_mark_holds_all_in_its_range() {
    let mut a = with_ram();
    a.make(41, Ram, 0, 16 * PAGE, 42);
    a.make(42, Frame, 0, 4 * PAGE, 43);
    a.part(43, 44, 0, PAGE).expect("a part");
    a.make(41, Frame, 16 * PAGE, PAGE, 45);
    a.copy(42, 46).expect("an empty slot");
    let object = Object::of(a.slot(42));
    assert_eq!(mark_range(&mut a.mdb, &object, ONE), Ok(()));
    for at in [42, 43, 44, 46] {
        assert_eq!(a.copy(at, 90), DYING, "slot {at}");
        assert_eq!(a.delete(at), LOCKED, "slot {at}");
        let exported = a.export(at, 1, ExportMode::Move).map(|_| ());
        assert_eq!(exported, DYING, "slot {at}");
    }
    // Around and beside it, all goes on; but nothing is made in it.
    assert_eq!(a.copy(45, 90), Ok(()));
    assert_eq!(a.copy(41, 91), Ok(()));
    assert_eq!(a.retype(41, Frame, 17 * PAGE, PAGE, 92), Ok(()));
    assert_eq!(a.retype(41, Frame, 15 * PAGE, 2 * PAGE, 93), DYING);
    assert_eq!(lock(&mut a, 43, TWO), Err(SysError::Dying));
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
    assert_eq!(mark_range(&mut a.mdb, &inner, TWO), DYING);
    assert_eq!(unmark(&mut a.mdb, ONE), Ok(()));
    assert_eq!(a.copy(43, 95), Ok(()));
}

#[test]
fn a_mark_ends_where_its_range_ends() {
    let mut a = with_ram();
    a.make(41, Ram, 4 * PAGE, 4 * PAGE, 42);
    let object = Object::of(a.slot(42));
    mark_range(&mut a.mdb, &object, ONE).expect("nothing is locked");
    assert_eq!(a.retype(41, Frame, 3 * PAGE, PAGE, 43), Ok(()));
    assert_eq!(a.retype(41, Frame, 8 * PAGE, PAGE, 44), Ok(()));
    assert_eq!(a.retype(41, Frame, 2 * PAGE, 3 * PAGE, 45), DYING);
    assert_eq!(a.copy(43, 45), Ok(()));
    assert_eq!(a.copy(44, 46), Ok(()));
}

/// Interrupts are numbered in a space of their own.
#[test]
fn interrupts_are_held_like_memory() {
    let mut a = with_ram();
    let all = Capability::interrupts(ObjectType::IrqSource, 32, 16, Rights::all());
    create(&mut a.arena, &mut a.mdb, all, at_index(60)).expect("at boot");
    a.make(60, ObjectType::IrqSource, 0, 4, 61);
    a.make(60, ObjectType::IrqSource, 8, 4, 62);
    lock(&mut a, 61, ONE).expect("it is ours");
    assert_eq!(a.copy(61, 90), LOCKED);
    assert_eq!(a.copy(62, 90), Ok(()));
    let object = Object::of(a.slot(62));
    mark_range(&mut a.mdb, &object, TWO).expect("it isn't locked");
    assert_eq!(a.copy(62, 91), DYING);
    assert_eq!(a.copy(41, 91), Ok(()));
    assert_eq!(a.retype(60, ObjectType::IrqSource, 10, 4, 63), DYING);
    // What is locked isn't marked.
    assert_eq!(sweep(&mut a, ONE, 0), Err(SysError::InvalidArgument));
    assert_eq!(sweep(&mut a, TWO, 62), Ok(()));
    assert!(a.slot(90).is_empty());
}

#[test]
fn a_mark_waits_for_locks_in_its_range() {
    let mut a = with_ram();
    a.make(41, Ram, 0, 16 * PAGE, 42);
    let (outer, inner) = (Object::of(a.slot(41)), Object::of(a.slot(42)));
    lock(&mut a, 42, ONE).expect("it is ours");
    assert_eq!(mark_range(&mut a.mdb, &outer, TWO), LOCKED);
    assert_eq!(unlock_object(&mut a.mdb, ONE), Ok(()));
    // An outer mark comes over an inner one, which can't be swept any more.
    assert_eq!(mark_range(&mut a.mdb, &inner, ONE), Ok(()));
    assert_eq!(mark_range(&mut a.mdb, &outer, TWO), Ok(()));
    assert_eq!(sweep(&mut a, ONE, 0), DYING);
    assert_eq!(sweep(&mut a, TWO, 41), Ok(()));
    assert_eq!(a.all(), [41]);
    assert_eq!(sweep(&mut a, ONE, 0), DYING);
    assert_eq!(
        (unmark(&mut a.mdb, ONE), unmark(&mut a.mdb, TWO)),
        (Ok(()), Ok(()))
    );
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
    assert_eq!(mark_range(&mut a.mdb, &inner, ONE), Ok(()));
    assert_eq!(mark_range(&mut a.mdb, &beside, four), Ok(()));
    assert_eq!(mark_range(&mut a.mdb, &middle, TWO), Ok(()));
    assert_eq!(mark_range(&mut a.mdb, &outer, three), Ok(()));
    assert_eq!(unmark(&mut a.mdb, three), Ok(()));
    // The largest that is left holds for those within.
    assert_eq!(a.copy(41, 90), Ok(()));
    for at in 42..46 {
        assert_eq!(a.copy(at, 91), DYING, "{at}");
    }
    assert_eq!(sweep(&mut a, ONE, 0), DYING);
    assert_eq!(unmark(&mut a.mdb, four), Ok(()));
    assert_eq!(unmark(&mut a.mdb, TWO), Ok(()));
    for (at, held) in [(42, Ok(())), (43, DYING), (44, Ok(())), (45, DYING)] {
        assert_eq!(a.copy(at, 50 + at), held, "{at}");
    }
    assert_eq!(sweep(&mut a, ONE, 43), Ok(()));
    assert!(a.slot(45).is_empty());
    assert_eq!(unmark(&mut a.mdb, ONE), Ok(()));
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
        mark_range(&mut peer.mdb, &object, ONE).expect("nothing is locked");
    }
    assert_eq!(c.import(&flying, 70), DYING);
    // Not before the transfer has ended.
    assert_eq!(sweep(&mut b, ONE, 0), LOCKED);
    assert_eq!(b.abort(&flying), Ok(()));
    assert_eq!(sweep(&mut a, ONE, 42), Ok(()));
    assert_eq!(sweep(&mut b, ONE, 0), Ok(()));
    assert_eq!(sweep(&mut c, ONE, 0), Ok(()));
    assert_eq!(a.all(), [41, 42, 45]);
    assert_eq!(b.all(), [40, 50]);
    assert_eq!(c.count(), 0);
    // Its memory isn't made anew before all are done.
    assert_eq!(a.retype(42, Frame, 0, PAGE, 43), DYING);
    for peer in [&mut a, &mut b, &mut c] {
        assert_eq!(unmark(&mut peer.mdb, ONE), Ok(()));
    }
    assert_eq!(a.retype(42, Frame, 0, PAGE, 43), Ok(()));
    assert_eq!(sweep(&mut a, ONE, 42), Err(SysError::InvalidArgument));
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
    mark_range(&mut a.mdb, &object, ONE).expect("nothing is locked");
    assert_eq!(a.delete(50), LOCKED);
    assert_eq!(sweep(&mut a, ONE, 40), Ok(()));
    unmark(&mut a.mdb, ONE).expect("it is marked");
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
    assert_eq!(mark_range(&mut a.mdb, &objects[0], ONE), Ok(()));
    assert_eq!(mark_range(&mut a.mdb, &objects[1], TWO), Ok(()));
    assert_eq!(sweep(&mut a, ONE, 42), Ok(()));
    assert_eq!(sweep(&mut a, TWO, 43), Ok(()));
    for operation in [ONE, TWO] {
        assert_eq!(unmark(&mut a.mdb, operation), Ok(()));
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
    let rehome = |peer: &mut Peer, record: &CapRecord| {
        set_owner(&mut peer.arena, &mut peer.mdb, record, || Ok(()))
    };
    let by = |owner| CapRecord {
        owner: KernelId(owner),
        ..claim
    };
    assert_eq!(rehome(&mut a, &by(2)), Ok(()));
    assert_eq!(a.slot(42).owner(), KernelId(2));
    assert!(a.slot(42).is_tombstone());
    // Not before it is taken.
    let gone = set_owner(&mut a.arena, &mut a.mdb, &claim, || {
        Err(SysError::NoSuchTransfer)
    });
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
    mark_range(&mut a.mdb, &object, ONE).expect("nothing is locked");
    assert_eq!(sweep(&mut a, ONE, 0), Ok(()));
    assert_eq!(
        finish_revoke(&mut a.arena, &mut a.mdb, ONE, at_index(0)),
        Ok(())
    );
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
    let finish = |peer: &mut Peer, operation, keep| {
        finish_revoke(&mut peer.arena, &mut peer.mdb, operation, at_index(keep))
    };
    let begin = |peer: &mut Peer, at, operation| {
        begin_revoke(&peer.arena, &mut peer.mdb, at_index(at), operation).map(drop)
    };
    assert_eq!(begin(&mut a, 43, ONE), Ok(()));
    assert_eq!(begin(&mut a, 42, TWO), Ok(()));
    assert_eq!(a.mdb.marked_object(ONE), Err(SysError::Dying));
    assert_eq!(a.mdb.marked_object(TWO).map(|object| object.base), Ok(RAM));
    assert_eq!(
        a.mdb.marked_object(OperationId(9)),
        Err(SysError::NoSuchOperation)
    );
    assert_eq!(finish(&mut a, TWO, 42), LOCKED, "not swept");
    assert_eq!(
        sweep(&mut a, TWO, 44),
        Err(SysError::InvalidArgument),
        "not a copy"
    );
    assert_eq!(sweep(&mut a, TWO, 42), Ok(()));
    assert_eq!(finish(&mut a, TWO, 41), Err(SysError::InvalidArgument));
    assert_eq!(finish(&mut a, TWO, 42), Ok(()));
    assert_eq!(a.all(), [41, 42]);
    // Nothing is left for the inner one to do, and it holds nothing: what is made now is
    // another's.
    a.make(42, Frame, 0, PAGE, 45);
    assert_eq!(sweep(&mut a, ONE, 0), Ok(()));
    assert_eq!(a.copy(45, 46), Ok(()));
    assert_eq!(
        begin(&mut a, 42, TWO),
        Ok(()),
        "not around an inner one that holds"
    );
    assert_eq!(unmark(&mut a.mdb, TWO), Ok(()));
    assert_eq!(a.copy(45, 47), Ok(()));
    assert_eq!(finish(&mut a, ONE, 0), Ok(()));
    assert!(!a.mdb.has_holds());
    // Memory that nothing else could make isn't swept away.
    assert_eq!(begin(&mut a, 41, ONE), Ok(()));
    assert_eq!(sweep(&mut a, ONE, 0), Err(SysError::LastCopy));
    assert_eq!(sweep(&mut a, ONE, 41), Ok(()));
    assert_eq!(finish(&mut a, ONE, 41), Ok(()));
    assert_eq!(a.all(), [41]);
}
