//! Whether firmware starts signed programs only, as its variables tell (UEFI 2.10, 3.3 and 32.3).
//!
//! The loader isn't signed, so firmware that checks doesn't start it. Some does: by the file's hash, by a key of the
//! owner's, or by another loader that doesn't ask.

/// What the variables say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecureBoot {
    /// Firmware starts whatever it is given: it doesn't know Secure Boot, it is switched off, or there is no owner's key yet
    /// (setup mode), without which nothing is checked.
    Off,
    /// Firmware checks signatures.
    On,
    /// The variables aren't as the specification has them.
    Unknown,
}

impl SecureBoot {
    /// What the values of `SecureBoot` and `SetupMode` say; `None` where there is no such variable. Both are one byte, 0
    /// or 1.
    #[must_use]
    pub const fn of(secure_boot: Option<&[u8]>, setup_mode: Option<&[u8]>) -> Self {
        match (secure_boot, setup_mode) {
            (None | Some([0]), _) | (Some([1]), Some([1])) => Self::Off,
            // It came with the other one; firmware that lacks it has no mode in which nothing is checked.
            (Some([1]), None | Some([0])) => Self::On,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_on_if_firmware_checks() {
        use SecureBoot::{Off, On, Unknown};
        for (secure_boot, setup_mode, state) in [
            (None, None, Off),
            (None, Some(&[0][..]), Off),
            (Some(&[0][..]), Some(&[0][..]), Off),
            (Some(&[0]), Some(&[1]), Off),
            (Some(&[0]), None, Off),
            (Some(&[1]), Some(&[0]), On),
            (Some(&[1]), None, On),
            // No key yet: nothing is checked, whatever the other says.
            (Some(&[1]), Some(&[1]), Off),
            (Some(&[2]), Some(&[0]), Unknown),
            (Some(&[1]), Some(&[3]), Unknown),
            (Some(&[]), Some(&[0]), Unknown),
            (Some(&[1, 0]), Some(&[0]), Unknown),
            (Some(&[1]), Some(&[]), Unknown),
        ] {
            let found = SecureBoot::of(secure_boot, setup_mode);
            assert_eq!(found, state, "{secure_boot:?} {setup_mode:?}");
        }
    }
}
