//! A driver's device, from what the device manager has handed over.

use alloc::{collections::BTreeMap, rc::Rc};
use core::{fmt, time::Duration};

use capelin_driver::{Interrupt, Mmio, StartError, registers};
use capelin_interfaces::{
    handover,
    pci::{FunctionClient, FunctionError},
};
use capelin_rt::{Env, Lmp, RtError, bind, time};

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
    /// It interrupts.
    Interrupt(Interrupt),
    /// No interrupt of it was handed over: it is looked at.
    Looking,
}

impl Signal {
    /// Waits until the device may have done something.
    pub async fn wait(&self) {
        match self {
            Self::Interrupt(interrupt) => interrupt.wait().await,
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
            Self::Looking => Ok(()),
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
    let transport = match env.capability(handover::FUNCTION) {
        Some(function) => AnyTransport::Pci(function_of(env, bind(function).await?).await?),
        None => {
            let registers = registers(env, 0, REGISTER_BYTES)?;
            AnyTransport::Mmio(MmioTransport::new(registers)?)
        }
    };
    let signal = match Interrupt::handed_over(env, 0)? {
        Some(interrupt) => Signal::Interrupt(interrupt),
        None => Signal::Looking,
    };
    Ok(Attached { transport, signal })
}

async fn function_of(
    env: &Env,
    function: FunctionClient<Lmp>,
) -> Result<PciTransport<Mmio>, AttachError> {
    let mut space = [0; REGISTERS];
    for (offset, register) in (0..).step_by(4).zip(&mut space) {
        *register = function.read(offset).await?;
    }
    let layout = Layout::read(&space)?;
    function.enable().await?;
    let mut bars: BTreeMap<u8, Option<Rc<Mmio>>> = BTreeMap::new();
    Ok(PciTransport::new(&layout, |bar| {
        let mapped = bars.entry(bar).or_insert_with(|| {
            let mapped = registers(env, usize::from(bar), 0);
            mapped.ok().map(Rc::new)
        });
        mapped.clone()
    })?)
}
