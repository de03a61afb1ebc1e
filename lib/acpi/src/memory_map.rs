//! UEFI's memory map (UEFI 2.10, 7.2.3): what of it is memory, and what of that is taken.
//!
//! | type | memory | taken |
//! | --- | --- | --- |
//! | boot services' code and data, conventional | yes | no |
//! | loader's code and data | yes | no: the loader says itself what it leaves there |
//! | runtime services' code and data | yes | for firmware, not to be mapped |
//! | ACPI reclaim | yes | by the tables |
//! | ACPI NVS, reserved, PAL code | yes | not to be mapped |
//! | unusable (errors) | yes | not to be mapped |
//! | persistent, unaccepted | no | |
//! | memory-mapped I/O and ports | no | |
//!
//! Only what can be mapped write-back counts as memory; what is so for a specific
//! purpose (bit 18) is taken; a runtime bit (63) takes what has it. Where descriptors
//! overlap, a byte that one of them takes is taken.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::finding::{Block, Finding, Findings, List};
use crate::range::Range;

/// Bytes of a page of the map, whatever the system's pages are.
const PAGE: u64 = 0x1000;

/// The most descriptors that are read.
pub const MOST_DESCRIPTORS: usize = 16_384;

/// One descriptor, as the firmware gave it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// `EFI_MEMORY_TYPE`.
    pub kind: u32,
    /// First address.
    pub base: u64,
    /// Pages of 4 KiB.
    pub pages: u64,
    /// `EFI_MEMORY_*`.
    pub attributes: u64,
}

impl Descriptor {
    const WRITE_BACK: u64 = 1 << 3;
    const SPECIFIC_PURPOSE: u64 = 1 << 18;
    const RUNTIME: u64 = 1 << 63;

    fn range(&self) -> Range {
        Range::new(self.base, self.pages.saturating_mul(PAGE))
    }

    /// Whether it is memory, and who has it.
    fn holder(&self) -> Option<Result<(), Holder>> {
        if self.attributes & Self::WRITE_BACK == 0 {
            return None;
        }
        Some(match self.kind {
            _ if self.attributes & Self::RUNTIME != 0 => Err(Holder::Runtime),
            1..=4 | 7 if self.attributes & Self::SPECIFIC_PURPOSE != 0 => {
                Err(Holder::SpecificPurpose)
            }
            1..=4 | 7 => Ok(()),
            5 | 6 => Err(Holder::Runtime),
            8 => Err(Holder::Unusable),
            9 => Err(Holder::AcpiTables),
            // Kinds that the specification doesn't know are somebody's.
            0 | 10 | 13 | 16.. => Err(Holder::Firmware),
            _ => return None,
        })
    }
}

/// Who has a piece of memory that isn't free.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Holder {
    /// UEFI's runtime services.
    Runtime,
    /// ACPI's tables.
    AcpiTables,
    /// Firmware, for something.
    Firmware,
    /// Nobody: it has errors.
    Unusable,
    /// Who knows what it is good for.
    SpecificPurpose,
    /// A device whose registers are said to be there.
    Device,
    /// What the loader put there.
    Loader,
}

impl Holder {
    /// The name of its node below `/reserved-memory`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Runtime => "uefi-runtime",
            Self::AcpiTables => "acpi-tables",
            Self::Firmware => "firmware",
            Self::Unusable => "unusable",
            Self::SpecificPurpose => "specific-purpose",
            Self::Device => "device",
            Self::Loader => "loader",
        }
    }

    /// Whether not even a mapping is allowed.
    #[must_use]
    pub const fn is_no_map(self) -> bool {
        !matches!(
            self,
            Self::AcpiTables | Self::SpecificPurpose | Self::Loader
        )
    }
}

/// Memory, and what of it is taken.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemoryMap {
    /// Ascending, neighbours joined, no overlaps.
    pub memory: Vec<Range>,
    /// By holder, likewise each.
    pub taken: BTreeMap<Holder, Vec<Range>>,
}

impl MemoryMap {
    /// Reads the firmware's map.
    pub(crate) fn read(descriptors: &[Descriptor], findings: &mut Findings) -> Self {
        let mut map = Self::default();
        if descriptors.len() > MOST_DESCRIPTORS {
            findings.add(Finding::TooMany {
                list: List::Memory,
                kept: MOST_DESCRIPTORS,
            });
        }
        for descriptor in descriptors.iter().take(MOST_DESCRIPTORS) {
            let range = descriptor.range();
            let Some(holder) = descriptor.holder() else {
                continue;
            };
            if range.size == 0 {
                continue;
            }
            if !range.is_possible() || !range.base.is_multiple_of(PAGE) {
                findings.add(Finding::Address {
                    block: Block::Memory,
                    address: range.base,
                });
                continue;
            }
            map.memory.push(range);
            if let Err(holder) = holder {
                map.take(holder, range);
            }
        }
        joined(&mut map.memory);
        map.taken.values_mut().for_each(joined);
        map
    }

    /// Notes that `range` is taken, too.
    pub(crate) fn take(&mut self, holder: Holder, range: Range) {
        self.taken.entry(holder).or_default().push(range);
    }
}

/// Sorts ranges, and joins those that touch.
fn joined(ranges: &mut Vec<Range>) {
    ranges.sort_unstable();
    let mut joined: Vec<Range> = Vec::with_capacity(ranges.len());
    for range in ranges.drain(..) {
        match joined.last_mut() {
            Some(last) if range.base <= last.end() => {
                last.size = last.end().max(range.end()) - last.base;
            }
            _ => joined.push(range),
        }
    }
    *ranges = joined;
}

#[cfg(test)]
mod tests {
    use super::*;

    const WB: u64 = Descriptor::WRITE_BACK;

    fn read(descriptors: &[(u32, u64, u64, u64)]) -> MemoryMap {
        let descriptors: Vec<Descriptor> = descriptors
            .iter()
            .map(|&(kind, base, pages, attributes)| Descriptor {
                kind,
                base,
                pages,
                attributes,
            })
            .collect();
        MemoryMap::read(&descriptors, &mut Findings::default())
    }

    #[test]
    fn every_type_has_its_place() {
        // As the table at the top of this file: memory, taken.
        let expected = [
            (0, true, Some(Holder::Firmware)),
            (1, true, None),
            (2, true, None),
            (3, true, None),
            (4, true, None),
            (5, true, Some(Holder::Runtime)),
            (6, true, Some(Holder::Runtime)),
            (7, true, None),
            (8, true, Some(Holder::Unusable)),
            (9, true, Some(Holder::AcpiTables)),
            (10, true, Some(Holder::Firmware)),
            (11, false, None),
            (12, false, None),
            (13, true, Some(Holder::Firmware)),
            (14, false, None),
            (15, false, None),
            (0x7000_0000, true, Some(Holder::Firmware)),
            (0x8000_0001, true, Some(Holder::Firmware)),
        ];
        for (kind, is_memory, holder) in expected {
            let map = read(&[(kind, 0x1000, 2, WB)]);
            assert_eq!(!map.memory.is_empty(), is_memory, "{kind}");
            assert_eq!(map.taken.keys().next().copied(), holder, "{kind}");
            assert_eq!(read(&[(kind, 0x1000, 2, 1)]), MemoryMap::default());
        }
    }

    #[test]
    fn attributes_take_what_the_type_leaves() {
        let runtime = read(&[(7, 0, 1, WB | 1 << 63)]);
        assert!(runtime.taken.contains_key(&Holder::Runtime));
        let specific = read(&[(7, 0, 1, WB | 1 << 18)]);
        assert!(specific.taken.contains_key(&Holder::SpecificPurpose));
    }

    #[test]
    fn neighbours_are_joined_and_lies_are_left_out() {
        let map = read(&[
            (7, 0x8000_3000, 1, WB),
            (4, 0x8000_0000, 3, WB),
            (5, 0x8000_2000, 1, WB),
            (7, 1 << 52, 1, WB),
            (7, 0x8000_0800, 1, WB),
            (7, 0x9000_0000, u64::MAX, WB),
            (7, 0x9000_0000, 0, WB),
        ]);
        assert_eq!(map.memory, [Range::new(0x8000_0000, 0x4000)]);
        let taken = map.taken.get(&Holder::Runtime).map(Vec::as_slice);
        assert_eq!(taken, Some([Range::new(0x8000_2000, 0x1000)].as_slice()));
    }
}
