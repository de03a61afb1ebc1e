//! What is done to the files that firmware reads, before a guest is booted from them.

use serde::Deserialize;

use crate::card::disk::Files;

/// The archive's name when it is in a file of its own.
const ARCHIVE: &str = "capelin.archive";
/// The arm64 Image header (Linux, Documentation/arch/arm64/booting.rst): where `image_size` is.
const IMAGE_SIZE_AT: std::ops::Range<usize> = 16..24;

/// A change to what is on a card, a disk or a disc, or in the folder for network boot. Files are named by their path.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MediumChange {
    /// This file isn't there.
    Without(String),
    /// This file holds this text.
    Text(String, String),
    /// So many thousandths of this file are there.
    Cut(String, usize),
    /// This file is as long as it was, and holds nothing that means anything.
    Garbage(String),
    /// The archive, which is otherwise behind this boot image, is in a file of its own.
    ArchiveApart(String),
    /// The second file's place has the first one's contents.
    Copy(String, String),
}

impl MediumChange {
    /// Does it to `files`, whose boot image has `archive` at its end.
    ///
    /// # Errors
    /// If there is no such file.
    pub(crate) fn apply(&self, files: &mut Files, archive: &[u8]) -> Result<(), String> {
        let missing = |path: &String| format!("has no {path}");
        let found = |files: &mut Files, path: &String| -> Result<Vec<u8>, String> {
            files.get(path).cloned().ok_or_else(|| missing(path))
        };
        match self {
            Self::Without(path) => {
                files.remove(path).ok_or_else(|| missing(path))?;
            }
            Self::Text(path, text) => {
                files.insert(path.clone(), text.clone().into_bytes());
            }
            Self::Cut(path, thousandths) => {
                let mut file = found(files, path)?;
                file.truncate(file.len() / 1000 * thousandths);
                files.insert(path.clone(), file);
            }
            Self::Garbage(path) => {
                let mut file = found(files, path)?;
                file.fill(0xa5);
                files.insert(path.clone(), file);
            }
            Self::ArchiveApart(path) => {
                let mut image = found(files, path)?;
                if !image.ends_with(archive) || archive.is_empty() {
                    return Err(format!("{path} has no archive at its end"));
                }
                image.truncate(image.len() - archive.len());
                let length = image.len() as u64;
                image
                    .get_mut(IMAGE_SIZE_AT)
                    .ok_or_else(|| format!("{path} is no boot image"))?
                    .copy_from_slice(&length.to_le_bytes());
                files.insert(path.clone(), image);
                files.insert(ARCHIVE.to_owned(), archive.to_vec());
            }
            Self::Copy(from, to) => {
                let file = found(files, from)?;
                files.insert(to.clone(), file);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(change: MediumChange) -> Result<Files, String> {
        let mut image = vec![7; 2000];
        image.extend(b"archive");
        let mut files = Files::from([
            ("EFI/a.img".to_owned(), image),
            ("b.txt".to_owned(), b"text".to_vec()),
        ]);
        change.apply(&mut files, b"archive")?;
        Ok(files)
    }

    #[test]
    fn changes_hit_what_they_name() {
        let (a, b) = (|| "EFI/a.img".to_owned(), || "b.txt".to_owned());
        assert!(
            !changed(MediumChange::Without(b()))
                .unwrap()
                .contains_key("b.txt")
        );
        let files = changed(MediumChange::Text(b(), "new".to_owned())).unwrap();
        assert_eq!(
            (&*files["b.txt"], files["EFI/a.img"].len()),
            (&b"new"[..], 2007)
        );
        assert_eq!(
            changed(MediumChange::Cut(a(), 500)).unwrap()["EFI/a.img"].len(),
            1000
        );
        let files = changed(MediumChange::Garbage(b())).unwrap();
        assert_eq!(
            (&*files["b.txt"], files["EFI/a.img"][0]),
            (&[0xa5; 4][..], 7)
        );
        let files = changed(MediumChange::ArchiveApart(a())).unwrap();
        assert_eq!(
            (files["EFI/a.img"].len(), &*files[ARCHIVE]),
            (2000, &b"archive"[..])
        );
        assert_eq!(files["EFI/a.img"][IMAGE_SIZE_AT], 2000_u64.to_le_bytes());
        let files = changed(MediumChange::Copy(b(), "c".to_owned())).unwrap();
        assert_eq!(
            (&*files["c"], &*files["b.txt"]),
            (&b"text"[..], &b"text"[..])
        );
    }

    #[test]
    fn changes_of_what_is_not_there_are_refused() {
        let ghost = || "ghost".to_owned();
        changed(MediumChange::Without(ghost())).unwrap_err();
        changed(MediumChange::Cut(ghost(), 1)).unwrap_err();
        changed(MediumChange::Garbage(ghost())).unwrap_err();
        changed(MediumChange::ArchiveApart("b.txt".to_owned())).unwrap_err();
        changed(MediumChange::Copy(ghost(), ghost())).unwrap_err();
    }
}
