//! A copy of the tree that may be spoilt.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The copy. What is built in it is kept from one run to the next: a file is written only where it differs, so cargo
/// builds again what has changed.
pub(crate) struct Scratch {
    pub(crate) root: PathBuf,
}

impl Scratch {
    /// Makes `root` a copy of `original`: without hidden files and `target`.
    ///
    /// # Errors
    /// If a file can't be read or written.
    pub(crate) fn new(original: &Path, root: PathBuf) -> Result<Self> {
        copy_folder(original, &root)?;
        Ok(Self { root })
    }

    /// The text of a file.
    ///
    /// # Errors
    /// If it can't be read.
    pub(crate) fn read(&self, file: &str) -> Result<String> {
        let path = self.root.join(file);
        fs::read_to_string(&path).map_err(|error| Error::File(path, error))
    }

    /// Writes a file.
    ///
    /// # Errors
    /// If it can't be written.
    pub(crate) fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.root.join(file);
        fs::write(&path, text).map_err(|error| Error::File(path, error))
    }
}

/// Makes `to` a copy of `from`, without hidden files and `target`; what isn't in `from` goes.
///
/// # Errors
/// If a file can't be read or written.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| Error::File(path, error)
    };
    fs::create_dir_all(to).map_err(failed(to))?;
    let names = |folder: &Path| -> Result<Vec<_>> {
        let entries = fs::read_dir(folder).map_err(failed(folder))?;
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        let names: std::io::Result<Vec<_>> = names.collect();
        let mut names = names.map_err(failed(folder))?;
        names.retain(|name| name != "target" && !name.to_string_lossy().starts_with('.'));
        Ok(names)
    };
    let wanted = names(from)?;
    for name in names(to)? {
        if !wanted.contains(&name) {
            let path = to.join(name);
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.map_err(failed(&path))?;
        }
    }
    for name in wanted {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            copy_folder(&from, &to)?;
            continue;
        }
        let contents = fs::read(&from).map_err(failed(&from))?;
        if !fs::read(&to).is_ok_and(|there| there == contents) {
            // With its permissions: scripts are to run.
            fs::copy(&from, &to).map_err(failed(&to))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_follows_its_original() {
        let base = std::env::temp_dir().join(format!("capelin-scratch-{}", std::process::id()));
        let (from, to) = (base.join("from"), base.join("to"));
        for folder in ["from/a", "from/target", "from/.git", "to/gone"] {
            fs::create_dir_all(base.join(folder)).unwrap();
        }
        fs::write(from.join("a/one"), "1").unwrap();
        fs::write(from.join("target/big"), "x").unwrap();
        fs::write(to.join("gone/old"), "x").unwrap();
        let scratch = Scratch::new(&from, to.clone()).unwrap();
        assert_eq!(scratch.read("a/one").unwrap(), "1");
        assert!(!to.join("target").exists() && !to.join(".git").exists());
        assert!(!to.join("gone").exists());
        let before = fs::metadata(to.join("a/one")).unwrap().modified().unwrap();
        Scratch::new(&from, to.clone()).unwrap();
        let after = fs::metadata(to.join("a/one")).unwrap().modified().unwrap();
        assert_eq!(before, after, "the same contents are left alone");
        scratch.write("a/one", "spoilt").unwrap();
        Scratch::new(&from, to).unwrap();
        assert_eq!(scratch.read("a/one").unwrap(), "1");
        fs::remove_dir_all(base).unwrap();
    }
}
