//! The errata of cores that concern this system while it runs: one table, by which what is
//! done on a core is chosen when it starts. (What others concern, why these do, and what
//! the build does is in `docs/056-errata.md`.)

use core::fmt;
use core::sync::atomic::{AtomicU8, Ordering};

use crate::midr::{Midr, Part, Revision, r};

/// What is done about an erratum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Remedy {
    /// Data lines are cleaned by `DC CIVAC`, where `DC CVAC` or `DC CVAU` would do.
    CleanByInvalidating = 1,
    /// Instruction lines are invalidated although `CTR_EL0.DIC` says that they needn't be,
    /// and a TLB invalidation follows.
    InvalidateInstructions = 2,
    /// Nothing: it is named in the log.
    Open = 4,
}

/// An erratum of a kind of core.
#[derive(Clone, Copy, Debug)]
pub struct Erratum {
    /// Its number, in Arm's notices to software developers.
    pub number: u32,
    /// The kind of core.
    pub part: Part,
    /// The first revision that has it.
    pub from: Revision,
    /// The last one.
    pub to: Revision,
    /// What is done.
    pub remedy: Remedy,
}

const fn row(number: u32, part: Part, from: Revision, to: Revision, remedy: Remedy) -> Erratum {
    Erratum {
        number,
        part,
        from,
        to,
        remedy,
    }
}

const ANY: Revision = r(15, 15);

/// The table. Revisions are those of the notices, as Linux has them
/// (`arch/arm64/kernel/cpu_errata.c`).
pub const ERRATA: [Erratum; 8] = [
    row(
        819_472,
        Part::A53,
        r(0, 0),
        r(0, 1),
        Remedy::CleanByInvalidating,
    ),
    row(
        824_069,
        Part::A53,
        r(0, 0),
        r(0, 2),
        Remedy::CleanByInvalidating,
    ),
    row(
        826_319,
        Part::A53,
        r(0, 0),
        r(0, 2),
        Remedy::CleanByInvalidating,
    ),
    row(
        827_319,
        Part::A53,
        r(0, 0),
        r(0, 2),
        Remedy::CleanByInvalidating,
    ),
    row(858_921, Part::A73, r(0, 0), ANY, Remedy::Open),
    row(
        1_542_419,
        Part::NEOVERSE_N1,
        r(0, 0),
        ANY,
        Remedy::InvalidateInstructions,
    ),
    row(3_117_295, Part::A510, r(0, 0), ANY, Remedy::Open),
    row(2_966_298, Part::A520, r(0, 0), r(0, 1), Remedy::Open),
];

/// The errata of the table that `midr` has.
pub fn of(midr: Midr) -> impl Iterator<Item = &'static Erratum> {
    static TABLE: [Erratum; ERRATA.len()] = ERRATA;
    let (part, revision) = (midr.part(), midr.revision());
    TABLE
        .iter()
        .filter(move |row| row.part == part && row.from <= revision && revision <= row.to)
}

/// What is done on a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Remedies(u8);

impl Remedies {
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// What a core with `midr` needs.
    #[must_use]
    pub fn of(midr: Midr) -> Self {
        Self(of(midr).fold(0, |bits, row| bits | row.remedy as u8))
    }

    /// Whether `remedy` is among it.
    #[inline]
    #[must_use]
    pub const fn contains(self, remedy: Remedy) -> bool {
        self.0 & remedy as u8 != 0
    }

    /// What [`init`] chose for this core.
    #[inline]
    pub(crate) fn of_this_core() -> Self {
        Self(CHOSEN.load(Ordering::Relaxed))
    }
}

/// What is done on this core. An image is private to a core.
static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// Chooses what is done on this core, from the table. Before, nothing is.
pub fn init(midr: Midr) {
    CHOSEN.store(Remedies::of(midr).0, Ordering::Relaxed);
}

/// Names what a core has of the table, with what is done about it; nothing where there is
/// nothing to name.
#[derive(Clone, Copy, Debug)]
pub struct Named(pub Midr);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = [
            (
                Remedy::CleanByInvalidating,
                "lines are dropped when they are cleaned",
            ),
            (
                Remedy::InvalidateInstructions,
                "instructions are invalidated always",
            ),
            (Remedy::Open, "nothing is done"),
        ];
        for (remedy, what) in groups {
            let mut word = "; erratum";
            for row in of(self.0).filter(|row| row.remedy == remedy) {
                write!(f, "{word} {}", row.number)?;
                word = ",";
            }
            if word == "," {
                write!(f, ": {what}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    fn numbers(midr: u64) -> Vec<u32> {
        of(Midr::new(midr)).map(|row| row.number).collect()
    }

    #[test]
    fn errata_are_found_by_part_and_revision() {
        // Cortex-A53 r0p1, r0p2, r0p4 (QEMU's, and a Raspberry Pi 3's), and a later one.
        let old = [824_069, 826_319, 827_319];
        assert_eq!(numbers(0x410f_d031), [&[819_472], &old[..]].concat());
        assert_eq!(numbers(0x410f_d032), old);
        assert!(numbers(0x410f_d034).is_empty());
        assert!(numbers(0x411f_d030).is_empty());
        // Cortex-A520 r0p1 and r0p2, Cortex-A72 r0p3, Neoverse N1 r3p1 (Altra's).
        assert_eq!(numbers(0x410f_d801), [2_966_298]);
        assert!(numbers(0x410f_d802).is_empty());
        assert!(numbers(0x410f_d083).is_empty());
        assert_eq!(numbers(0x413f_d0c1), [1_542_419]);
        // The same number of another implementer's.
        assert!(numbers(0x420f_d031).is_empty());
    }

    #[test]
    fn remedies_are_those_of_the_rows() {
        let remedies = |midr| Remedies::of(Midr::new(midr));
        assert!(remedies(0x410f_d032).contains(Remedy::CleanByInvalidating));
        assert!(!remedies(0x410f_d034).contains(Remedy::CleanByInvalidating));
        assert!(remedies(0x411f_d090).contains(Remedy::Open));
        assert_eq!(remedies(0x410f_d083), Remedies::NONE);
        let n1 = remedies(0x414f_d0c1);
        assert!(n1.contains(Remedy::InvalidateInstructions));
        assert!(!n1.contains(Remedy::CleanByInvalidating));
    }

    /// Those of the platforms' cores have a remedy, or need none: what is open is others'.
    #[test]
    fn nothing_is_open_on_the_cores_of_platforms() {
        let open = ERRATA.iter().filter(|row| row.remedy == Remedy::Open);
        let parts: Vec<Part> = open.map(|row| row.part).collect();
        assert_eq!(parts, [Part::A73, Part::A510, Part::A520]);
        // All their revisions: a later one is named until somebody says that it is mended.
        assert_eq!(numbers(0x410f_d090), [858_921]);
        assert_eq!(numbers(0x411f_d092), [858_921]);
        assert_eq!(numbers(0x411f_d461), [3_117_295]);
        assert_eq!(numbers(0x410f_d800), [2_966_298]);
    }

    #[test]
    fn a_log_names_them_by_what_is_done() {
        let named = |midr| Named(Midr::new(midr)).to_string();
        assert_eq!(
            named(0x410f_d032),
            "; erratum 824069, 826319, 827319: lines are dropped when they are cleaned"
        );
        assert_eq!(named(0x410f_d083), "");
        assert_eq!(named(0x411f_d090), "; erratum 858921: nothing is done");
    }
}
