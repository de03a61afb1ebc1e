//! Against a counter that goes on with each access, and has nothing else.

use super::*;
use proptest::prelude::*;
use std::cell::RefCell;

struct Device {
    /// In sixteenths of a microsecond, so that accesses fall within one.
    time: u64,
    /// What each access takes, in turn.
    steps: Vec<u64>,
    accesses: usize,
}

struct Timer(RefCell<Device>);

impl Timer {
    fn at(us: u64, steps: &[u64]) -> Self {
        Self(RefCell::new(Device {
            time: us * 16,
            steps: steps.to_vec(),
            accesses: 0,
        }))
    }

    fn go_on(&self, sixteenths: u64) {
        self.0.borrow_mut().time += sixteenths;
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
        let us = self.us();
        match offset {
            COUNTER_LOW => u32::try_from(us & 0xffff_ffff).unwrap(),
            COUNTER_HIGH => u32::try_from(us >> 32).unwrap(),
            _ => panic!("{offset:#x} isn't to be read"),
        }
    }

    fn write(&self, offset: usize, _: u32) {
        panic!("{offset:#x} isn't to be written: firmware's");
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
fn a_delay_of_milliseconds_is_one() {
    let timer = Timer::at(5_000_000, &[1]);
    let device = SystemTimer::new(&timer);
    let mut relaxed = 0;
    let mut delay = device.delay(|| {
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
        device.delay(|| timer.go_on(relax)).delay_ns(ns);
        let took = timer.0.borrow().time - before;
        let wanted = u64::from(ns) * 16 / 1000;
        prop_assert!(took >= wanted, "{took} instead of {wanted} sixteenths");
        prop_assert!(took <= wanted + 16 * 2 + relax + 40 * 7, "{took} instead of {wanted} sixteenths");
    }
}
