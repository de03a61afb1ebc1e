//! The general-purpose input and output of BCM2711 (BCM2711 ARM Peripherals, chapter 5): 58 pins, 28 of them on the
//! board's header.
//!
//! Each pin is an input, an output, or one of six devices has it (an *alternate function*), as firmware and its tree
//! set them up. A pin that a device has, or that isn't on the header, is read and never changed: the console, the card
//! and the network hang on them. So a [`Pin`] becomes an [`Input`] or [`Output`], for which `embedded-hal` has traits,
//! only if it is free.
//!
//! | registers | hold, of each pin |
//! | --- | --- |
//! | `GPFSEL0`–`5` | its function, 3 bits |
//! | `GPSET0`–`1`, `GPCLR0`–`1` | 1 sets the output high, or low; 0 does nothing |
//! | `GPLEV0`–`1` | its level |
//! | `GPIO_PUP_PDN_CNTRL_REG0`–`3` | its pull, 2 bits. BCM2835 has others, with a sequence |
//!
//! The tree's region ends before the last of these, which other systems reach since they map whole pages.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use core::convert::Infallible;
use core::fmt;

use capelin_driver::Registers32;
pub use capelin_interfaces::gpio::{Function, Level, Pull};
use embedded_hal::digital::{ErrorType, InputPin, OutputPin, StatefulOutputPin};

/// Functions, ten pins a register.
const FUNCTION: usize = 0x00;
/// Sets outputs high, 32 pins a register.
const SET: usize = 0x1c;
/// Sets outputs low.
const CLEAR: usize = 0x28;
/// Levels.
const LEVEL: usize = 0x34;
/// Pulls, 16 pins a register.
const PULL: usize = 0xe4;
/// Bytes of registers that are used.
pub const REGISTER_BYTES: usize = 0xf4;
/// How many pins there are.
pub const PINS: u32 = 58;
/// How many of them, from 0 on, are on the header.
pub const HEADER_PINS: u32 = 28;
/// The green LED's.
pub const LED: u32 = 42;

/// The function in the three bits of `GPFSEL` (table 94 of the manual).
const fn function_of(bits: u32) -> Function {
    match bits & 7 {
        0 => Function::Input,
        1 => Function::Output,
        2 => Function::Alternate(5),
        3 => Function::Alternate(4),
        4 => Function::Alternate(0),
        5 => Function::Alternate(1),
        6 => Function::Alternate(2),
        _ => Function::Alternate(3),
    }
}

/// Why a pin can't be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PinError {
    /// There is none of that number.
    NoSuchPin,
    /// It isn't on the header: the board uses it.
    OnBoard,
    /// A device has it, by this alternate function.
    Taken(u8),
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchPin => write!(f, "pins are numbered 0 to {}", PINS - 1),
            Self::OnBoard => f.write_str("the board uses that pin"),
            Self::Taken(which) => write!(f, "a device has that pin (alternate function {which})"),
        }
    }
}

impl core::error::Error for PinError {}

/// The device.
#[derive(Debug)]
pub struct Gpio<R>(R);

impl<R: Registers32> Gpio<R> {
    /// Over its registers.
    pub const fn new(registers: R) -> Self {
        Self(registers)
    }

    /// The pin of a number, as the manual counts (not as the header does).
    ///
    /// # Errors
    /// [`PinError::NoSuchPin`].
    pub fn pin(&self, number: u32) -> Result<Pin<'_, R>, PinError> {
        if number >= PINS {
            return Err(PinError::NoSuchPin);
        }
        Ok(Pin {
            registers: &self.0,
            number,
        })
    }
}

/// A pin.
#[derive(Debug)]
pub struct Pin<'a, R> {
    registers: &'a R,
    /// Below [`PINS`].
    number: u32,
}

impl<'a, R: Registers32> Pin<'a, R> {
    /// The register, from `first` on, that has the pin's bits when each has `per_register` pins; and by how much
    /// they are shifted when each pin has `bits`.
    const fn place(&self, first: usize, per_register: u32, bits: u32) -> (usize, u32) {
        let index = self.number / per_register;
        (
            first + 4 * index as usize,
            self.number % per_register * bits,
        )
    }

    fn change(&self, (register, shift): (usize, u32), mask: u32, value: u32) {
        let others = self.registers.read(register) & !(mask << shift);
        self.registers.write(register, others | value << shift);
    }

    /// What it does.
    #[must_use]
    pub fn function(&self) -> Function {
        let (register, shift) = self.place(FUNCTION, 10, 3);
        function_of(self.registers.read(register) >> shift)
    }

    /// Its level, whatever it does.
    #[must_use]
    pub fn level(&self) -> Level {
        let (register, shift) = self.place(LEVEL, 32, 1);
        match self.registers.read(register) >> shift & 1 {
            0 => Level::Low,
            _ => Level::High,
        }
    }

    /// What holds it; `None` for what the manual reserves.
    #[must_use]
    pub fn pull(&self) -> Option<Pull> {
        let (register, shift) = self.place(PULL, 16, 2);
        match self.registers.read(register) >> shift & 3 {
            0 => Some(Pull::None),
            1 => Some(Pull::Up),
            2 => Some(Pull::Down),
            _ => None,
        }
    }

    /// Refuses what isn't to be changed.
    fn free(&self) -> Result<(), PinError> {
        if self.number >= HEADER_PINS && self.number != LED {
            return Err(PinError::OnBoard);
        }
        match self.function() {
            Function::Alternate(which) => Err(PinError::Taken(which)),
            Function::Input | Function::Output => Ok(()),
        }
    }

    fn drive(&self, level: Level) {
        let first = match level {
            Level::High => SET,
            Level::Low => CLEAR,
        };
        let (register, shift) = self.place(first, 32, 1);
        self.registers.write(register, 1 << shift);
    }

    fn set_function(&self, bits: u32) {
        self.change(self.place(FUNCTION, 10, 3), 7, bits);
    }

    /// Sets what holds it when nobody drives it.
    ///
    /// # Errors
    /// If it isn't free.
    pub fn set_pull(&self, pull: Pull) -> Result<(), PinError> {
        self.free()?;
        let bits = match pull {
            Pull::None => 0,
            Pull::Up => 1,
            Pull::Down => 2,
        };
        self.change(self.place(PULL, 16, 2), 3, bits);
        Ok(())
    }

    /// Makes it an input.
    ///
    /// # Errors
    /// If it isn't free.
    pub fn into_input(self) -> Result<Input<'a, R>, PinError> {
        self.free()?;
        self.set_function(0);
        Ok(Input(self))
    }

    /// Makes it an output, which has `level` from the start: the level is set before it is driven.
    ///
    /// # Errors
    /// If it isn't free.
    pub fn into_output(self, level: Level) -> Result<Output<'a, R>, PinError> {
        self.free()?;
        self.drive(level);
        self.set_function(1);
        Ok(Output { pin: self, level })
    }
}

/// A pin that is read.
#[derive(Debug)]
pub struct Input<'a, R>(Pin<'a, R>);

impl<R> ErrorType for Input<'_, R> {
    type Error = Infallible;
}

impl<R: Registers32> InputPin for Input<'_, R> {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(self.0.level() == Level::High)
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        Ok(self.0.level() == Level::Low)
    }
}

/// A pin that is driven. Its level can be read as an input's, and is another than was set when something outside
/// drives it harder.
#[derive(Debug)]
pub struct Output<'a, R> {
    pin: Pin<'a, R>,
    /// What was set last.
    level: Level,
}

impl<R> ErrorType for Output<'_, R> {
    type Error = Infallible;
}

impl<R: Registers32> OutputPin for Output<'_, R> {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.level = Level::Low;
        self.pin.drive(Level::Low);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.level = Level::High;
        self.pin.drive(Level::High);
        Ok(())
    }
}

impl<R: Registers32> StatefulOutputPin for Output<'_, R> {
    fn is_set_high(&mut self) -> Result<bool, Infallible> {
        Ok(self.level == Level::High)
    }

    fn is_set_low(&mut self) -> Result<bool, Infallible> {
        Ok(self.level == Level::Low)
    }
}

impl<R: Registers32> InputPin for Output<'_, R> {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(self.pin.level() == Level::High)
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        Ok(self.pin.level() == Level::Low)
    }
}

#[cfg(test)]
mod tests;
