//! A package depends on no crate that it doesn't name. (That the workspace declares none that no package depends on, is
//! for [`super::docs`] to see.)

use super::{Violation, files_below, read, relative};
use crate::error::Result;
use crate::workspace::Package;

/// The dependencies of `package` that none of its sources names.
///
/// # Errors
/// If they can't be read.
pub(super) fn violations(package: &Package) -> Result<Vec<Violation>> {
    let mut sources = Vec::new();
    for folder in ["src", "tests", "benches", "examples"] {
        let folder = package.folder().join(folder);
        if folder.is_dir() {
            for file in files_below(&folder, "rs")? {
                sources.push(read(&file)?);
            }
        }
    }
    for target in &package.targets {
        // A build script, or what stands elsewhere.
        sources.push(read(&target.src_path)?);
    }
    let place = relative(&package.manifest_path);
    let names = package.dependencies.iter().map(|used| used.name.as_str());
    let unnamed = names.filter(|name| !is_named(name, &sources));
    Ok(unnamed
        .map(|name| {
            Violation::new(
                place.clone(),
                format!("depends on {name} and never names it"),
            )
        })
        .collect())
}

/// Whether any of the sources has the crate's name as a word, be it for documentation.
fn is_named(name: &str, sources: &[String]) -> bool {
    let name = name.replace('-', "_");
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    let is_word = |source: &str, at: usize| {
        let (before, after) = (&source[..at], &source[at + name.len()..]);
        !before.ends_with(is_part) && !after.starts_with(is_part)
    };
    sources.iter().any(|source| {
        let mut found = source.match_indices(&name);
        found.any(|(at, _)| is_word(source, at))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_is_named_as_a_word_and_with_underscores() {
        let named = |source: &str| is_named("a-crate", &[String::new(), source.to_owned()]);
        assert!(named("use a_crate::B;"));
        assert!(named("/// As [`a_crate::B`] has it."));
        assert!(named("a_crate"));
        assert!(!named("use a_crates::B;"));
        assert!(!named("use not_a_crate::B;"));
        assert!(!named("use a::crate_;"));
        assert!(named("use not_a_crate::{a_crate};"));
    }
}
