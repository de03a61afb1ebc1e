//! Deletions under way: each request waits for its own, nobody's is forgotten, and
//! what blocks one doesn't block another.
//!
//! Not for Miri: whole CNodes are filled, and all of it is checked after each step, which takes it
//! hours; `capelin-cap` has no unsafe code, and the same operations run there in the other tests.
#![cfg(not(miri))]

#[path = "common/peers.rs"]
mod peers;

use capelin_abi::{ObjectType, PhysAddr, Rights, SysError};
use capelin_cap::{Capability, ExportMode, SLOTS_AT_ONCE, Search, Slot, State, Step, unpin};
use peers::{PAGE, Peer, RAM, SHELTER, at_index};

use ObjectType::{Frame, HomeRam, L2CNode, Ram};

const CNODE: u64 = 0x4000;

/// A kernel with home memory in slot 40 and Ram in 41.
fn peer() -> Peer {
    let mut peer = Peer::new(0);
    peer.boot_home(40);
    let ram = Capability::memory(Ram, PhysAddr(RAM), 1024 * PAGE, Rights::all());
    peer.create(ram, 41).expect("at boot");
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
    b.create(far, 9).expect("at boot");
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
    a.relocate(kept, inside).expect("an empty slot");
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
        a.relocate(61 + n, inside).expect("an empty slot");
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
        a.relocate(51, first).expect("an empty slot");
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
    a.pin(locked).expect("a capability");
    let inside = a.within(51, 3);
    for (src, dst) in [(51, waiting), (50, inside)] {
        a.relocate(src, dst).expect("an empty slot");
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
    let locked = a.within(50, 3);
    a.pin(locked).expect("a capability");
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
    unpin(&mut a.arena, at_index(locked)).expect("it is locked");
    a.delete(50).expect("nothing is locked");
    assert_eq!(a.all(), [40, 41]);
}

#[test]
fn what_blocks_one_member_does_not_block_the_others() {
    for blocked in 1..3 {
        let mut a = peer();
        // 50 holds 51 and 52, each behind its first slot; one of them can't go on.
        for n in 0..3_u32 {
            a.make(40, L2CNode, u64::from(n) * CNODE, 0, 50 + n);
        }
        let locked = a.within(50 + blocked, 3);
        a.copy(41, locked).expect("an empty slot");
        for n in 1..3 {
            let inside = a.within(50, n);
            a.relocate(50 + n, inside).expect("an empty slot");
        }
        a.pin(locked).expect("a capability");
        let mut errors = 0;
        for _ in 0..100 {
            errors += u32::from(a.delete_step(50).is_err());
        }
        assert!(errors > 0);
        // Only the blocked one is left.
        assert_eq!(a.all().len(), 2 + 2, "{blocked}");
        unpin(&mut a.arena, at_index(locked)).expect("it is locked");
        a.delete(50).expect("nothing is locked");
        assert_eq!(a.all(), [40, 41]);
    }
}

/// A container that a revoke began, and that can't go on, doesn't hold up what was in it.
#[test]
fn what_blocks_a_leader_does_not_block_those_that_it_leads() {
    let mut a = peer();
    a.make(40, HomeRam, 0, 8 * CNODE, 49);
    a.make(49, L2CNode, 0, 0, 50);
    for n in 1..4_u32 {
        let inside = a.within(50, n);
        a.make(40, L2CNode, u64::from(8 + n) * CNODE, 0, inside);
        let content = a.within(inside, 200);
        a.copy(41, content).expect("an empty slot");
    }
    let locked = a.within(50, 9);
    a.copy(41, locked).expect("an empty slot");
    a.pin(locked).expect("a capability");
    assert_eq!(a.revoke(49), Err(SysError::Locked));
    let errors = (0..60).filter(|_| a.drain_step().is_err()).count();
    assert!(errors > 0);
    // The CNode with the pinned one is left, and that.
    assert_eq!(a.all().len(), 3 + 2);
    unpin(&mut a.arena, at_index(locked)).expect("it is locked");
    a.revoke(49).expect("nothing is locked");
    assert_eq!(a.all(), [40, 49, 41]);
}

/// Calls that wait in a CNode that goes lose their slots, begun or over, and these are empty;
/// what they waited for goes on.
#[test]
fn slots_that_calls_wait_in_go_with_their_cnode() {
    let mut a = peer();
    a.make(40, L2CNode, 0, 0, 50);
    let waiting = [5, 6].map(|number| a.within(50, number));
    for (at, place) in waiting.into_iter().zip(1_u32..) {
        a.make(40, L2CNode, u64::from(place) * CNODE, 0, at);
        let content = a.within(at, 200);
        a.make(40, L2CNode, u64::from(place + 4) * CNODE, 0, content);
    }
    assert_eq!(a.delete_step(waiting[0]), Ok(Step::Again));
    a.drain().expect("nothing is locked");
    assert_eq!(a.delete_step(waiting[1]), Ok(Step::Again));
    let is_reserved = |a: &Peer, at: u32| {
        let slot = a.slot(at);
        !slot.is_occupied() && slot.state() == State::Dying
    };
    assert!(waiting.iter().all(|&at| is_reserved(&a, at)));
    let first = a.within(50, 0);
    a.delete(50).expect("nothing is locked");
    for at in first..first + 256 {
        assert_eq!(*a.slot(at), Slot::EMPTY, "slot {at}");
    }
    assert!(!a.list.is_empty(), "the second is under way");
    a.drain().expect("nothing is locked");
    assert_eq!(a.all(), [40, 41]);
}

/// Empty slots are passed over eight at a time: two that hold the same aren't taken for none.
#[test]
fn two_alike_are_not_taken_for_none() {
    // Up to the end of the CNode, which is that of home memory.
    for number in (9..24).chain(240..255) {
        let mut a = peer();
        a.make(40, L2CNode, 14 * CNODE, 0, 50);
        for number in [number, number + 1] {
            let inside = a.within(50, number);
            a.copy(41, inside).expect("an empty slot");
        }
        a.delete(50).expect("nothing is locked");
        assert_eq!(a.all(), [40, 41], "from {number} on");
    }
}

/// Whoever deletes a CNode from within waits in its own first slot, which goes last.
#[test]
fn from_within_all_that_goes_is_waited_for() {
    let mut a = peer();
    a.make(40, L2CNode, 0, 0, 50);
    let (own, inner) = (a.within(50, 0), a.within(50, 5));
    a.make(40, L2CNode, CNODE, 0, inner);
    for number in 100..120 {
        let inside = a.within(inner, number);
        a.copy(41, inside).expect("an empty slot");
    }
    a.relocate(50, own).expect("an empty slot");
    let mut steps = 0;
    while a.slot(own).is_occupied() {
        assert_ne!(a.delete_step(own), Err(SysError::EmptySlot));
        steps += 1;
    }
    assert!(steps > 20);
    assert!(a.list.is_empty());
    assert_eq!(a.all(), [40, 41]);
}

/// The same, while another waits for it outside.
#[test]
fn a_cnode_that_another_waits_for_is_deleted_from_within() {
    let mut a = peer();
    a.make(40, L2CNode, 0, 0, 50);
    let (own, inside) = (a.within(50, 0), a.within(50, 5));
    a.copy(41, inside).expect("an empty slot");
    assert_eq!(a.delete_step(50), Ok(Step::Again));
    assert!(a.slot(own).is_occupied() && !a.slot(50).is_occupied());
    while a.slot(own).is_occupied() {
        a.delete_step(own).expect("nothing is locked");
    }
    assert_eq!(a.delete_step(50), Ok(Step::Done));
    assert_eq!(a.all(), [40, 41]);
}

/// A dispatcher that holds nothing has no slot to go to: it goes where it is, behind its
/// endpoints.
#[test]
fn a_dispatcher_without_slots_goes_where_it_is() {
    let mut a = peer();
    a.make(40, ObjectType::Dispatcher, 0, 0, 50);
    let base = a.slot(50).address();
    for (at, number) in [(51, 3), (52, 5)] {
        let base = PhysAddr(base.0 + number);
        let endpoint = Capability::memory(ObjectType::EndpointLmp, base, 1, Rights::all());
        a.derive(50, endpoint, at).expect("an endpoint");
    }
    a.copy(51, 53).expect("an empty slot");
    assert_eq!(a.delete_step(50), Ok(Step::Again));
    assert_eq!(a.slot(50).state(), State::Dying);
    a.delete(50).expect("nothing is locked");
    assert!(a.list.is_empty());
    assert_eq!(a.all(), [40, 41]);
}

#[test]
fn a_root_in_its_own_descendant_is_refused() {
    let mut a = peer();
    a.make(40, L2CNode, 0, 0, 50);
    let inside = a.within(50, 3);
    a.relocate(40, inside).expect("an empty slot");
    let before = a.all();
    assert_eq!(a.revoke(inside), Err(SysError::InsideItself));
    assert_eq!(a.all(), before);
    // From outside, it works: the one inside goes like every copy.
    a.copy(inside, 40).expect("an empty slot");
    assert_eq!(a.revoke(inside), Err(SysError::InsideItself));
    a.revoke(40).expect("nothing is elsewhere");
    assert_eq!(a.all(), [40, 41]);
}

/// The slot right behind the memory that a root names, or before it, isn't in it.
#[test]
fn a_root_beside_its_memory_is_revoked() {
    let mut a = peer();
    a.make(40, L2CNode, 0, 0, 50);
    a.make(40, HomeRam, CNODE, CNODE, 52);
    a.make(40, L2CNode, 2 * CNODE, 0, 51);
    for (cnode, number) in [(51, 0), (50, 255)] {
        let beside = a.within(cnode, number);
        a.relocate(52, beside).expect("an empty slot");
        a.make(beside, L2CNode, 0, 0, 53);
        let inside = a.within(53, 0);
        a.copy(beside, inside).expect("an empty slot");
        assert_eq!(a.revoke(inside), Err(SysError::InsideItself));
        assert_eq!(a.revoke(beside), Ok(()));
        a.drain().expect("nothing is locked");
        assert!(a.slot(53).is_empty());
        a.relocate(beside, 52).expect("an empty slot");
    }
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
        a.relocate(from, to).expect("an empty slot");
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
    b.create(far, 9).expect("at boot");
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

/// What is in the last slot of the shelter is found by and by, and nothing beyond that.
#[test]
fn the_shelter_is_searched_in_steps() {
    let mut a = peer();
    let last = SHELTER.end - 1;
    let id = Capability::plain(ObjectType::Id, 77, Rights::all());
    a.create(id, last).expect("empty");
    let slots = SHELTER.end - SHELTER.start;
    let mut from = 0;
    for next in (SLOTS_AT_ONCE..slots).step_by(SLOTS_AT_ONCE as usize) {
        assert_eq!(a.take_orphan_from(from, 60), Ok(Search::From(next)));
        from = next;
    }
    assert_eq!(a.take_orphan_from(from, 60), Ok(Search::Taken));
    assert_eq!(a.slot(60).kind(), ObjectType::Id);
    for beyond in [from, slots, u32::MAX] {
        assert_eq!(a.take_orphan_from(beyond, 61), Err(SysError::EmptySlot));
    }
}
