//! A board's clock beside those of the cores (`docs/087-devices.md`).

use capelin_idc::interface;

/// The longest delay, in microseconds: the driver serves nobody else meanwhile.
pub const MOST_US: u32 = 100_000;

crate::service_error! {
    /// Why there is no time.
    ClockError {
        /// More than [`MOST_US`].
        TooLong = "a longer delay than the clock gives",
    }
}

/// A counter of microseconds.
#[interface(name = "clock", version = 1)]
pub trait Clock {
    /// Microseconds since the board was switched on or reset.
    async fn now_us(&self) -> Result<u64, ClockError>;

    /// Waits so many microseconds by that clock, at most [`MOST_US`]; how many it took.
    async fn delay(&self, us: u32) -> Result<u64, ClockError>;
}
