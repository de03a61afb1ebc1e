//! From an ELF file to what is loaded: memory images, flat images, and ELF files without what only debuggers read.
//!
//! | made by | for | holds |
//! | --- | --- | --- |
//! | [`Program::memory_image`] | boot driver, CPU driver | memory from the lowest address on |
//! | [`Program::flat_image`] | `init`, monitor | `FlatHeader`, then the segments page by page |
//! | [`Program::loadable`] | all other programs | ELF header, program headers, segments |

use capelin_abi::flat::{FlatHeader, FlatSegment, MAX_SEGMENTS};
use elf::ElfBytes;
use elf::abi::{EM_AARCH64, PF_R, PF_W, PF_X, PT_LOAD};
use elf::endian::LittleEndian;
use elf::segment::ProgramHeader;
use zerocopy::IntoBytes as _;

use crate::errata;

const PAGE: usize = 4096;
/// No program of ours is larger; a malformed one doesn't make us ask for more memory than this.
const MAX_MEMORY: u64 = 1 << 30;
/// ELF-64 header: offset and length of the fields that tell of the section table.
const E_SHOFF: std::ops::Range<usize> = 40..48;
const E_SHNUM_SHSTRNDX: std::ops::Range<usize> = 60..64;

/// Why an ELF file can't be laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LayoutError {
    /// Not an ELF file that the `elf` crate can read.
    NotElf(String),
    /// For another machine than 64-bit little-endian Arm.
    WrongMachine,
    /// It has nothing to load, a segment outside of the file, or takes a gigabyte and more.
    BadSegment,
    /// Two segments share a page, so that they can't have permissions of their own.
    SharedPage,
    /// More segments than a flat image can tell.
    TooManySegments,
    /// A segment both writable and executable.
    WritableCode,
    /// A segment's place in the file doesn't agree with its address modulo the page size, so it can't be mapped.
    Unmappable,
    /// The header made isn't one that the kernel takes.
    BadHeader(String),
    /// Cortex-A53's erratum 843419 is at this address: the linker wasn't told to avoid it.
    Erratum843419(u64),
    /// Cortex-A53's erratum 835769 is at this address: it wasn't mended.
    Erratum835769(u64),
    /// There is no place for the veneers that Cortex-A53's erratum 835769 needs.
    NoRoomForVeneers,
}

impl std::fmt::Display for LayoutError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotElf(why) => write!(f, "not an ELF file: {why}"),
            Self::WrongMachine => f.write_str("not for 64-bit little-endian Arm"),
            Self::BadSegment => f.write_str("its segments make no sense"),
            Self::SharedPage => f.write_str("two segments share a page"),
            Self::TooManySegments => write!(f, "more than {MAX_SEGMENTS} segments"),
            Self::WritableCode => f.write_str("a segment is writable and executable"),
            Self::Unmappable => f.write_str("a segment isn't page-aligned in the file"),
            Self::BadHeader(why) => write!(f, "its header is refused: {why}"),
            Self::Erratum843419(address) => write!(
                f,
                "the sequence of Cortex-A53's erratum 843419 is at {address:#x} (--fix-cortex-a53-843419)"
            ),
            Self::Erratum835769(address) => write!(
                f,
                "the sequence of Cortex-A53's erratum 835769 is at {address:#x}"
            ),
            Self::NoRoomForVeneers => {
                f.write_str("no room for what Cortex-A53's erratum 835769 needs")
            }
        }
    }
}

/// An ELF file whose segments have been checked: they lie in the file and ascend without overlap.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    file: &'a [u8],
    entry: u64,
    segments: Vec<ProgramHeader>,
}

impl<'a> Program<'a> {
    /// Checks the ELF file in `file`.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub(crate) fn parse(file: &'a [u8]) -> Result<Self, LayoutError> {
        let not_elf = |error: elf::ParseError| LayoutError::NotElf(error.to_string());
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(not_elf)?;
        if elf.ehdr.e_machine != EM_AARCH64 || elf.ehdr.class != elf::file::Class::ELF64 {
            return Err(LayoutError::WrongMachine);
        }
        let mut segments: Vec<_> = elf
            .segments()
            .into_iter()
            .flat_map(|table| table.iter())
            .filter(|segment| segment.p_type == PT_LOAD && segment.p_memsz > 0)
            .collect();
        segments.sort_by_key(|segment| segment.p_vaddr);
        let mut floor = 0;
        for segment in &segments {
            let file_end = segment.p_offset.checked_add(segment.p_filesz);
            let end = segment.p_vaddr.checked_add(segment.p_memsz);
            let in_file = file_end.is_some_and(|end| end <= file.len() as u64);
            let Some(end) = end.filter(|_| in_file && segment.p_vaddr >= floor) else {
                return Err(LayoutError::BadSegment);
            };
            if segment.p_filesz > segment.p_memsz {
                return Err(LayoutError::BadSegment);
            }
            floor = end;
        }
        let program = Self {
            file,
            entry: elf.ehdr.e_entry,
            segments,
        };
        match program.base().and_then(|base| floor.checked_sub(base)) {
            Some(length) if length <= MAX_MEMORY => {}
            _ => return Err(LayoutError::BadSegment),
        }
        let code = |segment: &&ProgramHeader| segment.p_flags & PF_X != 0;
        let mut bad = program.segments.iter().filter(code).filter_map(|segment| {
            errata::erratum_843419(program.bytes_of(segment), segment.p_vaddr)
        });
        if let Some(address) = bad.next() {
            return Err(LayoutError::Erratum843419(address));
        }
        let mut bad = program.segments.iter().filter(code).filter_map(|segment| {
            let words = errata::words_of(program.bytes_of(segment));
            errata::erratum_835769(&words, segment.p_vaddr)
        });
        match bad.next() {
            Some(address) => Err(LayoutError::Erratum835769(address)),
            None => Ok(program),
        }
    }

    fn base(&self) -> Option<u64> {
        self.segments.first().map(|segment| segment.p_vaddr)
    }

    fn bytes_of(&self, segment: &ProgramHeader) -> &'a [u8] {
        // `parse` has seen that both fit.
        let start = to_usize(segment.p_offset);
        let end = start.saturating_add(to_usize(segment.p_filesz));
        self.file.get(start..end).unwrap_or_default()
    }

    /// The program's memory from its lowest address on, zero-initialised memory included, in whole pages; and how many
    /// bytes of it from the start come from the file.
    pub(crate) fn memory_image(&self) -> (Vec<u8>, usize) {
        let base = self.base().unwrap_or(0);
        let mut image = Vec::new();
        let mut file_bytes = 0;
        for segment in &self.segments {
            let start = to_usize(segment.p_vaddr - base);
            image.resize(start, 0);
            image.extend_from_slice(self.bytes_of(segment));
            if segment.p_filesz > 0 {
                file_bytes = image.len();
            }
            image.resize(start + to_usize(segment.p_memsz), 0);
        }
        image.resize(image.len().next_multiple_of(PAGE), 0);
        (image, file_bytes)
    }

    /// The flat image that a CPU driver starts without an ELF loader: `FlatHeader`, then each segment's pages.
    ///
    /// # Errors
    /// If segments share a page, are both writable and executable, are too many, or lie where programs may not.
    pub(crate) fn flat_image(&self) -> Result<Vec<u8>, LayoutError> {
        if self.segments.len() > MAX_SEGMENTS {
            return Err(LayoutError::TooManySegments);
        }
        let mut header = FlatHeader {
            magic: capelin_abi::flat::FLAT_MAGIC,
            abi_version: capelin_abi::ABI_VERSION,
            entry: self.entry,
            segment_count: self.segments.len() as u64,
            ..FlatHeader::default()
        };
        let mut image = vec![0; size_of::<FlatHeader>().next_multiple_of(PAGE)];
        let mut floor = 0;
        for (segment, slot) in self.segments.iter().zip(&mut header.segments) {
            let lead = to_usize(segment.p_vaddr % PAGE as u64);
            let address = segment.p_vaddr - lead as u64;
            if address < floor {
                return Err(LayoutError::SharedPage);
            }
            let offset = image.len();
            if segment.p_filesz > 0 {
                image.resize(offset + lead, 0);
                image.extend_from_slice(self.bytes_of(segment));
                image.resize(image.len().next_multiple_of(PAGE), 0);
            }
            let memory = (lead + to_usize(segment.p_memsz)).next_multiple_of(PAGE);
            *slot = FlatSegment {
                address,
                offset: offset as u64,
                file_bytes: (image.len() - offset) as u64,
                memory_bytes: memory as u64,
                flags: permissions(segment)?,
            };
            floor = address + memory as u64;
        }
        image[..size_of::<FlatHeader>()].copy_from_slice(header.as_bytes());
        FlatHeader::parse(&image).map_err(|error| LayoutError::BadHeader(error.to_string()))?;
        Ok(image)
    }

    /// The ELF file without section table, symbols and debug information: what a loader needs.
    ///
    /// # Errors
    /// If a segment can't be mapped from the file page by page, or is both writable and executable.
    pub(crate) fn loadable(&self) -> Result<Vec<u8>, LayoutError> {
        let mut end = E_SHNUM_SHSTRNDX.end;
        for segment in &self.segments {
            permissions(segment)?;
            if segment.p_offset % PAGE as u64 != segment.p_vaddr % PAGE as u64 {
                return Err(LayoutError::Unmappable);
            }
            end = end.max(to_usize(segment.p_offset + segment.p_filesz));
        }
        // The program headers need not lie in a segment.
        let header = |range: std::ops::Range<usize>| {
            let mut field = [0; 8];
            field[..range.len()].copy_from_slice(&self.file[range]);
            to_usize(u64::from_le_bytes(field))
        };
        end = end.max(header(32..40).saturating_add(header(54..56) * header(56..58)));
        let mut file = self
            .file
            .get(..end)
            .ok_or(LayoutError::BadSegment)?
            .to_vec();
        file[E_SHOFF].fill(0);
        file[E_SHNUM_SHSTRNDX].fill(0);
        Ok(file)
    }
}

/// The segment's `MapFlags`.
fn permissions(segment: &ProgramHeader) -> Result<u64, LayoutError> {
    use capelin_abi::syscall::MapFlags;
    let has = |bit: u32| segment.p_flags & bit != 0;
    let mut flags = MapFlags::empty();
    flags.set(MapFlags::READ, has(PF_R));
    flags.set(MapFlags::WRITE, has(PF_W));
    flags.set(MapFlags::EXECUTE, has(PF_X));
    if flags.contains(MapFlags::WRITE | MapFlags::EXECUTE) {
        return Err(LayoutError::WritableCode);
    }
    Ok(flags.bits().into())
}

fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// One segment of a file made for a test.
    pub(crate) struct TestSegment {
        pub(crate) address: u64,
        pub(crate) data: Vec<u8>,
        pub(crate) memory: u64,
        pub(crate) flags: u32,
    }

    /// An ELF file for AArch64 with these segments, their data at 4 KiB plus their address modulo 4 KiB, and a section
    /// table and some "debug information" behind them.
    pub(crate) fn elf_file(entry: u64, segments: &[TestSegment]) -> Vec<u8> {
        let mut file = Vec::new();
        file.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        file.extend_from_slice(&2_u16.to_le_bytes());
        file.extend_from_slice(&EM_AARCH64.to_le_bytes());
        file.extend_from_slice(&1_u32.to_le_bytes());
        for word in [entry, 64, 0] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(&0_u32.to_le_bytes());
        let count = u16::try_from(segments.len()).unwrap();
        for half in [64, 56, count, 64, 0, 0] {
            file.extend_from_slice(&half.to_le_bytes());
        }
        let mut offset = 4096;
        let mut body = Vec::new();
        for segment in segments {
            offset += segment.address % 4096;
            file.extend_from_slice(&PT_LOAD.to_le_bytes());
            file.extend_from_slice(&segment.flags.to_le_bytes());
            let length = segment.data.len() as u64;
            let address = segment.address;
            for word in [offset, address, address, length, segment.memory, 4096] {
                file.extend_from_slice(&word.to_le_bytes());
            }
            body.resize(usize::try_from(offset).unwrap() - 4096, 0);
            body.extend_from_slice(&segment.data);
            offset = (offset + length).next_multiple_of(4096);
        }
        file.resize(4096, 0);
        file.extend_from_slice(&body);
        file.extend_from_slice(b"debug information");
        file
    }

    fn sample() -> Vec<u8> {
        elf_file(
            0x20_0010,
            &[
                TestSegment {
                    address: 0x20_0010,
                    data: vec![1; 100],
                    memory: 100,
                    flags: PF_R | PF_X,
                },
                TestSegment {
                    address: 0x20_2000,
                    data: vec![2; 5000],
                    memory: 9000,
                    flags: PF_R | PF_W,
                },
            ],
        )
    }

    #[test]
    fn memory_images_hold_zeroed_memory_and_know_where_it_starts() {
        let file = sample();
        let (image, file_bytes) = Program::parse(&file).unwrap().memory_image();
        assert_eq!(&image[..100], [1; 100]);
        let data = 0x1ff0;
        assert!(image[100..data].iter().all(|&byte| byte == 0));
        assert_eq!(&image[data..data + 5000], [2; 5000]);
        assert_eq!(file_bytes, data + 5000);
        assert!(image[file_bytes..].iter().all(|&byte| byte == 0));
        assert_eq!(image.len(), (data + 9000).next_multiple_of(4096));
    }

    #[test]
    fn flat_images_are_taken_by_the_kernels_check() {
        let file = sample();
        let image = Program::parse(&file).unwrap().flat_image().unwrap();
        let header = FlatHeader::parse(&image).unwrap();
        let [text, data] = header.segments() else {
            panic!("two segments: {header:?}");
        };
        assert_eq!(header.entry, 0x20_0010);
        assert_eq!((text.address, text.offset), (0x20_0000, 4096));
        assert_eq!(
            (text.file_bytes, text.memory_bytes, text.flags),
            (4096, 4096, 5)
        );
        assert_eq!(&image[4096 + 16..4096 + 116], [1; 100]);
        assert_eq!((data.address, data.offset), (0x20_2000, 8192));
        assert_eq!(
            (data.file_bytes, data.memory_bytes, data.flags),
            (8192, 12288, 3)
        );
        assert_eq!(&image[8192..8192 + 5000], [2; 5000]);
    }

    #[test]
    fn a_segment_of_zeros_takes_no_room_in_a_flat_image() {
        let file = elf_file(
            0x20_0000,
            &[TestSegment {
                address: 0x20_0000,
                data: vec![],
                memory: 5000,
                flags: PF_R | PF_W,
            }],
        );
        let image = Program::parse(&file).unwrap().flat_image().unwrap();
        assert_eq!(image.len(), 4096);
        assert_eq!(
            FlatHeader::parse(&image).unwrap().segments()[0].memory_bytes,
            8192
        );
    }

    #[test]
    fn loadable_files_have_segments_and_nothing_else() {
        let file = sample();
        let stripped = Program::parse(&file).unwrap().loadable().unwrap();
        assert!(stripped.len() < file.len());
        let again = Program::parse(&stripped).unwrap();
        assert_eq!(
            again.memory_image(),
            Program::parse(&file).unwrap().memory_image()
        );
        assert!(!stripped.ends_with(b"debug information"));
    }

    #[test]
    fn bad_programs_are_refused() {
        let segment = |address, flags| TestSegment {
            address,
            data: vec![1; 16],
            memory: 16,
            flags,
        };
        let flat = |segments: &[TestSegment]| {
            let file = elf_file(0x20_0000, segments);
            let program = Program::parse(&file)?;
            program.flat_image().map(|_| ())
        };
        let refused = flat(&[segment(0x20_0000, PF_R | PF_W | PF_X)]);
        assert_eq!(refused, Err(LayoutError::WritableCode));
        let refused = flat(&[segment(0x20_0000, PF_R), segment(0x20_0800, PF_R | PF_W)]);
        assert_eq!(refused, Err(LayoutError::SharedPage));
        let many: Vec<_> = (0..9)
            .map(|page| segment(0x20_0000 + page * 4096, PF_R))
            .collect();
        assert_eq!(flat(&many), Err(LayoutError::TooManySegments));
        assert_eq!(flat(&[]), Err(LayoutError::BadSegment));
        let refused = flat(&[segment(0x1000, PF_R)]);
        assert!(matches!(refused, Err(LayoutError::BadHeader(_))));
        let refused = flat(&[segment(0x20_0000, PF_R), segment(1 << 40, PF_R)]);
        assert_eq!(refused, Err(LayoutError::BadSegment));
    }

    #[test]
    fn damaged_files_are_refused_or_laid_out_but_do_no_harm() {
        let file = sample();
        for at in 0..180 {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = file.clone();
                damaged[at] = value;
                if let Ok(program) = Program::parse(&damaged) {
                    let _ = program.memory_image();
                    let _ = program.flat_image();
                    let _ = program.loadable();
                }
            }
        }
        for length in (0..file.len()).step_by(97) {
            if let Ok(program) = Program::parse(&file[..length]) {
                let _ = program.loadable();
            }
        }
    }
}
