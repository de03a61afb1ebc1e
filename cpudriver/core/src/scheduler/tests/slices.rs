//! Single steps of the scheduler: what a slice is charged, to whom, and when it ends.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::{FREQUENCY, QUANTUM, SLICE, Table, name, table};
use crate::scheduler::heap::Heap;
use crate::scheduler::node::{RUN, Share};
use crate::scheduler::{NEVER, Nodes, Payer, Scheduler};

const START: u64 = 1_000;

/// A core on which number 0 runs since [`START`], with a quantum.
fn running() -> (Scheduler, Table) {
    let mut scheduler = Scheduler::new(FREQUENCY);
    let mut nodes = table(4);
    scheduler.wake(&mut nodes, name(0), START);
    let first = scheduler.pop(&mut nodes).expect("it was woken");
    scheduler.start(&mut nodes, first, START);
    (scheduler, nodes)
}

/// All that decides who runs when.
fn state(scheduler: &Scheduler, nodes: &Table) -> String {
    let places: Vec<_> = (0..4)
        .map(|number| {
            let node = nodes.node(name(number));
            let key = node.is_queued().then(|| node.links[RUN].key());
            (node.share, key)
        })
        .collect();
    format!(
        "{:?} {:?} {} {} {} {} {places:?}",
        scheduler.current,
        scheduler.payer,
        scheduler.slice_deadline,
        scheduler.slice_end,
        scheduler.virtual_time,
        scheduler.latest
    )
}

#[test]
fn to_alternate_is_to_give_up_and_start_the_next() {
    for used in [0, 1, 60, QUANTUM - 1] {
        let prepare = || {
            let (mut scheduler, mut nodes) = running();
            scheduler.wake(&mut nodes, name(1), START);
            (scheduler, nodes)
        };
        let now = START + used;
        let (mut short, mut its_nodes) = prepare();
        assert_eq!(short.alternate(&mut its_nodes, now), Some(name(1)));
        let (mut long, mut nodes) = prepare();
        long.give_up(&mut nodes, now);
        let next = long.pop(&mut nodes).expect("one waits");
        long.start(&mut nodes, next, now);
        assert_eq!(state(&short, &its_nodes), state(&long, &nodes), "{used}");
    }
}

/// Where it is less simple nothing is done: the slice is over, or another's, or there are more
/// in the queue, or none.
#[test]
fn only_two_with_slices_of_their_own_alternate() {
    type Step = fn(&mut Scheduler, &mut Table);
    let cases: [(u64, Step); 5] = [
        (QUANTUM, |s, n| s.wake(n, name(1), START)),
        (QUANTUM + 1, |s, n| s.wake(n, name(1), START)),
        (10, |s, n| {
            s.wake(n, name(1), START);
            s.lend();
            s.take_over(name(2), START + 5);
        }),
        (10, |s, n| {
            s.wake(n, name(1), START);
            s.wake(n, name(2), START);
        }),
        (10, |_, _| {}),
    ];
    for (number, (used, prepare)) in cases.into_iter().enumerate() {
        let (mut scheduler, mut nodes) = running();
        prepare(&mut scheduler, &mut nodes);
        let before = state(&scheduler, &nodes);
        let next = scheduler.alternate(&mut nodes, START + used);
        assert_eq!(next, None, "case {number}");
        assert_eq!(state(&scheduler, &nodes), before, "case {number}");
    }
}

/// Sequence numbers wrap after 2^32 insertions: who came first stays first all the same.
#[test]
fn who_takes_the_place_of_the_only_one_comes_before_later_ones() {
    for from in [0, 1 << 31, u32::MAX - 1, u32::MAX] {
        let mut nodes = table(4);
        let mut heap = Heap::<0>::from_sequence(from);
        heap.insert(&mut nodes, name(0), 7);
        assert_eq!(heap.replace_only(&mut nodes, name(1), 7), Some(name(0)));
        heap.insert(&mut nodes, name(2), 7);
        heap.insert(&mut nodes, name(3), 6);
        let mut order = Vec::new();
        while let Some(first) = heap.first() {
            heap.remove(&mut nodes, first);
            order.push(first);
        }
        assert_eq!(order, [3, 1, 2].map(name), "from {from}");
    }
}

/// A heap out of order is told from one in order: who is after whom, ranks, and parents.
#[test]
fn broken_heaps_are_found() {
    let make = || {
        let mut nodes = table(7);
        let mut heap = Heap::<0>::new();
        for number in 0..7 {
            heap.insert(&mut nodes, name(number), [5, 3, 9, 1, 7, 8, 2][number]);
        }
        assert_eq!(heap.check(&nodes, |_| ()), Ok(()));
        (heap, nodes)
    };
    let (heap, nodes) = make();
    let root = heap.first().expect("seven");
    let links = nodes.node(root).links[0];
    let (left, right) = (links.left.expect("one"), links.right);
    // The root's right child, or else the left one's.
    let right = right.expect("seven aren't one below the other");
    let spoils: [&dyn Fn(&mut Table); 8] = [
        &|n| n.node_mut(root).links[0].parent = Some(left),
        &|n| n.node_mut(left).links[0].parent = None,
        &|n| n.node_mut(right).links[0].parent = Some(left),
        &|n| n.node_mut(left).links[0].key = 0,
        &|n| n.node_mut(right).links[0].key = 0,
        &|n| n.node_mut(root).links[0].rank += 1,
        &|n| n.node_mut(left).links[0].rank = 0,
        &|n| {
            // The right child of higher rank than the left.
            let links = &mut n.node_mut(root).links[0];
            (links.left, links.right) = (None, Some(right));
        },
    ];
    for (number, spoil) in spoils.iter().enumerate() {
        let (heap, mut nodes) = make();
        spoil(&mut nodes);
        assert!(heap.check(&nodes, |_| ()).is_err(), "{number}");
    }
}

#[test]
fn who_has_no_deadline_loses_none() {
    let mut scheduler = Scheduler::new(FREQUENCY);
    let mut nodes = table(3);
    scheduler.add_deadline(&mut nodes, name(0), 50, START);
    scheduler.add_deadline(&mut nodes, name(2), 60, START);
    scheduler.remove_deadline(&mut nodes, name(1));
    assert_eq!(scheduler.due(&nodes, 60), Some(name(0)));
    scheduler.forget(&mut nodes, name(1), START);
    assert_eq!(scheduler.due(&nodes, 60), Some(name(0)));
}

/// A slice that was over for a long time while nobody looked is followed by whole ones, and
/// the one that runs then ends where it would have.
#[test]
fn slices_that_nobody_ended_are_counted() {
    let (mut scheduler, mut nodes) = running();
    let deadline = scheduler.slice_deadline;
    let over = 2 * SLICE + 300;
    let now = START + QUANTUM + over;
    assert!(
        !scheduler.should_switch(&mut nodes, now),
        "nobody else is there"
    );
    assert_eq!(scheduler.slice_end, now + SLICE - 300);
    assert_eq!(scheduler.slice_deadline, deadline + 3 * SLICE);
    let rest = Share {
        deadline: scheduler.slice_deadline,
        budget: SLICE - 300,
    };
    assert_eq!(nodes.node(name(0)).share, rest);
}

/// Of two with the same deadline, the one that runs goes on up to the end of its slice.
#[test]
fn the_same_deadline_ends_no_slice_before_its_time() {
    let (mut scheduler, mut nodes) = running();
    let deadline = scheduler.slice_deadline;
    scheduler.enqueue(&mut nodes, name(1), deadline);
    assert!(!scheduler.should_switch(&mut nodes, START + QUANTUM - 1));
    assert!(scheduler.should_switch(&mut nodes, START + QUANTUM));
}

/// Whoever wakes others when its slice is over is charged for it first: those that it wakes
/// don't come from the past.
#[test]
fn a_slice_is_charged_before_somebody_wakes() {
    let (mut scheduler, mut nodes) = running();
    let now = START + 10 * SLICE;
    scheduler.wake(&mut nodes, name(1), now);
    assert!(scheduler.slice_end > now, "it is a new slice");
    // Virtual time stands still while nobody runs.
    let (mut scheduler, mut nodes) = running();
    scheduler.block(&mut nodes, START + 10);
    let before = scheduler.virtual_time;
    scheduler.wake(&mut nodes, name(1), now);
    assert_eq!(scheduler.virtual_time, before);
}

/// Who wakes while another runs on its slice has it back; that one goes on with its own.
#[test]
fn a_lent_slice_goes_back_to_whoever_wakes() {
    let (mut scheduler, mut nodes) = running();
    scheduler.lend();
    scheduler.take_over(name(1), START + 5);
    assert_eq!(scheduler.payer, Payer::Slice(name(0)));
    scheduler.wake(&mut nodes, name(0), START + 20);
    assert_eq!(scheduler.payer, Payer::Slice(name(1)));
    assert_eq!(scheduler.current, Some(name(1)));
    // A third that wakes meanwhile changes nothing of that.
    let (mut scheduler, mut nodes) = running();
    scheduler.lend();
    scheduler.take_over(name(1), START + 5);
    scheduler.wake(&mut nodes, name(2), START + 20);
    assert_eq!(scheduler.payer, Payer::Slice(name(0)));
}

/// When whoever lent its slice ends, whoever runs goes on no shorter than the timer is set for.
#[test]
fn a_slice_does_not_end_with_its_payer() {
    let (mut scheduler, mut nodes) = running();
    let end = scheduler.slice_end;
    nodes.node_mut(name(1)).share = Share {
        deadline: scheduler.slice_deadline + 10,
        budget: 7,
    };
    scheduler.lend();
    scheduler.take_over(name(1), START + 5);
    scheduler.forget(&mut nodes, name(0), START + 20);
    assert_eq!(scheduler.slice_end, end);
    assert_eq!(scheduler.payer, Payer::Slice(name(1)));
    let share = nodes.node(name(1)).share;
    assert_eq!(share.budget, end - (START + 20));
    assert_eq!(scheduler.next_event(&nodes, START + 20), NEVER);
}

/// An interrupt's time goes off what whom it is for may still run, up to all but a tick, and the
/// running slice and all that is counted from then on come as much later.
#[test]
fn interrupts_are_charged_to_whom_they_are_for() {
    let (mut scheduler, mut nodes) = running();
    scheduler.wake(&mut nodes, name(1), START);
    let (end, deadline) = (scheduler.slice_end, nodes.node(name(1)).share.deadline);
    scheduler.charge_interrupt(&mut nodes, name(1), 30);
    let share = Share {
        deadline,
        budget: QUANTUM - 30,
    };
    assert_eq!(nodes.node(name(1)).share, share);
    assert_eq!(scheduler.slice_end, end + 30);
    assert_eq!(scheduler.run_since, START + 30);
    scheduler.charge_interrupt(&mut nodes, name(1), QUANTUM);
    assert_eq!(nodes.node(name(1)).share.budget, 1, "its turn comes");
    // Those of whoever runs are its own.
    let before = state(&scheduler, &nodes);
    scheduler.charge_interrupt(&mut nodes, name(0), 30);
    assert_eq!(state(&scheduler, &nodes), before);
    assert_eq!(scheduler.run_since, START + 30 + QUANTUM);
    // One that has never run is still new.
    scheduler.charge_interrupt(&mut nodes, name(2), 30);
    assert_eq!(nodes.node(name(2)).share, Share::default());
}

/// Who gave its slice away doesn't pay for interrupts that come while another runs in it.
#[test]
fn interrupts_are_no_use_of_a_gift() {
    let (mut scheduler, mut nodes) = running();
    scheduler.give(&mut nodes, START);
    scheduler.take_over(name(1), START);
    scheduler.charge_interrupt(&mut nodes, name(2), 40);
    scheduler.charge(&mut nodes, START + 70);
    assert_eq!(nodes.node(name(0)).share.budget, SLICE - 30);
}
