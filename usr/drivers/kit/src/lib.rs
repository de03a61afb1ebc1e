//! What a driver's program does with what the device manager hands it (`docs/087-devices.md`).
//!
//! A driver's own part is generic over [`Registers32`], so that variables can stand for the device in
//! tests, and over `embedded_hal::delay::DelayNs`, so that they need no clock.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use core::{fmt, time::Duration};

use capelin_abi::CapRef;
use capelin_idc::Service;
use capelin_interfaces::handover;
use capelin_rt::{
    Env, ExitCode, Listener, OwnedCap, RtError,
    endpoint::Endpoint,
    println, sys, time,
    vspace::{DeviceMapped, SharedMapped},
};
use embedded_hal::delay::DelayNs;

/// Events that an interrupt's endpoint holds.
const EVENTS: usize = 2;

/// Registers of 32 bits, by their offset in bytes.
pub trait Registers32 {
    /// Reads one.
    fn read(&self, offset: usize) -> u32;
    /// Writes one.
    fn write(&self, offset: usize, value: u32);
}

/// A device's registers. A driver starts only with as many as it uses ([`registers`]), so that an
/// offset outside of them doesn't occur: it would read as 0, and a write would do nothing.
#[derive(Debug)]
pub struct Mmio(DeviceMapped);

/// Registers of 8, 16 and 32 bits, by their offset in bytes.
pub trait Registers {
    /// How many bytes there are.
    fn bytes(&self) -> usize;
    /// Reads one of 8 bits.
    fn read8(&self, offset: usize) -> u8;
    /// Reads one of 16 bits.
    fn read16(&self, offset: usize) -> u16;
    /// Reads one of 32 bits.
    fn read32(&self, offset: usize) -> u32;
    /// Writes one of 8 bits.
    fn write8(&self, offset: usize, value: u8);
    /// Writes one of 16 bits.
    fn write16(&self, offset: usize, value: u16);
    /// Writes one of 32 bits.
    fn write32(&self, offset: usize, value: u32);
}

impl Registers for Mmio {
    fn bytes(&self) -> usize {
        self.0.bytes()
    }

    fn read8(&self, offset: usize) -> u8 {
        self.0.read8(offset).unwrap_or(0)
    }

    fn read16(&self, offset: usize) -> u16 {
        self.0.read16(offset).unwrap_or(0)
    }

    fn read32(&self, offset: usize) -> u32 {
        self.0.read32(offset).unwrap_or(0)
    }

    fn write8(&self, offset: usize, value: u8) {
        let _ = self.0.write8(offset, value);
    }

    fn write16(&self, offset: usize, value: u16) {
        let _ = self.0.write16(offset, value);
    }

    fn write32(&self, offset: usize, value: u32) {
        let _ = self.0.write32(offset, value);
    }
}

impl Registers32 for Mmio {
    fn read(&self, offset: usize) -> u32 {
        self.0.read32(offset).unwrap_or(0)
    }

    fn write(&self, offset: usize, value: u32) {
        let _ = self.0.write32(offset, value);
    }
}

/// Why a driver can't start.
#[derive(Debug)]
pub enum StartError {
    /// The device's registers of this number weren't handed over.
    NoRegisters(usize),
    /// There are fewer than the driver uses.
    TooFewRegisters(usize),
    /// No memory was handed over that the device can reach, or too little.
    NoMemory,
    /// The runtime or the kernel refused.
    Runtime(RtError),
}

impl From<RtError> for StartError {
    fn from(error: RtError) -> Self {
        Self::Runtime(error)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRegisters(index) => write!(f, "registers {index} are missing"),
            Self::TooFewRegisters(index) => write!(f, "registers {index} are too few"),
            Self::NoMemory => f.write_str("no memory to share with the device"),
            Self::Runtime(error) => error.fmt(f),
        }
    }
}

/// Maps the device's registers number `index`, of which at least `bytes` bytes are used.
///
/// # Errors
/// See [`StartError`].
pub fn registers(env: &Env, index: usize, bytes: usize) -> Result<Mmio, StartError> {
    let region = region(env, index)?;
    if region.bytes < bytes as u64 {
        return Err(StartError::TooFewRegisters(index));
    }
    let mapped = DeviceMapped::part(region.frame, region.offset, region.bytes)?;
    Ok(Mmio(mapped))
}

/// As [`registers`], for a device whose tree names fewer registers than it has, by the page that they are in: up to
/// `bytes` bytes, which the driver was handed anyway (`docs/087-devices.md`).
///
/// # Errors
/// See [`StartError`].
pub fn registers_of_page(env: &Env, index: usize, bytes: usize) -> Result<Mmio, StartError> {
    let region = region(env, index)?;
    let handed = region.frame.identify()?.size;
    let end = region.offset.checked_add(bytes as u64);
    if end.is_none_or(|end| end > handed) {
        return Err(StartError::TooFewRegisters(index));
    }
    let mapped = DeviceMapped::part(region.frame, region.offset, bytes as u64)?;
    Ok(Mmio(mapped))
}

/// Registers that aren't mapped: too many to be mapped at once.
#[derive(Debug)]
pub struct Region {
    frame: OwnedCap,
    /// Of the first, in the frame.
    offset: u64,
    bytes: u64,
}

/// The device's registers number `index`.
///
/// # Errors
/// [`StartError::NoRegisters`].
pub fn region(env: &Env, index: usize) -> Result<Region, StartError> {
    let missing = StartError::NoRegisters(index);
    let frame = env.capability(&handover::registers_of(index));
    Ok(Region {
        frame: OwnedCap::adopt(frame.ok_or(missing)?),
        offset: env.word(&handover::offset_of(index)).unwrap_or(0),
        bytes: env.word(&handover::bytes_of(index)).unwrap_or(0),
    })
}

impl Region {
    /// The `bytes` bytes of registers from `offset` of `frame` on.
    #[must_use]
    pub const fn new(frame: OwnedCap, offset: u64, bytes: u64) -> Self {
        Self {
            frame,
            offset,
            bytes,
        }
    }

    /// The physical address of the first register.
    ///
    /// # Errors
    /// As [`OwnedCap::identify`].
    pub fn physical(&self) -> Result<u64, StartError> {
        Ok(self.frame.identify()?.base.0 + self.offset)
    }

    /// Maps `bytes` bytes from `from` on.
    ///
    /// # Errors
    /// [`RtError::InvalidSize`] if there aren't so many; as [`DeviceMapped::part`].
    pub fn map(&self, from: u64, bytes: u64) -> Result<Mmio, StartError> {
        let end = from.checked_add(bytes);
        if end.is_none_or(|end| end > self.bytes) {
            return Err(RtError::InvalidSize.into());
        }
        let frame = OwnedCap::copy_of(self.frame.address())?;
        Ok(Mmio(DeviceMapped::part(frame, self.offset + from, bytes)?))
    }
}

/// Maps the memory that the driver shares with its device, uncached.
///
/// # Errors
/// [`StartError::NoMemory`], [`StartError::Runtime`].
pub fn dma(env: &Env) -> Result<SharedMapped, StartError> {
    let frame = env.capability(handover::DMA).ok_or(StartError::NoMemory)?;
    Ok(SharedMapped::uncached(OwnedCap::adopt(frame))?)
}

/// Serves the clients of a driver that has started: each by a `session` with what was `started`.
/// What to exit with when it hasn't; why, is printed.
pub async fn serve<D: Clone, S: Service + 'static>(
    env: &Env,
    started: Result<(D, Listener), impl fmt::Display>,
    session: impl Fn(D) -> S,
) -> ExitCode {
    match started {
        Ok((device, listener)) => {
            listener.serve(|_| session(device.clone())).await;
            ExitCode::SUCCESS
        }
        Err(error) => failed(env, &error),
    }
}

/// What a driver exits with that can't go on; why, is printed.
pub fn failed(env: &Env, why: &impl fmt::Display) -> ExitCode {
    println!("{}: {why}", env.name());
    ExitCode::FAILURE
}

/// An interrupt of the device, which the device manager has claimed.
#[derive(Debug)]
pub struct Interrupt {
    endpoint: Endpoint,
    destination: OwnedCap,
    /// With it the binding goes.
    _source: OwnedCap,
}

impl Interrupt {
    /// The device's interrupt number `index`, from now on delivered to this program; `None` if none was
    /// handed over.
    ///
    /// # Errors
    /// [`StartError::Runtime`].
    pub fn handed_over(env: &Env, index: usize) -> Result<Option<Self>, StartError> {
        let Some(source) = env.capability(&handover::interrupt_of(index)) else {
            return Ok(None);
        };
        Ok(Some(Self::bind(OwnedCap::adopt(source))?))
    }

    /// An interrupt of which `source` is an IrqSource, from now on delivered to this program.
    ///
    /// # Errors
    /// [`RtError`] if there is no room for that, or it is delivered to somebody else.
    pub fn bind(source: OwnedCap) -> Result<Self, RtError> {
        let endpoint = Endpoint::new(EVENTS)?;
        let destination = OwnedCap::make(|slot| {
            sys::dispatcher::bind_irq(source.reference(), CapRef::l2(endpoint.cap()), slot)
        })?;
        Ok(Self {
            endpoint,
            destination,
            _source: source,
        })
    }

    /// Waits until the device interrupts; it is masked then.
    pub async fn wait(&self) {
        while !self.endpoint.receive().await.is_event {}
    }

    /// The device has been served: it may interrupt again.
    ///
    /// # Errors
    /// As [`sys::dispatcher::acknowledge_irq`].
    pub fn acknowledge(&self) -> Result<(), RtError> {
        Ok(sys::dispatcher::acknowledge_irq(
            self.destination.reference(),
        )?)
    }
}

/// Waits by the counter, for the times that hardware takes. Other programs run meanwhile, other
/// tasks of this one don't.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patient;

impl DelayNs for Patient {
    fn delay_ns(&mut self, ns: u32) {
        let start = time::now();
        // At least one tick, and never less than asked for.
        let ticks = time::to_ticks(Duration::from_nanos(ns.into())) + 1;
        while time::now().wrapping_sub(start) < ticks {
            // If the kernel refuses, the time goes by all the same.
            let _ = sys::yield_now();
        }
    }
}
