//! What the runtime itself can't do.

use capelin_abi::SysError;
use capelin_idc::CallError;

/// Why the runtime couldn't do something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RtError {
    /// The kernel refused.
    System(SysError),
    /// No memory is left to make frames from.
    OutOfMemory,
    /// This program has all the memory that one may have.
    ShareUsed,
    /// No home memory is left to make kernel objects from.
    OutOfHomeMemory,
    /// No capability slots are left.
    OutOfSlots,
    /// No virtual addresses are left.
    OutOfAddresses,
    /// No room for another endpoint is left in the dispatcher frame.
    OutOfEndpoints,
    /// All 64 notification bits are taken.
    OutOfNotifyBits,
    /// A size or an alignment makes no sense.
    InvalidSize,
    /// A capability isn't of the type needed.
    WrongType,
    /// A call to a service failed.
    Call(CallError),
    /// The service isn't there.
    NoService,
    /// The shared frame holds no channel, or one of another version.
    BadChannel,
}

impl From<SysError> for RtError {
    fn from(error: SysError) -> Self {
        Self::System(error)
    }
}

impl From<CallError> for RtError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl core::fmt::Display for RtError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::System(error) => error.fmt(f),
            Self::Call(error) => error.fmt(f),
            Self::OutOfMemory => f.write_str("out of memory"),
            Self::ShareUsed => f.write_str("this program has all the memory that one may have"),
            Self::OutOfHomeMemory => f.write_str("out of home memory"),
            Self::OutOfSlots => f.write_str("out of capability slots"),
            Self::OutOfAddresses => f.write_str("out of virtual addresses"),
            Self::OutOfEndpoints => f.write_str("out of endpoints"),
            Self::OutOfNotifyBits => f.write_str("out of notification bits"),
            Self::InvalidSize => f.write_str("invalid size"),
            Self::WrongType => f.write_str("the capability has the wrong type"),
            Self::NoService => f.write_str("no such service"),
            Self::BadChannel => f.write_str("the frame holds no channel"),
        }
    }
}

impl core::error::Error for RtError {}
