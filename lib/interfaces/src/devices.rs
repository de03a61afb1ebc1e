//! The machine's devices, and who drives them (`docs/087-devices.md`).

use alloc::{string::String, vec::Vec};
use core::fmt;

use capelin_idc::interface;

crate::service_error! {
    /// Why there is no list of devices.
    DevicesError {
        /// The knowledge base doesn't run, or didn't answer.
        Unknown = "the knowledge base does not say what devices there are",
    }
}

/// How it stands with a device.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum DeviceState {
    /// No rule of the knowledge base names a driver for it.
    NoDriver,
    /// Its driver isn't in the archive.
    NotInArchive,
    /// The CPU drivers use it themselves.
    Kernel,
    /// Its driver runs.
    Running,
    /// It could be a console, and the console is another.
    NotConsole,
    /// What it needs has been given to the driver of another device already.
    Taken {
        /// That device.
        by: String,
    },
    /// Its driver wasn't started.
    NotStarted {
        /// Why.
        why: String,
    },
    /// Its driver has ended by itself.
    Exited {
        /// With this code.
        code: u64,
    },
    /// Its driver was ended by a fault.
    Crashed,
    /// A place for a device, in which there is none.
    Empty,
}

impl fmt::Display for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDriver => f.write_str("no driver"),
            Self::NotInArchive => f.write_str("without driver: not in the archive"),
            Self::Kernel => f.write_str("used by the kernel"),
            Self::Running => f.write_str("running"),
            Self::NotConsole => f.write_str("not the console"),
            Self::Taken { by } => write!(f, "taken by {by}"),
            Self::NotStarted { why } => write!(f, "not started: {why}"),
            Self::Exited { code } => write!(f, "ended with {code}"),
            Self::Crashed => f.write_str("crashed"),
            Self::Empty => f.write_str("no device there"),
        }
    }
}

/// A device.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct DeviceInfo {
    /// Its path in the device tree.
    pub path: String,
    /// The module that drives it, or would.
    pub driver: Option<String>,
    /// How it stands with it.
    pub state: DeviceState,
}

/// The devices that have registers or interrupts.
#[interface(name = "devices", version = 1)]
pub trait Devices {
    /// At most `limit` devices, from number `first` on, in the order of the device tree. Waits until
    /// all drivers have been started that are to be.
    async fn list(&self, first: u32, limit: u32) -> Result<Vec<DeviceInfo>, DevicesError>;
}
