//! Sizes of memory, as QEMU writes them.

use std::fmt;
use std::str::FromStr;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) u64);

impl Size {
    pub(crate) const fn mib(count: u64) -> Self {
        Self(count.saturating_mul(MIB))
    }
}

/// The text isn't a number with an optional K, M, G or T, or is too large for 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a size such as 512M or 4G")]
pub(crate) struct BadSize;

impl FromStr for Size {
    type Err = BadSize;

    /// A number of bytes with K, M, G or T behind it; a bare number counts MiB, as QEMU's `-m` has it.
    fn from_str(text: &str) -> Result<Self, BadSize> {
        let (digits, unit) = match text.as_bytes().last() {
            Some(b'K' | b'k') => (&text[..text.len() - 1], KIB),
            Some(b'M' | b'm') => (&text[..text.len() - 1], MIB),
            Some(b'G' | b'g') => (&text[..text.len() - 1], GIB),
            Some(b'T' | b't') => (&text[..text.len() - 1], GIB << 10),
            _ => (text, MIB),
        };
        let count: u64 = digits.parse().map_err(|_| BadSize)?;
        count.checked_mul(unit).map(Self).ok_or(BadSize)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes.is_multiple_of(GIB) && bytes > 0 => write!(f, "{}G", bytes / GIB),
            bytes if bytes.is_multiple_of(MIB) => write!(f, "{}M", bytes / MIB),
            bytes => write!(f, "{}K", bytes.div_ceil(KIB)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        for (text, bytes) in [
            ("512", 512 * MIB),
            ("64K", 64 * KIB),
            ("1G", GIB),
            ("2t", 2048 * GIB),
            ("0", 0),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in [
            "",
            "G",
            "-1",
            "1.5G",
            "99999999999999999999",
            "99999999999T",
        ] {
            assert_eq!(text.parse::<Size>(), Err(BadSize), "{text}");
        }
    }

    #[test]
    fn what_is_printed_parses_to_the_same() {
        for bytes in [0, 3 * MIB, GIB, 1536 * MIB, 12 * KIB] {
            assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
        }
    }
}
