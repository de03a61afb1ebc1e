//! Documents name what exists (relative links, and paths in back-quotes that start with one of the tree's folders), and
//! give a reason for every crate that comes from elsewhere, which some member uses; the overview lists each note once.

use std::path::Path;

use super::{Violation, files_below, read, relative};
use crate::error::{Error, Result};
use crate::workspace::Package;

/// Where the reasons stand.
const REASONS: &str = "docs/005-dependencies.md";
/// Where the notes are listed.
const OVERVIEW: &str = "docs/000-overview.md";

/// Folders whose paths are held against the tree.
const FOLDERS: [&str; 13] = [
    "arch/",
    "cpudriver/",
    "docs/",
    "images/",
    "lib/",
    "monitor/",
    "platforms/",
    "scripts/",
    "skb/",
    "tests/",
    "urpc/",
    "usr/",
    ".ci/",
];

/// Links and paths that lead nowhere.
///
/// # Errors
/// If the documents can't be read.
pub(super) fn violations(root: &Path, packages: &[Package]) -> Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for file in files_below(root, "md")? {
        let folder = file.parent().unwrap_or(root);
        let text = read(&file)?;
        let place = relative(&file);
        for link in links(&text) {
            if !folder.join(link).exists() {
                violations.push(Violation::new(
                    place.clone(),
                    format!("links to {link}, which isn't there"),
                ));
            }
        }
        for path in paths(&text) {
            if !root.join(path).exists() {
                violations.push(Violation::new(
                    place.clone(),
                    format!("names {path}, which isn't there"),
                ));
            }
        }
    }
    let manifest = root.join("Cargo.toml");
    let table: toml::Table = toml::from_str(&read(&manifest)?)
        .map_err(|error| Error::Malformed(manifest, error.to_string()))?;
    for name in unexplained(&table, &read(&root.join(REASONS))?) {
        violations.push(Violation::new(
            REASONS,
            format!("gives no reason for {name}"),
        ));
    }
    for name in unused(&table, packages) {
        let what = format!("declares {name}, which no member uses");
        violations.push(Violation::new("Cargo.toml", what));
    }
    let notes = files_below(&root.join("docs"), "md")?;
    let numbers = notes.iter().filter_map(|note| number(note));
    for (number, times) in listed_wrongly(&read(&root.join(OVERVIEW))?, numbers) {
        let what = format!("lists note {number} {times} times");
        violations.push(Violation::new(OVERVIEW, what));
    }
    Ok(violations)
}

/// The number that a note's name starts with.
fn number(note: &Path) -> Option<&str> {
    note.file_name()?.to_str()?.split('-').next()
}

/// The notes that the overview's table doesn't list once, and how often it does. It lists itself nowhere.
fn listed_wrongly<'a>(
    overview: &str,
    numbers: impl Iterator<Item = &'a str>,
) -> Vec<(&'a str, usize)> {
    let times = |number: &str| {
        let row = format!("| `{number}` |");
        overview
            .lines()
            .filter(|line| line.starts_with(&row))
            .count()
    };
    numbers
        .filter(|&number| !OVERVIEW.contains(&format!("/{number}-")))
        .map(|number| (number, times(number)))
        .filter(|&(_, times)| times != 1)
        .collect()
}

/// Crates from elsewhere in the root manifest that no member depends on.
fn unused(manifest: &toml::Table, packages: &[Package]) -> Vec<String> {
    let is_used = |name: &str| {
        let mut used = packages.iter().flat_map(|package| &package.dependencies);
        used.any(|dependency| dependency.name == name)
    };
    from_elsewhere(manifest)
        .filter(|name| !is_used(name))
        .map(str::to_owned)
        .collect()
}

/// Crates from elsewhere in the root manifest that `reasons` doesn't name in back-quotes.
fn unexplained(manifest: &toml::Table, reasons: &str) -> Vec<String> {
    from_elsewhere(manifest)
        .filter(|name| !reasons.contains(&format!("`{name}`")))
        .map(str::to_owned)
        .collect()
}

/// Crates from elsewhere in the root manifest.
fn from_elsewhere(manifest: &toml::Table) -> impl Iterator<Item = &str> {
    let dependencies = manifest
        .get("workspace")
        .and_then(|workspace| workspace.get("dependencies"))
        .and_then(toml::Value::as_table);
    dependencies
        .into_iter()
        .flatten()
        .filter(|(_, value)| value.get("path").is_none())
        .map(|(name, _)| name.as_str())
}

/// Targets of inline links that are files: `[text](target)`, without fragment.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .map(|target| target.split('#').next().unwrap_or(target).trim())
        .filter(|target| {
            !target.is_empty() && !target.contains("://") && !target.contains(char::is_whitespace)
        })
}

/// Back-quoted words that are paths of the tree; patterns and placeholders (`usr/*`, `docs/NNN.md`) aren't.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    let prose = text.split("```").step_by(2);
    prose
        .flat_map(|prose| prose.split('`').skip(1).step_by(2))
        .map(|word| word.split(':').next().unwrap_or(word))
        .filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)))
        .filter(|word| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
            word.chars().all(plain) && !word.contains("NAME") && !word.contains("NNN")
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    #[test]
    fn links_to_files() {
        let text = "[a](docs/x.md#part), [b](https://example.org), [c](#here), ![d](e.png)";
        assert_eq!(links(text).collect::<Vec<_>>(), ["docs/x.md", "e.png"]);
    }

    #[test]
    fn crates_without_a_reason() {
        let manifest =
            "[workspace.dependencies]\nours = { path = 'x' }\na = '1'\nb = { version = '1' }\n";
        let manifest = toml::from_str(manifest).unwrap();
        assert_eq!(unexplained(&manifest, "`a` is good"), ["b"]);
    }

    #[test]
    fn crates_that_nobody_uses() {
        let manifest = "[workspace.dependencies]\nours = { path = 'x' }\na = '1'\nb = '1'\n";
        let manifest = toml::from_str(manifest).unwrap();
        let dependency = Dependency {
            name: "a".to_owned(),
            kind: Some("dev".to_owned()),
            path: None,
            features: vec![],
        };
        let packages = [Package::for_test("lib/x", vec![dependency])];
        assert_eq!(unused(&manifest, &packages), ["b"]);
    }

    #[test]
    fn notes_are_listed_once() {
        let overview = "| `005` | x |\n| `095` | y |\n| `095` | z |\nSee `010`.\n";
        let numbers = ["000", "005", "010", "095"].into_iter();
        let wrong = listed_wrongly(overview, numbers);
        assert_eq!(wrong, [("010", 0), ("095", 2)]);
    }

    #[test]
    fn paths_in_prose() {
        let text = "`lib/archive/src/lib.rs`, `usr/*`, `target/x`, `images/NAME.toml`, `urpc/src/ring.rs:12`\n\
                    ```text\nsay `lib/nothing`\n```\n`scripts/run --help` and `cpudriver/`";
        assert_eq!(
            paths(text).collect::<Vec<_>>(),
            ["lib/archive/src/lib.rs", "urpc/src/ring.rs", "cpudriver/"]
        );
    }
}
