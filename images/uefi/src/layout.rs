//! What the loader leaves in memory, in one piece, so that one range is written back.
//!
//! ```text
//! base        way out: a few instructions, in a page of their own
//! + 4 KiB     device tree, up to 2 MiB - 4 KiB
//! + 2 MiB     boot image: as long as its header says
//! ```

use core::fmt;

/// Alignment of an arm64 Image, and of the whole piece.
pub const ALIGNMENT: u64 = 2 << 20;
/// Where the tree is in the piece.
pub const TREE_AT: u64 = 0x1000;
/// The most bytes of the tree.
pub const MOST_TREE_BYTES: u64 = ALIGNMENT - TREE_AT;
/// Where the image is in the piece.
pub const IMAGE_AT: u64 = ALIGNMENT;
/// The most bytes of an image.
pub const MOST_IMAGE_BYTES: u64 = 1 << 30;

/// What is wrong with a boot image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImageError {
    /// It isn't an arm64 Image.
    NoHeader,
    /// It wants a place in memory that the loader doesn't give.
    TextOffset,
    /// The header says how long it is, and the file is shorter.
    Cut {
        /// What it says.
        said: u64,
        /// Bytes in the file.
        file: u64,
    },
    /// The header says how long it is: less than the file, or far too much.
    Size {
        /// What it says.
        said: u64,
        /// Bytes in the file.
        file: u64,
    },
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader => f.write_str("it is no arm64 Image"),
            Self::TextOffset => f.write_str("it wants a text offset, and gets none"),
            Self::Size { said, file } => write!(
                f,
                "its header says {said} bytes, and the file has {file}: it is no boot image of Capelin's"
            ),
            Self::Cut { said, file } => write!(
                f,
                "{file} of the {said} bytes that its header says are there: write the disk anew"
            ),
        }
    }
}

impl core::error::Error for ImageError {}

/// Checks that `file` is a boot image that the loader can enter, which takes as much memory as it has bytes (Linux,
/// `Documentation/arch/arm64/booting.rst`), since the archive is at its end. What other images may leave to the loader,
/// zeroed memory behind the file, ours has in it; so one that is shorter was cut, and is not entered.
///
/// # Errors
///
/// Why the file is no boot image that the loader can enter.
pub fn check_image(file: &[u8]) -> Result<(), ImageError> {
    let word = |at: usize| {
        let bytes = file.get(at..at + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    if file.get(56..60) != Some(b"ARM\x64") {
        return Err(ImageError::NoHeader);
    }
    if word(8) != Some(0) {
        return Err(ImageError::TextOffset);
    }
    let said = word(16).unwrap_or(0);
    let bytes = file.len() as u64;
    if (bytes + 1..=MOST_IMAGE_BYTES).contains(&said) {
        return Err(ImageError::Cut { said, file: bytes });
    }
    if said != bytes || said > MOST_IMAGE_BYTES {
        return Err(ImageError::Size { said, file: bytes });
    }
    Ok(())
}

/// The way out: code that is entered at its first instruction, MMU off, and enters the
/// image at `image` with x0 = `tree`. It needs no memory but its own.
#[must_use]
pub fn way_out(tree: u64, image: u64) -> [u32; 8] {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "both halves of each address"
    )]
    let halves = |address: u64| [address as u32, (address >> 32) as u32];
    let ([t0, t1], [i0, i1]) = (halves(tree), halves(image));
    [
        0x5800_0080, // ldr x0, .+16: the tree
        0x5800_00a4, // ldr x4, .+20: the image
        0xd61f_0080, // br x4
        0xd503_201f, // nop
        t0,
        t1,
        i0,
        i1,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(offset: u64, size: u64) -> Vec<u8> {
        let mut file = vec![0; 100];
        file[8..16].copy_from_slice(&offset.to_le_bytes());
        file[16..24].copy_from_slice(&size.to_le_bytes());
        file[56..60].copy_from_slice(b"ARM\x64");
        file
    }

    #[test]
    fn images_say_what_they_take() {
        assert_eq!(check_image(&image(0, 100)), Ok(()));
        let cut = Err(ImageError::Cut {
            said: 5000,
            file: 100,
        });
        assert_eq!(check_image(&image(0, 5000)), cut);
        let size = |said| Err(ImageError::Size { said, file: 100 });
        assert_eq!(check_image(&image(0, 99)), size(99));
        assert_eq!(check_image(&image(0, 1 << 40)), size(1 << 40));
        assert_eq!(
            check_image(&image(0x8_0000, 100)),
            Err(ImageError::TextOffset)
        );
        assert_eq!(check_image(&image(0, 100)[..59]), Err(ImageError::NoHeader));
        assert_eq!(check_image(b"MZ"), Err(ImageError::NoHeader));
    }

    /// Each load reads the words that hold its address: 19 bits of words from bit 5 on
    /// (Arm ARM C6.2, LDR (literal)).
    #[test]
    fn the_way_out_loads_its_own_words() {
        let words = way_out(0x1_2345_6000, 0x4_0020_0000);
        for (index, register, address) in [(0, 0, 0x1_2345_6000_u64), (1, 4, 0x4_0020_0000)] {
            let instruction = words[index];
            assert_eq!(instruction >> 24, 0x58);
            assert_eq!(instruction & 0x1f, register);
            let at = index + (instruction >> 5 & 0x7_ffff) as usize;
            assert_eq!(at % 2, 0, "eight bytes are loaded");
            let loaded = u64::from(words[at]) | u64::from(words[at + 1]) << 32;
            assert_eq!(loaded, address);
        }
        assert_eq!(words[2], 0xd61f_0000 | 4 << 5, "br x4");
    }
}
