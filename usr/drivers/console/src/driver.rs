//! A driver as a program.
//!
//! It maps its registers, claims its interrupt, registers as the console, and serves. The device
//! goes on showing what the kernel writes until `init` releases the kernel's console: taking it
//! over disturbs neither bytes in its FIFOs nor its speed.

use alloc::rc::Rc;

use capelin_abi::CapRef;
use capelin_interfaces::{
    console::ConsoleServer,
    handover,
    interrupts::{InterruptError, InterruptsClient, Trigger},
    service as names,
};
use capelin_rt::{
    Env, ExitCode, Listener, Lmp, OwnedCap, RtError, endpoint::Endpoint, print::to_log, services,
    spawn, sys, time, vspace::DeviceMapped,
};

use crate::{
    console::Console,
    output::HOLD,
    service::{Session, Shared},
    uart::Uart,
};

/// Messages of clients that may wait in the endpoint's ring.
const RING: usize = 32;

/// Why the driver can't start.
#[derive(Debug)]
pub enum StartError {
    /// The device is of no kind that this driver knows.
    UnknownDevice,
    /// The device has fewer registers than its kind.
    TooFewRegisters,
    /// `init` didn't hand this over.
    NotHandedOver(&'static str),
    /// The runtime or the kernel refused.
    Runtime(RtError),
    /// The interrupt service refused.
    Interrupt(InterruptError),
}

impl From<RtError> for StartError {
    fn from(error: RtError) -> Self {
        Self::Runtime(error)
    }
}

impl core::fmt::Display for StartError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::UnknownDevice => f.write_str("not a device of this driver's kind"),
            Self::TooFewRegisters => f.write_str("the device has too few registers"),
            Self::NotHandedOver(what) => write!(f, "{what} is missing"),
            Self::Runtime(error) => error.fmt(f),
            Self::Interrupt(error) => error.fmt(f),
        }
    }
}

/// Runs a driver for as long as the machine is on. `take_over` takes over the device whose registers
/// are mapped; nobody uses it before.
pub async fn run<U: Uart + 'static>(
    env: Env,
    take_over: impl FnOnce(&Env, DeviceMapped) -> Result<U, StartError>,
) -> ExitCode {
    match start(&env, take_over).await {
        Ok((shared, listener)) => {
            serve(listener, shared).await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            to_log(format_args!("{}: {error}\n", env.name()));
            ExitCode::FAILURE
        }
    }
}

async fn start<U: Uart + 'static>(
    env: &Env,
    take_over: impl FnOnce(&Env, DeviceMapped) -> Result<U, StartError>,
) -> Result<(Rc<Shared<U>>, Listener), StartError> {
    let missing = StartError::NotHandedOver;
    let registers = env
        .capability(handover::REGISTERS)
        .ok_or(missing(handover::REGISTERS))?;
    let bytes = env.word(handover::BYTES).ok_or(missing(handover::BYTES))?;
    let offset = env.word(handover::OFFSET).unwrap_or(0);
    let mapped = DeviceMapped::part(OwnedCap::adopt(registers), offset, bytes)?;

    // Bound before the device may interrupt.
    let endpoint = Endpoint::new(2)?;
    let destination = claim_interrupt(env, &endpoint).await?;
    let shared = shared(take_over(env, mapped)?);
    spawn(serve_interrupt(Rc::clone(&shared), endpoint, destination));
    Ok((shared, registered().await?))
}

/// A console on `uart`, which nobody uses yet: for drivers that aren't a UART's. Whoever has it calls
/// [`Shared::interrupt`] when the device has done something.
pub fn shared<U: Uart>(uart: U) -> Rc<Shared<U>> {
    let console = Console::new(uart, time::to_ticks(HOLD));
    Rc::new(Shared::new(console))
}

/// Registers `console` as the console; the future serves it for as long as the machine is on.
///
/// # Errors
/// As [`Listener::new`]; [`RtError::NoService`] when there is another console.
pub async fn register<U: Uart + 'static>(
    console: Rc<Shared<U>>,
) -> Result<impl Future<Output = ()>, RtError> {
    let listener = registered().await?;
    Ok(serve(listener, console))
}

async fn registered() -> Result<Listener, RtError> {
    let listener = Listener::new(RING)?;
    services::register(names::CONSOLE, &listener, 1).await?;
    Ok(listener)
}

async fn serve<U: Uart + 'static>(listener: Listener, console: Rc<Shared<U>>) {
    listener
        .serve(move |caller| ConsoleServer(Session::new(Rc::clone(&console), caller.connection)))
        .await;
}

/// Has the device's interrupt delivered to `endpoint`; gives its IrqDest.
async fn claim_interrupt(env: &Env, endpoint: &Endpoint) -> Result<OwnedCap, StartError> {
    let intid = env
        .word(handover::INTID)
        .and_then(|intid| u32::try_from(intid).ok())
        .ok_or(StartError::NotHandedOver(handover::INTID))?;
    let trigger = match env.word(handover::EDGE) {
        Some(1) => Trigger::Edge,
        _ => Trigger::Level,
    };
    let interrupts: InterruptsClient<Lmp> = services::wait_for(names::INTERRUPTS).await?;
    let source = interrupts
        .claim(intid, trigger)
        .await
        .map_err(StartError::Interrupt)?;
    let source = OwnedCap::received(source);
    let destination = OwnedCap::make(|slot| {
        sys::dispatcher::bind_irq(source.reference(), CapRef::l2(endpoint.cap()), slot)
    })?;
    // Both stay for as long as the driver runs: the claim ends with this client, the binding with
    // the capability.
    source.keep();
    spawn(async move {
        let _client = interrupts;
        core::future::pending::<()>().await;
    });
    Ok(destination)
}

/// Serves the device at each interrupt, then unmasks it.
async fn serve_interrupt<U: Uart>(
    shared: Rc<Shared<U>>,
    endpoint: Endpoint,
    destination: OwnedCap,
) {
    loop {
        let event = endpoint.receive().await;
        if event.is_event {
            shared.interrupt();
            if let Err(error) = sys::dispatcher::acknowledge_irq(destination.reference()) {
                to_log(format_args!(
                    "console driver: acknowledging the interrupt: {error}\n"
                ));
                return;
            }
        }
    }
}
