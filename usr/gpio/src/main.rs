//! The program: asks the driver of the pins (`docs/087-devices.md`).
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::{String, ToString};

use capelin_interfaces::gpio::{Function, GpioClient};
use capelin_interfaces::service;
use capelin_rt::{Env, ExitCode, Lmp, RtError, println, services};
use gpio::{Request, Step, line};

capelin_rt::main!(run);

/// Pins of the header, from 0 on.
const HEADER_PINS: u32 = 28;

async fn run(env: Env) -> ExitCode {
    match perform(&env).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn perform(env: &Env) -> Result<(), String> {
    let request = Request::read(env.arguments()).map_err(|error| error.to_string())?;
    let pins = pins().await?;
    match request {
        Request::All => {
            for pin in 0..HEADER_PINS {
                tell(&pins, pin).await?;
            }
            Ok(())
        }
        Request::Pin(pin, steps) => {
            for step in steps {
                take(&pins, pin, step).await?;
            }
            tell(&pins, pin).await
        }
    }
}

/// The driver's service.
async fn pins() -> Result<GpioClient<Lmp>, String> {
    let client = services::driven(service::GPIO).await;
    client.map_err(|error| match error {
        RtError::NoService => "no device with a driver has pins".to_string(),
        other => other.to_string(),
    })
}

async fn take(pins: &GpioClient<Lmp>, pin: u32, step: Step) -> Result<(), String> {
    let outcome = match step {
        Step::Input => pins.input(pin).await,
        Step::Drive(level) => pins.output(pin, level).await,
        Step::Pull(pull) => pins.pull(pin, pull).await,
        Step::Output => match pins.state(pin).await {
            // It is driven already.
            Ok(state) if state.function == Function::Output => Ok(()),
            Ok(state) => pins.output(pin, state.level).await,
            Err(error) => Err(error),
        },
    };
    outcome.map_err(|error| error.to_string())
}

async fn tell(pins: &GpioClient<Lmp>, pin: u32) -> Result<(), String> {
    let state = pins.state(pin).await.map_err(|error| error.to_string())?;
    println!("{}", line(pin, &state));
    Ok(())
}
