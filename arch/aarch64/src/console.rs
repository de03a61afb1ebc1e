//! The early console: polled output to a PL011 or 16550, with bounded waiting, so
//! that a stuck UART costs output and nothing else.
#![expect(unsafe_code, reason = "the UART's registers at an address given")]

use core::fmt;

use capelin_abi::VirtAddr;
use capelin_abi::boot::ConsoleArgs;
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::{register_bitfields, register_structs};

use crate::mmio::{ReadWrite, Word};
use crate::timer::{self, CounterDelay};

/// How long the transmitter is waited for before a byte is dropped, in microseconds: at
/// 115,200 baud a byte takes 87. (So many looks, of some 50 ns at least, where the
/// counter's frequency isn't known.)
const PATIENCE_US: u32 = 5_000;

register_bitfields![u32,
    Flags [
        /// The receive FIFO is empty.
        RXFE OFFSET(4) NUMBITS(1) [],
        /// The transmit FIFO is full.
        TXFF OFFSET(5) NUMBITS(1) []
    ],
    LineControl [
        FIFO_ENABLE OFFSET(4) NUMBITS(1) [],
        WORD_LENGTH OFFSET(5) NUMBITS(2) [Eight = 3]
    ],
    Control [
        UART_ENABLE OFFSET(0) NUMBITS(1) [],
        TRANSMIT_ENABLE OFFSET(8) NUMBITS(1) [],
        RECEIVE_ENABLE OFFSET(9) NUMBITS(1) []
    ]
];

register_structs! {
    /// PL011 (Arm DDI 0183); the SBSA UART has data and flags only.
    Pl011 {
        (0x00 => data: ReadWrite<u32>),
        (0x04 => _status),
        (0x18 => flags: ReadWrite<u32, Flags::Register>),
        (0x1c => _baud),
        (0x2c => line_control: ReadWrite<u32, LineControl::Register>),
        (0x30 => control: ReadWrite<u32, Control::Register>),
        (0x34 => @END),
    }
}

/// 16550: transmit holding register.
const THR: usize = 0;
/// 16550: line status register.
const LSR: usize = 5;
/// Line status: the transmit holding register is empty.
const THRE: u32 = 1 << 5;

#[derive(Clone, Copy)]
enum Uart {
    Pl011(&'static Pl011),
    Ns16550 {
        base: usize,
        register_shift: u32,
        access: Access,
    },
}

#[derive(Clone, Copy)]
enum Access {
    Byte,
    Half,
    Word,
}

/// A UART that takes text.
#[derive(Clone, Copy)]
pub struct EarlyConsole {
    uart: Uart,
}

// SAFETY: an access of a device's register is one load or store, which the device
// orders; two who write at once mix their text, and nothing else.
unsafe impl Send for EarlyConsole {}
// SAFETY: as above.
unsafe impl Sync for EarlyConsole {}

impl EarlyConsole {
    /// The console that `args` describes, its registers at `base`; `None` where
    /// there is none, or of a kind that isn't known.
    ///
    /// # Safety
    /// 1. `base` is mapped, writable and as device memory, to `args.registers`, as
    ///    long as the console is used.
    #[must_use]
    pub unsafe fn new(args: &ConsoleArgs, base: VirtAddr) -> Option<Self> {
        let base = usize::try_from(base.0).ok()?;
        let uart = match args.kind {
            ConsoleArgs::PL011 => {
                let registers = core::ptr::with_exposed_provenance::<Pl011>(base);
                // SAFETY: mapped as long as it is used (1); the fields are cells
                // for volatile access.
                Uart::Pl011(unsafe { &*registers })
            }
            ConsoleArgs::NS16550 => Uart::Ns16550 {
                base,
                register_shift: args.register_shift.min(4),
                access: match args.access_bytes {
                    4 => Access::Word,
                    2 => Access::Half,
                    _ => Access::Byte,
                },
            },
            _ => return None,
        };
        Some(Self { uart })
    }

    /// Enables a PL011 that nobody has enabled, at the speed that it has. Not for
    /// an SBSA UART, which has no such registers. To switch the FIFOs on empties
    /// them (DDI 0183G 3.3.7): with a key waiting that is left to the driver, which
    /// takes it first.
    pub fn enable(&self) {
        if let Uart::Pl011(uart) = self.uart
            && !uart.control.is_set(Control::UART_ENABLE)
        {
            let fifo = if uart.flags.is_set(Flags::RXFE) {
                LineControl::FIFO_ENABLE::SET
            } else {
                LineControl::FIFO_ENABLE::CLEAR
            };
            uart.line_control
                .write(fifo + LineControl::WORD_LENGTH::Eight);
            uart.control.write(
                Control::UART_ENABLE::SET
                    + Control::TRANSMIT_ENABLE::SET
                    + Control::RECEIVE_ENABLE::SET,
            );
        }
    }

    /// Writes one byte, or drops it when the transmitter stays busy.
    pub fn write_byte(&self, byte: u8) {
        if timer::poll(&mut CounterDelay, PATIENCE_US, || self.has_room()) {
            self.put(byte);
        }
    }

    /// Writes as many bytes as there is room for now, a carriage return before every
    /// line feed: how many of `text`.
    #[must_use]
    pub fn write_some(&self, text: &[u8]) -> usize {
        for (done, &byte) in text.iter().enumerate() {
            if byte == b'\n' {
                if !self.has_room() {
                    return done;
                }
                // Where the line feed finds no room now, it comes with another of these.
                self.put(b'\r');
            }
            if !self.has_room() {
                return done;
            }
            self.put(byte);
        }
        text.len()
    }

    fn has_room(&self) -> bool {
        match self.uart {
            Uart::Pl011(uart) => !uart.flags.is_set(Flags::TXFF),
            Uart::Ns16550 { .. } => self.read_16550(LSR) & THRE != 0,
        }
    }

    fn put(&self, byte: u8) {
        match self.uart {
            Uart::Pl011(uart) => uart.data.set(u32::from(byte)),
            Uart::Ns16550 {
                base,
                register_shift,
                access,
            } => {
                let address = base + (THR << register_shift);
                match access {
                    Access::Byte => write(address, byte),
                    Access::Half => write(address, u16::from(byte)),
                    Access::Word => write(address, u32::from(byte)),
                }
            }
        }
    }

    fn read_16550(&self, register: usize) -> u32 {
        let Uart::Ns16550 {
            base,
            register_shift,
            access,
        } = self.uart
        else {
            return 0;
        };
        let address = base + (register << register_shift);
        match access {
            Access::Byte => u32::from(read::<u8>(address)),
            Access::Half => u32::from(read::<u16>(address)),
            Access::Word => read::<u32>(address),
        }
    }
}

fn read<T: Word>(address: usize) -> T {
    // SAFETY: `address` lies in the registers that `EarlyConsole::new` was
    // promised (1); devices trees' strides keep it aligned.
    unsafe { T::load(core::ptr::with_exposed_provenance(address)) }
}

fn write<T: Word>(address: usize, value: T) {
    // SAFETY: as in `read`.
    unsafe { T::store(core::ptr::with_exposed_provenance_mut(address), value) }
}

impl fmt::Write for EarlyConsole {
    /// Writes `text` with a carriage return before every line feed.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.write_byte(b'\r');
            }
            self.write_byte(byte);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write;

    /// A UART's registers as plain memory: what was written last stays.
    #[repr(C, align(8))]
    struct Memory([u32; 64]);

    fn console(memory: &'static mut Memory, args: &ConsoleArgs) -> (EarlyConsole, *mut u32) {
        let words = memory.0.as_mut_ptr();
        let base = VirtAddr(words.expose_provenance() as u64);
        // SAFETY: the memory lives for ever and is only accessed by address (1).
        (unsafe { EarlyConsole::new(args, base) }.unwrap(), words)
    }

    fn word(words: *mut u32, index: usize) -> u32 {
        // SAFETY: all indices used are below 64.
        let at = unsafe { words.add(index) };
        // SAFETY: alive and aligned.
        unsafe { at.read_volatile() }
    }

    #[test]
    fn a_pl011_gets_bytes_and_is_enabled() {
        let mut memory = Memory([0; 64]);
        memory.0[0x18 / 4] = 1 << 4;
        let memory = std::boxed::Box::leak(std::boxed::Box::new(memory));
        let args = ConsoleArgs {
            kind: ConsoleArgs::PL011,
            ..ConsoleArgs::default()
        };
        let (mut console, words) = console(memory, &args);
        console.enable();
        assert_eq!(
            (word(words, 0x2c / 4), word(words, 0x30 / 4)),
            (0x70, 0x301)
        );
        console.write_str("ok!").unwrap();
        assert_eq!(word(words, 0), u32::from(b'!'));
    }

    #[test]
    fn a_key_that_waits_is_not_thrown_away() {
        // The receive FIFO isn't empty.
        let memory = std::boxed::Box::leak(std::boxed::Box::new(Memory([0; 64])));
        let args = ConsoleArgs {
            kind: ConsoleArgs::PL011,
            ..ConsoleArgs::default()
        };
        let (console, words) = console(memory, &args);
        console.enable();
        assert_eq!(
            (word(words, 0x2c / 4), word(words, 0x30 / 4)),
            (0x60, 0x301)
        );
    }

    #[test]
    fn a_full_pl011_loses_bytes_but_no_time() {
        let mut memory = Memory([0; 64]);
        memory.0[0x18 / 4] = 1 << 5;
        let memory = std::boxed::Box::leak(std::boxed::Box::new(memory));
        let args = ConsoleArgs {
            kind: ConsoleArgs::PL011,
            ..ConsoleArgs::default()
        };
        let (console, words) = console(memory, &args);
        console.write_byte(b'x');
        assert_eq!(word(words, 0), 0);
    }

    #[test]
    fn a_16550_is_accessed_by_its_stride_and_width() {
        let mut memory = Memory([0; 64]);
        memory.0[5] = 1 << 5;
        let memory = std::boxed::Box::leak(std::boxed::Box::new(memory));
        let args = ConsoleArgs {
            kind: ConsoleArgs::NS16550,
            register_shift: 2,
            access_bytes: 4,
            ..ConsoleArgs::default()
        };
        let (console, words) = console(memory, &args);
        console.write_byte(b'y');
        assert_eq!(word(words, 0), u32::from(b'y'));
    }

    #[test]
    fn without_a_console_there_is_none() {
        // SAFETY: nothing is accessed.
        let none = unsafe { EarlyConsole::new(&ConsoleArgs::default(), VirtAddr(0)) };
        assert!(none.is_none());
    }
}
