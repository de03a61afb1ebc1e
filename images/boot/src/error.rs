//! Why a machine can't be booted.

use alloc::string::String;
use core::fmt;

use capelin_abi::PAGE_SIZE;
use capelin_abi::flat::FlatError;
use capelin_archive::{ArchiveError, BadChecksum};
use capelin_dt::{DtError, Finding};

/// Why the boot driver gives up. The text is what the user sees after
/// `capelin: fatal: cannot boot:`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BootError {
    /// x0 was 0 or misaligned at entry.
    NoDeviceTree,
    /// What firmware gave can't be a device tree's address.
    MisplacedDeviceTree(u64),
    /// The device tree is damaged.
    DeviceTree(DtError),
    /// The device tree lacks what Capelin needs.
    Machine(Finding),
    /// There is no module archive behind the image, nor as initrd.
    NoArchive,
    /// The initrd isn't in one piece of memory: from, to.
    InitrdOutsideMemory(u64, u64),
    /// The initrd at this address is something else.
    InitrdIsNoArchive(u64),
    /// The archive isn't on a page boundary, at this address.
    UnalignedArchive(u64),
    /// The module archive is damaged.
    Archive(ArchiveError),
    /// The archive's end is missing.
    TruncatedArchive,
    /// The archive has no such module.
    NoModule(&'static str),
    /// A module is damaged.
    DamagedModule(&'static str, BadChecksum),
    /// The module `cpudriver` isn't one for this boot driver.
    NotACpuDriver(&'static str),
    /// The module `init` isn't a flat image.
    NotAFlatImage(FlatError),
    /// No place for so many bytes of home memory.
    NoHomeMemory {
        /// The least that would do.
        needed: u64,
        /// The largest free piece at the alignment needed.
        largest: u64,
    },
    /// The page at this address can't be mapped: there is no such physical address, or
    /// the translation tables are used up.
    Unmappable(u64),
    /// No place for a copy of the device tree, of so many bytes.
    NoRoomForTree(u64),
    /// The processor took an exception.
    Exception {
        /// What is known about it.
        syndrome: u64,
        /// Where.
        address: u64,
        /// What was accessed.
        fault: u64,
    },
    /// A panic, with its message.
    Panic(String),
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDeviceTree => f.write_str("firmware gave no device tree (x0 is 0)"),
            Self::MisplacedDeviceTree(address) => write!(
                f,
                "firmware gave {address:#x} as the device tree's address (x0), which isn't a \
                 multiple of 4"
            ),
            Self::DeviceTree(error) => write!(f, "device tree: {error}"),
            Self::Machine(finding) => write!(f, "{finding}"),
            Self::NoArchive => {
                f.write_str("no module archive: neither behind the boot image, which may have been cut, nor as initrd")
            }
            Self::InitrdOutsideMemory(from, to) => write!(
                f,
                "the initrd at {from:#x} to {to:#x} isn't in one piece of the memory that the device \
                 tree names: load it elsewhere"
            ),
            Self::InitrdIsNoArchive(address) => write!(
                f,
                "the initrd at {address:#x} is no module archive, and none is behind the boot image"
            ),
            Self::UnalignedArchive(address) => write!(
                f,
                "the module archive at {address:#x} isn't on a page boundary: load it at a multiple \
                 of {PAGE_SIZE:#x}"
            ),
            Self::Archive(error) => write!(f, "module archive: {error}"),
            Self::Unmappable(address) => {
                write!(f, "memory at {address:#x} can't be mapped")
            }
            Self::TruncatedArchive => f.write_str("module archive: its end is missing"),
            Self::NoModule(name) => write!(f, "the module archive has no module {name}"),
            Self::DamagedModule(name, error) => write!(f, "module {name}: {error}"),
            Self::NotACpuDriver(why) => write!(f, "module cpudriver: {why}"),
            Self::NotAFlatImage(error) => write!(f, "module init: {error}"),
            Self::NoHomeMemory { needed, largest } => write!(
                f,
                "too little memory: {} KiB are needed in one piece, the largest has {} KiB",
                needed / 1024,
                largest / 1024
            ),
            Self::NoRoomForTree(bytes) => write!(
                f,
                "too little memory: no room for the device tree, {bytes} bytes"
            ),
            Self::Exception {
                syndrome,
                address,
                fault,
            } => write!(
                f,
                "exception: ESR {syndrome:#x} at {address:#x}, address {fault:#x}"
            ),
            Self::Panic(text) => write!(f, "panic: {text}"),
        }
    }
}

impl core::error::Error for BootError {}

impl From<DtError> for BootError {
    fn from(error: DtError) -> Self {
        Self::DeviceTree(error)
    }
}

impl From<ArchiveError> for BootError {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}
