//! A simulated core: its scheduler driven as `dispatch` and `interrupts` do, by dispatchers
//! that do what a load says, and what each had of the core and waited for it.

use std::collections::BTreeMap;
use std::vec::Vec;

use super::{FREQUENCY, QUANTUM, Table, at, name, table};
use crate::scheduler::{NEVER, Nodes, Scheduler};

/// What a simulated dispatcher does when it runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Does {
    /// Computes without end.
    Computes,
    /// Computes for some ticks, sleeps for others.
    Sleeps { runs: u64, sleeps: u64 },
    /// Computes for some ticks, yields.
    Yields { runs: u64 },
    /// Computes for some ticks, calls another (which answers by a call, if it calls back).
    Calls { runs: u64, whom: usize },
    /// Waits to be called, and then as `Calls`.
    Serves { runs: u64, whom: usize },
    /// Computes for some ticks, sends to another that waits, and yields to it.
    SendsTo { runs: u64, whom: usize },
    /// Computes for some ticks, and waits to be sent something.
    Receives { runs: u64 },
    /// Computes for some ticks, yields to another.
    YieldsTo { runs: u64, whom: usize },
    /// Woken by another core each time that it waits, after some ticks.
    Rung { runs: u64, after: u64 },
    /// Computes; another core interrupts this one for it, every so many ticks, whether it runs or
    /// not, and that takes some.
    Flooded { every: u64, takes: u64 },
}

impl Does {
    fn runs(self) -> u64 {
        match self {
            Self::Computes | Self::Flooded { .. } => NEVER,
            Self::Sleeps { runs, .. }
            | Self::Yields { runs }
            | Self::Calls { runs, .. }
            | Self::Serves { runs, .. }
            | Self::YieldsTo { runs, .. }
            | Self::SendsTo { runs, .. }
            | Self::Receives { runs }
            | Self::Rung { runs, .. } => runs,
        }
    }
}

/// A core, its scheduler driven as `dispatch` and `interrupts` do.
pub(super) struct Simulation {
    pub(super) scheduler: Scheduler,
    pub(super) nodes: Table,
    does: Vec<Does>,
    /// Ticks until it does what it does.
    left: Vec<u64>,
    /// Whether it waits for a message.
    waits: Vec<bool>,
    pub(super) ran: Vec<u64>,
    /// Ticks that interrupts took.
    pub(super) interrupted: Vec<u64>,
    woken: Vec<Option<u64>>,
    pub(super) latency: Vec<u64>,
    rings: BTreeMap<u64, Vec<usize>>,
    timer: u64,
    pub(super) now: u64,
    pub(super) idle: u64,
}

impl Simulation {
    pub(super) fn new(does: &[Does]) -> Self {
        let mut simulation = Self {
            scheduler: Scheduler::new(FREQUENCY),
            nodes: table(does.len()),
            does: does.to_vec(),
            left: does.iter().map(|d| d.runs()).collect(),
            waits: std::vec![false; does.len()],
            ran: std::vec![0; does.len()],
            interrupted: std::vec![0; does.len()],
            woken: std::vec![None; does.len()],
            latency: std::vec![0; does.len()],
            rings: BTreeMap::new(),
            timer: NEVER,
            now: 1_000,
            idle: 0,
        };
        for (number, does) in does.iter().enumerate() {
            if matches!(does, Does::Serves { .. }) {
                simulation.waits[number] = true;
            } else {
                simulation.wake(number);
            }
            if let Does::Flooded { every, .. } = *does {
                let first = simulation.rings.entry(simulation.now + every);
                first.or_default().push(number);
            }
        }
        simulation.next();
        simulation
    }

    fn wake(&mut self, number: usize) {
        self.woken[number] = Some(self.now);
        self.scheduler.wake(&mut self.nodes, name(number), self.now);
        self.program();
    }

    fn program(&mut self) {
        let want = self.scheduler.next_event(&self.nodes, self.now);
        self.timer = self.timer.min(want);
    }

    fn next(&mut self) {
        if let Some(first) = self.scheduler.pop(&mut self.nodes) {
            self.scheduler.start(&mut self.nodes, first, self.now);
            self.entered(at(first));
        }
        self.program();
    }

    fn entered(&mut self, number: usize) {
        if let Some(woken) = self.woken[number].take() {
            self.latency[number] = self.latency[number].max(self.now - woken);
        }
    }

    fn interrupt(&mut self) {
        if self.timer <= self.now {
            self.timer = NEVER;
        }
        while let Some(due) = self.scheduler.due(&self.nodes, self.now) {
            self.scheduler.remove_deadline(&mut self.nodes, due);
            self.wake(at(due));
        }
        while let Some(rung) = self.rings.first_entry().filter(|e| *e.key() <= self.now) {
            for number in rung.remove() {
                if let Does::Flooded { every, takes } = self.does[number] {
                    self.now += takes;
                    self.interrupted[number] += takes;
                    self.scheduler
                        .charge_interrupt(&mut self.nodes, name(number), takes);
                    let next = self.rings.entry(self.now + every);
                    next.or_default().push(number);
                } else {
                    self.wake(number);
                }
            }
        }
        if self.scheduler.current.is_none() {
            self.next();
        } else if self.scheduler.should_switch(&mut self.nodes, self.now) {
            self.scheduler.preempt(&mut self.nodes, self.now);
            self.next();
        } else {
            self.program();
        }
    }

    /// The current dispatcher does what it does.
    fn act(&mut self, number: usize) {
        let (now, nodes) = (self.now, &mut self.nodes);
        self.left[number] = self.does[number].runs();
        match self.does[number] {
            Does::Computes | Does::Flooded { .. } => {}
            Does::Sleeps { sleeps, .. } => {
                self.scheduler
                    .add_deadline(nodes, name(number), now + sleeps, now);
                self.scheduler.block(nodes, now);
                self.next();
            }
            Does::Yields { .. } => {
                self.scheduler.give_up(nodes, now);
                self.next();
            }
            Does::Rung { after, .. } => {
                self.rings.entry(now + after).or_default().push(number);
                self.scheduler.block(nodes, now);
                self.next();
            }
            Does::Receives { .. } => {
                self.waits[number] = true;
                self.scheduler.block(nodes, now);
                self.next();
            }
            Does::SendsTo { whom, .. } if self.waits[whom] => {
                self.waits[whom] = false;
                self.scheduler.give(nodes, now);
                self.scheduler.take_over(name(whom), now);
                self.entered(whom);
            }
            Does::YieldsTo { whom, .. } | Does::SendsTo { whom, .. } => {
                if nodes.node(name(whom)).is_queued() {
                    self.scheduler.give(nodes, now);
                    self.scheduler.unqueue(nodes, name(whom));
                    self.scheduler.take_over(name(whom), now);
                    self.entered(whom);
                } else {
                    self.scheduler.give_up(nodes, now);
                    self.next();
                }
            }
            Does::Calls { whom, .. } | Does::Serves { whom, .. } => {
                self.waits[number] = true;
                if std::mem::take(&mut self.waits[whom]) {
                    self.scheduler.lend();
                    self.scheduler.take_over(name(whom), now);
                } else {
                    // It isn't there: nothing comes, so it is woken a while later.
                    self.waits[number] = false;
                    self.scheduler
                        .add_deadline(nodes, name(number), now + QUANTUM, now);
                    self.scheduler.block(nodes, now);
                    self.next();
                }
            }
        }
    }

    /// Runs for a second, in which those who began together find their places, and then
    /// measures.
    pub(super) fn measure(&mut self, ticks: u64) {
        self.run(FREQUENCY);
        self.ran.fill(0);
        self.interrupted.fill(0);
        self.latency.fill(0);
        self.idle = 0;
        self.run(ticks);
    }

    fn run(&mut self, ticks: u64) {
        let end = self.now + ticks;
        while self.now < end {
            let ring = self.rings.keys().next().copied().unwrap_or(NEVER);
            let event = self.timer.min(ring).min(end);
            let Some(current) = self.scheduler.current.map(at) else {
                assert!(self.scheduler.is_empty(), "idle, and somebody wants to run");
                let event = event.max(self.now + 1);
                self.idle += event - self.now;
                self.now = event;
                self.interrupt();
                continue;
            };
            let step = event.saturating_sub(self.now).min(self.left[current]);
            self.ran[current] += step;
            self.now += step;
            if self.left[current] != NEVER {
                self.left[current] -= step;
            }
            if self.left[current] == 0 {
                self.act(current);
            }
            if self.timer <= self.now || ring <= self.now {
                self.interrupt();
            }
            let queue = &self.scheduler.queue;
            assert_eq!(queue.check(&self.nodes, |_| {}), Ok(()));
        }
    }
}
