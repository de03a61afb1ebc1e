//! The device, and a console on it.

use alloc::vec::Vec;

use capelin_console::{console::Console, input::CAPACITY, output::Accepted, uart::Uart};
use capelin_interfaces::console::ConsoleMode;
use embedded_io::{Read, ReadReady, Write, WriteReady};

use crate::{
    fake::Fake,
    uart::{Kind, Ns16550, Registers, register},
};

const KINDS: [Kind; 3] = [Kind::Plain, Kind::DesignWare, Kind::Mini];

fn console(kind: Kind) -> (Fake, Console<Ns16550<Fake>>) {
    let fake = Fake::running(kind);
    let uart = Ns16550::take_over(fake.clone(), kind);
    let mut console = Console::new(uart, 10);
    console.input.enter(7, &mut Vec::new()).unwrap();
    (fake, console)
}

#[test]
fn kinds_are_told_by_their_names() {
    assert_eq!(Kind::of(["ns16550a"]), Kind::Plain);
    assert_eq!(Kind::of(["ti,am654-uart"]), Kind::Plain);
    let names = ["rockchip,rk3588-uart", "snps,dw-apb-uart"];
    assert_eq!(Kind::of(names), Kind::DesignWare);
    assert_eq!(Kind::of(["brcm,bcm2835-aux-uart"]), Kind::Mini);
}

#[test]
fn a_running_device_is_not_disturbed() {
    for kind in KINDS {
        let fake = Fake::running(kind);
        fake.receive(b'k', 0);
        fake.0.borrow_mut().transmit.extend(b"boot");
        fake.0.borrow_mut().line_control = 0x83;
        Ns16550::take_over(fake.clone(), kind);
        let device = fake.0.borrow();
        assert_eq!(device.transmit, *b"boot");
        assert_eq!(device.received, [(b'k', 0)]);
        assert_eq!(device.line_control, 3);
        assert_eq!(device.modem_control & 0x1b, 0xb);
        assert_eq!(device.enabled, if kind == Kind::Mini { 0xd } else { 5 });
    }
}

#[test]
fn the_mini_uart_is_switched_on_with_eight_bits() {
    let fake = Fake::running(Kind::Mini);
    fake.0.borrow_mut().mini_control = 0;
    fake.0.borrow_mut().line_control = 2;
    Ns16550::take_over(fake.clone(), Kind::Mini);
    assert_eq!(fake.0.borrow().mini_control, 3);
    assert_eq!(fake.0.borrow().line_control, 3);
}

/// What a device without FIFOs gives of `count` keys that are typed as fast as it takes them, and
/// whether its FIFOs are on then.
fn typed_ahead(count: u32) -> (Vec<u8>, bool) {
    let fake = Fake::running(Kind::Plain);
    fake.0.borrow_mut().has_fifos = false;
    fake.0.borrow_mut().ready = (0..count).map(|key| key.to_le_bytes()[0]).collect();
    let mut uart = Ns16550::take_over(fake.clone(), Kind::Plain);
    let mut keys = Vec::new();
    for _ in 0..100 * count {
        let mut buffer = [0; 8];
        let more = uart.read(&mut buffer).unwrap();
        keys.extend_from_slice(&buffer[..more]);
    }
    let has_fifos = fake.0.borrow().has_fifos;
    (keys, has_fifos)
}

#[test]
fn to_switch_the_fifos_on_loses_no_key() {
    let all = |count: u32| (0..count).map(|key| key.to_le_bytes()[0]).collect();
    assert_eq!(typed_ahead(24), (all(24), true));
    assert_eq!(typed_ahead(1000), (all(1000), false));
}

/// A line that is held low: a BREAK after the other, which are no bytes.
struct HeldLow;

impl Registers for HeldLow {
    fn read(&self, number: usize) -> u8 {
        match number {
            register::LINE_STATUS => 0x71,
            _ => 0,
        }
    }

    fn write(&self, _: usize, _: u8) {}
}

#[test]
fn a_line_held_low_keeps_nobody_from_starting() {
    let mut uart = Ns16550::take_over(HeldLow, Kind::Plain);
    assert!(uart.write_ready().unwrap(), "it can be written to");
}

#[test]
fn a_device_without_fifos_gets_one_byte_at_a_time() {
    let fake = Fake::running(Kind::Plain);
    fake.0.borrow_mut().has_fifos = false;
    fake.0.borrow_mut().ready = (0..250).collect();
    let mut uart = Ns16550::take_over(fake.clone(), Kind::Plain);
    // The fake panics when more comes than it holds.
    if !fake.0.borrow().has_fifos {
        assert_eq!(uart.write(b"abc").unwrap(), 1);
    }
}

#[test]
fn interrupts_drain_what_the_fifo_has_no_room_for() {
    for kind in KINDS {
        let (fake, mut console) = console(kind);
        let bytes: Vec<u8> = (b'a'..=b'z').cycle().take(1000).collect();
        assert_eq!(console.write(1, &bytes, 0), Accepted::All);
        let mut interrupts = 0;
        while !console.is_drained() {
            if fake.transmit(3) {
                interrupts += 1;
                console.interrupt();
            }
            assert!(interrupts < 1000, "{kind:?}");
        }
        assert_eq!(fake.0.borrow().sent, bytes);
        assert!(!fake.interrupts(), "nothing left to be told");
        if kind != Kind::Mini {
            assert!(interrupts <= 1000 / 16, "{interrupts}");
        }
    }
}

#[test]
fn nothing_interrupts_while_there_is_nothing_to_do() {
    for kind in KINDS {
        let (fake, mut console) = console(kind);
        console.write(1, b"short\n", 0);
        assert!(!fake.transmit(16));
        assert!(!fake.interrupts());
    }
}

#[test]
fn input_is_taken_and_echoed_by_the_interrupt() {
    for kind in KINDS {
        let (fake, mut console) = console(kind);
        b"hi\r".iter().for_each(|&byte| fake.receive(byte, 0));
        assert!(fake.interrupts());
        assert!(console.interrupt());
        assert!(!fake.interrupts());
        assert_eq!(console.take(10).unwrap(), b"hi\n");
        fake.transmit(16);
        assert_eq!(fake.0.borrow().sent, b"hi\r\n");
        assert!(!console.interrupt(), "no input came");
    }
}

#[test]
fn what_was_typed_before_the_driver_came_is_taken() {
    for kind in KINDS {
        let fake = Fake::running(kind);
        b"cores\r".iter().for_each(|&byte| fake.receive(byte, 0));
        let mut console = Console::new(Ns16550::take_over(fake.clone(), kind), 10);
        console.input.enter(7, &mut Vec::new()).unwrap();
        assert_eq!(console.take(10).as_deref(), Some(&b"cores\n"[..]));
        // And the next key interrupts.
        fake.receive(b'y', 0);
        assert!(fake.interrupts());
        assert!(console.interrupt());
    }
}

#[test]
fn what_nobody_reads_stays_in_the_device() {
    for kind in KINDS {
        let (fake, mut console) = console(kind);
        console.input.set_mode(ConsoleMode::Raw, &mut Vec::new());
        let mut sent = Vec::new();
        let mut letters = (b'a'..=b'w').cycle();
        while sent.len() < CAPACITY + 6 {
            let byte = letters.next().unwrap();
            sent.push(byte);
            fake.receive(byte, 0);
            if fake.interrupts() {
                console.interrupt();
            }
        }
        assert!(!fake.interrupts(), "it asks for no more than it takes");
        assert!(fake.0.borrow().received.len() >= 6);
        let mut got = Vec::new();
        while let Some(bytes) = console.take(100) {
            got.extend(bytes);
        }
        assert_eq!(got, sent);
        fake.receive(b'!', 0);
        assert!(fake.interrupts());
    }
}

#[test]
fn damaged_bytes_are_left_out_whoever_looked_first() {
    for kind in KINDS {
        let fake = Fake::running(kind);
        let mut uart = Ns16550::take_over(fake.clone(), kind);
        // Parity, framing, break; after an overrun the byte is sound.
        for (byte, damage) in [(b'a', 0), (1, 4), (2, 8), (0, 0x10), (b'd', 2)] {
            fake.receive(byte, damage);
        }
        let mut buffer = [0; 8];
        assert_eq!(uart.read(&mut buffer).unwrap(), 2);
        assert_eq!(&buffer[..2], b"ad");
        assert!(!uart.read_ready().unwrap());
        // The interrupt's look takes the error away from the line status, not from the byte.
        fake.receive(3, 4);
        fake.receive(b'e', 0);
        uart.acknowledge();
        assert!(!uart.is_drained() || uart.read_ready().unwrap());
        assert_eq!(uart.read(&mut buffer).unwrap(), 1);
        assert_eq!(buffer[0], b'e');
    }
}

#[test]
fn the_quirks_of_designware_end() {
    let fake = Fake::running(Kind::DesignWare);
    let mut uart = Ns16550::take_over(fake.clone(), Kind::DesignWare);
    fake.0.borrow_mut().is_busy = true;
    uart.acknowledge();
    assert!(!fake.interrupts());
    fake.0.borrow_mut().has_ghost = true;
    uart.acknowledge();
    assert!(!fake.interrupts());
    // A byte that is there isn't taken for a ghost.
    fake.0.borrow_mut().has_ghost = true;
    fake.receive(b'x', 0);
    uart.acknowledge();
    let mut buffer = [0; 8];
    assert_eq!(uart.read(&mut buffer).unwrap(), 1);
    assert_eq!(buffer[0], b'x');
}

#[test]
fn a_device_that_never_stops_interrupting_stops_nobody() {
    struct Mad;
    impl Registers for Mad {
        fn read(&self, _: usize) -> u8 {
            0
        }
        fn write(&self, _: usize, _: u8) {}
    }
    let mut uart = Ns16550::take_over(Mad, Kind::Plain);
    uart.acknowledge();
    assert!(!uart.write_ready().unwrap());
    assert_eq!(uart.write(b"x").unwrap(), 0);
}
