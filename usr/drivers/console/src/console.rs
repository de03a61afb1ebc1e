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

    /// The device.
    pub const fn uart(&self) -> &U {
        &self.uart
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
