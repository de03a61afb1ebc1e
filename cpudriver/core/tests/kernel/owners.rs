//! What comes home, is claimed or is handed over: who owns memory is proven by another
//! kernel's record, never said by a monitor.

use capelin_abi::syscall::Invocation;
use capelin_abi::{KernelId, ObjectType, SysError, Ticket};
use capelin_cap::{SlotFlags, SlotStore};
use capelin_peers::{Offer, Taker};

use crate::between::{
    CLAIM, COPY, HAND_OVER, copy, delete, export, give, import, is_empty, is_tombstone, kernel,
    kernels, make, owner, settle,
};
use crate::world::{World, cap, slot};

#[test]
fn memory_that_comes_home_is_its_ancestors() {
    let ([mut a, mut b, _c], _) = kernels(3);
    make(&mut a, slot::RAM, ObjectType::Ram, 0, 2, 200).expect("free memory");
    give(&mut a, 200, &mut b, 210, 0);
    let reclaim =
        |world: &mut World, ticket: u64| kernel(world, Invocation::Reclaim, &[ticket]).map(drop);
    // A copy isn't given up, nor what is on its way to another, or never was here.
    make(&mut b, slot::RAM, ObjectType::Frame, 5, 1, 211).expect("free memory");
    let copied = export(&mut b, 211, 0, COPY).expect("offered");
    assert_eq!(reclaim(&mut a, copied), Err(SysError::WrongType));
    make(&mut b, slot::RAM, ObjectType::Ram, 6, 1, 212).expect("free memory");
    let strange = export(&mut b, 212, 0, 0).expect("offered");
    assert_eq!(reclaim(&mut a, strange), Err(SysError::EmptySlot));
    assert_eq!(settle(&mut b, strange), Ok(2), "it stands");
    let elsewhere = export(&mut b, 210, 2, 0).expect("offered");
    assert_eq!(reclaim(&mut a, elsewhere), Err(SysError::NoSuchTransfer));
    settle(&mut b, elsewhere).expect("it is withdrawn");
    assert!(is_tombstone(&a, 200));
    let home = export(&mut b, 210, 0, 0).expect("offered");
    assert_eq!(reclaim(&mut a, home), Ok(()));
    assert_eq!(reclaim(&mut a, home), Err(SysError::NoSuchTransfer));
    assert!(is_empty(&a, 200));
    assert_eq!(settle(&mut b, home), Ok(1), "taken");
    assert!(is_empty(&b, 210));
    assert_eq!(
        make(&mut a, slot::RAM, ObjectType::Frame, 0, 2, 201),
        Ok(())
    );
}

#[test]
fn a_tombstone_names_who_says_that_he_has_it() {
    let ([mut a, mut b, mut c], _) = kernels(3);
    make(&mut a, slot::RAM, ObjectType::Frame, 0, 1, 200).expect("free memory");
    give(&mut a, 200, &mut b, 210, 0);
    let claimed = export(&mut b, 210, 0, CLAIM).expect("it is its");
    let set =
        |world: &mut World, ticket: u64| kernel(world, Invocation::SetOwner, &[ticket]).map(drop);
    assert_eq!(import(&mut a, claimed, 201), Err(SysError::InvalidArgument));
    settle(&mut b, claimed).expect("it is withdrawn");
    assert_eq!(set(&mut a, claimed), Err(SysError::NoSuchTransfer));
    give(&mut b, 210, &mut c, 210, 0);
    assert_eq!(export(&mut b, 210, 0, CLAIM), Err(SysError::EmptySlot));
    assert_eq!(owner(&a, 200), 1);
    let claimed = export(&mut c, 210, 0, CLAIM).expect("it is its");
    assert_eq!(set(&mut a, claimed), Ok(()));
    assert_eq!(set(&mut a, claimed), Err(SysError::NoSuchTransfer));
    assert_eq!((owner(&a, 200), is_tombstone(&a, 200)), (2, true));
    // It is still there, and usable.
    assert_eq!(copy(&mut c, 210, 211), Ok(()));
    give(&mut c, 210, &mut b, 220, COPY);
    assert_eq!(export(&mut b, 220, 0, CLAIM), Err(SysError::Foreign));
    // What wasn't moved away from there, and what claims nothing.
    let strange = export(&mut c, 210, 1, CLAIM).expect("it is its");
    assert_eq!(set(&mut b, strange), Err(SysError::EmptySlot));
    let copied = export(&mut c, 210, 0, COPY).expect("offered");
    assert_eq!(set(&mut a, copied), Err(SysError::WrongType));
    // A kernel that lies speaks for itself only.
    let outbox = &c.core.machine.shared.outbox;
    let ticket = Ticket::from_word(export(&mut c, 210, 0, CLAIM).expect("it is its"));
    let sound = outbox
        .look(KernelId(0), ticket.expect("a ticket"))
        .expect("offered");
    let mut record = sound.record;
    record[0] ^= (2 ^ 1) << 32;
    let lie = Offer {
        record,
        to: KernelId(0),
        taker: Taker::Any,
    };
    let lie = outbox.offer(KernelId(2), &lie).expect("room");
    assert_eq!(set(&mut a, lie.to_word()), Err(SysError::InvalidArgument));
    assert_eq!(owner(&a, 200), 2);
}

/// The last owned copy goes, and the object to a kernel that has one, too.
#[test]
fn what_is_handed_over_is_owned_once() {
    let ([mut a, mut b, mut c], _) = kernels(3);
    make(&mut a, slot::RAM, ObjectType::Frame, 0, 1, 200).expect("free memory");
    give(&mut a, 200, &mut b, 210, COPY);
    give(&mut a, 200, &mut c, 210, COPY);
    assert_eq!(delete(&mut a, 200), Err(SysError::ThroughMonitor));
    let adopt = |world: &mut World, ticket: u64, to: u8| {
        kernel(world, Invocation::Adopt, &[ticket, cap(to).to_word()]).map(drop)
    };
    // Refused, it is as before.
    delete(&mut c, 210).expect("a foreign copy");
    let noted = |world: &World, at| world.core.slots.slot(world.index(at)).remote_copies();
    assert_eq!(noted(&a, 200), (0, true));
    let ticket = export(&mut a, 200, 2, HAND_OVER).expect("offered");
    assert_eq!(copy(&mut a, 200, 201), Err(SysError::Locked));
    assert_eq!(adopt(&mut c, ticket, 220), Err(SysError::EmptySlot));
    assert_eq!(import(&mut c, ticket, 220), Err(SysError::InvalidArgument));
    assert_eq!(settle(&mut a, ticket), Ok(2));
    assert_eq!(noted(&a, 200), (0, true));
    assert_eq!(delete(&mut a, 200), Err(SysError::ThroughMonitor));
    copy(&mut b, 210, 211).expect("an empty slot");
    let ticket = export(&mut a, 200, 1, HAND_OVER).expect("offered");
    assert_eq!(adopt(&mut b, ticket, 210), Err(SysError::SlotInUse));
    assert_eq!(adopt(&mut b, ticket, 220), Ok(()));
    assert_eq!(adopt(&mut b, ticket, 221), Err(SysError::NoSuchTransfer));
    assert_eq!(settle(&mut a, ticket), Ok(1));
    assert!(is_tombstone(&a, 200));
    assert_eq!((owner(&a, 200), owner(&b, 220)), (1, 1));
    // The tombstone notes no copies: they are its new owner's to know of.
    let left = a.core.slots.slot(a.index(200)).flags();
    assert!(!left.contains(SlotFlags::REMOTE_COPIES), "{left:?}");
    assert_eq!((noted(&a, 200), noted(&b, 220)), ((0, false), (0, true)));
    // Whichever of its copies goes, one of those left is the owner's, until the last.
    for gone in [220, 210] {
        assert_eq!(delete(&mut b, gone), Ok(()), "{gone}");
        let owned = [220, 210, 211]
            .into_iter()
            .filter(|&at| !is_empty(&b, at) && owner(&b, at) == 1);
        assert_eq!(owned.count(), 1, "{gone}");
    }
    assert_eq!(delete(&mut b, 211), Err(SysError::ThroughMonitor));
    // It comes home as it went: to its tombstone's place, beside a copy.
    give(&mut b, 211, &mut a, 202, COPY);
    let ticket = export(&mut b, 211, 0, HAND_OVER).expect("offered");
    assert_eq!(adopt(&mut a, ticket, 203), Ok(()));
    assert_eq!(settle(&mut b, ticket), Ok(1));
    assert!(is_empty(&a, 200) && is_empty(&b, 211));
    let home = a.core.slots.slot(a.index(203));
    assert_eq!(home.owner(), KernelId(0));
    assert!(home.flags().contains(SlotFlags::REMOTE_COPIES));
}
