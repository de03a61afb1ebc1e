//! What is wrong or odd in tables, as typed findings: none of them keeps the rest from
//! being read. What keeps Capelin from booting is said by who reads the tree.

use alloc::vec::Vec;
use core::fmt;

/// A table's four letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Signature(pub [u8; 4]);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

/// What is wrong with a table as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableFault {
    /// It is shorter than its header or than the length that stands there.
    Truncated {
        /// Bytes that the header gives.
        said: u32,
        /// Bytes that are there.
        there: usize,
    },
    /// Its bytes don't add up to 0.
    Checksum,
    /// It has a later copy of one that there may be only one of.
    Repeated,
    /// It is longer than any that was seen by far.
    TooLong {
        /// Bytes that the header gives.
        said: u32,
    },
    /// Fields that every revision has are missing.
    TooShort,
}

/// What a register block or range belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Block {
    /// GIC distributor.
    Distributor,
    /// Region of redistributors.
    Redistributors,
    /// CPU interface of a GICv2.
    CpuInterface,
    /// Interrupt translation service.
    Its,
    /// Message frame of a GICv2.
    MessageFrame,
    /// UART.
    Uart,
    /// Configuration space of PCIe functions.
    Ecam,
    /// SMMU.
    Smmu,
    /// Watchdog.
    Watchdog,
    /// Memory.
    Memory,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Distributor => "the GIC's distributor",
            Self::Redistributors => "a region of redistributors",
            Self::CpuInterface => "the GIC's CPU interface",
            Self::Its => "an ITS",
            Self::MessageFrame => "a message frame",
            Self::Uart => "a UART",
            Self::Ecam => "a PCIe configuration space",
            Self::Smmu => "an SMMU",
            Self::Watchdog => "a watchdog",
            Self::Memory => "memory",
        })
    }
}

/// Lists that are cut off at a number that no machine reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum List {
    /// Cores.
    Cores,
    /// Redistributor regions, translation services, message frames and SMMUs.
    Devices,
    /// Memory ranges.
    Memory,
    /// NUMA nodes in the distance table.
    Nodes,
    /// Ranges of ids that a PCIe host is mapped by.
    IdMappings,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cores => "cores",
            Self::Devices => "interrupt controllers and SMMUs",
            Self::Memory => "memory ranges",
            Self::Nodes => "NUMA nodes",
            Self::IdMappings => "id mappings",
        })
    }
}

/// One thing that is wrong or odd. Its `Display` is a sentence for the machine's owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finding {
    /// A table is left out.
    Table {
        /// Which.
        signature: Signature,
        /// Why.
        fault: TableFault,
    },
    /// A table that Capelin needs isn't there.
    Missing {
        /// Which.
        signature: Signature,
    },
    /// A structure in a table is shorter than its fields, or its list goes on beyond
    /// the table: it and, in the latter case, what follows is left out.
    Entry {
        /// The table.
        signature: Signature,
        /// Where in it, in bytes.
        offset: usize,
    },
    /// A structure refers to something that isn't there, or to itself by a circle.
    Reference {
        /// The table.
        signature: Signature,
        /// Where in it, in bytes.
        offset: usize,
    },
    /// An address that no such block can have: 0, misaligned, or beyond 52 bits. It is
    /// left out.
    Address {
        /// What is there.
        block: Block,
        /// The address.
        address: u64,
    },
    /// Two blocks at one place: the second is left out, unless the first is memory,
    /// which then is kept off.
    Overlap {
        /// The one that counts.
        first: Block,
        /// The other.
        second: Block,
        /// Where the second begins.
        address: u64,
    },
    /// More than one distributor: the first counts.
    Distributors,
    /// An interrupt number that no GIC has: left out.
    Interrupt {
        /// The table.
        signature: Signature,
        /// The number.
        gsi: u32,
    },
    /// Firmware speaks no PSCI and has no parking protocol: other cores don't start.
    NoStartMethod,
    /// Cores that wait in mailboxes of the parking protocol, which Capelin doesn't speak.
    Parking,
    /// A UART whose registers are no memory.
    UartSpace {
        /// ACPI's number of the address space (ACPI 6.5, 5.2.3.2).
        space: u8,
    },
    /// A UART that Capelin has no name for.
    UartKind {
        /// DBG2's number of the kind.
        kind: u16,
    },
    /// A distance that can't be: not 10 to the node itself, or less to another.
    Distance {
        /// From.
        from: u32,
        /// To.
        to: u32,
        /// The value.
        distance: u8,
    },
    /// A list is longer than any machine's: the rest is left out.
    TooMany {
        /// Of what.
        list: List,
        /// How many are kept.
        kept: usize,
    },
    /// More findings than are worth reading.
    More,
}

impl fmt::Display for TableFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { said, there } => {
                write!(f, "it says {said} bytes, and there are {there}")
            }
            Self::Checksum => f.write_str("its checksum is wrong"),
            Self::Repeated => f.write_str("there is one already"),
            Self::TooLong { said } => write!(f, "{said} bytes are too many"),
            Self::TooShort => f.write_str("it lacks fields that it must have"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table { signature, fault } => write!(f, "table {signature} is left out: {fault}"),
            Self::Missing { signature } => write!(f, "there is no table {signature}"),
            Self::Entry { signature, offset } => write!(
                f,
                "table {signature}: the structure at {offset:#x} isn't whole, and left out"
            ),
            Self::Reference { signature, offset } => write!(
                f,
                "table {signature}: the structure at {offset:#x} refers to nothing, or in a circle"
            ),
            Self::Address { block, address } => {
                write!(f, "{block} can't be at {address:#x}: left out")
            }
            Self::Overlap {
                first: Block::Memory,
                second,
                address,
            } => write!(
                f,
                "{second} at {address:#x} lies in memory, which is kept off"
            ),
            Self::Overlap {
                first,
                second,
                address,
            } => write!(
                f,
                "{second} at {address:#x} lies where {first} is: left out"
            ),
            Self::Distributors => f.write_str("more than one GIC distributor: the first is used"),
            Self::Interrupt { signature, gsi } => {
                write!(f, "table {signature}: there is no interrupt {gsi}")
            }
            Self::NoStartMethod => f.write_str(
                "firmware has neither PSCI nor a parking protocol: only the boot core runs",
            ),
            Self::Parking => f.write_str(
                "cores wait in mailboxes of the parking protocol, which Capelin doesn't speak: \
                 they stay there (firmware with PSCI starts them)",
            ),
            Self::UartSpace { space } => {
                write!(
                    f,
                    "the console's registers are in address space {space}, not in memory"
                )
            }
            Self::UartKind { kind } => write!(f, "the console is a UART of unknown kind {kind:#x}"),
            Self::Distance { from, to, distance } => {
                write!(
                    f,
                    "NUMA node {to} can't be {distance} far from {from}: left out"
                )
            }
            Self::TooMany { list, kept } => write!(f, "only the first {kept} {list} are used"),
            Self::More => f.write_str("and more of that kind"),
        }
    }
}

/// Findings, each once, and not more than a page of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// The most that are kept.
    const MOST: usize = 64;

    /// Adds one that isn't there already.
    pub(crate) fn add(&mut self, finding: Finding) {
        if self.0.len() < Self::MOST && !self.0.contains(&finding) {
            self.0.push(finding);
            if self.0.len() == Self::MOST {
                self.0.push(Finding::More);
            }
        }
    }

    /// All, in the order in which they were found.
    #[must_use]
    pub fn as_slice(&self) -> &[Finding] {
        &self.0
    }
}
