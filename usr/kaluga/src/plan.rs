//! What the knowledge base says of devices: goals, and their solutions read.
//!
//! The rule is `driver_plan/3` of `skb/src/drivers.pl`, over facts that the device tree gave.

use alloc::{format, string::String};

use capelin_interfaces::skb::Solution;

use crate::{ledger::Region, slots::Slot};

/// All devices that have registers or interrupts, one solution each ([`Planned::read`]).
pub const DEVICES: &str = "driver_plan(Path, Module, Plan)";

/// All functions on PCI buses, one solution each ([`Planned::read`]), once the drivers of the host
/// bridges have told of them.
pub const FUNCTIONS: &str = "driver_function(Path, Module, Plan), pci(Path, _, _)";

/// All slots, one solution each ([`slot`]).
pub const SLOTS: &str = "driver_plan(Path, _, slot), device_reg(Path, 0, Base, Bytes)";

/// All virtio devices in slots, one solution each ([`Planned::read`]), once it has been told which there
/// are ([`slot_fact`]).
pub const SLOT_DEVICES: &str = "driver_slot(Path, Module, Plan)";

/// What is to become of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// The CPU drivers use it.
    Kernel,
    /// Its driver was started before anything else.
    First,
    /// Its driver is a console's.
    Console,
    /// Its driver is to be started once somebody wants to know of devices.
    Asked,
    /// It is a place for a device: what is there is to be looked at once somebody wants to know of
    /// devices.
    Slot,
    /// The driver of its bus drives it.
    Bus,
    /// Its driver is to be started.
    Start,
    /// Its driver isn't in the archive.
    Absent,
    /// There is no driver for it.
    None,
}

/// A device, and what is to become of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Planned {
    /// Its path, as a term: to be named in goals.
    pub term: String,
    /// Its path.
    pub path: String,
    /// The module that drives it.
    pub module: Option<String>,
    /// The same, as a term.
    module_term: String,
    /// What is to become of it.
    pub plan: Plan,
}

impl Planned {
    /// Reads a solution of [`DEVICES`]; `None` for one that isn't.
    #[must_use]
    pub fn read(solution: &Solution) -> Option<Self> {
        let term = solution.get("Path")?;
        let plan = match solution.get("Plan")? {
            "kernel" => Plan::Kernel,
            "first" => Plan::First,
            "console" => Plan::Console,
            "asked" => Plan::Asked,
            "slot" => Plan::Slot,
            "bus" => Plan::Bus,
            "start" => Plan::Start,
            "absent" => Plan::Absent,
            "none" => Plan::None,
            _ => return None,
        };
        let module_term = solution.get("Module").unwrap_or_default();
        let module = (plan != Plan::None).then(|| atom(solution.get("Module")?));
        Some(Self {
            path: atom(term)?,
            term: term.into(),
            module: match module {
                None => None,
                Some(module) => Some(module?),
            },
            module_term: module_term.into(),
            plan,
        })
    }

    /// The device's registers, one solution each ([`registers`]), in the tree's order.
    #[must_use]
    pub fn registers_goal(&self) -> String {
        format!("device_reg({}, _, Base, Bytes)", self.term)
    }

    /// A PCI function's registers in memory, one solution each ([`bar`]).
    #[must_use]
    pub fn bars_goal(&self) -> String {
        format!(
            "pci_placed({0}, Bar, _, Base, Bytes), pci_bar({0}, Bar, Space, _, _), Space \\== io",
            self.term
        )
    }

    /// The BAR that a PCI function's table of message interrupts is in, if it has one: one solution ([`table`]).
    #[must_use]
    pub fn table_goal(&self) -> String {
        format!("pci_msi_x({}, Bar, _)", self.term)
    }

    /// The interrupts that its driver is given, one solution each ([`interrupt`]), in the tree's
    /// order.
    #[must_use]
    pub fn interrupts_goal(&self) -> String {
        format!("driver_interrupt({}, Intid, Trigger)", self.term)
    }

    /// The names under which its driver serves, one solution each ([`name`]).
    #[must_use]
    pub fn services_goal(&self) -> String {
        format!("driver_service({}, Name)", self.module_term)
    }

    /// The memory that its driver shares with it ([`memory`]): one solution, or none.
    #[must_use]
    pub fn memory_goal(&self) -> String {
        format!(
            "driver_for({}, Module), driver_memory(Module, Bytes, End)",
            self.term
        )
    }

    /// Its `compatible` names, one solution each ([`name`]), most specific first.
    #[must_use]
    pub fn names_goal(&self) -> String {
        format!("device({}, Names), member(Name, Names)", self.term)
    }
}

/// Reads a solution of [`Planned::registers_goal`].
#[must_use]
pub fn registers(solution: &Solution) -> Option<Region> {
    Some(Region {
        base: number(solution, "Base")?,
        bytes: number(solution, "Bytes")?,
    })
}

/// Reads a solution of [`SLOTS`].
#[must_use]
pub fn slot(solution: &Solution) -> Option<Slot> {
    let term = solution.get("Path")?;
    Some(Slot {
        path: atom(term)?,
        term: term.into(),
        registers: registers(solution)?,
    })
}

/// The fact that there is a virtio device of that type in a slot.
#[must_use]
pub fn slot_fact(slot: &Slot, kind: u32) -> String {
    format!("slot_virtio({}, {kind})", slot.term)
}

/// Frames that make interrupts of messages, one solution each ([`MessageFrame::read`]).
pub const MESSAGE_FRAMES: &str = "pci_msi_frame(Path, Base, Bytes, First, Count)";

/// A frame that makes interrupts of messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MessageFrame {
    /// Its path.
    pub path: String,
    /// Where its registers are.
    pub registers: Region,
    /// Its first interrupt; 0 where it tells itself.
    pub first: u32,
    /// How many it has; 0 where it tells itself.
    pub count: u32,
}

impl MessageFrame {
    /// Reads a solution of [`MESSAGE_FRAMES`].
    #[must_use]
    pub fn read(solution: &Solution) -> Option<Self> {
        Some(Self {
            path: atom(solution.get("Path")?)?,
            registers: registers(solution)?,
            first: u32::try_from(number(solution, "First")?).ok()?,
            count: u32::try_from(number(solution, "Count")?).ok()?,
        })
    }
}

/// Reads a solution of [`Planned::table_goal`].
#[must_use]
pub fn table(solution: &Solution) -> Option<usize> {
    usize::try_from(number(solution, "Bar")?).ok()
}

/// Reads a solution of [`Planned::bars_goal`]: the BAR's number, and where it is.
#[must_use]
pub fn bar(solution: &Solution) -> Option<(usize, Region)> {
    let number = usize::try_from(number(solution, "Bar")?).ok()?;
    Some((number, registers(solution)?))
}

/// Memory that a driver shares with its device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SharedMemory {
    /// Bytes, a multiple of 4,096.
    pub bytes: u64,
    /// All of it is below this physical address.
    pub end: u64,
}

/// Reads a solution of [`Planned::memory_goal`].
#[must_use]
pub fn memory(solution: &Solution) -> Option<SharedMemory> {
    Some(SharedMemory {
        bytes: number(solution, "Bytes")?,
        end: number(solution, "End")?,
    })
}

/// Reads a solution of [`Planned::interrupts_goal`]: the INTID, and whether it is edge-triggered.
#[must_use]
pub fn interrupt(solution: &Solution) -> Option<(u32, IsEdge)> {
    let intid = u32::try_from(number(solution, "Intid")?).ok()?;
    Some((intid, IsEdge(solution.get("Trigger")? == "edge")))
}

/// Whether an interrupt is triggered by an edge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IsEdge(pub bool);

/// Reads a solution of [`Planned::names_goal`] or [`Planned::services_goal`].
#[must_use]
pub fn name(solution: &Solution) -> Option<String> {
    atom(solution.get("Name")?)
}

fn number(solution: &Solution, variable: &str) -> Option<u64> {
    solution.get(variable)?.parse().ok()
}

/// The text of an atom, as the knowledge base writes it (`skb/src/writer.rs`): bare, or within single
/// quotes, where a backslash stands before what is special.
fn atom(term: &str) -> Option<String> {
    let Some(quoted) = term.strip_prefix('\'') else {
        return Some(term.into());
    };
    let quoted = quoted.strip_suffix('\'')?;
    let mut text = String::new();
    let mut letters = quoted.chars();
    while let Some(letter) = letters.next() {
        text.push(match letter {
            '\\' => match letters.next()? {
                'n' => '\n',
                't' => '\t',
                'x' => {
                    let digits: String = letters.by_ref().take_while(|c| *c != '\\').collect();
                    char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?
                }
                other => other,
            },
            other => other,
        });
    }
    Some(text)
}

#[cfg(test)]
mod tests;
