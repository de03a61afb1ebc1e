//! Cases that boot a guest, as [`crate::cases`] reads them.
//!
//! A guest's own tests report in libtest's form, one line each (`test NAME ... ok`, `test NAME ... FAILED`, what was
//! wrong in the lines before), and are counted beside the case itself.

use std::fs;
use std::path::{Path, PathBuf};

use std::time::{Duration, Instant};

use capelin_dt::grow::{grow, reserve};
use capelin_dt::{DtError, Region};
use capelin_report::{BootTime, TestOutcome, TestResult};

use super::{
    Case, Context, Outcome, cards, cargo_run, cost, events, idle, isolation, late, media,
    processor, pulled, secure_boot, typing,
};
use crate::cases::{self, Damage, Expected, Firmware, GuestCase, Script, TreeChange};
use crate::error::{Error, Result};
use crate::qemu;
use crate::qemu::command::Console;
use crate::qemu::console::{End, Report};
use crate::qemu::options::RunOptions;
use lexopt::Parser;

/// All cases.
///
/// # Errors
/// If those that are data can't be read.
pub(super) fn cases() -> Result<Vec<Case>> {
    let case = |guest: GuestCase| Case {
        name: format!("qemu/{}", guest.name),
        is_long: guest.is_long,
        run: Box::new(move |context| run(context, &guest)),
    };
    let mut cases: Vec<_> = cases::cases()?.into_iter().map(case).collect();
    for (cores, is_long) in [(8, false), (64, true)] {
        let name = format!("qemu/idle/{cores}-cores");
        let log = name.clone();
        cases.push(Case {
            name,
            is_long,
            run: Box::new(move |context| idle::run(context, &log, cores)),
        });
    }
    cases.push(Case {
        name: "qemu/kernel/entries".to_owned(),
        is_long: false,
        run: Box::new(|context| events::entries(context, "qemu/kernel/entries")),
    });
    cases.push(Case {
        name: "qemu/events/no-broadcast".to_owned(),
        is_long: false,
        run: Box::new(|context| events::no_broadcast(context, "qemu/events/no-broadcast")),
    });
    for (cores, is_long) in [(4, false), (16, false), (64, true), (256, true)] {
        let name = format!("qemu/growth/{cores}-cores");
        cases.push(Case {
            name: name.clone(),
            is_long,
            run: Box::new(move |context| events::growth(context, &name, cores)),
        });
    }
    cases.push(Case {
        name: "qemu/cost/one-core".to_owned(),
        is_long: false,
        run: Box::new(|context| cost::one_core(context, "qemu/cost/one-core")),
    });
    cases.push(Case {
        name: "qemu/cost/mitigations".to_owned(),
        is_long: false,
        run: Box::new(|context| cost::mitigations(context, "qemu/cost/mitigations")),
    });
    for (name, options, is_long) in [
        ("qemu/programs/cargo-run", "--smp 1 --release", false),
        // As somebody calls it who develops.
        ("qemu/programs/cargo-run-quick", "--smp 2", true),
    ] {
        cases.push(Case {
            name: name.to_owned(),
            is_long,
            run: Box::new(move |context| cargo_run::run(context, name, options)),
        });
    }
    for (name, cores, options) in [
        ("qemu/isolation/4-cores-2-nodes", 4, "--numa 2"),
        ("qemu/isolation/gic2-3-cores", 3, "--gic 2"),
    ] {
        cases.push(Case {
            name: name.to_owned(),
            is_long: false,
            run: Box::new(move |context| isolation::run(context, name, cores, options)),
        });
    }
    for (name, hang) in late::HANGS {
        cases.push(Case {
            name: name.to_owned(),
            is_long: false,
            run: Box::new(move |context| late::run(context, name, hang)),
        });
    }
    cases.push(Case {
        name: "qemu/files/pulled-card".to_owned(),
        is_long: false,
        run: Box::new(|context| pulled::run(context, "qemu/files/pulled-card")),
    });
    cases.push(Case {
        name: "qemu/uefi/secure-boot".to_owned(),
        is_long: false,
        run: Box::new(|context| secure_boot::run(context, "qemu/uefi/secure-boot")),
    });
    for (name, log, options) in [
        ("qemu/shell/typing", "shell-typing", "--smp 2"),
        (
            "qemu/virtio/typing",
            "virtio-typing",
            "--smp 2 --console virtio",
        ),
        (
            "qemu/virtio/typing-pci",
            "virtio-typing-pci",
            "--smp 2 --console virtio-pci",
        ),
    ] {
        cases.push(Case {
            name: name.to_owned(),
            is_long: false,
            run: Box::new(move |context| typing::run(context, log, options)),
        });
    }
    Ok(cases)
}

fn run(context: &Context, case: &GuestCase) -> Result<Outcome> {
    if let Some(files) = &case.card {
        return cards::with_files(context, case, files);
    }
    if let Some(changes) = &case.medium {
        return media::run(context, case, changes);
    }
    let mut options = options(case)?;
    let image = context.image(&options.image)?;
    options.kernel = Some(match &case.damage {
        Some(damage) => damaged_image(context, &image, damage)?,
        None => image,
    });
    options.build = false;
    if let Some(firmware) = case.firmware {
        put_below(context, &mut options, firmware)?;
    }
    if let Some(change) = &case.tree {
        options.dtb = Some(changed_tree(context, &options, change)?);
    }
    boot(context, case, &options, &case.name)
}

/// Where the firmware of `tests/firmware` enters the boot image.
const BOOT_IMAGE_AT: &str = "0x40400000";

/// Has `firmware` run first, in flash; QEMU's tree is made for the boot image all the same.
fn put_below(context: &Context, options: &mut RunOptions, firmware: Firmware) -> Result<()> {
    let path = context.image("test-firmware")?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| Error::File(path, error)
    };
    let mut image = fs::read(&path).map_err(failed(&path))?;
    firmware.set(&mut image);
    let path = path.with_file_name(format!("test-firmware-{firmware:?}.img"));
    fs::write(&path, image).map_err(failed(&path))?;
    let boot = options.kernel.as_deref().unwrap_or(Path::new(""));
    options.qemu_args.extend([
        "-bios".to_owned(),
        path.display().to_string(),
        "-device".to_owned(),
        format!(
            "loader,file={},addr={BOOT_IMAGE_AT},force-raw=on",
            boot.display()
        ),
    ]);
    Ok(())
}

/// Boots what `options` say, and judges by `case` how it went; what it says goes to the log of `qemu/NAME`.
///
/// # Errors
/// If it can't be booted, or this program is asked to end.
pub(super) fn boot(
    context: &Context,
    case: &GuestCase,
    options: &RunOptions,
    name: &str,
) -> Result<Outcome> {
    let log_path = context.log_path(&format!("qemu/{name}"));
    let failed = |error| Error::File(log_path.clone(), error);
    let mut log = fs::File::create(&log_path).map_err(failed)?;
    let (start, before) = (Instant::now(), processor::ended_children());
    let report = qemu::boot(options, Console::Plain, &mut log)?;
    let took = Took {
        seconds: start.elapsed().as_secs_f64(),
        processor: processor::ended_children()
            .zip(before)
            .map(|(after, before)| after - before),
    };
    if matches!(report.end, End::Interrupted(_)) {
        return Err(Error::Guest(report.end));
    }
    Ok(judge(case, &report, &took))
}

/// The options of `scripts/run` that `case` asks for.
///
/// # Errors
/// If there are no such ones.
pub(super) fn options(case: &GuestCase) -> Result<RunOptions> {
    let mut options = RunOptions::parse(Parser::from_args(case.options.split_whitespace()))?;
    options.exec = case.exec.as_ref().map(Script::text);
    options.append = case.append.clone();
    options.timeout = Some(Duration::from_secs(case.timeout_s()));
    Ok(options)
}

/// How long the emulator ran, in seconds.
struct Took {
    seconds: f64,
    /// Of the host's processors; unknown where there is no `/proc`.
    processor: Option<f64>,
}

/// Holds what the guest did against what the case expects.
fn judge(case: &GuestCase, report: &Report, took: &Took) -> Outcome {
    let mut failures = Vec::new();
    let seconds = took.seconds;
    if let Some(limit) = case.within_s.filter(|&limit| seconds > limit as f64) {
        failures.push(format!("took {seconds:.1} s instead of {limit}"));
    }
    let processor = took.processor.unwrap_or(0.0);
    if let Some(limit) = case.processor_s.filter(|&limit| processor > limit as f64) {
        failures.push(format!(
            "took {processor:.1} s of the host's processors instead of {limit}"
        ));
    }
    failures.extend(
        case.prompt_ms
            .and_then(|limit| late_prompt(&report.output, limit)),
    );
    for (pattern, &wanted) in &case.counts {
        let found = report.output.lines().filter(|line| line.contains(pattern));
        let found = found.count();
        if found != wanted {
            failures.push(format!(
                "{found} lines with {pattern:?} instead of {wanted}"
            ));
        }
    }
    for command in &case.steady {
        let printed = printed_by(&report.output, command);
        if let Some(difference) = difference(&printed) {
            failures.push(format!("{command}: {difference}"));
        }
    }
    let ended_well = match (&case.expected, &report.end) {
        (Expected::Success, End::PoweredOff(None | Some(0))) => true,
        (Expected::Failures(count), End::PoweredOff(Some(failed))) => count == failed,
        (Expected::StaysOn, End::Lingered(0)) => true,
        (Expected::GivesUp, End::Fatal(_)) => true,
        _ => false,
    };
    if !ended_well {
        failures.push(match report.end {
            End::PoweredOff(Some(0) | None) => {
                "the guest succeeded, and should not have".to_owned()
            }
            ref end => end.to_string(),
        });
    }
    let mut rest = report.output.as_str();
    for pattern in &case.patterns {
        match find(rest, pattern) {
            Some(end) => rest = &rest[end..],
            None => {
                failures.push(format!("didn't print {pattern:?}"));
                break;
            }
        }
    }
    for pattern in &case.forbidden {
        if find(&report.output, pattern).is_some() {
            failures.push(format!("printed {pattern:?}"));
        }
    }
    if find(&report.output, MEMORY_IS_MISSING).is_some() {
        failures.push("mem didn't find all memory of the machine".to_owned());
    }
    let (mut passed, mut reported) = (0, 0);
    for line in report.output.lines() {
        let Some(test) = TestResult::parse(line) else {
            continue;
        };
        match test.outcome {
            TestOutcome::Passed => passed += 1,
            TestOutcome::Failed => failures.push(test.name.to_owned()),
        }
        reported += 1;
    }
    if reported < case.least_tests {
        failures.push(format!(
            "{reported} of at least {} tests reported",
            case.least_tests
        ));
    }
    if failures.is_empty() {
        Outcome::Passed(passed + 1)
    } else {
        Outcome::Failed(passed, failures)
    }
}

/// What is wrong with the time at which the prompt was there, `limit_ms` milliseconds after firmware's hand-over at most.
fn late_prompt(output: &str, limit_ms: u64) -> Option<String> {
    match output.lines().find_map(BootTime::parse) {
        None => Some("didn't say how long the boot took".to_owned()),
        Some(BootTime(us)) if us > limit_ms * 1000 => Some(format!(
            "at the prompt after {us} us instead of {limit_ms} ms"
        )),
        Some(BootTime(us)) => {
            println!("  at the prompt: {us} us of {limit_ms} ms");
            None
        }
    }
}

/// What the shell's command `command` printed, each time.
fn printed_by(output: &str, command: &str) -> Vec<String> {
    let turns = output
        .split(PROMPT)
        .filter_map(|turn| turn.split_once('\n'));
    let of_command = turns.filter(|(typed, _)| typed.trim_end() == command);
    of_command.map(|(_, printed)| printed.to_owned()).collect()
}

/// How the last of several outputs that must be the same differs from the first; `None` if it doesn't.
fn difference(printed: &[String]) -> Option<String> {
    let (first, last) = match printed {
        [first, .., last] => (first, last),
        _ => return Some(format!("printed {} times", printed.len())),
    };
    let (before, after) = (first.lines().count(), last.lines().count());
    if before != after {
        return Some(format!("{before} lines at first, {after} at last"));
    }
    let mut lines = first.lines().zip(last.lines());
    let (before, after) = lines.find(|(before, after)| before != after)?;
    Some(format!("{before:?} at first, {after:?} at last"))
}

/// What the shell's `mem` ends with when some of the machine's memory is in none of its rows. No case may see that.
const MEMORY_IS_MISSING: &str = " of the machine's * bytes of memory";

/// What the shell prints before a command.
const PROMPT: &str = "capelin> ";

/// Where in `text` the first line ends that `pattern` matches: a piece of a line, in which `*` stands for anything.
pub(super) fn find(text: &str, pattern: &str) -> Option<usize> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        start += line.len();
        let mut rest = line;
        let matches = pattern.split('*').all(|piece| match rest.find(piece) {
            Some(at) => {
                rest = &rest[at + piece.len()..];
                true
            }
            None => false,
        });
        if matches {
            return Some(start);
        }
    }
    None
}

/// QEMU's own tree for the machine that `options` ask for, with `change` done to it.
fn changed_tree(context: &Context, options: &RunOptions, change: &TreeChange) -> Result<PathBuf> {
    let path = context.folder.join("changed.dtb");
    let write =
        |tree: &[u8]| fs::write(&path, tree).map_err(|error| Error::File(path.clone(), error));
    let mut shape = options.clone();
    if let Some(cores) = change.cores {
        shape.cores = cores;
    }
    if let Some(gic) = change.gic {
        shape.gic = gic;
    }
    let mut tree = qemu::tree::dump(&shape, &path)?;
    change.apply(&mut tree);
    let malformed = |error: DtError| Error::Malformed(path.clone(), error.to_string());
    if let Some(reserved) = change.reserved {
        let places = (reserved.from..reserved.to).step_by(reserved.every.get());
        let regions: Vec<_> = places.map(|base| Region::new(base, 4096)).collect();
        tree = reserve(&tree, &regions).map_err(malformed)?;
    }
    if let Some(bytes) = change.bytes {
        let grown = |bytes| grow(&tree, bytes).map_err(malformed);
        // What QEMU adds is seen in what it makes of a tree of half the size.
        let half = grown(bytes / 2)?;
        write(&half)?;
        let mut given = options.clone();
        given.dtb = Some(path.clone());
        let added = cases::used_bytes(&qemu::tree::dump(&given, &path)?).saturating_sub(half.len());
        tree = grown(bytes.saturating_sub(added))?;
    }
    write(&tree)?;
    Ok(path)
}

/// A copy of the image at `path` with `damage` done to it.
fn damaged_image(context: &Context, path: &Path, damage: &Damage) -> Result<PathBuf> {
    let read = |path: &Path| fs::read(path).map_err(|error| Error::File(path.to_owned(), error));
    let mut bytes = read(path)?;
    let archive = read(&path.with_extension("archive"))?;
    let start = bytes.len().saturating_sub(archive.len());
    damage
        .apply(&mut bytes, start)
        .map_err(|what| Error::Malformed(path.to_owned(), what))?;
    let damaged = context.folder.join("damaged.img");
    fs::write(&damaged, bytes).map_err(|error| Error::File(damaged.clone(), error))?;
    Ok(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(expected: Expected, patterns: &[&str]) -> GuestCase {
        GuestCase {
            expected,
            patterns: patterns.iter().map(|&it| it.into()).collect(),
            ..GuestCase::new("t", "")
        }
    }

    fn report(end: End, output: &str) -> Report {
        Report {
            end,
            tail: vec![],
            output: output.to_owned(),
        }
    }

    fn passes(case: &GuestCase, end: End, output: &str) -> bool {
        matches!(
            judge(case, &report(end, output), &QUICK),
            Outcome::Passed(_)
        )
    }

    const OFF: End = End::PoweredOff(Some(0));
    const QUICK: Took = took(1.0, 1.0);

    const fn took(seconds: f64, processor: f64) -> Took {
        Took {
            seconds,
            processor: Some(processor),
        }
    }

    #[test]
    fn what_must_stay_the_same_is_compared() {
        let verdict = |second: &str| {
            let mut case = case(Expected::Success, &[]);
            case.steady = vec!["mem".into()];
            let output = format!("capelin> mem\r\n1 MiB\ncapelin> memo\n3\ncapelin> {second}");
            judge(&case, &report(OFF, &output), &QUICK)
        };
        assert_eq!(verdict("mem\r\n1 MiB\n"), Outcome::Passed(1));
        for wrong in ["mem\r\n2 MiB\n", "ps\r\n1 MiB\n"] {
            assert!(matches!(verdict(wrong), Outcome::Failed(0, failures) if failures.len() == 1));
        }
    }

    #[test]
    fn no_case_may_miss_memory() {
        let success = case(Expected::Success, &[]);
        assert!(passes(
            &success,
            OFF,
            "all 8192 bytes of the machine's memory\n"
        ));
        assert!(!passes(
            &success,
            OFF,
            "4096 of the machine's 8192 bytes of memory\n"
        ));
    }

    #[test]
    fn patterns_are_sought_in_order() {
        let success = case(Expected::Success, &["one", "cores * of 4"]);
        assert!(passes(&success, OFF, "x one\ny\ncores 4 of 4\n"));
        assert!(!passes(&success, OFF, "cores 4 of 4\none\n"));
        assert!(!passes(&success, OFF, "one\ncores 4\nof 4\n"));
        assert!(!passes(&success, OFF, "one\n"));
    }

    #[test]
    fn the_end_must_be_the_expected_one() {
        let success = case(Expected::Success, &[]);
        assert!(!passes(&success, End::PoweredOff(Some(1)), ""));
        assert!(!passes(&success, End::Premature, ""));
        assert!(!passes(&success, End::TimedOut(Duration::ZERO), ""));
        let gives_up = case(Expected::GivesUp, &[]);
        assert!(!passes(&gives_up, OFF, ""));
        assert!(passes(&gives_up, End::Fatal("x".to_owned()), ""));
        let stays = case(Expected::StaysOn, &[]);
        assert!(!passes(&stays, OFF, ""));
        assert!(!passes(&stays, End::Lingered(1), ""));
        assert!(passes(&stays, End::Lingered(0), ""));
        let fails = case(Expected::Failures(2), &[]);
        assert!(passes(&fails, End::PoweredOff(Some(2)), ""));
        assert!(!passes(&fails, End::PoweredOff(Some(1)), ""));
        assert!(!passes(&fails, OFF, ""));
    }

    #[test]
    fn what_must_not_be_printed() {
        let calm = GuestCase {
            forbidden: vec!["panic".into()],
            ..case(Expected::Success, &[])
        };
        assert!(passes(&calm, OFF, "fine\n"));
        assert!(!passes(&calm, OFF, "core 3: panic at x\n"));
    }

    #[test]
    fn lines_and_seconds_are_counted() {
        let two = GuestCase {
            counts: [(" running ".into(), 2)].into(),
            within_s: Some(3),
            ..case(Expected::Success, &[])
        };
        let output = "0 running x\n1 running y\n2 failed z\n";
        assert!(passes(&two, OFF, output));
        assert!(!passes(&two, OFF, "0 running x\n"));
        let late = judge(&two, &report(OFF, output), &took(3.5, 1.0));
        assert!(matches!(late, Outcome::Failed(..)));
        // The host was busy with others, or it was the emulator.
        let boot = GuestCase {
            processor_s: Some(3),
            ..case(Expected::Success, &[])
        };
        let waited = judge(&boot, &report(OFF, output), &took(30.0, 2.5));
        assert_eq!(waited, Outcome::Passed(1));
        let worked = judge(&boot, &report(OFF, output), &took(3.6, 3.5));
        assert!(matches!(worked, Outcome::Failed(..)));
    }

    #[test]
    fn the_prompt_comes_in_time_by_the_guests_clock() {
        let case = GuestCase {
            prompt_ms: Some(25),
            ..case(Expected::Success, &[])
        };
        let after = |us| format!("cpu 0: kernel\n{}\r\n", BootTime(us));
        assert!(passes(&case, OFF, &after(25_000)));
        assert!(!passes(&case, OFF, &after(25_001)));
        assert!(!passes(&case, OFF, "capelin> \n"));
    }

    #[test]
    fn guest_tests_are_counted() {
        let tests = GuestCase {
            least_tests: 2,
            ..case(Expected::Success, &[])
        };
        let judged = judge(
            &tests,
            &report(OFF, "test a ... ok\r\ntest b ... ok\ntest tube\n"),
            &QUICK,
        );
        assert_eq!(judged, Outcome::Passed(3));
        let output = "test a ... ok\ntest b ... FAILED\n";
        let judged = judge(&tests, &report(OFF, output), &QUICK);
        assert_eq!(judged, Outcome::Failed(1, vec!["b".to_owned()]));
        assert!(!passes(&tests, OFF, "test a ... ok\n"));
    }

    #[test]
    fn every_case_has_options_that_parse() {
        for case in cases::cases().unwrap() {
            let options = options(&case).unwrap();
            qemu::command::arguments(
                &options,
                qemu::command::Start::Kernel(Path::new("x")),
                Console::Plain,
            )
            .unwrap();
        }
    }
}
