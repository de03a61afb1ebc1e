//! What cargo-mutants changes, and the survivors that are accepted.
//!
//! A survivor is accepted by an entry of `scripts/mutants.toml`, with the reason why no test can or needs to tell:
//!
//! ```toml
//! [[accepted]]
//! package = "capelin-urpc"
//! mutant = "urpc/src/sleep.rs: replace full_barrier with ()"   # as cargo-mutants --list --line-col false says
//! reason = "…"
//! ```
//!
//! An entry stands for all changes that read the same in one file. One that no change bears is a failure: the code has
//! changed, and the reason has gone with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::qemu::console::End;
use crate::testing::{Context, Outcome};
use crate::workspace;

/// The accepted survivors, relative to the workspace.
const ACCEPTED: &str = "scripts/mutants.toml";
/// The tool's version: others make other changes.
const VERSION: &str = "27.1.0";
/// What installing it may take.
const INSTALL_TIME: Duration = Duration::from_secs(1200);
/// What the tests of one change may take at least; more, if they take long unchanged. A time that a busy machine
/// exceeds by itself would count changes as noticed that aren't.
const LEAST_TEST_SECONDS: &str = "120";

/// The profile: fast tests, with all that the usual one checks, and nothing for debuggers.
const PROFILE: &str = "mutants";

/// A package and how it is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tried {
    pub(crate) name: &'static str,
    /// What `cargo test` is told, so that tests that take long, and can't notice more, are left out.
    tests: &'static [&'static str],
    /// Files that aren't compiled for these tests.
    excluded: &'static [&'static str],
    /// What all of it may take.
    minutes: u64,
}

/// The packages that are tried by `scripts/test --full`.
pub(crate) const PACKAGES: [Tried; 3] = [
    Tried {
        name: "capelin-urpc",
        // `threads` finds by chance what these find for certain; the models notice what only orders memory.
        tests: &[
            "--lib", "--test", "ring", "--test", "framing", "--test", "hostile",
        ],
        // The model checker's.
        excluded: &["urpc/src/memory/checked.rs"],
        minutes: 90,
    },
    Tried {
        name: "capelin-cap",
        tests: &[],
        excluded: &[],
        minutes: 360,
    },
    Tried {
        name: "capelin-kernel",
        tests: &[],
        excluded: &[],
        minutes: 360,
    },
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AcceptedFile {
    #[serde(default)]
    accepted: Vec<Accepted>,
}

/// A survivor that is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    package: String,
    mutant: String,
    reason: String,
}

/// Which changes to a package are made: all, if nothing else is said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    /// Globs of the files to be changed.
    pub(crate) files: Vec<String>,
    /// `K/N`: the Kth part of N, from 0 on.
    pub(crate) shard: Option<String>,
}

impl Part {
    /// As cargo-mutants is told.
    fn arguments(&self) -> impl Iterator<Item = &str> {
        let files = self.files.iter().flat_map(|file| ["--file", file]);
        let shard = self.shard.iter().flat_map(|shard| ["--shard", shard]);
        files.chain(shard)
    }
}

/// Makes all changes, or a part of them, to the package `name`; logs as `case`.
///
/// # Errors
/// If the tool can't be had, a file can't be read, or a program can't be started.
pub(crate) fn package(context: &Context, case: &str, name: &str, part: &Part) -> Result<Outcome> {
    let tried = PACKAGES.iter().find(|tried| tried.name == name);
    let Some(tried) = tried else {
        let names = PACKAGES.map(|tried| tried.name).join(", ");
        return Err(Error::Usage(format!("{name} isn't one of {names}")));
    };
    let path = workspace::root().join(ACCEPTED);
    let accepted = parse(&read(&path)?).map_err(|what| Error::Malformed(path, what))?;
    let accepted: Vec<_> = accepted
        .into_iter()
        .filter(|entry| entry.package == name)
        .collect();
    let tool = match tool(context, case)? {
        Ok(tool) => tool,
        Err(reason) => return Ok(Outcome::Skipped(reason)),
    };
    let common = [
        "mutants",
        "--package",
        name,
        "--colors",
        "never",
        "--line-col",
        "false",
    ];
    let mut list = command(&tool);
    let excluded = || tried.excluded.iter().flat_map(|file| ["--exclude", file]);
    list.args(common).args(excluded()).arg("--list");
    let listed = context.run(case, list, Duration::from_secs(300))?;
    if !matches!(listed.end, End::PoweredOff(_)) {
        return Ok(Outcome::of(vec![listed.end.to_string()]));
    }
    let stale = stale(&accepted, &listed.output);
    if !stale.is_empty() {
        return Ok(Outcome::of(stale));
    }
    let folder = context.metadata.target_directory.join("mutants").join(name);
    fs::create_dir_all(&folder).map_err(|error| Error::File(folder.clone(), error))?;
    let mut run = command(&tool);
    run.args(common).args(excluded());
    run.args(part.arguments());
    run.args(["--jobs", "1", "--no-shuffle", "--profile", PROFILE]);
    run.args(["--minimum-test-timeout", LEAST_TEST_SECONDS]);
    run.arg("--output").arg(&folder);
    run.arg("--").args(tried.tests);
    let report = context.run(case, run, Duration::from_secs(60 * tried.minutes))?;
    let results = folder.join("mutants.out");
    let lines = |file: &str| -> Result<Vec<String>> {
        let text = read(&results.join(file))?;
        Ok(text.lines().map(str::to_owned).collect())
    };
    match report.end {
        // 0: all noticed; 2: some missed; 3: tests that didn't end, which counts as noticed.
        End::PoweredOff(_) => {}
        End::Crashed(status) if matches!(status.code(), Some(2 | 3)) => {}
        other => return Ok(Outcome::of(vec![other.to_string()])),
    }
    let noticed = lines("caught.txt")?.len() + lines("timeout.txt")?.len();
    let failures = survivors(&accepted, &lines("missed.txt")?);
    Ok(if failures.is_empty() {
        Outcome::Passed(noticed)
    } else {
        Outcome::Failed(noticed, failures)
    })
}

/// The tool, installed if it isn't there; or why it can't be had.
fn tool(context: &Context, case: &str) -> Result<Result<PathBuf, String>> {
    let folder = context.metadata.target_directory.join("tools");
    let tool = folder.join("bin").join("cargo-mutants");
    let has_version = |tool: &Path| {
        let output = Command::new(tool).args(["mutants", "--version"]).output();
        output.is_ok_and(|output| {
            let text = String::from_utf8_lossy(&output.stdout);
            text.split_whitespace().last() == Some(VERSION)
        })
    };
    if has_version(&tool) {
        return Ok(Ok(tool));
    }
    let mut install = workspace::cargo();
    install.args(["install", "--locked", "--force", "--version", VERSION]);
    install.arg("--root").arg(&folder).arg("cargo-mutants");
    context.run(case, install, INSTALL_TIME)?;
    Ok(if has_version(&tool) {
        Ok(tool)
    } else {
        Err(format!("cargo-mutants {VERSION} can't be installed"))
    })
}

fn command(tool: &Path) -> Command {
    let mut command = Command::new(tool);
    command.current_dir(workspace::root());
    command
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| Error::File(path.to_owned(), error))
}

fn parse(text: &str) -> Result<Vec<Accepted>, String> {
    let file: AcceptedFile = toml::from_str(text).map_err(|error| error.to_string())?;
    for entry in &file.accepted {
        if entry.reason.split_whitespace().count() < 4 {
            return Err(format!("{}: that is no reason", entry.mutant));
        }
        if !PACKAGES.iter().any(|tried| tried.name == entry.package) {
            return Err(format!("{} isn't tried", entry.package));
        }
    }
    Ok(file.accepted)
}

/// The entries that stand for no change in `list`.
fn stale(accepted: &[Accepted], list: &str) -> Vec<String> {
    let exists = |entry: &&Accepted| !list.lines().any(|line| line == entry.mutant);
    let stale = accepted.iter().filter(exists);
    stale
        .map(|entry| format!("accepted, but no change any more: {}", entry.mutant))
        .collect()
}

/// Those of `missed` that nobody has accepted.
fn survivors(accepted: &[Accepted], missed: &[String]) -> Vec<String> {
    let is_accepted = |line: &str| {
        let mutant = without_place(line);
        accepted.iter().any(|entry| entry.mutant == mutant)
    };
    let missed = missed.iter().filter(|line| !is_accepted(line));
    missed.map(|line| format!("survived: {line}")).collect()
}

/// `file:line:column: change` without line and column, which move with every edit.
fn without_place(line: &str) -> String {
    let Some((place, change)) = line.split_once(": ") else {
        return line.to_owned();
    };
    let file = place.split(':').next().unwrap_or(place);
    format!("{file}: {change}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "[[accepted]]\npackage = 'capelin-urpc'\nmutant = 'f: replace a'\nreason = 'can never be told apart'\n";

    #[test]
    fn only_what_is_accepted_may_survive() {
        let accepted = parse(ONE).unwrap();
        let missed = ["f:12:7: replace a", "f:1:3: replace b"].map(str::to_owned);
        assert_eq!(
            survivors(&accepted, &missed),
            ["survived: f:1:3: replace b"]
        );
        assert_eq!(survivors(&[], &missed).len(), 2);
        assert_eq!(stale(&accepted, "f: replace b").len(), 1);
        assert!(stale(&accepted, "f: replace b\nf: replace a\n").is_empty());
    }

    #[test]
    fn a_part_is_passed_on() {
        assert_eq!(Part::default().arguments().count(), 0);
        let part = Part {
            files: ["a.rs", "b/*.rs"].map(str::to_owned).into(),
            shard: Some("2/8".to_owned()),
        };
        let arguments: Vec<_> = part.arguments().collect();
        let expected = ["--file", "a.rs", "--file", "b/*.rs", "--shard", "2/8"];
        assert_eq!(arguments, expected);
    }

    #[test]
    fn reasons_are_written_out() {
        assert!(parse("").unwrap().is_empty());
        assert!(parse(&ONE.replace("can never be told apart", "fine")).is_err());
        assert!(parse(&ONE.replace("capelin-urpc", "capelin-other")).is_err());
    }

    #[test]
    fn the_file_of_accepted_survivors_is_well_formed() {
        let text = read(&workspace::root().join(ACCEPTED)).unwrap();
        assert!(parse(&text).is_ok(), "{:?}", parse(&text));
    }
}
