//! Interrupts by message (7.7.1, 7.7.2): the function writes a word, to somebody who makes an interrupt of it.

use crate::address::Address;
use crate::capability::{Msi, MsiX};
use crate::config::{ConfigSpace, Register, high_half};

/// What a function writes, and where.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Message {
    /// Where, as the bus sees it.
    pub address: u64,
    /// What.
    pub data: u32,
}

/// Bytes of an entry of MSI-X's table (7.7.2).
pub const ENTRY_BYTES: u32 = 16;
/// In the last word of an entry: it isn't sent.
const MASKED: u32 = 1;

/// The registers of an MSI capability, in its first word.
mod msi {
    /// It is used.
    pub(super) const ENABLE: u32 = 1 << 16;
    /// How many messages are used, as a power of two.
    pub(super) const USED: u32 = 7 << 20;
    /// Each can be held back.
    pub(super) const HAS_MASK: u16 = 1 << 8;
}

/// The same of MSI-X.
mod msi_x {
    /// It is used.
    pub(super) const ENABLE: u32 = 1 << 31;
    /// All messages are held back.
    pub(super) const HOLD: u32 = 1 << 30;
}

/// The word `by` bytes into a capability; `None` past the end of the space.
fn word(offset: u8, by: u8) -> Option<Register> {
    Register::new(u16::from(offset.checked_add(by)?))
}

impl Msi {
    /// Has `function` interrupt by `message` alone. Whether it can: one that reaches 32 bits can't write above 4 GiB, and
    /// what is written has 16 bits.
    pub fn enable(
        &self,
        space: &mut impl ConfigSpace,
        function: Address,
        message: Message,
    ) -> bool {
        let [low, high] = halves(message.address);
        let (data_at, mask_at) = if self.is_64_bit {
            (0xc, 0x10)
        } else {
            (8, 0xc)
        };
        let registers = [0, 4, 8, data_at].map(|by| word(self.offset, by));
        let [Some(control), Some(address), Some(address_high), Some(data)] = registers else {
            return false;
        };
        if message.data > 0xffff || !self.is_64_bit && high != 0 {
            return false;
        }
        let held = space.read(function, control) & !(msi::ENABLE | msi::USED);
        space.write(function, control, held);
        space.write(function, address, low);
        if self.is_64_bit {
            space.write(function, address_high, high);
        }
        space.write(function, data, message.data);
        if high_half(held) & msi::HAS_MASK != 0
            && let Some(mask) = word(self.offset, mask_at)
        {
            space.write(function, mask, !1);
        }
        space.write(function, control, held | msi::ENABLE);
        true
    }

    /// Has it write no message any more.
    pub fn disable(&self, space: &mut impl ConfigSpace, function: Address) {
        if let Some(control) = word(self.offset, 0) {
            let held = space.read(function, control);
            space.write(function, control, held & !msi::ENABLE);
        }
    }
}

impl MsiX {
    /// Has `function` interrupt by `message`, its table's first; the others are held back. `write` writes a word of the
    /// table, by its offset in bytes.
    pub fn enable(
        &self,
        space: &mut impl ConfigSpace,
        function: Address,
        message: Message,
        mut write: impl FnMut(u32, u32),
    ) -> bool {
        let Some(control) = word(self.offset, 0) else {
            return false;
        };
        let held = space.read(function, control) & !(msi_x::ENABLE | msi_x::HOLD);
        // Enabled, so that its pin is silent, and held back meanwhile.
        space.write(function, control, held | msi_x::ENABLE | msi_x::HOLD);
        for entry in 1..u32::from(self.vectors) {
            write(entry * ENTRY_BYTES + 12, MASKED);
        }
        let [low, high] = halves(message.address);
        for (offset, value) in [(0, low), (4, high), (8, message.data), (12, 0)] {
            write(offset, value);
        }
        space.write(function, control, held | msi_x::ENABLE);
        true
    }

    /// Has it write no message any more.
    pub fn disable(&self, space: &mut impl ConfigSpace, function: Address) {
        if let Some(control) = word(self.offset, 0) {
            let held = space.read(function, control);
            space.write(function, control, held & !msi_x::ENABLE);
        }
    }
}

/// The low and the high 32 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves are what is asked for"
)]
const fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;

    /// A function's registers, and what was written in which order.
    #[derive(Default)]
    struct One(BTreeMap<u16, u32>, Vec<(u16, u32)>);

    impl ConfigSpace for One {
        fn read(&mut self, _: Address, register: Register) -> u32 {
            self.0.get(&register.offset()).copied().unwrap_or(0)
        }

        fn write(&mut self, _: Address, register: Register, value: u32) {
            self.0.insert(register.offset(), value);
            self.1.push((register.offset(), value));
        }
    }

    fn at() -> Address {
        Address::new(0, 0, 1, 0).unwrap()
    }

    const FRAME: Message = Message {
        address: 0x802_0040,
        data: 80,
    };

    #[test]
    fn msi_is_off_while_its_message_changes() {
        let msi = Msi {
            offset: 0x50,
            vectors: 4,
            is_64_bit: true,
        };
        let mut one = One::default();
        // Enabled with four messages by firmware; each can be held back.
        one.0.insert(0x50, 0x01a5_0005);
        assert!(msi.enable(&mut one, at(), FRAME));
        let expected = [
            (0x50, 0x0184_0005),
            (0x54, 0x802_0040),
            (0x58, 0),
            (0x5c, 80),
            (0x60, !1),
            (0x50, 0x0185_0005),
        ];
        assert_eq!(one.1, expected);
        msi.disable(&mut one, at());
        assert_eq!(one.0[&0x50], 0x0184_0005);
    }

    #[test]
    fn msi_of_32_bits_cannot_write_everywhere() {
        let msi = Msi {
            offset: 0x50,
            vectors: 1,
            is_64_bit: false,
        };
        let mut one = One::default();
        let high = Message {
            address: 1 << 32,
            ..FRAME
        };
        let long = Message {
            data: 1 << 16,
            ..FRAME
        };
        assert!(!msi.enable(&mut one, at(), high) && !msi.enable(&mut one, at(), long));
        assert_eq!(one.1, []);
        assert!(msi.enable(&mut one, at(), FRAME));
        assert_eq!(one.0[&0x58], 80, "the word is right behind the address");
        let last = Msi {
            offset: 0xfc,
            ..msi
        };
        assert!(!last.enable(&mut one, at(), FRAME));
    }

    #[test]
    fn msi_x_holds_all_back_until_its_table_is_written() {
        let msi_x = MsiX {
            offset: 0x84,
            vectors: 3,
            table: (1, 0),
            pending: (1, 0x800),
        };
        let mut one = One::default();
        one.0.insert(0x84, 0x8002_0011);
        let mut table = Vec::new();
        let message = Message {
            address: 0x12_0802_0040,
            data: 81,
        };
        assert!(msi_x.enable(&mut one, at(), message, |at, value| table.push((at, value))));
        assert_eq!(one.1, [(0x84, 0xc002_0011), (0x84, 0x8002_0011)]);
        let expected = [
            (28, 1),
            (44, 1),
            (0, 0x802_0040),
            (4, 0x12),
            (8, 81),
            (12, 0),
        ];
        assert_eq!(table, expected);
        msi_x.disable(&mut one, at());
        assert_eq!(one.0[&0x84], 0x0002_0011);
    }
}
