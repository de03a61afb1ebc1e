//! The power management of BCM2835 to BCM2711: reset and watchdog.
//!
//! Broadcom has published no description; registers and values are those of the binding
//! `brcm,bcm2835-pm` and of the systems that use it. Every write carries a password in the upper
//! byte, without which it does nothing.
//!
//! The watchdog counts down by 65,536 Hz. When it comes to 0 the chip is reset as `RSTC` says, and
//! the boot loader in the GPU finds in six bits of `RSTS`, every second from bit 0 to bit 10, from
//! which partition it shall boot: 63 stands for none, so that it halts with everything off that it
//! can switch off.
//!
//! (`embedded-hal` 1.0 has no trait for watchdogs: that of 0.2 was left out.)
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use core::time::Duration;

use capelin_driver::Registers32;
use tock_registers::{LocalRegisterCopy, register_bitfields};

register_bitfields![u32,
    ResetControl [
        /// What the end of the watchdog's count does.
        ON_TIMEOUT OFFSET(4) NUMBITS(2) [Nothing = 0, FullReset = 2]
    ],
    Watchdog [
        TICKS OFFSET(0) NUMBITS(20) []
    ]
];

/// Reset control (`RSTC`).
const RESET_CONTROL: usize = 0x1c;
/// Reset status (`RSTS`).
const RESET_STATUS: usize = 0x20;
/// Watchdog (`WDOG`).
const WATCHDOG: usize = 0x24;
/// Bytes of registers that are used.
pub const REGISTER_BYTES: usize = 0x28;
/// What the upper byte of a write has to be.
const PASSWORD: u32 = 0x5a << 24;
/// The bits of [`RESET_STATUS`] that hold the partition.
const PARTITION: u32 = 0x555;
/// The watchdog counts so often each second.
const TICKS_PER_SECOND: u128 = 65_536;
/// The longest time of the watchdog, in its ticks.
const MAX_TICKS: u32 = (1 << 20) - 1;
/// Until a reset that is asked for comes, in ticks: long enough for both writes.
const SOON: u32 = 10;

/// What the machine does after a reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    /// Boots.
    Boot,
    /// Stays off.
    Halt,
}

/// The watchdog can't count for so long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLong;

/// The device.
#[derive(Debug)]
pub struct PowerManagement<R>(R);

impl<R: Registers32> PowerManagement<R> {
    /// Over its registers.
    pub const fn new(registers: R) -> Self {
        Self(registers)
    }

    fn write(&self, register: usize, value: u32) {
        self.0.write(register, PASSWORD | value & !(0xff << 24));
    }

    fn on_timeout(&self, what: tock_registers::fields::FieldValue<u32, ResetControl::Register>) {
        let mut control = LocalRegisterCopy::new(self.0.read(RESET_CONTROL));
        control.modify(what);
        self.write(RESET_CONTROL, control.get());
    }

    /// Resets the chip, a moment after this returns.
    pub fn reset(&self, after: After) {
        let partition = match after {
            After::Boot => 0,
            After::Halt => PARTITION,
        };
        let status = self.0.read(RESET_STATUS) & !PARTITION;
        self.write(RESET_STATUS, status | partition);
        self.write(WATCHDOG, Watchdog::TICKS.val(SOON).value);
        self.on_timeout(ResetControl::ON_TIMEOUT::FullReset);
    }

    /// Resets the chip unless this or [`PowerManagement::stop`] is called again within `limit`
    /// (rounded up to a tick; 16 s at most). The machine boots then.
    ///
    /// # Errors
    /// [`TooLong`]; nothing has changed then.
    pub fn arm(&self, limit: Duration) -> Result<(), TooLong> {
        let ticks = (limit.as_nanos() * TICKS_PER_SECOND).div_ceil(1_000_000_000);
        let ticks = u32::try_from(ticks).ok().filter(|&it| it <= MAX_TICKS);
        let ticks = ticks.ok_or(TooLong)?.max(1);
        self.write(WATCHDOG, Watchdog::TICKS.val(ticks).value);
        self.on_timeout(ResetControl::ON_TIMEOUT::FullReset);
        Ok(())
    }

    /// Stops the watchdog.
    pub fn stop(&self) {
        self.on_timeout(ResetControl::ON_TIMEOUT::Nothing);
    }

    /// How long the watchdog still counts; `None` while it is stopped.
    pub fn remaining(&self) -> Option<Duration> {
        let control: LocalRegisterCopy<u32, ResetControl::Register> =
            LocalRegisterCopy::new(self.0.read(RESET_CONTROL));
        if !control.matches_all(ResetControl::ON_TIMEOUT::FullReset) {
            return None;
        }
        let watchdog: LocalRegisterCopy<u32, Watchdog::Register> =
            LocalRegisterCopy::new(self.0.read(WATCHDOG));
        let ticks = u128::from(watchdog.read(Watchdog::TICKS));
        let nanoseconds = ticks * 1_000_000_000 / TICKS_PER_SECOND;
        Some(Duration::from_nanos(
            u64::try_from(nanoseconds).unwrap_or(u64::MAX),
        ))
    }
}

#[cfg(test)]
mod tests;
