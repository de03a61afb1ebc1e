//! Whether Capelin can boot on a machine, and what it will not be able to use.
//!
//! Real trees are incomplete in many ways, most of which are no obstacle. Each
//! way that matters is a [`Finding`] with a [`Severity`]; its `Display` is a
//! sentence for the user. How a core is to be started is decided here once
//! ([`start`]), so that what is reported and what is done agree.

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
    /// Capelin boots, but without something.
    Degrades,
}

/// One thing that is missing or odd.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// No enabled core with a readable MPIDR.
    NoCpu,
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
    /// `/chosen` names no console.
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
    /// Secondary cores that wait on one release address and can only be released
    /// together.
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
            | Self::NoGic
            | Self::IncompleteGic { .. }
            | Self::NoTimer
            | Self::TimerWithoutInterrupt { .. } => Severity::Blocks,
            Self::NoMemoryNode | Self::ZeroMemory => Severity::NeedsFirmware,
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
            Self::NoConsole => {
                f.write_str("no console: /chosen has no stdout-path, so early messages are lost")
            }
            Self::UnresolvedConsole { raw } => {
                write!(f, "no console: stdout-path \"{raw}\" leads to no node")
            }
            Self::UnsupportedConsole { path, compatible } => {
                write!(f, "no console: there is no driver for {path} ({compatible})")
            }
            Self::UnreachableConsole { path } => {
                write!(f, "no console: the registers of {path} have no CPU address")
            }
            Self::UnreadableCpu { path } => {
                write!(f, "{path} is left out: its reg is no MPIDR")
            }
            Self::DuplicateMpidr { mpidr } => {
                write!(f, "several cores have MPIDR {mpidr}: only the first is used")
            }
            Self::PsciMissing { cores } => write!(
                f,
                "{} can't be started: enable-method is psci, but there is no usable psci node",
                Secondary(*cores)
            ),
            Self::PsciWithoutCpuOn { cores } => write!(
                f,
                "{} can't be started: PSCI 0.1 needs a cpu_on function id, and none is given",
                Secondary(*cores)
            ),
            Self::NoReleaseAddress { cores } => write!(
                f,
                "{} can't be started: the spin table has no release address",
                Secondary(*cores)
            ),
            Self::SharedReleaseAddress { address, cores } => write!(
                f,
                "{} share the release address {address} and wake only together",
                Secondary(*cores)
            ),
            Self::NoEnableMethod { cores } => write!(
                f,
                "{} can't be started: there is no enable-method",
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

/// The verdict on a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bootability {
    /// What was found, what matters most first.
    pub findings: Vec<Finding>,
    /// Cores that can run: the boot core and those that can be started.
    pub usable_cores: usize,
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
            Some(Severity::Degrades) | None => "Capelin can boot here",
        };
        write!(f, "{verdict} ({} usable)", Cores(self.usable_cores))?;
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

/// How `cpu` is started, if it can be: it is enabled and its method is complete.
#[must_use]
pub fn start(machine: &Machine, cpu: &Cpu) -> Option<Start> {
    if !cpu.status.is_okay() {
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
        EnableMethod::SpinTable { release_addr } => {
            release_addr.map(|release| Start::SpinTable { release })
        }
        EnableMethod::Other(_) | EnableMethod::None => None,
    }
}

/// Whether Capelin can boot on `machine`, and what it can't use there.
#[must_use]
pub fn bootability(machine: &Machine) -> Bootability {
    let mut findings = Vec::new();
    check_cpus(machine, &mut findings);
    let usable_cores = check_secondaries(machine, &mut findings);
    check_gic(machine, &mut findings);
    check_timer(machine, &mut findings);
    check_memory(machine, &mut findings);
    check_console(machine, &mut findings);
    findings.sort_by_key(Finding::severity);
    Bootability {
        findings,
        usable_cores,
    }
}

fn enabled(machine: &Machine) -> impl Iterator<Item = &Cpu> {
    machine.cpus.iter().filter(|cpu| cpu.status.is_okay())
}

fn check_cpus(machine: &Machine, findings: &mut Vec<Finding>) {
    if enabled(machine).next().is_none() {
        findings.push(Finding::NoCpu);
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
    let Some(boot) = machine.boot_cpu() else {
        return 0;
    };
    let mut usable = 1;
    let (mut no_psci, mut no_address, mut no_method) = (0, 0, 0);
    let mut unknown: BTreeMap<&str, usize> = BTreeMap::new();
    let mut releases: BTreeMap<PhysAddr, usize> = BTreeMap::new();
    let mut mpidrs = alloc::collections::BTreeSet::from([boot.mpidr]);
    for cpu in enabled(machine).filter(|cpu| mpidrs.insert(cpu.mpidr)) {
        match start(machine, cpu) {
            Some(how) => {
                usable += 1;
                if let Start::SpinTable { release } = how {
                    *releases.entry(release).or_default() += 1;
                }
            }
            None => match &cpu.enable_method {
                EnableMethod::Psci => no_psci += 1,
                EnableMethod::SpinTable { .. } => no_address += 1,
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
    for (address, cores) in releases.into_iter().filter(|(_, cores)| *cores > 1) {
        findings.push(Finding::SharedReleaseAddress { address, cores });
    }
    usable
}

fn check_gic(machine: &Machine, findings: &mut Vec<Finding>) {
    let Some(gic) = &machine.gic else {
        findings.push(Finding::NoGic);
        return;
    };
    if gic.regions.len() < 2 {
        findings.push(Finding::IncompleteGic {
            path: gic.path.clone(),
            regions: gic.regions.len(),
        });
    }
    // GICv2 names its targets in one byte.
    let cores = enabled(machine).count();
    if gic.kind == GicKind::V2 && cores > 8 {
        findings.push(Finding::MoreCpusThanGic {
            cores,
            interfaces: 8,
        });
    }
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
    } else if machine.memory_size() == 0 {
        findings.push(Finding::ZeroMemory);
    }
}

fn check_console(machine: &Machine, findings: &mut Vec<Finding>) {
    let Some(console) = &machine.console else {
        findings.push(match &machine.chosen.stdout_raw {
            None => Finding::NoConsole,
            Some(raw) => Finding::UnresolvedConsole { raw: raw.clone() },
        });
        return;
    };
    let path = console.path.clone();
    if !console.kind.is_supported() {
        findings.push(Finding::UnsupportedConsole {
            path,
            compatible: console.compatible.first().cloned().unwrap_or_default(),
        });
    } else if console.base().is_none() {
        findings.push(Finding::UnreachableConsole { path });
    }
}
