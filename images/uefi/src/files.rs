//! Files of the volume that the loader came from.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use uefi::proto::media::file::{File, FileAttribute, FileInfo, FileMode, RegularFile};
use uefi::{CString16, Status, boot};

/// A file that can't be read.
#[derive(Debug)]
pub(crate) enum FileError {
    /// Firmware doesn't tell which volume the loader came from: it was not read from a disk.
    NoVolume(uefi::Error),
    /// The path has characters that UEFI's names can't have.
    Name,
    /// It is a folder.
    Folder,
    /// Firmware can't open or read it.
    Read(uefi::Error),
    /// Firmware has read less than there should be.
    Short,
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
            Self::Folder => f.write_str("it is a folder"),
            Self::Read(error) if error.status() == Status::NOT_FOUND => f.write_str(
                "no such file on the volume that the loader came from: write the disk anew",
            ),
            Self::Read(error) => write!(f, "{error}: write the disk anew"),
            Self::Short => f.write_str("the disk ended before the file: write the disk anew"),
        }
    }
}

/// A file that can be read.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: RegularFile,
    bytes: u64,
}

impl OpenFile {
    /// The file at `path`.
    pub(crate) fn open(path: &str) -> Result<Self, FileError> {
        let volume = boot::get_image_file_system(boot::image_handle());
        let mut volume = volume.map_err(FileError::NoVolume)?;
        let path = CString16::try_from(path).map_err(|_| FileError::Name)?;
        let mut root = volume.open_volume().map_err(FileError::Read)?;
        let opened = root.open(&path, FileMode::Read, FileAttribute::empty());
        let opened = opened.map_err(FileError::Read)?;
        let mut file = opened.into_regular_file().ok_or(FileError::Folder)?;
        let info = file.get_boxed_info::<FileInfo>().map_err(FileError::Read)?;
        Ok(Self {
            file,
            bytes: info.file_size(),
        })
    }

    /// How long it is.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Fills `target` with its first bytes.
    pub(crate) fn read(mut self, target: &mut [u8]) -> Result<(), FileError> {
        let read = self.file.read(target);
        let read = read.map_err(|error| FileError::Read(error.to_err_without_payload()))?;
        if read < target.len() {
            return Err(FileError::Short);
        }
        Ok(())
    }
}

/// The bytes of the file at `path`, at most `most`.
pub(crate) fn read(path: &str, most: usize) -> Result<Vec<u8>, FileError> {
    let file = OpenFile::open(path)?;
    let bytes = usize::try_from(file.bytes()).unwrap_or(usize::MAX);
    let mut contents = vec![0; bytes.min(most)];
    file.read(&mut contents)?;
    Ok(contents)
}
