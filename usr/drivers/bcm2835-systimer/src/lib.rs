//! The system timer of BCM2835 to BCM2711 (BCM2711 ARM Peripherals, chapter 10): a counter of 64 bits, from the chip's
//! reset on by 1 MHz whatever the clocks of the cores do, and four registers that its lower half is compared with.
//!
//! The VideoCore's firmware uses comparisons 0 and 2; 1 and 3 are free. A comparison is for *equal*: one that is set to a
//! time that has gone by would come after 71 minutes. So [`Delay`] looks at the counter after it has set it.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use capelin_driver::Registers32;
use embedded_hal::delay::DelayNs;

/// Control and status (`CS`): a bit for each comparison that came true; writing 1 clears it.
const STATUS: usize = 0x00;
/// The counter's halves (`CLO`, `CHI`).
const COUNTER_LOW: usize = 0x04;
const COUNTER_HIGH: usize = 0x08;
/// Comparisons (`C0`–`C3`).
const COMPARE: usize = 0x0c;
/// Bytes of registers that are used.
pub const REGISTER_BYTES: usize = 0x1c;

/// A comparison that firmware leaves to the Arm cores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// `C1`.
    One,
    /// `C3`.
    Three,
}

impl Comparison {
    const fn index(self) -> usize {
        match self {
            Self::One => 1,
            Self::Three => 3,
        }
    }
}

/// The device.
#[derive(Debug)]
pub struct SystemTimer<R>(R);

impl<R: Registers32> SystemTimer<R> {
    /// Over its registers.
    pub const fn new(registers: R) -> Self {
        Self(registers)
    }

    /// Microseconds since the chip's reset.
    pub fn now_us(&self) -> u64 {
        loop {
            let high = self.0.read(COUNTER_HIGH);
            let low = self.0.read(COUNTER_LOW);
            // The lower half may have come round in between.
            if self.0.read(COUNTER_HIGH) == high {
                return u64::from(high) << 32 | u64::from(low);
            }
        }
    }

    /// Waits by `comparison`; `relax` runs each time that it hasn't come true yet.
    pub const fn delay<F: FnMut()>(&self, comparison: Comparison, relax: F) -> Delay<'_, R, F> {
        Delay {
            registers: &self.0,
            comparison,
            relax,
        }
    }
}

/// Waits by a comparison, never less than asked for. One at a time for each comparison.
#[derive(Debug)]
pub struct Delay<'a, R, F> {
    registers: &'a R,
    comparison: Comparison,
    relax: F,
}

impl<R: Registers32, F: FnMut()> Delay<'_, R, F> {
    /// Waits until the counter has gone on by so many.
    fn wait(&mut self, us: u32) {
        let index = self.comparison.index();
        let start = self.registers.read(COUNTER_LOW);
        self.registers.write(STATUS, 1 << index);
        let compare = COMPARE + 4 * index;
        self.registers.write(compare, start.wrapping_add(us));
        // The counter tells what the comparison doesn't: that the time was over before it was set.
        while self.registers.read(STATUS) >> index & 1 == 0
            && self.registers.read(COUNTER_LOW).wrapping_sub(start) < us
        {
            (self.relax)();
        }
        self.registers.write(STATUS, 1 << index);
    }
}

impl<R: Registers32, F: FnMut()> DelayNs for Delay<'_, R, F> {
    fn delay_ns(&mut self, ns: u32) {
        self.delay_us(ns.div_ceil(1000));
    }

    fn delay_us(&mut self, us: u32) {
        if us == 0 {
            return;
        }
        // It may be about to go on when it is looked at, so the first doesn't count. In two halves, so that what has gone
        // by is told from what is to come, however late somebody looks.
        self.wait(us / 2 + 1);
        self.wait(us - us / 2);
    }

    fn delay_ms(&mut self, ms: u32) {
        for _ in 0..ms / 1000 {
            self.delay_us(1_000_000);
        }
        self.delay_us(ms % 1000 * 1000);
    }
}

#[cfg(test)]
mod tests;
