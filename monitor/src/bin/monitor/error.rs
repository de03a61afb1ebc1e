//! Why a monitor can't begin, or a core isn't started.

use capelin_abi::SysError;
use capelin_archive::ArchiveError;
use capelin_idc::{CallError, TransportError};
use capelin_interfaces::memory::MemoryError;
use capelin_monitor::{image::ImageError, intermon::IntermonError};
use capelin_rt::RtError;

/// Why a monitor can't begin, or a core isn't started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Error {
    /// `init` or the parent didn't hand over what belongs to a monitor.
    HandOver,
    /// The module archive is damaged.
    Archive(ArchiveError),
    /// A module is missing or damaged.
    Module(&'static str),
    /// No core image can be made.
    Image(ImageError),
    /// The runtime or the kernel.
    Runtime(RtError),
    /// The memory service.
    Memory(MemoryError),
    /// Another monitor.
    Intermon(IntermonError),
}

impl From<RtError> for Error {
    fn from(error: RtError) -> Self {
        Self::Runtime(error)
    }
}

impl From<SysError> for Error {
    fn from(error: SysError) -> Self {
        Self::Runtime(RtError::System(error))
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        Self::Runtime(RtError::Call(error))
    }
}

impl From<TransportError> for Error {
    fn from(error: TransportError) -> Self {
        CallError::from(error).into()
    }
}

impl From<MemoryError> for Error {
    fn from(error: MemoryError) -> Self {
        Self::Memory(error)
    }
}

impl From<IntermonError> for Error {
    fn from(error: IntermonError) -> Self {
        Self::Intermon(error)
    }
}

impl From<ImageError> for Error {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::HandOver => f.write_str("what belongs to a monitor wasn't handed over"),
            Self::Archive(error) => write!(f, "the module archive: {error}"),
            Self::Module(name) => write!(f, "module {name} is missing or damaged"),
            Self::Image(error) => error.fmt(f),
            Self::Runtime(error) => error.fmt(f),
            Self::Memory(error) => error.fmt(f),
            Self::Intermon(error) => error.fmt(f),
        }
    }
}
