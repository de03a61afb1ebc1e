//! Build, image, run, check, test and bench recipes: `cargo xtask COMMAND`.
//!
//! | module | does |
//! | --- | --- |
//! | [`build`], [`manifest`], [`layout`], [`image`] | programs → modules → archive → boot image |
//! | [`platforms`], [`card`], [`distribution`] | SD card images, with firmware from the distribution's packages |
//! | [`qemu`] | runs an image on QEMU, supervised |
//! | [`testing`], [`cases`] | all tests; the guest cases |
//! | [`mutants`] | changes to the code, and whether a test notices |
//! | [`check`] | layering, lints, unsafe code, kernel locks, documents |
//! | [`mod@bench`] | runs the guest's benches, prints them beside the targets |
//! | [`dt`], [`acpi`] | what Capelin would use of a device tree, of ACPI tables |
//! | [`workspace`] | what cargo knows of the tree |
//! | [`error`] | exit status |
#![forbid(unsafe_code)]

mod acpi;
mod bench;
mod build;
mod card;
mod cases;
mod check;
mod distribution;
mod dt;
mod errata;
mod error;
mod events;
mod image;
mod layout;
mod manifest;
mod mutants;
mod platforms;
mod qemu;
mod testing;
mod veneers;
mod workspace;

use std::process::ExitCode;

use error::{Error, Result};
use lexopt::Parser;

const HELP: &str = "\
usage: cargo xtask COMMAND [OPTION…]

  acpi    what Capelin would use of a server's ACPI tables
  bench   instructions per operation, beside the figures to beat
  build   programs, module archive and boot image
  check   what the architecture says of the tree, held against the tree
  dt      what Capelin would use of a device tree
  image   SD card image of a board
  mutants changes the code, and says which changes no test notices
  run     boot on QEMU (scripts/run)
  test    all tests (scripts/test)

Each takes --help.";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next();
    match dispatch(command.as_deref(), Parser::from_args(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The tests' own last line has said it.
            if !matches!(error, Error::Tests(_)) {
                let text = format!("xtask: {error}\n");
                // The exit status tells it, too, if nobody takes the text.
                let _ = qemu::console::patiently_write(&mut std::io::stderr(), text.as_bytes());
            }
            ExitCode::from(error.exit_status())
        }
    }
}

fn dispatch(command: Option<&str>, args: Parser) -> Result<()> {
    match command {
        Some("acpi") => acpi::main(args),
        Some("bench") => bench::main(args),
        Some("build") => build::main(args),
        Some("check") => check::main(args),
        Some("dt") => dt::main(args),
        Some("image") => card::main(args),
        Some("mutants") => mutants::main(args),
        Some("run") => qemu::main(args),
        Some("test") => testing::main(args),
        None | Some("help" | "--help" | "-h") => {
            println!("{HELP}");
            Ok(())
        }
        Some(other) => Err(Error::Usage(format!("no recipe is called {other:?}"))),
    }
}
