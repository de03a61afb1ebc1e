//! What a core that speculates may be made to reveal, and what is done about it at entry
//! from EL0 (`docs/056-errata.md`).
//!
//! A domain trains what predicts branches, enters the kernel, and the kernel runs ahead into
//! code of the domain's choice: by targets (Spectre-v2, CVE-2017-5715), or, where targets of
//! one exception level aren't used at another (CSV2), by the history that selects them
//! (Spectre-BHB, CVE-2022-23960). Arm's answers: firmware forgets the targets
//! (`SMCCC_ARCH_WORKAROUND_1`, DEN 0028, 7.5.2) or both (`_3`, 7.5.4); a number of branches,
//! or `CLRBHB`, replaces the history. The kernel has a table of vectors for each, and
//! [`choose`] says which a core uses. Loads that run ahead of older stores (Spectre-v4,
//! CVE-2018-3639) are kept back by `PSTATE.SSBS`, or by firmware, asked once (`_2`, 7.5.3).
#![cfg_attr(
    target_arch = "aarch64",
    expect(unsafe_code, reason = "reads registers")
)]

use core::fmt;

use capelin_abi::boot::Mitigations;

use crate::midr::{Midr, Part};
use crate::sysreg;

/// What decides, besides firmware.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Which core.
    pub midr: Midr,
    /// `ID_AA64PFR0_EL1`: CSV2 (59:56), CSV3 (63:60).
    pub pfr0: u64,
    /// `ID_AA64PFR1_EL1`: SSBS (7:4).
    pub pfr1: u64,
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
            pfr1: sysreg::read!("ID_AA64PFR1_EL1"),
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

/// What firmware says of all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Firmware {
    /// `SMCCC_ARCH_WORKAROUND_1`.
    pub targets: Workaround,
    /// `SMCCC_ARCH_WORKAROUND_2`.
    pub stores: Workaround,
    /// `SMCCC_ARCH_WORKAROUND_3`.
    pub targets_and_history: Workaround,
}

impl Firmware {
    /// It has none of them, or wasn't asked.
    pub const NONE: Self = Self {
        targets: Workaround::Absent,
        stores: Workaround::Absent,
        targets_and_history: Workaround::Absent,
    };
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
    /// Firmware is called, with this function id; then 8 branches, unless it is
    /// [`WORKAROUND_3`], which forgets the history itself.
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
    /// What the owner of the machine wants.
    pub wanted: Mitigations,
    /// At entry from EL0.
    pub entry: Entry,
    /// Once, when the core starts: this function of firmware, with the argument 1.
    pub at_start: Option<u32>,
    /// Spectre-v2.
    pub targets: Exposure,
    /// Spectre-BHB.
    pub history: Exposure,
    /// Spectre-v4.
    pub stores: Exposure,
    /// Meltdown (CVE-2017-5754): EL0 reads what is mapped for EL1.
    pub reads: Exposure,
}

/// `SMCCC_ARCH_WORKAROUND_1`.
pub const WORKAROUND_1: u32 = smccc::arch::SMCCC_ARCH_WORKAROUND_1;
/// `SMCCC_ARCH_WORKAROUND_2`.
pub const WORKAROUND_2: u32 = smccc::arch::SMCCC_ARCH_WORKAROUND_2;
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
/// Cores whose loads don't run ahead of stores that may be theirs, and without SSBS.
const IMMUNE_TO_STORES: [Part; 5] = [Part::A34, Part::A35, Part::A53, Part::A55, Part::BRAHMA_B53];
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

/// What the registers say of a core.
struct Known {
    has_no_targets: bool,
    has_no_history: bool,
    /// ECBHB: EL1 doesn't use the history of EL0.
    keeps_history_apart: bool,
    has_clrbhb: bool,
    /// After how many branches nothing older is in the history.
    branches: Option<u8>,
    /// SSBS: `PSTATE.SSBS` is 0 at EL1 (`SCTLR_EL1.DSSBS`), and at EL0 unless a program
    /// sets it for itself: the vectors restore only NZCV.
    has_ssbs: bool,
    has_no_stores: bool,
}

impl Known {
    fn of(core: &Identity) -> Self {
        let csv2 = field(core.pfr0, 56);
        Self {
            has_no_targets: csv2 >= 1 || core.midr.is_one_of(&IMMUNE_TO_TARGETS),
            has_no_history: csv2 >= 3 || core.midr.is_one_of(&IMMUNE_TO_HISTORY),
            keeps_history_apart: field(core.mmfr1, 60) >= 1,
            has_clrbhb: field(core.isar2, 28) >= 1,
            branches: BRANCHES
                .iter()
                .find_map(|&(count, parts)| core.midr.is_one_of(parts).then_some(count)),
            has_ssbs: field(core.pfr1, 4) >= 1,
            has_no_stores: core.midr.is_one_of(&IMMUNE_TO_STORES),
        }
    }

    /// What the core itself can do about its history.
    fn own_entry(&self) -> Option<Entry> {
        if self.has_no_history || self.keeps_history_apart {
            Some(Entry::Plain)
        } else if self.has_clrbhb {
            Some(Entry::ClearHistory)
        } else {
            self.branches.map(Entry::Branches)
        }
    }

    fn entry(&self, firmware: &Firmware) -> Entry {
        let own = self.own_entry();
        let function = match (firmware.targets_and_history, firmware.targets) {
            _ if self.has_no_targets && own.is_some() => None,
            (Workaround::Needed, _) => Some(WORKAROUND_3),
            (_, Workaround::Needed) if !self.has_no_targets => Some(WORKAROUND_1),
            _ => None,
        };
        function.map_or(own.unwrap_or(Entry::Plain), Entry::Call)
    }

    fn targets(&self, entry: Entry, firmware: &Firmware) -> Exposure {
        match entry {
            _ if self.has_no_targets || firmware.targets == Workaround::NotNeeded => {
                Exposure::Immune
            }
            Entry::Call(_) => Exposure::Mitigated,
            Entry::Plain | Entry::Branches(_) | Entry::ClearHistory => Exposure::Open,
        }
    }

    fn history(&self, entry: Entry, firmware: &Firmware) -> Exposure {
        let are_enough = |count: u8| self.branches.is_some_and(|needed| needed <= count);
        let is_replaced = match entry {
            _ if self.keeps_history_apart => true,
            Entry::Plain => false,
            Entry::Branches(count) => are_enough(count),
            Entry::ClearHistory => true,
            Entry::Call(function) => function == WORKAROUND_3 || are_enough(BRANCHES_AFTER_CALL),
        };
        if self.has_no_history || firmware.targets_and_history == Workaround::NotNeeded {
            Exposure::Immune
        } else if is_replaced {
            Exposure::Mitigated
        } else {
            Exposure::Open
        }
    }

    fn stores(&self, firmware: &Firmware) -> Exposure {
        match firmware.stores {
            _ if self.has_no_stores => Exposure::Immune,
            _ if self.has_ssbs => Exposure::Mitigated,
            Workaround::NotNeeded => Exposure::Immune,
            Workaround::Needed => Exposure::Mitigated,
            Workaround::Absent => Exposure::Open,
        }
    }
}

/// The branches that follow where the vectors call firmware's first workaround.
const BRANCHES_AFTER_CALL: u8 = 8;

const fn field(register: u64, shift: u32) -> u64 {
    register >> shift & 0xf
}

/// What is done on a core. `firmware` is asked only where it matters, since that may be a
/// call into nothing.
#[must_use]
pub fn choose(wanted: Mitigations, core: &Identity, firmware: impl FnOnce() -> Firmware) -> Choice {
    let known = Known::of(core);
    let asks_of_entry = !known.has_no_targets || known.own_entry().is_none();
    let asks_of_stores = !known.has_no_stores && !known.has_ssbs;
    let firmware = match wanted {
        Mitigations::Auto if asks_of_entry || asks_of_stores => firmware(),
        Mitigations::Auto | Mitigations::Off => Firmware::NONE,
    };
    let entry = match wanted {
        Mitigations::Auto => known.entry(&firmware),
        Mitigations::Off => Entry::Plain,
    };
    let by_call = asks_of_stores && firmware.stores == Workaround::Needed;
    let is_closed = field(core.pfr0, 60) >= 1 || core.midr.is_one_of(&IMMUNE_TO_READS);
    Choice {
        wanted,
        entry,
        at_start: by_call.then_some(WORKAROUND_2),
        targets: known.targets(entry, &firmware),
        history: known.history(entry, &firmware),
        stores: known.stores(&firmware),
        reads: if is_closed {
            Exposure::Immune
        } else {
            Exposure::Open
        },
    }
}

impl fmt::Display for Choice {
    /// `; at entry …; open to …`; nothing where there is nothing to tell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.wanted == Mitigations::Off {
            f.write_str("; mitigations are off")?;
        }
        match self.entry {
            Entry::Plain => {}
            Entry::Branches(count) => write!(f, "; {count} branches at each entry")?,
            Entry::ClearHistory => f.write_str("; clrbhb at each entry")?,
            Entry::Call(function) => write!(f, "; firmware's {function:#x} at each entry")?,
        }
        if let Some(function) = self.at_start {
            write!(f, "; firmware's {function:#x} once")?;
        }
        let mut word = "; open to";
        for (exposure, name) in [
            (self.targets, "Spectre-v2"),
            (self.history, "Spectre-BHB"),
            (self.stores, "Spectre-v4"),
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

    const NONE: Firmware = Firmware::NONE;

    /// With SSBS.
    fn core(midr: u64, csv2: u64) -> Identity {
        Identity {
            midr: Midr::new(midr),
            pfr0: 1 << 60 | csv2 << 56,
            pfr1: 1 << 4,
            mmfr1: 0,
            isar2: 0,
        }
    }

    fn auto(core: &Identity, firmware: impl FnOnce() -> Firmware) -> Choice {
        choose(Mitigations::Auto, core, firmware)
    }

    fn chosen(midr: u64, csv2: u64, firmware: Firmware) -> Choice {
        auto(&core(midr, csv2), || firmware)
    }

    #[test]
    fn cores_that_reveal_nothing_pay_nothing() {
        // Cortex-A53 r0p4, and `max` of QEMU, which has CSV2 = 3. Firmware isn't asked.
        for (midr, csv2) in [(0x410f_d034, 0), (0x000f_0510, 3)] {
            let choice = auto(&core(midr, csv2), || panic!("firmware is asked"));
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
        assert_eq!(auto(&core, || NONE).entry, Entry::ClearHistory);
        core.mmfr1 = 1 << 60;
        let choice = auto(&core, || NONE);
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
            ..NONE
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
        let a75 = auto(&a75, || NONE);
        assert_eq!(a75.to_string(), "; open to Spectre-BHB, Meltdown");
        // Firmware may know better than the registers.
        let fine = Firmware {
            targets: Workaround::NotNeeded,
            targets_and_history: Workaround::NotNeeded,
            ..NONE
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

    #[test]
    fn loads_are_kept_behind_stores() {
        let without_ssbs = |midr, firmware: Firmware| {
            let mut core = core(midr, 1);
            core.pfr1 = 0;
            auto(&core, || firmware)
        };
        let says = |stores| Firmware { stores, ..NONE };
        // Cortex-A72 r0p3, by what firmware says.
        let a72 = without_ssbs(0x410f_d083, says(Workaround::Needed));
        assert_eq!(
            (a72.stores, a72.at_start),
            (Exposure::Mitigated, Some(WORKAROUND_2))
        );
        assert_eq!(
            a72.to_string(),
            "; 8 branches at each entry; firmware's 0x80007fff once"
        );
        let a72 = without_ssbs(0x410f_d083, says(Workaround::NotNeeded));
        assert_eq!((a72.stores, a72.at_start), (Exposure::Immune, None));
        let a72 = without_ssbs(0x410f_d083, NONE);
        assert_eq!((a72.stores, a72.at_start), (Exposure::Open, None));
        // The core's own bit needs nobody; Cortex-A53 needs neither.
        let n1 = chosen(0x413f_d0c1, 1, says(Workaround::Needed));
        assert_eq!((n1.stores, n1.at_start), (Exposure::Mitigated, None));
        let a53 = without_ssbs(0x410f_d034, says(Workaround::Needed));
        assert_eq!((a53.stores, a53.at_start), (Exposure::Immune, None));
    }

    #[test]
    fn off_is_off_and_says_what_that_leaves_open() {
        let mut a72 = core(0x410f_d083, 0);
        a72.pfr1 = 0;
        let off = choose(Mitigations::Off, &a72, || panic!("firmware is asked"));
        assert_eq!((off.entry, off.at_start), (Entry::Plain, None));
        assert_eq!(
            off.to_string(),
            "; mitigations are off; open to Spectre-v2, Spectre-BHB, Spectre-v4"
        );
        // Where the core does it by itself, there is nothing to switch off.
        for (midr, csv2) in [(0x410f_d034, 0), (0x000f_0510, 3)] {
            let off = choose(Mitigations::Off, &core(midr, csv2), || NONE);
            assert_eq!(off.to_string(), "; mitigations are off");
        }
        let mut v1 = core(0x410f_d401, 1);
        v1.isar2 = 1 << 28;
        let off = choose(Mitigations::Off, &v1, || NONE);
        assert_eq!((off.entry, off.history), (Entry::Plain, Exposure::Open));
        v1.mmfr1 = 1 << 60;
        let off = choose(Mitigations::Off, &v1, || NONE);
        assert_eq!(off.history, Exposure::Mitigated);
    }

    /// 8 branches follow a call, and Neoverse N1 needs 24.
    #[test]
    fn too_few_branches_are_no_mitigation() {
        let old = Firmware {
            targets: Workaround::Needed,
            ..NONE
        };
        let n1 = chosen(0x413f_d0c1, 0, old);
        assert_eq!(n1.entry, Entry::Call(WORKAROUND_1));
        assert_eq!(
            (n1.targets, n1.history),
            (Exposure::Mitigated, Exposure::Open)
        );
    }
}
