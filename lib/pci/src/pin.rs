//! Interrupts by pin: INTA to INTD, each a level that functions share.
//!
//! A function holds its pin as long as it wants something, and so all who share the line are interrupted. Which of them
//! holds it, each says in its status register; and each can be kept from holding it in its command register (7.5.1.1.3,
//! 7.5.1.1.4), which the others don't notice.

use crate::address::Address;
use crate::config::{Command, ConfigSpace, Register, command, high_half, set_command};
use crate::enumerate::Topology;

/// Pins of a device: INTA to INTD.
const PINS: u8 = 4;

/// A pin of a device on the host's first bus: what the host's wires go by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RootPin {
    /// The device's number.
    pub device: u8,
    /// 1 to 4: INTA to INTD.
    pub pin: u8,
}

/// Whether a function may hold its pin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PinState {
    /// It holds it while it wants something.
    Open,
    /// It doesn't, whatever it wants.
    Held,
}

impl Topology {
    /// Which pin of which device on the host's first bus the pin of `function` comes out at; `None` if it has none.
    ///
    /// A bridge passes the pins of the devices behind it on by its own four, each device's a place further than the one
    /// before (PCI-to-PCI Bridge Architecture 1.2, 9.1; PCI Express 2.2.8.1).
    #[must_use]
    pub fn root_pin(&self, function: Address) -> Option<RootPin> {
        let mut at = self.function(function)?;
        let mut pin = at.pin?;
        while let Some(bridge) = at.parent {
            pin = (pin - 1 + at.address.device()) % PINS + 1;
            at = self.function(bridge)?;
        }
        Some(RootPin {
            device: at.address.device(),
            pin,
        })
    }
}

/// Lets `function` hold its pin, or keeps it from that. Its other rights stay as they are. When this is over, the function
/// has heard of it.
pub fn set_pin(space: &mut impl ConfigSpace, function: Address, state: PinState) {
    let held = command(space, function);
    let wanted = match state {
        PinState::Open => held - Command::NO_PIN,
        PinState::Held => held | Command::NO_PIN,
    };
    set_command(space, function, wanted);
    // Writes of configuration space aren't posted, but a host bridge may let the next access overtake: the read waits.
    let _ = command(space, function);
}

/// Whether `function` wants something that it says by pin (Interrupt Status), whether or not it may hold that.
pub fn raises(space: &mut impl ConfigSpace, function: Address) -> bool {
    const INTERRUPT_STATUS: u16 = 1 << 3;
    let value = space.read(function, Register::COMMAND);
    // Where no function answers any more, all bits are one.
    value != u32::MAX && high_half(value) & INTERRUPT_STATUS != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::{Class, Function};
    use alloc::vec::Vec;

    fn at(bus: u8, device: u8) -> Address {
        Address::new(0, bus, device, 0).unwrap()
    }

    fn function(address: Address, parent: Option<Address>, pin: Option<u8>) -> Function {
        Function {
            address,
            parent,
            vendor: 1,
            device: 1,
            revision: 0,
            class: Class {
                base: 0,
                sub: 0,
                interface: 0,
            },
            subsystem: None,
            bridge: None,
            bars: Vec::new(),
            pin,
            capabilities: Vec::new(),
            msi: None,
            msi_x: None,
        }
    }

    #[test]
    fn bridges_pass_pins_on_each_device_a_place_further() {
        let functions = Vec::from([
            function(at(0, 1), None, Some(1)),
            function(at(0, 2), None, None),
            // Behind the second, which has no pin of its own.
            function(at(1, 0), Some(at(0, 2)), Some(1)),
            function(at(1, 3), Some(at(0, 2)), Some(2)),
            // A bridge behind it, and a device behind that.
            function(at(1, 5), Some(at(0, 2)), Some(1)),
            function(at(2, 7), Some(at(1, 5)), Some(4)),
        ]);
        let topology = Topology {
            functions,
            findings: Vec::new(),
        };
        let pin = |bus, device| {
            let found = topology.root_pin(at(bus, device));
            found.map(|it| (it.device, it.pin))
        };
        assert_eq!(pin(0, 1), Some((1, 1)));
        assert_eq!(pin(0, 2), None);
        assert_eq!(pin(1, 0), Some((2, 1)));
        // INTB of device 3: one and three places on, INTA again.
        assert_eq!(pin(1, 3), Some((2, 1)));
        assert_eq!(pin(1, 5), Some((2, 2)));
        // INTD of device 7 is INTC of the bridge at device 5, which is INTD of the root's.
        assert_eq!(pin(2, 7), Some((2, 4)));
        assert_eq!(pin(3, 0), None);
    }

    /// One function's command and status.
    struct One(u32);

    impl ConfigSpace for One {
        fn read(&mut self, _: Address, register: Register) -> u32 {
            assert_eq!(register, Register::COMMAND);
            self.0
        }

        fn write(&mut self, _: Address, register: Register, value: u32) {
            assert_eq!(register, Register::COMMAND);
            assert_eq!(value >> 16, 0, "status bits are cleared by ones");
            self.0 = self.0 & !0xffff | value;
        }
    }

    #[test]
    fn a_pin_is_held_back_without_anything_else_changing() {
        let mut one = One(0x0008_0006);
        assert!(raises(&mut one, at(0, 1)));
        set_pin(&mut one, at(0, 1), PinState::Held);
        assert_eq!(one.0, 0x0008_0406);
        assert!(raises(&mut one, at(0, 1)), "it still says so");
        set_pin(&mut one, at(0, 1), PinState::Open);
        assert_eq!(one.0, 0x0008_0006);
        assert!(!raises(&mut One(0xfff7_0006), at(0, 1)));
        assert!(!raises(&mut One(u32::MAX), at(0, 1)), "nobody answers");
    }
}
