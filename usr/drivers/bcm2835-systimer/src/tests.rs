//! Against a counter that goes on with each access, and comparisons for equality.

use super::*;
use proptest::prelude::*;
use std::cell::RefCell;

struct Device {
    /// In sixteenths of a microsecond, so that accesses fall within one.
    time: u64,
    /// What each access takes, in turn.
    steps: Vec<u64>,
    accesses: usize,
    compare: [u32; 4],
    status: u32,
}

struct Timer(RefCell<Device>);

impl Timer {
    fn at(us: u64, steps: &[u64]) -> Self {
        Self(RefCell::new(Device {
            time: us * 16,
            steps: steps.to_vec(),
            accesses: 0,
            compare: [0x1234; 4],
            // Firmware's comparison 0 came true.
            status: 1,
        }))
    }

    fn go_on(&self, sixteenths: u64) {
        let mut device = self.0.borrow_mut();
        let (before, after) = (device.time / 16, (device.time + sixteenths) / 16);
        device.time += sixteenths;
        for index in 0..4 {
            let compare = u64::from(device.compare[index]);
            // The first time after `before` at which the lower half is equal.
            let next = before + 1 + (compare.wrapping_sub(before + 1) & 0xffff_ffff);
            if next <= after {
                device.status |= 1 << index;
            }
        }
    }

    fn us(&self) -> u64 {
        self.0.borrow().time / 16
    }
}

impl Registers32 for &Timer {
    fn read(&self, offset: usize) -> u32 {
        let step = {
            let mut device = self.0.borrow_mut();
            device.accesses += 1;
            device.steps[device.accesses % device.steps.len()]
        };
        self.go_on(step);
        let device = self.0.borrow();
        let us = device.time / 16;
        match offset {
            STATUS => device.status,
            COUNTER_LOW => u32::try_from(us & 0xffff_ffff).unwrap(),
            COUNTER_HIGH => u32::try_from(us >> 32).unwrap(),
            _ => panic!("{offset:#x} isn't to be read"),
        }
    }

    fn write(&self, offset: usize, value: u32) {
        self.go_on(1);
        let mut device = self.0.borrow_mut();
        match offset {
            STATUS => device.status &= !value,
            0x10 | 0x18 => device.compare[(offset - COMPARE) / 4] = value,
            _ => panic!("{offset:#x} isn't to be written: firmware's"),
        }
    }
}

#[test]
fn the_counter_is_read_whole() {
    let timer = Timer::at(0xffff_fffe, &[8]);
    let device = SystemTimer::new(&timer);
    let mut last = 0;
    for _ in 0..20 {
        let before = timer.us();
        let now = device.now_us();
        assert!((before..=timer.us()).contains(&now), "{now:#x}");
        assert!(now >= last);
        last = now;
    }
    assert!(last > 1 << 32);
}

#[test]
fn a_delay_ends_by_the_comparison() {
    let timer = Timer::at(5_000_000, &[1]);
    let device = SystemTimer::new(&timer);
    let mut relaxed = 0;
    let mut delay = device.delay(Comparison::Three, || {
        relaxed += 1;
        timer.go_on(1600);
    });
    delay.delay_ms(2500);
    assert!(
        (7_500_000..7_501_000).contains(&timer.us()),
        "{}",
        timer.us()
    );
    assert!(relaxed > 20_000);
    let device = timer.0.borrow();
    assert_eq!(device.status, 1, "its own bit is cleared, firmware's stays");
    assert_eq!((device.compare[0], device.compare[2]), (0x1234, 0x1234));
}

/// Between the reading of the counter and the setting of the comparison a long time goes by: it never comes true.
#[test]
fn a_time_that_has_gone_by_is_noticed() {
    let timer = Timer::at(100, &[16_000, 16_000, 1]);
    let device = SystemTimer::new(&timer);
    let mut relaxed = 0_u32;
    device
        .delay(Comparison::One, || {
            relaxed += 1;
            assert!(relaxed < 1000, "it waits for 71 minutes");
            timer.go_on(16);
        })
        .delay_us(3);
    assert!(timer.us() >= 103);
}

proptest! {
    #[test]
    fn delays_are_never_too_short_and_hardly_too_long(
        start in any::<u64>().prop_map(|it| it >> 8),
        ns in 0..5_000_000_u32,
        steps in prop::collection::vec(0..40_u64, 1..5),
        relax in 1..2000_u64,
    ) {
        let timer = Timer::at(start, &steps);
        let device = SystemTimer::new(&timer);
        let before = timer.0.borrow().time;
        device.delay(Comparison::One, || timer.go_on(relax)).delay_ns(ns);
        let took = timer.0.borrow().time - before;
        let wanted = u64::from(ns) * 16 / 1000;
        prop_assert!(took >= wanted, "{took} instead of {wanted} sixteenths");
        prop_assert!(took <= wanted + 16 * 4 + 2 * relax + 40 * 12, "{took} instead of {wanted} sixteenths");
    }
}
