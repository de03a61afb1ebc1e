//! Why a domain couldn't be made.

use capelin_abi::SysError;
use capelin_rt::{RtError, args::ArgumentsError};

use crate::ImageError;

/// Why a domain couldn't be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpawnError {
    /// The executable is refused.
    Image(ImageError),
    /// Its arguments don't fit a page.
    Arguments(ArgumentsError),
    /// Memory, slots, or the kernel.
    Runtime(RtError),
}

impl From<ImageError> for SpawnError {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

impl From<ArgumentsError> for SpawnError {
    fn from(error: ArgumentsError) -> Self {
        Self::Arguments(error)
    }
}

impl From<RtError> for SpawnError {
    fn from(error: RtError) -> Self {
        Self::Runtime(error)
    }
}

impl From<SysError> for SpawnError {
    fn from(error: SysError) -> Self {
        Self::Runtime(RtError::System(error))
    }
}

impl core::fmt::Display for SpawnError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Image(error) => error.fmt(f),
            Self::Arguments(error) => error.fmt(f),
            Self::Runtime(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SpawnError {}
