//! The mailbox's registers.
//!
//! Described by the firmware's wiki ("Mailboxes", "Accessing mailboxes"). Of the two mailboxes the
//! cores read the first and write the second:
//!
//! ```text
//! 0x00  READ     takes the oldest word of mailbox 0: 28 bits of data, 4 of channel
//! 0x18  STATUS   of mailbox 0: bit 30 empty
//! 0x20  WRITE    puts a word into mailbox 1
//! 0x38  STATUS   of mailbox 1: bit 31 full
//! ```

use capelin_driver::Registers32;
use embedded_hal::delay::DelayNs;
use tock_registers::{LocalRegisterCopy, register_bitfields};

register_bitfields![u32,
    Status [
        EMPTY OFFSET(30) NUMBITS(1) [],
        FULL OFFSET(31) NUMBITS(1) []
    ],
    Word [
        CHANNEL OFFSET(0) NUMBITS(4) [],
        DATA OFFSET(4) NUMBITS(28) []
    ]
];

const READ: usize = 0x00;
const READ_STATUS: usize = 0x18;
const WRITE: usize = 0x20;
const WRITE_STATUS: usize = 0x38;
/// Bytes of registers that are used.
pub const REGISTER_BYTES: usize = 0x3c;

/// How long firmware may take for an answer, in microseconds: temperature takes it some
/// hundred, and it may have another request to see to.
pub const PATIENCE_US: u32 = 1_000_000;
/// Between two looks, in microseconds.
const PAUSE_US: u32 = 10;
/// Words that may lie there from before; the mailbox holds eight.
const MOST_STALE: usize = 16;

/// Why no word came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MailboxError {
    /// The mailbox stayed full: firmware takes nothing.
    Full,
    /// No answer came in time.
    Silent,
    /// Words that nobody asked for don't end.
    Flooded,
    /// The word can't be sent: its lower four bits are the channel's.
    Unaligned,
}

/// The mailbox.
#[derive(Debug)]
pub struct Mailbox<R, D> {
    registers: R,
    delay: D,
}

impl<R: Registers32, D: DelayNs> Mailbox<R, D> {
    /// Over its registers; waits by `delay`.
    pub const fn new(registers: R, delay: D) -> Self {
        Self { registers, delay }
    }

    fn status(&self, register: usize) -> LocalRegisterCopy<u32, Status::Register> {
        LocalRegisterCopy::new(self.registers.read(register))
    }

    /// Sends `data` (a multiple of 16) on `channel`, and gives what firmware answers there.
    /// What lies in the mailbox from before is dropped, so that an answer that came too late isn't
    /// taken for that of the next request; so are words on other channels.
    ///
    /// # Errors
    /// See [`MailboxError`].
    pub fn call(&mut self, channel: u8, data: u32) -> Result<u32, MailboxError> {
        if data & 0xf != 0 || channel > 0xf {
            return Err(MailboxError::Unaligned);
        }
        self.drain()?;
        let mut waited_us = 0;
        while self.status(WRITE_STATUS).is_set(Status::FULL) {
            self.pause(&mut waited_us, MailboxError::Full)?;
        }
        self.registers.write(WRITE, data | u32::from(channel));
        loop {
            while self.status(READ_STATUS).is_set(Status::EMPTY) {
                self.pause(&mut waited_us, MailboxError::Silent)?;
            }
            let word: LocalRegisterCopy<u32, Word::Register> =
                LocalRegisterCopy::new(self.registers.read(READ));
            if word.read(Word::CHANNEL) == u32::from(channel) {
                return Ok(word.read(Word::DATA) << 4);
            }
            self.pause(&mut waited_us, MailboxError::Flooded)?;
        }
    }

    fn drain(&self) -> Result<(), MailboxError> {
        for _ in 0..MOST_STALE {
            if self.status(READ_STATUS).is_set(Status::EMPTY) {
                return Ok(());
            }
            let _ = self.registers.read(READ);
        }
        Err(MailboxError::Flooded)
    }

    fn pause(&mut self, waited_us: &mut u32, error: MailboxError) -> Result<(), MailboxError> {
        if *waited_us >= PATIENCE_US {
            return Err(error);
        }
        self.delay.delay_us(PAUSE_US);
        *waited_us += PAUSE_US;
        Ok(())
    }
}
