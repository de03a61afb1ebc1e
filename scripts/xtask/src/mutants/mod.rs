//! `cargo xtask mutants`: whether the tests notice when the code is wrong.
//!
//! | module | does |
//! | --- | --- |
//! | [`mod@listed`] | changes that a person has written down, each with the test that must fail: orderings, barriers, second looks, counts (`urpc/mutants.toml`) |
//! | [`scratch`] | the copy of the tree in which they are made |
//! | [`generated`] | all changes that cargo-mutants makes to a package, with a list of accepted survivors |
//!
//! A listed change tells that a named model or test stands for a named line. Generated ones find the lines that no
//! test stands for; cargo-mutants doesn't know orderings and barriers, so each needs the other.

mod generated;
mod listed;
pub(crate) mod scratch;

pub(crate) use generated::{PACKAGES, Part, package};
pub(crate) use listed::{Which, listed};

use crate::error::{Error, Result};
use crate::testing::{Context, Outcome};
use lexopt::Parser;
use lexopt::prelude::{Long, ValueExt as _};

const HELP: &str = "\
usage: cargo xtask mutants [--filter TEXT]… [--package NAME]… [--file GLOB]… [--shard K/N]

Changes the code in a copy of the tree, one change at a time, and says which of them no test noticed.

  (nothing)        the changes listed in urpc/mutants.toml
  --filter TEXT    of these, only those whose name holds TEXT
  --package NAME   instead, all changes that cargo-mutants makes to this package (installed into target/tools)
  --file GLOB      of these, only those in such files
  --shard K/N      of these, only the Kth of N parts, from 0 on";

/// The recipe.
///
/// # Errors
/// If a change isn't noticed, or can't be made or built.
pub(crate) fn main(mut args: Parser) -> Result<()> {
    let (mut filters, mut packages) = (Vec::new(), Vec::new());
    let mut part = Part::default();
    while let Some(argument) = args.next()? {
        match argument {
            Long("filter") => filters.push(args.value()?.string()?),
            Long("package") => packages.push(args.value()?.string()?),
            Long("file") => part.files.push(args.value()?.string()?),
            Long("shard") => part.shard = Some(args.value()?.string()?),
            Long("help") => {
                println!("{HELP}");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let context = Context::new()?;
    let mut failed = 0;
    let mut take = |outcome| match outcome {
        Outcome::Passed(count) => println!("{count} changes, all noticed"),
        Outcome::Skipped(reason) => println!("skipped: {reason}"),
        Outcome::Failed(count, failures) => {
            println!("{count} changes noticed; not so:");
            for failure in &failures {
                println!("    {failure}");
            }
            failed += failures.len();
        }
    };
    if packages.is_empty() {
        let which = Which::Matching(filters);
        take(listed(&context, "mutants", &which, &mut |line| {
            println!("{line}");
        })?);
    }
    for name in packages {
        take(package(&context, &format!("mutants/{name}"), &name, &part)?);
    }
    match failed {
        0 => Ok(()),
        count => Err(Error::Tests(count)),
    }
}
