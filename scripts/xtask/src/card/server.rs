//! The files on a server's disk, and the disk.

use std::fs;
use std::path::{Path, PathBuf};

use capelin_platform::Disk;

use super::disk::Files;
use super::gpt;
use crate::build::{Image, Profile};
use crate::error::{Error, Result};

/// The files: loader, boot image, configuration with `arguments` as the command line.
///
/// # Errors
/// If one can't be read.
pub(crate) fn files(recipe: &Disk, kernel: &Path, loader: &Path, arguments: &str) -> Result<Files> {
    let read = |path: &Path| fs::read(path).map_err(|error| Error::File(path.to_owned(), error));
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

/// Writes a disk with `files` to `path`.
///
/// # Errors
/// If they don't fit, or the file can't be written.
pub(crate) fn write(path: &Path, recipe: &Disk, files: &Files) -> Result<()> {
    let image = gpt::write(recipe.bytes, files)
        .map_err(|error| Error::Malformed(path.to_owned(), error.to_string()))?;
    fs::write(path, image).map_err(|error| Error::File(path.to_owned(), error))
}

/// Builds the disk of `recipe` for the image manifest `manifest`; its path.
///
/// # Errors
/// If anything doesn't build or fit.
pub(crate) fn image(name: &str, manifest: &str, recipe: &Disk) -> Result<PathBuf> {
    let kernel = Image::new(manifest, None, Profile::Release)?;
    kernel.build()?;
    let loader = kernel.loader()?;
    let path = kernel.path().with_file_name(format!("capelin-{name}.img"));
    write(&path, recipe, &files(recipe, &kernel.path(), &loader, "")?)?;
    Ok(path)
}
