//! The guest cases: what each is booted with, what it is told, what must come of it. They are data, `tests/cases/*.toml`:
//!
//! ```toml
//! [all]                          # optional: fields for all cases of the file that don't have them
//! exec = "cores"
//!
//! [[case]]
//! name = "two-cores"             # in boot.toml: boot/two-cores
//! options = "--smp 2"
//! counts = { " running " = 2 }
//! ```
//!
//! The fields are those of [`GuestCase`]. To add a behaviour, write a guest program that reports `test NAME ... ok` for each
//! of its tests, put an image of it into `tests/images.toml`, and add a case that boots it.

mod card;
mod damage;
mod medium;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub(crate) use card::CardFiles;
pub(crate) use damage::Damage;
pub(crate) use medium::MediumChange;
pub(crate) use tree::{TreeChange, used_bytes};

use crate::error::{Error, Result};
use crate::workspace;

/// Where the cases are, below the workspace.
const FOLDER: &str = "tests/cases";

/// How a guest must end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Expected {
    /// All its commands succeed and it powers off.
    #[default]
    Success,
    /// So many of its commands fail, and it powers off.
    Failures(u32),
    /// All its commands succeed, and it can't power off, but says why.
    StaysOn,
    /// It says that it can't go on (`capelin: fatal: …`).
    GivesUp,
    /// Nothing is started: who reads the medium in firmware's place says why (`patterns`).
    Refused,
}

/// A guest case.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GuestCase {
    /// Without the leading `qemu/`.
    pub(crate) name: String,
    /// Options of `scripts/run`, separated by spaces.
    pub(crate) options: String,
    /// What the shell is told.
    pub(crate) exec: Option<Script>,
    /// Kernel arguments.
    pub(crate) append: Option<String>,
    pub(crate) expected: Expected,
    /// Pieces of lines that must be printed in this order; `*` stands for anything.
    pub(crate) patterns: Vec<String>,
    /// Pieces of lines that must not be printed; `panic`, if nothing is said.
    pub(crate) forbidden: Vec<String>,
    /// Tests that must be reported at least.
    pub(crate) least_tests: usize,
    /// If nothing is said, as long as this ending or `processor_s` needs on a busy host.
    pub(crate) timeout_s: Option<u64>,
    /// Pieces of lines, and how many lines must hold each.
    pub(crate) counts: BTreeMap<String, usize>,
    /// Commands that must print the same the last time as the first.
    pub(crate) steady: Vec<String>,
    /// Seconds from the emulator's start to its end that it may take.
    pub(crate) within_s: Option<u64>,
    /// Seconds of the host's processors that the emulator may take, however busy the host is.
    pub(crate) processor_s: Option<u64>,
    /// Milliseconds after firmware's hand-over by which the prompt must be there, by the machine's own clock: with
    /// `--icount`, millions of instructions of all cores.
    pub(crate) prompt_ms: Option<u64>,
    /// The device tree, if not QEMU's for this machine.
    pub(crate) tree: Option<TreeChange>,
    /// Whether it runs with `--full` only.
    pub(crate) is_long: bool,
    pub(crate) damage: Option<Damage>,
    /// What is on the card of a Raspberry Pi; it then boots from one without anything from elsewhere.
    pub(crate) card: Option<CardFiles>,
    /// What is done to what firmware boots from: a card without anything from elsewhere, a disk, a disc, or the folder
    /// for network boot.
    pub(crate) medium: Option<Vec<MediumChange>>,
    /// What runs below the boot image, if not QEMU's own; wants `--el2`.
    pub(crate) firmware: Option<Firmware>,
}

impl Default for GuestCase {
    fn default() -> Self {
        Self {
            name: String::new(),
            options: String::new(),
            exec: None,
            append: None,
            expected: Expected::default(),
            patterns: Vec::new(),
            forbidden: vec!["panic".to_owned()],
            least_tests: 0,
            timeout_s: None,
            counts: BTreeMap::new(),
            steady: Vec::new(),
            within_s: None,
            processor_s: None,
            prompt_ms: None,
            tree: None,
            is_long: false,
            damage: None,
            card: None,
            medium: None,
            firmware: None,
        }
    }
}

/// How the firmware of `tests/firmware` behaves: how it is called, and which workarounds for speculation it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Firmware {
    /// By SMC; all.
    Smc,
    /// By SMC; those of 2018.
    OldSmc,
    /// By HVC; all.
    Hvc,
    /// By HVC; those of 2018.
    OldHvc,
}

impl Firmware {
    /// Writes it into the firmware's image, as `tests/firmware/src/main.rs` says.
    pub(crate) fn set(self, image: &mut [u8]) {
        if let Some(words) = image.get_mut(32..48) {
            words.fill(0);
            words[0] = matches!(self, Self::Hvc | Self::OldHvc).into();
            words[8] = matches!(self, Self::Smc | Self::Hvc).into();
        }
    }
}

impl GuestCase {
    /// A case that expects success within a minute and no panic.
    pub(crate) fn new(name: impl Into<String>, options: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            options: options.into(),
            ..Self::default()
        }
    }

    /// Seconds after which it is given up.
    pub(crate) fn timeout_s(&self) -> u64 {
        let usual = match (&self.expected, self.processor_s) {
            (Expected::GivesUp, _) => 30,
            (_, Some(limit)) => 60 + 5 * limit,
            (_, None) => 60,
        };
        self.timeout_s.unwrap_or(usual)
    }
}

/// Commands for the shell.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Script {
    /// As they are typed.
    Text(String),
    /// Lines, some of which are counted out.
    Lines(Vec<Line>),
}

/// A line of a [`Script`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Line {
    /// As it is typed.
    Text(String),
    /// Once for each number `from` to `to`, which stands where `line` has `{}`.
    Counted { from: u32, to: u32, line: String },
}

impl Script {
    /// What is typed.
    pub(crate) fn text(&self) -> String {
        let lines = match self {
            Self::Text(text) => return text.clone(),
            Self::Lines(lines) => lines,
        };
        let typed = lines.iter().flat_map(|line| match line {
            Line::Text(text) => vec![text.clone()],
            Line::Counted { from, to, line } => (*from..=*to)
                .map(|number| line.replace("{}", &number.to_string()))
                .collect(),
        });
        typed.collect::<Vec<_>>().join("\n")
    }
}

impl From<&str> for Script {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A file of cases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    all: toml::Table,
    #[serde(rename = "case")]
    cases: Vec<toml::Table>,
}

/// All guest cases, the file by file.
///
/// # Errors
/// If a file can't be read, says something that no case has, or two cases have one name.
pub(crate) fn cases() -> Result<Vec<GuestCase>> {
    let folder = workspace::root().join(FOLDER);
    let failed = |error| Error::File(folder.clone(), error);
    let entries = std::fs::read_dir(&folder).map_err(failed)?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| Ok(entry.map_err(failed)?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    let mut cases = Vec::new();
    let mut names = BTreeSet::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(|it| Error::File(path.clone(), it))?;
        for case in parse(&path, &text)? {
            if !names.insert(case.name.clone()) {
                let what = format!("{} stands there twice", case.name);
                return Err(Error::Malformed(path, what));
            }
            cases.push(case);
        }
    }
    Ok(cases)
}

fn parse(path: &Path, text: &str) -> Result<Vec<GuestCase>> {
    let malformed = |what: String| Error::Malformed(path.to_owned(), what);
    let group = path
        .file_stem()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let file: File = toml::from_str(text).map_err(|error| malformed(error.to_string()))?;
    let mut cases = Vec::new();
    for own in file.cases {
        let mut fields = file.all.clone();
        fields.extend(own);
        let name = fields.get("name").and_then(toml::Value::as_str);
        let name = name.ok_or_else(|| malformed("a case has no name".to_owned()))?;
        let name = format!("{group}/{name}");
        let mut case: GuestCase = fields
            .try_into()
            .map_err(|error: toml::de::Error| malformed(format!("{name}: {error}")))?;
        case.name = name;
        cases.push(case);
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<GuestCase>> {
        parse(Path::new("tests/cases/boot.toml"), text)
    }

    #[test]
    fn cases_have_what_they_say_what_all_say_and_defaults() {
        let text = r#"
            [all]
            exec = "cores"
            counts = { " running " = 1 }

            [[case]]
            name = "a"
            options = "--smp 2"
            counts = { " running " = 2, x = 3 }
            damage = { module = "skb" }

            [[case]]
            name = "b"
            expected = { failures = 2 }
            exec = ["one", { from = 2, to = 3, line = "echo {} of {}" }]
            tree = { replace = [["a", "b"]], reserved = { from = 0, to = 0x2000, every = 4096 } }
            forbidden = []
        "#;
        let [a, b] = &*of(text).unwrap() else {
            panic!("two cases");
        };
        assert_eq!((&*a.name, &*a.options), ("boot/a", "--smp 2"));
        assert_eq!(a.exec, Some("cores".into()));
        let counts = [(" running ".to_owned(), 2), ("x".to_owned(), 3)];
        assert_eq!(a.counts, counts.into());
        assert_eq!(a.damage, Some(Damage::Module("skb".to_owned())));
        assert_eq!((&a.expected, a.timeout_s()), (&Expected::Success, 60));
        assert_eq!(a.forbidden, ["panic"]);
        assert_eq!(b.expected, Expected::Failures(2));
        let script = b.exec.as_ref().unwrap().text();
        assert_eq!(script, "one\necho 2 of 2\necho 3 of 3");
        assert_eq!(b.counts[" running "], 1);
        assert!(b.forbidden.is_empty());
        let tree = b.tree.as_ref().unwrap();
        assert_eq!(tree.replace, [("a".to_owned(), "b".to_owned())]);
        assert_eq!(tree.reserved.unwrap().every.get(), 4096);
    }

    #[test]
    fn what_no_case_has_is_refused() {
        for case in [
            "",
            "name = 'a', colour = 'red'",
            "name = 'a', expected = 'nothing'",
            "name = 'a', damage = 'module'",
            "name = 'a', medium = [{ cut = 'x' }]",
            "name = 'a', tree = { cores = 1, color = 2 }",
            "name = 'a', tree = { reserved = { from = 0, to = 1, every = 0 } }",
        ] {
            assert!(of(&format!("case = [{{ {case} }}]")).is_err(), "{case}");
        }
        assert!(of("case = [{ name = 'a' }]").is_ok());
        assert!(of("cases = [{ name = 'a' }]").is_err());
    }

    #[test]
    fn the_files_of_the_tree_hold_cases_of_each_kind() {
        let cases = cases().unwrap();
        for group in [
            "bad/",
            "card/",
            "boot/",
            "cores/",
            "kernel/",
            "machine/",
            "programs/",
            "shell/",
            "uefi/",
        ] {
            let of_group = cases.iter().filter(|case| case.name.starts_with(group));
            assert!(of_group.count() > 3, "{group}");
        }
    }
}
