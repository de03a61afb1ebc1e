//! An object changes its owner while copies of it are on other kernels: they stay what they
//! are; and a kernel gives up what was moved to it.

#[path = "common/peers.rs"]
mod peers;

use capelin_abi::{KernelId, ObjectType, PhysAddr, Rights, SysError};
use capelin_cap::{CapRecord, Capability, ExportMode, Object, OperationId, State};
use peers::{PAGE, Peer, RAM, with_ram};

use ObjectType::{EndpointUmp, Frame, Ram};

const COPY: ExportMode = ExportMode::Copy;
const HAND_OVER: ExportMode = ExportMode::HandOver;
const REFUSED: Result<(), SysError> = Err(SysError::NoSuchTransfer);

/// A copy of what is in `from`'s slot `at` comes to `to`'s slot `dst`.
fn share(from: &mut Peer, at: u32, to: &mut Peer, dst: u32) {
    let record = from.export(at, to.mdb.kernel().0, COPY).expect("sharable");
    to.import(&record, dst).expect("nothing contradicts it");
    from.commit(&record).expect("it is under way");
}

/// Kernel 0 with a frame of four pages in slot 42, and kernel 1 with a copy in slot 50.
fn shared() -> [Peer; 2] {
    let (mut a, mut b) = (with_ram(), Peer::new(1));
    a.make(41, Frame, 4 * PAGE, 4 * PAGE, 42);
    share(&mut a, 42, &mut b, 50);
    [a, b]
}

fn try_hand_over(peer: &mut Peer, at: u32) -> Result<(), SysError> {
    let before = *peer.slot(at);
    let record = peer.export(at, 1, HAND_OVER);
    match record {
        Ok(record) => {
            peer.abort(&record).expect("it is under way");
            peer.assert_sound();
        }
        Err(error) => return Err(error),
    }
    assert_eq!(*peer.slot(at), before, "all is as it was");
    Ok(())
}

#[test]
fn only_what_one_kernel_alone_has_whole_is_handed_over() {
    let [mut a, mut b] = shared();
    assert_eq!(try_hand_over(&mut a, 41), Err(SysError::WrongType));
    assert_eq!(try_hand_over(&mut b, 50), Err(SysError::InvalidArgument));
    let foreign = b.export(50, 2, HAND_OVER).map(drop);
    assert_eq!(foreign, Err(SysError::Foreign));
    assert_eq!(try_hand_over(&mut a, 42), Ok(()));
    // A copy, a part, a mapping; a part that is elsewhere, next to others' memory.
    a.copy(42, 43).expect("an empty slot");
    assert_eq!(try_hand_over(&mut a, 42), Err(SysError::HasRelations));
    a.delete(43).expect("a copy");
    a.map(42, 43).expect("a frame");
    assert_eq!(try_hand_over(&mut a, 42), Err(SysError::HasRelations));
    a.delete(43).expect("a mapping");
    a.part(42, 43, 3 * PAGE, PAGE).expect("a part");
    assert_eq!(try_hand_over(&mut a, 42), Err(SysError::HasRelations));
    let mut c = Peer::new(2);
    share(&mut a, 43, &mut c, 43);
    assert_eq!(try_hand_over(&mut a, 42), Err(SysError::ThroughMonitor));
    a.note_no_copies(43);
    a.delete(43).expect("a part");
    for (at, page) in [(44, 3), (45, 8)] {
        a.make(41, Frame, page * PAGE, PAGE, at);
        peers::hand_over(&mut a, at, &mut c, at).expect("nobody has it");
    }
    assert_eq!(try_hand_over(&mut a, 42), Ok(()));
    // While a copy is on its way, whoever has it would be told a stale owner.
    let record = a.export(42, 2, COPY).expect("a frame");
    assert_eq!(try_hand_over(&mut a, 42), Err(SysError::Locked));
    a.abort(&record).expect("it is under way");
    assert_eq!(a.slot(42).remote_copies(), (0, true));
    assert_eq!(try_hand_over(&mut a, 42), Ok(()));
    // Nobody has a copy of this one.
    a.make(41, EndpointUmp, 16 * PAGE, PAGE, 46);
    assert_eq!(try_hand_over(&mut a, 46), Ok(()));
    assert_eq!(a.slot(46).remote_copies(), (0, false));
}

#[test]
fn what_is_handed_over_has_its_new_owner() {
    let [mut a, mut b] = shared();
    let record = a.export(42, 1, HAND_OVER).expect("it may go");
    assert_eq!((record.owner, record.has_ancestors), (KernelId(1), true));
    assert_eq!(a.slot(42).state(), State::InTransit);
    assert_eq!(a.copy(42, 43), Err(SysError::Locked));
    let before = b.all();
    assert_eq!(b.adopt_if(&record, 51, || REFUSED), REFUSED);
    assert_eq!(b.all(), before);
    assert_eq!(b.adopt_if(&record, 51, || Ok(())), Ok(()));
    a.commit(&record).expect("it is under way");
    // Kernel 0 keeps the range, and nothing of the copies.
    assert!(a.slot(42).is_tombstone());
    assert_eq!(a.slot(42).owner(), KernelId(1));
    assert_eq!(a.slot(42).remote_copies(), (0, false));
    assert_eq!(
        a.retype(41, Frame, 4 * PAGE, PAGE, 43),
        Err(SysError::RangeInUse)
    );
    // Kernel 1 owns it, and knows that others have copies; its own copy stays another's.
    b.assert_sound();
    assert_eq!(b.slot(51).owner(), KernelId(1));
    assert_eq!(b.slot(51).remote_copies(), (0, true));
    assert_eq!(b.slot(51).rights(), Rights::all());
    assert_eq!(b.slot(50).owner(), KernelId(0));
    assert_eq!(b.revoke(50), Err(SysError::MissingRight));
    assert_eq!(b.export(51, 0, COPY).map(|it| it.has_ancestors), Ok(true));
    // Until the owner's capability goes, when the copy takes over from it.
    assert_eq!(b.delete(51), Ok(()));
    assert_eq!(b.slot(50).owner(), KernelId(1));
    assert_eq!(b.slot(50).remote_copies(), (1, true));
    let copied = b.export(50, 2, COPY).expect("a frame");
    assert_eq!((copied.owner, copied.has_ancestors), (KernelId(1), true));
    assert_eq!(b.delete(50), Err(SysError::ThroughMonitor));
    b.assert_sound();
}

/// What was handed over comes back to the kernel that has its tombstone and, beside that, a
/// copy.
#[test]
fn what_is_handed_back_takes_its_tombstones_place() {
    let (mut a, mut b) = (with_ram(), Peer::new(1));
    a.make(41, Frame, 4 * PAGE, 4 * PAGE, 42);
    peers::hand_over(&mut a, 42, &mut b, 50).expect("nobody has it");
    let record = b.export(50, 0, HAND_OVER).expect("it may go");
    // Without a copy there, another kernel has to be asked.
    assert_eq!(a.adopt_if(&record, 44, || Ok(())), Err(SysError::EmptySlot));
    b.abort(&record).expect("it is under way");
    for at in [43, 44] {
        share(&mut b, 50, &mut a, at);
    }
    let record = b.export(50, 0, HAND_OVER).expect("it may go");
    assert_eq!(a.adopt_if(&record, 45, || REFUSED), REFUSED);
    assert!(a.slot(42).is_tombstone());
    assert_eq!(a.adopt_if(&record, 45, || Ok(())), Ok(()));
    b.commit(&record).expect("it is under way");
    a.assert_sound();
    assert!(a.slot(42).is_empty());
    assert_eq!(a.slot(45).owner(), KernelId(0));
    assert_eq!(a.slot(45).remote_copies(), (0, true));
    assert_eq!(b.count(), 0, "nothing there could make it again");
}

#[test]
fn a_hand_over_that_contradicts_what_is_known_is_refused() {
    let [mut a, mut b] = shared();
    let record = a.export(42, 1, HAND_OVER).expect("it may go");
    let with = |change: fn(&mut CapRecord)| {
        let mut changed = record;
        change(&mut changed);
        changed
    };
    let before = b.all();
    let cases = [
        (
            with(|it| it.mode = ExportMode::Move),
            SysError::InvalidArgument,
        ),
        (with(|it| it.owner = KernelId(2)), SysError::InvalidArgument),
        (with(|it| it.capability.size = 0), SysError::OutOfRange),
        (with(|it| it.capability.kind = Ram), SysError::WrongType),
        (with(|it| it.capability.base += PAGE), SysError::EmptySlot),
        (with(|it| it.capability.size += PAGE), SysError::EmptySlot),
        (with(|it| it.is_executable = true), SysError::RangeInUse),
    ];
    for (record, error) in cases {
        let taken = b.adopt_if(&record, 51, || panic!("it can't be taken"));
        assert_eq!(taken, Err(error), "{record:?}");
        assert_eq!(b.all(), before);
    }
    assert_eq!(b.adopt_if(&record, 50, || Ok(())), Err(SysError::SlotInUse));
    let mut nobody = Peer::new(1);
    assert_eq!(
        nobody.adopt_if(&record, 51, || Ok(())),
        Err(SysError::EmptySlot)
    );
    // Not into a range that is being revoked.
    let object = Object::of(b.slot(50));
    b.mark(&object, OperationId(1)).expect("nothing is locked");
    assert_eq!(b.adopt_if(&record, 51, || Ok(())), Err(SysError::Dying));
    b.unmark(OperationId(1)).expect("it is marked");
    // Nor twice.
    b.adopt_if(&record, 51, || Ok(())).expect("it is taken");
    b.delete(50).expect("a foreign copy");
    assert_eq!(
        b.adopt_if(&record, 52, || Ok(())),
        Err(SysError::RangeInUse)
    );
}

/// What a part of another kernel's frame can be reached by is remembered when it is handed over.
#[test]
fn what_is_around_stays_known() {
    for is_part in [false, true] {
        let (mut a, mut b) = (with_ram(), Peer::new(1));
        a.make(41, Frame, 0, 4 * PAGE, 42);
        let at = if is_part {
            a.part(42, 43, PAGE, PAGE).expect("a part");
            43
        } else {
            42
        };
        share(&mut a, at, &mut b, 50);
        let record = a.export(at, 1, HAND_OVER).expect("it may go");
        assert_eq!(record.is_in_frame, is_part);
        b.adopt_if(&record, 51, || Ok(())).expect("it is taken");
        a.commit(&record).expect("it is under way");
        b.assert_sound();
        // And by the copy that takes over.
        b.delete(51).expect("a copy is there");
        b.note_no_copies(50);
        let sealed = if is_part {
            Err(SysError::ThroughMonitor)
        } else {
            Ok(())
        };
        assert_eq!(b.seal(50), sealed);
    }
}

/// The holder gives up what was moved to it; the keeper makes it anew.
#[test]
fn what_is_given_up_is_its_keepers_again() {
    let (mut a, mut b) = (with_ram(), Peer::new(1));
    a.make(41, Frame, 0, 4 * PAGE, 42);
    peers::hand_over(&mut a, 42, &mut b, 42).expect("nobody has it");
    share(&mut b, 42, &mut a, 43);
    b.note_no_copies(42);
    let record = b.export(42, 0, ExportMode::Move).expect("it may go");
    let with = |change: fn(&mut CapRecord)| {
        let mut changed = record;
        change(&mut changed);
        changed
    };
    let cases = [
        (with(|it| it.mode = COPY), SysError::WrongType),
        (with(|it| it.owner = KernelId(2)), SysError::WrongType),
        (with(|it| it.capability.size = PAGE), SysError::EmptySlot),
        // A copy is here.
        (record, SysError::HasRelations),
    ];
    for (record, error) in cases {
        let taken = a.reclaim_if(&record, || panic!("it can't be taken"));
        assert_eq!(taken, Err(error), "{record:?}");
        assert!(a.slot(42).is_tombstone());
    }
    a.part(43, 44, PAGE, PAGE).expect("a part");
    a.delete(43).expect("a foreign copy");
    let taken = a.reclaim_if(&record, || panic!("it can't be taken"));
    assert_eq!(taken, Err(SysError::HasRelations), "a part is here");
    a.delete(44).expect("a foreign part");
    let object = Object::of(b.slot(42));
    a.mark(&object, OperationId(1)).expect("nothing is locked");
    assert_eq!(a.reclaim_if(&record, || Ok(())), Err(SysError::Dying));
    a.unmark(OperationId(1)).expect("it is marked");
    assert_eq!(a.reclaim_if(&record, || REFUSED), REFUSED);
    assert!(a.slot(42).is_tombstone());
    assert_eq!(a.reclaim_if(&record, || Ok(())), Ok(()));
    assert!(a.slot(42).is_empty());
    b.commit(&record).expect("it is under way");
    assert_eq!(b.count(), 0);
    a.make(41, Ram, 0, 8 * PAGE, 42);
    a.assert_sound();
}

/// After a revoke that all kernels have answered, nobody has copies but who is about to.
#[test]
fn after_a_revoke_no_copies_are_noted() {
    for is_one_under_way in [false, true] {
        let [mut a, mut b] = shared();
        if is_one_under_way {
            a.export(42, 2, COPY).expect("a frame");
        }
        let object = a.begin_revoke(42, OperationId(1)).expect("it is ours");
        b.mark(&object, OperationId(1)).expect("nothing is locked");
        a.sweep(OperationId(1), 42).expect("nothing is locked");
        b.sweep(OperationId(1), 0).expect("nothing is locked");
        assert!(a.slot(42).remote_copies().1);
        assert_eq!(a.finish_revoke(OperationId(1), 42), Ok(()));
        let under_way = u32::from(is_one_under_way);
        assert_eq!(a.slot(42).remote_copies(), (under_way, false));
        assert_eq!(a.delete(42).is_ok(), !is_one_under_way);
    }
}

/// Nothing is found where nothing is: a kernel without capabilities knows of no transfer.
#[test]
fn a_kernel_without_capabilities_knows_nothing() {
    let mut a = Peer::new(1);
    let frame = Capability::memory(Frame, PhysAddr(RAM), PAGE, Rights::all());
    for mode in [ExportMode::Move, HAND_OVER, COPY] {
        let record = CapRecord {
            capability: frame,
            owner: if mode == COPY {
                KernelId(1)
            } else {
                KernelId(0)
            },
            mode,
            has_ancestors: false,
            is_in_frame: false,
            is_executable: false,
        };
        assert_eq!(a.commit(&record), Err(SysError::EmptySlot));
        assert_eq!(a.abort(&record), Err(SysError::EmptySlot));
    }
    assert_eq!(a.take_orphan(3), Err(SysError::EmptySlot));
    assert_eq!(a.drain(), Ok(()));
}
