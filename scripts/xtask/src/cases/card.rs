//! What is on the card that a guest boots from, for the guest.

use std::collections::BTreeMap;

use capelin_archive::Archive;
use serde::Deserialize;

use crate::card::disk::Files;
use crate::error::{Error, Result};

/// Files on the partition for files, and what the guest must have made of them. What isn't named must be as it was, and
/// nothing else may be there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CardFiles {
    /// Texts by path.
    files: BTreeMap<String, String>,
    /// Files of so many bytes, which are all zero.
    zeros: BTreeMap<String, usize>,
    /// Files that hold this module of the archive.
    modules: BTreeMap<String, String>,
    /// Texts that must be there afterwards, changed or new.
    after: BTreeMap<String, String>,
    /// Copies that must be there afterwards, by path: of what.
    copies: BTreeMap<String, String>,
    /// What mustn't be there any more.
    gone: Vec<String>,
}

impl CardFiles {
    /// The files for a card that boots from `archive`.
    ///
    /// # Errors
    /// If the archive can't be read, or lacks a module.
    pub(crate) fn before(&self, archive: &[u8]) -> Result<Files> {
        let texts = self.files.iter();
        let mut files: Files = texts
            .map(|(path, text)| (path.clone(), text.clone().into_bytes()))
            .collect();
        let zeros = self.zeros.iter();
        files.extend(zeros.map(|(path, &bytes)| (path.clone(), vec![0; bytes])));
        let malformed = |what: String| Error::Malformed("archive".into(), what);
        let archive = Archive::parse(archive).map_err(|error| malformed(error.to_string()))?;
        for (path, name) in &self.modules {
            let module = archive.find(name);
            let module = module.ok_or_else(|| malformed(format!("no module {name}")))?;
            files.insert(path.clone(), module.data().to_vec());
        }
        Ok(files)
    }

    /// What must be on the card afterwards.
    pub(crate) fn after(&self, before: Files) -> Files {
        let mut files = before;
        for (path, of) in &self.copies {
            let contents = files.get(of).cloned().unwrap_or_default();
            files.insert(path.clone(), contents);
        }
        for (path, text) in &self.after {
            files.insert(path.clone(), text.clone().into_bytes());
        }
        for path in &self.gone {
            files.remove(path);
        }
        files
    }
}
