//! What a CPU driver executes that costs cycles besides instructions, counted by a plugin of QEMU.
//!
//! The plugin (`scripts/xtask/plugin/events.c`) is built with the C compiler when it is first needed, into
//! `target/events/`. It counts while the guest runs and writes its counts to a file when QEMU ends: lines
//! `PATH COUNT NAME`, where PATH is a number by which the guest marked a path, or `all`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use capelin_report::{Mark, MarkKind};

use crate::error::{Error, Result};
use crate::workspace::{self, Metadata};

/// What the plugin counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everything that the kernel executes.
    Kernel,
    /// TLB invalidations alone, by anything: the guest runs at nearly full speed.
    Invalidations,
    /// All instructions, in the kernel's half and elsewhere, and the pages of kernels' code.
    Totals,
}

/// Builds `scripts/xtask/plugin/NAME.c`: the plugin's library, in `target/events/`.
///
/// # Errors
/// If there is no C compiler, or it fails.
pub(crate) fn compile(name: &str) -> Result<PathBuf> {
    let folder = Metadata::load()?.target_directory.join("events");
    fs::create_dir_all(&folder).map_err(|error| Error::File(folder.clone(), error))?;
    let library = folder.join(format!("{name}.so"));
    let source = workspace::root().join(format!("scripts/xtask/plugin/{name}.c"));
    let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    compiler.args([
        "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o",
    ]);
    workspace::run({
        compiler.arg(&library).arg(&source);
        compiler
    })
    .map_err(|error| match error {
        Error::Spawn(compiler, cause) => Error::Spawn(
            format!("{compiler}, the C compiler, which builds QEMU's plugin {name}"),
            cause,
        ),
        other => other,
    })?;
    Ok(library)
}

/// The plugin, built, and where it writes.
pub(crate) struct Plugin {
    library: PathBuf,
    counts: PathBuf,
}

/// Counts by name.
pub(crate) type Counts = BTreeMap<String, u64>;

/// What was counted in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Events {
    /// By the path's number.
    pub(crate) paths: BTreeMap<u32, Counts>,
    /// Over everything.
    pub(crate) all: Counts,
}

impl Plugin {
    /// Builds the plugin; `run` names the file of its counts.
    ///
    /// # Errors
    /// If there is no C compiler, or it fails.
    pub(crate) fn build(run: &str) -> Result<Self> {
        let library = compile("events")?;
        let counts = library.with_file_name(format!("{run}.counts"));
        Ok(Self { library, counts })
    }

    /// QEMU's arguments.
    pub(crate) fn arguments(&self, scope: Scope) -> [String; 2] {
        let (library, counts) = (self.library.display(), self.counts.display());
        let only = match scope {
            Scope::Kernel => "",
            Scope::Invalidations => ",tlbi-only=1",
            Scope::Totals => ",total-only=1",
        };
        [
            "-plugin".to_owned(),
            format!("{library},out={counts}{only}"),
        ]
    }

    /// What was counted, once QEMU has ended.
    ///
    /// # Errors
    /// If it wrote nothing, or nothing that can be read.
    pub(crate) fn events(&self) -> Result<Events> {
        read(&self.counts)
    }
}

fn read(path: &Path) -> Result<Events> {
    let text = fs::read_to_string(path).map_err(|error| Error::File(path.to_owned(), error))?;
    Events::parse(&text)
        .ok_or_else(|| Error::Malformed(path.to_owned(), "holds no counts".to_owned()))
}

impl Events {
    fn parse(text: &str) -> Option<Self> {
        let mut events = Self::default();
        for line in text.lines() {
            let (path, rest) = line.split_once(' ')?;
            let (count, name) = rest.split_once(' ')?;
            let counts = match path {
                "all" => &mut events.all,
                number => events.paths.entry(number.parse().ok()?).or_default(),
            };
            counts.insert(name.to_owned(), count.parse().ok()?);
        }
        Some(events)
    }
}

/// The number and the text of each [`Mark`] of this kind in `output`.
pub(crate) fn named(output: &str, kind: MarkKind) -> BTreeMap<u32, &str> {
    let marks = output.lines().filter_map(|line| Mark::parse(kind, line));
    marks.map(|mark| (mark.number, mark.text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_by_path() {
        let text = "0 12 K\n0 1 E\n257 3 TLBI VAE1\nall 9 TLBI\nall 0 broadcast TLBI\n";
        let events = Events::parse(text).unwrap();
        assert_eq!(events.paths[&0]["K"], 12);
        assert_eq!(events.paths[&257]["TLBI VAE1"], 3);
        assert_eq!(events.all["broadcast TLBI"], 0);
        for wrong in ["x 1 K", "0 K", "0 y K", "0"] {
            assert_eq!(Events::parse(wrong), None, "{wrong}");
        }
    }

    /// The compiler is asked for what it does anyway: every word that the guest marks is read by its number.
    #[test]
    fn marks_are_what_the_guest_executes() {
        let source = fs::read_to_string(workspace::root().join("scripts/xtask/plugin/events.c"));
        let source = source.unwrap();
        let hint = |number: u32| format!("0x{:08x}", 0xd503_201f | number << 5);
        assert!(source.contains(&hint(0x60)) && source.contains(&hint(0x61)));
    }
}
