//! The device, as the crate's drivers use it: its structures of registers (4.1.4.3 to 4.1.4.6).

use alloc::rc::Rc;

use capelin_driver::Registers;
use virtio_drivers::{
    Error, PhysAddr,
    transport::{DeviceStatus, DeviceType, InterruptStatus, Transport},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    layout::{Layout, LayoutError, Piece, Structure},
    reach::{Reach, until_reset},
};

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
    pub(super) const QUEUE_VECTOR: usize = 26;
    pub(super) const QUEUE_ENABLE: usize = 28;
    pub(super) const QUEUE_NOTIFY: usize = 30;
    pub(super) const QUEUE_DESCRIPTORS: usize = 32;
    pub(super) const QUEUE_DRIVER: usize = 40;
    pub(super) const QUEUE_DEVICE: usize = 48;
    pub(super) const BYTES: usize = 56;
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
    has_message: bool,
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
            has_message: false,
        })
    }

    /// From now on queues that are set up interrupt by the first message of the function's (4.1.5.1.2), which is enabled.
    pub fn use_message(&mut self) {
        self.has_message = true;
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
        self.common
            .read_halves(common::DEVICE_FEATURE_SELECT, common::DEVICE_FEATURE)
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        let (select, register) = (common::DRIVER_FEATURE_SELECT, common::DRIVER_FEATURE);
        self.common.write_halves(select, register, driver_features);
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
        if status.is_empty() {
            until_reset(|| self.common.read8(common::STATUS).into());
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
        if self.has_message {
            self.common.write16(common::QUEUE_VECTOR, 0);
            if self.common.read16(common::QUEUE_VECTOR) != 0 {
                // The device had no room for that (4.1.5.1.2.2); a queue that isn't enabled is refused.
                return;
            }
        }
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
        device.read_value(offset)
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        offset: usize,
        value: T,
    ) -> Result<(), Error> {
        let device = self.device.as_ref().ok_or(Error::ConfigSpaceMissing)?;
        device.write_value(offset, &value)
    }
}

#[cfg(test)]
mod tests;
