//! A virtio device whose registers are at an address of its own (4.2): what hypervisors without PCI
//! have, and QEMU's `virt` beside it.
//!
//! A device tree names places for such devices (*slots*), in most of which there is none. Both
//! versions of the interface are driven: 2, and 1 (*legacy*, 4.2.4), which QEMU has if nothing is said.

use alloc::rc::Rc;
use core::fmt;

use capelin_driver::Registers;
use virtio_drivers::{
    Error, PAGE_SIZE, PhysAddr,
    transport::{DeviceStatus, DeviceType, InterruptStatus, Transport},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    layout::{LayoutError, Piece, Structure},
    reach::{Reach, until_reset},
};

/// Registers that all slots have (4.2.2); what is the device type's own follows.
pub const REGISTER_BYTES: usize = 0x100;

/// `virt`, in little-endian order.
const MAGIC: u32 = u32::from_le_bytes(*b"virt");

/// Offsets of registers (4.2.2, 4.2.4).
mod register {
    pub(super) const MAGIC: usize = 0;
    pub(super) const VERSION: usize = 4;
    pub(super) const DEVICE_ID: usize = 8;
    pub(super) const DEVICE_FEATURES: usize = 0x10;
    pub(super) const DEVICE_FEATURES_SELECT: usize = 0x14;
    pub(super) const DRIVER_FEATURES: usize = 0x20;
    pub(super) const DRIVER_FEATURES_SELECT: usize = 0x24;
    pub(super) const LEGACY_PAGE_SIZE: usize = 0x28;
    pub(super) const QUEUE_SELECT: usize = 0x30;
    pub(super) const QUEUE_SIZE_MOST: usize = 0x34;
    pub(super) const QUEUE_SIZE: usize = 0x38;
    pub(super) const LEGACY_QUEUE_ALIGN: usize = 0x3c;
    pub(super) const LEGACY_QUEUE_PAGE: usize = 0x40;
    pub(super) const QUEUE_READY: usize = 0x44;
    pub(super) const QUEUE_NOTIFY: usize = 0x50;
    pub(super) const INTERRUPT_STATUS: usize = 0x60;
    pub(super) const INTERRUPT_ACKNOWLEDGE: usize = 0x64;
    pub(super) const STATUS: usize = 0x70;
    pub(super) const QUEUE_DESCRIPTORS: usize = 0x80;
    pub(super) const QUEUE_DRIVER: usize = 0x90;
    pub(super) const QUEUE_DEVICE: usize = 0xa0;
    pub(super) const GENERATION: usize = 0xfc;
}

/// Why there is no device that could be driven.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MmioError {
    /// Fewer registers than all slots have.
    TooFewRegisters,
    /// The first register doesn't say that this is a virtio device's slot.
    NotVirtio,
    /// The interface is of a version that nobody knows.
    UnknownVersion(u32),
    /// There is no device in the slot.
    Empty,
    /// The device is of a type that nobody knows.
    UnknownType(u32),
}

impl fmt::Display for MmioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewRegisters => f.write_str("too few registers for a virtio device"),
            Self::NotVirtio => f.write_str("not a virtio device"),
            Self::UnknownVersion(version) => {
                write!(f, "a virtio device of version {version}; 1 and 2 are known")
            }
            Self::Empty => f.write_str("there is no device"),
            Self::UnknownType(kind) => write!(f, "a virtio device of the unknown type {kind}"),
        }
    }
}

/// The version of a device's interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Version {
    Legacy,
    Modern,
}

/// The type of the device in the slot with these registers, which are looked at and not changed; `None`
/// for an empty slot.
///
/// # Errors
/// [`MmioError`], other than [`MmioError::Empty`] and [`MmioError::UnknownType`].
pub fn look(registers: &impl Registers) -> Result<Option<u32>, MmioError> {
    read_slot(registers).map(|(_, kind)| kind)
}

fn read_slot(registers: &impl Registers) -> Result<(Version, Option<u32>), MmioError> {
    if registers.bytes() < REGISTER_BYTES {
        return Err(MmioError::TooFewRegisters);
    }
    if registers.read32(register::MAGIC) != MAGIC {
        return Err(MmioError::NotVirtio);
    }
    let version = match registers.read32(register::VERSION) {
        1 => Version::Legacy,
        2 => Version::Modern,
        other => return Err(MmioError::UnknownVersion(other)),
    };
    let kind = registers.read32(register::DEVICE_ID);
    Ok((version, (kind != 0).then_some(kind)))
}

/// A virtio device in a slot. Dropping it resets it.
#[derive(Debug)]
pub struct MmioTransport<R: Registers> {
    kind: DeviceType,
    version: Version,
    common: Reach<R>,
    device: Reach<R>,
}

impl<R: Registers> MmioTransport<R> {
    /// The device with these registers.
    ///
    /// # Errors
    /// [`MmioError`].
    pub fn new(registers: R) -> Result<Self, MmioError> {
        let (version, kind) = read_slot(&registers)?;
        let kind = kind.ok_or(MmioError::Empty)?;
        let registers = Rc::new(registers);
        let all = u32::try_from(registers.bytes()).unwrap_or(u32::MAX);
        let reach = |offset: u32, bytes: u32, what| {
            let piece = Piece {
                bar: 0,
                offset,
                bytes,
            };
            Reach::new(Some(Rc::clone(&registers)), piece, 0, what)
                .map_err(|_: LayoutError| MmioError::TooFewRegisters)
        };
        let first: u32 = 0x100;
        Ok(Self {
            kind: DeviceType::try_from(kind).map_err(|_| MmioError::UnknownType(kind))?,
            version,
            common: reach(0, first, Structure::Common)?,
            device: reach(first, all.saturating_sub(first), Structure::Device)?,
        })
    }

    fn select(&self, queue: u16) {
        self.common.write32(register::QUEUE_SELECT, queue.into());
    }

    /// The legacy interface takes a queue by the number of its first page, of 32 bits; one that lies beyond
    /// isn't set up, and so isn't in use afterwards.
    fn set_legacy_queue(&self, descriptors: PhysAddr) {
        let page_bytes = PAGE_SIZE as u64;
        if let Ok(page) = u32::try_from(descriptors / page_bytes)
            && descriptors.is_multiple_of(page_bytes)
        {
            let align = u32::try_from(PAGE_SIZE).unwrap_or(u32::MAX);
            self.common.write32(register::LEGACY_QUEUE_ALIGN, align);
            self.common.write32(register::LEGACY_QUEUE_PAGE, page);
        }
    }
}

impl<R: Registers> Drop for MmioTransport<R> {
    fn drop(&mut self) {
        self.set_status(DeviceStatus::empty());
    }
}

impl<R: Registers> Transport for MmioTransport<R> {
    fn device_type(&self) -> DeviceType {
        self.kind
    }

    fn read_device_features(&mut self) -> u64 {
        self.common
            .read_halves(register::DEVICE_FEATURES_SELECT, register::DEVICE_FEATURES)
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        let (select, register) = (register::DRIVER_FEATURES_SELECT, register::DRIVER_FEATURES);
        self.common.write_halves(select, register, driver_features);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.select(queue);
        self.common.read32(register::QUEUE_SIZE_MOST)
    }

    fn notify(&mut self, queue: u16) {
        self.common.write32(register::QUEUE_NOTIFY, queue.into());
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_truncate(self.common.read32(register::STATUS))
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.common.write32(register::STATUS, status.bits());
        if status.is_empty() {
            until_reset(|| self.common.read32(register::STATUS));
        }
    }

    fn set_guest_page_size(&mut self, guest_page_size: u32) {
        if self.version == Version::Legacy {
            self.common
                .write32(register::LEGACY_PAGE_SIZE, guest_page_size);
        }
    }

    fn requires_legacy_layout(&self) -> bool {
        self.version == Version::Legacy
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        self.select(queue);
        self.common.write32(register::QUEUE_SIZE, size);
        match self.version {
            // The other two parts follow the first as the layout demands.
            Version::Legacy => self.set_legacy_queue(descriptors),
            Version::Modern => {
                self.common
                    .write64(register::QUEUE_DESCRIPTORS, descriptors);
                self.common.write64(register::QUEUE_DRIVER, driver_area);
                self.common.write64(register::QUEUE_DEVICE, device_area);
                self.common.write32(register::QUEUE_READY, 1);
            }
        }
    }

    fn queue_unset(&mut self, queue: u16) {
        self.select(queue);
        let register = match self.version {
            Version::Legacy => register::LEGACY_QUEUE_PAGE,
            Version::Modern => register::QUEUE_READY,
        };
        self.common.write32(register, 0);
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.select(queue);
        let register = match self.version {
            Version::Legacy => register::LEGACY_QUEUE_PAGE,
            Version::Modern => register::QUEUE_READY,
        };
        self.common.read32(register) != 0
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        let standing = self.common.read32(register::INTERRUPT_STATUS);
        if standing != 0 {
            self.common
                .write32(register::INTERRUPT_ACKNOWLEDGE, standing);
        }
        InterruptStatus::from_bits_retain(standing)
    }

    fn read_config_generation(&self) -> u32 {
        match self.version {
            Version::Legacy => 0,
            Version::Modern => self.common.read32(register::GENERATION),
        }
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T, Error> {
        self.device.read_value(offset)
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        offset: usize,
        value: T,
    ) -> Result<(), Error> {
        self.device.write_value(offset, &value)
    }
}

#[cfg(test)]
mod tests;
