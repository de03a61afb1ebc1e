//! `MAIR_EL1` and `TCR_EL1` (Arm ARM D19.2.97 and D19.2.139) as the encodings in
//! [`crate::descriptor`] assume them.

use crate::permissions::Memory;

const fn attribute(memory: Memory, byte: u64) -> u64 {
    byte << (8 * memory as u32)
}

/// The memory types of [`Memory`], one byte each; unused bytes are zero
/// (Device-nGnRnE).
pub const MAIR_EL1: u64 = attribute(Memory::WriteBack, 0xff)
    | attribute(Memory::DeviceStrict, 0x00)
    | attribute(Memory::Uncached, 0x44)
    | attribute(Memory::Device, 0x04);

/// `ID_AA64MMFR0_EL1.PARange`: how many physical address bits the core has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PhysicalRange(u8);

impl PhysicalRange {
    /// From the value of `ID_AA64MMFR0_EL1`. Ranges beyond 48 bits, which the
    /// 4 KiB granule needs `TCR_EL1.DS` for, count as 48.
    #[must_use]
    pub const fn from_mmfr0(mmfr0: u64) -> Self {
        let field = mmfr0 & 0xf;
        if field > 5 {
            Self(5)
        } else {
            Self(field as u8)
        }
    }

    /// Physical address bits, 32–48.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self.0 {
            0 => 32,
            1 => 36,
            2 => 40,
            3 => 42,
            4 => 44,
            _ => 48,
        }
    }
}

/// The value of `TCR_EL1`: both halves 48 bits, 4 KiB granule, walks write-back
/// and inner shareable, ASID from `TTBR0_EL1`, no top-byte-ignore.
#[must_use]
pub const fn tcr_el1(range: PhysicalRange, has_16_bit_asids: bool) -> u64 {
    const T0SZ: u64 = 64 - 48;
    const T1SZ: u64 = (64 - 48) << 16;
    const WALK0: u64 = 0b01 << 8 | 0b01 << 10 | 0b11 << 12;
    const WALK1: u64 = 0b01 << 24 | 0b01 << 26 | 0b11 << 28;
    const TG0_4K: u64 = 0b00 << 14;
    const TG1_4K: u64 = 0b10 << 30;
    let asid_size = if has_16_bit_asids { 1 << 36 } else { 0 };
    T0SZ | T1SZ | WALK0 | WALK1 | TG0_4K | TG1_4K | (range.0 as u64) << 32 | asid_size
}

/// The value of `TCR_EL1`, and of `TCR_EL2` where `HCR_EL2.E2H` is set, for tables in the
/// lower half alone: as [`tcr_el1`], and nothing is looked up in the upper one (EPD1).
#[must_use]
pub const fn tcr_lower_half(range: PhysicalRange) -> u64 {
    tcr_el1(range, false) | 1 << 23
}

/// The value of `TCR_EL2` where `HCR_EL2.E2H` is clear (Arm ARM D19.2.140): 48 bits,
/// 4 KiB granule, walks write-back and inner shareable, no top-byte-ignore; bits 31 and 23
/// are RES1.
#[must_use]
pub const fn tcr_el2(range: PhysicalRange) -> u64 {
    const T0SZ: u64 = 64 - 48;
    const WALK0: u64 = 0b01 << 8 | 0b01 << 10 | 0b11 << 12;
    1 << 31 | 1 << 23 | (range.0 as u64) << 16 | WALK0 | T0SZ
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_worked_out_by_hand() {
        assert_eq!(MAIR_EL1, 0x0444_00ff);
        let range = PhysicalRange::from_mmfr0(0x1122);
        assert_eq!(range.bits(), 40);
        assert_eq!(tcr_el1(range, true), 0x12_b510_3510);
        assert_eq!(tcr_el1(PhysicalRange::from_mmfr0(0), false), 0xb510_3510);
        assert_eq!(tcr_lower_half(range), 0x2_b590_3510);
        assert_eq!(tcr_el2(range), 0x8082_3510);
    }

    #[test]
    fn more_than_48_bits_count_as_48() {
        for field in 5..16 {
            assert_eq!(PhysicalRange::from_mmfr0(field).bits(), 48);
        }
    }
}
