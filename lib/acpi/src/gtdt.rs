//! The architected timer and watchdogs: the GTDT (ACPI 6.5, 5.2.25).

use alloc::vec::Vec;

use crate::bytes::{Bytes, Entries, Layout};
use crate::finding::{Finding, Findings};
use crate::table::Tables;

/// How an interrupt line signals, in the flags that GTDT and MADT have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// The GIC's INTID.
    pub gsi: u32,
    /// Edge, else level.
    pub is_edge: bool,
    /// Active low (or falling), else high.
    pub is_low: bool,
}

impl Line {
    /// A level that is active high.
    pub(crate) const fn level(gsi: u32) -> Self {
        Self {
            gsi,
            is_edge: false,
            is_low: false,
        }
    }

    /// Of a number and the flags that follow it; 0 stands for no interrupt.
    fn read(bytes: Bytes<'_>, at: usize) -> Option<Self> {
        let (gsi, flags) = (bytes.u32(at)?, bytes.u32(at + 4)?);
        (gsi != 0).then_some(Self {
            gsi,
            is_edge: flags & 1 != 0,
            is_low: flags & 2 != 0,
        })
    }
}

/// An SBSA generic watchdog.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watchdog {
    /// Its refresh frame.
    pub refresh: u64,
    /// Its control frame.
    pub control: u64,
    /// Its interrupt, if any.
    pub interrupt: Option<Line>,
    /// Whether it is the secure side's.
    pub is_secure: bool,
}

/// The most watchdogs that are read.
const MOST_WATCHDOGS: usize = 64;

/// What the GTDT says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gtdt {
    /// Secure EL1 physical, non-secure EL1 physical, virtual, EL2 physical and EL2
    /// virtual timer.
    pub timers: [Option<Line>; 5],
    /// Whether all of them, as far as they are there, run on in all sleep states.
    pub is_always_on: bool,
    /// Watchdogs.
    pub watchdogs: Vec<Watchdog>,
}

impl Gtdt {
    /// Reads the table, if it is there.
    pub(crate) fn read(tables: &Tables<'_>, findings: &mut Findings) -> Option<Self> {
        let signature = Tables::GTDT;
        let Some(table) = tables.get(signature) else {
            findings.add(Finding::Missing { signature });
            return None;
        };
        let bytes = table.bytes;
        if bytes.u32(76).is_none() {
            table.too_short(findings);
            return None;
        }
        // The fifth came with revision 3; in older tables others stand there.
        let fifth = |at| at < 96 || bytes.u8(8) >= Some(3);
        let timers = [48, 56, 64, 72, 96];
        let timers = timers.map(|at| Line::read(bytes, at).filter(|_| fifth(at)));
        let lasting = |at: usize| {
            let there = bytes.u32(at).is_some_and(|gsi| gsi != 0);
            !there || bytes.u32(at + 4).is_some_and(|flags| flags & 4 != 0)
        };
        let mut gtdt = Self {
            timers,
            is_always_on: [56, 64].into_iter().all(lasting),
            watchdogs: Vec::new(),
        };
        let (count, first) = (bytes.size(88).unwrap_or(0), bytes.size(92).unwrap_or(0));
        if count != 0 {
            for entry in Entries::new(bytes, first.max(80), Layout::Word).take(count) {
                let (offset, whole) = match entry {
                    Ok(entry) if entry.kind == 1 && gtdt.watchdogs.len() < MOST_WATCHDOGS => {
                        let watchdog = watchdog(entry.bytes);
                        gtdt.watchdogs.extend(watchdog);
                        (entry.offset, watchdog.is_some())
                    }
                    Ok(entry) => (entry.offset, true),
                    Err(cut) => (cut.0, false),
                };
                if !whole {
                    findings.add(Finding::Entry { signature, offset });
                }
            }
        }
        Some(gtdt)
    }
}

/// An Arm Generic Watchdog structure (table 5.121).
fn watchdog(bytes: Bytes<'_>) -> Option<Watchdog> {
    let flags = bytes.u32(24)?;
    let gsi = bytes.u32(20)?;
    Some(Watchdog {
        refresh: bytes.u64(4)?,
        control: bytes.u64(12)?,
        interrupt: (gsi != 0).then_some(Line {
            gsi,
            is_edge: flags & 1 != 0,
            is_low: flags & 2 != 0,
        }),
        is_secure: flags & 4 != 0,
    })
}
