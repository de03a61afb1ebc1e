//! The driver: serves [`Gpio`](capelin_interfaces::gpio::Gpio).
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::rc::Rc;

use bcm2711_gpio::{Function, Gpio, Level, PinError, Pull, REGISTER_BYTES};
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
            function: match pin.function() {
                Function::Input => gpio::Function::Input,
                Function::Output => gpio::Function::Output,
                Function::Alternate(which) => gpio::Function::Alternate(which),
            },
            level: match pin.level() {
                Level::Low => gpio::Level::Low,
                Level::High => gpio::Level::High,
            },
            pull: pin.pull().map(|pull| match pull {
                Pull::None => gpio::Pull::None,
                Pull::Up => gpio::Pull::Up,
                Pull::Down => gpio::Pull::Down,
            }),
        })
    }

    async fn input(&self, pin: u32) -> Result<(), GpioError> {
        let pin = self.0.pin(pin).map_err(to_wire)?;
        pin.into_input().map(drop).map_err(to_wire)
    }

    async fn output(&self, pin: u32, level: gpio::Level) -> Result<(), GpioError> {
        let pin = self.0.pin(pin).map_err(to_wire)?;
        let level = match level {
            gpio::Level::Low => Level::Low,
            gpio::Level::High => Level::High,
        };
        pin.into_output(level).map(drop).map_err(to_wire)
    }

    async fn pull(&self, pin: u32, pull: gpio::Pull) -> Result<(), GpioError> {
        let pull = match pull {
            gpio::Pull::None => Pull::None,
            gpio::Pull::Up => Pull::Up,
            gpio::Pull::Down => Pull::Down,
        };
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
