//! The owner's own facts and rules, from the card (`docs/080-skb.md`).

use alloc::{string::String, vec::Vec};

use capelin_interfaces::{
    files::{FileError, FilesClient},
    service,
    skb::SkbError,
};
use capelin_rt::{Lmp, RtError, services};

/// Where they are.
const PATH: &str = "/boot.pl";
/// Bytes that they may have.
const MOST_BYTES: u32 = 256 << 10;
/// Bytes asked for at a time.
const CHUNK: u32 = 32 << 10;

/// Their text; `None` if there is no such file, or nobody who serves files.
///
/// # Errors
/// [`SkbError::File`], [`SkbError::NotText`].
pub(crate) async fn read() -> Result<Option<String>, SkbError> {
    let files: FilesClient<Lmp> = match services::connect(service::FILES).await {
        Ok(files) => files,
        Err(RtError::Call(error)) => return Err(SkbError::Call(error)),
        Err(_) => return Ok(None),
    };
    let length = match files.look_up(PATH).await {
        Ok(entry) if entry.is_folder => return Err(SkbError::File(FileError::IsFolder)),
        Ok(entry) => entry.bytes,
        Err(FileError::NotFound) => return Ok(None),
        Err(error) => return Err(SkbError::File(error)),
    };
    if length > MOST_BYTES {
        return Err(SkbError::NotText);
    }
    let mut text = Vec::new();
    let mut offset = 0;
    while offset < length {
        let piece = files.read(PATH, offset, CHUNK).await;
        let piece = piece.map_err(SkbError::File)?;
        if piece.is_empty() {
            break;
        }
        offset = offset.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
        text.extend(piece);
    }
    let text = String::from_utf8(text).map_err(|_| SkbError::NotText)?;
    Ok(Some(text))
}
