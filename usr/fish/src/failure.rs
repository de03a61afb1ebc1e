//! Why a command failed.

use alloc::string::String;
use core::fmt;

use capelin_idc::{CallError, TransportError};
use capelin_interfaces::{
    devices::DevicesError,
    entropy::EntropyError,
    files::FileError,
    firmware::FirmwareError,
    memory::MemoryError,
    monitor::{DomainState, MonitorError},
    skb::SkbError,
    system::SystemError,
};
use capelin_rt::{ExitCode, RtError};
use fish::command::CommandError;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It can't be read.
    Command(CommandError),
    /// There is no such command or program; what was likely meant.
    Unknown(String, Option<String>),
    /// No help for that.
    NoHelp(String, Option<&'static str>),
    /// A service can't be reached.
    Service(&'static str, RtError),
    /// The monitor refused.
    Monitor(MonitorError),
    /// The system service refused.
    System(SystemError),
    /// The memory service refused.
    Memory(MemoryError),
    /// There is no list of devices.
    Devices(DevicesError),
    /// The board's firmware can't be asked, or doesn't know.
    Firmware(FirmwareError),
    /// There are no random bytes.
    Entropy(EntropyError),
    /// The file or folder of this name can't be had, or made.
    File(String, FileError),
    /// The program of this name is on the card, and wanted on another core.
    ElsewhereOnly(String),
    /// No device of this machine has a driver for that.
    NoDevice(&'static str),
    /// The query has no answer.
    Skb(SkbError),
    /// No domain has this name or id.
    NoSuchDomain(String),
    /// No job has this number.
    NoSuchJob(u32),
    /// Of so many jobs, so many didn't end well; each has been told.
    Jobs {
        /// Those.
        failed: usize,
        /// All.
        count: usize,
    },
    /// A program ended otherwise than well.
    Ended(String, DomainState),
    /// Of so many rounds, so many failed; the failures have been told.
    Rounds {
        /// Rounds in which a command failed.
        failed: u32,
        /// All rounds.
        count: u32,
    },
}

impl Failure {
    /// Whether a binding is broken, so that it should be made anew.
    pub(crate) fn is_broken_binding(&self) -> bool {
        let call = match self {
            Self::Monitor(MonitorError::Call(call))
            | Self::System(SystemError::Call(call))
            | Self::Memory(MemoryError::Call(call))
            | Self::Devices(DevicesError::Call(call))
            | Self::Firmware(FirmwareError::Call(call))
            | Self::Entropy(EntropyError::Call(call))
            | Self::File(_, FileError::Call(call))
            | Self::Skb(SkbError::Call(call)) => call,
            _ => return false,
        };
        *call == CallError::Transport(TransportError::Closed)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(error) => error.fmt(f),
            Self::Unknown(name, hint) => {
                write!(f, "{name}: no such command or program")?;
                match hint {
                    Some(hint) => write!(f, "; did you mean {hint}?"),
                    None => f.write_str("; help lists the commands"),
                }
            }
            Self::NoHelp(name, Some(hint)) => {
                write!(f, "{name} is no command; did you mean {hint}?")
            }
            Self::NoHelp(name, None) => write!(f, "{name} is no command; help lists them"),
            Self::Service(name, error) => write!(f, "the {name} service: {error}"),
            Self::Monitor(error) => error.fmt(f),
            Self::System(error) => error.fmt(f),
            Self::Memory(error) => error.fmt(f),
            Self::Devices(error) => error.fmt(f),
            Self::Firmware(error) => error.fmt(f),
            Self::Entropy(error) => error.fmt(f),
            Self::File(path, error) => write!(f, "{path}: {error}"),
            Self::ElsewhereOnly(name) => {
                write!(f, "{name}: programs on the card run on this core only")
            }
            Self::NoDevice(what) => {
                write!(f, "no device with a driver has {what}; devices lists them")
            }
            Self::Skb(error) => error.fmt(f),
            Self::NoSuchDomain(name) => write!(f, "{name}: no such domain; ps lists them"),
            Self::NoSuchJob(number) => write!(f, "no job %{number}; jobs lists them"),
            Self::Jobs { failed, count } => write!(f, "{failed} of {count} jobs failed"),
            Self::Ended(name, DomainState::Exited(code)) if *code == ExitCode::NO_CONSOLE.0 => {
                write!(f, "{name} reached no console; dmesg shows what it said")
            }
            Self::Ended(name, DomainState::Exited(code)) => write!(f, "{name} exited with {code}"),
            Self::Ended(name, DomainState::Faulted) => write!(f, "{name} ended by a fault"),
            Self::Ended(name, _) => write!(f, "{name} was stopped"),
            Self::Rounds { failed, count } => write!(f, "{failed} of {count} rounds failed"),
        }
    }
}

macro_rules! from {
    ($($variant:ident($error:ty),)*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::$variant(error)
            }
        }
    )*};
}

from! {
    Command(CommandError),
    Monitor(MonitorError),
    System(SystemError),
    Memory(MemoryError),
    Devices(DevicesError),
    Firmware(FirmwareError),
    Entropy(EntropyError),
    Skb(SkbError),
}
