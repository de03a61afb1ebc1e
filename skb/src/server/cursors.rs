//! The open queries of one client.
//!
//! A client that is interrupted leaves queries behind: it never learned their numbers, or forgot
//! them. So a new query always gets a number; when there are too many, the one that was longest
//! not asked for goes, those being worked at last. Whoever does ask for it again is told.

use alloc::{boxed::Box, collections::VecDeque};

use capelin_interfaces::skb::SkbError;

use super::search::Search;

/// Queries that one client may leave open: each holds memory.
pub const MAX_CURSORS: usize = 4;

/// The open queries of one client.
#[derive(Default)]
pub struct Cursors {
    /// By when they were last asked for, the longest ago first.
    open: VecDeque<(u64, State)>,
    last: u64,
}

enum State {
    Idle(Box<Search>),
    /// Being worked at.
    Busy,
}

impl Cursors {
    /// A number for a new query, which is being worked at.
    pub fn begin(&mut self) -> u64 {
        if self.open.len() >= MAX_CURSORS {
            let idle = self
                .open
                .iter()
                .position(|(_, state)| matches!(state, State::Idle(_)));
            self.open.remove(idle.unwrap_or(0));
        }
        // There are 2^64 of them: an old one never finds anything.
        self.last += 1;
        self.open.push_back((self.last, State::Busy));
        self.last
    }

    fn position(&self, cursor: u64) -> Option<usize> {
        self.open.iter().position(|(number, _)| *number == cursor)
    }

    /// Takes an open query to work at it.
    ///
    /// # Errors
    /// [`SkbError::NoSuchCursor`], also for one that is being worked at.
    pub fn take(&mut self, cursor: u64) -> Result<Search, SkbError> {
        let place = self.position(cursor).ok_or(SkbError::NoSuchCursor)?;
        match self.open.remove(place) {
            Some((_, State::Idle(search))) => {
                self.open.push_back((cursor, State::Busy));
                Ok(*search)
            }
            Some(busy) => {
                self.open.insert(place, busy);
                Err(SkbError::NoSuchCursor)
            }
            None => Err(SkbError::NoSuchCursor),
        }
    }

    /// Whether what is being worked at is still wanted: neither closed nor given up for others.
    #[must_use]
    pub fn is_wanted(&self, cursor: u64) -> bool {
        self.position(cursor).is_some()
    }

    /// The work is done for now: keeps the query if there is more of it and it is still wanted.
    /// Whether it was kept.
    pub fn put_back(&mut self, cursor: u64, search: Option<Search>) -> bool {
        let Some(place) = self.position(cursor) else {
            return false;
        };
        match search {
            Some(search) => {
                if let Some((_, state)) = self.open.get_mut(place) {
                    *state = State::Idle(Box::new(search));
                }
                true
            }
            None => {
                self.open.remove(place);
                false
            }
        }
    }

    /// The client is done with a query.
    pub fn close(&mut self, cursor: u64) {
        if let Some(place) = self.position(cursor) {
            self.open.remove(place);
        }
    }

    /// The client is gone.
    pub fn close_all(&mut self) {
        self.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KnowledgeBase;

    fn search() -> Search {
        let mut kb = KnowledgeBase::new();
        let scope = kb.system().clone();
        Search::new(&mut kb, &scope, "true").unwrap()
    }

    #[test]
    fn the_one_longest_not_asked_for_makes_room() {
        let mut cursors = Cursors::default();
        for n in 1..=4 {
            let cursor = cursors.begin();
            assert_eq!(cursor, n);
            assert!(cursors.put_back(cursor, Some(search())));
        }
        let taken = cursors.take(1).unwrap();
        cursors.put_back(1, Some(taken));
        assert_eq!(cursors.begin(), 5);
        assert!(matches!(cursors.take(2), Err(SkbError::NoSuchCursor)));
        for n in [1, 3, 4] {
            let taken = cursors.take(n).unwrap();
            assert!(cursors.put_back(n, Some(taken)));
        }
        cursors.close(3);
        assert_eq!(cursors.begin(), 6, "old numbers aren't used again");
        assert!(matches!(cursors.take(3), Err(SkbError::NoSuchCursor)));
    }

    #[test]
    fn queries_that_nobody_waits_for_any_more_are_given_up() {
        let mut cursors = Cursors::default();
        // Four endless ones, each interrupted before its first answer.
        for n in 1..=4 {
            assert_eq!(cursors.begin(), n);
        }
        assert_eq!(cursors.begin(), 5, "the fifth is served all the same");
        assert!(!cursors.is_wanted(1));
        assert!((2..=5).all(|n| cursors.is_wanted(n)));
        assert!(!cursors.put_back(1, Some(search())));
        // One that only waits goes before those that are worked at.
        assert!(cursors.put_back(5, Some(search())));
        cursors.begin();
        assert!((2..=4).all(|n| cursors.is_wanted(n)) && !cursors.is_wanted(5));
        cursors.close_all();
        assert!(!cursors.is_wanted(6));
    }

    #[test]
    fn closing_ends_work_too() {
        let mut cursors = Cursors::default();
        let cursor = cursors.begin();
        cursors.put_back(cursor, Some(search()));
        let taken = cursors.take(cursor).unwrap();
        assert!(matches!(cursors.take(cursor), Err(SkbError::NoSuchCursor)));
        assert!(cursors.is_wanted(cursor));
        cursors.close(cursor);
        assert!(!cursors.is_wanted(cursor));
        assert!(!cursors.put_back(cursor, Some(taken)));
        assert!(matches!(cursors.take(cursor), Err(SkbError::NoSuchCursor)));
    }
}
