//! What has become of each core.
//!
//! Every monitor reports the fate of the cores that it starts upwards; the boot
//! core's monitor keeps the whole table. A core goes
//!
//! ```text
//! Planned ── Starting ─────────────────── Running
//!    ├──────────┴────▶ Failed(no answer) ──▶┘
//!    └───────────────▶ Failed(other reason)
//! ```
//! and never back, so reports may arrive in any order between cores, and a late
//! one changes nothing. A core that wasn't heard of in time may still come, and runs then.
//! One that runs fails later only by [`Failure::Stopped`].

use alloc::{collections::BTreeMap, vec::Vec};
use core::fmt;

use capelin_abi::SysError;
use serde::{Deserialize, Serialize};

use crate::plan::{Plan, PlannedCore};

/// Why a core isn't running.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Failure {
    /// There is no memory for it.
    NoMemory,
    /// Firmware can't start cores here, and there is no spin table.
    NotStartable,
    /// The kernel or firmware refused; the error's number.
    Refused(u64),
    /// It was started and hasn't said ready in time.
    NoAnswer,
    /// Firmware says that it is off although it was started.
    StillOff,
    /// The images to start it from are missing or damaged.
    NoImage,
    /// The core that was to start it is gone.
    Orphaned,
    /// It ran, and firmware says that it is off.
    Stopped,
}

impl Failure {
    /// Whether nothing is known but that nobody has heard of the core: it may still come.
    #[must_use]
    pub const fn is_silence(self) -> bool {
        matches!(self, Self::NoAnswer | Self::Orphaned)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("is left out: no memory for it"),
            Self::NotStartable => f.write_str("cannot be started: firmware has no CPU_ON"),
            Self::Refused(number) => match SysError::try_from(*number) {
                Ok(error) => write!(f, "cannot be started: {error}"),
                Err(number) => write!(f, "cannot be started: error {number}"),
            },
            Self::NoAnswer => f.write_str("does not answer"),
            Self::StillOff => f.write_str("does not answer: firmware says that it is off"),
            Self::NoImage => f.write_str("cannot be started: no sound image"),
            Self::Stopped => f.write_str("has stopped"),
            Self::Orphaned => f.write_str("is left out: the core that starts it failed"),
        }
    }
}

/// How a core is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Fate {
    /// In the plan.
    Planned,
    /// Its parent is at it.
    Starting,
    /// Part of the overlay.
    Running {
        /// From the start of the parent's attempt to `ready`, in microseconds.
        boot_us: u64,
    },
    /// Left out.
    Failed(Failure),
}

impl Fate {
    /// Whether nothing more is to come.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Running { .. } | Self::Failed(_))
    }

    /// Whether this is news of a core of which `before` is known.
    const fn follows(self, before: Self) -> bool {
        match (before, self) {
            (Self::Planned, Self::Planned) | (Self::Starting, Self::Planned | Self::Starting) => {
                false
            }
            (Self::Planned | Self::Starting, _) => true,
            (Self::Failed(failure), Self::Running { .. }) => failure.is_silence(),
            (Self::Running { .. }, Self::Failed(failure)) => matches!(failure, Failure::Stopped),
            (Self::Running { .. } | Self::Failed(_), _) => false,
        }
    }
}

/// One core's fate, as it is reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Which core.
    pub core: u16,
    /// Who started it, or tried.
    pub parent: u16,
    /// How it is doing.
    pub fate: Fate,
}

/// One core in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// What was planned; its parent is the one that really started it.
    pub planned: PlannedCore,
    /// How it is doing.
    pub fate: Fate,
}

/// All cores but the boot core.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Membership {
    members: BTreeMap<u16, Member>,
}

impl Membership {
    /// The cores of `plan`, none of them started.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let member = |&planned: &PlannedCore| {
            (
                planned.core,
                Member {
                    planned,
                    fate: Fate::Planned,
                },
            )
        };
        Self {
            members: plan.cores().iter().map(member).collect(),
        }
    }

    /// Takes a report in. `true` when it says something new of a core that is in
    /// the table; anything else changes nothing.
    pub fn apply(&mut self, report: Report) -> bool {
        let Some(member) = self.members.get_mut(&report.core) else {
            return false;
        };
        if !report.fate.follows(member.fate) {
            return false;
        }
        member.fate = report.fate;
        member.planned.parent = report.parent;
        true
    }

    /// The table, by core.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// One core.
    #[must_use]
    pub fn get(&self, core: u16) -> Option<&Member> {
        self.members.get(&core)
    }

    /// The cores that messages from the boot core `root` to `core` come through, from `core`
    /// upwards, without `root`.
    #[must_use]
    pub fn path(&self, core: u16, root: u16) -> Vec<Member> {
        let mut path = Vec::new();
        let mut next = core;
        // No path is longer than there are members, whatever was reported.
        while next != root
            && path.len() <= self.members.len()
            && let Some(member) = self.members.get(&next)
        {
            path.push(*member);
            next = member.planned.parent;
        }
        path
    }

    /// Whether every core runs or has failed.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.members.values().all(|member| member.fate.is_final())
    }

    /// Cores that run, without the boot core.
    #[must_use]
    pub fn running(&self) -> usize {
        let runs = |m: &&Member| matches!(m.fate, Fate::Running { .. });
        self.members.values().filter(runs).count()
    }

    /// What there would be to report of every core that isn't settled if its
    /// starters vanished now.
    #[must_use]
    pub fn overdue(&self) -> Vec<Report> {
        self.members
            .values()
            .filter(|member| !member.fate.is_final())
            .map(|member| Report {
                core: member.planned.core,
                parent: member.planned.parent,
                fate: Fate::Failed(match member.fate {
                    Fate::Planned => Failure::Orphaned,
                    _ => Failure::NoAnswer,
                }),
            })
            .collect()
    }
}

/// How long a child may take from `CPU_ON` to its first word, in milliseconds,
/// on a machine of `cores` cores: where an emulator runs many on few, they start
/// slowly, and slower still when others use those.
#[must_use]
pub const fn answer_deadline_ms(cores: usize) -> u64 {
    10_000 + 500 * cores as u64
}

/// How long is waited for progress. What counts isn't the clock: where more is to be run than
/// there are processors (an emulator's, or a hypervisor's host), whoever waits is woken late,
/// and those that he waits for don't get on either. So time is slept in steps, and a step from
/// which one is woken late counts for little.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    limit_ms: u64,
    left_ms: u64,
}

impl Patience {
    /// How long to sleep at once, in milliseconds.
    pub const STEP_MS: u64 = 250;
    /// What a step counts that took more than twice as long, in milliseconds: so the end
    /// comes in any case.
    const LATE_STEP_MS: u64 = Self::STEP_MS / 10;

    /// For one core, on a machine of `cores`.
    #[must_use]
    pub const fn for_a_core(cores: usize) -> Self {
        let limit_ms = answer_deadline_ms(cores);
        Self {
            limit_ms,
            left_ms: limit_ms,
        }
    }

    /// Twice as much.
    #[must_use]
    pub const fn doubled(self) -> Self {
        let limit_ms = self.limit_ms * 2;
        Self {
            limit_ms,
            left_ms: limit_ms,
        }
    }

    /// There was progress: all begins anew.
    pub const fn renew(&mut self) {
        self.left_ms = self.limit_ms;
    }

    /// A step was slept, which took `took_ms`. Whether there is no patience left.
    pub const fn step(&mut self, took_ms: u64) -> bool {
        let counts = if took_ms > 2 * Self::STEP_MS {
            Self::LATE_STEP_MS
        } else {
            Self::STEP_MS
        };
        self.left_ms = self.left_ms.saturating_sub(counts);
        self.left_ms == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PlannedCore;
    use proptest::prelude::*;

    fn plan(count: u16) -> Plan {
        let cores = (1..=count).map(|core| PlannedCore {
            core,
            parent: core / 2,
            mpidr: u64::from(core) << 8,
            node: 0,
            home_node: 0,
            ring_node: 0,
            release: 0,
        });
        Plan::new(0, cores.collect()).unwrap()
    }

    fn steps(patience: &mut Patience, took_ms: u64) -> u64 {
        (1..).find(|_| patience.step(took_ms)).unwrap()
    }

    #[test]
    fn patience_isnt_used_up_by_being_late_oneself() {
        // 4 cores: 12 s.
        let mut patience = Patience::for_a_core(4);
        assert_eq!(steps(&mut patience, 250), 48);
        // Woken after a second each time: ten times as many steps, so 8 minutes.
        let mut late = Patience::for_a_core(4);
        assert_eq!(steps(&mut late, 1000), 480);
        // A bit late is on time.
        assert_eq!(steps(&mut Patience::for_a_core(4), 500), 48);
        assert_eq!(steps(&mut Patience::for_a_core(4).doubled(), 250), 96);
    }

    #[test]
    fn progress_renews_patience() {
        let mut patience = Patience::for_a_core(1);
        for _ in 0..41 {
            assert!(!patience.step(250));
        }
        patience.renew();
        assert_eq!(steps(&mut patience, 250), 42);
    }

    const READY: Fate = Fate::Running { boot_us: 9 };

    fn report(core: u16, fate: Fate) -> Report {
        Report {
            core,
            parent: core / 2,
            fate,
        }
    }

    #[test]
    fn one_that_ran_may_stop_and_is_on_the_path_of_those_below() {
        let mut table = Membership::new(&plan(5));
        assert!(!table.apply(report(9, Fate::Failed(Failure::Stopped))));
        for core in 1..=5 {
            assert!(table.apply(report(core, READY)));
        }
        assert!(!table.apply(report(2, Fate::Failed(Failure::NoAnswer))));
        assert!(!table.apply(report(2, Fate::Failed(Failure::NoMemory))));
        assert!(table.apply(report(2, Fate::Failed(Failure::Stopped))));
        assert!(!table.apply(report(2, Fate::Failed(Failure::Stopped))));
        assert!(!table.apply(report(2, READY)));
        assert_eq!((table.running(), table.is_settled()), (4, true));
        let path = |core| -> Vec<u16> {
            let path = table.path(core, 0);
            path.iter().map(|member| member.planned.core).collect()
        };
        assert_eq!(path(5), [5, 2, 1]);
        assert_eq!(path(0), []);
        assert_eq!(path(9), []);
    }

    #[test]
    fn a_core_never_goes_back() {
        let mut table = Membership::new(&plan(2));
        assert!(table.apply(report(1, Fate::Starting)));
        assert!(table.apply(report(1, READY)));
        assert!(!table.apply(report(1, Fate::Starting)));
        assert!(!table.apply(report(1, Fate::Failed(Failure::NoAnswer))));
        assert!(!table.is_settled());
        assert_eq!(
            table.overdue(),
            [report(2, Fate::Failed(Failure::Orphaned))]
        );
        assert!(table.apply(report(2, Fate::Failed(Failure::NoMemory))));
        assert!(table.is_settled());
        assert_eq!(table.running(), 1);
        assert!(!table.apply(report(3, READY)));
    }

    /// Whoever isn't heard of in time may join later; whoever was refused can't have.
    #[test]
    fn a_late_core_joins() {
        for (failure, may_join) in [
            (Failure::NoAnswer, true),
            (Failure::Orphaned, true),
            (Failure::StillOff, false),
            (Failure::NoMemory, false),
            (Failure::Stopped, false),
        ] {
            let mut table = Membership::new(&plan(2));
            assert!(table.apply(report(1, READY)));
            assert!(table.apply(report(2, Fate::Starting)));
            if failure == Failure::Stopped {
                assert!(table.apply(report(2, READY)));
            }
            assert!(table.apply(report(2, Fate::Failed(failure))));
            assert!(table.is_settled());
            assert_eq!(table.running(), 1);
            assert_eq!(table.apply(report(2, READY)), may_join, "{failure}");
            assert_eq!(table.running(), 1 + usize::from(may_join));
            assert!(!table.apply(report(2, Fate::Failed(Failure::NoAnswer))));
            assert!(table.is_settled());
        }
    }

    #[test]
    fn the_parent_is_the_one_that_started_it() {
        let mut table = Membership::new(&plan(3));
        assert!(table.apply(Report {
            core: 3,
            parent: 0,
            fate: READY
        }));
        assert_eq!(table.get(3).map(|m| m.planned.parent), Some(0));
    }

    #[test]
    fn failures_say_what_is_the_matter() {
        let refused = Failure::Refused(SysError::Firmware as u64).to_string();
        assert_eq!(refused, "cannot be started: firmware refused the request");
        assert_eq!(Failure::NoAnswer.to_string(), "does not answer");
    }

    proptest! {
        /// Whatever comes, in whatever order: the first final word counts, but that a core
        /// which wasn't heard of may run later.
        #[test]
        fn the_first_final_report_counts(reports in proptest::collection::vec((1..6_u16, 0..5_u8), 0..60)) {
            let mut table = Membership::new(&plan(5));
            let mut expected = [Fate::Planned; 6];
            for (core, what) in reports {
                let fate = match what {
                    0 => Fate::Planned,
                    1 => Fate::Starting,
                    2 => READY,
                    3 => Fate::Failed(Failure::NoMemory),
                    _ => Fate::Failed(Failure::NoAnswer),
                };
                table.apply(report(core, fate));
                let known = &mut expected[usize::from(core)];
                let is_late = *known == Fate::Failed(Failure::NoAnswer) && fate == READY;
                if is_late || !known.is_final() && fate != Fate::Planned {
                    *known = fate;
                }
            }
            for member in table.members() {
                prop_assert_eq!(member.fate, expected[usize::from(member.planned.core)]);
            }
        }
    }
}
