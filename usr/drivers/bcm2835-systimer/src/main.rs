//! The driver: serves [`Clock`](capelin_interfaces::clock::Clock).
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::rc::Rc;
use core::{fmt, time::Duration};

use bcm2835_systimer::{REGISTER_BYTES, SystemTimer};
use capelin_driver::{Mmio, StartError, registers, serve};
use capelin_interfaces::{
    clock::{Clock, ClockError, ClockServer, MOST_US},
    service,
};
use capelin_rt::{Env, ExitCode, Listener, services, sys, time};
use embedded_hal::delay::DelayNs;

capelin_rt::main!(run);

/// Messages of all clients that may wait.
const RING: usize = 16;
/// How long the counter is watched before it is taken to stand still.
const WATCHED: Duration = Duration::from_millis(2);

/// Serves one client.
struct Session(Rc<SystemTimer<Mmio>>);

impl Clock for Session {
    async fn now_us(&self) -> Result<u64, ClockError> {
        Ok(self.0.now_us())
    }

    async fn delay(&self, us: u32) -> Result<u64, ClockError> {
        if us > MOST_US {
            return Err(ClockError::TooLong);
        }
        let started = self.0.now_us();
        self.0
            .delay(|| {
                // If the kernel refuses, the time goes by all the same.
                let _ = sys::yield_now();
            })
            .delay_us(us);
        Ok(self.0.now_us() - started)
    }
}

async fn run(env: Env) -> ExitCode {
    serve(&env, start(&env).await, |it| ClockServer(Session(it))).await
}

/// Why there is no clock.
#[derive(Debug)]
enum Fault {
    Start(StartError),
    /// A delay would never end.
    StandsStill,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => error.fmt(f),
            Self::StandsStill => f.write_str("the counter stands still"),
        }
    }
}

impl<E: Into<StartError>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Start(error.into())
    }
}

async fn start(env: &Env) -> Result<(Rc<SystemTimer<Mmio>>, Listener), Fault> {
    let timer = SystemTimer::new(registers(env, 0, REGISTER_BYTES)?);
    let before = timer.now_us();
    time::sleep(WATCHED).await;
    if timer.now_us() == before {
        return Err(Fault::StandsStill);
    }
    let listener = Listener::new(RING)?;
    services::register(service::CLOCK, &listener, 1).await?;
    Ok((Rc::new(timer), listener))
}
