//! Commands and data through the controller.
//!
//! Data goes by the buffer port, word by word, and the driver looks at the status instead of taking
//! interrupts: no memory is lent to the device, and each wait has an end. The sequences are those of
//! the SD Host Controller Simplified Specification 3.00, chapter 3.

use core::fmt;

use capelin_driver::Registers32;
use embedded_hal::delay::DelayNs;
use embedded_sdmmc::Block;
use tock_registers::{LocalRegisterCopy, fields::FieldValue};

use crate::registers::{Blocks, Capabilities, Clock, Command, Control, State, Status, offset};

/// The clock while a card is identified, in kHz (Physical Layer 4.2.1: 400 at most).
pub const SLOW_KHZ: u32 = 400;
/// The clock of default speed, in kHz.
pub const FAST_KHZ: u32 = 25_000;
/// How long the controller itself may take, in microseconds.
const CONTROLLER_US: u32 = 100_000;
/// How long a card may be silent or busy, in microseconds (Physical Layer 4.6.2: 500 ms for writing;
/// the controller's own time-outs come before).
const CARD_US: u32 = 1_000_000;
const PAUSE_US: u32 = 5;

/// Why a command or its data failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostError {
    /// The controller doesn't come out of its reset, or its clock doesn't get stable.
    Controller,
    /// The card doesn't answer: there is none, or it knows no such command.
    Silent,
    /// The answer was damaged on its way.
    DamagedAnswer,
    /// No data came, or the card stayed busy.
    DataTimeout,
    /// The data was damaged on its way.
    DamagedData,
    /// The controller reports something else: its error bits.
    Other(u32),
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Controller => f.write_str("the SD controller is out of order"),
            Self::Silent => f.write_str("the card does not answer"),
            Self::DamagedAnswer => f.write_str("an answer of the card was damaged"),
            Self::DataTimeout => f.write_str("the card took too long"),
            Self::DamagedData => f.write_str("data of the card was damaged"),
            Self::Other(bits) => write!(f, "the SD controller reports {bits:#x}"),
        }
    }
}

impl core::error::Error for HostError {}

/// What a card answers to a command (Physical Layer 4.9).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Response {
    /// Nothing.
    None,
    /// R1, R6, R7.
    Short,
    /// R1b: and is busy for a while.
    ShortBusy,
    /// R3: without checksum and index.
    Unchecked,
    /// R2.
    Long,
}

/// Data that goes with a command.
#[derive(Debug)]
pub enum Data<'a> {
    /// None.
    None,
    /// To be read.
    Read(&'a mut [Block]),
    /// To be written.
    Write(&'a [Block]),
}

/// The controller.
#[derive(Debug)]
pub struct Host<R, D> {
    registers: R,
    delay: D,
    /// The base clock if the controller doesn't tell it.
    untold_mhz: u32,
}

type StatusRegister = LocalRegisterCopy<u32, Status::Register>;

impl<R: Registers32, D: DelayNs> Host<R, D> {
    /// Over its registers; waits by `delay`. `untold_mhz` is the base clock in MHz, or more than
    /// that, should the controller's capabilities not tell it (2.2.25: by other means).
    pub const fn new(registers: R, delay: D, untold_mhz: u32) -> Self {
        Self {
            registers,
            delay,
            untold_mhz,
        }
    }

    /// Resets all, switches power on and the slow clock; a card can be identified then.
    ///
    /// # Errors
    /// [`HostError::Controller`].
    pub fn reset(&mut self) -> Result<(), HostError> {
        self.registers
            .write(offset::CLOCK, Clock::RESET_ALL::SET.value);
        self.until_clear(Clock::RESET_ALL::SET)?;
        // No interrupts; what happens is shown.
        self.registers.write(offset::SIGNAL_ENABLE, 0);
        self.registers.write(offset::STATUS_ENABLE, u32::MAX);
        let power = Control::POWER::SET + Control::VOLTAGE::V33 + Control::WIDTH::One;
        self.registers.write(offset::CONTROL, power.value);
        self.set_clock(SLOW_KHZ)?;
        // 74 cycles and the supply's ramp (Physical Layer 6.4.1).
        self.delay.delay_us(1000);
        Ok(())
    }

    /// Uses four data lines from now on.
    pub fn use_four_lines(&mut self) {
        let mut control: LocalRegisterCopy<u32, Control::Register> =
            LocalRegisterCopy::new(self.registers.read(offset::CONTROL));
        control.modify(Control::WIDTH::Four);
        self.registers.write(offset::CONTROL, control.get());
    }

    /// Has the clock run at `khz` or as little below as can be (3.2.1).
    ///
    /// # Errors
    /// [`HostError::Controller`].
    pub fn set_clock(&mut self, khz: u32) -> Result<(), HostError> {
        let capabilities: LocalRegisterCopy<u32, Capabilities::Register> =
            LocalRegisterCopy::new(self.registers.read(offset::CAPABILITIES));
        let base_mhz = match capabilities.read(Capabilities::BASE_CLOCK) {
            0 => self.untold_mhz,
            told => told,
        };
        // The clock is the base through twice the divider, or the base itself for 0.
        let base_khz = base_mhz * 1000;
        let divider = if base_khz <= khz {
            0
        } else {
            base_khz.div_ceil(2 * khz.max(1)).min(0x3ff)
        };
        let mut clock: LocalRegisterCopy<u32, Clock::Register> = LocalRegisterCopy::new(0);
        clock.write(
            Clock::INTERNAL::SET
                + Clock::TIMEOUT.val(14)
                + Clock::DIVIDER.val(divider & 0xff)
                + Clock::DIVIDER_HIGH.val(divider >> 8),
        );
        self.registers.write(offset::CLOCK, clock.get());
        let mut waited_us = 0;
        while Clock::STABLE::SET.value & self.registers.read(offset::CLOCK) == 0 {
            self.pause(&mut waited_us, CONTROLLER_US, HostError::Controller)?;
        }
        clock.modify(Clock::CARD::SET);
        self.registers.write(offset::CLOCK, clock.get());
        Ok(())
    }

    /// Sends command `index` and gives the four words of its response: a short one is the first.
    /// After an error the controller takes the next command.
    ///
    /// # Errors
    /// See [`HostError`].
    pub fn command(
        &mut self,
        index: u8,
        argument: u32,
        response: Response,
        mut data: Data<'_>,
    ) -> Result<[u32; 4], HostError> {
        let result = self.perform(index, argument, response, &mut data);
        if result.is_err() {
            self.recover();
        }
        result
    }

    fn perform(
        &mut self,
        index: u8,
        argument: u32,
        response: Response,
        data: &mut Data<'_>,
    ) -> Result<[u32; 4], HostError> {
        let mut inhibited = State::COMMAND_INHIBIT::SET.value;
        if response == Response::ShortBusy || !matches!(data, Data::None) {
            inhibited |= State::DATA_INHIBIT::SET.value;
        }
        let mut waited_us = 0;
        while self.registers.read(offset::STATE) & inhibited != 0 {
            self.pause(&mut waited_us, CARD_US, HostError::DataTimeout)?;
        }
        self.registers.write(offset::STATUS, u32::MAX);
        let count = match data {
            Data::None => 0,
            Data::Read(blocks) => blocks.len(),
            Data::Write(blocks) => blocks.len(),
        };
        let mut command = Command::INDEX.val(index.into()) + answer(response);
        if count > 0 {
            let blocks = Blocks::SIZE.val(Block::LEN_U32)
                + Blocks::COUNT.val(u32::try_from(count).unwrap_or(u32::MAX));
            self.registers.write(offset::BLOCKS, blocks.value);
            command += Command::DATA::SET + Command::COUNT_BLOCKS::SET;
            if matches!(data, Data::Read(_)) {
                command += Command::READ::SET;
            }
            if count > 1 {
                command += Command::SEVERAL::SET + Command::STOP::Automatic;
            }
        }
        self.registers.write(offset::ARGUMENT, argument);
        self.registers.write(offset::COMMAND, command.value);
        self.until(Status::COMMAND_COMPLETE::SET)?;
        let words = [0, 4, 8, 12].map(|at| self.registers.read(offset::RESPONSE + at));
        match data {
            Data::None => {}
            Data::Read(blocks) => {
                for block in blocks.iter_mut() {
                    self.until(Status::READ_READY::SET)?;
                    for word in block.contents.chunks_exact_mut(4) {
                        word.copy_from_slice(&self.registers.read(offset::BUFFER).to_le_bytes());
                    }
                }
            }
            Data::Write(blocks) => {
                for block in blocks.iter() {
                    self.until(Status::WRITE_READY::SET)?;
                    for word in block.contents.chunks_exact(4) {
                        let word = [word[0], word[1], word[2], word[3]];
                        self.registers
                            .write(offset::BUFFER, u32::from_le_bytes(word));
                    }
                }
            }
        }
        if count > 0 || response == Response::ShortBusy {
            self.until(Status::TRANSFER_COMPLETE::SET)?;
        }
        Ok(words)
    }

    /// Waits until the status shows `what`, and clears that.
    fn until(&mut self, what: FieldValue<u32, Status::Register>) -> Result<(), HostError> {
        let mut waited_us = 0;
        loop {
            let status: StatusRegister =
                LocalRegisterCopy::new(self.registers.read(offset::STATUS));
            if status.is_set(Status::ERROR) {
                return Err(error(status));
            }
            if status.matches_all(what) {
                self.registers.write(offset::STATUS, what.value);
                return Ok(());
            }
            self.pause(&mut waited_us, CARD_US, HostError::DataTimeout)?;
        }
    }

    /// Frees the lines after an error (3.10).
    fn recover(&mut self) {
        let clock = self.registers.read(offset::CLOCK);
        let lines = Clock::RESET_COMMAND::SET + Clock::RESET_DATA::SET;
        self.registers.write(offset::CLOCK, clock | lines.value);
        // A controller that stays so fails the next command, too.
        let _ = self.until_clear(lines);
        self.registers.write(offset::STATUS, u32::MAX);
    }

    fn until_clear(&mut self, what: FieldValue<u32, Clock::Register>) -> Result<(), HostError> {
        let mut waited_us = 0;
        while self.registers.read(offset::CLOCK) & what.value != 0 {
            self.pause(&mut waited_us, CONTROLLER_US, HostError::Controller)?;
        }
        Ok(())
    }

    /// Waits a little, and adds that to `waited_us`.
    ///
    /// # Errors
    /// `error`, when `limit_us` microseconds have been waited.
    pub fn pause(
        &mut self,
        waited_us: &mut u32,
        limit_us: u32,
        error: HostError,
    ) -> Result<(), HostError> {
        if *waited_us >= limit_us {
            return Err(error);
        }
        self.delay.delay_us(PAUSE_US);
        *waited_us += PAUSE_US;
        Ok(())
    }
}

fn answer(response: Response) -> FieldValue<u32, Command::Register> {
    let checked = Command::CHECK_CRC::SET + Command::CHECK_INDEX::SET;
    match response {
        Response::None => Command::RESPONSE::None,
        Response::Short => Command::RESPONSE::Short + checked,
        Response::ShortBusy => Command::RESPONSE::ShortBusy + checked,
        Response::Unchecked => Command::RESPONSE::Short,
        Response::Long => Command::RESPONSE::Long + Command::CHECK_CRC::SET,
    }
}

fn error(status: StatusRegister) -> HostError {
    // A time-out and a checksum at once is a conflict of the command line (2.2.18): no card's answer.
    if status.is_set(Status::COMMAND_TIMEOUT) {
        HostError::Silent
    } else if status.read(Status::COMMAND_DAMAGED) != 0 {
        HostError::DamagedAnswer
    } else if status.is_set(Status::DATA_TIMEOUT) {
        HostError::DataTimeout
    } else if status.read(Status::DATA_DAMAGED) != 0 {
        HostError::DamagedData
    } else {
        HostError::Other(status.get() >> 16)
    }
}
