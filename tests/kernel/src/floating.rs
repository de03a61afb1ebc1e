//! FP and SIMD registers, and `TPIDR_EL0`, are each dispatcher's own.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use capelin_harness::abi::syscall::{DispatcherFlags, DispatcherState};
use capelin_harness::{Child, Failure, Outcome, Suite, World, check, code, equal};

capelin_harness::program!(tests);

/// Switches that each worker waits for.
const ROUNDS: u64 = 200;

fn tests(suite: &mut Suite) {
    suite.test("floating/alone", |world| workers(world, &[1]));
    suite.test("floating/two-programs", |world| {
        workers(world, &[0x1111, 0x2222])
    });
    suite.test("floating/with-one-that-uses-none", |world| {
        workers(world, &[0x1111, 0x8000_2222, 0x3333])
    });
    suite.test("floating/many", |world| {
        workers(world, &[1, 2, 3, 0x8000_0004, 5, 6, 7, 8])
    });
    suite.test("floating/starts-from-zero", fresh);
    suite.test("floating/owner-dies", owner_dies);
    suite.test("floating/flag-is-needed", refused);
}

/// Set in a seed: this one has no FP registers, and watches `TPIDR_EL0` only.
const NO_FP: u64 = 0x8000_0000;

fn worker(world: &mut World, seed: u64) -> Result<Child, Failure> {
    let argument = ROUNDS << 32 | seed;
    let child = if seed & NO_FP == 0 {
        Child::with_flags(world, code::fp_worker(), argument, DispatcherFlags::FP)?
    } else {
        Child::new(world, code::tpidr_worker(), argument)?
    };
    child.run()?;
    Ok(child)
}

fn workers(world: &mut World, seeds: &[u64]) -> Outcome {
    let mut children = [None; 8];
    for (child, &seed) in children.iter_mut().zip(seeds) {
        *child = Some(worker(world, seed)?);
    }
    for child in children.into_iter().flatten() {
        let (state, changed) = child.finish()?;
        check(
            state == DispatcherState::Exited,
            "it didn't come to its end",
        )?;
        equal(u64::from(changed), 0, "registers that changed")?;
    }
    Ok(())
}

/// What one leaves behind, the next doesn't see.
fn fresh(world: &mut World) -> Outcome {
    workers(world, &[0x7777])?;
    let running = worker(world, 0x6666)?;
    capelin_harness::call::yield_now();
    let child = Child::with_flags(world, code::fp_fresh(), 0, DispatcherFlags::FP)?;
    child.run()?;
    check(
        child.finish()? == (DispatcherState::Exited, 0),
        "registers weren't zero",
    )?;
    check(
        running.finish()? == (DispatcherState::Exited, 0),
        "the other's changed",
    )
}

/// The owner of the registers is deleted while it owns them.
fn owner_dies(world: &mut World) -> Outcome {
    let owner = worker(world, 0x1234)?;
    capelin_harness::call::yield_now();
    capelin_harness::call::delete(owner.dispatcher)?;
    let other = Child::with_flags(world, code::fp_fresh(), 0, DispatcherFlags::FP)?;
    other.run()?;
    check(
        other.finish()? == (DispatcherState::Exited, 0),
        "registers weren't zero",
    )
}

fn refused(world: &mut World) -> Outcome {
    let child = Child::new(world, code::fp_worker(), ROUNDS << 32)?;
    child.run()?;
    check(
        child.finish()?.0 == DispatcherState::Faulted,
        "FP without the flag",
    )?;
    equal(
        capelin_harness::call::fault_register(child.dispatcher, 34)? >> 26,
        0x07,
        "the class of the exception",
    )
}
