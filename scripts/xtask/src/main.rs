//! Build, image, run, check, test and bench recipes: `cargo xtask COMMAND`.
//!
//! | module | does |
//! | --- | --- |
//! | [`build`], [`manifest`], [`layout`], [`image`] | programs → modules → archive → boot image |
//! | [`qemu`] | runs an image on QEMU, supervised |
//! | [`dt`] | what Capelin would use of a device tree |
//! | [`workspace`] | what cargo knows of the tree |
//! | [`args`], [`error`] | command line and exit status |
#![forbid(unsafe_code)]

mod args;
mod build;
mod dt;
mod error;
mod image;
mod layout;
mod manifest;
mod qemu;
mod workspace;

use std::process::ExitCode;

use args::Args;
use error::{Error, Result};

const HELP: &str = "\
usage: cargo xtask COMMAND [OPTION…]

  build   programs, module archive and boot image
  dt      what Capelin would use of a device tree
  run     boot on QEMU (scripts/run)

Each takes --help.";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next();
    match dispatch(command.as_deref(), Args::new(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}

fn dispatch(command: Option<&str>, args: Args) -> Result<()> {
    match command {
        Some("build") => build::main(args),
        Some("dt") => dt::main(args),
        Some("run") => qemu::main(args),
        None | Some("help" | "--help" | "-h") => {
            println!("{HELP}");
            Ok(())
        }
        Some(other) => Err(Error::Usage(format!("no recipe is called {other:?}"))),
    }
}
