//! The pins of a board (`docs/087-devices.md`).

use capelin_idc::interface;

crate::service_error! {
    /// Why a pin can't be changed.
    GpioError {
        /// There is none of that number.
        NoSuchPin = "there is no pin of that number",
        /// It isn't on the header.
        OnBoard = "the board itself uses that pin",
        /// A device has it.
        Taken = "a device has that pin",
    }
}

/// What a pin does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Function {
    /// It is read.
    Input,
    /// It is driven.
    Output,
    /// A device has it: which of those that can, as the board's manual numbers them.
    Alternate(u8),
}

/// A pin's level.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Level {
    /// Ground.
    Low,
    /// The supply's voltage.
    High,
}

/// What holds a pin that nobody drives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Pull {
    /// Nothing.
    None,
    /// A resistor to the supply.
    Up,
    /// A resistor to ground.
    Down,
}

/// How it is with a pin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct PinState {
    /// What it does.
    pub function: Function,
    /// Its level, whatever it does.
    pub level: Level,
    /// What holds it, if that is known.
    pub pull: Option<Pull>,
}

/// The pins, by the numbers of the board's manual. What is set stays so when the client ends. Clients share
/// them: who reaches the service reaches all pins that are free.
#[interface(name = "gpio", version = 1)]
pub trait Gpio {
    /// How it is with a pin.
    async fn state(&self, pin: u32) -> Result<PinState, GpioError>;

    /// Makes a pin an input.
    async fn input(&self, pin: u32) -> Result<(), GpioError>;

    /// Makes a pin an output of that level, from the start.
    async fn output(&self, pin: u32, level: Level) -> Result<(), GpioError>;

    /// Sets what holds a pin.
    async fn pull(&self, pin: u32, pull: Pull) -> Result<(), GpioError>;
}
