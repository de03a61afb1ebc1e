//! What a server boots from: a disk, an ISO image, or a file that firmware loads by network.
//!
//! Disk and ISO image hold the same files. Over a network there is one: the loader with all that it boots, which any
//! firmware can load that boots by network, by whatever protocol.

use std::fs;
use std::path::{Path, PathBuf};

use capelin_platform::{Disk, Platform};

use super::disk::Files;
use super::{gpt, iso, unified};
use crate::build::{Image, Profile};
use crate::error::{Error, Result};

/// The files: loader, boot image, configuration with `arguments` as the command line.
///
/// # Errors
/// If one can't be read.
pub(crate) fn files(recipe: &Disk, kernel: &Path, loader: &Path, arguments: &str) -> Result<Files> {
    one_line(arguments)?;
    let configuration = format!(
        "# Capelin's UEFI loader reads this (docs/125-uefi.md).\n\
         kernel = \\{}\n\
         arguments = {arguments}\n",
        recipe.kernel.replace('/', "\\")
    );
    Ok(Files::from([
        (recipe.loader.to_owned(), read(loader)?),
        (recipe.kernel.to_owned(), read(kernel)?),
        (recipe.configuration.to_owned(), configuration.into_bytes()),
    ]))
}

/// The one file for network boot: loader, boot image, and `arguments` as the command line.
///
/// # Errors
/// If a part can't be read, or it doesn't fit.
pub(crate) fn network_file(kernel: &Path, loader: &Path, arguments: &str) -> Result<Vec<u8>> {
    one_line(arguments)?;
    let image = read(kernel)?;
    let sections = [
        (unified::ARGUMENTS, arguments.as_bytes()),
        (unified::KERNEL, &*image),
    ];
    unified::with_sections(&read(loader)?, &sections)
        .map_err(|error| Error::Malformed(loader.to_owned(), error.to_string()))
}

/// Refuses arguments of several lines.
///
/// # Errors
/// If they are.
pub(crate) fn one_line(arguments: &str) -> Result<()> {
    if arguments.contains(['\n', '\r']) {
        return Err(Error::Usage("--append has more than one line".to_owned()));
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Error::File(path.to_owned(), error))
}

/// Writes a disk with `files` to `path`.
///
/// # Errors
/// If they don't fit, or the file can't be written.
pub(crate) fn write(path: &Path, recipe: &Disk, files: &Files) -> Result<()> {
    let image = gpt::write(recipe.bytes, files)
        .map_err(|error| Error::Malformed(path.to_owned(), error.to_string()))?;
    fs::write(path, image).map_err(|error| Error::File(path.to_owned(), error))
}

/// Writes an ISO image with `files` to `path`.
///
/// # Errors
/// If the file can't be written.
pub(crate) fn write_iso(path: &Path, files: &Files) -> Result<()> {
    let image =
        iso::write(files).map_err(|error| Error::Malformed(path.to_owned(), error.to_string()))?;
    fs::write(path, image).map_err(|error| Error::File(path.to_owned(), error))
}

/// Writes the folder that a TFTP or HTTP server serves to `path`.
///
/// # Errors
/// If it can't be written.
pub(crate) fn write_folder(path: &Path, recipe: &Disk, file: &[u8]) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| Error::File(path.to_owned(), error))?;
    let path = path.join(recipe.network_file);
    fs::write(&path, file).map_err(|error| Error::File(path, error))
}

/// Builds what `platform` boots from, with `arguments` as the command line; the paths of disk, ISO image and folder.
///
/// # Errors
/// If anything doesn't build or fit.
pub(crate) fn image(platform: &Platform, recipe: &Disk, arguments: &str) -> Result<[PathBuf; 3]> {
    let image = Image::new(platform.image, None, Profile::Release)?;
    image.build()?;
    let (kernel, loader) = (image.path(), image.loader()?);
    let files = files(recipe, &kernel, &loader, arguments)?;
    let disk = kernel.with_file_name(format!("capelin-{}.img", platform.name));
    write(&disk, recipe, &files)?;
    let iso = disk.with_extension("iso");
    write_iso(&iso, &files)?;
    let folder = kernel.with_file_name(platform.name);
    write_folder(&folder, recipe, &network_file(&kernel, &loader, arguments)?)?;
    Ok([disk, iso, folder])
}
