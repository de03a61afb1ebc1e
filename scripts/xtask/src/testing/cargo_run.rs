//! `cargo run -p PROGRAM`: the runner of `.cargo/config.toml` boots QEMU, with the program in the image.

use std::fs;
use std::process::Stdio;

use super::{Context, Outcome};
use crate::error::{Error, Result};
use crate::workspace;

/// What is run, with an argument that the shell would take apart, and what comes of it. The default image doesn't hold
/// the program.
const RUNS: [(&[&str], i32, &str); 3] = [
    (&["lines", "2"], 0, "<0:0002:"),
    (&["no; such \"manner"], 1, "usage: chatter"),
    (&["fault"], 1, "half a line"),
];

/// Runs a program that succeeds, one that doesn't, and one that is ended.
///
/// # Errors
/// If cargo can't be started.
pub(super) fn run(context: &Context, name: &str, options: &str) -> Result<Outcome> {
    let path = context.log_path(name);
    let (mut log, mut failures) = (Vec::new(), Vec::new());
    for (arguments, wanted, said) in RUNS {
        let mut cargo = workspace::cargo();
        cargo.args(["run", "--quiet", "--package", "chatter", "--"]);
        cargo.args(arguments).env("CAPELIN_RUN_OPTIONS", options);
        let output = cargo.stdin(Stdio::null()).output();
        let output = output.map_err(|error| Error::Spawn("cargo run".to_owned(), error))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if output.status.code() != Some(wanted) {
            failures.push(format!("{arguments:?}: {}, not {wanted}", output.status));
        }
        if !text.contains(said) {
            failures.push(format!("{arguments:?}: doesn't say {said:?}"));
        }
        log.extend([output.stdout, output.stderr].concat());
    }
    fs::write(&path, log).map_err(|error| Error::File(path.clone(), error))?;
    Ok(Outcome::of(failures))
}
