//! The fact schemas: what the machine is, as typed facts.
//!
//! Each struct is one fact; its fields are the arguments, in order. Facts come
//! from the device tree at boot and from measurement later. All of them may be
//! missing: the rules have defaults, which `docs/080-skb.md` lists.
//!
//! Addresses and sizes are in bytes. Core and node ids are Capelin's and the
//! device tree's own: dense or not, the rules don't care.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error::Error;
use crate::term::Term;

/// One fact of the machine.
pub trait Fact {
    /// What the fact is called and what its arguments mean.
    const SCHEMA: Schema;

    /// The fact as a term.
    ///
    /// # Errors
    /// `representation_error(max_integer)` for a value above 2⁶³ − 1.
    fn term(&self) -> Result<Term, Error>;
}

/// The shape of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The predicate's name.
    pub name: &'static str,
    /// The names of its arguments.
    pub arguments: &'static [&'static str],
}

/// A value that a fact's argument can be.
trait Argument {
    fn term(&self) -> Result<Term, Error>;
}

impl Argument for u64 {
    fn term(&self) -> Result<Term, Error> {
        i64::try_from(*self).map(Term::int).map_err(|_| {
            let formal = Term::compound("representation_error", [Term::atom("max_integer")]);
            Error::Uncaught(Term::compound("error", [formal, Term::var(0)]))
        })
    }
}

impl Argument for String {
    fn term(&self) -> Result<Term, Error> {
        Ok(Term::atom(self))
    }
}

impl Argument for &'static str {
    fn term(&self) -> Result<Term, Error> {
        Ok(Term::atom(self))
    }
}

impl<T: Argument> Argument for Vec<T> {
    fn term(&self) -> Result<Term, Error> {
        Ok(Term::list(
            self.iter().map(T::term).collect::<Result<Vec<_>, _>>()?,
        ))
    }
}

macro_rules! facts {
    ($(
        $(#[$meta:meta])*
        $fact:ident = $name:literal { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }
    )*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $fact { $($(#[$field_meta])* pub $field: $type,)* }

            impl Fact for $fact {
                const SCHEMA: Schema =
                    Schema { name: $name, arguments: &[$(stringify!($field),)*] };

                fn term(&self) -> Result<Term, Error> {
                    Ok(Term::compound($name, [$(Argument::term(&self.$field)?,)*]))
                }
            }
        )*

        /// All schemas. Each is declared in a knowledge base with rules, so that
        /// asking for a fact that nobody has asserted fails instead of being an
        /// error.
        pub const SCHEMAS: &[Schema] = &[$(<$fact as Fact>::SCHEMA,)*];
    };
}

facts! {
    /// A core that the device tree names and that may be started.
    Core = "core" {
        /// Capelin's core id.
        id: u64,
        /// Affinity fields of its MPIDR_EL1: Aff3 in bits 39:32, Aff2 to Aff0 in 23:0.
        mpidr: u64,
        /// NUMA node; 0 on machines without.
        node: u64,
    }

    /// The core that the firmware started. Without this fact it is the lowest id.
    BootCore = "boot_core" {
        /// Core id.
        id: u64,
    }

    /// The affinity levels of a core's MPIDR, 0 to 255 each.
    CoreAffinity = "core_affinity" {
        /// Core id.
        id: u64,
        /// Aff3.
        aff3: u64,
        /// Aff2.
        aff2: u64,
        /// Aff1.
        aff1: u64,
        /// Aff0.
        aff0: u64,
    }

    /// A core's place in the device tree's `cpu-map`.
    CoreTopology = "core_topology" {
        /// Core id.
        id: u64,
        /// Socket.
        socket: u64,
        /// Cluster within the socket; nested ones make one number, 16 bits each.
        cluster: u64,
        /// Core within the cluster.
        core: u64,
        /// Thread within the core; 0 without threads.
        thread: u64,
    }

    /// The kind of a core: its `compatible`, most specific first.
    CoreType = "core_type" {
        /// Core id.
        id: u64,
        /// As `'arm,cortex-a72'`.
        compatible: Vec<String>,
    }

    /// How a core is started.
    CoreStart = "core_start" {
        /// Core id.
        id: u64,
        /// `psci`, `spin_table` or `none`.
        method: &'static str,
        /// Release address of a spin table, else 0.
        release: u64,
    }

    /// What has become of a core.
    CoreState = "core_state" {
        /// Core id.
        id: u64,
        /// `running`, `stopped`, `disabled` or `failed`. The boot rules leave the
        /// last two out.
        state: &'static str,
    }

    /// A cache.
    Cache = "cache" {
        /// A number for it, for `core_cache`.
        id: u64,
        /// Level, from 1.
        level: u64,
        /// `data`, `instruction` or `unified`.
        kind: &'static str,
        /// Size in bytes; 0 if unknown.
        size: u64,
        /// Line in bytes; 0 if unknown.
        line: u64,
        /// Number of sets; 0 if unknown.
        sets: u64,
    }

    /// A core uses a cache; cores that share it each have this fact.
    CoreCache = "core_cache" {
        /// Core id.
        core: u64,
        /// The cache's number.
        cache: u64,
    }

    /// Memory that may be used.
    Memory = "memory" {
        /// First byte.
        base: u64,
        /// Bytes.
        size: u64,
        /// NUMA node; 0 on machines without.
        node: u64,
    }

    /// Memory that must be left alone.
    Reserved = "reserved" {
        /// First byte.
        base: u64,
        /// Bytes.
        size: u64,
    }

    /// Distance between NUMA nodes as the device tree or the SLIT gives it: 10 is
    /// local. May differ by direction.
    Distance = "distance" {
        /// From this node.
        from: u64,
        /// To this node.
        to: u64,
        /// 10 and more.
        distance: u64,
    }

    /// A device.
    Device = "device" {
        /// Path in the device tree, as `'/pl011@9000000'`.
        path: String,
        /// Its `compatible`, most specific first.
        compatible: Vec<String>,
    }

    /// A register region of a device, as the CPU sees it.
    DeviceReg = "device_reg" {
        /// Path in the device tree.
        path: String,
        /// Which of its regions, from 0.
        index: u64,
        /// Physical address.
        base: u64,
        /// Bytes.
        size: u64,
    }

    /// An interrupt of a device.
    DeviceIrq = "device_irq" {
        /// Path in the device tree.
        path: String,
        /// Which of its interrupts, from 0.
        index: u64,
        /// INTID of the GIC.
        intid: u64,
        /// `edge` or `level`.
        trigger: &'static str,
    }

    /// The NUMA node that a device is at.
    DeviceNode = "device_node" {
        /// Path in the device tree.
        path: String,
        /// NUMA node.
        node: u64,
    }

    /// A PCI host bridge.
    PciHost = "pci_host" {
        /// Segment.
        segment: u64,
        /// Path in the device tree.
        path: String,
        /// The first bus below it.
        first: u64,
        /// The last.
        last: u64,
    }

    /// What the CPU sees of a segment's address spaces.
    PciWindow = "pci_window" {
        /// Segment.
        segment: u64,
        /// `io`, `memory32` or `memory64`.
        space: &'static str,
        /// `plain`, or `prefetchable`: only what may be read ahead goes there.
        kind: &'static str,
        /// First address on the bus.
        bus: u64,
        /// Where the CPU sees it.
        cpu: u64,
        /// Bytes.
        size: u64,
    }

    /// Where a pin of the devices on a host bridge's first bus leads.
    PciIntx = "pci_intx" {
        /// Segment.
        segment: u64,
        /// The bits of a device's number that count.
        mask: u64,
        /// What they are of the device.
        device: u64,
        /// 1 to 4: INTA to INTD.
        pin: u64,
        /// INTID of the GIC.
        intid: u64,
        /// `edge` or `level`.
        trigger: &'static str,
    }

    /// Which controller takes the message interrupts of a host bridge's functions.
    PciMsi = "pci_msi" {
        /// Segment.
        segment: u64,
        /// The first requester id: bus in bits 15:8, device in 7:3, function in 2:0.
        requester: u64,
        /// How many there are.
        count: u64,
        /// The controller's path in the device tree.
        controller: String,
        /// What the controller knows the first one by.
        device: u64,
    }

    /// A frame that makes interrupts of messages (GICv2m).
    PciMsiFrame = "pci_msi_frame" {
        /// Path in the device tree.
        path: String,
        /// Physical address.
        base: u64,
        /// Bytes.
        size: u64,
        /// Its first interrupt, where the tree says it; else 0.
        first: u64,
        /// How many it has, likewise.
        count: u64,
    }

    /// A PCI function has message interrupts by a table in its registers.
    PciMsiX = "pci_msi_x" {
        /// The function.
        address: String,
        /// The BAR that the table is in.
        bar: u64,
        /// Its entries.
        vectors: u64,
    }

    /// How a PCI function interrupts.
    PciInterrupt = "pci_interrupt" {
        /// The function.
        address: String,
        /// `intx` by its pin; `msi` and `msi_x` by message.
        kind: &'static str,
        /// INTID of the GIC.
        intid: u64,
    }

    /// A PCI function.
    Pci = "pci" {
        /// Segment, bus, device and function, as `'0000:00:01.0'`.
        address: String,
        /// Who made it.
        vendor: u64,
        /// What they call it.
        device: u64,
    }

    /// A PCI function on a host bridge's first bus.
    PciRoot = "pci_root" {
        /// The function.
        address: String,
        /// Segment.
        segment: u64,
    }

    /// A PCI function on the bus behind a bridge.
    PciBehind = "pci_behind" {
        /// The function.
        address: String,
        /// The bridge.
        bridge: String,
    }

    /// What a PCI function is for.
    PciClass = "pci_class" {
        /// The function.
        address: String,
        /// Base class: 1 storage, 2 network, 6 bridge, …
        base: u64,
        /// Sub-class.
        sub: u64,
        /// Programming interface.
        interface: u64,
    }

    /// A PCI bridge.
    PciBridge = "pci_bridge" {
        /// The function.
        address: String,
        /// The first bus behind it.
        first: u64,
        /// The last.
        last: u64,
        /// `yes` or `no`: whether it lets ports through.
        io: &'static str,
        /// How far its window of prefetchable memory reaches: `none`, `memory32` or `memory64`.
        prefetchable: &'static str,
    }

    /// Registers of a PCI function that want a place.
    PciBar = "pci_bar" {
        /// The function.
        address: String,
        /// Which BAR, 0 to 5.
        bar: u64,
        /// `io`, `memory32` or `memory64`.
        space: &'static str,
        /// `plain`, or `prefetchable`: may be read ahead.
        kind: &'static str,
        /// Bytes.
        size: u64,
    }

    /// Registers of a PCI function that have a place which the CPU sees.
    PciPlaced = "pci_placed" {
        /// The function.
        address: String,
        /// Which BAR, 0 to 5.
        bar: u64,
        /// First address on the bus.
        bus: u64,
        /// Where the CPU sees it.
        cpu: u64,
        /// Bytes.
        size: u64,
    }

    /// A virtio device in one of the places that the device tree has for them (`virtio,mmio`), in most
    /// of which there is none.
    SlotVirtio = "slot_virtio" {
        /// Path of the place in the device tree.
        path: String,
        /// The device's type (Virtual I/O Device Specification 1.3, 5): 3 console, 4 entropy, …
        kind: u64,
    }

    /// A module of the boot archive.
    Module = "module" {
        /// Name.
        name: String,
        /// Bytes.
        size: u64,
    }

    /// A driver for devices with this `compatible`. The lowest priority number wins.
    Driver = "driver" {
        /// As `'arm,pl011'`.
        compatible: String,
        /// Name of its module.
        module: String,
        /// 0 is the most specific.
        priority: u64,
    }

    /// A kernel id and the core that runs it.
    Kernel = "kernel" {
        /// Kernel id.
        kernel: u64,
        /// Core id.
        core: u64,
    }

    /// Measured cost of a message from one core to another.
    MessageCost = "message_cost" {
        /// Sending core.
        from: u64,
        /// Receiving core.
        to: u64,
        /// Time in nanoseconds.
        ns: u64,
    }
}
