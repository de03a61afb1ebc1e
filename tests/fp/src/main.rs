//! Computes with floating-point numbers beside copies of itself on the same core, giving up the
//! processor between steps: a lost register shows in the sum.
//!
//! `fp` starts two copies, `fp SEED`, and computes itself.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::ToString;
use alloc::vec::Vec;
use core::hint::black_box;

use capelin_rt::interfaces::monitor::{DomainState, MonitorClient, THIS_CORE};
use capelin_rt::interfaces::service;
use capelin_rt::{Env, ExitCode, Lmp, println, services, sys};

capelin_rt::main!(run);

/// Steps of the computation.
const STEPS: u32 = 400;

async fn run(env: Env) -> ExitCode {
    match env.arguments().first().and_then(|word| word.parse().ok()) {
        Some(seed) => ExitCode::from(is_right(seed)),
        None => ExitCode::from(together().await),
    }
}

/// Computes beside two others.
async fn together() -> bool {
    let monitor: Result<MonitorClient<Lmp>, _> = services::connect(service::MONITOR).await;
    let Ok(monitor) = monitor else {
        println!("fp: no monitor");
        return false;
    };
    let mut others = Vec::new();
    for seed in [2_u32, 3] {
        match monitor.spawn(THIS_CORE, "fp", &[seed.to_string()]).await {
            Ok(domain) => others.push(domain),
            Err(error) => println!("fp: {error}"),
        }
    }
    let mut right = u32::from(is_right(1));
    for domain in others {
        let ended = monitor.wait(domain).await;
        right += u32::from(ended == Ok(DomainState::Exited(0)));
    }
    println!("fp: {right} of 3 sums are right");
    right == 3
}

/// Sums that are exact in binary: eight accumulators, each with its own step, and one product that
/// comes back to where it was.
fn is_right(seed: u32) -> bool {
    let seed = f64::from(seed);
    let mut sums = [0.0_f64; 8];
    let mut product = seed;
    for _ in 0..STEPS {
        let mut step = seed * 0.125;
        for sum in &mut sums {
            *sum = black_box(*sum + step);
            step += seed;
        }
        product = black_box(product * 2.0);
        // Whoever is next uses the same registers.
        let _ = sys::yield_now();
        product = black_box(product * 0.5);
    }
    let mut expected = seed * 0.125;
    let mut right = is_same(product, seed);
    for sum in sums {
        right &= is_same(sum, expected * f64::from(STEPS));
        expected += seed;
    }
    right
}

/// Bit by bit: nothing here is rounded.
fn is_same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits()
}
