//! The console: SPCR and DBG2 (Microsoft's Serial Port Console Redirection Table and
//! Debug Port Table 2).
//!
//! Both give a UART's kind by the same numbers, and its registers as a Generic Address
//! Structure (ACPI 6.5, 5.2.3.2): of a 16550 its bit width is the distance of two
//! registers, its access size how they are read. SPCR says which is the console, and its
//! interrupt; DBG2 has debug ports, of which the first serial one is the console
//! where there is no SPCR.

use alloc::vec::Vec;

use crate::bytes::Bytes;
use crate::finding::{Block, Finding, Findings};
use crate::gtdt::Line;
use crate::range::Range;
use crate::table::{Table, Tables};

/// What programs a UART.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UartKind {
    /// Arm PL011.
    Pl011,
    /// The SBSA's generic UART: a PL011's data path alone.
    Sbsa,
    /// 16550 and compatible.
    Ns16550 {
        /// log2 of the bytes from one register to the next.
        shift: u8,
        /// Bytes in an access.
        access_bytes: u8,
    },
    /// The Raspberry Pi's mini UART.
    Bcm2835Aux,
}

/// A UART.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Uart {
    /// What programs it.
    pub kind: UartKind,
    /// Its registers.
    pub base: u64,
    /// Its interrupt, where the table says.
    pub interrupt: Option<Line>,
    /// Bits in a second, where the table says.
    pub baud: Option<u32>,
    /// Input clock in Hz, where the table says.
    pub clock: Option<u32>,
}

impl Uart {
    /// Its registers: a page.
    #[must_use]
    pub const fn range(&self) -> Range {
        Range::new(self.base & !0xfff, 0x1000)
    }
}

/// UARTs that the tables name: the console first, if [`Uarts::has_console`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Uarts {
    /// All of them, each once.
    pub all: Vec<Uart>,
    /// Whether the first is the console.
    pub has_console: bool,
}

/// The most debug ports that are read.
const MOST_PORTS: usize = 16;

/// Reads both tables.
pub(crate) fn read(tables: &Tables<'_>, findings: &mut Findings) -> Uarts {
    let mut uarts = Uarts::default();
    if let Some(table) = tables.get(Tables::SPCR)
        && let Some(uart) = spcr(table, findings)
    {
        uarts.all.push(uart);
        uarts.has_console = true;
    }
    if let Some(table) = tables.get(Tables::DBG2) {
        for uart in debug_ports(table, findings) {
            if uarts.all.iter().all(|known| known.base != uart.base) {
                uarts.all.push(uart);
            }
        }
        uarts.has_console = !uarts.all.is_empty();
    }
    uarts
}

/// Revision 1 has all of it but the last two fields; 0 for an address means that
/// nothing is redirected.
fn spcr(table: Table<'_>, findings: &mut Findings) -> Option<Uart> {
    let bytes = table.bytes;
    let (Some(kind), Some(interrupts), Some(gsi), Some(baud)) =
        (bytes.u8(36), bytes.u8(52), bytes.u32(54), bytes.u8(58))
    else {
        table.too_short(findings);
        return None;
    };
    let address = Bytes(bytes.0.get(40..52)?);
    let (kind, base) = uart(u16::from(kind), address, findings)?;
    let clock = bytes.u32(80).filter(|&clock| clock > 1);
    let baud = match baud {
        3 => Some(9_600),
        4 => Some(19_200),
        6 => Some(57_600),
        7 => Some(115_200),
        // As firmware left it; revision 4 may say.
        _ => bytes.u32(84).filter(|&baud| baud != 0),
    };
    // Bit 3: through the GIC.
    let interrupt = (interrupts & 8 != 0 && gsi != 0).then_some(Line::level(gsi));
    Some(Uart {
        kind,
        base,
        interrupt,
        baud,
        clock,
    })
}

/// Serial ports of the list of devices.
///
/// ```text
/// table   36 offset of the list  40 number of devices
/// device   0 revision  1 length (2)  3 number of registers  …  12 port type (2)
///         14 subtype (2)  18 offset of the registers (2)
/// ```
fn debug_ports(table: Table<'_>, findings: &mut Findings) -> Vec<Uart> {
    let signature = table.signature;
    let mut found = Vec::new();
    let (Some(first), Some(count)) = (table.bytes.size(36), table.bytes.size(40)) else {
        table.too_short(findings);
        return found;
    };
    let mut at = first;
    for _ in 0..count.min(MOST_PORTS) {
        let device = || {
            let rest = Bytes(table.bytes.0.get(at..)?);
            let length = usize::from(rest.u16(1)?);
            let device = Bytes(rest.0.get(..length).filter(|device| device.len() >= 22)?);
            let registers = usize::from(device.u16(18)?);
            let address = device.array::<12>(registers);
            Some((device.u16(12)?, device.u16(14)?, address, length))
        };
        let Some((port, kind, address, length)) = device() else {
            findings.add(Finding::Entry {
                signature,
                offset: at,
            });
            break;
        };
        let is_serial = port == 0x8000;
        if let Some(address) = address.filter(|_| is_serial)
            && let Some((kind, base)) = uart(kind, Bytes(&address), findings)
        {
            found.push(Uart {
                kind,
                base,
                interrupt: None,
                baud: None,
                clock: None,
            });
        }
        at += length;
    }
    found
}

/// Kind and address of a UART that Capelin has a name for.
fn uart(kind: u16, address: Bytes<'_>, findings: &mut Findings) -> Option<(UartKind, u64)> {
    let (space, width, access) = (address.u8(0)?, address.u8(1)?, address.u8(3)?);
    let base = address.u64(4)?;
    if base == 0 {
        return None;
    }
    if space != 0 {
        findings.add(Finding::UartSpace { space });
        return None;
    }
    let kind = match kind {
        // 16550, its subset, NVIDIA's, and the one that the address describes.
        0 | 1 | 5 | 0x12 => ns16550(width, access),
        3 => UartKind::Pl011,
        0xd | 0xe => UartKind::Sbsa,
        0x10 => UartKind::Bcm2835Aux,
        _ => {
            findings.add(Finding::UartKind { kind });
            return None;
        }
    };
    if !base.is_multiple_of(4) || !Range::new(base, 0x100).is_possible() {
        let block = Block::Uart;
        findings.add(Finding::Address {
            block,
            address: base,
        });
        return None;
    }
    Some((kind, base))
}

/// Distance and access of a 16550's registers: the width in bits, or else as much as an
/// access; an access of undefined size has a byte, and none is wider than the distance.
fn ns16550(width: u8, access: u8) -> UartKind {
    let access_bytes = match access {
        2 => 2,
        3 | 4 => 4,
        _ => 1,
    };
    let distance = match width {
        8 | 16 | 32 | 64 => width / 8,
        _ => 1,
    }
    .max(access_bytes);
    UartKind::Ns16550 {
        shift: match distance {
            8.. => 3,
            4.. => 2,
            2.. => 1,
            _ => 0,
        },
        access_bytes,
    }
}
