//! What a core that speculates may be made to reveal, and what is done about it at entry
//! from EL0 (`docs/056-errata.md`).
//!
//! A domain trains what predicts branches, enters the kernel, and the kernel runs ahead into
//! code of the domain's choice: by targets (Spectre-v2, CVE-2017-5715), or, where targets of
//! one exception level aren't used at another (CSV2), by the history that selects them
//! (Spectre-BHB, CVE-2022-23960). Arm's answers: firmware forgets the targets
//! (`SMCCC_ARCH_WORKAROUND_1`, DEN 0028, 7.5.2) or both (`_3`, 7.5.4); a number of branches,
//! or `CLRBHB`, replaces the history. The kernel has a table of vectors for each, and
//! [`choose`] says which a core uses.
#![cfg_attr(
    target_arch = "aarch64",
    expect(unsafe_code, reason = "reads registers")
)]

use core::fmt;

use crate::midr::{Midr, Part};
use crate::sysreg;

/// What decides, besides firmware.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Which core.
    pub midr: Midr,
    /// `ID_AA64PFR0_EL1`: CSV2 (59:56), CSV3 (63:60).
    pub pfr0: u64,
    /// `ID_AA64MMFR1_EL1`: ECBHB (63:60).
    pub mmfr1: u64,
    /// `ID_AA64ISAR2_EL1`: CLRBHB (31:28).
    pub isar2: u64,
}

impl Identity {
    /// This core's.
    #[must_use]
    pub fn read() -> Self {
        Self {
            midr: Midr::read(),
            pfr0: sysreg::read!("ID_AA64PFR0_EL1"),
            mmfr1: sysreg::read!("ID_AA64MMFR1_EL1"),
            // ID_AA64ISAR2_EL1: older assemblers don't know the name.
            isar2: sysreg::read!("S3_0_C0_C6_2"),
        }
    }
}

/// What firmware says of a workaround (`SMCCC_ARCH_FEATURES`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workaround {
    /// It has none, or can't be asked.
    Absent,
    /// This core needs it.
    Needed,
    /// This core doesn't.
    NotNeeded,
}

/// What firmware says of both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Firmware {
    /// `SMCCC_ARCH_WORKAROUND_1`.
    pub targets: Workaround,
    /// `SMCCC_ARCH_WORKAROUND_3`.
    pub targets_and_history: Workaround,
}

/// What is done at entry from EL0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Nothing.
    Plain,
    /// So many branches, at least: of 8, 24, 32 and 132.
    Branches(u8),
    /// `CLRBHB`.
    ClearHistory,
    /// Firmware is called, with this function id; then 8 branches.
    Call(u32),
}

/// How a core stands to an attack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exposure {
    /// It has nothing to reveal.
    Immune,
    /// Something is done.
    Mitigated,
    /// Nothing is.
    Open,
}

/// What is done on a core, and where that leaves it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    /// At entry from EL0.
    pub entry: Entry,
    /// Spectre-v2.
    pub targets: Exposure,
    /// Spectre-BHB.
    pub history: Exposure,
    /// Meltdown (CVE-2017-5754): EL0 reads what is mapped for EL1.
    pub reads: Exposure,
}

/// `SMCCC_ARCH_WORKAROUND_1`.
pub const WORKAROUND_1: u32 = smccc::arch::SMCCC_ARCH_WORKAROUND_1;
/// `SMCCC_ARCH_WORKAROUND_3`.
pub const WORKAROUND_3: u32 = smccc::arch::SMCCC_ARCH_WORKAROUND_3;

/// Cores without what Spectre-v2 needs, though CSV2 doesn't say so.
const IMMUNE_TO_TARGETS: [Part; 6] = [
    Part::A34,
    Part::A35,
    Part::A53,
    Part::A55,
    Part::BRAHMA_B53,
    Part::TSV110,
];
/// Cores whose history selects nothing.
const IMMUNE_TO_HISTORY: [Part; 7] = [
    Part::A34,
    Part::A35,
    Part::A53,
    Part::A55,
    Part::A510,
    Part::A520,
    Part::BRAHMA_B53,
];
/// Cores that aren't open to Meltdown, though CSV3 doesn't say so.
const IMMUNE_TO_READS: [Part; 9] = [
    Part::A34,
    Part::A35,
    Part::A53,
    Part::A55,
    Part::A57,
    Part::A72,
    Part::A73,
    Part::BRAHMA_B53,
    Part::TSV110,
];
/// After how many branches of each kind nothing older is in the history (Arm, "Spectre-BHB:
/// Mitigations on Arm cores"; AmpereOne takes 11, A715 and A720 take 38).
const BRANCHES: [(u8, &[Part]); 4] = [
    (8, &[Part::A57, Part::A72]),
    (
        24,
        &[
            Part::A76,
            Part::A76AE,
            Part::A77,
            Part::NEOVERSE_N1,
            Part::AMPERE1,
        ],
    ),
    (
        32,
        &[
            Part::A78,
            Part::A78AE,
            Part::A78C,
            Part::X1,
            Part::A710,
            Part::X2,
            Part::NEOVERSE_N2,
            Part::NEOVERSE_V1,
        ],
    ),
    (132, &[Part::A715, Part::A720, Part::X3, Part::NEOVERSE_V2]),
];

/// What is done on a core. `firmware` is asked only where it matters, since that may be a
/// call into nothing.
#[must_use]
pub fn choose(core: &Identity, firmware: impl FnOnce() -> Firmware) -> Choice {
    let field = |register: u64, shift: u32| register >> shift & 0xf;
    let (csv2, csv3) = (field(core.pfr0, 56), field(core.pfr0, 60));
    let has_no_targets = csv2 >= 1 || core.midr.is_one_of(&IMMUNE_TO_TARGETS);
    let has_no_history = csv2 >= 3 || core.midr.is_one_of(&IMMUNE_TO_HISTORY);
    let reads = if csv3 >= 1 || core.midr.is_one_of(&IMMUNE_TO_READS) {
        Exposure::Immune
    } else {
        Exposure::Open
    };
    let branches = BRANCHES
        .iter()
        .find_map(|&(count, parts)| core.midr.is_one_of(parts).then_some(count));
    // What the core itself can do about its history.
    let own = if has_no_history {
        Some((Entry::Plain, Exposure::Immune))
    } else if field(core.mmfr1, 60) >= 1 {
        // ECBHB: EL1 doesn't use the history of EL0.
        Some((Entry::Plain, Exposure::Mitigated))
    } else if field(core.isar2, 28) >= 1 {
        Some((Entry::ClearHistory, Exposure::Mitigated))
    } else {
        branches.map(|count| (Entry::Branches(count), Exposure::Mitigated))
    };
    if let (true, Some((entry, history))) = (has_no_targets, own) {
        return Choice {
            entry,
            targets: Exposure::Immune,
            history,
            reads,
        };
    }
    let firmware = firmware();
    let call = match (firmware.targets_and_history, firmware.targets) {
        (Workaround::Needed, _) => Some(WORKAROUND_3),
        (_, Workaround::Needed) if !has_no_targets => Some(WORKAROUND_1),
        _ => None,
    };
    let targets = match (has_no_targets, firmware.targets, call) {
        (true, _, _) | (_, Workaround::NotNeeded, _) => Exposure::Immune,
        (_, _, Some(_)) => Exposure::Mitigated,
        _ => Exposure::Open,
    };
    let (entry, history) = match (call, own) {
        // Its 8 branches do for the cores that firmware is called on.
        (Some(function), Some((_, history))) => (Entry::Call(function), history),
        (Some(WORKAROUND_3), None) => (Entry::Call(WORKAROUND_3), Exposure::Mitigated),
        (None, Some(own)) => own,
        (call, None) => {
            let history = match firmware.targets_and_history {
                Workaround::NotNeeded => Exposure::Immune,
                _ => Exposure::Open,
            };
            (call.map_or(Entry::Plain, Entry::Call), history)
        }
    };
    Choice {
        entry,
        targets,
        history,
        reads,
    }
}

impl fmt::Display for Choice {
    /// `; at entry …; open to …`; nothing where there is nothing to tell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry {
            Entry::Plain => {}
            Entry::Branches(count) => write!(f, "; {count} branches at each entry")?,
            Entry::ClearHistory => f.write_str("; clrbhb at each entry")?,
            Entry::Call(function) => write!(f, "; firmware's {function:#x} at each entry")?,
        }
        let mut word = "; open to";
        for (exposure, name) in [
            (self.targets, "Spectre-v2"),
            (self.history, "Spectre-BHB"),
            (self.reads, "Meltdown"),
        ] {
            if exposure == Exposure::Open {
                write!(f, "{word} {name}")?;
                word = ",";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    const NONE: Firmware = Firmware {
        targets: Workaround::Absent,
        targets_and_history: Workaround::Absent,
    };

    fn core(midr: u64, csv2: u64) -> Identity {
        Identity {
            midr: Midr::new(midr),
            pfr0: 1 << 60 | csv2 << 56,
            mmfr1: 0,
            isar2: 0,
        }
    }

    fn chosen(midr: u64, csv2: u64, firmware: Firmware) -> Choice {
        choose(&core(midr, csv2), || firmware)
    }

    #[test]
    fn cores_that_reveal_nothing_pay_nothing() {
        // Cortex-A53 r0p4, and `max` of QEMU, which has CSV2 = 3. Firmware isn't asked.
        for (midr, csv2) in [(0x410f_d034, 0), (0x000f_0510, 3)] {
            let choice = choose(&core(midr, csv2), || panic!("firmware is asked"));
            assert_eq!(choice.entry, Entry::Plain);
            assert_eq!(
                (choice.targets, choice.history),
                (Exposure::Immune, Exposure::Immune)
            );
            assert_eq!(choice.to_string(), "");
        }
    }

    #[test]
    fn history_is_replaced_by_as_many_branches_as_the_core_has() {
        for (midr, branches) in [
            (0x411f_d080, 8),   // Cortex-A72 r1p0
            (0x413f_d0c1, 24),  // Neoverse N1
            (0x410f_d401, 32),  // Neoverse V1
            (0x410f_d4d0, 132), // Cortex-A715
        ] {
            let choice = chosen(midr, 1, NONE);
            assert_eq!(choice.entry, Entry::Branches(branches));
            assert_eq!(
                (choice.targets, choice.history),
                (Exposure::Immune, Exposure::Mitigated)
            );
        }
    }

    #[test]
    fn what_the_architecture_has_goes_first() {
        let mut core = core(0x410f_d401, 1);
        core.isar2 = 1 << 28;
        assert_eq!(choose(&core, || NONE).entry, Entry::ClearHistory);
        core.mmfr1 = 1 << 60;
        let choice = choose(&core, || NONE);
        assert_eq!(
            (choice.entry, choice.history),
            (Entry::Plain, Exposure::Mitigated)
        );
    }

    #[test]
    fn firmware_forgets_targets_where_it_can() {
        // Cortex-A72 r0p3, with firmware of 2018 and of 2022.
        let both = Firmware {
            targets: Workaround::Needed,
            targets_and_history: Workaround::Needed,
        };
        let old = Firmware {
            targets: Workaround::Needed,
            ..NONE
        };
        let choice = chosen(0x410f_d083, 0, old);
        assert_eq!(choice.entry, Entry::Call(WORKAROUND_1));
        assert_eq!(
            (choice.targets, choice.history),
            (Exposure::Mitigated, Exposure::Mitigated)
        );
        assert_eq!(
            chosen(0x410f_d083, 0, both).entry,
            Entry::Call(WORKAROUND_3)
        );
        // Cortex-A75: CSV2, and history that firmware alone replaces.
        let a75 = chosen(0x412f_d0a1, 1, both);
        assert_eq!(a75.entry, Entry::Call(WORKAROUND_3));
        assert_eq!(
            (a75.targets, a75.history),
            (Exposure::Immune, Exposure::Mitigated)
        );
        // The first workaround does nothing about history.
        let a75 = chosen(0x412f_d0a1, 1, old);
        assert_eq!((a75.entry, a75.history), (Entry::Plain, Exposure::Open));
        let a73 = chosen(0x410f_d092, 0, old);
        assert_eq!(a73.entry, Entry::Call(WORKAROUND_1));
        assert_eq!(
            (a73.targets, a73.history),
            (Exposure::Mitigated, Exposure::Open)
        );
    }

    #[test]
    fn what_is_open_is_said() {
        let a72 = chosen(0x410f_d083, 0, NONE);
        assert_eq!(a72.entry, Entry::Branches(8));
        assert_eq!(
            a72.to_string(),
            "; 8 branches at each entry; open to Spectre-v2"
        );
        let mut a75 = core(0x412f_d0a1, 1);
        a75.pfr0 &= !(0xf << 60);
        let a75 = choose(&a75, || NONE);
        assert_eq!(a75.to_string(), "; open to Spectre-BHB, Meltdown");
        // Firmware may know better than the registers.
        let fine = Firmware {
            targets: Workaround::NotNeeded,
            targets_and_history: Workaround::NotNeeded,
        };
        let unknown = chosen(0x000f_0510, 0, fine);
        assert_eq!(unknown.entry, Entry::Plain);
        assert_eq!(
            (unknown.targets, unknown.history),
            (Exposure::Immune, Exposure::Immune)
        );
        assert_eq!(
            chosen(0x000f_0510, 0, NONE).to_string(),
            "; open to Spectre-v2, Spectre-BHB"
        );
    }
}
