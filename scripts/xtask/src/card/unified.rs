//! The UEFI loader with what it boots in one file: sections added to a PE image (PE format, 3 and 4), as a unified
//! kernel image has them (UAPI.5).
//!
//! ```text
//! headers | a header for each new section | … | .text, .data, … | .cmdline | .linux
//! ```
//!
//! Firmware loads each section at its own address, in pages; the loader finds it by its name.

/// The section of the boot image, and that of the command line (UAPI.5): the loader looks for them.
pub(crate) const KERNEL: &[u8; 8] = b".linux\0\0";
pub(crate) const ARGUMENTS: &[u8; 8] = b".cmdline";

/// Bytes of a section's header.
const SECTION_BYTES: usize = 40;
/// Contents of the file that are read, and not written (PE format, 4.1).
const READ_ONLY_DATA: u32 = 0x4000_0040;
/// Where the fields are, from the PE signature: the count of sections, the optional header's length, and it.
const COUNT_AT: usize = 6;
const OPTIONAL_BYTES_AT: usize = 20;
const OPTIONAL_AT: usize = 24;
/// Of PE32+.
const PE32_PLUS: u16 = 0x20b;

/// Why sections can't be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnifyError {
    /// It is no PE32+ image that can be loaded.
    #[error("it is no UEFI application, or isn't whole")]
    NotPe,
    /// The headers have no room for more.
    #[error("its headers have no room for more sections")]
    NoRoom,
    /// It would be larger than addresses in it can say.
    #[error("it would be too large for a UEFI application")]
    TooLarge,
}

/// `application` with `sections` behind its own: names and contents.
///
/// # Errors
/// If it is no UEFI application, or has no room for them.
pub(crate) fn with_sections(
    application: &[u8],
    sections: &[(&[u8; 8], &[u8])],
) -> Result<Vec<u8>, UnifyError> {
    let mut image = application.to_vec();
    let pe = get(&image, 0x3c)? as usize;
    if image.get(..2) != Some(b"MZ") || image.get(pe..pe + 4) != Some(b"PE\0\0") {
        return Err(UnifyError::NotPe);
    }
    let optional = pe + OPTIONAL_AT;
    if half(&image, optional)? != PE32_PLUS {
        return Err(UnifyError::NotPe);
    }
    let count = usize::from(half(&image, pe + COUNT_AT)?);
    let first = optional + usize::from(half(&image, pe + OPTIONAL_BYTES_AT)?);
    let (section_alignment, file_alignment) =
        (get(&image, optional + 32)?, get(&image, optional + 36)?);
    let header_bytes = get(&image, optional + 60)? as usize;
    if !section_alignment.is_power_of_two() || !file_alignment.is_power_of_two() {
        return Err(UnifyError::NotPe);
    }
    for header in (first..).step_by(SECTION_BYTES).take(count) {
        let (bytes, start) = (get(&image, header + 16)?, get(&image, header + 20)?);
        if start
            .checked_add(bytes)
            .is_none_or(|end| end as usize > image.len())
        {
            return Err(UnifyError::NotPe);
        }
    }
    // The new headers stand where nothing else does: in front of the first section's contents.
    let new = first + count * SECTION_BYTES;
    let end = new + sections.len() * SECTION_BYTES;
    let free = image.get(new..end).ok_or(UnifyError::NoRoom)?;
    if end > header_bytes || free.iter().any(|&byte| byte != 0) {
        return Err(UnifyError::NoRoom);
    }
    let mut memory_end = get(&image, optional + 56)?;
    for (index, (name, contents)) in sections.iter().enumerate() {
        let length = u32::try_from(contents.len()).map_err(|_| UnifyError::TooLarge)?;
        let start = aligned(memory_end, section_alignment)?;
        memory_end = start.checked_add(length).ok_or(UnifyError::TooLarge)?;
        let file_start = padded(&mut image, file_alignment)?;
        image.extend_from_slice(contents);
        let file_bytes = padded(&mut image, file_alignment)? - file_start;
        let header = new + index * SECTION_BYTES;
        image[header..header + 8].copy_from_slice(*name);
        for (at, word) in [
            (8, length),
            (12, start),
            (16, file_bytes),
            (20, file_start),
            (36, READ_ONLY_DATA),
        ] {
            put(&mut image, header + at, word);
        }
    }
    let counted = u16::try_from(count + sections.len()).map_err(|_| UnifyError::NoRoom)?;
    image[pe + COUNT_AT..pe + COUNT_AT + 2].copy_from_slice(&counted.to_le_bytes());
    put(
        &mut image,
        optional + 56,
        aligned(memory_end, section_alignment)?,
    );
    // No checksum, as firmware wants none of applications.
    put(&mut image, optional + 64, 0);
    Ok(image)
}

fn aligned(value: u32, alignment: u32) -> Result<u32, UnifyError> {
    value
        .checked_next_multiple_of(alignment)
        .ok_or(UnifyError::TooLarge)
}

/// Pads the file to `alignment`; its length then.
fn padded(image: &mut Vec<u8>, alignment: u32) -> Result<u32, UnifyError> {
    let length = u32::try_from(image.len()).map_err(|_| UnifyError::TooLarge)?;
    let length = aligned(length, alignment)?;
    image.resize(length as usize, 0);
    Ok(length)
}

fn get(image: &[u8], at: usize) -> Result<u32, UnifyError> {
    let bytes = image.get(at..at + 4).and_then(|it| it.try_into().ok());
    bytes.map(u32::from_le_bytes).ok_or(UnifyError::NotPe)
}

fn half(image: &[u8], at: usize) -> Result<u16, UnifyError> {
    let bytes = image.get(at..at + 2).and_then(|it| it.try_into().ok());
    bytes.map(u16::from_le_bytes).ok_or(UnifyError::NotPe)
}

fn put(image: &mut [u8], at: usize, word: u32) {
    image[at..at + 4].copy_from_slice(&word.to_le_bytes());
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use capelin_uefi::unified::{self, section};

    /// An application with one section of code, and room for `free` more.
    pub(crate) fn application(free: usize) -> Vec<u8> {
        let (pe, optional) = (0x80, 0x98);
        let headers = optional + 0xf0 + SECTION_BYTES * (1 + free);
        let mut image = vec![0; headers.next_multiple_of(4)];
        image[..2].copy_from_slice(b"MZ");
        put(&mut image, 0x3c, 0x80);
        image[pe..pe + 4].copy_from_slice(b"PE\0\0");
        put(&mut image, pe + 4, 0x0001_aa64);
        put(&mut image, pe + OPTIONAL_BYTES_AT, 0xf0);
        put(&mut image, optional, PE32_PLUS.into());
        put(&mut image, optional + 32, 0x1000);
        put(&mut image, optional + 36, 0x200);
        put(&mut image, optional + 56, 0x2345);
        put(&mut image, optional + 60, u32::try_from(headers).unwrap());
        put(&mut image, optional + 64, 0xdead_beef);
        let text = optional + 0xf0;
        image[text..text + 5].copy_from_slice(b".text");
        put(&mut image, text + 16, 0x123);
        put(&mut image, text + 20, 0x400);
        image.resize(0x400, 0);
        image.extend([0xc0; 0x123]);
        image
    }

    #[test]
    fn the_loader_finds_what_was_added() {
        assert_eq!((ARGUMENTS, KERNEL), (unified::ARGUMENTS, unified::KERNEL));
        let (arguments, kernel) = (b"a=b".as_slice(), vec![7; 5000]);
        let sections = [(ARGUMENTS, arguments), (KERNEL, kernel.as_slice())];
        let image = with_sections(&application(2), &sections).unwrap();
        // What firmware makes of it, by the headers of the sections.
        let first = 0x98 + 0xf0;
        for (header, name, contents) in [
            (first + 40, ARGUMENTS, arguments),
            (first + 80, KERNEL, kernel.as_slice()),
        ] {
            let word = |at: usize| get(&image, header + at).unwrap();
            let found = section(&image[..0x400], name).unwrap();
            assert_eq!((found.start, found.end), (word(12), word(12) + word(8)));
            assert_eq!(found.len(), contents.len());
            let from = word(20) as usize;
            assert_eq!(image[from..from + contents.len()], *contents);
            assert_eq!(
                (word(12) % 0x1000, word(16) % 0x200, word(20) % 0x200),
                (0, 0, 0)
            );
            assert!(word(16) >= word(8) && from + word(16) as usize <= image.len());
            assert_eq!(word(36), READ_ONLY_DATA);
        }
        let places = [ARGUMENTS, KERNEL].map(|name| section(&image, name).unwrap().start);
        assert_eq!(places, [0x3000, 0x4000], "behind what was there, and apart");
        let word = |at: usize| get(&image, 0x98 + at).unwrap();
        assert_eq!(
            (word(56), word(64)),
            (0x6000, 0),
            "SizeOfImage, no checksum"
        );
        assert_eq!(half(&image, 0x86), Ok(3));
        assert_eq!(image[0x400..0x523], [0xc0; 0x123], "the code is as it was");
    }

    #[test]
    fn what_cannot_be_unified_is_told() {
        let sections = [(ARGUMENTS, b"".as_slice()), (KERNEL, b"k".as_slice())];
        let error = |image: &[u8]| with_sections(image, &sections).unwrap_err();
        assert_eq!(error(&application(1)), UnifyError::NoRoom);
        let mut taken = application(2);
        taken[0x98 + 0xf0 + 3 * SECTION_BYTES - 1] = 1;
        assert_eq!(error(&taken), UnifyError::NoRoom);
        assert_eq!(error(b"MZ"), UnifyError::NotPe);
        let sound = application(2);
        for length in 0..sound.len() {
            with_sections(&sound[..length], &sections).unwrap_err();
        }
        let mut other = sound;
        other[0x98] = 0;
        assert_eq!(error(&other), UnifyError::NotPe);
    }
}
