//! `/chosen`: what firmware says to the system, and the console that it names
//! (devicetree specification 3.3, 3.6).

use alloc::string::String;
use alloc::vec::Vec;

use crate::tree::{NodeId, Tree};
use crate::types::{Interrupt, PhysAddr, Reg, Status};

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
    /// Whether Capelin has a driver for it.
    #[must_use]
    pub const fn is_supported(self) -> bool {
        matches!(self, Self::Pl011 | Self::Ns16550 | Self::Bcm2835Aux)
    }
}

/// The device that `stdout-path` names.
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
    /// What `status` says.
    pub status: Status,
}

impl Console {
    /// Where its registers are for the CPU.
    #[must_use]
    pub fn base(&self) -> Option<PhysAddr> {
        self.reg.and_then(|reg| reg.base)
    }
}

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
            "ti,omap4-uart",
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

/// Reads `/chosen` and the console.
pub(crate) fn read(tree: &Tree<'_>) -> (Chosen, Option<Console>) {
    let Some(node) = tree.child(Tree::ROOT, "chosen") else {
        return (Chosen::default(), None);
    };
    // The older name has the same meaning.
    let raw = tree
        .str(node, "stdout-path")
        .or_else(|| tree.str(node, "linux,stdout-path"));
    let stdout = raw.and_then(|raw| resolve(tree, raw));
    let chosen = Chosen {
        bootargs: tree.str(node, "bootargs").map(String::from),
        stdout_raw: raw.map(String::from),
        stdout_path: stdout.map(|stdout| tree.path(stdout)),
        stdout_options: raw.and_then(|raw| Some(String::from(raw.split_once(':')?.1))),
        initrd_start: tree.u64(node, "linux,initrd-start").map(PhysAddr),
        initrd_end: tree.u64(node, "linux,initrd-end").map(PhysAddr),
    };
    (chosen, stdout.map(|stdout| console(tree, stdout)))
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

fn console(tree: &Tree<'_>, node: NodeId) -> Console {
    let kind = KINDS
        .iter()
        .find(|(_, names)| tree.is_compatible(node, names))
        .map_or(ConsoleKind::Other, |(kind, _)| *kind);
    Console {
        path: tree.path(node),
        compatible: tree.compatible(node),
        kind,
        reg: tree.reg(node).first().copied(),
        reg_shift: tree.u32(node, "reg-shift").unwrap_or(0),
        reg_io_width: tree.u32(node, "reg-io-width"),
        clock_frequency: tree.u32(node, "clock-frequency"),
        interrupts: tree.interrupts(node),
        status: tree.status(node),
    }
}
