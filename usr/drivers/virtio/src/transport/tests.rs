//! What is written where, against a device of bytes.

use super::*;
use crate::fake::Fake;

const fn piece(offset: u32, bytes: u32) -> Piece {
    Piece {
        bar: 4,
        offset,
        bytes,
    }
}

const LAYOUT: Layout = Layout {
    kind: DeviceType::EntropySource,
    common: piece(0x100, 56),
    notify: piece(0x300, 16),
    notify_stride: 4,
    isr: piece(0x200, 4),
    device: Some(piece(0x240, 8)),
    has_messages: true,
};

fn device() -> (Fake, PciTransport<Fake>) {
    let bar = Fake::new(0x400);
    let given = Rc::new(bar.clone());
    let transport = PciTransport::new(&LAYOUT, |number| {
        assert_eq!(number, 4);
        Some(Rc::clone(&given))
    });
    (bar, transport.unwrap())
}

#[test]
fn a_queue_is_set_up_before_it_is_enabled() {
    let (bar, mut transport) = device();
    transport.queue_set(3, 8, 0x1_2345_6000, 0x2_0000_1000, 0x3000);
    let expected = [
        (0x116, 2, 3),
        (0x118, 2, 8),
        (0x120, 4, 0x2345_6000),
        (0x124, 4, 1),
        (0x128, 4, 0x1000),
        (0x12c, 4, 2),
        (0x130, 4, 0x3000),
        (0x134, 4, 0),
        (0x11c, 2, 1),
    ];
    assert_eq!(bar.written(), expected);
    assert!(transport.queue_used(3));
    assert_eq!(transport.max_queue_size(3), 8);
}

#[test]
fn a_queue_interrupts_by_message_only_if_it_is_told_before_it_is_enabled() {
    let (bar, mut transport) = device();
    transport.use_message();
    // After a reset it has none.
    bar.set(0x11a, &[0xff, 0xff]);
    transport.queue_set(1, 8, 0x1000, 0x2000, 0x3000);
    assert_eq!(bar.written()[8..], [(0x11a, 2, 0), (0x11c, 2, 1)]);
    assert!(transport.queue_used(1));
}

#[test]
fn a_queue_whose_message_the_device_refuses_is_not_used() {
    let (bar, mut transport) = device();
    transport.use_message();
    bar.set(0x11a, &[0xff, 0xff]);
    bar.fix(0x11a);
    transport.queue_set(1, 8, 0x1000, 0x2000, 0x3000);
    assert!(!transport.queue_used(1));
}

#[test]
fn features_have_two_halves() {
    let (bar, mut transport) = device();
    transport.write_driver_features(0x1_0000_0020);
    let expected = [
        (0x108, 4, 0),
        (0x10c, 4, 0x20),
        (0x108, 4, 1),
        (0x10c, 4, 1),
    ];
    assert_eq!(bar.written(), expected);
    bar.set(0x104, &7_u32.to_le_bytes());
    assert_eq!(transport.read_device_features(), 0x7_0000_0007);
    assert_eq!(bar.written(), [(0x100, 4, 0), (0x100, 4, 1)]);
}

#[test]
fn a_queue_is_told_at_its_place_or_not_at_all() {
    let (bar, mut transport) = device();
    bar.set(0x11e, &3_u16.to_le_bytes());
    transport.notify(1);
    assert_eq!(bar.written(), [(0x116, 2, 1), (0x300 + 12, 2, 1)]);
    // Past the structure, which may be another's.
    bar.set(0x11e, &4_u16.to_le_bytes());
    transport.notify(1);
    assert_eq!(bar.written(), [(0x116, 2, 1)]);
}

#[test]
fn fields_are_read_and_written_as_wide_as_they_are() {
    let (bar, mut transport) = device();
    bar.set(0x240, &[1, 2, 3, 4, 5, 6, 7, 8]);
    bar.was_read();
    let address: [u8; 6] = transport.read_config_space(0).unwrap();
    assert_eq!(address, [1, 2, 3, 4, 5, 6]);
    let status: u16 = transport.read_config_space(6).unwrap();
    assert_eq!(status, 0x0807);
    let byte: u8 = transport.read_config_space(5).unwrap();
    assert_eq!(byte, 6);
    let reads = [(0x240, 4), (0x244, 2), (0x246, 2), (0x245, 1)];
    assert_eq!(bar.was_read(), reads);
    transport.write_config_space(4, 0x1234_u16).unwrap();
    transport.write_config_space(0, 0x1_0000_0002_u64).unwrap();
    transport.write_config_space(7, 9_u8).unwrap();
    let expected = [
        (0x244, 2, 0x1234),
        (0x240, 4, 2),
        (0x244, 4, 1),
        (0x247, 1, 9),
    ];
    assert_eq!(bar.written(), expected);
    for offset in [1, 8, usize::MAX] {
        let read = transport.read_config_space::<u64>(offset);
        assert_eq!(read, Err(Error::ConfigSpaceTooSmall), "{offset}");
        let written = transport.write_config_space(offset, 0_u64);
        assert_eq!(written, Err(Error::ConfigSpaceTooSmall), "{offset}");
    }
}

#[test]
fn a_device_that_is_dropped_is_reset() {
    let (bar, mut transport) = device();
    transport.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
    assert_eq!(bar.written(), [(0x114, 1, 3)]);
    assert!(transport.get_status().contains(DeviceStatus::DRIVER));
    drop(transport);
    assert_eq!(bar.written(), [(0x114, 1, 0)]);
}

#[test]
fn structures_out_of_reach_are_refused() {
    let refused = |layout: Layout, bytes| {
        PciTransport::new(&layout, |_| Some(Rc::new(Fake::new(bytes)))).map(|_| ())
    };
    let out = |what| Err(LayoutError::OutOfReach(what));
    assert_eq!(refused(LAYOUT, 0x310), Ok(()));
    assert_eq!(refused(LAYOUT, 0x30f), out(Structure::Notify));
    for (common, what) in [
        (piece(0x100, 55), Structure::Common),
        (piece(0x3d0, 56), Structure::Common),
        (piece(u32::MAX - 3, u32::MAX), Structure::Common),
        (piece(0x102, 56), Structure::Common),
    ] {
        let layout = Layout { common, ..LAYOUT };
        assert_eq!(refused(layout, 0x400), out(what), "{common:?}");
    }
    let without = PciTransport::<Fake>::new(&LAYOUT, |_| None).map(|_| ());
    assert_eq!(without, out(Structure::Common));
}
