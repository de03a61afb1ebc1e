//! The driver: serves [`Power`].
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::rc::Rc;
use core::time::Duration;

use bcm2835_pm::{After, PowerManagement, REGISTER_BYTES};
use capelin_driver::{Mmio, StartError, registers, serve};
use capelin_interfaces::{
    power::{Power, PowerError, PowerServer},
    service,
};
use capelin_rt::{Env, ExitCode, Listener, services, time};

capelin_rt::main!(run);

/// Messages of all clients that may wait.
const RING: usize = 16;
/// A reset that hasn't come by then doesn't.
const PATIENCE: Duration = Duration::from_secs(1);

struct Session(Rc<PowerManagement<Mmio>>);

impl Session {
    async fn reset(&self, after: After) -> Result<(), PowerError> {
        self.0.reset(after);
        time::sleep(PATIENCE).await;
        self.0.stop();
        Err(PowerError::NoEffect)
    }
}

impl Power for Session {
    async fn power_off(&self) -> Result<(), PowerError> {
        self.reset(After::Halt).await
    }

    async fn reboot(&self) -> Result<(), PowerError> {
        self.reset(After::Boot).await
    }
}

async fn run(env: Env) -> ExitCode {
    serve(&env, start(&env).await, |it| PowerServer(Session(it))).await
}

async fn start(env: &Env) -> Result<(Rc<PowerManagement<Mmio>>, Listener), StartError> {
    let power = PowerManagement::new(registers(env, 0, REGISTER_BYTES)?);
    let listener = Listener::new(RING)?;
    services::register(service::POWER, &listener, 1).await?;
    Ok((Rc::new(power), listener))
}
