//! Files on a card or disk (`docs/088-files.md`).

use alloc::{string::String, vec::Vec};

use capelin_idc::interface;

crate::service_error! {
    /// Why a file wasn't read or changed.
    FileError {
        /// There is no card in the slot.
        NoMedium = "there is no card",
        /// The card couldn't be read or written there.
        Medium = "the card cannot be read or written",
        /// It has no file system that is known, or one that contradicts itself.
        NoFileSystem = "the card has no file system that can be used",
        /// There is no such file or folder.
        NotFound = "no such file or folder",
        /// There is something of that name already.
        Exists = "there is something of that name already",
        /// A folder stands where a file should.
        IsFolder = "that is a folder",
        /// A file stands where a folder should.
        NotFolder = "that is no folder",
        /// The folder isn't empty.
        NotEmpty = "the folder is not empty",
        /// New names have eight letters and three behind a dot, and no special ones.
        BadName = "new names have eight letters, a dot and three more at most",
        /// Nothing more fits.
        Full = "the card is full",
        /// The file is read-only.
        ReadOnly = "the file is read-only",
        /// A file can't be longer than 4 GiB.
        TooLong = "the file gets too long",
    }
}

/// What is in a folder.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Entry {
    /// Its name, the long one if it has one.
    pub name: String,
    /// Bytes; 0 for a folder.
    pub bytes: u32,
    /// Whether it is a folder.
    pub is_folder: bool,
}

/// Room on the card, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Space {
    /// For files altogether.
    pub total: u64,
    /// Not used.
    pub free: u64,
}

/// How a file is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum WriteMode {
    /// It is made, or what it holds goes.
    Replace,
    /// It is made, or what it holds stays in front.
    Append,
}

/// Files by path: names separated by `/`, from the top folder on.
#[interface(name = "files", version = 1)]
pub trait Files {
    /// At most `limit` entries of a folder (32 KiB at most), from number `first` on; none at its end.
    async fn list(&self, path: &str, first: u32, limit: u32) -> Result<Vec<Entry>, FileError>;

    /// What stands at `path`.
    async fn look_up(&self, path: &str) -> Result<Entry, FileError>;

    /// At most `limit` bytes of a file (32 KiB at most), from `offset` on; empty at its end.
    async fn read(&self, path: &str, offset: u32, limit: u32) -> Result<Vec<u8>, FileError>;

    /// Writes to a file. If that fails half-way, a file that was made for it goes again.
    async fn write(&self, path: &str, bytes: &[u8], mode: WriteMode) -> Result<(), FileError>;

    /// Copies a file; what `to` held goes. If that fails half-way, `to` goes again.
    async fn copy(&self, from: &str, to: &str) -> Result<(), FileError>;

    /// Removes a file, or a folder that is empty.
    async fn remove(&self, path: &str) -> Result<(), FileError>;

    /// Makes a folder.
    async fn make_folder(&self, path: &str) -> Result<(), FileError>;

    /// How much room there is.
    async fn space(&self) -> Result<Space, FileError>;
}
