//! Domains and cores.

use alloc::{string::String, vec::Vec};

use capelin_idc::{Cap, interface};

crate::service_error! {
    /// Why a monitor did nothing.
    MonitorError {
        /// No program of that name is in the module archive.
        NoSuchProgram = "no such program",
        /// The program isn't a sound executable for this machine.
        BadProgram = "not a sound executable",
        /// No such core, or it isn't running.
        NoSuchCore = "no such core",
        /// No such domain, or it has been waited for.
        NoSuchDomain = "no such domain",
        /// Memory, slots or kernel tables are exhausted.
        Exhausted = "out of resources",
        /// The core was asked and didn't answer in time.
        TimedOut = "the core did not answer",
        /// The core has stopped, or one that its messages come through.
        CoreFailed = "the core has stopped",
        /// The kernel refused an operation.
        Kernel = "the kernel refused an operation",
        /// The program's file can't be read, or is longer than programs may be.
        NoFile = "the program's file cannot be read, or is too long",
        /// This client may not do that.
        NotAllowed = "not allowed",
    }
}

/// Names a domain, machine-wide: the core in bits 63:48, a number of that core's
/// monitor below.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize,
)]
pub struct DomainId(pub u64);

impl DomainId {
    /// The domain with `number` (48 bits) on `core`.
    #[must_use]
    pub const fn new(core: u16, number: u64) -> Self {
        Self((core as u64) << 48 | (number & 0xffff_ffff_ffff))
    }

    /// The core, as a kernel id.
    #[must_use]
    pub const fn core(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// The number on that core.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0 & 0xffff_ffff_ffff
    }
}

impl core::fmt::Display for DomainId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{}", self.core(), self.number())
    }
}

/// How a domain is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum DomainState {
    /// Running or able to run.
    Runnable,
    /// Waiting.
    Blocked,
    /// Stopped from outside.
    Stopped,
    /// Ended with this exit code.
    Exited(u32),
    /// Ended by a fault that it couldn't take, or killed.
    Faulted,
}

/// One line of a list of domains.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct DomainInfo {
    /// Which domain.
    pub id: DomainId,
    /// The program's name.
    pub name: String,
    /// How it is doing.
    pub state: DomainState,
    /// Processor time, in microseconds.
    pub run_time_us: u64,
    /// Upcalls made to it.
    pub upcalls: u64,
    /// Memory given to it, in bytes, kernel objects included.
    pub memory_bytes: u64,
}

/// How a core is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum CoreState {
    /// Known, not started.
    Offline,
    /// Being started.
    Starting,
    /// Part of the overlay.
    Running,
    /// Didn't start, or has stopped.
    Failed,
}

/// One line of a list of cores.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct CoreInfo {
    /// Kernel id.
    pub core: u16,
    /// Affinity (`MPIDR_EL1`).
    pub mpidr: u64,
    /// NUMA node.
    pub node: u32,
    /// How it is doing.
    pub state: CoreState,
    /// The core whose monitor started it; itself on the boot core.
    pub parent: u16,
    /// From the start of the parent's attempt to `ready`, in microseconds.
    pub boot_time_us: u64,
}

/// Round trips to another core's monitor and back, in counter ticks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct PingStats {
    /// Round trips measured.
    pub rounds: u32,
    /// The fastest.
    pub min_ticks: u64,
    /// The median.
    pub median_ticks: u64,
    /// 99 of 100 are at most this slow.
    pub p99_ticks: u64,
    /// The slowest.
    pub max_ticks: u64,
    /// Counter ticks per second.
    pub frequency_hz: u64,
}

impl PingStats {
    /// The nanoseconds in `ticks`, rounded down; 0 while the frequency isn't known.
    #[must_use]
    pub fn to_ns(&self, ticks: u64) -> u64 {
        let ns = u128::from(ticks) * 1_000_000_000;
        let ns = ns.checked_div(u128::from(self.frequency_hz)).unwrap_or(0);
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

/// A capability of a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct CapabilityInfo {
    /// The slot it lies in ([`capelin_abi::CapAddress`]).
    pub address: u32,
    /// Its type ([`capelin_abi::ObjectType`]).
    pub kind: u8,
    /// What its holder may do ([`capelin_abi::Rights`]).
    pub rights: u8,
    /// The kernel that owns the object.
    pub owner: u16,
    /// First physical address, or what the type has instead.
    pub base: u64,
    /// Bytes, or a count.
    pub size: u64,
}

/// What a core's monitor does for local domains. `core` is a kernel id, or
/// [`THIS_CORE`].
#[interface(name = "monitor", version = 1)]
pub trait Monitor {
    /// Starts a program from the module archive on `core`.
    async fn spawn(
        &self,
        core: u16,
        program: &str,
        arguments: &[String],
    ) -> Result<DomainId, MonitorError>;

    /// Starts the program in the file at `path` ([`crate::files`]) on the core of the monitor that is
    /// asked. It is called as the file is, and doesn't use the floating-point registers.
    async fn spawn_file(&self, path: &str, arguments: &[String]) -> Result<DomainId, MonitorError>;

    /// Waits until a domain has ended, and takes its memory back.
    async fn wait(&self, domain: DomainId) -> Result<DomainState, MonitorError>;

    /// Ends a domain; how it ended is kept until it is waited for, or until nobody has waited for
    /// 64 that have ended since.
    async fn kill(&self, domain: DomainId) -> Result<(), MonitorError>;

    /// The domains on `core`.
    async fn domains(&self, core: u16) -> Result<Vec<DomainInfo>, MonitorError>;

    /// All cores known.
    async fn cores(&self) -> Result<Vec<CoreInfo>, MonitorError>;

    /// The capabilities of `domain`, in the order of their slots: at most `limit`
    /// (1–1,000), from slot address `first` on.
    async fn capabilities(
        &self,
        domain: DomainId,
        first: u32,
        limit: u32,
    ) -> Result<Vec<CapabilityInfo>, MonitorError>;

    /// Sends `rounds` messages (1–10,000) to `core`'s monitor and back, one after
    /// the other.
    async fn ping(&self, core: u16, rounds: u32) -> Result<PingStats, MonitorError>;

    /// Waits until every core that is to run does, or has failed. Answers how many
    /// run, the boot core included.
    async fn settled(&self) -> Result<u32, MonitorError>;

    /// Lists a domain that the caller has made, with `memory_bytes` bytes of memory:
    /// this monitor then knows it as its own, but doesn't end it or wait for it.
    async fn adopt(
        &self,
        name: &str,
        memory_bytes: u64,
        dispatcher: Cap,
    ) -> Result<DomainId, MonitorError>;

    /// The L1 CNode of a domain that was adopted, for [`Monitor::capabilities`].
    async fn adopt_cspace(&self, domain: DomainId, cspace: Cap) -> Result<(), MonitorError>;
}

/// The core of the monitor that is asked.
pub const THIS_CORE: u16 = u16::MAX;
