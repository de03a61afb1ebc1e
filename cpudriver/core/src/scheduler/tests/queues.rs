//! The queues: their order, against a naive model, and what they cost.

use std::vec::Vec;

use proptest::prelude::*;

use super::{FREQUENCY, Table, at, name, table};
use crate::dcb_ref::DcbRef;
use crate::scheduler::heap::Heap;
use crate::scheduler::{NEVER, Node, Nodes, Scheduler};

/// How many are in a sound heap.
fn count<const WHICH: usize>(heap: &Heap<WHICH>, nodes: &Table) -> usize {
    let mut count = 0;
    assert_eq!(heap.check(nodes, |_| count += 1), Ok(()));
    count
}

#[test]
fn waits_end_in_order_and_no_later_than_ever() {
    let mut scheduler = Scheduler::new(FREQUENCY);
    let mut nodes = table(4);
    for (number, deadline) in [NEVER - 1, 30, 20, 30].into_iter().enumerate() {
        scheduler.add_deadline(&mut nodes, name(number), deadline, 10);
    }
    assert_eq!(scheduler.next_event(&nodes, 10), 20);
    assert_eq!(scheduler.due(&nodes, 19), None);
    let mut order = Vec::new();
    while let Some(due) = scheduler.due(&nodes, 1 << 63) {
        scheduler.remove_deadline(&mut nodes, due);
        order.push(at(due));
    }
    assert_eq!(order, [2, 1, 3, 0]);
}

/// Counts how often nodes are touched.
struct Counted<'a>(&'a mut Table, std::cell::Cell<u64>);

impl Nodes for Counted<'_> {
    fn node(&self, dcb: DcbRef) -> &Node {
        self.1.set(self.1.get() + 1);
        self.0.node(dcb)
    }
    fn node_mut(&mut self, dcb: DcbRef) -> &mut Node {
        self.1.set(self.1.get() + 1);
        self.0.node_mut(dcb)
    }
}

#[test]
fn every_operation_is_logarithmic_at_worst() {
    const COUNT: usize = 4_000;
    let orders: [fn(usize) -> u64; 4] = [
        |n| n as u64,
        |n| (COUNT - n) as u64,
        |n| (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40,
        |_| 7,
    ];
    for order in orders {
        let mut nodes = table(COUNT);
        let mut heap = Heap::<0>::new();
        let mut worst = 0;
        let mut counted = |nodes: &mut Table, work: &mut dyn FnMut(&mut Counted<'_>)| {
            let mut counted = Counted(nodes, std::cell::Cell::new(0));
            work(&mut counted);
            worst = worst.max(counted.1.get());
        };
        for n in 0..COUNT {
            counted(&mut nodes, &mut |nodes| {
                heap.insert(nodes, name(n), order(n))
            });
        }
        // From the middle, from the end, and then the first, again and again.
        for n in (0..COUNT / 2).map(|n| n * 2 + 1) {
            counted(&mut nodes, &mut |nodes| heap.remove(nodes, name(n)));
        }
        assert_eq!(count(&heap, &nodes), COUNT / 2);
        while let Some(first) = heap.first() {
            counted(&mut nodes, &mut |nodes| heap.remove(nodes, first));
        }
        // log2(4,000) is 12; a step looks at a few nodes.
        assert!(worst <= 12 * 20, "{worst}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// The queue against a naive one.
    #[test]
    fn the_heap_orders(steps in proptest::collection::vec((0..40_usize, 0..50_u64), 1..400)) {
        let mut nodes = table(40);
        let mut heap = Heap::<1>::new();
        let mut model: Vec<(u64, usize, usize)> = Vec::new();
        for (step, (number, key)) in steps.into_iter().enumerate() {
            let key = key.wrapping_sub(25);
            if let Some(found) = model.iter().position(|&(_, _, n)| n == number) {
                model.remove(found);
                heap.remove(&mut nodes, name(number));
            } else {
                model.push((key, step, number));
                heap.insert(&mut nodes, name(number), key);
            }
            prop_assert_eq!(count(&heap, &nodes), model.len());
            let first = model.iter().min_by_key(|&&(key, step, _)| (key.cast_signed(), step));
            prop_assert_eq!(heap.first().map(at), first.map(|&(_, _, n)| n));
        }
    }
}
