//! Cortex-A53's erratum 835769, mended in what was linked (Arm EPM-048406).
//!
//! A 64-bit multiply-accumulate right behind a load or store may give a wrong result. The compiler would keep them apart
//! by an option that it warns of, and not in the core library; the linker that we use has none. So the builder of
//! images does what other linkers do: each such multiply-accumulate moves out of line.
//!
//! ```text
//! ldr  x3, [x1]                 ldr  x3, [x1]
//! madd x0, x4, x5, x6     →     b    1f
//! str  x0, [x2]               2: str  x0, [x2]
//!                                 …
//!                             1: madd x0, x4, x5, x6
//!                                b    2b
//! ```
//! The veneers stand where the linker script set room aside (`__veneers_start` to `__veneers_end`: boot driver and CPU
//! driver, which have no page to spare); else behind the code of the segment, in the rest of its last page; where that is
//! too small, in a page of their own behind the program. [`crate::layout::Program`] refuses what still has the sequence.

use std::borrow::Cow;

use elf::ElfBytes;
use elf::abi::{PF_R, PF_X, PT_GNU_STACK, PT_LOAD};
use elf::endian::LittleEndian;
use elf::segment::ProgramHeader;

use crate::errata::{erratum_835769, words_of};
use crate::layout::LayoutError;

const PAGE: u64 = 4096;
const WORD: u64 = 4;
const PROGRAM_HEADER_BYTES: usize = 56;
/// ELF-64 header: where its fields of the section table stand.
const SECTION_TABLE: [std::ops::Range<usize>; 2] = [40..48, 60..64];

/// The ELF file `file` without the sequence, and then without its section table; as it is where it has none.
///
/// # Errors
/// If it isn't an ELF file that can be read, or has no room for the veneers.
pub(crate) fn mended(file: &[u8]) -> Result<Cow<'_, [u8]>, LayoutError> {
    let not_elf = |error: elf::ParseError| LayoutError::NotElf(error.to_string());
    let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(not_elf)?;
    let headers: Vec<_> = elf
        .segments()
        .into_iter()
        .flat_map(|it| it.iter())
        .collect();
    let table = to_usize(elf.ehdr.e_phoff);
    let mut parts = parts_of(file, &headers)?;
    let symbols = Symbols::of(&elf).map_err(not_elf)?;
    let end = parts
        .iter()
        .map(|part| part.header.p_vaddr + part.header.p_memsz);
    let elsewhere = end.max().unwrap_or(0).next_multiple_of(PAGE);
    let mut outside = Vec::new();
    let mut is_changed = false;
    for number in 0..parts.len() {
        let room = room_behind(&parts, number);
        let Some(part) = parts.get_mut(number).filter(|part| part.is_code()) else {
            continue;
        };
        let mut words = words_of(&part.data);
        let start = part.header.p_vaddr;
        let mut sites = sites(&words, start);
        sites.retain(|&site| symbols.is_code(start + site as u64 * WORD));
        if sites.is_empty() {
            continue;
        }
        is_changed = true;
        // A word that is no load stands before the first veneer.
        let count = 1 + 2 * sites.len();
        let reserved = symbols.reserved.clone().and_then(|reserved| {
            let first = to_usize(reserved.start.checked_sub(start)? / WORD);
            let is_large_enough =
                count as u64 * WORD <= reserved.end.saturating_sub(reserved.start);
            let fits = is_large_enough && first + count <= words.len();
            fits.then_some(first..first + count)
        });
        let behind = start + words.len() as u64 * WORD;
        if let Some(reserved) = reserved {
            let at = start + reserved.start as u64 * WORD;
            let veneers = move_out(&mut words, start, &sites, at)?;
            if let Some(place) = words.get_mut(reserved) {
                place.copy_from_slice(&veneers);
            }
        } else if count as u64 * WORD <= room {
            let veneers = move_out(&mut words, start, &sites, behind)?;
            words.extend(veneers);
            part.header.p_memsz = words.len() as u64 * WORD;
        } else {
            let at = elsewhere + outside.len() as u64 * WORD;
            outside.extend(move_out(&mut words, start, &sites, at)?);
        }
        part.data = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    }
    if !is_changed {
        return Ok(Cow::Borrowed(file));
    }
    if !outside.is_empty() {
        // The header that asks for a stack means nothing to Capelin.
        let index = headers
            .iter()
            .position(|header| header.p_type == PT_GNU_STACK);
        let data: Vec<u8> = outside.iter().flat_map(|word| word.to_le_bytes()).collect();
        let bytes = data.len() as u64;
        parts.push(Part {
            index: index.ok_or(LayoutError::NoRoomForVeneers)?,
            header: ProgramHeader {
                p_type: PT_LOAD,
                p_flags: PF_R | PF_X,
                p_offset: u64::MAX,
                p_vaddr: elsewhere,
                p_paddr: elsewhere,
                p_filesz: bytes,
                p_memsz: bytes,
                p_align: PAGE,
            },
            data,
        });
    }
    compose(file, table, headers.len(), &mut parts).map(Cow::Owned)
}

/// What the symbols say of a program.
#[derive(Default)]
struct Symbols {
    /// From which addresses on there are instructions, or data between them, ascending: the mapping symbols `$x` and `$d`
    /// (ELF for the Arm 64-bit Architecture, 5.7). A linker keeps them.
    marks: Vec<(u64, bool)>,
    /// Addresses that were set aside for veneers.
    reserved: Option<std::ops::Range<u64>>,
}

impl Symbols {
    fn of(elf: &ElfBytes<'_, LittleEndian>) -> Result<Self, elf::ParseError> {
        let mut found = Self::default();
        let Some((symbols, names)) = elf.symbol_table()? else {
            return Ok(found);
        };
        let (mut start, mut end) = (None, None);
        for symbol in symbols.iter() {
            let name = names.get(to_usize(symbol.st_name.into())).unwrap_or("");
            match name.split('.').next().unwrap_or("") {
                "$x" => found.marks.push((symbol.st_value, true)),
                "$d" => found.marks.push((symbol.st_value, false)),
                "__veneers_start" => start = Some(symbol.st_value),
                "__veneers_end" => end = Some(symbol.st_value),
                _ => {}
            }
        }
        found.marks.sort_unstable();
        found.reserved = start.zip(end).map(|(start, end)| start..end);
        Ok(found)
    }

    /// Whether an instruction is at `address`, as it is where nobody says otherwise.
    fn is_code(&self, address: u64) -> bool {
        let behind = self.marks.partition_point(|&(from, _)| from <= address);
        let last = behind
            .checked_sub(1)
            .and_then(|index| self.marks.get(index));
        last.is_none_or(|&(_, is_code)| is_code)
    }
}

/// A segment that is loaded, and the index of its header.
struct Part {
    index: usize,
    header: ProgramHeader,
    data: Vec<u8>,
}

impl Part {
    fn is_code(&self) -> bool {
        self.header.p_flags & PF_X != 0
    }
}

/// The segments that are loaded, in the order of their places in the file.
fn parts_of(file: &[u8], headers: &[ProgramHeader]) -> Result<Vec<Part>, LayoutError> {
    let mut parts = Vec::new();
    for (index, header) in headers.iter().enumerate() {
        if header.p_type != PT_LOAD || header.p_memsz == 0 {
            continue;
        }
        let start = to_usize(header.p_offset);
        let end = start.checked_add(to_usize(header.p_filesz));
        let data = end.and_then(|end| file.get(start..end));
        // Nothing lies in the last page of the addresses: ends can be rounded up.
        let fits = header
            .p_vaddr
            .checked_add(header.p_memsz)
            .is_some_and(|end| end < !PAGE);
        parts.push(Part {
            index,
            header: *header,
            data: data
                .filter(|_| fits)
                .ok_or(LayoutError::BadSegment)?
                .to_vec(),
        });
    }
    parts.sort_by_key(|part| part.header.p_offset);
    Ok(parts)
}

/// Bytes behind the segment up to the end of its last page, where nothing else is.
fn room_behind(parts: &[Part], number: usize) -> u64 {
    let Some(part) = parts.get(number) else {
        return 0;
    };
    let header = &part.header;
    let end = header.p_vaddr + header.p_memsz;
    let page_end = end.next_multiple_of(PAGE);
    let is_free = |other: &Part| {
        other.header.p_vaddr >= page_end || other.header.p_vaddr + other.header.p_memsz <= end
    };
    let others_are_elsewhere = parts.iter().all(is_free);
    if header.p_filesz == header.p_memsz && end.is_multiple_of(WORD) && others_are_elsewhere {
        page_end - end
    } else {
        0
    }
}

/// Indices of the multiply-accumulates that must move.
fn sites(words: &[u32], start: u64) -> Vec<usize> {
    let mut sites = Vec::new();
    let mut from = 0;
    while let Some(rest) = words.get(from..)
        && let Some(at) = erratum_835769(rest, start + from as u64 * WORD)
    {
        let index = to_usize((at - start) / WORD);
        sites.push(index);
        from = index;
    }
    sites
}

/// Replaces the words of `sites` by branches to the veneers, which are answered and will lie at `at`.
fn move_out(
    words: &mut [u32],
    start: u64,
    sites: &[usize],
    at: u64,
) -> Result<Vec<u32>, LayoutError> {
    let mut veneers = vec![0]; // UDF
    for &site in sites {
        let here = start + site as u64 * WORD;
        let there = at + veneers.len() as u64 * WORD;
        let word = words.get_mut(site).ok_or(LayoutError::BadSegment)?;
        veneers.push(std::mem::replace(word, branch(here, there)?));
        veneers.push(branch(there + WORD, here + WORD)?);
    }
    Ok(veneers)
}

/// `B` from one address to another (Arm ARM C6.2.26: 26 bits of words, signed).
fn branch(from: u64, to: u64) -> Result<u32, LayoutError> {
    let words = to.wrapping_sub(from).cast_signed() / 4;
    if !(-(1 << 25)..1 << 25).contains(&words) {
        return Err(LayoutError::NoRoomForVeneers);
    }
    let bits = u32::try_from(words & 0x03ff_ffff).unwrap_or(0);
    Ok(0x1400_0000 | bits)
}

/// The file of `parts`: its header and its table of `count` program headers stay where they are, and each segment comes
/// at the first place that its address allows.
fn compose(
    old: &[u8],
    table: usize,
    count: usize,
    parts: &mut [Part],
) -> Result<Vec<u8>, LayoutError> {
    let table_end = table.saturating_add(count * PROGRAM_HEADER_BYTES);
    let mut file = old
        .get(..table_end)
        .ok_or(LayoutError::BadSegment)?
        .to_vec();
    let first = parts.iter().position(|part| part.header.p_offset == 0);
    for (number, part) in parts.iter_mut().enumerate() {
        let header = &mut part.header;
        if Some(number) == first {
            // It holds the headers.
            if part.data.len() < table_end {
                return Err(LayoutError::BadSegment);
            }
            file.clone_from(&part.data);
        } else {
            let end = file.len() as u64;
            let lead = header.p_vaddr.wrapping_sub(end) % PAGE;
            header.p_offset = end + lead;
            file.resize(to_usize(end + lead), 0);
            file.extend_from_slice(&part.data);
        }
        header.p_filesz = part.data.len() as u64;
    }
    for field in SECTION_TABLE {
        file.get_mut(field).ok_or(LayoutError::BadSegment)?.fill(0);
    }
    for part in parts {
        let at = table + part.index * PROGRAM_HEADER_BYTES;
        let place = file.get_mut(at..at + PROGRAM_HEADER_BYTES);
        place
            .ok_or(LayoutError::BadSegment)?
            .copy_from_slice(&bytes_of(&part.header));
    }
    Ok(file)
}

/// A program header as the file has it.
fn bytes_of(header: &ProgramHeader) -> Vec<u8> {
    let words = [header.p_type, header.p_flags].map(u32::to_le_bytes);
    let longs = [
        header.p_offset,
        header.p_vaddr,
        header.p_paddr,
        header.p_filesz,
        header.p_memsz,
        header.p_align,
    ];
    let longs = longs.map(u64::to_le_bytes);
    [words.as_flattened(), longs.as_flattened()].concat()
}

fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Program;
    use crate::layout::tests::{TestSegment, elf_file};
    use elf::abi::PF_W;

    const NOP: u32 = 0xd503_201f;
    const RET: u32 = 0xd65f_03c0;
    /// ldr x3, [x1]
    const LDR: u32 = 0xf940_0023;
    /// madd x0, x4, x5, x6
    const MADD: u32 = 0x9b05_1880;
    /// umsubl x0, w1, w2, x3
    const UMSUBL: u32 = 0x9ba2_8c20;
    const TEXT: u64 = 0x20_0000;

    /// A program of `text`, data on the next page, and room for another header.
    fn program(text: &[u32]) -> Vec<u8> {
        let text: Vec<u8> = text.iter().flat_map(|word| word.to_le_bytes()).collect();
        let length = text.len() as u64;
        let segment = |address, data: Vec<u8>, memory, flags| TestSegment {
            address,
            data,
            memory,
            flags,
        };
        let data = (TEXT + length).next_multiple_of(PAGE) + 0x20;
        let mut file = elf_file(
            TEXT,
            &[
                segment(TEXT, text, length, PF_R | PF_X),
                segment(data, vec![7; 5000], 9000, PF_R | PF_W),
                segment(data + 0x10_0000, vec![], 0, PF_R),
            ],
        );
        let kind = 64 + 2 * PROGRAM_HEADER_BYTES;
        file[kind..kind + 4].copy_from_slice(&PT_GNU_STACK.to_le_bytes());
        file
    }

    /// The memory of a program, in words from [`TEXT`] on.
    fn memory(file: &[u8]) -> Vec<u32> {
        words_of(&Program::parse(file).unwrap().memory_image().0)
    }

    /// Where the branch at index `at` goes, as an index.
    fn target(words: &[u32], at: usize) -> usize {
        assert_eq!(words[at] >> 26, 0b00_0101, "no branch at {at}");
        let offset = (words[at] << 6).cast_signed() >> 6;
        at.checked_add_signed(offset as isize).unwrap()
    }

    /// What is executed is what it was: each of `sites` goes out of line and comes back, and all else is the same.
    fn assert_same(before: &[u32], after: &[u32], sites: &[usize]) {
        for (index, &word) in before.iter().enumerate() {
            if sites.contains(&index) {
                let veneer = target(after, index);
                assert!(veneer >= before.len() || before[veneer] == 0);
                assert_eq!(after[veneer], word);
                assert_eq!(target(after, veneer + 1), index + 1);
            } else if word != 0 {
                assert_eq!(after[index], word, "word {index}");
            }
        }
    }

    #[test]
    fn a_program_without_the_sequence_is_left_alone() {
        let file = program(&[LDR, NOP, MADD, LDR, RET]);
        assert!(matches!(mended(&file), Ok(Cow::Borrowed(same)) if same == file));
    }

    #[test]
    fn veneers_stand_in_the_rest_of_the_last_page() {
        // Twice behind one load, one behind another, and one at the very end.
        let text = [LDR, MADD, MADD, NOP, LDR, UMSUBL, RET, LDR, MADD];
        let file = program(&text);
        assert_eq!(
            Program::parse(&file).err(),
            Some(LayoutError::Erratum835769(TEXT + 4))
        );
        let mended = mended(&file).unwrap();
        let (before, after) = (text.to_vec(), memory(&mended));
        assert_same(&before, &after, &[1, 5, 8]);
        // Data is where it was.
        let data = (0x1020 / 4)..(0x1020 + 5000) / 4;
        assert!(after[data].iter().all(|&word| word == 0x0707_0707));
        let again = super::mended(&mended).unwrap();
        assert!(matches!(again, Cow::Borrowed(_)), "once is enough");
    }

    #[test]
    fn without_room_veneers_have_a_page_of_their_own() {
        for spare in [0, 1, 2] {
            let mut text = vec![NOP; 1024 - spare];
            text[500..502].copy_from_slice(&[LDR, MADD]);
            let file = program(&text);
            let mended = mended(&file).unwrap();
            let after = memory(&mended);
            assert_same(&text, &after, &[501]);
            // Behind the data, which takes 9000 bytes from 0x20 on in the second page.
            assert_eq!(target(&after, 501) / 1024, 4);
            let program = Program::parse(&mended).unwrap();
            assert!(program.flat_image().is_ok() && program.loadable().is_ok());
        }
        // With three words it fits.
        let mut text = vec![NOP; 1021];
        text[500..502].copy_from_slice(&[LDR, MADD]);
        let file = program(&text);
        assert_eq!(target(&memory(&mended(&file).unwrap()), 501), 1022);
        // Nor is a header free.
        let mut text = vec![NOP; 1024];
        text[500..502].copy_from_slice(&[LDR, MADD]);
        let mut file = program(&text);
        let kind = 64 + 2 * PROGRAM_HEADER_BYTES;
        file[kind..kind + 4].fill(0);
        let refused = mended(&file).err();
        assert_eq!(refused, Some(LayoutError::NoRoomForVeneers));
    }

    /// What is executed from word `entry` on, but for unconditional branches; the `n`th conditional one is taken if bit
    /// `n` of `taken` is set.
    fn executed(words: &[u32], entry: usize, taken: u64, steps: u32) -> Vec<u32> {
        let mut trace = Vec::new();
        let (mut at, mut conditional) = (entry, 0);
        for _ in 0..steps {
            let word = words[at];
            if word == RET {
                trace.push(word);
            }
            if word == RET || trace.len() == 400 {
                return trace;
            }
            let offset =
                |bits: u32, low: u32| (word << (32 - bits - low)).cast_signed() >> (32 - bits);
            at = if word >> 26 == 0b00_0101 {
                at.checked_add_signed(offset(26, 0) as isize).unwrap()
            } else if word >> 24 == 0x54 {
                conditional = (conditional + 1) % 64;
                trace.push(word);
                if taken >> conditional & 1 != 0 {
                    at.checked_add_signed(offset(19, 5) as isize).unwrap()
                } else {
                    at + 1
                }
            } else {
                trace.push(word);
                at + 1
            };
        }
        trace
    }

    /// Made-up code, entered at each of its words, does with veneers what it did without, by whichever way: through the
    /// pair, by a branch to its second half, or back to its first.
    #[test]
    fn with_veneers_code_does_what_it_did() {
        /// str x3, [x1], ldr w3, [x1, #4]!, mul x0, x4, x5, b.eq to itself
        const OTHERS: [u32; 4] = [0xf900_0023, 0xb840_4c23, 0x9b05_7c80, 0x5400_0000];
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            to_usize(state >> 16) % below
        };
        let mut moved = 0;
        for _ in 0..300 {
            let length = 2 + random(60);
            let mut text: Vec<u32> = (0..u32::try_from(length).unwrap())
                .map(|at| {
                    let to = u32::try_from(random(length)).unwrap();
                    let back_or_forth = to.wrapping_sub(at);
                    match random(10) {
                        0 => NOP,
                        1 => 0x1400_0000 | back_or_forth & 0x03ff_ffff,
                        2 => OTHERS[3] | (back_or_forth & 0x7_ffff) << 5,
                        3..=5 => [LDR, OTHERS[0], OTHERS[1]][random(3)],
                        6 => OTHERS[2],
                        7..=8 => MADD,
                        _ => UMSUBL,
                    }
                })
                .collect();
            text.push(RET);
            let file = program(&text);
            let mended = mended(&file).unwrap();
            let after = memory(&mended);
            assert!(Program::parse(&mended).is_ok(), "none is left: {text:x?}");
            moved += text.iter().zip(&after).filter(|(a, b)| a != b).count();
            let taken = random(usize::MAX) as u64;
            for entry in 0..text.len() {
                // Three steps for one.
                let without = executed(&text, entry, taken, 5_000);
                let with = executed(&after, entry, taken, 15_000);
                assert_eq!(
                    with.get(..without.len()),
                    Some(&without[..]),
                    "from {entry}: {text:x?}"
                );
            }
        }
        assert!(moved > 500, "{moved}");
    }

    #[test]
    fn data_between_instructions_stays() {
        let symbols = Symbols {
            marks: vec![(8, true), (16, false), (24, true)],
            reserved: None,
        };
        for (address, wanted) in [
            (0, true),
            (8, true),
            (12, true),
            (16, false),
            (20, false),
            (24, true),
            (4096, true),
        ] {
            assert_eq!(symbols.is_code(address), wanted, "{address}");
        }
        assert!(Symbols::default().is_code(4));
    }

    #[test]
    fn branches_reach_as_far_as_they_do() {
        assert_eq!(branch(0x1000, 0x1008), Ok(0x1400_0002));
        assert_eq!(branch(0x1008, 0x1000), Ok(0x17ff_fffe));
        assert_eq!(branch(0, 0x7ff_fffc), Ok(0x15ff_ffff));
        assert_eq!(branch(0, 0x800_0000), Err(LayoutError::NoRoomForVeneers));
    }

    #[test]
    fn damaged_files_are_refused_or_mended_but_do_no_harm() {
        let file = program(&[LDR, MADD, RET]);
        for at in 0..64 + 3 * PROGRAM_HEADER_BYTES {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = file.clone();
                damaged[at] = value;
                let _ = mended(&damaged);
            }
        }
        for length in (0..file.len()).step_by(97) {
            let _ = mended(&file[..length]);
        }
    }
}
