//! The module archive: a checked header and directory in front of a cpio archive.
//!
//! The boot driver finds the archive behind its own image or as an initrd, and hands it on to `init` and `spawnd`.
//! The format, with its layout drawn out, is `docs/040-module-archive.md`. In short:
//!
//! ```text
//! header (64 B) | directory (80 B a module) | cpio "newc", every file's data on a 4 KiB boundary
//! ```
//!
//! - [`Archive`] ([`reader`](Archive::parse)) believes only the header and the directory, both under CRC32C.
//! - [`Module`] is one file; its data is checked on demand by [`Module::verify`], so a bad module is known by name and
//!   the others still work.
//! - [`total_length`] tells from the first 64 bytes how much memory the archive takes.
//! - `Writer` (feature `std`) makes archives.
//!
//! The reader allocates nothing, has no unsafe code, and never panics, whatever bytes it is given.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "std")]
extern crate std;

mod crc32c;
mod error;
mod format;
mod reader;
#[cfg(feature = "std")]
mod writer;

#[cfg(target_arch = "aarch64")]
pub use crc32c::crc32c_by_instruction;
pub use crc32c::{crc32c, crc32c_extend};
pub use error::{ArchiveError, BadChecksum};
pub use format::{
    ENTRY_LEN, HEADER_LEN, MAGIC, MAX_MODULES, MAX_NAME_LEN, ModuleKind, PAGE_SIZE, VERSION,
    name_is_valid,
};
pub use reader::{Archive, Module, Modules, total_length};
#[cfg(feature = "std")]
pub use writer::{ModuleSpec, WriteError, Writer};
