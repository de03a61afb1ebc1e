//! An interrupt line that functions share.
//!
//! ```text
//! driver ── interrupt() ──▶ pin open ── function raises it ──▶ line ── CPU driver masks ──▶ pcid
//!    ▲                                                                                       │
//!    └────────── answer ◀── pins of those that raise it held, then the line let through ─────┘
//! ```
//!
//! A pin is open only while a driver waits for it, and each driver's is held back by itself: a device that raises its
//! pin without end costs one interrupt each time that its driver asks, and nothing of the others on its line.

use alloc::vec::Vec;

use capelin_pci::{Address, ConfigSpace, PinState, raises, set_pin};

/// So often in a row the line may be raised by none of those that are waited for. (A function may have thought better of
/// it, which is rare.)
const UNCLAIMED: u32 = 64;

/// Those on a line for whose pins drivers wait, each with whom to tell.
#[derive(Debug)]
pub struct Line<W> {
    waiting: Vec<(Address, W)>,
    unclaimed: u32,
}

/// What an interrupt of the line is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Raised<W> {
    /// These have raised their pins, which are held back by now: the line can be let through.
    By(Vec<W>),
    /// Nobody has whose pin is open: the line can be let through all the same.
    ByNobody,
    /// Nobody has, again and again, so that something else must hold the line: it has to stay masked. Those who wait are
    /// told in vain, and their pins are held back.
    WithoutEnd(Vec<W>),
}

impl<W> Default for Line<W> {
    fn default() -> Self {
        Self {
            waiting: Vec::new(),
            unclaimed: 0,
        }
    }
}

impl<W> Line<W> {
    /// Opens the pin of `function`, whose driver is to be told by `whom`. Who has waited for it before is given back.
    pub fn wait(&mut self, space: &mut impl ConfigSpace, function: Address, whom: W) -> Option<W> {
        let before = self.take(function);
        self.waiting.push((function, whom));
        set_pin(space, function, PinState::Open);
        before
    }

    /// The pin of `function`, which its caller holds back, isn't waited for any more; who waited is given back.
    pub fn leave(&mut self, function: Address) -> Option<W> {
        self.take(function)
    }

    /// The line was raised, and is masked.
    pub fn interrupt(&mut self, space: &mut impl ConfigSpace) -> Raised<W> {
        let all = core::mem::take(&mut self.waiting);
        let mut told = Vec::new();
        for (function, whom) in all {
            if raises(space, function) {
                set_pin(space, function, PinState::Held);
                told.push(whom);
            } else {
                self.waiting.push((function, whom));
            }
        }
        if !told.is_empty() {
            self.unclaimed = 0;
            return Raised::By(told);
        }
        self.unclaimed += 1;
        if self.unclaimed < UNCLAIMED {
            return Raised::ByNobody;
        }
        Raised::WithoutEnd(self.hold_all(space))
    }

    /// Holds all pins back; those who wait are given back.
    pub fn hold_all(&mut self, space: &mut impl ConfigSpace) -> Vec<W> {
        let all = core::mem::take(&mut self.waiting).into_iter();
        all.map(|(function, whom)| {
            set_pin(space, function, PinState::Held);
            whom
        })
        .collect()
    }

    fn take(&mut self, function: Address) -> Option<W> {
        let place = self.waiting.iter().position(|(at, _)| *at == function)?;
        Some(self.waiting.swap_remove(place).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use capelin_pci::Register;

    /// Command and status of devices on one bus.
    #[derive(Default)]
    struct Bus(BTreeMap<u8, u32>);

    const WANTS: u32 = 1 << 19;
    const HELD: u32 = 1 << 10;

    impl Bus {
        /// Whether some device holds the line.
        fn is_raised(&self) -> bool {
            self.0.values().any(|it| it & WANTS != 0 && it & HELD == 0)
        }
    }

    impl ConfigSpace for Bus {
        fn read(&mut self, function: Address, _: Register) -> u32 {
            self.0.get(&function.device()).copied().unwrap_or(u32::MAX)
        }

        fn write(&mut self, function: Address, _: Register, value: u32) {
            if let Some(held) = self.0.get_mut(&function.device()) {
                *held = *held & 0xffff_0000 | value;
            }
        }
    }

    fn at(device: u8) -> Address {
        Address::new(0, 0, device, 0).unwrap()
    }

    fn bus(devices: &[(u8, u32)]) -> Bus {
        Bus(devices
            .iter()
            .map(|&(at, state)| (at, state | 6 | HELD))
            .collect())
    }

    #[test]
    fn those_are_told_that_raise_it_and_their_pins_alone_held() {
        let mut bus = bus(&[(1, 0), (2, 0), (3, WANTS)]);
        let mut line = Line::default();
        assert_eq!(line.wait(&mut bus, at(1), 'a'), None);
        assert_eq!(line.wait(&mut bus, at(2), 'b'), None);
        assert!(!bus.is_raised(), "the third isn't waited for");
        *bus.0.get_mut(&2).unwrap() |= WANTS;
        assert!(bus.is_raised());
        assert_eq!(line.interrupt(&mut bus), Raised::By(Vec::from(['b'])));
        assert!(!bus.is_raised(), "it would interrupt for ever");
        assert_eq!(bus.0[&1] & HELD, 0, "the other goes on");
        *bus.0.get_mut(&1).unwrap() |= WANTS;
        assert_eq!(line.interrupt(&mut bus), Raised::By(Vec::from(['a'])));
        // Not served yet, and asked for again: it comes again.
        line.wait(&mut bus, at(2), 'c');
        assert!(bus.is_raised());
        assert_eq!(line.interrupt(&mut bus), Raised::By(Vec::from(['c'])));
    }

    #[test]
    fn a_line_that_something_else_holds_is_given_up() {
        let mut bus = bus(&[(1, 0)]);
        let mut line = Line::default();
        line.wait(&mut bus, at(1), 'a');
        for _ in 1..UNCLAIMED {
            assert_eq!(line.interrupt(&mut bus), Raised::ByNobody);
        }
        // One that was ours begins the count anew.
        *bus.0.get_mut(&1).unwrap() |= WANTS;
        assert_eq!(line.interrupt(&mut bus), Raised::By(Vec::from(['a'])));
        line.wait(&mut bus, at(1), 'b');
        *bus.0.get_mut(&1).unwrap() &= !WANTS;
        for _ in 1..UNCLAIMED {
            assert_eq!(line.interrupt(&mut bus), Raised::ByNobody);
        }
        assert_eq!(
            line.interrupt(&mut bus),
            Raised::WithoutEnd(Vec::from(['b']))
        );
        assert_ne!(bus.0[&1] & HELD, 0);
    }

    #[test]
    fn the_last_who_waits_for_a_function_is_told() {
        let mut bus = bus(&[(1, WANTS), (2, 0)]);
        let mut line = Line::default();
        line.wait(&mut bus, at(1), 'a');
        assert_eq!(line.wait(&mut bus, at(1), 'b'), Some('a'));
        line.wait(&mut bus, at(2), 'c');
        assert_eq!(line.leave(at(2)), Some('c'));
        assert_eq!(line.leave(at(2)), None);
        assert_eq!(line.interrupt(&mut bus), Raised::By(Vec::from(['b'])));
    }

    #[test]
    fn a_function_that_has_gone_raises_nothing() {
        let mut bus = Bus::default();
        let mut line = Line::default();
        line.wait(&mut bus, at(9), 'a');
        assert_eq!(line.interrupt(&mut bus), Raised::ByNobody);
    }
}
