//! Files of the volume that the loader came from.

use alloc::vec::Vec;
use core::fmt;

use uefi::fs::FileSystem;
use uefi::{CString16, Status, boot};

/// A file that can't be read.
#[derive(Debug)]
pub(crate) enum FileError {
    /// Firmware doesn't tell which volume the loader came from: it was not read from a disk.
    NoVolume(uefi::Error),
    /// The path has characters that UEFI's names can't have.
    Name,
    /// Firmware can't read it.
    Read(uefi::fs::Error),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVolume(error) => write!(
                f,
                "the loader was not read from a disk ({error}): over a network, boot the file \
                 that holds everything, from the folder that `cargo xtask image` writes"
            ),
            Self::Name => f.write_str("no file can be called so"),
            Self::Read(uefi::fs::Error::Io(error))
                if error.uefi_error.status() == Status::NOT_FOUND =>
            {
                f.write_str(
                    "no such file on the volume that the loader came from: write the disk anew",
                )
            }
            Self::Read(error) => write!(f, "{error}: write the disk anew"),
        }
    }
}

/// The bytes of the file at `path`.
pub(crate) fn read(path: &str) -> Result<Vec<u8>, FileError> {
    let volume = boot::get_image_file_system(boot::image_handle()).map_err(FileError::NoVolume)?;
    let path = CString16::try_from(path).map_err(|_| FileError::Name)?;
    let mut files = FileSystem::new(volume);
    files.read(path.as_ref()).map_err(FileError::Read)
}
