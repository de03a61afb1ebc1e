//! Revokes that others in whose range they lay have answered: what this kernel's own ones may
//! do when memory has a new owner, and what a part may keep.

use capelin_abi::capability::CNODE_BYTES;
use capelin_abi::syscall::Invocation;
use capelin_abi::{CapAddress, CapRef, ObjectType, OperationId, PAGE_SIZE, Rights, SysError};
use capelin_cap::{LOCAL_REVOKES, SlotStore};

use crate::between::{
    COPY, HAND_OVER, commit, copy, delete, export, give, is_empty, join, kernel, kernels, make,
    mark, sweep, unmark,
};
use crate::world::{Left, World, cap, slot};

/// RAM of kernel 0, and a page of it that is a frame.
const RAM: u8 = 200;
const FRAME: u8 = 201;
/// The page as RAM, on its way to kernel 1, and what that makes of it.
const PAGE: u8 = 202;
const THEIRS: u8 = 211;
const THEIR_FRAME: u8 = 212;

const GONE: Result<(), SysError> = Err(SysError::NoSuchOperation);
const DONE: Result<[u64; 2], SysError> = Ok([0, 0]);

fn ram_with_frame(world: &mut World) {
    make(world, slot::RAM, ObjectType::Ram, 0, 4, RAM).expect("free memory");
    make(world, RAM, ObjectType::Frame, 0, 1, FRAME).expect("free memory");
}

/// A whole revoke by kernel `a` of the RAM, in which `b` has a part.
fn revoke_ram(a: &mut World, b: &mut World) -> OperationId {
    let outer = mark(a, RAM).expect("it is ours");
    join(b, outer).expect("it is shown");
    assert_eq!(commit(a, outer), DONE);
    assert_eq!(sweep(a, outer, RAM), Ok(()));
    assert_eq!(sweep(b, outer, 0), Ok(()));
    outer
}

/// The page goes to kernel 1, which makes a frame of it.
fn give_page(a: &mut World, b: &mut World) {
    make(a, RAM, ObjectType::Ram, 0, 1, PAGE).expect("free memory");
    give(a, PAGE, b, THEIRS, 0);
    make(b, THEIRS, ObjectType::Frame, 0, 1, THEIR_FRAME).expect("kernel 1 owns it");
}

/// The revoke `inner` does nothing any more, whoever asks for a step of it, and ends.
fn is_over(a: &mut World, b: &mut World, inner: OperationId) {
    assert_eq!(join(b, inner), GONE);
    assert_eq!(commit(a, inner), DONE);
    assert_eq!(sweep(b, inner, 0), GONE);
    assert_eq!(sweep(a, inner, 0), Ok(()));
    assert!(!is_empty(b, THEIR_FRAME), "kernel 1's own frame");
    assert_eq!(unmark(a, inner, 0), DONE);
    assert_eq!(unmark(a, inner, 0), Err(SysError::NoSuchOperation));
    assert!(!is_empty(b, THEIR_FRAME), "kernel 1's own frame");
}

#[test]
fn an_answered_revoke_is_over_when_the_memory_is_anothers() {
    let ([mut a, mut b, _c], _) = kernels(2);
    ram_with_frame(&mut a);
    let inner = mark(&mut a, FRAME).expect("it is ours");
    let outer = revoke_ram(&mut a, &mut b);
    assert_eq!(unmark(&mut a, outer, RAM), DONE);
    assert_eq!(unmark(&mut b, outer, 0), DONE);
    give_page(&mut a, &mut b);
    is_over(&mut a, &mut b, inner);
}

/// It was committed before: kernel 1 had marked it.
#[test]
fn an_answered_revoke_that_was_committed_is_over_too() {
    let ([mut a, mut b, _c], _) = kernels(2);
    ram_with_frame(&mut a);
    let inner = mark(&mut a, FRAME).expect("it is ours");
    join(&mut b, inner).expect("it is shown");
    assert_eq!(commit(&mut a, inner), DONE);
    let outer = revoke_ram(&mut a, &mut b);
    assert_eq!(unmark(&mut a, outer, RAM), DONE);
    assert_eq!(unmark(&mut b, outer, 0), DONE);
    give_page(&mut a, &mut b);
    // Its part in it is left to be ended.
    assert_eq!(sweep(&mut b, inner, 0), GONE);
    assert_eq!(unmark(&mut b, inner, 0), DONE);
    is_over(&mut a, &mut b, inner);
}

/// A revoke that lies in another's is answered when that is complete on all kernels, and not
/// before: but nobody joins it once its range is swept.
#[test]
fn nobody_joins_what_another_revoke_has_swept() {
    let ([mut a, mut b, _c], _) = kernels(2);
    ram_with_frame(&mut a);
    let inner = mark(&mut a, FRAME).expect("it is ours");
    let outer = mark(&mut a, RAM).expect("it is ours");
    join(&mut b, outer).expect("it is shown");
    assert_eq!(commit(&mut a, outer), DONE);
    assert_eq!(join(&mut b, inner), Err(SysError::Dying), "within");
    assert_eq!(sweep(&mut a, outer, RAM), Ok(()));
    assert_eq!(join(&mut b, inner), GONE);
    for _ in 0..2 {
        assert_eq!(commit(&mut a, inner), Err(SysError::Dying));
        assert_eq!(sweep(&mut a, inner, 0), Err(SysError::Locked));
    }
    assert_eq!(sweep(&mut b, outer, 0), Ok(()));
    assert_eq!(unmark(&mut a, outer, RAM), DONE);
    assert_eq!(commit(&mut a, inner), DONE);
    assert_eq!(unmark(&mut a, inner, 0), DONE);
}

/// The one that is swept already isn't over before that around it is: kernel 1 may have some of
/// it left.
#[test]
fn what_is_swept_within_another_revoke_waits_for_that() {
    let ([mut a, mut b, _c], _) = kernels(2);
    ram_with_frame(&mut a);
    give(&mut a, FRAME, &mut b, THEIRS, COPY);
    let inner = mark(&mut a, FRAME).expect("it is ours");
    join(&mut b, inner).expect("it is shown");
    assert_eq!(commit(&mut a, inner), DONE);
    assert_eq!(sweep(&mut a, inner, FRAME), Ok(()));
    let outer = mark(&mut a, RAM).expect("it is ours");
    join(&mut b, outer).expect("it is shown");
    assert_eq!(sweep(&mut b, inner, 0), Err(SysError::Dying));
    assert_eq!(unmark(&mut a, inner, FRAME), Err(SysError::Dying));
    assert_eq!(commit(&mut a, outer), DONE);
    assert_eq!(sweep(&mut a, outer, RAM), Ok(()));
    assert_eq!(unmark(&mut a, inner, 0), Err(SysError::Dying));
    assert!(!is_empty(&b, THEIRS), "not swept yet");
    assert_eq!(sweep(&mut b, outer, 0), Ok(()));
    assert!(is_empty(&b, THEIRS));
    assert_eq!(unmark(&mut a, outer, RAM), DONE);
    assert_eq!(unmark(&mut a, inner, 0), DONE);
}

/// A local revoke that takes more than one entry takes it over, too.
#[test]
fn a_revoke_that_a_local_one_has_answered_is_over() {
    let ([mut a, mut b, _c], _) = kernels(2);
    ram_with_frame(&mut a);
    for at in 100..140 {
        copy(&mut a, FRAME, at).expect("an empty slot");
    }
    let inner = mark(&mut a, FRAME).expect("it is ours");
    let revoked = a.invoke(slot::L1CNODE, Invocation::Revoke, &[cap(RAM).to_word()]);
    assert_eq!(revoked.map(drop), Ok(()));
    give_page(&mut a, &mut b);
    is_over(&mut a, &mut b, inner);
}

/// What is revoked goes with the CNode that it lies in: nothing is left to revoke, but the mark
/// stands, and what is around it goes to nobody before that is taken away.
#[test]
fn what_has_a_mark_in_it_stays() {
    const L1: u32 = 5;
    let all = u64::from(Rights::all().bits());
    let (cnode, inside) = (CapRef::l1(L1), CapRef::l2(CapAddress::new(L1, 7)));
    let retype = |from: u8, kind: ObjectType, offset: u64, bytes: u64, to: CapRef| {
        let arguments = [
            to.to_word(),
            cap(from).to_word(),
            kind as u64,
            offset,
            bytes,
            1,
        ];
        (Invocation::Retype, arguments)
    };
    let part = [inside.to_word(), cap(RAM).to_word(), all, 0, PAGE_SIZE, 0];
    for (kind, how, made) in [
        (
            ObjectType::Ram,
            0,
            retype(RAM, ObjectType::Frame, 0, PAGE_SIZE, inside),
        ),
        (ObjectType::Frame, 0, (Invocation::Mint, part)),
        (ObjectType::Frame, HAND_OVER, (Invocation::Mint, part)),
    ] {
        let ([mut a, mut b, _c], _) = kernels(2);
        make(&mut a, slot::RAM, kind, 0, 4, RAM).expect("free memory");
        let cnode_made = retype(
            slot::HOME,
            ObjectType::L2CNode,
            0x4_0000,
            CNODE_BYTES,
            cnode,
        );
        for (what, arguments) in [cnode_made, made] {
            let made = a.invoke(slot::L1CNODE, what, &arguments);
            made.expect("free memory");
        }
        let inner = kernel(&mut a, Invocation::MarkRange, &[inside.to_word()]);
        let inner = OperationId(inner.expect("it is ours")[0]);
        a.invoke(slot::L1CNODE, Invocation::Delete, &[cnode.to_word()])
            .expect("it dies with what is in it");
        assert_eq!(
            export(&mut a, RAM, 1, how),
            Err(SysError::Dying),
            "{kind:?}"
        );
        assert_eq!(unmark(&mut a, inner, 0), DONE);
        export(&mut a, RAM, 1, how).expect("nothing is in the way");
        assert_eq!(join(&mut b, inner), GONE);
    }
}

/// A kernel that has a part in another's revoke keeps nothing, whatever its monitor says.
#[test]
fn a_part_keeps_nothing() {
    let ([mut a, mut b, _c], _) = kernels(2);
    make(&mut a, slot::RAM, ObjectType::Frame, 0, 1, FRAME).expect("free memory");
    give(&mut a, FRAME, &mut b, THEIRS, COPY);
    let id = mark(&mut a, FRAME).expect("it is ours");
    join(&mut b, id).expect("it is shown");
    assert_eq!(commit(&mut a, id), DONE);
    assert_eq!(sweep(&mut a, id, FRAME), Ok(()));
    assert_eq!(sweep(&mut b, id, THEIRS), Ok(()));
    assert!(is_empty(&b, THEIRS));
    assert_eq!(unmark(&mut a, id, FRAME), DONE);
    assert_eq!(unmark(&mut b, id, 0), DONE);
}

/// Three unfinished revokes on kernel 1, of memory that came from kernel 0, whose monitor marks
/// all of it and never goes on: what others revoke on kernel 1 is none of its business.
#[test]
fn another_kernels_mark_keeps_no_place_of_local_revokes() {
    let ([mut a, mut b, _c], _) = kernels(2);
    make(&mut a, slot::RAM, ObjectType::Ram, 0, 8, RAM).expect("free memory");
    make(&mut a, RAM, ObjectType::Ram, 0, 4, PAGE).expect("free memory");
    give(&mut a, PAGE, &mut b, THEIRS, 0);
    const { assert!(LOCAL_REVOKES == 3) };
    for number in 0..3 {
        let (revoked, copies) = (THEIR_FRAME + number, 100 + 30 * number);
        make(&mut b, THEIRS, ObjectType::Ram, number.into(), 1, revoked).expect("its own");
        for at in copies..copies + 30 {
            copy(&mut b, revoked, at).expect("an empty slot");
        }
        let revoked = [cap(revoked).to_word()];
        let left = b.invoke_once(slot::L1CNODE, Invocation::Revoke, &revoked);
        assert_eq!(left, Left::Restart, "it takes longer");
    }
    let outer = mark(&mut a, RAM).expect("it is ours");
    join(&mut b, outer).expect("it is shown");
    make(&mut b, slot::RAM, ObjectType::Ram, 0, 1, 220).expect("free memory");
    copy(&mut b, 220, 221).expect("an empty slot");
    let revoke = |b: &mut World, at: u8| {
        let revoked = b.invoke(slot::L1CNODE, Invocation::Revoke, &[cap(at).to_word()]);
        revoked.map(drop)
    };
    assert_eq!(revoke(&mut b, 220), Ok(()));
    assert!(is_empty(&b, 221));
    // Whoever comes back is told that a revoke of others is under way, and by that alone.
    assert_eq!(revoke(&mut b, THEIR_FRAME), Err(SysError::Dying));
    assert_eq!(unmark(&mut a, outer, 0), DONE);
    assert_eq!(unmark(&mut b, outer, 0), DONE);
    assert_eq!(revoke(&mut b, THEIR_FRAME), Ok(()));
    assert!((100..130).all(|at| is_empty(&b, at)));
}

/// A Notify that is deleted while kernel 1 has a copy, and made again for the same bit, is the
/// object that kernel 1 has a copy of.
#[test]
fn a_notify_that_is_made_again_has_its_copies_elsewhere() {
    const NOTIFY: u8 = 220;
    let ([mut a, mut b, _c], _) = kernels(2);
    let make_notify = |a: &mut World, bit: u64| {
        let arguments = [bit, cap(NOTIFY).to_word()];
        let made = a.invoke(slot::DISPATCHER, Invocation::MakeNotify, &arguments);
        made.expect("an empty slot");
    };
    let revoke = |a: &mut World| {
        let revoked = a.invoke(slot::L1CNODE, Invocation::Revoke, &[cap(NOTIFY).to_word()]);
        revoked.map(drop)
    };
    make_notify(&mut a, 3);
    assert_eq!(revoke(&mut a), Ok(()));
    // As when one has arrived (a dispatcher's address here is in no kernel's home).
    let at = a.index(NOTIFY);
    let noted = a.core.caps().set_remote_copies(at, true);
    noted.expect("it is ours");
    assert_eq!(revoke(&mut a), Err(SysError::ThroughMonitor));
    for _ in 0..2 {
        delete(&mut a, NOTIFY).expect("nothing is in the way");
        make_notify(&mut a, 3);
        assert_eq!(revoke(&mut a), Err(SysError::ThroughMonitor));
    }
    delete(&mut a, NOTIFY).expect("nothing is in the way");
    make_notify(&mut a, 4);
    assert_eq!(revoke(&mut a), Ok(()), "another bit");
    delete(&mut a, NOTIFY).expect("nothing is in the way");
    make_notify(&mut a, 3);
    let id = mark(&mut a, NOTIFY).expect("it is ours");
    join(&mut b, id).expect("it is shown");
    assert_eq!(commit(&mut a, id), DONE);
    assert_eq!(sweep(&mut a, id, NOTIFY), Ok(()));
    assert_eq!(sweep(&mut b, id, 0), Ok(()));
    assert_eq!(unmark(&mut a, id, NOTIFY), DONE);
    assert_eq!(revoke(&mut a), Ok(()), "nothing is elsewhere any more");
}

/// What another kernel's record said beside the range is no progress of StartCore here.
#[test]
fn a_sealed_image_has_not_been_checked() {
    let ([mut a, mut b, _c], _) = kernels(2);
    make(&mut a, slot::RAM, ObjectType::Frame, 0, 4, RAM).expect("free memory");
    let at = a.index(RAM);
    a.core.slots.slot_mut(at).set_data([1 << 40, 2]);
    give(&mut a, RAM, &mut b, THEIRS, 0);
    b.invoke(slot::KERNEL, Invocation::Seal, &[cap(THEIRS).to_word()])
        .expect("nobody else has it");
    let sealed = b.core.slots.slot(b.index(THEIRS));
    assert_eq!(sealed.kind(), ObjectType::CoreImage);
    assert_eq!(sealed.data(), [0, 0], "bytes that have been checked");
}
