//! The 64-bit descriptors (Arm ARM D8.3, "Translation table descriptor formats").
//!
//! ```text
//!  leaf: 63..55  54   53   52..48  47 ...... 12   11  10  9 8  7 6   5  4..2  1      0
//!        ignored UXN  PXN  zero    output address nG  AF  SH   AP21  NS Attr  page   valid
//!  table: 63..59 attributes (0), 47..12 next table, 1: 1, 0: 1
//! ```
//! Bit 1 distinguishes table (1) from block (0) at levels 0–2 and must be 1 for a
//! page at level 3. The contiguous hint (52) and hardware dirty state (51) are
//! never set; the access flag always is, so no access-flag faults arise.

use capelin_abi::PhysAddr;
use capelin_abi::syscall::MapFlags;

use crate::geometry::TableLevel;
use crate::permissions::{Access, Memory, Permissions};

const VALID: u64 = 1 << 0;
const TABLE_OR_PAGE: u64 = 1 << 1;
const ATTR_SHIFT: u32 = 2;
/// AP[1]: EL0 has access too.
const AP_USER: u64 = 1 << 6;
/// AP[2]: read-only.
const AP_READ_ONLY: u64 = 1 << 7;
const SH_OUTER: u64 = 0b10 << 8;
const SH_INNER: u64 = 0b11 << 8;
const ACCESS_FLAG: u64 = 1 << 10;
const NOT_GLOBAL: u64 = 1 << 11;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// One entry of a translation table.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Descriptor(pub u64);

/// What a descriptor means at some level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Nothing is mapped.
    Invalid,
    /// The next level's table.
    Table(PhysAddr),
    /// A block (levels 1 and 2) or page (level 3).
    Leaf(PhysAddr, Permissions),
    /// Valid, but nothing that [`Descriptor`] makes: a reserved encoding, or
    /// permissions that break W^X.
    Malformed,
}

/// Why a descriptor can't be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DescriptorError {
    /// The output address isn't a multiple of the entry's span (leaf) or of 4 KiB.
    Unaligned,
    /// The output address has more than 48 bits.
    OutOfRange,
    /// Level 0 has no leaves.
    NoLeafHere,
}

impl core::fmt::Display for DescriptorError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Unaligned => "output address is not aligned to the entry's span",
            Self::OutOfRange => "output address has more than 48 bits",
            Self::NoLeafHere => "level 0 has no leaves",
        })
    }
}

impl core::error::Error for DescriptorError {}

impl Descriptor {
    /// Maps nothing.
    pub const INVALID: Self = Self(0);

    /// Points to the next level's table at `table`, a multiple of 4 KiB.
    ///
    /// # Errors
    /// [`DescriptorError::Unaligned`], [`DescriptorError::OutOfRange`].
    pub const fn table(table: PhysAddr) -> Result<Self, DescriptorError> {
        if table.0 >> 48 != 0 {
            return Err(DescriptorError::OutOfRange);
        }
        if !table.is_aligned(4096) {
            return Err(DescriptorError::Unaligned);
        }
        Ok(Self(table.0 | VALID | TABLE_OR_PAGE))
    }

    /// Maps `address`, a multiple of `level`'s entry span, with `permissions`: a
    /// block at levels 1 and 2, a page at level 3.
    ///
    /// # Errors
    /// See [`DescriptorError`].
    pub const fn leaf(
        level: TableLevel,
        address: PhysAddr,
        permissions: Permissions,
    ) -> Result<Self, DescriptorError> {
        let kind = match level {
            TableLevel::L0 => return Err(DescriptorError::NoLeafHere),
            TableLevel::L1 | TableLevel::L2 => VALID,
            TableLevel::L3 => VALID | TABLE_OR_PAGE,
        };
        if address.0 >> 48 != 0 {
            return Err(DescriptorError::OutOfRange);
        }
        if !address.is_aligned(level.entry_span()) {
            return Err(DescriptorError::Unaligned);
        }
        Ok(Self(address.0 | kind | attributes(permissions)))
    }

    /// [`Descriptor::leaf`] for what a domain asks for, from a table: `None` where
    /// [`Permissions::from_map_flags`] refuses the flags, or `leaf` the rest.
    #[inline]
    #[must_use]
    pub fn user_leaf(
        level: TableLevel,
        address: PhysAddr,
        flags: MapFlags,
        is_device: bool,
    ) -> Option<Self> {
        let bits = flags.bits();
        let page = USER_PAGES[usize::from(is_device) << 4 | (bits & 15) as usize];
        if page == 0
            || bits > 15
            || level as u8 == 0
            || address.0 >> 48 != 0
            || !address.is_aligned(level.entry_span())
        {
            return None;
        }
        let kind = match level {
            TableLevel::L3 => TABLE_OR_PAGE,
            _ => 0,
        };
        Some(Self(page | address.0 | kind))
    }

    /// The same leaf with other permissions; anything else stays what it is.
    #[must_use]
    pub const fn with_permissions(self, permissions: Permissions) -> Self {
        if !self.is_valid() {
            return self;
        }
        Self(self.0 & (ADDRESS | VALID | TABLE_OR_PAGE) | attributes(permissions))
    }

    /// A leaf of the kernel's as a regime reads it that has one exception level: EL2 with
    /// `HCR_EL2.E2H` clear (Arm ARM D8.4.1.2, D8.4.2): AP\[1\] is RES1, XN is where UXN is,
    /// and PXN is RES0.
    #[must_use]
    pub const fn for_one_level(self) -> Self {
        let Self(bits) = self;
        let executable = bits & PXN == 0;
        let rest = bits & !(PXN | UXN) | AP_USER;
        Self(if executable { rest } else { rest | UXN })
    }

    /// Whether the walker sees anything.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 & VALID != 0
    }

    /// What the descriptor means in a table of `level`.
    #[must_use]
    pub const fn decode(self, level: TableLevel) -> Entry {
        if !self.is_valid() {
            return Entry::Invalid;
        }
        let address = PhysAddr(self.0 & ADDRESS);
        let has_table_bit = self.0 & TABLE_OR_PAGE != 0;
        match level {
            TableLevel::L0 | TableLevel::L1 | TableLevel::L2 if has_table_bit => {
                Entry::Table(address)
            }
            TableLevel::L0 => Entry::Malformed,
            TableLevel::L3 if !has_table_bit => Entry::Malformed,
            _ => match (permissions(self.0), address.is_aligned(level.entry_span())) {
                (Some(permissions), true) => Entry::Leaf(address, permissions),
                _ => Entry::Malformed,
            },
        }
    }
}

/// What [`Descriptor::user_leaf`] adds to an address, but for the bit that tells pages
/// from blocks: by [`MapFlags`], those of devices 16 further on. Zero where flags are
/// refused.
static USER_PAGES: [u64; 32] = {
    let mut pages = [0; 32];
    let mut at = 0_u32;
    while at < 32 {
        let flags = MapFlags::from_bits_retain(at & 15);
        if let Ok(permissions) = Permissions::from_map_flags(flags, at >= 16) {
            pages[at as usize] = VALID | attributes(permissions);
        }
        at += 1;
    }
    pages
};

/// The attribute bits of a leaf (Arm ARM D8.4.1, D8.5.2).
const fn attributes(permissions: Permissions) -> u64 {
    let mut bits = ACCESS_FLAG | (permissions.memory as u64) << ATTR_SHIFT;
    // Device and non-cacheable memory is outer shareable whatever the field says
    // (D8.5.2); saying so keeps the encoding canonical.
    bits |= match permissions.memory {
        Memory::WriteBack => SH_INNER,
        _ => SH_OUTER,
    };
    if permissions.user {
        bits |= AP_USER;
    }
    if permissions.user || !permissions.global {
        bits |= NOT_GLOBAL;
    }
    if !permissions.is_writable() {
        bits |= AP_READ_ONLY;
    }
    // Each side never executes the other's leaves.
    bits |= match (permissions.is_executable(), permissions.user) {
        (false, _) => UXN | PXN,
        (true, true) => PXN,
        (true, false) => UXN,
    };
    bits
}

/// The permissions of a leaf's bits, if [`attributes`] makes those bits.
const fn permissions(bits: u64) -> Option<Permissions> {
    #[expect(clippy::cast_possible_truncation, reason = "three bits are left")]
    let index = (bits >> ATTR_SHIFT) as u8 & 7;
    let Some(memory) = Memory::from_index(index) else {
        return None;
    };
    let user = bits & AP_USER != 0;
    let access = match (bits & AP_READ_ONLY != 0, bits & (UXN | PXN) == UXN | PXN) {
        (false, true) => Access::ReadWrite,
        (true, true) => Access::ReadOnly,
        (true, false) => Access::ReadExecute,
        (false, false) => return None,
    };
    let permissions = Permissions {
        access,
        memory,
        user,
        global: bits & NOT_GLOBAL == 0,
    };
    let canonical = attributes(permissions);
    if bits & !ADDRESS & !VALID & !TABLE_OR_PAGE == canonical {
        Some(permissions)
    } else {
        None
    }
}

impl core::fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Descriptor({:#018x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_table_of_user_leaves_says_what_the_encoder_does() {
        let levels = [
            TableLevel::L0,
            TableLevel::L1,
            TableLevel::L2,
            TableLevel::L3,
        ];
        let addresses = [0x40_0000_0000, 0x40_0020_0000, 0x1000, 0x1800, 1 << 48];
        for level in levels {
            for address in addresses.map(PhysAddr) {
                for bits in 0..64 {
                    for is_device in [false, true] {
                        let flags = MapFlags::from_bits_retain(bits);
                        let expected = Permissions::from_map_flags(flags, is_device)
                            .ok()
                            .and_then(|p| Descriptor::leaf(level, address, p).ok());
                        let got = Descriptor::user_leaf(level, address, flags, is_device);
                        assert_eq!(got, expected, "{level:?} {address:?} {flags:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn encodings_are_those_of_the_manual() {
        // Written out by hand from D8.3 and table D8-46.
        let cases = [
            (Permissions::KERNEL_TEXT, 0x0040_0000_0000_0783),
            (Permissions::KERNEL_RODATA, 0x0060_0000_0000_0783),
            (Permissions::KERNEL_DATA, 0x0060_0000_0000_0703),
            (Permissions::KERNEL_DEVICE, 0x0060_0000_0000_0607),
            (
                Permissions::user(Access::ReadExecute, Memory::WriteBack),
                0x0020_0000_0000_0fc3,
            ),
            (
                Permissions::user(Access::ReadWrite, Memory::Uncached),
                0x0060_0000_0000_0e4b,
            ),
        ];
        for (permissions, expected) in cases {
            assert_eq!(
                Descriptor::leaf(TableLevel::L3, PhysAddr(0x1234_5000), permissions),
                Ok(Descriptor(expected | 0x1234_5000)),
                "{permissions:?}"
            );
        }
        assert_eq!(
            Descriptor::leaf(
                TableLevel::L2,
                PhysAddr(0x4020_0000),
                Permissions::KERNEL_DATA
            ),
            Ok(Descriptor(0x0060_0000_4020_0701))
        );
        assert_eq!(
            Descriptor::table(PhysAddr(0x4000_1000)),
            Ok(Descriptor(0x4000_1003))
        );
    }

    #[test]
    fn a_regime_of_one_level_has_one_bit_against_execution() {
        let page = |permissions| {
            let leaf = Descriptor::leaf(TableLevel::L3, PhysAddr(0x8765_4000), permissions);
            leaf.unwrap().for_one_level().0
        };
        // XN (54) clear, PXN (53) and nG clear, SH 11, AP 11 (read-only), AF, index 0.
        assert_eq!(page(Permissions::KERNEL_TEXT), 0x8765_47c3);
        // XN, AP 01.
        assert_eq!(page(Permissions::KERNEL_DATA), 0x40_0000_8765_4743);
        // XN, AP 01, index 3.
        let device = Permissions::kernel(Access::ReadWrite, Memory::Device);
        assert_eq!(page(device) & !(3 << 8), 0x40_0000_8765_444f);
    }

    #[test]
    fn bad_addresses_and_levels_are_refused() {
        let leaf = |level, address| Descriptor::leaf(level, address, Permissions::KERNEL_DATA);
        assert_eq!(
            leaf(TableLevel::L2, PhysAddr(0x1000)),
            Err(DescriptorError::Unaligned)
        );
        assert_eq!(
            leaf(TableLevel::L3, PhysAddr(1 << 48)),
            Err(DescriptorError::OutOfRange)
        );
        assert_eq!(
            leaf(TableLevel::L0, PhysAddr(0)),
            Err(DescriptorError::NoLeafHere)
        );
        assert_eq!(
            Descriptor::table(PhysAddr(8)),
            Err(DescriptorError::Unaligned)
        );
    }

    #[test]
    fn reserved_encodings_are_malformed() {
        let page = Descriptor::leaf(TableLevel::L3, PhysAddr(0), Permissions::KERNEL_DATA)
            .expect("aligned");
        assert_eq!(
            Descriptor(page.0 & !TABLE_OR_PAGE).decode(TableLevel::L3),
            Entry::Malformed
        );
        assert_eq!(Descriptor(1).decode(TableLevel::L0), Entry::Malformed);
        // Writable and executable by EL1.
        assert_eq!(
            Descriptor(page.0 & !PXN).decode(TableLevel::L3),
            Entry::Malformed
        );
        assert_eq!(Descriptor(0x2).decode(TableLevel::L1), Entry::Invalid);
    }

    fn any_permissions() -> impl Strategy<Value = Permissions> {
        let access = prop_oneof![
            Just(Access::ReadOnly),
            Just(Access::ReadWrite),
            Just(Access::ReadExecute)
        ];
        (access, 0_u8..4, any::<bool>(), any::<bool>()).prop_map(|(access, index, user, global)| {
            Permissions {
                access,
                memory: Memory::from_index(index).expect("four types"),
                user,
                global,
            }
        })
    }

    proptest! {
        #[test]
        fn leaves_round_trip(permissions in any_permissions(), page in 0_u64..1 << 18, level in 1_u8..4) {
            let level = TableLevel::new(level).expect("below 4");
            let address = PhysAddr(page * level.entry_span());
            let made = Descriptor::leaf(level, address, permissions).expect("aligned");
            let Entry::Leaf(back, read) = made.decode(level) else {
                panic!("{made:?} at {level:?}");
            };
            prop_assert_eq!(back, address);
            prop_assert_eq!(read.memory, permissions.memory);
            prop_assert_eq!(read.user, permissions.user);
            prop_assert_eq!(read.global, permissions.global && !permissions.user);
            prop_assert_eq!(read.is_writable(), permissions.is_writable());
            prop_assert_eq!(read.is_executable(), permissions.is_executable());
            let changed = made.with_permissions(Permissions::KERNEL_RODATA);
            prop_assert_eq!(changed.decode(level), Entry::Leaf(address, Permissions::KERNEL_RODATA));
        }

        #[test]
        fn no_bits_decode_to_write_and_execute(bits in any::<u64>(), level in 0_u8..4) {
            let level = TableLevel::new(level).expect("below 4");
            if let Entry::Leaf(_, permissions) = Descriptor(bits).decode(level) {
                let writable = bits & AP_READ_ONLY == 0;
                prop_assert!(!writable || bits & (UXN | PXN) == UXN | PXN);
                prop_assert!(!(permissions.is_writable() && permissions.is_executable()));
            }
        }
    }
}
