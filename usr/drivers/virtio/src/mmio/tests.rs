//! What is written where, against registers that keep what is written.

use super::*;
use crate::fake::Fake;
use alloc::vec::Vec;

/// The registers of a slot.
fn slot_of(version: u32, kind: u32) -> Fake {
    let slot = Fake::new(0x200);
    slot.set32(0, 0x7472_6976);
    slot.set32(4, version);
    slot.set32(8, kind);
    slot
}

/// What was written, all of it in registers of 32 bits.
fn words(slot: &Fake) -> Vec<(usize, u32)> {
    let written = slot.written().into_iter();
    let word = |(offset, width, value)| {
        assert_eq!(width, 4);
        (offset, value)
    };
    written.map(word).collect()
}

fn device(version: u32) -> (Fake, MmioTransport<Fake>) {
    let slot = slot_of(version, 4);
    let transport = MmioTransport::new(slot.clone()).unwrap();
    (slot, transport)
}

#[test]
fn slots_are_looked_at_and_not_changed() {
    let slot = slot_of(1, 3);
    assert_eq!(look(&slot), Ok(Some(3)));
    assert_eq!(look(&slot_of(2, 0)), Ok(None));
    assert_eq!(look(&slot_of(2, 99)), Ok(Some(99)));
    assert_eq!(words(&slot), []);
    // Nothing but what says what it is: other registers may be another device's.
    assert_eq!(slot.was_read(), [(0, 4), (4, 4), (8, 4)]);
}

#[test]
fn what_is_no_device_is_told() {
    let refused = |slot: &Fake| MmioTransport::new(slot.clone()).map(drop).unwrap_err();
    assert_eq!(refused(&slot_of(2, 0)), MmioError::Empty);
    assert_eq!(refused(&slot_of(2, 99)), MmioError::UnknownType(99));
    for version in [0, 3, u32::MAX] {
        let slot = slot_of(version, 4);
        assert_eq!(refused(&slot), MmioError::UnknownVersion(version));
        assert_eq!(look(&slot), Err(MmioError::UnknownVersion(version)));
    }
    let other = slot_of(1, 4);
    other.set32(0, 0x7472_6977);
    assert_eq!(refused(&other), MmioError::NotVirtio);
    assert_eq!(look(&other), Err(MmioError::NotVirtio));
    let short = slot_of(1, 4);
    short.truncate(0xfc);
    assert_eq!(refused(&short), MmioError::TooFewRegisters);
    assert_eq!(look(&short), Err(MmioError::TooFewRegisters));
    short.truncate(0);
    assert_eq!(look(&short), Err(MmioError::TooFewRegisters));
}

#[test]
fn a_modern_queue_is_set_up_before_it_is_ready() {
    let (slot, mut transport) = device(2);
    assert!(!transport.requires_legacy_layout());
    slot.set32(0x34, 64);
    assert_eq!(transport.max_queue_size(3), 64);
    assert_eq!(words(&slot), [(0x30, 3)]);
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
    assert_eq!(words(&slot), expected);
    assert!(transport.queue_used(3));
    words(&slot);
    transport.queue_unset(3);
    assert_eq!(words(&slot), [(0x30, 3), (0x44, 0)]);
    assert!(!transport.queue_used(3));
    // Modern devices know nothing of pages.
    words(&slot);
    transport.set_guest_page_size(4096);
    assert_eq!(words(&slot), []);
}

#[test]
fn a_legacy_queue_has_a_page_number() {
    let (slot, mut transport) = device(1);
    assert!(transport.requires_legacy_layout());
    transport.set_guest_page_size(4096);
    assert_eq!(words(&slot), [(0x28, 4096)]);
    transport.queue_set(1, 8, 0x1_2345_6000, 0x1_2345_6080, 0x1_2345_7000);
    let expected = [(0x30, 1), (0x38, 8), (0x3c, 4096), (0x40, 0x0012_3456)];
    assert_eq!(words(&slot), expected);
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
    assert_eq!(words(&slot), expected);
    slot.set32(0x10, 7);
    assert_eq!(transport.read_device_features(), 0x7_0000_0007);
    assert_eq!(words(&slot), [(0x14, 0), (0x14, 1)]);
}

#[test]
fn interrupts_that_stand_are_acknowledged() {
    let (slot, mut transport) = device(1);
    assert!(transport.ack_interrupt().is_empty());
    assert_eq!(words(&slot), []);
    slot.set32(0x60, 3);
    assert_eq!(transport.ack_interrupt().bits(), 3);
    assert_eq!(words(&slot), [(0x64, 3)]);
    transport.notify(5);
    assert_eq!(words(&slot), [(0x50, 5)]);
}

#[test]
fn what_is_the_types_own_comes_behind() {
    let (slot, mut transport) = device(2);
    slot.set32(0x100, 0x0018_0050);
    assert_eq!(transport.read_config_space::<u16>(2), Ok(0x18));
    transport.write_config_space(8, 0x41_u32).unwrap();
    assert_eq!(words(&slot), [(0x108, 0x41)]);
    assert!(transport.read_config_space::<u32>(0xfc).is_ok());
    for offset in [0xfd, 0x100, usize::MAX] {
        let read = transport.read_config_space::<u32>(offset);
        assert_eq!(read, Err(Error::ConfigSpaceTooSmall), "{offset:#x}");
    }
    slot.set32(0xfc, 6);
    assert_eq!(transport.read_config_generation(), 6);
}

#[test]
fn a_device_that_is_dropped_is_reset() {
    for version in [1, 2] {
        let (slot, mut transport) = device(version);
        transport.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
        assert_eq!(words(&slot), [(0x70, 3)]);
        assert!(transport.get_status().contains(DeviceStatus::DRIVER));
        drop(transport);
        assert_eq!(words(&slot), [(0x70, 0)]);
    }
}
