//! The property channel: requests to the VideoCore's firmware.
//!
//! Described by the firmware's wiki ("Mailbox property interface"). A request is a buffer of words
//! that firmware answers in place; here it holds one tag:
//!
//! ```text
//! 0  bytes of the buffer
//! 1  0: a request                      0x8000_0000: answered; 0x8000_0001: can't be read
//! 2  tag
//! 3  bytes of the value's room
//! 4  0                                 bit 31: answered; below: bytes of the answer
//! 5  value, in words
//! …  0: the last tag
//! ```

use alloc::{vec, vec::Vec};

use capelin_driver::Registers32;
use embedded_hal::delay::DelayNs;

use crate::mailbox::{Mailbox, MailboxError};

/// The channel of property requests, from the cores to the VideoCore.
const CHANNEL: u8 = 8;
/// Words around a value.
const FRAMING: usize = 6;
/// Words that a value may have.
const MOST_WORDS: usize = 64;
/// Bytes of memory that requests take.
pub const BUFFER_BYTES: usize = (FRAMING + MOST_WORDS) * 4;

const REQUEST: u32 = 0;
const ANSWERED: u32 = 1 << 31;
const UNREADABLE: u32 = 1 << 31 | 1;
const LAST_TAG: u32 = 0;

/// What can be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Tag {
    /// Date of the firmware, in seconds since 1970: one word.
    FirmwareRevision = 0x0000_0001,
    /// Revision code of the board: one word.
    BoardRevision = 0x0001_0002,
    /// Serial number of the board: two words, the low one first.
    BoardSerial = 0x0001_0004,
    /// Memory of the Arm cores: base and size.
    ArmMemory = 0x0001_0005,
    /// Rate of a clock in hertz; asked for with its number, which comes back first.
    ClockRate = 0x0003_0002,
    /// Temperature of the chip in thousandths of a degree Celsius; asked for with 0, which comes back first.
    Temperature = 0x0003_0006,
    /// At which temperature firmware slows the chip down; likewise.
    MaxTemperature = 0x0003_000a,
}

/// Why firmware's answer can't be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PropertyError {
    /// The mailbox gave none.
    Mailbox(MailboxError),
    /// It is about another buffer than ours: at this address.
    OtherBuffer(u32),
    /// Firmware couldn't read the request.
    Unreadable,
    /// The buffer is as we wrote it.
    Untouched,
    /// The word that says how it went is none that is known.
    UnknownStatus(u32),
    /// Firmware doesn't know the tag, or has no value for it.
    UnknownTag,
    /// The answer has fewer bytes than such a value.
    TooShort(u32),
    /// The answer is for another number than was asked for.
    OtherSubject(u32),
    /// The value has more words than a request may.
    TooLong,
    /// The memory can't be reached.
    Memory,
}

impl From<MailboxError> for PropertyError {
    fn from(error: MailboxError) -> Self {
        Self::Mailbox(error)
    }
}

/// Memory that firmware sees, too: uncached, of [`BUFFER_BYTES`] bytes at least.
pub trait Buffer {
    /// Its address as the VideoCore's bus has it: a multiple of 16.
    fn bus_address(&self) -> u32;
    /// Writes words from its start on, and sees to it that firmware sees them before it is told.
    /// False if they don't fit.
    fn write(&mut self, words: &[u32]) -> bool;
    /// Reads words from its start on, as firmware has left them. False if there are fewer.
    fn read(&self, words: &mut [u32]) -> bool;
}

/// The property channel.
#[derive(Debug)]
pub struct Property<R, D, B> {
    mailbox: Mailbox<R, D>,
    buffer: B,
}

impl<R: Registers32, D: DelayNs, B: Buffer> Property<R, D, B> {
    /// Over a mailbox, with memory for requests.
    pub const fn new(mailbox: Mailbox<R, D>, buffer: B) -> Self {
        Self { mailbox, buffer }
    }

    /// Asks for the value of `tag`, of `N` words; `request` are its first words when asked.
    ///
    /// # Errors
    /// See [`PropertyError`].
    pub fn get<const N: usize>(
        &mut self,
        tag: Tag,
        request: &[u32],
    ) -> Result<[u32; N], PropertyError> {
        if N > MOST_WORDS || request.len() > N {
            return Err(PropertyError::TooLong);
        }
        let bytes = |words: usize| u32::try_from(words * 4).unwrap_or(u32::MAX);
        let mut words: Vec<u32> = vec![bytes(FRAMING + N), REQUEST, tag as u32, bytes(N), 0];
        words.extend_from_slice(request);
        words.resize(FRAMING - 1 + N, 0);
        words.push(LAST_TAG);
        if !self.buffer.write(&words) {
            return Err(PropertyError::Memory);
        }
        let address = self.buffer.bus_address();
        let answered = self.mailbox.call(CHANNEL, address)?;
        if answered != address {
            return Err(PropertyError::OtherBuffer(answered));
        }
        if !self.buffer.read(&mut words) {
            return Err(PropertyError::Memory);
        }
        match words[1] {
            ANSWERED => {}
            UNREADABLE => return Err(PropertyError::Unreadable),
            REQUEST => return Err(PropertyError::Untouched),
            other => return Err(PropertyError::UnknownStatus(other)),
        }
        let length = words[4];
        if length & ANSWERED == 0 || words[2] != tag as u32 {
            return Err(PropertyError::UnknownTag);
        }
        // Firmware tells how many bytes it has, be they more than there is room for.
        let length = length & !ANSWERED;
        if length < bytes(N) {
            return Err(PropertyError::TooShort(length));
        }
        let mut value = [0; N];
        value.copy_from_slice(&words[FRAMING - 1..][..N]);
        Ok(value)
    }

    /// Asks for the value of `tag` for `subject`, by whose number the answer begins.
    ///
    /// # Errors
    /// See [`PropertyError`].
    pub fn get_of(&mut self, tag: Tag, subject: u32) -> Result<u32, PropertyError> {
        let [about, value] = self.get(tag, &[subject])?;
        if about != subject {
            return Err(PropertyError::OtherSubject(about));
        }
        Ok(value)
    }
}
