//! What must not be lost again: instructions and memory that the system takes, held against bounds.
//!
//! Under `-icount` a run repeats, so these bounds lie a few percent above what was last measured
//! (`docs/095-performance.md`). Whoever gets below one moves it.

use std::fs;

use super::{Context, Outcome};
use crate::bench::{CPU, KERNEL_IMAGE, figures};
use crate::build::DEFAULT_IMAGE;
use crate::error::{Error, Result};
use crate::qemu;
use crate::qemu::command::Console;
use crate::qemu::console::End;
use crate::qemu::options::RunOptions;
use lexopt::Parser;

/// A figure of the program `bench`, and what it may be at most.
type Bound = (&'static str, f64);

/// Instructions to start a program, with its end; to the shell; and KiB in use there.
const ONE_CORE: [Bound; 3] = [
    ("spawn", 120_000.0),
    ("boot", 14_500_000.0),
    ("memory", 8_192.0),
];

/// Instructions that a kernel path may take on a Cortex-A72 that does nothing at entry from
/// EL0, as on a core that needs nothing done (`../shared/peers.md`).
const UNMITIGATED: [Bound; 5] = [
    ("null-syscall", 80.0),
    ("lmp-rpc", 420.0),
    ("yield", 300.0),
    ("map", 500.0),
    ("frame", 900.0),
];
/// Instructions that the 8 branches at an entry take at least (`docs/056-errata.md`).
const BRANCHES: f64 = 24.0;

/// Boots one core and has it measure itself.
///
/// # Errors
/// If the image doesn't build, or QEMU can't be started.
pub(super) fn one_core(context: &Context, name: &str) -> Result<Outcome> {
    let log = create_log(context, name)?;
    let exec = Some("bench boot; bench spawn");
    Ok(
        match measure(context, log, DEFAULT_IMAGE, CPU, exec, None)? {
            Ok(measured) => Outcome::of(exceeded(&measured, &ONE_CORE)),
            Err(end) => Outcome::of(vec![end.to_string()]),
        },
    )
}

/// Times the CPU driver's operations on a Cortex-A72 with mitigations off, and on: off is as fast as a core that needs
/// none, and on is really on.
///
/// # Errors
/// If the image doesn't build, or QEMU can't be started.
pub(super) fn mitigations(context: &Context, name: &str) -> Result<Outcome> {
    let log = create_log(context, name)?;
    let on = log
        .try_clone()
        .map_err(|error| Error::File(name.into(), error))?;
    let run = |log, append| measure(context, log, KERNEL_IMAGE, "cortex-a72", None, append);
    let (off, on) = match (run(log, Some("mitigations=off"))?, run(on, None)?) {
        (Ok(off), Ok(on)) => (off, on),
        (Err(end), _) | (_, Err(end)) => return Ok(Outcome::of(vec![end.to_string()])),
    };
    let mut failures = exceeded(&off, &UNMITIGATED);
    let null = |figures: &[(String, f64)]| {
        let found = figures.iter().find(|(name, _)| name == "null-syscall");
        found.map_or(0.0, |&(_, value)| value)
    };
    let (off, on) = (null(&off), null(&on));
    println!("  null-syscall with mitigations on: {on}");
    if on < off + BRANCHES {
        failures.push(format!(
            "a null call takes {off} with mitigations off, {on} with them on"
        ));
    }
    Ok(Outcome::of(failures))
}

fn create_log(context: &Context, name: &str) -> Result<fs::File> {
    let path = context.log_path(name);
    fs::File::create(&path).map_err(|error| Error::File(path.clone(), error))
}

/// Boots one core of `image`; what it measures, or how it ended instead of by itself.
fn measure(
    context: &Context,
    mut log: fs::File,
    image: &str,
    cpu: &str,
    exec: Option<&str>,
    append: Option<&str>,
) -> Result<Result<Vec<(String, f64)>, End>> {
    let mut words = vec![
        "--smp=1".to_owned(),
        "--icount".to_owned(),
        format!("--cpu={cpu}"),
    ];
    words.extend(exec.map(|exec| format!("--exec={exec}")));
    words.extend(append.map(|append| format!("--append={append}")));
    let mut options = RunOptions::parse(Parser::from_args(words))?;
    options.kernel = Some(context.image(image)?);
    options.build = false;
    options.timeout = Some(std::time::Duration::from_secs(180));
    let report = qemu::boot(&options, Console::Plain, &mut log)?;
    if report.end != End::PoweredOff(Some(0)) {
        return Ok(Err(report.end));
    }
    figures(&report.output).map(Ok)
}

/// What is missing among `measured`, or is more than its bound.
fn exceeded(measured: &[(String, f64)], bounds: &[Bound]) -> Vec<String> {
    let mut failures = Vec::new();
    for &(name, bound) in bounds {
        let value = measured.iter().find(|(measured, _)| measured == name);
        match value {
            None => failures.push(format!("{name} wasn't measured")),
            Some(&(_, value)) if value > bound => {
                failures.push(format!("{name} is {value}, more than {bound}"));
            }
            Some(&(_, value)) => println!("  {name}: {value} of {bound}"),
        }
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_too_much_fails() {
        let measured = [("a".to_owned(), 10.0), ("b".to_owned(), 10.5)];
        let failures = |bounds: &[Bound]| exceeded(&measured, bounds).len();
        assert_eq!(failures(&[("a", 10.0), ("b", 11.0)]), 0);
        assert_eq!(failures(&[("a", 9.9), ("b", 10.0)]), 2);
        assert_eq!(failures(&[("c", 1.0)]), 1);
    }
}
