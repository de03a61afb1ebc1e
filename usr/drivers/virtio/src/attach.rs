//! A driver's device, from what the device manager has handed over.

use alloc::{collections::BTreeMap, rc::Rc, string::String};
use core::{fmt, time::Duration};

use capelin_driver::{Interrupt, Mmio, StartError, registers};
use capelin_interfaces::{
    handover,
    pci::{FunctionClient, FunctionError},
};
use capelin_rt::{Env, Lmp, OwnedCap, RtError, bind, print::to_log, time};

use crate::{
    any::AnyTransport,
    layout::{Layout, LayoutError, REGISTERS},
    mmio::{MmioError, MmioTransport, REGISTER_BYTES},
    transport::PciTransport,
};

/// How often a device without an interrupt is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Why a driver can't start.
#[derive(Debug)]
pub enum AttachError {
    /// What was handed over.
    Start(StartError),
    /// The driver of the bus refused.
    Function(FunctionError),
    /// The function isn't one that could be driven.
    Layout(LayoutError),
    /// The slot has no device that could be driven.
    Mmio(MmioError),
    /// The device refused, or isn't what it should be.
    Device(virtio_drivers::Error),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => error.fmt(f),
            Self::Function(error) => write!(f, "the function: {error}"),
            Self::Layout(error) => error.fmt(f),
            Self::Mmio(error) => error.fmt(f),
            Self::Device(error) => write!(f, "the device: {error}"),
        }
    }
}

macro_rules! from {
    ($($variant:ident($error:ty),)*) => {$(
        impl From<$error> for AttachError {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        }
    )*};
}

from! {
    Start(StartError),
    Function(FunctionError),
    Layout(LayoutError),
    Mmio(MmioError),
    Device(virtio_drivers::Error),
}

impl From<RtError> for AttachError {
    fn from(error: RtError) -> Self {
        Self::Start(error.into())
    }
}

/// How a driver learns that its device has done something.
#[derive(Debug)]
pub enum Signal {
    /// It interrupts by a wire of its own, or by messages.
    Interrupt(Interrupt),
    /// It interrupts by the pin of its function.
    Pin(Pin),
    /// It has no interrupt: it is looked at.
    Looking,
}

/// The pin of a function, which the driver of its bus serves.
#[derive(Debug)]
pub struct Pin {
    function: FunctionClient<Lmp>,
    /// The driver, as messages call it.
    driver: String,
}

impl Signal {
    /// Waits until the device may have done something. A device whose pin isn't served, or isn't any more, is
    /// looked at from then on, with a message.
    pub async fn wait(&mut self) {
        match self {
            Self::Interrupt(interrupt) => interrupt.wait().await,
            Self::Pin(pin) => {
                // What the device has done before keeps its pin raised until it is acknowledged (4.1.4.5): it is
                // told of as soon as the pin is open.
                if let Err(error) = pin.function.interrupt().await {
                    let driver = &pin.driver;
                    to_log(format_args!(
                        "{driver}: {error}: the device is looked at instead\n"
                    ));
                    *self = Self::Looking;
                }
            }
            Self::Looking => time::sleep(LOOK).await,
        }
    }

    /// The device has been served.
    ///
    /// # Errors
    /// As [`Interrupt::acknowledge`].
    pub fn done(&self) -> Result<(), RtError> {
        match self {
            Self::Interrupt(interrupt) => interrupt.acknowledge(),
            // The pin is held back until it is waited for again.
            Self::Pin(_) | Self::Looking => Ok(()),
        }
    }
}

/// A device that was handed over.
#[derive(Debug)]
pub struct Attached {
    /// The device.
    pub transport: AnyTransport<Mmio>,
    /// What tells of it.
    pub signal: Signal,
}

/// The device that was handed over: a function on a PCI bus, or a slot.
///
/// # Errors
/// [`AttachError`], but for [`AttachError::Device`].
pub async fn attach(env: &Env) -> Result<Attached, AttachError> {
    if let Some(function) = env.capability(handover::FUNCTION) {
        let function = bind(function).await?;
        let (mut transport, layout) = transport_of(env, &function).await?;
        let signal = match message_of(&function, &layout).await? {
            Some(interrupt) => {
                transport.use_message();
                Signal::Interrupt(interrupt)
            }
            None => Signal::Pin(Pin {
                function,
                driver: env.name().into(),
            }),
        };
        let transport = AnyTransport::Pci(transport);
        return Ok(Attached { transport, signal });
    }
    let registers = registers(env, 0, REGISTER_BYTES)?;
    let transport = AnyTransport::Mmio(MmioTransport::new(registers)?);
    let signal = match Interrupt::handed_over(env, 0)? {
        Some(interrupt) => Signal::Interrupt(interrupt),
        None => Signal::Looking,
    };
    Ok(Attached { transport, signal })
}

async fn transport_of(
    env: &Env,
    function: &FunctionClient<Lmp>,
) -> Result<(PciTransport<Mmio>, Layout), AttachError> {
    let mut space = [0; REGISTERS];
    for (offset, register) in (0..).step_by(4).zip(&mut space) {
        *register = function.read(offset).await?;
    }
    let layout = Layout::read(&space)?;
    function.enable().await?;
    let mut bars: BTreeMap<u8, Option<Rc<Mmio>>> = BTreeMap::new();
    let transport = PciTransport::new(&layout, |bar| {
        let mapped = bars.entry(bar).or_insert_with(|| {
            let mapped = registers(env, usize::from(bar), 0);
            mapped.ok().map(Rc::new)
        });
        mapped.clone()
    })?;
    Ok((transport, layout))
}

/// The interrupt that the function's messages make, if it can send some and somebody takes them; else its pin is
/// waited for. Virtio devices send them by MSI-X only (4.1.5.1.2).
async fn message_of(
    function: &FunctionClient<Lmp>,
    layout: &Layout,
) -> Result<Option<Interrupt>, AttachError> {
    if !layout.has_messages {
        return Ok(None);
    }
    match function.message().await {
        Ok(source) => Ok(Some(Interrupt::bind(OwnedCap::received(source))?)),
        // `pcid` has said why.
        Err(_) => Ok(None),
    }
}
