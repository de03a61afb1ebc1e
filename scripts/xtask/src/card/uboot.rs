//! The files by which U-Boot starts Capelin, and a disk with them.
//!
//! ```text
//! boot image ─┬─▶ Image            or Image.gz ─┬─▶ booti
//!             └─▶ capelin.archive  as initrd   ─┘
//!                 both in capelin.itb (a FIT) ────▶ bootm
//!                 boot.scr: which of these, and with which device tree
//! ```
//! U-Boot puts an arm64 Image where its header wants it, decompressed or not, and says in
//! the tree where the initrd lies (U-Boot, doc/usage/cmd/booti.rst; the FIT format: Flattened
//! Image Tree Specification 1.0).

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use capelin_platform::Volume;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::disk::{self, Files};
use super::gpt::crc32;
use crate::build::{Image, Profile};
use crate::error::{Error, Result};
use capelin_tree::Tree;

/// In what form the kernel and the archive are on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// An arm64 Image and an initrd.
    #[default]
    Plain,
    /// The same, with the Image compressed.
    Gzip,
    /// One file that holds both, each with a checksum.
    Fit,
}

/// Where `image_size` stands in an arm64 Image's header (Linux,
/// Documentation/arch/arm64/booting.rst).
const IMAGE_SIZE_AT: std::ops::Range<usize> = 16..24;
/// What the script is called where U-Boot looks for one.
const SCRIPT: &str = "boot.scr";

/// The files of `form`, made of the boot image `kernel` and the archive beside it;
/// `arguments` is the command line.
///
/// # Errors
/// If one can't be read, or the image doesn't end with the archive.
pub(crate) fn files(recipe: &Volume, kernel: &Path, form: Form, arguments: &str) -> Result<Files> {
    if arguments.contains('\'') {
        let what = "U-Boot's script can't hold a quote in kernel arguments";
        return Err(Error::Usage(what.to_owned()));
    }
    let read = |path: &Path| fs::read(path).map_err(|error| Error::File(path.to_owned(), error));
    let (image, archive) = (read(kernel)?, read(&kernel.with_extension("archive"))?);
    let Some(image) = image.strip_suffix(&*archive) else {
        let what = "doesn't end with its archive".to_owned();
        return Err(Error::Malformed(kernel.to_owned(), what));
    };
    let mut image = image.to_vec();
    let length = image.len() as u64;
    let size = image
        .get_mut(IMAGE_SIZE_AT)
        .ok_or_else(|| Error::Malformed(kernel.to_owned(), "is no arm64 Image".to_owned()))?;
    size.copy_from_slice(&length.to_le_bytes());
    let mut files = match form {
        Form::Plain => Files::from([(recipe.kernel.to_owned(), image)]),
        Form::Gzip => {
            let packed =
                compressed(&image).map_err(|error| Error::File(kernel.to_owned(), error))?;
            Files::from([(format!("{}.gz", recipe.kernel), packed)])
        }
        Form::Fit => Files::from([(recipe.fit.to_owned(), fit(image, archive.clone()))]),
    };
    if form != Form::Fit {
        files.insert(recipe.archive.to_owned(), archive);
    }
    let text = script(recipe, form, arguments);
    files.insert(SCRIPT.to_owned(), script_image(&text));
    Ok(files)
}

/// Writes a disk with `files` to `path`.
///
/// # Errors
/// If they don't fit, or the file can't be written.
pub(crate) fn write(path: &Path, recipe: &Volume, files: &Files) -> Result<()> {
    let image = disk::write_one(recipe.bytes, files)
        .map_err(|error| Error::Malformed(path.to_owned(), error.to_string()))?;
    fs::write(path, image).map_err(|error| Error::File(path.to_owned(), error))
}

/// Builds the disk of `recipe` for the image manifest `manifest`, and beside it a folder with
/// all files in all forms, for other ways to load them; the paths of both.
///
/// # Errors
/// If anything doesn't build or fit.
pub(crate) fn image(name: &str, manifest: &str, recipe: &Volume) -> Result<[PathBuf; 2]> {
    let kernel = Image::new(manifest, None, Profile::Release)?;
    kernel.build()?;
    let kernel = kernel.path();
    let folder = kernel.with_file_name(name);
    fs::create_dir_all(&folder).map_err(|error| Error::File(folder.clone(), error))?;
    for form in [Form::Gzip, Form::Fit, Form::Plain] {
        // The plain form's script is the last.
        for (file, contents) in files(recipe, &kernel, form, "")? {
            let path = folder.join(file);
            fs::write(&path, contents).map_err(|error| Error::File(path, error))?;
        }
    }
    let path = kernel.with_file_name(format!("capelin-{name}.img"));
    write(&path, recipe, &files(recipe, &kernel, Form::Plain, "")?)?;
    Ok([path, folder])
}

/// What U-Boot is told to do, for hush, its shell, which takes numbers as hexadecimal.
///
/// * `booti` refuses to unpack more than ten times `kernel_comp_size`, which otherwise is any
///   number that isn't less than the packed size: ours is mostly zeros.
/// * `bootm` puts the kernel at the start of memory, where the tree may be: it is moved away.
fn script(recipe: &Volume, form: Form, arguments: &str) -> String {
    let Volume {
        kernel,
        archive,
        fit,
        ..
    } = recipe;
    let load = "load ${devtype} ${devnum}:${distro_bootpart}";
    let start = match form {
        Form::Plain => format!(
            "{load} ${{kernel_addr_r}} {kernel}\n\
             {load} ${{ramdisk_addr_r}} {archive}\n\
             booti ${{kernel_addr_r}} ${{ramdisk_addr_r}}:${{filesize}} ${{capelin_fdt}}\n"
        ),
        Form::Gzip => format!(
            "{load} ${{kernel_addr_r}} {kernel}.gz\n\
             setenv kernel_comp_size 1000000\n\
             setexpr kernel_comp_addr_r ${{kernel_addr_r}} + 1000000\n\
             {load} ${{ramdisk_addr_r}} {archive}\n\
             booti ${{kernel_addr_r}} ${{ramdisk_addr_r}}:${{filesize}} ${{capelin_fdt}}\n"
        ),
        Form::Fit => format!(
            "{load} ${{ramdisk_addr_r}} {fit}\n\
             setexpr capelin_moved ${{kernel_addr_r}} + 1000000\n\
             fdt addr ${{capelin_fdt}}\n\
             fdt move ${{capelin_fdt}} ${{capelin_moved}} 200000\n\
             bootm ${{ramdisk_addr_r}}#capelin ${{ramdisk_addr_r}}#capelin ${{capelin_moved}}\n"
        ),
    };
    format!(
        "setenv bootargs '{arguments}'\n\
         setenv capelin_fdt ${{fdtcontroladdr}}\n\
         if test -n \"${{fdt_addr}}\"; then setenv capelin_fdt ${{fdt_addr}}; fi\n\
         if test -n \"${{fdtfile}}\"; then\n\
           if {load} ${{fdt_addr_r}} dtb/${{fdtfile}}; then setenv capelin_fdt ${{fdt_addr_r}}; fi\n\
         fi\n\
         {start}"
    )
}

/// `text` as `source` reads it: a legacy image of a script (U-Boot, include/image.h: all
/// numbers big-endian), whose data is the length of each part, 0, and the parts.
fn script_image(text: &str) -> Vec<u8> {
    const MAGIC: u32 = 0x2705_1956;
    const LINUX: u8 = 5;
    const ARM64: u8 = 22;
    const SCRIPT: u8 = 6;
    const NOT_COMPRESSED: u8 = 0;
    let mut data = u32::try_from(text.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes()
        .to_vec();
    data.extend([0; 4]);
    data.extend(text.as_bytes());
    let mut image = vec![0; 64];
    let mut put = |at: usize, value: u32| image[at..at + 4].copy_from_slice(&value.to_be_bytes());
    put(0, MAGIC);
    put(12, u32::try_from(data.len()).unwrap_or(u32::MAX));
    put(24, crc32(&data));
    image[28..32].copy_from_slice(&[LINUX, ARM64, SCRIPT, NOT_COMPRESSED]);
    image[32..39].copy_from_slice(b"Capelin");
    // Of the header, with 0 in its own place.
    let checksum = crc32(&image).to_be_bytes();
    image[4..8].copy_from_slice(&checksum);
    image.extend(data);
    image
}

/// `image` and `archive` in one file. `kernel_noload`: U-Boot puts the Image where its header
/// wants it, so that no address of a board is written down here.
fn fit(image: Vec<u8>, archive: Vec<u8>) -> Vec<u8> {
    let mut tree = Tree::default();
    tree.root.set_cells("#address-cells", &[1]);
    tree.root.set_cells("timestamp", &[0]);
    tree.root.set_text("description", "Capelin");
    let images = tree.root.ensure_child("images");
    for (name, kind, data) in [
        ("kernel", "kernel_noload", image),
        ("ramdisk", "ramdisk", archive),
    ] {
        let node = images.ensure_child(name);
        node.set_text("description", name);
        node.set_text("type", kind);
        node.set_text("arch", "arm64");
        node.set_text("os", "linux");
        node.set_text("compression", "none");
        if kind == "kernel_noload" {
            node.set_cells("load", &[0]);
            node.set_cells("entry", &[0]);
        }
        let hash = node.ensure_child("hash-1");
        hash.set_text("algo", "crc32");
        hash.set_cells("value", &[crc32(&data)]);
        node.set("data", data);
    }
    let configurations = tree.root.ensure_child("configurations");
    configurations.set_text("default", "capelin");
    let only = configurations.ensure_child("capelin");
    only.set_text("description", "Capelin");
    only.set_text("kernel", "kernel");
    only.set_text("ramdisk", "ramdisk");
    tree.to_bytes()
}

/// `bytes` in gzip's format, the same for the same bytes: without a time.
fn compressed(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    const RECIPE: Volume = Volume {
        bytes: 34 << 20,
        kernel: "Image",
        archive: "capelin.archive",
        fit: "capelin.itb",
    };
    const ARCHIVE: &[u8] = b"CAPMODAR and more";

    /// A boot image of zeros, with the archive behind and beside it.
    fn boot_image(name: &str) -> PathBuf {
        let name = format!("capelin-uboot-{name}-{}.img", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut image = vec![0; 4096];
        image[60] = 7;
        image.extend(ARCHIVE);
        fs::write(&path, image).unwrap();
        fs::write(path.with_extension("archive"), ARCHIVE).unwrap();
        path
    }

    fn made(name: &str, form: Form) -> Files {
        let path = boot_image(name);
        let made = files(&RECIPE, &path, form, "a=1 b").unwrap();
        fs::remove_file(path.with_extension("archive")).unwrap();
        fs::remove_file(path).unwrap();
        made
    }

    fn kernel() -> Vec<u8> {
        let mut image = vec![0; 4096];
        image[60] = 7;
        image[IMAGE_SIZE_AT].copy_from_slice(&4096_u64.to_le_bytes());
        image
    }

    #[test]
    fn an_image_and_an_initrd_whole_or_packed() {
        let plain = made("plain", Form::Plain);
        let names: Vec<_> = plain.keys().map(String::as_str).collect();
        assert_eq!(names, ["Image", "boot.scr", "capelin.archive"]);
        assert_eq!(plain["Image"], kernel());
        assert_eq!(plain["capelin.archive"], ARCHIVE);
        let gzip = made("gzip", Form::Gzip);
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&*gzip["Image.gz"])
            .read_to_end(&mut unpacked)
            .unwrap();
        assert_eq!(unpacked, kernel());
        assert_eq!(gzip["capelin.archive"], ARCHIVE);
        assert_eq!(gzip, made("again", Form::Gzip), "the same bytes");
    }

    #[test]
    fn a_fit_holds_both_with_their_checksums() {
        let files = made("fit", Form::Fit);
        assert!(!files.contains_key("capelin.archive"));
        let mut tree = Tree::parse(&files["capelin.itb"]).unwrap();
        let parts = [
            ("/images/kernel", "kernel_noload", kernel()),
            ("/images/ramdisk", "ramdisk", ARCHIVE.to_vec()),
        ];
        for (path, kind, data) in parts {
            let node = tree.root.at(path).unwrap();
            assert_eq!(node.text("type"), Some(kind));
            assert_eq!(node.property("data"), Some(&*data));
            let hash = node.child("hash-1").unwrap();
            let checksum = crc32(&data).to_be_bytes();
            assert_eq!(hash.property("value"), Some(&checksum[..]));
        }
        let only = tree.root.at("/configurations/capelin").unwrap();
        assert_eq!(only.text("ramdisk"), Some("ramdisk"));
    }

    /// As `source` checks it.
    #[test]
    fn the_script_is_an_image_with_two_checksums() {
        let files = made("script", Form::Plain);
        let image = &files["boot.scr"];
        let word = |at: usize| u32::from_be_bytes(image[at..at + 4].try_into().unwrap());
        let (mut header, data) = (image[..64].to_vec(), &image[64..]);
        header[4..8].fill(0);
        assert_eq!((word(0), word(4)), (0x2705_1956, crc32(&header)));
        assert_eq!(word(12) as usize, data.len());
        assert_eq!(word(24), crc32(data));
        assert_eq!(&image[28..32], [5, 22, 6, 0]);
        assert_eq!(word(64) as usize, data.len() - 8);
        assert_eq!(word(68), 0);
        let text = std::str::from_utf8(&data[8..]).unwrap();
        assert!(text.starts_with("setenv bootargs 'a=1 b'\n"), "{text}");
    }

    #[test]
    fn what_cannot_be_put_on_a_disk_is_refused() {
        let path = boot_image("refused");
        let quoted = files(&RECIPE, &path, Form::Plain, "it's");
        assert!(matches!(quoted, Err(Error::Usage(_))));
        fs::write(path.with_extension("archive"), b"another").unwrap();
        let other = files(&RECIPE, &path, Form::Plain, "");
        assert!(matches!(other, Err(Error::Malformed(..))));
        fs::remove_file(path.with_extension("archive")).unwrap();
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn the_disk_has_one_partition_to_boot_from() {
        let files = made("disk", Form::Plain);
        let mut disk = disk::write_one(RECIPE.bytes, &files).unwrap();
        assert_eq!(disk[446], 0x80);
        assert!(disk[462..510].iter().all(|&byte| byte == 0));
        assert_eq!(disk::read(&mut disk).unwrap(), files);
    }
}
