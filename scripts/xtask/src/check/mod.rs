//! `cargo xtask check`: what the architecture says of the tree, held against the tree.
//!
//! [`layering`] looks at the dependency graph, [`dependencies`] at what of it is used, [`imports`] at that among the CPU driver's modules, [`source`] at manifests and source files, [`errors`] at what public functions say of theirs, [`docs`] at the links and paths
//! that documents name. Each is a pure function from what was read to a list of violations, so the tests can feed it
//! trees that break the rules.

mod dependencies;
mod docs;
mod errors;
mod imports;
mod layering;
mod source;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::workspace::{self, Metadata};
use lexopt::Parser;

/// A rule broken, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// File or package.
    pub(crate) place: String,
    pub(crate) what: String,
}

impl Violation {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// The recipe.
///
/// # Errors
/// If the tree breaks a rule, or can't be read.
pub(crate) fn main(mut args: Parser) -> Result<()> {
    if let Some(argument) = args.next()? {
        return Err(argument.unexpected().into());
    }
    let violations = violations()?;
    for violation in &violations {
        eprintln!("{violation}");
    }
    match violations.len() {
        0 => {
            println!(
                "layering, names, imports, lints, unsafe code, kernel locks, errors, documents: all as the architecture says"
            );
            Ok(())
        }
        count => Err(Error::Violations(count)),
    }
}

/// All rules that the tree breaks.
///
/// # Errors
/// If it can't be read.
pub(crate) fn violations() -> Result<Vec<Violation>> {
    let metadata = Metadata::load()?;
    let mut violations = layering::violations(&metadata.packages);
    for package in &metadata.packages {
        violations.extend(layering::name_violation(package));
        violations.extend(source::package_violations(package)?);
        violations.extend(dependencies::violations(package)?);
        violations.extend(imports::violations(package.folder())?);
    }
    violations.extend(docs::violations(workspace::root(), &metadata.packages)?);
    Ok(violations)
}

/// All files below `folder` with this extension; hidden folders and `target` are left out.
fn files_below(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |error| Error::File(folder.clone(), error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if path.extension().is_some_and(|other| other == extension) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| Error::File(path.to_owned(), error))
}

/// `path` as seen from the workspace.
fn relative(path: &Path) -> String {
    let path = path.strip_prefix(workspace::root()).unwrap_or(path);
    path.display().to_string()
}
