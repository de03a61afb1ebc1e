//! `cargo xtask test`: everything that is tested, as a list of named cases.
//!
//! | group | cases | from |
//! | --- | --- | --- |
//! | `check/` | format, lints for host and guest, documentation, layering | [`host`] |
//! | `host/` | all tests of the crates that run on the host, counted one by one; model checking; Miri; changes to the code that tests must notice | [`host`] |
//! | `qemu/` | boots, with guest programs' tests counted one by one | [`guest`], declared in [`crate::cases`] |
//! | `qemu/platform/`, `qemu/card/` | boots of what is flashed; cards that lack something | [`cards`], declared by the platforms |
//!
//! A case passes or fails as a whole, and may hold counted tests of its own. What a case prints goes to
//! `target/test/CASE.log`, and to the terminal when it fails.

mod cards;
mod cargo_run;
mod cost;
mod events;
mod guest;
mod host;
mod how_to;
mod idle;
mod isolation;
mod late;
mod media;
mod one_binary;
mod processor;
mod pulled;
mod secure_boot;
mod session;
mod typing;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::build;
use crate::error::{Error, Result};
use crate::qemu::console::{self, End, Limits, Report};
use crate::workspace::Metadata;
use lexopt::Parser;
use lexopt::prelude::{Long, ValueExt as _};

const HELP: &str = "\
usage: scripts/test [--list] [--full] [--filter TEXT]…

Runs all tests; the last line tells how many passed, failed and were skipped.

  --list          name the cases and stop
  --filter TEXT   only cases whose name holds TEXT; may be repeated
  --full          the long ones, too";

/// Lines of a failed case's log that are shown.
const SHOWN_LINES: usize = 60;

/// What a case does.
pub(crate) type Run = Box<dyn Fn(&Context) -> Result<Outcome>>;

/// A named case.
pub(crate) struct Case {
    pub(crate) name: String,
    /// Whether it runs with `--full` only.
    pub(crate) is_long: bool,
    pub(crate) run: Run,
}

/// What the cases share.
pub(crate) struct Context {
    pub(crate) metadata: Metadata,
    /// Where logs and files made for a case go.
    pub(crate) folder: PathBuf,
    /// Images built so far: each is built once, and all cases boot the same.
    images: RefCell<BTreeMap<String, PathBuf>>,
}

/// How a case went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// So many tests passed.
    Passed(usize),
    /// So many tests passed, and these failed.
    Failed(usize, Vec<String>),
    /// It can't run here, for this reason.
    Skipped(String),
}

impl Outcome {
    /// A case that is one test, and passed if nothing is wrong.
    pub(crate) fn of(failures: Vec<String>) -> Self {
        if failures.is_empty() {
            Self::Passed(1)
        } else {
            Self::Failed(0, failures)
        }
    }

    /// The same, unless something else is wrong, too.
    pub(crate) fn and(self, more: Vec<String>) -> Self {
        match self {
            Self::Passed(passed) if !more.is_empty() => Self::Failed(passed - 1, more),
            Self::Failed(passed, mut failures) => {
                failures.extend(more);
                Self::Failed(passed, failures)
            }
            other => other,
        }
    }
}

impl Context {
    /// A context in which nothing has been built yet.
    ///
    /// # Errors
    /// If the workspace can't be read, or there is no place for logs.
    pub(crate) fn new() -> Result<Self> {
        let metadata = Metadata::load()?;
        let folder = metadata.target_directory.join("test");
        fs::create_dir_all(&folder).map_err(|error| Error::File(folder.clone(), error))?;
        Ok(Self {
            metadata,
            folder,
            images: RefCell::default(),
        })
    }

    /// The boot image `name`.
    ///
    /// # Errors
    /// If it doesn't build.
    pub(crate) fn image(&self, name: &str) -> Result<PathBuf> {
        if let Some(path) = self.images.borrow().get(name) {
            return Ok(path.clone());
        }
        let path = build::image(name)?;
        self.images
            .borrow_mut()
            .insert(name.to_owned(), path.clone());
        Ok(path)
    }

    /// The log of the case `name`.
    pub(crate) fn log_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}.log", name.replace('/', "-")))
    }

    /// Runs `command` to its end or for `timeout`, with its output going to the log of the case `name`.
    ///
    /// # Errors
    /// If it can't be started, or this program is asked to end.
    pub(crate) fn run(&self, name: &str, command: Command, timeout: Duration) -> Result<Report> {
        let program = command.get_program().to_string_lossy().into_owned();
        let path = self.log_path(name);
        let file = fs::File::create(&path).map_err(|error| Error::File(path, error))?;
        let limits = Limits {
            timeout: Some(timeout),
            grace: Duration::ZERO,
            expects_status: false,
        };
        let mut log = Log {
            file,
            shows_progress: std::io::stderr().is_terminal(),
        };
        let report = console::supervise(command, &limits, &mut log)
            .map_err(|error| Error::Spawn(program, error))?;
        match report.end {
            End::Interrupted(_) => Err(Error::Guest(report.end)),
            _ => Ok(report),
        }
    }
}

/// A log file; on a terminal a dot for each piece of output shows that something moves.
struct Log {
    file: fs::File,
    shows_progress: bool,
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.shows_progress {
            eprint!(".");
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Selection {
    filters: Vec<String>,
    full: bool,
    list: bool,
}

impl Selection {
    fn parse(mut args: Parser) -> Result<Option<Self>> {
        let mut selection = Self::default();
        while let Some(argument) = args.next()? {
            match argument {
                Long("filter") => selection.filters.push(args.value()?.string()?),
                Long("full") => selection.full = true,
                Long("list") => selection.list = true,
                Long("help") => return Ok(None),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(Some(selection))
    }

    fn takes(&self, case: &Case) -> bool {
        (self.full || !case.is_long)
            && (self.filters.is_empty()
                || self.filters.iter().any(|filter| case.name.contains(filter)))
    }
}

/// The recipe.
///
/// # Errors
/// If a test fails, nothing was selected, a case can't be read, or this program is asked to end.
pub(crate) fn main(args: Parser) -> Result<()> {
    let Some(selection) = Selection::parse(args)? else {
        println!("{HELP}");
        return Ok(());
    };
    let mut cases = host::cases();
    cases.extend(guest::cases()?);
    cases.extend(cards::cases());
    cases.push(one_binary::case());
    cases.retain(|case| selection.takes(case));
    if selection.list {
        for case in &cases {
            println!("{}", case.name);
        }
        return Ok(());
    }
    if cases.is_empty() {
        return Err(Error::Usage("no case has that in its name".to_owned()));
    }
    let context = Context::new()?;
    let mut total = Total::default();
    for case in &cases {
        let start = Instant::now();
        print!("{:<44} ", case.name);
        // A terminal that is gone is noticed when the result is printed.
        let _ = std::io::stdout().flush();
        let outcome = match (case.run)(&context) {
            Ok(outcome) => outcome,
            Err(Error::Guest(End::Interrupted(signal))) => {
                println!("interrupted");
                return Err(Error::Guest(End::Interrupted(signal)));
            }
            Err(error) => Outcome::Failed(0, vec![error.to_string()]),
        };
        total.take(
            &case.name,
            &outcome,
            start.elapsed(),
            &context.log_path(&case.name),
        );
    }
    total.close()
}

/// Counts over all cases.
#[derive(Default)]
struct Total {
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
}

impl Total {
    fn take(&mut self, name: &str, outcome: &Outcome, time: Duration, log: &Path) {
        let seconds = time.as_secs_f64();
        match outcome {
            Outcome::Passed(1) => println!("ok ({seconds:.1} s)"),
            Outcome::Passed(count) => println!("ok, {count} tests ({seconds:.1} s)"),
            Outcome::Skipped(reason) => println!("skipped: {reason}"),
            Outcome::Failed(passed, failures) => {
                println!("FAILED, {passed} tests passed ({seconds:.1} s)");
                for failure in failures {
                    println!("    {failure}");
                }
                show_log(log);
            }
        }
        match outcome {
            Outcome::Passed(count) => self.passed += count,
            Outcome::Skipped(reason) => self.skipped.push(format!("{name}: {reason}")),
            Outcome::Failed(passed, failures) => {
                self.passed += passed;
                let names = failures.iter().map(|failure| format!("{name}: {failure}"));
                self.failed.extend(names);
            }
        }
    }

    fn closing_line(&self) -> String {
        let (failed, skipped) = (self.failed.len(), self.skipped.len());
        format!("{} passed, {failed} failed, {skipped} skipped", self.passed)
    }

    fn close(self) -> Result<()> {
        println!();
        for skipped in &self.skipped {
            println!("skipped  {skipped}");
        }
        for failed in &self.failed {
            println!("failed   {failed}");
        }
        println!("{}", self.closing_line());
        match self.failed.len() {
            0 => Ok(()),
            count => Err(Error::Tests(count)),
        }
    }
}

fn show_log(path: &Path) {
    let Ok(log) = fs::read(path) else {
        return;
    };
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<_> = log.lines().collect();
    println!("    --- the end of {} ---", path.display());
    for line in lines.iter().skip(lines.len().saturating_sub(SHOWN_LINES)) {
        println!("    {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(line: &str) -> Selection {
        Selection::parse(Parser::from_args(line.split_whitespace()))
            .unwrap()
            .unwrap()
    }

    fn takes(line: &str, name: &str, is_long: bool) -> bool {
        selection(line).takes(&Case {
            name: name.to_owned(),
            is_long,
            run: Box::new(|_| Ok(Outcome::Passed(1))),
        })
    }

    #[test]
    fn selecting_cases() {
        assert!(takes("", "qemu/boot/gic2", false));
        assert!(!takes("", "qemu/boot/smp256", true));
        assert!(takes("--full", "qemu/boot/smp256", true));
        assert!(takes("--filter host --filter gic", "qemu/boot/gic2", false));
        assert!(!takes("--filter host", "qemu/boot/gic2", false));
        assert!(!takes("--filter smp", "qemu/boot/smp256", true));
    }

    #[test]
    fn case_names_differ_and_fit_a_file() {
        let mut cases = host::cases();
        cases.extend(guest::cases().unwrap());
        cases.extend(cards::cases());
        cases.push(one_binary::case());
        let mut names: Vec<_> = cases.iter().map(|case| case.name.clone()).collect();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        assert!(names.iter().all(|name| name.chars().all(plain)));
        names.sort();
        names.dedup();
        assert_eq!(names.len(), cases.len());
    }

    #[test]
    fn totals_tell_failure_from_success() {
        let log = Path::new("/nonexistent");
        let mut total = Total::default();
        total.take("a", &Outcome::Passed(3), Duration::ZERO, log);
        total.take("b", &Outcome::Skipped("x".to_owned()), Duration::ZERO, log);
        assert_eq!(total.closing_line(), "3 passed, 0 failed, 1 skipped");
        assert!(total.close().is_ok());
        let mut total = Total::default();
        let failed = Outcome::Failed(2, vec!["t".to_owned()]);
        total.take("a", &failed, Duration::ZERO, log);
        assert!(matches!(total.close(), Err(Error::Tests(1))));
    }
}
