//! Cases that need no guest: format, lints, documentation, layering, the host's tests, model checking, Miri.
//!
//! Every cargo run stands here in full, so that a failing one can be repeated by hand (its log starts with the line).

use std::process::Command;
use std::time::Duration;

use super::{Case, Context, Outcome, how_to};
use capelin_report::{TestOutcome, TestResult};

use crate::check;
use crate::error::Result;
use crate::manifest::Program;
use crate::mutants::{self, Which};
use crate::qemu::console::{End, Report};
use crate::workspace::{self, Package};

const MINUTE: Duration = Duration::from_secs(60);
/// Packages with unsafe code or atomics that Miri can run on the host.
const MIRI_PACKAGES: [&str; 2] = ["capelin-urpc", "capelin-cap"];
/// Test files that take Miri minutes each, of operations that the others have, too: with `--full`.
const MIRI_LONG: [&str; 3] = ["remote", "restart", "unfinished"];
/// Packages with a `loom` test.
const LOOM_PACKAGES: [&str; 2] = ["capelin-peers", "capelin-urpc"];
/// Device trees that others wrote, with what an independent reader found in them.
const RECORDED_TREES: &str = "../shared/data/dtb";
/// Likewise for ACPI's tables.
const RECORDED_TABLES: &str = "../shared/data/acpi";
/// The target of kernel and programs, for their lints.
const GUEST_TARGET: &str = "aarch64-unknown-none-softfloat";

/// The cases, short ones first.
pub(super) fn cases() -> Vec<Case> {
    let case = |name: &str, run: fn(&Context, &str) -> Result<Outcome>| {
        let own_name = name.to_owned();
        Case {
            name: name.to_owned(),
            is_long: false,
            run: Box::new(move |context| run(context, &own_name)),
        }
    };
    let mut cases = vec![
        case("check/format", |context, name| {
            let mut cargo = workspace::cargo();
            cargo.args(["fmt", "--all", "--check"]);
            command(context, name, cargo, MINUTE)
        }),
        case("check/layering", |_, _| {
            let violations = check::violations()?;
            Ok(Outcome::of(
                violations.iter().map(ToString::to_string).collect(),
            ))
        }),
        case("check/lints-host", |context, name| {
            let mut cargo = workspace::cargo();
            cargo.args(["clippy", "--workspace", "--all-targets"]);
            cargo.args(excluded(context, |package| !runs_on_host(package)));
            cargo.args(["--", "-D", "warnings"]);
            command(context, name, cargo, 15 * MINUTE)
        }),
        case("check/lints-guest", |context, name| {
            let mut cargo = workspace::cargo();
            cargo.args(["clippy", "--release", "--target", GUEST_TARGET]);
            for program in guest_programs(context) {
                cargo.args(["--package", &program.package, "--bin", &program.bin]);
            }
            cargo.args(["--", "-D", "warnings"]);
            command(context, name, cargo, 15 * MINUTE)
        }),
        // The kernel's shell rests on types: they are checked without a cross compiler, too.
        case("check/kernel-on-host", |context, name| {
            let mut cargo = workspace::cargo();
            cargo.args(["check", "--package", "capelin-cpudriver"]);
            command(context, name, cargo, 5 * MINUTE)
        }),
        case("check/documentation", |context, name| {
            let mut cargo = workspace::cargo();
            cargo.args(["doc", "--workspace", "--no-deps"]);
            cargo.args(excluded(context, |package| !runs_on_host(package)));
            cargo.env("RUSTDOCFLAGS", "-Dwarnings");
            command(context, name, cargo, 15 * MINUTE)
        }),
        case("host/tests", |context, name| {
            let mut cargo = workspace::cargo();
            cargo.args(["test", "--workspace", "--no-fail-fast"]);
            cargo.args(excluded(context, |package| !runs_on_host(package)));
            counted(context, name, cargo, 30 * MINUTE)
        }),
    ];
    cases.push(case("how-to/sections", how_to::run));
    cases.push(case("host/recorded-trees", recorded_trees));
    cases.push(case("host/recorded-tables", |context, name| {
        let tests = "-p capelin-acpi --test recorded --test hostile -- --ignored";
        recorded_tables(context, name, ignored(tests))
    }));
    cases.push(Case {
        is_long: true,
        ..case("host/acpi-lies", |context, name| {
            let mut cargo = ignored("--release -p capelin-acpi --test hostile -- --ignored");
            cargo.env("CAPELIN_ACPI_ROUNDS", "4000");
            recorded_tables(context, name, cargo)
        })
    });
    cases.push(case("host/cpio", cpio));
    cases.push(Case {
        is_long: true,
        ..case("host/kernel-trees", kernel_trees)
    });
    cases.push(Case {
        is_long: true,
        ..case("host/swi-prolog", swi_prolog)
    });
    for package in LOOM_PACKAGES {
        let name = format!("host/loom-{package}");
        cases.push(case(&name, loom));
    }
    for package in MIRI_PACKAGES {
        let name = format!("host/miri-{package}");
        cases.push(case(&name, |context, name| {
            miri(context, name, |file| !MIRI_LONG.contains(&file))
        }));
    }
    cases.push(Case {
        is_long: true,
        ..case("host/long-capelin-cap", |context, name| {
            miri(context, name, |file| MIRI_LONG.contains(&file))
        })
    });
    cases.push(case("host/mutants-quick", |context, name| {
        mutants::listed(context, name, &Which::Quick, &mut |_| {})
    }));
    let long = |name: String, run: fn(&Context, &str) -> Result<Outcome>| Case {
        is_long: true,
        ..case(&name, run)
    };
    cases.push(long("host/mutants-listed".to_owned(), |context, name| {
        mutants::listed(context, name, &Which::Matching(vec![]), &mut |_| {})
    }));
    for tried in &mutants::PACKAGES {
        let name = format!("host/mutants-{}", tried.name);
        cases.push(long(name, |context, name| {
            mutants::package(
                context,
                name,
                name.trim_start_matches("host/mutants-"),
                &mutants::Part::default(),
            )
        }));
    }
    cases
}

/// Whether `package` builds and is tested on the host: not if it says otherwise, nor if it is programs only and no
/// build tool (EL0 programs have neither `main` nor `std`).
fn runs_on_host(package: &Package) -> bool {
    let is_tool = package.name == "xtask";
    package.capelin().host_tests && (is_tool || package.has("lib") || package.has("proc-macro"))
}

fn excluded(context: &Context, is_excluded: impl Fn(&Package) -> bool) -> Vec<String> {
    let packages = context.metadata.packages.iter();
    packages
        .filter(|package| is_excluded(package))
        .flat_map(|package| ["--exclude".to_owned(), package.name.clone()])
        .collect()
}

/// Every program that runs on the guest.
fn guest_programs(context: &Context) -> Vec<Program> {
    let packages = context.metadata.packages.iter();
    packages
        .filter(|package| package.name != "xtask" && !package.capelin().uefi)
        .flat_map(|package| {
            let bins = package
                .targets
                .iter()
                .filter(|target| target.kind.contains(&"bin".to_owned()));
            bins.map(|target| Program {
                package: package.name.clone(),
                bin: target.name.clone(),
            })
        })
        .collect()
}

/// Runs tests that are ignored elsewhere, since what they need isn't everywhere.
fn ignored(arguments: &str) -> Command {
    let mut cargo = workspace::cargo();
    cargo.arg("test").args(arguments.split_whitespace());
    cargo
}

/// The tests of trees that others wrote, where those are.
fn recorded_trees(context: &Context, name: &str) -> Result<Outcome> {
    let folder = workspace::root().join(RECORDED_TREES);
    if !folder.is_dir() {
        let reason = format!("no {RECORDED_TREES}");
        return Ok(Outcome::Skipped(reason));
    }
    let cargo = ignored(
        "--no-fail-fast -p capelin-dt -p capelin-boot -p capelin-skb --lib --test recorded \
         --test hostile --test heap --test handover --test device_trees -- --ignored",
    );
    counted(context, name, cargo, 20 * MINUTE)
}

/// The tests of tables that others wrote, where those are.
fn recorded_tables(context: &Context, name: &str, cargo: Command) -> Result<Outcome> {
    if !workspace::root().join(RECORDED_TABLES).is_dir() {
        let reason = format!("no {RECORDED_TABLES}");
        return Ok(Outcome::Skipped(reason));
    }
    counted(context, name, cargo, 40 * MINUTE)
}

/// The tests that any tree must pass, with all trees of the distribution's kernel.
fn kernel_trees(context: &Context, name: &str) -> Result<Outcome> {
    let folder = context.folder.join("kernel-trees");
    let mut fetch = Command::new(workspace::root().join("scripts/kernel-trees"));
    fetch.arg(&folder);
    let report = context.run(name, fetch, 20 * MINUTE)?;
    if end_failure(&report).is_some() {
        let last = report.output.lines().last().unwrap_or("no word");
        return Ok(Outcome::Skipped(format!("no kernel package: {last}")));
    }
    let mut cargo = ignored(
        "--release -p capelin-dt -p capelin-boot --lib --test heap -- --ignored real_trees \
         any_machine no_tree",
    );
    cargo.env("CAPELIN_TREES", folder);
    counted(context, name, cargo, 40 * MINUTE)
}

/// What we write, read by the program that others use.
fn cpio(context: &Context, name: &str) -> Result<Outcome> {
    let probe = Command::new("cpio").arg("--version").output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return Ok(Outcome::Skipped("no cpio (Debian: cpio)".to_owned()));
    }
    let cargo = ignored("-p capelin-archive --test cpio -- --ignored");
    counted(context, name, cargo, 5 * MINUTE)
}

/// The knowledge base's goals in SWI-Prolog.
fn swi_prolog(context: &Context, name: &str) -> Result<Outcome> {
    let probe = Command::new("swipl").arg("--version").output();
    if !probe.is_ok_and(|output| output.status.success()) {
        let reason = "no swipl (Debian: swi-prolog-nox)";
        return Ok(Outcome::Skipped(reason.to_owned()));
    }
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--package", "capelin-skb", "--test", "conformance"]);
    cargo.args(["--", "--ignored"]);
    counted(context, name, cargo, 10 * MINUTE)
}

/// The package that a case like `host/loom-capelin-urpc` is about.
fn package_of(name: &str) -> &str {
    name.split_once('-').map_or(name, |(_, package)| package)
}

fn loom(context: &Context, name: &str) -> Result<Outcome> {
    let mut cargo = workspace::cargo();
    cargo.args([
        "test",
        "--profile",
        "model",
        "--test",
        "loom",
        "--package",
        package_of(name),
    ]);
    // Of its own, so that the other flags don't make cargo build everything again each time.
    cargo
        .arg("--target-dir")
        .arg(context.metadata.target_directory.join("loom"));
    cargo.env("RUSTFLAGS", "--cfg loom");
    counted(context, name, cargo, 10 * MINUTE)
}

/// Miri on those of a package's test files that `is_meant` picks; and on its library, unless these are
/// the long ones.
fn miri(context: &Context, name: &str, is_meant: impl Fn(&str) -> bool) -> Result<Outcome> {
    let probe = nightly(&["miri", "--version"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        let reason = "no nightly toolchain with Miri (rustup toolchain install nightly --component miri,rust-src)";
        return Ok(Outcome::Skipped(reason.to_owned()));
    }
    let mut cargo = nightly(&["miri", "test", "--package", package_of(name)]);
    let packages = context.metadata.packages.iter();
    let package = packages.filter(|package| package.name == package_of(name));
    let files = package.flat_map(|package| &package.targets);
    let files = files.filter(|target| target.kind.iter().any(|kind| kind == "test"));
    let files: Vec<&str> = files.map(|target| &*target.name).collect();
    // Of a package without long ones, all is run.
    if files.iter().any(|file| MIRI_LONG.contains(file)) {
        for file in files.iter().filter(|file| is_meant(file)) {
            cargo.args(["--test", file]);
        }
        if !MIRI_LONG.iter().any(|file| is_meant(file)) {
            cargo.arg("--lib");
        }
    }
    cargo
        .arg("--target-dir")
        .arg(context.metadata.target_directory.join("miri"));
    counted(context, name, cargo, 20 * MINUTE)
}

/// The nightly toolchain's cargo, whatever toolchain runs this program.
fn nightly(arguments: &[&str]) -> Command {
    let mut cargo = Command::new("rustup");
    cargo.args(["run", "nightly", "cargo"]).args(arguments);
    cargo.current_dir(workspace::root());
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        cargo.env_remove(name);
    }
    cargo
}

/// A command that is one test: it passes if it succeeds.
fn command(context: &Context, name: &str, command: Command, time: Duration) -> Result<Outcome> {
    let report = context.run(name, command, time)?;
    Ok(Outcome::of(end_failure(&report).into_iter().collect()))
}

/// A run of libtest binaries, whose tests are counted.
fn counted(context: &Context, name: &str, mut command: Command, time: Duration) -> Result<Outcome> {
    command.env("CARGO_TERM_COLOR", "never");
    let report = context.run(name, command, time)?;
    let counts = Counts::read(&report.output);
    let mut failures = counts.failures;
    if failures.is_empty() {
        failures.extend(end_failure(&report));
    }
    if failures.is_empty() && counts.passed == 0 {
        failures.push("no test ran".to_owned());
    }
    Ok(if failures.is_empty() {
        Outcome::Passed(counts.passed)
    } else {
        Outcome::Failed(counts.passed, failures)
    })
}

fn end_failure(report: &Report) -> Option<String> {
    match &report.end {
        End::PoweredOff(_) => None,
        End::TimedOut(time) => Some(format!("took longer than {} s", time.as_secs())),
        End::Crashed(status) => Some(status.to_string()),
        other => Some(other.to_string()),
    }
}

/// What libtest's output says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: usize,
    failures: Vec<String>,
}

impl Counts {
    /// Adds up the summary lines (`test result: ok. 3 passed; 1 failed; …`); names failed tests by their own lines, and
    /// counts those that have none (a binary that died) by the summary or not at all: the exit status tells of them.
    fn read(output: &str) -> Self {
        let mut counts = Self::default();
        let mut failed = 0;
        for line in output.lines() {
            if let Some(summary) = line.strip_prefix("test result: ") {
                let number = |what: &str| -> usize {
                    let field = summary
                        .split(['.', ';'])
                        .find_map(|field| field.trim().strip_suffix(what));
                    field
                        .and_then(|number| number.trim().parse().ok())
                        .unwrap_or(0)
                };
                counts.passed += number("passed");
                failed += number("failed");
            } else if let Some(test) = TestResult::parse(line)
                && test.outcome == TestOutcome::Failed
            {
                counts.failures.push(test.name.to_owned());
            }
        }
        for _ in counts.failures.len()..failed {
            counts
                .failures
                .push("a test whose name got lost in the output".to_owned());
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtests_lines_are_added_up() {
        let output = "\
running 2 tests
test a::b ... ok
test a::c ... FAILED
test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
running 41 tests
test result: ok. 41 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s
";
        let counts = Counts::read(output);
        assert_eq!(counts.passed, 42);
        assert_eq!(counts.failures, ["a::c"]);
    }

    #[test]
    fn failures_without_a_line_still_count() {
        let output =
            "test a ... noise FAILED?\ntest result: FAILED. 0 passed; 2 failed; 0 ignored\n";
        assert_eq!(Counts::read(output).failures.len(), 2);
        assert_eq!(Counts::read("error: could not compile"), Counts::default());
    }

    #[test]
    fn packages_of_cases() {
        assert_eq!(package_of("host/loom-capelin-urpc"), "capelin-urpc");
    }
}
