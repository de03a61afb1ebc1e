//! The interface attribute macro.
