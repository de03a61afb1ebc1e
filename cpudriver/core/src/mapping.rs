//! The kernel's word of a mapping: the level of the table that it lies in (bits 1:0),
//! and what the flags here say.

use capelin_cap::MappingData;
use capelin_vspace::TableLevel;

/// It maps a table.
pub(crate) const TABLE: u32 = 1 << 31;
/// It is being prepared: its pages are made ready for what it shall be, and so many are
/// done ([`DONE_SHIFT`]).
pub(crate) const PREPARING: u32 = 1 << 30;
/// Where the number of pages done lies.
pub(crate) const DONE_SHIFT: u32 = 8;

/// The level of the table that a mapping lies in.
#[inline]
pub(crate) fn level_of(data: MappingData) -> TableLevel {
    match data.kernel & 3 {
        0 => TableLevel::L0,
        1 => TableLevel::L1,
        2 => TableLevel::L2,
        _ => TableLevel::L3,
    }
}
