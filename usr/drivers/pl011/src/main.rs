//! The console driver (`docs/085-console-and-interrupts.md`).
//!
//! It maps its registers, claims its interrupt, registers as the console, and serves. The device
//! goes on showing what the kernel writes until `init` releases the kernel's console: taking it
//! over disturbs neither bytes in its FIFOs nor its speed.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

mod service;

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
use pl011::{
    console::Console,
    output::HOLD,
    uart::{self, Kind, Pl011, Registers},
};

use crate::service::{Session, Shared};

capelin_rt::main!(run);

/// Messages of clients that may wait in the endpoint's ring.
const RING: usize = 32;

/// Why the driver can't start.
enum StartError {
    /// The device is of no kind that this driver knows.
    UnknownDevice,
    /// `init` handed over no registers or no interrupt.
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
            Self::NotHandedOver(what) => write!(f, "{what} is missing"),
            Self::Runtime(error) => error.fmt(f),
            Self::Interrupt(error) => error.fmt(f),
        }
    }
}

/// The device's registers. An offset outside of them reads as 0; there is none.
#[derive(Debug)]
struct Mmio(DeviceMapped);

impl Registers for Mmio {
    fn read(&self, offset: usize) -> u32 {
        self.0.read32(offset).unwrap_or(0)
    }

    fn write(&self, offset: usize, value: u32) {
        // `None` for an offset outside of the registers; there is none.
        let _ = self.0.write32(offset, value);
    }
}

async fn run(env: Env) -> ExitCode {
    match start(&env).await {
        Ok((shared, listener)) => {
            listener
                .serve(move |caller| {
                    ConsoleServer(Session::new(Rc::clone(&shared), caller.connection))
                })
                .await;
            ExitCode::SUCCESS
        }
        Err(error) => {
            to_log(format_args!("{}: {error}\n", env.name()));
            ExitCode::FAILURE
        }
    }
}

async fn start(env: &Env) -> Result<(Rc<Shared<Pl011<Mmio>>>, Listener), StartError> {
    let names = env.arguments().iter().map(|name| name.as_str());
    let kind = Kind::of(names).ok_or(StartError::UnknownDevice)?;
    let missing = StartError::NotHandedOver;
    let registers = env
        .capability(handover::REGISTERS)
        .ok_or(missing(handover::REGISTERS))?;
    let bytes = env.word(handover::BYTES).unwrap_or(uart::REGISTER_BYTES);
    if bytes < uart::REGISTER_BYTES {
        return Err(missing(handover::BYTES));
    }
    let offset = env.word(handover::OFFSET).unwrap_or(0);
    let mapped = DeviceMapped::part(OwnedCap::adopt(registers), offset, bytes)?;

    // Bound before the device may interrupt.
    let endpoint = Endpoint::new(2)?;
    let destination = claim_interrupt(env, &endpoint).await?;
    let uart = Pl011::take_over(Mmio(mapped), kind);
    let console = Console::new(uart, time::to_ticks(HOLD));
    let shared = Rc::new(Shared::new(console));
    spawn(serve_interrupt(Rc::clone(&shared), endpoint, destination));

    let listener = Listener::new(RING)?;
    services::register(names::CONSOLE, &listener, 1).await?;
    Ok((shared, listener))
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
    let _ = source.leak();
    spawn(async move {
        let _client = interrupts;
        core::future::pending::<()>().await;
    });
    Ok(destination)
}

/// Serves the device at each interrupt, then unmasks it.
async fn serve_interrupt(
    shared: Rc<Shared<Pl011<Mmio>>>,
    endpoint: Endpoint,
    destination: OwnedCap,
) {
    loop {
        let event = endpoint.receive().await;
        if event.is_event {
            shared.interrupt();
            if let Err(error) = sys::dispatcher::acknowledge_irq(destination.reference()) {
                to_log(format_args!(
                    "pl011: acknowledging the interrupt: {error}\n"
                ));
                return;
            }
        }
    }
}
