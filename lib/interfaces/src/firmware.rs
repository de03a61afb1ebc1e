//! What a board's firmware knows of it: the driver of the channel to the Raspberry Pi's VideoCore
//! (`docs/087-devices.md`).

use capelin_idc::interface;

crate::service_error! {
    /// Why firmware's word isn't known.
    FirmwareError {
        /// It didn't answer in time.
        Silent = "the firmware did not answer",
        /// It takes no requests, or sends words that nobody asked for.
        Mailbox = "the mailbox of the firmware is out of order",
        /// It doesn't know this value.
        Unknown = "the firmware does not know that",
        /// Its answer isn't what such an answer should be.
        BadAnswer = "the answer of the firmware cannot be read",
    }
}

/// What board it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Board {
    /// Revision code: model, memory, processor, manufacturer, by bit fields ("Raspberry Pi revision
    /// codes" of the boards' documentation).
    pub revision: u32,
    /// Serial number.
    pub serial: u64,
    /// Date of the firmware, in seconds since 1970.
    pub firmware: u32,
    /// Memory of the Arm cores below 1 GiB: its base.
    pub memory_base: u32,
    /// Its bytes.
    pub memory_bytes: u32,
}

/// The temperature of the chip, in thousandths of a degree Celsius.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Temperature {
    /// Now.
    pub now_mc: u32,
    /// At which firmware slows it down.
    pub limit_mc: u32,
}

/// A clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Clock {
    /// The Arm cores'.
    Arm,
    /// The VideoCore's, and the bus's.
    Core,
    /// The PL011's.
    Uart,
    /// The card's.
    Emmc2,
}

impl Clock {
    /// Its number for firmware.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Uart => 2,
            Self::Arm => 3,
            Self::Core => 4,
            Self::Emmc2 => 12,
        }
    }
}

/// Asks firmware.
#[interface(name = "firmware", version = 1)]
pub trait Firmware {
    /// What board it is.
    async fn board(&self) -> Result<Board, FirmwareError>;

    /// How warm the chip is.
    async fn temperature(&self) -> Result<Temperature, FirmwareError>;

    /// The rate of a clock in hertz; 0 for one that stands still.
    async fn clock_hz(&self, clock: Clock) -> Result<u32, FirmwareError>;
}
