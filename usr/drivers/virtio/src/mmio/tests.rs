//! What is written where, against registers that keep what is written.

use super::*;
use alloc::{vec, vec::Vec};
use core::cell::RefCell;

/// A slot: its words, what was written, and whether writes are kept.
#[derive(Clone, Debug)]
struct Slot(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    bytes: Vec<u8>,
    written: Vec<(usize, u32)>,
    read: Vec<(usize, usize)>,
}

impl Slot {
    fn new(version: u32, kind: u32) -> Self {
        let slot = Self(Rc::new(RefCell::new(Inner {
            bytes: vec![0; 0x200],
            written: Vec::new(),
            read: Vec::new(),
        })));
        slot.set(0, 0x7472_6976);
        slot.set(4, version);
        slot.set(8, kind);
        slot
    }

    fn set(&self, offset: usize, value: u32) {
        self.0.borrow_mut().bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn written(&self) -> Vec<(usize, u32)> {
        core::mem::take(&mut self.0.borrow_mut().written)
    }

    fn load(&self, offset: usize, width: usize) -> u32 {
        let mut inner = self.0.borrow_mut();
        inner.read.push((offset, width));
        let mut value = [0; 4];
        value[..width].copy_from_slice(&inner.bytes[offset..offset + width]);
        u32::from_le_bytes(value)
    }

    fn store(&self, offset: usize, width: usize, value: u32) {
        let mut inner = self.0.borrow_mut();
        inner.written.push((offset, value));
        inner.bytes[offset..offset + width].copy_from_slice(&value.to_le_bytes()[..width]);
    }
}

impl Registers for Slot {
    fn bytes(&self) -> usize {
        self.0.borrow().bytes.len()
    }

    fn read8(&self, offset: usize) -> u8 {
        self.load(offset, 1).to_le_bytes()[0]
    }

    fn read16(&self, offset: usize) -> u16 {
        u16::try_from(self.load(offset, 2)).unwrap()
    }

    fn read32(&self, offset: usize) -> u32 {
        self.load(offset, 4)
    }

    fn write8(&self, offset: usize, value: u8) {
        self.store(offset, 1, value.into());
    }

    fn write16(&self, offset: usize, value: u16) {
        self.store(offset, 2, value.into());
    }

    fn write32(&self, offset: usize, value: u32) {
        self.store(offset, 4, value);
    }
}

fn device(version: u32) -> (Slot, MmioTransport<Slot>) {
    let slot = Slot::new(version, 4);
    let transport = MmioTransport::new(slot.clone()).unwrap();
    (slot, transport)
}

#[test]
fn slots_are_looked_at_and_not_changed() {
    let slot = Slot::new(1, 3);
    assert_eq!(look(&slot), Ok(Some(3)));
    assert_eq!(look(&Slot::new(2, 0)), Ok(None));
    assert_eq!(look(&Slot::new(2, 99)), Ok(Some(99)));
    assert_eq!(slot.written(), []);
    // Nothing but what says what it is: other registers may be another device's.
    assert_eq!(slot.0.borrow().read, [(0, 4), (4, 4), (8, 4)]);
}

#[test]
fn what_is_no_device_is_told() {
    let refused = |slot: &Slot| MmioTransport::new(slot.clone()).map(drop).unwrap_err();
    assert_eq!(refused(&Slot::new(2, 0)), MmioError::Empty);
    assert_eq!(refused(&Slot::new(2, 99)), MmioError::UnknownType(99));
    for version in [0, 3, u32::MAX] {
        let slot = Slot::new(version, 4);
        assert_eq!(refused(&slot), MmioError::UnknownVersion(version));
        assert_eq!(look(&slot), Err(MmioError::UnknownVersion(version)));
    }
    let other = Slot::new(1, 4);
    other.set(0, 0x7472_6977);
    assert_eq!(refused(&other), MmioError::NotVirtio);
    assert_eq!(look(&other), Err(MmioError::NotVirtio));
    let short = Slot::new(1, 4);
    short.0.borrow_mut().bytes.truncate(0xfc);
    assert_eq!(refused(&short), MmioError::TooFewRegisters);
    assert_eq!(look(&short), Err(MmioError::TooFewRegisters));
    let mut none = Slot::new(1, 4).0.borrow().bytes.clone();
    none.truncate(0);
    short.0.borrow_mut().bytes = none;
    assert_eq!(look(&short), Err(MmioError::TooFewRegisters));
}

#[test]
fn a_modern_queue_is_set_up_before_it_is_ready() {
    let (slot, mut transport) = device(2);
    assert!(!transport.requires_legacy_layout());
    slot.set(0x34, 64);
    assert_eq!(transport.max_queue_size(3), 64);
    assert_eq!(slot.written(), [(0x30, 3)]);
    transport.queue_set(3, 8, 0x1_2345_6000, 0x2_0000_1000, 0x3000);
    let expected = [
        (0x30, 3),
        (0x38, 8),
        (0x80, 0x2345_6000),
        (0x84, 1),
        (0x90, 0x1000),
        (0x94, 2),
        (0xa0, 0x3000),
        (0xa4, 0),
        (0x44, 1),
    ];
    assert_eq!(slot.written(), expected);
    assert!(transport.queue_used(3));
    slot.written();
    transport.queue_unset(3);
    assert_eq!(slot.written(), [(0x30, 3), (0x44, 0)]);
    assert!(!transport.queue_used(3));
    // Modern devices know nothing of pages.
    slot.written();
    transport.set_guest_page_size(4096);
    assert_eq!(slot.written(), []);
}

#[test]
fn a_legacy_queue_has_a_page_number() {
    let (slot, mut transport) = device(1);
    assert!(transport.requires_legacy_layout());
    transport.set_guest_page_size(4096);
    assert_eq!(slot.written(), [(0x28, 4096)]);
    transport.queue_set(1, 8, 0x1_2345_6000, 0x1_2345_6080, 0x1_2345_7000);
    let expected = [(0x30, 1), (0x38, 8), (0x3c, 4096), (0x40, 0x0012_3456)];
    assert_eq!(slot.written(), expected);
    assert!(transport.queue_used(1));
    transport.queue_unset(1);
    assert!(!transport.queue_used(1));
    // One that has no such number isn't set up.
    for out_of_reach in [1 << 44, 0x1001] {
        transport.queue_set(1, 8, out_of_reach, 0, 0);
        assert!(!transport.queue_used(1), "{out_of_reach:#x}");
    }
    let last = (1 << 44) - 4096;
    transport.queue_set(1, 8, last, 0, 0);
    assert!(transport.queue_used(1));
}

#[test]
fn features_have_two_halves() {
    let (slot, mut transport) = device(2);
    transport.write_driver_features(0x1_0000_0020);
    let expected = [(0x24, 0), (0x20, 0x20), (0x24, 1), (0x20, 1)];
    assert_eq!(slot.written(), expected);
    slot.set(0x10, 7);
    assert_eq!(transport.read_device_features(), 0x7_0000_0007);
    assert_eq!(slot.written(), [(0x14, 0), (0x14, 1)]);
}

#[test]
fn interrupts_that_stand_are_acknowledged() {
    let (slot, mut transport) = device(1);
    assert!(transport.ack_interrupt().is_empty());
    assert_eq!(slot.written(), []);
    slot.set(0x60, 3);
    assert_eq!(transport.ack_interrupt().bits(), 3);
    assert_eq!(slot.written(), [(0x64, 3)]);
    transport.notify(5);
    assert_eq!(slot.written(), [(0x50, 5)]);
}

#[test]
fn what_is_the_types_own_comes_behind() {
    let (slot, mut transport) = device(2);
    slot.set(0x100, 0x0018_0050);
    assert_eq!(transport.read_config_space::<u16>(2), Ok(0x18));
    transport.write_config_space(8, 0x41_u32).unwrap();
    assert_eq!(slot.written(), [(0x108, 0x41)]);
    assert!(transport.read_config_space::<u32>(0xfc).is_ok());
    for offset in [0xfd, 0x100, usize::MAX] {
        let read = transport.read_config_space::<u32>(offset);
        assert_eq!(read, Err(Error::ConfigSpaceTooSmall), "{offset:#x}");
    }
    slot.set(0xfc, 6);
    assert_eq!(transport.read_config_generation(), 6);
}

#[test]
fn a_device_that_is_dropped_is_reset() {
    for version in [1, 2] {
        let (slot, mut transport) = device(version);
        transport.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
        assert_eq!(slot.written(), [(0x70, 3)]);
        assert!(transport.get_status().contains(DeviceStatus::DRIVER));
        drop(transport);
        assert_eq!(slot.written(), [(0x70, 0)]);
    }
}
