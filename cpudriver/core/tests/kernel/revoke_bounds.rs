//! What revokes between kernels may take: each entry is bounded, and so are the places of those
//! that nobody ends.

use capelin_abi::syscall::{Invocation, MapFlags};
use capelin_abi::{KernelId, Mpidr, ObjectType, OperationId, SysError, Ticket};
use capelin_peers::SharedPages;
use capelin_peers::board::{Phase, Range};

use crate::between::{
    COPY, commit, copy, enter, export, is_empty, join, kernel, kernels, make, mark, step, sweep,
    unmark,
};
use crate::memory::{map, tables};
use crate::revokes::scene;
use crate::world::{Left, World, cap, slot};

/// An entry sweeps as much as it may, at 1,000 instructions a slot until there are more than
/// 10,000, and less when that costs more or an interrupt waits.
#[test]
fn a_sweep_is_done_in_bounded_entries() {
    for (mapped, swept) in [(0, 11), (1, 10), (512, 6)] {
        let ([mut a, ..], _) = kernels(1);
        make(&mut a, slot::RAM, ObjectType::Frame, 0x200, 0x200, 200).expect("free memory");
        if mapped != 0 {
            tables(&mut a);
            map(&mut a, 200, 0, mapped, MapFlags::READ).expect("free entries");
        }
        let slots = 100..126;
        for at in slots.clone() {
            copy(&mut a, 200, at).expect("an empty slot");
        }
        let id = mark(&mut a, 200).expect("it is ours");
        assert_eq!(commit(&mut a, id), Ok([0; 2]));
        let count = |world: &World| {
            slots
                .clone()
                .chain([160])
                .filter(|&at| is_empty(world, at))
                .count()
        };
        let before = count(&a);
        assert_eq!(step(&mut a, id, 200), Ok(1));
        assert_eq!(count(&a) - before, swept, "{mapped} pages mapped");
        a.core.machine.patience.set(Some(0));
        assert_eq!(step(&mut a, id, 200), Ok(1));
        a.core.machine.patience.set(None);
        assert_eq!(count(&a) - before, swept + 1, "an interrupt waits");
        assert_eq!(sweep(&mut a, id, 200), Ok(()));
        assert_eq!(unmark(&mut a, id, 200), Ok([0; 2]));
        assert_eq!(count(&a), 27);
    }
}

/// Each step asks all that is held: beside fifteen other marks there are fewer of them an entry.
#[test]
fn an_entry_does_less_beside_many_holds() {
    for (marks, swept) in [(1, 11), (2, 10), (16, 8)] {
        let ([mut a, ..], _) = kernels(1);
        make(&mut a, slot::RAM, ObjectType::Frame, 0x200, 1, 200).expect("free memory");
        for at in 100..126 {
            copy(&mut a, 200, at).expect("an empty slot");
        }
        for other in 1..marks {
            let (page, to) = (0x210 + u64::from(other), 200 + other);
            make(&mut a, slot::RAM, ObjectType::Frame, page, 1, to).expect("free memory");
            mark(&mut a, to).expect("it is ours");
        }
        let id = mark(&mut a, 200).expect("it is ours");
        assert_eq!(commit(&mut a, id), Ok([0; 2]));
        assert_eq!(step(&mut a, id, 200), Ok(1));
        let gone = (100..126).filter(|&at| is_empty(&a, at)).count();
        assert_eq!(gone, swept, "{marks} marks");
        assert_eq!(sweep(&mut a, id, 200), Ok(()));
    }
}

/// Parts that are over end one an entry, however many there are.
#[test]
fn parts_in_what_is_over_end_by_and_by() {
    for marks in [false, true] {
        let ([mut a, mut b, _c], _) = kernels(2);
        make(&mut a, slot::RAM, ObjectType::Ram, 0, 4, 200).expect("free memory");
        let mut ids = Vec::new();
        for (page, pages, at) in [(0, 2, 201), (2, 1, 202), (3, 1, 203)] {
            make(&mut a, 200, ObjectType::Frame, page, pages, at).expect("free memory");
            let id = mark(&mut a, at).expect("it is ours");
            assert_eq!(join(&mut b, id), Ok(()));
            ids.push(id);
        }
        for id in ids {
            assert_eq!(unmark(&mut a, id, 0), Ok([0, 0]));
        }
        make(&mut b, slot::RAM, ObjectType::Frame, 0x30, 1, 210).expect("free memory");
        let id = mark(&mut a, 200).expect("it is ours");
        let (what, of) = if marks {
            (Invocation::MarkRange, cap(210).to_word())
        } else {
            (Invocation::JoinMark, id.0)
        };
        let mut entries = 1;
        while b.invoke_once(slot::KERNEL, what, &[of]) == Left::Restart {
            entries += 1;
        }
        assert_eq!(b.register(0), 0);
        // Three parts; and of one that is joined, the mark.
        assert_eq!(entries, if marks { 4 } else { 5 });
    }
}

/// What its monitor doesn't end, the next one that needs the place does.
#[test]
fn parts_in_what_is_over_take_no_places() {
    let ([mut a, mut b, _c], _) = kernels(2);
    make(&mut a, slot::RAM, ObjectType::Frame, 0, 1, 200).expect("free memory");
    for _ in 0..40 {
        let id = mark(&mut a, 200).expect("it isn't marked");
        assert_eq!(join(&mut b, id), Ok(()));
        assert_eq!(unmark(&mut a, id, 0), Ok([0, 0]));
    }
}

/// However many offers stand, an entry looks at some of them, and all of those in the range are
/// ended, wherever they stand.
#[test]
fn a_look_at_all_offers_is_bounded() {
    let ([mut a, ..], _) = kernels(2);
    make(&mut a, slot::RAM, ObjectType::Ram, 0, 2, 200).expect("free memory");
    make(&mut a, 200, ObjectType::Frame, 0, 1, 201).expect("free memory");
    make(&mut a, slot::RAM, ObjectType::Frame, 4, 1, 202).expect("free memory");
    let is_inside = |number: u16| number % 9 == 8 || (20..26).contains(&number);
    let offers: Vec<_> = (0..60)
        .map(|number| {
            let of = if is_inside(number) { 201 } else { 202 };
            let ticket = export(&mut a, of, 1 + number % 2, COPY).expect("offered");
            (
                is_inside(number),
                Ticket::from_word(ticket).expect("a ticket"),
            )
        })
        .collect();
    let stand = |a: &World, inside: bool| {
        let outbox = &a.core.machine.shared.outbox;
        let of = offers.iter().filter(|(is, _)| *is == inside);
        of.filter(|(_, ticket)| outbox.state(*ticket).is_ok())
            .count()
    };
    let (all_inside, all_outside) = (stand(&a, true), stand(&a, false));
    assert_eq!((all_inside, all_outside), (12, 48));
    let id = mark(&mut a, 200).expect("it is ours");
    let (mut entries, mut left) = (1, all_inside);
    while a.invoke_once(slot::KERNEL, Invocation::CommitMark, &[id.0]) == Left::Restart {
        entries += 1;
        let now = stand(&a, true);
        assert!(left - now <= 4, "{left} {now}");
        left = now;
    }
    assert!((8..=20).contains(&entries), "{entries}");
    assert_eq!(
        [0, 1, 2].map(|n| a.register(n)),
        [0, 1, 1],
        "who hasn't joined"
    );
    assert_eq!((stand(&a, true), stand(&a, false)), (0, all_outside));
}

/// All that one that has left still offers: an entry takes back a few, and looks at the offers
/// of one kernel.
#[test]
fn what_those_that_have_left_offer_is_taken_back_by_and_by() {
    let [mut a, mut b, mut c] = scene();
    let offered: Vec<_> = (0..21)
        .map(|_| export(&mut c, 210, 1, COPY).expect("room"))
        .map(|ticket| Ticket::from_word(ticket).expect("a ticket"))
        .collect();
    let id = mark(&mut a, 201).expect("it is ours");
    join(&mut b, id).expect("it is shown");
    a.core.machine.on.retain(|&core| core != Mpidr(2));
    let standing = |c: &World| {
        let outbox = &c.core.machine.shared.outbox;
        offered
            .iter()
            .filter(|&&it| outbox.state(it).is_ok())
            .count()
    };
    let mut entries = 0;
    while a.invoke_once(slot::KERNEL, Invocation::CommitMark, &[id.0]) == Left::Restart {
        entries += 1;
        assert_eq!(standing(&c), 21_usize.saturating_sub(4 * entries));
    }
    assert_eq!((a.register(0), a.register(1), entries), (0, 0, 5));
    assert_eq!(standing(&c), 0);
    assert_eq!(sweep(&mut a, id, 201), Ok(()));
    // Both have left: each is looked at by an entry of its own.
    let id = mark(&mut a, 200).expect("it is ours");
    a.core.machine.on.clear();
    let once = |a: &mut World| a.invoke_once(slot::KERNEL, Invocation::CommitMark, &[id.0]);
    assert_eq!([once(&mut a), once(&mut a)], [Left::Restart, Left::Caller]);
}

/// As many kernels as there may be: one entry looks at some.
#[test]
fn a_look_at_all_kernels_is_bounded() {
    let ([mut a, mut b, mut c], table) = kernels(2);
    make(&mut a, slot::RAM, ObjectType::Frame, 0, 1, 200).expect("free memory");
    let pages = b.core.machine.shared;
    for kernel in 2..60 {
        enter(table, kernel);
        a.core.machine.remote.insert(kernel, pages);
    }
    let id = mark(&mut a, 200).expect("it is ours");
    assert_eq!(commit(&mut a, id), Ok([1, 1]));
    join(&mut b, id).expect("it is shown");
    let mut entries = 1;
    while a.invoke_once(slot::KERNEL, Invocation::CommitMark, &[id.0]) == Left::Restart {
        entries += 1;
        // It counts, and nobody may come after it has.
        assert_eq!(join(&mut c, id), Err(SysError::Locked));
    }
    assert_eq!((a.register(0), a.register(1), entries), (0, 0, 4));
    for (world, keep) in [(&mut a, 200), (&mut b, 0)] {
        assert_eq!(sweep(world, id, keep), Ok(()));
    }
    assert_eq!(unmark(&mut a, id, 200), Ok([0; 2]));
}

/// A monitor that begins revokes, has others join, and ends none of them: each takes no more
/// than its share of this kernel's places, and all together leave some to its own.
#[test]
fn what_others_never_end_leaves_places_for_more() {
    let ([mut a, ..], table) = kernels(1);
    let liars = 3..9_u16;
    let mut boards = Vec::new();
    for liar in liars.clone() {
        enter(table, liar);
        let pages: &'static SharedPages = Box::leak(Box::new(SharedPages::new()));
        a.core.machine.remote.insert(liar, pages);
        a.core.machine.on.push(Mpidr(liar.into()));
        boards.push((liar, &pages.board));
    }
    let id = |liar: u16, n: u16| OperationId::new(KernelId(liar), n, u64::from(n) + 1);
    for (liar, board) in &boards {
        for n in 0..16 {
            let range = Range {
                kind: ObjectType::Ram,
                base: 0x10_0000_0000 * u64::from(*liar) + (u64::from(n) << 12),
                size: 0x1000,
            };
            board.show(id(*liar, n), &range).expect("a place");
        }
    }
    let full = Err(SysError::NoResources);
    let mut joined = Vec::new();
    for liar in liars {
        let all: Vec<_> = (0..16).map(|n| join(&mut a, id(liar, n))).collect();
        assert!(all.iter().all(|one| *one == Ok(()) || *one == full));
        joined.push(all.iter().filter(|one| one.is_ok()).count());
    }
    assert_eq!(joined, [3, 3, 3, 3, 0, 0]);
    // Its own locks, or revokes.
    let locked: Vec<_> = (0..5)
        .map(|n| {
            let to = 200 + n;
            make(&mut a, slot::RAM, ObjectType::Frame, n.into(), 1, to).expect("free memory");
            kernel(&mut a, Invocation::Lock, &[cap(to).to_word()]).map(drop)
        })
        .collect();
    assert_eq!(locked, [Ok(()), Ok(()), Ok(()), Ok(()), full]);
    // What is over makes room, as does who is gone for good; who isn't doesn't.
    let (_, first) = boards[0];
    first.set_phase(id(3, 1), Phase::Over);
    assert_eq!(join(&mut a, id(7, 0)), Ok(()));
    assert_eq!(join(&mut a, id(7, 1)), full);
    assert_eq!(join(&mut a, id(3, 5)), full);
    a.core.machine.on.retain(|&core| core != Mpidr(4));
    for n in 1..3 {
        assert_eq!(join(&mut a, id(7, n)), Ok(()));
    }
    assert_eq!(join(&mut a, id(7, 3)), full, "as many as it may");
    assert_eq!(join(&mut a, id(8, 0)), Ok(()));
    assert_eq!(join(&mut a, id(8, 1)), full);
}
