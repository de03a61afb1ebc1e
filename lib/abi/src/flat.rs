//! Flat images: programs that are laid out at build time, so that a CPU driver
//! can start its first domain without an ELF loader.
//!
//! The first page holds [`FlatHeader`]; each segment's bytes follow at a page
//! boundary, padded with zeros to a whole page.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{PAGE_SIZE, layout};

/// Identifies a flat image: "CAPEFLAT".
pub const FLAT_MAGIC: u64 = u64::from_le_bytes(*b"CAPEFLAT");
/// Segments that a header has room for.
pub const MAX_SEGMENTS: usize = 8;

/// One segment.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct FlatSegment {
    /// Virtual address, page-aligned.
    pub address: u64,
    /// Where its bytes lie in the image, page-aligned, behind those of the segments before.
    pub offset: u64,
    /// Bytes in the image, whole pages (0 for a segment of zeros).
    pub file_bytes: u64,
    /// Bytes in memory, whole pages, at least `file_bytes`; the rest is zero.
    pub memory_bytes: u64,
    /// [`crate::syscall::MapFlags`], never writable and executable.
    pub flags: u64,
}

/// The first bytes of a flat image.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct FlatHeader {
    /// [`FLAT_MAGIC`].
    pub magic: u64,
    /// [`crate::ABI_VERSION`] that the program was built for.
    pub abi_version: u64,
    /// Address of the first instruction.
    pub entry: u64,
    /// Segments in use, at most [`MAX_SEGMENTS`].
    pub segment_count: u64,
    /// The segments, by ascending address.
    pub segments: [FlatSegment; MAX_SEGMENTS],
}

/// Why a flat image is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlatError {
    /// Shorter than its header.
    Truncated,
    /// Not a flat image.
    BadMagic,
    /// Built for another version of the system call ABI.
    WrongVersion,
    /// A segment is unaligned, out of order, outside of the image or of the
    /// program's address range, both writable and executable, or shares its bytes with
    /// another, which may be mapped where they lie.
    BadSegment,
}

impl core::fmt::Display for FlatError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the flat image is truncated",
            Self::BadMagic => "not a flat image",
            Self::WrongVersion => "built for another ABI version",
            Self::BadSegment => "a segment is malformed",
        })
    }
}

impl FlatHeader {
    /// Reads and checks the header of `image`.
    ///
    /// # Errors
    /// The first fault found.
    pub fn parse(image: &[u8]) -> Result<Self, FlatError> {
        let (header, _) = Self::read_from_prefix(image).map_err(|_| FlatError::Truncated)?;
        header.check(image.len() as u64)?;
        Ok(header)
    }

    /// Checks a header against the length of its image, in bytes.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check(&self, image_bytes: u64) -> Result<(), FlatError> {
        if self.magic != FLAT_MAGIC {
            return Err(FlatError::BadMagic);
        }
        if self.abi_version != crate::ABI_VERSION {
            return Err(FlatError::WrongVersion);
        }
        if self.segment_count == 0 || self.segment_count > MAX_SEGMENTS as u64 {
            return Err(FlatError::BadSegment);
        }
        let mut floor = layout::IMAGE_START.0;
        let mut file_floor = 0;
        for segment in self.segments() {
            let words = [
                segment.address,
                segment.offset,
                segment.file_bytes,
                segment.memory_bytes,
            ];
            let file_end = segment.offset.checked_add(segment.file_bytes);
            let end = segment.address.checked_add(segment.memory_bytes);
            let flags = segment.flags;
            let sound = words.iter().all(|word| word % PAGE_SIZE == 0)
                && segment.address >= floor
                && (segment.offset >= file_floor || segment.file_bytes == 0)
                && segment.memory_bytes >= segment.file_bytes
                && file_end.is_some_and(|end| end <= image_bytes)
                && end.is_some_and(|end| end <= layout::IMAGE_END.0)
                && flags & !7 == 0
                && flags & 6 != 6;
            if !sound {
                return Err(FlatError::BadSegment);
            }
            floor = segment.address + segment.memory_bytes;
            file_floor = file_floor.max(segment.offset + segment.file_bytes);
        }
        Ok(())
    }

    /// The segments in use.
    #[must_use]
    pub fn segments(&self) -> &[FlatSegment] {
        let count = usize::try_from(self.segment_count)
            .unwrap_or(MAX_SEGMENTS)
            .min(MAX_SEGMENTS);
        &self.segments[..count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> FlatHeader {
        let mut header = FlatHeader {
            magic: FLAT_MAGIC,
            abi_version: crate::ABI_VERSION,
            entry: 0x20_0000,
            segment_count: 2,
            ..FlatHeader::default()
        };
        header.segments[0] = FlatSegment {
            address: 0x20_0000,
            offset: 4096,
            file_bytes: 4096,
            memory_bytes: 4096,
            flags: 5,
        };
        header.segments[1] = FlatSegment {
            address: 0x20_1000,
            offset: 8192,
            file_bytes: 4096,
            memory_bytes: 8192,
            flags: 3,
        };
        header
    }

    #[test]
    fn a_sound_header_is_taken() {
        let mut image = [0u8; 12288];
        image[..size_of::<FlatHeader>()].copy_from_slice(sample().as_bytes());
        assert_eq!(FlatHeader::parse(&image), Ok(sample()));
        assert_eq!(FlatHeader::parse(&image[..100]), Err(FlatError::Truncated));
        assert_eq!(
            FlatHeader::parse(&image[..8192]),
            Err(FlatError::BadSegment)
        );
    }

    #[test]
    fn each_fault_is_found() {
        let faults: [fn(&mut FlatHeader); 8] = [
            |h| h.segments[1].flags = 7,
            |h| h.segments[1].address = 0x20_0000,
            |h| h.segments[1].memory_bytes = 0,
            // The first's text, writable.
            |h| h.segments[1].offset = 4096,
            |h| h.segments[1].offset = u64::MAX - 4095,
            |h| h.segments[0].address = 4096,
            |h| h.segments[1].memory_bytes = 1 << 40,
            |h| h.segment_count = 9,
        ];
        for fault in faults {
            let mut header = sample();
            fault(&mut header);
            assert_eq!(header.check(12288), Err(FlatError::BadSegment));
        }
    }
}
