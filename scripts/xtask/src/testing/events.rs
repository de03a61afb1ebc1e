//! What the kernel executes, held against its bounds: the longest entry, and no broadcast.

use std::fs;
use std::io::Write as _;

use capelin_report::MarkKind;

use super::{Context, Outcome};
use crate::bench::CPU;
use crate::build::DEFAULT_IMAGE;
use crate::error::{Error, Result};
use crate::events::{self, Events, Plugin, Scope};
use crate::qemu;
use crate::qemu::command::Console;
use crate::qemu::console::{End, Report};
use crate::qemu::options::RunOptions;
use lexopt::Parser;

/// Instructions that one entry may execute (`docs/015-cpu-driver.md`, "Bounds").
const BOUND: u64 = 20_000;
/// Paths that the guest must have marked.
const LEAST_PATHS: usize = 60;

/// What is done in a session in which nothing may be broadcast: programs that come and go on every core, with all their
/// mappings, and one that ends by a fault.
const SESSION: &str = "cores; hello; oncore 1 hello; oncore 2 hello; oncore 3 hello; \
     hello; oncore 1 hello; hello; ps; mem; dmesg; ping 1 20; cores";

/// The longest entry of every operation with the worst arguments known.
///
/// # Errors
/// If something doesn't build, or QEMU can't be started.
pub(super) fn entries(context: &Context, name: &str) -> Result<Outcome> {
    let image = context.image("test-entries")?;
    let options = "--image test-entries --smp 1 --icount";
    let (report, events) = run(context, name, image, options, None, Scope::Kernel)?;
    let names = events::named(&report.output, MarkKind::Entry);
    let mut failures = Vec::new();
    if report.output.contains("... FAILED") || !matches!(report.end, End::PoweredOff(_)) {
        failures.push(format!("the guest's tests: {}", report.end));
    }
    let longest = |number: &u32| events.paths.get(number)?.get("longest").copied();
    let mut lengths: Vec<(u64, &str)> = names
        .iter()
        .filter_map(|(number, &name)| Some((longest(number)?, name)))
        .collect();
    lengths.sort_unstable();
    if lengths.len() < LEAST_PATHS {
        failures.push(format!("{} of {LEAST_PATHS} paths counted", lengths.len()));
    }
    for &(length, name) in lengths.iter().rev().filter(|(length, _)| *length > BOUND) {
        failures.push(format!("{name}: {length} instructions, more than {BOUND}"));
    }
    if let Some((length, name)) = lengths.last() {
        println!("  the longest entry: {length} instructions of {BOUND} ({name})");
    }
    Ok(Outcome::of(failures))
}

/// A boot of four cores and a session at the shell: TLB invalidations, and none that other cores would see.
///
/// # Errors
/// As [`entries`].
pub(super) fn no_broadcast(context: &Context, name: &str) -> Result<Outcome> {
    let image = context.image(DEFAULT_IMAGE)?;
    let options = "--smp 4";
    let scope = Scope::Invalidations;
    let (report, events) = run(context, name, image, options, Some(SESSION), scope)?;
    let mut failures = Vec::new();
    if report.end != End::PoweredOff(Some(0)) {
        failures.push(format!("the session: {}", report.end));
    }
    let count = |name: &str| events.all.get(name).copied().unwrap_or(0);
    if count("TLBI") < 100 {
        failures.push(format!("only {} invalidations were counted", count("TLBI")));
    }
    if count("broadcast TLBI") != 0 {
        failures.push(format!("invalidations were broadcast: {:?}", events.all));
    }
    Ok(Outcome::of(failures))
}

/// What one more core may add to the machine's whole boot, as the number of cores doubles: instructions of all kernels and
/// programs together.
const MORE_A_CORE: u64 = 2_000_000;
const MORE_A_DOUBLING: u64 = 60_000;
/// Pages of kernels' code that are executed where there are more cores than one, and not on that one: however many there
/// are, on one node all run one text (`docs/065-core-start.md`).
const MORE_CODE_PAGES: u64 = 6;

/// What a machine of `cores` cores executes to the prompt and until it is off, less what one of a single core does, is
/// shared by the other cores: no more a core than a constant and a part for each doubling.
///
/// # Errors
/// As [`entries`].
pub(super) fn growth(context: &Context, name: &str, cores: u32) -> Result<Outcome> {
    let mut failures = Vec::new();
    let mut totals = |cores: u32| {
        let image = context.image(DEFAULT_IMAGE)?;
        let options = format!("--smp {cores} --icount --cpu {CPU}");
        let (report, events) = run(context, name, image, &options, Some("cores"), Scope::Totals)?;
        let running = report.output.matches(" running ").count();
        if report.end != End::PoweredOff(Some(0)) || running != cores as usize {
            failures.push(format!("{cores} cores: {}, {running} run", report.end));
        }
        let count = |name: &str| events.all.get(name).copied().unwrap_or(0);
        Ok::<_, Error>((count("user") + count("K"), count("code pages")))
    };
    let (one, many) = (totals(1)?, totals(cores)?);
    let others = u64::from(cores - 1);
    let instructions = many.0.saturating_sub(one.0) / others;
    let pages = many.1.saturating_sub(one.1);
    let bound = MORE_A_CORE + MORE_A_DOUBLING * u64::from(cores.ilog2());
    println!(
        "  each of {others} further cores: {instructions} instructions of {bound}; all: {pages} pages of code of {MORE_CODE_PAGES}"
    );
    if instructions > bound {
        failures.push(format!(
            "each further core adds {instructions} instructions, more than {bound}"
        ));
    }
    if pages > MORE_CODE_PAGES {
        failures.push(format!(
            "further cores execute {pages} more pages of kernels' code, more than {MORE_CODE_PAGES}"
        ));
    }
    if one.0 == 0 || one.1 == 0 || many.0 <= one.0 {
        failures.push("nothing was counted".to_owned());
    }
    Ok(Outcome::of(failures))
}

fn run(
    context: &Context,
    name: &str,
    image: std::path::PathBuf,
    options: &str,
    exec: Option<&str>,
    scope: Scope,
) -> Result<(Report, Events)> {
    let plugin = Plugin::build(&name.replace('/', "-"))?;
    let mut options = RunOptions::parse(Parser::from_args(options.split_whitespace()))?;
    options.kernel = Some(image);
    options.build = false;
    options.exec = exec.map(str::to_owned);
    options.timeout = Some(std::time::Duration::from_secs(600));
    options.qemu_args.extend(plugin.arguments(scope));
    let path = context.log_path(name);
    let failed = |error| Error::File(path.clone(), error);
    let mut log = fs::File::create(&path).map_err(failed)?;
    let report = qemu::boot(&options, Console::Plain, &mut log)?;
    let events = plugin.events()?;
    writeln!(log, "{:?}", events.all).map_err(failed)?;
    Ok((report, events))
}
