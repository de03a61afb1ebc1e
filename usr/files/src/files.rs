//! Operations on files, by path.
//!
//! Each operation reads the partition table and the boot sector anew and leaves nothing open: a card
//! that was pulled or changed in between is found out, and nothing of another card is mixed with it.
//! What an operation that fails has made for itself, it removes again.
//!
//! The crate `embedded-sdmmc` (0.10) doesn't free the clusters of what it deletes, reports a fault of
//! the device while it looks for a free cluster as a full disk, fails when it takes the last free
//! cluster, and takes one behind the volume's end if the hint that FAT32 keeps lies above all that
//! are free. So clusters are freed here, faults are noted where they occur (`Window`), two clusters
//! stay free, the hint isn't shown to it, and it reaches nothing outside of the volume.
//!
//! Nor does it look whether a chain of clusters has an end, and panics at numbers that no cluster
//! has. So each chain is followed here ([`Table::follow`]) before the crate gets to see it.

use alloc::{
    string::{String, ToString},
    vec,
    vec::Vec,
};
use core::{
    cell::Cell,
    fmt,
    ops::{ControlFlow, Range},
};

use capelin_interfaces::files::{Entry, FileError, Space, WriteMode};
use embedded_sdmmc::{
    Block, BlockCount, BlockDevice, BlockIdx, DirEntry, Directory, Error, LfnBuffer, Mode,
    RawVolume, TimeSource, Timestamp, VolumeIdx, VolumeManager,
};

use crate::fat::{FatError, Table, partition};

/// Bytes that one read gives at most.
pub const MOST_BYTES: u32 = 32 << 10;
/// Bytes that the entries of one list take at most.
const MOST_LISTED_BYTES: usize = 32 << 10;
/// In the sector with FAT32's hints: the number of free clusters, and where to look for one; all
/// ones for not known (FAT specification, section 5).
const HINTS: Range<usize> = 488..496;
/// Clusters that stay free: a folder may grow by one for a new name, and the last can't be taken.
const SPARE: u64 = 2;
/// Bytes copied at a time.
const CHUNK_BYTES: usize = 16 << 10;
/// Bytes of an entry besides its name, in an answer.
const ENTRY_BYTES: usize = 16;
/// Bytes of the longest name.
const NAME_BYTES: usize = 780;

/// A block device whose errors tell whether the medium is gone.
pub trait Medium: BlockDevice {
    /// Whether that means that there is no medium.
    fn is_gone(error: &Self::Error) -> bool;
}

/// Files on a medium.
#[derive(Debug)]
pub struct Files<D> {
    device: D,
    /// What went wrong with the device during this operation.
    fault: Cell<Option<FileError>>,
}

/// No clock tells the date: FAT's first day.
#[derive(Clone, Copy, Debug)]
struct Undated;

impl TimeSource for Undated {
    fn get_timestamp(&self) -> Timestamp {
        Timestamp::from_fat(1 << 5 | 1, 0)
    }
}

/// The device failed, which has been noted, or was asked for what isn't the volume's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the device failed")
    }
}

impl core::error::Error for Failed {}

/// What the file system reaches of the device: the partition table and its volume.
struct Window<'a, D> {
    files: &'a Files<D>,
    start: u32,
    blocks: u32,
    /// The sector with FAT32's hints.
    info: Option<u32>,
}

// Not derived: `D` needn't be copied.
impl<D> Clone for Window<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D> Copy for Window<'_, D> {}

impl<D: Medium> Window<'_, D> {
    fn note<T>(&self, result: Result<T, D::Error>) -> Result<T, Failed> {
        result.map_err(|error| {
            self.files.fault.set(Some(if D::is_gone(&error) {
                FileError::NoMedium
            } else {
                FileError::Medium
            }));
            Failed
        })
    }

    fn contains(&self, start: BlockIdx, count: usize) -> bool {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let offset = start.0.checked_sub(self.start);
        offset.is_some_and(|at| at < self.blocks && self.blocks - at >= count)
    }
}

impl<D: Medium> BlockDevice for Window<'_, D> {
    type Error = Failed;

    fn read(&self, blocks: &mut [Block], start: BlockIdx) -> Result<(), Failed> {
        let is_table = start.0 == 0 && blocks.len() == 1;
        if !is_table && !self.contains(start, blocks.len()) {
            return Err(Failed);
        }
        self.note(self.files.device.read(blocks, start))?;
        if self.info == Some(start.0)
            && let Some(block) = blocks.first_mut()
        {
            block[HINTS].fill(0xff);
        }
        Ok(())
    }

    fn write(&self, blocks: &[Block], start: BlockIdx) -> Result<(), Failed> {
        if !self.contains(start, blocks.len()) {
            return Err(Failed);
        }
        if self.info == Some(start.0)
            && let [block] = blocks
        {
            // Not told either: it doesn't count what is freed here.
            let mut unknown = [block.clone()];
            unknown[0][HINTS].fill(0xff);
            return self.note(self.files.device.write(&unknown, start));
        }
        self.note(self.files.device.write(blocks, start))
    }

    fn num_blocks(&self) -> Result<BlockCount, Failed> {
        self.note(self.files.device.num_blocks())
    }
}

type Manager<'a, D> = VolumeManager<Window<'a, D>, Undated, 4, 2, 1>;
type Folder<'v, 'a, D> = Directory<'v, Window<'a, D>, Undated, 4, 2, 1>;

/// A file system that is open.
struct Mounted<'a, D: Medium> {
    manager: Manager<'a, D>,
    volume: RawVolume,
    table: Table,
    device: Window<'a, D>,
}

/// The folder of a path, and the name in it; `None` for the top folder itself.
fn split(path: &str) -> (Vec<&str>, Option<&str>) {
    let names = path
        .split('/')
        .filter(|name| !name.is_empty() && *name != ".");
    let mut names: Vec<_> = names.collect();
    let last = names.pop();
    (names, last)
}

fn from_fat(error: FatError<Failed>) -> FileError {
    match error {
        FatError::Device(Failed) | FatError::Malformed => FileError::NoFileSystem,
    }
}

fn from_crate(error: Error<Failed>) -> FileError {
    match error {
        Error::NotFound => FileError::NotFound,
        Error::FilenameError(_) => FileError::BadName,
        Error::FileAlreadyExists | Error::DirAlreadyExists | Error::FileAlreadyOpen => {
            FileError::Exists
        }
        Error::OpenedDirAsFile => FileError::IsFolder,
        Error::OpenedFileAsDir => FileError::NotFolder,
        Error::DeleteNonEmptyDir => FileError::NotEmpty,
        Error::DiskFull | Error::NotEnoughSpace => FileError::Full,
        Error::ReadOnly => FileError::ReadOnly,
        // A fault of the device is noted elsewhere; else the file system asked for what isn't its.
        _ => FileError::NoFileSystem,
    }
}

impl<D: Medium> Files<D> {
    /// On the medium behind `device`: its second partition if that is a FAT one, as on our cards, else
    /// its first.
    pub const fn new(device: D) -> Self {
        Self {
            device,
            fault: Cell::new(None),
        }
    }

    /// The device.
    pub const fn device(&self) -> &D {
        &self.device
    }

    /// Does `operation` with the file system as it is now.
    fn perform<T>(
        &self,
        operation: impl FnOnce(&Mounted<'_, D>) -> Result<T, FileError>,
    ) -> Result<T, FileError> {
        self.fault.set(None);
        let result = self.mount().and_then(|mounted| operation(&mounted));
        // Whatever the file system made of it, that is why.
        result.map_err(|error| self.fault.take().unwrap_or(error))
    }

    fn mount(&self) -> Result<Mounted<'_, D>, FileError> {
        let mut device = Window {
            files: self,
            start: 0,
            blocks: 1,
            info: None,
        };
        let number = match partition(&device, 1).map_err(from_fat)? {
            Some(_) => 1,
            None => 0,
        };
        let found = partition(&device, number).map_err(from_fat)?;
        let (start, blocks) = found.ok_or(FileError::NoFileSystem)?;
        let there = device.num_blocks().map_err(|_| FileError::NoFileSystem)?;
        if start == 0 || u64::from(start) + u64::from(blocks) > u64::from(there.0) {
            return Err(FileError::NoFileSystem);
        }
        device.start = start;
        device.blocks = blocks;
        // Before the crate, which believes more of a boot sector.
        let table = Table::of(&device, start).map_err(from_fat)?;
        if table.end() > u64::from(start) + u64::from(blocks) {
            return Err(FileError::NoFileSystem);
        }
        device.info = table.info();
        let manager = Manager::new_with_limits(device, Undated, 1);
        let volume = manager
            .open_raw_volume(VolumeIdx(number))
            .map_err(from_crate)?;
        Ok(Mounted {
            manager,
            volume,
            table,
            device,
        })
    }

    /// At most `limit` entries of a folder, from number `first` on; none at its end. Fewer than
    /// there are where names are long.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn list(&self, path: &str, first: u32, limit: u32) -> Result<Vec<Entry>, FileError> {
        self.perform(|mounted| {
            let (mut names, last) = split(path);
            names.extend(last);
            let folder = mounted.folder(&names)?;
            let mut listed = Vec::new();
            if limit == 0 {
                return Ok(listed);
            }
            let (mut skip, mut left) = (first, limit);
            let mut bytes = 0;
            each::<D>(&folder, |entry, _| {
                if skip > 0 {
                    skip -= 1;
                    return ControlFlow::Continue(());
                }
                bytes += entry.name.len() + ENTRY_BYTES;
                left -= 1;
                listed.push(entry);
                if left == 0 || bytes + ENTRY_BYTES + NAME_BYTES > MOST_LISTED_BYTES {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
            Ok(listed)
        })
    }

    /// What stands at `path`.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn look_up(&self, path: &str) -> Result<Entry, FileError> {
        self.perform(|mounted| {
            let (names, last) = split(path);
            let folder = mounted.folder(&names)?;
            match last {
                Some(name) => Ok(find::<D>(&folder, name)?.0),
                None => Ok(Entry {
                    name: String::from("/"),
                    bytes: 0,
                    is_folder: true,
                }),
            }
        })
    }

    /// At most `limit` bytes of a file, from `offset` on.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn read(&self, path: &str, offset: u32, limit: u32) -> Result<Vec<u8>, FileError> {
        self.perform(|mounted| {
            let (names, last) = split(path);
            let folder = mounted.folder(&names)?;
            let (entry, found) = find::<D>(&folder, last.ok_or(FileError::IsFolder)?)?;
            if entry.is_folder {
                return Err(FileError::IsFolder);
            }
            let count = entry
                .bytes
                .saturating_sub(offset)
                .min(limit)
                .min(MOST_BYTES);
            let mut bytes = vec![0; usize::try_from(count).unwrap_or(0)];
            if count > 0 {
                mounted.check_front(&found, u64::from(offset) + u64::from(count))?;
                let file = folder
                    .open_file_in_dir(found.name, Mode::ReadOnly)
                    .map_err(from_crate)?;
                file.seek_from_start(offset).map_err(from_crate)?;
                let read = file.read(&mut bytes).map_err(from_crate)?;
                bytes.truncate(read);
            }
            Ok(bytes)
        })
    }

    /// Writes to a file.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn write(&self, path: &str, bytes: &[u8], mode: WriteMode) -> Result<(), FileError> {
        self.perform(|mounted| {
            let mut sink = mounted.create(path, mode, bytes.len() as u64)?;
            sink.write(bytes)?;
            sink.finish()
        })
    }

    /// Copies a file.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn copy(&self, from: &str, to: &str) -> Result<(), FileError> {
        self.perform(|mounted| {
            let (names, last) = split(from);
            let folder = mounted.folder(&names)?;
            let (entry, found) = find::<D>(&folder, last.ok_or(FileError::IsFolder)?)?;
            if entry.is_folder {
                return Err(FileError::IsFolder);
            }
            mounted.check_front(&found, entry.bytes.into())?;
            let source = folder
                .open_file_in_dir(found.name, Mode::ReadOnly)
                .map_err(from_crate)?;
            // A file onto itself is open already: an error, before anything of it goes.
            let mut sink = mounted.create(to, WriteMode::Replace, entry.bytes.into())?;
            let mut chunk = vec![0; CHUNK_BYTES];
            loop {
                let count = source.read(&mut chunk).map_err(from_crate)?;
                if count == 0 {
                    return sink.finish();
                }
                sink.write(&chunk[..count])?;
            }
        })
    }

    /// Removes a file, or a folder that is empty.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn remove(&self, path: &str) -> Result<(), FileError> {
        self.perform(|mounted| {
            let (names, last) = split(path);
            let folder = mounted.folder(&names)?;
            mounted.remove(&folder, last.ok_or(FileError::IsFolder)?)
        })
    }

    /// Makes a folder.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn make_folder(&self, path: &str) -> Result<(), FileError> {
        self.perform(|mounted| {
            let (names, last) = split(path);
            let folder = mounted.folder(&names)?;
            let name = last.ok_or(FileError::Exists)?;
            match find::<D>(&folder, name) {
                Ok(_) => return Err(FileError::Exists),
                Err(FileError::NotFound) => {}
                Err(error) => return Err(error),
            }
            if mounted.room(0)? == 0 {
                return Err(FileError::Full);
            }
            folder.make_dir_in_dir(name).map_err(from_crate)
        })
    }

    /// How much room there is.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn space(&self) -> Result<Space, FileError> {
        self.perform(|mounted| {
            let free = mounted.table.free_bytes(&mounted.device);
            Ok(Space {
                total: mounted.table.bytes(),
                free: free.map_err(from_fat)?,
            })
        })
    }
}

impl<'a, D: Medium> Mounted<'a, D> {
    fn folder(&self, names: &[&str]) -> Result<Folder<'_, 'a, D>, FileError> {
        if let Some(first) = self.table.top() {
            self.check_folder(first)?;
        }
        let top = self.manager.open_root_dir(self.volume);
        let mut folder = top.map_err(from_crate)?.to_directory(&self.manager);
        for name in names {
            let (entry, found) = find::<D>(&folder, name)?;
            if !entry.is_folder {
                return Err(FileError::NotFolder);
            }
            let first = self.first_cluster(&found)?;
            self.check_folder(first.ok_or(FileError::NoFileSystem)?)?;
            folder.change_dir(found.name).map_err(from_crate)?;
        }
        Ok(folder)
    }

    /// Opens the file at `path` for writing `bytes` bytes. One that is to be replaced stays as it is
    /// if there is no room for them.
    fn create(
        &self,
        path: &str,
        mode: WriteMode,
        bytes: u64,
    ) -> Result<Sink<'_, 'a, D>, FileError> {
        let (names, last) = split(path);
        let folder = self.folder(&names)?;
        let name = last.ok_or(FileError::IsFolder)?;
        let old = match find::<D>(&folder, name) {
            Ok((entry, _)) if entry.is_folder => return Err(FileError::IsFolder),
            Ok(old) => Some(old),
            Err(FileError::NotFound) => None,
            Err(error) => return Err(error),
        };
        if let Some((entry, found)) = &old {
            let first = self.first_cluster(found)?;
            let checked = self
                .table
                .check_whole(&self.device, first, entry.bytes.into());
            checked.map_err(from_fat)?;
        }
        let clusters = |bytes| self.table.clusters_for(bytes);
        let (how, freed) = match (mode, &old) {
            (WriteMode::Append, _) => (Mode::ReadWriteCreateOrAppend, 0),
            (WriteMode::Replace, None) => (Mode::ReadWriteCreateOrTruncate, 0),
            (WriteMode::Replace, Some((entry, _))) => (
                Mode::ReadWriteCreateOrTruncate,
                clusters(entry.bytes.into()),
            ),
        };
        let is_added_to = old.is_some() && mode == WriteMode::Append;
        // A new name may need a cluster, too.
        let least = clusters(bytes).max(u64::from(old.is_none()));
        if !is_added_to && least > self.room(freed)? {
            return Err(FileError::Full);
        }
        // It may be found by its long name.
        let name = match &old {
            Some((_, found)) => found.name.to_string(),
            None => name.to_string(),
        };
        let file = folder
            .open_file_in_dir(name.as_str(), how)
            .map_err(from_crate)?;
        // An empty file may have one already: what is replaced keeps its first.
        let first = match &old {
            Some((_, found)) if file.length() == 0 => self.first_cluster(found)?,
            _ => None,
        };
        Ok(Sink {
            mounted: self,
            room: self.room(u64::from(first.is_some()))?,
            folder,
            file: Some(file),
            name,
            is_whole: is_added_to,
        })
    }

    fn first_cluster(&self, found: &DirEntry) -> Result<Option<u32>, FileError> {
        let (block, offset) = (found.entry_block, found.entry_offset);
        let first = self.table.first_cluster(&self.device, block, offset);
        first.map_err(from_fat)
    }

    /// See [`Table::check_folder`].
    fn check_folder(&self, first: u32) -> Result<(), FileError> {
        let checked = self.table.check_folder(&self.device, first);
        checked.map_err(from_fat)
    }

    /// Makes sure that the first `bytes` bytes of a file can be read.
    fn check_front(&self, found: &DirEntry, bytes: u64) -> Result<(), FileError> {
        let first = self.first_cluster(found)?;
        let checked = self.table.check_front(&self.device, first, bytes);
        checked.map_err(from_fat)
    }

    /// Removes what is called `name` in `folder`, and frees its clusters, which the crate doesn't. In
    /// this order: a fault in between leaves clusters that nobody has, and none that two have.
    fn remove(&self, folder: &Folder<'_, 'a, D>, name: &str) -> Result<(), FileError> {
        let (entry, found) = find::<D>(folder, name)?;
        let first = self.first_cluster(&found)?;
        if entry.is_folder {
            // The crate looks whether it is empty.
            self.check_folder(first.ok_or(FileError::NoFileSystem)?)?;
        }
        folder.delete_entry_in_dir(found.name).map_err(from_crate)?;
        match first {
            Some(first) => {
                let freed = self.table.free_chain(&self.device, first);
                freed.map_err(from_fat)
            }
            None => Ok(()),
        }
    }

    /// Clusters that may be taken once `freed` more are free.
    fn room(&self, freed: u64) -> Result<u64, FileError> {
        let free = self.table.free_bytes(&self.device).map_err(from_fat)?;
        let free = (free / self.table.cluster_bytes()).saturating_add(freed);
        Ok(free.saturating_sub(SPARE))
    }
}

/// A file being written. If it isn't finished, it goes.
struct Sink<'m, 'a, D: Medium> {
    mounted: &'m Mounted<'a, D>,
    folder: Folder<'m, 'a, D>,
    file: Option<embedded_sdmmc::File<'m, Window<'a, D>, Undated, 4, 2, 1>>,
    name: String,
    /// Clusters that may be taken.
    room: u64,
    /// What it holds is worth keeping.
    is_whole: bool,
}

impl<D: Medium> Sink<'_, '_, D> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        let Some(file) = &self.file else {
            return Err(FileError::Medium);
        };
        let before = u64::from(file.length());
        let after = before + bytes.len() as u64;
        if after > u64::from(u32::MAX) {
            return Err(FileError::TooLong);
        }
        let clusters = |bytes| self.mounted.table.clusters_for(bytes);
        let more = clusters(after).saturating_sub(clusters(before));
        self.room = self.room.checked_sub(more).ok_or(FileError::Full)?;
        file.write(bytes).map_err(from_crate)
    }

    fn finish(mut self) -> Result<(), FileError> {
        let closed = self.close();
        self.is_whole |= closed.is_ok();
        closed
    }

    fn close(&mut self) -> Result<(), FileError> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        file.close().map_err(from_crate)
    }
}

impl<D: Medium> Drop for Sink<'_, '_, D> {
    fn drop(&mut self) {
        // The error that led here is told already.
        let _ = self.close();
        if !self.is_whole {
            let _ = self.mounted.remove(&self.folder, &self.name);
        }
    }
}

/// Gives `take` each entry of a folder, but itself, what is above it, and the volume's label, until
/// it wants no more.
fn each<D: Medium>(
    folder: &Folder<'_, '_, D>,
    mut take: impl FnMut(Entry, &DirEntry) -> ControlFlow<()>,
) -> Result<(), FileError> {
    let mut storage = [0; NAME_BYTES];
    let mut long = LfnBuffer::new(&mut storage);
    folder
        .iterate_dir_lfn(&mut long, |found, long| {
            let short = found.name.to_string();
            let attributes = found.attributes;
            if attributes.is_volume() || short.starts_with('.') {
                return ControlFlow::Continue(());
            }
            let is_folder = attributes.is_directory();
            let entry = Entry {
                name: long.map_or(short, String::from),
                bytes: if is_folder { 0 } else { found.size },
                is_folder,
            };
            take(entry, found)
        })
        .map_err(from_crate)
}

/// What is called `name`, by its long or its short name, whatever the case: the first that is.
fn find<D: Medium>(folder: &Folder<'_, '_, D>, name: &str) -> Result<(Entry, DirEntry), FileError> {
    let mut result = Err(FileError::NotFound);
    each::<D>(folder, |entry, found| {
        let is_it = entry.name.eq_ignore_ascii_case(name)
            || found.name.to_string().eq_ignore_ascii_case(name);
        if !is_it {
            return ControlFlow::Continue(());
        }
        result = Ok((entry, found.clone()));
        ControlFlow::Break(())
    })?;
    result
}
