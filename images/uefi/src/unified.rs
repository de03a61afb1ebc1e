//! The loader with all that it boots in its own file, as firmware that loads by network wants it: a unified kernel image
//! (UAPI.5).
//!
//! Its sections `.linux` and `.cmdline` are the boot image and the command line. Firmware loads them with the
//! loader, and its headers too, from which they are found (PE format, 3 and 4).

use core::ops::Range;

/// The section of the boot image.
pub const KERNEL: &[u8; 8] = b".linux\0\0";
/// The section of the command line, in UTF-8.
pub const ARGUMENTS: &[u8; 8] = b".cmdline";

/// Bytes of a section's header.
const SECTION_BYTES: usize = 40;

/// Where the section `name` is, in bytes from the image's start, in an image whose first bytes are `headers`; none if
/// it has no such section, or `headers` are none.
#[must_use]
pub fn section(headers: &[u8], name: &[u8; 8]) -> Option<Range<u32>> {
    let bytes = |at: usize, count: usize| headers.get(at..at.checked_add(count)?);
    let word = |at| Some(u32::from_le_bytes(bytes(at, 4)?.try_into().ok()?));
    let half = |at| {
        Some(usize::from(u16::from_le_bytes(
            bytes(at, 2)?.try_into().ok()?,
        )))
    };
    let signature = usize::try_from(word(0x3c)?).ok()?;
    if bytes(0, 2)? != b"MZ" || bytes(signature, 4)? != b"PE\0\0" {
        return None;
    }
    let (count, optional_bytes) = (half(signature + 6)?, half(signature + 20)?);
    let first = signature + 24 + optional_bytes;
    let mut sections = (0..count).map(|index| first + index * SECTION_BYTES);
    let found = sections.find(|&at| bytes(at, 8) == Some(name))?;
    let (length, start) = (word(found + 8)?, word(found + 12)?);
    Some(start..start.checked_add(length)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers with two sections, the second of which has this place.
    fn headers(start: u32, length: u32) -> Vec<u8> {
        let mut headers = vec![0; 0x200];
        headers[..2].copy_from_slice(b"MZ");
        headers[0x3c] = 0x80;
        headers[0x80..0x84].copy_from_slice(b"PE\0\0");
        headers[0x86] = 2;
        headers[0x94] = 0x70;
        let first = 0x80 + 24 + 0x70;
        headers[first..first + 5].copy_from_slice(b".text");
        let second = first + SECTION_BYTES;
        headers[second..second + 8].copy_from_slice(KERNEL);
        headers[second + 8..second + 12].copy_from_slice(&length.to_le_bytes());
        headers[second + 12..second + 16].copy_from_slice(&start.to_le_bytes());
        headers
    }

    #[test]
    fn sections_are_found_by_name() {
        let headers = headers(0x3000, 0x123);
        assert_eq!(section(&headers, KERNEL), Some(0x3000..0x3123));
        assert_eq!(section(&headers, ARGUMENTS), None);
        // Nor behind the last one.
        let mut fewer = headers.clone();
        fewer[0x86] = 1;
        assert_eq!(section(&fewer, KERNEL), None);
    }

    #[test]
    fn headers_that_are_none_have_no_sections() {
        let sound = headers(0x3000, 0x123);
        for length in 0..sound.len() {
            // Cut anywhere: found whole, or not.
            let found = section(&sound[..length], KERNEL);
            assert!(matches!(
                found,
                None | Some(Range {
                    start: 0x3000,
                    end: 0x3123
                })
            ));
        }
        assert_eq!(section(&headers(u32::MAX, 2), KERNEL), None);
        for at in [0, 0x80] {
            let mut headers = sound.clone();
            headers[at] = 0;
            assert_eq!(section(&headers, KERNEL), None);
        }
        let mut far = sound;
        far[0x3c..0x40].fill(0xff);
        assert_eq!(section(&far, KERNEL), None);
    }
}
