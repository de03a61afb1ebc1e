//! What must not be lost again: instructions and memory that the system takes, held against bounds.
//!
//! Under `-icount` a run repeats, so these bounds lie a few percent above what was last measured
//! (`docs/095-performance.md`). Whoever gets below one moves it.

use std::fs;

use super::{Context, Outcome};
use crate::bench::{CPU, figures};
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
    ("spawn", 146_000.0),
    ("boot", 14_500_000.0),
    ("memory", 8_192.0),
];

/// Boots one core and has it measure itself.
///
/// # Errors
/// If the image doesn't build, or QEMU can't be started.
pub(super) fn one_core(context: &Context, name: &str) -> Result<Outcome> {
    let words = ["--smp=1", "--icount", "--exec=bench boot; bench spawn"];
    let mut options = RunOptions::parse(Parser::from_args(words))?;
    CPU.clone_into(&mut options.cpu);
    options.kernel = Some(context.image(DEFAULT_IMAGE)?);
    options.build = false;
    options.timeout = Some(std::time::Duration::from_secs(180));
    let path = context.log_path(name);
    let mut log = fs::File::create(&path).map_err(|error| Error::File(path.clone(), error))?;
    let report = qemu::boot(&options, Console::Plain, &mut log)?;
    if report.end != End::PoweredOff(Some(0)) {
        return Ok(Outcome::of(vec![report.end.to_string()]));
    }
    let measured = figures(&report.output)?;
    Ok(Outcome::of(exceeded(&measured, &ONE_CORE)))
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
