//! A program's file, read from whoever serves files on this core (`docs/088-files.md`).

use capelin_interfaces::{
    files::{FileError, FilesClient},
    monitor::MonitorError,
    service,
};
use capelin_rt::{Lmp, memory::Frame, services, vspace::Mapped};

use crate::{node::Node, ram};

/// Bytes that a program's file may have.
const MOST_BYTES: u32 = 16 << 20;
/// Bytes asked for at a time.
const CHUNK: u32 = 32 << 10;

/// A file in memory of our own, which goes with this.
pub(crate) struct File {
    memory: Mapped,
    length: usize,
}

impl File {
    /// What it holds.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.memory
            .as_slice()
            .get(..self.length)
            .unwrap_or_default()
    }
}

/// Reads the file at `path`.
///
/// # Errors
/// [`MonitorError::NoSuchProgram`], [`MonitorError::NoFile`], [`MonitorError::Exhausted`].
pub(crate) async fn read(node: &Node, path: &str) -> Result<File, MonitorError> {
    let files: FilesClient<Lmp> = services::connect(service::FILES)
        .await
        .map_err(|_| MonitorError::NoSuchProgram)?;
    let found = files.look_up(path).await.map_err(from_files)?;
    if found.is_folder || !(1..=MOST_BYTES).contains(&found.bytes) {
        return Err(MonitorError::NoFile);
    }
    let bytes = u64::from(found.bytes);
    let ensured = ram::ensure(node, bytes).await;
    ensured.map_err(|_| MonitorError::Exhausted)?;
    let frame = Frame::new(bytes).map_err(|_| MonitorError::Exhausted)?;
    let memory = frame.map().map_err(|_| MonitorError::Exhausted)?;
    let mut file = File {
        memory,
        length: usize::try_from(found.bytes).unwrap_or(0),
    };
    let mut offset = 0;
    while offset < found.bytes {
        let piece = files.read(path, offset, CHUNK).await.map_err(from_files)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let place = file.memory.as_mut_slice().get_mut(start..file.length);
        let place = place.and_then(|rest| rest.get_mut(..piece.len()));
        // Longer or shorter than it was.
        let place = place.filter(|place| !place.is_empty());
        place.ok_or(MonitorError::NoFile)?.copy_from_slice(&piece);
        offset = offset.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
    }
    Ok(file)
}

const fn from_files(error: FileError) -> MonitorError {
    match error {
        FileError::NotFound => MonitorError::NoSuchProgram,
        _ => MonitorError::NoFile,
    }
}
