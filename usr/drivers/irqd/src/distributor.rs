//! The distributor's registers for single shared peripheral interrupts (IHI 0048B section 4.3,
//! IHI 0069H section 12.9).
//!
//! CPU drivers of several cores use the distributor at the same time, by write-one-to-set
//! registers alone (invariant I1). What is set here lies in registers that pack several
//! interrupts into a word or that must not change while the interrupt is enabled; this service is
//! the only one that writes those. Priorities and routes are fields of their own width, so no
//! other interrupt's is touched.

use capelin_abi::Mpidr;
use capelin_interfaces::interrupts::{TargetCore, Trigger};
use tock_registers::{LocalRegisterCopy, register_bitfields};

register_bitfields![u32,
    Type [
        /// Interrupt lines are 32 × (this + 1).
        LINES OFFSET(0) NUMBITS(5) []
    ]
];

/// Offsets of the registers, in bytes.
pub mod offset {
    /// Type (GICD_TYPER).
    pub const TYPE: usize = 0x004;
    /// Clear-enable, a bit an interrupt (GICD_ICENABLER).
    pub const CLEAR_ENABLE: usize = 0x180;
    /// Set-pending, a bit an interrupt (GICD_ISPENDR).
    pub const SET_PENDING: usize = 0x200;
    /// Clear-pending, a bit an interrupt (GICD_ICPENDR).
    pub const CLEAR_PENDING: usize = 0x280;
    /// Priority, a byte an interrupt (GICD_IPRIORITYR).
    pub const PRIORITY: usize = 0x400;
    /// Target cores, a byte an interrupt (GICD_ITARGETSR; version 2).
    pub const TARGETS: usize = 0x800;
    /// Configuration, two bits an interrupt (GICD_ICFGR).
    pub const CONFIGURATION: usize = 0xc00;
    /// Route, eight bytes an interrupt (GICD_IROUTER; version 3).
    pub const ROUTES: usize = 0x6000;
}

/// The first shared peripheral interrupt.
pub const FIRST_SPI: u32 = 32;
/// Those from here on have other meanings.
const LIMIT: u32 = 1020;
/// The priority of every interrupt: as the boot core's CPU driver sets it.
const PRIORITY: u8 = 0xa0;

/// The distributor's registers.
pub trait Registers {
    /// Reads the word at byte `offset`.
    fn read32(&self, offset: usize) -> u32;
    /// Writes it.
    fn write32(&self, offset: usize, value: u32);
    /// Writes one byte at `offset`; only priorities and targets are accessed so.
    fn write8(&self, offset: usize, value: u8);
    /// Writes a double word at `offset`; only routes are accessed so.
    fn write64(&self, offset: usize, value: u64);
}

/// The generation of the controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// GICv2: interrupts are targeted by a bit for each of eight cores.
    V2,
    /// GICv3 and later, affinity routing on.
    V3,
}

/// Where an interrupt goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// To the core that runs this.
    Own(Mpidr),
    /// To another one.
    Other(TargetCore),
}

/// Why an interrupt isn't configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigureError {
    /// The controller has no such shared peripheral interrupt.
    NoSuchInterrupt,
    /// The interrupt keeps another trigger.
    FixedTrigger,
    /// The target is no core, or several.
    NoSuchCore,
}

/// The content of the register that routes an interrupt.
enum Route {
    /// Version 2: a bit for each core.
    Mask(u8),
    /// Version 3: the core's affinity; interrupt routing mode 0, that one core.
    Affinity(u64),
}

/// The distributor.
#[derive(Debug)]
pub struct Distributor<R> {
    registers: R,
    version: Version,
    /// How many interrupts it has, those of cores included.
    count: u32,
}

impl<R: Registers> Distributor<R> {
    /// The distributor behind `registers`, which the boot core's CPU driver has initialised.
    pub fn new(registers: R, version: Version) -> Self {
        let kind = LocalRegisterCopy::<u32, Type::Register>::new(registers.read32(offset::TYPE));
        let count = (32 * (kind.read(Type::LINES) + 1)).min(LIMIT);
        Self {
            registers,
            version,
            count,
        }
    }

    /// Configures `intid` for `trigger`, routed to `target`, and leaves it disabled and not
    /// pending: the CPU driver enables it when it is bound.
    ///
    /// # Errors
    /// See [`ConfigureError`].
    pub fn configure(
        &self,
        intid: u32,
        trigger: Trigger,
        target: Target,
    ) -> Result<(), ConfigureError> {
        if intid < FIRST_SPI || intid >= self.count {
            return Err(ConfigureError::NoSuchInterrupt);
        }
        let route = self.route(target)?;
        let number = intid as usize;
        let (word, bit) = (number / 32 * 4, 1 << (number % 32));
        // The trigger may change only while the interrupt is disabled (GICD_ICFGR).
        self.registers.write32(offset::CLEAR_ENABLE + word, bit);
        self.set_trigger(number, trigger)?;
        self.registers.write8(offset::PRIORITY + number, PRIORITY);
        match route {
            Route::Mask(mask) => self.registers.write8(offset::TARGETS + number, mask),
            Route::Affinity(core) => self.registers.write64(offset::ROUTES + 8 * number, core),
        }
        // An edge from before is nobody's.
        self.registers.write32(offset::CLEAR_PENDING + word, bit);
        Ok(())
    }

    /// What the registers of this version say for `target`.
    fn route(&self, target: Target) -> Result<Route, ConfigureError> {
        let affinity = |mpidr: Mpidr| Route::Affinity(mpidr.0 & Mpidr::AFFINITY_MASK);
        match (self.version, target) {
            // The banked first byte names the core that reads it: this one.
            (Version::V2, Target::Own(_)) => {
                let own = self.registers.read32(offset::TARGETS).to_le_bytes()[0];
                Ok(Route::Mask(own))
            }
            // One core: a list of several would have the first that takes it.
            (Version::V2, Target::Other(core)) if core.gicv2_mask.is_power_of_two() => {
                Ok(Route::Mask(core.gicv2_mask))
            }
            (Version::V2, Target::Other(_)) => Err(ConfigureError::NoSuchCore),
            (Version::V3, Target::Own(mpidr)) => Ok(affinity(mpidr)),
            (Version::V3, Target::Other(core)) => Ok(affinity(Mpidr::from_register(core.mpidr))),
        }
    }

    fn set_trigger(&self, number: usize, trigger: Trigger) -> Result<(), ConfigureError> {
        let register = offset::CONFIGURATION + number / 16 * 4;
        let edge = 0b10 << (number % 16 * 2);
        let before = self.registers.read32(register);
        let wanted = match trigger {
            Trigger::Edge => before | edge,
            Trigger::Level => before & !edge,
        };
        if wanted != before {
            self.registers.write32(register, wanted);
        }
        // Where the line's trigger is wired, the write has no effect.
        if self.registers.read32(register) & edge == wanted & edge {
            Ok(())
        } else {
            Err(ConfigureError::FixedTrigger)
        }
    }

    /// Has `intid` come, as if its device had raised it.
    pub fn raise(&self, intid: u32) {
        if (FIRST_SPI..self.count).contains(&intid) {
            let number = intid as usize;
            let word = offset::SET_PENDING + number / 32 * 4;
            self.registers.write32(word, 1 << (number % 32));
        }
    }

    /// Disables `intid`; for one that a client gives back.
    pub fn quiet(&self, intid: u32) {
        if (FIRST_SPI..self.count).contains(&intid) {
            let number = intid as usize;
            let word = offset::CLEAR_ENABLE + number / 32 * 4;
            self.registers.write32(word, 1 << (number % 32));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};
    use core::cell::RefCell;
    use proptest::prelude::*;

    /// Registers as bytes; clear registers clear enable and pending bits of their own.
    struct Fake {
        bytes: RefCell<Vec<u8>>,
        enabled: RefCell<[u32; 32]>,
        pending: RefCell<[u32; 32]>,
        /// Configuration bits that don't change.
        wired: u32,
    }

    impl Fake {
        fn new(lines: u32) -> Self {
            let fake = Self {
                bytes: RefCell::new(vec![0; 0x8000]),
                enabled: RefCell::new([u32::MAX; 32]),
                pending: RefCell::new([u32::MAX; 32]),
                wired: 0,
            };
            fake.put(offset::TYPE, &lines.to_le_bytes());
            fake.put(offset::TARGETS, &[0x04; 4]);
            fake
        }

        fn put(&self, offset: usize, bytes: &[u8]) {
            self.bytes.borrow_mut()[offset..offset + bytes.len()].copy_from_slice(bytes);
        }

        fn get(&self, offset: usize) -> u64 {
            let mut word = [0; 8];
            word.copy_from_slice(&self.bytes.borrow()[offset..offset + 8]);
            u64::from_le_bytes(word)
        }
    }

    impl Registers for &Fake {
        fn read32(&self, offset: usize) -> u32 {
            self.get(offset).to_le_bytes()[..4]
                .iter()
                .rev()
                .fold(0, |word, &byte| word << 8 | u32::from(byte))
        }

        fn write32(&self, register: usize, value: u32) {
            match register {
                0x180..0x200 => {
                    self.enabled.borrow_mut()[(register - 0x180) / 4] &= !value;
                }
                0x200..0x280 => {
                    self.pending.borrow_mut()[(register - 0x200) / 4] |= value;
                }
                0x280..0x300 => {
                    self.pending.borrow_mut()[(register - 0x280) / 4] &= !value;
                }
                0xc00..0xd00 => {
                    let index = (register - 0xc00) / 4;
                    // Sixteen interrupts a word: those of this word must be disabled if changed.
                    let changed = self.read32(register) ^ value;
                    for n in 0..16 {
                        let number = index * 16 + n;
                        let is_enabled =
                            self.enabled.borrow()[number / 32] >> (number % 32) & 1 == 1;
                        assert!(changed >> (2 * n) & 3 == 0 || !is_enabled, "{number}");
                    }
                    let value = self.read32(register) & self.wired | value & !self.wired;
                    self.put(register, &value.to_le_bytes());
                }
                other => panic!("write of {other:#x}"),
            }
        }

        fn write8(&self, register: usize, value: u8) {
            assert!((0x420..0x7fc).contains(&register) || (0x820..0xbfc).contains(&register));
            self.put(register, &[value]);
        }

        fn write64(&self, register: usize, value: u64) {
            assert!((0x6100..0x7fe0).contains(&register));
            self.put(register, &value.to_le_bytes());
        }
    }

    const OWN: Target = Target::Own(Mpidr(0));

    const fn other(mpidr: u64, gicv2_mask: u8) -> Target {
        Target::Other(TargetCore { mpidr, gicv2_mask })
    }

    #[test]
    fn interrupts_go_to_other_cores_too() {
        let fake = Fake::new(8);
        let distributor = Distributor::new(&fake, Version::V3);
        // What MPIDR_EL1 has besides the affinity (bit 31 is IRM there: any core) is no part of a route.
        let target = other(0x81_c102_0304, 0);
        assert_eq!(distributor.configure(34, Trigger::Level, target), Ok(()));
        assert_eq!(fake.get(0x6000 + 8 * 34), 0x81_0002_0304);
        let fake = Fake::new(8);
        let distributor = Distributor::new(&fake, Version::V2);
        let configured = distributor.configure(34, Trigger::Level, other(3, 0x80));
        assert_eq!(configured, Ok(()));
        assert_eq!(fake.get(0x800 + 34) & 0xff, 0x80);
        for several in [0, 3, 0xff] {
            let refused = distributor.configure(35, Trigger::Level, other(3, several));
            assert_eq!(refused, Err(ConfigureError::NoSuchCore));
        }
        assert_eq!(fake.get(0x800 + 35) & 0xff, 0, "it is as it was");
        assert_eq!(fake.enabled.borrow()[1], !(1 << 2));
    }

    #[test]
    fn only_the_interrupt_that_is_raised_pends() {
        let fake = Fake::new(2);
        *fake.pending.borrow_mut() = [0; 32];
        let distributor = Distributor::new(&fake, Version::V3);
        distributor.raise(70);
        for none in [0, 31, 96, 1019, u32::MAX] {
            distributor.raise(none);
        }
        let mut expected = [0; 32];
        expected[2] = 1 << 6;
        assert_eq!(*fake.pending.borrow(), expected);
    }

    #[test]
    fn version_3_routes_to_the_core() {
        let fake = Fake::new(8);
        let distributor = Distributor::new(&fake, Version::V3);
        let core = Mpidr(0x12_0003_0201 | 1 << 31);
        assert_eq!(
            distributor.configure(33, Trigger::Level, Target::Own(core)),
            Ok(())
        );
        assert_eq!(fake.get(0x6000 + 8 * 33), 0x12_0003_0201);
        assert_eq!(fake.get(0x400 + 33) & 0xff, 0xa0);
        assert_eq!(fake.enabled.borrow()[1], !2);
        assert_eq!(fake.pending.borrow()[1], !2);
        assert_eq!(fake.get(0xc08), 0);
    }

    #[test]
    fn version_2_targets_the_core_that_asks() {
        let fake = Fake::new(2);
        let distributor = Distributor::new(&fake, Version::V2);
        let configured = distributor.configure(79, Trigger::Edge, OWN);
        assert_eq!(configured, Ok(()));
        assert_eq!(fake.get(0x800 + 79) & 0xff, 0x04);
        assert_eq!(fake.get(0x800 + 78) & 0xff, 0, "not its neighbour");
        assert_eq!(fake.get(0xc00 + 79 / 16 * 4) & 0xffff_ffff, 2 << 30);
        assert_eq!(fake.get(0x6000 + 8 * 79), 0);
    }

    #[test]
    fn a_wired_trigger_is_told() {
        let mut fake = Fake::new(2);
        fake.wired = u32::MAX;
        let distributor = Distributor::new(&fake, Version::V3);
        let refused = distributor.configure(40, Trigger::Edge, OWN);
        assert_eq!(refused, Err(ConfigureError::FixedTrigger));
        assert_eq!(distributor.configure(40, Trigger::Level, OWN), Ok(()));
    }

    proptest! {
        /// Only the interrupt asked for changes, whatever the number; and none outside.
        #[test]
        fn nothing_else_is_touched(intid: u32, small in 0..1100u32, lines in 0..32u32) {
            for intid in [intid, small] {
                let fake = Fake::new(lines);
                let distributor = Distributor::new(&fake, Version::V3);
                let exists = (32..(32 * (lines + 1)).min(1020)).contains(&intid);
                let result = distributor.configure(intid, Trigger::Edge, Target::Own(Mpidr(5)));
                prop_assert_eq!(result.is_ok(), exists);
                distributor.quiet(intid);
                let off: u32 = fake.enabled.borrow().iter().map(|w| w.count_zeros()).sum();
                prop_assert_eq!(off, u32::from(exists));
                let bytes = fake.bytes.borrow();
                let priorities = bytes[0x400..0x7fc].iter().filter(|&&b| b != 0).count();
                prop_assert_eq!(priorities, usize::from(exists));
            }
        }
    }
}
