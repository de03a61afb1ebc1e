//! The system timer of BCM2835 to BCM2711 (BCM2711 ARM Peripherals, chapter 10): a counter of 64 bits, from the chip's
//! reset on by 1 MHz whatever the clocks of the cores do.
//!
//! Its four comparisons, of which the VideoCore's firmware uses 0 and 2, aren't used: without their interrupts they tell
//! less than the counter. (One that came true before it was cleared shows late, and ended the next delay at once.)
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use capelin_driver::Registers32;
use embedded_hal::delay::DelayNs;

/// The counter's halves (`CLO`, `CHI`).
const COUNTER_LOW: usize = 0x04;
const COUNTER_HIGH: usize = 0x08;
/// Bytes of registers that are used.
pub const REGISTER_BYTES: usize = 0x0c;

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

    /// Waits by the counter; `relax` runs each time that it isn't over yet.
    pub const fn delay<F: FnMut()>(&self, relax: F) -> Delay<'_, R, F> {
        Delay { timer: self, relax }
    }
}

/// Waits by the counter, never less than asked for.
#[derive(Debug)]
pub struct Delay<'a, R, F> {
    timer: &'a SystemTimer<R>,
    relax: F,
}

impl<R: Registers32, F: FnMut()> DelayNs for Delay<'_, R, F> {
    fn delay_ns(&mut self, ns: u32) {
        self.delay_us(ns.div_ceil(1000));
    }

    fn delay_us(&mut self, us: u32) {
        if us == 0 {
            return;
        }
        let start = self.timer.now_us();
        // It may be about to go on when it is looked at, so the first doesn't count.
        while self.timer.now_us() - start <= us.into() {
            (self.relax)();
        }
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
