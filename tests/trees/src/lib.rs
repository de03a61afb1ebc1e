//! Device trees for the tests that run on the host. No test passes by not finding one: each function panics and says
//! what is missing.
//!
//! [`qemu`] has QEMU write the tree of a machine, so every test may use it. [`recorded`], [`facts`] and [`every`] give
//! trees that others wrote, which the repository doesn't hold: a test that uses them is
//! `#[ignore = "needs trees that others wrote"]`, and `scripts/test` runs it in a case of its own
//! (`host/recorded-trees`, `host/kernel-trees`), which is counted as skipped where there are none
//! (`docs/100-tests.md`).
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The environment variable that names a folder in place of `../shared/data/dtb`.
pub const FOLDER_VARIABLE: &str = "CAPELIN_TREES";

/// The emulator.
const QEMU: &str = "qemu-system-aarch64";

/// A tree, and what to call it in a message.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Its file, from the folder of trees on.
    pub name: String,
    /// The flattened tree.
    pub blob: Vec<u8>,
}

/// The tree that QEMU makes for its board `virt` with these options of its command line, separated by spaces, and these
/// properties of the board (`gic-version=3`).
///
/// # Panics
/// If QEMU isn't there, or refuses.
#[must_use]
pub fn qemu(properties: &str, options: &str) -> Vec<u8> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Numbers only have to differ.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("capelin-tree-{}-{number}.dtb", std::process::id());
    let file = std::env::temp_dir().join(name);
    let output = Command::new(QEMU)
        .args(["-nodefaults", "-nographic", "-cpu", "cortex-a72", "-M"])
        .arg(format!("virt,{properties},dumpdtb={}", file.display()))
        .args(options.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{QEMU}, which scripts/test installs: {error}"));
    assert!(
        output.status.success(),
        "{properties} {options}: {output:?}"
    );
    let blob = read(&file);
    // Only a file in a temporary folder would stay behind.
    let _ = fs::remove_file(&file);
    blob
}

/// The tree that somebody recorded as `file` of a set (`boards`, `qemu`).
///
/// # Panics
/// If it isn't there.
#[must_use]
pub fn recorded(set: &str, file: &str) -> Vec<u8> {
    read(&folder().join(set).join(file))
}

/// What an independent reader found in a set: JSON text.
///
/// # Panics
/// If it isn't there.
#[must_use]
pub fn facts(set: &str) -> String {
    let path = folder().join(set).with_extension("json");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every tree that somebody wrote, in the order of their names.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn every() -> Vec<Tree> {
    let root = folder();
    let mut trees = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder);
        let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "dtb") {
                let name = path.strip_prefix(&root).unwrap_or(&path);
                trees.push(Tree {
                    name: name.display().to_string(),
                    blob: read(&path),
                });
            }
        }
    }
    assert!(!trees.is_empty(), "no .dtb below {}", root.display());
    trees.sort_by(|one, two| one.name.cmp(&two.name));
    trees
}

/// The folder of trees that others wrote.
fn folder() -> PathBuf {
    std::env::var_os(FOLDER_VARIABLE).map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/dtb"),
        PathBuf::from,
    )
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemu_writes_the_tree_that_is_asked_for() {
        let one = qemu("gic-version=3", "-smp 1");
        let four = qemu("gic-version=3", "-smp 4");
        let has =
            |tree: &[u8], text: &str| tree.windows(text.len()).any(|it| it == text.as_bytes());
        assert!(has(&four, "cpu@3") && !has(&one, "cpu@3"));
        assert!(has(&one, "arm,gic-v3"));
    }

    #[test]
    #[should_panic(expected = "no-such-tree.dtb")]
    fn a_tree_that_is_missing_is_no_success() {
        let _ = recorded("boards", "no-such-tree.dtb");
    }
}
