//! Revokes that take longer than one entry: nothing is added in their ranges meanwhile, and
//! those that lie in each other end together.

#[path = "common/peers.rs"]
mod peers;

use capelin_abi::capability::CNODE_BYTES;
use capelin_abi::{ObjectType, PhysAddr, Rights, SysError};
use capelin_cap::{
    Capability, End, ExportMode, Mint, Object, OperationId, SlotFlags, SlotIndex, SlotStore,
    Standing, Step,
};
use peers::{PAGE, Peer, RAM, at_index, with_ram};

use ObjectType::{Dispatcher, EndpointLmp, Frame, L2CNode, Ram};

const ONE: OperationId = OperationId(1);
const TWO: OperationId = OperationId(2);
const THREE: OperationId = OperationId(3);
const LOCKED: Result<(), SysError> = Err(SysError::Locked);
const DYING: Result<(), SysError> = Err(SysError::Dying);

fn hold(peer: &mut Peer, at: u32, operation: OperationId) -> Result<(), SysError> {
    peer.space(|space, _| space.hold_revoke(at_index(at), operation))
}

fn step(peer: &mut Peer, operation: OperationId) -> Result<Step, SysError> {
    let step = peer.space(|space, effects| space.revoke_held(operation, effects, |_| false));
    peer.assert_sound();
    step
}

fn end(peer: &mut Peer, operation: OperationId, end: End) {
    peer.space(|space, _| space.end_revoke(operation, end))
        .expect("it holds something");
}

fn standing(peer: &Peer, operation: OperationId) -> Result<Standing, SysError> {
    peer.mdb.standing(operation)
}

/// Everything that would add to what the capability in `at` names, or take it away alone.
fn uses(peer: &mut Peer, at: u32) -> [Result<(), SysError>; 6] {
    [
        peer.copy(at, 90),
        peer.part(at, 90, 0, PAGE),
        peer.retype(at, Frame, 0, PAGE, 90),
        peer.export(at, 1, ExportMode::Move).map(|_| ()),
        peer.revoke(at),
        peer.delete(at),
    ]
}

const HELD: [Result<(), SysError>; 6] = [DYING, DYING, DYING, DYING, DYING, LOCKED];

#[test]
fn nothing_is_added_until_it_is_over() {
    let mut a = with_ram();
    a.make(41, Ram, 0, 32 * PAGE, 42);
    a.make(42, Ram, 0, 16 * PAGE, 43);
    for at in 50..60 {
        a.copy(42, at).expect("an empty slot");
        a.copy(43, at + 10).expect("an empty slot");
    }
    hold(&mut a, 42, ONE).expect("it is ours, and all here");
    let mut left = a.count();
    loop {
        for at in [42, 43, 50, 59, 60, 69] {
            if a.slot(at).is_occupied() {
                assert_eq!(uses(&mut a, at), HELD, "{at}");
            }
        }
        // Around it, nothing is held; in its range, nothing is made.
        assert_eq!(a.copy(41, 91), Ok(()));
        assert_eq!(a.delete(91), Ok(()));
        assert_eq!(a.part(41, 91, 4 * PAGE, PAGE), DYING);
        assert_eq!(a.retype(41, Frame, 40 * PAGE, PAGE, 91), Ok(()));
        assert_eq!(a.delete(91), Ok(()));
        if step(&mut a, ONE).expect("nothing is in the way") == Step::Done {
            break;
        }
        assert_eq!(a.count(), left - 1, "each step takes one away");
        left -= 1;
    }
    assert_eq!(a.all(), [41, 42]);
    assert_eq!(a.copy(42, 90), DYING, "until it is ended");
    end(&mut a, ONE, End::Complete);
    assert!(!a.mdb.has_holds());
    assert_eq!(a.copy(42, 90), Ok(()));
}

#[test]
fn what_cant_be_revoked_holds_nothing() {
    let mut a = with_ram();
    a.make(41, Frame, 0, PAGE, 42);
    a.make(41, Frame, PAGE, PAGE, 43);
    a.export(43, 1, ExportMode::Copy).expect("it may go");
    let readable = Rights::READ;
    let copied = a.space(|space, _| space.copy(at_index(42), at_index(44), readable));
    copied.expect("an empty slot");
    a.map(42, 45).expect("READ is there");
    for (at, error) in [
        (46, SysError::EmptySlot),
        (44, SysError::MissingRight),
        (45, SysError::WrongType),
        (43, SysError::ThroughMonitor),
        (41, SysError::ThroughMonitor),
    ] {
        assert_eq!(hold(&mut a, at, ONE), Err(error), "{at}");
    }
    let locked = a.lock(42, TWO);
    locked.expect("it is ours");
    assert_eq!(hold(&mut a, 42, ONE), LOCKED);
    a.unlock(TWO).expect("it is locked");
    assert!(!a.mdb.has_holds());
    assert_eq!(step(&mut a, ONE), Err(SysError::InvalidArgument));
}

/// What is revoked goes with the CNode in which it lies, and that memory becomes another's:
/// the revoke is of nothing then, whatever lies there.
#[test]
fn it_ends_with_what_it_is_of() {
    for badly in [true, false] {
        let mut a = with_ram();
        a.boot_home(40);
        a.make(40, L2CNode, 0, 0, 60);
        let inside = a.within(60, 9);
        a.make(41, Frame, 0, PAGE, inside);
        for at in 50..55 {
            a.copy(inside, at).expect("an empty slot");
        }
        hold(&mut a, inside, ONE).expect("it is ours");
        assert_eq!(step(&mut a, ONE), Ok(Step::Again));
        assert_eq!(a.mdb.kept(ONE), at_index(inside));
        a.delete(60).expect("nothing is in the way");
        assert_eq!(a.mdb.kept(ONE), SlotIndex::NONE);
        // What it reads there would be a copy like any other, with the links of one.
        let left = a.count();
        if badly {
            *a.arena.slot_mut(at_index(inside)) = *a.slot(54);
        }
        assert_eq!(step(&mut a, ONE), Err(SysError::EmptySlot));
        assert_eq!(a.count(), left, "nothing went");
        assert_eq!(standing(&a, ONE), Ok(Standing::Holds), "as before");
        end(&mut a, ONE, End::GivenUp);
        assert_eq!(a.copy(54, 90), Ok(()));
    }
}

/// It goes elsewhere: a CNode that dies changes places with what lies in its first slot.
#[test]
fn it_goes_where_its_capability_goes() {
    let mut a = with_ram();
    a.boot_home(40);
    a.make(40, L2CNode, 0, 0, 60);
    let first = a.within(60, 0);
    // The only one of memory without an ancestor here: it goes to the shelter.
    let alone = Capability::memory(Ram, PhysAddr(2 * RAM), 16 * PAGE, Rights::all());
    a.create(alone, first).expect("an empty slot");
    for n in 0..5 {
        a.make(first, Frame, u64::from(n) * PAGE, PAGE, 50 + n);
    }
    hold(&mut a, first, ONE).expect("it is ours");
    hold(&mut a, first, TWO).expect("it is ours");
    assert_eq!(step(&mut a, ONE), Ok(Step::Again));
    a.delete(60).expect("nothing is in the way");
    let kept = a.mdb.kept(ONE);
    assert!(kept != at_index(first) && !kept.is_none());
    assert_eq!(a.mdb.kept(TWO), kept);
    assert_eq!(a.arena.slot(kept).base(), 2 * RAM);
    a.assert_sound();
    while step(&mut a, ONE).expect("nothing is in the way") == Step::Again {}
    end(&mut a, ONE, End::Complete);
    assert_eq!(a.all().len(), 3, "home, all memory, and that");
    end(&mut a, TWO, End::Complete);
    a.assert_sound();
    let is_watched = a.arena.slot(kept).flags().contains(SlotFlags::WATCHED);
    assert!(!is_watched, "by nobody any more");
}

/// A container that dies changes places with what lies in its first slot; revokes of either
/// know where theirs is, at every step, until it is gone.
#[test]
fn both_are_known_that_change_places() {
    let mut a = with_ram();
    a.boot_home(40);
    for (offset, at) in [(0, 60), (CNODE_BYTES, 61)] {
        a.make(40, L2CNode, offset, 0, at);
    }
    let outer = a.within(60, 5);
    a.relocate(61, outer).expect("an empty slot");
    let first = a.within(outer, 0);
    a.make(41, Frame, 0, PAGE, first);
    a.copy(first, 50).expect("an empty slot");
    hold(&mut a, outer, ONE).expect("it is ours");
    hold(&mut a, first, TWO).expect("it is ours");
    let mut seen = Vec::new();
    loop {
        let kept = [ONE, TWO].map(|operation| a.mdb.kept(operation));
        if seen.last() != Some(&kept) {
            seen.push(kept);
        }
        if a.delete_step(60).expect("nothing is in the way") == Step::Done {
            break;
        }
    }
    let [outer, first] = [outer, first].map(at_index);
    assert_eq!(seen[..2], [[outer, first], [first, outer]]);
    assert_eq!([ONE, TWO].map(|it| a.mdb.kept(it)), [SlotIndex::NONE; 2]);
    for operation in [ONE, TWO] {
        assert_eq!(step(&mut a, operation), Err(SysError::EmptySlot));
        end(&mut a, operation, End::GivenUp);
    }
}

/// The inner one first, then the outer, and the other way round: the outer one's steps are the
/// inner one's, and when it is over, so is that.
#[test]
fn those_within_each_other_end_together() {
    for inner_first in [true, false] {
        let mut a = with_ram();
        a.make(41, Ram, 0, 32 * PAGE, 42);
        a.make(42, Ram, 0, 16 * PAGE, 43);
        a.make(43, Frame, 0, PAGE, 44);
        let mut order = [(43, ONE), (42, TWO)];
        if !inner_first {
            order.reverse();
        }
        for (at, operation) in order {
            hold(&mut a, at, operation).expect("a place");
        }
        assert_eq!(standing(&a, TWO), Ok(Standing::Holds));
        assert_eq!(standing(&a, ONE), Ok(Standing::Within(TWO)));
        assert_eq!(step(&mut a, ONE), Err(SysError::Dying));
        while step(&mut a, TWO).expect("nothing is in the way") == Step::Again {
            assert_eq!(standing(&a, ONE), Ok(Standing::Within(TWO)));
        }
        end(&mut a, TWO, End::Complete);
        assert_eq!(standing(&a, ONE), Ok(Standing::Answered));
        assert_eq!(a.all(), [41, 42]);
        // What is made there now isn't held by what is over.
        a.make(42, Ram, 0, 16 * PAGE, 43);
        assert_eq!(a.copy(43, 50), Ok(()));
        end(&mut a, ONE, End::Complete);
        assert!(!a.mdb.has_holds());
    }
}

/// When the outer one is given up, the inner ones hold again: one of those of one object, and
/// none that lies in another.
#[test]
fn what_is_given_up_leaves_the_rest_held() {
    let mut a = with_ram();
    a.make(41, Ram, 0, 32 * PAGE, 42);
    a.make(42, Ram, 0, 16 * PAGE, 43);
    a.copy(43, 44).expect("an empty slot");
    a.make(43, Frame, 0, PAGE, 45);
    let object = Object::of(a.slot(41));
    let outer = OperationId(7);
    hold(&mut a, 45, THREE).expect("a place");
    hold(&mut a, 43, ONE).expect("a place");
    hold(&mut a, 44, TWO).expect("a place");
    a.mark(&object, outer).expect("nothing is locked");
    for inner in [ONE, TWO, THREE] {
        assert_eq!(standing(&a, inner), Ok(Standing::Within(outer)));
    }
    a.unmark(outer).expect("it is marked");
    assert_eq!(a.copy(42, 90), Ok(()), "no longer held");
    assert_eq!(a.delete(90), Ok(()));
    // Of those to the same object the first holds it.
    assert_eq!(standing(&a, ONE), Ok(Standing::Holds));
    for inner in [TWO, THREE] {
        assert_eq!(standing(&a, inner), Ok(Standing::Within(ONE)));
    }
    assert_eq!(uses(&mut a, 43), HELD);
    end(&mut a, ONE, End::GivenUp);
    assert_eq!(uses(&mut a, 43), HELD, "the other's");
    assert_eq!(standing(&a, TWO), Ok(Standing::Holds));
    end(&mut a, TWO, End::GivenUp);
    assert_eq!(a.copy(43, 90), Ok(()));
    assert_eq!(a.copy(45, 91), DYING, "its own, still");
    end(&mut a, THREE, End::GivenUp);
    assert_eq!(a.copy(45, 91), Ok(()));
}

/// One entry does as many steps as its caller has time for, and one at least.
#[test]
fn an_entry_does_what_it_has_time_for() {
    for time in 0..8_usize {
        let mut a = with_ram();
        for n in 0..6 {
            a.make(41, Frame, u64::from(n) * PAGE, PAGE, 42 + n);
        }
        hold(&mut a, 41, ONE).expect("it is ours");
        let mut left = time;
        let step = a.space(|space, effects| {
            space.revoke_held(ONE, effects, |_| {
                left = left.saturating_sub(1);
                left > 0
            })
        });
        a.assert_sound();
        let gone = time.clamp(1, 6);
        assert_eq!(a.count(), 1 + 6 - gone, "{time} steps");
        // That nothing is left is found by another step.
        let expected = if time > 6 { Step::Done } else { Step::Again };
        assert_eq!(step, Ok(expected), "{time} steps");
    }
}

/// Of a capability with a badge, only those with the badge are held: others' clients go on.
#[test]
fn a_badge_is_held_alone() {
    let mut a = with_ram();
    a.boot_home(40);
    a.make(40, Dispatcher, 0, PAGE, 42);
    let base = a.slot(42).address();
    let endpoint = Capability::memory(EndpointLmp, base, 1, Rights::all());
    a.derive(42, endpoint, 43).expect("an endpoint");
    for (at, badge) in [(50, 1), (51, 2)] {
        let badge = Mint::Badge(badge);
        let all = Rights::all();
        let minted = a.space(|space, _| space.mint(at_index(43), at_index(at), all, badge));
        minted.expect("a badge");
    }
    for (from, to) in [(50, 52), (50, 53), (51, 54)] {
        a.copy(from, to).expect("an empty slot");
    }
    hold(&mut a, 50, ONE).expect("it is ours");
    assert_eq!([50, 52, 53].map(|at| a.copy(at, 90)), [DYING; 3]);
    for at in [43, 51, 54] {
        assert_eq!(a.copy(at, 90), Ok(()), "{at}");
        assert_eq!(a.delete(90), Ok(()));
    }
    // Another badge doesn't join it; all of them take it over.
    hold(&mut a, 51, TWO).expect("a place");
    assert_eq!(standing(&a, TWO), Ok(Standing::Holds));
    hold(&mut a, 43, THREE).expect("a place");
    for badged in [ONE, TWO] {
        assert_eq!(standing(&a, badged), Ok(Standing::Within(THREE)));
    }
    end(&mut a, THREE, End::GivenUp);
    while step(&mut a, ONE).expect("nothing is in the way") == Step::Again {}
    end(&mut a, ONE, End::Complete);
    assert!([50, 51, 54].iter().all(|&at| a.slot(at).is_occupied()));
    assert!([52, 53].iter().all(|&at| a.slot(at).is_empty()));
    assert_eq!(a.copy(51, 90), DYING, "the other's");
    end(&mut a, TWO, End::GivenUp);
    assert!(!a.mdb.has_holds());
}

/// How many steps are made at random.
const STEPS: usize = if cfg!(miri) { 40 } else { 4_000 };

/// As an oracle has it: a range is held while a revoke of it, or around it, is under way, and
/// one that is complete ends those within.
#[test]
fn marks_are_what_is_under_way() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |limit: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from((random >> 11) % limit as u64).expect("small")
    };
    // Nested ranges: what is made of what, by slot.
    let made = [
        (42, 41, 0, 32),
        (43, 41, 32, 32),
        (44, 42, 0, 16),
        (45, 42, 16, 16),
        (46, 44, 0, 8),
        (47, 44, 8, 8),
    ];
    let mut a = with_ram();
    for (at, of, offset, pages) in made {
        a.make(of, Ram, offset * PAGE, pages * PAGE, at);
    }
    let contains = |a: &Peer, outer: u32, inner: u32| {
        let [outer, inner] = [outer, inner].map(|at| Object::of(a.slot(at)));
        outer.base <= inner.base && inner.base + inner.size <= outer.base + outer.size
    };
    // Those that are under way: the operation, its slot, whether another has answered it.
    let mut active: Vec<(OperationId, u32, bool)> = Vec::new();
    let (mut name, mut joined) = (0, 0);
    for _ in 0..STEPS {
        if next(2) == 0 {
            name += 1;
            let (operation, at) = (
                OperationId(name),
                41 + u32::try_from(next(7)).expect("small"),
            );
            let is_held = active
                .iter()
                .any(|&(_, other, answered)| !answered && contains(&a, other, at));
            let is_local = next(2) == 0;
            if is_local {
                let held = hold(&mut a, at, operation);
                let places = active.iter().filter(|one| one.0.0 & 1 << 40 == 0).count();
                assert_eq!(held.is_ok(), places < 3, "{held:?}");
                if held.is_ok() {
                    joined += usize::from(is_held);
                    active.push((operation, at, false));
                }
            } else {
                let operation = OperationId(name | 1 << 40);
                let object = Object::of(a.slot(at));
                let marked = a.mark(&object, operation);
                assert_eq!(marked == DYING, is_held);
                if marked.is_ok() {
                    active.push((operation, at, false));
                }
            }
        } else if !active.is_empty() {
            let (operation, at, answered) = active.remove(next(active.len()));
            let is_outermost = standing(&a, operation) == Ok(Standing::Holds);
            let how = if next(2) == 0 {
                End::Complete
            } else {
                End::GivenUp
            };
            end(&mut a, operation, how);
            if is_outermost && how == End::Complete {
                assert!(!answered);
                for other in &mut active {
                    other.2 |= contains(&a, at, other.1);
                }
            }
        }
        for &(operation, at, answered) in &active {
            let stands = standing(&a, operation).expect("it has a mark");
            assert_eq!(stands == Standing::Answered, answered);
            if let Standing::Within(around) = stands {
                let outer = active.iter().find(|one| one.0 == around).expect("active");
                assert!(contains(&a, outer.1, at));
                assert_eq!(standing(&a, around), Ok(Standing::Holds));
            }
        }
        for at in 41..=47 {
            let is_held = active
                .iter()
                .any(|&(_, other, answered)| !answered && contains(&a, other, at));
            let copied = a.copy(at, 90);
            assert_eq!(copied, if is_held { DYING } else { Ok(()) }, "{at}");
            if copied.is_ok() {
                // A copy that can't be deleted would be in the way.
                assert_eq!(a.delete(90), Ok(()));
            }
        }
    }
    assert!(
        cfg!(miri) || joined > 100,
        "hardly anything happened: {joined}"
    );
}
