//! Whether Capelin can boot on a machine, and what it will not be able to use.
//!
//! Real trees are incomplete in many ways, most of which are no obstacle. Each
//! way that matters is a [`Finding`] with a [`Severity`]; its `Display` is a
//! sentence for the user. How a core is to be started is decided here once
//! ([`start`]), so that what is reported and what is done agree.
//!
//! Long, since it is one list: each finding with its severity and its sentence.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::Machine;
use crate::cpu::{Cpu, EnableMethod};
use crate::gic::GicKind;
use crate::psci::Conduit;
use crate::types::{Mpidr, PhysAddr};

/// How much a finding matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Capelin can't boot.
    Blocks,
    /// Capelin can boot if firmware completes the tree before it hands it over,
    /// as it does on the boards whose trees are like this.
    NeedsFirmware,
    /// Capelin boots, and firmware has to complete the tree for some cores to run,
    /// as it does on the boards whose trees are like this.
    CoresNeedFirmware,
    /// Capelin boots, but without something.
    Degrades,
}

/// One thing that is missing or odd.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// No enabled core with a readable MPIDR.
    NoCpu,
    /// Enabled cores that have no `AArch64` state.
    Aarch32Cpus {
        /// How many.
        cores: usize,
        /// Whether there are others.
        others: Others,
    },
    /// No GIC that Capelin knows.
    NoGic,
    /// The GIC lacks regions that the CPU reaches: distributor and CPU interface
    /// or redistributors.
    IncompleteGic {
        /// Path of its node.
        path: String,
        /// Regions that it has.
        regions: usize,
    },
    /// No architected timer.
    NoTimer,
    /// Neither the virtual nor the non-secure physical timer's interrupt reaches
    /// a GIC.
    TimerWithoutInterrupt {
        /// Path of its node.
        path: String,
    },
    /// No enabled memory node.
    NoMemoryNode,
    /// All memory together is 0 bytes.
    ZeroMemory,
    /// Less memory than Capelin starts in.
    TooLittleMemory {
        /// Bytes that are there.
        bytes: u64,
        /// Bytes of these that nothing reserves.
        usable: u64,
    },
    /// `/chosen` names no console, nor does `bootargs`, and of UARTs that there is a
    /// driver for there are none or several.
    NoConsole,
    /// `stdout-path` leads to no node.
    UnresolvedConsole {
        /// The property.
        raw: String,
    },
    /// Capelin has no driver for the console.
    UnsupportedConsole {
        /// Path of its node.
        path: String,
        /// Its most specific `compatible`.
        compatible: String,
    },
    /// The console's registers have no CPU address.
    UnreachableConsole {
        /// Path of its node.
        path: String,
    },
    /// The console, or a bus above it, is disabled.
    DisabledConsole {
        /// Path of its node.
        path: String,
    },
    /// Nobody can type at the console: no driver reads from it.
    NoConsoleInput {
        /// Path of its node.
        path: String,
        /// Its most specific `compatible`.
        compatible: String,
    },
    /// Nobody can type at the console: its interrupt reaches no GIC.
    ConsoleWithoutInterrupt {
        /// Path of its node.
        path: String,
    },
    /// A core's node has no `reg` that is an MPIDR.
    UnreadableCpu {
        /// Path of its node.
        path: String,
    },
    /// Several cores have one MPIDR; only the first is used.
    DuplicateMpidr {
        /// The MPIDR.
        mpidr: Mpidr,
    },
    /// Secondary cores that want PSCI, and no usable PSCI node.
    PsciMissing {
        /// How many.
        cores: usize,
    },
    /// PSCI 0.1 without a function id for `CPU_ON`.
    PsciWithoutCpuOn {
        /// How many secondary cores want it.
        cores: usize,
    },
    /// Secondary cores on a spin table that have no release address.
    NoReleaseAddress {
        /// How many.
        cores: usize,
    },
    /// Secondary cores that wait on a release address that others wait on, too: all
    /// of them would run into one CPU driver's image.
    SharedReleaseAddress {
        /// The address.
        address: PhysAddr,
        /// How many.
        cores: usize,
    },
    /// Secondary cores without `enable-method`.
    NoEnableMethod {
        /// How many.
        cores: usize,
    },
    /// Secondary cores with an enable method that Capelin doesn't know.
    UnknownEnableMethod {
        /// The method.
        method: String,
        /// How many.
        cores: usize,
    },
    /// Cores whose status isn't `okay`.
    DisabledCpus {
        /// How many.
        cores: usize,
    },
    /// More cores than the GIC has CPU interfaces.
    MoreCpusThanGic {
        /// Enabled cores.
        cores: usize,
        /// CPU interfaces.
        interfaces: usize,
    },
}

impl Finding {
    /// How much it matters.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::NoCpu
            | Self::Aarch32Cpus {
                others: Others::None,
                ..
            }
            | Self::NoGic
            | Self::IncompleteGic { .. }
            | Self::NoTimer
            | Self::TimerWithoutInterrupt { .. }
            | Self::TooLittleMemory { .. } => Severity::Blocks,
            Self::NoMemoryNode | Self::ZeroMemory => Severity::NeedsFirmware,
            Self::PsciMissing { .. }
            | Self::NoReleaseAddress { .. }
            | Self::NoEnableMethod { .. } => Severity::CoresNeedFirmware,
            _ => Severity::Degrades,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCpu => f.write_str("no enabled core with a readable MPIDR"),
            Self::NoGic => f.write_str("no GIC that Capelin can program"),
            Self::IncompleteGic { path, regions } => write!(
                f,
                "the GIC {path} has {regions} reachable regions, too few to program it"
            ),
            Self::NoTimer => f.write_str("no architected timer"),
            Self::TimerWithoutInterrupt { path } => write!(
                f,
                "neither the virtual nor the physical interrupt of {path} reaches the GIC"
            ),
            Self::NoMemoryNode => {
                f.write_str("no memory node: firmware must add one before the boot driver starts")
            }
            Self::ZeroMemory => f.write_str(
                "the memory node's size is 0: firmware must fill it in before the boot driver starts",
            ),
            Self::Aarch32Cpus { cores, .. } => {
                write!(f, "no 64-bit code runs on {}", Cores(*cores))
            }
            Self::TooLittleMemory { bytes, usable } => write!(
                f,
                "too little memory: of {} KiB {} can be used, and Capelin needs {} to start",
                bytes >> 10,
                usable >> 10,
                LEAST_MEMORY_BYTES >> 10
            ),
            Self::NoConsole => f.write_str(
                "no console: neither stdout-path nor bootargs names one, and there isn't \
                 exactly one UART with a driver; so messages are lost",
            ),
            Self::UnresolvedConsole { raw } => {
                write!(f, "stdout-path \"{raw}\" leads to no node")
            }
            Self::UnsupportedConsole { path, compatible } => {
                write!(f, "no console: there is no driver for {path} ({compatible})")
            }
            Self::UnreachableConsole { path } => {
                write!(f, "no console: the registers of {path} have no CPU address")
            }
            Self::DisabledConsole { path } => {
                write!(f, "no console: {path} or its bus is disabled")
            }
            Self::NoConsoleInput { path, compatible } => write!(
                f,
                "no console input: no driver reads from {path} ({compatible})"
            ),
            Self::ConsoleWithoutInterrupt { path } => write!(
                f,
                "no console input: the interrupt of {path} doesn't reach the GIC"
            ),
            Self::UnreadableCpu { path } => {
                write!(f, "{path} is left out: its reg is no MPIDR")
            }
            Self::DuplicateMpidr { mpidr } => {
                write!(f, "several cores have MPIDR {mpidr}: only the first is used")
            }
            Self::PsciMissing { cores } => write!(
                f,
                "{} can't be started: enable-method is psci, but there is no usable psci node \
                 (firmware adds it)",
                Secondary(*cores)
            ),
            Self::PsciWithoutCpuOn { cores } => write!(
                f,
                "{} can't be started: PSCI 0.1 needs a cpu_on function id, and none is given",
                Secondary(*cores)
            ),
            Self::NoReleaseAddress { cores } => write!(
                f,
                "{} can't be started: the spin table has no release address (firmware fills \
                 it in)",
                Secondary(*cores)
            ),
            Self::SharedReleaseAddress { address, cores } => write!(
                f,
                "{} can't be started: others wait on the same release address {address}, and \
                 would wake with them",
                Secondary(*cores)
            ),
            Self::NoEnableMethod { cores } => write!(
                f,
                "{} can't be started: there is no enable-method (firmware fills it in)",
                Secondary(*cores)
            ),
            Self::UnknownEnableMethod { method, cores } => write!(
                f,
                "{} can't be started: the enable-method \"{method}\" is unknown",
                Secondary(*cores)
            ),
            Self::DisabledCpus { cores } => {
                write!(f, "left out as not enabled: {}", Cores(*cores))
            }
            Self::MoreCpusThanGic { cores, interfaces } => write!(
                f,
                "the GIC serves {interfaces} of the {cores} cores; the others are left out"
            ),
        }
    }
}

/// A number of cores, in words.
struct Cores(usize);

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} core{plural}", self.0)
    }
}

/// A number of secondary cores, in words.
struct Secondary(usize);

impl fmt::Display for Secondary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} secondary core{plural}", self.0)
    }
}

/// Whether a machine has cores besides those that a finding is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Others {
    /// No enabled one.
    None,
    /// Some.
    Some,
}

/// Usable memory below which no image of Capelin gets as far as its shell, in bytes.
pub const LEAST_MEMORY_BYTES: u64 = 16 << 20;

/// The verdict on a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bootability {
    /// What was found, what matters most first.
    pub findings: Vec<Finding>,
    /// Cores that can run with the tree as it stands: the boot core and those that
    /// can be started.
    pub usable_cores: usize,
    /// Cores that the tree has enabled.
    pub enabled_cores: usize,
    /// What the console can do.
    pub console: ConsoleUse,
}

/// What Capelin can do with a machine's console.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsoleUse {
    /// There is none.
    None,
    /// Write to it.
    Output,
    /// Write to it and read from it: a shell.
    InputAndOutput,
}

impl Bootability {
    /// Whether Capelin can boot there, given that firmware completes the tree.
    #[must_use]
    pub fn is_bootable(&self) -> bool {
        self.worst() != Some(Severity::Blocks)
    }

    /// Whether Capelin can boot with the tree exactly as it stands: what the boot
    /// driver asks, after firmware.
    #[must_use]
    pub fn is_bootable_as_is(&self) -> bool {
        !matches!(
            self.worst(),
            Some(Severity::Blocks | Severity::NeedsFirmware)
        )
    }

    fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(Finding::severity).min()
    }
}

impl fmt::Display for Bootability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.worst() {
            Some(Severity::Blocks) => "Capelin can't boot here",
            Some(Severity::NeedsFirmware) => {
                "Capelin can boot here once firmware has completed the tree"
            }
            Some(Severity::CoresNeedFirmware) => {
                "Capelin can boot here, with all cores once firmware has completed the tree"
            }
            Some(Severity::Degrades) | None => "Capelin can boot here",
        };
        let console = match self.console {
            ConsoleUse::None => "no console",
            ConsoleUse::Output => "console output only",
            ConsoleUse::InputAndOutput => "console input and output",
        };
        let (usable, enabled) = (self.usable_cores, Cores(self.enabled_cores));
        write!(f, "{verdict} ({usable} of {enabled} usable, {console})")?;
        for finding in &self.findings {
            write!(f, "\n- {finding}")?;
        }
        Ok(())
    }
}

/// How to start one core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// Call `function` (`CPU_ON`) by `conduit` with the core's MPIDR.
    Psci {
        /// How to call.
        conduit: Conduit,
        /// The function id.
        function: u32,
    },
    /// Write the entry address to `release`, clean it to the point of coherency,
    /// and send an event.
    SpinTable {
        /// The release address.
        release: PhysAddr,
    },
}

/// How `cpu` is started, if it can be: it is enabled, runs 64-bit code, and its
/// method is complete.
///
/// A spin table's release address of 0 is one that firmware was to fill in. One that
/// another core has, too, is refused, the boot core and disabled cores counting like
/// any other: they may wait there, and whoever wakes would run into the same image.
#[must_use]
pub fn start(machine: &Machine, cpu: &Cpu) -> Option<Start> {
    if !cpu.status.is_okay() || !cpu.is_aarch64() {
        return None;
    }
    match &cpu.enable_method {
        EnableMethod::Psci => {
            let psci = machine.psci.as_ref()?;
            Some(Start::Psci {
                conduit: psci.conduit,
                function: psci.cpu_on()?,
            })
        }
        EnableMethod::SpinTable { .. } => {
            let release = release_address(cpu)?;
            is_alone_at(machine, release).then_some(Start::SpinTable { release })
        }
        EnableMethod::Other(_) | EnableMethod::None => None,
    }
}

/// Where a core on a spin table waits, if that is filled in.
fn release_address(cpu: &Cpu) -> Option<PhysAddr> {
    match cpu.enable_method {
        EnableMethod::SpinTable { release_addr } => release_addr.filter(|at| at.0 != 0),
        _ => None,
    }
}

fn is_alone_at(machine: &Machine, release: PhysAddr) -> bool {
    let waiting = machine.cpus.iter().filter_map(release_address);
    waiting.filter(|&at| at == release).count() == 1
}

/// Whether Capelin can boot on `machine`, and what it can't use there.
#[must_use]
pub fn bootability(machine: &Machine) -> Bootability {
    let mut findings = Vec::new();
    check_cpus(machine, &mut findings);
    let startable = check_secondaries(machine, &mut findings);
    let served = check_gic(machine, &mut findings);
    check_timer(machine, &mut findings);
    check_memory(machine, &mut findings);
    let console = check_console(machine, &mut findings);
    findings.sort_by_key(Finding::severity);
    Bootability {
        findings,
        usable_cores: served.map_or(startable, |served| startable.min(served)),
        enabled_cores: enabled(machine).count(),
        console,
    }
}

fn enabled(machine: &Machine) -> impl Iterator<Item = &Cpu> {
    machine.cpus.iter().filter(|cpu| cpu.status.is_okay())
}

fn check_cpus(machine: &Machine, findings: &mut Vec<Finding>) {
    if enabled(machine).next().is_none() {
        findings.push(Finding::NoCpu);
    }
    let (able, unable): (Vec<&Cpu>, Vec<&Cpu>) = enabled(machine).partition(|cpu| cpu.is_aarch64());
    if !unable.is_empty() {
        findings.push(Finding::Aarch32Cpus {
            cores: unable.len(),
            others: if able.is_empty() {
                Others::None
            } else {
                Others::Some
            },
        });
    }
    for path in &machine.unreadable_cpus {
        findings.push(Finding::UnreadableCpu { path: path.clone() });
    }
    let mut seen: BTreeMap<Mpidr, usize> = BTreeMap::new();
    for cpu in &machine.cpus {
        *seen.entry(cpu.mpidr).or_default() += 1;
    }
    for (mpidr, _) in seen.into_iter().filter(|(_, count)| *count > 1) {
        findings.push(Finding::DuplicateMpidr { mpidr });
    }
    let disabled = machine.cpus.len() - enabled(machine).count();
    if disabled > 0 {
        findings.push(Finding::DisabledCpus { cores: disabled });
    }
}

/// Reports what keeps secondary cores from starting; returns how many cores run.
fn check_secondaries(machine: &Machine, findings: &mut Vec<Finding>) -> usize {
    let boot = machine
        .boot_cpu()
        .filter(|cpu| cpu.is_aarch64())
        .or_else(|| enabled(machine).find(|cpu| cpu.is_aarch64()));
    let Some(boot) = boot else {
        return 0;
    };
    let mut usable = 1;
    let (mut no_psci, mut no_address, mut no_method) = (0, 0, 0);
    let mut unknown: BTreeMap<&str, usize> = BTreeMap::new();
    let mut shared: BTreeMap<PhysAddr, usize> = BTreeMap::new();
    let mut mpidrs = alloc::collections::BTreeSet::from([boot.mpidr]);
    let able = enabled(machine).filter(|cpu| cpu.is_aarch64());
    for cpu in able.filter(|cpu| mpidrs.insert(cpu.mpidr)) {
        match start(machine, cpu) {
            Some(_) => usable += 1,
            None => match &cpu.enable_method {
                EnableMethod::Psci => no_psci += 1,
                EnableMethod::SpinTable { .. } => match release_address(cpu) {
                    Some(address) => *shared.entry(address).or_default() += 1,
                    None => no_address += 1,
                },
                EnableMethod::None => no_method += 1,
                EnableMethod::Other(method) => *unknown.entry(method).or_default() += 1,
            },
        }
    }
    if no_psci > 0 {
        findings.push(match machine.psci {
            None => Finding::PsciMissing { cores: no_psci },
            Some(_) => Finding::PsciWithoutCpuOn { cores: no_psci },
        });
    }
    if no_address > 0 {
        findings.push(Finding::NoReleaseAddress { cores: no_address });
    }
    if no_method > 0 {
        findings.push(Finding::NoEnableMethod { cores: no_method });
    }
    for (method, cores) in unknown {
        findings.push(Finding::UnknownEnableMethod {
            method: String::from(method),
            cores,
        });
    }
    for (address, cores) in shared {
        findings.push(Finding::SharedReleaseAddress { address, cores });
    }
    usable
}

/// Bytes of a GICv3's redistributor without virtual LPIs (GIC architecture
/// specification 12.10): no redistributor is smaller.
const REDISTRIBUTOR_BYTES: u64 = 0x2_0000;

/// Reports what the interrupt controller lacks; returns how many cores it can serve,
/// where there is one to ask.
fn check_gic(machine: &Machine, findings: &mut Vec<Finding>) -> Option<usize> {
    let Some(gic) = &machine.gic else {
        findings.push(Finding::NoGic);
        return None;
    };
    if gic.regions.len() < 2 {
        findings.push(Finding::IncompleteGic {
            path: gic.path.clone(),
            regions: gic.regions.len(),
        });
        return None;
    }
    let stride = gic.redistributor_stride.unwrap_or(0);
    let stride = stride.max(REDISTRIBUTOR_BYTES);
    let interfaces = match gic.kind {
        // GICv2 names its targets in one byte.
        GicKind::V2 => 8,
        GicKind::V3 | GicKind::V4 => gic.redistributors().iter().fold(0_usize, |sum, region| {
            // The last one of a region may be without the padding of the stride.
            let room = region.size.saturating_add(stride - REDISTRIBUTOR_BYTES) / stride;
            sum.saturating_add(usize::try_from(room).unwrap_or(usize::MAX))
        }),
    };
    let cores = enabled(machine).count();
    if cores > interfaces {
        findings.push(Finding::MoreCpusThanGic { cores, interfaces });
    }
    Some(interfaces)
}

fn check_timer(machine: &Machine, findings: &mut Vec<Finding>) {
    match &machine.timer {
        None => findings.push(Finding::NoTimer),
        Some(timer) if timer.virt.is_none() && timer.nonsecure.is_none() => {
            findings.push(Finding::TimerWithoutInterrupt {
                path: timer.path.clone(),
            });
        }
        Some(_) => {}
    }
}

fn check_memory(machine: &Machine, findings: &mut Vec<Finding>) {
    if machine.memory.is_empty() {
        findings.push(Finding::NoMemoryNode);
        return;
    }
    let bytes = machine.memory_size();
    if bytes == 0 {
        findings.push(Finding::ZeroMemory);
        return;
    }
    let usable = machine.usable_memory(&[]);
    let usable = usable
        .iter()
        .fold(0_u64, |sum, memory| sum.saturating_add(memory.region.size));
    if usable < LEAST_MEMORY_BYTES {
        findings.push(Finding::TooLittleMemory { bytes, usable });
    }
}

/// Reports what the console lacks; returns what it can do.
fn check_console(machine: &Machine, findings: &mut Vec<Finding>) -> ConsoleUse {
    let chosen = &machine.chosen;
    if let (Some(raw), None) = (&chosen.stdout_raw, &chosen.stdout_path) {
        findings.push(Finding::UnresolvedConsole { raw: raw.clone() });
    }
    let Some(console) = &machine.console else {
        findings.push(Finding::NoConsole);
        return ConsoleUse::None;
    };
    let path = console.path.clone();
    let compatible = || console.compatible.first().cloned().unwrap_or_default();
    if !console.status.is_okay() {
        findings.push(Finding::DisabledConsole { path });
    } else if !console.kind.is_supported() {
        findings.push(Finding::UnsupportedConsole {
            compatible: compatible(),
            path,
        });
    } else if console.base().is_none() {
        findings.push(Finding::UnreachableConsole { path });
    } else if !console.kind.takes_input() {
        findings.push(Finding::NoConsoleInput {
            compatible: compatible(),
            path,
        });
        return ConsoleUse::Output;
    } else if console.intid().is_none() {
        findings.push(Finding::ConsoleWithoutInterrupt { path });
        return ConsoleUse::Output;
    } else {
        return ConsoleUse::InputAndOutput;
    }
    ConsoleUse::None
}
