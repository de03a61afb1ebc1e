//! Deletions under way: each request waits for its own, nobody's is forgotten, and
//! what blocks one doesn't block another.
//!
//! Not for Miri: whole CNodes are filled, and all of it is checked after each step, which takes it
//! hours; `capelin-cap` has no unsafe code, and the same operations run there in the other tests.
#![cfg(not(miri))]

#[path = "common/peers.rs"]
mod peers;

use capelin_abi::{ObjectType, PhysAddr, Rights, SysError};
use capelin_cap::{Capability, ExportMode, State, Step, create, pin, relocate, unpin};
use peers::{PAGE, Peer, RAM, at_index};

use ObjectType::{Frame, HomeRam, L2CNode, Ram};

const CNODE: u64 = 0x4000;

/// A kernel with home memory in slot 40 and Ram in 41.
fn peer() -> Peer {
    let mut peer = Peer::new(0);
    peer.boot_home(40);
    let ram = Capability::memory(Ram, PhysAddr(RAM), 1024 * PAGE, Rights::all());
    create(&mut peer.arena, &mut peer.mdb, ram, at_index(41)).expect("at boot");
    peer
}

fn steps(peer: &mut Peer, at: u32) -> usize {
    let done = (1..10_000).find(|_| peer.delete_step(at) == Ok(Step::Done));
    done.expect("it ends")
}

/// The first case of the issue: memory from another kernel lies in a CNode that goes.
#[test]
fn an_orphan_blocks_nobody() {
    let (mut a, mut b) = (peer(), Peer::new(1));
    let far = Capability::memory(Ram, PhysAddr(RAM << 1), 16 * PAGE, Rights::all());
    create(&mut b.arena, &mut b.mdb, far, at_index(9)).expect("at boot");
    a.make(40, L2CNode, 0, 0, 50);
    let inside = a.within(50, 5);
    peers::hand_over(&mut b, 9, &mut a, inside).expect("nobody has it");
    a.delete(50).expect("the shelter takes the memory");
    let kept = a.find_last();
    assert_eq!(a.slot(kept).base(), RAM << 1);
    a.make(40, L2CNode, 0, 0, 50);
    a.delete(50).expect("an empty CNode");
    // With every slot of the shelter in use, the one deletion waits, and only that.
    a.fill_shelter(5);
    a.make(40, L2CNode, 0, 0, 50);
    let inside = a.within(50, 5);
    let (arena, mdb) = (&mut a.arena, &mut a.mdb);
    relocate(arena, mdb, at_index(kept), at_index(inside), Rights::all()).expect("an empty slot");
    a.fill_shelter(0);
    assert_eq!(a.delete(50), Err(SysError::NoResources));
    for n in 1..4 {
        a.make(40, L2CNode, n * CNODE, 0, 51);
        assert_eq!(a.delete(51), Ok(()));
        assert!(a.slot(51).is_empty());
    }
    a.empty_shelter();
    assert_eq!(a.delete(50), Ok(()));
}

/// How long an empty CNode takes doesn't depend on what else is being deleted.
#[test]
fn a_request_waits_for_its_own() {
    let mut alone = peer();
    alone.make(40, L2CNode, 0, 0, 50);
    let own = steps(&mut alone, 50);
    let mut a = peer();
    // A chain of full CNodes, each in another.
    for n in 0..10 {
        a.make(
            40,
            L2CNode,
            n * CNODE,
            0,
            60 + u32::try_from(n).expect("small"),
        );
    }
    for n in 0..9 {
        for number in 1..256 {
            let inside = a.within(60 + n, number);
            a.copy(41, inside).expect("an empty slot");
        }
    }
    for n in (0..8).rev() {
        let inside = a.within(60 + n, 0);
        let (arena, mdb) = (&mut a.arena, &mut a.mdb);
        relocate(
            arena,
            mdb,
            at_index(61 + n),
            at_index(inside),
            Rights::all(),
        )
        .expect("an empty slot");
    }
    for _ in 0..3 {
        assert_eq!(a.delete_step(60), Ok(Step::Again));
    }
    assert_eq!(steps(&mut a, 69), own);
    // And what was begun is over only when all of it is gone.
    a.delete(60).expect("nothing is locked");
    assert_eq!(a.all(), [40, 41]);
}

/// A caller that never comes back: whoever has time ends it, and the slot can be used.
#[test]
fn what_nobody_continues_is_drained() {
    let mut a = peer();
    for stop_after in 1..20 {
        a.make(40, L2CNode, 0, 0, 50);
        a.make(40, L2CNode, CNODE, 0, 51);
        // A table's worth of steps, and a CNode in the first slot.
        let (first, second) = (a.within(50, 0), a.within(50, 7));
        let (arena, mdb) = (&mut a.arena, &mut a.mdb);
        relocate(arena, mdb, at_index(51), at_index(first), Rights::all()).expect("an empty slot");
        a.copy(41, second).expect("an empty slot");
        let mut is_over = false;
        for _ in 0..stop_after {
            is_over = is_over || a.delete_step(50) == Ok(Step::Done);
        }
        a.drain().expect("nothing is locked");
        assert!(a.list.is_empty());
        assert_eq!(a.all(), [40, 41], "after {stop_after}");
        assert_eq!(a.slot(50).is_empty(), is_over);
        if !is_over {
            // The answer waits for who asked.
            assert_eq!(a.slot(50).state(), State::Dying);
            assert_eq!(a.copy(41, 50), Err(SysError::SlotInUse));
            assert_eq!(a.delete_step(50), Ok(Step::Done));
        }
        assert_eq!(a.delete_step(50), Err(SysError::EmptySlot));
    }
}

/// A revocation that stops because its capability is gone leaves nothing half dead.
#[test]
fn a_revoke_that_vanishes_is_drained() {
    for stop_after in 1..12 {
        let mut a = peer();
        a.make(40, HomeRam, 0, 4 * CNODE, 50);
        a.make(50, L2CNode, 0, 0, 51);
        a.make(50, L2CNode, CNODE, 0, 52);
        // The first goes only after what lies in its first slot.
        let inside = a.within(51, 0);
        a.make(40, L2CNode, 8 * CNODE, 0, inside);
        for number in 1..200 {
            let inside = a.within(51, number);
            a.copy(41, inside).expect("an empty slot");
        }
        for _ in 0..stop_after {
            assert_eq!(a.revoke_step(50), Ok(Step::Again));
        }
        a.delete(50).expect("its memory is its ancestor's");
        a.drain().expect("nothing is locked");
        let is_dying = |at: &u32| a.slot(*at).state() == State::Dying;
        assert!(!a.all().iter().any(is_dying), "after {stop_after}");
        a.revoke(40).expect("nothing is elsewhere");
        a.drain().expect("nothing is locked");
        assert_eq!(a.all(), [40, 41]);
    }
}

/// Two CNodes, each in the other. The call that waits in a slot of the first loses it
/// to the very step that then finds something locked.
#[test]
fn a_call_may_wait_in_what_goes() {
    let mut a = peer();
    a.make(40, L2CNode, 0, 0, 50);
    a.make(40, L2CNode, CNODE, 0, 51);
    let (waiting, locked) = (a.within(50, 5), a.within(50, 9));
    a.copy(41, locked).expect("an empty slot");
    pin(&mut a.arena, &a.mdb, at_index(locked)).expect("a capability");
    let inside = a.within(51, 3);
    for (src, dst) in [(51, waiting), (50, inside)] {
        let (arena, mdb) = (&mut a.arena, &mut a.mdb);
        relocate(arena, mdb, at_index(src), at_index(dst), Rights::all()).expect("an empty slot");
    }
    let results: Vec<_> = (0..20).map(|_| a.delete_step(waiting)).collect();
    let refused = results.iter().position(|&result| result != Ok(Step::Again));
    let refused = refused.expect("it lies behind what is locked");
    assert_eq!(results[refused], Err(SysError::Locked));
    assert_eq!(results[refused + 1], Err(SysError::EmptySlot));
    a.assert_sound();
    unpin(&mut a.arena, at_index(locked)).expect("it is locked");
    a.drain().expect("nothing is locked");
    assert_eq!(a.all(), [40, 41]);
}

#[test]
fn requests_take_turns_when_one_is_blocked() {
    let mut a = peer();
    for n in 0..3_u32 {
        a.make(40, L2CNode, u64::from(n) * CNODE, 0, 50 + n);
        let inside = a.within(50 + n, 3);
        a.copy(41, inside).expect("an empty slot");
    }
    let locked = at_index(a.within(50, 3));
    pin(&mut a.arena, &a.mdb, locked).expect("a capability");
    for at in 50..53 {
        assert_eq!(a.delete_step(at), Ok(Step::Again));
    }
    let results: Vec<_> = (0..60).map(|_| a.drain_step()).collect();
    assert!(results.contains(&Err(SysError::Locked)));
    assert_eq!(
        a.drain_step(),
        Err(SysError::Locked),
        "nothing else is left"
    );
    assert_eq!(a.delete_step(51), Ok(Step::Done));
    assert_eq!(a.delete_step(52), Ok(Step::Done));
    unpin(&mut a.arena, locked).expect("it is locked");
    a.delete(50).expect("nothing is locked");
    assert_eq!(a.all(), [40, 41]);
}

#[test]
fn what_blocks_one_member_does_not_block_the_others() {
    let mut a = peer();
    // 50 holds 51 and 52, each behind its first slot; 51 can't go on.
    for n in 0..3_u32 {
        a.make(40, L2CNode, u64::from(n) * CNODE, 0, 50 + n);
    }
    let locked = a.within(51, 3);
    a.copy(41, locked).expect("an empty slot");
    for n in 1..3 {
        let inside = a.within(50, n);
        let (arena, mdb) = (&mut a.arena, &mut a.mdb);
        relocate(
            arena,
            mdb,
            at_index(50 + n),
            at_index(inside),
            Rights::all(),
        )
        .expect("an empty slot");
    }
    pin(&mut a.arena, &a.mdb, at_index(locked)).expect("a capability");
    let mut errors = 0;
    for _ in 0..100 {
        errors += u32::from(a.delete_step(50).is_err());
    }
    assert!(errors > 0);
    // Only the blocked one is left.
    assert_eq!(a.all().len(), 2 + 2);
    unpin(&mut a.arena, at_index(locked)).expect("it is locked");
    a.delete(50).expect("nothing is locked");
    assert_eq!(a.all(), [40, 41]);
}

#[test]
fn a_root_in_its_own_descendant_is_refused() {
    let mut a = peer();
    a.make(40, L2CNode, 0, 0, 50);
    let inside = a.within(50, 3);
    let (arena, mdb) = (&mut a.arena, &mut a.mdb);
    relocate(arena, mdb, at_index(40), at_index(inside), Rights::all()).expect("an empty slot");
    let before = a.all();
    assert_eq!(a.revoke(inside), Err(SysError::InsideItself));
    assert_eq!(a.all(), before);
    // From outside, it works: the one inside goes like every copy.
    a.copy(inside, 40).expect("an empty slot");
    assert_eq!(a.revoke(inside), Err(SysError::InsideItself));
    a.revoke(40).expect("nothing is elsewhere");
    assert_eq!(a.all(), [40, 41]);
}

/// The root goes with a CNode that is held only in what it clears: it isn't lost.
#[test]
fn a_root_that_goes_along_is_kept() {
    let mut a = peer();
    a.make(40, HomeRam, 0, 8 * CNODE, 49);
    a.make(40, L2CNode, 9 * CNODE, 0, 51);
    a.make(49, L2CNode, 0, 0, 50);
    let (inner, outer) = (a.within(51, 3), a.within(50, 3));
    for (from, to) in [(49, inner), (51, outer)] {
        let (arena, mdb) = (&mut a.arena, &mut a.mdb);
        relocate(arena, mdb, at_index(from), at_index(to), Rights::all()).expect("an empty slot");
    }
    // It has an ancestor, so it simply goes; and everything else with it.
    let over = a.revoke(inner);
    assert!(over == Ok(()) || over == Err(SysError::EmptySlot));
    a.drain().expect("nothing is locked");
    assert_eq!(a.all(), [40, 41]);
}

#[test]
fn a_transfer_ends_where_the_cnode_went() {
    let mut a = peer();
    a.make(41, Frame, 0, PAGE, 45);
    let record = a.export(45, 1, ExportMode::Move).expect("it may go");
    assert_eq!(a.delete(45), Err(SysError::Locked));
    a.commit(&record).expect("it is under way");
    assert!(a.slot(45).is_tombstone());
    assert_eq!(a.delete(45), Err(SysError::Foreign));
}

/// What is in the shelter can be taken out, one by one, but for what only claims its
/// range there.
#[test]
fn what_was_sheltered_is_taken_out() {
    let (mut a, mut b) = (peer(), Peer::new(1));
    let far = Capability::memory(Ram, PhysAddr(RAM << 1), 16 * PAGE, Rights::all());
    create(&mut b.arena, &mut b.mdb, far, at_index(9)).expect("at boot");
    assert_eq!(a.take_orphan(60), Err(SysError::EmptySlot));
    assert_eq!(a.take_orphan(40), Err(SysError::SlotInUse));
    a.make(40, L2CNode, 0, 0, 50);
    let inside = [3, 5].map(|number| a.within(50, number));
    // Memory of another kernel's, and a tombstone.
    a.make(41, Frame, 0, PAGE, inside[0]);
    peers::hand_over(&mut a, inside[0], &mut b, 10).expect("nobody has it");
    peers::hand_over(&mut b, 9, &mut a, inside[1]).expect("nobody has it");
    let rights = a.slot(inside[1]).rights();
    a.delete(50).expect("the shelter takes both");
    assert_eq!(a.take_orphan(40), Err(SysError::SlotInUse));
    assert_eq!(a.take_orphan(0), Err(SysError::NoSuchSlot));
    assert_eq!(a.take_orphan(60), Ok(()));
    a.assert_sound();
    let taken = a.slot(60);
    assert_eq!(
        (taken.kind(), taken.base(), taken.rights()),
        (Ram, RAM << 1, rights)
    );
    // It is used as ever, and its slot in the shelter is free again.
    a.make(60, Frame, 0, PAGE, 61);
    assert_eq!(a.take_orphan(62), Err(SysError::EmptySlot));
    let left = a.all().into_iter().filter(|&at| a.slot(at).is_tombstone());
    assert_eq!(left.count(), 1);
    peers::hand_over(&mut b, 10, &mut a, 62).expect("it comes home");
    assert_eq!(a.take_orphan(63), Err(SysError::EmptySlot));
}
