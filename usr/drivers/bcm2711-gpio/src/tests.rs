//! Against pins that mind which register is for what, and who drives them.

use super::*;
use proptest::prelude::*;
use std::cell::RefCell;

/// The device, and what is connected to it.
#[derive(Clone)]
struct Device {
    functions: [u32; 6],
    /// What outputs have, or would have.
    latch: u64,
    pulls: [u32; 4],
    /// Levels from outside, of the pins where something drives.
    outside: [Option<Level>; 58],
    /// Levels that outputs have had while they were driven, in order.
    seen: Vec<(u32, Level)>,
}

impl Device {
    fn new() -> Self {
        Self {
            functions: [0; 6],
            latch: 0,
            // Reserved bits beyond the last pin stay as they are.
            pulls: [0x5555_5555, 0xaaaa_aaaa, 0, 0xfff0_0000],
            outside: [None; 58],
            seen: Vec::new(),
        }
    }

    fn function(&self, pin: u32) -> u32 {
        self.functions[pin as usize / 10] >> (pin % 10 * 3) & 7
    }

    fn level(&self, pin: u32) -> Level {
        let pull = self.pulls[pin as usize / 16] >> (pin % 16 * 2) & 3;
        let latch = if self.latch >> pin & 1 == 1 {
            Level::High
        } else {
            Level::Low
        };
        match (self.function(pin), self.outside[pin as usize]) {
            (1, _) => latch,
            (_, Some(level)) => level,
            (_, None) if pull == 1 => Level::High,
            _ => Level::Low,
        }
    }

    fn note(&mut self) {
        for pin in 0..58 {
            if self.function(pin) == 1 {
                let now = (pin, self.level(pin));
                if self.seen.iter().rev().find(|it| it.0 == pin) != Some(&now) {
                    self.seen.push(now);
                }
            }
        }
    }
}

struct Shared(RefCell<Device>);

impl Registers32 for &Shared {
    fn read(&self, offset: usize) -> u32 {
        let device = self.0.borrow();
        match offset {
            0x00..0x18 => device.functions[offset / 4],
            0x34 | 0x38 => {
                let first = u32::try_from(offset - 0x34).unwrap() * 8;
                let pins = first..(first + 32).min(58);
                pins.fold(0, |word, pin| {
                    word | u32::from(device.level(pin) == Level::High) << (pin - first)
                })
            }
            0xe4..0xf4 => device.pulls[(offset - 0xe4) / 4],
            _ => panic!("{offset:#x} isn't to be read"),
        }
    }

    fn write(&self, offset: usize, value: u32) {
        let mut device = self.0.borrow_mut();
        match offset {
            0x00..0x18 => device.functions[offset / 4] = value,
            0x1c | 0x20 => device.latch |= u64::from(value) << ((offset - 0x1c) * 8),
            0x28 | 0x2c => device.latch &= !(u64::from(value) << ((offset - 0x28) * 8)),
            0xe4..0xf4 => device.pulls[(offset - 0xe4) / 4] = value,
            _ => panic!("{offset:#x} isn't to be written"),
        }
        device.note();
    }
}

fn shared(device: Device) -> Shared {
    Shared(RefCell::new(device))
}

#[test]
fn outputs_are_driven_and_have_their_level_from_the_start() {
    let device = shared(Device::new());
    let gpio = Gpio::new(&device);
    for pin in [0, 9, 10, 27, LED] {
        let mut output = gpio.pin(pin).unwrap().into_output(Level::High).unwrap();
        assert_eq!(output.is_high(), Ok(true));
        output.set_low().unwrap();
        assert_eq!((output.is_low(), output.is_set_low()), (Ok(true), Ok(true)));
        output.toggle().unwrap();
        assert_eq!(
            (output.is_set_high(), output.is_high()),
            (Ok(true), Ok(true))
        );
        let seen: Vec<_> = device
            .0
            .borrow()
            .seen
            .iter()
            .filter(|it| it.0 == pin)
            .map(|it| it.1)
            .collect();
        assert_eq!(
            seen,
            [Level::High, Level::Low, Level::High],
            "pin {pin}, no glitch"
        );
    }
}

#[test]
fn inputs_are_read_with_and_without_something_outside() {
    let mut wired = Device::new();
    wired.functions[1] = 1 << 21; // 17 is an output
    wired.outside[17] = Some(Level::High);
    let device = shared(wired);
    let gpio = Gpio::new(&device);
    let mut input = gpio.pin(17).unwrap().into_input().unwrap();
    assert_eq!((input.is_high(), input.is_low()), (Ok(true), Ok(false)));
    device.0.borrow_mut().outside[17] = None;
    for (pull, high) in [(Pull::Up, true), (Pull::Down, false), (Pull::None, false)] {
        gpio.pin(17).unwrap().set_pull(pull).unwrap();
        assert_eq!(gpio.pin(17).unwrap().pull(), Some(pull));
        assert_eq!(input.is_high(), Ok(high));
    }
}

#[test]
fn functions_are_as_the_manual_numbers_them() {
    let mut device = Device::new();
    // GPFSEL1: pins 10 to 17.
    device.functions[1] = (0..8).fold(0, |word, bits| word | bits << (3 * bits));
    let device = shared(device);
    let gpio = Gpio::new(&device);
    let found = (10..18).map(|pin| gpio.pin(pin).unwrap().function());
    use Function::{Alternate, Input, Output};
    let expected = [
        Input,
        Output,
        Alternate(5),
        Alternate(4),
        Alternate(0),
        Alternate(1),
        Alternate(2),
        Alternate(3),
    ];
    assert!(found.eq(expected));
}

#[test]
fn what_others_use_is_not_changed() {
    let mut wired = Device::new();
    // 14 and 15, the console's: alternate function 0.
    wired.functions[1] = 4 << 12 | 2 << 15;
    let device = shared(wired.clone());
    let gpio = Gpio::new(&device);
    for (pin, error) in [
        (14, PinError::Taken(0)),
        (15, PinError::Taken(5)),
        (28, PinError::OnBoard),
        (57, PinError::OnBoard),
    ] {
        let pin = || gpio.pin(pin).unwrap();
        assert_eq!(pin().into_input().err(), Some(error));
        assert_eq!(pin().into_output(Level::High).err(), Some(error));
        assert_eq!(pin().set_pull(Pull::Up), Err(error));
        let _ = (pin().level(), pin().pull());
    }
    assert_eq!(gpio.pin(58).err(), Some(PinError::NoSuchPin));
    let after = device.0.borrow();
    assert_eq!(
        (after.functions, after.latch, after.pulls),
        (wired.functions, 0, wired.pulls)
    );
}

proptest! {
    /// Whatever is done to a pin, the others stay as they are.
    #[test]
    fn others_stay(
        functions in prop::array::uniform6(any::<u32>()), latch in any::<u64>(), pulls in prop::array::uniform4(any::<u32>()),
        pin in 0..58_u32, what in 0..5,
    ) {
        let before = Device { functions, latch, pulls, ..Device::new() };
        let device = shared(before.clone());
        let gpio = Gpio::new(&device);
        let it = gpio.pin(pin).unwrap();
        let outcome = match what {
            0 => it.into_input().map(drop),
            1 => it.into_output(Level::High).map(drop),
            2 => it.into_output(Level::Low).map(drop),
            3 => it.set_pull(Pull::Up),
            _ => it.set_pull(Pull::None),
        };
        let after = device.0.borrow();
        let mut expected = before;
        if outcome.is_ok() {
            let (register, shift) = (pin as usize / 10, pin % 10 * 3);
            let function = |bits: u32| functions[register] & !(7 << shift) | bits << shift;
            let pull = |bits: u32| pulls[pin as usize / 16] & !(3 << (pin % 16 * 2)) | bits << (pin % 16 * 2);
            match what {
                0 => expected.functions[register] = function(0),
                1 => { expected.functions[register] = function(1); expected.latch |= 1 << pin; }
                2 => { expected.functions[register] = function(1); expected.latch &= !(1 << pin); }
                3 => expected.pulls[pin as usize / 16] = pull(1),
                _ => expected.pulls[pin as usize / 16] = pull(0),
            }
        }
        prop_assert_eq!(after.functions, expected.functions);
        prop_assert_eq!(after.latch, expected.latch);
        prop_assert_eq!(after.pulls, expected.pulls);
    }
}
