//! Slots: places that a device tree has for devices, one beside the other, in most of which there is none.
//!
//! One program looks at all of them, once. It is handed whole pages, since that is what can be handed
//! over; slots that share a page, or lie in pages side by side, come as one.

use alloc::{string::String, vec::Vec};

use capelin_interfaces::slots::Place;

use crate::ledger::Region;

/// Slots that one program looks at: as many as its arguments hold.
pub const AT_ONCE: usize = 32;

/// A slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Its path, as a term.
    pub term: String,
    /// Its path.
    pub path: String,
    /// Its registers.
    pub registers: Region,
}

/// What is handed over, so that some slots can be looked at.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Arranged {
    /// Whole pages, in ascending order, no two of them side by side.
    pub registers: Vec<Region>,
    /// Of each slot, in their order, where it is in these; `None` for one that ends beyond all addresses.
    pub places: Vec<Option<Place>>,
}

/// Arranges slots whose pages have `page_bytes` bytes, a power of two.
#[must_use]
pub fn arrange(slots: &[Slot], page_bytes: u64) -> Arranged {
    let mut pages: Vec<_> = slots
        .iter()
        .filter_map(|slot| pages(&slot.registers, page_bytes))
        .collect();
    pages.sort_by_key(|it| it.base);
    let mut registers: Vec<Region> = Vec::new();
    for region in pages {
        match registers.last_mut() {
            // It starts within the last one, or right behind.
            Some(last) if region.base - last.base <= last.bytes => {
                let end = region.base - last.base + region.bytes;
                last.bytes = last.bytes.max(end);
            }
            _ => registers.push(region),
        }
    }
    let place = |slot: &Slot| {
        let within = pages_of(slot, page_bytes)?;
        let holds = |it: &Region| it.base <= within.base && it.overlaps(&within);
        let index = registers.iter().position(holds)?;
        Some(Place {
            registers: index,
            offset: slot.registers.base - registers.get(index)?.base,
            bytes: slot.registers.bytes,
        })
    };
    Arranged {
        places: slots.iter().map(place).collect(),
        registers,
    }
}

fn pages_of(slot: &Slot, page_bytes: u64) -> Option<Region> {
    pages(&slot.registers, page_bytes)
}

/// The whole pages that hold `region`; `None` for one without bytes, or beyond all addresses.
fn pages(region: &Region, page_bytes: u64) -> Option<Region> {
    let base = region.base / page_bytes * page_bytes;
    let end = region.base.checked_add(region.bytes)?;
    let end = end.checked_next_multiple_of(page_bytes)?;
    (region.bytes > 0).then_some(Region {
        base,
        bytes: end - base,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    const PAGE: u64 = 4096;

    fn slot(base: u64, bytes: u64) -> Slot {
        Slot {
            term: format!("'/v@{base:x}'"),
            path: format!("/v@{base:x}"),
            registers: Region { base, bytes },
        }
    }

    #[test]
    fn the_slots_of_qemus_board_are_four_pages() {
        let slots: Vec<_> = (0..32)
            .map(|n| slot(0xa00_0000 + 0x200 * n, 0x200))
            .collect();
        let arranged = arrange(&slots, PAGE);
        let all = Region {
            base: 0xa00_0000,
            bytes: 4 * PAGE,
        };
        assert_eq!(arranged.registers, [all]);
        let offsets: Vec<_> = (0..32).map(|n| 0x200 * n).collect();
        let found = arranged.places.iter().map(|place| place.unwrap().offset);
        assert_eq!(found.collect::<Vec<_>>(), offsets);
    }

    #[test]
    fn impossible_slots_have_no_place() {
        let slots = [
            slot(u64::MAX - 0xff, 0x200),
            slot(0x1000, 0),
            slot(0x2000, 0x200),
        ];
        let arranged = arrange(&slots, PAGE);
        assert_eq!(arranged.registers.len(), 1);
        assert_eq!((arranged.places[0], arranged.places[1]), (None, None));
        assert!(arranged.places[2].is_some());
    }

    #[test]
    fn the_arguments_of_the_longest_slots_fit() {
        let long = Place {
            registers: AT_ONCE,
            offset: 1 << 48,
            bytes: 1 << 32,
        };
        // Each in pages of its own: a capability and two words more; all of it is to fit a page.
        let each = format!("{long}").len() + 8 + 3 * 24;
        assert!(AT_ONCE * each < 4000);
    }

    proptest! {
        #[test]
        fn each_slot_is_where_its_place_says(
            regions in proptest::collection::vec((0_u64..40, 1_u64..12), 1..12),
        ) {
            // Pages of 4 bytes, so that many shapes occur.
            let slots: Vec<_> = regions.iter().map(|&(base, bytes)| slot(base, bytes)).collect();
            let arranged = arrange(&slots, 4);
            for (slot, place) in slots.iter().zip(&arranged.places) {
                let place = place.unwrap();
                let around = arranged.registers[place.registers];
                prop_assert_eq!(around.base + place.offset, slot.registers.base);
                prop_assert!(place.offset + place.bytes <= around.bytes);
                prop_assert_eq!(place.bytes, slot.registers.bytes);
            }
            for pair in arranged.registers.windows(2) {
                prop_assert!(pair[0].base + pair[0].bytes < pair[1].base);
            }
            // No page without a slot.
            for page in (0..64).step_by(4) {
                let page = Region { base: page, bytes: 4 };
                let is_handed = arranged.registers.iter().any(|it| it.overlaps(&page));
                let is_used = slots.iter().any(|it| it.registers.overlaps(&page));
                prop_assert_eq!(is_handed, is_used);
            }
        }
    }
}
