//! The driver: serves [`Gpio`](capelin_interfaces::gpio::Gpio).
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::rc::Rc;

use bcm2711_gpio::{Gpio, Level, PinError, Pull, REGISTER_BYTES};
use capelin_driver::{Mmio, StartError, registers_of_page, serve};
use capelin_interfaces::{
    gpio::{self, GpioError, GpioServer, PinState},
    service,
};
use capelin_rt::{Env, ExitCode, Listener, services};

capelin_rt::main!(run);

/// Messages of all clients that may wait.
const RING: usize = 16;

/// Serves one client.
struct Session(Rc<Gpio<Mmio>>);

fn to_wire(error: PinError) -> GpioError {
    match error {
        PinError::NoSuchPin => GpioError::NoSuchPin,
        PinError::OnBoard => GpioError::OnBoard,
        PinError::Taken(_) => GpioError::Taken,
    }
}

impl gpio::Gpio for Session {
    async fn state(&self, pin: u32) -> Result<PinState, GpioError> {
        let pin = self.0.pin(pin).map_err(to_wire)?;
        Ok(PinState {
            function: pin.function(),
            level: pin.level(),
            pull: pin.pull(),
        })
    }

    async fn input(&self, pin: u32) -> Result<(), GpioError> {
        let pin = self.0.pin(pin).map_err(to_wire)?;
        pin.into_input().map(drop).map_err(to_wire)
    }

    async fn output(&self, pin: u32, level: Level) -> Result<(), GpioError> {
        let pin = self.0.pin(pin).map_err(to_wire)?;
        pin.into_output(level).map(drop).map_err(to_wire)
    }

    async fn pull(&self, pin: u32, pull: Pull) -> Result<(), GpioError> {
        let pin = self.0.pin(pin).map_err(to_wire)?;
        pin.set_pull(pull).map_err(to_wire)
    }
}

async fn run(env: Env) -> ExitCode {
    serve(&env, start(&env).await, |it| GpioServer(Session(it))).await
}

async fn start(env: &Env) -> Result<(Rc<Gpio<Mmio>>, Listener), StartError> {
    // The tree names fewer registers than there are.
    let gpio = Gpio::new(registers_of_page(env, 0, REGISTER_BYTES)?);
    let listener = Listener::new(RING)?;
    services::register(service::GPIO, &listener, 1).await?;
    Ok((Rc::new(gpio), listener))
}
