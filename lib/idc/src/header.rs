//! The header word that every fragment begins with.
//!
//! ```text
//!  63            40 39     32 31       24 23          8 7  5  4     3   2    0
//! | interface hash | version | operation | correlation | 0 |more|first| kind |
//! ```
//! * **interface hash**, **version**: [`InterfaceId`]; checked when a client
//!   binds, and again in each request.
//! * **operation**: position of the method in the trait.
//! * **correlation**: chosen by the client, repeated in the reply; 0 in one-way
//!   messages.
//! * **first**, **more**: place of the fragment in its message.

/// Which interface, as both sides compare it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InterfaceId {
    /// The low 24 bits of the FNV-1a hash of the interface's name and of the
    /// text of its signatures.
    pub hash: u32,
    /// The version that the declaration gives.
    pub version: u8,
}

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Wants an answer.
    Request = 0,
    /// Wants none.
    Oneway = 1,
    /// The answer.
    Reply = 2,
    /// The answer is an error of the protocol: one byte,
    /// [`crate::RemoteError`].
    Failure = 3,
    /// A client asks to be served; its endpoint goes along.
    Bind = 4,
    /// The server will serve; the endpoint to call goes along.
    Bound = 5,
    /// The sender is through with this binding.
    Close = 6,
}

impl Kind {
    const fn from_bits(bits: u64) -> Option<Self> {
        Some(match bits {
            0 => Self::Request,
            1 => Self::Oneway,
            2 => Self::Reply,
            3 => Self::Failure,
            4 => Self::Bind,
            5 => Self::Bound,
            6 => Self::Close,
            _ => return None,
        })
    }
}

/// The header word, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WireHeader {
    /// Which interface.
    pub interface: InterfaceId,
    /// Which operation.
    pub operation: u8,
    /// Which call.
    pub correlation: u16,
    /// What the message is.
    pub kind: Kind,
    /// The message's first fragment.
    pub first: bool,
    /// Further fragments follow.
    pub more: bool,
}

const FIRST: u64 = 1 << 3;
const MORE: u64 = 1 << 4;
const RESERVED: u64 = 0b111 << 5;

impl WireHeader {
    /// The header of a message that has one fragment.
    #[must_use]
    pub const fn new(interface: InterfaceId, kind: Kind, operation: u8, correlation: u16) -> Self {
        Self {
            interface,
            operation,
            correlation,
            kind,
            first: true,
            more: false,
        }
    }

    /// As a word.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        let first = if self.first { FIRST } else { 0 };
        let more = if self.more { MORE } else { 0 };
        (self.interface.hash as u64 & 0xff_ffff) << 40
            | (self.interface.version as u64) << 32
            | (self.operation as u64) << 24
            | (self.correlation as u64) << 8
            | first
            | more
            | self.kind as u64
    }

    /// From a word; `None` for a kind that doesn't exist, or reserved bits set.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the fields are cut out on purpose"
    )]
    pub const fn from_word(word: u64) -> Option<Self> {
        if word & RESERVED != 0 {
            return None;
        }
        let Some(kind) = Kind::from_bits(word & 7) else {
            return None;
        };
        Some(Self {
            interface: InterfaceId {
                hash: (word >> 40) as u32,
                version: (word >> 32) as u8,
            },
            operation: (word >> 24) as u8,
            correlation: (word >> 8) as u16,
            kind,
            first: word & FIRST != 0,
            more: word & MORE != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_that_are_headers_survive(word: u64) {
            match WireHeader::from_word(word) {
                Some(header) => prop_assert_eq!(header.to_word(), word),
                None => prop_assert!(word & 7 == 7 || word & RESERVED != 0),
            }
        }
    }

    #[test]
    fn fields_are_where_the_note_says() {
        let interface = InterfaceId {
            hash: 0x12_3456,
            version: 0x78,
        };
        let header = WireHeader::new(interface, Kind::Failure, 0x9a, 0xbcde);
        assert_eq!(header.to_word(), 0x1234_5678_9abc_de0b);
    }
}
