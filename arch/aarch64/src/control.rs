//! What of a core's MMU and caches is on, read back from it.
#![cfg_attr(
    target_arch = "aarch64",
    expect(unsafe_code, reason = "reads registers")
)]

use core::fmt;

use crate::sysreg;

/// The value of `SCTLR_EL1` or `SCTLR_EL2` (Arm ARM D24.2.120, D24.2.121).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Control(u64);

/// Bits of the register, with their names.
const PARTS: [(u64, &str); 3] = [(1, "MMU"), (1 << 2, "D-cache"), (1 << 12, "I-cache")];

impl Control {
    /// That of the exception level that this runs at.
    #[must_use]
    pub fn read() -> Self {
        #[cfg(target_arch = "aarch64")]
        if crate::cpu::current_el() == 2 {
            return Self(sysreg::read!("SCTLR_EL2"));
        }
        Self(sysreg::read!("SCTLR_EL1"))
    }
}

impl fmt::Display for Control {
    /// `MMU and caches on`, or what is off: `MMU off, I-cache off`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (bit, name) in PARTS {
            if self.0 & bit == 0 {
                write!(f, "{comma}{name} off")?;
                comma = ", ";
            }
        }
        if comma.is_empty() {
            f.write_str("MMU and caches on")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn what_is_off_is_named() {
        for (value, text) in [
            (0x1005, "MMU and caches on"),
            (!0, "MMU and caches on"),
            (0x1004, "MMU off"),
            (0x1001, "D-cache off"),
            (0x0005, "I-cache off"),
            (!0x1005, "MMU off, D-cache off, I-cache off"),
        ] {
            assert_eq!(Control(value).to_string(), text);
        }
    }
}
