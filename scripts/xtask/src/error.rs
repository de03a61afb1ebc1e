//! What can go wrong in a recipe, and the exit status that says so.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitStatus;

use crate::qemu::console::End;

/// Why a recipe stopped.
#[derive(Debug)]
pub(crate) enum Error {
    /// The command line asks for something that doesn't exist or doesn't fit together.
    Usage(String),
    /// A file couldn't be read or written.
    File(PathBuf, std::io::Error),
    /// A program couldn't be started.
    Spawn(String, std::io::Error),
    /// A program that a recipe needs ended badly.
    Program(String, ExitStatus),
    /// A file that the recipe depends on says something that it can't.
    Malformed(PathBuf, String),
    /// The guest's commands ran, and this many failed.
    GuestFailures(u32),
    /// The guest didn't come to its proper end; its last output was shown.
    Guest(End),
    /// A check of the tree found this many violations; they were shown.
    Violations(usize),
    /// Tests failed; they were shown.
    Tests(usize),
    /// On this many described machines fewer cores would run than there are; they
    /// were shown.
    FewerCores(usize),
}

impl Error {
    /// The exit status of `xtask`: tests and scripts tell the kinds apart by it.
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::GuestFailures(_) | Self::Violations(_) | Self::Tests(_) => 1,
            Self::Usage(_) => 2,
            Self::File(..) | Self::Spawn(..) | Self::Program(..) | Self::Malformed(..) => 3,
            Self::Guest(End::TimedOut(_)) => 4,
            Self::FewerCores(_) => 6,
            Self::Guest(End::Interrupted(signal)) => {
                128_u8.saturating_add(u8::try_from(*signal).unwrap_or(0))
            }
            Self::Guest(_) => 5,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) => write!(f, "{what} (see --help)"),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Spawn(program, error) => write!(f, "can't start {program}: {error}"),
            Self::Program(program, status) => write!(f, "{program} failed: {status}"),
            Self::Malformed(path, what) => write!(f, "{}: {what}", path.display()),
            Self::GuestFailures(count) => write!(f, "{count} guest command(s) failed"),
            Self::Guest(end) => write!(f, "{end}"),
            Self::Violations(count) => write!(f, "{count} violation(s)"),
            Self::Tests(count) => write!(f, "{count} test(s) failed"),
            Self::FewerCores(count) => {
                write!(
                    f,
                    "{count} machine(s) would run fewer cores than the tree has"
                )
            }
        }
    }
}

impl std::error::Error for Error {}

/// The result of a recipe or a step of one.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
