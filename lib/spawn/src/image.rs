//! An executable, checked.
//!
//! ELF (System V gABI 4.1, chapter 4 and 5; ELF for the Arm 64-bit Architecture): a statically
//! linked, position-dependent executable for AArch64, little-endian. Only its program headers
//! count. Flat images are those of [`capelin_abi::flat`]. Nothing in a file makes this panic: all
//! sums are checked, and every range lies in the file and in the program's address range.

use alloc::vec::Vec;

use capelin_abi::{
    CapRef, PAGE_SIZE, VirtAddr,
    flat::{FLAT_MAGIC, FlatError, FlatHeader},
    layout::{IMAGE_END, IMAGE_START},
    syscall::MapFlags,
};
use elf::{
    ElfBytes,
    abi::{EM_AARCH64, ET_EXEC, PF_R, PF_W, PF_X, PT_DYNAMIC, PT_INTERP, PT_LOAD},
    endian::AnyEndian,
    file::Class,
    segment::ProgramHeader,
};

/// Segments that an image may have.
pub const MAX_SEGMENTS: usize = 16;

/// Whole pages of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment<'a> {
    /// First address, page-aligned.
    pub start: VirtAddr,
    /// Bytes, whole pages.
    pub bytes: u64,
    /// Permissions; never writable and executable.
    pub flags: MapFlags,
    /// Bytes from the start to the data.
    pub lead: usize,
    /// What lies there; zeros follow, and come before.
    pub data: &'a [u8],
    /// Where in the file, a page's start, pages begin that can be mapped as this segment: it isn't
    /// writable, nothing has to be zero but what follows the file, and it lies in its pages as the
    /// file in its own. They may show neighbouring parts of the file.
    pub file_pages: Option<u64>,
}

impl Segment<'_> {
    /// The address after the last page.
    #[must_use]
    pub const fn end(&self) -> VirtAddr {
        VirtAddr(self.start.0 + self.bytes)
    }
}

/// Where an executable lies: in a frame that nobody can write to, zeros behind it up to the next
/// page boundary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source {
    /// The frame, executable.
    pub frame: CapRef,
    /// Bytes from its start to the file, a multiple of the page size.
    pub offset: u64,
}

/// An executable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image<'a> {
    /// The first instruction, in an executable segment.
    pub entry: VirtAddr,
    /// By ascending address, without overlap.
    pub segments: Vec<Segment<'a>>,
    /// Where it can be mapped from; without, all of it is copied.
    pub source: Option<Source>,
}

/// Why an executable is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImageError {
    /// Neither ELF nor a flat image.
    UnknownFormat,
    /// The ELF headers are cut off or contradict themselves.
    Malformed,
    /// Not a 64-bit little-endian file.
    WrongClass,
    /// For another machine.
    WrongMachine,
    /// Not a statically linked executable at fixed addresses.
    NotStatic,
    /// No segment to load, or more than [`MAX_SEGMENTS`].
    SegmentCount,
    /// A segment leaves the file.
    OutsideFile,
    /// A segment leaves the addresses of programs, or two share a page.
    BadAddress,
    /// A segment is writable and executable.
    WritableCode,
    /// The entry point isn't in executable pages.
    BadEntry,
    /// A flat image is refused.
    Flat(FlatError),
}

impl core::fmt::Display for ImageError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::UnknownFormat => "not an executable",
            Self::Malformed => "the ELF headers are malformed",
            Self::WrongClass => "not a 64-bit little-endian executable",
            Self::WrongMachine => "for another machine",
            Self::NotStatic => "not linked statically",
            Self::SegmentCount => "no segments, or too many",
            Self::OutsideFile => "a segment leaves the file",
            Self::BadAddress => "a segment lies at a bad address",
            Self::WritableCode => "a segment is writable and executable",
            Self::BadEntry => "the entry point is not code",
            Self::Flat(error) => return error.fmt(f),
        })
    }
}

impl core::error::Error for ImageError {}

impl<'a> Image<'a> {
    /// Reads an ELF file or a flat image.
    ///
    /// # Errors
    /// The first fault found.
    pub fn parse(file: &'a [u8]) -> Result<Self, ImageError> {
        if file.starts_with(b"\x7fELF") {
            Self::parse_elf(file)
        } else if file.starts_with(&FLAT_MAGIC.to_le_bytes()) {
            Self::parse_flat(file)
        } else {
            Err(ImageError::UnknownFormat)
        }
    }

    fn parse_elf(file: &'a [u8]) -> Result<Self, ImageError> {
        let elf = ElfBytes::<AnyEndian>::minimal_parse(file).map_err(|_| ImageError::Malformed)?;
        if elf.ehdr.class != Class::ELF64 || elf.ehdr.endianness != AnyEndian::Little {
            return Err(ImageError::WrongClass);
        }
        if elf.ehdr.e_machine != EM_AARCH64 {
            return Err(ImageError::WrongMachine);
        }
        let headers = elf.segments().ok_or(ImageError::SegmentCount)?;
        let mut segments = Vec::new();
        for header in headers.iter() {
            match header.p_type {
                PT_LOAD if header.p_memsz > 0 => {
                    if segments.len() >= MAX_SEGMENTS {
                        return Err(ImageError::SegmentCount);
                    }
                    segments.push(elf_segment(file, &header)?);
                }
                PT_INTERP | PT_DYNAMIC => return Err(ImageError::NotStatic),
                _ => {}
            }
        }
        if elf.ehdr.e_type != ET_EXEC {
            return Err(ImageError::NotStatic);
        }
        Self::checked(VirtAddr(elf.ehdr.e_entry), segments)
    }

    fn parse_flat(file: &'a [u8]) -> Result<Self, ImageError> {
        let header = FlatHeader::parse(file).map_err(ImageError::Flat)?;
        let segments = header
            .segments()
            .iter()
            .filter(|segment| segment.memory_bytes > 0)
            .map(|segment| {
                let flags = u32::try_from(segment.flags).unwrap_or(0);
                let flags = MapFlags::from_bits_truncate(flags) | MapFlags::READ;
                let is_as_the_file = segment.memory_bytes == segment.file_bytes;
                Ok(Segment {
                    start: VirtAddr(segment.address),
                    bytes: segment.memory_bytes,
                    flags,
                    lead: 0,
                    data: part(file, segment.offset, segment.file_bytes)?,
                    file_pages: (is_as_the_file && !flags.contains(MapFlags::WRITE))
                        .then_some(segment.offset),
                })
            })
            .collect::<Result<_, ImageError>>()?;
        Self::checked(VirtAddr(header.entry), segments)
    }

    /// Checks what both formats have in common.
    fn checked(entry: VirtAddr, mut segments: Vec<Segment<'a>>) -> Result<Self, ImageError> {
        if segments.is_empty() {
            return Err(ImageError::SegmentCount);
        }
        segments.sort_by_key(|segment| segment.start);
        let mut floor = IMAGE_START;
        for segment in &segments {
            let end = segment.start.checked_add(segment.bytes);
            if segment.start < floor || end.is_none_or(|end| end > IMAGE_END) {
                return Err(ImageError::BadAddress);
            }
            floor = segment.end();
        }
        let is_code = segments.iter().any(|segment| {
            segment.flags.contains(MapFlags::EXECUTE)
                && (segment.start..segment.end()).contains(&entry)
        });
        if !is_code || !entry.is_aligned(4) {
            return Err(ImageError::BadEntry);
        }
        Ok(Self {
            entry,
            segments,
            source: None,
        })
    }

    /// Says where the file lies, so that what can be is mapped from there.
    #[must_use]
    pub fn lies_in(mut self, source: Source) -> Self {
        self.source = source.offset.is_multiple_of(PAGE_SIZE).then_some(source);
        self
    }

    /// Where `segment` is mapped from; `None` if it needs memory of its own.
    #[must_use]
    pub fn shared(&self, segment: &Segment<'_>) -> Option<Source> {
        let source = self.source?;
        let offset = source.offset.checked_add(segment.file_pages?)?;
        Some(Source { offset, ..source })
    }

    /// The segments that need memory of their own, since they can't be mapped from where the file
    /// lies.
    pub fn copied(&self) -> impl Iterator<Item = &Segment<'a>> {
        let segments = self.segments.iter();
        segments.filter(|segment| self.shared(segment).is_none())
    }

    /// Bytes of memory that its segments take, whole pages; without those that are mapped from
    /// where the file lies.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        // They don't overlap, so the sum is below `IMAGE_END`.
        self.copied().map(|segment| segment.bytes).sum()
    }
}

fn part(file: &[u8], offset: u64, bytes: u64) -> Result<&[u8], ImageError> {
    let start = usize::try_from(offset).map_err(|_| ImageError::OutsideFile)?;
    let length = usize::try_from(bytes).map_err(|_| ImageError::OutsideFile)?;
    let end = start.checked_add(length).ok_or(ImageError::OutsideFile)?;
    file.get(start..end).ok_or(ImageError::OutsideFile)
}

fn elf_segment<'a>(file: &'a [u8], header: &ProgramHeader) -> Result<Segment<'a>, ImageError> {
    let data = part(file, header.p_offset, header.p_filesz)?;
    if header.p_filesz > header.p_memsz {
        return Err(ImageError::Malformed);
    }
    let address = VirtAddr(header.p_vaddr);
    let start = address.align_down(PAGE_SIZE);
    let end = address
        .checked_add(header.p_memsz)
        .and_then(|end| end.align_up(PAGE_SIZE))
        .ok_or(ImageError::BadAddress)?;
    let mut flags = MapFlags::empty();
    flags.set(MapFlags::READ, header.p_flags & (PF_R | PF_W | PF_X) != 0);
    flags.set(MapFlags::WRITE, header.p_flags & PF_W != 0);
    flags.set(MapFlags::EXECUTE, header.p_flags & PF_X != 0);
    if flags.contains(MapFlags::WRITE | MapFlags::EXECUTE) {
        return Err(ImageError::WritableCode);
    }
    let lead = address.0 - start.0;
    let is_as_the_file = header.p_filesz == header.p_memsz && !flags.contains(MapFlags::WRITE);
    let pages = header.p_offset.checked_sub(lead);
    Ok(Segment {
        start,
        bytes: end.0 - start.0,
        flags,
        // Less than a page.
        lead: usize::try_from(lead).map_err(|_| ImageError::BadAddress)?,
        data,
        file_pages: pages.filter(|pages| is_as_the_file && pages.is_multiple_of(PAGE_SIZE)),
    })
}
