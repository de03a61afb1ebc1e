//! What can go wrong in a recipe, and the exit status that says so.

use std::path::PathBuf;
use std::process::ExitStatus;

use crate::qemu::console::End;

/// Why a recipe stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line asks for something that doesn't exist or doesn't fit together.
    #[error("{0} (see --help)")]
    Usage(String),
    /// A file couldn't be read or written.
    #[error("{path}: {1}", path = .0.display())]
    File(PathBuf, std::io::Error),
    /// A program couldn't be started.
    #[error("can't start {0}: {1}")]
    Spawn(String, std::io::Error),
    /// A program that a recipe needs ended badly.
    #[error("{0} failed: {1}")]
    Program(String, ExitStatus),
    /// A file that the recipe depends on says something that it can't.
    #[error("{path}: {1}", path = .0.display())]
    Malformed(PathBuf, String),
    /// The guest's commands ran, and this many failed.
    #[error("{0} guest command(s) failed")]
    GuestFailures(u32),
    /// The guest didn't come to its proper end; its last output was shown.
    #[error("{0}")]
    Guest(End),
    /// A check of the tree found this many violations; they were shown.
    #[error("{0} violation(s)")]
    Violations(usize),
    /// Tests failed; they were shown.
    #[error("{0} test(s) failed")]
    Tests(usize),
    /// On this many described machines fewer cores would run than there are; they
    /// were shown.
    #[error("{0} machine(s) would run fewer cores than the tree has")]
    FewerCores(usize),
}

impl From<lexopt::Error> for Error {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
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

/// The result of a recipe or a step of one.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
