//! The generic timer (Arm ARM D12).
//!
//! Time is the virtual counter, `CNTVCT_EL0`, in ticks, for the kernel and for
//! user space (which may read it). Deadlines are absolute values of it. Where the
//! EL1 physical timer is used, its comparator gets the deadline plus the offset
//! between the two counters (`CNTVOFF_EL2`, which EL1 can't read but can measure).

#![cfg_attr(
    target_arch = "aarch64",
    expect(unsafe_code, reason = "the timer's registers")
)]

use embedded_hal::delay::DelayNs;

use crate::sysreg;

/// How often the event stream wakes cores from WFE, in nanoseconds, about.
pub const EVENT_PERIOD_NS: u64 = 100_000;

const ENABLE: u64 = 1 << 0;
/// `CNTKCTL_EL1`: EL0 may read the virtual counter.
const EL0_READS_VIRTUAL: u64 = 1 << 1;
const EVENT_ENABLE: u64 = 1 << 2;
const EVENT_BIT_SHIFT: u32 = 4;

/// This core's timer.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Timer {
    is_physical: bool,
    /// Physical counter minus virtual counter, in ticks.
    offset: u64,
    /// Ticks per second, at least 1.
    frequency: u64,
}

impl Timer {
    /// Sets this core's timer up, disarmed: EL0 may read the virtual counter and
    /// nothing else, and the event stream runs. `is_physical` selects the EL1
    /// physical timer, else the virtual one. `told` is the frequency in Hz that the
    /// device tree tells, 0 for none.
    #[must_use]
    pub fn init(is_physical: bool, told: u64) -> Self {
        let frequency = frequency_of(sysreg::read!("CNTFRQ_EL0"), told);
        sysreg_write_control(control(frequency));
        let timer = Self {
            is_physical,
            offset: if is_physical { measure_offset() } else { 0 },
            frequency,
        };
        timer.disarm();
        timer
    }

    /// Ticks per second.
    #[must_use]
    pub const fn frequency(&self) -> u64 {
        self.frequency
    }

    /// Raises the timer's interrupt when the counter reaches `deadline`, at once
    /// if it has passed. `u64::MAX` disarms.
    #[inline]
    pub fn arm(&self, deadline: u64) {
        if deadline == u64::MAX {
            return self.disarm();
        }
        if self.is_physical {
            write_physical(deadline.saturating_add(self.offset), ENABLE);
        } else {
            write_virtual(deadline, ENABLE);
        }
    }

    /// No interrupt any more. A pending one is withdrawn.
    #[inline]
    pub fn disarm(&self) {
        if self.is_physical {
            write_physical(u64::MAX, 0);
        } else {
            write_virtual(u64::MAX, 0);
        }
    }
}

/// The counter, perhaps read ahead of earlier instructions.
#[inline]
#[must_use]
pub fn now() -> u64 {
    sysreg::read!("CNTVCT_EL0")
}

/// The counter, read after everything before it in program order has executed
/// (D12.1.2: counter reads are ordered by ISB).
#[inline]
#[must_use]
pub fn now_ordered() -> u64 {
    use crate::issue::{Issue, Op, Processor};
    Processor.issue(Op::Isb);
    now()
}

/// Ticks per second as firmware set it; 0 where it forgot.
#[inline]
#[must_use]
pub fn frequency() -> u64 {
    sysreg::read!("CNTFRQ_EL0")
}

/// Waits by the virtual counter, without sleeping; for what lasts microseconds, before
/// there is anybody else to run. Where firmware left `CNTFRQ_EL0` at 0 it doesn't wait.
#[derive(Clone, Copy, Debug, Default)]
pub struct CounterDelay;

impl DelayNs for CounterDelay {
    fn delay_ns(&mut self, ns: u32) {
        let ticks = (u64::from(ns) * frequency()).div_ceil(1_000_000_000);
        let start = now();
        while now().wrapping_sub(start) < ticks {
            crate::cpu::relax();
        }
    }
}

/// Looks whether `done`, every microsecond by `delay`, for at most `limit_us`
/// microseconds, and once more. Whether it was.
#[must_use]
pub(crate) fn poll(delay: &mut impl DelayNs, limit_us: u32, done: impl Fn() -> bool) -> bool {
    for _ in 0..limit_us {
        if done() {
            return true;
        }
        delay.delay_us(1);
    }
    done()
}

/// Ticks per second, at least 1: what the device tree tells goes before the register,
/// since it is told only where firmware leaves that at 0 or wrong (binding
/// `arm,armv8-timer`, `clock-frequency`).
fn frequency_of(register: u64, told: u64) -> u64 {
    if told == 0 { register.max(1) } else { told }
}

/// The value of `CNTKCTL_EL1` (D19.12.15).
fn control(frequency: u64) -> u64 {
    EL0_READS_VIRTUAL | EVENT_ENABLE | u64::from(event_bit(frequency)) << EVENT_BIT_SHIFT
}

/// The counter bit whose rise is an event: its period is 2^(bit + 1) ticks, the
/// largest not above [`EVENT_PERIOD_NS`], within 0–15.
fn event_bit(frequency: u64) -> u32 {
    let ticks = frequency.saturating_mul(EVENT_PERIOD_NS) / 1_000_000_000;
    ticks.max(2).ilog2().saturating_sub(1).min(15)
}

/// Physical minus virtual counter. Where they tick together the physical reading
/// lies between two virtual ones, and the offset is exactly 0.
fn measure_offset() -> u64 {
    let before = now_ordered();
    let physical = read_physical();
    let after = now_ordered();
    offset_from(before, physical, after)
}

const fn offset_from(before: u64, physical: u64, after: u64) -> u64 {
    if before <= physical && physical <= after {
        0
    } else {
        physical.wrapping_sub(after)
    }
}

mod registers {
    use crate::issue::{Issue, Op, Processor};
    use crate::sysreg;

    #[inline]
    pub(super) fn read_physical() -> u64 {
        Processor.issue(Op::Isb);
        sysreg::read!("CNTPCT_EL0")
    }

    /// Comparator first, so that an old one can't fire under a new control word;
    /// the ISB makes a disarmed timer's interrupt go before the caller goes on.
    #[inline]
    pub(super) fn write_physical(comparator: u64, control: u64) {
        sysreg::write!("CNTP_CVAL_EL0", comparator);
        sysreg::write!("CNTP_CTL_EL0", control);
        Processor.issue(Op::Isb);
    }

    /// As [`write_physical`].
    #[inline]
    pub(super) fn write_virtual(comparator: u64, control: u64) {
        sysreg::write!("CNTV_CVAL_EL0", comparator);
        sysreg::write!("CNTV_CTL_EL0", control);
        Processor.issue(Op::Isb);
    }

    pub(super) fn sysreg_write_control(value: u64) {
        sysreg::write!("CNTKCTL_EL1", value);
        Processor.issue(Op::Isb);
    }
}
use registers::{read_physical, sysreg_write_control, write_physical, write_virtual};

#[cfg(test)]
mod tests {
    use super::*;

    /// Time as a number: it only passes in delays.
    #[derive(Default)]
    struct Clock(u64);

    impl DelayNs for Clock {
        fn delay_ns(&mut self, ns: u32) {
            self.0 += u64::from(ns);
        }
    }

    #[test]
    fn what_is_done_is_not_waited_for() {
        let mut clock = Clock::default();
        assert!(poll(&mut clock, 1000, || true));
        assert_eq!(clock.0, 0);
    }

    #[test]
    fn what_takes_its_time_is_found_done() {
        for looks in 1..=5_u32 {
            let mut clock = Clock::default();
            let left = core::cell::Cell::new(looks);
            let done = || left.replace(left.get().saturating_sub(1)) == 0;
            // The fifth is the look when the time is over.
            assert_eq!(poll(&mut clock, 4, done), looks <= 4, "{looks}");
            assert_eq!(clock.0, u64::from(looks.min(4)) * 1000);
        }
    }

    #[test]
    fn what_never_comes_is_given_up_in_time() {
        let mut clock = Clock::default();
        assert!(!poll(&mut clock, 1_000_000, || false));
        assert_eq!(clock.0, 1_000_000_000);
    }

    #[test]
    fn an_unknown_frequency_is_no_wait_for_ever() {
        // There is no counter on a host: both registers read as 0.
        CounterDelay.delay_ns(u32::MAX);
    }

    #[test]
    fn events_come_about_every_hundred_microseconds() {
        for frequency in [1_000_000, 19_200_000, 54_000_000, 62_500_000, 100_000_000] {
            let period_ns = (2_u64 << event_bit(frequency)) * 1_000_000_000 / frequency;
            assert!(
                (EVENT_PERIOD_NS / 2..=EVENT_PERIOD_NS).contains(&period_ns),
                "{frequency}: {period_ns}"
            );
        }
        // The field ends at 15: 65 µs at 1 GHz.
        assert_eq!(event_bit(1_000_000_000), 15);
        assert_eq!(event_bit(0), 0);
        assert_eq!(event_bit(u64::MAX), 15);
    }

    #[test]
    fn the_tree_makes_up_for_firmware() {
        assert_eq!(frequency_of(62_500_000, 0), 62_500_000);
        assert_eq!(frequency_of(0, 24_000_000), 24_000_000);
        assert_eq!(frequency_of(1_000, 24_000_000), 24_000_000);
        assert_eq!(frequency_of(0, 0), 1);
    }

    #[test]
    fn user_space_reads_the_virtual_counter_only() {
        // EL0PCTEN (0), EL0VTEN (8) and EL0PTEN (9) stay 0.
        assert_eq!(control(62_500_000) & 0x303, 2);
    }

    #[test]
    fn counters_that_tick_together_have_no_offset() {
        assert_eq!(offset_from(100, 103, 105), 0);
        assert_eq!(offset_from(100, 1105, 105), 1000);
    }
}
