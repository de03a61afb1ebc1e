//! Capabilities that go from kernel to kernel: what a transfer leaves on each, and
//! that a refused one loses nothing.

#[path = "common/peers.rs"]
mod peers;

use capelin_abi::{ObjectType, PhysAddr, Rights, SysError};
use capelin_cap::{Capability, ExportMode, SlotStore, State, check};
use peers::{PAGE, Peer, RAM, at_index};

use ObjectType::{Frame, Ram};

const MOVE: ExportMode = ExportMode::Move;

/// Kernels 0, 1 and 2; the first has the memory, in slot 1.
fn peers() -> [Peer; 3] {
    let mut all = [Peer::new(0), Peer::new(1), Peer::new(2)];
    let ram = Capability::memory(Ram, PhysAddr(RAM), 1024 * PAGE, Rights::all());
    all[0].create(ram, 1).expect("at boot");
    all
}

#[test]
fn what_passes_through_leaves_nothing() {
    let [mut a, mut b, mut c] = peers();
    a.make(1, Ram, 0, 4 * PAGE, 2);
    peers::hand_over(&mut a, 2, &mut b, 2).expect("nobody has it");
    assert!(a.slot(2).is_tombstone(), "its ancestor is here");
    peers::hand_over(&mut b, 2, &mut c, 2).expect("nobody has it");
    assert!(b.slot(2).is_empty(), "nothing here could make it again");
    peers::hand_over(&mut c, 2, &mut b, 3).expect("nobody has it");
    peers::hand_over(&mut b, 3, &mut a, 3).expect("it comes home");
    assert!(a.slot(2).is_empty() && c.slot(2).is_empty() && b.slot(3).is_empty());
    // Larger than before: it isn't in the way of what it was.
    a.delete(3).expect("its memory is its ancestor's");
    a.make(1, Ram, 0, 8 * PAGE, 4);
    peers::hand_over(&mut a, 4, &mut b, 4).expect("nothing is in the way");
    assert_eq!(b.count(), 1);
}

#[test]
fn parts_that_leave_again_leave_nothing() {
    let [mut a, mut b, _] = peers();
    a.make(1, Ram, 0, 8 * PAGE, 2);
    peers::hand_over(&mut a, 2, &mut b, 2).expect("nobody has it");
    b.make(2, Ram, 0, 4 * PAGE, 3);
    peers::hand_over(&mut b, 3, &mut a, 3).expect("the tombstone contains it");
    assert!(b.slot(3).is_tombstone());
    assert_eq!(a.retype(3, Frame, 0, PAGE, 4), Ok(()));
    // What is made in a part that came back is seen from the memory around.
    assert_eq!(
        a.retype(1, Frame, 2 * PAGE, PAGE, 5),
        Err(SysError::RangeInUse)
    );
    assert_eq!(
        a.retype(1, Frame, 5 * PAGE, PAGE, 5),
        Err(SysError::RangeInUse)
    );
    a.delete(4).expect("a frame");
    peers::hand_over(&mut a, 3, &mut b, 4).expect("it goes where it came from");
    assert!(
        a.slot(3).is_empty(),
        "the tombstone around it claims its range"
    );
    assert!(b.slot(3).is_empty() && b.slot(4).is_occupied());
}

/// 100 moves out and back, of changing sizes: none is refused, and in the end every
/// kernel is as it was.
#[test]
fn moves_out_and_back_all_succeed() {
    let mut all = peers();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |limit: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % limit
    };
    for round in 0..100 {
        let (offset, size) = (next(16), 1 + next(8));
        let [a, b, c] = &mut all;
        a.make(1, Ram, offset * PAGE, size * PAGE, 10);
        let hand_over = |from: &mut Peer, to: &mut Peer| {
            let at = from.find_last();
            peers::hand_over(from, at, to, 11).unwrap_or_else(|error| panic!("{round}: {error:?}"));
        };
        match next(3) {
            0 => {
                hand_over(a, b);
                hand_over(b, a);
            }
            1 => {
                hand_over(a, c);
                hand_over(c, a);
            }
            _ => {
                hand_over(a, b);
                hand_over(b, c);
                hand_over(c, a);
            }
        }
        a.delete(11).expect("its memory is its ancestor's");
        assert_eq!(all.each_ref().map(Peer::count), [1, 0, 0]);
    }
}

#[test]
fn a_refused_transfer_loses_nothing() {
    let [mut a, mut b, _] = peers();
    a.make(1, Ram, 0, 4 * PAGE, 2);
    // The receiver knows something else about that range.
    let other = Capability::memory(Ram, PhysAddr(RAM), PAGE, Rights::all());
    b.create(other, 1).expect("at boot");
    let before = *a.slot(2);
    let record = a.export(2, 1, MOVE).expect("it may go");
    assert_eq!(a.slot(2).state(), State::InTransit);
    assert_eq!(a.copy(2, 3), Err(SysError::Locked));
    assert_eq!(a.delete(2), Err(SysError::Locked));
    assert_eq!(a.export(2, 2, MOVE), Err(SysError::Locked));
    assert_eq!(a.retype(1, Frame, 0, PAGE, 3), Err(SysError::RangeInUse));
    assert_eq!(b.import(&record, 2), Err(SysError::RangeInUse));
    assert_eq!(a.abort(&record), Ok(()));
    assert_eq!(a.slot(2).capability(), before.capability());
    assert_eq!(
        (a.slot(2).state(), a.slot(2).flags()),
        (State::Live, before.flags())
    );
    // It ends once, and only as it was begun.
    assert_eq!(a.abort(&record), Err(SysError::EmptySlot));
    assert_eq!(a.commit(&record), Err(SysError::EmptySlot));
    let record = a.export(2, 2, MOVE).expect("it may go");
    let mut elsewhere = record;
    elsewhere.owner = capelin_abi::KernelId(1);
    // Nobody takes what is moved to another.
    let [_, _, mut c] = peers();
    assert_eq!(c.import(&elsewhere, 2), Err(SysError::InvalidArgument));
    assert_eq!(a.commit(&elsewhere), Err(SysError::EmptySlot));
    assert_eq!(a.commit(&record), Ok(()));
    assert!(a.slot(2).is_tombstone());
    assert_eq!(a.abort(&record), Err(SysError::EmptySlot));
}

#[test]
fn what_is_under_way_survives_its_cnode() {
    let [mut a, ..] = peers();
    a.boot_home(40);
    a.retype(40, ObjectType::L2CNode, 0, 0, 41)
        .expect("home memory");
    let inside = a.within(41, 9);
    a.make(1, Ram, 0, 4 * PAGE, inside);
    let record = a.export(inside, 1, MOVE).expect("it may go");
    a.delete(41).expect("a shelter takes what is under way");
    assert_eq!(a.abort(&record), Ok(()));
    let kept = a.find_last();
    assert_eq!(a.slot(kept).state(), State::Live);
    assert_eq!(a.slot(kept).base(), RAM);
}

/// The frame around a part makes no other of it while that is under way, as it makes none
/// when it is gone: there would be two owners, and nobody could end the transfer.
#[test]
fn a_part_under_way_is_not_made_again() {
    let [mut a, mut b, _] = peers();
    a.make(1, Frame, 0, 4 * PAGE, 2);
    a.part(2, 3, PAGE, PAGE).expect("a part");
    for end in [Peer::abort, Peer::commit] {
        let record = a.export(3, 1, MOVE).expect("it may go");
        assert_eq!(a.part(2, 4, PAGE, PAGE), Err(SysError::RangeInUse));
        // What is in it, or around, can be made of the frame in any case.
        a.part(2, 5, 0, 2 * PAGE).expect("around it");
        a.delete(5).expect("a part");
        assert_eq!(end(&mut a, &record), Ok(()));
        a.assert_sound();
        if a.slot(3).is_tombstone() {
            b.import(&record, 3).expect("it is ours");
            assert_eq!(a.part(2, 4, PAGE, PAGE), Err(SysError::RangeInUse));
        } else {
            a.part(2, 4, PAGE, PAGE).expect("all is as before");
            a.delete(4).expect("a copy");
        }
    }
}

#[test]
fn a_refused_copy_leaves_no_mark() {
    let [mut a, mut b, c] = peers();
    a.make(1, Frame, 0, PAGE, 2);
    let record = a.export(2, 1, ExportMode::Copy).expect("a frame");
    assert_eq!(a.delete(2), Err(SysError::ThroughMonitor));
    assert_eq!(a.abort(&record), Ok(()));
    assert_eq!(a.abort(&record), Err(SysError::EmptySlot));
    // Two on their way, one arrives; the slot that they were made from goes.
    assert_eq!(a.copy(2, 3), Ok(()));
    let first = a.export(2, 1, ExportMode::Copy).expect("a frame");
    let second = a.export(3, 2, ExportMode::Copy).expect("a frame");
    assert_eq!(a.delete(2), Ok(()));
    assert_eq!(b.import(&first, 2), Ok(()));
    assert_eq!(a.commit(&first), Ok(()));
    assert_eq!(a.abort(&second), Ok(()));
    assert_eq!(c.count(), 0);
    assert_eq!(a.slot(3).remote_copies(), (0, true));
    assert_eq!(a.delete(3), Err(SysError::ThroughMonitor));
    let Peer { arena, mdb, .. } = &mut a;
    assert_eq!(
        capelin_cap::set_remote_copies(arena, mdb, at_index(3), false),
        Ok(())
    );
    assert_eq!(a.delete(3), Ok(()));
    c.assert_sound();
}

/// A copy of what another kernel owns is passed on as it is, with no more rights; the
/// kernels that pass it note nothing, and the owner's own comes back to it as a copy.
#[test]
fn a_foreign_copy_is_passed_on_but_not_moved() {
    let [mut a, mut b, mut c] = peers();
    a.make(1, Frame, 0, 8 * PAGE, 2);
    let record = a.export(2, 1, ExportMode::Copy).expect("a frame");
    assert_eq!(b.import(&record, 2), Ok(()));
    assert_eq!(a.commit(&record), Ok(()));
    assert_eq!(b.export(2, 2, ExportMode::Move), Err(SysError::Foreign));
    let record = b.export(2, 2, ExportMode::Copy).expect("a copy");
    assert_eq!(record.owner, capelin_abi::KernelId(0));
    assert!(!record.capability.rights.contains(Rights::REVOKE));
    assert_eq!(b.slot(2).remote_copies(), (0, false));
    assert_eq!(c.import(&record, 2), Ok(()));
    assert_eq!(b.commit(&record), Ok(()));
    assert_eq!(b.delete(2), Ok(()));
    assert_eq!(c.slot(2).owner(), capelin_abi::KernelId(0));
    // Refused, it leaves no mark either.
    let record = c.export(2, 1, ExportMode::Copy).expect("a copy");
    assert_eq!(c.abort(&record), Ok(()));
    // Home again.
    let record = c.export(2, 0, ExportMode::Copy).expect("a copy");
    assert_eq!(a.import(&record, 5), Ok(()));
    assert_eq!(c.commit(&record), Ok(()));
    assert_eq!(a.slot(5).owner(), capelin_abi::KernelId(0));
    for peer in [&a, &b, &c] {
        peer.assert_sound();
    }
}

/// Nothing changes unless the sender's kernel agrees that the capability is taken, and
/// it is asked only when nothing else can fail.
#[test]
fn an_import_that_is_not_agreed_to_changes_nothing() {
    let [mut a, mut b, _] = peers();
    a.make(1, Frame, 0, 8 * PAGE, 2);
    a.make(1, Frame, 8 * PAGE, 8 * PAGE, 3);
    for (at, mode) in [(2, ExportMode::Copy), (3, ExportMode::Move)] {
        let record = a.export(at, 1, mode).expect("a frame");
        let before = b.count();
        let refused = || Err(SysError::NoSuchTransfer);
        assert_eq!(b.import_if(&record, at, refused).map(drop), refused());
        assert_eq!(b.count(), before);
        b.assert_sound();
        let mut asked = false;
        let mut wrong = record;
        wrong.capability.size = 0;
        assert!(
            b.import_if(&wrong, at, || {
                asked = true;
                Ok(())
            })
            .is_err()
        );
        assert!(!asked);
        let mut asked = 0;
        let agreed = b.import_if(&record, at, || {
            asked += 1;
            Ok(())
        });
        assert_eq!((agreed.map(drop), asked), (Ok(()), 1));
        assert_eq!(a.commit(&record), Ok(()));
        b.assert_sound();
    }
}

/// Each object's copies are counted by themselves, and those that arrived stay noted.
#[test]
fn copies_elsewhere_are_counted() {
    let [mut a, ..] = peers();
    a.make(1, Frame, 0, PAGE, 2);
    a.make(1, Frame, PAGE, PAGE, 3);
    let copies = [2, 2, 3].map(|at| a.export(at, 1, ExportMode::Copy).expect("a frame"));
    assert_eq!(a.slot(2).remote_copies(), (2, false));
    assert_eq!(a.slot(3).remote_copies(), (1, false));
    for _ in 0..2 {
        assert_eq!(a.commit(&copies[0]), Ok(()));
    }
    assert_eq!(a.slot(2).remote_copies(), (0, true));
    // None is on its way.
    assert_eq!(a.commit(&copies[0]), Err(SysError::EmptySlot));
    assert_eq!(a.abort(&copies[0]), Err(SysError::EmptySlot));
    let mut set = |at, exist| {
        let Peer { arena, mdb, .. } = &mut a;
        capelin_cap::set_remote_copies(arena, mdb, at_index(at), exist).expect("a frame");
        a.slot(at).remote_copies()
    };
    assert_eq!(set(3, true), (1, true));
    assert_eq!(set(3, true), (1, true));
    assert_eq!(set(3, false), (1, false));
    assert_eq!(set(2, false), (0, false));
}

#[test]
fn a_part_whose_frame_is_elsewhere_is_not_sealed() {
    let [mut a, mut b, mut c] = peers();
    a.make(1, Frame, 0, 8 * PAGE, 2);
    a.part(2, 3, 0, 4 * PAGE).expect("a part");
    peers::hand_over(&mut a, 3, &mut b, 3).expect("nobody has it");
    // The frame around it can be mapped, written to, on kernel 0.
    assert_eq!(b.seal(3), Err(SysError::ThroughMonitor));
    assert_eq!(b.copy(3, 4), Ok(()));
    b.delete(3).expect("a copy");
    assert_eq!(b.seal(4), Err(SysError::ThroughMonitor));
    b.part(4, 5, 0, PAGE).expect("a part");
    assert_eq!(b.seal(5), Err(SysError::ThroughMonitor));
    b.delete(5).expect("a part");
    peers::hand_over(&mut b, 4, &mut c, 4).expect("nobody has it");
    assert_eq!(c.seal(4), Err(SysError::ThroughMonitor));
    // At home, the frame is seen itself; without it there is nothing in the way.
    peers::hand_over(&mut c, 4, &mut a, 4).expect("it comes home");
    assert_eq!(a.seal(4), Err(SysError::HasRelations));
    a.delete(2).expect("its memory is its ancestor's");
    assert_eq!(a.seal(4), Ok(()));
    // A whole frame, made of memory that stays behind, can be sealed anywhere.
    a.make(1, Frame, 16 * PAGE, PAGE, 6);
    peers::hand_over(&mut a, 6, &mut b, 6).expect("nobody has it");
    assert_eq!(b.seal(6), Ok(()));
}

#[test]
fn tombstones_and_transfers_are_counted_in_the_tree() {
    let [mut a, mut b, _] = peers();
    for n in 0..20 {
        a.make(
            1,
            Ram,
            n * PAGE,
            PAGE,
            10 + u32::try_from(n).expect("small"),
        );
    }
    let records: Vec<_> = (10..30)
        .map(|at| a.export(at, 1, MOVE).expect("it may go"))
        .collect();
    a.assert_sound();
    assert_eq!(a.revoke(1), Err(SysError::ThroughMonitor));
    for (record, at) in records.iter().zip(10..) {
        b.import(record, at).expect("nobody has it");
        a.commit(record).expect("it is under way");
    }
    assert_eq!(a.revoke(1), Err(SysError::ThroughMonitor));
    for at in 10..30 {
        peers::hand_over(&mut b, at, &mut a, at + 20).expect("it comes home");
    }
    assert_eq!(a.revoke(1), Ok(()));
    assert_eq!((a.count(), b.count()), (1, 0));
    check(&a.arena, &a.mdb).expect("a sound database");
    assert!(a.arena.slot(at_index(1)).is_occupied());
}

/// A foreign copy of what was moved away lies beside the tombstone, which is no copy of it:
/// with the last one, its mappings go, wherever the tombstone lies among them.
#[test]
fn with_the_last_copy_beside_a_tombstone_its_mappings_go() {
    for copies in 1..=3_u32 {
        for last in 0..copies {
            let [mut a, mut b, _] = peers();
            a.make(1, Frame, 0, PAGE, 2);
            peers::hand_over(&mut a, 2, &mut b, 2).expect("nobody has it");
            for number in 0..copies {
                // What comes later lies elsewhere among the copies and the tombstone.
                let record = b.export(2, 0, ExportMode::Copy).expect("it may go");
                a.import(&record, 10 + number)
                    .expect("its tombstone is here");
                b.commit(&record).expect("it has arrived");
            }
            let kept = 10 + last;
            for number in 0..3 {
                a.map(kept, 20 + number).expect("READ is there");
            }
            let others = (10..10 + copies).filter(|&at| at != kept);
            for other in others {
                a.delete(other).expect("a foreign copy");
                assert_eq!(a.mappings(), 3, "another copy is here");
            }
            a.delete(kept).expect("a foreign copy");
            assert_eq!(a.mappings(), 0, "nobody here has the frame any more");
            assert!(a.slot(2).is_tombstone());
            assert_eq!(a.retype(1, Frame, 0, PAGE, 3), Err(SysError::RangeInUse));
        }
    }
}
