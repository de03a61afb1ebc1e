//! The 16550 (National Semiconductor PC16550D) and what is compatible with it.
//!
//! | quirk | of | what is done |
//! | --- | --- | --- |
//! | registers 1, 2 or 4 bytes apart, of 1, 2 or 4 bytes | each board (`reg-shift`, `reg-io-width`) | [`Registers`] hides it |
//! | the FIFOs are emptied when they are switched on | all | bytes are taken out first, and the line must rest ([`Ns16550::take_over`]) |
//! | an interrupt "busy" (7) that only a look at register 31 ends | DesignWare | [`Uart::acknowledge`] |
//! | a time-out interrupt (12) without a byte, which only reading one ends | DesignWare | likewise |
//! | THRE means that one byte fits, not that the FIFO is empty | mini UART | bytes are written one by one |
//! | bits 2 and 3 of IER must be set for any interrupt; FIFOs always on; receiver and transmitter have a switch of their own, register 8 | mini UART (BCM2835 ARM Peripherals 2.2, and its errata) | [`Kind::Mini`] |
//!
//! Error bits of the line status belong to the byte that is read next, and end with a look at them
//! (8.6.3): each look is kept for that byte.

use alloc::collections::VecDeque;
use core::{cell::Cell, convert::Infallible};

use capelin_console::{rest, uart::Uart};
use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};

/// Registers by number; the distance between them is the board's.
pub mod register {
    /// Received byte, or byte to transmit (RBR, THR).
    pub const DATA: usize = 0;
    /// Interrupt enable (IER).
    pub const INTERRUPT_ENABLE: usize = 1;
    /// Read: which interrupt (IIR).
    pub const INTERRUPT: usize = 2;
    /// Written: FIFO control (FCR).
    pub const FIFO_CONTROL: usize = 2;
    /// Line control (LCR).
    pub const LINE_CONTROL: usize = 3;
    /// Modem control (MCR).
    pub const MODEM_CONTROL: usize = 4;
    /// Line status (LSR).
    pub const LINE_STATUS: usize = 5;
    /// Modem status (MSR).
    pub const MODEM_STATUS: usize = 6;
    /// Receiver and transmitter on (mini UART's AUX_MU_CNTL).
    pub const MINI_CONTROL: usize = 8;
    /// UART status (DesignWare's USR).
    pub const DW_STATUS: usize = 31;
}

/// IER: a byte was received; damage was received; there is room to transmit.
const RECEIVED: u8 = 1 << 0;
const ROOM: u8 = 1 << 1;
const DAMAGED: u8 = 1 << 2;
const MODEM: u8 = 1 << 3;
/// IIR: no interrupt stands; which one; both bits: the FIFOs are on.
const NONE_STANDS: u8 = 1 << 0;
const WHICH: u8 = 0xf;
const FIFOS_ON: u8 = 0b11 << 6;
/// FCR: FIFOs on, an interrupt for each byte, nothing emptied.
const FIFO_ENABLE: u8 = 1 << 0;
/// LCR: the first two registers are the divisor; eight bits.
const DIVISOR: u8 = 1 << 7;
const EIGHT_BITS: u8 = 0b11;
/// MCR: ready, and the line to the interrupt controller (OUT2), where a board has it; loopback.
const READY: u8 = 0b1011;
const LOOPBACK: u8 = 1 << 4;
/// LSR.
const HAS_BYTE: u8 = 1 << 0;
const PARITY: u8 = 1 << 2;
const FRAMING: u8 = 1 << 3;
const BREAK: u8 = 1 << 4;
const CAN_TRANSMIT: u8 = 1 << 5;
const IDLE: u8 = 1 << 6;
/// The byte is none. After an overrun it is sound; only earlier ones are lost.
const DAMAGE: u8 = PARITY | FRAMING | BREAK;
/// Bytes that fit an empty FIFO.
const DEPTH: usize = 16;
/// Interrupts that one look takes note of; a device that always has one more is broken.
const MOST_INTERRUPTS: usize = 16;

/// A device's registers.
pub trait Registers {
    /// Reads register `number` of [`register`].
    fn read(&self, number: usize) -> u8;
    /// Writes it.
    fn write(&self, number: usize, value: u8);
}

/// Which of its kind a device is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// As the 16550 is.
    Plain,
    /// Synopsys DesignWare's.
    DesignWare,
    /// The Raspberry Pi's mini UART.
    Mini,
}

impl Kind {
    /// The kind of a device with these `compatible` names, of which one is of a 16550.
    pub fn of<'a>(compatible: impl IntoIterator<Item = &'a str>) -> Self {
        let special = compatible.into_iter().find_map(|name| match name {
            "brcm,bcm2835-aux-uart" => Some(Self::Mini),
            "snps,dw-apb-uart" => Some(Self::DesignWare),
            _ => None,
        });
        special.unwrap_or(Self::Plain)
    }

    /// Registers that it has, counted from the first.
    #[must_use]
    pub const fn registers(self) -> u64 {
        match self {
            Self::Plain => register::MODEM_STATUS as u64 + 1,
            Self::DesignWare => register::DW_STATUS as u64 + 1,
            Self::Mini => register::MINI_CONTROL as u64 + 1,
        }
    }

    /// IER's bits for reception.
    const fn reception(self) -> u8 {
        match self {
            Self::Plain | Self::DesignWare => RECEIVED | DAMAGED,
            Self::Mini => RECEIVED | DAMAGED | MODEM,
        }
    }
}

/// A UART with its registers.
#[derive(Debug)]
pub struct Ns16550<R> {
    registers: R,
    kind: Kind,
    /// What IER holds: only we write it.
    enabled: u8,
    /// Error bits that were seen and belong to the byte that is read next.
    damage: Cell<u8>,
    /// Bytes that fit the transmit FIFO when it is empty.
    depth: usize,
    /// Bytes that fit now, at least.
    room: usize,
    /// What was received before the FIFOs were switched on; read first.
    early: VecDeque<u8>,
}

impl<R: Registers> Ns16550<R> {
    /// Takes over a device that others may have written to: what is in its FIFOs stays, and so do
    /// its speed and format. Interrupts are let through from here on, those of reception only.
    pub fn take_over(registers: R, kind: Kind) -> Self {
        let line = registers.read(register::LINE_CONTROL);
        // What firmware left half-done.
        let wanted = match kind {
            Kind::Mini => line & !DIVISOR | EIGHT_BITS,
            Kind::Plain | Kind::DesignWare => line & !DIVISOR,
        };
        if line != wanted {
            registers.write(register::LINE_CONTROL, wanted);
        }
        if kind == Kind::Mini {
            let control = registers.read(register::MINI_CONTROL);
            registers.write(register::MINI_CONTROL, control | 0b11);
        }
        registers.write(register::INTERRUPT_ENABLE, 0);
        let modem = registers.read(register::MODEM_CONTROL);
        registers.write(register::MODEM_CONTROL, modem & !LOOPBACK | READY);
        let mut uart = Self {
            registers,
            kind,
            enabled: kind.reception(),
            damage: Cell::new(0),
            depth: 1,
            room: 0,
            early: VecDeque::new(),
        };
        if uart.enable_fifos() && kind != Kind::Mini {
            uart.depth = DEPTH;
        }
        uart.registers
            .write(register::INTERRUPT_ENABLE, uart.enabled);
        uart
    }

    /// Sees to it that the FIFOs are on; whether they are. To switch them on empties them, so that
    /// waits until all is sent and nothing has come for a while; on a line that doesn't rest they stay
    /// off.
    fn enable_fifos(&mut self) -> bool {
        let are_on = |uart: &Self| uart.registers.read(register::INTERRUPT) & FIFOS_ON == FIFOS_ON;
        if !are_on(self) {
            rest::until_idle(|| self.status() & IDLE != 0);
            let early = rest::until_rest(|| self.receive());
            let sound = |(byte, is_sound): (u8, bool)| is_sound.then_some(byte);
            self.early.extend(early.taken.into_iter().filter_map(sound));
            if !early.is_at_rest {
                return false;
            }
        }
        self.registers.write(register::FIFO_CONTROL, FIFO_ENABLE);
        are_on(self)
    }

    /// The line status; its error bits are kept for the next byte.
    fn status(&self) -> u8 {
        let status = self.registers.read(register::LINE_STATUS);
        self.damage.set(self.damage.get() | status & DAMAGE);
        status
    }

    /// The next byte in the device, and whether it came undamaged.
    fn receive(&self) -> Option<(u8, bool)> {
        if self.status() & HAS_BYTE == 0 {
            return None;
        }
        let byte = self.registers.read(register::DATA);
        Some((byte, self.damage.take() == 0))
    }

    fn has_room(&mut self) -> bool {
        if self.room == 0 && self.status() & CAN_TRANSMIT != 0 {
            self.room = self.depth;
        }
        self.room > 0
    }

    /// Lets the interrupts `which` through, or not.
    fn enable(&mut self, which: u8, on: bool) {
        let enabled = if on {
            self.enabled | which
        } else {
            self.enabled & !which
        };
        if enabled != self.enabled {
            self.enabled = enabled;
            self.registers.write(register::INTERRUPT_ENABLE, enabled);
        }
    }
}

impl<R: Registers> ErrorType for Ns16550<R> {
    type Error = Infallible;
}

impl<R: Registers> ReadReady for Ns16550<R> {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(!self.early.is_empty() || self.status() & HAS_BYTE != 0)
    }
}

impl<R: Registers> WriteReady for Ns16550<R> {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        Ok(self.has_room())
    }
}

impl<R: Registers> Read for Ns16550<R> {
    /// The bytes that are there, none when there are none. Damaged ones are left out.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let mut count = 0;
        while count < buffer.len() {
            let early = self.early.pop_front().map(|byte| (byte, true));
            let Some((byte, is_sound)) = early.or_else(|| self.receive()) else {
                break;
            };
            if is_sound {
                buffer[count] = byte;
                count += 1;
            }
        }
        Ok(count)
    }
}

impl<R: Registers> Write for Ns16550<R> {
    /// As many bytes as the FIFO has room for now.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for (count, &byte) in bytes.iter().enumerate() {
            if !self.has_room() {
                return Ok(count);
            }
            self.room -= 1;
            self.registers.write(register::DATA, byte);
        }
        Ok(bytes.len())
    }

    /// Nothing is held back here.
    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl<R: Registers> Uart for Ns16550<R> {
    fn acknowledge(&mut self) {
        for _ in 0..MOST_INTERRUPTS {
            let interrupt = self.registers.read(register::INTERRUPT);
            match interrupt & WHICH {
                // It looks like none, but for the other bits.
                0b0111 if self.kind == Kind::DesignWare => {
                    self.registers.read(register::DW_STATUS);
                }
                which if which & NONE_STANDS != 0 => return,
                0b0110 => {
                    self.status();
                }
                0b0000 => {
                    self.registers.read(register::MODEM_STATUS);
                }
                // Without a byte it goes on until one is read.
                0b1100 if self.status() & HAS_BYTE == 0 => {
                    self.registers.read(register::DATA);
                }
                // Ends when the bytes are read, which whoever acknowledges does next.
                0b0100 | 0b1100 => return,
                // Room to transmit: ended by this look.
                _ => {}
            }
        }
    }

    fn want_room(&mut self, want: bool) {
        self.enable(ROOM, want);
    }

    fn want_bytes(&mut self, want: bool) {
        self.enable(self.kind.reception(), want);
    }

    fn is_drained(&self) -> bool {
        self.status() & IDLE != 0
    }
}
