//! Boot images: the boot driver laid out flat, with the module archive behind it (`docs/040-module-archive.md`).

use std::borrow::Cow;

use capelin_abi::boot::{KERNEL_MAGIC, KernelHeader};
use capelin_archive::{ModuleKind, ModuleSpec, WriteError, Writer};
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::layout::{LayoutError, Program};
use crate::veneers;

/// The arm64 Image header (Linux, Documentation/arch/arm64/booting.rst): where its magic and `image_size` stand.
const IMAGE_MAGIC_AT: std::ops::Range<usize> = 56..60;
const IMAGE_MAGIC: [u8; 4] = *b"ARM\x64";
const IMAGE_SIZE_AT: std::ops::Range<usize> = 16..24;

/// Why an image can't be made of its parts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ImageError {
    /// A program can't be laid out.
    #[error("{0}")]
    Layout(LayoutError),
    /// The CPU driver doesn't start with its header.
    #[error("doesn't start with the CPU driver's header")]
    NoKernelHeader,
    /// The boot driver doesn't start with an arm64 Image header.
    #[error("doesn't start with an arm64 Image header")]
    NoImageHeader,
    /// The archive refuses a module.
    #[error("{0}")]
    Archive(WriteError),
}

/// What `kind` makes of the ELF file (or the file, if it is raw) `file`.
///
/// # Errors
/// If the file isn't what the kind needs.
pub(crate) fn module_data(kind: ModuleKind, file: &[u8]) -> Result<Vec<u8>, ImageError> {
    match kind {
        ModuleKind::Raw => Ok(file.to_vec()),
        ModuleKind::Flat => program(&mended(file)?)?
            .flat_image()
            .map_err(ImageError::Layout),
        ModuleKind::Elf => program(&mended(file)?)?
            .loadable()
            .map_err(ImageError::Layout),
        ModuleKind::Kernel => kernel_image(file),
    }
}

fn mended(file: &[u8]) -> Result<Cow<'_, [u8]>, ImageError> {
    veneers::mended(file).map_err(ImageError::Layout)
}

fn program(file: &[u8]) -> Result<Program<'_>, ImageError> {
    Program::parse(file).map_err(ImageError::Layout)
}

/// The CPU driver's memory, as far as it comes from the file, with its lengths put into its header.
fn kernel_image(file: &[u8]) -> Result<Vec<u8>, ImageError> {
    let (mut image, file_bytes) = program(&mended(file)?)?.memory_image();
    let memory_bytes = image.len() as u64;
    image.truncate(file_bytes);
    let (header, _) =
        KernelHeader::mut_from_prefix(&mut image).map_err(|_| ImageError::NoKernelHeader)?;
    if header.magic != KERNEL_MAGIC {
        return Err(ImageError::NoKernelHeader);
    }
    header.file_bytes = file_bytes as u64;
    header.memory_bytes = memory_bytes;
    Ok(image)
}

/// The archive of `modules`.
///
/// # Errors
/// If a name is malformed or stands twice.
pub(crate) fn archive(modules: Vec<ModuleSpec>) -> Result<Vec<u8>, ImageError> {
    let mut writer = Writer::new();
    for module in modules {
        writer.add(module).map_err(ImageError::Archive)?;
    }
    Ok(writer.finish())
}

/// The boot image: the boot driver (an ELF file) with its memory, then `archive`.
///
/// # Errors
/// If the boot driver doesn't start with an arm64 Image header.
pub(crate) fn boot_image(boot_driver: &[u8], archive: &[u8]) -> Result<Vec<u8>, ImageError> {
    let (mut image, _) = program(&mended(boot_driver)?)?.memory_image();
    if image.get(IMAGE_MAGIC_AT) != Some(&IMAGE_MAGIC) {
        return Err(ImageError::NoImageHeader);
    }
    image.extend_from_slice(archive);
    let length = image.len() as u64;
    image[IMAGE_SIZE_AT].copy_from_slice(length.as_bytes());
    Ok(image)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::layout::tests::{TestSegment, elf_file};
    use capelin_archive::Archive;

    fn one_segment(data: Vec<u8>, memory: u64) -> Vec<u8> {
        let segment = TestSegment {
            address: 0x4020_0000,
            data,
            memory,
            flags: 5,
        };
        elf_file(0x4020_0000, &[segment])
    }

    /// A boot driver of a few instructions: prints `text` on the PL011 of QEMU's `virt` board, then does what `last`
    /// says: powers off by PSCI, or loops.
    pub(crate) fn tiny_guest(text: &str, powers_off: bool) -> Vec<u8> {
        let mut words = vec![
            0x1400_0010_u32, // b 64: over the Image header
            0,
        ];
        words.resize(16, 0);
        words[14] = u32::from_le_bytes(IMAGE_MAGIC);
        let last: [u32; 3] = if powers_off {
            [0x5280_0100, 0x72b0_8000, 0xd400_0002] // mov w0, #8; movk w0, #0x8400, lsl #16; hvc #0
        } else {
            [0xd503_207f, 0x17ff_ffff, 0] // wfi; b -4
        };
        words.extend([
            0xd2a1_2001, // mov x1, #0x9000000
            0x1000_0102, // adr x2, .+32 (the text)
            0x3840_1443, // ldrb w3, [x2], #1
            0x3400_0063, // cbz w3, .+12
            0xb900_0023, // str w3, [x1]
            0x17ff_fffd, // b .-12
        ]);
        words.extend(last);
        let mut data: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        data.extend_from_slice(text.as_bytes());
        data.push(0);
        let memory = data.len() as u64 + 10_000;
        one_segment(data, memory)
    }

    #[test]
    fn the_archive_lies_behind_the_boot_drivers_memory() {
        let modules = vec![ModuleSpec {
            name: "init".to_owned(),
            kind: ModuleKind::Raw,
            uses_fp: false,
            data: b"first program".to_vec(),
        }];
        let archive = archive(modules).unwrap();
        let image = boot_image(&tiny_guest("x", true), &archive).unwrap();
        let found = 12_288; // about 100 bytes of code, 10,000 of zeroed memory, in whole pages
        assert_eq!(&image[found..], archive);
        let parsed = Archive::parse(&image[found..]).unwrap();
        assert_eq!(parsed.find("init").unwrap().data(), b"first program");
        assert_eq!(image[IMAGE_SIZE_AT], (image.len() as u64).to_le_bytes());
    }

    #[test]
    fn a_kernels_lengths_are_put_into_its_header() {
        let mut data = vec![0; 200];
        data[8..16].copy_from_slice(&KERNEL_MAGIC.to_le_bytes());
        let module = module_data(ModuleKind::Kernel, &one_segment(data, 9000)).unwrap();
        assert_eq!(module.len(), 200);
        let (header, _) = KernelHeader::ref_from_prefix(&module).unwrap();
        assert_eq!((header.file_bytes, header.memory_bytes), (200, 12_288));
    }

    #[test]
    fn headers_that_are_missing_are_noticed() {
        let plain = one_segment(vec![0; 200], 200);
        let short = one_segment(vec![0; 20], 20);
        let kernel = |file| module_data(ModuleKind::Kernel, file);
        assert_eq!(kernel(&plain), Err(ImageError::NoKernelHeader));
        assert_eq!(kernel(&short), Err(ImageError::NoKernelHeader));
        assert_eq!(boot_image(&plain, &[]), Err(ImageError::NoImageHeader));
        assert!(boot_image(b"no ELF", &[]).is_err());
    }
}
