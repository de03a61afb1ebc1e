//! Reading an archive: the directory is checked once, as a whole; a module's data when its owner asks.
//!
//! [`Archive::parse`] establishes, for every entry, that its padded data lies inside the slice behind the directory
//! and behind the entry before it. The iterators rely on nothing: they decode again and stop at what doesn't decode.

use crate::crc32c::crc32c;
use crate::error::{ArchiveError, BadChecksum};
use crate::format::{ENTRY_LEN, Entry, HEADER_LEN, Header, ModuleKind};

/// Bytes of the whole archive that starts with `prefix`, of which the first [`HEADER_LEN`] bytes are read.
///
/// The result is a multiple of 4 KiB and covered by the header's checksum: the caller can map that much and
/// [`Archive::parse`] it.
///
/// # Errors
/// As [`Archive::parse`], as far as the header tells.
pub fn total_length(prefix: &[u8]) -> Result<u64, ArchiveError> {
    header(prefix).map(|header| header.total_length)
}

fn header(prefix: &[u8]) -> Result<Header, ArchiveError> {
    let bytes = prefix
        .first_chunk::<HEADER_LEN>()
        .ok_or(ArchiveError::Truncated {
            needed: HEADER_LEN as u64,
            given: prefix.len() as u64,
        })?;
    Header::decode(bytes)
}

/// An archive whose header and directory have been checked.
#[derive(Clone, Copy, Debug)]
pub struct Archive<'a> {
    /// Exactly the archive: what followed it in the caller's slice is cut off.
    bytes: &'a [u8],
    directory: &'a [[u8; ENTRY_LEN]],
}

impl<'a> Archive<'a> {
    /// Checks header and directory of the archive at the start of `bytes`, which may be longer than the archive.
    ///
    /// Costs O(modules) and reads no module's data. That `bytes` starts at a 4 KiB boundary is for the caller to see to
    /// if pages are to be mapped from it.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ArchiveError> {
        let header = header(bytes)?;
        let truncated = ArchiveError::Truncated {
            needed: header.total_length,
            given: bytes.len() as u64,
        };
        let length = usize::try_from(header.total_length).map_err(|_| truncated)?;
        let bytes = bytes.get(..length).ok_or(truncated)?;
        let directory = bytes
            .get(HEADER_LEN..header.directory_end())
            .ok_or(ArchiveError::BadHeader)?;
        if crc32c(directory) != header.directory_crc {
            return Err(ArchiveError::DirectoryChecksum);
        }
        let (directory, _) = directory.as_chunks::<ENTRY_LEN>();
        let mut free_from = header.directory_end() as u64;
        for (index, entry) in (0..).zip(directory) {
            free_from = entry_end(entry, free_from, header.total_length)
                .ok_or(ArchiveError::BadEntry(index))?;
        }
        Ok(Self { bytes, directory })
    }

    /// The modules, in the order in which they were added.
    #[must_use]
    pub fn modules(&self) -> Modules<'a> {
        Modules {
            bytes: self.bytes,
            directory: self.directory.iter(),
        }
    }

    /// The module called `name`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Module<'a>> {
        self.modules().find(|module| module.name == name)
    }

    /// Bytes of the archive, a multiple of 4 KiB.
    #[must_use]
    pub const fn total_length(&self) -> usize {
        self.bytes.len()
    }
}

/// Where the entry's padded data ends, if the entry is well-formed and lies within `free_from..total`.
fn entry_end(bytes: &[u8; ENTRY_LEN], free_from: u64, total: u64) -> Option<u64> {
    let entry = Entry::decode(bytes)?;
    let end = entry.offset.checked_add(entry.padded_length()?)?;
    (entry.offset >= free_from && end <= total).then_some(end)
}

/// The modules of an archive; made by [`Archive::modules`].
#[derive(Clone, Debug)]
pub struct Modules<'a> {
    bytes: &'a [u8],
    directory: core::slice::Iter<'a, [u8; ENTRY_LEN]>,
}

impl<'a> Iterator for Modules<'a> {
    type Item = Module<'a>;

    fn next(&mut self) -> Option<Module<'a>> {
        let entry = Entry::decode(self.directory.next()?)?;
        let offset = usize::try_from(entry.offset).ok()?;
        let length = usize::try_from(entry.length).ok()?;
        let padded_length = usize::try_from(entry.padded_length()?).ok()?;
        let padded = self.bytes.get(offset..)?.get(..padded_length)?;
        Some(Module {
            name: entry.name,
            offset,
            length,
            padded,
            crc: entry.crc,
            kind: entry.kind,
            uses_fp: entry.uses_fp,
        })
    }
}

/// One file of the archive.
#[derive(Clone, Copy, Debug)]
pub struct Module<'a> {
    name: &'a str,
    offset: usize,
    length: usize,
    padded: &'a [u8],
    crc: u32,
    kind: ModuleKind,
    uses_fp: bool,
}

impl<'a> Module<'a> {
    /// Its name, 1–47 printable ASCII characters.
    #[must_use]
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// Its data, unverified until [`Module::verify`] says otherwise.
    #[must_use]
    pub fn data(&self) -> &'a [u8] {
        // `length` is at most that of its own padding, so the whole is never what is returned.
        self.padded.get(..self.length).unwrap_or(self.padded)
    }

    /// Its data with the zeros up to the next 4 KiB boundary: what a mapping of its pages shows.
    #[must_use]
    pub const fn padded_data(&self) -> &'a [u8] {
        self.padded
    }

    /// Where its data starts, in bytes from the start of the archive; a multiple of 4 KiB.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// What its data is.
    #[must_use]
    pub const fn kind(&self) -> ModuleKind {
        self.kind
    }

    /// Whether the program uses FP and SIMD registers.
    #[must_use]
    pub const fn uses_fp(&self) -> bool {
        self.uses_fp
    }

    /// Checks data and padding against the directory's checksum, at 4.3 instructions a byte.
    ///
    /// # Errors
    /// [`BadChecksum`] if they differ.
    pub fn verify(&self) -> Result<(), BadChecksum> {
        self.verify_with(crc32c)
    }

    /// As [`Module::verify`], with the caller's CRC32C, such as one that uses the instructions of `FEAT_CRC32`.
    /// It must agree with [`crc32c`].
    ///
    /// # Errors
    /// [`BadChecksum`] if the checksums differ.
    pub fn verify_with(&self, crc32c: impl FnOnce(&[u8]) -> u32) -> Result<(), BadChecksum> {
        let actual = crc32c(self.padded);
        if actual == self.crc {
            Ok(())
        } else {
            Err(BadChecksum {
                expected: self.crc,
                actual,
            })
        }
    }
}
