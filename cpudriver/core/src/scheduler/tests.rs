//! Generated loads on a simulated core: everybody's share, latency, and the queues against a
//! naive model.

use std::collections::BTreeMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::heap::Heap;
use super::{NEVER, Node, Nodes, Scheduler};
use crate::dcb_ref::DcbRef;

/// Ticks in a second: a slice is 800 ticks, a quantum 100.
const FREQUENCY: u64 = 80_000;
const SLICE: u64 = 800;
const QUANTUM: u64 = 100;

struct Table(Vec<Node>);

impl Nodes for Table {
    fn node(&self, dcb: DcbRef) -> &Node {
        &self.0[at(dcb)]
    }
    fn node_mut(&mut self, dcb: DcbRef) -> &mut Node {
        &mut self.0[at(dcb)]
    }
}

fn name(number: usize) -> DcbRef {
    DcbRef::from_number(64 * u32::try_from(number + 1).unwrap()).unwrap()
}

fn at(dcb: DcbRef) -> usize {
    usize::try_from(dcb.number() / 64).unwrap() - 1
}

/// How many are in a sound heap.
fn count<const WHICH: usize>(heap: &Heap<WHICH>, nodes: &Table) -> usize {
    let mut count = 0;
    assert_eq!(heap.check(nodes, |_| count += 1), Ok(()));
    count
}

fn table(count: usize) -> Table {
    Table((0..count).map(|_| Node::default()).collect())
}

/// What a simulated dispatcher does when it runs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    /// Computes without end.
    Computes,
    /// Computes for some ticks, sleeps for others.
    Sleeps { runs: u64, sleeps: u64 },
    /// Computes for some ticks, yields.
    Yields { runs: u64 },
    /// Computes for some ticks, calls another (which answers by a call, if it calls back).
    Calls { runs: u64, whom: usize },
    /// Waits to be called, and then as `Calls`.
    Serves { runs: u64, whom: usize },
    /// Computes for some ticks, sends to another that waits, and yields to it.
    SendsTo { runs: u64, whom: usize },
    /// Computes for some ticks, and waits to be sent something.
    Receives { runs: u64 },
    /// Computes for some ticks, yields to another.
    YieldsTo { runs: u64, whom: usize },
    /// Woken by another core each time that it waits, after some ticks.
    Rung { runs: u64, after: u64 },
}

impl Does {
    fn runs(self) -> u64 {
        match self {
            Self::Computes => NEVER,
            Self::Sleeps { runs, .. }
            | Self::Yields { runs }
            | Self::Calls { runs, .. }
            | Self::Serves { runs, .. }
            | Self::YieldsTo { runs, .. }
            | Self::SendsTo { runs, .. }
            | Self::Receives { runs }
            | Self::Rung { runs, .. } => runs,
        }
    }
}

/// A core, its scheduler driven as `dispatch` and `interrupts` do.
struct Simulation {
    scheduler: Scheduler,
    nodes: Table,
    does: Vec<Does>,
    /// Ticks until it does what it does.
    left: Vec<u64>,
    /// Whether it waits for a message.
    waits: Vec<bool>,
    ran: Vec<u64>,
    woken: Vec<Option<u64>>,
    latency: Vec<u64>,
    rings: BTreeMap<u64, Vec<usize>>,
    timer: u64,
    now: u64,
    idle: u64,
}

impl Simulation {
    fn new(does: &[Does]) -> Self {
        let mut simulation = Self {
            scheduler: Scheduler::new(FREQUENCY),
            nodes: table(does.len()),
            does: does.to_vec(),
            left: does.iter().map(|d| d.runs()).collect(),
            waits: std::vec![false; does.len()],
            ran: std::vec![0; does.len()],
            woken: std::vec![None; does.len()],
            latency: std::vec![0; does.len()],
            rings: BTreeMap::new(),
            timer: NEVER,
            now: 1_000,
            idle: 0,
        };
        for (number, does) in does.iter().enumerate() {
            if matches!(does, Does::Serves { .. }) {
                simulation.waits[number] = true;
            } else {
                simulation.wake(number);
            }
        }
        simulation.next();
        simulation
    }

    fn wake(&mut self, number: usize) {
        self.woken[number] = Some(self.now);
        self.scheduler.wake(&mut self.nodes, name(number), self.now);
        self.program();
    }

    fn program(&mut self) {
        let want = self.scheduler.next_event(&self.nodes, self.now);
        self.timer = self.timer.min(want);
    }

    fn next(&mut self) {
        if let Some(first) = self.scheduler.pop(&mut self.nodes) {
            self.scheduler.start(&mut self.nodes, first, self.now);
            self.entered(at(first));
        }
        self.program();
    }

    fn entered(&mut self, number: usize) {
        if let Some(woken) = self.woken[number].take() {
            self.latency[number] = self.latency[number].max(self.now - woken);
        }
    }

    fn interrupt(&mut self) {
        if self.timer <= self.now {
            self.timer = NEVER;
        }
        while let Some(due) = self.scheduler.due(&self.nodes, self.now) {
            self.scheduler.remove_deadline(&mut self.nodes, due);
            self.wake(at(due));
        }
        while let Some(rung) = self.rings.first_entry().filter(|e| *e.key() <= self.now) {
            for number in rung.remove() {
                self.wake(number);
            }
        }
        if self.scheduler.current.is_none() {
            self.next();
        } else if self.scheduler.should_switch(&mut self.nodes, self.now) {
            self.scheduler.preempt(&mut self.nodes, self.now);
            self.next();
        } else {
            self.program();
        }
    }

    /// The current dispatcher does what it does.
    fn act(&mut self, number: usize) {
        let (now, nodes) = (self.now, &mut self.nodes);
        self.left[number] = self.does[number].runs();
        match self.does[number] {
            Does::Computes => {}
            Does::Sleeps { sleeps, .. } => {
                self.scheduler
                    .add_deadline(nodes, name(number), now + sleeps, now);
                self.scheduler.block(nodes, now);
                self.next();
            }
            Does::Yields { .. } => {
                self.scheduler.give_up(nodes, now);
                self.next();
            }
            Does::Rung { after, .. } => {
                self.rings.entry(now + after).or_default().push(number);
                self.scheduler.block(nodes, now);
                self.next();
            }
            Does::Receives { .. } => {
                self.waits[number] = true;
                self.scheduler.block(nodes, now);
                self.next();
            }
            Does::SendsTo { whom, .. } if self.waits[whom] => {
                self.waits[whom] = false;
                self.scheduler.give(nodes, now);
                self.scheduler.take_over(name(whom), now);
                self.entered(whom);
            }
            Does::YieldsTo { whom, .. } | Does::SendsTo { whom, .. } => {
                if nodes.node(name(whom)).is_queued() {
                    self.scheduler.give(nodes, now);
                    self.scheduler.unqueue(nodes, name(whom));
                    self.scheduler.take_over(name(whom), now);
                    self.entered(whom);
                } else {
                    self.scheduler.give_up(nodes, now);
                    self.next();
                }
            }
            Does::Calls { whom, .. } | Does::Serves { whom, .. } => {
                self.waits[number] = true;
                if std::mem::take(&mut self.waits[whom]) {
                    self.scheduler.lend();
                    self.scheduler.take_over(name(whom), now);
                } else {
                    // It isn't there: nothing comes, so it is woken a while later.
                    self.waits[number] = false;
                    self.scheduler
                        .add_deadline(nodes, name(number), now + QUANTUM, now);
                    self.scheduler.block(nodes, now);
                    self.next();
                }
            }
        }
    }

    /// Runs for a second, in which those who began together find their places, and then
    /// measures.
    fn measure(&mut self, ticks: u64) {
        self.run(FREQUENCY);
        self.ran.fill(0);
        self.latency.fill(0);
        self.idle = 0;
        self.run(ticks);
    }

    fn run(&mut self, ticks: u64) {
        let end = self.now + ticks;
        while self.now < end {
            let ring = self.rings.keys().next().copied().unwrap_or(NEVER);
            let event = self.timer.min(ring).min(end);
            let Some(current) = self.scheduler.current.map(at) else {
                assert!(self.scheduler.is_empty(), "idle, and somebody wants to run");
                let event = event.max(self.now + 1);
                self.idle += event - self.now;
                self.now = event;
                self.interrupt();
                continue;
            };
            let step = event.saturating_sub(self.now).min(self.left[current]);
            self.ran[current] += step;
            self.now += step;
            if self.left[current] != NEVER {
                self.left[current] -= step;
            }
            if self.left[current] == 0 {
                self.act(current);
            }
            if self.timer <= self.now || ring <= self.now {
                self.interrupt();
            }
            let queue = &self.scheduler.queue;
            assert_eq!(queue.check(&self.nodes, |_| {}), Ok(()));
        }
    }
}

/// How long a simulation runs, in ticks.
const LONG: u64 = 10 * FREQUENCY;

#[test]
fn those_who_compute_have_equal_shares() {
    for count in 1..=9 {
        let mut simulation = Simulation::new(&std::vec![Does::Computes; count]);
        simulation.measure(LONG);
        let share = LONG / count as u64;
        for &ran in &simulation.ran {
            assert!(ran.abs_diff(share) <= 2 * SLICE, "{:?}", simulation.ran);
        }
    }
}

#[test]
fn who_sleeps_shortly_gets_no_more_than_a_share() {
    // The audit's hog: 9 ms of work, 50 µs of sleep.
    let hog = Does::Sleeps {
        runs: 720,
        sleeps: 4,
    };
    let mut simulation = Simulation::new(&[hog, Does::Computes]);
    simulation.measure(LONG);
    assert!(
        simulation.ran[0] <= LONG / 2 + 2 * SLICE,
        "{:?}",
        simulation.ran
    );
    // It loses what it sleeps, and what it would have had in the meantime.
    assert!(simulation.ran[0] >= LONG * 9 / 20, "{:?}", simulation.ran);
}

#[test]
fn who_rests_enough_runs_at_once() {
    // A tenth of the core, in many pieces, beside three that compute.
    let light = Does::Rung {
        runs: 10,
        after: 90,
    };
    let does = [light, Does::Computes, Does::Computes, Does::Computes];
    let mut simulation = Simulation::new(&does);
    simulation.measure(LONG);
    assert_eq!(simulation.latency[0], 0, "{:?}", simulation.ran);
    assert!(simulation.ran[0] >= LONG / 10 - SLICE);
}

#[test]
fn two_that_call_each_other_have_one_share() {
    for runs in [1, 7, 333, 799, 800, 3000] {
        let does = [
            Does::Calls { runs, whom: 1 },
            Does::Serves { runs, whom: 0 },
            Does::Computes,
        ];
        let mut simulation = Simulation::new(&does);
        simulation.measure(LONG);
        let ran = &simulation.ran;
        assert!(ran[2] >= LONG / 2 - 4 * SLICE, "{runs}: {ran:?}");
        assert!(ran[0] + ran[1] >= LONG / 3, "{runs}: {ran:?}");
    }
}

#[test]
fn yielding_to_each_other_gains_nothing() {
    for runs in [1, 50, 399, 900] {
        let does = [
            Does::YieldsTo { runs, whom: 1 },
            Does::YieldsTo { runs, whom: 0 },
            Does::Computes,
        ];
        let mut simulation = Simulation::new(&does);
        simulation.measure(LONG);
        let ran = &simulation.ran;
        assert!(ran[2] >= LONG / 3 - 2 * SLICE, "{runs}: {ran:?}");
        assert!(ran[0] + ran[1] >= LONG / 3, "{runs}: {ran:?}");
    }
}

#[test]
fn who_yields_to_its_receiver_has_the_rest_back() {
    for runs in [1, 40, 399] {
        let does = [
            Does::Receives { runs },
            Does::SendsTo { runs, whom: 0 },
            Does::Computes,
        ];
        let mut simulation = Simulation::new(&does);
        simulation.measure(LONG);
        let ran = &simulation.ran;
        assert!(ran[2] >= LONG / 2 - 4 * SLICE, "{runs}: {ran:?}");
        assert!(ran[0] + ran[1] >= LONG * 2 / 5, "{runs}: {ran:?}");
    }
}

#[test]
fn what_is_used_of_a_gift_is_taken_off_the_givers_next_slice() {
    for runs in [1, 100, 799] {
        let does = [
            Does::YieldsTo { runs, whom: 1 },
            Does::Computes,
            Does::Computes,
        ];
        let mut simulation = Simulation::new(&does);
        simulation.measure(LONG);
        let ran = &simulation.ran;
        assert!(ran[2] >= LONG / 3 - 2 * SLICE, "{runs}: {ran:?}");
    }
    // To the tick: what goes on after the gift, a quantum here, is the receiver's own.
    for used in [0, 60, QUANTUM - 1, QUANTUM, 3 * QUANTUM] {
        let (mut scheduler, mut nodes) = (Scheduler::new(FREQUENCY), table(2));
        let [giver, other] = [name(0), name(1)];
        scheduler.wake(&mut nodes, giver, 1_000);
        scheduler.pop(&mut nodes);
        scheduler.start(&mut nodes, giver, 1_000);
        scheduler.give(&mut nodes, 1_000);
        scheduler.take_over(other, 1_000);
        assert_eq!(nodes.node(giver).share.budget, SLICE);
        scheduler.charge(&mut nodes, 1_000 + used);
        let left = SLICE - used.min(QUANTUM);
        assert_eq!(nodes.node(giver).share.budget, left, "{used} used");
    }
}

#[test]
fn a_client_that_computes_on_its_servers_slice_is_charged() {
    // The server wakes by itself now and then and answers; its client then computes.
    let does = [
        Does::Calls {
            runs: 5000,
            whom: 1,
        },
        Does::Serves { runs: 1, whom: 0 },
        Does::Rung {
            runs: 10,
            after: 300,
        },
        Does::Computes,
    ];
    let mut simulation = Simulation::new(&does);
    simulation.measure(LONG);
    assert_eq!(simulation.latency[2], 0);
    assert!(simulation.ran[3] >= LONG * 9 / 20, "{:?}", simulation.ran);
}

#[test]
fn dispatchers_made_anew_have_no_more_than_a_share() {
    for runs in [QUANTUM / 2, QUANTUM - 1, SLICE / 2] {
        let mut nodes = table(3);
        let mut scheduler = Scheduler::new(FREQUENCY);
        let mut now = 1000;
        let end = now + LONG;
        let (mut fresh, mut had) = (name(1), 0);
        scheduler.wake(&mut nodes, name(0), now);
        scheduler.wake(&mut nodes, fresh, now);
        while now < end {
            let current = scheduler.pop(&mut nodes).unwrap();
            scheduler.start(&mut nodes, current, now);
            let since = now;
            let stop = if current == fresh { now + runs } else { NEVER };
            loop {
                now = scheduler.next_event(&nodes, now).min(stop).min(now + SLICE);
                if now == stop {
                    // It makes another like itself, and is gone.
                    fresh = name(3 - at(fresh));
                    *nodes.node_mut(fresh) = Node::default();
                    scheduler.wake(&mut nodes, fresh, now);
                    scheduler.block(&mut nodes, now);
                    scheduler.forget(&mut nodes, current, now);
                    break;
                }
                if scheduler.should_switch(&mut nodes, now) {
                    scheduler.preempt(&mut nodes, now);
                    break;
                }
            }
            if current == name(0) {
                had += now - since;
            }
        }
        assert!(had >= LONG * 2 / 5, "{runs}: {had}");
    }
}

#[test]
fn virtual_time_wraps() {
    let mut simulation = Simulation::new(&[Does::Computes, Does::Yields { runs: 3 }]);
    let near = 0_u64.wrapping_sub(5 * SLICE);
    simulation.scheduler.virtual_time = near;
    simulation.scheduler.latest = near;
    for number in 0..2 {
        let dcb = name(number);
        if simulation.nodes.node(dcb).is_queued() {
            simulation.scheduler.unqueue(&mut simulation.nodes, dcb);
            simulation
                .scheduler
                .wake(&mut simulation.nodes, dcb, simulation.now);
        }
    }
    simulation.measure(LONG);
    assert!(
        simulation.ran.iter().all(|&ran| ran > SLICE),
        "{:?}",
        simulation.ran
    );
    // One that slept for half of all virtual time isn't owed the other half by the others.
    let mut scheduler = Scheduler::new(FREQUENCY);
    let mut nodes = table(1);
    nodes.0[0].share.deadline = (1 << 63) - 1;
    scheduler.wake(&mut nodes, name(0), 10);
    let ahead = nodes.0[0].share.deadline;
    assert!(ahead <= 5 * SLICE, "{ahead}");
}

#[test]
fn a_slow_or_unknown_counter_still_ends_slices() {
    for frequency in [0, 1, 700, 1_000_000_000] {
        let mut scheduler = Scheduler::new(frequency);
        let mut nodes = table(2);
        scheduler.wake(&mut nodes, name(0), 5);
        let first = scheduler.pop(&mut nodes).unwrap();
        scheduler.start(&mut nodes, first, 5);
        scheduler.wake(&mut nodes, name(1), 5);
        assert!(scheduler.next_event(&nodes, 5) > 5);
    }
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

fn behaviours() -> impl Strategy<Value = Vec<Does>> {
    let one = prop_oneof![
        Just(Does::Computes),
        (1..2000_u64, 1..2000_u64).prop_map(|(runs, sleeps)| Does::Sleeps { runs, sleeps }),
        (1..2000_u64).prop_map(|runs| Does::Yields { runs }),
        (1..900_u64, 0..6_usize).prop_map(|(runs, whom)| Does::Calls { runs, whom }),
        (1..900_u64, 0..6_usize).prop_map(|(runs, whom)| Does::Serves { runs, whom }),
        (1..900_u64, 0..6_usize).prop_map(|(runs, whom)| Does::YieldsTo { runs, whom }),
        (1..900_u64, 0..6_usize).prop_map(|(runs, whom)| Does::SendsTo { runs, whom }),
        (1..900_u64).prop_map(|runs| Does::Receives { runs }),
        (1..300_u64, 1..900_u64).prop_map(|(runs, after)| Does::Rung { runs, after }),
    ];
    proptest::collection::vec(one, 2..7).prop_map(|mut all| {
        let count = all.len();
        for (number, does) in all.iter_mut().enumerate() {
            match does {
                Does::Calls { whom, .. }
                | Does::Serves { whom, .. }
                | Does::YieldsTo { whom, .. }
                | Does::SendsTo { whom, .. } => {
                    *whom %= count;
                    if *whom == number {
                        *whom = (number + 1) % count;
                    }
                }
                _ => {}
            }
        }
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever the others do, one that computes has its share, and none is left out for long.
    #[test]
    fn nobody_takes_anothers_share(mut others in behaviours()) {
        others.push(Does::Computes);
        let count = others.len() as u64;
        let mut simulation = Simulation::new(&others);
        simulation.measure(LONG);
        let ran = *simulation.ran.last().unwrap();
        prop_assert!(ran + 6 * SLICE >= LONG / count, "{ran} of {LONG}: {:?}", simulation.ran);
        let total = simulation.ran.iter().sum::<u64>() + simulation.idle;
        prop_assert_eq!(total, LONG);
        for (number, &latency) in simulation.latency.iter().enumerate() {
            // A round, and what it may be ahead.
            prop_assert!(latency <= (count + 5) * SLICE, "{number} waited {latency}");
        }
    }

    /// One that uses little is woken without delay, whoever else is there.
    #[test]
    fn a_light_one_runs_at_once(mut others in behaviours(), runs in 1..10_u64) {
        for other in &mut others {
            if matches!(other, Does::Rung { .. } | Does::Sleeps { .. }) {
                *other = Does::Computes;
            }
        }
        others.push(Does::Rung { runs, after: 200 });
        let mut simulation = Simulation::new(&others);
        simulation.measure(LONG);
        let latency = *simulation.latency.last().unwrap();
        // Those who wake at the same time have a quantum each.
        prop_assert!(latency <= QUANTUM * others.len() as u64, "{latency}: {:?}", simulation.ran);
    }

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
