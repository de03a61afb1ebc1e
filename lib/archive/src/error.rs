//! What can be wrong with an archive.

use core::fmt;

/// Why an archive was refused as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveError {
    /// The first eight bytes aren't the magic: there is no archive here.
    BadMagic,
    /// The archive's version isn't the one that this reader knows.
    UnknownVersion(u32),
    /// Fewer bytes were given than the header needs or than the header says the archive has.
    Truncated {
        /// Bytes that would be needed.
        needed: u64,
        /// Bytes that were given.
        given: u64,
    },
    /// The header's checksum doesn't match.
    HeaderChecksum,
    /// The directory's checksum doesn't match.
    DirectoryChecksum,
    /// A field of the header contradicts another, or a reserved one isn't zero.
    BadHeader,
    /// The directory's entry with this index is malformed: name, alignment, overlap, bounds, kind or flags.
    BadEntry(u32),
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadMagic => f.write_str("not a module archive (bad magic)"),
            Self::UnknownVersion(version) => write!(f, "unknown archive version {version}"),
            Self::Truncated { needed, given } => {
                write!(f, "archive truncated: {given} of {needed} bytes")
            }
            Self::HeaderChecksum => f.write_str("archive header: bad checksum"),
            Self::DirectoryChecksum => f.write_str("archive directory: bad checksum"),
            Self::BadHeader => f.write_str("archive header: contradictory fields"),
            Self::BadEntry(index) => write!(f, "archive directory: entry {index} is malformed"),
        }
    }
}

impl core::error::Error for ArchiveError {}

/// A module's data doesn't match the checksum that the directory has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadChecksum {
    /// What the directory says.
    pub expected: u32,
    /// What the data has.
    pub actual: u32,
}

impl fmt::Display for BadChecksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "bad checksum: {:#010x} instead of {:#010x}",
            self.actual, self.expected
        )
    }
}

impl core::error::Error for BadChecksum {}
