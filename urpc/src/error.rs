//! What can go wrong on a ring.
//!
//! [`SetupError`] when a ring is laid out or attached, [`ChannelError`] when one breaks or ends
//! while in use, [`SendError`] for one message that can't be sent. A [`ChannelError`] is final: the
//! end that met it reports it again on every further call. These two fit a register, since they
//! are results of the fast path; the particulars, a [`Violation`], stay with the end that saw it.

use core::fmt;

/// Why a ring could not be created or attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetupError {
    /// The number of slots is not a power of two between
    /// [`MIN_SLOTS`](crate::ring::MIN_SLOTS) and [`MAX_SLOTS`](crate::ring::MAX_SLOTS).
    Slots,
    /// The reserve leaves no slot for ordinary messages.
    Reserve,
    /// The memory is smaller than the layout needs.
    TooSmall,
    /// The memory doesn't start on a cache line.
    Misaligned,
    /// The creator has not initialised the ring, or it isn't one.
    NotARing,
    /// The ring was made by another version of this crate.
    Version,
}

/// How the peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The header of the next slot carries neither the next sequence, nor the previous lap's, nor
    /// the mark of closing.
    Sequence {
        /// The sequence that the next message must carry.
        expected: u32,
        /// The sequence that was found.
        found: u32,
    },
    /// The receiver claims to have taken messages that were never sent, or gives back some that it
    /// had taken.
    Index {
        /// Sequence up to which messages were known to be taken.
        known: u32,
        /// Sequence up to which messages were sent.
        sent: u32,
        /// The whole index word that was found.
        claimed: u64,
    },
}

/// Why a ring can't be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelError {
    /// The peer, or this end itself, has closed the ring. A receiver sees this after all messages
    /// that were sent before.
    Closed,
    /// The peer wrote what no correct peer writes; the end's `violation` says what.
    Corrupt,
}

/// Why a message was not sent. Nothing was written to the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// No credits are left: the receiver has not freed a slot. Try again later.
    Full,
    /// The payload is longer than [`PAYLOAD_BYTES`](crate::PAYLOAD_BYTES). Split it.
    TooLong,
    /// As [`ChannelError::Closed`].
    Closed,
    /// As [`ChannelError::Corrupt`].
    Corrupt,
}

impl From<ChannelError> for SendError {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Closed => Self::Closed,
            ChannelError::Corrupt => Self::Corrupt,
        }
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slots => "number of slots out of range or not a power of two",
            Self::Reserve => "reserve leaves no slot for ordinary messages",
            Self::TooSmall => "memory is smaller than the ring",
            Self::Misaligned => "memory doesn't start on a cache line",
            Self::NotARing => "memory holds no initialised ring",
            Self::Version => "ring of another version",
        })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequence { expected, found } => {
                write!(
                    f,
                    "header has sequence {found:#x} where {expected:#x} is next"
                )
            }
            Self::Index {
                known,
                sent,
                claimed,
            } => {
                write!(
                    f,
                    "index {claimed:#x} lies outside the messages sent, {known:#x} to {sent:#x}"
                )
            }
        }
    }
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "channel is closed",
            Self::Corrupt => "peer broke the ring protocol",
        })
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("ring is full"),
            Self::TooLong => f.write_str("payload is longer than one message"),
            Self::Closed => ChannelError::Closed.fmt(f),
            Self::Corrupt => ChannelError::Corrupt.fmt(f),
        }
    }
}

impl core::error::Error for SetupError {}
impl core::error::Error for Violation {}
impl core::error::Error for ChannelError {}
impl core::error::Error for SendError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString as _;

    #[test]
    fn errors_say_what_is_wrong() {
        assert!(SetupError::Misaligned.to_string().contains("cache line"));
        assert!(ChannelError::Corrupt.to_string().contains("protocol"));
        assert_eq!(
            SendError::Corrupt.to_string(),
            ChannelError::Corrupt.to_string()
        );
        assert!(SendError::Full.to_string().contains("full"));
        let index = Violation::Index {
            known: 1,
            sent: 0x23,
            claimed: 0x456,
        };
        let text = index.to_string();
        assert!(
            ["0x1", "0x23", "0x456"]
                .iter()
                .all(|part| text.contains(part))
        );
    }
}
