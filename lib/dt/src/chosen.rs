//! `/chosen`: what firmware says to the system, and the console that it names
//! (devicetree specification 3.3, 3.6).
//!
//! The console is found in this order ([`ConsoleSource`]): the device that
//! `stdout-path` names; the one that `earlycon=` or `console=` in `bootargs` names
//! (syntax of Linux's kernel parameters); the only UART that Capelin has a driver
//! for. Of several UARTs none is guessed: it may belong to somebody else.

use alloc::string::String;
use alloc::vec::Vec;

use crate::tree::{NodeId, Tree};
use crate::types::{Interrupt, Intid, PhysAddr, Reg, Region, Status};

/// What `/chosen` holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Chosen {
    /// The command line.
    pub bootargs: Option<String>,
    /// `stdout-path` as it stands: `serial0:115200n8`.
    pub stdout_raw: Option<String>,
    /// The path it means, if there is such a node.
    pub stdout_path: Option<String>,
    /// What follows the colon: `115200n8`.
    pub stdout_options: Option<String>,
    /// First address of the initial ramdisk.
    pub initrd_start: Option<PhysAddr>,
    /// First address after it.
    pub initrd_end: Option<PhysAddr>,
    /// What the virtual counter told when firmware entered the loader that made or completed the
    /// tree (`capelin,entry-ticks`, `docs/120-acpi.md`).
    pub entry_ticks: Option<u64>,
}

impl Chosen {
    /// The initial ramdisk, if there is a sensible one.
    #[must_use]
    pub fn initrd(&self) -> Option<Region> {
        let (start, end) = (self.initrd_start?, self.initrd_end?);
        (start < end).then(|| Region {
            base: start,
            size: end.0 - start.0,
        })
    }
}

/// What programs a console.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsoleKind {
    /// Arm PL011, and the SBSA's generic UART, which is a subset of it.
    Pl011,
    /// 16550 and compatible: registers at `reg_shift`, accesses of `reg_io_width`.
    Ns16550,
    /// The Raspberry Pi's mini UART: much like a 16550 with registers four bytes
    /// apart, whatever `reg_shift` says.
    Bcm2835Aux,
    /// Amlogic Meson.
    Meson,
    /// NXP i.MX.
    Imx,
    /// NXP low-power UART.
    Lpuart,
    /// Qualcomm GENI.
    Geni,
    /// Qualcomm UARTDM.
    MsmUartdm,
    /// Cadence UART of Xilinx devices.
    Cadence,
    /// Marvell Armada 3700.
    Armada3700,
    /// None of these.
    Other,
}

impl ConsoleKind {
    /// Whether Capelin can write to it.
    #[must_use]
    pub const fn is_supported(self) -> bool {
        matches!(self, Self::Pl011 | Self::Ns16550 | Self::Bcm2835Aux)
    }

    /// Whether Capelin has a driver for it that reads from it (`usr/drivers`): all kinds by now.
    #[must_use]
    pub const fn takes_input(self) -> bool {
        self.is_supported()
    }
}

/// What named the console.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsoleSource {
    /// `stdout-path`.
    StdoutPath,
    /// `earlycon=` or `console=` in `bootargs`.
    Bootargs,
    /// Nothing: it is the only enabled UART that Capelin can write to.
    OnlyUart,
}

/// Where a UART's registers are, one to each `1 << shift` bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RegisterLayout {
    /// log2 of the bytes from one register to the next.
    pub shift: u32,
    /// Bytes in an access.
    pub access_bytes: u32,
}

/// The device that is the console.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Console {
    /// Path of the node.
    pub path: String,
    /// `compatible`, most specific first.
    pub compatible: Vec<String>,
    /// What programs it.
    pub kind: ConsoleKind,
    /// Its registers; `None` if the tree gives none.
    pub reg: Option<Reg>,
    /// log2 of the bytes between registers; 0 where the tree doesn't say.
    pub reg_shift: u32,
    /// Bytes in an access, where the tree says.
    pub reg_io_width: Option<u32>,
    /// Input clock in Hz, where the tree says.
    pub clock_frequency: Option<u32>,
    /// Its interrupts.
    pub interrupts: Vec<Interrupt>,
    /// What `status` says of it or a bus above.
    pub status: Status,
    /// What named it.
    pub source: ConsoleSource,
}

impl Console {
    /// Where its registers are for the CPU.
    #[must_use]
    pub fn base(&self) -> Option<PhysAddr> {
        self.reg.and_then(|reg| reg.base)
    }

    /// Whether Capelin can write to it: it is enabled, reachable, and of a kind that
    /// there is a driver for.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.status.is_okay() && self.base().is_some() && self.kind.is_supported()
    }

    /// Whether somebody can type there: there is a driver that reads from it, and
    /// its interrupt reaches the GIC.
    #[must_use]
    pub fn takes_input(&self) -> bool {
        self.is_usable() && self.kind.takes_input() && self.intid().is_some()
    }

    /// How its registers are laid out: as its `compatible` fixes it (`FIXED`),
    /// else as `reg-shift` and `reg-io-width` say, which stand for 0 and 1 where
    /// they are missing (binding `8250`).
    #[must_use]
    pub fn layout(&self) -> RegisterLayout {
        let listed = |names: &[&str]| self.compatible.iter().any(|one| names.contains(&&**one));
        let fixed = FIXED.iter().find(|(names, _)| listed(names));
        fixed.map_or(
            RegisterLayout {
                shift: self.reg_shift,
                access_bytes: self.reg_io_width.unwrap_or(1),
            },
            |(_, layout)| *layout,
        )
    }

    /// The interrupt that it raises, if one reaches the GIC.
    #[must_use]
    pub fn intid(&self) -> Option<Intid> {
        self.interrupts.iter().find_map(|interrupt| interrupt.intid)
    }
}

/// UARTs whose layout no property gives: the binding of each fixes it.
const FIXED: &[(&[&str], RegisterLayout)] = &[
    (
        &["arm,pl011", "arm,sbsa-uart"],
        RegisterLayout {
            shift: 2,
            access_bytes: 4,
        },
    ),
    // Byte registers, one to a word.
    (
        &[
            "ti,am654-uart",
            "ti,am64-uart",
            "ti,am4372-uart",
            "ti,am3352-uart",
            "ti,dra742-uart",
            "ti,omap4-uart",
            "ti,omap3-uart",
            "ti,omap2-uart",
        ],
        RegisterLayout {
            shift: 2,
            access_bytes: 1,
        },
    ),
    // Word registers.
    (
        &[
            "brcm,bcm2835-aux-uart",
            "mediatek,mt6577-uart",
            "nvidia,tegra20-uart",
        ],
        RegisterLayout {
            shift: 2,
            access_bytes: 4,
        },
    ),
];

const KINDS: &[(ConsoleKind, &[&str])] = &[
    (ConsoleKind::Bcm2835Aux, &["brcm,bcm2835-aux-uart"]),
    (ConsoleKind::Pl011, &["arm,pl011", "arm,sbsa-uart"]),
    (
        ConsoleKind::Ns16550,
        &[
            "ns16550",
            "ns16550a",
            "ns16650",
            "fsl,ns16550",
            "snps,dw-apb-uart",
            "ti,am654-uart",
            "ti,am64-uart",
            "ti,am4372-uart",
            "ti,am3352-uart",
            "ti,dra742-uart",
            "ti,omap4-uart",
            "ti,omap3-uart",
            "ti,omap2-uart",
            "mediatek,mt6577-uart",
            "nvidia,tegra20-uart",
            "marvell,armada-38x-uart",
        ],
    ),
    (
        ConsoleKind::Meson,
        &[
            "amlogic,meson-gx-uart",
            "amlogic,meson-ao-uart",
            "amlogic,meson-uart",
        ],
    ),
    (ConsoleKind::Imx, &["fsl,imx6q-uart", "fsl,imx21-uart"]),
    (
        ConsoleKind::Lpuart,
        &[
            "fsl,imx8qxp-lpuart",
            "fsl,imx7ulp-lpuart",
            "fsl,ls1028a-lpuart",
        ],
    ),
    (
        ConsoleKind::Geni,
        &["qcom,geni-debug-uart", "qcom,geni-uart"],
    ),
    (ConsoleKind::MsmUartdm, &["qcom,msm-uartdm"]),
    (
        ConsoleKind::Cadence,
        &["cdns,uart-r1p8", "cdns,uart-r1p12", "xlnx,xuartps"],
    ),
    (ConsoleKind::Armada3700, &["marvell,armada-3700-uart"]),
];

/// Reads `/chosen` and finds the console.
pub(crate) fn read(tree: &Tree<'_>) -> (Chosen, Option<Console>) {
    let node = tree.child(Tree::ROOT, "chosen");
    let string = |name: &str| node.and_then(|node| tree.str(node, name));
    let number = |name: &str| node.and_then(|node| tree.u64(node, name));
    let address = |name: &str| number(name).map(PhysAddr);
    // The older name has the same meaning.
    let raw = string("stdout-path").or_else(|| string("linux,stdout-path"));
    let stdout = raw.and_then(|raw| resolve(tree, raw));
    let bootargs = string("bootargs");
    let chosen = Chosen {
        bootargs: bootargs.map(String::from),
        stdout_raw: raw.map(String::from),
        stdout_path: stdout.map(|stdout| tree.path(stdout)),
        stdout_options: raw.and_then(|raw| Some(String::from(raw.split_once(':')?.1))),
        initrd_start: address("linux,initrd-start"),
        initrd_end: address("linux,initrd-end"),
        entry_ticks: number("capelin,entry-ticks"),
    };
    let found = |node: Option<NodeId>, source| node.map(|node| console(tree, node, source));
    let named = found(stdout, ConsoleSource::StdoutPath);
    let console = match named {
        // What can't be used is no console, where another can.
        Some(named) if named.is_usable() => Some(named),
        other => found(in_bootargs(tree, bootargs), ConsoleSource::Bootargs)
            .or_else(|| found(only_uart(tree), ConsoleSource::OnlyUart))
            .filter(Console::is_usable)
            .or(other),
    };
    (chosen, console)
}

/// The device that `earlycon=` or `console=` names: by address, as in
/// `earlycon=uart8250,mmio32,0xfe660000`, or by number, as in `console=ttyS2,1500000`,
/// which the alias `serial2` stands for.
fn in_bootargs(tree: &Tree<'_>, bootargs: Option<&str>) -> Option<NodeId> {
    let words = || bootargs.unwrap_or("").split_ascii_whitespace();
    let early = words().filter_map(|word| word.strip_prefix("earlycon="));
    let by_address = early
        .filter_map(|value| value.split(',').find_map(hexadecimal))
        .find_map(|address| at(tree, PhysAddr(address)));
    // The last `console=` is where the system talks to its user.
    let by_number = || {
        let mut names = words().filter_map(|word| word.strip_prefix("console="));
        let name = names.next_back()?.split(',').next()?;
        let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
        let is_serial = ["ttyS", "ttyAMA"]
            .iter()
            .any(|prefix| name.strip_prefix(prefix) == Some(digits));
        let mut alias = String::from("serial");
        alias.push_str(digits);
        is_serial.then(|| resolve(tree, &alias))?
    };
    by_address.or_else(by_number)
}

/// A number as C writes it in base 16.
fn hexadecimal(word: &str) -> Option<u64> {
    u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

/// The UART whose registers begin at `address`.
fn at(tree: &Tree<'_>, address: PhysAddr) -> Option<NodeId> {
    uarts(tree).find(|&node| {
        let first = tree.reg(node).first().copied();
        first.and_then(|reg| reg.base) == Some(address)
    })
}

/// The enabled UART that Capelin can write to, if there is exactly one.
fn only_uart(tree: &Tree<'_>) -> Option<NodeId> {
    let mut usable = uarts(tree)
        .filter(|&node| kind_of(tree, node).is_supported() && tree.status_on_bus(node).is_okay());
    let first = usable.next()?;
    usable.next().is_none().then_some(first)
}

fn uarts<'t>(tree: &'t Tree<'_>) -> impl Iterator<Item = NodeId> + 't {
    tree.all()
        .filter(|&node| kind_of(tree, node) != ConsoleKind::Other)
}

/// The node that a path or alias, perhaps with `:options`, names.
pub(crate) fn resolve(tree: &Tree<'_>, raw: &str) -> Option<NodeId> {
    let name = raw.split_once(':').map_or(raw, |(name, _)| name);
    if name.starts_with('/') {
        return tree.find(name);
    }
    // `alias/rest` is legal, too (2.2.3 and the `aliases` node, 3.3).
    let (alias, rest) = match name.find('/') {
        Some(slash) => name.split_at_checked(slash)?,
        None => (name, ""),
    };
    let aliases = tree.child(Tree::ROOT, "aliases")?;
    let mut path = String::from(tree.str(aliases, alias)?);
    path.push_str(rest);
    tree.find(&path)
}

/// What programs the device `node`.
fn kind_of(tree: &Tree<'_>, node: NodeId) -> ConsoleKind {
    KINDS
        .iter()
        .find(|(_, names)| tree.is_compatible(node, names))
        .map_or(ConsoleKind::Other, |(kind, _)| *kind)
}

fn console(tree: &Tree<'_>, node: NodeId, source: ConsoleSource) -> Console {
    Console {
        path: tree.path(node),
        compatible: tree.compatible(node),
        kind: kind_of(tree, node),
        reg: tree.reg(node).first().copied(),
        reg_shift: tree.u32(node, "reg-shift").unwrap_or(0),
        reg_io_width: tree.u32(node, "reg-io-width"),
        clock_frequency: tree.u32(node, "clock-frequency"),
        interrupts: tree.interrupts(node),
        status: tree.status_on_bus(node),
        source,
    }
}
