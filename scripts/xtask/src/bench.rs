//! `cargo xtask bench`: instructions per operation, beside the figures to beat.
//!
//! The guest programs `bench-kernel` and `bench` run under `-icount` (one instruction a nanosecond, one host thread,
//! seed 1), so a run repeats byte for byte. They print one line a figure ([`capelin_report::Figure`]), with a name of
//! [`TARGETS`] or a new one.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use capelin_abi::boot::Mitigations;
use capelin_report::{Hundredths, MarkKind};
use serde::Serialize;

use crate::build;
use crate::error::{Error, Result};
use crate::events::{self, Events, Plugin, Scope};
use crate::qemu;
use crate::qemu::command::Console;
use crate::qemu::console::End;
use crate::qemu::options::RunOptions;
use crate::workspace::Metadata;
use lexopt::Parser;
use lexopt::prelude::{Long, ValueExt as _};

const HELP: &str = "\
usage: cargo xtask bench [--image NAME] [--smp N] [--cpu MODEL] [--mitigations auto|off] [--timeout S]
                         [--against FILE]

Runs the guests' benches under -icount and prints them beside the targets; writes target/bench/bench.json.
First the CPU driver's operations, by a first domain (image bench-kernel); then boot and memory in use with one
core; then the services.

  --image NAME      image that holds the program bench (qemu-virt)
  --smp N           cores for the services (2)
  --cpu MODEL       cortex-a53 (default): a core that needs nothing at entry from EL0; cortex-a72 does
  --mitigations W   auto (default): what the core needs is done at entry from EL0; off: nothing (docs/056-errata.md)
  --timeout S       wall-clock limit of each of the three (600)
  --against FILE    an older bench.json to compare with";

/// The image whose first domain times the CPU driver's operations.
pub(crate) const KERNEL_IMAGE: &str = "bench-kernel";

/// The core that figures are told of: none that needs more instructions at entry than others
/// (docs/056-errata.md).
pub(crate) const CPU: &str = "cortex-a53";

/// A figure to beat: name, operation, what must be reached, what is aimed for. In instructions, but where the name says
/// otherwise.
struct Target {
    name: &'static str,
    operation: &'static str,
    must: f64,
    aim: f64,
}

const fn target(name: &'static str, operation: &'static str, must: f64, aim: f64) -> Target {
    Target {
        name,
        operation,
        must,
        aim,
    }
}

/// The figures to beat. They come from other systems measured in the same emulator.
const TARGETS: [Target; 19] = [
    target("null-syscall", "null system call", 80.0, 50.0),
    target("lmp-rpc", "request + reply, one core, raw", 420.0, 250.0),
    target(
        "lmp-rpc-typed",
        "the same through typed stubs",
        900.0,
        500.0,
    ),
    target("yield", "yield between two dispatchers", 300.0, 200.0),
    target(
        "urpc-one-way",
        "64-byte message, polled ring, both sides",
        36.0,
        28.0,
    ),
    target(
        "urpc-rpc-polling",
        "typed request + reply, two cores, polling",
        800.0,
        400.0,
    ),
    target(
        "urpc-rpc-sleeping",
        "request + reply, two cores, both sleeping",
        2400.0,
        1500.0,
    ),
    target("cap-copy", "copy a capability", 500.0, 300.0),
    target("map", "map a 4 KiB page", 500.0, 350.0),
    target("unmap", "unmap it", 500.0, 350.0),
    target("frame", "zeroed 4 KiB frame from RAM", 900.0, 500.0),
    target("cap-delete", "delete a frame capability", 500.0, 300.0),
    target("revoke", "revoke RAM with one mapped frame", 1000.0, 700.0),
    target(
        "mem-serv",
        "4 KiB frame from the memory server",
        6000.0,
        2500.0,
    ),
    target(
        "page-fault",
        "page fault to the domain and back",
        800.0,
        400.0,
    ),
    target("spawn", "start a program", 120_000.0, 60_000.0),
    target("thread", "create + join a thread", 3000.0, 1000.0),
    target(
        "boot",
        "kernel entry to the shell, 1 core",
        20_000_000.0,
        8_000_000.0,
    ),
    target(
        "memory",
        "memory in use then, in KiB, 1 core",
        8192.0,
        3840.0,
    ),
];

/// One line of the guest.
#[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize)]
struct Figure {
    name: String,
    value: f64,
    unit: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    median: Option<f64>,
    /// What the kernel executes for one operation, by name: `K` instructions, `E` entries, and the instructions that
    /// cost more than one cycle.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    events: BTreeMap<String, f64>,
}

impl Figure {
    /// The figure in `line`; `None` if it holds none, `Some(Err)` if it looks like one and isn't.
    fn parse(line: &str) -> Option<Result<Self, String>> {
        let figure = capelin_report::Figure::parse(line)?;
        Some(match figure {
            Ok(figure) => Ok(figure.into()),
            Err(error) => Err(format!("{error}: {line:?}")),
        })
    }
}

impl From<capelin_report::Figure<'_>> for Figure {
    fn from(figure: capelin_report::Figure<'_>) -> Self {
        let number = |Hundredths(value)| value as f64 / 100.0;
        Self {
            name: figure.name.to_owned(),
            value: number(figure.value),
            unit: figure.unit.to_owned(),
            n: figure.n,
            min: figure.min.map(number),
            median: figure.median.map(number),
            events: BTreeMap::new(),
        }
    }
}

/// The recipe.
///
/// # Errors
/// If the guest fails, prints no figure, or one that can't be read.
pub(crate) fn main(mut args: Parser) -> Result<()> {
    let mut image = build::DEFAULT_IMAGE.to_owned();
    let mut cores = "2".to_owned();
    let mut cpu = CPU.to_owned();
    let mut mitigations = Mitigations::default();
    let mut timeout = "600".to_owned();
    let mut against = None;
    while let Some(argument) = args.next()? {
        match argument {
            Long("image") => image = args.value()?.string()?,
            Long("smp") => cores = args.value()?.string()?,
            Long("cpu") => cpu = args.value()?.string()?,
            Long("mitigations") => mitigations = mitigations_named(&args.value()?.string()?)?,
            Long("timeout") => timeout = args.value()?.string()?,
            Long("against") => against = Some(std::path::PathBuf::from(args.value()?)),
            Long("help") => {
                println!("{HELP}");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let older = against
        .map(|path| read(&path))
        .transpose()?
        .unwrap_or_default();
    let runs = [
        format!("--image={KERNEL_IMAGE} --smp=1"),
        format!("--image={image} --smp=1 --exec=bench%boot"),
        format!("--image={image} --smp={cores} --exec=bench"),
    ];
    let mut figures = Vec::new();
    for run in runs {
        let words = run.split(' ').map(|word| word.replace('%', " "));
        let common = [
            "--release".to_owned(),
            "--icount".to_owned(),
            format!("--cpu={cpu}"),
            format!("--append=mitigations={}", mitigations.name()),
            format!("--timeout={timeout}"),
        ];
        let mut options = RunOptions::parse(Parser::from_args(common.into_iter().chain(words)))?;
        // Counting changes no instruction of the guest, and so none of its figures.
        let plugin = if options.image == KERNEL_IMAGE {
            Plugin::build("bench")
                .inspect_err(|error| eprintln!("bench: events aren't counted: {error}"))
                .ok()
        } else {
            None
        };
        if let Some(plugin) = &plugin {
            options.qemu_args.extend(plugin.arguments(Scope::Kernel));
        }
        let report = qemu::boot(&options, Console::Plain, &mut io::stdout())?;
        if report.end != End::PoweredOff(Some(0)) {
            return Err(Error::Guest(report.end));
        }
        let of_run = report
            .output
            .lines()
            .filter_map(Figure::parse)
            .collect::<Result<Vec<_>, _>>();
        let guest = || "the guest's output".into();
        let mut of_run = of_run.map_err(|what| Error::Malformed(guest(), what))?;
        if let Some(plugin) = plugin {
            attach(&mut of_run, &report.output, &plugin.events()?);
        }
        if of_run.is_empty() {
            return Err(Error::Malformed(guest(), "holds no figure".to_owned()));
        }
        figures.extend(of_run);
    }
    write(&figures)?;
    print!("\n{}{}", table(&figures, &older), events_table(&figures));
    Ok(())
}

fn mitigations_named(name: &str) -> Result<Mitigations> {
    let mut all = Mitigations::ALL.into_iter();
    all.find(|value| value.name() == name)
        .ok_or_else(|| Error::Usage(format!("--mitigations can't be {name:?}")))
}

/// The figures that a guest printed, each by its name.
///
/// # Errors
/// If one can't be read.
pub(crate) fn figures(output: &str) -> Result<Vec<(String, f64)>> {
    let figures = output.lines().filter_map(Figure::parse);
    let pairs = figures.map(|figure| figure.map(|figure| (figure.name, figure.value)));
    let malformed = |what| Error::Malformed("the guest's output".into(), what);
    pairs.collect::<Result<_, _>>().map_err(malformed)
}

/// Gives each figure of a marked path (lines `path: NUMBER NAME OPERATIONS`) what was counted there.
fn attach(figures: &mut [Figure], output: &str, events: &Events) {
    for (number, text) in events::named(output, MarkKind::Path) {
        let Some((name, operations)) = text.split_once(' ') else {
            continue;
        };
        let counts = events.paths.get(&(NAMED_PATHS + number));
        let figure = figures.iter_mut().find(|figure| figure.name == name);
        let operations = operations.parse::<u32>().ok().filter(|&n| n > 0);
        let (Some(counts), Some(figure), Some(operations)) = (counts, figure, operations) else {
            continue;
        };
        let shares = counts.iter().map(|(name, &count)| {
            let share = match name.as_str() {
                "longest" => count as f64,
                _ => (count as f64 / f64::from(operations) * 100.0).round() / 100.0,
            };
            (name.clone(), share)
        });
        figure.events = shares.filter(|&(_, share)| share >= 0.01).collect();
    }
}

/// The number of the first path that a guest marks by name, in the plugin's counts.
const NAMED_PATHS: u32 = 256;

/// What was counted, a line for each figure that has it.
fn events_table(figures: &[Figure]) -> String {
    let lines = figures.iter().filter(|figure| !figure.events.is_empty());
    let lines = lines.map(|figure| {
        let first = ["K", "E", "longest"];
        let others = figure.events.keys().map(String::as_str);
        let names = first
            .into_iter()
            .chain(others.filter(|name| !first.contains(name)));
        let words: Vec<_> = names
            .filter_map(|name| Some(format!("{name} {}", figure.events.get(name)?)))
            .collect();
        format!("{:<18} {}\n", figure.name, words.join(", "))
    });
    let lines: String = lines.collect();
    if lines.is_empty() {
        return lines;
    }
    format!("\nthe kernel executes for one operation (docs/095-performance.md):\n{lines}")
}

fn read(path: &std::path::Path) -> Result<Vec<Figure>> {
    let text = fs::read(path).map_err(|error| Error::File(path.to_owned(), error))?;
    serde_json::from_slice(&text)
        .map_err(|error| Error::Malformed(path.to_owned(), error.to_string()))
}

fn write(figures: &[Figure]) -> Result<()> {
    let folder = Metadata::load()?.target_directory.join("bench");
    fs::create_dir_all(&folder).map_err(|error| Error::File(folder.clone(), error))?;
    let path = folder.join("bench.json");
    let json = serde_json::to_vec_pretty(figures)
        .map_err(|error| Error::Malformed(path.clone(), error.to_string()))?;
    fs::write(&path, json).map_err(|error| Error::File(path, error))
}

/// The figures beside their targets, those without a target last; and which targets have no figure.
fn table(figures: &[Figure], older: &[Figure]) -> String {
    let older: BTreeMap<_, _> = older
        .iter()
        .map(|figure| (figure.name.as_str(), figure.value))
        .collect();
    let mut rows = vec![format!(
        "{:<42} {:>12} {:>12} {:>12}  {:<7} {:>8}",
        "operation", "value", "must reach", "aims for", "", "change"
    )];
    let change = |figure: &Figure| match older.get(figure.name.as_str()) {
        Some(old) if *old != 0.0 => format!("{:+.1}%", (figure.value / old - 1.0) * 100.0),
        _ => String::new(),
    };
    for target in &TARGETS {
        let Some(figure) = figures.iter().find(|figure| figure.name == target.name) else {
            continue;
        };
        let verdict = match figure.value {
            value if value <= target.aim => "aimed",
            value if value <= target.must => "reached",
            _ => "MISSED",
        };
        rows.push(format!(
            "{:<42} {:>12} {:>12} {:>12}  {verdict:<7} {:>8}",
            target.operation,
            figure.value,
            target.must,
            target.aim,
            change(figure)
        ));
    }
    for figure in figures {
        if TARGETS.iter().all(|target| target.name != figure.name) {
            let name = format!("{} ({})", figure.name, figure.unit);
            let row = format!(
                "{name:<42} {:>12} {:>34} {:>8}",
                figure.value,
                "",
                change(figure)
            );
            rows.push(row);
        }
    }
    let missing: Vec<_> = TARGETS
        .iter()
        .map(|target| target.name)
        .filter(|name| figures.iter().all(|figure| figure.name != *name))
        .collect();
    if !missing.is_empty() {
        rows.push(format!("not measured: {}", missing.join(", ")));
    }
    rows.iter()
        .map(|row| format!("{}\n", row.trim_end()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(line: &str) -> Figure {
        Figure::parse(line).unwrap().unwrap()
    }

    #[test]
    fn lines_of_the_guest() {
        let parsed = figure("bench: null-syscall 71.5 instructions n=1000 min=71 median=71\r");
        assert_eq!(parsed.name, "null-syscall");
        assert_eq!((parsed.value, parsed.n), (71.5, Some(1000)));
        assert_eq!((parsed.min, parsed.median), (Some(71.0), Some(71.0)));
        assert_eq!(figure("bench: memory 3000 KiB").n, None);
        assert!(Figure::parse("a bench: x 1 y").is_none());
        for line in [
            "bench: x",
            "bench: x y z",
            "bench: x inf ns",
            "bench: x 1 ns n=many",
        ] {
            assert!(Figure::parse(line).unwrap().is_err(), "{line}");
        }
    }

    #[test]
    fn figures_stand_beside_their_targets() {
        let figures = [
            figure("bench: null-syscall 45 instructions"),
            figure("bench: yield 250 instructions"),
            figure("bench: map 501 instructions"),
            figure("bench: new-thing 7 messages"),
        ];
        let older = [figure("bench: yield 200 instructions")];
        let table = table(&figures, &older);
        let line = |start: &str| table.lines().find(|line| line.starts_with(start)).unwrap();
        assert!(line("null system call").contains("aimed"));
        assert!(line("yield").contains("reached") && line("yield").ends_with("+25.0%"));
        assert!(line("map a 4 KiB page").contains("MISSED"));
        assert!(line("new-thing (messages)").contains(" 7"));
        assert!(line("not measured").contains("revoke"));
        assert!(!line("not measured").contains("null-syscall"));
    }

    #[test]
    fn figures_survive_the_file() {
        let figures = vec![
            figure("bench: map 501 instructions n=5"),
            figure("bench: x 1.25 y"),
        ];
        let json = serde_json::to_vec(&figures).unwrap();
        assert_eq!(
            serde_json::from_slice::<Vec<Figure>>(&json).unwrap(),
            figures
        );
    }

    #[test]
    fn aims_are_no_easier_than_what_must_be_reached() {
        assert!(TARGETS.iter().all(|target| target.aim <= target.must));
    }
}
