//! A UART, its output and its input: what an interrupt and a write do.

use alloc::vec::Vec;

use crate::{
    ClientId,
    input::Input,
    output::{Accepted, Output},
    uart::Uart,
};

/// Bytes read from the device at a time.
const CHUNK: usize = 64;

/// A console.
#[derive(Debug)]
pub struct Console<U> {
    uart: U,
    output: Output,
    /// Input; after each use, [`Console::echo`] what is to be echoed.
    pub input: Input,
}

impl<U: Uart> Console<U> {
    /// A console on `uart`; [`crate::output::HOLD`] is `hold_ticks` counter ticks. What was typed
    /// before the driver came is taken.
    pub fn new(uart: U, hold_ticks: u64) -> Self {
        let mut console = Self {
            uart,
            output: Output::new(hold_ticks),
            input: Input::default(),
        };
        console.interrupt();
        console
    }

    /// Serves the device: takes what it received, gives it what it has room for. Whether input
    /// came. Ends with the device's line dropped, unless bytes came meanwhile.
    pub fn interrupt(&mut self) -> bool {
        self.uart.acknowledge();
        let received = self.receive();
        self.transmit();
        received
    }

    /// At most `limit` bytes of input: see [`Input::take`]. Room for what the device holds back
    /// is used at once.
    pub fn take(&mut self, limit: usize) -> Option<Vec<u8>> {
        let taken = self.input.take(limit);
        if taken.is_some() {
            self.receive();
        }
        taken
    }

    /// Takes what the device received, as far as there is room. The rest stays in the device,
    /// which holds its sender back where it can, and interrupts nobody until there is room again.
    fn receive(&mut self) -> bool {
        let mut received = false;
        let mut echo = Vec::new();
        let mut chunk = [0; CHUNK];
        // Before the FIFO is emptied: a byte that arrives afterwards interrupts.
        self.uart.want_bytes(true);
        let has_room = loop {
            let room = self.input.room().min(CHUNK);
            if room == 0 {
                break false;
            }
            let Ok(count) = self.uart.read(&mut chunk[..room]);
            if count == 0 {
                break true;
            }
            received = true;
            self.input.arrive(&chunk[..count], &mut echo);
        };
        self.uart.want_bytes(has_room);
        self.show(&echo);
        received
    }

    /// Takes bytes of `client`; `now` in counter ticks.
    pub fn write(&mut self, client: ClientId, bytes: &[u8], now: u64) -> Accepted {
        let accepted = self.output.write(client, bytes, now);
        self.transmit();
        accepted
    }

    /// Shows what line mode echoes; and where that made room for input, takes it.
    pub fn echo(&mut self, bytes: &[u8]) {
        self.show(bytes);
        self.receive();
    }

    fn show(&mut self, bytes: &[u8]) {
        self.output.echo(bytes);
        self.transmit();
    }

    /// `client` is gone. Whether the input session is free now.
    pub fn leave(&mut self, client: ClientId) -> bool {
        self.output.forget(client);
        let is_free = self.input.leave(client);
        self.receive();
        is_free
    }

    /// Whether all output has left the device.
    pub fn is_drained(&self) -> bool {
        self.output.is_empty() && self.uart.is_drained()
    }

    /// Gives the device what it has room for; when not all, has it interrupt when room comes.
    fn transmit(&mut self) {
        while !self.output.is_empty() {
            let Ok(count) = self.uart.write(self.output.next());
            if count == 0 {
                break;
            }
            self.output.advance(count);
        }
        let is_left = !self.output.is_empty();
        self.uart.want_room(is_left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::CAPACITY;
    use crate::uart::{Kind, Pl011, fake::Fake};
    use alloc::vec::Vec;
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
}
