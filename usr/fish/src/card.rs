//! Commands about the files on a card.

use alloc::{string::String, vec::Vec};

use capelin_interfaces::files::{Entry, FileError, FilesClient};
use capelin_rt::Lmp;
use fish::{command::FileCommand, files};

use crate::{failure::Failure, shell::Shell};

/// Entries of a folder that are asked for at a time: with the longest names, they fit a message.
const PAGE: u32 = 64;
/// Bytes of a file that are asked for at a time.
const CHUNK: u32 = 16 << 10;

impl Shell {
    /// Does something with files.
    pub(crate) async fn file(&mut self, command: FileCommand) -> Result<(), Failure> {
        let card = self.services.files().await?;
        // What failed, and why.
        let at = |path: &str| {
            let path = String::from(path);
            move |error: FileError| Failure::File(path, error)
        };
        match command {
            FileCommand::List(path) => {
                let entries = entries(&card, &path).await.map_err(at(&path))?;
                self.write(&files::list(&entries)).await;
            }
            FileCommand::Show(path) => self.show(&card, &path).await?,
            FileCommand::Copy { from, to } => {
                let to = match card.look_up(&to).await {
                    Ok(entry) if entry.is_folder => files::join(&to, files::name(&from)),
                    Ok(_) | Err(FileError::NotFound) => to,
                    Err(error) => return Err(at(&to)(error)),
                };
                // An error is then the other's.
                if card.look_up(&from).await.map_err(at(&from))?.is_folder {
                    return Err(at(&from)(FileError::IsFolder));
                }
                card.copy(&from, &to).await.map_err(at(&to))?;
            }
            FileCommand::Remove(path) => card.remove(&path).await.map_err(at(&path))?,
            FileCommand::MakeFolder(path) => card.make_folder(&path).await.map_err(at(&path))?,
            FileCommand::Space => {
                let space = card.space().await.map_err(at("/"))?;
                self.write(&files::space(&space)).await;
            }
        }
        Ok(())
    }

    async fn show(&mut self, card: &FilesClient<Lmp>, path: &str) -> Result<(), Failure> {
        let mut offset = 0;
        let mut last = b'\n';
        loop {
            let piece = card.read(path, offset, CHUNK).await;
            let piece = piece.map_err(|error| Failure::File(path.into(), error))?;
            let Some(&end) = piece.last() else { break };
            last = end;
            offset = offset.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
            self.write_bytes(&piece).await;
        }
        if last != b'\n' {
            self.write("\n").await;
        }
        Ok(())
    }
}

/// What is in a folder, or the file at `path`.
async fn entries(card: &FilesClient<Lmp>, path: &str) -> Result<Vec<Entry>, FileError> {
    let found = card.look_up(path).await?;
    if !found.is_folder {
        return Ok(Vec::from([found]));
    }
    let mut all = Vec::new();
    loop {
        let first = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let page = card.list(path, first, PAGE).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}
