//! Interrupts: from a node's `interrupts` to the controller that takes them
//! (devicetree specification 2.4), and from a GIC's specifier to an INTID
//! (binding `arm,gic-v3`: three cells or four: type, number, flags).
//!
//! `interrupts` speaks the language of the interrupt parent, which is named by
//! the node or the closest node above that names one; `interrupts-extended`
//! names a parent for each entry. A parent may be
//!
//! * a GIC: the specifier gives the INTID;
//! * a nexus with an `interrupt-map` (the motherboard bus of Arm's models): the
//!   map gives parent and specifier to go on with;
//! * a controller stacked on the GIC that passes all lines through, as wake-up
//!   controllers (`fsl,imx8mq-gpc`) and polarity changers
//!   (`mediatek,mt6577-sysirq`) do: the specifier means there what it means here.
//!   Nothing but their names tells them ([`PASS_THROUGH`]): a crossbar
//!   (`ti,irq-crossbar`) looks the same and renumbers;
//! * another controller, whose lines have no INTID of their own.
//!
//! An entry of `interrupts-extended` whose phandle is 0 is empty: it keeps its
//! place, since `interrupt-names` counts it, and is no interrupt.

use alloc::string::String;
use alloc::vec::Vec;

use crate::address::number;
use crate::gic::kind_of;
use crate::tree::{NodeId, Tree, cell};
use crate::types::{Interrupt, Intid, Trigger};

/// The most interrupt cells that are believed.
const MAX_CELLS: usize = 8;
/// The most maps and stacked controllers that are followed for one interrupt.
const MAX_HOPS: usize = 8;

/// Controllers that pass every line on to the GIC below its own number: their
/// bindings say that a specifier is the GIC's.
const PASS_THROUGH: &[&str] = &[
    "fsl,imx6q-gpc",
    "fsl,imx7d-gpc",
    "fsl,imx8mq-gpc",
    "mediatek,mt6577-sysirq",
    "nvidia,tegra20-ictlr",
    "nvidia,tegra30-ictlr",
    "ti,omap4-wugen-mpu",
];

/// One interrupt before it is written down.
struct Line {
    controller: NodeId,
    cells: Vec<u32>,
}

impl Tree<'_> {
    /// The interrupts of a node, in order, from `interrupts-extended` or else
    /// `interrupts`. Entries from the first broken one on are left out.
    pub(crate) fn interrupts(&self, of: NodeId) -> Vec<Interrupt> {
        let lines = match self.property(of, "interrupts-extended") {
            Some(value) => self.extended_lines(value),
            None => self.plain_lines(of).unwrap_or_default(),
        };
        lines
            .into_iter()
            .map_while(|line| {
                let interrupt = match line {
                    Some(line) => self.resolve(of, line),
                    None => Interrupt::EMPTY,
                };
                // What this takes in memory counts as work.
                self.step(16 + interrupt.controller.len())
                    .then_some(interrupt)
            })
            .collect()
    }

    /// The node that takes the interrupts of `of`: what `interrupt-parent` names,
    /// in it or the closest node above, or a node above that is a controller itself.
    pub(crate) fn interrupt_parent(&self, of: NodeId) -> Option<NodeId> {
        let mut at = of;
        loop {
            if let Some(phandle) = self.u32(at, "interrupt-parent") {
                return self.by_phandle(phandle);
            }
            at = self.parent(at)?;
            if self.property(at, "#interrupt-cells").is_some() {
                return Some(at);
            }
        }
    }

    /// The GIC that interrupts for `of` reach in the end, if one does.
    pub(crate) fn gic_above(&self, of: NodeId) -> Option<NodeId> {
        let mut at = of;
        for _ in 0..MAX_HOPS {
            at = self.interrupt_parent(at)?;
            if kind_of(self, at).is_some() {
                return Some(at);
            }
        }
        None
    }

    fn interrupt_cells(&self, controller: NodeId) -> Option<usize> {
        let cells = self.u32(controller, "#interrupt-cells")? as usize;
        (1..=MAX_CELLS).contains(&cells).then_some(cells)
    }

    fn plain_lines(&self, of: NodeId) -> Option<Vec<Option<Line>>> {
        let value = self.property(of, "interrupts")?;
        let controller = self.interrupt_parent(of)?;
        let count = self.interrupt_cells(controller)?;
        let lines = value.chunks_exact(4 * count).map(|entry| {
            Some(Line {
                controller,
                cells: words(entry, 0, count),
            })
        });
        Some(lines.collect())
    }

    /// The entries of `interrupts-extended`, `None` for empty ones.
    fn extended_lines(&self, value: &[u8]) -> Vec<Option<Line>> {
        let mut lines = Vec::new();
        let mut at = 0;
        while let Some(phandle) = cell(value, at) {
            if phandle == 0 {
                lines.push(None);
                at += 1;
                continue;
            }
            let Some(controller) = self.by_phandle(phandle) else {
                break;
            };
            let Some(count) = self.interrupt_cells(controller) else {
                break;
            };
            let cells = words(value, at + 1, count);
            if cells.len() < count {
                break;
            }
            lines.push(Some(Line { controller, cells }));
            at += 1 + count;
        }
        lines
    }

    /// Follows maps and stacked controllers to a GIC, if there is one.
    fn resolve(&self, of: NodeId, mut line: Line) -> Interrupt {
        // A map sees the device's own bus address only at the first hop.
        let mut child = of;
        for _ in 0..MAX_HOPS {
            if kind_of(self, line.controller).is_some() {
                let decoded = decode(&line.cells);
                return self.interrupt(line, decoded);
            }
            if self.property(line.controller, "interrupt-map").is_some() {
                let nexus = line.controller;
                match self.map(child, &line) {
                    Some(mapped) => line = mapped,
                    None => break,
                }
                child = nexus;
                continue;
            }
            // A stacked controller; the interrupt stays its own for whoever
            // programs it, only the INTID is known.
            if let Some(decoded) = self.passed_through(&line) {
                return self.interrupt(line, Some(decoded));
            }
            break;
        }
        self.interrupt(line, None)
    }

    fn interrupt(&self, line: Line, decoded: Option<(Intid, Trigger)>) -> Interrupt {
        Interrupt {
            intid: decoded.map(|(intid, _)| intid),
            trigger: decoded.map_or(Trigger::Unspecified, |(_, trigger)| trigger),
            controller: self.path(line.controller),
            cells: line.cells,
        }
    }

    fn passed_through(&self, line: &Line) -> Option<(Intid, Trigger)> {
        let mut at = line.controller;
        for _ in 0..MAX_HOPS {
            if kind_of(self, at).is_some() {
                return decode(&line.cells);
            }
            let passes = self.is_compatible(at, PASS_THROUGH)
                && self.interrupt_cells(at) == Some(line.cells.len());
            if !passes {
                return None;
            }
            at = self.interrupt_parent(at)?;
        }
        None
    }

    /// Looks `line`, an interrupt of `child`, up in its controller's
    /// `interrupt-map` (2.4.3): rows of (child unit address, child specifier,
    /// parent phandle, parent unit address, parent specifier), the first two
    /// compared under `interrupt-map-mask`.
    fn map(&self, child: NodeId, line: &Line) -> Option<Line> {
        let nexus = line.controller;
        let address_cells = self.cells_of(nexus)?.address;
        let mut key = match self.parent(child) {
            Some(parent) if parent == nexus => self
                .property(child, "reg")
                .map(|reg| words(reg, 0, address_cells))
                .unwrap_or_default(),
            // Only a child's address is in this address space. Deeper nodes have
            // none here; maps that serve them mask it out.
            _ => Vec::new(),
        };
        key.resize(address_cells, 0);
        key.extend_from_slice(&line.cells);
        self.map_key(nexus, &key)
    }

    /// Where the interrupt leads that has `key`, unit address and specifier, in the `interrupt-map` of `nexus`.
    pub(crate) fn mapped(&self, nexus: NodeId, key: &[u32]) -> Option<Interrupt> {
        let line = self.map_key(nexus, key)?;
        Some(self.resolve(nexus, line))
    }

    fn map_key(&self, nexus: NodeId, key: &[u32]) -> Option<Line> {
        let map = self.property(nexus, "interrupt-map")?;
        let key_cells = self.cells_of(nexus)?.address + self.interrupt_cells(nexus)?;
        let mask = self.cells(nexus, "interrupt-map-mask");
        let masked = |index: usize, cell: u32| match &mask {
            Some(mask) => cell & mask.get(index).copied().unwrap_or(u32::MAX),
            None => cell,
        };
        let mut at = 0;
        loop {
            if !self.step(1 + key_cells) {
                return None;
            }
            let row = words(map, at, key_cells);
            let controller = self.by_phandle(cell(map, at + key_cells)?)?;
            // A parent without `#address-cells` has no unit address here.
            let skip = match self.u32(controller, "#address-cells") {
                Some(_) => self.cells_of(controller)?.address,
                None => 0,
            };
            let count = self.interrupt_cells(controller)?;
            let first = at + key_cells + 1 + skip;
            let matches = row.len() == key.len()
                && row
                    .iter()
                    .zip(key)
                    .enumerate()
                    .all(|(index, (&row, &key))| masked(index, row) == masked(index, key));
            if matches {
                let cells = words(map, first, count);
                return (cells.len() == count).then_some(Line { controller, cells });
            }
            at = first + count;
        }
    }
}

/// Up to `count` cells of `value` from cell `first` on.
fn words(value: &[u8], first: usize, count: usize) -> Vec<u32> {
    (first..first.saturating_add(count))
        .map_while(|index| cell(value, index))
        .collect()
}

/// A GIC specifier's INTID and trigger.
pub(crate) fn decode(cells: &[u32]) -> Option<(Intid, Trigger)> {
    let &[kind, number, flags, ..] = cells else {
        return None;
    };
    let (first, count) = match kind {
        0 => (32, 988),
        1 => (16, 16),
        2 => (4096, 1024),
        3 => (1056, 64),
        _ => return None,
    };
    (number < count).then(|| (Intid(first + number), Trigger::from_flags(flags)))
}

/// The phandle in the first cell of a value, for lists of references.
pub(crate) fn reference(tree: &Tree<'_>, of: NodeId, name: &str) -> Option<NodeId> {
    let phandle = number(tree.property(of, name)?, 0, 1)?;
    tree.by_phandle(u32::try_from(phandle).ok()?)
}

/// `interrupt-names`, in the order of the interrupts.
pub(crate) fn names(tree: &Tree<'_>, of: NodeId) -> Vec<String> {
    tree.strings(of, "interrupt-names")
        .map(String::from)
        .collect()
}
