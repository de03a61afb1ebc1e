//! Making an archive, for build tools and tests.
//!
//! The cpio part is written for people's tools; see `docs/040-module-archive.md` for how it is padded.

use std::borrow::ToOwned;
use std::fmt;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use crate::crc32c::crc32c;
use crate::format::{Entry, Header, MAX_MODULES, ModuleKind, PAGE_SIZE, directory_end};
use crate::name_is_valid;

/// Bytes of a "newc" header: a magic of six digits and thirteen fields of eight.
const NEWC_HEADER: u64 = 110;
/// A regular file that anyone may read.
const MODE_FILE: u32 = 0o100_644;

/// A module to be put into an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleSpec {
    /// 1–47 characters of `A–Z a–z 0–9 . _ - /`.
    pub name: String,
    /// What the data is.
    pub kind: ModuleKind,
    /// Whether the program uses FP and SIMD registers.
    pub uses_fp: bool,
    /// The file's bytes.
    pub data: Vec<u8>,
}

/// Why an archive can't be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// The name has other characters than allowed, or too many, or none.
    BadName(String),
    /// The archive already has a module with this name.
    DuplicateName(String),
    /// The archive already has [`MAX_MODULES`].
    TooManyModules,
    /// cpio can't tell lengths of 4 GiB and more.
    TooLong(String),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName(name) => write!(f, "{name:?} can't name a module"),
            Self::DuplicateName(name) => write!(f, "two modules are called {name}"),
            Self::TooManyModules => write!(f, "more than {MAX_MODULES} modules"),
            Self::TooLong(name) => write!(f, "module {name} is too long for cpio"),
        }
    }
}

impl std::error::Error for WriteError {}

/// Collects modules and lays out the archive.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    modules: Vec<ModuleSpec>,
}

impl Writer {
    /// An archive without modules.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a module.
    ///
    /// # Errors
    /// See [`WriteError`]; the archive is then as before.
    pub fn add(&mut self, module: ModuleSpec) -> Result<(), WriteError> {
        if !name_is_valid(&module.name) {
            return Err(WriteError::BadName(module.name));
        }
        if self.modules.iter().any(|other| other.name == module.name) {
            return Err(WriteError::DuplicateName(module.name));
        }
        if self.modules.len() >= MAX_MODULES as usize {
            return Err(WriteError::TooManyModules);
        }
        if padded(module.data.len() as u64) > u64::from(u32::MAX) {
            return Err(WriteError::TooLong(module.name));
        }
        self.modules.push(module);
        Ok(())
    }

    /// The archive's bytes. The same modules in the same order always give the same bytes.
    #[must_use]
    pub fn finish(&self) -> Vec<u8> {
        // `add` keeps the number of modules within u32 and their lengths within cpio's 32 bits.
        let count = u32::try_from(self.modules.len()).unwrap_or(u32::MAX);
        let mut archive = vec![0; directory_end(count)];
        let mut directory = Vec::new();
        for (inode, module) in (1..).zip(&self.modules) {
            let offset = padded(archive.len() as u64 + NEWC_HEADER + module.name.len() as u64 + 1);
            let name_size = offset - archive.len() as u64 - NEWC_HEADER;
            let end = offset + padded(module.data.len() as u64);
            newc_header(&mut archive, inode, &module.name, name_size, end - offset);
            resize(&mut archive, offset);
            archive.extend_from_slice(&module.data);
            resize(&mut archive, end);
            let entry = Entry {
                name: &module.name,
                offset,
                length: module.data.len() as u64,
                crc: crc32c(archive.get(to_usize(offset)..).unwrap_or_default()),
                kind: module.kind,
                uses_fp: module.uses_fp,
            };
            directory.extend_from_slice(&entry.encode());
        }
        let trailer = "TRAILER!!!".to_owned();
        let name_size = trailer.len() as u64 + 1;
        newc_header(&mut archive, 0, &trailer, name_size, 0);
        let total_length = padded(archive.len() as u64);
        resize(&mut archive, total_length);
        let header = Header {
            total_length,
            count,
            directory_crc: crc32c(&directory),
        };
        let front = [header.encode().as_slice(), &directory].concat();
        archive.splice(..front.len(), front);
        archive
    }
}

fn padded(length: u64) -> u64 {
    length.next_multiple_of(PAGE_SIZE)
}

fn resize(archive: &mut Vec<u8>, length: u64) {
    archive.resize(to_usize(length), 0);
}

fn to_usize(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

/// Appends a "newc" header and the name with its first NUL; the caller appends the rest of `name_size` and the data.
fn newc_header(archive: &mut Vec<u8>, inode: u32, name: &str, name_size: u64, file_size: u64) {
    // Inode 0 is the trailer's, which is no file.
    let mode = if inode == 0 { 0 } else { MODE_FILE };
    let fields: [u64; 13] = [
        inode.into(),
        mode.into(),
        0, // uid
        0, // gid
        1, // links
        0, // time of modification: none, so that builds repeat byte for byte
        file_size,
        0, // device, major and minor
        0,
        0, // its own device numbers
        0,
        name_size,
        0, // checksum: used by another format only
    ];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
}
