//! Loads, chosen and generated: everybody's share, and who waits how long.

use std::vec::Vec;

use proptest::prelude::*;

use super::simulation::{Does, Simulation};
use super::{FREQUENCY, QUANTUM, SLICE, at, name, table};
use crate::scheduler::{NEVER, Node, Nodes, Scheduler};

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

/// Those for whom interrupts come, while they run and while others do, pay for these with as much
/// of their time: together it is a share, and others have theirs.
#[test]
fn interrupts_are_part_of_ones_share() {
    for (every, takes) in [(40, 1), (30, 10), (300, 90)] {
        let flooded = Does::Flooded { every, takes };
        let does = [flooded, Does::Computes, Does::Computes, flooded];
        let mut simulation = Simulation::new(&does);
        simulation.measure(LONG);
        let (ran, interrupted) = (&simulation.ran, &simulation.interrupted);
        for number in 0..4 {
            let had = ran[number] + interrupted[number];
            let share = LONG / 4;
            assert!(
                had.abs_diff(share) <= 3 * SLICE,
                "{ran:?} and {interrupted:?}, of {share}"
            );
        }
    }
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
}
