//! Configuration space: the registers that all functions have.

use crate::address::Address;

bitflags::bitflags! {
    /// The command register (7.5.1.1.3), as far as we set it.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Command: u16 {
        /// Answers to its addresses of I/O space.
        const IO = 1;
        /// Answers to its addresses of memory.
        const MEMORY = 1 << 1;
        /// May read and write memory, and send message interrupts.
        const BUS_MASTER = 1 << 2;
        /// Raises no pin.
        const NO_PIN = 1 << 10;
    }
}

/// A register of configuration space: a multiple of 4 below 4,096.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Register(u16);

impl Register {
    /// Vendor in the low half, device in the high one.
    pub(crate) const ID: Self = Self(0x00);
    /// Command in the low half, status in the high one.
    pub(crate) const COMMAND: Self = Self(0x04);
    /// Revision in the low byte, class code above.
    pub(crate) const CLASS: Self = Self(0x08);
    /// The header's kind in byte 2.
    pub(crate) const HEADER: Self = Self(0x0c);
    /// Primary, secondary and subordinate bus (bridges).
    pub(crate) const BUSES: Self = Self(0x18);
    /// I/O base and limit in the low half (bridges).
    pub(crate) const IO_WINDOW: Self = Self(0x1c);
    /// Memory base and limit (bridges).
    pub(crate) const MEMORY_WINDOW: Self = Self(0x20);
    /// Prefetchable memory base and limit (bridges).
    pub(crate) const PREFETCHABLE_WINDOW: Self = Self(0x24);
    /// Their upper 32 bits.
    pub(crate) const PREFETCHABLE_BASE: Self = Self(0x28);
    pub(crate) const PREFETCHABLE_LIMIT: Self = Self(0x2c);
    /// The upper 16 bits of I/O base and limit (bridges).
    pub(crate) const IO_WINDOW_HIGH: Self = Self(0x30);
    /// Subsystem's vendor and number (endpoints).
    pub(crate) const SUBSYSTEM: Self = Self(0x2c);
    /// Where the list of capabilities starts, in the low byte.
    pub(crate) const CAPABILITIES: Self = Self(0x34);
    /// The interrupt pin in byte 1.
    pub(crate) const INTERRUPT: Self = Self(0x3c);

    /// The register at `offset`; `None` if there is none.
    #[must_use]
    pub const fn new(offset: u16) -> Option<Self> {
        if offset.is_multiple_of(4) && offset < 4096 {
            Some(Self(offset))
        } else {
            None
        }
    }

    /// BAR `number`, 0 to 5.
    pub(crate) const fn bar(number: u8) -> Self {
        Self(0x10 + 4 * (number % 6) as u16)
    }

    /// Its offset in bytes.
    #[must_use]
    pub const fn offset(self) -> u16 {
        self.0
    }
}

/// How the registers of functions are reached: through an ECAM, or a fake.
///
/// Where no function is, all bits read as one, and writes do nothing.
pub trait ConfigSpace {
    /// Reads a register.
    fn read(&mut self, function: Address, register: Register) -> u32;

    /// Writes a register.
    fn write(&mut self, function: Address, register: Register, value: u32);
}

/// The low half of a register.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the half is what is asked for"
)]
pub(crate) const fn low_half(value: u32) -> u16 {
    value as u16
}

/// The high half of a register.
pub(crate) const fn high_half(value: u32) -> u16 {
    (value >> 16) as u16
}

/// Byte `index`, 0 to 3, of a register.
pub(crate) const fn byte(value: u32, index: usize) -> u8 {
    value.to_le_bytes()[index & 3]
}

/// Sets the command register to `command`. The status bits, which are cleared by writing ones, stay.
pub(crate) fn set_command(space: &mut impl ConfigSpace, function: Address, command: Command) {
    space.write(function, Register::COMMAND, u32::from(command.bits()));
}

/// What the command register holds of what we know.
pub(crate) fn command(space: &mut impl ConfigSpace, function: Address) -> Command {
    Command::from_bits_truncate(low_half(space.read(function, Register::COMMAND)))
}
