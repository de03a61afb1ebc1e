//! A virtio device, however its registers are reached: a driver is one program for all.

use capelin_driver::Registers;
use virtio_drivers::{
    Error, PhysAddr,
    transport::{DeviceStatus, DeviceType, InterruptStatus, Transport},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{mmio::MmioTransport, transport::PciTransport};

/// A virtio device in a slot or on a PCI bus. Dropping it resets it.
#[derive(Debug)]
pub enum AnyTransport<R: Registers> {
    /// In a slot.
    Mmio(MmioTransport<R>),
    /// On a PCI bus.
    Pci(PciTransport<R>),
}

/// What both do likewise.
macro_rules! both {
    ($self:ident, $it:ident => $what:expr) => {
        match $self {
            Self::Mmio($it) => $what,
            Self::Pci($it) => $what,
        }
    };
}

impl<R: Registers> Transport for AnyTransport<R> {
    fn device_type(&self) -> DeviceType {
        both!(self, it => it.device_type())
    }

    fn read_device_features(&mut self) -> u64 {
        both!(self, it => it.read_device_features())
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        both!(self, it => it.write_driver_features(driver_features));
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        both!(self, it => it.max_queue_size(queue))
    }

    fn notify(&mut self, queue: u16) {
        both!(self, it => it.notify(queue));
    }

    fn get_status(&self) -> DeviceStatus {
        both!(self, it => it.get_status())
    }

    fn set_status(&mut self, status: DeviceStatus) {
        both!(self, it => it.set_status(status));
    }

    fn set_guest_page_size(&mut self, guest_page_size: u32) {
        both!(self, it => it.set_guest_page_size(guest_page_size));
    }

    fn requires_legacy_layout(&self) -> bool {
        both!(self, it => it.requires_legacy_layout())
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        both!(self, it => it.queue_set(queue, size, descriptors, driver_area, device_area));
    }

    fn queue_unset(&mut self, queue: u16) {
        both!(self, it => it.queue_unset(queue));
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        both!(self, it => it.queue_used(queue))
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        both!(self, it => it.ack_interrupt())
    }

    fn read_config_generation(&self) -> u32 {
        both!(self, it => it.read_config_generation())
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T, Error> {
        both!(self, it => it.read_config_space(offset))
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        offset: usize,
        value: T,
    ) -> Result<(), Error> {
        both!(self, it => it.write_config_space(offset, value))
    }
}
