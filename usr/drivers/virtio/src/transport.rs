//! The device, as the crate's drivers use it: its structures of registers (4.1.4.3 to 4.1.4.6).

use alloc::rc::Rc;

use capelin_driver::Registers;
use virtio_drivers::{
    Error, PhysAddr,
    transport::{DeviceStatus, DeviceType, InterruptStatus, Transport},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::layout::{Layout, LayoutError, Piece, Structure};

/// How often the status is read after a reset until it is believed that the device hangs.
const RESET_READS: usize = 100_000;
/// Bytes of the largest value that a driver reads of a device's own structure.
const LARGEST: usize = 64;

/// Offsets in the common structure (4.1.4.3).
mod common {
    pub(super) const DEVICE_FEATURE_SELECT: usize = 0;
    pub(super) const DEVICE_FEATURE: usize = 4;
    pub(super) const DRIVER_FEATURE_SELECT: usize = 8;
    pub(super) const DRIVER_FEATURE: usize = 12;
    pub(super) const STATUS: usize = 20;
    pub(super) const GENERATION: usize = 21;
    pub(super) const QUEUE_SELECT: usize = 22;
    pub(super) const QUEUE_SIZE: usize = 24;
    pub(super) const QUEUE_ENABLE: usize = 28;
    pub(super) const QUEUE_NOTIFY: usize = 30;
    pub(super) const QUEUE_DESCRIPTORS: usize = 32;
    pub(super) const QUEUE_DRIVER: usize = 40;
    pub(super) const QUEUE_DEVICE: usize = 48;
    pub(super) const BYTES: usize = 56;
}

/// A structure of registers.
#[derive(Debug)]
struct Reach<R> {
    registers: Rc<R>,
    start: usize,
    bytes: usize,
}

impl<R: Registers> Reach<R> {
    /// The structure at `piece`, of which `least` bytes are used.
    fn new(
        registers: Option<Rc<R>>,
        piece: Piece,
        least: usize,
        what: Structure,
    ) -> Result<Self, LayoutError> {
        let out = LayoutError::OutOfReach(what);
        let registers = registers.ok_or(out)?;
        let number = |value: u32| usize::try_from(value).map_err(|_| out);
        let (start, bytes) = (number(piece.offset)?, number(piece.bytes)?);
        let end = start.checked_add(bytes).ok_or(out)?;
        if end > registers.bytes() || bytes < least || !start.is_multiple_of(4) {
            return Err(out);
        }
        Ok(Self {
            registers,
            start,
            bytes,
        })
    }

    fn has(&self, offset: usize, bytes: usize) -> bool {
        let end = offset.checked_add(bytes);
        end.is_some_and(|end| end <= self.bytes)
    }

    fn read8(&self, offset: usize) -> u8 {
        self.registers.read8(self.start + offset)
    }

    fn read16(&self, offset: usize) -> u16 {
        self.registers.read16(self.start + offset)
    }

    fn read32(&self, offset: usize) -> u32 {
        self.registers.read32(self.start + offset)
    }

    fn write8(&self, offset: usize, value: u8) {
        self.registers.write8(self.start + offset, value);
    }

    fn write16(&self, offset: usize, value: u16) {
        self.registers.write16(self.start + offset, value);
    }

    fn write32(&self, offset: usize, value: u32) {
        self.registers.write32(self.start + offset, value);
    }

    /// 64 bits, by halves, as 4.1.3.1 allows.
    fn write64(&self, offset: usize, value: u64) {
        let [low, high] = halves(value);
        self.write32(offset, low);
        self.write32(offset + 4, high);
    }
}

/// A virtio device on a PCI bus. Dropping it resets it.
#[derive(Debug)]
pub struct PciTransport<R: Registers> {
    kind: DeviceType,
    common: Reach<R>,
    notify: Reach<R>,
    notify_stride: usize,
    isr: Reach<R>,
    device: Option<Reach<R>>,
}

impl<R: Registers> PciTransport<R> {
    /// The device with that layout, whose BARs `registers` gives.
    ///
    /// # Errors
    /// [`LayoutError::OutOfReach`].
    pub fn new(
        layout: &Layout,
        mut registers: impl FnMut(u8) -> Option<Rc<R>>,
    ) -> Result<Self, LayoutError> {
        let mut reach =
            |piece: Piece, least, what| Reach::new(registers(piece.bar), piece, least, what);
        let notify = Structure::Notify;
        Ok(Self {
            kind: layout.kind,
            common: reach(layout.common, common::BYTES, Structure::Common)?,
            notify: reach(layout.notify, 2, notify)?,
            notify_stride: usize::try_from(layout.notify_stride)
                .map_err(|_| LayoutError::OutOfReach(notify))?,
            isr: reach(layout.isr, 1, Structure::Isr)?,
            device: match layout.device {
                Some(piece) => Some(reach(piece, 0, Structure::Device)?),
                None => None,
            },
        })
    }

    fn select(&self, queue: u16) {
        self.common.write16(common::QUEUE_SELECT, queue);
    }
}

impl<R: Registers> Drop for PciTransport<R> {
    fn drop(&mut self) {
        self.set_status(DeviceStatus::empty());
    }
}

impl<R: Registers> Transport for PciTransport<R> {
    fn device_type(&self) -> DeviceType {
        self.kind
    }

    fn read_device_features(&mut self) -> u64 {
        let half = |index| {
            self.common.write32(common::DEVICE_FEATURE_SELECT, index);
            u64::from(self.common.read32(common::DEVICE_FEATURE))
        };
        half(0) | half(1) << 32
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        for (index, half) in (0..).zip(halves(driver_features)) {
            self.common.write32(common::DRIVER_FEATURE_SELECT, index);
            self.common.write32(common::DRIVER_FEATURE, half);
        }
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.select(queue);
        self.common.read16(common::QUEUE_SIZE).into()
    }

    fn notify(&mut self, queue: u16) {
        self.select(queue);
        let place = usize::from(self.common.read16(common::QUEUE_NOTIFY));
        let offset = place.saturating_mul(self.notify_stride);
        // A device that puts it elsewhere isn't told.
        if self.notify.has(offset, 2) && offset.is_multiple_of(2) {
            self.notify.write16(offset, queue);
        }
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_truncate(self.common.read8(common::STATUS).into())
    }

    fn set_status(&mut self, status: DeviceStatus) {
        let [bits, ..] = status.bits().to_le_bytes();
        self.common.write8(common::STATUS, bits);
        // A reset is over when it reads as 0 (4.1.4.3.2).
        if status.is_empty() {
            let mut reads = 0..RESET_READS;
            let _ = reads.find(|_| self.common.read8(common::STATUS) == 0);
        }
    }

    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
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
        let size = u16::try_from(size).unwrap_or(u16::MAX);
        self.common.write16(common::QUEUE_SIZE, size);
        self.common.write64(common::QUEUE_DESCRIPTORS, descriptors);
        self.common.write64(common::QUEUE_DRIVER, driver_area);
        self.common.write64(common::QUEUE_DEVICE, device_area);
        self.common.write16(common::QUEUE_ENABLE, 1);
    }

    /// A queue ends with a reset of its device only (4.1.4.3.2).
    fn queue_unset(&mut self, _: u16) {}

    fn queue_used(&mut self, queue: u16) -> bool {
        self.select(queue);
        self.common.read16(common::QUEUE_ENABLE) == 1
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::from_bits_retain(self.isr.read8(0).into())
    }

    fn read_config_generation(&self) -> u32 {
        self.common.read8(common::GENERATION).into()
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T, Error> {
        let device = self.device.as_ref().ok_or(Error::ConfigSpaceMissing)?;
        let mut bytes = [0; LARGEST];
        let all = bytes.get_mut(..size_of::<T>());
        let all = all.filter(|all| device.has(offset, all.len()));
        let all = all.ok_or(Error::ConfigSpaceTooSmall)?;
        let mut rest = &mut *all;
        let mut at = offset;
        while !rest.is_empty() {
            let width = width(at, rest.len());
            let value = match width {
                4 => device.read32(at),
                2 => device.read16(at).into(),
                _ => device.read8(at).into(),
            };
            let (now, later) = rest.split_at_mut(width);
            now.copy_from_slice(&value.to_le_bytes()[..width]);
            rest = later;
            at += width;
        }
        T::read_from_bytes(all).map_err(|_| Error::ConfigSpaceTooSmall)
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        offset: usize,
        value: T,
    ) -> Result<(), Error> {
        let device = self.device.as_ref().ok_or(Error::ConfigSpaceMissing)?;
        let mut rest = value.as_bytes();
        if !device.has(offset, rest.len()) {
            return Err(Error::ConfigSpaceTooSmall);
        }
        let mut at = offset;
        while !rest.is_empty() {
            let width = width(at, rest.len());
            let (now, later) = rest.split_at(width);
            match *now {
                [a, b, c, d] => device.write32(at, u32::from_le_bytes([a, b, c, d])),
                [a, b] => device.write16(at, u16::from_le_bytes([a, b])),
                _ => now.iter().for_each(|byte| device.write8(at, *byte)),
            }
            rest = later;
            at += width;
        }
        Ok(())
    }
}

/// Bytes of the widest access at `at`, of at most `left`: a field is read and written as wide as it is
/// (4.1.3.1).
const fn width(at: usize, left: usize) -> usize {
    if left >= 4 && at.is_multiple_of(4) {
        4
    } else if left >= 2 && at.is_multiple_of(2) {
        2
    } else {
        1
    }
}

/// The low and the high 32 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves are what is asked for"
)]
const fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

#[cfg(test)]
mod tests;
