//! Power, kernel logs, kernel counters.

use alloc::{string::String, vec::Vec};

use capelin_idc::interface;

crate::service_error! {
    /// Why nothing happened.
    SystemError {
        /// Firmware has no such function, or refused.
        Firmware = "firmware refused",
        /// The board's power management was told, and nothing happened.
        NoEffect = "the power management did nothing",
        /// No such core, or it isn't running.
        NoSuchCore = "no such core",
        /// This client may not do that.
        NotAllowed = "not allowed",
        /// The core was asked and didn't answer in time.
        TimedOut = "the core did not answer",
        /// The core has stopped.
        CoreFailed = "the core has stopped",
    }
}

/// Counters of one core's CPU driver since it started, and its memory in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct KernelStats {
    /// System calls taken.
    pub syscalls: u64,
    /// Upcalls made.
    pub upcalls: u64,
    /// Interrupts taken.
    pub interrupts: u64,
    /// Of these, doorbell interrupts.
    pub doorbell_interrupts: u64,
    /// Of these, timer interrupts.
    pub timer_interrupts: u64,
    /// Switches between dispatchers.
    pub switches: u64,
    /// Faults of programs.
    pub faults: u64,
    /// Time without work, in microseconds.
    pub idle_us: u64,
    /// Time since the CPU driver was entered, in microseconds.
    pub uptime_us: u64,
    /// Home memory of the core.
    pub home_bytes: u64,
    /// Of it, used by the CPU driver's image and kernel objects.
    pub object_bytes: u64,
    /// Where it starts, the part that the core was started with: a physical address.
    pub home_base: u64,
}

/// A leaf of a CPU driver's own map.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct KernelMapping {
    /// Where it is mapped.
    pub virtual_address: u64,
    /// What is mapped.
    pub physical_address: u64,
    /// Bytes.
    pub bytes: u64,
    /// How ([`capelin_abi::syscall::KernelLeaf`]).
    pub flags: u64,
}

/// The machine as a whole. `core` is a kernel id, or
/// [`crate::monitor::THIS_CORE`].
#[interface(name = "system", version = 1)]
pub trait System {
    /// Turns the machine off; no answer comes when that works.
    async fn power_off(&self) -> Result<(), SystemError>;

    /// Starts the machine again; no answer comes when that works.
    async fn reboot(&self) -> Result<(), SystemError>;

    /// The kernel log of `core`, the newest `limit` bytes of it (at most 32 KiB).
    async fn kernel_log(&self, core: u16, limit: u32) -> Result<String, SystemError>;

    /// The counters of `core`.
    async fn kernel_stats(&self, core: u16) -> Result<KernelStats, SystemError>;

    /// Ends the CPU driver of `core` as a panic of its own does, to see what becomes of the others.
    /// The answer comes when firmware says that the core is off.
    async fn panic(&self, core: u16) -> Result<(), SystemError>;

    /// Whether the CPU driver of `core` faults when it reads the linear address of
    /// physical address `physical`.
    async fn probe(&self, core: u16, physical: u64) -> Result<bool, SystemError>;

    /// The map of the CPU driver of `core`: at most `limit` leaves (1–1,000), from
    /// leaf number `first` on.
    async fn kernel_map(
        &self,
        core: u16,
        first: u32,
        limit: u32,
    ) -> Result<Vec<KernelMapping>, SystemError>;

    /// Names and sizes in bytes of the modules that can be spawned.
    async fn modules(&self) -> Result<Vec<(String, u64)>, SystemError>;
}
