//! An SD memory card behind a controller (SD Physical Layer Simplified Specification 6.00): identified
//! (4.2), then read and written by blocks of 512 bytes (4.3).

use core::{cell::RefCell, fmt};

use capelin_driver::Registers32;
use capelin_files::files::Medium;
use embedded_hal::delay::DelayNs;
use embedded_sdmmc::{Block, BlockCount, BlockDevice, BlockIdx};

use crate::host::{Data, FAST_KHZ, Host, HostError, Response};

/// Commands (4.7.4).
mod command {
    pub(super) const GO_IDLE: u8 = 0;
    pub(super) const ALL_SEND_CID: u8 = 2;
    pub(super) const SEND_RELATIVE_ADDRESS: u8 = 3;
    pub(super) const SELECT: u8 = 7;
    pub(super) const SEND_INTERFACE_CONDITION: u8 = 8;
    pub(super) const SEND_CSD: u8 = 9;
    pub(super) const STOP: u8 = 12;
    pub(super) const SET_BLOCK_LENGTH: u8 = 16;
    pub(super) const READ_BLOCK: u8 = 17;
    pub(super) const READ_BLOCKS: u8 = 18;
    pub(super) const WRITE_BLOCK: u8 = 24;
    pub(super) const WRITE_BLOCKS: u8 = 25;
    pub(super) const APPLICATION: u8 = 55;
    /// After [`APPLICATION`].
    pub(super) const SET_BUS_WIDTH: u8 = 6;
    /// After [`APPLICATION`].
    pub(super) const SEND_OPERATION_CONDITION: u8 = 41;
}

/// 2.7–3.6 V, and a pattern that the card returns (4.3.13).
const CONDITION: u32 = 0x1aa;
/// 3.2–3.4 V (5.1).
const VOLTAGE: u32 = 0x0030_0000;
/// In the operation condition: high capacity.
const HIGH_CAPACITY: u32 = 1 << 30;
/// In the operation condition: powered up.
const READY: u32 = 1 << 31;
/// How long a card may take to power up, in microseconds (4.2.3).
const POWER_UP_US: u32 = 1_000_000;
/// Error bits of a card's status (4.10.1): out of range, address, block length, write protect,
/// ECC, controller, general.
const STATUS_ERRORS: u32 = 0xe438_0000;
/// Blocks moved by one command.
const MOST_BLOCKS: usize = 64;

/// Why a card isn't read or written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CardError {
    /// The controller, or the line.
    Host(HostError),
    /// There is no card, or none of ours.
    NoCard,
    /// The card doesn't get ready.
    NotReady,
    /// The card runs at no voltage that there is.
    Voltage,
    /// The card refuses: its status.
    Refused(u32),
    /// There is no such block.
    NoSuchBlock,
}

impl fmt::Display for CardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(error) => error.fmt(f),
            Self::NoCard => f.write_str("there is no card"),
            Self::NotReady => f.write_str("the card does not get ready"),
            Self::Voltage => f.write_str("the card needs another voltage"),
            Self::Refused(status) => write!(f, "the card refuses: status {status:#x}"),
            Self::NoSuchBlock => f.write_str("the card has no such block"),
        }
    }
}

impl core::error::Error for CardError {}

impl CardError {
    /// Whether that means that there is no card in the slot.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::NoCard | Self::Host(HostError::Silent))
    }
}

impl From<HostError> for CardError {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

/// A card that has been identified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Known {
    /// Addresses are blocks, not bytes.
    is_high_capacity: bool,
    /// Blocks of 512 bytes.
    blocks: u32,
}

/// A slot with a card, or without. Identifies the card when it is first needed, and again after it
/// has been gone.
#[derive(Debug)]
pub struct Slot<R, D>(RefCell<Inner<R, D>>);

#[derive(Debug)]
struct Inner<R, D> {
    host: Host<R, D>,
    card: Option<Known>,
}

impl<R: Registers32, D: DelayNs> Slot<R, D> {
    /// With what lies behind `host`.
    pub const fn new(host: Host<R, D>) -> Self {
        Self(RefCell::new(Inner { host, card: None }))
    }
}

impl<R: Registers32, D: DelayNs> Inner<R, D> {
    fn send(&mut self, index: u8, argument: u32, response: Response) -> Result<u32, HostError> {
        let words = self.host.command(index, argument, response, Data::None)?;
        Ok(words[0])
    }

    fn application(
        &mut self,
        address: u32,
        index: u8,
        argument: u32,
        response: Response,
    ) -> Result<u32, HostError> {
        self.send(command::APPLICATION, address, Response::Short)?;
        self.send(index, argument, response)
    }

    /// The card, identified.
    fn card(&mut self) -> Result<Known, CardError> {
        if let Some(card) = self.card {
            return Ok(card);
        }
        let card = self.identify()?;
        self.card = Some(card);
        Ok(card)
    }

    /// Figure 4-2 of the specification, for cards that have memory.
    fn identify(&mut self) -> Result<Known, CardError> {
        self.host.reset()?;
        self.send(command::GO_IDLE, 0, Response::None)?;
        // Cards before version 2 don't know this, and stay silent.
        let condition = self.send(
            command::SEND_INTERFACE_CONDITION,
            CONDITION,
            Response::Short,
        );
        let capacity = match condition {
            Ok(answer) if answer & 0xfff == CONDITION => HIGH_CAPACITY,
            Ok(_) => return Err(CardError::Voltage),
            Err(HostError::Silent) => 0,
            Err(error) => return Err(error.into()),
        };
        let operation = self.power_up(capacity)?;
        self.send(command::ALL_SEND_CID, 0, Response::Long)?;
        let address = self.send(command::SEND_RELATIVE_ADDRESS, 0, Response::Short)? & 0xffff_0000;
        let csd = self
            .host
            .command(command::SEND_CSD, address, Response::Long, Data::None)?;
        self.host.set_clock(FAST_KHZ)?;
        self.send(command::SELECT, address, Response::ShortBusy)?;
        let is_high_capacity = operation & HIGH_CAPACITY != 0;
        if !is_high_capacity {
            let bytes = Block::LEN_U32;
            self.send(command::SET_BLOCK_LENGTH, bytes, Response::Short)?;
        }
        const FOUR_LINES: u32 = 2;
        let width = command::SET_BUS_WIDTH;
        self.application(address, width, FOUR_LINES, Response::Short)?;
        self.host.use_four_lines();
        Ok(Known {
            is_high_capacity,
            blocks: blocks(csd),
        })
    }

    fn power_up(&mut self, capacity: u32) -> Result<u32, CardError> {
        let mut waited_us = 0;
        loop {
            let operation = self.application(
                0,
                command::SEND_OPERATION_CONDITION,
                capacity | VOLTAGE,
                Response::Unchecked,
            );
            let operation = match operation {
                Ok(operation) => operation,
                Err(HostError::Silent) => return Err(CardError::NoCard),
                Err(error) => return Err(error.into()),
            };
            if operation & READY != 0 {
                return Ok(operation);
            }
            if waited_us >= POWER_UP_US {
                return Err(CardError::NotReady);
            }
            for _ in 0..200 {
                let _ = self
                    .host
                    .pause(&mut waited_us, u32::MAX, HostError::Controller);
            }
        }
    }

    /// Moves blocks, by commands of at most [`MOST_BLOCKS`].
    fn transfer(
        &mut self,
        start: BlockIdx,
        count: usize,
        mut one: impl FnMut(&mut Host<R, D>, u32, usize, usize) -> Result<[u32; 4], HostError>,
    ) -> Result<(), CardError> {
        let card = self.card()?;
        let end = u64::from(start.0) + count as u64;
        if end > u64::from(card.blocks) {
            return Err(CardError::NoSuchBlock);
        }
        let mut done = 0;
        while done < count {
            let now = (count - done).min(MOST_BLOCKS);
            let block = start.0 + u32::try_from(done).unwrap_or(0);
            let argument = if card.is_high_capacity {
                block
            } else {
                block.wrapping_mul(Block::LEN_U32)
            };
            match one(&mut self.host, argument, done, now) {
                Ok([status, ..]) if status & STATUS_ERRORS == 0 => done += now,
                Ok([status, ..]) => return Err(self.stop(CardError::Refused(status))),
                Err(error) => return Err(self.stop(error.into())),
            }
        }
        Ok(())
    }

    /// After `error`: ends what the card is at. One that doesn't answer to that is identified anew;
    /// if there is none, that is the error.
    ///
    /// (A card that isn't at anything doesn't know the command, stays silent, and is identified anew,
    /// too. A controller that sees a card being pulled switches its power and clock off, section
    /// 2.2.11, and then doesn't even say that nobody answers, until it has been reset.)
    fn stop(&mut self, error: CardError) -> CardError {
        if self.send(command::STOP, 0, Response::Short).is_ok() {
            return error;
        }
        self.card = None;
        match self.card() {
            Err(gone) if gone.is_gone() => CardError::NoCard,
            _ => error,
        }
    }
}

/// Blocks of 512 bytes that a CSD register tells of (5.3.2, 5.3.3). The controller leaves out its
/// lowest byte: bit N of the register is bit N - 8 of the four words.
fn blocks(words: [u32; 4]) -> u32 {
    let bits = |high: u32, low: u32| {
        let mut value = 0;
        for bit in (low..=high).rev() {
            let at = bit - 8;
            value = value << 1 | words[(at / 32) as usize] >> (at % 32) & 1;
        }
        value
    };
    if bits(127, 126) == 1 {
        // Version 2: in units of 512 KiB.
        return (bits(69, 48) + 1).saturating_mul(1024);
    }
    let count = u64::from(bits(73, 62) + 1) << (bits(49, 47) + 2) << bits(83, 80);
    u32::try_from(count / u64::from(Block::LEN_U32)).unwrap_or(u32::MAX)
}

impl<R: Registers32, D: DelayNs> BlockDevice for Slot<R, D> {
    type Error = CardError;

    fn read(&self, blocks: &mut [Block], start: BlockIdx) -> Result<(), CardError> {
        let mut inner = self.0.borrow_mut();
        inner.transfer(start, blocks.len(), |host, argument, done, now| {
            let index = match now {
                1 => command::READ_BLOCK,
                _ => command::READ_BLOCKS,
            };
            let data = Data::Read(&mut blocks[done..done + now]);
            host.command(index, argument, Response::Short, data)
        })
    }

    fn write(&self, blocks: &[Block], start: BlockIdx) -> Result<(), CardError> {
        let mut inner = self.0.borrow_mut();
        inner.transfer(start, blocks.len(), |host, argument, done, now| {
            let index = match now {
                1 => command::WRITE_BLOCK,
                _ => command::WRITE_BLOCKS,
            };
            let data = Data::Write(&blocks[done..done + now]);
            host.command(index, argument, Response::Short, data)
        })
    }

    fn num_blocks(&self) -> Result<BlockCount, CardError> {
        Ok(BlockCount(self.0.borrow_mut().card()?.blocks))
    }
}

impl<R: Registers32, D: DelayNs> Medium for Slot<R, D> {
    fn is_gone(error: &CardError) -> bool {
        error.is_gone()
    }
}
