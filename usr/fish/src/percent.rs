//! Percent encoding (RFC 3986, section 2.1), as the kernel argument `capelin.exec=` uses it
//! (`docs/047-running.md`).

use alloc::{string::String, vec::Vec};

/// Why a text can't be decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PercentError {
    /// A `%` without two hexadecimal digits, at this byte.
    Digits(usize),
    /// The bytes aren't UTF-8.
    NotUtf8,
}

impl core::fmt::Display for PercentError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Digits(at) => write!(f, "% without two hexadecimal digits at byte {at}"),
            Self::NotUtf8 => f.write_str("not UTF-8"),
        }
    }
}

impl core::error::Error for PercentError {}

/// What `text` encodes.
///
/// # Errors
/// See [`PercentError`].
pub fn decode(text: &str) -> Result<String, PercentError> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte != b'%' {
            decoded.push(byte);
            at += 1;
            continue;
        }
        let digit = |place: usize| {
            let digit = char::from(*bytes.get(at + place)?).to_digit(16)?;
            u8::try_from(digit).ok()
        };
        let (Some(high), Some(low)) = (digit(1), digit(2)) else {
            return Err(PercentError::Digits(at));
        };
        decoded.push(high << 4 | low);
        at += 3;
    }
    String::from_utf8(decoded).map_err(|_| PercentError::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    #[test]
    fn what_the_runner_encodes_is_decoded() {
        let encoded = "echo%20%22a%20b%22%3B%20cores%20%7C%20100%25%20%C3%BC";
        assert_eq!(decode(encoded).unwrap(), "echo \"a b\"; cores | 100% ü");
    }

    #[test]
    fn broken_encodings_are_refused() {
        for (text, at) in [("a%", 1), ("%4", 0), ("%4g", 0), ("ok%%41", 2), ("%+1", 0)] {
            assert_eq!(decode(text), Err(PercentError::Digits(at)), "{text}");
        }
        assert_eq!(decode("%ff"), Err(PercentError::NotUtf8));
    }

    proptest! {
        #[test]
        fn any_text_survives(text: String) {
            let encoded: String = text.bytes().map(|b| format!("%{b:02X}")).collect();
            prop_assert_eq!(decode(&encoded), Ok(text));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[%0-9a-fü]*") {
            let _ = decode(&text);
        }
    }
}
