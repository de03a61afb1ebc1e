//! A console on a PL011.

use crate::uart::{Kind, Pl011, fake::Fake};
use alloc::vec::Vec;
use capelin_console::{console::Console, input::CAPACITY, output::Accepted};
use capelin_interfaces::console::ConsoleMode;

fn console() -> (Fake, Console<Pl011<Fake>>) {
    let fake = Fake::running();
    let uart = Pl011::take_over(fake.clone(), Kind::Pl011);
    (fake, Console::new(uart, 10))
}

#[test]
fn interrupts_drain_what_the_fifo_has_no_room_for() {
    let (fake, mut console) = console();
    let bytes: Vec<u8> = (b'a'..=b'z').cycle().take(1000).collect();
    assert_eq!(console.write(1, &bytes, 0), Accepted::All);
    let mut interrupts = 0;
    while !console.is_drained() {
        if fake.transmit(3) {
            interrupts += 1;
            console.interrupt();
        }
    }
    assert_eq!(fake.0.borrow().sent, bytes);
    // Each refills at least half of the FIFO.
    assert!(
        (1000 / 16 - 1..=1000 / 8).contains(&interrupts),
        "{interrupts}"
    );
    assert!(!fake.interrupts(), "nothing left to be told");
}

#[test]
fn nothing_interrupts_while_there_is_nothing_to_do() {
    let (fake, mut console) = console();
    console.write(1, b"short\n", 0);
    assert!(!fake.transmit(16));
    assert!(!fake.interrupts());
}

#[test]
fn input_is_taken_and_echoed_by_the_interrupt() {
    let (fake, mut console) = console();
    let mut echo = Vec::new();
    console.input.enter(7, &mut echo).unwrap();
    b"hi\r".map(u32::from).iter().for_each(|&b| fake.receive(b));
    assert!(fake.interrupts());
    assert!(console.interrupt());
    assert!(!fake.interrupts());
    assert_eq!(console.input.take(10).unwrap(), b"hi\n");
    fake.transmit(16);
    assert_eq!(fake.0.borrow().sent, b"hi\r\n");
    assert!(!console.interrupt(), "no input came");
}

#[test]
fn what_was_typed_before_the_driver_came_is_taken() {
    let fake = Fake::running();
    b"cores\r"
        .map(u32::from)
        .iter()
        .for_each(|&b| fake.receive(b));
    // Whoever had the device before may have cleared the interrupt, or not.
    for cleared in [false, true] {
        if cleared {
            fake.0.borrow_mut().raw = 0;
            fake.receive(u32::from(b'x'));
            fake.0.borrow_mut().raw = 0;
        }
        let uart = Pl011::take_over(fake.clone(), Kind::Pl011);
        let mut console = Console::new(uart, 10);
        console.input.enter(7, &mut Vec::new()).unwrap();
        console.input.set_mode(ConsoleMode::Raw, &mut Vec::new());
        let wanted: &[u8] = if cleared { b"x" } else { b"cores\n" };
        assert_eq!(console.take(10).as_deref(), Some(wanted));
        // And the next key interrupts.
        fake.receive(u32::from(b'y'));
        assert!(fake.interrupts());
        assert!(console.interrupt());
    }
}

#[test]
fn what_nobody_reads_stays_in_the_device() {
    let (fake, mut console) = console();
    console.input.enter(7, &mut Vec::new()).unwrap();
    console.input.set_mode(ConsoleMode::Raw, &mut Vec::new());
    let mut sent = Vec::new();
    let mut letters = (b'a'..=b'w').cycle();
    while sent.len() < CAPACITY + 10 {
        let byte = letters.next().unwrap();
        sent.push(byte);
        fake.receive(u32::from(byte));
        if fake.interrupts() {
            console.interrupt();
        }
    }
    assert!(
        !fake.interrupts(),
        "the driver asks for no more than it takes"
    );
    assert!(fake.0.borrow().received.len() >= 10);
    let mut got = Vec::new();
    while let Some(bytes) = console.take(100) {
        got.extend(bytes);
    }
    assert_eq!(got, sent);
    assert!(fake.0.borrow().sent.is_empty(), "no bell: nothing was lost");
    fake.receive(u32::from(b'!'));
    assert!(fake.interrupts());
}

#[test]
fn a_client_that_leaves_frees_line_and_session() {
    let (_, mut console) = console();
    console.input.enter(7, &mut Vec::new()).unwrap();
    console.write(7, b"> ", 0);
    assert!(matches!(console.write(8, b"x\n", 1), Accepted::Held(_)));
    assert!(console.leave(7));
    assert_eq!(console.write(8, b"x\n", 1), Accepted::All);
}
