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

/// The header word of a fragment: always one that can be taken apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WireHeader(u64);

const KIND: u64 = 0b111;
const FIRST: u64 = 1 << 3;
const MORE: u64 = 1 << 4;
const RESERVED: u64 = 0b111 << 5;

impl WireHeader {
    /// The header of a message that has one fragment.
    #[must_use]
    pub const fn new(interface: InterfaceId, kind: Kind, operation: u8, correlation: u16) -> Self {
        Self(
            (interface.hash as u64 & 0xff_ffff) << 40
                | (interface.version as u64) << 32
                | (operation as u64) << 24
                | (correlation as u64) << 8
                | FIRST
                | kind as u64,
        )
    }

    /// From a word; `None` for a kind that doesn't exist, or reserved bits set.
    #[must_use]
    pub const fn from_word(word: u64) -> Option<Self> {
        if word & RESERVED != 0 || Kind::from_bits(word & KIND).is_none() {
            return None;
        }
        Some(Self(word))
    }

    /// As a word.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        self.0
    }

    /// The same header at another place in its message.
    #[must_use]
    pub const fn at(self, first: bool, more: bool) -> Self {
        let first = if first { FIRST } else { 0 };
        let more = if more { MORE } else { 0 };
        Self(self.0 & !(FIRST | MORE) | first | more)
    }

    /// Whether `other` is of the same message, as far as headers tell.
    #[must_use]
    pub const fn is_of_same_message(self, other: Self) -> bool {
        (self.0 ^ other.0) & !(FIRST | MORE) == 0
    }

    /// Which interface.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the fields are cut out on purpose"
    )]
    pub const fn interface(self) -> InterfaceId {
        InterfaceId {
            hash: (self.0 >> 40) as u32,
            version: (self.0 >> 32) as u8,
        }
    }

    /// Which operation.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the field is cut out on purpose"
    )]
    pub const fn operation(self) -> u8 {
        (self.0 >> 24) as u8
    }

    /// Which call.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the field is cut out on purpose"
    )]
    pub const fn correlation(self) -> u16 {
        (self.0 >> 8) as u16
    }

    /// What the message is.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match Kind::from_bits(self.0 & KIND) {
            Some(kind) => kind,
            // No header is made with another one.
            None => Kind::Close,
        }
    }

    /// Whether this is the message's first fragment.
    #[must_use]
    pub const fn is_first(self) -> bool {
        self.0 & FIRST != 0
    }

    /// Whether further fragments follow.
    #[must_use]
    pub const fn has_more(self) -> bool {
        self.0 & MORE != 0
    }
}

impl core::fmt::Debug for WireHeader {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("WireHeader")
            .field("interface", &self.interface())
            .field("operation", &self.operation())
            .field("correlation", &self.correlation())
            .field("kind", &self.kind())
            .field("first", &self.is_first())
            .field("more", &self.has_more())
            .finish()
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
                Some(header) => {
                    prop_assert_eq!(header.to_word(), word);
                    let made = WireHeader::new(
                        header.interface(),
                        header.kind(),
                        header.operation(),
                        header.correlation(),
                    );
                    prop_assert_eq!(made.at(header.is_first(), header.has_more()), header);
                }
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
