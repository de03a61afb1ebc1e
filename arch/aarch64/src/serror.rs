//! What an `SError` means (Arm ARM D24.2.40, "ISS encoding for an SError exception").

/// Whether the core can go on after an `SError`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SError {
    /// The error was corrected (CE), or what ran can be restarted (UEO): nothing is
    /// lost.
    Harmless,
    /// Data may be wrong anywhere, or the core's own state is (UC, UEU, UER), or the
    /// core doesn't say.
    Uncontained,
}

/// The syndrome is the implementation's own.
const IDS: u64 = 1 << 24;
/// Fault status: asynchronous `SError`, with a type.
const ASYNCHRONOUS: u64 = 0x11;

impl SError {
    /// Decodes `ESR_EL1` of an `SError`. `has_ras`: whether the core has the RAS
    /// extension ([`crate::cpu::Features::ras`]), without which there is no type.
    #[must_use]
    pub const fn decode(syndrome: u64, has_ras: bool) -> Self {
        if !has_ras || syndrome & IDS != 0 || syndrome & 0x3f != ASYNCHRONOUS {
            return Self::Uncontained;
        }
        // AET: 0 UC, 1 UEU, 2 UEO, 3 UER, 6 CE.
        match syndrome >> 10 & 7 {
            2 | 6 => Self::Harmless,
            _ => Self::Uncontained,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASS: u64 = 0x2f << 26 | 1 << 25;

    #[test]
    fn only_what_the_core_says_is_harmless_is() {
        let decode = |iss| SError::decode(CLASS | iss, true);
        for (aet, expected) in [
            (0, SError::Uncontained),
            (1, SError::Uncontained),
            (2, SError::Harmless),
            (3, SError::Uncontained),
            (4, SError::Uncontained),
            (6, SError::Harmless),
            (7, SError::Uncontained),
        ] {
            assert_eq!(decode(aet << 10 | 0x11), expected, "{aet}");
        }
        // Uncategorised, and the implementation's own.
        assert_eq!(decode(2 << 10), SError::Uncontained);
        assert_eq!(decode(IDS | 2 << 10 | 0x11), SError::Uncontained);
    }

    #[test]
    fn a_core_without_ras_has_no_types() {
        let corrected = CLASS | 6 << 10 | 0x11;
        assert_eq!(SError::decode(corrected, true), SError::Harmless);
        assert_eq!(SError::decode(corrected, false), SError::Uncontained);
    }
}
