//! Configuration space as PCI Express lays it out in memory (PCI Express Base Specification 6.0,
//! 7.2.2): 4 KiB a function, 1 MiB a bus.
//!
//! 256 buses are 256 MiB, of which few are in use: a bus is mapped when one of its functions is first
//! looked at.

use alloc::vec::Vec;

use capelin_driver::Registers32;
use capelin_pci::{Address, ConfigSpace, Register};

/// Bytes of a bus.
pub const BUS_BYTES: u64 = 1 << 20;

/// Makes a bus's configuration space reachable.
pub trait Buses {
    /// Registers of one bus.
    type Bus: Registers32;

    /// That of the bus `number` places behind the first; `None` if that can't be.
    fn reach(&self, number: u8) -> Option<Self::Bus>;
}

/// The configuration space of a host bridge.
pub struct Ecam<B: Buses> {
    first: u8,
    buses: B,
    /// Those that have been looked at, by their place behind the first.
    reached: Vec<(u8, Option<B::Bus>)>,
}

impl<B: Buses> Ecam<B> {
    /// The space behind `buses`, whose first bus is `first`.
    pub const fn new(first: u8, buses: B) -> Self {
        Self {
            first,
            buses,
            reached: Vec::new(),
        }
    }

    /// The registers of the function's bus, and where in them `register` is.
    fn find(&mut self, function: Address, register: Register) -> Option<(&B::Bus, usize)> {
        let offset = function.ecam_offset(self.first)?;
        let number = u8::try_from(offset / BUS_BYTES).ok()?;
        let place = match self.reached.iter().position(|(known, _)| *known == number) {
            Some(place) => place,
            None => {
                // A bus that can't be mapped is tried once.
                self.reached.push((number, self.buses.reach(number)));
                self.reached.len() - 1
            }
        };
        let (_, bus) = self.reached.get(place)?;
        let offset = offset % BUS_BYTES + u64::from(register.offset());
        Some((bus.as_ref()?, usize::try_from(offset).ok()?))
    }
}

impl<B: Buses> ConfigSpace for Ecam<B> {
    fn read(&mut self, function: Address, register: Register) -> u32 {
        let found = self.find(function, register);
        found.map_or(u32::MAX, |(bus, offset)| bus.read(offset))
    }

    fn write(&mut self, function: Address, register: Register, value: u32) {
        if let Some((bus, offset)) = self.find(function, register) {
            bus.write(offset, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

    type Held = Rc<RefCell<BTreeMap<(u8, usize), u32>>>;

    struct Bus(u8, Held);

    impl Registers32 for Bus {
        fn read(&self, offset: usize) -> u32 {
            assert!(offset < 1 << 20);
            self.1.borrow().get(&(self.0, offset)).copied().unwrap_or(7)
        }

        fn write(&self, offset: usize, value: u32) {
            assert!(offset < 1 << 20);
            self.1.borrow_mut().insert((self.0, offset), value);
        }
    }

    /// Three buses; notes which were asked for.
    struct Three(Held, Rc<RefCell<Vec<u8>>>);

    impl Buses for Three {
        type Bus = Bus;

        fn reach(&self, number: u8) -> Option<Bus> {
            self.1.borrow_mut().push(number);
            (number < 3).then(|| Bus(number, self.0.clone()))
        }
    }

    #[test]
    fn each_function_has_its_4_kib_of_its_bus_which_is_mapped_once() {
        let (held, asked) = (Held::default(), Rc::default());
        let mut ecam = Ecam::new(0x20, Three(Rc::clone(&held), Rc::clone(&asked)));
        let at = |bus, device, function| Address::new(0, bus, device, function).unwrap();
        let register = |offset| Register::new(offset).unwrap();
        ecam.write(at(0x21, 3, 5), register(0xffc), 0x1234);
        let place = (1, (3 << 3 | 5) << 12 | 0xffc);
        assert_eq!(held.borrow().get(&place), Some(&0x1234));
        assert_eq!(ecam.read(at(0x21, 3, 5), register(0xffc)), 0x1234);
        assert_eq!(ecam.read(at(0x20, 0, 0), register(0)), 7);
        assert_eq!(*asked.borrow(), [1, 0]);
        // What lies before or behind isn't there; nobody is asked again and again.
        for bus in [0x1f, 0x23, 0x23] {
            assert_eq!(ecam.read(at(bus, 0, 0), register(0)), u32::MAX);
            ecam.write(at(bus, 0, 0), register(0), 1);
        }
        assert_eq!(*asked.borrow(), [1, 0, 3]);
        assert_eq!(held.borrow().len(), 1);
    }
}
