//! The open queries of one client.

use alloc::collections::BTreeMap;

use capelin_interfaces::skb::SkbError;

use crate::search::Search;

/// Queries that one client may leave open: each holds memory.
pub const MAX_CURSORS: usize = 4;

/// The open queries of one client.
#[derive(Default)]
pub struct Cursors {
    open: BTreeMap<u32, Search>,
    /// Being worked at; closed meanwhile if `false`.
    busy: BTreeMap<u32, bool>,
    last: u32,
}

impl Cursors {
    /// A number for a new query.
    ///
    /// # Errors
    /// [`SkbError::TooManyCursors`].
    pub fn begin(&mut self) -> Result<u32, SkbError> {
        if self.open.len() + self.busy.len() >= MAX_CURSORS {
            return Err(SkbError::TooManyCursors);
        }
        // Numbers aren't used again soon, so that an old one finds nothing.
        self.last = self.last.wrapping_add(1);
        while self.open.contains_key(&self.last) || self.busy.contains_key(&self.last) {
            self.last = self.last.wrapping_add(1);
        }
        self.busy.insert(self.last, true);
        Ok(self.last)
    }

    /// Takes an open query to work at it.
    ///
    /// # Errors
    /// [`SkbError::NoSuchCursor`], also for one that is being worked at.
    pub fn take(&mut self, cursor: u32) -> Result<Search, SkbError> {
        let search = self.open.remove(&cursor).ok_or(SkbError::NoSuchCursor)?;
        self.busy.insert(cursor, true);
        Ok(search)
    }

    /// Whether the client still wants what is being worked at.
    #[must_use]
    pub fn is_wanted(&self, cursor: u32) -> bool {
        self.busy.get(&cursor) == Some(&true)
    }

    /// The work is done for now: keeps the query if there is more of it and it wasn't closed.
    /// Whether it was kept.
    pub fn put_back(&mut self, cursor: u32, search: Option<Search>) -> bool {
        let is_wanted = self.busy.remove(&cursor) == Some(true);
        match search {
            Some(search) if is_wanted => {
                self.open.insert(cursor, search);
                true
            }
            _ => false,
        }
    }

    /// The client is done with a query.
    pub fn close(&mut self, cursor: u32) {
        self.open.remove(&cursor);
        if let Some(is_wanted) = self.busy.get_mut(&cursor) {
            *is_wanted = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capelin_skb::KnowledgeBase;

    fn search() -> Search {
        Search::new(&mut KnowledgeBase::new(), "true").unwrap()
    }

    #[test]
    fn a_client_has_a_few() {
        let mut cursors = Cursors::default();
        for n in 1..=4 {
            let cursor = cursors.begin().unwrap();
            assert_eq!(cursor, n);
            assert!(cursors.put_back(cursor, Some(search())));
        }
        assert_eq!(cursors.begin(), Err(SkbError::TooManyCursors));
        cursors.close(2);
        assert_eq!(cursors.begin(), Ok(5), "old numbers aren't used again");
        assert!(matches!(cursors.take(2), Err(SkbError::NoSuchCursor)));
    }

    #[test]
    fn closing_ends_work_too() {
        let mut cursors = Cursors::default();
        let cursor = cursors.begin().unwrap();
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
