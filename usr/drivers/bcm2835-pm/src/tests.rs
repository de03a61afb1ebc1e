//! Against registers that mind the password and count.

use super::*;
use std::cell::RefCell;

/// Bits that stand in the registers from before, and are none of ours.
const CONTROL_BEFORE: u32 = 0x102;
const STATUS_BEFORE: u32 = 0x1000 | 0x041;

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Fate {
    Runs,
    Boots,
    Halts,
}

/// The device: what it does when time goes by.
struct Device(RefCell<[u32; 3]>);

impl Device {
    fn new() -> Self {
        Self(RefCell::new([CONTROL_BEFORE, STATUS_BEFORE, 0]))
    }

    fn after(&self, ticks: u32) -> Fate {
        let [control, status, watchdog] = &mut *self.0.borrow_mut();
        if *control >> 4 & 3 != 2 {
            return Fate::Runs;
        }
        let left = watchdog.saturating_sub(ticks);
        *watchdog = left;
        match (left, *status & 0xfff) {
            (1.., _) => Fate::Runs,
            (0, 0x555) => Fate::Halts,
            (0, _) => Fate::Boots,
        }
    }
}

impl Registers32 for &Device {
    fn read(&self, offset: usize) -> u32 {
        self.0.borrow()[(offset - 0x1c) / 4]
    }

    fn write(&self, offset: usize, value: u32) {
        if value >> 24 == 0x5a {
            self.0.borrow_mut()[(offset - 0x1c) / 4] = value & 0xff_ffff;
        }
    }
}

#[test]
fn a_reset_boots_or_halts() {
    for (after, fate) in [(After::Boot, Fate::Boots), (After::Halt, Fate::Halts)] {
        let device = Device::new();
        assert_eq!(device.after(1 << 20), Fate::Runs);
        PowerManagement::new(&device).reset(after);
        assert_eq!(device.after(1), Fate::Runs, "it comes after the writes");
        assert_eq!(device.after(1000), fate);
        let [control, status, _] = *device.0.borrow();
        assert_eq!(control & !0x30, CONTROL_BEFORE);
        assert_eq!(status & 0x1000, 0x1000, "others' bits stay");
    }
}

#[test]
fn a_boot_is_from_the_first_partition() {
    let device = Device::new();
    PowerManagement::new(&device).reset(After::Boot);
    assert_eq!(device.0.borrow()[1] & PARTITION, 0);
}

#[test]
fn the_watchdog_is_held_off_and_stopped() {
    let device = Device::new();
    let power = PowerManagement::new(&device);
    assert_eq!(power.remaining(), None);
    for _ in 0..3 {
        power.arm(Duration::from_secs(2)).unwrap();
        assert_eq!(power.remaining(), Some(Duration::from_secs(2)));
        assert_eq!(device.after(2 * 65_536 - 1), Fate::Runs);
    }
    assert_eq!(device.after(1), Fate::Boots);
    power.arm(Duration::from_secs(2)).unwrap();
    power.stop();
    assert_eq!(power.remaining(), None);
    assert_eq!(device.after(u32::MAX), Fate::Runs);
}

#[test]
fn the_watchdog_has_limits() {
    let device = Device::new();
    let power = PowerManagement::new(&device);
    assert_eq!(power.arm(Duration::from_secs(16)), Err(TooLong));
    assert_eq!(power.arm(Duration::MAX), Err(TooLong));
    assert_eq!(device.after(u32::MAX), Fate::Runs, "nothing has changed");
    power.arm(Duration::from_nanos(1)).unwrap();
    assert_eq!(device.0.borrow()[2], 1, "never at once");
    power.arm(Duration::from_millis(15_999)).unwrap();
    assert_eq!(device.after(15 * 65_536), Fate::Runs);
}
