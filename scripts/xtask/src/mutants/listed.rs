//! Changes that are written down, each with the tests of which one must fail.
//!
//! ```toml
//! [[mutant]]
//! name = "publish-relaxed"
//! file = "urpc/src/memory/slots.rs"
//! from = "store(header, Ordering::Release)"   # must occur exactly once
//! to = "store(header, Ordering::Relaxed)"
//! by = "loom"                                 # loom: the models; host: the package's other tests
//! tests = ["data::messages"]                  # parts of names, as for libtest
//! quick = true                                # optional: run by scripts/test without --full, too
//! ```
//!
//! A change that doesn't apply or doesn't build is a failure of its own: the list has to follow the code. So is a
//! test name that nothing has, and a test that doesn't end in time: that may be the host's fault.

use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use super::scratch::Scratch;
use crate::error::{Error, Result};
use crate::qemu::console::{End, Report};
use crate::testing::{Context, Outcome};
use crate::workspace;

/// The list, relative to the workspace.
const LIST: &str = "urpc/mutants.toml";
/// The package that it is about.
const PACKAGE: &str = "capelin-urpc";
/// Test binaries that [`By::Host`] runs.
const HOST_TESTS: [&str; 7] = [
    "--lib", "--test", "ring", "--test", "framing", "--test", "hostile",
];
/// What a build may take; the first one builds all dependencies.
const BUILD_TIME: Duration = Duration::from_secs(600);
/// What tests may take: a minute or two on a host that has nothing else to do.
const TEST_TIME: Duration = Duration::from_secs(600);

/// Which of the list.
pub(crate) enum Which {
    Quick,
    /// Those whose names hold one of these; all, if there are none.
    Matching(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    mutant: Vec<Mutant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    name: String,
    file: String,
    from: String,
    to: String,
    by: By,
    tests: Vec<String>,
    #[serde(default)]
    quick: bool,
}

/// Who must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    Loom,
    Host,
}

impl Which {
    fn takes(&self, mutant: &Mutant) -> bool {
        match self {
            Self::Quick => mutant.quick,
            Self::Matching(parts) => {
                parts.is_empty() || parts.iter().any(|part| mutant.name.contains(part))
            }
        }
    }
}

impl Mutant {
    /// `text` with the change made.
    fn apply(&self, text: &str) -> Result<String, String> {
        match text.matches(&self.from).count() {
            1 => Ok(text.replacen(&self.from, &self.to, 1)),
            count => Err(format!("applies {count} times to {}", self.file)),
        }
    }
}

/// Makes the listed changes one by one; logs as case `name`, and tells each result to `tell`.
///
/// # Errors
/// If the list can't be read, the copy can't be written, or a program can't be started.
pub(crate) fn listed(
    context: &Context,
    name: &str,
    which: &Which,
    tell: &mut dyn FnMut(&str),
) -> Result<Outcome> {
    let path = workspace::root().join(LIST);
    let text = std::fs::read_to_string(&path).map_err(|error| Error::File(path.clone(), error))?;
    let mut mutants = parse(&text).map_err(|what| Error::Malformed(path, what))?;
    mutants.retain(|mutant| which.takes(mutant));
    if mutants.is_empty() {
        return Err(Error::Usage("no listed change is called that".to_owned()));
    }
    let folder = context.metadata.target_directory.join("mutants");
    let runner = Runner {
        context,
        name,
        scratch: Scratch::new(workspace::root(), folder.join("tree"))?,
    };
    // What fails unchanged would notice everything.
    for by in [By::Loom, By::Host] {
        let mut tests: Vec<_> = mutants
            .iter()
            .filter(|mutant| mutant.by == by)
            .flat_map(|mutant| mutant.tests.clone())
            .collect();
        tests.sort();
        tests.dedup();
        if !tests.is_empty() {
            match runner.verdict(by, &tests)? {
                Verdict::Passed => {}
                verdict => return Ok(Outcome::of(vec![format!("unchanged: {verdict:?}")])),
            }
        }
    }
    let mut noticed = 0;
    let mut failures = Vec::new();
    for mutant in &mutants {
        let start = std::time::Instant::now();
        let result = runner.try_one(mutant)?;
        let seconds = start.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                tell(&format!("caught    {} ({seconds:.1} s)", mutant.name));
                noticed += 1;
            }
            Err(what) => {
                tell(&format!(
                    "SURVIVED  {}: {what} ({seconds:.1} s)",
                    mutant.name
                ));
                failures.push(format!("{}: {what}", mutant.name));
            }
        }
    }
    Ok(if failures.is_empty() {
        Outcome::Passed(noticed)
    } else {
        Outcome::Failed(noticed, failures)
    })
}

fn parse(text: &str) -> Result<Vec<Mutant>, String> {
    let list: List = toml::from_str(text).map_err(|error| error.to_string())?;
    for (index, mutant) in list.mutant.iter().enumerate() {
        let others = list.mutant.get(..index).unwrap_or_default();
        if others.iter().any(|other| other.name == mutant.name) {
            return Err(format!("two are called {}", mutant.name));
        }
        if mutant.tests.is_empty() || mutant.from == mutant.to {
            return Err(format!("{} changes nothing, or has no test", mutant.name));
        }
    }
    Ok(list.mutant)
}

/// What a run of tests says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    /// A test failed.
    Failed,
    /// They didn't end.
    TimedOut,
    /// No test has that name.
    NoTest,
    /// The build fails.
    NotBuilt,
}

struct Runner<'c> {
    context: &'c Context,
    name: &'c str,
    scratch: Scratch,
}

impl Runner<'_> {
    /// Makes the change and undoes it: whether it was noticed, or why not.
    fn try_one(&self, mutant: &Mutant) -> Result<Result<(), String>> {
        let original = self.scratch.read(&mutant.file)?;
        let changed = match mutant.apply(&original) {
            Ok(changed) => changed,
            Err(what) => return Ok(Err(what)),
        };
        self.scratch.write(&mutant.file, &changed)?;
        let verdict = self.verdict(mutant.by, &mutant.tests);
        self.scratch.write(&mutant.file, &original)?;
        Ok(match verdict? {
            Verdict::Failed => Ok(()),
            Verdict::TimedOut => Err(format!("{:?} don't end", mutant.tests)),
            Verdict::Passed => Err(format!("{:?} pass", mutant.tests)),
            Verdict::NoTest => Err(format!("no test is called {:?}", mutant.tests)),
            Verdict::NotBuilt => Err("doesn't build".to_owned()),
        })
    }

    fn verdict(&self, by: By, tests: &[String]) -> Result<Verdict> {
        let mut build = self.cargo(by);
        build.arg("--no-run");
        let built = self.context.run(self.name, build, BUILD_TIME)?;
        if !matches!(built.end, End::PoweredOff(_)) {
            return Ok(Verdict::NotBuilt);
        }
        let mut run = self.cargo(by);
        run.arg("--").args(tests);
        Ok(read(&self.context.run(self.name, run, TEST_TIME)?))
    }

    fn cargo(&self, by: By) -> Command {
        let mut cargo = workspace::cargo();
        cargo.current_dir(&self.scratch.root);
        cargo.args(["test", "--offline", "--no-fail-fast", "--package", PACKAGE]);
        cargo
            .arg("--target-dir")
            .arg(
                self.scratch
                    .root
                    .with_file_name(if by == By::Loom { "loom" } else { "host" }),
            );
        match by {
            By::Loom => {
                cargo.args(["--profile", "model", "--test", "loom"]);
                cargo.env("RUSTFLAGS", "--cfg loom");
            }
            By::Host => {
                cargo.args(HOST_TESTS);
            }
        }
        cargo.env("CARGO_TERM_COLOR", "never");
        cargo
    }
}

/// The verdict in libtest's output.
fn read(report: &Report) -> Verdict {
    match report.end {
        End::PoweredOff(_) => {}
        End::TimedOut(_) => return Verdict::TimedOut,
        _ => return Verdict::Failed,
    }
    let ran = report.output.lines().any(|line| {
        line.strip_prefix("test result: ok. ")
            .is_some_and(|rest| !rest.starts_with("0 passed"))
    });
    if ran {
        Verdict::Passed
    } else {
        Verdict::NoTest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant() -> Mutant {
        let text = r#"
            [[mutant]]
            name = "n"
            file = "f"
            from = "a + b"
            to = "a - b"
            by = "loom"
            tests = ["t"]
        "#;
        parse(text).unwrap().remove(0)
    }

    #[test]
    fn a_change_applies_to_one_place_only() {
        assert_eq!(mutant().apply("x = a + b;").unwrap(), "x = a - b;");
        assert!(mutant().apply("a+b").is_err());
        assert!(mutant().apply("a + b + a + b").is_err());
    }

    #[test]
    fn the_list_applies_to_the_code_and_is_large_enough() {
        let read = |file: &str| std::fs::read_to_string(workspace::root().join(file)).unwrap();
        let mutants = parse(&read(LIST)).unwrap();
        assert!(mutants.len() >= 24, "only {}", mutants.len());
        for mutant in &mutants {
            let applied = mutant.apply(&read(&mutant.file));
            assert!(applied.is_ok(), "{}: {applied:?}", mutant.name);
        }
        assert!(mutants.iter().any(|mutant| Which::Quick.takes(mutant)));
    }

    #[test]
    fn nothing_ambiguous_is_listed() {
        let one = "[[mutant]]\nname = 'n'\nfile = 'f'\nfrom = 'a'\nto = 'b'\nby = 'host'\ntests = ['t']\n";
        assert!(parse(one).is_ok());
        assert!(parse(&format!("{one}{one}")).is_err());
        assert!(parse(&one.replace("'b'", "'a'")).is_err());
        assert!(parse(&one.replace("['t']", "[]")).is_err());
        assert!(parse(&one.replace("host", "miri")).is_err());
    }

    #[test]
    fn a_name_that_no_test_has_proves_nothing() {
        let report = |end, output: &str| Report {
            end,
            tail: vec![],
            output: output.to_owned(),
        };
        let none = "test result: ok. 0 passed; 0 failed; 0 ignored\n";
        let some = "test result: ok. 0 passed; 0 failed\ntest result: ok. 3 passed; 0 failed\n";
        assert_eq!(read(&report(End::PoweredOff(None), none)), Verdict::NoTest);
        assert_eq!(read(&report(End::PoweredOff(None), some)), Verdict::Passed);
        let late = End::TimedOut(TEST_TIME);
        assert_eq!(read(&report(late, some)), Verdict::TimedOut);
    }
}
