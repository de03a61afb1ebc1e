//! The arguments page: what a spawner tells a program in words.
//!
//! ```text
//! +0   magic "CAPEARGV"
//! +8   kernel id of the core
//! +16  arguments | environment words << 16 | passed capabilities << 32, counts
//! +24  bytes in use, these 32 included
//! +32  the program's name, then the arguments, each a text;
//!      the environment, each a text (its key) and a word;
//!      the passed capabilities in the order of their slots, each a text (its name)
//! ```
//! A text is its length in two bytes, and that many bytes of UTF-8. A word is eight bytes. All
//! numbers are little-endian, nothing is aligned.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use capelin_abi::{CapAddress, PAGE_SIZE, layout::slot};

/// Identifies an arguments page.
pub const MAGIC: u64 = u64::from_le_bytes(*b"CAPEARGV");
/// Bytes of an arguments page.
pub const ARGUMENT_BYTES: usize = crate::convert::size(PAGE_SIZE);

const HEADER_BYTES: usize = 32;

/// What an arguments page says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Arguments {
    /// The program's name.
    pub name: String,
    /// Kernel id of the core that it runs on.
    pub core: u16,
    /// Its arguments, without the name.
    pub arguments: Vec<String>,
    /// Its environment.
    pub environment: Vec<(String, u64)>,
    /// The names of the capabilities in the slots from [`slot::PASSED`] on.
    pub capabilities: Vec<String>,
}

/// Why an arguments page can't be read or written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArgumentsError {
    /// It isn't one.
    BadMagic,
    /// A text or a word runs over the end, or isn't UTF-8, or a count is too large.
    Malformed,
    /// It would take more than a page, or more than [`slot::PASSED_COUNT`] capabilities.
    TooLong,
}

impl core::fmt::Display for ArgumentsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::BadMagic => "not an arguments page",
            Self::Malformed => "the arguments page is malformed",
            Self::TooLong => "the arguments do not fit a page",
        })
    }
}

impl Arguments {
    /// The slot of the capability passed under `name`.
    #[must_use]
    pub fn capability(&self, name: &str) -> Option<CapAddress> {
        let index = self.capabilities.iter().position(|known| known == name)?;
        let index = u8::try_from(index)
            .ok()
            .filter(|&n| n < slot::PASSED_COUNT)?;
        Some(CapAddress(slot::PASSED.0 + u32::from(index)))
    }

    /// Reads a page.
    ///
    /// # Errors
    /// [`ArgumentsError::BadMagic`], [`ArgumentsError::Malformed`].
    pub fn parse(page: &[u8]) -> Result<Self, ArgumentsError> {
        let mut reader = Reader(page);
        if reader.word()? != MAGIC {
            return Err(ArgumentsError::BadMagic);
        }
        let core = u16::try_from(reader.word()?).map_err(|_| ArgumentsError::Malformed)?;
        let counts = reader.word()?;
        let used = usize::try_from(reader.word()?).map_err(|_| ArgumentsError::Malformed)?;
        let texts = page
            .get(HEADER_BYTES..used)
            .ok_or(ArgumentsError::Malformed)?;
        reader = Reader(texts);
        let count = |shift: u32| crate::convert::size(counts >> shift & 0xffff);
        if count(32) > usize::from(slot::PASSED_COUNT) || counts >> 48 != 0 {
            return Err(ArgumentsError::Malformed);
        }
        let name = reader.text()?;
        // Each entry takes at least two bytes, so a false count ends at the page's end.
        let arguments = (0..count(0))
            .map(|_| reader.text())
            .collect::<Result<_, _>>()?;
        let environment = (0..count(16))
            .map(|_| Ok((reader.text()?, reader.word()?)))
            .collect::<Result<_, _>>()?;
        let capabilities = (0..count(32))
            .map(|_| reader.text())
            .collect::<Result<_, _>>()?;
        Ok(Self {
            name,
            core,
            arguments,
            environment,
            capabilities,
        })
    }

    /// The page, without the zeros after its end.
    ///
    /// # Errors
    /// [`ArgumentsError::TooLong`].
    pub fn to_page(&self) -> Result<Vec<u8>, ArgumentsError> {
        if self.capabilities.len() > usize::from(slot::PASSED_COUNT) {
            return Err(ArgumentsError::TooLong);
        }
        let mut texts = Vec::new();
        let mut text = |text: &str, word: Option<u64>| {
            let length = u16::try_from(text.len()).map_err(|_| ArgumentsError::TooLong)?;
            texts.extend_from_slice(&length.to_le_bytes());
            texts.extend_from_slice(text.as_bytes());
            texts.extend(word.into_iter().flat_map(u64::to_le_bytes));
            Ok(())
        };
        text(&self.name, None)?;
        for argument in &self.arguments {
            text(argument, None)?;
        }
        for (key, word) in &self.environment {
            text(key, Some(*word))?;
        }
        for name in &self.capabilities {
            text(name, None)?;
        }
        let used = HEADER_BYTES + texts.len();
        if used > ARGUMENT_BYTES {
            return Err(ArgumentsError::TooLong);
        }
        // That each entry takes two bytes keeps the counts below 2^16.
        let counts = self.arguments.len() as u64
            | (self.environment.len() as u64) << 16
            | (self.capabilities.len() as u64) << 32;
        let mut page = Vec::with_capacity(used);
        for word in [MAGIC, u64::from(self.core), counts, used as u64] {
            page.extend_from_slice(&word.to_le_bytes());
        }
        page.extend_from_slice(&texts);
        Ok(page)
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, bytes: usize) -> Result<&[u8], ArgumentsError> {
        let (taken, rest) = self
            .0
            .split_at_checked(bytes)
            .ok_or(ArgumentsError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn word(&mut self) -> Result<u64, ArgumentsError> {
        let mut word = [0; 8];
        word.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(word))
    }

    fn text(&mut self) -> Result<String, ArgumentsError> {
        let mut length = [0; 2];
        length.copy_from_slice(self.take(2)?);
        let bytes = self.take(usize::from(u16::from_le_bytes(length)))?;
        core::str::from_utf8(bytes)
            .map(ToString::to_string)
            .map_err(|_| ArgumentsError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Arguments {
        Arguments {
            name: "hello".into(),
            core: 3,
            arguments: vec!["-v".into(), "für alle".into()],
            environment: vec![("cores".into(), 64), ("node".into(), u64::MAX)],
            capabilities: vec!["console".into(), "mem".into()],
        }
    }

    #[test]
    fn a_page_says_what_was_put_in() {
        let mut page = sample().to_page().unwrap();
        page.resize(ARGUMENT_BYTES, 0);
        assert_eq!(Arguments::parse(&page), Ok(sample()));
        assert_eq!(sample().capability("mem"), Some(CapAddress::new(0, 129)));
        assert_eq!(sample().capability("skb"), None);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut long = sample();
        long.arguments.push("x".repeat(ARGUMENT_BYTES));
        assert_eq!(long.to_page(), Err(ArgumentsError::TooLong));
        let mut many = sample();
        many.capabilities = vec![String::new(); 129];
        assert_eq!(many.to_page(), Err(ArgumentsError::TooLong));
    }

    #[test]
    fn each_cut_is_found() {
        let page = sample().to_page().unwrap();
        for length in 0..page.len() {
            assert_eq!(
                Arguments::parse(&page[..length]),
                Err(ArgumentsError::Malformed)
            );
        }
    }

    proptest! {
        #[test]
        fn no_page_makes_it_panic(mut page: Vec<u8>, sound: bool) {
            if sound && page.len() >= 32 {
                page[..8].copy_from_slice(&MAGIC.to_le_bytes());
                page[10..16].fill(0);
                let used = (page.len() as u64).to_le_bytes();
                page[24..32].copy_from_slice(&used);
            }
            let _ = Arguments::parse(&page);
        }

        #[test]
        fn any_arguments_survive(
            name: String, core: u16, arguments: Vec<String>,
            environment: Vec<(String, u64)>, capabilities: Vec<String>,
        ) {
            let given = Arguments { name, core, arguments, environment, capabilities };
            if let Ok(page) = given.to_page() {
                prop_assert_eq!(Arguments::parse(&page), Ok(given));
            }
        }
    }
}
