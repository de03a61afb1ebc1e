//! Tells how long the board has been on, by its own clock (`docs/087-devices.md`); with `check`, how that clock agrees with
//! the counter of the cores.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::{String, ToString};

use capelin_interfaces::clock::ClockClient;
use capelin_interfaces::service;
use capelin_rt::{Env, ExitCode, Lmp, RtError, println, services, time};

capelin_rt::main!(run);

/// How long the clocks are compared, in microseconds.
const COMPARED_US: u32 = 50_000;

async fn run(env: Env) -> ExitCode {
    let outcome = match env.arguments() {
        [] => tell().await,
        [word] if word == "check" => check().await,
        _ => Err("usage: uptime [check]".to_string()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn tell() -> Result<(), String> {
    let us = clock().await?.now_us().await.map_err(|it| it.to_string())?;
    println!("on for {}.{:06} s", us / 1_000_000, us % 1_000_000);
    Ok(())
}

/// A delay by the board's clock, measured by the cores' counter. That takes the longer, since messages go there and back.
async fn check() -> Result<(), String> {
    let clock = clock().await?;
    let start = time::now();
    let waited = clock.delay(COMPARED_US).await;
    let took = time::to_duration(time::now() - start).as_micros();
    let waited = waited.map_err(|it| it.to_string())?;
    println!("{waited} us by the board's clock, {took} us by the cores' counter");
    if waited < COMPARED_US.into() {
        return Err("the board's clock waits too short".to_string());
    }
    // Ours has seen both ends of it: one in a hundred is what clocks may differ by.
    if took * 100 < u128::from(waited) * 99 {
        return Err("the clocks don't agree".to_string());
    }
    Ok(())
}

/// The driver's service.
async fn clock() -> Result<ClockClient<Lmp>, String> {
    let client = services::driven(service::CLOCK).await;
    client.map_err(|error| match error {
        RtError::NoService => "no device with a driver is a clock".to_string(),
        other => other.to_string(),
    })
}
