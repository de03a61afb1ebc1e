//! What `init` hands to the programs that it starts: the names of capabilities,
//! of words of the environment, and the arguments (`docs/085-console-and-interrupts.md`,
//! `docs/090-shell.md`). Every program gets the name service
//! ([`crate::service::NAMES`]) and the memory service ([`crate::service::MEMORY`]), too, and all but
//! the shell get [`LOG`].
//!
//! | program | capabilities | words | arguments |
//! | --- | --- | --- | --- |
//! | `skb` | [`DEVICE_TREE`] | [`MPIDR`] | one `NAME=BYTES` for each module of the archive |
//! | `irqd` | [`DISTRIBUTOR`], [`IRQ`] | [`MPIDR`], [`GIC_VERSION`], [`OFFSET`] | |
//! | `pl011` | [`REGISTERS`] | [`OFFSET`], [`BYTES`], [`INTID`], [`EDGE`] | the device's `compatible` names |
//! | `ns16550` | the same | and [`REGISTER_SHIFT`], [`ACCESS_BYTES`] | the same |
//! | other drivers | for each of the device's registers [`registers_of`]; for each interrupt [`interrupt_of`]: IrqSource, claimed; [`DMA`], if the rules say so | [`offset_of`], [`bytes_of`] | the same |
//! | drivers of PCI functions | for each BAR in memory [`registers_of`], by the BAR's number; [`FUNCTION`] | [`offset_of`], [`bytes_of`] | |
//! | `virtio-mmio` | [`registers_of`] | [`offset_of`], [`bytes_of`] | one [`crate::slots::Place`] for each slot |
//! | `mem_serv` | `ram0`, `ram1`, …: Ram, with all rights | under the same names: the region's NUMA node | |
//! | `monitor` | [`KERNEL`], [`ARCHIVE`], [`BOOT_INFO`], [`PUBLIC_NAMES`], [`PRIVATE_NAMES`] | [`HAS_SKB`] | |
//! | `fish` | [`KERNEL_ARGUMENTS`], if there are any | [`BYTES`], [`ENTRY_TICKS`] | |

use alloc::{format, string::String};

/// The name under which the DevFrame of a device's registers number `index` is handed over.
#[must_use]
pub fn registers_of(index: usize) -> String {
    format!("{REGISTERS}{index}")
}

/// The word that tells where those registers start in the DevFrame, in bytes.
#[must_use]
pub fn offset_of(index: usize) -> String {
    format!("{OFFSET}{index}")
}

/// The word that tells how many bytes they have.
#[must_use]
pub fn bytes_of(index: usize) -> String {
    format!("{BYTES}{index}")
}

/// The name under which the IrqSource of a device's interrupt number `index` is handed over.
#[must_use]
pub fn interrupt_of(index: usize) -> String {
    format!("interrupt{index}")
}

/// Frame: the device tree, read-only, from its first byte on.
pub const DEVICE_TREE: &str = "device-tree";
/// DevFrame: the interrupt controller's distributor.
pub const DISTRIBUTOR: &str = "distributor";
/// IrqSource: all interrupts, with the right to revoke.
pub const IRQ: &str = "irq";
/// DevFrame: the pages that hold the device's registers.
pub const REGISTERS: &str = "registers";
/// Endpoint: the PCI function ([`crate::pci::Function`]).
pub const FUNCTION: &str = "function";
/// Frame: memory that the driver shares with its device.
pub const DMA: &str = "dma";
/// Kernel: this core's.
pub const KERNEL: &str = "kernel";
/// Frame: the module archive, read-only, from its first byte on.
pub const ARCHIVE: &str = "archive";
/// Frame: the page of `capelin_abi::boot::BootInfo`, read-only.
pub const BOOT_INFO: &str = "boot-info";
/// Endpoint: the name service, which finds private names by it, too.
pub const PRIVATE_NAMES: &str = "private-names";
/// Endpoint: the name service ([`crate::names::Names`]) as programs get it that the system doesn't
/// start ([`crate::names::is_reserved`]).
pub const PUBLIC_NAMES: &str = "public-names";

/// Frame: the kernel's arguments (`/chosen/bootargs`), read-only, UTF-8 from its first byte on.
pub const KERNEL_ARGUMENTS: &str = "kernel-arguments";

/// Word: what the counter told when firmware handed over ([`capelin_abi::boot::ENTRY_TICKS_WORD`]).
pub const ENTRY_TICKS: &str = "entry-ticks";
/// Word: the affinity of the boot core.
pub const MPIDR: &str = "mpidr";
/// Word: 2 or 3.
pub const GIC_VERSION: &str = "gic-version";
/// Word: where the registers start in the DevFrame, in bytes; 0 when missing.
pub const OFFSET: &str = "offset";
/// Word: bytes of registers, or of the kernel's arguments.
pub const BYTES: &str = "bytes";
/// Word: the device's interrupt.
pub const INTID: &str = "intid";
/// Word: log2 of the distance of a 16550's registers in bytes.
pub const REGISTER_SHIFT: &str = "register-shift";
/// Word: bytes of an access to a 16550's registers, 1, 2 or 4.
pub const ACCESS_BYTES: &str = "access-bytes";
/// Word: 1 when the interrupt is edge-triggered; 0 when missing.
pub const EDGE: &str = "edge";
/// Word: 1 for a system service, whose text is for the kernel's log; 0 when missing.
pub const LOG: &str = "log";
/// Word: 0 when the knowledge base doesn't run, so that nobody need wait for it.
pub const HAS_SKB: &str = "has-skb";
