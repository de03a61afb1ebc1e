//! The layout of header and directory entry (`docs/040-module-archive.md`), decoded from and encoded to bytes.
//!
//! Decoding takes arrays of the exact length, so no access can be out of bounds.

use crate::crc32c::{crc32c, crc32c_extend};
use crate::error::ArchiveError;

/// First eight bytes of every archive.
pub const MAGIC: [u8; 8] = *b"CAPMODAR";
/// The version that this crate writes and reads.
pub const VERSION: u32 = 1;
/// Alignment of the archive, of its length, and of every module's data, in bytes.
pub const PAGE_SIZE: u64 = 4096;
/// Bytes of the header.
pub const HEADER_LEN: usize = 64;
/// Bytes of a directory entry.
pub const ENTRY_LEN: usize = 80;
/// Most modules in one archive.
pub const MAX_MODULES: u32 = 1024;
/// Most characters in a module's name.
pub const MAX_NAME_LEN: usize = NAME_FIELD - 1;

const NAME_FIELD: usize = 48;
const HEADER_CRC: usize = 12;
/// Flag bit 0: the program uses FP and SIMD registers.
const FLAG_USES_FP: u32 = 1;

/// What a module's data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ModuleKind {
    /// Bytes without further meaning to the loader.
    Raw = 0,
    /// A program laid out at build time, behind the `FlatHeader` of `capelin-abi`.
    Flat = 1,
    /// An ELF file.
    Elf = 2,
    /// The CPU driver: an image of its memory from the lowest address on, with a header of `capelin-abi` of its own.
    Kernel = 3,
}

impl ModuleKind {
    const fn from_word(word: u32) -> Option<Self> {
        match word {
            0 => Some(Self::Raw),
            1 => Some(Self::Flat),
            2 => Some(Self::Elf),
            3 => Some(Self::Kernel),
            _ => None,
        }
    }
}

/// The decoded header; its checksum has been checked and its fields agree with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Bytes of the whole archive, a multiple of [`PAGE_SIZE`], at least header and directory.
    pub(crate) total_length: u64,
    /// Number of modules, at most [`MAX_MODULES`].
    pub(crate) count: u32,
    /// CRC32C of the directory.
    pub(crate) directory_crc: u32,
}

impl Header {
    /// Bytes of header and directory, which is where the cpio part starts.
    pub(crate) const fn directory_end(&self) -> usize {
        directory_end(self.count)
    }

    pub(crate) fn decode(bytes: &[u8; HEADER_LEN]) -> Result<Self, ArchiveError> {
        if bytes[..8] != MAGIC {
            return Err(ArchiveError::BadMagic);
        }
        let version = word(bytes, 8);
        if version != VERSION {
            return Err(ArchiveError::UnknownVersion(version));
        }
        if header_crc(bytes) != word(bytes, HEADER_CRC) {
            return Err(ArchiveError::HeaderChecksum);
        }
        let header = Self {
            total_length: long(bytes, 16),
            count: word(bytes, 24),
            directory_crc: word(bytes, 28),
        };
        let agrees = header.count <= MAX_MODULES
            && header.total_length.is_multiple_of(PAGE_SIZE)
            && header.total_length >= header.directory_end() as u64
            && u64::from(word(bytes, 32)) == header.directory_end() as u64
            && bytes[36..].iter().all(|&byte| byte == 0);
        if agrees {
            Ok(header)
        } else {
            Err(ArchiveError::BadHeader)
        }
    }

    #[cfg(feature = "std")]
    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        put(&mut bytes, 16, &self.total_length.to_le_bytes());
        put(&mut bytes, 24, &self.count.to_le_bytes());
        put(&mut bytes, 28, &self.directory_crc.to_le_bytes());
        // At most 82 KB: the low four bytes hold it.
        let cpio_offset = (self.directory_end() as u64).to_le_bytes();
        put(&mut bytes, 32, &cpio_offset[..4]);
        let crc = header_crc(&bytes);
        put(&mut bytes, HEADER_CRC, &crc.to_le_bytes());
        bytes
    }
}

/// Bytes of the header and of a directory of `count` entries. `count` is at most [`MAX_MODULES`] where the result
/// matters; the saturation only keeps a hostile count from overflowing before that is checked.
pub(crate) const fn directory_end(count: u32) -> usize {
    HEADER_LEN.saturating_add(ENTRY_LEN.saturating_mul(count as usize))
}

/// A decoded directory entry; fields are in range by themselves, but bounds and overlap are for the reader to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a str,
    /// From the archive's start, a multiple of [`PAGE_SIZE`].
    pub(crate) offset: u64,
    /// Bytes, without padding.
    pub(crate) length: u64,
    pub(crate) crc: u32,
    pub(crate) kind: ModuleKind,
    pub(crate) uses_fp: bool,
}

impl<'a> Entry<'a> {
    /// The entry in `bytes`, or `None` if it is malformed.
    pub(crate) fn decode(bytes: &'a [u8; ENTRY_LEN]) -> Option<Self> {
        let (name_field, _) = bytes.split_at(NAME_FIELD);
        let name_len = name_field.iter().position(|&byte| byte == 0)?;
        let (name, padding) = name_field.split_at(name_len);
        let name = core::str::from_utf8(name).ok()?;
        let offset = long(bytes, 48);
        let flags = word(bytes, 72);
        let well_formed = name_is_valid(name)
            && padding.iter().all(|&byte| byte == 0)
            && offset.is_multiple_of(PAGE_SIZE)
            && flags & !FLAG_USES_FP == 0
            && word(bytes, 76) == 0;
        if !well_formed {
            return None;
        }
        Some(Self {
            name,
            offset,
            length: long(bytes, 56),
            crc: word(bytes, 64),
            kind: ModuleKind::from_word(word(bytes, 68))?,
            uses_fp: flags & FLAG_USES_FP != 0,
        })
    }

    /// Bytes of data and padding, or `None` if that overflows.
    pub(crate) const fn padded_length(&self) -> Option<u64> {
        self.length.checked_next_multiple_of(PAGE_SIZE)
    }

    /// The entry's bytes. The name must be valid.
    #[cfg(feature = "std")]
    pub(crate) fn encode(&self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        put(&mut bytes, 0, self.name.as_bytes());
        put(&mut bytes, 48, &self.offset.to_le_bytes());
        put(&mut bytes, 56, &self.length.to_le_bytes());
        put(&mut bytes, 64, &self.crc.to_le_bytes());
        put(&mut bytes, 68, &(self.kind as u32).to_le_bytes());
        let flags = if self.uses_fp { FLAG_USES_FP } else { 0 };
        put(&mut bytes, 72, &flags.to_le_bytes());
        bytes
    }
}

/// Whether `name` can name a module: 1–47 characters of `A–Z a–z 0–9 . _ - /`.
#[must_use]
pub fn name_is_valid(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    (1..=MAX_NAME_LEN).contains(&name.len()) && name.bytes().all(allowed)
}

/// CRC32C of a header with its own checksum field taken as zero.
fn header_crc(bytes: &[u8; HEADER_LEN]) -> u32 {
    let crc = crc32c(&bytes[..HEADER_CRC]);
    let crc = crc32c_extend(crc, &[0; 4]);
    crc32c_extend(crc, &bytes[HEADER_CRC + 4..])
}

/// The little-endian word at `at`, which is a constant inside the array at every call.
fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

/// The little-endian double word at `at`, likewise.
fn long<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}

#[cfg(feature = "std")]
fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}
