//! Why a core can't start.

use core::fmt;

use capelin_aarch64::gic;

/// Why a core can't start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BootError {
    /// The arguments are malformed, or those of another ABI.
    Arguments(&'static str),
    /// Home memory is too small for what has to lie in it.
    HomeTooSmall,
    /// The kernel's or the first domain's tables can't be made.
    Tables(capelin_abi::SysError),
    /// The interrupt controller.
    Gic(gic::GicError),
    /// The first domain's image.
    Image(capelin_abi::flat::FlatError),
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arguments(what) => write!(f, "bad boot arguments: {what}"),
            Self::HomeTooSmall => f.write_str("the home memory is too small"),
            Self::Tables(error) => write!(f, "cannot make its tables: {error}"),
            Self::Gic(error) => write!(f, "interrupt controller: {error}"),
            Self::Image(error) => write!(f, "first program: {error}"),
        }
    }
}

impl From<capelin_abi::SysError> for BootError {
    fn from(error: capelin_abi::SysError) -> Self {
        Self::Tables(error)
    }
}

impl From<gic::GicError> for BootError {
    fn from(error: gic::GicError) -> Self {
        Self::Gic(error)
    }
}
