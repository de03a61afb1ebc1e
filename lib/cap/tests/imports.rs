//! What a record says, against what the kernel that gets it knows: a lie is refused, and
//! changes nothing.

#[path = "common/peers.rs"]
mod peers;

use capelin_abi::{KernelId, ObjectType, PhysAddr, Rights, SysError};
use capelin_cap::{CapRecord, Capability, ExportMode, RetypeRequest, Step, retype};
use peers::{PAGE, Peer, RAM, at_index, with_ram};

use ObjectType::Frame;

const IN_USE: Result<(), SysError> = Err(SysError::RangeInUse);
const DYING: Result<(), SysError> = Err(SysError::Dying);
/// Where [`with_ram`] knows of nothing.
const ELSEWHERE: u64 = RAM << 1;

/// A frame of `pages` from `base` on, that comes from `owner`; of a move, to it.
fn frame(base: u64, pages: u64, owner: u16, mode: ExportMode) -> CapRecord {
    let rights = Rights::READ | Rights::EXECUTE;
    CapRecord {
        capability: Capability::memory(Frame, PhysAddr(base), pages * PAGE, rights),
        owner: KernelId(owner),
        mode,
        has_ancestors: false,
        is_in_frame: false,
        is_executable: false,
    }
}

fn copy(base: u64, pages: u64, owner: u16) -> CapRecord {
    frame(base, pages, owner, ExportMode::Copy)
}

/// The record is taken as `expected` says; refused, nothing changes.
fn assert_taken(peer: &mut Peer, record: &CapRecord, expected: Result<(), SysError>, why: &str) {
    let before = peer.all();
    assert_eq!(peer.import(record, 100), expected, "{why}");
    peer.assert_sound();
    if expected.is_ok() {
        let slot = peer.slot(100);
        assert_eq!(slot.capability(), record.capability, "{why}");
        assert_eq!(slot.owner(), record.owner, "{why}");
        assert_eq!(slot.is_executable(), record.is_executable, "{why}");
    } else {
        assert_eq!(peer.all(), before, "{why}");
    }
}

#[test]
fn only_what_was_moved_away_comes_home() {
    let (mut a, mut b) = (with_ram(), Peer::new(1));
    for (at, page) in [(42, 0), (43, 8)] {
        a.make(41, Frame, page * PAGE, 4 * PAGE, at);
    }
    peers::hand_over(&mut a, 42, &mut b, 42).expect("nobody has it");
    let here = frame(RAM + 8 * PAGE, 4, 0, ExportMode::Move);
    assert_taken(&mut a, &here, IN_USE, "it never left");
    let home = frame(RAM, 4, 0, ExportMode::Move);
    // Whoever moves it has seen to it that there are no copies, nor parts of them.
    a.import(&copy(RAM, 4, 1), 50)
        .expect("beside its tombstone");
    assert_taken(&mut a, &home, IN_USE, "a copy is here");
    a.part(50, 51, PAGE, PAGE).expect("a part");
    a.delete(50).expect("a foreign copy");
    assert_taken(&mut a, &home, IN_USE, "a part is here");
    a.delete(51).expect("a foreign part");
    assert_taken(&mut a, &home, Ok(()), "all of it");
    assert!(a.slot(42).is_empty());
}

#[test]
fn a_copy_of_ones_own_is_one_of_what_one_has() {
    let (mut a, mut b) = (with_ram(), Peer::new(1));
    for (at, page) in [(42, 0), (43, 4), (44, 8)] {
        a.make(41, Frame, page * PAGE, 4 * PAGE, at);
    }
    let of = |page| copy(RAM + page * PAGE, 4, 0);
    assert_taken(&mut a, &of(0), Ok(()), "it is here");
    a.delete(100).expect("a copy");
    assert_taken(&mut a, &of(1), DYING, "nothing has this range");
    a.pin(42).expect("it is usable");
    assert_taken(&mut a, &of(0), DYING, "it is pinned");
    let begun = RetypeRequest {
        kind: Frame,
        offset: 16 * PAGE,
        object_size: 4 * PAGE,
        count: 1,
        is_privileged: false,
    };
    retype(&mut a.arena, &mut a.mdb, at_index(41), &begun, at_index(45)).expect("free memory");
    assert_taken(&mut a, &of(16), DYING, "it isn't zeroed");
    peers::hand_over(&mut a, 43, &mut b, 43).expect("nobody has it");
    assert_taken(&mut a, &of(4), DYING, "it was moved away");
    let others = copy(ELSEWHERE, 4, 2);
    a.import(&others, 46).expect("nothing is there");
    let claimed = copy(ELSEWHERE, 4, 0);
    assert_taken(&mut a, &claimed, DYING, "it is another kernel's");
}

#[test]
fn a_copy_of_anothers_is_as_those_that_are_known() {
    let mut a = with_ram();
    a.make(41, Frame, 0, 4 * PAGE, 42);
    assert_taken(&mut a, &copy(RAM, 4, 1), IN_USE, "it is this kernel's");
    a.import(&copy(ELSEWHERE, 4, 1), 43)
        .expect("nothing is there");
    let mut text = copy(ELSEWHERE, 4, 1);
    text.is_executable = true;
    assert_taken(&mut a, &text, IN_USE, "the other can be written to");
    // It may have been handed over since the other was made.
    assert_taken(&mut a, &copy(ELSEWHERE, 4, 2), Ok(()), "another owner");
}

/// A kernel with something of 16 pages at [`ELSEWHERE`].
fn around(what: &str) -> Peer {
    let mut a = with_ram();
    let all = |kind| Capability::memory(kind, PhysAddr(ELSEWHERE), 16 * PAGE, Rights::all());
    match what {
        "memory" => a.create(all(ObjectType::Ram), 42).expect("at boot"),
        "addresses" => a.create(all(ObjectType::PhysAddr), 42).expect("at boot"),
        "a frame" => a.create(all(Frame), 42).expect("at boot"),
        "an image" => {
            a.create(all(Frame), 42).expect("at boot");
            a.seal(42).expect("nobody else has it");
        }
        "a tombstone" => {
            a.create(all(ObjectType::Ram), 43).expect("at boot");
            a.make(43, Frame, 0, 8 * PAGE, 42);
            peers::hand_over(&mut a, 42, &mut Peer::new(1), 42).expect("nobody has it");
        }
        "a copy from 1" => a.import(&copy(ELSEWHERE, 8, 1), 42).expect("a copy"),
        "a copy from 2" => a.import(&copy(ELSEWHERE, 8, 2), 42).expect("a copy"),
        "text from 1" => {
            let mut text = copy(ELSEWHERE, 8, 1);
            text.is_executable = true;
            a.import(&text, 42).expect("a copy");
        }
        other => panic!("{other}"),
    }
    a
}

#[test]
fn a_copy_lies_in_what_its_owner_can_have() {
    // A part of it that can be written to, and one that is executable.
    for (what, plain, text) in [
        ("memory", IN_USE, IN_USE),
        ("addresses", Ok(()), Ok(())),
        ("a frame", IN_USE, IN_USE),
        ("an image", Ok(()), Ok(())),
        ("a tombstone", Ok(()), Ok(())),
        ("a copy from 1", Ok(()), IN_USE),
        ("a copy from 2", IN_USE, IN_USE),
        ("text from 1", IN_USE, Ok(())),
    ] {
        for (is_executable, expected) in [(false, plain), (true, text)] {
            let mut part = copy(ELSEWHERE + PAGE, 1, 1);
            part.is_executable = is_executable;
            let why = format!("in {what}, executable: {is_executable}");
            assert_taken(&mut around(what), &part, expected, &why);
        }
    }
}

#[test]
fn a_copy_is_around_what_is_its_owners() {
    for (base, pages, expected, why) in [
        (0, 16, Ok(()), "around"),
        (0, 4, IN_USE, "over the beginning"),
        (8, 4, IN_USE, "over the end"),
        (0, 2, Ok(()), "before"),
        (10, 2, Ok(()), "behind"),
    ] {
        let mut a = with_ram();
        a.import(&copy(ELSEWHERE + 2 * PAGE, 8, 1), 42)
            .expect("nothing is there");
        let record = copy(ELSEWHERE + base * PAGE, pages, 1);
        assert_taken(&mut a, &record, expected, why);
    }
    let mut a = with_ram();
    a.import(&copy(ELSEWHERE + 2 * PAGE, 8, 2), 42)
        .expect("nothing is there");
    assert_taken(&mut a, &copy(ELSEWHERE, 16, 1), IN_USE, "around another's");
}

/// All that lies in the range is looked at, in steps, not the first alone: a frame around it
/// reaches it.
#[test]
fn a_copy_is_around_nothing_of_anybody_elses() {
    const PARTS: u32 = 400;
    let whole = copy(ELSEWHERE, 1024, 1);
    let crowd = || {
        let mut a = with_ram();
        for part in 0..PARTS {
            // Some begin where others do.
            let at = ELSEWHERE + u64::from(part % 150) * 4 * PAGE;
            a.import(&copy(at, 2, 1), 1000 + part).expect("a copy");
        }
        a
    };
    let steps = |a: &mut Peer, record: &CapRecord| {
        let mut steps = 1;
        loop {
            match a.import_if(record, 100, || Ok(())) {
                Ok(Step::Again) => steps += 1,
                other => break (steps, other.map(drop)),
            }
        }
    };
    assert_eq!(steps(&mut crowd(), &whole), (4, Ok(())));
    if cfg!(miri) {
        // The rest is the same operations, on many capabilities again.
        return;
    }
    // The last is another's, or this kernel's own.
    for (what, mode, owner) in [
        ("another's", ExportMode::Copy, 2),
        ("our own", ExportMode::Move, 0),
    ] {
        let mut a = crowd();
        let last = ELSEWHERE + 1000 * PAGE;
        a.import(&frame(last, 1, owner, mode), 50)
            .expect("it lies in nothing");
        let before = a.all();
        assert_eq!(steps(&mut a, &whole), (4, IN_USE), "{what}");
        assert_eq!(a.all(), before);
        // Once it is gone, nothing speaks against it.
        if mode == ExportMode::Copy {
            a.delete(50).expect("it is there");
        } else {
            let away = a.export(50, 2, mode).expect("it is ours");
            a.commit(&away).expect("it is under way");
        }
        assert_eq!(steps(&mut a, &whole).1, Ok(()), "{what}");
        a.assert_sound();
    }
    // Nor is anything written that may be executed, and the other way round.
    let mut text = copy(ELSEWHERE + 1000 * PAGE, 1, 1);
    text.is_executable = true;
    text.capability.rights = Rights::READ | Rights::EXECUTE;
    let mut a = crowd();
    a.import(&text, 50).expect("it lies in nothing");
    assert_eq!(steps(&mut a, &whole), (4, IN_USE));
}

/// Between two steps, anything may come, go, or move.
#[test]
fn what_comes_between_two_looks_is_looked_at() {
    let whole = copy(ELSEWHERE, 1024, 1);
    let again = Ok(Step::Again);
    let step = |a: &mut Peer, record: &CapRecord| a.import_if(record, 100, || Ok(()));
    let begun = || {
        let mut a = with_ram();
        for part in 0..200_u32 {
            let at = ELSEWHERE + u64::from(part) * 4 * PAGE;
            a.import(&copy(at, 2, 1), 1000 + part).expect("a copy");
        }
        assert_eq!(step(&mut a, &whole), again);
        a
    };
    let mut a = begun();
    assert_eq!(step(&mut a, &whole), Ok(Step::Done));
    if cfg!(miri) {
        // The rest is the same operations, on many capabilities again.
        return;
    }
    // Something of our own, where it has been looked at.
    let mut a = begun();
    let ours = frame(ELSEWHERE + 2 * PAGE, 1, 0, ExportMode::Move);
    a.import(&ours, 50).expect("it lies in nothing");
    assert_eq!(step(&mut a, &whole).map(drop), IN_USE);
    // What is next goes, with some behind it.
    for gone in [1, 30, 72] {
        let ours = frame(ELSEWHERE + 1000 * PAGE, 1, 0, ExportMode::Move);
        for has_ours in [false, true] {
            let mut a = begun();
            if has_ours {
                a.import(&ours, 50).expect("it lies in nothing");
                assert_eq!(step(&mut a, &whole), again);
            }
            (1128..1128 + gone).for_each(|at| a.delete(at).expect("it is there"));
            // Or it is so few that the first look gets there.
            let expected = if has_ours { IN_USE } else { Ok(()) };
            let left = match step(&mut a, &whole) {
                Ok(Step::Again) => step(&mut a, &whole).map(drop),
                other => other.map(drop),
            };
            assert_eq!(left, expected, "{gone}");
        }
    }
    // A look at one range says nothing of another, nor of what is said of it.
    let mut a = begun();
    let ours = frame(ELSEWHERE + 1000 * PAGE, 1, 0, ExportMode::Move);
    a.import(&ours, 50).expect("it lies in nothing");
    assert_eq!(step(&mut a, &whole), again);
    assert_eq!(
        step(&mut a, &copy(ELSEWHERE, 2048, 1)),
        again,
        "from its beginning"
    );
    let mut theirs = whole;
    theirs.owner = KernelId(2);
    assert_eq!(step(&mut a, &theirs).map(drop), IN_USE);
    let mut text = whole;
    text.is_executable = true;
    assert_eq!(step(&mut a, &text).map(drop), IN_USE);
}

/// What is an ancestor of what: whoever owns it says so, a tombstone doesn't.
#[test]
fn what_may_vanish_is_no_ancestor() {
    let has_ancestors = |peer: &mut Peer, at| {
        let identity = peer.space(|space, _| space.identify(at_index(at)));
        identity.expect("it is there").has_ancestors
    };
    for (what, expected) in [
        ("addresses", true),
        ("a tombstone", false),
        ("a copy from 1", true),
    ] {
        let mut a = around(what);
        a.import(&copy(ELSEWHERE + PAGE, 1, 1), 100)
            .expect("a part");
        assert_eq!(has_ancestors(&mut a, 100), expected, "a copy in {what}");
        a.map(100, 101).expect("a frame");
        assert!(has_ancestors(&mut a, 101), "a mapping is of something");
    }
    let mut a = around("a tombstone");
    let home = frame(ELSEWHERE + PAGE, 1, 0, ExportMode::Move);
    a.import(&home, 100).expect("a part comes home");
    assert!(
        !has_ancestors(&mut a, 100),
        "it is owned, what it lies in isn't"
    );
    let mut a = with_ram();
    a.make(41, Frame, 0, PAGE, 42);
    assert!(has_ancestors(&mut a, 42) && !has_ancestors(&mut a, 41));
}
