//! Deletions that are interrupted: after every step the database is sound and no
//! capability lies in memory that nothing claims, whoever does the next step and
//! whatever is done in between.

mod common;

use capelin_abi::{ObjectType, Rights, SysError};
use capelin_cap::{SlotStore, State, Step};
use common::driver::{Driver, ops, seen};
use common::{World, number_of};
use proptest::prelude::{ProptestConfig, any};

const CASES: u32 = if cfg!(miri) { 2 } else { 600 };
const LENGTH: usize = if cfg!(miri) { 30 } else { 160 };

/// Type, base, size and rights of everything there is, and how much is mapped.
fn contents(world: &World) -> (Vec<(ObjectType, u64, u64, Rights)>, usize) {
    let mut all: Vec<_> = world
        .walk()
        .iter()
        .map(|index| seen(world, number_of(*index)))
        .map(|cap| (cap.kind, cap.base, cap.size, cap.rights))
        .collect();
    all.sort_unstable_by_key(|&(kind, base, size, rights)| (kind, base, size, rights.bits()));
    (all, world.kernel.tables.len())
}

/// Repeats a call until it is over.
fn repeat(mut call: impl FnMut() -> Result<Step, SysError>) -> Result<(), SysError> {
    for _ in 0..20_000 {
        if call()? == Step::Done {
            return Ok(());
        }
    }
    panic!("it doesn't end");
}

proptest::proptest! {
    #![proptest_config(ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// It makes no difference whether the caller continues a deletion, or
    /// somebody else empties the list meanwhile.
    #[test]
    fn anyone_may_continue(ops in ops(1..LENGTH), others in any::<u64>(), which in any::<u16>()) {
        let mut driver = Driver::new();
        for op in ops {
            driver.step(op);
        }
        driver.unlock_all();
        let all = driver.world.walk();
        let at = number_of(all[usize::from(which) % all.len()]);
        let mut alone = driver.world.clone();
        let mut shared = driver.world;
        let expected = repeat(|| alone.delete_step(at));

        let mut turn = 0;
        let result = repeat(|| {
            turn += 1;
            if others >> (turn % 64) & 1 == 1 {
                shared.drain_step().expect("nothing is locked");
                shared.assert_sound(true);
            }
            shared.delete_step(at)
        });
        // A slot in the memory that went can't be named any more.
        let is_over = |result: Result<(), SysError>| {
            result.is_ok() || (turn > 1 && result == Err(SysError::EmptySlot))
        };
        assert!(expected == result || (is_over(expected) && is_over(result)));
        for world in [&mut alone, &mut shared] {
            repeat(|| world.drain_step()).expect("nothing is locked");
            world.assert_sound(false);
        }
        assert_eq!(contents(&alone), contents(&shared));
    }

    /// Everything goes on while deletions are half done and things are locked;
    /// when all is finished, nothing is left over.
    #[test]
    fn others_go_on_in_between(ops in ops(1..LENGTH)) {
        let mut driver = Driver::new();
        driver.has_model = false;
        for op in ops {
            driver.step(op);
        }
        driver.unlock_all();
        let mut world = driver.world;
        repeat(|| world.drain_step()).expect("nothing is locked");
        // What was begun is over, whoever began it; what waits is reserved.
        for index in world.walk() {
            assert_ne!(world.arena.slot(index).state(), State::Dying);
        }
        for number in 1..world.arena.len() {
            if world.slot(number).state() == State::Dying {
                assert_eq!(world.delete_step(number), Ok(Step::Done));
            }
        }
        world.assert_sound(false);
        // The first memory is still there, all of it.
        for (_, first) in World::first_capabilities().into_iter().take(4) {
            let is_there = world.walk().into_iter().any(|index| {
                let cap = world.arena.slot(index).capability();
                (cap.kind, cap.base, cap.size) == (first.kind, first.base, first.size)
            });
            assert!(is_there, "{first:?} is lost");
        }
    }
}
