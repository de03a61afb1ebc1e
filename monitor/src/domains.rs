//! The programs on a core, and who waits for them.

use alloc::{
    collections::{BTreeMap, VecDeque},
    string::String,
};
use core::task::Waker;

use capelin_interfaces::monitor::{DomainId, DomainState, MonitorError};

/// Ends that nobody has waited for yet and that are kept: with one more, the oldest is forgotten.
/// How many programs live at a time, only memory bounds; who starts hundreds and then waits for
/// all finds the end of each. One takes some 100 bytes.
pub const MAX_ENDED: usize = 512;

/// One program; `D` is what the monitor keeps of it.
#[derive(Debug)]
pub struct Entry<D> {
    /// Its name.
    pub name: String,
    /// What it ended with; `None` while it lives.
    pub ended: Option<DomainState>,
    /// What the monitor keeps of it.
    pub data: D,
    waiting: BTreeMap<Waiter, Waker>,
}

/// One who waits for an end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Waiter(u64);

/// The table. Numbers start at 1 and aren't used again.
#[derive(Debug)]
pub struct Domains<D> {
    core: u16,
    next: u64,
    next_waiter: u64,
    entries: BTreeMap<u64, Entry<D>>,
    /// The numbers of those that have ended, the oldest end first.
    ended: VecDeque<u64>,
}

impl<D> Domains<D> {
    /// An empty table of `core`.
    #[must_use]
    pub const fn new(core: u16) -> Self {
        Self {
            core,
            next: 1,
            next_waiter: 0,
            entries: BTreeMap::new(),
            ended: VecDeque::new(),
        }
    }

    /// The number that the next program will have.
    #[must_use]
    pub const fn next_id(&self) -> DomainId {
        DomainId::new(self.core, self.next)
    }

    /// Puts a program in, under [`Domains::next_id`].
    pub fn insert(&mut self, name: String, data: D) -> DomainId {
        let id = self.next_id();
        self.next += 1;
        let entry = Entry {
            name,
            ended: None,
            data,
            waiting: BTreeMap::new(),
        };
        self.entries.insert(id.number(), entry);
        id
    }

    /// One program.
    ///
    /// # Errors
    /// [`MonitorError::NoSuchDomain`].
    pub fn get(&self, id: DomainId) -> Result<&Entry<D>, MonitorError> {
        let found = self.entries.get(&id.number());
        found
            .filter(|_| id.core() == self.core)
            .ok_or(MonitorError::NoSuchDomain)
    }

    /// One program, to change.
    ///
    /// # Errors
    /// [`MonitorError::NoSuchDomain`].
    pub fn get_mut(&mut self, id: DomainId) -> Result<&mut Entry<D>, MonitorError> {
        let is_ours = id.core() == self.core;
        let found = self.entries.get_mut(&id.number());
        found.filter(|_| is_ours).ok_or(MonitorError::NoSuchDomain)
    }

    /// A program ended: remembers how, and wakes who waits. The first word counts. Of those that
    /// nobody waits for, the oldest beyond [`MAX_ENDED`] is forgotten.
    pub fn end(&mut self, id: DomainId, state: DomainState) {
        let Ok(entry) = self.get_mut(id) else { return };
        let is_news = entry.ended.is_none();
        entry.ended.get_or_insert(state);
        // Whoever waits takes it out when next polled.
        let is_awaited = !entry.waiting.is_empty();
        wake(&mut entry.waiting);
        if is_news && !is_awaited {
            self.keep(id.number());
        }
    }

    /// One that has ended and that nobody waits for.
    fn keep(&mut self, number: u64) {
        self.ended.push_back(number);
        if self.ended.len() > MAX_ENDED
            && let Some(oldest) = self.ended.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }

    /// Somebody who is about to wait.
    pub const fn new_waiter(&mut self) -> Waiter {
        self.next_waiter += 1;
        Waiter(self.next_waiter)
    }

    /// `waiter` doesn't wait for `id` any more. What has ended meanwhile is kept for others.
    pub fn give_up(&mut self, id: DomainId, waiter: Waiter) {
        let Ok(entry) = self.get_mut(id) else { return };
        entry.waiting.remove(&waiter);
        if entry.ended.is_some() && !self.ended.contains(&id.number()) {
            self.keep(id.number());
        }
    }

    /// A program isn't listed any more; who waits for it learns that there is no such.
    pub fn forget(&mut self, id: DomainId) -> Option<Entry<D>> {
        self.get(id).ok()?;
        let mut entry = self.entries.remove(&id.number())?;
        self.ended.retain(|&number| number != id.number());
        wake(&mut entry.waiting);
        Some(entry)
    }

    /// Takes an ended program out; `Ok(None)` while it lives: then `waker` is woken
    /// when it ends, unless `waiter` [gives up](Self::give_up).
    ///
    /// # Errors
    /// [`MonitorError::NoSuchDomain`], also for the second who takes it.
    pub fn take_ended(
        &mut self,
        id: DomainId,
        waiter: Waiter,
        waker: &Waker,
    ) -> Result<Option<(DomainState, Entry<D>)>, MonitorError> {
        let entry = self.get_mut(id)?;
        let Some(state) = entry.ended else {
            entry.waiting.insert(waiter, waker.clone());
            return Ok(None);
        };
        let taken = self.forget(id).ok_or(MonitorError::NoSuchDomain)?;
        Ok(Some((state, taken)))
    }

    /// All programs, by number.
    pub fn iter(&self) -> impl Iterator<Item = (DomainId, &Entry<D>)> {
        let core = self.core;
        self.entries
            .iter()
            .map(move |(&number, entry)| (DomainId::new(core, number), entry))
    }
}

fn wake(waiting: &mut BTreeMap<Waiter, Waker>) {
    core::mem::take(waiting).into_values().for_each(Waker::wake);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const WAITER: Waiter = Waiter(0);

    /// Who doesn't wait any more leaves nothing, and takes no end with him that others wait for.
    #[test]
    fn who_gives_up_is_not_waited_for() {
        let mut domains = Domains::new(0);
        let waker = Waker::noop();
        let lives = domains.insert("lives".into(), ());
        let ends = domains.insert("ends".into(), ());
        for _ in 0..1000 {
            let waiter = domains.new_waiter();
            assert!(matches!(domains.take_ended(lives, waiter, waker), Ok(None)));
            domains.give_up(lives, waiter);
        }
        assert!(domains.get(lives).unwrap().waiting.is_empty());
        // It is waited for when it ends, and whoever waited is gone before it takes it.
        let waiter = domains.new_waiter();
        assert!(matches!(domains.take_ended(ends, waiter, waker), Ok(None)));
        domains.end(ends, DomainState::Exited(7));
        domains.give_up(ends, waiter);
        domains.give_up(ends, waiter);
        assert_eq!(domains.ended, [ends.number()]);
        assert!(matches!(
            domains.take_ended(ends, WAITER, waker),
            Ok(Some(_))
        ));
        // Two wait, one gives up: the other still does.
        let (one, other) = (domains.new_waiter(), domains.new_waiter());
        for waiter in [one, other] {
            assert!(matches!(domains.take_ended(lives, waiter, waker), Ok(None)));
        }
        domains.give_up(lives, one);
        assert_eq!(domains.get(lives).unwrap().waiting.len(), 1);
        domains.end(lives, DomainState::Exited(0));
        assert!(domains.ended.is_empty());
        assert!(matches!(
            domains.take_ended(lives, other, waker),
            Ok(Some(_))
        ));
    }

    #[test]
    fn ends_are_kept_until_waited_for_once() {
        let mut domains = Domains::new(3);
        let id = domains.insert("hello".into(), 'a');
        assert_eq!((id.core(), id.number()), (3, 1));
        let waker = Waker::noop();
        assert!(matches!(domains.take_ended(id, WAITER, waker), Ok(None)));
        domains.end(id, DomainState::Exited(7));
        domains.end(id, DomainState::Faulted);
        assert_eq!(domains.iter().count(), 1);
        let (state, entry) = domains.take_ended(id, WAITER, waker).unwrap().unwrap();
        assert_eq!((state, entry.data), (DomainState::Exited(7), 'a'));
        assert_eq!(
            domains.take_ended(id, WAITER, waker).map(|_| ()),
            Err(MonitorError::NoSuchDomain)
        );
        assert_eq!(domains.next_id().number(), 2);
    }

    #[test]
    fn other_cores_domains_are_not_here() {
        let mut domains = Domains::new(3);
        let id = domains.insert("x".into(), ());
        let elsewhere = DomainId::new(4, id.number());
        assert!(domains.get(elsewhere).is_err());
        domains.end(elsewhere, DomainState::Faulted);
        assert_eq!(domains.get(id).map(|e| e.ended), Ok(None));
    }

    #[test]
    fn ends_that_nobody_waits_for_are_bounded_and_lives_are_not() {
        let mut domains = Domains::new(0);
        let lives: Vec<_> = (0..1000).map(|n| domains.insert("x".into(), n)).collect();
        let waker = Waker::noop();
        // The first is waited for while it lives, so its end isn't one of those.
        assert!(matches!(
            domains.take_ended(lives[0], WAITER, waker),
            Ok(None)
        ));
        for &id in &lives[..=MAX_ENDED] {
            domains.end(id, DomainState::Exited(7));
            domains.end(id, DomainState::Faulted);
        }
        assert_eq!(domains.iter().count(), 1000);
        // One more, and the oldest goes; one that was taken out makes room.
        domains.end(lives[900], DomainState::Exited(1));
        assert!(domains.get(lives[1]).is_err());
        assert!(matches!(
            domains.take_ended(lives[2], WAITER, waker),
            Ok(Some(_))
        ));
        domains.end(lives[901], DomainState::Exited(1));
        assert_eq!(domains.iter().count(), 998);
        for id in [lives[0], lives[3]] {
            assert!(matches!(domains.take_ended(id, WAITER, waker), Ok(Some(_))));
        }
    }
}
