//! Random sequences of all operations against the naive model: results, errors,
//! effects and the whole database after each step.

mod common;

use common::driver::{Driver, ops};
use proptest::prelude::{ProptestConfig, Strategy};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

const CASES: u32 = if cfg!(miri) { 2 } else { 1500 };
const LENGTH: usize = if cfg!(miri) { 30 } else { 120 };

proptest::proptest! {
    #![proptest_config(ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_tree_does_what_the_list_does(ops in ops(1..LENGTH)) {
        let mut driver = Driver::new();
        for op in ops {
            driver.step(op);
        }
    }
}

/// The comparison is worth what the sequences reach.
#[test]
#[cfg_attr(miri, ignore = "too long")]
fn the_sequences_reach_every_operation() {
    let mut runner = TestRunner::deterministic();
    let mut reached = std::collections::BTreeMap::<String, u32>::new();
    for _ in 0..400 {
        let ops = ops(100..160)
            .new_tree(&mut runner)
            .expect("nothing is rejected")
            .current();
        let mut driver = Driver::new();
        for op in ops {
            driver.step(op);
        }
        for (what, count) in driver.reached {
            *reached.entry(what).or_default() += count;
        }
    }
    let wanted = "copy, relocate, badge, part, retype Ok(Done), retype Ok(Fresh), \
        retype Ok(Continue), retype Err(RangeInUse) RangeInUse, derive, derive RangeInUse, \
        map Frame, map DevFrame, map EndpointUmp, map VNodeL1, map VNodeL3, \
        delete Mapping, delete Frame LastCopy, delete Ram Foreign, unmapped, \
        emptied containers, rescue, released Dispatcher, released L1CNode, released L2CNode, \
        released VNodeL0, released VNodeL1, released EndpointLmp, released Notify, \
        revoke, revoke several, revoke ThroughMonitor, export Move, export Copy, \
        commit Move, commit Copy, abort Move, abort Copy, commit Move EmptySlot, \
        import Move, import Move RangeInUse, import Copy, import Copy RangeInUse, \
        seal, seal HasRelations, seal ThroughMonitor, make executable, \
        make executable HasRelations, make executable ThroughMonitor, \
        make executable MissingRight, mark, lock, copy Dying, \
        retype Err(Dying) Dying, retype Err(Locked) Locked";
    for what in wanted.split(", ") {
        let count = reached.get(what).copied().unwrap_or(0);
        assert!(count >= 5, "{what:?} only {count} times in {reached:#?}");
    }
}
