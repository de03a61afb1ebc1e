//! Which core this is: `MIDR_EL1` (Arm ARM D19.2.101).
#![cfg_attr(
    target_arch = "aarch64",
    expect(unsafe_code, reason = "reads registers")
)]

use core::fmt;

use crate::sysreg;

/// The value of `MIDR_EL1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Midr(u64);

/// A kind of core: implementer and part number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// Bits 31:24; Arm's is 0x41.
    pub implementer: u8,
    /// Bits 15:4.
    pub number: u16,
}

/// rNpM: variant and revision. Ordered as they were made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Revision {
    /// Bits 23:20, N.
    pub variant: u8,
    /// Bits 3:0, M.
    pub patch: u8,
}

/// rNpM.
pub(crate) const fn r(variant: u8, patch: u8) -> Revision {
    Revision { variant, patch }
}

macro_rules! parts {
    ($($constant:ident $implementer:literal $number:literal $name:literal)*) => {
        impl Part {
            $(#[doc = $name] pub const $constant: Self = Self {
                implementer: $implementer,
                number: $number,
            };)*

            /// What its maker calls it; `None` for one that isn't known here.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                [$((Self::$constant, $name)),*]
                    .into_iter()
                    .find_map(|(part, name)| (part == self).then_some(name))
            }
        }
    };
}

// Linux, arch/arm64/include/asm/cputype.h, and the cores' technical reference manuals.
parts! {
    A34 0x41 0xd02 "Cortex-A34"
    A53 0x41 0xd03 "Cortex-A53"
    A35 0x41 0xd04 "Cortex-A35"
    A55 0x41 0xd05 "Cortex-A55"
    A57 0x41 0xd07 "Cortex-A57"
    A72 0x41 0xd08 "Cortex-A72"
    A73 0x41 0xd09 "Cortex-A73"
    A75 0x41 0xd0a "Cortex-A75"
    A76 0x41 0xd0b "Cortex-A76"
    NEOVERSE_N1 0x41 0xd0c "Neoverse N1"
    A77 0x41 0xd0d "Cortex-A77"
    A76AE 0x41 0xd0e "Cortex-A76AE"
    NEOVERSE_V1 0x41 0xd40 "Neoverse V1"
    A78 0x41 0xd41 "Cortex-A78"
    A78AE 0x41 0xd42 "Cortex-A78AE"
    X1 0x41 0xd44 "Cortex-X1"
    A510 0x41 0xd46 "Cortex-A510"
    A710 0x41 0xd47 "Cortex-A710"
    X2 0x41 0xd48 "Cortex-X2"
    NEOVERSE_N2 0x41 0xd49 "Neoverse N2"
    A78C 0x41 0xd4b "Cortex-A78C"
    A715 0x41 0xd4d "Cortex-A715"
    X3 0x41 0xd4e "Cortex-X3"
    NEOVERSE_V2 0x41 0xd4f "Neoverse V2"
    A520 0x41 0xd80 "Cortex-A520"
    A720 0x41 0xd81 "Cortex-A720"
    BRAHMA_B53 0x42 0x100 "Brahma B53"
    TSV110 0x48 0xd01 "TSV110"
    AMPERE1 0xc0 0xac3 "AmpereOne"
}

impl Midr {
    /// This core's.
    #[must_use]
    pub fn read() -> Self {
        Self(sysreg::read!("MIDR_EL1"))
    }

    /// From the register's value.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// What kind of core it is.
    #[must_use]
    pub const fn part(self) -> Part {
        Part {
            implementer: (self.0 >> 24 & 0xff) as u8,
            number: (self.0 >> 4 & 0xfff) as u16,
        }
    }

    /// Which revision.
    #[must_use]
    pub const fn revision(self) -> Revision {
        r((self.0 >> 20 & 0xf) as u8, (self.0 & 0xf) as u8)
    }

    /// Whether it is one of `parts`, of any revision.
    #[must_use]
    pub fn is_one_of(self, parts: &[Part]) -> bool {
        parts.contains(&self.part())
    }
}

impl fmt::Display for Midr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Revision { variant, patch } = self.revision();
        match self.part().name() {
            Some(name) => write!(f, "{name} r{variant}p{patch}"),
            None => write!(f, "core with MIDR {:#010x}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_revisions_are_read() {
        let a72 = Midr::new(0x410f_d083);
        assert_eq!(a72.part(), Part::A72);
        assert_eq!(a72.revision(), r(0, 3));
        assert_eq!(std::format!("{a72}"), "Cortex-A72 r0p3");
        assert_eq!(
            std::format!("{}", Midr::new(0x414f_d0c1)),
            "Neoverse N1 r4p1"
        );
        assert_eq!(
            std::format!("{}", Midr::new(0x000f_0510)),
            "core with MIDR 0x000f0510"
        );
        assert!(r(0, 15) < r(1, 0) && r(1, 0) < r(1, 1));
    }

    #[test]
    fn no_two_parts_have_one_number() {
        let named = (0..=0xfff_u16).filter_map(|number| {
            let arms = Part {
                implementer: 0x41,
                number,
            };
            arms.name()
        });
        assert_eq!(named.count(), 26);
    }
}
