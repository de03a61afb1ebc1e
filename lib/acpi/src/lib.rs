//! A device tree of what a UEFI server's ACPI tables and memory map say.
//!
//! The device tree is the only description of the machine that Capelin sees. On a
//! server without one, the UEFI loader makes it here, and `cargo xtask acpi` does the same
//! with recorded tables. The design note is `docs/120-acpi.md`.
//!
//! ```text
//! raw tables ─▶ Tables ─▶ Facts ──▶ place ──▶ tree ─▶ flattened tree ─▶ capelin-dt
//!              length,   one module  who is    one module
//!              checksum  a table     where     a subject
//! UEFI memory map ─▶ MemoryMap ───────┘
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`table`], [`root`], [`dump`] | tables, how to find them from the RSDP, tables as text |
//! | [`madt`], [`fadt`], [`gtdt`], [`affinity`], [`pptt`], [`serial`], [`mcfg`], [`iort`] | one table each, or what belongs together |
//! | [`memory_map`] | UEFI's memory map |
//! | [`facts`] | all of it, and where each block is |
//! | `tree` | the writer |
//! | [`firmware_tree`] | a device tree that firmware gives instead, with UEFI's memory map |
//! | [`finding`] | what is wrong or odd |
//!
//! No bytes make it panic or loop: lists are bounded, references are looked up, chains
//! have a longest length. What is wrong with a table costs that table or that entry,
//! and is a [`Finding`].
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::vec::Vec;
use core::fmt;

use capelin_tree::TreeError;

pub mod affinity;
mod bytes;
pub mod dump;
pub mod facts;
pub mod fadt;
pub mod finding;
pub mod firmware_tree;
pub mod gtdt;
pub mod iort;
pub mod madt;
pub mod mcfg;
pub mod memory_map;
pub mod pptt;
pub mod range;
pub mod root;
pub mod serial;
pub mod table;
mod tree;

pub use facts::Facts;
pub use finding::{Block, Finding, Findings, Signature};
pub use memory_map::{Descriptor, Holder, MemoryMap};
pub use range::Range;
pub use table::Tables;

/// What the loader knows besides the tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Inputs<'a> {
    /// UEFI's memory map; none where only the tables are known.
    pub memory_map: Option<&'a [Descriptor]>,
    /// What the loader leaves in memory, and must not be given away.
    pub loaded: &'a [Range],
    /// The module archive.
    pub initrd: Option<Range>,
    /// The command line.
    pub command_line: Option<&'a str>,
    /// The affinity fields of `MPIDR_EL1` of the core that runs; else the first enabled
    /// one is taken for it.
    pub boot_core: Option<u64>,
    /// Where the RSDP is.
    pub rsdp: Option<u64>,
    /// What the virtual counter (`CNTVCT_EL0`) told when firmware entered the loader.
    pub entry_ticks: Option<u64>,
}

/// The property of `/chosen` that holds [`Inputs::entry_ticks`] (`docs/120-acpi.md`).
pub(crate) const ENTRY_TICKS: &str = "capelin,entry-ticks";

/// A tree, and what was found on the way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Translation {
    /// The flattened tree.
    pub blob: Vec<u8>,
    /// What the tables say, as far as it can be.
    pub facts: Facts,
    /// What is wrong or odd with them.
    pub findings: Findings,
}

/// Makes a device tree of `tables` and what the loader knows.
///
/// # Errors
///
/// If the tree gets larger than the boot driver takes, or an input can't be written
/// into one. What is wrong with tables is no error: see [`Translation::findings`].
pub fn translate(tables: &Tables<'_>, inputs: &Inputs<'_>) -> Result<Translation, Error> {
    let mut findings = Findings::default();
    let mut facts = Facts::read(tables, &mut findings);
    let mut map = match inputs.memory_map {
        Some(descriptors) => MemoryMap::read(descriptors, &mut findings),
        None => MemoryMap {
            memory: facts.affinity.memory.iter().map(|one| one.range).collect(),
            ..MemoryMap::default()
        },
    };
    facts.place(&mut map, &mut findings);
    for &range in inputs.loaded {
        map.take(Holder::Loader, range);
    }
    let blob = tree::write(&facts, &map, inputs, &mut findings)?;
    Ok(Translation {
        blob,
        facts,
        findings,
    })
}

/// Why there is no tree.
#[derive(Debug, PartialEq, Eq)]
pub enum Error {
    /// It is larger than the arm64 boot protocol allows.
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// It can't be written.
    Write(vm_fdt::Error),
    /// Firmware's own is none.
    Firmware(TreeError),
    /// Memory lies where firmware's tree has no words for: so many cells of address and size.
    Cells {
        /// `#address-cells` and `#size-cells` of its root.
        cells: [u32; 2],
    },
}

impl Error {
    /// The most bytes that a tree has (arm64 boot protocol).
    pub const MOST_BYTES: usize = 2 << 20;
}

impl From<vm_fdt::Error> for Error {
    fn from(error: vm_fdt::Error) -> Self {
        Self::Write(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes } => write!(
                f,
                "the device tree of these tables has {bytes} bytes, and {} are allowed",
                Self::MOST_BYTES
            ),
            Self::Write(error) => write!(f, "the device tree can't be written: {error}"),
            Self::Firmware(error) => write!(f, "firmware's device tree: {error}"),
            Self::Cells {
                cells: [address, size],
            } => write!(
                f,
                "firmware's device tree has {address} cells for an address and {size} for a size, \
                 which the memory map doesn't fit"
            ),
        }
    }
}

impl core::error::Error for Error {}
