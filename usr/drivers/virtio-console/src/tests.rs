//! A console on a device that says what a test has it say.

use super::*;
use capelin_console::{console::Console, input::CAPACITY, output::Accepted};
use capelin_interfaces::console::ConsoleMode;
use capelin_rt::virtio::fake::{FakeDevice, HostMemory};
use virtio_drivers::transport::{DeviceStatus, DeviceType};

type Uart = VirtioUart<HostMemory, FakeDevice>;

fn device(sizes: &[u32]) -> FakeDevice {
    FakeDevice::new(DeviceType::Console, sizes)
}

fn console() -> (FakeDevice, Console<Uart>) {
    let device = device(&[64, 64]);
    let uart = Uart::take_over(device.clone()).unwrap();
    let mut console = Console::new(uart, 10);
    console.input.enter(7, &mut Vec::new()).unwrap();
    console.input.set_mode(ConsoleMode::Raw, &mut Vec::new());
    (device, console)
}

#[test]
fn what_is_written_is_shown_in_order_whatever_waits() {
    let (device, mut console) = console();
    let bytes: Vec<u8> = (b'a'..=b'z').cycle().take(10_000).collect();
    assert_eq!(console.write(1, &bytes, 0), Accepted::All);
    assert!(!console.is_drained());
    let mut shown = Vec::new();
    let mut interrupts = 0;
    while !console.is_drained() {
        shown.extend(device.consume(TRANSMIT));
        assert!(device.interrupts());
        console.interrupt();
        interrupts += 1;
    }
    assert_eq!(shown, bytes);
    // Each makes room for four buffers.
    assert_eq!(interrupts, 10_000_usize.div_ceil(BUFFERS * OUTPUT_BYTES));
    assert!(!device.interrupts());
    // It is told of each buffer, or it would never look.
    assert!(device.notified().ends_with(&[TRANSMIT; 10]));
}

#[test]
fn what_is_typed_comes_as_it_was_typed() {
    let (device, mut console) = console();
    assert_eq!(console.take(10), None);
    for round in 0..10 {
        let typed = alloc::format!("line {round}\n").into_bytes();
        assert!(device.answer(RECEIVE, &typed));
        assert!(console.interrupt());
        assert!(!console.interrupt(), "no input came");
        assert_eq!(console.take(4).as_deref(), Some(&typed[..4]));
        assert_eq!(console.take(100).as_deref(), Some(&typed[4..]));
        assert_eq!(console.take(100), None);
    }
}

#[test]
fn what_nobody_reads_stays_with_the_device() {
    let (device, mut console) = console();
    let mut sent = Vec::new();
    let mut letters = (b'a'..=b'z').cycle();
    loop {
        let chunk: Vec<u8> = letters.by_ref().take(100).collect();
        if !device.answer(RECEIVE, &chunk) {
            break;
        }
        sent.extend(chunk);
        console.interrupt();
        assert!(sent.len() < 2 * CAPACITY, "it gets no buffers meanwhile");
    }
    assert!(sent.len() > CAPACITY);
    let mut got = Vec::new();
    while let Some(bytes) = console.take(100) {
        got.extend(bytes);
    }
    assert_eq!(got, sent);
    assert!(device.answer(RECEIVE, b"!"));
    console.interrupt();
    assert_eq!(console.take(100).as_deref(), Some(&b"!"[..]));
}

#[test]
fn both_versions_of_the_interface_do() {
    let device = device(&[4, 4]);
    device.set_legacy(true);
    let uart = Uart::take_over(device.clone()).unwrap();
    let mut console = Console::new(uart, 10);
    assert!(device.get_status().contains(DeviceStatus::DRIVER_OK));
    assert_eq!(console.write(1, b"hello\n", 0), Accepted::All);
    assert_eq!(device.consume(TRANSMIT), b"hello\r\n");
    assert!(device.answer(RECEIVE, b"x"));
    assert!(console.interrupt());
}

#[test]
fn a_device_without_its_queues_is_refused() {
    for sizes in [&[][..], &[64], &[0, 64], &[64, 2]] {
        let refused = Uart::take_over(device(sizes)).map(drop);
        assert_eq!(refused, Err(Error::InvalidParam), "{sizes:?}");
    }
    let refusing = device(&[64, 64]);
    refusing.refuse(DeviceStatus::FEATURES_OK);
    let refused = Uart::take_over(refusing).map(drop);
    assert_eq!(refused, Err(Error::Unsupported));
}

/// What is found after the device has told a lie.
fn fault(lie: impl FnOnce(&FakeDevice)) -> Option<Error> {
    let (device, mut console) = console();
    console.write(1, b"hello\n", 0);
    assert_eq!(console.uart().fault(), None);
    lie(&device);
    console.interrupt();
    let found = console.uart().fault();
    if found.is_some() {
        // Nobody waits for it, and nothing more is asked of it.
        let _ = device.notified();
        assert_eq!(console.write(1, b"more\n", 0), Accepted::All);
        assert_eq!(device.notified(), [0_u16; 0]);
        assert_eq!(console.take(10), None);
    }
    found
}

#[test]
fn a_device_that_lies_is_left_alone() {
    assert_eq!(fault(|_| {}), None);
    for queue in [RECEIVE, TRANSMIT] {
        for id in [4, 77, 0xffff, u32::MAX] {
            let found = fault(|device| device.used(queue, id, 1));
            assert_eq!(found, Some(Error::WrongToken), "{queue} {id:#x}");
        }
    }
    let long = fault(|device| {
        let buffer = device.next(RECEIVE).unwrap();
        device.used(RECEIVE, buffer.id.into(), 257);
    });
    assert_eq!(long, Some(Error::IoError));
    assert_eq!(fault(FakeDevice::stick), Some(Error::IoError));
    let broken = fault(|device| device.raise(DeviceStatus::DEVICE_NEEDS_RESET));
    assert_eq!(broken, Some(Error::IoError));
    assert!(fault(|device| device.claim_used(TRANSMIT, 1000)).is_some());
}

#[test]
fn answers_without_bytes_are_no_input() {
    let (device, mut console) = console();
    for _ in 0..100 {
        assert!(device.answer(RECEIVE, b""));
        assert!(!console.interrupt());
    }
    assert_eq!(console.uart().fault(), None);
    assert!(device.answer(RECEIVE, b"x"));
    assert!(console.interrupt());
}
