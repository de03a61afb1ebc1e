//! An offer under the model checker: `RUSTFLAGS="--cfg loom" cargo test -p capelin-peers
//! --release --test loom`. One source: what ships is what is checked.
#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use capelin_abi::{KernelId, ObjectType, OperationId, Ticket};
use capelin_peers::board::{Board, Phase, Range};
use capelin_peers::outbox::{Offer, Outbox, RECORD_WORDS, Taker};
use loom::sync::Arc;
use loom::thread;

const SENDER: KernelId = KernelId(1);
const RECEIVER: KernelId = KernelId(2);

fn offer(what: u64) -> Offer {
    Offer {
        to: RECEIVER,
        taker: Taker::Any,
        record: [what; RECORD_WORDS],
    }
}

/// The receiver's side: what it got, all of one offer.
fn import(outbox: &Outbox<1>, ticket: Ticket) -> Option<u64> {
    let record = outbox.look(RECEIVER, ticket).ok()?.record;
    outbox.take(RECEIVER, ticket).ok()?;
    assert_eq!(record, [record[0]; RECORD_WORDS], "parts of two offers");
    Some(record[0])
}

/// Sender withdraws while the receiver takes: exactly one of them has it.
#[test]
fn taken_or_withdrawn() {
    loom::model(|| {
        let outbox = Arc::new(Outbox::<1>::new());
        let ticket = outbox.offer(SENDER, &offer(7)).unwrap();
        let receiver = {
            let outbox = Arc::clone(&outbox);
            thread::spawn(move || import(&outbox, ticket))
        };
        let withdrawn = outbox.withdraw(ticket).is_ok();
        let taken = receiver.join().unwrap();
        assert_eq!(taken.is_some(), !withdrawn);
        assert!(taken.is_none_or(|what| what == 7));
    });
}

/// A second offer in the same entry: an old ticket gets nothing, whatever it read.
#[test]
fn an_old_ticket_takes_nothing_of_a_later_offer() {
    loom::model(|| {
        let outbox = Arc::new(Outbox::<1>::new());
        let first = outbox.offer(SENDER, &offer(7)).unwrap();
        let receiver = {
            let outbox = Arc::clone(&outbox);
            thread::spawn(move || import(&outbox, first))
        };
        let withdrawn = outbox.withdraw(first).is_ok();
        let second = if withdrawn {
            Some(outbox.offer(SENDER, &offer(8)).unwrap())
        } else {
            None
        };
        let taken = receiver.join().unwrap();
        assert_eq!(taken, (!withdrawn).then_some(7));
        if let Some(second) = second {
            assert_eq!(import(&outbox, second), Some(8));
        }
    });
}

/// The ticket is found by another way than the offer (a ring): the record is there.
#[test]
fn the_record_comes_before_the_offer() {
    loom::model(|| {
        let outbox = Arc::new(Outbox::<1>::new());
        let sender = {
            let outbox = Arc::clone(&outbox);
            thread::spawn(move || outbox.offer(SENDER, &offer(9)).unwrap())
        };
        // What the ticket will be, guessed.
        if let Some(what) = import(&outbox, Ticket::new(SENDER, 0, 1)) {
            assert_eq!(what, 9);
        }
        sender.join().unwrap();
    });
}

/// Two receivers with one ticket, as two cores of one kernel id never are: still once.
#[test]
fn taken_once() {
    loom::model(|| {
        let outbox = Arc::new(Outbox::<1>::new());
        let ticket = outbox.offer(SENDER, &offer(3)).unwrap();
        let other = {
            let outbox = Arc::clone(&outbox);
            thread::spawn(move || import(&outbox, ticket))
        };
        let one = import(&outbox, ticket);
        let two = other.join().unwrap();
        assert!(one.is_some() != two.is_some());
    });
}

/// Settled and offered again while the receiver may still read: never a mixture.
#[test]
fn a_settled_entry_is_written_after_the_receiver_has_read() {
    loom::model(|| {
        let outbox = Arc::new(Outbox::<1>::new());
        let ticket = outbox.offer(SENDER, &offer(5)).unwrap();
        let receiver = {
            let outbox = Arc::clone(&outbox);
            thread::spawn(move || import(&outbox, ticket))
        };
        if let Some(settled) = outbox.next_taken(0) {
            outbox.free(settled);
            outbox.offer(SENDER, &offer(6)).unwrap();
        }
        assert_eq!(receiver.join().unwrap(), Some(5));
    });
}

/// A kernel joins a revoke while another commits it and a third sweeps already: if it has
/// joined, nothing that it offered is taken after the sweep has begun. (Here the owner
/// doesn't look who has joined: it may have counted an earlier part.)
#[test]
fn nothing_is_taken_once_a_revoke_is_committed() {
    const ID: OperationId = OperationId::new(KernelId(0), 3, 1);
    let range = Range {
        kind: ObjectType::Frame,
        base: 0x1000,
        size: 0x1000,
    };
    loom::model(move || {
        let board = Arc::new(Board::new());
        let outbox = Arc::new(Outbox::<1>::new());
        board.show(ID, &range).unwrap();
        let ticket = outbox.offer(SENDER, &offer(7)).unwrap();
        let phase = |board: &Board| board.revoke(ID).unwrap().0;
        let joining = {
            let (board, outbox) = (Arc::clone(&board), Arc::clone(&outbox));
            thread::spawn(move || {
                let _ = outbox.withdraw(ticket);
                phase(&board) == Phase::Marking
            })
        };
        let sweeping = {
            let (board, outbox) = (Arc::clone(&board), Arc::clone(&outbox));
            thread::spawn(move || {
                phase(&board) == Phase::Committed && outbox.take(RECEIVER, ticket).is_ok()
            })
        };
        board.set_phase(ID, Phase::Committed);
        let (has_joined, has_taken) = (joining.join().unwrap(), sweeping.join().unwrap());
        assert!(!(has_joined && has_taken));
    });
}

/// The place of a revoke is used for another while somebody looks: the range is of the one
/// that was asked for.
#[test]
fn a_range_is_that_of_the_revoke_asked_for() {
    let id = |number| OperationId::new(KernelId(0), 0, number);
    let range = |base| Range {
        kind: ObjectType::Frame,
        base,
        size: base,
    };
    loom::model(move || {
        let board = Arc::new(Board::new());
        board.show(id(1), &range(0x1000)).unwrap();
        let looking = {
            let board = Arc::clone(&board);
            thread::spawn(move || [1, 2].map(|number| board.revoke(id(number))))
        };
        board.set_phase(id(1), Phase::Over);
        board.show(id(2), &range(0x2000)).unwrap();
        let [first, second] = looking.join().unwrap();
        assert!(first.is_err() || first == Ok((Phase::Marking, range(0x1000))));
        assert!(second.is_err() || second == Ok((Phase::Marking, range(0x2000))));
    });
}
