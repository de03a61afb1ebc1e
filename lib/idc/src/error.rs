//! What can go wrong with a call, and whose fault it is.

use core::fmt;

use serde::{Deserialize, Serialize};

/// What a transport can say of a fragment that it was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
pub enum TransportError {
    /// The peer is gone, or has broken the transport's own rules. Final.
    Closed,
    /// This transport carries no capabilities. The message wasn't sent.
    NoCapabilities,
    /// The kernel refused the fragment, for instance for an empty capability
    /// slot. The message wasn't sent.
    Refused,
}

/// What the other side says of a message that it couldn't serve. The numbers go
/// over the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum RemoteError {
    /// It serves another interface.
    UnknownInterface = 1,
    /// It serves another version.
    WrongVersion = 2,
    /// The interface has no such operation.
    UnknownOperation = 3,
    /// The arguments can't be decoded, or the fragments don't fit together.
    Malformed = 4,
    /// The message is longer than 65,535 bytes.
    TooLong = 5,
    /// Too many requests are at work: the server has no memory for another.
    Busy = 6,
    /// The operation needs a capability and none came.
    MissingCapability = 7,
    /// A capability came and the operation takes none.
    UnexpectedCapability = 8,
    /// The server doesn't want this client.
    Refused = 9,
    /// The reply couldn't be sent (its capability was refused).
    ReplyLost = 10,
    /// The client has all that one client may have of this server: of connections, or of memory
    /// for messages ([`crate::shares`]).
    ShareUsed = 11,
    /// An error that this version doesn't know.
    Unknown = 255,
}

impl RemoteError {
    /// From the byte on the wire.
    #[must_use]
    pub const fn from_wire(byte: u8) -> Self {
        match byte {
            1 => Self::UnknownInterface,
            2 => Self::WrongVersion,
            3 => Self::UnknownOperation,
            4 => Self::Malformed,
            5 => Self::TooLong,
            6 => Self::Busy,
            7 => Self::MissingCapability,
            8 => Self::UnexpectedCapability,
            9 => Self::Refused,
            10 => Self::ReplyLost,
            11 => Self::ShareUsed,
            _ => Self::Unknown,
        }
    }

    const fn describe(self) -> &'static str {
        match self {
            Self::UnknownInterface => "the server has another interface",
            Self::WrongVersion => "the server has another version of the interface",
            Self::UnknownOperation => "the server knows no such operation",
            Self::Malformed => "the server could not read the message",
            Self::TooLong => "the message is too long",
            Self::Busy => "too many requests are at work",
            Self::MissingCapability => "a capability is missing",
            Self::UnexpectedCapability => "the operation takes no capability",
            Self::Refused => "the server refuses this client",
            Self::ReplyLost => "the server could not send its reply",
            Self::ShareUsed => "this client has all that one may have of the server",
            Self::Unknown => "the server reports an unknown error",
        }
    }
}

/// Why a call has no result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
pub enum CallError {
    /// The transport failed.
    Transport(TransportError),
    /// The server answered with an error of the protocol.
    Remote(RemoteError),
    /// The arguments can't be encoded, or make more than 65,535 bytes.
    TooLong,
    /// The reply can't be decoded.
    MalformedReply,
    /// The reply lacks the capability that its type promises.
    MissingCapability,
    /// Too many calls are outstanding on this binding.
    TooManyCalls,
}

impl From<TransportError> for CallError {
    fn from(error: TransportError) -> Self {
        Self::Transport(error)
    }
}

impl From<RemoteError> for CallError {
    fn from(error: RemoteError) -> Self {
        Self::Remote(error)
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the peer is gone",
            Self::NoCapabilities => "capabilities cannot go this way",
            Self::Refused => "the kernel refused the message",
        })
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.describe())
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(error) => error.fmt(f),
            Self::Remote(error) => error.fmt(f),
            Self::TooLong => f.write_str("the arguments are too long"),
            Self::MalformedReply => f.write_str("the reply is malformed"),
            Self::MissingCapability => f.write_str("the reply lacks its capability"),
            Self::TooManyCalls => f.write_str("too many calls are outstanding"),
        }
    }
}

impl core::error::Error for TransportError {}
impl core::error::Error for RemoteError {}
impl core::error::Error for CallError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_errors_survive_the_wire() {
        for byte in 0..=255u8 {
            let error = RemoteError::from_wire(byte);
            assert!(error as u8 == byte || error == RemoteError::Unknown);
        }
        assert_eq!(
            RemoteError::from_wire(RemoteError::ReplyLost as u8),
            RemoteError::ReplyLost
        );
    }
}
